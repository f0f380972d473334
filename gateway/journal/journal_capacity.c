/* No room: when the journal is nearly full and full, who hears of it, and what may be given up instead.
 *
 * Full: what is promised to the lanes is only just free. Nearly full: records that a sink still needs have high_water of
 * all the room that records may have, until they have no more than low_water. Both say in the log which sink holds it, or
 * that something else has taken the file system's room. A journal that is full is nearly full too, at every moment: the
 * listeners that promise nothing must not take messages while those that do may not. So nearly full begins before full
 * and ends after it. The figures are stored before the flag that they belong to.
 *
 * Records of lanes that may_drop (`when_full: drop_oldest`, for listeners that promise nothing that would outlive the
 * process) are given up, the oldest first, before the journal gets full: a segment whole, if it has no other records; in
 * memory, a block. What is behind them stays, so a segment with a single record that somebody was promised ends it.
 * journal_first says how far it went; cursors are not touched: a pump that comes to the gap passes over it, as over a
 * damaged one, and counts what it lacks. */
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"

#define TELL_US 10000000

static uint64_t now_s(void)
{
	return (uint64_t)clock_wall_us() / 1000000;
}

/* The cursor that is furthest behind; NULL: there is none. */
static const struct cursor *furthest(const struct journal *j)
{
	const struct cursor *least = NULL;
	for (size_t i = 0; i < j->cursor_count; i++)
		if (!least || cursor_get(&j->cursors[i]) < cursor_get(least))
			least = &j->cursors[i];
	return least;
}

/* The sink whose cursor that is, and how many records it lacks. */
static const char *pinning_sink(const struct journal *j, uint64_t *behind)
{
	const struct cursor *least = furthest(j);
	*behind = least ? j->next - 1 - cursor_get(least) : 0;
	return least ? least->name : "";
}

bool journal_is_pinned_by(const struct journal *j, const struct cursor *c)
{
	if (!journal_nearly_full(j))
		return false;
	uint64_t passed = cursor_get(c);
	return passed < journal_last(j) && passed <= cursor_get(furthest(j));
}

static void wake_all(struct journal *j)
{
	for (size_t i = 0; i < j->lane_count; i++)
		lane_wake_always(j->lanes[i].lane);
}

static void set_nearly_full(struct journal *j, bool nearly, uint64_t percent)
{
	uint64_t behind;
	const char *name = pinning_sink(j, &behind);
	stat_set(&j->stats->nearly_full, nearly);
	stat_set(&j->stats->nearly_full_since, nearly ? now_s() : 0);
	stat_add(&j->stats->times_nearly_full, nearly);
	/* pairs with the acquire in journal_nearly_full */
	atomic_store_explicit(&j->nearly_full, nearly, memory_order_seq_cst);
	if (!nearly) {
		log_event(LOG_INFO, "journal", "is no longer nearly full",
		          LOG_N("sluice.journal.fill_percent", percent));
		wake_all(j);
		return;
	}
	char text[768];
	if (*journal_growth_trouble(j, text, sizeof(text)))
		log_event(LOG_WARN, "journal", "is nearly full: no further segment can be made",
		          LOG_N("sluice.journal.fill_percent", percent), LOG_S("error.message", text));
	else
		log_event(LOG_WARN, "journal",
		          journal_lacks_disk(j) ? "is nearly full: its file system has no room for more"
		                                : "is nearly full of records that a sink does not have",
		          LOG_N("sluice.journal.fill_percent", percent), LOG_S("sink.name", name),
		          LOG_N("sluice.sink.lag_records", behind));
}

/* The pumps bring at once what they let gather. */
static void hurry_readers(struct journal *j)
{
	journal_wake_readers(j, JOURNAL_WAKE_NEVER - 1);
}

