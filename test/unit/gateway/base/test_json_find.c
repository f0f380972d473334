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

static struct json_result check(const char *bytes, size_t len)
{
	return json_check(guard_copy(bytes, len), len, DEPTH);
}

/* What the pointer finds in the text, as a string that the caller must not keep; "-" when nothing is found. */
static const char *find(const char *text, const char *pointer)
{
	static char found[256];
	struct json_pointer p;
	if (!json_pointer_init(&p, pointer))
		return "no pointer";
	size_t len = strlen(text);
	struct json_result valid = check(text, len);
	assert_int_not_equal(valid.type, JSON_INVALID);
	struct json_value v = json_find(guard_copy(text, len), len, &p);
	if (v.type == JSON_INVALID) {
		snprintf(found, sizeof(found), "-");
	} else {
		assert_true(v.len < sizeof(found));
		assert_int_equal(json_check(v.text, v.len, DEPTH).type, v.type);
		assert_int_equal(json_check(v.text, v.len, DEPTH).end, v.len);
		snprintf(found, sizeof(found), "%.*s", (int)v.len, v.text);
	}
	json_pointer_fini(&p);
	return found;
}

/* The document and the pointers of RFC 6901 section 5. */
static void examples_of_rfc_6901_are_found(void **unused)
{
	(void)unused;
	static const char doc[] =
	    "{\"foo\": [\"bar\", \"baz\"],\"\": 0,\"a/b\": 1,\"c%d\": 2,\"e^f\": 3,\"g|h\": 4,\"i\\\\j\": 5,"
	    "\"k\\\"l\": 6,\" \": 7,\"m~n\": 8}";
	static const char *const cases[][2] = {
	    {"", doc},
	    {"/foo", "[\"bar\", \"baz\"]"},
	    {"/foo/0", "\"bar\""},
	    {"/foo/1", "\"baz\""},
	    {"/", "0"},
	    {"/a~1b", "1"},
	    {"/c%d", "2"},
	    {"/e^f", "3"},
	    {"/g|h", "4"},
	    {"/i\\j", "5"},
	    {"/k\"l", "6"},
	    {"/ ", "7"},
	    {"/m~0n", "8"},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_string_equal(find(doc, cases[i][0]), cases[i][1]);
}

static void values_are_found_in_nested_and_spaced_documents(void **unused)
{
	(void)unused;
	assert_string_equal(find(telemetry, "/device"), "\"sensor-0042\"");
	assert_string_equal(find(telemetry, "/location/lon"), "11.5754");
	assert_string_equal(find(telemetry, "/location"), "{\"lat\":48.1371,\"lon\":11.5754}");
	assert_string_equal(find(telemetry, "/status"), "\"ok\"");
	static const char doc[] = "\r\n{ \"skip\" : { \"x\" : [ 1 , { \"]\" : \"}\\\"\" } ] , \"target\" : 0 } ,\n"
	                          "  \"also\":[[],{},\"\\\\\",[[[]]]] , \"n\":null,\"t\" : true , \"target\" : [ 10 , "
	                          "-2.5e3 ,\"x\" , { } ] } \n";
	assert_string_equal(find(doc, "/target"), "[ 10 , -2.5e3 ,\"x\" , { } ]");
	assert_string_equal(find(doc, "/target/0"), "10");
	assert_string_equal(find(doc, "/target/1"), "-2.5e3");
	assert_string_equal(find(doc, "/target/2"), "\"x\"");
	assert_string_equal(find(doc, "/target/3"), "{ }");
	assert_string_equal(find(doc, "/t"), "true");
	assert_string_equal(find(doc, "/n"), "null");
	assert_string_equal(find(doc, "/skip/x/1/]"), "\"}\\\"\"");
	assert_string_equal(find(doc, "/also/3/0/0"), "[]");
	assert_string_equal(find(" 12 ", ""), "12");
}

static void what_is_not_there_is_not_found(void **unused)
{
	(void)unused;
	static const char doc[] = "{\"a\":{\"b\":1},\"list\":[0,1],\"s\":\"a\",\"n\":5}";
	static const char *const pointers[] = {"/b",
	                                       "/A",
	                                       "/a/c",
	                                       "/a/b/c",
	                                       "/list/2",
	                                       "/list/-",
	                                       "/list/01",
	                                       "/list/ 1",
	                                       "/list/+1",
	                                       "/list/",
	                                       "/list/18446744073709551616",
	                                       "/list/99999999999999999999999999",
	                                       "/list/1e0",
	                                       "/s/0",
	                                       "/n/0",
	                                       "/",
	                                       "/aa",
	                                       "//a"};
	for (size_t i = 0; i < COUNT(pointers); i++)
		assert_string_equal(find(doc, pointers[i]), "-");
	assert_string_equal(find("{}", "/a"), "-");
	assert_string_equal(find("[]", "/0"), "-");
	assert_string_equal(find("[ ]", "/0"), "-");
	assert_string_equal(find("\"a\"", "/0"), "-");
	assert_string_equal(find("7", "/a"), "-");
}

static void first_of_duplicate_keys_wins(void **unused)
{
	(void)unused;
	assert_string_equal(find("{\"x\":0,\"a\":1,\"a\":2}", "/a"), "1");
	assert_string_equal(find("{\"\\u0061\":1,\"a\":2}", "/a"), "1");
}

static void keys_are_compared_after_unescaping(void **unused)
{
	(void)unused;
	assert_string_equal(find("{\"\\u0064evice\":1}", "/device"), "1");
	assert_string_equal(find("{\"d\\u0065vic\\u0065\":1}", "/device"), "1");
	assert_string_equal(find("{\"caf\\u00e9\":1}", "/caf\xc3\xa9"), "1");
	assert_string_equal(find("{\"\\ud83d\\ude00\":1}", "/\xf0\x9f\x98\x80"), "1");
	assert_string_equal(find("{\"a\\/b\":1}", "/a~1b"), "1");
	assert_string_equal(find("{\"a\\tb\":1}", "/a\tb"), "1");
	assert_string_equal(find("{\"a\\u0000\":1,\"a\":2}", "/a"), "2");
	assert_string_equal(find("{\"a\\n\":1}", "/a\\n"), "-"); /* the text of the key is equal, the key is not */
	assert_string_equal(find("{\"devic\\u0065s\":1,\"\\u0064evic\":2}", "/device"), "-");
}

static void a_key_is_told_from_the_same_word_elsewhere(void **unused)
{
	(void)unused;
	struct json_pointer p;
	assert_true(json_pointer_init(&p, "/channel"));
	const char *without[] = {"{\"a\":1,\"b\":\"channel\"}", "{\"a\":1,\"b\":{\"channel\":2}}",
	                         "{\"a\":1,\"channels\":2}", "{\"a\":1,\"b\\n\":2}", "{\"a\":1,\"b\":2}"};
	for (size_t i = 0; i < sizeof(without) / sizeof(*without); i++)
		assert_int_equal(json_find(without[i], strlen(without[i]), &p).type, JSON_INVALID);
	const char *with[] = {"{\"a\":1,\"channel\":7}", "{\"a\":1,\"\\u0063hannel\":7}",
	                      "{\"a\":\"channel\",\"b\":{\"channel\":2},\"channel\":7}"};
	for (size_t i = 0; i < sizeof(with) / sizeof(*with); i++) {
		struct json_value v = json_find(with[i], strlen(with[i]), &p);
		assert_int_equal(v.type, JSON_NUMBER);
		assert_memory_equal(v.text, "7", 1);
	}
	json_pointer_fini(&p);
}

static void malformed_pointers_are_refused(void **unused)
{
	(void)unused;
	static const char *const pointers[] = {"a", "a/b", " /a", "~", "/~", "/a~", "/~2", "/a~b/c", "/ok/~/x"};
	for (size_t i = 0; i < COUNT(pointers); i++) {
		struct json_pointer p;
		assert_false(json_pointer_init(&p, pointers[i]));
		json_pointer_fini(&p); /* harmless */
	}
}

static void pointers_are_split_into_unescaped_tokens(void **unused)
{
	(void)unused;
	struct json_pointer p;
	assert_true(json_pointer_init(&p, "/a~1b//~01/"));
	assert_int_equal(p.count, 4);
	assert_memory_equal(p.text, "a/b\0\0~1\0", 9);
	assert_int_equal(p.lengths[0], 3);
	assert_int_equal(p.lengths[1], 0);
	assert_int_equal(p.lengths[2], 2);
	assert_int_equal(p.lengths[3], 0);
	json_pointer_fini(&p);
	assert_null(p.text);
}

/* 50,000 members and a long array: one pass, however the pointer looks. */
static void last_member_of_a_large_object_is_found(void **unused)
{
	(void)unused;
	char *text = malloc(GUARD_ROOM), *at = text;
	*at++ = '{';
	for (int i = 0; i < 50000; i++)
		at += sprintf(at, "\"k%d\":[%d],", i, i);
	at += sprintf(at, "\"last\":[1,2,3]}");
	size_t len = (size_t)(at - text);
	struct json_pointer p;
	assert_true(json_pointer_init(&p, "/last/2"));
	struct json_value v = json_find(guard_copy(text, len), len, &p);
	assert_int_equal(v.type, JSON_NUMBER);
	assert_memory_equal(v.text, "3", 1);
	json_pointer_fini(&p);
	free(text);
}

static void looking_into_damaged_text_reads_nothing_beyond_it(void **unused)
{
	(void)unused;
	static const char doc[] =
	    "{\"a\\u0062\":[\"x\\\\\",{\"y\":[1,2]},-1.5],\"\\ud83d\\ude00\":{\"k\":[]},\"z\":[0,{\"end\":true}]}";
	static const char *const pointers[] = {"/z/1/end", "/ab/1/y/1", "/\xf0\x9f\x98\x80/k/0", ""};
	for (size_t i = 0; i < COUNT(pointers); i++) {
		struct json_pointer p;
		assert_true(json_pointer_init(&p, pointers[i]));
		for (size_t len = 0; len < sizeof(doc); len++) {
			char *text = guard_copy(doc, len);
			struct json_value v = json_find(text, len, &p);
			if (v.type != JSON_INVALID)
				assert_true(v.text >= text && v.text + v.len <= text + len);
		}
		json_pointer_fini(&p);
	}
}

static void unescapes_to(const char *text, const char *expected, size_t expected_len)
{
	char out[128];
	size_t len = strlen(text);
	size_t n = json_unescape(out, guard_copy(text, len), len);
	assert_int_equal(n, expected_len);
	assert_memory_equal(out, expected, n);
}

static void escapes_are_decoded(void **unused)
{
	(void)unused;
	unescapes_to("", "", 0);
	unescapes_to("plain text that is longer than sixteen bytes", "plain text that is longer than sixteen bytes",
	             44);
	unescapes_to("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", 8);
	unescapes_to("a\\u0000b", "a\0b", 3);
	unescapes_to("\\u0041\\u00e9\\u20AC\\uD83D\\uDE00", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10);
	unescapes_to("\\u007f\\u0080\\u07ff\\u0800\\uffff", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11);
	unescapes_to("\xc3\xa9\\\\u0041", "\xc3\xa9\\u0041", 8);
}

/* json_check refuses these; should they come all the same, no byte too many is read or written. */
static void broken_escapes_do_no_harm(void **unused)
{
	(void)unused;
	static const char *const texts[] = {"\\",         "\\u",          "\\u1",    "\\u123", "x\\u12", "\\ud800",
	                                    "\\ud800\\u", "\\ud800\\u12", "\\udc00", "\"",     "\n"};
	char out[32];
	for (size_t i = 0; i < COUNT(texts); i++) {
		size_t len = strlen(texts[i]);
		memset(out, '#', sizeof(out));
		size_t n = json_unescape(out, guard_copy(texts[i], len), len);
		assert_true(n <= len);
		assert_int_equal(out[len], '#');
	}
}

static void every_byte_survives_escaping(void **unused)
{
	(void)unused;
	char text[128], escaped[6 * 128 + 2], back[6 * 128];
	for (int i = 0; i < 128; i++)
		text[i] = (char)i;
	size_t n = json_escape(escaped + 1, guard_copy(text, 128), 128);
	assert_int_equal(n, json_escaped_size(text, 128));
	assert_int_equal(json_unescape(back, escaped + 1, n), 128);
	assert_memory_equal(back, text, 128);
	escaped[0] = escaped[n + 1] = '"';
	assert_int_equal(check(escaped, n + 2).type, JSON_STRING);
}

static void only_what_must_be_is_escaped(void **unused)
{
	(void)unused;
	static const char text[] = "a\"b\\c/d\x7f\xc3\xa9\x01\x1f\n\r\t\b\f";
	static const char expected[] = "a\\\"b\\\\c/d\x7f\xc3\xa9\\u0001\\u001f\\n\\r\\t\\b\\f";
	char out[6 * sizeof(text)];
	size_t n = json_escape(out, text, sizeof(text) - 1);
	assert_int_equal(n, sizeof(expected) - 1);
	assert_memory_equal(out, expected, n);
	assert_int_equal(json_escaped_size(text, sizeof(text) - 1), n);
	assert_int_equal(json_escaped_size("plain", 5), 5);
	assert_int_equal(json_escape(out, "", 0), 0);
	assert_int_equal(json_escaped_size("\0\0", 2), 12);
}

/* An empty payload may come without an address. */
static void nothing_at_no_address_is_harmless(void **unused)
{
	(void)unused;
	struct json_pointer p;
	char out[1];
	assert_true(json_pointer_init(&p, "/a"));
	assert_int_equal(json_find(NULL, 0, &p).type, JSON_INVALID);
	assert_int_equal(json_escape(out, NULL, 0), 0);
	assert_int_equal(json_escaped_size(NULL, 0), 0);
	assert_int_equal(json_unescape(out, NULL, 0), 0);
	json_pointer_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(examples_of_rfc_6901_are_found),
	    cmocka_unit_test(values_are_found_in_nested_and_spaced_documents),
	    cmocka_unit_test(what_is_not_there_is_not_found),
	    cmocka_unit_test(first_of_duplicate_keys_wins),
	    cmocka_unit_test(keys_are_compared_after_unescaping),
	    cmocka_unit_test(a_key_is_told_from_the_same_word_elsewhere),
	    cmocka_unit_test(malformed_pointers_are_refused),
	    cmocka_unit_test(pointers_are_split_into_unescaped_tokens),
	    cmocka_unit_test(last_member_of_a_large_object_is_found),
	    cmocka_unit_test(looking_into_damaged_text_reads_nothing_beyond_it),
	    cmocka_unit_test(escapes_are_decoded),
	    cmocka_unit_test(broken_escapes_do_no_harm),
	    cmocka_unit_test(every_byte_survives_escaping),
	    cmocka_unit_test(only_what_must_be_is_escaped),
	    cmocka_unit_test(nothing_at_no_address_is_harmless),
	};
	return cmocka_run_group_tests_name("json_find", tests, NULL, NULL);
}
