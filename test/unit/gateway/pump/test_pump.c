/* The pump as it works: batches, order, retries, several in flight. test_pump_safety.c has what must never be lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "test/unit/gateway/pump/pump_fixture.h"

/* -- the plain way -- */

static void every_record_comes_once_in_order_and_the_cursor_follows(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f, &plain_sink, false);
	for (int i = 0; i < 40; i++) {
		put(&f, (uint64_t)(1 + i * 7 % 50));
		usleep(100);
	}
	WAIT(cursor_now(&f) == f.put);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, f.put);
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), f.put);
	assert_int_equal(stat_get(&pump_stats(f.pump)->in_flight), 0);
	fixture_fini(&f);
}

static void a_batch_keeps_to_its_limits(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_records = 7;
	fixture_open(&f, &plain_sink, false);
	put(&f, 1000);
	WAIT(cursor_now(&f) == 1000);
	assert_int_equal(control.most_records, 7);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
	fixture_init(&f);
	f.common.batch_bytes = 1024;
	fixture_open(&f, &plain_sink, false);
	put(&f, 1000);
	WAIT(cursor_now(&f) == 1000);
	assert_true(control.most_bytes <= 1024 && control.most_bytes > 800);
	fixture_stop(&f, DEADLINE_US);
	assert_seen_in_order(1, 1000);
	fixture_fini(&f);
}

static void a_batch_waits_no_longer_than_its_age(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_age = 300000;
	fixture_open(&f, &plain_sink, false);
	int64_t since = clock_mono_us();
	put(&f, 1);
	WAIT(cursor_now(&f) == 1);
	assert_in_range(clock_mono_us() - since, 290000, 5000000);
	put(&f, 50); /* a full one does not wait */
	WAIT(cursor_now(&f) == 51);
	fixture_stop(&f, DEADLINE_US);
	assert_int_equal(control.submits, 2);
	fixture_fini(&f);
}

static void each_pump_gets_its_kind_and_passes_the_others(void **unused)
{
	(void)unused;
	for (int dead = 0; dead < 2; dead++) {
		struct fixture f;
		fixture_init(&f);
		fixture_open(&f, &plain_sink, dead);
		for (int i = 0; i < 300; i++)
			put_kind(&f, i % 3 == 0 ? RECORD_TELEMETRY : i % 3 == 1 ? RECORD_DEAD : RECORD_STATE);
		put_kind(&f, (enum record_kind)200); /* of a later version */
		lane_publish(&f.lane);
		journal_wake(f.journal);
		WAIT(cursor_now(&f) == 301);
		assert_true(fixture_stop(&f, DEADLINE_US));
		assert_int_equal(control.seen_count, 100);
		for (size_t i = 0; i < 100; i++)
			assert_int_equal(control.seen[i], 3 * i + 1 + (size_t)dead);
		fixture_fini(&f);
	}
}

static void what_lags_is_read_from_disk(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.settings.tail_memory = 0;
	control.submit = submit_hold;
	f.common.in_flight = 1;
	fixture_open(&f, &polled_sink, false);
	put(&f, 5000);
	WAIT(atomic_load(&f.lane.durable) == f.lane.tail);
	take_everything();
	WAIT(cursor_now(&f) == 5000);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 5000);
	fixture_fini(&f);
}

static void records_committed_one_by_one_fill_a_batch_too(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.settings.tail_memory = 0;
	control.submit = submit_hold;
	f.common.in_flight = 1;
	f.common.batch_records = 200;
	fixture_open(&f, &polled_sink, false);
	for (int i = 0; i < 401; i++) {
		put(&f, 1);
		WAIT(atomic_load(&f.lane.durable) == f.lane.tail);
	}
	take_everything();
	WAIT(cursor_now(&f) == 401);
	assert_int_equal(control.most_records, 200);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 401);
	fixture_fini(&f);
}

/* -- refusals -- */

