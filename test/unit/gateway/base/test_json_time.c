#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/json.h"
#include "gateway/base/json_parts.h"
#include "test/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define NO_TIME INT64_MIN

struct time_case {
	const char *value;
	enum json_time_format format;
	int64_t us; /* NO_TIME: refused */
};

static void check_times(const struct time_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(cases[i].value);
		enum json_type type = json_type_of((uint8_t)cases[i].value[0]);
		struct json_value v = {.type = type, .text = guard_copy(cases[i].value, len), .len = len};
		int64_t us = NO_TIME;
		bool ok = json_time(&v, cases[i].format, &us);
		if (ok != (us != NO_TIME) || us != cases[i].us)
			fail_msg("%s: %d, %lld", cases[i].value, ok, (long long)us);
	}
}

static void rfc_3339_times_are_read(void **unused)
{
	(void)unused;
	static const struct time_case cases[] = {
	    {"\"1970-01-01T00:00:00Z\"", JSON_TIME_RFC3339, 0},
	    {"\"2026-11-22T08:37:00.123456Z\"", JSON_TIME_RFC3339, INT64_C(1795336620123456)},
	    {"\"2026-11-22t08:37:00.123456z\"", JSON_TIME_RFC3339, INT64_C(1795336620123456)},
	    {"\"2026-11-22 08:37:00+00:00\"", JSON_TIME_RFC3339, INT64_C(1795336620000000)},
	    {"\"2026-11-22T09:37:00+01:00\"", JSON_TIME_RFC3339, INT64_C(1795336620000000)},
	    {"\"2026-11-21T22:07:00-10:30\"", JSON_TIME_RFC3339, INT64_C(1795336620000000)},
	    {"\"2026-11-22T08:37:00-00:00\"", JSON_TIME_RFC3339, INT64_C(1795336620000000)},
	    {"\"2026-11-22T08:37:00.1Z\"", JSON_TIME_RFC3339, INT64_C(1795336620100000)},
	    {"\"2026-11-22T08:37:00.123456789012345678901234567890Z\"", JSON_TIME_RFC3339, INT64_C(1795336620123456)},
	    {"\"2026-11-22T08:37:00.9999999Z\"", JSON_TIME_RFC3339, INT64_C(1795336620999999)},
	    {"\"2000-02-29T12:00:00Z\"", JSON_TIME_RFC3339, INT64_C(951825600000000)},
	    {"\"2000-03-01T00:00:00Z\"", JSON_TIME_RFC3339, INT64_C(951868800000000)},
	    {"\"1969-12-31T23:59:59.5Z\"", JSON_TIME_RFC3339, -500000},
	    {"\"2016-12-31T23:59:60.5Z\"", JSON_TIME_RFC3339, INT64_C(1483228800000000)},
	    {"\"1990-12-31T15:59:60-08:00\"", JSON_TIME_RFC3339, INT64_C(662688000000000)},
	    {"\"0001-01-01T00:00:00Z\"", JSON_TIME_RFC3339, INT64_C(-62135596800000000)},
	    {"\"9999-12-31T23:59:59.999999Z\"", JSON_TIME_RFC3339, INT64_C(253402300799999999)},
	    {"\"2026-11-22T08:37:00\\u005a\"", JSON_TIME_RFC3339, INT64_C(1795336620000000)},
	};
	check_times(cases, COUNT(cases));
}

static void malformed_rfc_3339_times_are_refused(void **unused)
{
	(void)unused;
	static const char *const texts[] = {"\"\"",
	                                    "\"2026\"",
	                                    "\"2026-11-22\"",
	                                    "\"2026-11-22T08:37:00\"",
	                                    "\"2026-11-22T08:37Z\"",
	                                    "\"2026-11-22T08:37:00.Z\"",
	                                    "\"2026-11-22T08:37:00,5Z\"",
	                                    "\"2026-11-22T08:37:00+0100\"",
	                                    "\"2026-11-22T08:37:00+01\"",
	                                    "\"2026-11-22T08:37:00+24:00\"",
	                                    "\"2026-11-22T08:37:00+01:60\"",
	                                    "\"2026-13-22T08:37:00Z\"",
	                                    "\"2026-00-22T08:37:00Z\"",
	                                    "\"2026-11-31T08:37:00Z\"",
	                                    "\"2026-11-00T08:37:00Z\"",
	                                    "\"2026-02-29T08:37:00Z\"",
	                                    "\"1900-02-29T08:37:00Z\"",
	                                    "\"2026-11-22T24:00:00Z\"",
	                                    "\"2026-11-22T08:60:00Z\"",
	                                    "\"2026-11-22T08:37:61Z\"",
	                                    "\"2026-11-22T08:37:60Z\"",
	                                    "\"2016-12-31T22:59:60Z\"",
	                                    "\"2026-11-22T08:37:00Zx\"",
	                                    "\" 2026-11-22T08:37:00Z\"",
	                                    "\"2026-11-22T08:37:00Z \"",
	                                    "\"+026-11-22T08:37:00Z\"",
	                                    "\"12026-11-22T08:37:00Z\"",
	                                    "\"2026-1-22T08:37:00Z\"",
	                                    "\"2026/11/22T08:37:00Z\"",
	                                    "\"0000-12-31T23:59:59Z\"",
	                                    "\"0000-01-01T00:00:00Z\"",
	                                    "\"0001-01-01T00:00:00+00:01\"",
	                                    "\"9999-12-31T23:59:59-00:01\"",
	                                    "\"9999-12-31T23:59:60Z\"",
	                                    "1795336620",
	                                    "null",
	                                    "true",
	                                    "{}",
	                                    "[]"};
	for (size_t i = 0; i < COUNT(texts); i++)
		check_times(&(struct time_case){texts[i], JSON_TIME_RFC3339, NO_TIME}, 1);
}

