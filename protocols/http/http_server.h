/* The inside of the HTTP listener, shared by http.c (settings, socket, loop) and http_request.c (one request from its
 * head to its answer). */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_SERVER_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_SERVER_H

#include <microhttpd.h>
#include <stdbool.h>

#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/settings.h"
#include "gateway/intake.h"
#include "protocols/http/http_answer.h"
#include "protocols/http/http_conn.h"
#include "protocols/http/http_keys.h"
#include "protocols/http/unpack.h"

#define HTTP_REJECTED_MAX 100u /* rejections that a batch's answer lists; the rest is only counted */

struct http {
	/* settings */
	struct address listen;
	uint64_t max_body, max_unpacked, max_head, max_buffered;
	int64_t max_connections, max_per_address, max_batch_lines, backlog;
	uint64_t idle_timeout, request_timeout, idempotency_window;
	int64_t idempotency_keys;
	char *device, *channel;
	/* the rest is the listener thread's (open and close: main thread) */
	struct intake *in;
	struct MHD_Daemon *daemon;
	int listen_fd; /* ours until the daemon has it, and again when it was quiesced; -1: not ours */
	bool opened, draining;
	bool again;   /* the library is to run twice in this turn: a request goes on in the second run */
	int fd_limit; /* a connection with such a descriptor or a higher one is refused */
	bool seams;   /* the library is an old one: http_seams.h */
	const struct listener_settings *common;
	struct json_pointer device_pointer, channel_pointer;
	bool has_device_pointer, has_channel_pointer;
	struct http_keys *keys; /* shared by the listener's threads; NULL: keys are recorded and no more */
	struct http_conns conns;
	struct http_answers answers;
	struct unpack unpack;
	struct log_limit log_limit;
	int64_t swept_ms;
	/* for the message that is being taken */
	char device_text[DEVICE_MAX], channel_text[CHANNEL_MAX];
	char *rejections; /* owned; HTTP_REPORT_MAX bytes: what the batch's answer lists */
	size_t rejections_len;
};
#define HTTP_REPORT_MAX (64u << 10)

/* The library's access handler (MHD_AccessHandlerCallback): cls is the struct http, *state the struct http_conn once
 * the head was seen. */
enum MHD_Result http_request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                    const char *version, const char *upload, size_t *upload_len, void **state);
/* The library is done with a request (MHD_RequestCompletedCallback). */
void http_request_completed(void *cls, struct MHD_Connection *mhd, void **state, enum MHD_RequestTerminationCode how);
/* http_request_settled: the answer that c waited for is due (or, with `stopping`, never will be); resumes the
 * connection. */
void http_request_settled(struct http *h, struct http_conn *c, const struct answer *a, bool stopping);
/* http_request_continue goes on with a batch that found no room (PHASE_HOLD); last: what does not fit now is
 * refused. False: still no room. */
bool http_request_continue(struct http *h, struct http_conn *c, bool last);
/* http_request_expired ends a connection that took too long, or is in the way of stopping: says so if that is still
 * possible. */
void http_request_expired(struct http *h, struct http_conn *c, enum http_problem problem);
/* http_request_decide sets a request's outcome. */
void http_request_decide(struct http_request *r, enum http_problem problem, const char *detail, long long offset);

/* -- http_take.c: from a body to messages in the lane -- */

/* http_take unpacks, splits and puts the whole body of a request, and decides its outcome. False: a batch found no
 * room in the lane, which the journal empties all the time: the request keeps its body, and http_take_more goes on
 * with it. */
bool http_take(struct http *h, struct http_conn *c);
bool http_take_more(struct http *h, struct http_conn *c, bool last);
/* http_take_is_batch tells, by the head alone, whether the body may hold several messages. */
bool http_take_is_batch(const struct http *h, const struct http_request *r);

#endif
