/* The payload table: which names lead to which row, that every row can be reached, what looks like JSON, and what is said of
 * JSON that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/payload.h"
#include "test/unit/guard.h"

static enum payload_kind kind_of(const char *type)
{
	return payload_of_type(guard_copy(type, strlen(type)), strlen(type));
}

static void media_types_lead_to_their_rows(void **unused)
{
	(void)unused;
	static const struct {
		const char *type;
		enum payload_kind kind;
	} cases[] = {
	    {"", PAYLOAD_AUTO},
	    {"  ", PAYLOAD_AUTO},
	    {";charset=utf-8", PAYLOAD_AUTO},
	    {"application/octet-stream", PAYLOAD_AUTO},
	    {"application/x-www-form-urlencoded", PAYLOAD_AUTO},
	    {"Application/JSON ; charset=UTF-8", PAYLOAD_JSON},
	    {"text/json", PAYLOAD_JSON},
	    {"text/x-json; charset=UTF-8", PAYLOAD_JSON},
	    {"application/vnd.x+json", PAYLOAD_JSON},
	    {"application/vnd.oma.lwm2m+json", PAYLOAD_JSON},
	    {"+json", PAYLOAD_JSON},
	    {"application/senml+json", PAYLOAD_SENML},
	    {"text/plain", PAYLOAD_TEXT},
	    {"text/csv", PAYLOAD_TEXT},
	    {"text/", PAYLOAD_TEXT},
	    {"text", PAYLOAD_UNKNOWN},
	    {"application/x-ndjson", PAYLOAD_LINES},
	    {"text/x-ndjson", PAYLOAD_LINES},
	    {"application/jsonx", PAYLOAD_UNKNOWN},
	    {"application/msgpack", PAYLOAD_UNKNOWN},
	    {"application/senml+cbor", PAYLOAD_UNKNOWN},
	    {"json", PAYLOAD_UNKNOWN},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (kind_of(cases[i].type) != cases[i].kind)
			fail_msg("\"%s\" is %d, not %d", cases[i].type, kind_of(cases[i].type), cases[i].kind);
}

/* HTTP and CoAP name the same things: a Content-Format leads where its media type does. */
static void formats_and_types_agree(void **unused)
{
	(void)unused;
	assert_int_equal(payload_of_format(-1), PAYLOAD_AUTO);
	for (int32_t f = 0; f <= UINT16_MAX; f++) {
		const char *type = payload_format_type(f);
		if (type)
			assert_int_equal(payload_of_format(f), kind_of(type)); /* 40, 60: unknown to both */
		else
			assert_int_equal(payload_of_format(f), PAYLOAD_UNKNOWN);
	}
}

static void every_row_has_a_name_and_its_own_types(void **unused)
{
	(void)unused;
	for (int k = 0; k < PAYLOAD_KINDS; k++) {
		assert_non_null(payload_rows[k].name);
		for (const char *const *t = payload_rows[k].types; *t; t++)
			assert_int_equal(kind_of(*t), k);
		for (const int32_t *f = payload_rows[k].formats; *f != -1; f++)
			assert_int_equal(payload_of_format(*f), k);
		if (k < PAYLOAD_LINES)
			assert_string_equal(payload_names[k], payload_rows[k].name);
	}
	assert_null(payload_names[PAYLOAD_LINES]);
}

static void accepted_types_are_compared_without_their_parameters(void **unused)
{
	(void)unused;
	char *items[] = {"application/msgpack", "application/xml"};
	struct string_list list = {items, 2};
	assert_true(payload_accepts(&list, "application/XML; charset=utf-8", 30));
	assert_false(payload_accepts(&list, "application/xm", 14));
	assert_false(payload_accepts(&(struct string_list){0}, "application/xml", 15));
}

