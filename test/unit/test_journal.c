/* The journal under power cuts, failing disks and damage. What must hold is checked from outside: every record whose
 * position a lane saw as durable is read back after whatever happened, in order, with the right bytes, under the number
 * it had.
 *
 * A life is one run of a journal on a simulated disk: this thread is the producer of two lanes and the sink, the
 * journal has its own thread. At chosen calls of the disk a power cut is recorded: what was durable at that moment, and
 * the disk as it would be found. The life goes on, as if in another world, so that the history of all numbers is known
 * when the recorded cuts are opened and judged afterwards. A judged cut becomes the disk of the next life, so recovery
 * is tried on what recovery left. SLUICE_CRASH_STATES says how many cuts are judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/journal.h"
#include "gateway/log.h"
#include "gateway/pulse.h"
#include "gateway/record.h"
#include "gateway/segment.h"
#include "test/unit/sim_disk.c"

#define LANES 2
#define CUTS 24 /* recorded in one life */
#define DEADLINE_US 20000000

static char root[64];

/* -- records with a known content -- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t state = a * 1000003 + b;
	return sim_random(&state);
}

static size_t json_len(unsigned lane, uint64_t number)
{
	uint64_t h = mix(lane, number);
	return h % 50 == 0 ? 7000 + (size_t)(h >> 32) % 2500 : 64 + (size_t)(h >> 32) % 900;
}

static size_t record_make(uint8_t *entry, unsigned lane, uint64_t number)
{
	char *json = (char *)entry + RECORD_HEADER;
	size_t len = json_len(lane, number);
	memset(json, 'a' + (int)(mix(number, lane) % 26), len);
	int n = sprintf(json, "{\"id\":\"%013u%013llu\"", lane, (unsigned long long)number);
	json[n] = ',';
	struct record r = {.kind = RECORD_TELEMETRY,
	                   .id_at = 7,
	                   .json_len = (uint32_t)len,
	                   .time_us = (int64_t)number,
	                   .received_us = lane};
	record_write(&r, entry);
	return r.size;
}

static size_t record_room(unsigned lane, uint64_t number)
{
	return (RECORD_HEADER + json_len(lane, number) + 7) & ~(size_t)7;
}

static bool record_right(const uint8_t *entry, unsigned lane, uint64_t number)
{
	_Alignas(8) static uint8_t expected[16384];
	size_t size = record_make(expected, lane, number);
	return record_size(entry) == size && memcmp(entry, expected, size) == 0;
}

/* -- a life -- */

struct known {
	unsigned lane;
	uint64_t number;
};

struct cut {
	struct sim *disk;
	uint64_t durable[LANES]; /* positions, read before the cut */
	uint64_t cursor;         /* read after it */
};

struct world {
	struct sim *sim;
	struct journal_settings settings;
	struct journal_stats stats;
	struct journal *journal;
	struct journal_reader *reader;
	struct cursor *cursor;
	struct lane lanes[LANES];
	size_t lane_size;
	uint64_t number[LANES];     /* of the next record of each lane */
	uint64_t *positions[LANES]; /* owned: of each record of this life, from first_number on */
	uint64_t first_number[LANES];
	struct known *history; /* owned: by sequence */
	uint64_t known;        /* sequences 1..known are in it */
	uint64_t passed;       /* where the cursor stood at the end of the life before */
	uint64_t random;
	struct cut cuts[CUTS];
	size_t cut_count;
	unsigned cut_one_in;
	uint64_t cut_random;
	pthread_mutex_t lock; /* guards cuts: the hook runs on both threads */
};

static struct journal_settings small_settings(void)
{
	return (struct journal_settings){.type = JOURNAL_DISK,
	                                 .max_bytes = 8 << 20,
	                                 .max_share = 100,
	                                 .keep_free = 0,
	                                 .segment = 32 << 10,
	                                 .preallocate = 0,
	                                 .block = 8 << 10,
	                                 .gather = 0,
	                                 .tail_memory = 20 << 10};
}

static void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->sim = sim_new(root, 0);
	w->settings = small_settings();
	w->lane_size = 64 << 10;
	w->random = w->cut_random = seed;
	w->number[0] = w->number[1] = 1;
	pthread_mutex_init(&w->lock, NULL);
}

static void world_fini(struct world *w)
{
	for (size_t i = 0; i < w->cut_count; i++)
		sim_free(w->cuts[i].disk);
	for (int l = 0; l < LANES; l++)
		free(w->positions[l]);
	free(w->history);
	sim_free(w->sim);
	pthread_mutex_destroy(&w->lock);
}

/* Called before every call of the disk: sometimes the power goes now. */
static void consider_cut(void *context, uint64_t call)
{
	struct world *w = context;
	(void)call;
	pthread_mutex_lock(&w->lock);
	if (w->cut_count < CUTS && sim_random(&w->cut_random) % w->cut_one_in == 0) {
		struct cut *c = &w->cuts[w->cut_count++];
		for (int l = 0; l < LANES; l++)
			c->durable[l] = atomic_load(&w->lanes[l].durable);
		c->disk = sim_crash(w->sim, sim_random(&w->cut_random));
		c->cursor = w->cursor ? cursor_get(w->cursor) : w->passed;
	}
	pthread_mutex_unlock(&w->lock);
}

static enum gw_err world_open(struct world *w, struct why *why)
{
	memset(&w->stats, 0, sizeof(w->stats));
	enum gw_err err = journal_open(&w->journal, &w->settings, sim_disk(w->sim), root, &w->stats, why);
	if (err) {
		w->journal = NULL;
		return err;
	}
	struct cursor *c;
	if ((err = journal_add_cursor(w->journal, "sink", false, &c, why))) {
		journal_close(w->journal);
		w->journal = NULL;
		return err;
	}
	pthread_mutex_lock(&w->lock);
	w->cursor = c;
	pthread_mutex_unlock(&w->lock);
	assert_int_equal(journal_reader_open(w->journal, &w->reader), GW_OK);
	return GW_OK;
}

static enum gw_err world_start(struct world *w, struct why *why)
{
	for (int l = 0; l < LANES; l++) {
		assert_int_equal(lane_init(&w->lanes[l], w->lane_size), GW_OK);
		assert_int_equal(journal_add_lane(w->journal, &w->lanes[l], 0), GW_OK);
		w->first_number[l] = w->number[l];
	}
	return journal_start(w->journal, why);
}

static void world_close(struct world *w)
{
	journal_reader_close(w->reader);
	w->reader = NULL;
	pthread_mutex_lock(&w->lock);
	w->passed = w->cursor ? cursor_get(w->cursor) : w->passed;
	w->cursor = NULL;
	pthread_mutex_unlock(&w->lock);
	journal_close(w->journal);
	w->journal = NULL;
	for (int l = 0; l < LANES; l++) {
		lane_fini(&w->lanes[l]);
		memset(&w->lanes[l], 0, sizeof(w->lanes[l]));
	}
}

