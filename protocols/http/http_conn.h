/* The connections of one HTTP listener thread: what is kept for each, how long each may take, how many one address
 * may have, and the memory that request bodies take. libmicrohttpd owns the sockets; a struct http_conn is the memory
 * we hang on one.
 *
 * A connection is in one phase at a time, in the list of that phase, oldest first. The library's clock only sees
 * inactivity; a peer that sends a byte now and then is caught here (slow heads and bodies, answers nobody reads).
 *
 *	phase   what happens                                            and for how long
 *	HEAD    new, idle between two requests, or its head drips in    idle_timeout
 *	BODY    the body arrives                                        request_timeout; idle_timeout between two parts
 *	HOLD    suspended: no room for the rest of a batch              a second without room
 *	WAIT    suspended: its message is on the way to be safe         the intake's ack_timeout
 *	REPLY   the answer leaves                                       request_timeout
 *
 * Listener thread only. */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_CONN_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_CONN_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "gateway/base/error.h"
#include "gateway/base/siphash.h"
#include "gateway/message.h"
#include "protocols/http/http_batch.h"
#include "protocols/http/http_head.h"

enum http_phase { PHASE_HEAD, PHASE_BODY, PHASE_HOLD, PHASE_WAIT, PHASE_REPLY, PHASES };

/* One request; all zero between two. */
struct http_request {
	struct http_head head;     /* its texts belong to the library, until the request is completed */
	struct http_target target; /* likewise */
	bool begun;                /* the head was seen */
	bool whole;                /* the body was read to its end: http_request.c, "half-closed clients" */
	bool decided;              /* the outcome below is final: answer with it */
	uint8_t *body;             /* owned; http_conns_grow */
	size_t body_len, body_room;
	size_t body_max;    /* more is refused */
	uint64_t discarded; /* bytes of a body that is only read to be rid of it */
	/* outcome */
	enum http_problem problem; /* HTTP_FINE: the message was taken */
	const char *detail;        /* static; NULL: the problem's own */
	long long offset;          /* -1: none */
	char *report;              /* owned: members of a batch's answer; NULL: nothing was rejected */
	bool batch, late, durable;
	bool keyed;                /* it has claimed its Idempotency-Key */
	bool known;                /* it repeats one that was taken before */
	uint64_t digest;           /* of the request, with an Idempotency-Key */
	size_t accepted, rejected; /* of a batch */
	struct http_batch items;   /* of a batch: what is left of it */
	int64_t room_ms;           /* when it last found room */
	char *list;                /* owned: its rejections so far, while it is held; NULL: none */
	char id[RECORD_ID_LEN];    /* of a single message */
};

struct http_conn {
	TAILQ_ENTRY(http_conn) in_phase;
	LIST_ENTRY(http_conn) in_bucket; /* only with max_per_address */
	struct MHD_Connection *mhd;      /* NULL: it has ended, and only the answer it waits for keeps this */
	const struct sockaddr *peer;     /* the library's, as long as mhd */
	int fd;                          /* the library's */
	int linger_fd;                   /* ours: a duplicate, to read the rest of a refused body from; -1: none */
	enum http_phase phase;
	bool waiting;                /* the intake has it in its queue */
	bool counted;                /* is in a bucket */
	enum http_problem limit;     /* it is one connection too many: what to answer */
	uint64_t requests;           /* whose heads were seen */
	int64_t since_ms, active_ms; /* when the phase began; when the last part of the body came */
	struct http_request request;
};
TAILQ_HEAD(http_conn_list, http_conn);
LIST_HEAD(http_bucket, http_conn);

#define HTTP_LINGER_MAX 64 /* connections whose refused bodies are read away at the same time */

struct http_conns {
	struct http_conn_list phases[PHASES];
	struct http_conn_list spare;
	struct http_conn_list orphans; /* ended, and waiting for an answer all the same */
	size_t count, spare_count;     /* open, with the library */
	size_t max_connections;
	/* connections per address */
	struct http_bucket *buckets; /* owned; NULL: no limit */
	size_t bucket_count, max_per_address;
	struct siphash_key key;
	/* bodies */
	void *small; /* owned: free small buffers, each holding the next */
	size_t small_count;
	size_t buffered, max_buffered; /* bytes of all bodies */
	struct {
		int fd;
		int64_t until_ms;
	} linger[HTTP_LINGER_MAX];
	size_t lingering;
};

/* max_per_address 0: no limit. GW_OK | GW_NOMEM. http_conns_fini gives everything back, the connections that are left
 * too; safe on zeros. */
enum gw_err http_conns_init(struct http_conns *t, size_t max_connections, size_t max_per_address, size_t max_buffered);
void http_conns_fini(struct http_conns *t);

/* http_conns_open makes the connection's memory and sets its limit where it is one too many; NULL: out of memory. */
struct http_conn *http_conns_open(struct http_conns *t, struct MHD_Connection *mhd, int fd, const struct sockaddr *peer,
                                  int64_t now_ms);
/* http_conns_close: the library has ended the connection. Its memory stays while it waits for an answer
 * (http_conns_answered). */
void http_conns_close(struct http_conns *t, struct http_conn *c, int64_t now_ms);
/* http_conns_answered: the intake has given it back. False: the connection is gone, and so is c. */
bool http_conns_answered(struct http_conns *t, struct http_conn *c);

void http_conn_phase(struct http_conns *t, struct http_conn *c, enum http_phase phase, int64_t now_ms);
/* http_conn_linger: the answer leaves before the body was read. When the library has closed the connection, what still
 * comes is read away for two seconds: closing with unread bytes would make the kernel reset the connection, and the
 * peer might never see the answer. */
void http_conn_linger(struct http_conn *c);

/* http_conns_append adds bytes to the request's body. GW_OK | GW_NOMEM (the machine's, or max_buffered and the body is
 * over 4 KiB). */
enum gw_err http_conns_append(struct http_conns *t, struct http_request *r, const void *bytes, size_t len);
/* http_conns_adopt makes buffer (malloc'ed, room bytes, len of them used) the request's body. GW_OK | GW_NOMEM
 * (max_buffered): not adopted. */
enum gw_err http_conns_adopt(struct http_conns *t, struct http_request *r, uint8_t *buffer, size_t len, size_t room);
/* http_conns_drop_body gives the body back; http_conns_clear the whole request, for the next one. */
void http_conns_drop_body(struct http_conns *t, struct http_request *r);
void http_conns_clear(struct http_conns *t, struct http_request *r);

/* http_conns_sweep calls expired for every connection whose time is up, oldest first, while it still says in which
 * phase that was; expired shuts it down and does not free it. The same connection is not met again for a whole
 * time-out. */
void http_conns_sweep(struct http_conns *t, int64_t now_ms, int64_t idle_ms, int64_t request_ms,
                      void (*expired)(void *self, struct http_conn *c), void *self);

/* http_conns_read_away reads what the lingering connections send, and closes those that are done. */
void http_conns_read_away(struct http_conns *t, int64_t now_ms);

#endif
