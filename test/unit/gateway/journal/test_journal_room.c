/* Room: a full journal still holds what the lanes may bring, says so in time, and takes messages again when it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "test/unit/gateway/journal/journal_world.h"

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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_the_lanes_hold_fits_when_it_is_full_and_it_clears),
	    TEST(a_block_never_leaves_its_segment),
	    TEST(a_lane_whose_records_fit_no_segment_is_refused),
	    TEST(a_full_disk_is_waited_out),
	    TEST(a_journal_in_memory_holds_what_no_sink_has_and_is_full_in_time),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