static void times_since_the_epoch_are_read_exactly(void **unused)
{
	(void)unused;
	static const struct time_case cases[] = {
	    {"0", JSON_TIME_UNIX, 0},
	    {"-0.0", JSON_TIME_UNIX, 0},
	    {"1795336620", JSON_TIME_UNIX, INT64_C(1795336620000000)},
	    {"\"1795336620\"", JSON_TIME_UNIX, INT64_C(1795336620000000)},
	    {"\"1795336620.25\"", JSON_TIME_UNIX, INT64_C(1795336620250000)},
	    {"1795336620.123456", JSON_TIME_UNIX, INT64_C(1795336620123456)},
	    {"1795336620.1234569999", JSON_TIME_UNIX, INT64_C(1795336620123456)},
	    {"1795336620.1", JSON_TIME_UNIX, INT64_C(1795336620100000)},
	    {"1.79533662e9", JSON_TIME_UNIX, INT64_C(1795336620000000)},
	    {"1.79533662E+09", JSON_TIME_UNIX, INT64_C(1795336620000000)},
	    {"1795336620000e-3", JSON_TIME_UNIX, INT64_C(1795336620000000)},
	    {"1795336620123", JSON_TIME_UNIX_MS, INT64_C(1795336620123000)},
	    {"1795336620123.456", JSON_TIME_UNIX_MS, INT64_C(1795336620123456)},
	    {"\"1795336620123\"", JSON_TIME_UNIX_MS, INT64_C(1795336620123000)},
	    {"1795336620123456", JSON_TIME_UNIX_US, INT64_C(1795336620123456)},
	    {"1795336620123456.9", JSON_TIME_UNIX_US, INT64_C(1795336620123456)},
	    {"9007199254740993", JSON_TIME_UNIX_US, INT64_C(9007199254740993)},
	    {"-1.5", JSON_TIME_UNIX, -1500000},
	    {"1e-999999999999999999999", JSON_TIME_UNIX, 0},
	    {"0e999999999999999999999", JSON_TIME_UNIX, 0},
	    {"0.000000000000000000000000000001e30", JSON_TIME_UNIX, 1000000},
	    {"253402300799.999999", JSON_TIME_UNIX, INT64_C(253402300799999999)},
	    {"-62135596800", JSON_TIME_UNIX, INT64_C(-62135596800000000)},
	};
	check_times(cases, COUNT(cases));
}

static void other_values_are_no_times_since_the_epoch(void **unused)
{
	(void)unused;
	static const char *const texts[] = {"\"\"",
	                                    "\"-\"",
	                                    "\"1.\"",
	                                    "\".5\"",
	                                    "\"1e\"",
	                                    "\"1e+\"",
	                                    "\"1x\"",
	                                    "\" 1\"",
	                                    "\"1 \"",
	                                    "\"+1\"",
	                                    "\"0x10\"",
	                                    "\"2026-11-22T08:37:00Z\"",
	                                    "253402300800",
	                                    "-62135596801",
	                                    "99999999999999999999",
	                                    "1e999",
	                                    "-1e999",
	                                    "1e99999999999999999999",
	                                    "9223372036854775807",
	                                    "18446744073709551616",
	                                    "null",
	                                    "true",
	                                    "false",
	                                    "[1]",
	                                    "{}"};
	for (size_t i = 0; i < COUNT(texts); i++)
		check_times(&(struct time_case){texts[i], JSON_TIME_UNIX, NO_TIME}, 1);
	struct json_value missing = {.type = JSON_INVALID};
	int64_t us;
	assert_false(json_time(&missing, JSON_TIME_UNIX, &us));
}

/* Day by day through ten thousand years, with a calendar that only counts. */
static void every_day_has_its_number(void **unused)
{
	(void)unused;
	int64_t day = -719162;
	for (int year = 1; year <= 9999; year++) {
		bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
		const int days[] = {31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
		for (int month = 1; month <= 12; month++) {
			for (int d = 1; d <= days[month - 1]; d++, day++) {
				char text[32];
				int len = snprintf(text, sizeof(text), "\"%04d-%02d-%02dT00:00:00Z\"", year, month, d);
				struct json_value v = {.type = JSON_STRING, .text = text, .len = (size_t)len};
				int64_t us = 1;
				assert_true(json_time(&v, JSON_TIME_RFC3339, &us));
				if (us != day * INT64_C(86400000000))
					fail_msg("%s: %lld", text, (long long)us);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rfc_3339_times_are_read),
	    cmocka_unit_test(malformed_rfc_3339_times_are_refused),
	    cmocka_unit_test(times_since_the_epoch_are_read_exactly),
	    cmocka_unit_test(other_values_are_no_times_since_the_epoch),
	    cmocka_unit_test(every_day_has_its_number),
	};
	return cmocka_run_group_tests_name("json_time", tests, NULL, NULL);
}
