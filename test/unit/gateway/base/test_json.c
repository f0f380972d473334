#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/json.h"
#include "test/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DEPTH 32

static const char telemetry[] =
    "{\"device\":\"sensor-0042\",\"ts\":\"2026-11-22T08:37:00.123456Z\",\"temperature\":21.40,\"humidity\":55.2,"
    "\"battery\":3.71,\"seq\":123456,\"status\":\"ok\",\"location\":{\"lat\":48.1371,\"lon\":11.5754}}";

/* Text with its length, as some of it holds NUL bytes. */
struct text {
	const char *bytes;
	size_t len;
};
#define TEXT(literal)                                                                                                  \
	{                                                                                                              \
		literal, sizeof(literal) - 1                                                                           \
	}

static struct json_result check(const char *bytes, size_t len)
{
	return json_check(guard_copy(bytes, len), len, DEPTH);
}

static const struct text accepted[] = {
    TEXT("{}"),
    TEXT("[]"),
    TEXT("\"\""),
    TEXT("0"),
    TEXT("-0"),
    TEXT("1"),
    TEXT("-1"),
    TEXT("true"),
    TEXT("false"),
    TEXT("null"),
    TEXT(" {} "),
    TEXT("\t\r\n [\n]\r\n"),
    TEXT("[ ]"),
    TEXT("{ }"),
    TEXT(telemetry),
    /* numbers */
    TEXT("0.0"),
    TEXT("-0.0"),
    TEXT("0e0"),
    TEXT("0E+0"),
    TEXT("1e5"),
    TEXT("1E-5"),
    TEXT("1.5e+300"),
    TEXT("10"),
    TEXT("1.000000000000000000000000000000000000000001"),
    TEXT("1e999999999999"),
    TEXT("-1e-999999999999"),
    TEXT("18446744073709551616"),
    TEXT("9007199254740993"),
    TEXT("[0,1,-2,3.25]"),
    TEXT("[1 ,2\n,\t3 ]"),
    TEXT("100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"),
    /* strings */
    TEXT("\"a\""),
    TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    TEXT("\"\\u0000\""),
    TEXT("\"\\u00e9\\u00E9\""),
    TEXT("\"\\ud83d\\ude00\""),
    TEXT("\"\\uD800\\uDC00\""),
    TEXT("\"\\uDBFF\\uDFFF\""),
    TEXT("\"\\ue000\""),
    TEXT("\"\\uffff\""),
    TEXT("\"\x7f\""),
    TEXT("\"/\""),
    TEXT("\"'\""),
    TEXT("\"\\\\u0000\""),
    /* UTF-8: the first and the last of each length, and both sides of the surrogates */
    TEXT("\"\xc2\x80\""),
    TEXT("\"\xdf\xbf\""),
    TEXT("\"\xe0\xa0\x80\""),
    TEXT("\"\xed\x9f\xbf\""),
    TEXT("\"\xee\x80\x80\""),
    TEXT("\"\xef\xbf\xbf\""),
    TEXT("\"\xf0\x90\x80\x80\""),
    TEXT("\"\xf4\x8f\xbf\xbf\""),
    TEXT("\"\xef\xbb\xbf\""),
    TEXT("\"21,4 \xc2\xb0"
         "C in Z\xc3\xbcrich, \xe6\x9d\xb1\xe4\xba\xac and \xf0\x9f\x8c\xa1\""),
    /* containers */
    TEXT("{\"a\":1}"),
    TEXT("{\"a\":1,\"a\":2}"),
    TEXT("{\"\":0}"),
    TEXT("{ \"a\" : 1 , \"b\" : [ ] }"),
    TEXT("[[],[[]],{}]"),
    TEXT("{\"a\":{},\"b\":{\"c\":[]},\"d\":[{}]}"),
    TEXT("[null,true,false,\"x\",1,{\"k\":null}]"),
    TEXT("{\"\\u0061\":1,\"\xc3\xa9\":2}"),
    TEXT("[\"]\",\"}\",\"{\",\"[\"]"),
};

static void valid_documents_are_accepted(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT(accepted); i++) {
		struct json_result r = check(accepted[i].bytes, accepted[i].len);
		if (r.type == JSON_INVALID)
			fail_msg("%s: %s at %zu", accepted[i].bytes, r.reason, r.offset);
		assert_null(r.reason);
	}
}

struct refusal {
	struct text text;
	size_t offset;
	const char *reason;
};

