/* Texts with holes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "load/payload.h"

static const char device[64] = "dev-7", when[64] = "2026-11-26T17:00:00.123Z";

static struct payload *opened(struct payload_plan plan)
{
	struct payload *p;
	struct why why = {0};
	plan.len = strlen(plan.text);
	plan.run = "RUN";
	if (payload_open(&p, &plan, &why) != GW_OK)
		fail_msg("%s", why.text);
	return p;
}

/* The text of one message; static. */
static const char *text(const struct payload *p, uint64_t n, uint64_t seq)
{
	static char *out;
	struct payload_facts f = {
	    .device = device, .device_len = 5, .time = when, .time_len = 24, .seq = seq, .n = n, .connection = 3};
	free(out);
	out = malloc(payload_max(p, 5)); /* exactly: the sanitizer sees a byte more */
	size_t len = payload_put(p, &f, (uint8_t *)out);
	assert_true(len < payload_max(p, 5));
	out[len] = 0;
	return out;
}

static const char *put(struct payload_plan plan, uint64_t n, uint64_t seq)
{
	struct payload *p = opened(plan);
	const char *t = text(p, n, seq);
	payload_close(p);
	return t;
}

static enum gw_err refused(const char *template, bool identity, const char *size, bool one_line)
{
	struct payload *p;
	struct why why;
	struct payload_plan plan = {.text = template,
	                            .len = strlen(template),
	                            .run = "R",
	                            .identity = identity,
	                            .size = size,
	                            .one_line = one_line};
	enum gw_err err = payload_open(&p, &plan, &why);
	if (!err)
		payload_close(p);
	return err;
}

static void holes_are_filled(void **state)
{
	(void)state;
	assert_string_equal(
	    put((struct payload_plan){.text = "{device}/{seq}/{run}/{connection}/{n}/{time}"}, 42, 1234567),
	    "dev-7/1234567/RUN/3/000042/2026-11-26T17:00:00.123Z");
	assert_string_equal(put((struct payload_plan){.text = "{n}{n}"}, 12345678, 0), "1234567812345678");
	assert_string_equal(put((struct payload_plan){.text = "{n}"}, 0, 0), "000000");
	assert_string_equal(put((struct payload_plan){.text = "{seq}"}, 0, UINT64_MAX), "18446744073709551615");
}

static void other_braces_are_themselves(void **state)
{
	(void)state;
	assert_string_equal(put((struct payload_plan){.text = "{\"a\":{},\"b\":{ }}{"}, 0, 0), "{\"a\":{},\"b\":{ }}{");
}

static void identity_is_put_in(void **state)
{
	(void)state;
	assert_string_equal(
	    put((struct payload_plan){.text = " {\"a\":1} ", .identity = true}, 0, 9),
	    " {\"device\":\"dev-7\",\"load\":{\"run\":\"RUN\",\"device\":\"dev-7\",\"seq\":9},\"a\":1}");
	assert_string_equal(put((struct payload_plan){.text = "{ }", .identity = true}, 0, 9),
	                    "{\"device\":\"dev-7\",\"load\":{\"run\":\"RUN\",\"device\":\"dev-7\",\"seq\":9} }");
	assert_string_equal(put((struct payload_plan){.text = "{\"device\":\"x\"}", .identity = true}, 0, 9),
	                    "{\"load\":{\"run\":\"RUN\",\"device\":\"dev-7\",\"seq\":9},\"device\":\"x\"}");
}

static void telemetry_is_valid_and_of_about_180_bytes(void **state)
{
	(void)state;
	struct payload *p = opened((struct payload_plan){.text = PAYLOAD_TELEMETRY, .identity = true});
	size_t sum = 0;
	for (uint64_t seq = 0; seq < 5000; seq++) {
		const char *t = text(p, seq % 7, seq);
		assert_int_equal(json_check(t, strlen(t), 8).type, JSON_OBJECT);
		sum += strlen(t);
	}
	assert_in_range(sum / 5000, 165, 195);
	payload_close(p);
}

static void a_walk_wanders_in_small_steps_within_its_range(void **state)
{
	(void)state;
	struct payload *p = opened((struct payload_plan){.text = "{walk:-20.00:45.0}"});
	double before = strtod(text(p, 5, 0), NULL), least = before, most = before;
	for (uint64_t seq = 1; seq < 5000; seq++) {
		const char *t = text(p, 5, seq);
		double v = strtod(t, NULL);
		assert_int_equal(strlen(strchr(t, '.')), 3);
		assert_true(v >= -20 && v <= 45 && v - before < 1.5 && before - v < 1.5);
		least = v < least ? v : least;
		most = v > most ? v : most;
		before = v;
	}
	assert_true(most - least > 10);
	payload_close(p);
}

