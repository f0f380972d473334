/* The journal's tests as one looks at it from outside. A life is one run of a journal on a simulated disk: the test is
 * the producer of two lanes and the sink, the journal has its own thread. At chosen calls of the disk a power cut is
 * recorded: what was durable at that moment, and the disk as it would be found. The life goes on, as if in another
 * world, so that the history of all numbers is known when the recorded cuts are opened and judged afterwards. */
#ifndef SLUICE_TEST_UNIT_GATEWAY_JOURNAL_JOURNAL_WORLD_H
#define SLUICE_TEST_UNIT_GATEWAY_JOURNAL_JOURNAL_WORLD_H

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
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/journal/journal.h"
#include "gateway/journal/record.h"
#include "gateway/journal/segment.h"

#include "gateway/base/clock.h"
#include "test/unit/sim_disk.c"
#include "test/unit/temporary.h" /* the journal's lock is a real file; the rest of it exists in the simulation only */
#include "test/unit/threads.h"

#define LANES 2
#define CUTS 24               /* recorded in one life */
#define DEADLINE_US 120000000 /* the machine may be busy; a test that waits so long has failed */

/* -- records with a known content -- */

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t state = a * 1000003 + b;
	return sim_random(&state);
}

static inline size_t json_len(unsigned lane, uint64_t number)
{
	uint64_t h = mix(lane, number);
	return h % 50 == 0 ? 7000 + (size_t)(h >> 32) % 2500 : 64 + (size_t)(h >> 32) % 900;
}

static inline size_t record_make(uint8_t *entry, unsigned lane, uint64_t number)
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

static inline size_t record_room(unsigned lane, uint64_t number)
{
	return (RECORD_HEADER + json_len(lane, number) + 7) & ~(size_t)7;
}

static inline bool record_right(const uint8_t *entry, unsigned lane, uint64_t number)
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
	bool may_drop[LANES];
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

static inline struct journal_settings small_settings(void)
{
	return (struct journal_settings){.type = JOURNAL_DISK,
	                                 .max_bytes = 8 << 20,
	                                 .max_share = 100,
	                                 .keep_free = 0,
	                                 .high_water = 90,
	                                 .low_water = 80,
	                                 .segment = 32 << 10,
	                                 .preallocate = 0,
	                                 .block = 8 << 10,
	                                 .gather = 0,
	                                 .spill_after = 1000,
	                                 .tail_memory = 20 << 10};
}

static inline void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->sim = sim_new(root, 0);
	w->settings = small_settings();
	w->lane_size = 64 << 10;
	w->random = w->cut_random = seed;
	w->number[0] = w->number[1] = 1;
	pthread_mutex_init(&w->lock, NULL);
}

static inline void world_fini(struct world *w)
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
static inline void consider_cut(void *context, uint64_t call)
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

static inline enum gw_err world_open(struct world *w, struct why *why)
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

static inline enum gw_err world_start(struct world *w, struct why *why)
{
	for (int l = 0; l < LANES; l++) {
		assert_int_equal(lane_init(&w->lanes[l], w->lane_size), GW_OK);
		w->lanes[l].may_drop = w->may_drop[l];
		assert_int_equal(journal_add_lane(w->journal, &w->lanes[l], 0), GW_OK);
		w->first_number[l] = w->number[l];
	}
	return journal_start(w->journal, why);
}

static inline void world_close(struct world *w)
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

static inline void note_known(struct world *w, uint64_t sequence, const uint8_t *entry)
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
static inline bool read_known(struct world *w)
{
	struct block *b;
	if (journal_read(w->reader, w->known + 1, &b))
		return false;
	const uint8_t *entry = block_entries(b);
	for (uint32_t i = 0; i < b->count; i++, entry += record_size(entry))
		if (b->first + i > w->known)
			note_known(w, b->first + i, entry);
	block_unref(b);
	return true;
}

/* The sink: reads on, moves and stores its cursor. */
static inline void sink_turn(struct world *w)
{
	if (sim_random(&w->random) % 2 && read_known(w) && sim_random(&w->random) % 3) {
		cursor_move(w->cursor, w->known);
		journal_wake(w->journal);
	}
	if (sim_random(&w->random) % 8 == 0)
		cursor_save(w->cursor);
}

static inline void world_put(struct world *w, unsigned l)
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

static inline void world_publish(struct world *w)
{
	for (int l = 0; l < LANES; l++)
		lane_publish(&w->lanes[l]);
	journal_wake(w->journal);
}

static inline bool world_wait_durable(struct world *w)
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
static inline void world_work(struct world *w, unsigned bursts)
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
static inline void world_stop(struct world *w)
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
static inline uint64_t last_durable(const struct world *w, const struct cut *c)
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
static inline const char *judge(const struct world *w, const struct cut *c, uint64_t least, uint64_t *last)
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
	if (w->settings.type == JOURNAL_SPILL && durable <= c->cursor)
		durable = 0; /* the sink has it, and it was perhaps never on disk */
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
		block_unref(b);
		b = NULL;
	}
	JUDGE(at == *last + 1, "records behind the end");
	JUDGE(stat_get(&stats.lost_sequences) == 0, "%llu records are told to be lost that never were promised",
	      (unsigned long long)stat_get(&stats.lost_sequences));
	good = true;
out:
	block_unref(b);
	journal_reader_close(r);
	journal_close(j);
	return good ? NULL : verdict;
}

static inline void drop_cuts_over(struct world *w, size_t most)
{
	while (w->cut_count > most)
		sim_free(w->cuts[--w->cut_count].disk);
}

/* -- a small journal, to be damaged -- */

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

static inline void sort_file(void *context, const char *path)
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

static inline uint64_t file_first(struct sim *sim, const char *path)
{
	size_t len;
	struct segment_header h;
	const uint8_t *bytes = sim_bytes(sim, path, &len);
	assert_int_equal(segment_header_read(&h, bytes), 1);
	return h.first;
}

static inline void small_init(struct small *s, unsigned commits)
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
	for (uint64_t at = 1; journal_read(s->w.reader, at, &b) == GW_OK; at = block_last(b) + 1, block_unref(b)) {
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

static inline void small_fini(struct small *s)
{
	sim_free(s->base);
	world_fini(&s->w);
}

#endif
