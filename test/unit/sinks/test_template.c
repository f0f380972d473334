/* Templates of names, and the bounded set of targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sinks/kafka/kafka_message.h"
#include "sinks/targets.h"
#include "sinks/template.h"
#include "test/unit/entry_fixture.h"

#define NOON 1795348800123456 /* 2026-11-22T12:00:00.123456Z */

/* The name that a template makes of a record; "" for none. */
static const char *named(const char *text, const char *device, const char *payload)
{
	static char name[TEMPLATE_NAME_MAX + 1];
	struct template t;
	struct why why = {0};
	enum gw_err err = template_init(&t, text, &kafka_topic_rules, &why);
	if (err)
		fail_msg("%s", why.text);
	uint8_t *entry = entry_make(NOON, device, payload, 1);
	size_t len = template_render(&t, entry, name);
	assert_int_equal(len, len ? strlen(name) : 0);
	if (len == 0)
		name[0] = '\0';
	free(entry);
	template_fini(&t);
	return name;
}

static void refused(const char *text, const char *because)
{
	struct template t;
	struct why why = {0};
	assert_int_equal(template_init(&t, text, &kafka_topic_rules, &why), GW_CONFIG);
	if (!strstr(why.text, because))
		fail_msg("%s does not say %s", why.text, because);
}

static void text_without_braces_is_the_name(void **state)
{
	(void)state;
	struct template t;
	assert_int_equal(template_init(&t, "sluice.telemetry", &kafka_topic_rules, NULL), GW_OK);
	assert_true(template_constant(&t));
	template_fini(&t);
	assert_string_equal(named("sluice.telemetry", "d", "{}"), "sluice.telemetry");
}

static void time_is_the_records_in_utc(void **state)
{
	(void)state;
	assert_string_equal(named("telemetry-{yyyy.MM.dd}", "d", "{}"), "telemetry-2026.11.22");
	assert_string_equal(named("{yyyy-MM-dd_HH.mm.ss}", "d", "{}"), "2026-11-22_12.00.00");
	assert_string_equal(named("{yyyy}{MM}.{dd}", "d", "{}"), "202611.22");
}

static void fields_are_found_by_path_and_by_pointer(void **state)
{
	(void)state;
	assert_string_equal(named("t.{device.id}", "sensor-42", "{}"), "t.sensor-42");
	assert_string_equal(named("{network.protocol}.{sluice.listener}", "d", "{}"), "tcp.line");
	assert_string_equal(named("{sluice.channel}", "d", "{}"), "a_2fb");
	assert_string_equal(named("{payload.site.name}", "d", "{\"site\":{\"name\":\"north\"}}"), "north");
	assert_string_equal(named("{/payload/a.b}", "d", "{\"a.b\":\"x\"}"), "x");
	assert_string_equal(named("{payload.n}.{payload.t}", "d", "{\"n\":-17,\"t\":true}"), "-17.true");
	assert_string_equal(named("{payload.s}", "d", "{\"s\":\"\\u0041\\n\"}"), "A_0a");
	assert_string_equal(named("t.{device.id}", "a\\\"b", "{}"), "t.a_22b");
}

static void what_is_missing_takes_the_stand_in_or_nothing(void **state)
{
	(void)state;
	assert_string_equal(named("t.{payload.site}", "d", "{}"), "");
	assert_string_equal(named("t.{payload.site}", "d", "{\"site\":\"\"}"), "");
	assert_string_equal(named("t.{payload.site}", "d", "{\"site\":null}"), "");
	assert_string_equal(named("t.{payload.site}", "d", "{\"site\":{\"a\":1}}"), "");
	assert_string_equal(named("t.{payload.site|none}", "d", "{}"), "t.none");
	assert_string_equal(named("t.{payload.site|none}", "d", "{\"site\":\"x\"}"), "t.x");
}

static void names_too_long_are_none(void **state)
{
	(void)state;
	char payload[4096], value[2048];
	memset(value, 'x', 247);
	value[247] = '\0';
	snprintf(payload, sizeof(payload), "{\"s\":\"%s\"}", value);
	assert_int_equal(strlen(named("t.{payload.s}", "d", payload)), 249);
	snprintf(payload, sizeof(payload), "{\"s\":\"%sx\"}", value);
	assert_string_equal(named("t.{payload.s}", "d", payload), "");
	value[246] = '/'; /* three bytes where one was */
	snprintf(payload, sizeof(payload), "{\"s\":\"%s\"}", value);
	assert_string_equal(named("t.{payload.s}", "d", payload), "");
	memset(value, 'x', 2000);
	value[2000] = '\0';
	snprintf(payload, sizeof(payload), "{\"s\":\"%s\"}", value);
	assert_string_equal(named("t.{payload.s|none}", "d", payload), "");
}

static void mistakes_are_told(void **state)
{
	(void)state;
	refused("", "1 to 249 bytes");
	refused("a b", "' ' is not allowed");
	refused("t/{device.id}", "'/' is not allowed");
	refused("t.{devcie.id}", "{devcie.id} is neither a time like {yyyy.MM.dd} nor a field");
	refused("t.{YYYY.MM.dd}", "neither a time");
	refused("t.{", "without a field");
	refused("t.{}", "without a field");
	refused("t.{a{b}}", "without a field");
	refused("t.device.id}", "'}' is not allowed");
	refused("{payload.x|a b}", "' ' is not allowed");
	refused("{/payload/~2}", "neither");
	refused(".", "not a legal name");
	refused("..", "not a legal name");
}

