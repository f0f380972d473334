/* Shapes: when messages are to be sent, and that both sides of the formula agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/shape.h"

static struct load_shape read_shape(enum gw_err (*read)(struct load_shape *, const char *, struct why *),
                                    const char *text)
{
	struct load_shape s;
	struct why why;
	assert_int_equal(read(&s, text, &why), GW_OK);
	return s;
}

static void a_rate_spaces_evenly(void **state)
{
	(void)state;
	struct load_shape s = read_shape(shape_read_rate, "2k");
	assert_int_equal(shape_time_us(&s, 0), 0);
	assert_int_equal(shape_time_us(&s, 1), 500);
	assert_int_equal(shape_time_us(&s, 2000000), 1000000000);
}

static void a_ramp_passes_the_middle_of_its_rates(void **state)
{
	(void)state;
	struct load_shape s = read_shape(shape_read_ramp, "0:1000:10s");
	assert_int_equal(shape_time_us(&s, 0), 0);
	assert_in_range(shape_time_us(&s, 5000), 9999990, 10000010); /* the area of a triangle */
	assert_in_range(shape_time_us(&s, 1250), 4999990, 5000010);
	assert_in_range(shape_time_us(&s, 6000), 10999990, 11000010); /* then on at 1000 */
	s = read_shape(shape_read_ramp, "1000:0:10s");
	assert_in_range(shape_time_us(&s, 3750), 4999990, 5000010);
	assert_int_equal(shape_time_us(&s, 5001), UINT64_MAX); /* never */
}

static void steps_grow(void **state)
{
	(void)state;
	struct load_shape s = read_shape(shape_read_step, "100:50:2s");
	assert_int_equal(shape_time_us(&s, 100), 1000000);
	assert_int_equal(shape_time_us(&s, 200), 2000000);
	assert_int_equal(shape_time_us(&s, 200 + 150), 3000000);
	assert_int_equal(shape_time_us(&s, 200 + 300 + 200), 5000000);
}

static void bursts_come_at_once(void **state)
{
	(void)state;
	struct load_shape s = read_shape(shape_read_burst, "10:5s");
	assert_int_equal(shape_time_us(&s, 9), 0);
	assert_int_equal(shape_time_us(&s, 10), 5000000);
	assert_int_equal(shape_time_us(&s, 29), 10000000);
}

/* What is due at the very end of a run belongs to the next period. */
static void a_run_of_whole_periods_has_so_many_bursts(void **state)
{
	(void)state;
	struct load_shape s = read_shape(shape_read_burst, "10:5s");
	assert_true(shape_total(&s, 10000000) == 20);
	assert_true(shape_total(&s, 10000001) == 30);
	s = read_shape(shape_read_burst, "10:100ms");
	for (uint64_t periods = 1; periods < 3000; periods++)
		assert_true(shape_total(&s, periods * 100000) == (double)periods * 10);
}

/* shape_total(shape_time(n)) is n, and times never go back. */
static void times_and_totals_agree(void **state)
{
	(void)state;
	struct load_shape shapes[] = {
	    read_shape(shape_read_rate, "12345"),        read_shape(shape_read_ramp, "10:50k:7s"),
	    read_shape(shape_read_ramp, "5000:5001:3s"), read_shape(shape_read_step, "1k:333:700ms"),
	    read_shape(shape_read_step, "0:500:1s"),
	};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		uint64_t before = 0;
		for (uint64_t n = 1; n < 100000; n += 37) {
			uint64_t t = shape_time_us(&shapes[i], n);
			assert_true(t >= before);
			double total = shape_total(&shapes[i], t + 1);
			assert_true(total > (double)n - 1 && total < (double)n + 1);
			before = t;
		}
	}
}

static void a_fleet_keeps_its_period_and_phases(void **state)
{
	(void)state;
	struct load_shape s = {.kind = SHAPE_FLEET, .every_s = 10, .size = 100, .jitter = 0.5, .seed = 7};
	uint64_t least = UINT64_MAX, most = 0;
	for (uint64_t c = 0; c < 100; c++) {
		uint64_t first = shape_fleet_us(&s, c, 100, 1, 0);
		least = first < least ? first : least;
		most = first > most ? first : most;
		for (uint64_t j = 1; j < 20; j++) {
			uint64_t t = shape_fleet_us(&s, c, 100, 1, j);
			assert_true(t > shape_fleet_us(&s, c, 100, 1, j - 1));
			assert_in_range(t, j * 10000000, (j + 1) * 10000000 + 5000000);
		}
	}
	assert_true(least < 1500000 && most > 8500000); /* spread over the period */
	s.jitter = 0;
	assert_int_equal(shape_fleet_us(&s, 3, 100, 4, 5) - shape_fleet_us(&s, 3, 100, 4, 4), 2500000);
}

static void what_is_no_shape_is_refused(void **state)
{
	(void)state;
	struct load_shape s;
	struct why why;
	static const char *const wrong[] = {"", "0", "-1", "1x", "nan", "1:2"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(shape_read_rate(&s, wrong[i], &why), GW_CONFIG);
	static const char *const no_ramp[] = {"1:2", "1:2:3", "0:0:1s", "1:2:0s", "1:2:3s:4", ":1:1s"};
	for (size_t i = 0; i < sizeof(no_ramp) / sizeof(no_ramp[0]); i++)
		assert_int_equal(shape_read_ramp(&s, no_ramp[i], &why), GW_CONFIG);
	assert_int_equal(shape_read_burst(&s, "0:1s", &why), GW_CONFIG);
	assert_int_equal(shape_read_step(&s, "1:1s", &why), GW_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_rate_spaces_evenly),
	    cmocka_unit_test(a_ramp_passes_the_middle_of_its_rates),
	    cmocka_unit_test(steps_grow),
	    cmocka_unit_test(bursts_come_at_once),
	    cmocka_unit_test(a_run_of_whole_periods_has_so_many_bursts),
	    cmocka_unit_test(times_and_totals_agree),
	    cmocka_unit_test(a_fleet_keeps_its_period_and_phases),
	    cmocka_unit_test(what_is_no_shape_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
