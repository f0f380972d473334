/* The inside of the pump, shared by its files alone: pump.c (made and ended, and what others ask), pump_thread.c (the
 * loop: handing over, retries, waiting), pump_read.c (from the journal into batches), pump_settle.c (what became of a
 * batch: back-off, the cursor), pump_held.c (what waits for a target of its own), pump_bury.c (dead letters) and pump_backlog.c (what gathered during an outage).
 *
 * A pump reads the journal at one place, its live track. While it replays it reads at a second one: the replay track
 * goes through the gaps, ranges that the live track has left out; each sequence belongs to one of the two.
 *
 * The batches of a track stand in one list in the order of their records. A batch is being filled (at most one, the
 * last), with the sink, waiting for its next try, or finished. A track is `safe` up to the end of the finished ones at
 * the front, and the cursor is where both tracks are. */
#ifndef SLUICE_GATEWAY_PUMP_PUMP_PARTS_H
#define SLUICE_GATEWAY_PUMP_PUMP_PARTS_H

#include <pthread.h>

#include "gateway/base/log.h"
#include "gateway/journal/record.h"
#include "gateway/pump/pump.h"

/* One place of reading. */
struct track {
	struct batch *first, *last; /* all batches, in order */
	struct batch *filling;      /* the last of them, or NULL */
	size_t with_sink;
	struct journal_reader *reader; /* owned */
	struct block *block;           /* being read */
	const uint8_t *entry;
	uint64_t sequence;    /* of entry; the next to be read */
	uint64_t end;         /* the last to be read; live: UINT64_MAX */
	uint64_t passed_over; /* what was given up below it is counted already */
	size_t most;          /* records of a batch */
	uint64_t finished;    /* last sequence of the finished prefix, while there are batches */
	uint64_t safe; /* up to here the sink has all that is this track's: the finished prefix, but for what a deferred
	                      sink has not synced */
	uint64_t unsafe_records, unsafe_bytes; /* finished by a deferred sink, and not safe yet */
	uint64_t unsafe_since_us, unsafe_from; /* commit of the oldest of them, 0: none, and its sequence */
	bool stuck;                            /* what should be there could not be read: not asked for again at once */
};

struct gap {
	uint64_t from, to;
};

struct pump {
	/* constant after pump_open */
	struct pump_plan plan;
	void *state; /* owned: the sink's */
	struct sink_host host;
	struct journal *journal;
	struct cursor *cursor; /* the journal's; this thread moves it */
	enum record_kind kind;
	uint64_t earlier; /* the last sequence that was there when it was opened */
	pthread_t thread;
	bool running, urgent; /* urgent: a listener waits for `delivered` */

	/* shared */
	struct heartbeat heartbeat;
	_Atomic uint64_t wake_at;   /* journal_add_reader */
	_Atomic int64_t stop_by_us; /* 0: runs; main writes */
	_Atomic bool back;          /* relaxed: an outage has ended: look at the backlog; sink_report_health sets it */
	pthread_mutex_t lock;       /* guards the texts and down_us */
	char state_text[512];       /* what the sink reports */
	char own_text[512];         /* what the pump itself reports; shown first */
	int64_t down_us;            /* since when the sink is in trouble; 0: it is not */
	struct sink_stats stats;

	/* this thread's own */
	struct track live, backlog;
	struct batch *spare; /* finished ones, used again */
	size_t with_sink, waiting;
	size_t allowed; /* batches that the sink may have now: in_flight, less after it had too much to do */
	size_t taken;   /* batches that it took since `allowed` changed */
	bool rewind;    /* asked for by sink_rewind */
	struct dead_letter_file dead;
	uint64_t backoff_us;
	int64_t quiet_until_us; /* the sink is not asked before that */
	int64_t saved_us, filling_since_us;
	int64_t looked_us;      /* when the live track had nothing to read, or handed over what it had */
	int64_t looks_again_us; /* until then it lets records gather */
	uint64_t record_bytes;  /* of JSON, a moving average */
	bool gathers;           /* it slept, or sleeps, without being woken by the next record */
	unsigned random;
	struct log_limit retry_log, save_log, read_log, dead_log, full_log;
	size_t resting;      /* batches that are held (pump_held.c) ... */
	size_t held_bytes;   /* ... and what their copies take */
	struct batch *probe; /* the one of them that the sink has; NULL: none */
	bool held_over;      /* a held batch was settled, and none began to rest since: they go like any other */
	size_t unburied;     /* batches that wait for the dead-letter file */
	bool has_all;

	/* the same, for replaying */
	struct gap gaps[CURSOR_AHEAD_MAX]; /* in order; the first is being replayed */
	size_t gap_count;
	bool resumes;         /* the next batch of the replay begins a gap from before the start */
	int64_t next_us;      /* with replay_rate: when the next batch of the replay may go */
	unsigned live_in_row; /* batches of the live track since the last one of the replay */
	int64_t told_us;
	uint64_t told_records;
};

