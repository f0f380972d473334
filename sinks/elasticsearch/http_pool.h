/* HTTP requests in parallel on keep-alive connections, by libcurl's multi interface, driven by the thread that polls.
 */
#ifndef SLUICE_SINKS_ELASTICSEARCH_HTTP_POOL_H
#define SLUICE_SINKS_ELASTICSEARCH_HTTP_POOL_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

struct http_plan {
	size_t requests;                            /* most at one time */
	const char *ca_file, *cert_file, *key_file; /* PEM; NULL: the system's authorities, no certificate of our own */
	bool verify;                                /* the server's certificate and its name */
	const char *username, *password, *api_key;  /* NULL: none */
	uint64_t connect_timeout_ms, request_timeout_ms;
};

enum http_result {
	HTTP_ANSWERED,    /* status and answer are there */
	HTTP_UNREACHABLE, /* no connection: nothing was sent */
	HTTP_UNTRUSTED,   /* no TLS connection: nothing was sent */
	HTTP_SILENT,      /* request_timeout ran out */
	HTTP_BROKEN,      /* the connection ended, or what came is not HTTP */
	HTTP_TOO_LONG,    /* the answer is longer than answer_max */
};

struct http_pool_request {
	void *own; /* the caller's */
	/* of a finished request, until the next start */
	int status;   /* 0: none */
	char *answer; /* owned; answer_len bytes, terminated */
	size_t answer_len;
	uint64_t retry_after_ms;     /* the header Retry-After; 0: none */
	char *location;              /* the header Location of a redirect; NULL: none; libcurl's */
	char error[CURL_ERROR_SIZE]; /* unless HTTP_ANSWERED */
	/* the pool's */
	CURL *easy;
	size_t answer_room, answer_max;
	bool busy, too_long;
};

typedef void http_done_fn(void *context, struct http_pool_request *r, enum http_result result);

struct http_pool {
	CURLM *multi;
	struct http_pool_request *requests; /* owned */
	size_t count;
	struct curl_slist *bulk, *packed, *json; /* headers by kind of body */
	bool initialised;
	http_done_fn *done;
	void *context;
};

enum http_body { HTTP_NONE, HTTP_BULK, HTTP_BULK_GZIP, HTTP_JSON };

/* http_pool_open prepares; it connects to nothing. http_pool_close in any case. The plan is borrowed for the call.
 *   done  called inside http_pool_poll when a request has ended; it may start another, or the same again
 * GW_OK | GW_CONFIG (a certificate cannot be read) | GW_NOMEM. */
enum gw_err http_pool_open(struct http_pool *p, const struct http_plan *plan, http_done_fn *done, void *context,
                           struct why *why);
void http_pool_close(struct http_pool *p);

/* What a request asks for. */
struct http_pool_call {
	const char *method; /* "GET", "PUT", "POST" */
	const char *url;
	enum http_body kind;
	const char *body; /* len bytes, borrowed until the request is done */
	size_t len;
	size_t answer_max; /* bytes of the longest answer that is taken */
};

/* http_pool_start begins a request that is not busy; of the call only its body is borrowed for longer.
 * GW_OK (done will be called, later) | GW_NOMEM. */
enum gw_err http_pool_start(struct http_pool *p, struct http_pool_request *r, const struct http_pool_call *call);

/* http_pool_poll makes progress; waits at most timeout_ms for the network or for wake_fd to be readable. Returns how
 * many requests were done. */
size_t http_pool_poll(struct http_pool *p, int wake_fd, int timeout_ms);

#endif
