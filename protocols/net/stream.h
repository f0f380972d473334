/* Stream connections: what every protocol over TCP needs and none should write twice. Used by tcp.c and mqtt.c.
 *
 * One struct stream per listener thread owns the event loop (libevent for readiness), the listening socket, the
 * connections, one large read buffer and coarse timers. Bytes are read into the large buffer and parsed where they lie;
 * only an incomplete rest is kept with its connection, so an idle connection costs a small struct and no buffer.
 * Answers gather per connection and leave in one write per loop turn. Back-pressure: a connection that waits for too
 * many answers, whose peer does not read, or that found no room (stream_hold) is not read until that has passed.
 *
 * All functions: the listener's thread, unless said otherwise. A connection is freed only between loop turns and after
 * its last awaited answer has come back, so a pointer to it stays valid inside the callbacks, and `what` of a closed
 * connection is dropped silently. */
#ifndef SLUICE_PROTOCOLS_NET_STREAM_H
#define SLUICE_PROTOCOLS_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gateway/intake.h"

/* Settings of a stream listener; a protocol embeds the struct as its FIRST member and takes the rows by
 * STREAM_SETTINGS(struct tcp). */
struct stream_settings {
	struct address listen;
	int64_t max_connections; /* of one listener thread; more are closed at once and counted */
	int64_t max_unacked;     /* answers one connection may wait for before it is not read */
	uint64_t max_output;     /* bytes of answers that wait for a peer that does not read, before it is not read */
	uint64_t max_buffered;   /* bytes of incomplete messages kept over all connections of a thread; 0: no limit */
	uint64_t stall_timeout;  /* us: a connection held back longer than this for want of room is closed, so that the
	                            device tries elsewhere; what becomes safe within the same time is still answered */
	int64_t backlog;
};
#define STREAM_SETTINGS(st, port)                                                                                      \
	SETTING_AS(st, "listen", stream.listen, SETTING_ADDRESS, "127.0.0.1:" port, 0, 0,                              \
	           "Address and port to listen on; `[::]` is every address, IPv4 too."),                               \
	    SETTING_AS(st, "max_connections", stream.max_connections, SETTING_INT, "20000", 1, 10000000,               \
	               "Connections of one listener thread; further ones are closed at once."),                        \
	    SETTING_AS(st, "max_unacked", stream.max_unacked, SETTING_INT, "1024", 1, 65535,                           \
	               "Messages one connection may have waiting for their acknowledgement before it is not read."),   \
	    SETTING_AS(st, "max_output", stream.max_output, SETTING_BYTES, "64KiB", 1024, 16 << 20,                    \
	               "Bytes of answers kept for a peer that does not read them before it is not read itself."),      \
	    SETTING_AS(st, "max_buffered", stream.max_buffered, SETTING_BYTES, "256MiB", 1 << 20, 1e12,                \
	               "Bytes of incomplete messages that one listener thread keeps over all connections; a "          \
	               "connection that needs more (and has over 4 KiB of it) is closed."),                            \
	    SETTING_AS(                                                                                                \
	        st, "stall_timeout", stream.stall_timeout, SETTING_DURATION, "30s", 1e5, 3.6e9,                        \
	        "A connection held back this long for want of room is closed, so that the device sends again."),       \
	    SETTING_AS(st, "backlog", stream.backlog, SETTING_INT, "4096", 1, 65535,                                   \
	               "Connections the kernel queues before they are accepted.")

struct stream;

/* A connection; the protocol's own conn_size bytes follow it (stream_own). */
struct stream_conn;

struct stream_protocol {
	size_t conn_size;   /* bytes of the protocol's state per connection, zeroed; keep it small: it is the cost of an
	                       idle device */
	size_t max_message; /* longest message in bytes: a rest that grows beyond it without being consumed ends the
	                       connection (REFUSED_TOO_LARGE) */
	/* accepted: a new connection. Set a deadline for its first message here. */
	void (*accepted)(void *self, struct stream_conn *c);
	/* data: len bytes are there (a kept rest included). Take whole messages; return how many bytes were consumed
	 * (0..len). What is not consumed is offered again with more behind it, or, after stream_hold, as soon as there
	 * is room. After stream_close the return value is ignored. */
	size_t (*data)(void *self, struct stream_conn *c, const uint8_t *bytes, size_t len);
	/* answer: an awaited answer is due; write it with stream_write. */
	void (*answer)(void *self, struct stream_conn *c, uint64_t what);
	/* deadline: the time set by stream_deadline has passed (coarse: up to a second late). Not called while the
	 * connection is held back: time that we did not listen does not count against the device; the deadline then
	 * starts anew when reading does. */
	void (*deadline)(void *self, struct stream_conn *c);
	/* ended: the connection is about to go (peer closed, error, stream_close, stop); its last callback. May be
	 * NULL. What is still open when run returns is ended by stream_free. */
	void (*ended)(void *self, struct stream_conn *c);
	/* turn: once per loop turn, after reading and before the lane is published (e.g. requests from other threads).
	 * May be NULL. */
	void (*turn)(void *self);
	/* finished: the peer has shut down its side and will send no more; len bytes that data did not consume are
	 * left. Returns how many it consumed. Called again with the others if it called stream_hold; else the
	 * connection closes as by stream_close(c, true): what is due is still written. NULL: as if it did nothing. */
	size_t (*finished)(void *self, struct stream_conn *c, const uint8_t *bytes, size_t len);
};

