/* The payload table; see payload.h. */
#include "gateway/payload.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Numbers by IANA's registry "CoAP Content-Formats". application/x-www-form-urlencoded is what curl says of anything. */
const struct payload_row payload_rows[PAYLOAD_KINDS] = {
    [PAYLOAD_AUTO] = {"auto",
                      {"application/octet-stream", "application/x-www-form-urlencoded"},
                      {42, -1},
                      payload_decode_json},
    [PAYLOAD_JSON] = {"json",
                      {"application/json", "text/json", "text/x-json", "application/x-json", "+json"},
                      {50, 11543, -1},
                      payload_decode_json},
    [PAYLOAD_TEXT] = {"text", {"text/plain", "text/"}, {0, -1}, NULL},
    [PAYLOAD_BINARY] = {"binary", {NULL}, {-1}, NULL},
    [PAYLOAD_SENML] = {"senml", {"application/senml+json"}, {110, -1}, payload_decode_senml},
    [PAYLOAD_LINES] = {"ndjson",
                       {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
                        "text/x-ndjson", "text/ndjson"},
                       {-1},
                       payload_decode_json},
};
const char *const payload_names[] = {"auto", "json", "text", "binary", "senml", NULL};

/* Content-Formats whose media type `accept_types` may name, although no row has them, and the names of our own. */
static const struct {
	int32_t format;
	const char *type;
} format_types[] = {
    {0, "text/plain"},
    {40, "application/link-format"},
    {41, "application/xml"},
    {42, "application/octet-stream"},
    {47, "application/exi"},
    {50, "application/json"},
    {60, "application/cbor"},
    {110, "application/senml+json"},
    {112, "application/senml+cbor"},
    {11542, "application/vnd.oma.lwm2m+tlv"},
    {11543, "application/vnd.oma.lwm2m+json"},
    {11544, "application/vnd.oma.lwm2m+cbor"},
};

/* -- finding a row -- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A media type without its parameters and the white space around it. */
static size_t bare_type(const char **type, size_t len)
{
	const char *semicolon = memchr(*type, ';', len);
	if (semicolon)
		len = (size_t)(semicolon - *type);
	while (len > 0 && is_space((*type)[len - 1]))
		len--;
	while (len > 0 && is_space(**type)) {
		++*type;
		len--;
	}
	return len;
}

static bool same(const char *type, size_t len, const char *name)
{
	return strlen(name) == len && strncasecmp(type, name, len) == 0;
}

/* A name of the table that stands for many: a tree ("text/") or a suffix ("+json", RFC 6839). */
static bool same_group(const char *type, size_t len, const char *name)
{
	size_t n = strlen(name);
	if (len <= n)
		return false;
	return (name[0] == '+' && strncasecmp(type + len - n, name, n) == 0) ||
	       (name[n - 1] == '/' && strncasecmp(type, name, n) == 0);
}

enum payload_kind payload_of_type(const char *type, size_t len)
{
	len = bare_type(&type, len);
	if (len == 0)
		return PAYLOAD_AUTO;
	for (int k = 0; k < PAYLOAD_KINDS; k++)
		for (const char *const *name = payload_rows[k].types; *name; name++)
			if (same(type, len, *name))
				return (enum payload_kind)k;
	for (int k = 0; k < PAYLOAD_KINDS; k++)
		for (const char *const *name = payload_rows[k].types; *name; name++)
			if (same_group(type, len, *name))
				return (enum payload_kind)k;
	return PAYLOAD_UNKNOWN;
}

enum payload_kind payload_of_format(int32_t format)
{
	if (format == -1)
		return PAYLOAD_AUTO;
	for (int k = 0; k < PAYLOAD_KINDS; k++)
		for (const int32_t *f = payload_rows[k].formats; *f != -1; f++)
			if (*f == format)
				return (enum payload_kind)k;
	return PAYLOAD_UNKNOWN;
}

const char *payload_format_type(int32_t format)
{
	for (size_t i = 0; i < COUNT(format_types); i++)
		if (format_types[i].format == format)
			return format_types[i].type;
	return NULL;
}

bool payload_accepts(const struct string_list *accepted, const char *type, size_t len)
{
	len = bare_type(&type, len);
	for (size_t i = 0; i < accepted->count; i++)
		if (same(type, len, accepted->items[i]))
			return true;
	return false;
}

/* -- listing -- */

static size_t add_name(char *out, size_t size, size_t used, const char *separator, const char *name)
{
	int n = snprintf(out + used, size - used, "%s%s", used > 0 ? separator : "", name);
	if (n < 0 || (size_t)n >= size - used) {
		out[used] = 0;
		return used;
	}
	return used + (size_t)n;
}

size_t payload_list_types(char *out, size_t size)
{
	size_t used = 0;
	out[0] = 0;
	for (int k = 0; k < PAYLOAD_KINDS; k++)
		if (payload_rows[k].types[0])
			used = add_name(out, size, used, ", ", payload_rows[k].types[0]);
	return used;
}

size_t payload_list_formats(char *out, size_t size, const char *separator)
{
	size_t used = 0;
	out[0] = 0;
	for (int32_t f = 0; f <= UINT16_MAX; f++) {
		char number[12];
		if (payload_of_format(f) == PAYLOAD_UNKNOWN)
			continue;
		snprintf(number, sizeof(number), "%d", (int)f);
		used = add_name(out, size, used, separator, number);
	}
	return used;
}

/* -- JSON -- */

static const char byte_order_mark[] = "\xef\xbb\xbf";
#define MARK_LEN 3u

static bool begins_with_mark(const char *text, size_t len)
{
	return len >= MARK_LEN && memcmp(text, byte_order_mark, MARK_LEN) == 0;
}

