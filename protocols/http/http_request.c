/* One HTTP request, from its head to its answer. The library calls http_request_handle several times for each:
 *
 *	head seen          begin: judge the head. Answer at once only what cannot wait (the body is too large, or nobody
 *	                   knows where it ends): the library closes the connection then. Any other problem is kept until
 *	                   the body has been read, so that the connection can go on.
 *	part of the body   gather
 *	body complete      finish: http_take.c puts it into the lane; then it is suspended until that is safe ...
 *	resumed            reply
 *
 * http_request_settled resumes in the listener's own thread, between two runs of the library.
 *
 * Half-closed clients. A client may shut down its sending side right after its request and still wants the answer
 * (RFC 9112 section 9.6). The library remembers what a connection waited for before it was suspended, and does that
 * first when it is resumed: if it waited for bytes, it reads, meets the end, and closes without a word (0.9.75 and
 * 1.0.1 alike). So a whole request is not suspended in the call that says it is whole, but in the next one: by then
 * the library knows that the connection waits for us, and after that reads nothing until the answer has left. The next
 * call comes with the next run of the library in the same turn (http.c). It costs a second run of the library in
 * a turn, and saves the read and the two changes of its epoll set at most resumptions. A socket pair in front of the
 * library, which hides the end from it, would cost 6 us of CPU more for each request, of about 22, and two descriptors
 * for each connection. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "protocols/http/http_seams.h"
#include "protocols/http/http_server.h"

#define DISCARD_MAX                                                                                                    \
	(256u << 10)        /* of a body that nobody wants, so that the connection survives; a longer one ends it */
#define FIELD_MEMORY 64u    /* the library's, for one header, cookie or query parameter, beside its text */
#define ANSWER_MEMORY 1024u /* of max_head: for the head of the answer */

void http_request_decide(struct http_request *r, enum http_problem problem, const char *detail, long long offset)
{
	r->decided = true;
	r->problem = problem;
	r->detail = detail;
	r->offset = offset;
}

/* Counts a problem and logs whose it is. */
static void count_problem(struct http *h, const struct http_conn *c, enum http_problem problem)
{
	const struct http_request *r = &c->request;
	int reason = http_problem_rows[problem].reason, reported = http_problem_reported(problem);
	if (reason >= 0)
		intake_refuse(h->in, (enum refusal_reason)reason);
	if (reported < 0)
		return;
	struct http_text device = r->target.device.text ? r->target.device : r->head.device;
	const struct refused_sender who = {.peer = c->mhd ? c->peer : NULL,
	                                   .device = device.text,
	                                   .device_len = device.len,
	                                   .detail = r->detail ? r->detail : http_problem_rows[problem].title};
	intake_report(h->in, (enum refusal_reason)reported, &who);
}

/* -- reply -- */

static enum MHD_Result reply_batch(struct http_conn *c, struct http_request *r, unsigned status)
{
	if (!r->report) {
		char text[96];
		int n = snprintf(text, sizeof(text), "{\"accepted\":%zu,\"rejected_count\":0,\"rejected\":[]}\n",
		                 r->accepted);
		return http_answer_json(c->mhd, status, text, (size_t)n);
	}
	size_t len = strlen(r->report);
	char *text = malloc(len + 4);
	if (!text)
		return MHD_NO;
	snprintf(text, len + 4, "{%s}\n", r->report);
	enum MHD_Result queued = http_answer_json(c->mhd, status, text, len + 3);
	free(text);
	return queued;
}

static enum MHD_Result reply(struct http *h, struct http_conn *c)
{
	struct http_request *r = &c->request;
	http_conn_phase(&h->conns, c, PHASE_REPLY, intake_now_ms(h->in));
	if (r->problem == HTTP_FINE && r->late && !r->durable)
		r->problem = HTTP_LATE;
	if (r->problem) {
		count_problem(h, c, r->problem);
		const struct http_problem_about about = {r->detail, r->offset, r->report, intake_retry_after(h->in)};
		return http_answer_problem(&h->answers, c->mhd, r->problem, &about);
	}
	bool only_accepted = r->late || h->common->ack == ACK_ACCEPTED;
	if (r->batch)
		return reply_batch(c, r, only_accepted ? MHD_HTTP_ACCEPTED : MHD_HTTP_OK);
	if (!only_accepted)
		return http_answer_done(&h->answers, c->mhd, h->draining);
	char text[64];
	int n = snprintf(text, sizeof(text), "{\"id\":\"%.*s\"}\n", RECORD_ID_LEN, r->id);
	return http_answer_json(c->mhd, MHD_HTTP_ACCEPTED, text, (size_t)n);
}

/* The library has no way to answer in the middle of a body. Nothing is being sent on the connection then, so we say it
 * ourselves. */
