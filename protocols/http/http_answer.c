/* Answers; see http_answer.h. */
#include "protocols/http/http_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct MHD_Response *make_empty(bool close)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
	if (r && close && MHD_add_response_header(r, "Connection", "close") != MHD_YES) {
		MHD_destroy_response(r);
		return NULL;
	}
	return r;
}

static bool add_headers(struct MHD_Response *r, enum http_problem problem, unsigned retry_after)
{
	const struct http_problem_row *row = &http_problem_rows[problem];
	char seconds[16];
	snprintf(seconds, sizeof(seconds), "%u", retry_after > 0 ? retry_after : 1);
	if (MHD_add_response_header(r, "Content-Type", "application/problem+json") != MHD_YES)
		return false;
	if (row->close && MHD_add_response_header(r, "Connection", "close") != MHD_YES)
		return false;
	if (row->retry && MHD_add_response_header(r, "Retry-After", seconds) != MHD_YES)
		return false;
	if (problem == HTTP_BAD_METHOD && MHD_add_response_header(r, "Allow", "POST, PUT") != MHD_YES)
		return false;
	/* RFC 9110 section 15.5.16: what it could have been. */
	if (problem == HTTP_BAD_CODING && MHD_add_response_header(r, "Accept-Encoding", "gzip, deflate") != MHD_YES)
		return false;
	char types[256];
	payload_list_types(types, sizeof(types));
	return problem != HTTP_BAD_TYPE || MHD_add_response_header(r, "Accept", types) == MHD_YES;
}

static struct MHD_Response *make_problem(enum http_problem problem, const struct http_problem_about *about)
{
	char text[HTTP_PROBLEM_TEXT], *body = text;
	size_t size = sizeof(text);
	if (about->report) {
		size += strlen(about->report);
		body = malloc(size);
		if (!body)
			return NULL;
	}
	size_t len = http_problem_write(body, size, problem, about->detail, about->offset, about->report);
	struct MHD_Response *r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_COPY);
	if (body != text)
		free(body);
	if (r && !add_headers(r, problem, about->retry_after)) {
		MHD_destroy_response(r);
		return NULL;
	}
	return r;
}

enum gw_err http_answers_init(struct http_answers *a)
{
	a->done = make_empty(false);
	a->done_close = make_empty(true);
	if (!a->done || !a->done_close)
		return GW_NOMEM;
	for (enum http_problem p = HTTP_FINE + 1; p < HTTP_PROBLEMS; p++) {
		a->retry[p] = 1;
		a->plain[p] = make_problem(p, &(struct http_problem_about){.offset = -1, .retry_after = 1});
		if (!a->plain[p])
			return GW_NOMEM;
	}
	return GW_OK;
}

static void destroy(struct MHD_Response **r)
{
	if (*r)
		MHD_destroy_response(*r);
	*r = NULL;
}

void http_answers_fini(struct http_answers *a)
{
	destroy(&a->done);
	destroy(&a->done_close);
	for (enum http_problem p = HTTP_FINE; p < HTTP_PROBLEMS; p++)
		destroy(&a->plain[p]);
}

enum MHD_Result http_answer_done(struct http_answers *a, struct MHD_Connection *c, bool close)
{
	return MHD_queue_response(c, MHD_HTTP_NO_CONTENT, close ? a->done_close : a->done);
}

static enum MHD_Result queue_once(struct MHD_Connection *c, unsigned status, struct MHD_Response *r)
{
	if (!r)
		return MHD_NO;
	enum MHD_Result queued = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return queued;
}

enum MHD_Result http_answer_json(struct MHD_Connection *c, unsigned status, const char *body, size_t len)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
	if (r && MHD_add_response_header(r, "Content-Type", "application/json") != MHD_YES)
		destroy(&r);
	return queue_once(c, status, r);
}

enum MHD_Result http_answer_problem(struct http_answers *a, struct MHD_Connection *c, enum http_problem problem,
                                    const struct http_problem_about *about)
{
	const struct http_problem_row *row = &http_problem_rows[problem];
	if (about->detail || about->offset >= 0 || about->report)
		return queue_once(c, row->status, make_problem(problem, about));
	if (row->retry && a->retry[problem] != about->retry_after) {
		struct MHD_Response *r = make_problem(problem, about);
		if (!r)
			return MHD_NO;
		destroy(&a->plain[problem]);
		a->plain[problem] = r;
		a->retry[problem] = about->retry_after;
	}
	return MHD_queue_response(c, row->status, a->plain[problem]);
}

size_t http_answer_raw(char *out, size_t size, enum http_problem problem)
{
	const struct http_problem_row *row = &http_problem_rows[problem];
	char body[HTTP_PROBLEM_TEXT];
	size_t len = http_problem_write(body, sizeof(body), problem, NULL, -1, NULL);
	int n = snprintf(out, size,
	                 "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\nContent-Length: "
	                 "%zu\r\nConnection: close\r\n\r\n%s",
	                 row->status, MHD_get_reason_phrase_for(row->status), len, body);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}
