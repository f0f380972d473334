/* Judging the head of a request: framing, host, target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/http/http_head.h"
#include "test/unit/guard.h"

static struct http_head head;

/* Fields as "Name: value\n..."; a Host comes along unless the first line is "-". */
static enum http_problem judge_as(const char *version, const char *fields)
{
	memset(&head, 0, sizeof(head));
	if (strncmp(fields, "-\n", 2) == 0)
		fields += 2;
	else
		http_head_field(&head, "Host", 4, "h", 1);
	while (*fields) {
		size_t len = strcspn(fields, "\n"), name = strcspn(fields, ":");
		const char *value = fields + name + 1;
		value += *value == ' ';
		http_head_field(&head, fields, name, value, (size_t)(fields + len - value));
		fields += len + (fields[len] == '\n');
	}
	return http_head_end(&head, version);
}

static enum http_problem judge(const char *fields)
{
	return judge_as("HTTP/1.1", fields);
}

static void plain_request_is_fine(void **state)
{
	(void)state;
	assert_int_equal(judge("Content-Length: 12\nContent-Type: application/json; charset=utf-8\nAccept: */*\n"),
	                 HTTP_FINE);
	assert_int_equal(head.body_len, 12);
	assert_true(head.has_length);
	assert_false(head.chunked);
	assert_int_equal(head.media, PAYLOAD_JSON);
	assert_int_equal(judge("transfer-ENCODING: Chunked\n"), HTTP_FINE);
	assert_true(head.chunked);
	assert_false(head.has_length);
}

static void ambiguous_framing_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "Content-Length: 5\nTransfer-Encoding: chunked\n",
	    "Transfer-Encoding: chunked\nContent-Length: 5\n",
	    "Content-Length: 5\nContent-Length: 5\n",
	    "Content-Length: 5\nContent-Length: 6\n",
	    "Content-Length: 5, 5\n",
	    "Content-Length: +5\n",
	    "Content-Length: -5\n",
	    "Content-Length: 0x5\n",
	    "Content-Length: 5 \n",
	    "Content-Length: \n",
	    "Content-Length: 1e3\n",
	    "Content-Length: 18446744073709551621\n",
	    "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
	    "Transfer-Encoding: identity\n",
	    "Transfer-Encoding: xchunked\n",
	    "Transfer-Encoding: gzip, chunked\n",
	    "Transfer-Encoding: chunked, identity\n",
	    "Transfer-Encoding: \n",
	    "Transfer-Encodingchunked: \n",
	    "Content-Length5: x\n",
	    "Content-Length\x0b: 5\n",
	    "Transfer-Encoding : chunked\n",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (judge(bad[i]) != HTTP_BAD_FRAMING)
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(judge_as("HTTP/1.0", "Transfer-Encoding: chunked\n"), HTTP_BAD_FRAMING);
	assert_int_equal(judge("X-A\x01: 1\nContent-Length: 5\nContent-Length: 5\n"), HTTP_BAD_FRAMING);
}

static void one_host_is_needed_in_1_1(void **state)
{
	(void)state;
	assert_int_equal(judge("-\n"), HTTP_BAD_HOST);
	assert_int_equal(judge_as("HTTP/1.0", "-\n"), HTTP_FINE);
	assert_int_equal(judge("Host: other\n"), HTTP_BAD_HOST);
	assert_int_equal(judge("Host: h\n"), HTTP_BAD_HOST);
	assert_int_equal(judge("-\nHost: a, b\n"), HTTP_BAD_HOST);
	assert_int_equal(judge("-\nHost: a/b\n"), HTTP_BAD_HOST);
	assert_int_equal(judge("-\nHost: [::1]:8080\n"), HTTP_FINE);
	assert_int_equal(judge("-\nHost: \n"), HTTP_FINE);
}

static void names_and_values_have_no_controls(void **state)
{
	(void)state;
	assert_int_equal(judge("X A: 1\n"), HTTP_BAD_HEADER);
	assert_int_equal(judge("X-A : 1\n"), HTTP_BAD_HEADER);
	assert_int_equal(judge(": 1\n"), HTTP_BAD_HEADER);
	assert_int_equal(judge("X-A: a\rb\n"), HTTP_BAD_HEADER);
	assert_int_equal(judge("X-A: a\x7f\n"), HTTP_BAD_HEADER);
	assert_int_equal(judge("X-A: a\tb \xc3\xa4\n"), HTTP_FINE);
	assert_int_equal(judge("!#$%&'*+-.^_`|~09azAZ: 1\n"), HTTP_FINE);
	for (const char *c = "\"(),/:;<=>?@[\\]{}\x7f\x80"; *c; c++) {
		memset(&head, 0, sizeof(head));
		http_head_field(&head, c, 1, "", 0);
		assert_int_equal(head.problem, HTTP_BAD_HEADER);
	}
}