static void say_raw(struct http_conn *c, enum http_problem problem)
{
	char text[2 * HTTP_PROBLEM_TEXT];
	size_t len = http_answer_raw(text, sizeof(text), problem);
	ssize_t sent = send(c->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
}

/* The same, and the library closes the connection. */
static enum MHD_Result refuse_raw(struct http *h, struct http_conn *c)
{
	count_problem(h, c, c->request.problem);
	say_raw(c, c->request.problem);
	http_conn_linger(c);
	return MHD_NO;
}

void http_request_expired(struct http *h, struct http_conn *c, enum http_problem problem)
{
	bool idle = c->phase == PHASE_HEAD && c->requests > 0;
	if (!idle)
		count_problem(h, c, problem);
	/* Between two requests silence is no fault, and an answer that nobody asked for would be taken for that to the
	 * next request. */
	if (c->phase == PHASE_BODY || (c->phase == PHASE_HEAD && !idle))
		say_raw(c, problem);
	shutdown(c->fd, SHUT_RDWR);
}

/* -- begin -- */

struct head_reader {
	struct http_head *head;
	struct http_seams *seams; /* NULL: the library hides nothing */
	size_t memory;            /* what the library holds for what it found in the head */
};

static enum MHD_Result read_field(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                  const char *value, size_t value_len)
{
	struct head_reader *reader = cls;
	reader->memory += FIELD_MEMORY;
	if (kind != MHD_HEADER_KIND)
		return MHD_YES;
	if (name_len == 6 && strncasecmp(name, "Cookie", 6) == 0)
		reader->memory += value_len + 1; /* taken apart in a copy */
	http_head_field(reader->head, name, name_len, value, value_len);
	if (reader->seams)
		http_seams_field(reader->seams, name, name_len, value ? value : "", value_len);
	return MHD_YES;
}

static enum MHD_Result read_query(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                  const char *value, size_t value_len)
{
	(void)kind;
	(void)name_len;
	(void)value;
	(void)value_len;
	*(const char **)cls = name;
	return MHD_NO; /* the first is enough */
}

/* Returns how much of the connection's memory the head takes. */
static size_t read_head(struct http *h, struct http_conn *c, const char *url, const char *method, const char *version)
{
	struct http_request *r = &c->request;
	size_t head_len = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
	stat_add(&intake_stats(h->in)->network_in, head_len);
	struct http_seams seams;
	struct head_reader reader = {.head = &r->head};
	if (h->seams) {
		const char *query = NULL;
		MHD_get_connection_values_n(c->mhd, MHD_GET_ARGUMENT_KIND, read_query, &query);
		http_seams_line(&seams, method, url, query, version);
		reader.seams = &seams;
	}
	MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND | MHD_COOKIE_KIND | MHD_GET_ARGUMENT_KIND, read_field,
	                            &reader);
	if (h->seams && !http_seams_good(&seams, head_len) && r->head.problem == HTTP_FINE)
		r->head.problem = HTTP_BAD_HEADER;
	return head_len + reader.memory;
}

/* The first thing that is wrong with the head, the gravest first: what may hide another request, then what is
 * served to whom, then the rest. */
static enum http_problem judge(struct http *h, struct http_conn *c, const char *url, const char *method,
                               const char *version)
{
	struct http_request *r = &c->request;
	enum http_problem head = http_head_end(&r->head, version);
	if (head == HTTP_BAD_FRAMING || head == HTTP_BAD_HOST || head == HTTP_BAD_HEADER)
		return head;
	if (h->draining)
		return HTTP_STOPPING;
	if (c->limit)
		return c->limit;
	enum http_problem target = http_target_parse(&r->target, url);
	if (target)
		return target;
	if (strcmp(method, "POST") != 0 && strcmp(method, "PUT") != 0)
		return HTTP_BAD_METHOD;
	if (head)
		return head;
	if (r->head.media == PAYLOAD_UNKNOWN &&
	    !payload_accepts(&h->common->accept_types, r->head.type.text, r->head.type.len))
		return HTTP_BAD_TYPE;
	if (!r->head.has_length && !r->head.chunked)
		return HTTP_NO_LENGTH;
	r->body_max = (size_t)h->max_body;
	if (!http_take_is_batch(h, r) && r->head.packed == CODING_NONE && h->common->max_payload < h->max_body)
		r->body_max = (size_t)h->common->max_payload;
	return r->head.has_length && r->head.body_len > r->body_max ? HTTP_BODY_TOO_LARGE : HTTP_FINE;
}

/* The library makes the answer's head in what the request's has left of the connection's memory, and without room for
 * it closes without a word: so this is judged before anything is taken, and told past the library. */
static enum MHD_Result refuse_head(struct http *h, struct http_conn *c)
{
	http_request_decide(&c->request, HTTP_HEAD_TOO_LARGE, NULL, -1);
	return refuse_raw(h, c);
}

