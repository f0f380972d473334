/* State in the journal (state_store.h): applied as records are settled, written at the head of each segment, made again at
 * start.
 *
 * The table is that of the last settled record. A new segment begins with a checkpoint of it, in a block of its own that
 * takes no sequences, synced before the first record is written: so a valid record in a segment tells that its
 * checkpoint is valid, too. The segment in use before is kept, whatever the cursors say, until the first record of the
 * new one is safe; from then on the older ones are not needed for the state.
 *
 * Only with `type: disk`: what is held in memory (memory, spill) may be delivered and forgotten without a trace on disk,
 * and a release that left none would let an identifier live for ever, so that the next message under it was taken for a
 * repetition and lost. */
#include <errno.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"
#include "gateway/journal/record.h"

bool journal_keeps_state(const struct journal *j)
{
	return j->settings->type == JOURNAL_DISK;
}

static void show(struct journal *j)
{
	stat_set(&j->stats->state_items, j->state.count);
	stat_set(&j->stats->state_bytes, j->state.bytes);
}

void journal_state_apply(struct journal *j, const uint8_t *entries, uint32_t count, bool checkpoint)
{
	size_t forgotten = state_store_apply_entries(&j->state, entries, count, checkpoint);
	if (forgotten > 0)
		stat_add(&j->stats->state_forgotten, forgotten);
	show(j);
}

/* -- before the start -- */

void journal_recall(struct journal *j, const char *scope,
                    void (*each)(void *context, const struct state_change *change), void *context)
{
	struct state_change c;
	if (!journal_keeps_state(j) || j->scope_count == LANES_MAX)
		return;
	j->scopes[j->scope_count++] = scope;
	state_store_expire(&j->state, clock_wall_us());
	for (bool more = state_store_first(&j->state, &c); more; more = state_store_next(&j->state, &c))
		if (c.scope.len == strlen(scope) && memcmp(c.scope.bytes, scope, c.scope.len) == 0)
			each(context, &c);
}

static bool is_recalled(void *context, struct state_text scope)
{
	const struct journal *j = context;
	for (size_t i = 0; i < j->scope_count; i++)
		if (scope.len == strlen(j->scopes[i]) && memcmp(scope.bytes, j->scopes[i], scope.len) == 0)
			return true;
	return false;
}

void journal_state_begin(struct journal *j)
{
	size_t dropped = state_store_keep(&j->state, is_recalled, j);
	j->stale_state = dropped > 0;
	if (dropped > 0 && journal_keeps_state(j))
		log_event(LOG_INFO, "journal",
		          "forgets the MQTT sessions, QoS 2 identifiers and idempotency keys of listeners that are no "
		          "longer there",
		          LOG_N("sluice.journal.state", dropped));
	if (j->scope_count == 0) {
		j->state_generation = UINT64_MAX;
	} else {
		uint64_t most = j->settings->segment / 8, want = segment_block_size(j->settings->max_state);
		j->checkpoint_room = (want < most ? want : most) & ~(uint64_t)(BLOCK_ALIGN - 1);
		if (j->checkpoint_room < BLOCK_ALIGN)
			j->checkpoint_room = BLOCK_ALIGN;
		/* Every entry of a checkpoint has a header, and the last change of it may leave room unused. */
		size_t room = (size_t)j->checkpoint_room - BLOCK_HEADER;
		size_t entries = room / (STATE_STORE_ENTRY / 2) + 1;
		size_t max = room - entries * RECORD_HEADER;
		dropped = state_store_limit(&j->state, max);
		if (dropped > 0)
			stat_add(&j->stats->state_forgotten, dropped);
	}
	show(j);
}

/* -- checkpoints -- */

int journal_state_checkpoint(struct journal *j, uint64_t first)
{
	state_store_expire(&j->state, clock_wall_us());
	struct block *b = block_new((size_t)j->checkpoint_room);
	if (!b)
		return -ENOMEM;
	int err = state_store_write_entries(&j->state, b, (size_t)j->checkpoint_room - BLOCK_HEADER) ? 0 : -ENOSPC;
	if (!err) {
		struct block_header h = {.generation = j->generation,
		                         .first = first,
		                         .time_us = (uint64_t)clock_wall_us(),
		                         .body = b->body,
		                         .count = b->count,
		                         .checkpoint = true};
		size_t size = segment_block_size(b->body);
		segment_block_write(&h, b->bytes);
		if (!(err = j->disk->write(j->disk, j->fd, b->bytes, size, j->offset)) &&
		    !(err = j->disk->sync(j->disk, j->fd))) {
			j->offset += size;
			stat_add(&j->stats->written_bytes, size);
			stat_add(&j->stats->checkpoints, 1);
		}
	}
	block_unref(b);
	show(j);
	return err;
}

/* Left by a run with `type: disk`: it must not come back after this one, which does not write how it changes. */
enum gw_err journal_state_discard(struct journal *j, struct why *why)
{
	if (j->settings->type != JOURNAL_SPILL || !j->stale_state)
		return GW_OK;
	log_say(
	    LOG_WARN, "journal",
	    "forgets MQTT sessions, open QoS 2 identifiers and idempotency keys: they are not kept with type spill");
	j->checkpoint_room = BLOCK_ALIGN;
	int err = journal_segments_roll(j, j->next);
	j->checkpoint_room = 0;
	return err ? why_set(why, GW_IO, "journal: %s: %s", j->dir, strerror(-err)) : GW_OK;
}
