/* The intake is what the core lends to one listener thread: it turns messages into records, puts them into the thread's
 * own lane, and tells when they are safe, so that the listener can answer. One listener thread owns it; nothing in it is
 * shared per message.
 *
 * A listener's loop:
 *
 *	for (;;) {
 *		now = intake_turn(in);
 *		if (intake_phase(in) != INTAKE_RUN) stop accepting and reading; return when nothing waits any more
 *		... read sockets; for each message: intake_put, then intake_await if it is to be answered ...
 *		intake_flush(in);                     // publish what was put, wake the journal: once per turn
 *		while (intake_answer(in, &a)) ...     // answers that are due now, in the order of intake_await
 *		... write the answers out: one write per connection ...
 *		timeout = intake_sleep(in, timeout);  // announces the sleep; 0 if an answer became due meanwhile
 *		... wait for sockets and intake_fd(in) at most timeout ms ...
 *	}
 *
 * A position is a byte count in the thread's lane: it grows with each message put, and answers are due in its order. */
#ifndef SLUICE_GATEWAY_INTAKE_H
#define SLUICE_GATEWAY_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "gateway/base/stats.h"
#include "gateway/journal/state_store.h"
#include "gateway/listener_settings.h"
#include "gateway/message.h"

struct intake;

/* -- what a listener is and has; constant while it runs -- */
const char *intake_name(const struct intake *in); /* the listener's name in the configuration */
const struct listener_settings *intake_settings(const struct intake *in);
struct listener_stats *intake_stats(struct intake *in); /* the protocol adds what it alone knows */
unsigned intake_thread(const struct intake *in);        /* 0..threads-1 */
/* intake_shared: memory shared by all threads of one listener, made zeroed at the first call, size bytes, freed by the
 * core when the listener has closed; what is in it is locked by the protocol. For per-connection things like the
 * registry of client identifiers, never per message. */
void *intake_shared(struct intake *in, size_t size);
/* intake_listening reports the address a socket was really bound to ("127.0.0.1:1883", "[::]:5683"): logged, printed,
 * shown by /readyz. */
void intake_listening(struct intake *in, const char *address);
/* intake_port is the port that the listener's threads share (socket_share.port). Main thread. */
uint16_t *intake_port(struct intake *in);

/* -- the loop -- */
enum intake_phase {
	INTAKE_RUN,   /* serve */
	INTAKE_DRAIN, /* accept and read nothing new, answer what is safe; return from run when intake_waiting is 0 */
	INTAKE_END,   /* return from run now */
};
enum intake_phase intake_phase(const struct intake *in);
/* intake_turn reads the clocks once for this turn and shows that the thread lives; returns monotonic milliseconds. Call
 * it at least once a second (sleep at most 1000 ms). */
int64_t intake_turn(struct intake *in);
int64_t intake_now_ms(const struct intake *in); /* monotonic, of this turn */

/* intake_put turns a message into a record in the lane. It counts what it does (received, accepted, refused).
 *   position  set on GW_OK: answer when it is settled
 *   refusal   set on GW_INVALID and GW_TOOBIG: what to tell the device
 * GW_OK | GW_FULL (no room now: hold the sender back and offer the same message again; the protocol counts that, not
 * intake_put) | GW_INVALID (refuse: *refusal) | GW_TOOBIG (refuse: the record would be over max_payload or the lane's
 * limit). */
enum gw_err intake_put(struct intake *in, const struct message *m, uint64_t *position, struct refusal *refusal);
/* -- state that must outlive its records (state_store.h); the scope is the listener, whatever the change says -- */
/* intake_keeps_state: changes of state survive the process. False with `journal.type` memory and spill: then they are
 * not written anywhere, and a listener has only its own memory. */
bool intake_keeps_state(const struct intake *in);
/* intake_note sends a change alone; it is settled like a message. GW_OK, with position | GW_FULL. Where state is not
 * kept GW_OK, and position is that of the last message. */
