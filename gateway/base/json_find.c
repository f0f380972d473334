/* Looking into a document that json_check found valid, and strings in and out of their escaped form.
 *
 * json_find walks forwards only: every byte is passed once at most, whatever the pointer. What does not lie on its way
 * is skipped without being understood: in a string only quote and backslash matter, in a container only quotes and
 * brackets, and because the document is valid the brackets need only be counted. On an invalid document the answer
 * means nothing, but nothing outside of it is read. */
#include "gateway/base/json.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/base/json_parts.h"
#include "gateway/base/scan.h"

/* Copies the reference token at *from to out, up to '/' or the end; *from is left there. RFC 6901 section 4: "~1" is
 * '/', "~0" is '~'. */
static bool token_copy(const char **from, char *out, size_t *len)
{
	const char *p = *from;
	size_t n = 0;
	for (; *p && *p != '/'; p++) {
		if (*p == '~') {
			p++;
			if (*p != '0' && *p != '1')
				return false;
			out[n++] = *p == '0' ? '~' : '/';
		} else {
			out[n++] = *p;
		}
	}
	out[n] = '\0';
	*len = n;
	*from = p;
	return true;
}

bool json_pointer_init(struct json_pointer *p, const char *text)
{
	*p = (struct json_pointer){0};
	if (*text && *text != '/')
		return false;
	size_t most = 0;
	for (const char *t = text; *t; t++)
		most += *t == '/';
	p->text = malloc(strlen(text) + 1); /* each '/' makes room for the terminator of the token that follows it */
	p->lengths = calloc(most + 1, sizeof(*p->lengths));
	if (!p->text || !p->lengths)
		goto fail;
	p->text[0] = '\0';
	char *out = p->text;
	while (*text == '/') {
		text++;
		if (!token_copy(&text, out, &p->lengths[p->count]))
			goto fail;
		out += p->lengths[p->count++] + 1;
	}
	return true;
fail:
	json_pointer_fini(p);
	return false;
}

void json_pointer_fini(struct json_pointer *p)
{
	free(p->text);
	free(p->lengths);
	*p = (struct json_pointer){0};
}

static inline const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p <= ' ')
		p++;
	return p;
}

/* p: after the opening quote. Returns the position of the closing one; *escaped tells whether there are escapes before
 * it. */
static inline const uint8_t *string_end(const uint8_t *p, const uint8_t *end, bool *escaped)
{
	*escaped = false;
	for (;;) {
		p = scan_to(p, end, SCAN_ESCAPE);
		if (p == end || *p == '"')
			return p;
		if (*p == '\\') {
			*escaped = true;
			p++;
		}
		if (p < end)
			p++;
	}
}

/* p: at a quote. Returns what follows the string. */
static inline const uint8_t *skip_string(const uint8_t *p, const uint8_t *end)
{
	bool escaped;
	p = string_end(p + 1, end, &escaped);
	return p < end ? p + 1 : end;
}

/* p: at an opening bracket. */
static const uint8_t *skip_container(const uint8_t *p, const uint8_t *end)
{
	size_t depth = 0;
	while (p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
		} else {
			bool opens = (*p | 0x20) == '{';
			p++;
			depth = opens ? depth + 1 : depth - 1;
			if (depth == 0)
				return p;
		}
		p = scan_to(p, end, SCAN_NEST);
	}
	return end;
}

static inline const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
	if (p == end)
		return end;
	if (*p == '"')
		return skip_string(p, end);
	if (*p == '{' || *p == '[')
		return skip_container(p, end);
	while (p<end && * p> ' ' && *p != ',' && *p != ']' && *p != '}')
		p++;
	return p;
}

static unsigned hex4(const uint8_t *p)
{
	unsigned unit = 0;
	for (int i = 0; i < 4; i++) {
		uint8_t lower = p[i] | 0x20;
		unsigned digit = lower >= 'a' ? (unsigned)(lower - 'a' + 10) : (unsigned)(p[i] - '0');
		unit = unit << 4 | (digit & 15);
	}
	return unit;
}

