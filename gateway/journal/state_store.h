/* State that must outlive its records: what a listener has to remember after a crash so that a repetition is recognised
 * (QoS 2 packet identifiers, idempotency keys). A listener attaches a change of state to a message (struct message) or
 * sends it alone (intake_note); it lies in the journal in the same entry as the message, so both are there or neither.
 * The journal's thread applies changes, in the order of the journal, to a bounded table, and writes that table at the
 * head of each new segment (a checkpoint), so that older segments can go. At start the table is made again from the
 * last checkpoint and what follows it, and the listeners are handed what is theirs (intake_recall).
 *
 * An item is named by scope (the listener's name), group (a client identifier, an idempotency key) and member (a packet
 * identifier); it has a value and a time after which it no longer counts.
 *
 * A change, little-endian, one behind the other in an entry (docs/journal-format.md):
 *	 0  u32  size        of the change, a multiple of 8
 *	 4  u8   op          enum state_op
 *	 5  u8   scope_len
 *	 6  u16  group_len
 *	 8  u16  member_len
 *	10  u16  value_len
 *	12  u32  zero
 *	16  i64  expires_us  microseconds since 1970; 0: never
 *	24  scope, group, member, value, then zeros up to size
 * Changes are pure bytes; a table belongs to one thread. */
#ifndef SLUICE_GATEWAY_JOURNAL_STATE_STORE_H
#define SLUICE_GATEWAY_JOURNAL_STATE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gateway/base/error.h"
#include "gateway/base/siphash.h"

#define STATE_HEADER 24u
#define STATE_VALUE_MAX 8192u /* bytes of a value */

enum state_op {
	STATE_SET = 1,
	STATE_DELETE = 2,       /* the item */
	STATE_DELETE_GROUP = 3, /* all items of the group */
};

struct state_text {
	const void *bytes;
	size_t len;
};

struct state_change {
	enum state_op op;
	struct state_text scope; /* at most 255 bytes; the intake sets it */
	struct state_text group, member, value;
	int64_t expires_us; /* wall clock; 0: never */
	size_t id_at;       /* attached to a message: where in value the intake writes its record's id; 0: nowhere */
};

/* state_size is the number of bytes state_write writes: a multiple of 8. */
size_t state_size(const struct state_change *c);
void state_write(const struct state_change *c, uint8_t *out);
/* state_read reads the change at bytes, of which len are there; its texts point into them. Returns its size; 0: it is
 * none. */
size_t state_read(struct state_change *c, const uint8_t *bytes, size_t len);
/* state_check: len bytes are whole changes. */
bool state_check(const uint8_t *bytes, size_t len);
/* state_of_entry finds the changes in an entry (record.h), which was checked; returns their bytes, 0: it has none. */
size_t state_of_entry(const uint8_t *entry, const uint8_t **changes);

struct state_group;
struct state_item;
TAILQ_HEAD(state_items, state_item);

struct state_table {
	struct state_group **buckets; /* owned; a power of two of them; NULL until the first */
	size_t bucket_count, group_count;
	struct state_items items; /* the oldest first */
	size_t count, bytes, max; /* bytes: of the changes that state_table_next gives */
	struct siphash_key key;
	struct state_item *next; /* state_table_next */
};

/* max: most bytes of all items; when they are more, the oldest go. fini is safe on zeros. */
void state_table_init(struct state_table *t, size_t max);
void state_table_fini(struct state_table *t);
void state_table_clear(struct state_table *t);
/* state_table_apply applies a change and returns how many items it cost for want of room or memory. */
size_t state_table_apply(struct state_table *t, const struct state_change *c);
/* state_table_take applies the changes in `count` entries of a block (record.h), which was checked; a checkpoint begins the
 * table anew. Returns how many items it cost. */
size_t state_table_take(struct state_table *t, const uint8_t *entries, uint32_t count, bool checkpoint);
/* state_table_limit sets max and returns how many items that costs. */
size_t state_table_limit(struct state_table *t, size_t max);
/* state_table_expire drops what no longer counts at now_us (wall clock). */
void state_table_expire(struct state_table *t, int64_t now_us);
/* state_table_keep drops every item for whose scope `keep` says no; returns how many. */
size_t state_table_keep(struct state_table *t, bool (*keep)(void *context, struct state_text scope), void *context);
/* state_table_first, _next walk over all items, the oldest first, as the change that sets them; false: no more. Nothing
 * may be applied meanwhile. */
bool state_table_first(struct state_table *t, struct state_change *c);
bool state_table_next(struct state_table *t, struct state_change *c);

#endif