static void what_may_stand_once_is_refused_twice(void **state)
{
	(void)state;
	assert_int_equal(judge("Content-Type: a/b\nContent-Type: a/b\n"), HTTP_BAD_HEADER);
	assert_int_equal(judge("X-Sluice-Device: a\nx-sluice-device: b\n"), HTTP_BAD_HEADER);
	assert_int_equal(judge("Idempotency-Key: a\nIdempotency-Key: b\n"), HTTP_BAD_KEY);
	assert_int_equal(judge("Content-Encoding: gzip\nContent-Encoding: gzip\n"), HTTP_BAD_CODING);
}

static void codings_that_are_not_served_are_refused(void **state)
{
	(void)state;
	assert_int_equal(judge("Content-Encoding: GZIP\n"), HTTP_FINE);
	assert_int_equal(head.packed, CODING_GZIP);
	assert_int_equal(judge("Content-Encoding: deflate\n"), HTTP_FINE);
	assert_int_equal(head.packed, CODING_DEFLATE);
	assert_int_equal(judge("Content-Encoding: identity\n"), HTTP_FINE);
	assert_int_equal(judge("Content-Encoding: gzip, gzip\n"), HTTP_BAD_CODING);
	assert_int_equal(judge("Content-Encoding: br\n"), HTTP_BAD_CODING);
	assert_int_equal(judge("Content-Encoding: \n"), HTTP_BAD_CODING);
}

static void expectations_but_one_fail(void **state)
{
	(void)state;
	assert_int_equal(judge("Expect: 100-Continue\n"), HTTP_FINE);
	assert_true(head.expects);
	assert_int_equal(judge("Expect: 100-continue, x\n"), HTTP_BAD_EXPECT);
}

static void idempotency_key_is_short_and_printable(void **state)
{
	(void)state;
	char field[200] = "Idempotency-Key: ";
	memset(field + 17, 'k', 128);
	assert_int_equal(judge(field), HTTP_FINE);
	assert_int_equal(head.key.len, 128);
	strcat(field, "k");
	assert_int_equal(judge(field), HTTP_BAD_KEY);
	assert_int_equal(judge("Idempotency-Key: \n"), HTTP_BAD_KEY);
	assert_int_equal(judge("Idempotency-Key: \xc3\xa4\n"), HTTP_BAD_KEY);
}

static void quoted_key_is_the_same_as_its_text(void **state)
{
	(void)state;
	static const struct {
		const char *field, *key;
	} cases[] = {
	    {"Idempotency-Key: abc-1\n", "abc-1"},       {"Idempotency-Key: \"abc-1\"\n", "abc-1"},
	    {"Idempotency-Key: \"a\n", "\"a"},           {"Idempotency-Key: \"\n", "\""},
	    {"Idempotency-Key: \"a\"b\"\n", "\"a\"b\""}, {"Idempotency-Key: \"a\\b\"\n", "\"a\\b\""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(judge(cases[i].field), HTTP_FINE);
		assert_int_equal(head.key.len, strlen(cases[i].key));
		assert_memory_equal(head.key.text, cases[i].key, head.key.len);
	}
	assert_int_equal(judge("Idempotency-Key: \"\"\n"), HTTP_BAD_KEY);
}

static void media_name_is_the_type_alone(void **state)
{
	(void)state;
	static const char *const same[] = {"application/json", "Application/JSON ; charset=UTF-8", "application/json;"};
	char name[HTTP_MEDIA_NAME];
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(http_media_name((struct http_text){same[i], strlen(same[i])}, name), 16);
		assert_memory_equal(name, "application/json", 16);
	}
	assert_int_equal(http_media_name((struct http_text){NULL, 0}, name), 0);
	static char longest[300];
	memset(longest, 'x', sizeof(longest));
	assert_int_equal(http_media_name((struct http_text){longest, sizeof(longest)}, name), HTTP_MEDIA_NAME);
}

static void content_types_say_what_a_payload_is(void **state)
{
	(void)state;
	static const struct {
		const char *field;
		enum payload_kind media;
	} cases[] = {
	    {"", PAYLOAD_AUTO},
	    {"Content-Type: application/x-www-form-urlencoded\n", PAYLOAD_AUTO},
	    {"Content-Type: Application/JSON\n", PAYLOAD_JSON},
	    {"Content-Type: application/senml+json ; v=1\n", PAYLOAD_SENML},
	    {"Content-Type: application/x-ndjson\n", PAYLOAD_LINES},
	    {"Content-Type: text/plain;charset=utf-8\n", PAYLOAD_TEXT},
	    {"Content-Type: application/octet-stream\n", PAYLOAD_AUTO},
	    {"Content-Type: application/jsonx\n", PAYLOAD_UNKNOWN},
	    {"Content-Type: application/msgpack\n", PAYLOAD_UNKNOWN},
	    {"Content-Type: text/json\n", PAYLOAD_JSON},
	    {"Content-Type: \n", PAYLOAD_AUTO},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(judge(cases[i].field), HTTP_FINE);
		assert_int_equal(head.media, cases[i].media);
	}
}

static struct http_target target;

