/* Who waits for what: when all cursors that matter have passed a sequence, a lane's position is settled. One entry per
 * commit and lane; when a ring is full, later commits share the newest entry: their answers come later, never early. */
#include <assert.h>

#include "gateway/journal/journal_parts.h"

void journal_settle_note(struct journal *j, struct journal_lane *l, struct deliveries *d, uint64_t last)
{
	assert(d->items);
	struct delivery *newest = d->count ? &d->items[(d->first + d->count - 1) % DELIVERIES] : NULL;
	if (newest && newest->position == l->gathered)
		return; /* nothing of this lane was in the block */
	if (newest && d->count == DELIVERIES) {
		stat_add(&j->stats->delivered_coalesced, 1);
		newest->sequence = last;
		newest->position = l->gathered;
		return;
	}
	d->items[(d->first + d->count++) % DELIVERIES] = (struct delivery){.sequence = last, .position = l->gathered};
}

uint64_t journal_settle_pass(struct deliveries *d, uint64_t passed)
{
	uint64_t position = 0;
	while (d->count && d->items[d->first].sequence <= passed) {
		position = d->items[d->first].position;
		d->first = (d->first + 1) % DELIVERIES;
		d->count--;
	}
	return position;
}

/* The sequence that every cursor in the set has passed; UINT64_MAX: it is empty. */
static uint64_t passed_by(const struct journal *j, uint64_t cursors)
{
	uint64_t passed = UINT64_MAX;
	for (size_t c = 0; c < j->cursor_count; c++)
		if (cursors >> c & 1) {
			uint64_t s = cursor_get(&j->cursors[c]);
			passed = s < passed ? s : passed;
		}
	return passed;
}

uint64_t journal_cursors_min(const struct journal *j)
{
	return j->cursor_count ? passed_by(j, UINT64_MAX) : 0;
}

bool journal_settle_in_memory(struct journal_lane *l, uint64_t passed)
{
	uint64_t position = journal_settle_pass(&l->in_memory, passed);
	if (!position)
		return false;
	lane_settle_durable(l->lane, position);
	lane_wake(l->lane, l->delivered.items ? 0 : position);
	return true;
}

bool journal_settle_delivered(struct journal *j)
{
	bool moved = false;
	uint64_t least = j->settings->type == JOURNAL_SPILL ? journal_cursors_min(j) : 0;
	for (size_t i = 0; i < j->lane_count; i++) {
		struct journal_lane *l = &j->lanes[i];
		moved |= journal_settle_in_memory(l, least);
		uint64_t position =
		    l->delivered.count ? journal_settle_pass(&l->delivered, passed_by(j, l->delivered_to)) : 0;
		if (position) {
			lane_settle_delivered(l->lane, position);
			lane_wake(l->lane, position);
			moved = true;
		}
	}
	return moved;
}