static void random_values_are_what_was_asked_for(void **state)
{
	(void)state;
	struct payload *p = opened((struct payload_plan){.text = "{random:3:5} {random:a|bc|} {random:hex:6}"});
	unsigned seen = 0;
	for (uint64_t seq = 0; seq < 1000; seq++) {
		int v, end = 0;
		char choice[8] = "", hex[8];
		const char *t = text(p, 0, seq);
		assert_int_equal(sscanf(t, "%d %n", &v, &end), 1);
		assert_in_range(v, 3, 5);
		const char *space = strchr(t + 2, ' ');
		snprintf(choice, sizeof(choice), "%.*s", (int)(space - t - 2), t + 2);
		seen |= !strcmp(choice, "a") ? 1u : !strcmp(choice, "bc") ? 2u : !*choice ? 4u : 8u;
		snprintf(hex, sizeof(hex), "%s", space + 1);
		assert_int_equal(strspn(hex, "0123456789abcdef"), 6);
	}
	assert_int_equal(seen, 7);
	payload_close(p);
}

static void the_same_message_is_the_same_twice(void **state)
{
	(void)state;
	struct payload_plan plan = {.text = PAYLOAD_TELEMETRY, .identity = true, .size = "200-900", .seed = 5};
	char *first = strdup(put(plan, 3, 77));
	assert_string_equal(put(plan, 3, 77), first);
	assert_string_not_equal(put(plan, 3, 78), first);
	free(first);
}

static void sizes_are_met(void **state)
{
	(void)state;
	struct payload *p =
	    opened((struct payload_plan){.text = "{\"a\":{seq}}", .identity = true, .size = "100,500,3000"});
	unsigned seen = 0;
	for (uint64_t seq = 0; seq < 100; seq++) {
		const char *t = text(p, 0, seq);
		assert_int_equal(json_check(t, strlen(t), 8).type, JSON_OBJECT);
		seen |= strlen(t) == 100 ? 1u : strlen(t) == 500 ? 2u : strlen(t) == 3000 ? 4u : 8u;
	}
	assert_int_equal(seen, 7);
	payload_close(p);
	assert_int_equal(strlen(put((struct payload_plan){.text = "abc", .size = "64"}, 0, 0)), 64);
	/* too small for what is in it: as long as it is, and whole */
	assert_string_equal(put((struct payload_plan){.text = "{\"abc\":1}", .size = "5"}, 0, 0), "{\"abc\":1}");
}

static void line_ends_become_spaces(void **state)
{
	(void)state;
	assert_string_equal(put((struct payload_plan){.text = "{\n\"a\":\r\n1}", .one_line = true}, 0, 0),
	                    "{ \"a\":  1}");
}

static void what_cannot_be_is_refused(void **state)
{
	(void)state;
	assert_int_equal(refused("hello", true, NULL, false), GW_CONFIG);
	assert_int_equal(refused("[1]", true, NULL, false), GW_CONFIG);
	assert_int_equal(refused("{\"a\":{sequence}}", true, NULL, false), GW_CONFIG);
	assert_int_equal(refused("{walk:5:1}", false, NULL, false), GW_CONFIG);
	assert_int_equal(refused("{walk:a}", false, NULL, false), GW_CONFIG);
	assert_int_equal(refused("a\nb", false, NULL, true), GW_CONFIG);
	static const char *const sizes[] = {"", "x", "9-", "9-5", "1,2-3", "99999999999", "1,,2"};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		assert_int_equal(refused("x", false, sizes[i], false), GW_CONFIG);
}

static void digits_are_those_of_printf(void **state)
{
	(void)state;
	uint8_t out[32];
	char expected[32];
	for (uint64_t v = 1, i = 0; i < 20; i++, v *= 10)
		for (uint64_t d = v - 1; d <= v + 1; d++) {
			size_t len = payload_digits(out, d);
			assert_int_equal(len, snprintf(expected, sizeof(expected), "%llu", (unsigned long long)d));
			assert_memory_equal(out, expected, len);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(holes_are_filled),
	    cmocka_unit_test(other_braces_are_themselves),
	    cmocka_unit_test(identity_is_put_in),
	    cmocka_unit_test(telemetry_is_valid_and_of_about_180_bytes),
	    cmocka_unit_test(a_walk_wanders_in_small_steps_within_its_range),
	    cmocka_unit_test(random_values_are_what_was_asked_for),
	    cmocka_unit_test(the_same_message_is_the_same_twice),
	    cmocka_unit_test(sizes_are_met),
	    cmocka_unit_test(line_ends_become_spaces),
	    cmocka_unit_test(what_cannot_be_is_refused),
	    cmocka_unit_test(digits_are_those_of_printf),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