static enum gw_err submit_some_retry(struct batch *b) /* sequences that end with 3 work with the third try */
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].sequence % 10 == 3 && b->attempt < 2) {
			batch_retry(b, i, "not now, %d", 3);
		} else {
			control.settled[b->items[i].sequence] = true;
			batch_done(b, i);
		}
	batch_finish(b);
	return GW_OK;
}

/* A server with a queue: what is the third at the same time is refused. */
static enum gw_err submit_two_at_a_time(struct batch *b)
{
	if (control.held_count < 2)
		return submit_hold(b);
	for (size_t i = 0; i < b->count; i++)
		batch_retry(b, i, "queue full");
	control.count++;
	b->overloaded = true;
	batch_finish(b);
	return GW_OK;
}

static void a_sink_that_has_too_much_gets_fewer_batches_at_a_time(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	control.submit = submit_two_at_a_time;
	f.common.in_flight = 16;
	f.common.batch_records = 10;
	f.common.backoff_min = f.common.backoff_max = 1000;
	fixture_open(&f, &polled_sink, false);
	put(&f, 10000);
	set_finish(3);
	WAIT(cursor_now(&f) == 10000);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_in_range(control.count, 1, 150); /* of 1,000 batches; with 16 at a time it is 14 of 16 */
	for (size_t i = 1; i <= 10000; i++)
		assert_true(control.settled[i]);
	fixture_fini(&f);
}

/* Sequences that end with 3 belong to a target that takes nothing until control.count is set. */
static enum gw_err submit_a_bad_target(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].sequence % 10 == 3 && !control.count) {
			batch_retry(b, i, "that target is away");
			b->hold_ms = 20;
		} else {
			control.settled[b->items[i].sequence] = true;
			batch_done(b, i);
		}
	batch_finish(b);
	return GW_OK;
}

static void records_of_one_bad_target_do_not_hold_up_the_others(void **unused)
{
	(void)unused;
	for (int late = 0; late < 2; late++) {
		struct fixture f;
		fixture_init(&f);
		control.submit = submit_a_bad_target;
		f.common.in_flight = late ? 1 : 4;
		f.common.backoff_min = f.common.backoff_max = DEADLINE_US * 10; /* nobody backs off */
		fixture_open(&f, &plain_sink, false);
		for (int i = 0; i < 40; i++)
			put(&f, 50);
		WAIT(stat_get(&pump_stats(f.pump)->delivered) == 1800);
		assert_true(cursor_now(&f) < 3);
		if (late) /* what it held comes again after a start */
			assert_false(fixture_stop(&f, 50000));
		pthread_mutex_lock(&control.lock);
		control.count = 1;
		pthread_mutex_unlock(&control.lock);
		if (!late) {
			WAIT(cursor_now(&f) == 2000);
			assert_true(fixture_stop(&f, DEADLINE_US));
			assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 2000);
			for (size_t i = 1; i <= 2000; i++)
				assert_true(control.settled[i]);
		}
		fixture_fini(&f);
	}
}