static const struct refusal refused[] = {
    {TEXT(""), 0, "empty"},
    {TEXT(" \n\t"), 3, "empty"},
    {TEXT("\0"), 0, "expected a value"},
    {TEXT("\xef\xbb\xbf{}"), 0, "byte order mark"},
    {TEXT("\xff\xfe{\0}\0"), 0, "expected a value"},
    {TEXT("\v1"), 0, "expected a value"},
    {TEXT("\f1"), 0, "expected a value"},
    {TEXT("\xc2\xa0"
          "1"),
     0, "expected a value"},
    {TEXT("'a'"), 0, "expected a value"},
    {TEXT("a"), 0, "expected a value"},
    {TEXT("]"), 0, "expected a value"},
    {TEXT("}"), 0, "expected a value"},
    {TEXT(","), 0, "expected a value"},
    {TEXT(":"), 0, "expected a value"},
    {TEXT("// x\n1"), 0, "expected a value"},
    {TEXT("NaN"), 0, "expected a value"},
    {TEXT("Infinity"), 0, "expected a value"},
    {TEXT("True"), 0, "expected a value"},
    {TEXT("tru"), 3, "unexpected end"},
    {TEXT("trux"), 3, "expected true, false or null"},
    {TEXT("nul\0"), 3, "expected true, false or null"},
    {TEXT("falsy"), 4, "expected true, false or null"},
    {TEXT("truetrue"), 4, "bytes after the document"},
    {TEXT("{}{}"), 2, "bytes after the document"},
    {TEXT("{} x"), 3, "bytes after the document"},
    {TEXT("{}\0"), 2, "bytes after the document"},
    {TEXT("[]]"), 2, "bytes after the document"},
    {TEXT("1 2"), 2, "bytes after the document"},
    {TEXT("\"a\"b"), 3, "bytes after the document"},
    {TEXT("{}\xef\xbb\xbf"), 2, "bytes after the document"},
    /* numbers */
    {TEXT("01"), 1, "leading zero in number"},
    {TEXT("-01"), 2, "leading zero in number"},
    {TEXT("00"), 1, "leading zero in number"},
    {TEXT("-"), 1, "unexpected end"},
    {TEXT("-a"), 1, "expected a digit"},
    {TEXT("--1"), 1, "expected a digit"},
    {TEXT("+1"), 0, "expected a value"},
    {TEXT(".5"), 0, "expected a value"},
    {TEXT("1."), 2, "unexpected end"},
    {TEXT("[1.]"), 3, "expected a digit"},
    {TEXT("-.5"), 1, "expected a digit"},
    {TEXT("1.e5"), 2, "expected a digit"},
    {TEXT("1e"), 2, "unexpected end"},
    {TEXT("1e+"), 3, "unexpected end"},
    {TEXT("1e+-1"), 3, "expected a digit"},
    {TEXT("1e1.5"), 3, "bytes after the document"},
    {TEXT("1.2.3"), 3, "bytes after the document"},
    {TEXT("0x10"), 1, "bytes after the document"},
    {TEXT("1_000"), 1, "bytes after the document"},
    {TEXT("1f"), 1, "bytes after the document"},
    {TEXT("\xef\xbc\x91"), 0, "expected a value"}, /* a digit, but not an ASCII one */
    {TEXT("[1\0]"), 2, "expected ',' or ']'"},
    {TEXT("-Infinity"), 1, "expected a digit"},
    /* strings */
    {TEXT("\""), 1, "unexpected end"},
    {TEXT("\"abc"), 4, "unexpected end"},
    {TEXT("\"abc\\\""), 6, "unexpected end"},
    {TEXT("\"abc\\"), 5, "unexpected end"},
    {TEXT("\"\n\""), 1, "control character in string"},
    {TEXT("\"a\tb\""), 2, "control character in string"},
    {TEXT("\"a\0b\""), 2, "control character in string"},
    {TEXT("\"0123456789abcdef\x1f\""), 17, "control character in string"},
    {TEXT("\"\\x41\""), 2, "invalid escape"},
    {TEXT("\"\\'\""), 2, "invalid escape"},
    {TEXT("\"\\a\""), 2, "invalid escape"},
    {TEXT("\"\\0\""), 2, "invalid escape"},
    {TEXT("\"\\U0041\""), 2, "invalid escape"},
    {TEXT("\"\\\xc3\xa9\""), 2, "invalid escape"},
    {TEXT("\"\\\n\""), 2, "invalid escape"},
    {TEXT("\"\\u00g0\""), 5, "not a hexadecimal digit"},
    {TEXT("\"\\u 041\""), 3, "not a hexadecimal digit"},
    {TEXT("\"\\u00\""), 5, "not a hexadecimal digit"},
    {TEXT("\"\\u00"), 5, "unexpected end"},
    {TEXT("\"\\u\x10\x11\x12\x13\""), 3, "not a hexadecimal digit"}, /* with 0x20 set they would be digits */
    {TEXT("\"\\ud800\""), 1, "lone surrogate"},
    {TEXT("\"a\\udc00\""), 2, "lone surrogate"},
    {TEXT("\"\\udfff\\ud800\""), 1, "lone surrogate"},
    {TEXT("\"\\ud800\\ud800\""), 1, "lone surrogate"},
    {TEXT("\"\\udc00\\udc00\""), 1, "lone surrogate"},
    {TEXT("\"\\udfff\\udfff\""), 1, "lone surrogate"},
    {TEXT("\"\\ud800\\n\""), 1, "lone surrogate"},
    {TEXT("\"\\ud800x\""), 1, "lone surrogate"},
    {TEXT("\"\\ud800\\u0041\""), 1, "lone surrogate"},
    {TEXT("\"\\udbff\\ue000\""), 1, "lone surrogate"},
    {TEXT("\"\\ud800\\udc0x\""), 12, "not a hexadecimal digit"},
    /* UTF-8 (offset: the first byte of the sequence) */
    {TEXT("\"\x80\""), 1, "invalid UTF-8"},
    {TEXT("\"ab\xbf\""), 3, "invalid UTF-8"},
    {TEXT("\"\xc0\x80\""), 1, "invalid UTF-8"},
    {TEXT("\"\xc1\xbf\""), 1, "invalid UTF-8"},
    {TEXT("\"\xc3\""), 1, "invalid UTF-8"},
    {TEXT("\"\xc3"
          "A\""),
     1, "invalid UTF-8"},
    {TEXT("\"\xe0\x9f\xbf\""), 1, "invalid UTF-8"},
    {TEXT("\"\xe2\x82\""), 1, "invalid UTF-8"},
    {TEXT("\"\xed\xa0\x80\""), 1, "invalid UTF-8"},
    {TEXT("\"\xed\xbf\xbf\""), 1, "invalid UTF-8"},
    {TEXT("\"\xf0\x8f\xbf\xbf\""), 1, "invalid UTF-8"},
    {TEXT("\"\xf0\x9f\x8c\""), 1, "invalid UTF-8"},
    {TEXT("\"\xf4\x90\x80\x80\""), 1, "invalid UTF-8"},
    {TEXT("\"\xf5\x80\x80\x80\""), 1, "invalid UTF-8"},
    {TEXT("\"\xf8\x88\x80\x80\x80\""), 1, "invalid UTF-8"},
    {TEXT("\"\xfe\""), 1, "invalid UTF-8"},
    {TEXT("{\"\xff\":1}"), 2, "invalid UTF-8"},
    {TEXT("\"0123456789abcdef0123456789\xff\""), 27, "invalid UTF-8"},
    /* containers */
    {TEXT("["), 1, "unexpected end"},
    {TEXT("[1"), 2, "unexpected end"},
    {TEXT("[1,"), 3, "unexpected end"},
    {TEXT("[1,]"), 3, "expected a value"},
    {TEXT("[,1]"), 1, "expected a value"},
    {TEXT("[1,,2]"), 3, "expected a value"},
    {TEXT("[1 2]"), 3, "expected ',' or ']'"},
    {TEXT("[1}"), 2, "expected ',' or ']'"},
    {TEXT("[}"), 1, "expected a value"},
    {TEXT("[1:2]"), 2, "expected ',' or ']'"},
    {TEXT("[\"a\":1]"), 4, "expected ',' or ']'"},
    {TEXT("{"), 1, "unexpected end"},
    {TEXT("{]"), 1, "expected a key in quotes"},
    {TEXT("{1:2}"), 1, "expected a key in quotes"},
    {TEXT("{a:1}"), 1, "expected a key in quotes"},
    {TEXT("{'a':1}"), 1, "expected a key in quotes"},
    {TEXT("{null:1}"), 1, "expected a key in quotes"},
    {TEXT("{,}"), 1, "expected a key in quotes"},
    {TEXT("{\"a\"}"), 4, "expected ':' after the key"},
    {TEXT("{\"a\",1}"), 4, "expected ':' after the key"},
    {TEXT("{\"a\" 1}"), 5, "expected ':' after the key"},
    {TEXT("{\"a\"::1}"), 5, "expected a value"},
    {TEXT("{\"a\":}"), 5, "expected a value"},
    {TEXT("{\"a\":1,}"), 7, "expected a key in quotes"},
    {TEXT("{\"a\":1 \"b\":2}"), 7, "expected ',' or '}'"},
    {TEXT("{\"a\":1]"), 6, "expected ',' or '}'"},
    {TEXT("{\"a\":[1}"), 7, "expected ',' or ']'"},
    {TEXT("[{\"a\":1]"), 7, "expected ',' or '}'"},
    {TEXT("{\"a\":1,\"b\"}"), 10, "expected ':' after the key"},
    {TEXT("[1,/**/2]"), 3, "expected a value"},
};

