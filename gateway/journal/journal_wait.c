/* When the next commit begins, and how the journal's thread sleeps until then.
 *
 *	nothing in the lanes      sleeps until anything is published
 *	nobody waits for it       commits `commit_idle` after it was seen; meanwhile wakes for what somebody waits for
 *	somebody waits for it     commits at once, or as commit_delay.h says; where many records come per commit, not sooner
 *	                          than `gather` after the commit before, or when ENOUGH has come
 *	a lane is crowded, stop   commits at once
 *
 * While it sleeps with a time of its own, a listener does not wake it for each thing it publishes, only for what ends the
 * sleep: `sleeping` says what that is. Whoever wakes takes `sleeping` back, so that it is written to the eventfd once. */
#include <assert.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/journal/journal_parts.h"

#define ENOUGH (96u << 10) /* bytes that are worth a commit: then what a commit costs is little beside what they do */
#define BUSY (8 * 16)      /* records per commit (times 16) from which on it is worth to gather */
#define SEVERAL (2 * 16)   /* the same, from which on a delay begins before there is anything */
#define LONGEST_US 1000000 /* of one sleep: it shows that it lives */
#define SHORTEST_US 20     /* a shorter one is not worth its wake-up */

enum pending { PENDING_NOTHING, PENDING_UNAWAITED, PENDING_AWAITED, PENDING_CROWDED };

bool journal_lanes_have(struct journal *j)
{
	for (size_t i = 0; i < j->lane_count; i++)
		if (lane_has(j->lanes[i].lane))
			return true;
	return false;
}

/* Up to where the lanes are published, all together. */
static uint64_t published(const struct journal *j)
{
	uint64_t end = 0;
	for (size_t i = 0; i < j->lane_count; i++)
		end += atomic_load_explicit(&j->lanes[i].lane->head, memory_order_acquire);
	return end;
}

/* The same for what is in blocks. */
static uint64_t passed(const struct journal *j)
{
	uint64_t end = 0;
	for (size_t i = 0; i < j->lane_count; i++)
		end += j->lanes[i].lane->next;
	return end;
}

size_t journal_gatherable(const struct journal *j)
{
	return (size_t)(published(j) - passed(j));
}

static enum pending look(struct journal *j)
{
	enum pending most = PENDING_NOTHING;
	for (size_t i = 0; i < j->lane_count; i++) {
		struct lane *l = j->lanes[i].lane;
		if (!lane_has(l))
			continue;
		enum pending here = lane_is_crowded(l)   ? PENDING_CROWDED
		                    : lane_is_awaited(l) ? PENDING_AWAITED
		                                         : PENDING_UNAWAITED;
		most = here > most ? here : most;
	}
	return most;
}

/* -- how long -- */

/* At the rate at which records came last, a pause is no longer than it takes to fill ENOUGH. */
static int64_t until_enough(const struct journal *j, int64_t rest)
{
	if (rest <= 0 || j->bytes_per_ms == 0)
		return rest;
	size_t there = journal_gatherable(j);
	int64_t filled = there < ENOUGH ? (int64_t)(1000 * (ENOUGH - there) / j->bytes_per_ms) : 0;
	return filled < rest ? filled : rest;
}

/* For what somebody waits for. A delay that has begun keeps its end, whatever wakes the thread meanwhile. */
static int64_t awaited_rest(struct journal *j, int64_t now)
{
	if (j->delayed)
		return j->delay_until_us - now;
	int64_t rest = until_enough(j, commit_delay_rest(&j->delay, j->commit_started_us, now));
	if (rest >= SHORTEST_US) {
		j->delayed = true;
		j->delay_until_us = now + rest;
		return rest;
	}
	if (j->usual < BUSY)
		return 0;
	rest = until_enough(j, j->commit_started_us + (int64_t)j->settings->gather - now);
	return rest < SHORTEST_US ? 0 : rest;
}

static int64_t unawaited_rest(struct journal *j, int64_t now)
{
	if (j->unawaited_since_us == 0)
		j->unawaited_since_us = now;
	return j->unawaited_since_us + (int64_t)j->settings->commit_idle - now;
}

/* -- sleeping and waking -- */

static bool ends(enum pending pending, enum journal_sleep sleep)
{
	return pending >= (sleep == SLEEP_UNTIL_ANY       ? PENDING_UNAWAITED
	                   : sleep == SLEEP_UNTIL_AWAITED ? PENDING_AWAITED
	                                                  : PENDING_CROWDED);
}