static void set_full(struct journal *j, bool full)
{
	char text[768];
	uint64_t behind;
	const char *name = pinning_sink(j, &behind);
	stat_set(&j->stats->full, full);
	stat_set(&j->stats->full_since, full ? now_s() : 0);
	stat_add(&j->stats->times_full, full);
	/* pairs with the acquire in journal_full */
	atomic_store_explicit(&j->full, full, memory_order_seq_cst);
	if (full && *journal_growth_trouble(j, text, sizeof(text))) {
		log_event(LOG_WARN, "journal", "is full: nothing more is taken in until a further segment can be made",
		          LOG_N("sluice.journal.limit_bytes", j->limit),
		          LOG_N("sluice.journal.segments", j->segment_count), LOG_S("error.message", text));
		return;
	}
	if (full) {
		log_event(
		    LOG_WARN, "journal",
		    journal_lacks_disk(j) ? "is full: nothing more is taken in until its file system has room again"
		                          : "is full: nothing more is taken in until a sink has caught up",
		    LOG_N("sluice.journal.limit_bytes", j->limit), LOG_N("sluice.journal.segments", j->segment_count),
		    LOG_S("sink.name", name), LOG_N("sluice.sink.lag_records", behind));
		hurry_readers(j);
		return;
	}
	log_say(LOG_INFO, "journal", "has room again");
	wake_all(j);
}

void journal_capacity_decide(struct journal *j, uint64_t room, uint64_t capacity, bool full)
{
	uint64_t used = room < capacity ? capacity - room : 0;
	double percent = full || capacity == 0 ? 100 : (double)used * 100 / (double)capacity;
	bool was_nearly = journal_nearly_full(j);
	bool nearly = full || percent >= j->settings->high_water || (was_nearly && percent > j->settings->low_water);
	stat_set(&j->stats->fill_percent, (uint64_t)percent);
	if (nearly && !was_nearly)
		set_nearly_full(j, true, (uint64_t)percent);
	if (full != journal_full(j))
		set_full(j, full);
	if (!nearly && was_nearly)
		set_nearly_full(j, false, (uint64_t)percent);
}

/* -- giving up -- */

/* Records below `first` go: how many of them, from `from` on, some sink does not have. Told before they are gone. */
static void give_up(struct journal *j, uint64_t from, uint64_t first)
{
	uint64_t least = journal_cursors_min_stored(j), lacking = least >= from ? least + 1 : from;
	uint64_t count = first > lacking ? first - lacking : 0;
	atomic_store_explicit(&j->first, first, memory_order_release);
	stat_add(&j->stats->dropped, count);
	j->dropped += count;
	int64_t now = clock_mono_us();
	if (j->drop_told_us && now - j->drop_told_us < TELL_US)
		return;
	uint64_t behind;
	const char *name = pinning_sink(j, &behind);
	log_event(LOG_WARN, "journal",
	          "is full: the oldest records of listeners with when_full drop_oldest are given up",
	          LOG_N("sluice.dropped", j->dropped), LOG_S("sink.name", name));
	j->drop_told_us = now;
	j->dropped = 0;
}

void journal_capacity_note_promise(struct journal *j, struct segment *s, enum segment_promise promised)
{
	if (s->promised == promised)
		return;
	pthread_mutex_lock(&j->lock); /* readers copy it */
	s->promised = promised;
	pthread_mutex_unlock(&j->lock);
}

static bool may_drop(void *context, const uint8_t *bytes, const struct block_header *h)
{
	(void)bytes;
	return *(bool *)context = h->checkpoint || h->may_drop;
}

/* Looks into a segment from before the start. What cannot be read is not judged: it stays. */
static void look_into(struct journal *j, struct segment *s, uint64_t end)
{
	bool all = true;
	all = journal_segments_walk(j, s, end, may_drop, &all) && all;
	journal_capacity_note_promise(j, s, all ? SEGMENT_MAY_DROP : SEGMENT_PROMISED);
}

bool journal_capacity_drop_segment(struct journal *j)
{
	if (j->segment_count < 2)
		return false;
	struct segment *oldest = &j->segments[0];
	uint64_t end = j->segments[1].first;
	if (oldest->promised == SEGMENT_UNKNOWN)
		look_into(j, oldest, end);
	if (oldest->promised == SEGMENT_PROMISED || oldest->generation >= j->state_generation)
		return false;
	give_up(j, oldest->first, end);
	journal_segments_recycle(j, end - 1);
	return true;
}

bool journal_capacity_drop_block(struct journal *j)
{
	const struct block *b = journal_tail_oldest(j);
	if (j->tail_count < 2 || !b->may_drop)
		return false;
	give_up(j, b->first, block_last(b) + 1);
	journal_tail_give_up(j);
	return true;
}