static void invalid_documents_are_refused_with_place_and_reason(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT(refused); i++) {
		const struct refusal *want = &refused[i];
		struct json_result r = check(want->text.bytes, want->text.len);
		if (r.type != JSON_INVALID)
			fail_msg("%zu: %s: accepted", i, want->text.bytes);
		if (r.offset != want->offset || strcmp(r.reason, want->reason) != 0)
			fail_msg("%zu: %s: %s at %zu", i, want->text.bytes, r.reason, r.offset);
	}
}

static void no_prefix_of_an_object_is_valid(void **unused)
{
	(void)unused;
	for (size_t len = 0; len < sizeof(telemetry) - 1; len++) {
		struct json_result r = check(telemetry, len);
		assert_int_equal(r.type, JSON_INVALID);
		assert_int_equal(r.offset, len);
		assert_string_equal(r.reason, len > 0 ? "unexpected end" : "empty");
	}
}

/* Whatever byte stands wherever: never a read past the end, and only what the grammar lets through. */
static void any_byte_in_any_place_is_judged(void **unused)
{
	(void)unused;
	char text[sizeof(telemetry)];
	size_t len = sizeof(telemetry) - 1;
	for (size_t at = 0; at < len; at++) {
		memcpy(text, telemetry, sizeof(text));
		for (int b = 0; b < 256; b++) {
			text[at] = (char)b;
			struct json_result r = check(text, len);
			bool control = b < 0x20 && b != '\t' && b != '\n' && b != '\r';
			if (control || b >= 0x80)
				assert_int_equal(r.type, JSON_INVALID);
			if (r.type == JSON_INVALID)
				assert_true(r.offset <= len && r.reason);
		}
	}
}