/* True: it was woken, or did not sleep. */
static bool sleep_for(struct journal *j, enum journal_sleep sleep, int64_t us)
{
	struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	struct pollfd p = {.fd = j->wake_fd, .events = POLLIN};
	bool woken = true;
	atomic_store_explicit(&j->sleeping, sleep, memory_order_seq_cst);
	if (!ends(look(j), sleep) && !journal_settle_delivered(j) && !atomic_load(&j->stopping))
		woken = ppoll(&p, 1, &t, NULL) > 0;
	atomic_store_explicit(&j->sleeping, SLEEP_NOT, memory_order_relaxed);
	uint64_t n;
	ssize_t got = p.revents ? read(j->wake_fd, &n, sizeof(n)) : 0;
	(void)got;
	return woken;
}

static int64_t at_most(int64_t us, int64_t most)
{
	return us < most ? us : most;
}

bool journal_wait(struct journal *j)
{
	int64_t now = clock_mono_us(), longest = (int64_t)journal_spill_wait_ms(j) * 1000, rest = 0;
	longest = at_most(longest, LONGEST_US);
	enum pending pending = look(j);
	if (atomic_load(&j->stopping) || pending == PENDING_CROWDED || j->left)
		return pending != PENDING_NOTHING;
	if (pending == PENDING_UNAWAITED && (rest = unawaited_rest(j, now)) > 0) {
		sleep_for(j, SLEEP_UNTIL_AWAITED, at_most(rest, longest));
		return false;
	}
	/* Before anything is there, too, while much comes: else it would be woken only to pause then. */
	bool much = pending == PENDING_NOTHING && j->was_awaited && j->usual >= SEVERAL;
	if ((pending == PENDING_AWAITED || much) && (rest = awaited_rest(j, now)) > 0) {
		sleep_for(j, SLEEP_UNTIL_CROWDED, at_most(rest, longest));
		return false;
	}
	if (pending != PENDING_NOTHING)
		return true;
	j->delayed = false;
	sleep_for(j, SLEEP_UNTIL_ANY, longest);
	j->usual -= j->usual / 16;
	journal_guard_turn(j);
	journal_segments_maintain(j);
	return false;
}

static void wake(struct journal *j)
{
	uint64_t one = 1;
	if (atomic_exchange_explicit(&j->sleeping, SLEEP_NOT, memory_order_seq_cst) == SLEEP_NOT)
		return; /* somebody else does */
	ssize_t n = write(j->wake_fd, &one, sizeof(one));
	(void)n;
}

void journal_wake(struct journal *j)
{
	if (atomic_load_explicit(&j->sleeping, memory_order_seq_cst) != SLEEP_NOT)
		wake(j);
}

void journal_wake_published(struct journal *j, struct lane *lane, bool awaited)
{
	enum journal_sleep sleep = (enum journal_sleep)atomic_load_explicit(&j->sleeping, memory_order_seq_cst);
	if (sleep == SLEEP_NOT)
		return;
	if (sleep == SLEEP_UNTIL_ANY || (sleep == SLEEP_UNTIL_AWAITED && awaited) || lane_was_crowded(lane))
		wake(j);
}

/* -- what was learned -- */

void journal_note_wait(struct journal *j, int64_t now)
{
	int64_t first = INT64_MAX, last = 0, from, to;
	j->was_awaited = false;
	for (size_t i = 0; i < j->lane_count; i++)
		if (lane_awaited_times(j->lanes[i].lane, &from, &to)) {
			first = from < first ? from : first;
			last = to > last ? to : last;
			j->was_awaited = true;
		}
	if (j->delayed && j->was_awaited) {
		stat_add(&j->stats->delayed, 1);
		if (!commit_delay_note_gain(&j->delay, first, last, now))
			stat_add(&j->stats->delayed_in_vain, 1);
	}
	j->published = published(j);
	j->was_delayed = j->delayed;
	j->delayed = false;
	j->unawaited_since_us = 0;
}

void journal_note_rate(struct journal *j, int64_t before_us)
{
	int64_t since = j->commit_started_us - before_us;
	uint64_t now = j->block ? (uint64_t)j->block->body * 1000 / (uint64_t)(since > 0 ? since : 1) : 0;
	j->bytes_per_ms = (3 * j->bytes_per_ms + now) / 4;
	j->left = passed(j) < j->published;
	if (j->was_awaited && j->block && j->block->count > 0)
		commit_delay_note_records(&j->delay, before_us, j->commit_started_us, j->block->count, j->was_delayed);
}
