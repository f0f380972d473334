/* Splitting batches; see http_batch.h. */
#include "protocols/http/http_batch.h"

#include <assert.h>
#include <string.h>

#include "gateway/base/scan.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void http_batch_lines(struct http_batch *b, const char *text, size_t len)
{
	*b = (struct http_batch){.text = text, .end = len};
}

void http_batch_array(struct http_batch *b, const char *text, const struct json_result *checked)
{
	assert(checked->type == JSON_ARRAY);
	*b = (struct http_batch){.text = text, .at = checked->start + 1, .end = checked->end - 1, .array = true};
}

static bool next_line(struct http_batch *b, struct http_item *item)
{
	while (b->at < b->end) {
		const char *line = b->text + b->at;
		size_t left = b->end - b->at;
		const char *lf = memchr(line, '\n', left);
		size_t len = lf ? (size_t)(lf - line) : left;
		size_t offset = b->at;
		b->at += lf ? len + 1 : len;
		b->line++;
		if (len > 0 && line[len - 1] == '\r')
			len--;
		size_t blank = 0;
		while (blank < len && is_space(line[blank]))
			blank++;
		if (blank == len)
			continue;
		*item = (struct http_item){.text = line, .len = len, .offset = offset, .line = b->line};
		return true;
	}
	return false;
}

/* The byte behind a string whose opening quote is at p. The document is valid, so there is one. */
static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : end;
}

/* The end of the value at p: a comma outside of it, or the end of the array. */
static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
	size_t depth = 0;
	while (p < end) {
		if (depth == 0 && *p != '"' && *p != '{' && *p != '[') {
			if (*p == ',')
				return p;
			p++;
			continue;
		}
		if (depth > 0 && (p = scan_to(p, end, SCAN_NEST)) == end)
			return end;
		if (*p == '"') {
			p = skip_string(p, end);
			continue;
		}
		depth += *p == '{' || *p == '[' ? 1 : 0;
		depth -= *p == '}' || *p == ']' ? 1 : 0;
		p++;
	}
	return end;
}

static bool next_element(struct http_batch *b, struct http_item *item)
{
	while (b->at < b->end && is_space(b->text[b->at]))
		b->at++;
	if (b->at >= b->end)
		return false;
	const uint8_t *base = (const uint8_t *)b->text;
	size_t start = b->at, stop = (size_t)(skip_value(base + start, base + b->end) - base);
	b->at = stop < b->end ? stop + 1 : stop;
	while (stop > start && is_space(b->text[stop - 1]))
		stop--;
	*item = (struct http_item){.text = b->text + start, .len = stop - start, .offset = start, .line = ++b->line};
	return true;
}

bool http_batch_next(struct http_batch *b, struct http_item *item)
{
	return b->array ? next_element(b, item) : next_line(b, item);
}

size_t http_batch_count(const struct http_batch *b, size_t most)
{
	struct http_batch copy = *b;
	struct http_item item;
	size_t n = 0;
	while (n <= most && http_batch_next(&copy, &item))
		n++;
	return n;
}
