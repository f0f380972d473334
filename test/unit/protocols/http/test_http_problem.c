/* The table of problems and its JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/json.h"
#include "protocols/http/http_problem.h"

static char out[4096];

static void member_is(const char *pointer, const char *value)
{
	struct json_pointer p;
	assert_true(json_pointer_init(&p, pointer));
	struct json_value v = json_find(out, strlen(out), &p);
	json_pointer_fini(&p);
	assert_int_equal(v.len, strlen(value));
	assert_memory_equal(v.text, value, v.len);
}

static void every_problem_is_complete_and_valid_json(void **state)
{
	(void)state;
	for (enum http_problem p = HTTP_FINE + 1; p < HTTP_PROBLEMS; p++) {
		const struct http_problem_row *row = &http_problem_rows[p];
		assert_non_null(row->slug);
		assert_in_range(row->status, 400, 599);
		size_t len = http_problem_write(out, HTTP_PROBLEM_TEXT, p, NULL, INT64_MAX, NULL);
		assert_int_equal(len, strlen(out));
		assert_int_equal(json_check(out, len, 4).type, JSON_OBJECT);
		char status[8];
		snprintf(status, sizeof(status), "%u", row->status);
		member_is("/status", status);
		for (enum http_problem other = HTTP_FINE + 1; other < p; other++)
			assert_string_not_equal(http_problem_rows[other].slug, row->slug);
	}
}

static void detail_offset_and_report_are_members(void **state)
{
	(void)state;
	size_t len = http_problem_write(out, sizeof(out), HTTP_BAD_PAYLOAD, "a \"quoted\" word", 17,
	                                "\"accepted\":0,\"rejected\":[]");
	assert_int_equal(json_check(out, len, 4).type, JSON_OBJECT);
	member_is("/detail", "\"a \\\"quoted\\\" word\"");
	member_is("/offset", "17");
	member_is("/accepted", "0");
	member_is("/rejected", "[]");
}

static void overlong_detail_does_not_break_the_answer(void **state)
{
	(void)state;
	char quotes[1000];
	memset(quotes, '"', sizeof(quotes) - 1);
	quotes[sizeof(quotes) - 1] = 0;
	size_t len = http_problem_write(out, HTTP_PROBLEM_TEXT, HTTP_BAD_DEVICE, quotes, 1, NULL);
	assert_int_equal(json_check(out, len, 4).type, JSON_OBJECT);
	memset(quotes, '\x01', sizeof(quotes) - 1);
	len = http_problem_write(out, HTTP_PROBLEM_TEXT, HTTP_BAD_DEVICE, quotes, 1, quotes);
	assert_int_equal(json_check(out, len, 4).type, JSON_OBJECT);
}

static void refusals_have_their_problem(void **state)
{
	(void)state;
	assert_int_equal(http_problem_of(REFUSED_PAYLOAD), HTTP_BAD_PAYLOAD);
	assert_int_equal(http_problem_of(REFUSED_NO_DEVICE), HTTP_NO_DEVICE);
	assert_int_equal(http_problem_of(REFUSED_DEVICE), HTTP_BAD_DEVICE);
	assert_int_equal(http_problem_of(REFUSED_CHANNEL), HTTP_BAD_CHANNEL);
	assert_int_equal(http_problem_of(REFUSED_TOO_LARGE), HTTP_PAYLOAD_TOO_LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_problem_is_complete_and_valid_json),
	    cmocka_unit_test(detail_offset_and_report_are_members),
	    cmocka_unit_test(overlong_detail_does_not_break_the_answer),
	    cmocka_unit_test(refusals_have_their_problem),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
