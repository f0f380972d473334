/* The head of an HTTP request, judged: who may end a request where (framing), where it goes (target), what it carries.
 * The library has parsed the head into fields; what it leaves ambiguous is refused here, because two programs in a row
 * that read it differently are how requests are smuggled (RFC 9112 sections 6.3 and 11.2). Pure: no library, no
 * allocation; all text is borrowed from the request. Any thread. */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_HEAD_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/payload.h"
#include "protocols/http/http_problem.h"

struct http_text {
	const char *text; /* NULL: absent */
	size_t len;
};

enum http_coding { CODING_NONE, CODING_GZIP, CODING_DEFLATE };

struct http_head {
	/* given to http_head_field, one by one */
	struct http_text host, length, transfer, type, coding, expect, device, channel, key;
	enum http_problem problem; /* the first that was found */
	/* set by http_head_end */
	uint64_t body_len; /* as Content-Length says */
	bool has_length, chunked, expects;
	enum payload_kind media; /* of Content-Type; none: PAYLOAD_AUTO */
	enum http_coding packed;
};

/* http_head_field takes one header field; the value without the white space around it. */
void http_head_field(struct http_head *h, const char *name, size_t name_len, const char *value, size_t value_len);
/* http_head_end judges the fields together; version is "HTTP/1.1" or "HTTP/1.0". Returns h->problem. Framing comes
 * before all else. */
enum http_problem http_head_end(struct http_head *h, const char *version);

/* http_media_name writes the type and subtype of a Content-Type, without parameters, in lower case; returns its length, 0:
 * there is none. */
#define HTTP_MEDIA_NAME 128
size_t http_media_name(struct http_text type, char out[HTTP_MEDIA_NAME]);

enum http_route { ROUTE_NONE, ROUTE_COLLECTION, ROUTE_DEVICE };

struct http_target {
	enum http_route route;
	struct http_text device, channel; /* as they stand in the path, percent-encoded */
};

/* http_target_parse reads a path (or an absolute-form target, RFC 9112 section 3.2.2), not decoded and without a
 * query. HTTP_FINE | HTTP_NOT_FOUND | HTTP_BAD_TARGET | HTTP_MISDIRECTED (https://...). */
enum http_problem http_target_parse(struct http_target *t, const char *path);

/* http_text_decode decodes percent-encoding (RFC 3986 section 2.1) into out, which has room for `room` bytes. False: a
 * bad encoding, a control character, a segment "." or "..", or too long. */
bool http_text_decode(struct http_text raw, char *out, size_t room, size_t *len);
/* http_value_decode does the same for a header's value, where dots are no segments. */
bool http_value_decode(struct http_text raw, char *out, size_t room, size_t *len);

#endif
