/* Everything the HTTP listener may have to say instead of "accepted": one row per problem, and the problem+json that
 * tells it (RFC 9457). docs/http.md lists them; the slugs are permanent. Pure; any thread. */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_PROBLEM_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/message.h"

enum http_problem {
	HTTP_FINE = 0,
	HTTP_BAD_FRAMING, /* where the request ends is ambiguous: RFC 9112 section 6.3 */
	HTTP_BAD_HOST,    /* RFC 9112 section 3.2: no Host, several, or not one name */
	HTTP_BAD_HEADER,  /* a header name or value that no client may send */
	HTTP_HEAD_TOO_LARGE,
	HTTP_BAD_TARGET, /* control byte, bad percent-encoding, dot segment, empty device */
	HTTP_NOT_FOUND,
	HTTP_MISDIRECTED, /* RFC 9110 section 7.4: an absolute target of another scheme than http */
	HTTP_BAD_METHOD,
	HTTP_BAD_EXPECT,
	HTTP_NO_LENGTH, /* neither Content-Length nor chunked */
	HTTP_EMPTY,
	HTTP_TOO_SLOW,
	HTTP_BODY_TOO_LARGE,
	HTTP_UNPACKED_TOO_LARGE,
	HTTP_PAYLOAD_TOO_LARGE,
	HTTP_TOO_MANY_LINES,
	HTTP_BAD_TYPE,    /* Content-Type that neither the payload table nor accept_types has */
	HTTP_BAD_CODING,  /* Content-Encoding that is not served */
	HTTP_BAD_PACKING, /* gzip or deflate that does not unpack */
	HTTP_BAD_KEY,     /* Idempotency-Key */
	HTTP_KEY_BUSY,    /* the first request with this key is not settled yet */
	HTTP_KEY_REUSED,  /* it stood with another request */
	HTTP_BAD_PAYLOAD,
	HTTP_NO_DEVICE,
	HTTP_BAD_DEVICE,
	HTTP_BAD_CHANNEL,
	HTTP_NOTHING_TAKEN, /* a batch of which every line was refused */
	HTTP_PEER_LIMIT,    /* max_per_address */
	HTTP_CONNECTION_LIMIT,
	HTTP_FULL,
	HTTP_LATE,
	HTTP_NO_MEMORY, /* max_buffered, or the machine's */
	HTTP_STOPPING,
	HTTP_PROBLEMS
};

struct http_problem_row {
	unsigned short status;
	bool close;   /* the connection cannot or should not go on */
	bool retry;   /* worth offering again: sent with Retry-After */
	short reason; /* enum refusal_reason that counts it; -1: the intake has counted it, or it is not counted */
	const char *slug, *title, *detail;
};
extern const struct http_problem_row http_problem_rows[HTTP_PROBLEMS];

#define HTTP_PROBLEM_TEXT 1024u /* bytes that always hold a problem's JSON without a batch's report */

/* http_problem_write writes the problem+json, terminated, to out; returns its length.
 *   detail  NULL: the row's own; else static text of ours, cut at 256 bytes
 *   offset  byte of the body to show as "offset"; -1: none
 *   report  further members, `"name":value,...`, already JSON; NULL: none. What does not fit is left out whole. */
size_t http_problem_write(char *out, size_t size, enum http_problem problem, const char *detail, long long offset,
                          const char *report);

/* http_problem_of gives the problem that tells a refusal of intake_put. */
enum http_problem http_problem_of(enum refusal_reason reason);

/* http_problem_reported gives the reason (enum refusal_reason) under which a problem is logged with its sender; -1: it is not,
 * because it says nothing about the sender (no room), or each message has been logged. */
int http_problem_reported(enum http_problem problem);

#endif