static void note_known(struct world *w, uint64_t sequence, const uint8_t *entry)
{
	struct record r;
	record_read(&r, entry);
	unsigned lane = (unsigned)r.received_us;
	uint64_t number = (uint64_t)r.time_us;
	assert_true(lane < LANES);
	assert_true(record_right(entry, lane, number));
	if (sequence <= w->known) { /* met before, after a rewind of the cursor: the same */
		assert_int_equal(w->history[sequence].lane, lane);
		assert_int_equal(w->history[sequence].number, number);
		return;
	}
	assert_int_equal(sequence, w->known + 1);
	w->history = sim_resize(w->history, (size_t)(sequence + 1) * sizeof(*w->history));
	w->history[sequence] = (struct known){.lane = lane, .number = number};
	w->known = sequence;
}

/* Reads one block behind the known ones; false: there is none now. */
static bool read_known(struct world *w)
{
	struct block *b;
	if (journal_read(w->reader, w->known + 1, &b))
		return false;
	const uint8_t *entry = block_entries(b);
	for (uint32_t i = 0; i < b->count; i++, entry += record_size(entry))
		if (b->first + i > w->known)
			note_known(w, b->first + i, entry);
	block_release(b);
	return true;
}

/* The sink: reads on, moves and stores its cursor. */
static void sink_turn(struct world *w)
{
	if (sim_random(&w->random) % 2 && read_known(w) && sim_random(&w->random) % 3) {
		cursor_move(w->cursor, w->known);
		journal_wake(w->journal);
	}
	if (sim_random(&w->random) % 8 == 0)
		cursor_save(w->cursor);
}

static void world_put(struct world *w, unsigned l)
{
	struct lane *lane = &w->lanes[l];
	uint64_t number = w->number[l];
	size_t room = record_room(l, number);
	uint8_t *entry;
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (!(entry = lane_reserve(lane, room))) {
		lane_publish(lane);
		journal_wake(w->journal);
		sink_turn(w);
		sched_yield();
		assert_true(clock_mono_us() < until);
	}
	record_make(entry, l, number);
	size_t index = (size_t)(number - w->first_number[l]);
	if (index % 256 == 0)
		w->positions[l] = sim_resize(w->positions[l], (index + 256) * sizeof(uint64_t));
	w->positions[l][index] = lane_commit(lane, room);
	w->number[l]++;
}

static void world_publish(struct world *w)
{
	for (int l = 0; l < LANES; l++)
		lane_publish(&w->lanes[l]);
	journal_wake(w->journal);
}

static bool world_wait_durable(struct world *w)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	world_publish(w);
	for (int l = 0; l < LANES; l++)
		while (atomic_load(&w->lanes[l].durable) < w->lanes[l].tail) {
			if (clock_mono_us() > until)
				return false;
			usleep(200);
		}
	return true;
}

/* Bursts of records on both lanes, with a sink beside them. */
static void world_work(struct world *w, unsigned bursts)
{
	for (unsigned i = 0; i < bursts; i++) {
		unsigned count = 1 + (unsigned)(sim_random(&w->random) % 12);
		for (unsigned k = 0; k < count; k++)
			world_put(w, (unsigned)(sim_random(&w->random) % LANES));
		world_publish(w);
		sink_turn(w);
		if (sim_random(&w->random) % 3 == 0)
			assert_true(world_wait_durable(w));
	}
}

/* Ends the life in order and completes the history. */
static void world_stop(struct world *w)
{
	assert_int_equal(journal_stop(w->journal, clock_mono_us() + DEADLINE_US), GW_OK);
	for (int l = 0; l < LANES; l++)
		assert_int_equal(atomic_load(&w->lanes[l].durable), w->lanes[l].tail);
	for (int tries = 0; tries < 8 && w->known < journal_last(w->journal);
	     tries++) /* a read may have been made to fail */
		while (read_known(w))
			;
	assert_int_equal(w->known, journal_last(w->journal));
}

/* -- judging a cut -- */

/* The sequence of the last record that was durable at the cut; 0: none of this life. */
static uint64_t last_durable(const struct world *w, const struct cut *c)
{
	uint64_t last = 0;
	for (unsigned l = 0; l < LANES; l++) {
		uint64_t count = 0, total = w->number[l] - w->first_number[l];
		while (count < total && w->positions[l][count] <= c->durable[l])
			count++;
		if (count == 0)
			continue;
		uint64_t number = w->first_number[l] + count - 1;
		for (uint64_t s = w->known; s > last; s--)
			if (w->history[s].lane == l && w->history[s].number == number)
				last = s;
	}
	return last;
}

#define JUDGE(condition, ...)                                                                                          \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			snprintf(verdict, sizeof(verdict), __VA_ARGS__);                                               \
			goto out;                                                                                      \
		}                                                                                                      \
	} while (0)

/* Opens what a cut left and compares it with what must be there. NULL: all is well, else what is wrong. *last is set to
 * the last record found. */
static const char *judge(const struct world *w, const struct cut *c, uint64_t least, uint64_t *last)
{
	static char verdict[1200];
	struct journal_stats stats = {0};
	struct journal *j = NULL;
	struct journal_reader *r = NULL;
	struct cursor *cursor;
	struct why why;
	struct block *b = NULL;
	bool good = false;
	uint64_t durable = last_durable(w, c);
	durable = durable > least ? durable : least;
	JUDGE(journal_open(&j, &w->settings, sim_disk(c->disk), root, &stats, &why) == GW_OK, "does not open: %s",
	      why.text);
	JUDGE(journal_add_cursor(j, "sink", false, &cursor, &why) == GW_OK, "cursor: %s", why.text);
	uint64_t at = cursor_get(cursor) + 1;
	*last = journal_last(j);
	JUDGE(at <= c->cursor + 1, "the cursor is ahead: %llu, was %llu", (unsigned long long)at - 1,
	      (unsigned long long)c->cursor);
	JUDGE(*last >= durable, "ends at %llu, but %llu was durable", (unsigned long long)*last,
	      (unsigned long long)durable);
	JUDGE(*last <= w->known, "has records that never were");
	JUDGE(journal_reader_open(j, &r) == GW_OK, "no memory");
	bool first = true;
	while (at <= *last) {
		enum gw_err err = journal_read(r, at, &b);
		JUDGE(err == GW_OK, "record %llu of %llu cannot be read: %d", (unsigned long long)at,
		      (unsigned long long)*last, err);
		uint64_t s = b->first;
		JUDGE(s <= at || (first && s <= c->cursor + 1),
		      "records %llu to %llu are missing, %llu was durable, cursor at %llu", (unsigned long long)at,
		      (unsigned long long)s - 1, (unsigned long long)durable, (unsigned long long)c->cursor);
		const uint8_t *entry = block_entries(b);
		for (uint32_t i = 0; i < b->count; i++, s++, entry += record_size(entry))
			JUDGE(s <= w->known && record_right(entry, w->history[s].lane, w->history[s].number),
			      "record %llu is a wrong one", (unsigned long long)s);
		at = s;
		first = false;
		block_release(b);
		b = NULL;
	}
	JUDGE(at == *last + 1, "records behind the end");
	good = true;
out:
	block_release(b);
	journal_reader_close(r);
	journal_close(j);
	return good ? NULL : verdict;
}

