/* When a commit begins: at once, later, and what ends the wait. Times are so long that a test would not end if it waited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "gateway/journal/journal_parts.h"
#include "test/unit/gateway/journal/journal_world.h"

#define LONG_US 60000000

static void begin(struct world *w, uint64_t commit_delay, uint64_t commit_idle)
{
	struct why why = {.text = ""};
	world_init(w, 1);
	w->settings.commit_delay = commit_delay;
	w->settings.commit_idle = commit_idle;
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
}

static void end(struct world *w)
{
	world_stop(w);
	world_close(w);
	world_fini(w);
}

static void publish(struct world *w, bool awaited)
{
	struct lane *l = &w->lanes[0];
	if (awaited)
		lane_await(l, l->tail);
	awaited = lane_publish_awaited(l, clock_mono_us());
	lane_publish(l);
	journal_wake_published(w->journal, l, awaited);
}

static void put(struct world *w, bool awaited)
{
	world_put(w, 0);
	publish(w, awaited);
}

static bool is_durable(struct world *w)
{
	return atomic_load(&w->lanes[0].durable) == w->lanes[0].tail;
}

static void until_durable(struct world *w)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (!is_durable(w)) {
		assert_true(clock_mono_us() < until);
		usleep(200);
	}
}

static void until_it_sleeps(struct world *w, enum journal_sleep how)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (atomic_load(&w->journal->sleeping) != (int)how) {
		assert_true(clock_mono_us() < until);
		usleep(100);
	}
}

/* A commit that is delayed; the first one after the start is not. */
static void put_delayed(struct world *w)
{
	if (stat_get(&w->stats.commits) == 0) {
		put(w, true);
		until_durable(w);
	}
	put(w, true);
	until_it_sleeps(w, SLEEP_UNTIL_CROWDED);
	assert_false(is_durable(w));
}

static void what_nobody_waits_for_is_committed_together_after_commit_idle(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, 0, 300000);
	int64_t since = clock_mono_us();
	for (int i = 0; i < 5; i++)
		put(&w, false);
	int64_t put_us = clock_mono_us() - since;
	until_durable(&w);
	assert_true(clock_mono_us() - since >= 299000);
	if (put_us < 250000)
		assert_int_equal(stat_get(&w.stats.commits), 1);
	end(&w);
}

static void what_somebody_waits_for_takes_along_what_nobody_waits_for(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, 0, LONG_US);
	for (int i = 0; i < 100; i++) {
		put(&w, false);
		until_it_sleeps(&w, SLEEP_UNTIL_AWAITED);
		if (i % 2)
			put(&w, true);
		else
			publish(&w, true); /* asked for when it was published already */
		until_durable(&w);
	}
	end(&w);
}

static void a_crowded_lane_ends_the_wait(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, LONG_US, LONG_US);
	put(&w, false);
	until_it_sleeps(&w, SLEEP_UNTIL_AWAITED);
	while (stat_get(&w.stats.commits) == 0)
		put(&w, false);
	end(&w);
	begin(&w, LONG_US, LONG_US);
	put_delayed(&w);
	uint64_t commits = stat_get(&w.stats.commits);
	while (stat_get(&w.stats.commits) == commits)
		put(&w, true);
	end(&w);
}

static void a_producer_that_lacks_room_ends_the_wait(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, LONG_US, LONG_US);
	put(&w, false);
	until_it_sleeps(&w, SLEEP_UNTIL_AWAITED);
	lane_lacks_room(&w.lanes[0]);
	journal_wake(w.journal);
	until_durable(&w);
	put_delayed(&w);
	lane_lacks_room(&w.lanes[0]);
	journal_wake(w.journal);
	until_durable(&w);
	end(&w);
}

static void an_order_to_stop_ends_the_wait(void **unused)
{
	(void)unused;
	struct world w;
	for (int delayed = 0; delayed < 2; delayed++) {
		begin(&w, LONG_US, LONG_US);
		if (delayed)
			put_delayed(&w);
		else
			put(&w, false);
		assert_int_equal(journal_stop(w.journal, clock_mono_us() + DEADLINE_US), GW_OK);
		assert_true(is_durable(&w));
		world_close(&w);
		world_fini(&w);
	}
}

static void being_woken_for_something_else_does_not_end_a_delay(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, LONG_US, LONG_US);
	put_delayed(&w);
	uint64_t commits = stat_get(&w.stats.commits);
	for (int i = 0; i < 100; i++) {
		journal_wake(w.journal);
		until_it_sleeps(&w, SLEEP_UNTIL_CROWDED);
	}
	assert_int_equal(stat_get(&w.stats.commits), commits);
	assert_int_equal(stat_get(&w.stats.delayed), 0);
	end(&w);
}

static void without_delay_every_wait_ends_at_once(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, 0, LONG_US);
	for (int i = 0; i < 300; i++) {
		put(&w, true);
		until_durable(&w);
	}
	assert_int_equal(stat_get(&w.stats.delayed), 0);
	end(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_nobody_waits_for_is_committed_together_after_commit_idle),
	    TEST(what_somebody_waits_for_takes_along_what_nobody_waits_for),
	    TEST(a_crowded_lane_ends_the_wait),
	    TEST(a_producer_that_lacks_room_ends_the_wait),
	    TEST(an_order_to_stop_ends_the_wait),
	    TEST(being_woken_for_something_else_does_not_end_a_delay),
	    TEST(without_delay_every_wait_ends_at_once),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
