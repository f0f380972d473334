/* Full and nearly full: who hears of it, and what is given up instead, the oldest first and only what nobody was promised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "gateway/journal/journal_parts.h"
#include "test/unit/gateway/journal/journal_world.h"

/* Of the world that is open: how often a lane was woken because there is room again, and how often of that while the
 * journal was full and not nearly full. */
static _Atomic(const struct journal *) watched;
static _Atomic unsigned wakes, contradictions;

void __real_lane_wake_always(struct lane *lane);
void __wrap_lane_wake_always(struct lane *lane);
void __wrap_lane_wake_always(struct lane *lane)
{
	const struct journal *j = atomic_load(&watched);
	wakes++;
	if (j && journal_full(j) && !journal_nearly_full(j))
		contradictions++;
	__real_lane_wake_always(lane);
}

static void begin(struct world *w, enum journal_type type, bool first_may, bool second_may)
{
	world_init(w, 3);
	w->settings.type = (int)type;
	w->settings.max_bytes = 640 << 10;
	w->lane_size = 32 << 10;
	w->may_drop[0] = first_may;
	w->may_drop[1] = second_may;
}

static void life(struct world *w)
{
	struct why why = {.text = ""};
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
	wakes = contradictions = 0;
	atomic_store(&watched, w->journal);
}

/* What a pump does; true while there is more. *next moves on, *skipped counts what was not there. */
static bool read_one(struct world *w, uint64_t *next, uint64_t *skipped)
{
	struct block *b;
	if (journal_read(w->reader, *next, &b))
		return false;
	if (b->first > *next) {
		assert_true(b->first >= journal_first(w->journal) || *next < journal_first(w->journal));
		*skipped += b->first - *next;
		*next = b->first;
	}
	const uint8_t *entry = block_entries(b);
	for (uint64_t at = b->first; at <= block_last(b); at++, entry += record_size(entry)) {
		struct record r;
		record_read(&r, entry);
		assert_true(record_right(entry, (unsigned)r.received_us, (uint64_t)r.time_us));
	}
	*next = block_last(b) + 1;
	block_unref(b);
	return true;
}

/* Puts bytes of records into a lane, block by block; false: it became full. The journal's thread may still be looking at
 * what it has: see put. */
static bool put_on(struct world *w, unsigned lane, size_t bytes)
{
	for (size_t sent = 0; sent < bytes; sent += record_room(lane, w->number[lane])) {
		if (journal_full(w->journal))
			return false;
		world_put(w, lane);
		assert_true(world_wait_durable(w));
	}
	return true;
}

/* A record is durable before the journal looks at its room. It sleeps after that, and looks again only when it is woken
 * or the cursor has moved: until then all that it shows belongs together. */
static void until_it_has_looked(struct world *w)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (!atomic_load(&w->journal->sleeping)) {
		assert_true(clock_mono_us() < until);
		usleep(100);
	}
}

/* As put_on, and waits until the journal has decided what follows from it. */
static bool put(struct world *w, unsigned lane, size_t bytes)
{
	bool all = put_on(w, lane, bytes);
	until_it_has_looked(w);
	return all && !journal_full(w->journal);
}

static void nothing_is_wrong(const struct world *w)
{
	assert_int_equal(stat_get(&w->stats.damaged_blocks), 0);
	assert_int_equal(stat_get(&w->stats.lost_sequences), 0);
	assert_int_equal(stat_get(&w->stats.failures), 0);
	assert_int_equal(contradictions, 0);
}

static void end(struct world *w)
{
	nothing_is_wrong(w);
	atomic_store(&watched, NULL);
	assert_int_equal(journal_stop(w->journal, clock_mono_us() + DEADLINE_US), GW_OK);
	world_close(w);
}

static void the_oldest_go_when_nobody_was_promised_them(enum journal_type type)
{
	struct world w;
	begin(&w, type, true, true);
	life(&w);
	assert_true(put(&w, 0, 2 << 20));
	assert_true(put(&w, 1, 1 << 20));
	uint64_t last = journal_last(w.journal), first = journal_first(w.journal), next = 1, skipped = 0;
	assert_false(journal_full(w.journal));
	assert_int_equal(stat_get(&w.stats.times_full), 0);
	assert_true(first > 1000 && first < last);
	assert_int_equal(stat_get(&w.stats.dropped), first - 1);
	while (read_one(&w, &next, &skipped))
		;
	assert_int_equal(next, last + 1);
	assert_int_equal(skipped, first - 1);
	end(&w);
	world_fini(&w);
}