static void drop_cuts_over(struct world *w, size_t most)
{
	while (w->cut_count > most)
		sim_free(w->cuts[--w->cut_count].disk);
}

static uint64_t states_wanted(uint64_t otherwise)
{
	const char *text = getenv("SLUICE_CRASH_STATES");
	return text ? strtoull(text, NULL, 10) : otherwise;
}

/* One life with cuts in it; all are judged, and one becomes the disk of the next life. Returns how many were wrong. */
static unsigned live_and_judge(struct world *w, uint64_t *judged, uint64_t *safe, const char **verdict)
{
	struct why why = {.text = ""};
	unsigned wrong = 0;
	w->cut_one_in = 6 + (unsigned)(sim_random(&w->random) % 30);
	sim_watch(w->sim, consider_cut, w);
	enum gw_err err = world_open(w, &why);
	if (err || world_start(w, &why))
		fail_msg("%s", why.text);
	world_work(w, 20 + (unsigned)(sim_random(&w->random) % 30));
	sim_watch(w->sim, NULL, NULL);
	world_stop(w);
	world_close(w);
	uint64_t last = w->known, next_safe = 0;
	size_t chosen = w->cut_count ? (size_t)(sim_random(&w->random) % w->cut_count) : 0;
	for (size_t i = 0; i < w->cut_count; i++) {
		uint64_t found = 0;
		const char *bad = judge(w, &w->cuts[i], *safe, &found);
		if (bad && !wrong++)
			*verdict = bad;
		if (i == chosen && !bad) {
			last = found;
			next_safe = found;
		}
	}
	*judged += w->cut_count;
	if (w->cut_count && !wrong) {
		sim_free(w->sim);
		w->sim = w->cuts[chosen].disk;
		w->cuts[chosen].disk = NULL;
		w->known = last;
		w->passed = w->cuts[chosen].cursor;
		*safe = next_safe;
	} else {
		*safe = last;
	}
	drop_cuts_over(w, 0);
	return wrong;
}

static unsigned crash_many(enum sim_mutant mutant, uint64_t states, const char **verdict, bool direct)
{
	unsigned wrong = 0;
	uint64_t judged = 0;
	for (uint64_t seed = 1; judged < states && !wrong; seed++) {
		struct world w;
		uint64_t safe = 0;
		world_init(&w, seed);
		sim_mutate(w.sim, mutant);
		if (!direct)
			sim_refuse_direct(w.sim);
		for (int life = 0; life < 5 && judged < states && !wrong; life++)
			wrong += live_and_judge(&w, &judged, &safe, verdict);
		world_fini(&w);
	}
	return wrong;
}

static void what_was_durable_survives_any_power_cut(void **unused)
{
	(void)unused;
	const char *verdict = NULL;
	if (crash_many(SIM_HONEST, states_wanted(600), &verdict, true))
		fail_msg("%s", verdict);
}

static void it_survives_without_direct_io_too(void **unused)
{
	(void)unused;
	const char *verdict = NULL;
	if (crash_many(SIM_HONEST, states_wanted(600) / 4, &verdict, false))
		fail_msg("%s", verdict);
}

/* The judge must be able to find loss: these disks or programs lie. */
static void a_missing_fdatasync_is_caught(void **unused)
{
	(void)unused;
	const char *verdict;
	assert_true(crash_many(SIM_NO_SYNC, 600, &verdict, true) > 0);
}

static void a_missing_directory_sync_is_caught(void **unused)
{
	(void)unused;
	const char *verdict;
	assert_true(crash_many(SIM_NO_SYNC_DIR, 600, &verdict, true) > 0);
}

static void an_acknowledgement_before_the_sync_is_caught(void **unused)
{
	(void)unused;
	const char *verdict;
	assert_true(crash_many(SIM_LATE_SYNC, 600, &verdict, true) > 0);
}

/* -- a disk that fails -- */

/* One life in which call number n (and times - 1 more) fails. True: there were that many calls. */
static bool live_with_failure(uint64_t n, uint64_t times, int err, const char **verdict)
{
	struct world w;
	struct why why = {.text = ""};
	uint64_t judged = 0, safe = 0;
	world_init(&w, n);
	w.lane_size = 32 << 10;
	*verdict = NULL;
	if (live_and_judge(&w, &judged, &safe, verdict)) /* so that there is something to recover */
		fail_msg("%s", *verdict);
	w.cut_one_in = 12;
	sim_watch(w.sim, consider_cut, &w);
	uint64_t before = sim_calls(w.sim);
	sim_fail(w.sim, n, times, err);
	bool up = false;
	for (uint64_t tries = 0; tries <= times && !up;
	     tries++) { /* it may refuse to start, but not for longer than the disk fails */
		up = world_open(&w, &why) == GW_OK;
		if (up && world_start(&w, &why)) {
			world_close(&w);
			up = false;
		}
	}
	if (!up)
		fail_msg("call %llu fails: does not start: %s", (unsigned long long)n, why.text);
	for (int i = 0; i < 8; i++) {
		for (int k = 0; k < 5; k++)
			world_put(&w, (unsigned)(sim_random(&w.random) % LANES));
		world_publish(&w);
		sink_turn(&w);
		if (i % 2)
			assert_true(world_wait_durable(&w)); /* service goes on */
	}
	assert_false(journal_faulty(w.journal));
	world_stop(&w);
	world_close(&w);
	bool reached = sim_calls(w.sim) - before >= n;
	sim_watch(w.sim, NULL, NULL);
	drop_cuts_over(&w, CUTS - 2);
	for (int i = 0; i < 2; i++)
		w.cuts[w.cut_count++] = (struct cut){.disk = i ? sim_copy(w.sim) : sim_crash(w.sim, n),
		                                     .cursor = w.passed,
		                                     .durable = {UINT64_MAX, UINT64_MAX}};
	for (size_t i = 0; i < w.cut_count && !*verdict; i++) {
		uint64_t last;
		*verdict = judge(&w, &w.cuts[i], safe, &last);
	}
	assert_int_equal(sim_open_files(w.sim), 0);
	world_fini(&w);
	return reached;
}

