/* The journal's thread: gather from the lanes, write, sync, settle. What it promises is told in journal.h. */
#include "gateway/journal/journal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk_explain.h"
#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"
#include "gateway/journal/record.h"

#define RETRY_FIRST_US 50000
#define RETRY_MOST_US 1000000
#define MEMORY_MS 100 /* between two tries to get some */
#define MEMORY_TELL_US 10000000
#define GATHER_STEP (16u << 10) /* bytes walked, copied and summed at a time: they stay in the first cache meanwhile */

/* -- gathering -- */

/* Copies whole entries of a run behind those in the block, at most room bytes and not many more than GATHER_STEP; their
 * size. The bytes are copied before they are looked at: going from head to head through what another processor wrote
 * would wait for memory at each, where a copy streams. What was copied of an entry that does not fit is copied over. */
static size_t gather_run(struct block *b, const uint8_t *run, size_t len, size_t room)
{
	const uint8_t *to = b->bytes + BLOCK_HEADER + b->body;
	size_t most = len < room ? len : room, step = most < GATHER_STEP ? most : GATHER_STEP, at = 0;
	uint32_t count = 0;
	block_fill(b, run, step);
	while (at + RECORD_HEADER <= step) {
		/* Published together, so a pad can stand behind the last entry of a run: lane_peek skips it next time.
		 */
		uint32_t size = record_size(to + at);
		if (record_kind(to + at) == RECORD_PAD)
			break;
		if (at + size > step && count == 0 && size <= most) {
			step = size;
			block_fill(b, run, step);
		}
		if (at + size > step)
			break;
		at += size;
		count++;
	}
	block_grow(b, at, count);
	return at;
}

/* Takes entries of one lane into the block, at most room bytes; false: its next entry does not fit. */
static bool gather_lane(struct journal *j, struct journal_lane *l, size_t room)
{
	const uint8_t *run;
	size_t len;
	while ((len = lane_peek(l->lane, &run)) > 0) {
		size_t bytes = gather_run(j->block, run, len, room);
		if (bytes == 0)
			return false;
		room -= bytes;
		lane_advance(l->lane, bytes);
	}
	return true;
}

/* A block is given to the readers when it is well filled, so it is no larger than need be. */
bool journal_room(struct journal *j, size_t body)
{
	size_t need = segment_block_size(body), room = BLOCK_SMALL;
	while (room < need)
		room *= 2;
	if (j->block && j->block->room >= need && j->block->room <= room)
		return true;
	size_t most = segment_block_size(j->most_body);
	block_unref(j->block);
	return (j->block = block_new(room > most && need <= most ? most : room)) != NULL;
}

/* The lane whose turn is i places behind the first of this commit. */
static struct journal_lane *lane_in_turn(struct journal *j, size_t i)
{
	return &j->lanes[(j->turn + i) % j->lane_count];
}

/* Every lane its share of `most` bytes first, and then what is left of the block. */
static void gather_shares(struct journal *j, size_t most)
{
	size_t share = most / j->lane_count;
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < j->lane_count; i++) {
			size_t left = most - j->block->body;
			gather_lane(j, lane_in_turn(j, i), pass == 0 && left > share ? share : left);
		}
}

/* An entry larger than a whole block gets a larger block. */
static void gather_large_entry(struct journal *j)
{
	for (size_t i = 0; i < j->lane_count; i++) {
		const uint8_t *run;
		struct journal_lane *l = lane_in_turn(j, i);
		if (lane_peek(l->lane, &run) == 0 || !journal_room(j, record_size(run)))
			continue;
		block_clear(j->block);
		gather_lane(j, l, record_size(run));
		return;
	}
}

/* Gives the lanes back what was gathered, and notes what that was: whether it has changes of state, whether it may be
 * dropped. */
static void release_lanes(struct journal *j)
{
	bool may_drop = true;
	j->has_state = false;
	for (size_t i = 0; i < j->lane_count; i++) {
		struct journal_lane *l = &j->lanes[i];
		if (lane_state_since(l->lane, l->gathered))
			j->has_state = journal_keeps_state(j);
		may_drop &= l->lane->may_drop || l->gathered == l->lane->next;
		lane_release(l->lane);
		l->gathered = l->lane->next;
	}
	if (j->block)
		j->block->may_drop = may_drop;
}

/* Fills the block. False: no memory. */
static bool gather(struct journal *j)
{
	size_t there = journal_gatherable(j), most = there < j->most_body ? there : j->most_body;
	if (!journal_room(j, most))
		return false;
	block_clear(j->block);
	if (!journal_tail_room(j))
		return false;
	gather_shares(j, most);
	if (j->block->count == 0)
		gather_large_entry(j);
	j->turn++;
	release_lanes(j);
	return j->block && j->block->count > 0;
}