static void paths_are_routed(void **state)
{
	(void)state;
	assert_int_equal(http_target_parse(&target, "/v1/telemetry"), HTTP_FINE);
	assert_int_equal(target.route, ROUTE_COLLECTION);
	assert_int_equal(http_target_parse(&target, "/v1/telemetry/d%201"), HTTP_FINE);
	assert_int_equal(target.route, ROUTE_DEVICE);
	assert_int_equal(target.device.len, 5);
	assert_null(target.channel.text);
	assert_int_equal(http_target_parse(&target, "/v1/telemetry/d/a/b"), HTTP_FINE);
	assert_int_equal(target.device.len, 1);
	assert_string_equal(target.channel.text, "a/b");
	assert_int_equal(http_target_parse(&target, "/v1/telemetry/d/"), HTTP_FINE);
	assert_null(target.channel.text);
	assert_int_equal(http_target_parse(&target, "http://host:80/v1/telemetry/d"), HTTP_FINE);
	assert_int_equal(target.device.len, 1);
}

static void other_paths_are_not_found(void **state)
{
	(void)state;
	static const char *const other[] = {
	    "", "/", "*", "/v1", "/v1/telemetryx", "/v2/telemetry/d", "v1/telemetry", "/V1/telemetry", "http://h"};
	for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++)
		assert_int_equal(http_target_parse(&target, other[i]), HTTP_NOT_FOUND);
}

static void empty_device_and_control_bytes_are_refused(void **state)
{
	(void)state;
	assert_int_equal(http_target_parse(&target, "/v1/telemetry/"), HTTP_BAD_TARGET);
	assert_int_equal(http_target_parse(&target, "/v1/telemetry//x"), HTTP_BAD_TARGET);
	assert_int_equal(http_target_parse(&target, "/v1/telemetry/a\x01"), HTTP_BAD_TARGET);
	assert_int_equal(http_target_parse(&target, "/v1/telemetry/a b"), HTTP_BAD_TARGET);
	assert_int_equal(http_target_parse(&target, "/\x7f"), HTTP_BAD_TARGET);
}

static void target_that_others_read_differently_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"/v1/telemetry/d#x",       "/v1/telemetry#",   "/v1/telemetry/d//c",
	                                  "//v1/telemetry/d",        "/v1//telemetry/d", "/v1/telemetry/d/c//",
	                                  "http://h//v1/telemetry/d"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (http_target_parse(&target, bad[i]) != HTTP_BAD_TARGET)
			fail_msg("%s", bad[i]);
	assert_int_equal(http_target_parse(&target, "https://h/v1/telemetry/d"), HTTP_MISDIRECTED);
	assert_int_equal(http_target_parse(&target, "coap://h/v1/telemetry/d"), HTTP_MISDIRECTED);
	assert_int_equal(http_target_parse(&target, "HTTP://h/v1/telemetry/d"), HTTP_FINE);
}

static bool decode(const char *text, char *out, size_t room)
{
	size_t len;
	struct http_text raw = {guard_copy(text, strlen(text)), strlen(text)};
	bool good = http_text_decode(raw, out, room, &len);
	if (good)
		out[len] = 0;
	return good;
}

static void percent_encoding_is_decoded_once(void **state)
{
	(void)state;
	char out[64];
	assert_true(decode("a%20b%2Fc%C3%A4%252e", out, 63));
	assert_string_equal(out, "a b/c\xc3\xa4%2e");
	assert_true(decode("...", out, 63));
	assert_true(decode("a..b/.c", out, 63));
}

static void bad_encodings_and_dot_segments_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"%",  "%4", "%zz",    "a%0",    "%00",   "a%1fb", "%7F",
	                                  "..", ".",  "a/../b", "%2e%2e", "a/%2E", "./a",   "a/.."};
	char out[64];
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (decode(bad[i], out, 63))
			fail_msg("taken: %s", bad[i]);
	assert_true(decode("abcd", out, 4));
	assert_false(decode("abcde", out, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_request_is_fine),
	    cmocka_unit_test(ambiguous_framing_is_refused),
	    cmocka_unit_test(one_host_is_needed_in_1_1),
	    cmocka_unit_test(names_and_values_have_no_controls),
	    cmocka_unit_test(quoted_key_is_the_same_as_its_text),
	    cmocka_unit_test(media_name_is_the_type_alone),
	    cmocka_unit_test(target_that_others_read_differently_is_refused),
	    cmocka_unit_test(what_may_stand_once_is_refused_twice),
	    cmocka_unit_test(codings_that_are_not_served_are_refused),
	    cmocka_unit_test(expectations_but_one_fail),
	    cmocka_unit_test(idempotency_key_is_short_and_printable),
	    cmocka_unit_test(content_types_say_what_a_payload_is),
	    cmocka_unit_test(paths_are_routed),
	    cmocka_unit_test(other_paths_are_not_found),
	    cmocka_unit_test(empty_device_and_control_bytes_are_refused),
	    cmocka_unit_test(percent_encoding_is_decoded_once),
	    cmocka_unit_test(bad_encodings_and_dot_segments_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
