#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocols/net/wheel.h"

static void timer_fires_within_a_second_and_never_early(void **state)
{
	(void)state;
	for (int64_t start = 5000; start < 7000; start += 37) {
		for (int64_t delay = 1; delay < 4000; delay += 331) {
			struct wheel w;
			struct wheel_timer t = {0};
			wheel_init(&w, start);
			wheel_set(&w, &t, start + delay);
			int64_t now = start;
			while (wheel_next(&w, now) == NULL)
				now++;
			assert_in_range(now, start + delay, start + delay + 1000);
			assert_null(wheel_next(&w, now + 5000));
			assert_int_equal(w.linked, 0);
		}
	}
}

static void timer_that_moves_on_fires_once_at_its_last_time(void **state)
{
	(void)state;
	struct wheel w;
	struct wheel_timer t = {0};
	wheel_init(&w, 0);
	for (int64_t now = 0; now < 500000; now += 100) {
		wheel_set(&w, &t, now + 3000);
		assert_null(wheel_next(&w, now));
	}
	assert_null(wheel_next(&w, 502000));
	assert_ptr_equal(wheel_next(&w, 503900), &t);
	assert_null(wheel_next(&w, 600000));
}

static void timer_that_moves_forward_fires_sooner(void **state)
{
	(void)state;
	struct wheel w;
	struct wheel_timer t = {0};
	wheel_init(&w, 1000);
	wheel_set(&w, &t, 90000);
	wheel_set(&w, &t, 3000);
	assert_null(wheel_next(&w, 2999));
	assert_ptr_equal(wheel_next(&w, 3000), &t);
}

static void time_beyond_the_wheel_is_kept(void **state)
{
	(void)state;
	struct wheel w;
	struct wheel_timer t = {0};
	int64_t due = (int64_t)WHEEL_SLOTS * 1000 * 5 + 500;
	wheel_init(&w, 0);
	wheel_set(&w, &t, due);
	for (int64_t now = 0; now < due; now += 250)
		assert_null(wheel_next(&w, now));
	assert_ptr_equal(wheel_next(&w, due + 1000), &t);
}

static void long_sleep_loses_no_timer(void **state)
{
	(void)state;
	struct wheel w;
	struct wheel_timer t[300] = {0};
	wheel_init(&w, 0);
	for (int i = 0; i < 300; i++)
		wheel_set(&w, &t[i], 1000 + i * 1000);
	int fired = 0;
	while (wheel_next(&w, 3600000))
		fired++;
	assert_int_equal(fired, 300);
	assert_int_equal(w.linked, 0);
}

static void timer_that_is_off_or_removed_does_not_fire(void **state)
{
	(void)state;
	struct wheel w;
	struct wheel_timer a = {0}, b = {0}, c = {0};
	wheel_init(&w, 0);
	wheel_set(&w, &a, 2000);
	wheel_set(&w, &b, 2000);
	wheel_set(&w, &c, 2000);
	wheel_set(&w, &a, 0);
	wheel_remove(&w, &b);
	assert_ptr_equal(wheel_next(&w, 4000), &c);
	assert_null(wheel_next(&w, 4000));
	assert_int_equal(wheel_wait(&w, 4000), -1);
}

static void wait_ends_at_the_next_slot(void **state)
{
	(void)state;
	struct wheel w;
	struct wheel_timer t = {0};
	wheel_init(&w, 10250);
	assert_int_equal(wheel_wait(&w, 10250), -1);
	wheel_set(&w, &t, 60000);
	assert_int_equal(wheel_wait(&w, 10250), 750);
	assert_int_equal(wheel_wait(&w, 11900), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(timer_fires_within_a_second_and_never_early),
	    cmocka_unit_test(timer_that_moves_on_fires_once_at_its_last_time),
	    cmocka_unit_test(timer_that_moves_forward_fires_sooner),
	    cmocka_unit_test(time_beyond_the_wheel_is_kept),
	    cmocka_unit_test(long_sleep_loses_no_timer),
	    cmocka_unit_test(timer_that_is_off_or_removed_does_not_fire),
	    cmocka_unit_test(wait_ends_at_the_next_slot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