/* -- writing -- */

static void seal(struct journal *j, uint64_t first)
{
	struct block *b = j->block;
	b->first = first;
	b->time_us = (uint64_t)clock_wall_us();
	b->sealed_us = clock_mono_us();
	struct block_header h = {.generation = j->generation,
	                         .first = b->first,
	                         .time_us = b->time_us,
	                         .body = b->body,
	                         .count = b->count,
	                         .may_drop = b->may_drop,
	                         .sum = b->sum,
	                         .summed = b->summed};
	segment_block_write(&h, b->bytes);
}

static int write_block(struct journal *j, uint64_t first)
{
	size_t size = segment_block_size(j->block->body);
	int err;
	if (!j->current || j->offset > j->segments[j->segment_count - 1].size ||
	    size > j->segments[j->segment_count - 1].size - j->offset)
		if ((err = journal_guard_now(j) ? journal_segments_roll(j, first) : -EBUSY))
			return err;
	seal(j, first);
	if ((err = j->disk->write(j->disk, j->fd, j->block->bytes, size, j->offset)) ||
	    (err = j->disk->sync(j->disk, j->fd)) || (err = journal_guard_named(j)))
		return err;
	j->offset += size;
	if (!j->block->may_drop)
		journal_capacity_note_promise(j, &j->segments[j->segment_count - 1], SEGMENT_PROMISED);
	if (j->checkpoint_room > 0) /* only now is it certain that this segment stays */
		j->state_generation = j->generation;
	stat_add(&j->stats->written_bytes, size);
	return 0;
}

void journal_note_cause(struct journal *j, const char *text)
{
	pthread_mutex_lock(&j->lock);
	bool changed = strcmp(j->trouble, text) != 0;
	snprintf(j->trouble, sizeof(j->trouble), "%s", text);
	pthread_mutex_unlock(&j->lock);
	bool faulty = *text != '\0';
	if (atomic_exchange(&j->faulty, faulty) == faulty && !(faulty && changed))
		return;
	stat_set(&j->stats->faulty, faulty);
	if (faulty)
		log_event(
		    LOG_ERROR, "journal", "cannot write: nothing is acknowledged until a fresh segment takes the block",
		    LOG_S("error.message", text), LOG_N("sluice.journal.records", j->block ? j->block->count : 0));
	else
		log_say(LOG_INFO, "journal", "the disk works again");
}

void journal_note_trouble(struct journal *j, int err)
{
	char path[4096], text[sizeof(j->trouble)] = "";
	if (err == 0 && !journal_faulty(j))
		return;
	snprintf(path, sizeof(path), "%s", j->dir ? j->dir : "");
	if (j->current)
		journal_segments_path(j, j->segments[j->segment_count - 1].number, path, sizeof(path));
	if (err)
		disk_explain(err, path, text, sizeof(text));
	journal_note_cause(j, text);
}

void journal_note_memory(struct journal *j)
{
	int64_t now = clock_mono_us();
	if (j->memory_told_us && now - j->memory_told_us < MEMORY_TELL_US)
		return;
	j->memory_told_us = now;
	log_say(LOG_ERROR, "journal", "out of memory: pending messages stay unacknowledged until there is some");
}

/* What a failed attempt leaves, for the next one. The open segment stays when it was deleted, since its descriptor has
 * records that are nowhere else, and when nothing was tried. */
static void fail(struct journal *j, int err, uint64_t first)
{
	if (j->guarded)
		return;
	stat_add(&j->stats->failures, 1);
	journal_note_trouble(j, err);
	/* Perhaps because somebody deleted files: all are looked at before the next attempt. */
	j->guard_us = 0;
	atomic_store_explicit(&j->missing, true, memory_order_relaxed);
	if (j->current && !j->nameless)
		journal_guard_named(j);
	if (!j->nameless || j->rescuing) {
		j->rescue_again |= j->nameless;
		j->nameless = false;
		journal_segments_abandon(j, first);
	}
}

static void pause_before_retry(struct journal *j)
{
	j->retry_us = j->retry_us ? j->retry_us * 2 : RETRY_FIRST_US;
	if (j->retry_us > RETRY_MOST_US)
		j->retry_us = RETRY_MOST_US;
	poll(NULL, 0, (int)(j->retry_us / 1000));
	heartbeat_beat(&j->heartbeat, clock_mono_us() / 1000);
}

