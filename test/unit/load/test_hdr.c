/* The latency histogram: precision, percentiles, addition, and its encoding there and back. That other HdrHistogram
 * libraries read the encoding is tested by test/system/test_load_report.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "load/hdr.h"

static void every_value_is_known_to_a_thousandth(void **state)
{
	(void)state;
	struct hdr *h = hdr_new();
	for (uint64_t v = 0; v < HDR_MAX_US; v = v * 1001 / 1000 + 1) {
		hdr_reset(h);
		hdr_record(h, v, 1);
		hdr_record(h, HDR_MAX_US, 1);
		uint64_t found = hdr_percentile(h, 50);
		assert_true(found >= v && (double)(found - v) <= (double)v / 1000);
	}
	hdr_free(h);
}

static void percentiles_are_those_of_the_sorted_values(void **state)
{
	(void)state;
	struct hdr *h = hdr_new();
	assert_int_equal(hdr_percentile(h, 99), 0);
	for (uint64_t v = 1; v <= 1000; v++)
		hdr_record(h, v, 2);
	assert_int_equal(hdr_count(h), 2000);
	assert_int_equal(hdr_percentile(h, 0), 1);
	assert_int_equal(hdr_percentile(h, 50), 500);
	assert_int_equal(hdr_percentile(h, 99), 990);
	assert_int_equal(hdr_percentile(h, 100), 1000);
	assert_int_equal(hdr_min(h), 1);
	assert_int_equal(hdr_max(h), 1000);
	assert_true(hdr_mean(h) > 500.4 && hdr_mean(h) < 500.6);
	assert_true(hdr_deviation(h) > 288 && hdr_deviation(h) < 289);
	hdr_free(h);
}

static void longer_than_the_longest_counts_as_the_longest(void **state)
{
	(void)state;
	struct hdr *h = hdr_new();
	hdr_record(h, UINT64_MAX, 3);
	assert_int_equal(hdr_max(h), HDR_MAX_US);
	assert_int_equal(hdr_percentile(h, 50), HDR_MAX_US);
	hdr_free(h);
}

static struct hdr *some_values(unsigned seed)
{
	struct hdr *h = hdr_new();
	srand(seed);
	for (int i = 0; i < 5000; i++)
		hdr_record(h, (uint64_t)rand() % (1u << (rand() % 31)), (uint64_t)(rand() % 3 + 1));
	return h;
}

static void same(const struct hdr *a, const struct hdr *b)
{
	size_t at_a = 0, at_b = 0;
	uint64_t value_a, value_b, count_a, count_b;
	assert_int_equal(hdr_count(a), hdr_count(b));
	while (hdr_next(a, &at_a, &value_a, &count_a)) {
		assert_true(hdr_next(b, &at_b, &value_b, &count_b));
		assert_int_equal(value_a, value_b);
		assert_int_equal(count_a, count_b);
	}
	assert_false(hdr_next(b, &at_b, &value_b, &count_b));
}

static void sums_are_as_if_recorded_together(void **state)
{
	(void)state;
	struct hdr *a = some_values(1), *b = some_values(2), *both = some_values(1), *empty = hdr_new();
	size_t at = 0;
	uint64_t value, count;
	while (hdr_next(b, &at, &value, &count))
		hdr_record(both, value, count);
	hdr_add(a, b);
	hdr_add(a, empty);
	same(a, both);
	hdr_add(empty, a);
	same(a, empty);
	hdr_free(a);
	hdr_free(b);
	hdr_free(both);
	hdr_free(empty);
}

static void encoding_leads_there_and_back(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct hdr *h = seed ? some_values(seed) : hdr_new();
		char *text = hdr_encode(h);
		assert_non_null(text);
		struct hdr *back = hdr_decode(text, strlen(text));
		assert_non_null(back);
		same(h, back);
		hdr_free(back);
		for (size_t i = 0; i < strlen(text); i += 7) { /* damaged: refused or something, never a crash */
			char kept = text[i];
			text[i] = (char)(kept ^ 1);
			hdr_free(hdr_decode(text, strlen(text)));
			text[i] = kept;
		}
		assert_null(hdr_decode(text, strlen(text) / 2));
		free(text);
		hdr_free(h);
	}
	assert_null(hdr_decode("", 0));
	assert_null(hdr_decode("SGVsbG8gd29ybGQhISEh", 20));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_value_is_known_to_a_thousandth),
	    cmocka_unit_test(percentiles_are_those_of_the_sorted_values),
	    cmocka_unit_test(longer_than_the_longest_counts_as_the_longest),
	    cmocka_unit_test(sums_are_as_if_recorded_together),
	    cmocka_unit_test(encoding_leads_there_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
