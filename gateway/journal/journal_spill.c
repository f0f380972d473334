/* Spill mode (`journal: spill`): memory first, disk only while the sinks do not keep up. For flash that wears.
 *
 * Held: blocks are sealed and stay in the tail, from which every pump reads; nothing is written. A record is settled
 * (`durable`) when every cursor has passed it. The cursors are not stored either: once they have all passed what is on
 * disk they are stored a last time, and then the journal is quiescent.
 * Spilled: as with `type: disk`.
 *
 * To disk, when what is held grows over tail_memory, when the oldest held record has waited spill_after, or at the
 * stop: the cursors are stored, so that what was delivered out of memory is no gap to a later recovery; then all that is
 * held and not passed by every cursor is written, in order, into a fresh segment, and settled as it becomes safe; new
 * records come behind it. Nothing held was acknowledged before unless every sink has it, so a crash meanwhile loses
 * nothing that was promised.
 * Back to memory, when the sinks have kept up for twice spill_after: all that they lack is in the tail, and little. What is on disk
 * stays there until they have it. */
#include "gateway/journal/journal_parts.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#define RETRY_US 100000
#define DAY_US INT64_C(86400000000)

static int64_t after_us(const struct journal *j)
{
	return atomic_load_explicit((_Atomic int64_t *)&j->spill_after_us, memory_order_relaxed);
}

static struct block *held_block(const struct journal *j, size_t i)
{
	return j->tail[(j->tail_first + i) % j->tail_room];
}

/* The oldest block that is in memory alone and that a sink still lacks; NULL: there is none. The tail is changed by
 * this thread only, so looking needs no lock. */
static struct block *oldest_held(const struct journal *j, uint64_t passed, size_t *index)
{
	for (size_t i = 0; i < j->tail_count; i++) {
		struct block *b = held_block(j, i);
		if (b->first >= j->in_memory_from && block_last(b) > passed) {
			*index = i;
			return b;
		}
	}
	return NULL;
}

static void set_held_from(struct journal *j, uint64_t sequence)
{
	pthread_mutex_lock(&j->lock);
	j->in_memory_from = sequence;
	pthread_mutex_unlock(&j->lock);
	stat_set(&j->stats->spilled, sequence == UINT64_MAX);
}

static bool store_cursors(struct journal *j)
{
	bool stored = true;
	for (size_t i = 0; i < j->cursor_count; i++)
		stored &= cursor_save(&j->cursors[i]) == GW_OK;
	return stored;
}

/* The next block on disk comes behind a gap, so it must begin a segment. */
static void end_segment(struct journal *j)
{
	if (j->current)
		j->offset = j->segments[j->segment_count - 1].size;
}

/* What is held stays in memory, and unacknowledged, for a little longer. By then the cursors may have left a gap. True: to
 * be tried again now. A stop has no later turn: as in journal_write, it is tried as long as that may take. */
static bool put_off(struct journal *j, bool stopping)
{
	j->spill_next_us = clock_mono_us() + RETRY_US;
	end_segment(j);
	if (!stopping || clock_mono_us() > atomic_load(&j->stop_by_us))
		return false;
	poll(NULL, 0, RETRY_US / 1000);
	heartbeat_beat(&j->heartbeat, clock_mono_us() / 1000);
	return true;
}

static bool room_for(struct journal *j, const struct block *b)
{
	return journal_room(j, b->body > j->most_body ? b->body : j->most_body);
}

/* Gathers held blocks from the index-th on into j->block, as many as fit, and makes them safe. *index moves behind them.
 * False: stopped before that. */
static bool write_some(struct journal *j, size_t *index)
{
	uint64_t first = held_block(j, *index)->first, last = first;
	bool may_drop = true;
	block_clear(j->block);
	while (*index < j->tail_count) {
		struct block *b = held_block(j, *index);
		if (j->block->body + b->body > j->block->room - BLOCK_HEADER)
			break;
		block_fill(j->block, block_entries(b), b->body);
		block_grow(j->block, b->body, b->count);
		last = block_last(b);
		may_drop &= b->may_drop;
		(*index)++;
	}
	j->block->may_drop = may_drop;
	if (!journal_write(j, first))
		return false;
	block_clear(j->block);
	set_held_from(j, last + 1);
	for (size_t i = 0; i < j->lane_count; i++)
		journal_settle_in_memory(&j->lanes[i], last);
	return true;
}