static bool legal_topic(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len <= 249 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

/* Every byte string of length 1, and all of length 2 over an alphabet that holds the escape's own characters: all names
 * legal, and none twice, not even for a broker that takes '.' for '_'. */
static void escaping_is_injective(void **state)
{
	(void)state;
	static const char alphabet[] = "_.-/ 25fFab";
	static char seen[600][16];
	size_t count = 0;
	for (int length = 1; length <= 2; length++)
		for (size_t i = 0; i < (length == 1 ? 127 : 121); i++) {
			char text[3] = {0}, device[16];
			text[0] = length == 1 ? (char)(i + 1) : alphabet[i / 11];
			if (length == 2)
				text[1] = alphabet[i % 11];
			if (length == 1 && strchr(alphabet, text[0]) && text[0] != '"')
				continue; /* those with two come below */
			device[json_escape(device, text, strlen(text))] = '\0';
			const char *name = named("{device.id}", device, "{}");
			assert_true(legal_topic(name));
			assert_null(strchr(name, '.'));
			for (size_t j = 0; j < count; j++)
				assert_string_not_equal(seen[j], name);
			snprintf(seen[count++], sizeof(seen[0]), "%s", name);
		}
	assert_true(count > 230);
}

static void fields_with_a_dot_between_stay_distinct(void **state)
{
	(void)state;
	char first[TEMPLATE_NAME_MAX + 1];
	snprintf(first, sizeof(first), "%s", named("{device.id}.{payload.s}", "a.b", "{\"s\":\"c\"}"));
	assert_string_equal(first, "a_2eb.c");
	assert_string_not_equal(named("{device.id}.{payload.s}", "a", "{\"s\":\"b.c\"}"), first);
}

static void internal_topics_of_the_broker_cannot_be_reached(void **state)
{
	(void)state;
	assert_string_equal(named("{device.id}", "__consumer_offsets", "{}"), "_5f_5fconsumer_5foffsets");
	assert_string_equal(named("{device.id}", "..", "{}"), "_2e_2e");
}

/* -- targets -- */

static unsigned released;

static void release(void *context, struct target *t)
{
	(void)context;
	(void)t;
	released++;
}

static void targets_are_bounded_and_found_again(void **state)
{
	(void)state;
	struct targets t = {.max = 3};
	struct target *a = targets_take(&t, "b", 1, 0, 0), *b = targets_take(&t, "a", 1, 0, 0),
	              *c = targets_take(&t, "ab", 2, 0, 0);
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	assert_null(targets_take(&t, "c", 1, 0, 0));
	assert_ptr_equal(targets_take(&t, "b", 1, 0, 0), a);
	assert_ptr_equal(targets_take(&t, "a", 1, 0, 0), b);
	assert_ptr_equal(targets_take(&t, "ab", 2, 0, 0), c);
	targets_fini(&t);
}

static void idle_target_makes_room(void **state)
{
	(void)state;
	struct targets t = {.max = 2, .release = release};
	released = 0;
	targets_take(&t, "old", 3, 100, 0);
	targets_take(&t, "new", 3, 200, 0);
	assert_null(targets_take(&t, "x", 1, 300, 100)); /* nobody is idle since before 100 */
	targets_take(&t, "old", 3, 300, 0);              /* now "new" is the one unused longest */
	assert_null(targets_take(&t, "x", 1, 300, 200));
	assert_non_null(targets_take(&t, "x", 1, 300, 201));
	assert_int_equal(released, 1);
	assert_null(targets_take(&t, "new", 3, 300, 201));
	assert_non_null(targets_take(&t, "old", 3, 300, 0));
	targets_fini(&t);
	assert_int_equal(released, 3);
}

static void many_targets_stay_sorted(void **state)
{
	(void)state;
	struct targets t = {.max = 1000};
	char name[16];
	for (unsigned i = 0; i < 1000; i++) {
		int len = snprintf(name, sizeof(name), "%u", i * 7919 % 1000);
		assert_non_null(targets_take(&t, name, (size_t)len, 0, 0));
	}
	assert_int_equal(t.count, 1000);
	for (unsigned i = 0; i < 1000; i++) {
		int len = snprintf(name, sizeof(name), "%u", i);
		struct target *found = targets_take(&t, name, (size_t)len, 1, 0);
		assert_non_null(found);
		assert_string_equal(found->name, name);
		assert_true(i == 0 || strcmp(t.items[i - 1]->name, t.items[i]->name) < 0);
	}
	assert_null(targets_take(&t, "x", 1, 1, 0));
	targets_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_without_braces_is_the_name),
	    cmocka_unit_test(time_is_the_records_in_utc),
	    cmocka_unit_test(fields_are_found_by_path_and_by_pointer),
	    cmocka_unit_test(what_is_missing_takes_the_stand_in_or_nothing),
	    cmocka_unit_test(names_too_long_are_none),
	    cmocka_unit_test(mistakes_are_told),
	    cmocka_unit_test(escaping_is_injective),
	    cmocka_unit_test(fields_with_a_dot_between_stay_distinct),
	    cmocka_unit_test(internal_topics_of_the_broker_cannot_be_reached),
	    cmocka_unit_test(targets_are_bounded_and_found_again),
	    cmocka_unit_test(idle_target_makes_room),
	    cmocka_unit_test(many_targets_stay_sorted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