bool journal_write(struct journal *j, uint64_t first)
{
	for (;;) {
		heartbeat_outside(&j->heartbeat, true);
		int err = journal_guard_turn(j) ? write_block(j, first) : -EBUSY;
		heartbeat_outside(&j->heartbeat, false);
		if (!err) {
			if (!j->rescuing)
				journal_note_trouble(j, 0);
			j->retry_us = 0;
			return true;
		}
		fail(j, err, first);
		if (j->nameless && !j->retry_us) { /* at once: what it has is written again first */
			j->retry_us = RETRY_FIRST_US;
			continue;
		}
		pause_before_retry(j);
		if (atomic_load(&j->stopping) && clock_mono_us() > atomic_load(&j->stop_by_us))
			return false;
		journal_segments_maintain(j);
	}
}

/* Makes the gathered block safe, or (in memory) ready to be read. False: stopped before that. */
static bool commit(struct journal *j)
{
	if (!journal_in_memory(j))
		return journal_write(j, j->next);
	seal(j, j->next);
	return true;
}

/* -- settling -- */

void journal_wake_readers(struct journal *j, uint64_t last)
{
	uint64_t one = 1;
	for (size_t i = 0; i < j->reader_count; i++) {
		_Atomic uint64_t *wake_at = j->readers[i].wake_at;
		if (atomic_load_explicit(wake_at, memory_order_seq_cst) > last)
			continue;
		atomic_store_explicit(wake_at, JOURNAL_WAKE_NEVER, memory_order_relaxed);
		ssize_t n = write(j->readers[i].fd, &one, sizeof(one));
		(void)n;
	}
}

/* Gives the block to the readers: itself when it is well filled, else a copy of the right size, and the large one is
 * used again. */
static void publish(struct journal *j)
{
	struct block *b = j->block, *copy = NULL;
	if (segment_block_size(b->body) < b->room / 2)
		copy = block_copy(b, b->bytes);
	if (!copy)
		j->block = NULL;
	journal_tail_add(j, copy ? copy : b);
}

static void settle(struct journal *j)
{
	struct block *b = j->block;
	uint64_t last = b->first + b->count - 1;
	uint32_t count = b->count;
	j->next = last + 1;
	if (j->has_state)
		journal_state_apply(j, block_entries(b), b->count, false);
	stat_add(&j->stats->commits, 1);
	stat_add(&j->stats->records, count);
	stat_add(&j->stats->bytes, b->body);
	stats_histogram_add(&j->stats->commit, (uint64_t)(clock_mono_us() - j->commit_started_us), 1);
	for (size_t i = 0; i < j->lane_count; i++) {
		struct journal_lane *l = &j->lanes[i];
		if (l->in_memory.items && journal_in_memory(j))
			journal_settle_note(j, l, &l->in_memory, last);
		else
			lane_settle_durable(l->lane, l->gathered);
		if (l->delivered.items)
			journal_settle_note(j, l, &l->delivered, last);
		/* who waits for `delivered` has nothing to do yet, but for what found no room */
		lane_wake(l->lane, l->delivered.items ? 0 : l->gathered);
	}
	publish(j);
	atomic_store_explicit(&j->last, last,
	                      memory_order_seq_cst); /* before the check of wake_at in journal_wake_readers */
	stat_set(&j->stats->last_sequence, last);
	journal_wake_readers(j, last);
	j->usual = j->usual - j->usual / 16 + count;
	if (journal_has_disk(j))
		journal_tail_drop(j);
}

/* -- the loop -- */

/* A pause, since the lanes keep what they have, and nobody tells when there is memory. False: stopped before there was any. */
static bool wait_for_memory(struct journal *j)
{
	journal_note_memory(j);
	if (atomic_load(&j->stopping) && clock_mono_us() > atomic_load(&j->stop_by_us))
		return false;
	poll(NULL, 0, MEMORY_MS);
	return true;
}

/* False: stopped before what was gathered could be made safe. */
static bool commit_turn(struct journal *j)
{
	int64_t before = j->commit_started_us;
	j->commit_started_us = clock_mono_us();
	journal_note_wait(j, j->commit_started_us);
	bool some = gather(j);
	journal_note_rate(j, before);
	if (!(some ? commit(j) : wait_for_memory(j)))
		return false;
	if (some)
		settle(j);
	journal_segments_maintain(j);
	return true;
}

static void *journal_run(void *arg)
{
	struct journal *j = arg;
	prctl(PR_SET_TIMERSLACK, 1UL); /* of this thread: a pause is as long as told, where 50 us are added otherwise */
	for (;;) {
		heartbeat_beat(&j->heartbeat, clock_mono_us() / 1000);
		if (journal_wait(j)) {
			if (!commit_turn(j))
				break;
		} else if (atomic_load(&j->stopping)) {
			if (journal_lanes_have(j))
				continue; /* published between the look into the lanes and the order to stop */
			journal_settle_delivered(j);
			journal_spill_turn(j);
			journal_guard_now(j); /* a last time: what was deleted is written again now or never */
			break;
		}
		journal_settle_delivered(j);
		journal_spill_check_budget(j);
		if (!journal_spill_turn(j))
			break;
	}
	heartbeat_end(&j->heartbeat);
	return NULL;
}