bool payload_trim(const char *bytes, size_t len, size_t *start, size_t *end)
{
	*start = begins_with_mark(bytes, len) ? MARK_LEN : 0;
	*end = len;
	while (*end > *start && (bytes[*end - 1] == 0 || is_space(bytes[*end - 1])))
		--*end;
	return *start > 0 || (*end < len && memchr(bytes + *end, 0, len - *end));
}

/* What is invalid as it stands may be valid without a mark in front and NULs behind. Out of the way of what is valid. */
static __attribute__((noinline, cold)) bool decode_trimmed(const char *bytes, size_t len, unsigned max_depth,
                                                           struct payload_text *out)
{
	size_t start, end;
	if (!payload_trim(bytes, len, &start, &end))
		return false;
	out->text = bytes + start;
	out->json = json_check(out->text, end - start, max_depth);
	if (out->json.type != JSON_INVALID)
		return true;
	out->json.offset += start;
	return false;
}

bool payload_decode_json(const char *bytes, size_t len, unsigned max_depth, struct payload_text *out)
{
	out->text = bytes;
	out->json = json_check(bytes, len, max_depth);
	return out->json.type != JSON_INVALID || decode_trimmed(bytes, len, max_depth, out);
}

/* -- JSON that is nearly JSON -- */

static size_t skip_space(const char *text, size_t len, size_t i)
{
	while (i < len && is_space(text[i]))
		i++;
	return i;
}

static size_t skip_digits(const char *text, size_t len, size_t i)
{
	while (i < len && text[i] >= '0' && text[i] <= '9')
		i++;
	return i;
}

/* What stands behind the '[' of an array: a value that cannot be the beginning of prose, or a number that a comma or the end
 * follows. "[INFO] up" and "[2026-11-22] up" are log lines. */
static bool looks_array(const char *text, size_t len, size_t i)
{
	i = skip_space(text, len, i);
	if (i == len || memchr("[]{\"", text[i], 4))
		return true;
	size_t start = i += text[i] == '-';
	i = skip_digits(text, len, i);
	if (i < len && text[i] == '.')
		i = skip_digits(text, len, i + 1);
	return i > start && (i = skip_space(text, len, i)) < len && (text[i] == ',' || text[i] == ']');
}

bool payload_looks_json(const char *text, size_t len)
{
	size_t i = begins_with_mark(text, len) ? MARK_LEN : 0;
	while (i < len && (text[i] == 0 || is_space(text[i])))
		i++;
	if (i == len)
		return false;
	return text[i] == '[' ? looks_array(text, len, i + 1) : memchr("{\"}]", text[i], 4) != NULL;
}

static bool begins_word(const char *bytes, size_t len, size_t at, const char *word)
{
	size_t n = strlen(word);
	return at <= len && len - at >= n && strncasecmp(bytes + at, word, n) == 0;
}

enum json_fault payload_fault_of(const char *bytes, size_t len, const struct payload_text *found)
{
	static const struct {
		const char *reason;
		enum json_fault fault;
	} known[] = {
	    {"invalid UTF-8", JSON_FAULT_ENCODING},
	    {"unexpected end", JSON_FAULT_TRUNCATED},
	    {"bytes after the document", JSON_FAULT_TRAILING},
	    {"nested too deeply", JSON_FAULT_DEPTH},
	};
	for (size_t i = 0; i < COUNT(known); i++)
		if (strcmp(found->json.reason, known[i].reason) == 0)
			return known[i].fault;
	/* Found where no value begins, or at the second letter of what began like "null". */
	static const char *const words[] = {"nan", "inf", "+nan", "+inf"};
	for (size_t back = 0; back <= 1 && back <= found->json.offset; back++)
		for (size_t i = 0; i < COUNT(words); i++)
			if (begins_word(bytes, len, found->json.offset - back, words[i]))
				return JSON_FAULT_NOT_A_NUMBER;
	return JSON_FAULT_SYNTAX;
}

/* -- SenML -- */

static bool not_a_pack(struct payload_text *out, const char *bytes, const char *at)
{
	out->json =
	    (struct json_result){.offset = (size_t)(at - bytes), .reason = "a SenML pack is an array of objects"};
	return false;
}

/* The byte behind the string whose opening quote is at p; valid text ends it. */
static const char *skip_string(const char *p)
{
	for (p++; *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p + 1;
}

/* The end of the object that begins at p, in a valid document. */
static const char *skip_object(const char *p)
{
	size_t depth = 0;
	do {
		if (*p == '"') {
			p = skip_string(p);
			continue;
		}
		depth += *p == '{';
		depth -= *p == '}';
		p++;
	} while (depth > 0);
	return p;
}

static const char *next(const char *p, const char *end)
{
	while (p < end && (is_space(*p) || *p == ','))
		p++;
	return p;
}

/* Every element is an object. Records are kept as they are: base fields are not resolved. */
bool payload_decode_senml(const char *bytes, size_t len, unsigned max_depth, struct payload_text *out)
{
	if (!payload_decode_json(bytes, len, max_depth, out))
		return false;
	const char *value = out->text + out->json.start, *end = out->text + out->json.end - 1;
	if (out->json.type != JSON_ARRAY)
		return not_a_pack(out, bytes, value);
	const char *first = next(value + 1, end);
	for (const char *p = first; p < end; p = next(p, end)) {
		if (*p != '{')
			return not_a_pack(out, bytes, p);
		p = skip_object(p);
		if (!out->look) {
			out->look = first;
			out->look_len = (size_t)(p - first);
		}
	}
	return out->look || not_a_pack(out, bytes, first); /* an empty one says nothing */
}
