/* Any bytes: json_check against a validator that is slow and plain, and what must hold for the others.
 * The input arrives in a heap block of its exact size, so that the address sanitizer sees a read beyond it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/base64.h"
#include "gateway/base/crc32c.h"
#include "gateway/base/json.h"
#include "gateway/base/utf8.h"
#include "test/fuzz/must.h"

#define DEPTH 24

/* The reference: one function per rule of RFC 8259, each returns where its rule ends or NULL. It also remembers where
 * each value was, and how a pointer would name it. */
struct reference {
	const char *end;
	unsigned depth;
};

static const char *ref_value(struct reference *r, const char *p);

static const char *ref_space(const struct reference *r, const char *p)
{
	while (p < r->end && strchr(" \t\r\n", *p) && *p)
		p++;
	return p;
}

/* By decoding and encoding limits, not by tables of allowed bytes. */
static size_t ref_sequence(const uint8_t *p, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80             ? 1
	           : (p[0] & 0xe0) == 0xc0 ? 2
	           : (p[0] & 0xf0) == 0xe0 ? 3
	           : (p[0] & 0xf8) == 0xf0 ? 4
	                                   : 0;
	if (n == 0 || n > left)
		return 0;
	uint32_t rune = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		rune = rune << 6 | (p[i] & 0x3f);
	}
	return rune < least[n] || rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff) ? 0 : n;
}

