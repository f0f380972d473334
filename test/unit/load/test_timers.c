/* The load tester's timers: a heap, compared with a search through all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/timers.h"

#define TIMERS 37u

static uint32_t draw(void)
{
	static uint32_t state = 1;
	state = state * 1664525u + 1013904223u;
	return state >> 8;
}

static void without_any_there_is_no_first(void **state)
{
	(void)state;
	struct timers t;
	assert_true(timers_open(&t, 1));
	assert_null(timers_first(&t));
	timers_close(&t);
	timers_close(&t);
}

static void the_earliest_is_first_however_they_are_moved(void **state)
{
	(void)state;
	struct timers t;
	struct timer all[TIMERS] = {{0}};
	uint32_t set = 0;
	assert_true(timers_open(&t, TIMERS));
	for (unsigned step = 0; step < 5000; step++) {
		uint32_t i = draw() % TIMERS;
		set += all[i].place == 0;
		timers_set(&t, &all[i], draw() % 1000); /* earlier, later, or as it was */
		assert_int_equal(t.count, set);
		const struct timer *least = NULL;
		for (i = 0; i < TIMERS; i++)
			if (all[i].place && (!least || all[i].at_us < least->at_us))
				least = &all[i];
		assert_non_null(timers_first(&t));
		assert_int_equal(timers_first(&t)->at_us, least->at_us);
	}
	timers_close(&t);
}

static void each_comes_once_in_its_order(void **state)
{
	(void)state;
	struct timers t;
	struct timer all[TIMERS] = {{0}};
	uint64_t before = 0;
	assert_true(timers_open(&t, TIMERS));
	for (unsigned i = 0; i < TIMERS; i++)
		timers_set(&t, &all[i], draw() % 100);
	for (unsigned i = 0; i < TIMERS; i++) {
		struct timer *first = timers_first(&t);
		assert_true(first->at_us >= before);
		before = first->at_us;
		timers_set(&t, first, UINT64_MAX);
	}
	assert_true(before < 100);
	assert_int_equal(timers_first(&t)->at_us, UINT64_MAX);
	timers_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_any_there_is_no_first),
	    cmocka_unit_test(the_earliest_is_first_however_they_are_moved),
	    cmocka_unit_test(each_comes_once_in_its_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