static void fail_every_call(uint64_t times, int err, uint64_t step)
{
	const char *verdict = NULL;
	for (uint64_t n = 1; n < 3000; n += step) {
		bool reached = live_with_failure(n, times, err, &verdict);
		if (verdict)
			fail_msg("call %llu fails: %s", (unsigned long long)n, verdict);
		if (!reached)
			return;
	}
}

static void no_call_of_the_disk_may_fail_so_that_something_is_lost(void **unused)
{
	(void)unused;
	fail_every_call(1, EIO, 1);
}

static void nor_may_several_fail_in_a_row(void **unused)
{
	(void)unused;
	fail_every_call(4, ENOSPC, 7);
}

/* -- damage -- */

#define BLOCKS 64

struct small {
	struct world w;
	struct sim *base; /* owned: a journal of a few blocks in a few segments, ended in order, without spares */
	uint64_t first[BLOCKS], last[BLOCKS]; /* of each block */
	size_t block_count;
	char files[16][SIM_PATH]; /* segments, the oldest first */
	size_t file_count;
};

struct listing {
	struct small *small;
	struct sim *sim;
	char spare[64][SIM_PATH];
	size_t spare_count;
};

static void sort_file(void *context, const char *path)
{
	struct listing *l = context;
	size_t len;
	const uint8_t *bytes = sim_bytes(l->sim, path, &len);
	if (!strstr(path, ".segment"))
		return;
	if (len >= 8 && memcmp(bytes, "SLUICEJ1", 8) == 0)
		snprintf(l->small->files[l->small->file_count++], SIM_PATH, "%s", path);
	else
		snprintf(l->spare[l->spare_count++], SIM_PATH, "%s", path);
}

static uint64_t file_first(struct sim *sim, const char *path)
{
	size_t len;
	struct segment_header h;
	const uint8_t *bytes = sim_bytes(sim, path, &len);
	assert_int_equal(segment_header_read(&h, bytes), 1);
	return h.first;
}

static void small_init(struct small *s, unsigned commits)
{
	struct why why = {.text = ""};
	struct block *b;
	memset(s, 0, sizeof(*s));
	world_init(&s->w, 7);
	s->w.settings.segment = 16 << 10;
	s->w.lane_size = 32 << 10;
	if (world_open(&s->w, &why) || world_start(&s->w, &why))
		fail_msg("%s", why.text);
	for (unsigned i = 0; i < commits; i++) {
		for (unsigned k = 0; k < 1 + i % 3; k++)
			world_put(&s->w, k % LANES);
		assert_true(world_wait_durable(&s->w));
	}
	world_stop(&s->w);
	for (uint64_t at = 1; journal_read(s->w.reader, at, &b) == GW_OK; at = block_last(b) + 1, block_release(b)) {
		assert_true(s->block_count < BLOCKS);
		s->first[s->block_count] = b->first;
		s->last[s->block_count++] = block_last(b);
	}
	world_close(&s->w);
	s->base = sim_copy(s->w.sim);
	struct listing l = {.small = s, .sim = s->base};
	sim_names(s->base, sort_file, &l);
	for (size_t i = 0; i < l.spare_count; i++)
		sim_disk(s->base)->remove(sim_disk(s->base), l.spare[i]);
	for (size_t i = 0; i < s->file_count; i++)
		for (size_t k = i + 1; k < s->file_count; k++)
			if (file_first(s->base, s->files[k]) < file_first(s->base, s->files[i])) {
				char swap[SIM_PATH];
				memcpy(swap, s->files[i], SIM_PATH);
				memcpy(s->files[i], s->files[k], SIM_PATH);
				memcpy(s->files[k], swap, SIM_PATH);
			}
	assert_true(s->file_count >= 2);
}

static void small_fini(struct small *s)
{
	sim_free(s->base);
	world_fini(&s->w);
}

/* Opens a damaged journal and tells which of the known records are there; wrong ones are an error. Returns the last
 * sequence. */
static uint64_t read_damaged(struct small *s, struct sim *sim, bool *there, struct journal_stats *stats)
{
	struct journal *j;
	struct journal_reader *r;
	struct cursor *cursor;
	struct why why = {.text = ""};
	struct block *b;
	memset(there, 0, (size_t)s->w.known + 1);
	memset(stats, 0, sizeof(*stats));
	if (journal_open(&j, &s->w.settings, sim_disk(sim), root, stats, &why) ||
	    journal_add_cursor(j, "sink", false, &cursor, &why))
		fail_msg("does not open: %s", why.text);
	assert_int_equal(journal_reader_open(j, &r), GW_OK);
	uint64_t last = journal_last(j), at = 1;
	assert_true(last <= s->w.known);
	while (at <= last && journal_read(r, at, &b) == GW_OK) {
		const uint8_t *entry = block_entries(b);
		assert_true(b->first >= at);
		for (uint32_t i = 0; i < b->count; i++, entry += record_size(entry)) {
			uint64_t q = b->first + i;
			assert_true(q <= s->w.known &&
			            record_right(entry, s->w.history[q].lane, s->w.history[q].number));
			there[q] = true;
		}
		at = block_last(b) + 1;
		block_release(b);
	}
	journal_reader_close(r);
	journal_close(j);
	assert_int_equal(sim_open_files(sim), 0);
	return last;
}

/* The one block whose records are missing; SIZE_MAX: none is. Fails when more are missing. */
static size_t missing_block(const struct small *s, const bool *there)
{
	size_t missing = SIZE_MAX;
	for (size_t i = 0; i < s->block_count; i++)
		for (uint64_t q = s->first[i]; q <= s->last[i]; q++)
			if (!there[q]) {
				assert_true(missing == SIZE_MAX || missing == i);
				missing = i;
			}
	return missing;
}

/* Bytes that are worth damaging one by one; of the rest some. */
static bool worth(const uint8_t *bytes, size_t len, size_t at)
{
	if (getenv("SLUICE_EXHAUSTIVE"))
		return true;
	size_t page = at & ~(size_t)4095;
	if (at < 56)
		return true;
	if (page && page + 64 <= len && memcmp(bytes + page, "SLBK", 4) == 0 && at - page < 104)
		return true;
	return at % 131 == 0;
}

