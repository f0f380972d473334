/* mqtt_ids.c against a plain array of flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/mqtt/mqtt_ids.h"

static void empty_set_is_null_and_has_nothing(void **state)
{
	(void)state;
	assert_false(mqtt_ids_has(NULL, 1));
	assert_false(mqtt_ids_remove(NULL, 1));
	assert_int_equal(mqtt_ids_count(NULL), 0);
	mqtt_ids_free(NULL);
}

static void a_large_set_loses_nothing_as_it_becomes_a_bitmap(void **state)
{
	(void)state;
	struct mqtt_ids *ids = NULL;
	uint16_t id = 1;
	for (size_t n = 1; n <= 3000; n++, id = (uint16_t)(id + 40009))
		assert_int_equal(mqtt_ids_add(&ids, id), GW_OK);
	id = 1;
	for (size_t n = 1; n <= 3000; n++, id = (uint16_t)(id + 40009)) {
		assert_true(mqtt_ids_has(ids, id));
		assert_true(mqtt_ids_remove(ids, id));
		assert_false(mqtt_ids_remove(ids, id));
		assert_int_equal(mqtt_ids_count(ids), 3000 - n);
	}
	mqtt_ids_free(ids);
}

static void all_identifiers_fit(void **state)
{
	(void)state;
	struct mqtt_ids *ids = NULL;
	for (uint32_t id = 1; id <= 65535; id++)
		assert_int_equal(mqtt_ids_add(&ids, (uint16_t)id), GW_OK);
	assert_int_equal(mqtt_ids_count(ids), 65535);
	for (uint32_t id = 1; id <= 65535; id++) {
		assert_true(mqtt_ids_remove(ids, (uint16_t)id));
		assert_false(mqtt_ids_has(ids, (uint16_t)id));
	}
	assert_int_equal(mqtt_ids_count(ids), 0);
	mqtt_ids_free(ids);
}

/* Random additions and removals from few identifiers, which collide, compared with the truth after each step. */
static void collisions_lose_and_invent_nothing(void **state)
{
	(void)state;
	struct mqtt_ids *ids = NULL;
	bool truth[256] = {false};
	uint32_t seed = 12345;
	for (int step = 0; step < 20000; step++) {
		seed = seed * 1664525 + 1013904223;
		unsigned n = seed >> 24;
		uint16_t id = (uint16_t)((n & 15) * 4096 + (n >> 4) + 1); /* sixteen that meet in each slot */
		if (truth[n]) {
			assert_true(mqtt_ids_remove(ids, id));
			truth[n] = false;
		} else if ((seed >> 16 & 7) < 3) {
			assert_false(mqtt_ids_remove(ids, id));
			assert_int_equal(mqtt_ids_add(&ids, id), GW_OK);
			truth[n] = true;
		}
		size_t count = 0;
		for (unsigned i = 0; i < 256; i++) {
			assert_int_equal(mqtt_ids_has(ids, (uint16_t)((i & 15) * 4096 + (i >> 4) + 1)), truth[i]);
			count += truth[i];
		}
		assert_int_equal(mqtt_ids_count(ids), count);
	}
	mqtt_ids_free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(empty_set_is_null_and_has_nothing),
	    cmocka_unit_test(a_large_set_loses_nothing_as_it_becomes_a_bitmap),
	    cmocka_unit_test(all_identifiers_fit),
	    cmocka_unit_test(collisions_lose_and_invent_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
