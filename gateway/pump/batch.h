/* A batch: records on their way into one sink, and what became of each. The pump forms it, the sink settles it, both on
 * the pump's thread. */
#ifndef SLUICE_GATEWAY_PUMP_BATCH_H
#define SLUICE_GATEWAY_PUMP_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/journal/block.h"
#include "gateway/journal/record.h"

struct pump;
struct track;

enum item_state {
	ITEM_PENDING = 0, /* the sink has not said anything: counts as RETRY when the batch is finished */
	ITEM_DONE,        /* the sink has it for good */
	ITEM_RETRY,       /* offer it again later */
	ITEM_DEAD,        /* the sink will never take it */
};

/* A record of its own memory, so that it does not keep a whole block: see pump_held.c. */
struct batch_copy {
	int64_t since_us; /* when it was offered to the sink first */
	_Alignas(8) uint8_t entry[];
};

struct batch_item {
	const uint8_t *entry; /* record.h; inside a block that the batch holds, or in copy */
	uint64_t sequence;
	enum item_state state;
	char *reason;            /* owned by the batch; why it is DEAD or RETRY; NULL: none given */
	struct batch_copy *copy; /* owned by the batch; NULL: none */
};

/* The blocks that a batch references: as many as it has records, where each was committed alone. */
struct batch_blocks {
	struct block **items; /* owned; room for batch_records */
	size_t count;
};

struct batch {
	struct batch_item *items;
	size_t count;
	size_t bytes;     /* of JSON, all items */
	unsigned attempt; /* 0 the first time; it ends at UINT_MAX */
	/* set by the sink: not before that long (HTTP Retry-After); 0: the pump's own back-off */
	uint64_t retry_after_ms;
	bool overloaded;  /* set by the sink: its server has too much to do (HTTP 429), and shall get fewer at a time */
	uint64_t hold_ms; /* set by the sink: what it does not settle waits that long for a target of its own, and other
	                     batches go on meanwhile; 0: everything waits for the pump's back-off */
	bool held;        /* for the sink: it was held for its targets, and is now to try them */
	void *own;        /* the sink's, while it has the batch */
	bool earlier; /* it begins with a record from before the start of this process: an earlier one may have sent it
	               */
	bool resumes; /* it begins where an earlier process may have left off sending */
	/* the rest is the pump's */
	struct pump *pump;
	struct track *track;
	struct batch *next;
	struct batch_blocks *blocks; /* owned */
	size_t entry_bytes;          /* of the items' entries */
	size_t taken, taken_bytes;   /* of its records, what the sink has and is not counted yet */
	int64_t submitted_us;
	uint64_t last_sequence;
	bool waiting, finished; /* for another try; settled wholly */
	bool resting;           /* held, and not with the sink */
	int64_t due_us;         /* resting: until then */
	uint64_t oldest_us;     /* held: when its first record was committed */
	bool unburied;          /* some of it is refused for good, and the dead-letter file does not take it */
};

/* Said per item by the sink; any order; the last word counts. reason is a printf text, cut at 1 KiB. */
static inline void batch_done(struct batch *b, size_t i)
{
	b->items[i].state = ITEM_DONE;
}
void batch_retry(struct batch *b, size_t i, const char *format, ...) __attribute__((format(printf, 3, 4)));
void batch_dead(struct batch *b, size_t i, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same word for every item that is still pending. */
void batch_done_all(struct batch *b);
void batch_retry_all(struct batch *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* batch_finish gives the batch back to the pump: DONE items are settled, DEAD ones go to the dead letter file, the
 * others are offered again after a back-off. The sink must not touch the batch afterwards. May be called inside submit
 * and inside poll. */
void batch_finish(struct batch *b);

/* -- the pump's -- */

/* batch_new makes an empty batch with room for so many records; NULL: out of memory. batch_clear empties it: reasons are freed,
 * blocks released. batch_free does that and frees it. batch_item_clear frees the reason of one item. batch_release_blocks: its
 * items have copies. */
struct batch *batch_new(size_t records);
void batch_clear(struct batch *b);
void batch_free(struct batch *b);
void batch_release_blocks(struct batch *b);
void batch_item_clear(struct batch_item *item);

#endif