static void one_damaged_byte_costs_at_most_its_block(void **unused)
{
	(void)unused;
	struct small s;
	struct journal_stats stats;
	small_init(&s, 8);
	bool *there = sim_resize(NULL, (size_t)s.w.known + 1);
	uint64_t tried = 0, lost = 0, random = 1;
	for (size_t f = 0; f < s.file_count; f++) {
		size_t len;
		const uint8_t *original = sim_bytes(s.base, s.files[f], &len);
		for (size_t at = 0; at < len; at++) {
			if (!worth(original, len, at))
				continue;
			struct sim *sim = sim_copy(s.base);
			size_t same;
			sim_bytes(sim, s.files[f], &same)[at] ^= (uint8_t)(1u << sim_random(&random) % 8);
			uint64_t last = read_damaged(&s, sim, there, &stats);
			size_t missing = missing_block(&s, there);
			assert_true(at >= SEGMENT_HEADER || missing == SIZE_MAX); /* a spoilt header costs nothing */
			if (missing != SIZE_MAX) {
				lost++;
				if (last == s.w.known) { /* in the middle: counted. At the end it is taken for a crash,
					                    and cut. */
					assert_int_equal(stats.damaged_blocks > 0, 1);
					assert_true(stats.lost_sequences >= s.last[missing] - s.first[missing] + 1);
				}
			}
			tried++;
			sim_free(sim);
		}
	}
	assert_true(tried > 1000 && lost > 100);
	free(there);
	small_fini(&s);
}

/* The sequence behind the last block that lies wholly in front of `cut`. */
static uint64_t whole_until(struct sim *sim, const char *path, size_t cut)
{
	size_t len, at = SEGMENT_HEADER;
	struct segment_header h;
	struct block_header b;
	const uint8_t *bytes = sim_bytes(sim, path, &len);
	assert_int_equal(segment_header_read(&h, bytes), 1);
	uint64_t next = h.first;
	while (at < len && block_header_read(&b, bytes + at, h.generation, len - at) &&
	       at + block_size(b.body) <= cut) {
		next = b.first + b.count;
		at += block_size(b.body);
	}
	return next;
}

static void a_cut_file_loses_what_was_cut_off_and_no_more(void **unused)
{
	(void)unused;
	struct small s;
	struct journal_stats stats;
	small_init(&s, 8);
	bool *there = sim_resize(NULL, (size_t)s.w.known + 1);
	for (size_t f = 0; f < s.file_count; f++) {
		size_t len;
		sim_bytes(s.base, s.files[f], &len);
		uint64_t begin = file_first(s.base, s.files[f]);
		uint64_t end = f + 1 < s.file_count ? file_first(s.base, s.files[f + 1]) : s.w.known + 1;
		for (size_t cut = 0; cut < len;
		     cut += cut % 4096 == 0 || cut % 4096 == 4095 ? 1 : 227 - cut % 4096 % 227) {
			struct sim *sim = sim_copy(s.base);
			sim_truncate(sim, s.files[f], cut);
			read_damaged(&s, sim, there, &stats);
			uint64_t whole = cut < SEGMENT_HEADER ? begin : whole_until(s.base, s.files[f], cut);
			for (uint64_t q = 1; q <= s.w.known; q++)
				assert_int_equal(there[q], q < whole || q >= end);
			sim_free(sim);
		}
	}
	free(there);
	small_fini(&s);
}

/* Opens what is there, adds records, and reads everything back: the old, as far as expected, and the new behind it. */
static void goes_on(struct world *w)
{
	struct why why = {.text = ""};
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
	uint64_t before = journal_last(w->journal);
	assert_true(before <= w->known);
	w->known = before;
	for (int i = 0; i < 6; i++) {
		for (int k = 0; k < 4; k++)
			world_put(w, (unsigned)k % LANES);
		assert_true(world_wait_durable(w));
	}
	world_stop(w);
	assert_int_equal(w->known, before + 24);
	world_close(w);
	struct cut whole = {.disk = sim_copy(w->sim), .cursor = w->passed};
	uint64_t last;
	const char *bad = judge(w, &whole, w->known, &last);
	if (bad)
		fail_msg("%s", bad);
	sim_free(whole.disk);
}

static void a_torn_block_at_the_tail_is_cut_and_service_goes_on(void **unused)
{
	(void)unused;
	struct small s;
	small_init(&s, 7);
	const char *newest = s.files[s.file_count - 1];
	size_t len;
	uint8_t *bytes = sim_bytes(s.base, newest, &len);
	size_t tail = 4096;
	while (tail + 4096 < len && memcmp(bytes + tail + 4096, "SLBK", 4) == 0)
		tail += 4096;
	sim_free(s.w.sim);
	s.w.sim = s.base;
	memset(bytes + tail + 512, 0, 3584); /* the first sector is there, the others are not */
	uint64_t expected = s.first[s.block_count - 1] - 1;
	struct why why;
	assert_int_equal(world_open(&s.w, &why), GW_OK);
	assert_int_equal(journal_last(s.w.journal), expected);
	assert_true(stat_get(&s.w.stats.cut_bytes) > 0);
	world_close(&s.w);
	goes_on(&s.w);
	goes_on(&s.w);
	s.base = NULL;
	small_fini(&s);
}

static void an_unwritten_tail_is_taken_up_in_place(void **unused)
{
	(void)unused;
	struct small s;
	small_init(&s, 4); /* the newest segment has room */
	sim_free(s.w.sim);
	s.w.sim = s.base;
	struct why why = {.text = ""};
	assert_int_equal(world_open(&s.w, &why), GW_OK);
	assert_int_equal(world_start(&s.w, &why), GW_OK);
	world_put(&s.w, 0);
	assert_true(world_wait_durable(&s.w));
	assert_int_equal(stat_get(&s.w.stats.segments), s.file_count);
	world_stop(&s.w);
	world_close(&s.w);
	goes_on(&s.w);
	s.base = NULL;
	small_fini(&s);
}

static void damage_in_the_middle_is_counted_once_and_passed_over(void **unused)
{
	(void)unused;
	struct small s;
	struct block *b;
	struct why why;
	small_init(&s, 8);
	size_t len;
	uint8_t *bytes = sim_bytes(s.base, s.files[0], &len);
	bytes[2 * 4096 + 100] ^= 1; /* the second block */
	sim_free(s.w.sim);
	s.w.sim = s.base;
	assert_int_equal(world_open(&s.w, &why), GW_OK);
	assert_int_equal(journal_last(s.w.journal), s.w.known);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(journal_read(s.w.reader, s.first[1], &b), GW_OK);
		assert_int_equal(b->first, s.first[2]);
		block_release(b);
	}
	assert_int_equal(stat_get(&s.w.stats.damaged_blocks), 1);
	assert_int_equal(stat_get(&s.w.stats.lost_sequences), s.last[1] - s.first[1] + 1);
	world_close(&s.w);
	s.base = NULL;
	small_fini(&s);
}