static void held_records_are_given_up_like_any_other(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	control.submit = submit_a_bad_target;
	f.common.give_up_after = 100000;
	fixture_open(&f, &plain_sink, false);
	put(&f, 100);
	WAIT(cursor_now(&f) == 100);
	assert_int_equal(stat_get(&pump_stats(f.pump)->dead), 10);
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

static void what_is_retried_comes_again_before_anything_else(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	control.submit = submit_some_retry;
	f.common.batch_age = 10000000; /* only full ones */
	fixture_open(&f, &plain_sink, false);
	put(&f, 100);
	WAIT(cursor_now(&f) == 100);
	assert_true(fixture_stop(&f, DEADLINE_US));
	size_t times[101] = {0};
	uint64_t newest = 0;
	for (size_t i = 0; i < control.seen_count; i++) {
		uint64_t s = control.seen[i];
		if (times[s]++ == 0) {
			assert_int_equal(s, ++newest);
			if (s > 51)
				assert_int_equal(times[43], 3); /* the first batch is through before the next begins */
		}
	}
	for (uint64_t s = 1; s <= 100; s++)
		assert_int_equal(times[s], s % 10 == 3 ? 3 : 1);
	assert_int_equal(stat_get(&pump_stats(f.pump)->retried), 20);
	fixture_fini(&f);
}

static enum gw_err submit_late_in_life(struct batch *b)
{
	if (control.submits <= 3) {
		if (control.submits == 1)
			b->attempt = UINT_MAX - 1; /* as if it had been offered so often */
		control.wrong |= control.submits > 1 && b->attempt != UINT_MAX;
		batch_retry_all(b, "down");
		batch_finish(b);
		return GW_OK;
	}
	control.wrong |= b->attempt != UINT_MAX;
	return submit_take(b);
}

static void what_was_offered_very_often_does_not_become_new(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	control.submit = submit_late_in_life;
	f.common.in_flight = 1;
	fixture_open(&f, &plain_sink, false);
	put(&f, 1);
	WAIT(cursor_now(&f) == 1);
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

static void a_sink_that_is_down_is_asked_once_per_back_off(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.backoff_min = 20000;
	f.common.backoff_max = 80000;
	control.submit = submit_retry;
	fixture_open(&f, &plain_sink, false);
	put(&f, 1000);
	WAIT(locked_size(&control.submits) >= 8);
	pthread_mutex_lock(&control.lock);
	for (size_t i = 1; i < 8; i++) { /* 20, 40, 80, 80 ... with jitter down to half */
		int64_t waited = control.submitted_us[i] - control.submitted_us[i - 1];
		int64_t least = i == 1 ? 10000 : i == 2 ? 20000 : 40000;
		assert_in_range(waited, least, 3000000);
	}
	for (size_t i = 0; i < control.seen_count; i++)
		assert_int_equal(control.seen[i], 1 + i % 50); /* always the same batch, nothing overtakes */
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	WAIT(cursor_now(&f) == 1000);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

static enum gw_err submit_fail_together(struct batch *b)
{
	submit_hold(b);
	if (control.held_count == 4) {
		control.count++;
		while (control.held_count) {
			struct batch *one = control.held[--control.held_count];
			batch_retry_all(one, "down");
			batch_finish(one);
		}
	}
	return GW_OK;
}

static void batches_that_fail_together_lengthen_the_back_off_once(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.backoff_min = 20000;
	f.common.backoff_max = 10000000;
	control.submit = submit_fail_together;
	f.common.batch_age = 10000000; /* only full ones */
	fixture_open(&f, &polled_sink, false);
	put(&f, 1000);
	WAIT(locked_size(&control.submits) >= 12); /* three rounds of four */
	pthread_mutex_lock(&control.lock);
	assert_true(control.submitted_us[4] - control.submitted_us[3] >= 10000);
	assert_true(control.submitted_us[8] - control.submitted_us[4] < 400000); /* 40 ms, not 20 * 2^8 */
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	set_finish(3);
	WAIT(cursor_now(&f) == 1000);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

static enum gw_err submit_again(struct batch *b)
{
	if (control.count++ % 3 != 2) {
		control.seen_count -= b->count; /* it was not taken */
		return GW_AGAIN;
	}
	take(b);
	return GW_OK;
}

static void what_the_sink_cannot_take_now_is_offered_again_in_its_place(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	control.submit = submit_again;
	fixture_open(&f, &polled_sink, false);
	put(&f, 300);
	WAIT(cursor_now(&f) == 300);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 300);
	fixture_fini(&f);
}

static enum gw_err submit_retry_after(struct batch *b)
{
	if (control.count++ == 0) {
		b->retry_after_ms = 300;
		return submit_retry(b);
	}
	return submit_take(b);
}

static void the_sinks_own_retry_after_is_kept(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.backoff_max = 1000000;
	control.submit = submit_retry_after;
	fixture_open(&f, &plain_sink, false);
	put(&f, 10);
	WAIT(cursor_now(&f) == 10);
	assert_in_range(control.submitted_us[1] - control.submitted_us[0], 295000, 5000000);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

/* -- several in flight -- */

static void no_more_batches_are_with_the_sink_than_allowed(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.in_flight = 3;
	f.common.batch_age = 10000000; /* only full ones */
	control.submit = submit_hold;
	fixture_open(&f, &polled_sink, false);
	put(&f, 1000);
	WAIT(locked_size(&control.held_count) == 3);
	usleep(50000);
	assert_int_equal(locked_size(&control.held_count), 3);
	assert_int_equal(stat_get(&pump_stats(f.pump)->in_flight), 150);
	set_finish(2); /* the newest first: the cursor must not move over the others */
	WAIT(locked_size(&control.submits) == 4);
	assert_int_equal(cursor_now(&f), 0);
	set_finish(1); /* the oldest */
	WAIT(cursor_now(&f) == 50);
	set_finish(1); /* the second: the third was finished long ago */
	WAIT(cursor_now(&f) == 150);
	set_finish(3);
	WAIT(cursor_now(&f) == 1000);
	assert_int_equal(control.held_most, 3);
	fixture_stop(&f, DEADLINE_US);
	assert_seen_in_order(1, 1000);
	fixture_fini(&f);
}

static enum gw_err submit_hold_first(struct batch *b)
{
	if (b->items[0].sequence == 1)
		return submit_hold(b);
	return submit_take(b);
}

static void one_slow_batch_does_not_make_the_others_pile_up(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_records = 10;
	f.common.batch_age = 10000000; /* only full ones */
	control.submit = submit_hold_first;
	fixture_open(&f, &polled_sink, false);
	put(&f, 8000);
	WAIT(locked_size(&control.submits) == 800);
	assert_int_equal(cursor_now(&f), 0);
	assert_true(control.known_count <= 8); /* batches are used again, not kept until the first is done */
	set_finish(1);
	WAIT(cursor_now(&f) == 8000);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 8000);
	fixture_fini(&f);
}

static void the_cursor_never_passes_what_the_sink_has_not(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_records = 9;
	f.common.backoff_min = 1000;
	f.common.backoff_max = 2000;
	control.submit = submit_random;
	fixture_open(&f, &polled_sink, false);
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (f.put < 3000) {
		put(&f, 20);
		assert_true(all_settled(cursor_now(&f)));
		usleep(300);
	}
	while (cursor_now(&f) < f.put) {
		set_finish(3); /* with nothing more to be handed over, what is held is finished, too */
		assert_true(all_settled(cursor_now(&f)));
		assert_true(clock_mono_us() < until);
		set_finish(3); /* two that were held at once: nothing comes any more that would finish the second */
		usleep(300);
	}
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(every_record_comes_once_in_order_and_the_cursor_follows),
	    TEST(a_batch_keeps_to_its_limits),
	    TEST(a_batch_waits_no_longer_than_its_age),
	    TEST(each_pump_gets_its_kind_and_passes_the_others),
	    TEST(what_lags_is_read_from_disk),
	    TEST(records_committed_one_by_one_fill_a_batch_too),
	    TEST(a_sink_that_has_too_much_gets_fewer_batches_at_a_time),
	    TEST(records_of_one_bad_target_do_not_hold_up_the_others),
	    TEST(held_records_are_given_up_like_any_other),
	    TEST(what_is_retried_comes_again_before_anything_else),
	    TEST(what_was_offered_very_often_does_not_become_new),
	    TEST(a_sink_that_is_down_is_asked_once_per_back_off),
	    TEST(batches_that_fail_together_lengthen_the_back_off_once),
	    TEST(what_the_sink_cannot_take_now_is_offered_again_in_its_place),
	    TEST(the_sinks_own_retry_after_is_kept),
	    TEST(no_more_batches_are_with_the_sink_than_allowed),
	    TEST(one_slow_batch_does_not_make_the_others_pile_up),
	    TEST(the_cursor_never_passes_what_the_sink_has_not),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
