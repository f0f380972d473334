/* What a protocol is to the load tester: a few functions between bytes and message numbers. Sockets, TLS, windows, times,
 * resending and counting are the same for all (connection.c, datagram.c); a protocol is one file, send_NAME.c, and one line in
 * protocols.c.
 *
 * Messages of a connection are numbered 0, 1, 2 ... in the order of first sending, whatever becomes of the connection
 * itself: what is not acknowledged when it breaks is put again, in order, on the next one. */
#ifndef SLUICE_LOAD_PROTOCOL_H
#define SLUICE_LOAD_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;
struct load_plan;

struct load_protocol {
	const char *name, *scheme, *tls_scheme; /* tls_scheme NULL: no TLS */
	const char *port, *tls_port;
	const char *path; /* default of the path template; NULL: the protocol has none */
	bool datagram;
	bool in_order; /* messages are known by their place: when sent again, those that are settled go along */
	bool batches;  /* one request carries plan->batch messages, and one is under way at a time */
	int qos, most; /* default of plan->qos, and highest; -1: the protocol has none */
	uint64_t window, most_window;

	/* plan_confirms: whether the server says anything about messages. Without, what was written is "unconfirmed". */
	bool (*confirms)(const struct load_plan *plan);
	/* room: bytes that put may write beside the payloads, per message. */
	size_t room;

	/* hello writes what is sent first on a connection; 0: nothing, it is ready. The answer comes to take, which calls
	 * connection_ready or connection_lost. NULL: ready at once. */
	size_t (*hello)(struct connection *c, uint8_t *out);
	/* put writes messages number to number + count - 1 (count is 1 unless it batches); again: they were sent before.
	 * 0: nothing needs to be sent for them. */
	size_t (*put)(struct connection *c, uint64_t number, uint64_t count, bool again, uint8_t *out);
	/* take looks at what came, and returns how much of it is used up; the rest comes again with more behind it. It calls
	 * connection_acked, connection_rejected ... When it called connection_lost, what it returns does not matter. */
	size_t (*take)(struct connection *c, const uint8_t *in, size_t len);
	/* closed: the server closed the connection in order; true: that is as it should be at this point. May be NULL. */
	bool (*closed)(struct connection *c);
	/* ping: what keeps an idle connection alive; goodbye: what is sent before it is closed; finish: what makes the server
	 * tell that everything before was read, where nothing is confirmed (it ends in connection_finished). May be NULL. */
	size_t (*ping)(struct connection *c, uint8_t *out);
	size_t (*goodbye)(struct connection *c, uint8_t *out);
	size_t (*finish)(struct connection *c, uint8_t *out);
	bool finish_by_shutdown; /* finish: our side of the connection is shut, and the server's end of file awaited */
	/* tick: every 100 ms or so; datagrams: sends again what is due. May be NULL. */
	void (*tick)(struct connection *c);
};

extern const struct load_protocol load_mqtt, load_coap, load_tcp, load_http;
extern const struct load_protocol *const load_protocols[]; /* ends with NULL */

#endif