static void the_journal_of_a_newer_version_is_refused(void **unused)
{
	(void)unused;
	struct small s;
	struct why why = {.text = ""};
	small_init(&s, 4);
	size_t len;
	uint8_t *bytes = sim_bytes(s.base, s.files[0], &len);
	struct segment_header h;
	assert_int_equal(segment_header_read(&h, bytes), 1);
	h.version = SEGMENT_VERSION + 1;
	segment_header_write(&h, bytes);
	struct journal *j;
	struct journal_stats stats = {0};
	assert_int_equal(journal_open(&j, &s.w.settings, sim_disk(s.base), root, &stats, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "newer"));
	small_fini(&s);
}

static void numbers_that_a_sink_has_are_not_given_out_again(void **unused)
{
	(void)unused;
	struct small s;
	struct why why = {.text = ""};
	struct block *b;
	struct cursor *c, *other;
	struct journal *j;
	struct journal_stats stats = {0};
	small_init(&s, 8);
	const struct disk *d = sim_disk(s.base);
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_int_equal(journal_add_cursor(j, "sink", false, &c, &why), GW_OK);
	cursor_move(c, s.w.known);
	assert_int_equal(cursor_save(c), GW_OK);
	journal_close(j);
	d->remove(d, s.files[s.file_count - 1]); /* the newest segment is lost */
	memset(&stats, 0, sizeof(stats));
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_true(journal_last(j) < s.w.known);
	assert_int_equal(journal_add_cursor(j, "sink", false, &c, &why), GW_OK);
	assert_int_equal(journal_last(j), s.w.known);
	assert_int_equal(journal_add_cursor(j, "other", false, &other, &why), GW_OK);
	struct lane lane;
	assert_int_equal(lane_init(&lane, 32 << 10), GW_OK);
	assert_int_equal(journal_add_lane(j, &lane, 0), GW_OK);
	assert_int_equal(journal_start(j, &why), GW_OK);
	uint8_t *entry = lane_reserve(&lane, record_room(0, 1000));
	record_make(entry, 0, 1000);
	lane_commit(&lane, record_room(0, 1000));
	lane_publish(&lane);
	journal_wake(j);
	assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
	assert_int_equal(journal_last(j), s.w.known + 1);
	struct journal_reader *r;
	assert_int_equal(journal_reader_open(j, &r), GW_OK);
	assert_int_equal(journal_read(r, s.w.known + 1, &b), GW_OK);
	assert_int_equal(b->first, s.w.known + 1);
	assert_true(record_right(block_entries(b), 0, 1000));
	block_release(b);
	journal_reader_close(r);
	journal_close(j);
	lane_fini(&lane);
	/* and it is found there after the next start */
	memset(&stats, 0, sizeof(stats));
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_int_equal(journal_last(j), s.w.known + 1);
	journal_close(j);
	small_fini(&s);
}

static void old_blocks_in_recycled_segments_are_never_met_again(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	unsigned met = 0;
	world_init(&w, 3);
	w.settings.segment = 16 << 10;
	w.lane_size = 32 << 10;
	for (int life = 0; life < 30; life++) {
		if (world_open(&w, &why) || world_start(&w, &why))
			fail_msg("%s", why.text);
		for (int i = 0; i < 9 + life % 5; i++) {
			world_put(&w, (unsigned)i % LANES);
			assert_true(world_wait_durable(&w));
			while (read_known(&w))
				;
			cursor_move(w.cursor, w.known);
			cursor_save(w.cursor);
		}
		world_stop(&w);
		world_close(&w);
		struct small s = {.base = NULL};
		struct listing l = {.small = &s, .sim = w.sim};
		sim_names(w.sim, sort_file, &l);
		/* Is there, in the newest segment, a whole old block behind the last one? */
		uint64_t newest = 0;
		for (size_t i = 0; i < s.file_count; i++) {
			size_t len;
			struct segment_header h;
			struct block_header b;
			const uint8_t *bytes = sim_bytes(w.sim, s.files[i], &len);
			assert_int_equal(segment_header_read(&h, bytes), 1);
			newest = h.generation > newest ? h.generation : newest;
			for (size_t at = 4096; at + 4096 <= len && h.generation == newest; at += 4096) {
				uint64_t generation;
				memcpy(&generation, bytes + at + 8, 8);
				met += generation && generation < newest &&
				       block_header_read(&b, bytes + at, generation, len - at) &&
				       block_check(&b, bytes + at);
			}
		}
		struct cut cut = {.disk = sim_copy(w.sim), .cursor = w.passed};
		uint64_t last;
		const char *bad = judge(&w, &cut, w.known, &last);
		if (bad)
			fail_msg("%s", bad);
		sim_free(cut.disk);
	}
	assert_true(met > 10); /* there were some to be mistaken for new ones */
	world_fini(&w);
}

/* -- room -- */

/* Fills until it is full, and then the lanes to the brim, as producers may that looked a moment too early: all of it
 * still fits. */
static void fill_up(struct world *w, bool spread)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	for (unsigned i = 0; !journal_full(w->journal); i++) {
		world_put(w, spread ? i % LANES : 0);
		world_publish(w);
		if (i % 7 == 0)
			assert_true(world_wait_durable(w));
		assert_true(clock_mono_us() < until);
	}
	for (unsigned l = 0; l < LANES; l++)
		while (lane_has_room(&w->lanes[l], record_room(l, w->number[l])))
			world_put(w, l);
	assert_true(world_wait_durable(w));
	assert_false(journal_faulty(w->journal));
	assert_true(journal_full(w->journal));
}

static void wait_room(struct world *w)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (journal_full(w->journal)) {
		journal_wake(w->journal);
		if (clock_mono_us() > until)
			fail_msg("it stays full though everything was passed");
		usleep(100);
	}
}

static void full_and_room_again(uint64_t segment, uint64_t block, size_t lane, int64_t preallocate, uint64_t extra)
{
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, segment + block + lane);
	w.settings.segment = segment;
	w.settings.block = block;
	w.settings.preallocate = preallocate;
	w.lane_size = lane;
	/* the least that is allowed, found by asking, and a little more */
	for (w.settings.max_bytes = segment;; w.settings.max_bytes += 4096) {
		if (world_open(&w, &why))
			fail_msg("%s", why.text);
		enum gw_err err = world_start(&w, &why);
		if (!err)
			break;
		assert_int_equal(err, GW_CONFIG);
		world_close(&w);
	}
	world_stop(&w);
	world_close(&w);
	w.settings.max_bytes += extra;
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	for (int round = 0; round < 12; round++) {
		fill_up(&w, round % 2);
		while (read_known(&w))
			;
		assert_int_equal(w.known, journal_last(w.journal));
		cursor_move(w.cursor, w.known);
		cursor_save(w.cursor);
		wait_room(&w);
	}
	assert_true(stat_get(&w.stats.times_full) >= 12);
	assert_int_equal(stat_get(&w.stats.failures), 0);
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

