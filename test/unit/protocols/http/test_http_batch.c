/* Splitting batches: every item where it lies, with its line and offset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/http/http_batch.h"
#include "test/unit/guard.h"

/* Items as "line@offset:text", one after the other, separated by |. */
static const char *split(struct http_batch *b)
{
	static char out[4096];
	struct http_item item;
	size_t n = 0;
	out[0] = 0;
	while (http_batch_next(b, &item))
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%zu@%zu:%.*s", n ? "|" : "", item.line, item.offset,
		                      (int)item.len, item.text);
	return out;
}

static const char *lines(const char *text)
{
	struct http_batch b;
	http_batch_lines(&b, guard_copy(text, strlen(text)), strlen(text));
	return split(&b);
}

static const char *array(const char *text)
{
	const char *copy = guard_copy(text, strlen(text));
	struct json_result checked = json_check(copy, strlen(text), 32);
	struct http_batch b;
	if (checked.type != JSON_ARRAY)
		fail_msg("no array: %s", text);
	http_batch_array(&b, copy, &checked);
	return split(&b);
}

static void lines_end_at_lf_or_crlf_or_the_end(void **state)
{
	(void)state;
	assert_string_equal(lines("{}\n[1]\r\n3"), "1@0:{}|2@3:[1]|3@8:3");
	assert_string_equal(lines("{}\n"), "1@0:{}");
	assert_string_equal(lines("{}"), "1@0:{}");
}

static void blank_lines_are_passed_over_and_counted(void **state)
{
	(void)state;
	assert_string_equal(lines("\n\r\n  \t\n1\n\n2"), "4@7:1|6@10:2");
	assert_string_equal(lines(""), "");
	assert_string_equal(lines("\n\n \r\n"), "");
}

static void carriage_return_inside_a_line_stays(void **state)
{
	(void)state;
	assert_string_equal(lines("a\rb\r\r\nc"), "1@0:a\rb\r|2@6:c");
}

static void elements_are_found_whatever_is_in_them(void **state)
{
	(void)state;
	assert_string_equal(array("[1,2]"), "1@1:1|2@3:2");
	assert_string_equal(array(" [ 1 , \"a,b\" ,\n{\"x\":[1,{\"y\":\"],}\"}]} , [[],[]],null ] "),
	                    "1@3:1|2@7:\"a,b\"|3@15:{\"x\":[1,{\"y\":\"],}\"}]}|4@39:[[],[]]|5@47:null");
	assert_string_equal(array("[\"\\\"],[\\\\\",2]"), "1@1:\"\\\"],[\\\\\"|2@11:2");
	assert_string_equal(array("[[\"\\\\\"],3]"), "1@1:[\"\\\\\"]|2@8:3");
	assert_string_equal(array("[[[[[[[[[[1]]]]]]]]],2]"), "1@1:[[[[[[[[[1]]]]]]]]]|2@21:2");
}

static void empty_array_has_no_elements(void **state)
{
	(void)state;
	assert_string_equal(array("[]"), "");
	assert_string_equal(array("[ \n ]"), "");
}

static void counting_stops_behind_the_most(void **state)
{
	(void)state;
	struct http_batch b;
	http_batch_lines(&b, "1\n2\n3\n4\n", 8);
	assert_int_equal(http_batch_count(&b, 10), 4);
	assert_int_equal(http_batch_count(&b, 4), 4);
	assert_int_equal(http_batch_count(&b, 2), 3);
	struct http_item item;
	assert_true(http_batch_next(&b, &item));
	assert_int_equal(http_batch_count(&b, 10), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_end_at_lf_or_crlf_or_the_end),
	    cmocka_unit_test(blank_lines_are_passed_over_and_counted),
	    cmocka_unit_test(carriage_return_inside_a_line_stays),
	    cmocka_unit_test(elements_are_found_whatever_is_in_them),
	    cmocka_unit_test(empty_array_has_no_elements),
	    cmocka_unit_test(counting_stops_behind_the_most),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