enum gw_err intake_note(struct intake *in, const struct state_change *change, uint64_t *position);
/* intake_recall hands over what the listener has left behind, the oldest first, each as the change that sets it, valid
 * for the call. A listener that keeps state calls it once, in the open of its thread 0: what nobody recalls is
 * forgotten. Main thread. */
void intake_recall(struct intake *in, void (*each)(void *context, const struct state_change *change), void *context);

/* intake_refuse counts a message or connection that the protocol itself refused. */
void intake_refuse(struct intake *in, enum refusal_reason reason);
/* intake_last_id points to the 26 characters of the id given to the last message put with GW_OK; valid until the next
 * put. */
/* intake_report logs a refusal, so that its device can be found: listener, address, device, reason. At most 10 lines in 10
 * s for each reason and thread; the next one tells how many were left out. It counts nothing. */
struct refused_sender {
	const struct sockaddr *peer; /* NULL: unknown */
	const char *device;          /* as it came, device_len bytes; NULL: unknown */
	size_t device_len;
	const char *detail; /* static text; NULL: none */
};
void intake_report(struct intake *in, enum refusal_reason reason, const struct refused_sender *who);
const char *intake_last_id(const struct intake *in);
/* intake_full is true while the journal takes nothing: a put would be GW_FULL. */
bool intake_full(const struct intake *in);
/* intake_retry_after is the number of seconds to tell a device that found it full. */
unsigned intake_retry_after(const struct intake *in);

/* intake_position is the position of the last message put: an answer that only has its place in the order waits for it.
 */
uint64_t intake_position(const struct intake *in);
/* What an answer tells the device. Only an acknowledgement is counted as one and measured (sluice_acknowledgements_total,
 * sluice_ack_duration_seconds): a message counts once, and a refused one not at all. */
enum answer_kind {
	ANSWER_ACKNOWLEDGEMENT, /* its message is safe */
	ANSWER_REFUSAL,         /* its message is refused; the answer only keeps its place among the others */
	ANSWER_RELEASE, /* speaks of no message, or of one that was acknowledged before: a release, a repetition */
};
/* intake_await queues an answer: it becomes due when position is settled at this listener's ack level. Positions must
 * not decrease. kind, who and what come back as they were given (who must stay valid until then: keep a count in it).
 * GW_NOMEM: nothing queued. */
enum gw_err intake_await(struct intake *in, uint64_t position, enum answer_kind kind, void *who, uint64_t what);

/* intake_await_note queues an answer that waits for what intake_note put at position, and no longer than until that is on
 * disk, even with `ack: delivered`: it is of no use to a sink. An order of its own: neither before nor after the answers of
 * intake_await. Never late; otherwise as intake_await. */
enum gw_err intake_await_note(struct intake *in, uint64_t position, void *who, uint64_t what);

struct answer {
	void *who;
	uint64_t what;
	enum answer_kind kind;
	bool late;    /* not settled within ack_timeout (only when late answers were asked for) */
	bool durable; /* with late: it is safe on disk, though not delivered yet */
};
/* intake_answer takes the next answer that is due; false: none. late_answers of intake_late decides whether time-outs
 * are due, too. */
bool intake_answer(struct intake *in, struct answer *a);
/* intake_late(true): answers that wait longer than ack_timeout become due with late set (HTTP, CoAP). Default false:
 * they stay (MQTT, TCP). */
void intake_late(struct intake *in, bool on);
size_t intake_waiting(const struct intake *in); /* answers queued */
bool intake_settled(const struct intake *in, uint64_t position);
/* intake_watch: intake_sleep of this turn is not to sleep over position being settled, though no answer waits for it.
 * Called again, the latest holds. */
void intake_watch(struct intake *in, uint64_t position);

void intake_flush(struct intake *in);
/* intake_fd becomes readable when answers may be due, the phase changes or a full journal has room again. The listener
 * waits on it and need not read it: intake_turn does. */
int intake_fd(const struct intake *in);
/* intake_sleep announces that this thread is about to wait at most timeout_ms (-1: no limit of its own); returns the
 * time to wait: 0 if something is due already, never more than 1000. */
int intake_sleep(struct intake *in, int timeout_ms);

#endif
