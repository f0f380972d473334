/* Spill mode: nothing is written while the sinks keep up; what is held goes to disk in order when they do not; and what
 * was called durable is, at any power cut, on disk or with the sink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "gateway/journal/journal_parts.h"
#include "test/unit/gateway/journal/journal_world.h"

static void open_spilling(struct world *w, uint64_t seed, uint64_t spill_after)
{
	struct why why = {.text = ""};
	world_init(w, seed);
	w->settings.type = JOURNAL_SPILL;
	w->settings.spill_after = spill_after;
	w->settings.tail_memory = 64 << 10;
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
}

/* The sink takes everything that is there. */
static void sink_takes_all(struct world *w)
{
	while (read_known(w))
		;
	cursor_move(w->cursor, w->known);
	journal_wake(w->journal);
}

static void wait_rest(struct world *w)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (!journal_is_quiescent(w->journal)) {
		sink_takes_all(w);
		journal_wake(w->journal);
		usleep(200);
		assert_true(clock_mono_us() < until);
	}
}

static void nothing_is_written_while_the_sink_keeps_up(void **unused)
{
	(void)unused;
	struct world w;
	open_spilling(&w, 1, 1000);
	wait_rest(&w);
	atomic_store(&w.journal->spill_after_us, 3600000000); /* the test may be held up, too */
	uint64_t written = stat_get(&w.stats.written_bytes);
	for (int i = 0; i < 500; i++) {
		world_put(&w, (unsigned)i % LANES);
		world_publish(&w);
		int64_t until = clock_mono_us() + DEADLINE_US;
		while (atomic_load(&w.lanes[i % LANES].durable) < w.lanes[i % LANES].tail) {
			sink_takes_all(&w);
			assert_true(clock_mono_us() < until);
		}
	}
	assert_int_equal(stat_get(&w.stats.written_bytes), written);
	assert_int_equal(stat_get(&w.stats.spills), 0);
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

static void nothing_held_is_acknowledged_before_the_sink_has_it(void **unused)
{
	(void)unused;
	struct world w;
	open_spilling(&w, 2, 10000000);
	atomic_store(&w.journal->spill_after_us, 1000); /* to rest soon */
	wait_rest(&w);
	atomic_store(&w.journal->spill_after_us, 10000000);
	world_put(&w, 0);
	world_publish(&w);
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (journal_last(w.journal) == w.known)
		assert_true(clock_mono_us() < until);
	usleep(3000);
	assert_int_equal(atomic_load(&w.lanes[0].durable), 0);
	sink_takes_all(&w);
	assert_true(world_wait_durable(&w));
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

/* Out of memory, and no cursor is stored for it. */
static void deliver_some(struct world *w)
{
	atomic_store(&w->journal->spill_after_us, 3600000000);
	for (int i = 0; i < 20; i++) {
		world_put(w, (unsigned)i % LANES);
		world_publish(w);
		while (atomic_load(&w->lanes[i % LANES].durable) < w->lanes[i % LANES].tail)
			sink_takes_all(w);
	}
	atomic_store(&w->journal->spill_after_us, 1000);
}

/* The power goes now; what is found is judged when the journal is closed (its directory is locked until then). */
static void cut_now(struct world *w, uint64_t had)
{
	struct cut *c = &w->cuts[w->cut_count++];
	for (int l = 0; l < LANES; l++)
		c->durable[l] = atomic_load(&w->lanes[l].durable);
	c->disk = sim_crash(w->sim, w->cut_count);
	c->cursor = had;
}

static void judge_all(struct world *w, const char *where, uint64_t which)
{
	for (size_t i = 0; i < w->cut_count; i++) {
		uint64_t found;
		const char *bad = judge(w, &w->cuts[i], 0, &found);
		if (bad)
			fail_msg("%s %llu, cut %zu: %s", where, (unsigned long long)which, i, bad);
	}
	drop_cuts_over(w, 0);
}

/* Memory, disk, memory, disk: everything in order, no gap, also for a later recovery. */
static void a_sink_that_lags_sends_everything_to_disk_in_order(void **unused)
{
	(void)unused;
	struct world w;
	open_spilling(&w, 3, 1000);
	for (int round = 1; round <= 3; round++) {
		wait_rest(&w);
		deliver_some(&w);
		uint64_t had = w.known;
		for (int i = 0; i < 100; i++)
			world_put(&w, (unsigned)i % LANES);
		assert_true(world_wait_durable(&w)); /* without the sink: they are on disk */
		assert_int_equal(stat_get(&w.stats.spills), round);
		assert_int_equal(stat_get(&w.stats.spilled), 1);
		assert_true(journal_last(w.journal) > had);
		cut_now(&w, had);
		for (int i = 0; i < 300; i++) /* and more than memory would hold, written as it comes */
			world_put(&w, (unsigned)i % LANES);
		assert_true(world_wait_durable(&w));
	}
	wait_rest(&w);
	world_stop(&w);
	world_close(&w);
	judge_all(&w, "rounds", 3);
	assert_int_equal(stat_get(&w.stats.lost_sequences), 0);
	assert_int_equal(stat_get(&w.stats.damaged_blocks), 0);
	world_fini(&w);
}

static void a_memory_that_is_used_up_goes_to_disk_at_once(void **unused)
{
	(void)unused;
	struct world w;
	open_spilling(&w, 4, 1000);
	wait_rest(&w);
	atomic_store(&w.journal->spill_after_us, 3600000000);
	for (int i = 0; i < 400; i++)
		world_put(&w, 0);
	assert_true(world_wait_durable(&w));
	assert_int_equal(stat_get(&w.stats.spills), 1);
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

static void an_orderly_stop_writes_what_the_sink_lacks(void **unused)
{
	(void)unused;
	struct world w;
	open_spilling(&w, 5, 1000);
	wait_rest(&w);
	atomic_store(&w.journal->spill_after_us, 3600000000);
	uint64_t had = w.known;
	for (int i = 0; i < 5; i++)
		world_put(&w, 0);
	world_publish(&w);
	world_stop(&w);
	cut_now(&w, had);
	world_close(&w);
	judge_all(&w, "stop", 0);
	world_fini(&w);
}

/* The cursor could not be stored a moment ago: that is not waited for, since there is no later try. */
static void a_stop_right_after_a_failure_writes_all_the_same(void **unused)
{
	(void)unused;
	struct world w;
	open_spilling(&w, 7, 1000);
	wait_rest(&w);
	deliver_some(&w);
	atomic_store(&w.journal->spill_after_us, 3600000000);
	uint64_t had = w.known, calls = sim_calls(w.sim);
	for (int i = 0; i < 5; i++)
		world_put(&w, 0);
	world_publish(&w);
	sim_fail(w.sim, 1, 1, EIO);
	atomic_store(&w.journal->spill_after_us, 1);
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (sim_calls(w.sim) == calls) {
		journal_wake(w.journal);
		assert_true(clock_mono_us() < until);
	}
	world_stop(&w);
	cut_now(&w, had);
	world_close(&w);
	judge_all(&w, "stop", 1);
	world_fini(&w);
}

/* The cursors, which come first, are tried as long as the stop may take, too. */
static void a_disk_that_fails_while_it_stops_is_waited_for(void **unused)
{
	(void)unused;
	struct world w;
	open_spilling(&w, 7, 1000);
	wait_rest(&w);
	deliver_some(&w);
	atomic_store(&w.journal->spill_after_us, 3600000000);
	uint64_t had = w.known;
	for (int i = 0; i < 5; i++)
		world_put(&w, 0);
	world_publish(&w);
	sim_fail(w.sim, 1, 3, EIO);
	world_stop(&w);
	cut_now(&w, had);
	world_close(&w);
	judge_all(&w, "stop", 1);
	world_fini(&w);
}

/* The cuts fall anywhere between memory and disk. */
static void what_was_durable_survives_any_power_cut(void **unused)
{
	(void)unused;
	uint64_t judged = 0, spills = 0;
	for (uint64_t seed = 1; judged < 400; seed++) {
		struct world w;
		struct why why = {.text = ""};
		world_init(&w, seed);
		w.settings.type = JOURNAL_SPILL;
		for (int life = 0; life < 3; life++) {
			w.cut_one_in = 6 + (unsigned)(sim_random(&w.random) % 30);
			sim_watch(w.sim, consider_cut, &w);
			if (world_open(&w, &why) || world_start(&w, &why))
				fail_msg("%s", why.text);
			for (int i = 0; i < 4; i++) {
				world_work(&w, 6);
				if (sim_random(&w.random) % 3)
					wait_rest(&w);
			}
			sim_watch(w.sim, NULL, NULL);
			spills += stat_get(&w.stats.spills);
			world_stop(&w);
			world_close(&w);
			judged += w.cut_count;
			judge_all(&w, "seed", seed);
		}
		world_fini(&w);
	}
	assert_true(spills > 20);
}

static void a_failing_disk_delays_and_loses_nothing(void **unused)
{
	(void)unused;
	for (uint64_t n = 1; n <= 40; n++) {
		struct world w;
		open_spilling(&w, n, 1000);
		wait_rest(&w);
		uint64_t had = w.known;
		sim_fail(w.sim, n, 1 + n % 3, EIO);
		for (int i = 0; i < 100; i++)
			world_put(&w, (unsigned)i % LANES);
		assert_true(world_wait_durable(&w));
		sim_fail(w.sim, UINT64_MAX / 2, 1, EIO);
		cut_now(&w, had);
		world_stop(&w);
		world_close(&w);
		judge_all(&w, "call", n);
		world_fini(&w);
	}
}

static void a_budget_is_warned_of_and_refuses_nothing(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 6);
	w.settings.write_budget = 20 << 10;
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	world_put(&w, 0);
	assert_true(world_wait_durable(&w));
	assert_int_equal(stat_get(&w.stats.over_budget), 0);
	for (int i = 0; i < 100; i++)
		world_put(&w, 0);
	assert_true(world_wait_durable(&w));
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (!stat_get(&w.stats.over_budget))
		assert_true(clock_mono_us() < until);
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(nothing_is_written_while_the_sink_keeps_up),
	    TEST(nothing_held_is_acknowledged_before_the_sink_has_it),
	    TEST(a_sink_that_lags_sends_everything_to_disk_in_order),
	    TEST(a_memory_that_is_used_up_goes_to_disk_at_once),
	    TEST(an_orderly_stop_writes_what_the_sink_lacks),
	    TEST(a_stop_right_after_a_failure_writes_all_the_same),
	    TEST(a_disk_that_fails_while_it_stops_is_waited_for),
	    TEST(what_was_durable_survives_any_power_cut),
	    TEST(a_failing_disk_delays_and_loses_nothing),
	    TEST(a_budget_is_warned_of_and_refuses_nothing),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