enum gw_err journal_start(struct journal *j, struct why *why)
{
	uint64_t lanes = 0, segment;
	journal_state_begin(j);
	segment = j->settings->segment - SEGMENT_HEADER - j->checkpoint_room; /* a block never leaves its segment */
	for (size_t i = 0; i < j->lane_count; i++) {
		size_t size = j->lanes[i].lane->size, largest = size / 4 < RECORD_MAX ? size / 4 : RECORD_MAX;
		if (journal_has_disk(j) && segment_block_size(largest) > segment)
			return why_set(why, GW_CONFIG,
			               "journal.segment: %llu KiB are too small for the listeners' lanes: a record may "
			               "be up to %llu KiB. Raise it, or lower "
			               "`lane` of the listeners",
			               (unsigned long long)j->settings->segment >> 10,
			               (unsigned long long)largest >> 10);
		lanes += size;
	}
	uint64_t block = j->settings->block;
	if (journal_has_disk(j) && block > segment)
		block = segment;
	j->most_body = block - BLOCK_HEADER;
	j->promised = 2 * lanes + 2 * segment_block_size(j->most_body) + (64 << 10);
	if (j->settings->type == JOURNAL_SPILL) /* and what is held in memory beside the lanes */
		j->promised += 2 * j->settings->tail_memory;
	enum gw_err err = journal_segments_prepare(j, why);
	if (err)
		return err;
	journal_segments_maintain(j);
	j->delay.most_us = (int64_t)j->settings->commit_delay;
	if ((err = journal_state_discard(j, why)))
		return err;
	if (pthread_create(&j->thread, NULL, journal_run, j))
		return why_set(why, GW_FATAL, "journal: cannot start its thread");
	j->running = true;
	return GW_OK;
}

enum gw_err journal_stop(struct journal *j, int64_t deadline_us)
{
	if (!j->running)
		return GW_OK;
	atomic_store(&j->stop_by_us, deadline_us);
	atomic_store(&j->stopping, true);
	uint64_t one = 1;
	ssize_t n = write(j->wake_fd, &one, sizeof(one));
	(void)n;
	pthread_join(j->thread, NULL);
	j->running = false;
	uint64_t left = journal_spill_left(j);
	if (left == 0 && !journal_lanes_have(j) && !journal_faulty(j))
		return GW_OK;
	log_event(LOG_ERROR, "journal", "ends before everything was safe: nothing of that was acknowledged as safe",
	          LOG_N("sluice.journal.held", left));
	return GW_IO;
}

/* -- for other threads -- */

bool journal_full(const struct journal *j)
{
	return atomic_load_explicit((_Atomic bool *)&j->full, memory_order_acquire);
}

bool journal_lacks_disk(const struct journal *j)
{
	return atomic_load_explicit((_Atomic bool *)&j->no_disk, memory_order_relaxed);
}

bool journal_nearly_full(const struct journal *j)
{
	return atomic_load_explicit((_Atomic bool *)&j->nearly_full, memory_order_acquire);
}

uint64_t journal_first(const struct journal *j)
{
	return atomic_load_explicit((_Atomic uint64_t *)&j->first, memory_order_acquire);
}

bool journal_faulty(const struct journal *j)
{
	return atomic_load_explicit((_Atomic bool *)&j->faulty, memory_order_relaxed);
}

void journal_trouble(struct journal *j, char *out, size_t size)
{
	pthread_mutex_lock(&j->lock);
	snprintf(out, size, "%s", j->trouble);
	pthread_mutex_unlock(&j->lock);
}

uint64_t journal_last(const struct journal *j)
{
	return atomic_load_explicit((_Atomic uint64_t *)&j->last, memory_order_seq_cst);
}

struct heartbeat *journal_heartbeat(struct journal *j)
{
	return &j->heartbeat;
}

bool journal_wants_delivered(const struct journal *j, const struct cursor *c)
{
	size_t i = (size_t)(c - j->cursors);
	if (j->settings->type == JOURNAL_SPILL)
		return true;
	for (size_t l = 0; l < j->lane_count; l++)
		if (j->lanes[l].delivered_to >> i & 1)
			return true;
	return false;
}

bool journal_is_quiescent(const struct journal *j)
{
	return atomic_load_explicit((_Atomic bool *)&j->quiescent, memory_order_relaxed);
}