static void lists_for_answers_are_cut_between_names(void **unused)
{
	(void)unused;
	char out[200];
	assert_int_equal(payload_list_formats(out, sizeof(out), " "), strlen("0 42 50 110 11543"));
	assert_string_equal(out, "0 42 50 110 11543");
	payload_list_formats(out, 8, ", ");
	assert_string_equal(out, "0, 42");
	payload_list_types(out, sizeof(out));
	assert_string_equal(
	    out,
	    "application/octet-stream, application/json, text/plain, application/senml+json, application/x-ndjson");
}

static void faults_are_sorted(void **unused)
{
	(void)unused;
	static const struct {
		const char *text;
		enum json_fault fault;
	} cases[] = {
	    {"{\"t\":nan,\"h\":54.2}", JSON_FAULT_NOT_A_NUMBER},
	    {"{\"t\":NaN}", JSON_FAULT_NOT_A_NUMBER},
	    {"{\"t\":-nan}", JSON_FAULT_NOT_A_NUMBER},
	    {"[Infinity]", JSON_FAULT_NOT_A_NUMBER},
	    {"[-inf]", JSON_FAULT_NOT_A_NUMBER},
	    {"[+inf]", JSON_FAULT_NOT_A_NUMBER},
	    {"{\"t\":1,}", JSON_FAULT_SYNTAX},
	    {"{'t':1}", JSON_FAULT_SYNTAX},
	    {"{\"a\":nul}", JSON_FAULT_SYNTAX},
	    {"{t:1}", JSON_FAULT_SYNTAX},
	    {"{\"u\":\"\xb0"
	     "C\"}",
	     JSON_FAULT_ENCODING},
	    {"{\"t\":", JSON_FAULT_TRUNCATED},
	    {"{\"a\":1}{\"a\":2}", JSON_FAULT_TRAILING},
	    {"[[[[1]]]]", JSON_FAULT_DEPTH},
	    {"", JSON_FAULT_SYNTAX},
	    {"n", JSON_FAULT_TRUNCATED},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct payload_text found = {.look = NULL};
		size_t len = strlen(cases[i].text);
		const char *text = guard_copy(cases[i].text, len);
		assert_false(payload_decode_json(text, len, 3, &found));
		if (payload_fault_of(text, len, &found) != cases[i].fault)
			fail_msg("%s: %s", cases[i].text, stats_fault_names[payload_fault_of(text, len, &found)]);
	}
}

static void prose_does_not_look_like_json(void **unused)
{
	(void)unused;
	static const char *const json[] = {
	    "{",      "{x", " \t{\"a\"", "}",        "]",        "\"a\": 1",      "[",  "[ {",
	    "[\"a\"", "[]", "[1,2",      "[1, nan]", "[-1.5 ]x", "\xef\xbb\xbf{", "[[1"};
	static const char *const prose[] = {"",    " ",         "hello",           "21.4;53",
	                                    "nan", "[INFO] up", "[2026-11-22] up", "[08:37] up",
	                                    "[12", "<xml/>",    "t=1&h=2"};
	for (size_t i = 0; i < sizeof(json) / sizeof(json[0]); i++)
		if (!payload_looks_json(guard_copy(json[i], strlen(json[i])), strlen(json[i])))
			fail_msg("%s", json[i]);
	for (size_t i = 0; i < sizeof(prose) / sizeof(prose[0]); i++)
		if (payload_looks_json(guard_copy(prose[i], strlen(prose[i])), strlen(prose[i])))
			fail_msg("%s", prose[i]);
	assert_true(payload_looks_json("\0{\"a\":1}", 8)); /* a NUL in front, as between two messages */
	assert_false(payload_looks_json("\0\0", 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(media_types_lead_to_their_rows),
	    cmocka_unit_test(formats_and_types_agree),
	    cmocka_unit_test(every_row_has_a_name_and_its_own_types),
	    cmocka_unit_test(accepted_types_are_compared_without_their_parameters),
	    cmocka_unit_test(lists_for_answers_are_cut_between_names),
	    cmocka_unit_test(faults_are_sorted),
	    cmocka_unit_test(prose_does_not_look_like_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
