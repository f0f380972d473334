/* What stream.c (the loop, accepting, timers) and stream_conn.c (one connection: reading, writing, closing) share.
 * Nothing for protocols: their contract is stream.h. Everything here belongs to the listener's thread, but for what is
 * marked. */
#ifndef SLUICE_PROTOCOLS_NET_STREAM_CONN_H
#define SLUICE_PROTOCOLS_NET_STREAM_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "gateway/base/log.h"
#include "protocols/net/stream.h"
#include "protocols/net/wheel.h"

#define READ_CHUNK                                                                                                     \
	(128u << 10) /* bytes read of one connection per turn, so that one flood does not keep others waiting */
#define READ_SCARCE (4u << 10) /* the same while there is no room: what is read may have to be kept */
#define REST_SMALL                                                                                                     \
	(16u                                                                                                           \
	 << 10) /* a rest up to this is copied in front of what is read; a larger one is read behind, where it lies */
#define HELD_SHARE (32u << 10) /* bytes of the lane that a held connection may fill before it is the next one's turn */
#define OUTPUT_FIRST 512u      /* first output buffer of a connection; kept in a pool */
#define OUTPUT_POOL 256u       /* buffers in it */
#define OUTPUT_SLACK (16u << 20) /* output beyond max_output that one turn may cause */
#define LINGER_MS 2000           /* to wait for the peer's end, so that our last answer is not lost in a reset */

enum conn_state {
	CONN_OPEN,      /* serves */
	CONN_SETTLING,  /* reads no more; waits for its answers */
	CONN_FLUSHING,  /* has only output to write */
	CONN_LINGERING, /* has shut down its side; reads and drops until the peer has, too */
	CONN_DEAD,      /* socket closed; remembered until its last awaited answer has come back */
};

/* What an idle device costs: with MQTT's state behind it it fills one of the allocator's sizes, 384 bytes, and the next
 * is 448 (stream_conn.c). */
struct stream_conn {
	struct event event; /* watches for `watched`; its descriptor is the connection's socket */
	struct stream *stream;
	TAILQ_ENTRY(stream_conn) all; /* s->open, s->zombies or s->dead */
	TAILQ_ENTRY(stream_conn) ready, dirty, held;
	struct wheel_timer timer;
	uint8_t *rest; /* owned: received and not consumed */
	uint8_t *out;  /* owned: out_at..out_len are to be sent */
	uint32_t rest_len, rest_cap, out_at, out_len, out_cap;
	uint32_t waiting;     /* answers awaited */
	uint32_t deadline_ms; /* as set by the protocol */
	int64_t back_since;   /* held back since then; 0: not. CONN_SETTLING: not 0: it settles for one stall_timeout */
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer;
	uint8_t state;   /* enum conn_state */
	uint8_t watched; /* EV_READ | EV_WRITE as known to libevent */
	uint8_t fired;   /* what became ready; CONN_RESUME */
	bool in_ready : 1, in_dirty : 1, is_held : 1, paused : 1, eof : 1, broken : 1, write_blocked : 1, told : 1;
	_Alignas(16) uint8_t own[]; /* the protocol's */
};
#define CONN_RESUME 0x80u /* in `fired`: what held it back may have passed */

TAILQ_HEAD(conn_list, stream_conn);

struct stream {
	const struct stream_settings *settings;
	const struct stream_protocol *protocol;
	void *self;
	struct intake *in;
	struct listener_stats *stats;

	struct event_base *base;
	struct event listener, intake_event, wake_event, tick;
	int listen_fd;
	int fd_limit; /* a descriptor from here on is too many */
	bool acceptable, accept_paused, draining;
	int64_t accept_at; /* accept_paused: until then */
	struct log_limit accept_log, limit_log;

	int64_t now_ms, grace_until, drain_until;
	struct wheel wheel;
	uint8_t *buffer; /* REST_SMALL + READ_CHUNK bytes: what is read is parsed here */
	struct conn_list open, zombies, dead, ready, dirty, held;
	size_t count;       /* connections in `open` */
	uint64_t buffered;  /* sum of rest_cap */
	uint64_t unflushed; /* bytes read since the lane was published */
	bool retrying;      /* the first of `held` is being tried again */
	uint64_t share_end; /* retrying: position in the lane at which it gives way to the others */
	int hold_ms;        /* pause before the next try; 0: the last one found room */
	void *pool;         /* free output buffers, linked through their first bytes */
	unsigned pooled;

	int wake_fd;        /* any thread writes */
	_Atomic bool woken; /* exchanged by stream_wake (any thread) and take_wake: who turns it true writes wake_fd */
	bool wake_fired;
};

/* stream.c */
void stream_on_ready(evutil_socket_t fd, short what, void *conn); /* libevent's callback of a connection */
void stream_link_ready(struct stream_conn *c, unsigned fired);

/* stream_conn.c */
/* stream_conn_new takes over an accepted socket. NULL when memory is out: the socket is closed. */
struct stream_conn *stream_conn_new(struct stream *s, int fd, const struct sockaddr *peer);
void stream_conn_push(struct stream_conn *c);  /* end of turn: write, and close when it is time */
void stream_conn_timer(struct stream_conn *c); /* its timer has fired */
void stream_conn_answered(struct stream_conn *c, uint64_t what);
void stream_conn_destroy(
    struct stream_conn *c); /* closes; it is freed by stream_conn_reap when nothing refers to it any more */
void stream_conn_reap(struct stream *s);
int stream_conn_fd(const struct stream_conn *c);
void stream_conn_mark_dirty(struct stream_conn *c); /* stream_conn_push will look at it at the end of the turn */
bool stream_conn_note_backpressure(
    const struct stream_conn *c); /* for want of room, by too many answers or too much output */
bool stream_conn_readable(const struct stream_conn *c);
void stream_conn_watch(struct stream_conn *c); /* tells libevent what its state asks for */
void stream_conn_go_back(
    struct stream_conn *c); /* it is held back from now on: the stall time-out runs, its deadline does not */
void stream_conn_resume_output(struct stream_conn *c); /* it is not any more */
void stream_conn_set_stall(struct stream_conn *c); /* while it is held back: the timer is that of the stall time-out */

/* stream_read.c */
void stream_conn_mark_ready(struct stream_conn *c); /* something became ready, or what held it back may have passed */
void stream_conn_retry(struct stream_conn *c);      /* the first of s->held: offer its rest again */
void stream_conn_end_backpressure(struct stream_conn *c);
void stream_conn_drop_input(struct stream_conn *c); /* reads once and forgets it */
void stream_conn_rest_free(struct stream_conn *c);

/* stream_write.c */
size_t stream_conn_output(const struct stream_conn *c); /* bytes to be sent */
bool stream_conn_send(struct stream_conn *c);           /* false: the socket is broken */
void stream_conn_output_free(struct stream_conn *c);

#endif
