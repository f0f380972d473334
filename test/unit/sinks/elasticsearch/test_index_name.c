/* Names of indices: from the record alone, legal whatever a device says, and not without number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sinks/elasticsearch/index_name.h"
#include "test/unit/entry_fixture.h"

#define NOON 1795348800123456 /* 2026-11-22T12:00:00.123456Z */
#define HOUR 3600000000LL

static struct index_name name;

static void begin(const char *text, size_t max_targets)
{
	struct why why = {0};
	if (index_name_init(&name, text, "other-{yyyy}", max_targets, &why))
		fail_msg("%s", why.text);
}

static const char *of_at(int64_t time_us, const char *device, int64_t now_ms, bool own)
{
	uint8_t *entry = entry_make(time_us, device, "{}", 1);
	assert_int_equal(index_name_of(&name, entry, now_ms), own);
	name.name[name.len] = '\0';
	free(entry);
	return name.name;
}

static void day_is_the_records_own_in_utc(void **state)
{
	(void)state;
	begin("telemetry-{yyyy.MM.dd}", 1);
	assert_string_equal(of_at(NOON, "d", 0, true), "telemetry-2026.11.22");
	assert_string_equal(of_at(NOON + 12 * HOUR, "d", 0, true), "telemetry-2026.11.23");
	assert_string_equal(of_at(NOON + 11 * HOUR, "d", 0, true), "telemetry-2026.11.22");
	assert_string_equal(of_at(NOON - 13 * HOUR, "d", 0, true), "telemetry-2026.11.21");
	assert_string_equal(of_at(0, "d", 0, true), "telemetry-1970.01.01");
	assert_string_equal(of_at(-1, "d", 0, true), "telemetry-1969.12.31");
	index_name_fini(&name);
}

/* The name is kept for a span of time: at its edges a fresh one must be made. */
static void kept_name_is_always_the_one_a_fresh_start_would_make(void **state)
{
	(void)state;
	static const char *const texts[] = {"t-{yyyy}",  "t-{yyyy.MM}", "t-{yyyy.MM.dd}", "t-{yyyy.MM.dd-HH}",
	                                    "t-{HH.mm}", "t-{ss}",      "constant"};
	static const int64_t steps[] = {1,    999999,    1000000,   59000000,       60000000, HOUR - 1,
	                                HOUR, 23 * HOUR, 24 * HOUR, 31 * 24 * HOUR, -HOUR,    -1};
	for (size_t t = 0; t < sizeof(texts) / sizeof(*texts); t++) {
		int64_t at = NOON - NOON % (24 * HOUR) - 5000000;
		begin(texts[t], 1);
		for (size_t i = 0; i < 400; i++) {
			char kept[TEMPLATE_NAME_MAX + 1];
			snprintf(kept, sizeof(kept), "%s", of_at(at, "d", 0, true));
			struct index_name old = name;
			begin(texts[t], 1);
			assert_string_equal(kept, of_at(at, "d", 0, true));
			index_name_fini(&name);
			name = old;
			at += steps[i % (sizeof(steps) / sizeof(*steps))];
		}
		index_name_fini(&name);
	}
}

static void text_of_devices_is_escaped_to_legal_and_distinct_names(void **state)
{
	(void)state;
	begin("t.{device.id}", 100);
	assert_string_equal(of_at(NOON, "pump-7", 0, true), "t.pump-7");
	assert_string_equal(of_at(NOON, "Pump-7", 0, true), "t._50ump-7");
	assert_string_equal(of_at(NOON, "../_all,*", 0, true), "t._2e_2e_2f_5fall_2c_2a");
	assert_string_equal(of_at(NOON, "\xc3\xa9", 0, true), "t._c3_a9");
	index_name_fini(&name);
}

static void name_with_an_illegal_beginning_is_the_other(void **state)
{
	(void)state;
	begin("{device.id}", 100);
	assert_string_equal(of_at(NOON, "d", 0, true), "d");
	assert_string_equal(of_at(NOON, "-d", 0, false), "other-2026");
	assert_string_equal(of_at(NOON, "_d", 0, false), "other-2026");
	assert_string_equal(of_at(NOON, "D", 0, false), "other-2026");
	index_name_fini(&name);
}