static void value_is_told_without_the_space_around_it(void **unused)
{
	(void)unused;
	static const struct {
		const char *text;
		enum json_type type;
		size_t start, end;
	} cases[] = {
	    {" {\"a\":1}\r\n", JSON_OBJECT, 1, 8}, {"[1]", JSON_ARRAY, 0, 3},   {"\t\"x\"", JSON_STRING, 1, 4},
	    {"-1.5 ", JSON_NUMBER, 0, 4},          {" true ", JSON_TRUE, 1, 5}, {"false", JSON_FALSE, 0, 5},
	    {"\nnull", JSON_NULL, 1, 5},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct json_result r = check(cases[i].text, strlen(cases[i].text));
		assert_int_equal(r.type, cases[i].type);
		assert_int_equal(r.start, cases[i].start);
		assert_int_equal(r.end, cases[i].end);
	}
}

/* depth brackets of alternating kind around a null; returns the length. */
static size_t nested(char *out, size_t depth)
{
	char *p = out;
	for (size_t i = 0; i < depth; i++)
		p += sprintf(p, "%s", i % 3 ? "[" : "{\"k\":");
	p += sprintf(p, "null");
	for (size_t i = depth; i-- > 0;)
		*p++ = i % 3 ? ']' : '}';
	return (size_t)(p - out);
}

static void nesting_is_accepted_up_to_the_limit_and_not_beyond(void **unused)
{
	(void)unused;
	static char text[16 * 1024];
	static const unsigned limits[] = {0, 1, 2, 31, 63, 64, 65, 127, 128, 129, 1000, 1023, 1024};
	for (size_t i = 0; i < COUNT(limits); i++) {
		size_t len = nested(text, limits[i]);
		assert_int_not_equal(json_check(guard_copy(text, len), len, limits[i]).type, JSON_INVALID);
		len = nested(text, limits[i] + 1);
		struct json_result r = json_check(guard_copy(text, len), len, limits[i]);
		assert_int_equal(r.type, JSON_INVALID);
		assert_string_equal(r.reason, "nested too deeply");
		assert_true(text[r.offset] == '[' || text[r.offset] == '{');
	}
}

static void no_setting_allows_more_than_1024_levels(void **unused)
{
	(void)unused;
	static char text[16 * 1024];
	size_t len = nested(text, 1025);
	assert_string_equal(json_check(text, len, 1000000).reason, "nested too deeply");
	len = nested(text, 1024);
	assert_int_equal(json_check(text, len, 1000000).type, JSON_OBJECT);
}