/* pump_thread.c: the thread; arg is the pump */
void *pump_run(void *arg);

/* pump.c: the pump's thread */
/* pump_report_own: what the pump itself cannot do, as sink_report_health; NULL: nothing. */
void pump_report_own(struct pump *p, const char *text);

/* pump_read.c: the pump's thread */
/* pump_read_fill adds records to the track's batch being filled, which it begins if there are any; true: it is full. */
bool pump_read_fill(struct pump *p, struct track *t);
/* pump_read_from makes the track read on at sequence. */
void pump_read_from(struct track *t, uint64_t sequence);

/* pump_settle.c: the pump's thread */
/* pump_take_batch gives an empty batch at the end of the track's list, or NULL: out of memory. */
struct batch *pump_take_batch(struct pump *p, struct track *t);
/* pump_recycle_batch takes back a batch that is in no list, to be used again. */
void pump_recycle_batch(struct pump *p, struct batch *b);
/* pump_settle_finished passes the finished batches at the front of the track, and the cursor with them. */
void pump_settle_finished(struct pump *p, struct track *t);
/* pump_settle_safe: all that is finished is safe. pump_advance_cursor moves the cursor to what is safe. */
void pump_settle_safe(struct pump *p);
void pump_advance_cursor(struct pump *p);
/* pump_back_off: the sink is left alone for a while, longer each time, and for at least least_ms. */
void pump_back_off(struct pump *p, uint64_t least_ms);
/* pump_store_cursor stores the cursor. */
void pump_store_cursor(struct pump *p, int64_t now_us);
/* pump_oldest_us: when the oldest record of the track that the sink does not have for good was committed; 0: unknown.
 * pump_note_unsafe keeps that while its batch is no longer there. */
uint64_t pump_oldest_us(const struct track *t);
void pump_note_unsafe(struct track *t);
/* pump_has_unsafe: the sink has finished something that is not safe yet. */
bool pump_has_unsafe(const struct pump *p);

/* pump_held.c: the pump's thread */
/* pump_held_add: what is left of a batch (hold_ms) rests. False: there is no room: the whole sink has to wait. */
bool pump_held_add(struct pump *p, struct batch *b);
/* pump_held_next gives the batch whose rest is over, if one may go now; NULL: none. pump_held_put_back: the sink did not take it. */
struct batch *pump_held_next(struct pump *p, int64_t now_us);
void pump_held_put_back(struct pump *p, struct batch *b);
/* pump_held_wait_us: how long until pump_held_next has one; -1: nothing rests, or one is with the sink. */
int64_t pump_held_wait_us(const struct pump *p, int64_t now_us);
/* pump_held_over: a held batch was settled: the others need not wait. */
void pump_held_over(struct pump *p);
/* pump_held_forget frees an item's copy. */
void pump_held_forget(struct pump *p, struct batch_item *item);

/* pump_bury.c: the pump's thread */
/* pump_bury writes the dead items of a batch to the dead-letter file; what it does not take becomes ITEM_RETRY, and the
 * batch is unburied. pump_mark_unburied keeps their number. */
void pump_bury(struct pump *p, struct batch *b);
void pump_mark_unburied(struct pump *p, struct batch *b, bool unburied);

/* pump_backlog.c: the pump's thread (pump_backlog_open: main, before it) */
/* pump_backlog_open sets both tracks to where the cursor says. GW_OK | GW_IO, with why. */
enum gw_err pump_backlog_open(struct pump *p, struct why *why);
/* pump_backlog_is_due: an outage has ended. */
static inline bool pump_backlog_is_due(const struct pump *p)
{
	return atomic_load_explicit((_Atomic bool *)&p->back, memory_order_relaxed);
}
/* pump_backlog_turn begins and ends gaps. */
void pump_backlog_turn(struct pump *p, int64_t now_us);
/* pump_backlog_gap_is_filled: pump_backlog_turn has something to do at once. */
bool pump_backlog_gap_is_filled(const struct pump *p);
/* pump_backlog_blocks_live: nothing is read by the live track until the gaps are filled. */
bool pump_backlog_blocks_live(const struct pump *p);
/* pump_backlog_wait_us: how long until the next batch of the replay may be handed over; 0: now; -1: nothing is to be replayed
 * before a batch comes back. */
int64_t pump_backlog_wait_us(const struct pump *p, int64_t now_us);
/* pump_backlog_handed: a batch with so many records was handed over. */
void pump_backlog_handed(struct pump *p, size_t records, int64_t now_us);
/* pump_backlog_rewind sets both tracks back to what is safe. */
void pump_backlog_rewind(struct pump *p);
/* pump_backlog_ahead gives what the sink has above the cursor, in order; returns how many stretches. */
size_t pump_backlog_ahead(const struct pump *p, struct cursor_stretch out[CURSOR_AHEAD_MAX]);
/* replay_left: records in the gaps that the sink does not have. */
uint64_t pump_backlog_left(const struct pump *p);

#endif