static void on_disk_the_oldest_go(void **unused)
{
	(void)unused;
	the_oldest_go_when_nobody_was_promised_them(JOURNAL_DISK);
}

static void in_memory_the_oldest_go(void **unused)
{
	(void)unused;
	the_oldest_go_when_nobody_was_promised_them(JOURNAL_MEMORY);
}

static void what_a_sink_has_is_not_counted(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, JOURNAL_DISK, true, true);
	life(&w);
	assert_true(put(&w, 0, 64 << 10));
	uint64_t had = journal_last(w.journal);
	cursor_move(w.cursor, had);
	assert_int_equal(cursor_save(w.cursor), GW_OK);
	assert_true(put(&w, 0, 2 << 20));
	assert_true(journal_first(w.journal) > had + 1);
	assert_int_equal(stat_get(&w.stats.dropped), journal_first(w.journal) - 1 - had);
	end(&w);
	world_fini(&w);
}

/* One record in every segment that somebody was promised. */
static void what_was_promised_stays(enum journal_type type)
{
	struct world w;
	begin(&w, type, true, false);
	life(&w);
	bool room = true;
	for (int i = 0; i < 1000 && room; i++)
		room = put(&w, 1, 1) && put(&w, 0, 1);
	assert_false(room);
	assert_true(journal_full(w.journal));
	assert_int_equal(stat_get(&w.stats.dropped), 0);
	uint64_t next = 1, skipped = 0;
	while (read_one(&w, &next, &skipped))
		;
	assert_int_equal(skipped, 0);
	assert_int_equal(next, journal_last(w.journal) + 1);
	end(&w);
	world_fini(&w);
}

static void on_disk_what_was_promised_stays(void **unused)
{
	(void)unused;
	what_was_promised_stays(JOURNAL_DISK);
}

static void in_memory_what_was_promised_stays(void **unused)
{
	(void)unused;
	what_was_promised_stays(JOURNAL_MEMORY);
}

/* What may go is written beside the records: the next life knows it. */
static void a_later_life_knows_what_may_go(void **unused)
{
	(void)unused;
	for (int promised = 0; promised < 2; promised++) {
		struct world w;
		begin(&w, JOURNAL_DISK, !promised, !promised);
		life(&w);
		put(&w, 0, 2 << 20); /* until it is full, or all of it */
		assert_int_equal(journal_full(w.journal), promised);
		uint64_t first = journal_first(w.journal), last = journal_last(w.journal);
		end(&w);

		w.may_drop[0] = w.may_drop[1] = true;
		life(&w);
		assert_in_range(journal_first(w.journal), first > 100 ? first - 100 : 1, first);
		assert_int_equal(put(&w, 0, 400 << 10), !promised);
		assert_int_equal(journal_first(w.journal) > first, !promised);
		uint64_t next = last, skipped = 0;
		while (read_one(&w, &next, &skipped))
			;
		assert_int_equal(next, journal_last(w.journal) + 1);
		end(&w);
		world_fini(&w);
	}
}

/* A spare that was given up keeps its bytes until it is used again. It does not come back at the next start, although others
 * behind it are gone. */
static void what_was_given_up_does_not_come_back(void **unused)
{
	(void)unused;
	struct world w;
	char path[128];
	size_t len;
	begin(&w, JOURNAL_DISK, true, true);
	life(&w);
	assert_true(put(&w, 0, 40 << 10)); /* into the second segment */
	const uint8_t *bytes = NULL;
	struct segment_header h = {0};
	for (unsigned number = 1; h.first != 1; number++) { /* the one that is used first */
		snprintf(path, sizeof(path), "%s/%08u.segment", root, number);
		assert_non_null(bytes = sim_bytes(w.sim, path, &len));
		if (segment_header_read(&h, bytes) != 1)
			h.first = 0;
	}
	uint8_t *old = memcpy(malloc(len), bytes, len);
	assert_true(put(&w, 0, 1 << 20));
	uint64_t first = journal_first(w.journal);
	assert_true(first > 1);
	end(&w);
	snprintf(path, sizeof(path), "%s/00009999.segment", root);
	const struct disk *d = sim_disk(w.sim);
	int fd = d->open(d, path, DISK_WRITE | DISK_CREATE);
	assert_int_equal(d->write(d, fd, old, len, 0), 0);
	d->close(d, fd);
	free(old);

	w.settings.max_bytes = 4 << 20; /* or it would be the first to go again */
	life(&w);
	/* What went after the newest segment was begun is whole, and may be there again. */
	assert_in_range(journal_first(w.journal), first - 100, first);
	uint64_t next = 1, skipped = 0;
	while (read_one(&w, &next, &skipped))
		;
	assert_int_equal(skipped, journal_first(w.journal) - 1);
	assert_int_equal(next, journal_last(w.journal) + 1);
	end(&w);
	world_fini(&w);
}

