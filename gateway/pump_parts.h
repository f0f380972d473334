/* The inside of the pump, shared by its files alone: pump.c (made and ended, and what others ask), pump_thread.c (the
 * loop: handing over, retries, waiting), pump_read.c (from the journal into batches) and pump_settle.c (what became of
 * a batch: dead letters, back-off, the cursor).
 *
 * Batches stand in one list in the order of their records. A batch is being filled (at most one, the last), with the
 * sink, waiting for its next try, or finished; the cursor moves over the finished ones at the front. */
#ifndef SLUICE_GATEWAY_PUMP_PARTS_H
#define SLUICE_GATEWAY_PUMP_PARTS_H

#include <pthread.h>

#include "gateway/log.h"
#include "gateway/pump.h"
#include "gateway/record.h"

#define BLOCKS_MAX 64u /* blocks that one batch may lean on */

struct block_list {
	struct block *items[BLOCKS_MAX];
	size_t count;
};

struct pump {
	/* constant after pump_open */
	struct pump_plan plan;
	void *state; /* owned: the sink's */
	struct sink_host host;
	struct journal *journal;
	struct cursor *cursor; /* the journal's; this thread moves it */
	struct journal_reader *reader;
	enum record_kind kind;
	pthread_t thread;
	bool running, urgent; /* urgent: a listener waits for `delivered` */

	/* shared */
	struct pulse pulse;
	_Atomic bool sleeping;      /* journal.h */
	_Atomic int64_t stop_by_us; /* 0: runs; main writes */
	pthread_mutex_t lock;       /* guards state_text */
	char state_text[512];
	struct sink_stats stats;

	/* this thread's own */
	struct batch *first, *last; /* all batches, in order */
	struct batch *filling;      /* the last of them, or NULL */
	struct batch *spare;        /* finished ones, used again */
	size_t with_sink, waiting;
	struct block *block; /* being read */
	const uint8_t *entry;
	uint64_t sequence; /* of entry; the next to be read */
	uint64_t finished; /* last sequence of the finished prefix: the cursor, but for what a deferred sink has not
	                      synced */
	bool rewind;       /* asked for by sink_rewind */
	struct dead_file dead;
	uint64_t backoff_us;
	int64_t quiet_until_us; /* the sink is not asked before that */
	int64_t saved_us, filling_since_us;
	unsigned random;
	struct log_limit retry_log, save_log, read_log;
	bool stuck; /* what should be there could not be read: not asked for again at once */
	bool has_all;
};

/* pump_thread.c: the thread; arg is the pump */
void *pump_run(void *arg);

/* pump_read.c: the pump's thread */
/* read_fill adds records to the batch being filled, which it begins if there are any; true: it is full. */
bool read_fill(struct pump *p);

/* pump_settle.c: the pump's thread (batch_free: main, after it) */
/* settle_batch gives an empty batch at the end of the list, or NULL: out of memory. */
struct batch *settle_batch(struct pump *p);
/* settle_keep takes back a batch that is in no list, to be used again. */
void settle_keep(struct pump *p, struct batch *b);
void settle_free(struct batch *b);
/* settle_finished passes the finished batches at the front, and the cursor with them. */
void settle_finished(struct pump *p);
/* settle_back_off: the sink is left alone for a while, longer each time, and for at least least_ms. */
void settle_back_off(struct pump *p, uint64_t least_ms);
/* settle_save stores the cursor. */
void settle_save(struct pump *p, int64_t now_us);

#endif
