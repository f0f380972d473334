/* Answers of the HTTP listener as libmicrohttpd responses. What can be made once is made once and queued again and
 * again; only what tells something of its own (an offset, an id, a batch's report) is made for the occasion. One
 * struct http_answers per listener thread. */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_ANSWER_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_ANSWER_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/error.h"
#include "protocols/http/http_problem.h"

struct http_answers {
	struct MHD_Response *done, *done_close; /* 204 */
	/* without a detail of its own; those with Retry-After: for the seconds in `retry` */
	struct MHD_Response *plain[HTTP_PROBLEMS];
	unsigned retry[HTTP_PROBLEMS];
};

/* GW_OK | GW_NOMEM. http_answers_fini is safe after a half-done http_answers_init. */
enum gw_err http_answers_init(struct http_answers *a);
void http_answers_fini(struct http_answers *a);

/* All of these queue an answer for the connection; MHD_NO (out of memory, or the library refuses) ends the connection.
 */
enum MHD_Result http_answer_done(struct http_answers *a, struct MHD_Connection *c, bool close);
/* http_answer_json: body is copied. */
enum MHD_Result http_answer_json(struct MHD_Connection *c, unsigned status, const char *body, size_t len);
/* What an answer about a problem tells of its own. */
struct http_problem_about {
	const char *detail; /* this, offset and report as in http_problem_write */
	long long offset;
	const char *report;
	unsigned retry_after; /* seconds, where the problem has it */
};
enum MHD_Result http_answer_problem(struct http_answers *a, struct MHD_Connection *c, enum http_problem problem,
                                    const struct http_problem_about *about);

/* http_answer_raw writes a whole closing answer with head and body as text, for when the library cannot answer any
 * more (in the middle of a body); returns its length. size is at least 2 * HTTP_PROBLEM_TEXT. */
size_t http_answer_raw(char *out, size_t size, enum http_problem problem);

#endif