static void what_the_lanes_hold_fits_when_it_is_full_and_it_clears(void **unused)
{
	(void)unused;
	full_and_room_again(32 << 10, 8 << 10, 32 << 10, 0, 0);
	full_and_room_again(64 << 10, 8 << 10, 32 << 10, 0, 10000);
	full_and_room_again(256 << 10, 16 << 10, 32 << 10, 0, 0);
	full_and_room_again(96 << 10, 64 << 10, 64 << 10, 1, 0);
	full_and_room_again(68 << 10, 64 << 10, 64 << 10, 2, 70000);
	full_and_room_again(1 << 20, 16 << 10, 32 << 10, 0, 0);
}

static void a_block_never_leaves_its_segment(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 5);
	w.settings.segment = 32 << 10;
	w.settings.block = 64 << 10; /* more than a segment has */
	w.lane_size = 64 << 10;
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 60; k++)
			world_put(&w, 0);
		assert_true(world_wait_durable(&w));
		while (read_known(&w))
			;
		cursor_move(w.cursor, w.known > 100 ? w.known - 100 : 0);
		cursor_save(w.cursor);
	}
	world_stop(&w);
	world_close(&w);
	struct cut cut = {.disk = sim_copy(w.sim), .cursor = w.passed};
	uint64_t last;
	const char *bad = judge(&w, &cut, w.known, &last);
	if (bad)
		fail_msg("%s", bad);
	sim_free(cut.disk);
	world_fini(&w);
}

static void a_lane_whose_records_fit_no_segment_is_refused(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 5);
	w.settings.segment = 32 << 10;
	w.lane_size = 256 << 10; /* a record may have a quarter: 64 KiB */
	assert_int_equal(world_open(&w, &why), GW_OK);
	assert_int_equal(world_start(&w, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "segment"));
	world_close(&w);
	world_fini(&w);
}

static void a_full_disk_is_waited_out(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 11);
	w.lane_size = 32 << 10;
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	world_put(&w, 0);
	assert_true(world_wait_durable(&w));
	sim_limit(w.sim, 1); /* everything is taken, by others */
	fill_up(&w, true);
	sim_limit(w.sim, 0);
	wait_room(&w);
	for (int i = 0; i < 50; i++)
		world_put(&w, 0);
	assert_true(world_wait_durable(&w));
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

/* -- what else it promises -- */

static void a_second_process_is_refused(void **unused)
{
	(void)unused;
	char dir[] = "/tmp/sluice-journal-XXXXXX";
	struct journal_settings settings = small_settings();
	struct journal_stats stats = {0};
	struct journal *j, *second;
	struct why why = {.text = ""};
	assert_non_null(mkdtemp(dir));
	if (journal_open(&j, &settings, &disk_real, dir, &stats, &why))
		fail_msg("%s", why.text);
	pid_t pid = fork();
	if (pid == 0)
		_exit(journal_open(&second, &settings, &disk_real, dir, &stats, &why) == GW_IO &&
		              strstr(why.text, "in use")
		          ? 0
		          : 1);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	journal_close(j);
	assert_int_equal(journal_open(&j, &settings, &disk_real, dir, &stats, &why), GW_OK); /* and free again */
	journal_close(j);
	char command[128];
	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	assert_int_equal(system(command), 0);
}

/* Direct I/O wants whole pages; a file system check may have cut a file anywhere. */
static void a_segment_of_any_length_is_read_from_a_real_disk(void **unused)
{
	(void)unused;
	char dir[] = "/var/tmp/sluice-journal-XXXXXX", path[128];
	struct journal_settings settings = small_settings();
	struct journal_stats stats = {0};
	struct journal *j;
	struct lane lane;
	struct cursor *c;
	struct why why = {.text = ""};
	assert_non_null(mkdtemp(dir));
	if (journal_open(&j, &settings, &disk_real, dir, &stats, &why) ||
	    journal_add_cursor(j, "sink", false, &c, &why))
		fail_msg("%s", why.text);
	assert_int_equal(lane_init(&lane, 32 << 10), GW_OK);
	assert_int_equal(journal_add_lane(j, &lane, 0), GW_OK);
	assert_int_equal(journal_start(j, &why), GW_OK);
	record_make(lane_reserve(&lane, record_room(0, 1)), 0, 1);
	lane_commit(&lane, record_room(0, 1));
	lane_publish(&lane);
	journal_wake(j);
	assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
	journal_close(j);
	lane_fini(&lane);
	for (uint32_t n = 1; n < 20; n++) {
		snprintf(path, sizeof(path), "%s/%08u.segment", dir, n);
		if (truncate(path, (32 << 10) - 1000 - (off_t)n) < 0)
			break;
	}
	memset(&stats, 0, sizeof(stats));
	if (journal_open(&j, &settings, &disk_real, dir, &stats, &why))
		fail_msg("%s", why.text);
	assert_int_equal(journal_last(j), 1);
	journal_close(j);
	snprintf(path, sizeof(path), "rm -r '%s'", dir);
	assert_int_equal(system(path), 0);
}

static void wait_position(_Atomic uint64_t *position, uint64_t wanted)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (atomic_load(position) < wanted) {
		assert_true(clock_mono_us() < until);
		usleep(100);
	}
}