/* stream_open binds and listens (SO_REUSEADDR; SO_REUSEPORT with several threads; IPV6_V6ONLY off for [::]) and reports
 * the address to the intake. GW_OK | GW_IO (why names address, setting and cause) | GW_CONFIG (address cannot be
 * resolved) | GW_NOMEM. Main thread. */
enum gw_err stream_open(struct stream **out, const struct stream_settings *settings,
                        const struct stream_protocol *protocol, void *self, struct intake *in, struct why *why);
/* stream_run is the listener's loop (intake.h), until the intake's phase ends it. */
void stream_run(struct stream *s);
/* stream_wake ends the loop's sleep, so that `turn` is called soon. Any thread, while s lives; cheap when already
 * woken. */
void stream_wake(struct stream *s);
void stream_free(struct stream *s); /* main thread; s may be NULL */

void *stream_own(struct stream_conn *c);
struct intake *stream_intake(struct stream_conn *c);
const struct sockaddr *
stream_peer(struct stream_conn *c); /* sockaddr_in or sockaddr_in6, compact: fetched when first asked for */

/* stream_write queues len bytes for the peer; they leave in one write at the end of the turn. The connection ends when
 * memory is out. */
void stream_write(struct stream_conn *c, const void *bytes, size_t len);
/* stream_unwrite takes back the last len bytes written, if none of them has been sent yet: for an answer that a newer
 * one replaces. */
bool stream_unwrite(struct stream_conn *c, size_t len);
/* stream_await: as intake_await, with the connection kept alive until the answer came back. Returns false when memory
 * is out: the connection is closed, after the answers that it waits for already. */
bool stream_await(struct stream_conn *c, uint64_t position, enum answer_kind kind, uint64_t what);
/* stream_await_note: the same as intake_await_note. */
bool stream_await_note(struct stream_conn *c, uint64_t position, uint64_t what);
size_t stream_waiting(const struct stream_conn *c); /* answers this connection waits for */
/* stream_hold: there is no room for its next message (GW_FULL); it is not read, and data is called again when there is.
 */
void stream_hold(struct stream_conn *c);
/* stream_crowded: others wait for room already. Ask before a message is put, and hold the connection instead: else small
 * messages would take, bit by bit, the room that a large one waits for. */
bool stream_crowded(const struct stream_conn *c);
/* stream_blocked: the connection would not be read now (too many answers awaited, too much output, held, paused,
 * closing), or it was held and it is the turn of others that are. data may stop at a message when it is; the rest is
 * offered again when that has passed. What data takes in one call goes beyond max_unacked and max_output otherwise. */
bool stream_blocked(const struct stream_conn *c);
/* stream_pause: the protocol itself waits for something (another thread, a credential check): nothing is read and data
 * is not called until stream_resume, after which data is called with the kept rest, if there is one, in this turn or
 * the next (also when nothing new arrives). Unlike with stream_hold the deadline runs on. Both may be called from any
 * callback; pausing twice is pausing once. */
void stream_pause(struct stream_conn *c);
void stream_resume(struct stream_conn *c);
/* stream_deadline calls back in ms milliseconds; 0: never. A new call replaces the old. Cheap: may be called for every
 * message. */
void stream_deadline(struct stream_conn *c, uint32_t ms);
/* stream_close writes what is queued and closes; awaited answers that are not due yet are dropped, unless `settle` is
 * true: then nothing more is read and the connection closes when its last awaited answer was written. */
void stream_close(struct stream_conn *c, bool settle);
bool stream_closing(const struct stream_conn *c);

#endif