static bool go_to_disk(struct journal *j, const char *why)
{
	size_t index = 0;
	bool stopping = atomic_load(&j->stopping);
	atomic_store_explicit(&j->quiescent, false, memory_order_relaxed);
	/* Without its cursors what was delivered out of memory would look like a gap: then everything stays in memory, and
	 * unacknowledged, until they can be stored. */
	if (clock_mono_us() < j->spill_next_us && !stopping)
		return true;
	/* Looked at before they are stored: what a cursor passes afterwards is written all the same, or there would be a gap
	 * behind the stored one. */
	uint64_t passed = journal_cursors_min(j), from = j->in_memory_from;
	while (!store_cursors(j)) {
		journal_note_trouble(j, -EIO);
		if (!put_off(j, stopping))
			return !stopping;
	}
	if (oldest_held(j, passed, &index))
		while (index < j->tail_count) {
			if (room_for(j, held_block(j, index))) {
				if (!write_some(j, &index))
					return false;
				continue;
			}
			journal_note_memory(j);
			if (!put_off(j, stopping))
				return !stopping;
		}
	log_event(LOG_INFO, "journal", "goes to disk", LOG_S("sluice.reason", why),
	          LOG_N("sluice.journal.records", j->next - (from > passed ? from : passed + 1)));
	stat_add(&j->stats->spills, 1);
	set_held_from(j, UINT64_MAX);
	j->calm_us = 0;
	return true;
}

static void go_to_memory(struct journal *j)
{
	end_segment(j);
	set_held_from(j, j->next);
	log_say(LOG_INFO, "journal", "the sinks keep up: records are held in memory");
}

static bool waited_too_long(const struct journal *j, const struct block *b)
{
	return b && clock_mono_us() - b->sealed_us >= after_us(j);
}

/* Whether all that the sinks lack is in memory, too, and little, and would not go to disk again at once: a sink that
 * stands still does not keep up, however little it lacks. */
static bool lack_little(struct journal *j)
{
	uint64_t passed = journal_cursors_min(j), bytes = 0;
	if (passed + 1 >= j->next)
		return true;
	if (j->tail_count == 0 || held_block(j, 0)->first > passed + 1)
		return false;
	const struct block *oldest = NULL;
	for (size_t i = j->tail_count; i-- > 0 && block_last(held_block(j, i)) > passed;) {
		oldest = held_block(j, i);
		if ((bytes += oldest->room) > j->settings->tail_memory / 4)
			return false; /* at once: behind a large backlog this is looked at with every commit */
	}
	return !waited_too_long(j, oldest);
}

static bool sinks_keep_up(struct journal *j)
{
	if (!lack_little(j) || journal_faulty(j)) {
		j->calm_us = 0;
		return false;
	}
	int64_t now = clock_mono_us();
	if (j->calm_us == 0)
		j->calm_us = now;
	return now - j->calm_us >= 2 * after_us(j);
}

bool journal_spill_turn(struct journal *j)
{
	size_t index;
	if (j->settings->type != JOURNAL_SPILL)
		return true;
	if (j->in_memory_from == UINT64_MAX) {
		if (!atomic_load(&j->stopping) && sinks_keep_up(j))
			go_to_memory(j);
		return true;
	}
	journal_tail_drop(j);
	uint64_t passed = journal_cursors_min(j);
	struct block *oldest = oldest_held(j, passed, &index);
	if (oldest && atomic_load(&j->stopping))
		return go_to_disk(j, "stop");
	if (j->tail_bytes > j->settings->tail_memory)
		return go_to_disk(j, "tail_memory is used up");
	if (waited_too_long(j, oldest))
		return go_to_disk(j, "a sink lags by spill_after");
	if (!atomic_load_explicit(&j->quiescent, memory_order_relaxed) && passed + 1 >= j->in_memory_from &&
	    store_cursors(j))
		atomic_store_explicit(&j->quiescent, true, memory_order_relaxed);
	return true;
}

uint64_t journal_spill_left(const struct journal *j)
{
	size_t index;
	const struct block *oldest =
	    j->settings->type == JOURNAL_SPILL ? oldest_held(j, journal_cursors_min(j), &index) : NULL;
	return oldest ? j->next - oldest->first : 0;
}

int journal_spill_wait_ms(const struct journal *j)
{
	int wait = 1000;
	if (j->settings->type != JOURNAL_SPILL)
		return wait;
	if (j->in_memory_from == UINT64_MAX ? j->calm_us == 0 : j->tail_count == 0)
		return wait; /* nothing to wait for but news, which wake it */
	int64_t quarter = after_us(j) / 4000;
	return quarter < 1000 ? (int)quarter + 1 : wait;
}

void journal_spill_check_budget(struct journal *j)
{
	uint64_t written = stat_get(&j->stats->written_bytes);
	int64_t now = clock_mono_us();
	if (j->settings->write_budget == 0)
		return;
	if (j->budget_us == 0 || now - j->budget_us >= DAY_US) {
		j->budget_us = now;
		j->budget_bytes = written;
	}
	bool over = written - j->budget_bytes > j->settings->write_budget;
	if (over && !j->over_budget)
		log_event(LOG_WARN, "journal",
		          "more was written in a day than journal.write_budget allows; service goes on",
		          LOG_N("sluice.journal.write_budget", j->settings->write_budget),
		          LOG_N("sluice.journal.written", written - j->budget_bytes));
	j->over_budget = over;
	stat_set(&j->stats->over_budget, over);
}