static long ref_hex4(const struct reference *r, const char *p)
{
	char digits[5] = {0};
	if (r->end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	memcpy(digits, p + 2, 4);
	return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

static const char *ref_escape(const struct reference *r, const char *p)
{
	if (r->end - p < 2)
		return NULL;
	if (p[1] != 'u')
		return p[1] && strchr("\"\\/bfnrt", p[1]) ? p + 2 : NULL;
	long unit = ref_hex4(r, p);
	if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
		return NULL;
	if (unit < 0xd800 || unit > 0xdfff)
		return p + 6;
	long low = ref_hex4(r, p + 6);
	return low >= 0xdc00 && low <= 0xdfff ? p + 12 : NULL;
}

static const char *ref_string(const struct reference *r, const char *p)
{
	if (p == r->end || *p++ != '"')
		return NULL;
	while (p && p < r->end && *p != '"') {
		if (*p == '\\') {
			p = ref_escape(r, p);
		} else {
			size_t n = (uint8_t)*p < 0x20 ? 0 : ref_sequence((const uint8_t *)p, (size_t)(r->end - p));
			p = n ? p + n : NULL;
		}
	}
	return p && p < r->end ? p + 1 : NULL;
}

static const char *ref_digits(const struct reference *r, const char *p)
{
	const char *from = p;
	while (p < r->end && *p >= '0' && *p <= '9')
		p++;
	return p > from ? p : NULL;
}

static const char *ref_number(const struct reference *r, const char *p)
{
	if (*p == '-')
		p++;
	if (p < r->end && *p == '0')
		p++;
	else
		p = ref_digits(r, p);
	if (p && p < r->end && *p == '.')
		p = ref_digits(r, p + 1);
	if (p && p < r->end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < r->end && (*p == '+' || *p == '-'))
			p++;
		p = ref_digits(r, p);
	}
	return p;
}

static const char *ref_container(struct reference *r, const char *p, bool object)
{
	char close = object ? '}' : ']';
	if (r->depth == DEPTH)
		return NULL;
	r->depth++;
	p = ref_space(r, p + 1);
	bool empty = p < r->end && *p == close;
	while (!empty) {
		if (object) {
			p = ref_string(r, ref_space(r, p));
			p = p ? ref_space(r, p) : NULL;
			if (!p || p == r->end || *p++ != ':')
				return NULL;
		}
		p = ref_value(r, ref_space(r, p));
		p = p ? ref_space(r, p) : NULL;
		if (!p || p == r->end)
			return NULL;
		if (*p == close)
			break;
		if (*p++ != ',')
			return NULL;
	}
	r->depth--;
	return p + 1;
}

static const char *ref_value(struct reference *r, const char *p)
{
	static const char *const words[] = {"true", "false", "null"};
	if (p == r->end)
		return NULL;
	if (*p == '{' || *p == '[')
		return ref_container(r, p, *p == '{');
	if (*p == '"')
		return ref_string(r, p);
	if (*p == '-' || (*p >= '0' && *p <= '9'))
		return ref_number(r, p);
	for (size_t i = 0; i < 3; i++) {
		size_t n = strlen(words[i]);
		if ((size_t)(r->end - p) >= n && memcmp(p, words[i], n) == 0)
			return p + n;
	}
	return NULL;
}

static bool ref_document(const char *text, size_t len)
{
	struct reference r = {.end = text + len};
	const char *p = ref_value(&r, ref_space(&r, text));
	return p && ref_space(&r, p) == r.end;
}

static struct json_value find(const char *text, size_t len, const char *pointer)
{
	struct json_pointer p;
	if (!json_pointer_init(&p, pointer))
		return (struct json_value){.type = JSON_INVALID};
	struct json_value v = json_find(text, len, &p);
	json_pointer_fini(&p);
	MUST(v.type == JSON_INVALID || (v.text >= text && v.len <= len - (size_t)(v.text - text)));
	return v;
}

static void try_times(const struct json_value *v)
{
	for (int format = JSON_TIME_RFC3339; format <= JSON_TIME_UNIX_US; format++) {
		int64_t us = INT64_MIN;
		bool ok = json_time(v, (enum json_time_format)format, &us);
		MUST(!ok ? us == INT64_MIN : us >= INT64_C(-62135596800000000) && us <= INT64_C(253402300799999999));
	}
}

/* Turns the inside of a key into the pointer to it, or returns NULL: a C string cannot hold a NUL. */
static char *pointer_to(const char *key, size_t len)
{
	char *name = malloc(len + 1), *pointer = malloc(2 * len + 2), *at = pointer;
	size_t n = json_unescape(name, key, len);
	MUST(n <= len && utf8_check(name, n) == n);
	bool whole = memchr(name, 0, n) == NULL;
	*at++ = '/';
	for (size_t i = 0; i < n; i++) {
		if (name[i] == '~' || name[i] == '/')
			*at++ = '~';
		*at++ = name[i] == '~' ? '0' : name[i] == '/' ? '1' : name[i];
	}
	*at = '\0';
	free(name);
	if (whole)
		return pointer;
	free(pointer);
	return NULL;
}

/* Every key of the outermost object is found, at its own place or at that of an equal key before it; likewise every
 * element. */
static void find_each(const char *text, size_t len)
{
	struct reference r = {.end = text + len};
	const char *p = ref_space(&r, text);
	bool object = *p == '{';
	if (!object && *p != '[')
		return;
	p = ref_space(&r, p + 1);
	/* Each look-up may walk the whole document: not more of them than keep the fuzzer quick. */
	for (unsigned i = 0; i < 50 && *p != '}' && *p != ']'; i++) {
		char index[16], *pointer = NULL;
		snprintf(index, sizeof(index), "/%u", i);
		if (object) {
			const char *stop = ref_string(&r, p);
			pointer = pointer_to(p + 1, (size_t)(stop - p) - 2);
			p = ref_space(&r, ref_space(&r, stop) + 1);
		}
		const char *end = ref_value(&r, p);
		struct json_value v = object && !pointer ? (struct json_value){.type = JSON_INVALID}
		                                         : find(text, len, pointer ? pointer : index);
		if (!object || pointer) {
			struct json_result again = json_check(v.text, v.len, DEPTH);
			MUST(again.type == v.type && again.start == 0 && again.end == v.len);
			MUST(v.text == p ? v.len == (size_t)(end - p) : object && v.text < p);
			try_times(&v);
		}
		free(pointer);
		p = ref_space(&r, end);
		if (*p == ',')
			p = ref_space(&r, p + 1);
	}
}

static void try_valid(const char *text, size_t len, const struct json_result *result)
{
	char *line = malloc(len);
	MUST(json_copy_line(line, text, len) == len);
	MUST(!json_has_newline(line, len));
	struct json_result again = json_check(line, len, DEPTH);
	MUST(again.type == result->type && again.start == result->start && again.end == result->end);
	MUST(json_has_newline(text, len) == (memcmp(line, text, len) != 0));
	free(line);
	struct json_value whole = find(text, len, "");
	MUST(whole.type == result->type && whole.text == text + result->start &&
	     whole.len == result->end - result->start);
	if (whole.type == JSON_STRING)
		free(pointer_to(whole.text + 1, whole.len - 2));
	find_each(text, len);
}

static void try_check(const char *text, size_t len)
{
	struct json_result result = json_check(text, len, DEPTH);
	MUST((result.type != JSON_INVALID) == ref_document(text, len));
	MUST((result.type == JSON_INVALID) == (result.reason != NULL));
	MUST(result.offset <= len && result.end <= len);
	if (result.type != JSON_INVALID)
		try_valid(text, len, &result);
	else /* what stands before the place named is no reason: the same text cut there fails at its end, if it fails
	      */
		MUST(result.offset == len || json_check(text, result.offset, DEPTH).offset <= result.offset);
}

static void try_utf8(const char *text, size_t len)
{
	size_t good = 0, n;
	while (good < len && (n = ref_sequence((const uint8_t *)text + good, len - good)) > 0)
		good += n;
	MUST(utf8_check(text, len) == good);
}

static void try_escape(const char *text, size_t len)
{
	size_t size = json_escaped_size(text, len);
	MUST(size >= len && size <= 6 * len);
	char *escaped = malloc(size + 2), *back = malloc(size + 1);
	MUST(json_escape(escaped + 1, text, len) == size);
	MUST(json_unescape(back, escaped + 1, size) == len);
	MUST(len == 0 || memcmp(back, text, len) == 0);
	escaped[0] = escaped[size + 1] = '"';
	MUST((json_check(escaped, size + 2, 0).type == JSON_STRING) == (utf8_check(text, len) == len));
	free(escaped);
	free(back);
}

/* Functions that are meant for valid text, with any: the result means nothing, but no byte too many is touched. */
static void try_invalid(const char *text, size_t len)
{
	static const char *const pointers[] = {"", "/a", "/a/b/0", "/0", "/1/a", "/device"};
	char *out = malloc(len + 1);
	MUST(json_unescape(out, text, len) <= len);
	free(out);
	for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
		struct json_value v = find(text, len, pointers[i]);
		try_times(&v);
	}
	for (int type = JSON_INVALID; type <= JSON_NULL; type++)
		try_times(&(struct json_value){.type = (enum json_type)type, .text = text, .len = len});
	char *pointer = malloc(len + 1);
	memcpy(pointer, text, len);
	pointer[len] = '\0';
	find(text, len, pointer);
	free(pointer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const char *text = (const char *)data;
	try_check(text, size);
	try_utf8(text, size);
	try_escape(text, size);
	try_invalid(text, size);
	char *base64 = malloc(4 * ((size + 2) / 3));
	MUST(base64_encode(base64, data, size) == 4 * ((size + 2) / 3));
	free(base64);
	MUST(crc32c(0, data, size) == crc32c_portable(0, data, size));
	return 0;
}
