/* The command line of a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "load/line.h"
#include "load/protocol.h"

#define LINE(...) (char *[]){"run", __VA_ARGS__, NULL}, (int)(sizeof((char *[]){"run", __VA_ARGS__}) / sizeof(char *))

static struct load_line line;
static struct why why;

static enum gw_err read_line(char **argv, int argc)
{
	line_free(&line);
	memset(&why, 0, sizeof(why));
	return line_read(&line, argc, argv, NULL, NULL, &why);
}

static void values_are_read_in_every_form(void **state)
{
	(void)state;
	assert_int_equal(read_line(LINE("-c10", "mqtt://h:1", "--rate=1.5k", "-t", "90s", "--json", "f", "--fail-if",
	                                "a", "--fail-if", "b")),
	                 GW_OK);
	const struct load_plan *p = line.plans;
	assert_int_equal(line.plan_count, 1);
	assert_int_equal(p->connections, 10);
	assert_int_equal(p->shape.kind, SHAPE_RATE);
	assert_true(p->shape.from == 1500);
	assert_int_equal(p->duration_us, 90000000);
	assert_string_equal(line.outputs.json, "f");
	assert_int_equal(line.outputs.fail_if_count, 2);
	assert_int_equal(p->qos, 1); /* the protocol's own */
	assert_int_equal(p->window, 100);
}

static void targets_are_taken_apart(void **state)
{
	(void)state;
	assert_int_equal(read_line(LINE("https://[::1]:444/a/{device}?x=1", "coap://host", "tls://h", "-n", "1")),
	                 GW_OK);
	assert_int_equal(line.plan_count, 3);
	assert_string_equal(line.plans[0].host, "::1");
	assert_string_equal(line.plans[0].port, "444");
	assert_string_equal(line.plans[0].path, "/a/{device}?x=1");
	assert_true(line.plans[0].tls && line.plans[0].protocol == &load_http);
	assert_string_equal(line.plans[1].port, "5683");
	assert_false(line.plans[1].tls);
	assert_true(line.plans[2].tls && line.plans[2].protocol == &load_tcp);
}

static void what_stands_behind_a_target_is_its_own(void **state)
{
	(void)state;
	assert_int_equal(read_line(LINE("mqtt://h#qos=2,window=5", "mqtt://h", "-n", "7", "-w", "9")), GW_OK);
	assert_int_equal(line.plans[0].qos, 2);
	assert_int_equal(line.plans[0].window, 5);
	assert_int_equal(line.plans[1].qos, 1);
	assert_int_equal(line.plans[1].window, 9);
	assert_int_equal(line.plans[0].count, 7);
	assert_string_equal(line.plans[0].target, "mqtt://h");
}

static void passwords_do_not_get_into_the_report(void **state)
{
	(void)state;
	assert_int_equal(read_line(LINE("mqtt://h", "-n", "1", "--user", "u", "--password", "secret")), GW_OK);
	assert_null(strstr(line.command, "secret"));
	assert_int_equal(read_line(LINE("mqtt://h", "-n", "1", "--user", "u", "--password=secret")), GW_OK);
	assert_null(strstr(line.command, "secret"));
}

static void what_is_wrong_is_told_with_a_way_out(void **state)
{
	(void)state;
	static const struct {
		const char *args[8], *words;
	} wrong[] = {
	    {{"mqtt://h"}, "--duration"},
	    {{"-n", "1"}, "no target"},
	    {{"mqtt://h", "--cuont", "1"}, "did you mean --count?"},
	    {{"mqtt://h", "-n"}, "needs a value"},
	    {{"mqtt://h", "-n", "1", "--raw=1"}, "takes no value"},
	    {{"mqtt://h", "-n", "1.5"}, "whole number"},
	    {{"mqtt://h", "-t", "5"}, "--duration"},
	    {{"nothing", "-n", "1"}, "SCHEME://"},
	    {{"mqtt://:1", "-n", "1"}, "host"},
	    {{"mqtt://u:p@h", "-n", "1"}, "--user"},
	    {{"mqtt://h/topic", "-n", "1"}, "--topic"},
	    {{"mqtt://h#qos=9", "-n", "1"}, "--qos"},
	    {{"coap://h", "-n", "1", "--batch", "5"}, "--batch"},
	    {{"http://h", "-n", "1", "--window", "5"}, "--batch"},
	    {{"mqtt://h", "-n", "1", "-c", "5", "-d", "3"}, "--devices"},
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char *argv[9] = {"run"};
		int argc = 1;
		for (; argc < 9 - 1 && wrong[i].args[argc - 1]; argc++)
			argv[argc] = (char *)(uintptr_t)wrong[i].args[argc - 1];
		assert_int_equal(read_line(argv, argc), GW_CONFIG);
		if (!strstr(why.text, wrong[i].words))
			fail_msg("%zu: %s", i, why.text);
	}
	line_free(&line);
}

static void the_help_has_every_option_in_lines_that_fit(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	line_help(f, NULL, NULL);
	fclose(f);
	assert_non_null(strstr(text, "  -c, --connections N "));
	assert_non_null(strstr(text, "--fail-if CONDITION"));
	for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1)
		assert_true(end - at <= 118);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values_are_read_in_every_form),
	    cmocka_unit_test(targets_are_taken_apart),
	    cmocka_unit_test(what_stands_behind_a_target_is_its_own),
	    cmocka_unit_test(passwords_do_not_get_into_the_report),
	    cmocka_unit_test(what_is_wrong_is_told_with_a_way_out),
	    cmocka_unit_test(the_help_has_every_option_in_lines_that_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