/* The files are used again under a reader that stands in them: it comes to what is there now, and tells of no damage. */
static void a_reader_that_is_overtaken_goes_on_behind(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, JOURNAL_DISK, true, true);
	life(&w);
	uint64_t next = 1, skipped = 0, read = 0;
	for (int i = 0; i < 300; i++) {
		assert_true(put_on(&w, 0, 8 << 10));
		if (i % 3 == 0)
			read += read_one(&w, &next, &skipped);
	}
	assert_true(read > 50 && skipped > 0);
	until_it_has_looked(&w);
	while (read_one(&w, &next, &skipped))
		;
	assert_int_equal(next, journal_last(w.journal) + 1);
	assert_true(skipped <= journal_first(w.journal) - 1);
	end(&w);
	world_fini(&w);
}

static void until_nearly_full(struct world *w, bool nearly)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (journal_nearly_full(w->journal) != nearly) {
		journal_wake(w->journal);
		assert_true(clock_mono_us() < until);
		usleep(100);
	}
}

static void it_is_nearly_full_from_the_high_mark_to_the_low_one(enum journal_type type)
{
	struct world w;
	begin(&w, type, false, false);
	w.settings.high_water = 60;
	w.settings.low_water = 30;
	w.settings.max_bytes = 2 << 20;
	life(&w);
	while (!journal_nearly_full(w.journal)) {
		assert_true(stat_get(&w.stats.fill_percent) < 60);
		assert_true(put(&w, 0, 1));
	}
	assert_false(journal_full(w.journal));
	assert_in_range(stat_get(&w.stats.fill_percent), 55, 70);
	assert_true(journal_is_pinned_by(w.journal, w.cursor));
	assert_true(stat_get(&w.stats.nearly_full_since) > 1600000000);
	assert_int_equal(stat_get(&w.stats.full_since), 0);

	uint64_t last = journal_last(w.journal);
	cursor_move(w.cursor, last / 4); /* 45 % are left: between the marks */
	assert_int_equal(cursor_save(w.cursor), GW_OK);
	assert_true(put(&w, 0, 1));
	assert_true(journal_nearly_full(w.journal));
	cursor_move(w.cursor, last * 3 / 4);
	assert_int_equal(cursor_save(w.cursor), GW_OK);
	until_nearly_full(&w, false);
	assert_false(journal_is_pinned_by(w.journal, w.cursor));
	assert_int_equal(stat_get(&w.stats.nearly_full), 0);
	assert_int_equal(stat_get(&w.stats.nearly_full_since), 0);
	assert_int_equal(stat_get(&w.stats.times_nearly_full), 1);

	while (put(&w, 0, 4096))
		;
	assert_true(journal_full(w.journal) && journal_nearly_full(w.journal));
	assert_int_equal(stat_get(&w.stats.fill_percent), 100);
	assert_int_equal(stat_get(&w.stats.times_nearly_full), 2);
	assert_true(stat_get(&w.stats.full_since) > 1600000000);
	cursor_move(w.cursor, journal_last(w.journal));
	assert_int_equal(cursor_save(w.cursor), GW_OK);
	until_nearly_full(&w, false);
	assert_false(journal_full(w.journal));
	until_it_has_looked(&w);
	assert_int_equal(wakes, 3 * LANES); /* nearly full ended twice, full once */
	end(&w);
	world_fini(&w);
}

static void on_disk_there_are_two_marks(void **unused)
{
	(void)unused;
	it_is_nearly_full_from_the_high_mark_to_the_low_one(JOURNAL_DISK);
}

static void in_memory_there_are_two_marks(void **unused)
{
	(void)unused;
	it_is_nearly_full_from_the_high_mark_to_the_low_one(JOURNAL_MEMORY);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(on_disk_the_oldest_go),
	    TEST(in_memory_the_oldest_go),
	    TEST(what_a_sink_has_is_not_counted),
	    TEST(on_disk_what_was_promised_stays),
	    TEST(in_memory_what_was_promised_stays),
	    TEST(a_later_life_knows_what_may_go),
	    TEST(what_was_given_up_does_not_come_back),
	    TEST(a_reader_that_is_overtaken_goes_on_behind),
	    TEST(on_disk_there_are_two_marks),
	    TEST(in_memory_there_are_two_marks),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
