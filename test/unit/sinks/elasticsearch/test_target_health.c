/* Which indices are in trouble. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sinks/elasticsearch/target_health.h"

static void an_index_that_refuses_devices_and_shapes_alike_is_at_fault(void **state)
{
	(void)state;
	static struct targets_health t;
	struct target_health *h = target_health_get(&t, "a", 1, 1);
	for (int i = 0; i < 50; i++) /* one kind of record, or one device, proves nothing */
		assert_false(target_health_refuse(&t, h, (uint64_t)i, 7, 2));
	target_health_take(&t, h, 3);
	assert_int_equal(t.suspected, 0);
	for (int i = 0; i < 50; i++)
		assert_false(target_health_refuse(&t, h, 7, (uint64_t)i, 4));
	assert_false(target_health_refuse(&t, h, 8, 1, 4));
	assert_true(target_health_refuse(&t, h, 9, 1, 4));
	assert_int_equal(h->refused_ms, 4);
	target_health_take(&t, h, 5); /* what it took proves the contrary */
	assert_false(target_health_refuse(&t, h, 9, 2, 6));
}

static void trouble_ends_when_it_takes_a_record_or_nobody_asks_any_more(void **state)
{
	(void)state;
	static struct targets_health t;
	struct target_health *a = target_health_get(&t, "a", 1, 1), *b = target_health_get(&t, "ab", 2, 1);
	assert_ptr_equal(target_health_find(&t, "abc", 1), a);
	assert_ptr_equal(target_health_find(&t, "abc", 2), b);
	assert_null(target_health_find(&t, "abc", 3));
	assert_true(target_health_fail(&t, a, TARGET_AWAY, "r", 10));
	assert_false(target_health_fail(&t, a, TARGET_AWAY, "r", 11));
	assert_true(target_health_fail(&t, b, TARGET_REFUSES, "s", 20));
	assert_int_equal(t.troubled, 2);
	target_health_wait(a, 100, 300, 1000);
	assert_int_equal(a->hold_ms, 100);
	target_health_wait(a, 100, 300, 1099); /* more records of the same answer */
	assert_int_equal(a->hold_ms, 100);
	target_health_wait(a, 100, 300, 1100);
	target_health_wait(a, 100, 300, 2000);
	assert_int_equal(a->hold_ms, 300);
	assert_true(target_health_expire(&t, 15));
	assert_int_equal(t.troubled, 1);
	assert_true(target_health_take(&t, b, 30));
	assert_false(target_health_take(&t, b, 31));
	assert_int_equal(t.troubled, 0);
}

static void a_place_is_taken_from_what_is_fine_and_never_from_trouble(void **state)
{
	(void)state;
	static struct targets_health t;
	char name[32];
	for (unsigned i = 0; i < 3 * TARGET_HEALTH_MAX; i++) {
		snprintf(name, sizeof(name), "i%u", i);
		struct target_health *h = target_health_get(&t, name, strlen(name), i + 1);
		assert_non_null(h);
		target_health_refuse(&t, h, 1, 1, i + 1);
		assert_true(t.suspected <= TARGET_HEALTH_MAX);
	}
	for (size_t i = 0; i < t.count; i++)
		target_health_fail(&t, &t.items[i], TARGET_AWAY, "r", 1000);
	assert_null(target_health_get(&t, "another", 7, 1001));
}

#define RECORD(device, payload)                                                                                        \
	"{\"@timestamp\":\"2026-11-30T12:00:00Z\",\"device\":{\"id\":\"" device "\"},\"payload\":" payload "}"

static uint64_t shape(const char *json)
{
	return target_health_shape(json, strlen(json));
}
static uint64_t device(const char *json)
{
	return target_health_device(json, strlen(json));
}

static void shape_is_names_and_types_and_not_values(void **state)
{
	(void)state;
	assert_int_equal(shape(RECORD("a", "{\"t\":21.5,\"n\":\"x\"}")),
	                 shape(RECORD("b", "{\"t\":-1e3,\"n\":\"y\\\"z:\"}")));
	assert_int_not_equal(shape(RECORD("a", "{\"t\":21.5}")), shape(RECORD("a", "{\"u\":21.5}")));
	assert_int_not_equal(shape(RECORD("a", "{\"t\":21.5}")), shape(RECORD("a", "{\"t\":\"21.5\"}")));
	assert_int_not_equal(shape(RECORD("a", "{\"t\":21.5}")), shape(RECORD("a", "{\"t\":{\"c\":21.5}}")));
	assert_int_equal(device(RECORD("a", "{}")), device(RECORD("a", "{\"t\":1}")));
	assert_int_not_equal(device(RECORD("a", "{}")), device(RECORD("b", "{}")));
	assert_int_equal(device("{}"), 0);
	for (size_t len = 0; len < 60; len++) /* cut anywhere */
		target_health_shape(RECORD("a", "{\"t\":\"\\\\\"}"), len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_index_that_refuses_devices_and_shapes_alike_is_at_fault),
	    cmocka_unit_test(trouble_ends_when_it_takes_a_record_or_nobody_asks_any_more),
	    cmocka_unit_test(a_place_is_taken_from_what_is_fine_and_never_from_trouble),
	    cmocka_unit_test(shape_is_names_and_types_and_not_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
