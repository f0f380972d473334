/* Any bytes as the head of a request: the first line is the target, the others are fields. Whatever is taken has one
 * way to be read: at most one length that is digits only or "chunked" alone, one host, no control characters; what is
 * decoded has no control characters and no dot segments. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/http/http_head.h"
#include "test/fuzz/must.h"

static void check_decoded(struct http_text raw)
{
	char out[256];
	size_t len = 0;
	if (!raw.text || !http_text_decode(raw, out, sizeof(out), &len))
		return;
	MUST(len <= raw.len && len <= sizeof(out));
	for (size_t i = 0; i < len; i++)
		MUST((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
	MUST(!memmem(out, len, "/../", 4) && !(len == 2 && memcmp(out, "..", 2) == 0));
}

static void check_target(const char *path)
{
	struct http_target t;
	if (http_target_parse(&t, path) != HTTP_FINE)
		return;
	MUST(t.route == ROUTE_COLLECTION || (t.route == ROUTE_DEVICE && t.device.len > 0));
	for (const char *p = path; *p; p++)
		MUST((unsigned char)*p > 0x20 && *p != 0x7f);
	check_decoded(t.device);
	check_decoded(t.channel);
}

static bool is_name(const char *line, size_t len, const char *name)
{
	return len == strlen(name) && strncasecmp(line, name, len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	char *end = memchr(text, '\n', size), *line = end ? end + 1 : text + size;
	if (end)
		*end = 0;
	check_target(text);
	struct http_head head = {.problem = HTTP_FINE};
	size_t lengths = 0, transfers = 0, hosts = 0;
	while (line < text + size) {
		char *stop = memchr(line, '\n', (size_t)(text + size - line));
		size_t len = stop ? (size_t)(stop - line) : (size_t)(text + size - line);
		char *colon = memchr(line, ':', len);
		size_t name = colon ? (size_t)(colon - line) : len;
		const char *value = colon ? colon + 1 : line + len;
		http_head_field(&head, line, name, value, (size_t)(line + len - value));
		lengths += is_name(line, name, "content-length");
		transfers += is_name(line, name, "transfer-encoding");
		hosts += is_name(line, name, "host");
		line += len + 1;
	}
	if (http_head_end(&head, "HTTP/1.1") == HTTP_FINE) {
		MUST(hosts == 1 && lengths + transfers <= 1);
		MUST(head.has_length == (lengths == 1) && head.chunked == (transfers == 1));
		for (size_t i = 0; head.has_length && i < head.length.len; i++)
			MUST(head.length.text[i] >= '0' && head.length.text[i] <= '9');
		MUST(!head.chunked || head.transfer.len == 7);
	}
	free(text);
	return 0;
}
