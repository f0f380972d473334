/* Judging the head of a request; see http_head.h. */
#include "protocols/http/http_head.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* tchar of RFC 9110 section 5.6.2: what a header name is made of. */
static bool is_token_char(unsigned char c)
{
	static const uint32_t set[8] = {0, 0x03ff6cfa /* 0-9 and ! # $ % & ' * + - . */, 0xc7fffffe /* A-Z ^ _ */,
	                                0x57ffffff /* ` a-z | ~ */};
	return set[c >> 5] >> (c & 31) & 1;
}

static bool is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_token_char((unsigned char)text[i]))
			return false;
	return len > 0;
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* field-value of RFC 9110 section 5.5: no control but the tab; a bare CR, LF or NUL is an attack. */
static bool is_value(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (is_control(text[i]) && text[i] != '\t')
			return false;
	return true;
}

static bool same(const char *name, size_t len, const char *other, size_t other_len)
{
	return len == other_len && strncasecmp(name, other, len) == 0;
}
#define IS(literal) same(name, name_len, (literal), sizeof(literal) - 1)

static bool begins(const char *name, size_t len, const char *start, size_t start_len)
{
	return len >= start_len && strncasecmp(name, start, start_len) == 0;
}
#define BEGINS(literal) begins(name, name_len, (literal), sizeof(literal) - 1)

static void set_problem(struct http_head *h, enum http_problem p)
{
	if (h->problem == HTTP_FINE || (p == HTTP_BAD_FRAMING && h->problem != p))
		h->problem = p;
}

static void set_once(struct http_head *h, struct http_text *field, const char *value, size_t len,
                     enum http_problem twice)
{
	if (field->text)
		set_problem(h, twice);
	field->text = value ? value : "";
	field->len = len;
}

void http_head_field(struct http_head *h, const char *name, size_t name_len, const char *value, size_t value_len)
{
	if (!is_token(name, name_len) || !is_value(value, value_len))
		set_problem(h, HTTP_BAD_HEADER);
	if (IS("Host")) {
		set_once(h, &h->host, value, value_len, HTTP_BAD_HOST);
	} else if (BEGINS("Content-Length")) {
		/* libmicrohttpd 0.9.75 glues what it cannot parse to the name ("Transfer-Encoding:\r\n chunked"
		 * arrives as "Transfer-Encodingchunked"): any name that only begins like these is such a wreck. */
		set_once(h, &h->length, value, value_len, HTTP_BAD_FRAMING);
		if (!IS("Content-Length"))
			set_problem(h, HTTP_BAD_FRAMING);
	} else if (BEGINS("Transfer-Encoding")) {
		set_once(h, &h->transfer, value, value_len, HTTP_BAD_FRAMING);
		if (!IS("Transfer-Encoding"))
			set_problem(h, HTTP_BAD_FRAMING);
	} else if (IS("Content-Type")) {
		set_once(h, &h->type, value, value_len, HTTP_BAD_HEADER);
	} else if (IS("Content-Encoding")) {
		set_once(h, &h->coding, value, value_len, HTTP_BAD_CODING);
	} else if (IS("Expect")) {
		set_once(h, &h->expect, value, value_len, HTTP_BAD_EXPECT);
	} else if (IS("X-Sluice-Device")) {
		set_once(h, &h->device, value, value_len, HTTP_BAD_HEADER);
	} else if (IS("X-Sluice-Channel")) {
		set_once(h, &h->channel, value, value_len, HTTP_BAD_HEADER);
	} else if (IS("Idempotency-Key")) {
		set_once(h, &h->key, value, value_len, HTTP_BAD_KEY);
	}
}