static void over_the_limit_records_go_to_the_other_index_until_a_name_was_idle_for_a_day(void **state)
{
	(void)state;
	begin("t.{device.id}", 2);
	assert_string_equal(of_at(NOON, "a", 0, true), "t.a");
	assert_string_equal(of_at(NOON, "b", 1, true), "t.b");
	assert_string_equal(of_at(NOON, "c", 2, false), "other-2026");
	assert_string_equal(of_at(NOON, "a", TARGET_IDLE_MS, true), "t.a");
	assert_string_equal(of_at(NOON, "c", TARGET_IDLE_MS + 2, true), "t.c"); /* b made room */
	assert_string_equal(of_at(NOON, "b", TARGET_IDLE_MS + 3, false), "other-2026");
	index_name_fini(&name);
}

static void index_that_fails_is_left_alone_for_longer_each_time(void **state)
{
	(void)state;
	uint8_t *entry = entry_make(NOON, "a", "{}", 1);
	begin("t.{device.id}", 2);
	int64_t now = 1000, rest = INDEX_AWAY_FIRST_MS;
	for (int i = 0; i < 10; i++) {
		int64_t sent = now++;
		assert_true(index_name_away(&name, entry, sent, now));
		assert_true(index_name_away(&name, entry, sent, now + 1)); /* the same trouble */
		assert_string_equal(of_at(NOON, "a", now + rest - 1, false), "other-2026");
		assert_string_equal(of_at(NOON, "b", now + rest - 1, true), "t.b");
		now += rest;
		assert_string_equal(of_at(NOON, "a", now, true), "t.a");
		rest = rest * 2 < INDEX_AWAY_MOST_MS ? rest * 2 : INDEX_AWAY_MOST_MS;
	}
	index_name_fini(&name);
	free(entry);
}

static void other_index_that_fails_has_no_other(void **state)
{
	(void)state;
	uint8_t *entry = entry_make(NOON, "a", "{}", 1);
	begin("t.{device.id}", 2);
	assert_true(index_name_away(&name, entry, 999, 1000));
	assert_string_equal(of_at(NOON, "a", 1001, false), "other-2026");
	assert_false(index_name_away(&name, entry, 1001, 1002));
	index_name_fini(&name);
	free(entry);
}

static void without_fields_there_is_no_other_index(void **state)
{
	(void)state;
	uint8_t *entry = entry_make(NOON, "a", "{}", 1);
	begin("t-{yyyy}", 2);
	assert_false(index_name_away(&name, entry, 0, 1));
	assert_string_equal(of_at(NOON, "a", 0, true), "t-2026");
	index_name_fini(&name);
	free(entry);
}

static void refused(const char *text, const char *other, const char *because)
{
	struct index_name n;
	struct why why = {0};
	assert_int_equal(index_name_init(&n, text, other, 1, &why), GW_CONFIG);
	if (!strstr(why.text, because))
		fail_msg("\"%s\" does not say \"%s\"", why.text, because);
}

static void illegal_names_are_refused_at_the_start(void **state)
{
	(void)state;
	refused("Telemetry", NULL, "'T' is not allowed");
	refused("_all", NULL, "index");
	refused("-x", NULL, "index");
	refused(".hidden", NULL, "index");
	refused("a b", NULL, "' '");
	refused("a,b", NULL, "','");
	refused("a*", NULL, "'*'");
	refused("", NULL, "index");
	refused(NULL, NULL, "index");
	refused("t.{device.id}", NULL, "fallback_index");
	refused("t.{device.id}", "o.{device.id}", "no fields");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(day_is_the_records_own_in_utc),
	    cmocka_unit_test(kept_name_is_always_the_one_a_fresh_start_would_make),
	    cmocka_unit_test(text_of_devices_is_escaped_to_legal_and_distinct_names),
	    cmocka_unit_test(name_with_an_illegal_beginning_is_the_other),
	    cmocka_unit_test(over_the_limit_records_go_to_the_other_index_until_a_name_was_idle_for_a_day),
	    cmocka_unit_test(index_that_fails_is_left_alone_for_longer_each_time),
	    cmocka_unit_test(other_index_that_fails_has_no_other),
	    cmocka_unit_test(without_fields_there_is_no_other_index),
	    cmocka_unit_test(illegal_names_are_refused_at_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