static enum MHD_Result begin(struct http *h, struct http_conn *c, const char *url, const char *method,
                             const char *version)
{
	struct http_request *r = &c->request;
	r->begun = true;
	r->offset = -1;
	c->requests++;
	if (read_head(h, c, url, method, version) > h->max_head - ANSWER_MEMORY)
		return refuse_head(h, c);
	enum http_problem problem = judge(h, c, url, method, version);
	http_conn_phase(&h->conns, c, PHASE_BODY, intake_now_ms(h->in));
	if (!problem)
		return MHD_YES;
	http_request_decide(r, problem, NULL, -1);
	bool has_body = r->head.chunked || r->head.body_len > 0;
	bool now =
	    http_problem_rows[problem].close || (has_body && (r->head.expects || r->head.body_len > DISCARD_MAX));
	if (!now)
		return MHD_YES;
	http_conn_linger(c);
	return reply(h, c);
}

/* -- gather -- */

static enum MHD_Result gather(struct http *h, struct http_conn *c, const char *bytes, size_t len)
{
	struct http_request *r = &c->request;
	c->active_ms = intake_now_ms(h->in);
	stat_add(&intake_stats(h->in)->network_in, len);
	if (!r->decided && len > r->body_max - r->body_len) /* chunked: Content-Length was looked at before */
		http_request_decide(r, HTTP_BODY_TOO_LARGE, NULL, -1);
	else if (!r->decided && http_conns_append(&h->conns, r, bytes, len) != GW_OK)
		http_request_decide(r, HTTP_NO_MEMORY, NULL, -1);
	if (!r->decided)
		return MHD_YES;
	http_conns_drop_body(&h->conns, r);
	r->discarded += len;
	if (r->problem != HTTP_BODY_TOO_LARGE && r->discarded <= DISCARD_MAX)
		return MHD_YES;
	return refuse_raw(h, c);
}

/* -- finish -- */

/* The connection is suspended, or about to be. Returns whether it waits for its answer now; else the outcome is
 * decided. */
static bool await_answer(struct http *h, struct http_conn *c)
{
	struct http_request *r = &c->request;
	http_conns_drop_body(&h->conns, r);
	unpack_trim(&h->unpack);
	if (r->problem)
		return false;
	/* Not the place of its own last message: others may have been put since, and places must not decrease. */
	enum answer_kind kind = r->known ? ANSWER_RELEASE : ANSWER_ACKNOWLEDGEMENT;
	if (intake_await(h->in, intake_position(h->in), kind, c, 0) != GW_OK) {
		http_request_decide(r, HTTP_LATE, NULL, -1);
		return false;
	}
	c->waiting = true;
	http_conn_phase(&h->conns, c, PHASE_WAIT, intake_now_ms(h->in));
	return true;
}

static enum MHD_Result finish(struct http *h, struct http_conn *c)
{
	assert(!c->request.decided);
	if (!http_take(h, c))
		http_conn_phase(&h->conns, c, PHASE_HOLD, intake_now_ms(h->in));
	else if (!await_answer(h, c))
		return reply(h, c);
	MHD_suspend_connection(c->mhd);
	return MHD_YES;
}

static void resume(struct http *h, struct http_conn *c)
{
	http_conn_phase(&h->conns, c, PHASE_REPLY, intake_now_ms(h->in));
	h->again = true; /* the first run queues the answer, the second writes it */
	MHD_resume_connection(c->mhd);
}

bool http_request_continue(struct http *h, struct http_conn *c, bool last)
{
	if (!http_take_more(h, c, last))
		return false;
	if (!await_answer(h, c))
		resume(h, c);
	return true;
}

void http_request_settled(struct http *h, struct http_conn *c, const struct answer *a, bool stopping)
{
	if (stopping) /* it may be safe yet; nobody will be there to say so */
		http_request_decide(&c->request, HTTP_LATE, NULL, -1);
	else if (!http_conns_answered(&h->conns, c))
		return;
	c->request.late = a && a->late;
	c->request.durable = a && a->durable;
	resume(h, c);
}

enum MHD_Result http_request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                    const char *version, const char *upload, size_t *upload_len, void **state)
{
	struct http *h = cls;
	struct http_conn *c = *state;
	if (!c) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
		c = info ? info->socket_context : NULL;
		if (!c)
			return MHD_NO; /* there was no memory for it */
		*state = c;
		return begin(h, c, url, method, version);
	}
	if (*upload_len > 0) {
		size_t len = *upload_len;
		*upload_len = 0;
		return gather(h, c, upload, len);
	}
	if (c->request.decided)
		return reply(h, c);
	if (!c->request.whole) {
		c->request.whole = true;
		h->again = true;
		return MHD_YES;
	}
	return finish(h, c);
}

void http_request_completed(void *cls, struct MHD_Connection *mhd, void **state, enum MHD_RequestTerminationCode how)
{
	struct http *h = cls;
	struct http_conn *c = *state;
	(void)mhd;
	(void)how;
	if (!c)
		return;
	*state = NULL;
	http_conns_clear(&h->conns, &c->request);
	http_conn_phase(&h->conns, c, PHASE_HEAD, intake_now_ms(h->in));
}
