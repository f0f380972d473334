/* State that must outlive its records: what a listener has to remember after a crash so that a repetition is recognised
 * (QoS 2 packet identifiers, idempotency keys). A listener attaches a change of state to a message (struct message) or
 * sends it alone (intake_note); it lies in the journal in the same entry as the message, so both are there or neither.
 * The journal's thread applies changes, in the order of the journal, to a bounded table, and writes that table at the
 * head of each new segment (a checkpoint), so that older segments can go. At start the table is made again from the
 * last checkpoint and what follows it, and the listeners are handed what is theirs (intake_recall).
 *
 * An item is named by scope (the listener's name), group (a client identifier, an idempotency key) and member (a packet
 * identifier); it has a value and a time after which it no longer counts. An item with neither member nor value says only
 * that its group exists (a client's session); when there is no room such items go before the others.
 *
 * How a change looks as bytes is in record.h. A table belongs to one thread. */
#ifndef SLUICE_GATEWAY_JOURNAL_STATE_STORE_H
#define SLUICE_GATEWAY_JOURNAL_STATE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gateway/base/siphash.h"
#include "gateway/journal/block.h"
#include "gateway/journal/record.h"

/* Most bytes of changes in one entry of a checkpoint, but for a single larger change. */
#define STATE_STORE_ENTRY (64u << 10)

struct state_group;
struct state_item;
TAILQ_HEAD(state_items, state_item);

struct state_store {
	struct state_group **buckets; /* owned; a power of two of them; NULL until the first */
	size_t bucket_count, group_count;
	struct state_items items; /* the oldest first */
	struct state_items bare;  /* the same, of groups that only exist: neither member nor value; they go first */
	size_t count, bytes, max; /* bytes: of the changes that state_store_next gives */
	struct siphash_key key;
	struct state_item *next; /* state_store_next */
};

/* max: most bytes of all items; when they are more, the oldest bare ones go, then the oldest. fini is safe on zeros. */
void state_store_init(struct state_store *t, size_t max);
void state_store_fini(struct state_store *t);
void state_store_clear(struct state_store *t);
/* state_store_apply applies a change and returns how many items it cost for want of room or memory. */
size_t state_store_apply(struct state_store *t, const struct state_change *c);
/* state_store_apply_entries applies the changes in `count` entries of a block (record.h), which was checked; a checkpoint begins the
 * table anew. Returns how many items it cost. */
size_t state_store_apply_entries(struct state_store *t, const uint8_t *entries, uint32_t count, bool checkpoint);
/* state_store_limit sets max and returns how many items that costs. */
size_t state_store_limit(struct state_store *t, size_t max);
/* state_store_expire drops what no longer counts at now_us (wall clock). */
void state_store_expire(struct state_store *t, int64_t now_us);
/* state_store_keep drops every item for whose scope `keep` says no; returns how many. */
size_t state_store_keep(struct state_store *t, bool (*keep)(void *context, struct state_text scope), void *context);
/* state_store_first, _next walk over all items, bare ones first, the oldest of each kind first, as the change that sets them; false: no more. Nothing
 * may be applied meanwhile. */
bool state_store_first(struct state_store *t, struct state_change *c);
bool state_store_next(struct state_store *t, struct state_change *c);

/* state_store_write_entries writes the table as entries of a checkpoint into b, at most room bytes; false: it does not fit. */
bool state_store_write_entries(struct state_store *t, struct block *b, size_t room);

#endif
