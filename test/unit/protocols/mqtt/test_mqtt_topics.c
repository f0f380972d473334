/* mqtt_topics.c: which device a topic speaks of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/mqtt/mqtt_topics.h"

#include "test/unit/guard.h"

/* The device that the templates (separated by spaces, up to 8) find in topic for the client "client". */
static void assert_device(const char *templates, const char *topic, const char *expected)
{
	char text[256], *items[8];
	struct string_list list = {items, 0};
	struct mqtt_topics t;
	strcpy(text, templates);
	for (char *p = strtok(text, " "); p != NULL; p = strtok(NULL, " "))
		items[list.count++] = p;
	assert_int_equal(mqtt_topics_init(&t, &list, NULL), GW_OK);
	size_t len = strlen(topic);
	struct mqtt_string device = mqtt_topics_device(&t, (struct mqtt_string){guard_copy(topic, len), len},
	                                               (struct mqtt_string){"client", 6});
	assert_int_equal(device.len, strlen(expected));
	assert_memory_equal(device.text, expected, device.len);
	mqtt_topics_fini(&t);
}

static void literal_levels_lead_to_the_device(void **state)
{
	(void)state;
	assert_device("devices/{device}/#", "devices/s1/temp", "s1");
	assert_device("devices/{device}/#", "devices/s1/a/b/c", "s1");
	assert_device("devices/{device}/...", "devices/s1/a/b/c", "s1");
	assert_device("devices/{device}/#", "device/s1/temp", "");
	assert_device("devices/{device}/#", "devicess/s1/temp", "");
	assert_device("devices/{device}/#", "devices", "");
	assert_device("{device}", "s1", "s1");
	assert_device("{device}", "s1/x", "");
	assert_device("a/{device}/state", "a/s1/state", "s1");
	assert_device("a/{device}/state", "a/s1/stat", "");
	assert_device("a/{device}/state", "a/s1", "");
	assert_device("a/{device}/state", "a/s1/state/x", "");
	assert_device("a/{device}/state", "a/s1/state/", "");
}

/* MQTT section 4.7.1.2: '#' includes the parent level. */
static void rest_may_be_nothing(void **state)
{
	(void)state;
	assert_device("devices/{device}/#", "devices/s1", "s1");
	assert_device("devices/{device}/#", "devices/s1/", "s1");
}

static void any_level_is_passed_over(void **state)
{
	(void)state;
	assert_device("+/{device}/+", "site7/s1/temp", "s1");
	assert_device("+/{device}/+", "/s1/", "s1");
	assert_device("+/{device}/+", "site7/s1", "");
}

static void device_level_is_never_empty(void **state)
{
	(void)state;
	assert_device("devices/{device}/#", "devices//temp", "");
	assert_device("devices/{device}/#", "devices/", "");
	assert_device("{device}/#", "/", "");
}

static void first_match_wins(void **state)
{
	(void)state;
	assert_device("a/{device} {device}/b", "a/b", "b");
	assert_device("{device}/b a/{device}", "a/b", "a");
	assert_device("devices/{device}/# {client_id}", "devices/s1/x", "s1");
	assert_device("devices/{device}/# {client_id}", "devices//x", "client");
	assert_device("devices/{device}/# {client_id}", "else", "client");
	assert_device("{client_id} devices/{device}/#", "devices/s1/x", "client");
}

/* MQTT section 4.7.2. */
static void wildcards_do_not_match_dollar_topics(void **state)
{
	(void)state;
	assert_device("{device}/#", "$SYS/broker", "");
	assert_device("+/{device}", "$SYS/broker", "");
	assert_device("$SYS/{device}", "$SYS/broker", "broker");
}

static void assert_refused(const char *text)
{
	char *item = (char *)(uintptr_t)text;
	struct string_list list = {&item, 1};
	struct mqtt_topics t;
	struct why why = {""};
	assert_int_equal(mqtt_topics_init(&t, &list, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, text));
	assert_int_equal(t.count, 0);
}

static void bad_templates_are_told(void **state)
{
	(void)state;
	assert_refused("devices/#");
	assert_refused("devices/+");
	assert_refused("{device}/{device}");
	assert_refused("devices/#/{device}");
	assert_refused("devices/x{device}");
	assert_refused("devices/{device}x/#");
	assert_refused("devices/{Device}/#");
	assert_refused("{client_id}/#");
	assert_refused("a+/{device}");
	assert_refused("");
	assert_refused("1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/{device}");
	struct mqtt_topics t;
	assert_int_equal(mqtt_topics_init(&t, &(struct string_list){NULL, 0}, NULL), GW_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(literal_levels_lead_to_the_device),
	    cmocka_unit_test(rest_may_be_nothing),
	    cmocka_unit_test(any_level_is_passed_over),
	    cmocka_unit_test(device_level_is_never_empty),
	    cmocka_unit_test(first_match_wins),
	    cmocka_unit_test(wildcards_do_not_match_dollar_topics),
	    cmocka_unit_test(bad_templates_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