static size_t utf8_put(uint8_t out[4], uint32_t rune)
{
	if (rune < 0x80) {
		out[0] = (uint8_t)rune;
		return 1;
	}
	if (rune < 0x800) {
		out[0] = (uint8_t)(0xc0 | rune >> 6);
		out[1] = (uint8_t)(0x80 | (rune & 0x3f));
		return 2;
	}
	if (rune < 0x10000) {
		out[0] = (uint8_t)(0xe0 | rune >> 12);
		out[1] = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (rune & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | rune >> 18);
	out[1] = (uint8_t)(0x80 | (rune >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (rune & 0x3f));
	return 4;
}

/* *p: after "\u". What json_check would have refused becomes U+FFFD. */
static uint32_t unicode_take(const uint8_t **p, const uint8_t *end)
{
	if (end - *p < 4) {
		*p = end;
		return 0xfffd;
	}
	uint32_t unit = hex4(*p);
	*p += 4;
	if (unit < 0xd800 || unit > 0xdfff)
		return unit;
	if (unit > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return 0xfffd;
	uint32_t low = hex4(*p + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return 0xfffd;
	*p += 6;
	return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

/* Decodes the escape at *p (a backslash) to out and steps over it; returns the bytes written, fewer than the escape
 * had. */
static size_t escape_take(const uint8_t **p, const uint8_t *end, uint8_t out[4])
{
	if (end - *p < 2) {
		*p = end;
		return 0;
	}
	uint8_t kind = (*p)[1];
	*p += 2;
	switch (kind) {
	case 'b': out[0] = '\b'; return 1;
	case 'f': out[0] = '\f'; return 1;
	case 'n': out[0] = '\n'; return 1;
	case 'r': out[0] = '\r'; return 1;
	case 't': out[0] = '\t'; return 1;
	case 'u': break;
	default: out[0] = kind; return 1;
	}
	const uint8_t *escape = *p;
	size_t n = utf8_put(out, unicode_take(p, end));
	return n < 2 + (size_t)(*p - escape) ? n : 0;
}

/* Compares the inside of a string that contains escapes with an unescaped token. */
static bool escaped_equals(const uint8_t *p, const uint8_t *end, const char *token, size_t len)
{
	size_t at = 0;
	while (p < end) {
		uint8_t decoded[4] = {*p};
		size_t n = 1;
		if (*p == '\\')
			n = escape_take(&p, end, decoded);
		else
			p++;
		if (n > len - at || memcmp(decoded, token + at, n) != 0)
			return false;
		at += n;
	}
	return at == len;
}

/* p: at the value of a member. Returns the quote of the next key, or the bracket that closes the object. Numbers and
 * words are passed together with the comma and the space behind them: reading them byte by byte costs a mispredicted
 * branch each. */
static inline const uint8_t *next_key(const uint8_t *p, const uint8_t *end)
{
	if (p < end && *p == '"')
		p = skip_string(p, end);
	else if (p < end && (*p == '{' || *p == '['))
		p = skip_container(p, end);
	return scan_to(p, end, SCAN_NEST);
}

/* Whether no key from p on can be this one: it does not stand there as it is, and nothing is escaped. Searching for a
 * word is faster than walking from key to key, and most documents lack a key that few have. */
static bool is_absent(const uint8_t *p, const uint8_t *end, const char *token, size_t len)
{
	return !memmem(p, (size_t)(end - p), token, len) && !memchr(p, '\\', (size_t)(end - p));
}

/* p: after '{'. Returns the value of the first member with this name, or NULL. */
static const uint8_t *find_member(const uint8_t *p, const uint8_t *end, const char *token, size_t len)
{
	bool first = true;
	p = skip_space(p, end);
	while (p < end && *p == '"') {
		const uint8_t *key = p + 1;
		bool escaped;
		p = string_end(key, end, &escaped);
		size_t key_len = (size_t)(p - key);
		bool found =
		    escaped ? escaped_equals(key, p, token, len) : key_len == len && memcmp(key, token, len) == 0;
		p = p < end ? skip_space(p + 1, end) : end;
		if (p < end)
			p = skip_space(p + 1, end); /* the colon */
		if (found)
			return p;
		if (first && is_absent(p, end, token, len))
			return NULL;
		first = false;
		p = next_key(p, end);
	}
	return NULL;
}

/* RFC 6901 section 4: an array index has no sign and no leading zero. ("-", the element after the last, never exists
 * here.) */
static bool token_index(const char *token, size_t len, size_t *index)
{
	if (len == 0 || len > 18 || (len > 1 && token[0] == '0'))
		return false;
	*index = 0;
	for (size_t i = 0; i < len; i++) {
		if (token[i] < '0' || token[i] > '9')
			return false;
		*index = *index * 10 + (size_t)(token[i] - '0');
	}
	return true;
}

/* p: after '['. */
static const uint8_t *find_element(const uint8_t *p, const uint8_t *end, const char *token, size_t len)
{
	size_t index;
	if (!token_index(token, len, &index))
		return NULL;
	p = skip_space(p, end);
	if (p == end || *p == ']')
		return NULL;
	for (; index > 0; index--) {
		p = skip_space(skip_value(p, end), end);
		if (p == end || *p != ',')
			return NULL;
		p = skip_space(p + 1, end);
	}
	return p;
}

struct json_value json_find(const char *text, size_t len, const struct json_pointer *pointer)
{
	if (len == 0)
		return (struct json_value){.type = JSON_INVALID};
	const uint8_t *end = (const uint8_t *)text + len;
	const uint8_t *p = skip_space((const uint8_t *)text, end);
	const char *token = pointer->text;
	for (size_t i = 0; i < pointer->count && p && p < end; i++) {
		size_t token_len = pointer->lengths[i];
		if (*p == '{')
			p = find_member(p + 1, end, token, token_len);
		else if (*p == '[')
			p = find_element(p + 1, end, token, token_len);
		else
			p = NULL;
		token += token_len + 1;
	}
	if (!p || p == end)
		return (struct json_value){.type = JSON_INVALID};
	const uint8_t *stop = skip_value(p, end);
	return (struct json_value){.type = json_type_of(*p), .text = (const char *)p, .len = (size_t)(stop - p)};
}

size_t json_unescape(char *out, const char *text, size_t len)
{
	if (len == 0)
		return 0;
	const uint8_t *p = (const uint8_t *)text, *end = p + len;
	char *at = out;
	while (p < end) {
		const uint8_t *run = p;
		p = scan_to(p, end, SCAN_ESCAPE);
		if (p < end && *p != '\\')
			p++; /* not in a valid string: kept as it is */
		memcpy(at, run, (size_t)(p - run));
		at += p - run;
		if (p == end || *p != '\\')
			continue;
		uint8_t decoded[4];
		size_t n = escape_take(&p, end, decoded);
		memcpy(at, decoded, n);
		at += n;
	}
	assert((size_t)(at - out) <= len);
	return (size_t)(at - out);
}

/* The letter of a two-character escape, or 0: "\u00XX" it is. */
static char short_escape(uint8_t b)
{
	switch (b) {
	case '\b': return 'b';
	case '\f': return 'f';
	case '\n': return 'n';
	case '\r': return 'r';
	case '\t': return 't';
	case '"': return '"';
	case '\\': return '\\';
	default: return 0;
	}
}

size_t json_escape(char *out, const char *text, size_t len)
{
	if (len == 0)
		return 0;
	static const char hex[] = "0123456789abcdef";
	const uint8_t *p = (const uint8_t *)text, *end = p + len;
	char *at = out;
	while (p < end) {
		const uint8_t *run = p;
		p = scan_to(p, end, SCAN_ESCAPE);
		memcpy(at, run, (size_t)(p - run));
		at += p - run;
		if (p == end)
			break;
		uint8_t b = *p++;
		char letter = short_escape(b);
		*at++ = '\\';
		*at++ = letter ? letter : 'u';
		if (letter)
			continue;
		memcpy(at, (const char[4]){'0', '0', hex[b >> 4], hex[b & 15]}, 4);
		at += 4;
	}
	return (size_t)(at - out);
}

size_t json_escaped_size(const char *text, size_t len)
{
	if (len == 0)
		return 0;
	const uint8_t *p = (const uint8_t *)text, *end = p + len;
	size_t size = len;
	while ((p = scan_to(p, end, SCAN_ESCAPE)) < end)
		size += short_escape(*p++) ? 1 : 5;
	return size;
}