/* One run of digits, as RFC 9110 section 8.6 has it: no sign, no list, no base, no 2^64. */
static bool parse_length(struct http_text t, uint64_t *out)
{
	if (t.len == 0 || t.len > 18)
		return false;
	uint64_t n = 0;
	for (size_t i = 0; i < t.len; i++) {
		if (t.text[i] < '0' || t.text[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(t.text[i] - '0');
	}
	*out = n;
	return true;
}

static struct http_text until(struct http_text t, char stop)
{
	const char *end = memchr(t.text, stop, t.len);
	if (end)
		t.len = (size_t)(end - t.text);
	while (t.len > 0 && (t.text[t.len - 1] == ' ' || t.text[t.len - 1] == '\t'))
		t.len--;
	return t;
}

size_t http_media_name(struct http_text type, char out[HTTP_MEDIA_NAME])
{
	if (!type.text)
		return 0;
	struct http_text name = until(type, ';');
	size_t len = name.len < HTTP_MEDIA_NAME ? name.len : HTTP_MEDIA_NAME;
	for (size_t i = 0; i < len; i++)
		out[i] = (char)tolower((unsigned char)name.text[i]);
	return len;
}

static enum http_problem parse_coding(struct http_text coding, enum http_coding *out)
{
	*out = CODING_NONE;
	if (!coding.text)
		return HTTP_FINE;
	const char *name = coding.text;
	size_t name_len = coding.len;
	if (IS("gzip") || IS("x-gzip"))
		*out = CODING_GZIP;
	else if (IS("deflate"))
		*out = CODING_DEFLATE;
	else if (!IS("identity"))
		return HTTP_BAD_CODING;
	return HTTP_FINE;
}

/* A String of RFC 8941, as the draft has the key, is the same key as its text alone. */
static void unquote(struct http_text *key)
{
	bool quoted = key->len >= 2 && key->text[0] == '"' && key->text[key->len - 1] == '"';
	if (!quoted || memchr(key->text + 1, '"', key->len - 2) || memchr(key->text, '\\', key->len))
		return;
	key->text++;
	key->len -= 2;
}

static bool is_key(struct http_text key)
{
	for (size_t i = 0; i < key.len; i++)
		if (key.text[i] < 0x20 || key.text[i] > 0x7e)
			return false;
	return key.len >= 1 && key.len <= 128;
}

static void judge_framing(struct http_head *h, bool old)
{
	h->has_length = h->length.text != NULL;
	if (h->has_length && (h->transfer.text || !parse_length(h->length, &h->body_len)))
		set_problem(h, HTTP_BAD_FRAMING);
	if (!h->transfer.text)
		return;
	/* RFC 9112 section 6.1: HTTP/1.0 has no Transfer-Encoding, and we decode no other than one "chunked". */
	h->chunked = same(h->transfer.text, h->transfer.len, "chunked", 7);
	if (!h->chunked || old)
		set_problem(h, HTTP_BAD_FRAMING);
}

static bool is_host(struct http_text host)
{
	for (size_t i = 0; i < host.len; i++)
		if (memchr(" \t,/\\@?#", host.text[i], 8))
			return false;
	return true;
}

enum http_problem http_head_end(struct http_head *h, const char *version)
{
	bool old = strcmp(version, "HTTP/1.0") == 0;
	judge_framing(h, old);
	if (h->host.text ? !is_host(h->host) : !old)
		set_problem(h, HTTP_BAD_HOST);
	if (h->expect.text) {
		h->expects = same(h->expect.text, h->expect.len, "100-continue", 12);
		if (!h->expects)
			set_problem(h, HTTP_BAD_EXPECT);
	}
	unquote(&h->key);
	if (h->key.text && !is_key(h->key))
		set_problem(h, HTTP_BAD_KEY);
	enum http_problem coding = parse_coding(h->coding, &h->packed);
	if (coding)
		set_problem(h, coding);
	h->media = h->type.text ? payload_of_type(h->type.text, h->type.len) : PAYLOAD_AUTO;
	return h->problem;
}

/* -- target -- */

/* The path of an absolute-form target. False: its scheme is not the one that was spoken (RFC 9110 section 7.4). */
static bool skip_authority(const char **path)
{
	if (**path == '/' || !strstr(*path, "://"))
		return true;
	if (strncasecmp(*path, "http://", 7) != 0)
		return false;
	const char *slash = strchr(*path + 7, '/');
	*path = slash ? slash : "/";
	return true;
}

enum http_problem http_target_parse(struct http_target *t, const char *path)
{
	static const char root[] = "/v1/telemetry";
	memset(t, 0, sizeof(*t));
	for (const char *p = path; *p; p++)
		if (is_control(*p) || *p == ' ' || *p == '#') /* a fragment is not sent: RFC 9112 section 3.2 */
			return HTTP_BAD_TARGET;
	if (!skip_authority(&path))
		return HTTP_MISDIRECTED;
	if (strstr(path, "//")) /* proxies make one of them, or do not */
		return HTTP_BAD_TARGET;
	if (strncmp(path, root, sizeof(root) - 1) != 0)
		return HTTP_NOT_FOUND;
	const char *rest = path + sizeof(root) - 1;
	if (*rest == 0) {
		t->route = ROUTE_COLLECTION;
		return HTTP_FINE;
	}
	if (*rest != '/')
		return HTTP_NOT_FOUND;
	t->route = ROUTE_DEVICE;
	t->device.text = rest + 1;
	t->device.len = strcspn(rest + 1, "/");
	const char *channel = rest + 1 + t->device.len;
	if (*channel == '/' && channel[1] != 0)
		t->channel = (struct http_text){channel + 1, strlen(channel + 1)};
	return t->device.len == 0 ? HTTP_BAD_TARGET : HTTP_FINE;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool has_dot_segment(const char *text, size_t len)
{
	for (size_t start = 0, i = 0; i <= len; i++) {
		if (i < len && text[i] != '/')
			continue;
		size_t n = i - start;
		if ((n == 1 || n == 2) && text[start] == '.' && text[i - 1] == '.')
			return true;
		start = i + 1;
	}
	return false;
}

bool http_value_decode(struct http_text raw, char *out, size_t room, size_t *len)
{
	size_t n = 0;
	for (size_t i = 0; i < raw.len; i++) {
		char c = raw.text[i];
		if (c == '%') {
			if (raw.len - i < 3 || hex(raw.text[i + 1]) < 0 || hex(raw.text[i + 2]) < 0)
				return false;
			c = (char)(hex(raw.text[i + 1]) << 4 | hex(raw.text[i + 2]));
			i += 2;
		}
		if (is_control(c) || n == room)
			return false;
		out[n++] = c;
	}
	*len = n;
	return true;
}

bool http_text_decode(struct http_text raw, char *out, size_t room, size_t *len)
{
	return http_value_decode(raw, out, room, len) && !has_dot_segment(out, *len);
}
