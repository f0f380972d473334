/* Any bytes as a batch: lines, and an array if it is one. Items lie in the body, in order, apart; nothing but
 * separators lies between them; every element of a valid array is a valid document, and there are as many as a plain
 * walk finds. Then the same bytes as a packed body. The input arrives in a heap block of its exact size, so that the
 * address sanitizer sees a read beyond it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/http/http_batch.h"
#include "protocols/http/unpack.h"
#include "test/fuzz/must.h"

#define DEPTH 24
#define UNPACKED_MAX 65536u

/* Walks all items; returns how many there are. */
static size_t walk(struct http_batch *b, const char *text, size_t len, const char *between)
{
	struct http_item item;
	size_t count = 0, end = b->at, line = 0;
	while (http_batch_next(b, &item)) {
		MUST(item.len > 0 && item.text == text + item.offset);
		MUST(item.offset >= end && item.offset + item.len <= len);
		MUST(item.line > line);
		for (size_t i = end; i < item.offset; i++)
			MUST(memchr(between, text[i], strlen(between)));
		if (b->array)
			MUST(json_check(item.text, item.len, DEPTH).type != JSON_INVALID);
		else
			MUST(!memchr(item.text, '\n', item.len));
		end = item.offset + item.len;
		line = item.line;
		count++;
	}
	return count;
}

/* Commas at depth one, one byte at a time. */
static size_t count_elements(const char *text, const struct json_result *r)
{
	size_t depth = 0, commas = 0;
	bool string = false, some = false;
	for (size_t i = r->start; i < r->end; i++) {
		char c = text[i];
		if (string) {
			i += c == '\\';
			string = c != '"';
			continue;
		}
		string = c == '"';
		depth += c == '[' || c == '{';
		depth -= c == ']' || c == '}';
		commas += c == ',' && depth == 1;
		some = some || (i > r->start && i + 1 < r->end && !strchr(" \t\r\n", c));
	}
	return some ? commas + 1 : 0;
}

static void unpack_any(const uint8_t *data, size_t size)
{
	static struct unpack u;
	const uint8_t *out;
	size_t len;
	for (int gzip = 0; gzip < 2; gzip++)
		if (unpack_body(&u, &(struct unpack_input){gzip, data, size}, UNPACKED_MAX, &out, &len) == GW_OK)
			MUST(len <= UNPACKED_MAX && (len == 0 || out));
	MUST(u.room <= UNPACKED_MAX + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size ? size : 1);
	if (!text)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	struct http_batch b;
	http_batch_lines(&b, text, size);
	size_t counted = http_batch_count(&b, size);
	MUST(walk(&b, text, size, " \t\r\n") == counted);
	struct json_result checked = json_check(text, size, DEPTH + 1);
	if (checked.type == JSON_ARRAY) {
		http_batch_array(&b, text, &checked);
		counted = http_batch_count(&b, size);
		MUST(counted == count_elements(text, &checked));
		MUST(walk(&b, text, size, " \t\r\n,") == counted);
	}
	unpack_any((const uint8_t *)text, size);
	free(text);
	return 0;
}