static void every_wrong_closing_bracket_is_noticed(void **unused)
{
	(void)unused;
	static char text[16 * 1024];
	size_t len = nested(text, 200);
	for (size_t at = len - 200; at < len; at++) {
		char right = text[at];
		text[at] = right == ']' ? '}' : ']';
		struct json_result r = json_check(text, len, 1024);
		assert_int_equal(r.type, JSON_INVALID);
		assert_int_equal(r.offset, at);
		text[at] = right;
	}
}

static void hundred_thousand_levels_are_refused_at_once(void **unused)
{
	(void)unused;
	size_t len = 100000;
	char *text = malloc(len);
	memset(text, '[', len);
	struct json_result r = json_check(guard_copy(text, len), len, DEPTH);
	assert_int_equal(r.offset, DEPTH);
	assert_string_equal(r.reason, "nested too deeply");
	free(text);
}

static void long_numbers_and_strings_pass_unchanged(void **unused)
{
	(void)unused;
	size_t len = 100000;
	char *text = malloc(len);
	memset(text, '7', len);
	assert_int_equal(check(text, len).type, JSON_NUMBER);
	text[0] = text[len - 1] = '"';
	assert_int_equal(check(text, len).type, JSON_STRING);
	assert_int_equal(check(text, len - 1).offset, len - 1);
	free(text);
}

/* A quote, a bad byte, an escape at each place of strings of each length, so that every step width meets every
 * remainder. */
static void strings_of_every_length_end_where_they_end(void **unused)
{
	(void)unused;
	char text[80];
	for (size_t inside = 0; inside < 70; inside++) {
		memset(text, 'x', sizeof(text));
		text[0] = text[inside + 1] = '"';
		assert_int_equal(check(text, inside + 2).type, JSON_STRING);
		assert_int_equal(check(text, inside + 1).offset, inside + 1);
		for (size_t at = 1; at <= inside; at++) {
			text[at] = 0x1f;
			assert_int_equal(check(text, inside + 2).offset, at);
			text[at] = (char)0x80;
			assert_int_equal(check(text, inside + 2).offset, at);
			text[at] = '"';
			assert_int_equal(check(text, inside + 2).offset, at + 1);
			text[at] = 'x';
		}
	}
}

static void newlines_are_found_and_blanked(void **unused)
{
	(void)unused;
	static const char text[] = "{\r\n\t\"a\": \"x\\n\",\n\n\"b\":1\n}\r";
	static const char line[] = "{  \t\"a\": \"x\\n\",  \"b\":1 } ";
	char out[sizeof(text)] = {0};
	size_t len = sizeof(text) - 1;
	assert_true(json_has_newline(text, len));
	assert_true(json_has_newline("\r", 1));
	assert_true(json_has_newline("1\n", 2));
	assert_false(json_has_newline("1\n", 1));
	assert_false(json_has_newline(telemetry, sizeof(telemetry) - 1));
	assert_false(json_has_newline("", 0));
	assert_int_equal(json_copy_line(out, guard_copy(text, len), len), len);
	assert_string_equal(out, line);
	assert_false(json_has_newline(out, len));
	assert_int_equal(check(out, len).type, JSON_OBJECT);
	assert_int_equal(json_copy_line(out, text, 0), 0);
}

/* An empty payload may come without an address. */
static void nothing_at_no_address_is_harmless(void **unused)
{
	(void)unused;
	char out[1];
	assert_string_equal(json_check(NULL, 0, DEPTH).reason, "empty");
	assert_false(json_has_newline(NULL, 0));
	assert_int_equal(json_copy_line(out, NULL, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(valid_documents_are_accepted),
	    cmocka_unit_test(invalid_documents_are_refused_with_place_and_reason),
	    cmocka_unit_test(no_prefix_of_an_object_is_valid),
	    cmocka_unit_test(any_byte_in_any_place_is_judged),
	    cmocka_unit_test(value_is_told_without_the_space_around_it),
	    cmocka_unit_test(nesting_is_accepted_up_to_the_limit_and_not_beyond),
	    cmocka_unit_test(no_setting_allows_more_than_1024_levels),
	    cmocka_unit_test(every_wrong_closing_bracket_is_noticed),
	    cmocka_unit_test(hundred_thousand_levels_are_refused_at_once),
	    cmocka_unit_test(long_numbers_and_strings_pass_unchanged),
	    cmocka_unit_test(strings_of_every_length_end_where_they_end),
	    cmocka_unit_test(newlines_are_found_and_blanked),
	    cmocka_unit_test(nothing_at_no_address_is_harmless),
	};
	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
