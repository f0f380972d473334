/* HTTP/1.1 (RFC 9112): one POST under way on each keep-alive connection, with one message, or with a batch of them as
 * NDJSON. 2xx means taken; a batch's report may take lines out of it:
 *	{"accepted":1,"rejected_count":1,"rejected":[{"line":2,...,"reason":"full"}]}
 * where "full" holds for all lines from there on, which are sent again. 429, 503 and other 5xx: sent again after
 * Retry-After, or a second. */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/base64.h"
#include "gateway/base/json.h"
#include "load/connection.h"
#include "load/job.h"
#include "load/worker.h"

#define PAUSE_MOST_S 30u

/* -- the request -- */

static uint8_t *put_plain(uint8_t *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

/* Basic authentication (RFC 7617) of this device; where it is the same for all, it stands in the job's head already. */
static uint8_t *put_credentials(struct connection *c, uint64_t number, uint8_t *out)
{
	const struct load_job *j = c->worker->job;
	uint8_t plain[JOB_CREDENTIALS_MAX];
	size_t len = connection_text(c, j->user, number, plain);
	plain[len++] = ':';
	if (j->password)
		len += connection_text(c, j->password, number, plain + len);
	out = put_plain(out, "Authorization: Basic ", 21);
	out += base64_encode((char *)out, plain, len);
	return put_plain(out, "\r\n", 2);
}

static size_t put(struct connection *c, uint64_t number, uint64_t count, bool again, uint8_t *out)
{
	const struct load_job *j = c->worker->job;
	struct payload_facts f;
	char time[64];
	uint8_t digits[24], *at = put_plain(out, "POST ", 5);
	connection_facts(c, number, again, &f, time);
	at += payload_put(j->path, &f, at);
	at = put_plain(at, j->head, j->head_len);
	if (j->user)
		at = put_credentials(c, number, at);
	at = put_plain(at, "Content-Length: ", 16);
	uint8_t *length = at,
	        *body = at += (j->plan->batch > 1 ? 5 : 3) + 4; /* a guess at the digits; and two line ends */
	for (uint64_t i = 0; i < count; i++) {
		if (i > 0)
			connection_facts(c, number + i, again, &f, time);
		at += payload_put(j->payload, &f, at);
		if (j->plan->batch > 1)
			*at++ = '\n';
	}
	size_t len = (size_t)(at - body), n = payload_digits(digits, len);
	if (length + n + 4 != body)
		memmove(length + n + 4, body, len);
	memcpy(length, digits, n);
	memcpy(length + n, "\r\n\r\n", 4);
	return (size_t)(length - out) + n + 4 + len;
}

/* -- the answer -- */

struct load_answer {
	unsigned status;
	const char *head, *body; /* head: behind the status line; both borrowed */
	size_t head_len, body_len, whole;
	bool close;
};

/* A number of at most 18 digits, none of them from `end` on: what was read has no terminator. Returns where it ends; NULL:
 * there is none. */
static const char *read_number(const char *at, const char *end, uint64_t *out)
{
	const char *from = at;
	uint64_t v = 0;
	while (at < end && *at >= '0' && *at <= '9' && at - from < 18)
		v = v * 10 + (uint64_t)(*at++ - '0');
	*out = v;
	return at > from ? at : NULL;
}

/* The value of a header; NULL: it is not there. */
static const char *header(const struct load_answer *a, const char *name)
{
	size_t len = strlen(name);
	for (const char *at = a->head, *end = at + a->head_len; at < end;) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		if ((size_t)(end - at) > len && at[len] == ':' && !strncasecmp(at, name, len)) {
			at += len + 1;
			while (at < end && (*at == ' ' || *at == '\t'))
				at++;
			return at;
		}
		if (!line_end)
			break;
		at = line_end + 1;
	}
	return NULL;
}

static int hex_digit(char c)
{
	const char *all = "0123456789abcdef0123456789ABCDEF", *at = c ? strchr(all, c) : NULL;
	return at ? (int)((at - all) % 16) : -1;
}

/* The end of a chunked body (RFC 9112 section 7.1); 0: it is not whole; SIZE_MAX: it is none. */
static size_t chunks_end(const char *in, size_t len)
{
	for (size_t at = 0;;) {
		const char *line = memchr(in + at, '\n', len - at);
		if (!line)
			return len - at > 100 ? SIZE_MAX : 0;
		size_t n = 0, digits = 0;
		for (int d; digits < 9 && (d = hex_digit(in[at + digits])) >= 0; digits++)
			n = n << 4 | (size_t)d; /* the line's end is no digit */
		if (digits == 0 || n > 1u << 30)
			return SIZE_MAX;
		at = (size_t)(line - in) + 1;
		if (at + n + 2 > len)
			return 0;
		at += n + 2;
		if (n == 0)
			return at; /* trailers are not looked for */
	}
}

/* The status line and the headers: true if they are of HTTP/1.x. end is where the headers end. */
static bool read_head(const char *in, size_t len, const char *end, struct load_answer *a)
{
	const char *line_end = memchr(in, '\n', len), *value;
	uint64_t number;
	if (line_end - in < 13 || read_number(in + 9, in + 12, &number) != in + 12)
		return false;
	a->status = (unsigned)number;
	a->head = line_end + 1;
	a->head_len = end + 2 > a->head ? (size_t)(end + 2 - a->head) : 0;
	a->body = end + 4;
	value = header(a, "Connection");
	a->close = in[7] == '0' || (value && !strncasecmp(value, "close", 5));
	return true;
}