static void delivered_positions_follow_the_slowest_named_cursor(void **unused)
{
	(void)unused;
	struct journal_settings settings = small_settings();
	struct journal_stats stats = {0};
	struct sim *sim = sim_new(root, 0);
	settings.max_bytes = 64 << 20;
	struct journal *j;
	struct lane lane, plain;
	struct cursor *a, *b, *c;
	struct why why = {.text = ""};
	if (journal_open(&j, &settings, sim_disk(sim), root, &stats, &why) ||
	    journal_add_cursor(j, "a", false, &a, &why) || journal_add_cursor(j, "b", false, &b, &why) ||
	    journal_add_cursor(j, "c", false, &c, &why))
		fail_msg("%s", why.text);
	lane_init(&lane, 32 << 10);
	lane_init(&plain, 32 << 10);
	journal_add_lane(j, &lane, 1 | 2); /* waits for a and b, not for c */
	journal_add_lane(j, &plain, 0);
	assert_true(journal_wants_delivered(j, a) && journal_wants_delivered(j, b));
	assert_false(journal_wants_delivered(j, c));
	assert_int_equal(journal_start(j, &why), GW_OK);
	uint64_t positions[3000];
	for (uint64_t n = 0; n < 3000; n++) { /* more commits than the table has entries */
		struct lane *l = n % 8 == 7 ? &plain : &lane;
		uint8_t *entry = lane_reserve(l, 128);
		struct record r = {.kind = RECORD_TELEMETRY, .json_len = 64};
		memset(entry + RECORD_HEADER, 'x', 64);
		record_write(&r, entry);
		lane_commit(l, r.size);
		positions[n] = lane.tail;
		lane_publish(l);
		journal_wake(j);
		wait_position(&l->durable, l->tail);
		if (n == 20) {
			assert_int_equal(atomic_load(&lane.delivered), 0);
			cursor_move(a, 21);
			cursor_move(c, 21);
			journal_wake(j);
			usleep(2000);
			assert_int_equal(atomic_load(&lane.delivered), 0);
			cursor_move(b, 10);
			journal_wake(j);
			wait_position(&lane.delivered, positions[9]);
			assert_int_equal(atomic_load(&lane.delivered), positions[9]);
		}
		if (n == 2000)
			cursor_move(a, 2001), cursor_move(b, 2001), cursor_move(c, 2001), cursor_save(a),
			    cursor_save(b), cursor_save(c);
		assert_true(atomic_load(&lane.delivered) <= atomic_load(&lane.durable));
	}
	assert_true(stat_get(&stats.delivered_coalesced) > 0);
	cursor_move(a, 3000);
	cursor_move(b, 3000);
	journal_wake(j);
	wait_position(&lane.delivered, lane.tail);
	assert_int_equal(atomic_load(&plain.delivered), 0);
	assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
	journal_close(j);
	lane_fini(&lane);
	lane_fini(&plain);
	sim_free(sim);
}

static void a_journal_in_memory_holds_what_no_sink_has_and_is_full_in_time(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 1);
	w.settings.type = JOURNAL_MEMORY;
	w.settings.max_bytes = 512 << 10;
	w.lane_size = 32 << 10;
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	for (int round = 0; round < 5; round++) {
		fill_up(&w, true);
		while (read_known(&w))
			;
		assert_int_equal(w.known, journal_last(w.journal));
		cursor_move(w.cursor, w.known);
		wait_room(&w);
	}
	world_stop(&w);
	world_close(&w);
	assert_int_equal(sim_calls(w.sim), 0);
	world_fini(&w);
}

static void sinks_that_left_with_records_undelivered_are_refused(void **unused)
{
	(void)unused;
	struct small s;
	struct journal *j;
	struct journal_stats stats = {0};
	struct cursor *c;
	struct why why = {.text = ""};
	small_init(&s, 4);
	const struct disk *d = sim_disk(s.base);
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_int_equal(journal_add_cursor(j, "new", true, &c, &why), GW_OK);
	assert_int_equal(cursor_get(c), s.w.known); /* from: now */
	assert_int_equal(journal_check_cursors(j, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "sink ("));
	assert_int_equal(journal_add_cursor(j, "sink", false, &c, &why), GW_OK);
	assert_int_equal(journal_check_cursors(j, &why), GW_OK);
	cursor_move(c, s.w.known);
	journal_close(j); /* stores it */
	char path[128];
	size_t len;
	snprintf(path, sizeof(path), "%s/cursors/sink.cursor", root);
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	sim_fail(s.base, 3, 1, EIO); /* list, open, read: what cannot be read is not judged, and stays */
	assert_int_equal(journal_check_cursors(j, &why), GW_OK);
	assert_non_null(sim_bytes(s.base, path, &len));
	assert_int_equal(journal_check_cursors(j, &why), GW_OK);
	assert_null(sim_bytes(s.base, path, &len)); /* has everything: forgotten */
	journal_close(j);
	small_fini(&s);
}

static void a_producer_that_waits_is_woken(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 1);
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	for (int i = 0; i < 300; i++) {
		struct lane *l = &w.lanes[0];
		lane_awake(l);
		world_put(&w, 0);
		world_publish(&w);
		atomic_store(&l->waiting, true);
		int64_t since = clock_mono_us();
		while (atomic_load(&l->durable) < l->tail) {
			struct pollfd p = {.fd = l->wake_fd, .events = POLLIN};
			poll(&p, 1, 5000);
			lane_awake(l);
			atomic_store(&l->waiting, true);
		}
		assert_true(clock_mono_us() - since < 900000); /* nothing slept until a time-out */
	}
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

/* The lock is a real file, so every test has a directory of its own; the rest of it exists in the simulation only. */
static int make_root(void **unused)
{
	(void)unused;
	snprintf(root, sizeof(root), "/tmp/sluice-journal-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **unused)
{
	(void)unused;
	char path[128];
	snprintf(path, sizeof(path), "%s/lock", root);
	unlink(path);
	return rmdir(root);
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_was_durable_survives_any_power_cut),
	    TEST(it_survives_without_direct_io_too),
	    TEST(a_missing_fdatasync_is_caught),
	    TEST(a_missing_directory_sync_is_caught),
	    TEST(an_acknowledgement_before_the_sync_is_caught),
	    TEST(no_call_of_the_disk_may_fail_so_that_something_is_lost),
	    TEST(nor_may_several_fail_in_a_row),
	    TEST(one_damaged_byte_costs_at_most_its_block),
	    TEST(a_cut_file_loses_what_was_cut_off_and_no_more),
	    TEST(a_torn_block_at_the_tail_is_cut_and_service_goes_on),
	    TEST(an_unwritten_tail_is_taken_up_in_place),
	    TEST(damage_in_the_middle_is_counted_once_and_passed_over),
	    TEST(the_journal_of_a_newer_version_is_refused),
	    TEST(numbers_that_a_sink_has_are_not_given_out_again),
	    TEST(old_blocks_in_recycled_segments_are_never_met_again),
	    TEST(what_the_lanes_hold_fits_when_it_is_full_and_it_clears),
	    TEST(a_block_never_leaves_its_segment),
	    TEST(a_lane_whose_records_fit_no_segment_is_refused),
	    TEST(a_full_disk_is_waited_out),
	    TEST(a_second_process_is_refused),
	    TEST(a_segment_of_any_length_is_read_from_a_real_disk),
	    TEST(delivered_positions_follow_the_slowest_named_cursor),
	    TEST(a_journal_in_memory_holds_what_no_sink_has_and_is_full_in_time),
	    TEST(sinks_that_left_with_records_undelivered_are_refused),
	    TEST(a_producer_that_waits_is_woken),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
