/* A stand-in for gateway/intake.c in unit tests of protocols: it keeps the messages it was given, settles them when the
 * test says so, and can be full, refuse, or be in any phase. Everything happens on the test's own thread: a protocol's
 * loop is run for a number of turns and comes back.
 *
 * Include fake_intake.c textually from the test: it defines every symbol of intake.h, so the linker leaves the real one
 * in the archive.
 *
 *	struct intake *in = fake_intake_new();
 *	in->settings.payload = PAYLOAD_JSON; in->manual = true; ...
 *	protocol.open(self, in, NULL);
 *	fake_turns(in, 3); protocol.run(self);           // three turns of the loop, then run returns: INTAKE_END
 *	assert_int_equal(in->message_count, 2);
 *	fake_settle(in, in->messages[0].position);       // answers up to there are due now
 */
#ifndef SLUICE_TEST_UNIT_FAKE_INTAKE_H
#define SLUICE_TEST_UNIT_FAKE_INTAKE_H

#include "gateway/intake.h"

struct fake_message {
	char *device, *channel, *payload; /* owned, terminated; NULL: none. A device or channel that a pointer finds is
	                                     looked up already. */
	size_t device_len, channel_len, payload_len;
	char *content_type, *idempotency_key;
	enum payload_kind kind;
	int qos;
	bool retain, has_peer;
	uint64_t position;
};

struct fake_answer {
	uint64_t position;
	void *who;
	uint64_t what;
	int64_t since_ms;
	enum answer_kind kind;
};

struct intake {
	/* what a test may set */
	struct listener_settings settings; /* sensible values by fake_intake_new */
	const char *name;                  /* "test" */
	unsigned thread;
	enum intake_phase phase;
	bool manual;        /* false: everything is settled as soon as it is flushed */
	bool full;          /* intake_put says GW_FULL */
	int64_t room;       /* messages until it becomes full by itself; -1: never */
	int64_t lane_room;  /* messages until the lane has no room, though intake_full is false; -1: always room */
	size_t longest;     /* a longer payload finds no room, as in a lane that is nearly full; 0: no such limit */
	enum gw_err refuse; /* GW_INVALID or GW_TOOBIG: the next put is refused, once, with this reason */
	enum refusal_reason refuse_reason;
	const char
	    *refuse_payload; /* every payload that begins with this text is refused with refuse_reason (GW_INVALID) */
	bool await_fails;    /* intake_await says GW_NOMEM */
	bool keeps_state;    /* as with journal.type disk */
	const struct state_change *recalled; /* what intake_recall gives */
	size_t recalled_count;
	int64_t skew_ms;                                /* added to the clock: moves time on without waiting */
	void (*on_sleep)(struct intake *in, void *arg); /* called once per turn, before the loop sleeps */
	void *on_sleep_arg;

	/* what a test may look at */
	struct listener_stats stats;
	struct fake_message *messages;
	size_t message_count;
	uint64_t position, flushed, settled, watched;
	uint64_t durable;            /* what intake_note put up to here is on disk; at least `settled` */
	size_t flushes, puts, notes; /* notes: changes of state sent alone */
	enum state_op last_note;
	char address[128]; /* as given to intake_listening */
	uint16_t port;     /* of thread 0; a test of several threads hands it on */
	size_t reports;    /* refusals given to intake_report; the last of them: */
	enum refusal_reason reported;
	bool reported_peer;
	char reported_device[128], reported_detail[128];

	/* its own */
	int64_t turn_limit, turn_count; /* turn_limit -1: no limit */
	bool over;
	int64_t now_ms;
	int fd;
	size_t message_room;
	struct fake_answer *answers;
	size_t answer_first, answer_count, answer_room;
	struct fake_answer awaiting_note[64]; /* by intake_await_note */
	size_t awaiting_note_count;
	bool late;
	void *shared;
	char last_id[RECORD_ID_LEN + 1];
};

struct intake *fake_intake_new(void);
void fake_intake_free(struct intake *in);

/* fake_turns makes the next call of a protocol's run return after n turns (intake_phase says INTAKE_END then). It does
 * not sleep long in them: what should have arrived by then is waited for at most a few milliseconds, so use it in a
 * loop with a deadline. */
void fake_turns(struct intake *in, int n);
/* fake_settle makes answers up to a position due; fake_settle_all: all that were flushed or are in the queue. */
void fake_settle(struct intake *in, uint64_t position);
void fake_settle_all(struct intake *in);
void fake_forget(struct intake *in); /* the messages kept so far */

/* Runs `run` a turn at a time until the condition holds; fails the test after five seconds. */
#define FAKE_UNTIL(in, run, condition)                                                                                 \
	do {                                                                                                           \
		int64_t fake_until = fake_clock_ms() + 5000;                                                           \
		while (!(condition)) {                                                                                 \
			if (fake_clock_ms() > fake_until)                                                              \
				fail_msg("not within five seconds: %s", #condition);                                   \
			fake_turns((in), 1);                                                                           \
			run;                                                                                           \
		}                                                                                                      \
	} while (0)
int64_t fake_clock_ms(void);

#endif