/* The length of the body, of which `behind` bytes are there: 1, 0 and -1 as in read_answer. */
static int read_length(const char *end, size_t behind, struct load_answer *a)
{
	const char *value;
	uint64_t number;
	a->body_len = 0;
	if (a->status == 204 || a->status == 304 || a->status < 200)
		return 1;
	if (header(a, "Transfer-Encoding")) {
		size_t n = chunks_end(a->body, behind);
		if (n == 0 || n == SIZE_MAX)
			return n == 0 ? 0 : -1;
		a->body_len = n;
		return 1;
	}
	value = header(a, "Content-Length");
	if (!value || !read_number(value, end, &number))
		return -1; /* a body until the end of the connection is nothing for keep-alive */
	a->body_len = number;
	return number <= behind;
}

/* 1: an answer is whole; 0: not yet; -1: it is none. */
static int read_answer(const char *in, size_t len, struct load_answer *a)
{
	const char *end = memmem(in, len, "\r\n\r\n", 4);
	if (len >= 9 && memcmp(in, "HTTP/1.", 7) != 0)
		return -1;
	if (!end)
		return 0;
	if (!read_head(in, len, end, a))
		return -1;
	int whole = read_length(end, len - (size_t)(a->body - in), a);
	a->whole = (size_t)(a->body - in) + a->body_len;
	return whole;
}

/* A number behind "name": in the report; false: it is not there. */
static bool member(const char *in, const char *end, const char *name, uint64_t *out, const char **behind)
{
	const char *at = in < end ? memmem(in, (size_t)(end - in), name, strlen(name)) : NULL;
	*behind = at ? read_number(at + strlen(name), end, out) : NULL;
	return *behind;
}

static void take_report(struct connection *c, const struct load_answer *a)
{
	const char *at, *end = a->body + a->body_len, *reason, *quote;
	uint64_t from = c->base, next = c->base, until = c->next, rejected = 0, listed = 0, line;
	char words[80];
	if (!member(a->body, end, "\"rejected_count\":", &rejected, &at))
		rejected = 0;
	for (at = a->body; rejected > 0 && member(at, end, "\"line\":", &line, &at) && line >= 1; listed++) {
		uint64_t number = from + line - 1;
		if (number >= until)
			break;
		reason = memmem(at, (size_t)(end - at), "\"reason\":\"", 10);
		quote = reason ? memchr(reason + 10, '"', (size_t)(end - reason) - 10) : NULL;
		int len = quote ? (int)(quote - reason) - 10 : 0;
		connection_acked(c, next, number);
		if (len == 4 && !memcmp(reason + 10, "full", 4)) {
			worker_error(c->worker, LOAD_BUSY, "line %llu of a batch: full", (unsigned long long)line);
			connection_repeat(c, 1000000);
			return;
		}
		snprintf(words, sizeof(words), "line %llu of a batch: %.*s", (unsigned long long)line,
		         len < 40 ? len : 40, quote ? reason + 10 : "");
		connection_rejected(c, number, number + 1, LOAD_REJECTED, words);
		next = number + 1;
	}
	if (listed < rejected) /* which of the rest were taken is not said */
		connection_rejected(c, next, until, LOAD_REJECTED,
		                    "a batch with more rejected lines than the report lists");
	connection_acked(c, next, until);
}

static void take_answer(struct connection *c, const struct load_answer *a)
{
	char words[160];
	if (a->status / 100 == 2) {
		if (c->worker->job->batch > 1)
			take_report(c, a);
		else
			connection_acked(c, c->base, c->next);
		return;
	}
	const char *after = header(a, "Retry-After");
	uint64_t pause = 1; /* also when Retry-After is a date */
	if (after && !read_number(after, a->body, &pause))
		pause = 1;
	snprintf(words, sizeof(words), "HTTP %u %.*s", a->status, (int)(a->body_len < 100 ? a->body_len : 100),
	         a->body);
	if (a->status == 429 || a->status == 408 || a->status >= 500) {
		worker_error(c->worker, a->status == 408 || a->status == 504 ? LOAD_TIMEOUT : LOAD_BUSY, "%s", words);
		connection_repeat(c, (pause < PAUSE_MOST_S ? pause : PAUSE_MOST_S) * 1000000);
	} else {
		connection_rejected(c, c->base, c->next,
		                    a->status == 401 || a->status == 403 ? LOAD_AUTH : LOAD_REJECTED, words);
	}
}

static size_t take(struct connection *c, const uint8_t *in, size_t len)
{
	struct load_answer a = {.status = 0};
	size_t used = 0;
	while (a.status < 200 && used < len) { /* behind an interim answer (RFC 9110 section 15.2) comes the real one */
		const char *at = (const char *)in + used;
		size_t left = len - used;
		int r = read_answer(at, left, &a);
		if (r == 0)
			return used;
		if (r < 0 || c->base == c->next) {
			connection_lost(c, LOAD_PROTOCOL, "%s: %.*s",
			                r < 0 ? "no answer of HTTP/1.1" : "an answer to nothing",
			                (int)(left < 80 ? left : 80), at);
			return len;
		}
		used += a.whole;
	}
	if (a.status >= 200)
		take_answer(c, &a);
	if (a.close) {
		connection_again(c);
		return len;
	}
	return used;
}

static bool closed(struct connection *c) /* between two requests a server may do that (RFC 9112 section 9.5) */
{
	if (c->base != c->next || c->state != CONNECTION_READY)
		return false;
	connection_again(c);
	return true;
}

static bool confirms(const struct load_plan *plan)
{
	(void)plan;
	return true;
}

const struct load_protocol load_http = {
    .name = "http",
    .scheme = "http",
    .tls_scheme = "https",
    .port = "8080",
    .tls_port = "8443",
    .path = "/v1/telemetry/{device}",
    .batches = true,
    .qos = -1,
    .most = -1,
    .window = 1,
    .most_window = 1,
    .confirms = confirms,
    .room = 700,
    .put = put,
    .take = take,
    .closed = closed,
};
