/* From a message to a record: the exact bytes of every form, what is refused, and that the room planned is always
 * enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/base/clock.h"
#include "gateway/normalise.h"
#include "test/unit/guard.h"

#define NOW INT64_C(1795336620123456) /* 2026-11-22T08:37:00.123456Z */
#define TIME "2026-11-22T08:37:00.123456Z"

static struct listener_settings defaults(void)
{
	return (struct listener_settings){.payload = PAYLOAD_AUTO,
	                                  .max_depth = 64,
	                                  .max_payload = 256 << 10,
	                                  .lane = 2 << 20,
	                                  .time_past = UINT64_C(7) * 86400000000,
	                                  .time_future = UINT64_C(3600000000)};
}

static struct message text_message(const char *payload)
{
	return (struct message){
	    .device = "d1", .device_len = 2, .payload = payload, .payload_len = strlen(payload), .qos = -1};
}

struct result {
	enum gw_err err;
	struct refusal refusal;
	struct record record;
	size_t size;
	char json[1 << 20];
	uint8_t *entry; /* owned */
};
static struct result result;

/* Normalises one message with a fresh normaliser; the payload ends at an unreadable page. */
static struct result *normalise(const struct listener_settings *settings, struct message m)
{
	struct normaliser n;
	static struct normalise_plan plan;
	struct why why;
	free(result.entry);
	memset(&result, 0, sizeof(result));
	if (m.payload_len > 0)
		m.payload = guard_copy(m.payload, m.payload_len);
	assert_int_equal(normalise_init(&n, &(struct normalise_source){"tcp", "line", settings}, 0x12345678, 7, &why),
	                 GW_OK);
	result.err = normalise_plan(&n, &m, NOW, &plan, &result.refusal);
	if (result.err == GW_OK) {
		assert_int_equal(plan.room % 8, 0);
		result.entry = malloc(plan.room); /* a byte more is found by the address sanitizer */
		assert_non_null(result.entry);
		result.size = normalise_write(&n, &plan, NOW, result.entry);
		assert_true(result.size <= plan.room);
		assert_true(record_check(result.entry, result.size));
		record_read(&result.record, result.entry);
		assert_int_equal(result.record.size, result.size);
		memcpy(result.json, record_json(result.entry), result.record.json_len);
		assert_int_equal(json_check(result.json, result.record.json_len, 200).type, JSON_OBJECT);
		assert_null(strchr(result.json, '\n'));
	}
	normalise_fini(&n);
	return &result;
}

/* The record without its id, which the test of identities looks at. */
static const char *without_id(struct result *r)
{
	char *id = strstr(r->json, "\"event\":{\"id\":\"") + 15;
	for (int i = 0; i < 26; i++)
		id[i] = 'I';
	return r->json;
}

#define HEAD                                                                                                           \
	"{\"@timestamp\":\"" TIME "\",\"event\":{\"id\":\"IIIIIIIIIIIIIIIIIIIIIIIIII\"},\"device\":{\"id\":\"d1\"},"
#define FROM "\"network\":{\"protocol\":\"tcp\"},\"sluice\":{\"v\":1,\"listener\":\"line\"}"

static void assert_payload(const struct listener_settings *s, struct message m, const char *payload)
{
	char expected[4096];
	struct result *r = normalise(s, m);
	assert_int_equal(r->err, GW_OK);
	snprintf(expected, sizeof(expected), HEAD FROM ",\"payload\":%s}", payload);
	assert_string_equal(without_id(r), expected);
	assert_int_equal(r->record.kind, RECORD_TELEMETRY);
	assert_int_equal(r->record.time_us, NOW);
	assert_int_equal(r->record.received_us, NOW);
	assert_int_equal(r->record.flags, 0);
	assert_memory_equal(record_json(r->entry) + r->record.device_at, "d1", 2);
}

/* Kept as text or base64, and the record says why. */
static void assert_flagged(const struct listener_settings *s, struct message m, const char *fault, const char *payload)
{
	char expected[256];
	struct result *r = normalise(s, m);
	assert_int_equal(r->err, GW_OK);
	snprintf(expected, sizeof(expected), "\"listener\":\"line\",\"not_json\":\"%s\"},\"payload\":%s}", fault,
	         payload);
	assert_non_null(strstr(r->json, expected));
	assert_int_equal(r->record.kind, RECORD_TELEMETRY);
}

static void every_form_of_payload_has_its_place(void **unused)
{
	(void)unused;
	static const char *const cases[][2] = {
	    {"{\"a\":1}", "{\"a\":1}"},
	    {"  {\"a\": 9007199254740993, \"b\":1.10e400}\r\n", "{\"a\": 9007199254740993, \"b\":1.10e400}"},
	    {"{\n\t\"a\":\r\n1}", "{ \t\"a\":  1}"}, /* one line */
	    {"{}", "{}"},
	    {"21.50", "{\"number\":21.50}"},
	    {" -0 ", "{\"number\":-0}"},
	    {"true", "{\"boolean\":true}"},
	    {"false", "{\"boolean\":false}"},
	    {"null", "{\"null\":null}"},
	    {"\"on\"", "{\"text\":\"on\"}"},
	    {"\"a\\u0000\\\"\"", "{\"text\":\"a\\u0000\\\"\"}"},
	    {"[1, [2]\n]", "{\"array\":[1, [2] ]}"},
	    {"on", "{\"text\":\"on\"}"},
	    {"say \"hi\"\\\n\x01\x7f", "{\"text\":\"say \\\"hi\\\"\\\\\\n\\u0001\x7f\"}"},
	    {"gr\xc3\xbc\xc3\x9f", "{\"text\":\"gr\xc3\xbc\xc3\x9f\"}"},
	    {"\xff\x01", "{\"base64\":\"/wE=\"}"},
	    {"", "{\"text\":\"\"}"},
	};
	struct listener_settings s = defaults();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_payload(&s, text_message(cases[i][0]), cases[i][1]);
}

static void what_the_sender_declares_wins_over_the_setting(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct message m = text_message("{\"a\":1}");
	m.kind = PAYLOAD_TEXT;
	assert_payload(&s, m, "{\"text\":\"{\\\"a\\\":1}\"}");
	m.kind = PAYLOAD_BINARY;
	assert_payload(&s, m, "{\"base64\":\"eyJhIjoxfQ==\"}");
	m.kind = PAYLOAD_AUTO;
	s.payload = PAYLOAD_BINARY;
	assert_payload(&s, m, "{\"base64\":\"eyJhIjoxfQ==\"}");
	m.kind = PAYLOAD_JSON;
	assert_payload(&s, m, "{\"a\":1}");
	m = text_message("\xff");
	m.kind = PAYLOAD_TEXT;
	assert_payload(&s, m, "{\"base64\":\"/w==\"}");
}

static void declared_json_that_is_none_is_refused_wrapped_or_dead(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct message m = text_message("{\"broken\":");
	m.kind = PAYLOAD_JSON;
	struct result *r = normalise(&s, m);
	assert_int_equal(r->err, GW_INVALID);
	assert_int_equal(r->refusal.reason, REFUSED_PAYLOAD);
	assert_int_equal(r->refusal.offset, 10);
	assert_non_null(r->refusal.text);
	s.on_invalid = INVALID_WRAP;
	assert_flagged(&s, m, "truncated", "{\"text\":\"{\\\"broken\\\":\"}");
	s.on_invalid = INVALID_DEAD_LETTER;
	r = normalise(&s, m);
	assert_int_equal(r->err, GW_OK);
	assert_int_equal(r->record.kind, RECORD_DEAD);
	assert_non_null(strstr(r->json, "\"listener\":\"line\",\"error\":{\"offset\":10,\"reason\":\""));
	assert_non_null(strstr(r->json, "\"payload\":{\"text\":\"{\\\"broken\\\":\"}}"));
	m.kind = PAYLOAD_AUTO; /* undeclared: text, and alive */
	assert_flagged(&s, m, "truncated", "{\"text\":\"{\\\"broken\\\":\"}");
}

static void what_was_meant_to_be_json_is_flagged(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	static const char *const cases[][3] = {
	    {"{\"a\":1} x", "trailing_bytes", "{\"text\":\"{\\\"a\\\":1} x\"}"},
	    {"{\"t\":nan}", "not_a_number", "{\"text\":\"{\\\"t\\\":nan}\"}"},
	    {"{\"t\":1,}", "syntax", "{\"text\":\"{\\\"t\\\":1,}\"}"},
	    {"{\"u\":\"\xb0"
	     "C\"}",
	     "encoding", "{\"base64\":\"eyJ1IjoisEMifQ==\"}"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_flagged(&s, text_message(cases[i][0]), cases[i][1], cases[i][2]);
	assert_payload(&s, text_message("[INFO] up"), "{\"text\":\"[INFO] up\"}"); /* prose is not */
	s.payload = PAYLOAD_TEXT;
	assert_payload(&s, text_message("{"), "{\"text\":\"{\"}"); /* nor what is text by the configuration */
}

static void a_mark_in_front_and_nuls_behind_are_left_out(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	static const char nul[] = "{\"t\":1}\0", both[] = "\xef\xbb\xbf {\"t\":1}\r\n\0\0\n";
	struct message m = text_message("\xef\xbb\xbf{\"t\":1}");
	assert_payload(&s, m, "{\"t\":1}");
	m.kind = PAYLOAD_JSON;
	assert_payload(&s, m, "{\"t\":1}");
	m.payload = nul;
	m.payload_len = sizeof(nul); /* two of them, as with sizeof */
	assert_payload(&s, m, "{\"t\":1}");
	m.payload = both;
	m.payload_len = sizeof(both);
	assert_payload(&s, m, "{\"t\":1}");
	struct json_pointer device;
	assert_true(json_pointer_init(&device, "/t"));
	m.device_pointer = &device;
	m.device_pointers = 1;
	struct result *r = normalise(&s, m);
	assert_int_equal(r->record.device_len, 1);
	assert_int_equal(r->json[r->record.device_at], '1');
	json_pointer_fini(&device);
	m = text_message("\xef\xbb\xbf{\"t\":}");
	m.kind = PAYLOAD_JSON;
	assert_int_equal(normalise(&s, m)->refusal.offset, 8); /* of the payload as it came */
}

static void the_first_pointer_that_finds_something_names_the_device(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct json_pointer pointers[2];
	char name[DEVICE_MAX];
	assert_true(json_pointer_init(&pointers[0], "/a") && json_pointer_init(&pointers[1], "/b"));
	static const char *const cases[][2] = {
	    {"{\"b\":\"y\",\"a\":\"x\"}", "x"}, {"{\"b\":\"y\"}", "y"}, {"{\"c\":1}", "d1"}};
	for (size_t i = 0; i < 3; i++) {
		struct message m = text_message(cases[i][0]);
		m.device_pointer = pointers;
		m.device_pointers = 2;
		struct result *r = normalise(&s, m);
		size_t len = record_device(name, r->entry);
		assert_int_equal(len, strlen(cases[i][1]));
		assert_memory_equal(name, cases[i][1], len);
	}
	json_pointer_fini(&pointers[0]);
	json_pointer_fini(&pointers[1]);
}

/* Behind one address are many devices. */
static void unreadable_json_is_not_booked_on_an_address(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct json_pointer device;
	assert_true(json_pointer_init(&device, "/device"));
	static const char *const bad[] = {"{\"device\":\"a\"}{\"device\":\"b\"}",
	                                  "{",
	                                  "  \"device\": \"t27\",",
	                                  "}",
	                                  "[{\"device\":",
	                                  "[1,2",
	                                  "[1, nan]"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct message m = text_message(bad[i]);
		m.device_pointer = &device;
		m.device_pointers = 1;
		m.device_is_address = true;
		assert_int_equal(normalise(&s, m)->err, GW_INVALID);
		assert_int_equal(result.refusal.reason, REFUSED_PAYLOAD);
		s.on_invalid = INVALID_WRAP; /* the configuration says so */
		assert_int_equal(normalise(&s, m)->err, GW_OK);
		s.on_invalid = INVALID_DEAD_LETTER;
		assert_int_equal(normalise(&s, m)->record.kind, RECORD_DEAD);
		s.on_invalid = INVALID_REFUSE;
		m.device_is_address = false; /* the sender is known by a name of its own */
		assert_int_equal(normalise(&s, m)->err, GW_OK);
		m.device_is_address = true;
		m.device_pointers = 0; /* nothing was to be found in it */
		assert_int_equal(normalise(&s, m)->err, GW_OK);
	}
	static const char *const good[] = {"hello", "21.4;53", "[INFO] up", "[2026-11-22] up", "{\"t\":1}", ""};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct message m = text_message(good[i]);
		m.device_pointer = &device;
		m.device_pointers = 1;
		m.device_is_address = true;
		assert_int_equal(normalise(&s, m)->err, GW_OK);
	}
	json_pointer_fini(&device);
}

static void a_senml_pack_is_one_record_with_its_base_fields(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct json_pointer name;
	s.time = (struct time_settings){.pointer = "/bt", .format = JSON_TIME_UNIX};
	assert_true(json_pointer_init(&name, "/bn"));
	struct message m = text_message(" [{\"bn\":\"urn:dev:1:\",\"bt\":1795336600.5,\"n\":\"{\",\"v\":1.20},\n{\"n\":"
	                                "\"}\\\"\",\"t\":-5,\"v\":2}] ");
	m.kind = PAYLOAD_SENML;
	m.device_pointer = &name;
	m.device_pointers = 1;
	struct result *r = normalise(&s, m);
	assert_int_equal(r->err, GW_OK);
	assert_int_equal(r->record.time_us, INT64_C(1795336600500000));
	assert_memory_equal(r->json + r->record.device_at, "urn:dev:1:", 10);
	assert_non_null(strstr(
	    r->json, "\"payload\":{\"array\":[{\"bn\":\"urn:dev:1:\",\"bt\":1795336600.5,\"n\":\"{\",\"v\":1.20}, "
	             "{\"n\":\"}\\\"\",\"t\":-5,\"v\":2}]}}"));
	static const struct {
		const char *text;
		size_t offset;
	} bad[] = {{"{\"v\":1}", 0}, {"[]", 1}, {"[1]", 1}, {"[{\"v\":1},[]]", 9}, {"[{\"v\":1}", 8}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m = text_message(bad[i].text);
		m.kind = PAYLOAD_SENML;
		assert_int_equal(normalise(&s, m)->err, GW_INVALID);
		assert_int_equal(result.refusal.reason, REFUSED_PAYLOAD);
		assert_int_equal(result.refusal.offset, bad[i].offset);
	}
	json_pointer_fini(&name);
}

/* The device hears that it was taken: it does not come again. */
static void what_is_acknowledged_all_the_same_becomes_a_dead_letter(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct message m = text_message("{\"a\":1}");
	m.device = NULL;
	m.sender = "client-1";
	m.sender_len = 8;
	assert_int_equal(normalise(&s, m)->refusal.reason, REFUSED_NO_DEVICE);
	s.on_invalid = INVALID_DEAD_LETTER;
	struct result *r = normalise(&s, m);
	assert_int_equal(r->err, GW_OK);
	assert_int_equal(r->record.kind, RECORD_DEAD);
	assert_non_null(strstr(r->json, "\"device\":{\"id\":\"client-1\"}"));
	assert_non_null(strstr(r->json, "\"reason\":\"no device identifier"));
	assert_non_null(strstr(r->json, "\"payload\":{\"a\":1}"));
	char device[DEVICE_MAX + 1], channel[CHANNEL_MAX + 1];
	memset(device, '\1', sizeof(device));
	memset(channel, 'c', sizeof(channel));
	memcpy(channel + CHANNEL_MAX - 1, "\xc3\xa4", 2); /* cut before, not inside */
	m.device = device;
	m.device_len = sizeof(device);
	m.channel = channel;
	m.channel_len = sizeof(channel);
	r = normalise(&s, m);
	assert_int_equal(r->record.kind, RECORD_DEAD);
	const char *at = strstr(r->json, "\"channel\":\"");
	assert_int_equal(strspn(at + 11, "c"), CHANNEL_MAX - 1);
	m.sender = NULL;
	assert_int_equal(normalise(&s, m)->err, GW_INVALID);
}

static void too_deep_json_is_no_json(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	s.max_depth = 3;
	assert_payload(&s, text_message("[[[1]]]"), "{\"array\":[[[1]]]}");
	struct message m = text_message("[[[[1]]]]");
	m.kind = PAYLOAD_JSON;
	assert_int_equal(normalise(&s, m)->refusal.reason, REFUSED_PAYLOAD);
}

static void the_channel_and_the_rest_stand_in_their_places(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	char *include[] = {"source", "content_type"};
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(40000)};
	inet_pton(AF_INET6, "::ffff:192.0.2.7", &mapped.sin6_addr);
	struct message m = text_message("1");
	m.channel = "a/\"b\"";
	m.channel_len = 5;
	m.qos = 1;
	m.retain = true;
	m.idempotency_key = "k\\1";
	m.idempotency_key_len = 3;
	m.content_type = "text/plain";
	m.content_type_len = 10;
	m.peer = (struct sockaddr *)&mapped;
	struct result *r = normalise(&s, m); /* neither is asked for */
	assert_string_equal(
	    without_id(r), HEAD
	    "\"network\":{\"protocol\":\"tcp\"},\"sluice\":{\"v\":1,\"listener\":\"line\",\"channel\":\"a/\\\"b\\\"\","
	    "\"qos\":1,\"retain\":true,\"idempotency_key\":\"k\\\\1\"},\"payload\":{\"number\":1}}");
	s.include = (struct string_list){.items = include, .count = 2};
	r = normalise(&s, m);
	assert_non_null(strstr(
	    r->json, "\"k\\\\1\",\"content_type\":\"text/plain\"},\"source\":{\"ip\":\"192.0.2.7\",\"port\":40000},"));
	inet_pton(AF_INET6, "2001:db8::1", &mapped.sin6_addr);
	assert_non_null(strstr(normalise(&s, m)->json, "\"source\":{\"ip\":\"2001:db8::1\",\"port\":40000}"));
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(7)};
	inet_pton(AF_INET, "127.0.0.1", &four.sin_addr);
	m.peer = (struct sockaddr *)&four;
	assert_non_null(strstr(normalise(&s, m)->json, "\"source\":{\"ip\":\"127.0.0.1\",\"port\":7}"));
}

static void bytes_of_headers_never_spoil_the_record(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	char *include[] = {"content_type"};
	s.include = (struct string_list){.items = include, .count = 1};
	struct message m = text_message("1");
	m.content_type = "text/\xe9";
	m.content_type_len = 6;
	m.idempotency_key = "k\xff\xc3";
	m.idempotency_key_len = 3;
	assert_int_equal(normalise(&s, m)->err, GW_OK); /* normalise checks that the record is JSON */
}

static void a_device_is_found_by_its_pointer_first(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct json_pointer device, channel;
	char name[DEVICE_MAX];
	assert_true(json_pointer_init(&device, "/id") && json_pointer_init(&channel, "/ch"));
	static const char *const cases[][3] = {
	    /* payload, device, as it stands in the record */
	    {"{\"id\":\"x\"}", "x", "x"},
	    {"{\"id\":17}", "17", "17"},
	    {"{\"id\":\"a\\u00e9\\\"\"}", "a\xc3\xa9\"", "a\xc3\xa9\\\""},
	    {"{\"id\":\"\\/\"}", "/", "/"},
	    {"{\"id\":null}", "d1", "d1"},
	    {"{\"id\":{}}", "d1", "d1"},
	    {"{\"x\":1}", "d1", "d1"},
	    {"not json", "d1", "d1"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct message m = text_message(cases[i][0]);
		m.device_pointer = &device;
		m.device_pointers = 1;
		struct result *r = normalise(&s, m);
		assert_int_equal(r->err, GW_OK);
		size_t len = record_device(name, r->entry);
		assert_int_equal(len, strlen(cases[i][1]));
		assert_memory_equal(name, cases[i][1], len);
		assert_int_equal(r->record.device_len, strlen(cases[i][2]));
		assert_memory_equal(r->json + r->record.device_at, cases[i][2], strlen(cases[i][2]));
		assert_int_equal(!!(r->record.flags & RECORD_DEVICE_ESCAPED), strcmp(cases[i][1], cases[i][2]) != 0);
	}
	struct message m = text_message("{\"id\":\"x\",\"ch\":\"env\\n\\u0000\"}");
	m.device_pointer = &device;
	m.device_pointers = 1;
	m.channel_pointer = &channel;
	m.channel = "other";
	m.channel_len = 5;
	assert_non_null(strstr(normalise(&s, m)->json, "\"channel\":\"env\\n\\u0000\""));
	m = text_message("{}");
	m.device_pointer = &device;
	m.device_pointers = 1;
	m.device = NULL;
	assert_int_equal(normalise(&s, m)->refusal.reason, REFUSED_NO_DEVICE);
	json_pointer_fini(&device);
	json_pointer_fini(&channel);
}

static void bad_names_are_refused(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct json_pointer pointer;
	char longest[CHANNEL_MAX + 1], payload[8000];
	json_pointer_init(&pointer, "/id");
	memset(longest, 'x', sizeof(longest));
	static const char *const bad[] = {"",      "a\x01",     "a\x7f",         "\xff",
	                                  "a\xc3", "a\xc2\x85", "a\xe2\x80\xae", "\xe2\x81\xa6z"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct message m = text_message("1");
		m.device = bad[i];
		m.device_len = strlen(bad[i]);
		assert_int_equal(normalise(&s, m)->err, GW_INVALID);
		assert_int_equal(result.refusal.reason, REFUSED_DEVICE);
	}
	static const char *const bad_payloads[] = {"{\"id\":\"\"}",          "{\"id\":\"a\x7f\"}",
	                                           "{\"id\":\"a\\u007f\"}",  "{\"id\":\"\\n\"}",
	                                           "{\"id\":\"a\xc2\x85\"}", "{\"id\":\"a\\u202e\"}"};
	for (size_t i = 0; i < sizeof(bad_payloads) / sizeof(bad_payloads[0]); i++) {
		struct message in_payload = text_message(bad_payloads[i]);
		in_payload.device_pointer = &pointer;
		in_payload.device_pointers = 1;
		assert_int_equal(normalise(&s, in_payload)->err, GW_INVALID);
		assert_int_equal(result.refusal.reason, REFUSED_DEVICE);
	}
	struct message m = text_message("1");
	m.device = longest;
	m.device_len = DEVICE_MAX;
	assert_int_equal(normalise(&s, m)->err, GW_OK);
	m.device_len = DEVICE_MAX + 1;
	assert_int_equal(normalise(&s, m)->refusal.reason, REFUSED_DEVICE);
	m = text_message("1");
	m.channel = longest;
	m.channel_len = CHANNEL_MAX;
	assert_int_equal(normalise(&s, m)->err, GW_OK);
	m.channel_len = CHANNEL_MAX + 1;
	assert_int_equal(normalise(&s, m)->refusal.reason, REFUSED_CHANNEL);
	m.channel = "\xff";
	m.channel_len = 1;
	assert_int_equal(normalise(&s, m)->refusal.reason, REFUSED_CHANNEL);
	/* found in the payload: just fitting, one over, in escapes, empty */
	for (size_t len = 0; len <= DEVICE_MAX + 1; len += len == 1 ? DEVICE_MAX - 1 : 1) {
		for (int escaped = 0; escaped < 2; escaped++) {
			size_t at = (size_t)sprintf(payload, "{\"id\":\"");
			for (size_t i = 0; i < len; i++)
				at += (size_t)sprintf(payload + at, escaped ? "\\u0061" : "a");
			sprintf(payload + at, "\"}");
			m = text_message(payload);
			m.device_pointer = &pointer;
			m.device_pointers = 1;
			assert_int_equal(normalise(&s, m)->err, len > 0 && len <= DEVICE_MAX ? GW_OK : GW_INVALID);
		}
	}
	m = text_message("{\"id\":\"a\\u0007\"}");
	m.device_pointer = &pointer;
	m.device_pointers = 1;
	assert_int_equal(normalise(&s, m)->refusal.reason, REFUSED_DEVICE);
	json_pointer_fini(&pointer);
}

static void sizes_are_limited(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	static char payload[300 << 10];
	memset(payload, 'x', sizeof(payload));
	struct message m = text_message("");
	m.payload = payload;
	m.payload_len = s.max_payload;
	assert_int_equal(normalise(&s, m)->err, GW_OK);
	m.payload_len++;
	assert_int_equal(normalise(&s, m)->err, GW_TOOBIG);
	assert_int_equal(result.refusal.reason, REFUSED_TOO_LARGE);
	memset(payload, 1, sizeof(payload)); /* six times as long when it is escaped: over a quarter of the lane */
	m.payload_len = s.max_payload;
	assert_int_equal(normalise(&s, m)->err, GW_TOOBIG);
	m.payload_len = 80 << 10;
	assert_int_equal(normalise(&s, m)->err, GW_OK);
}

static void the_devices_own_time_is_used_where_it_is_plausible(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	char pointer[] = "/ts";
	s.time.pointer = pointer;
	s.time.format = JSON_TIME_UNIX_MS;
	struct result *r = normalise(&s, text_message("{\"ts\":1795336619500}"));
	assert_string_equal(without_id(r),
	                    "{\"@timestamp\":\"2026-11-22T08:36:59.500000Z\",\"event\":{\"id\":"
	                    "\"IIIIIIIIIIIIIIIIIIIIIIIIII\",\"created\":\"" TIME "\"},\"device\":{\"id\":\"d1\"}," FROM
	                    ",\"payload\":{\"ts\":1795336619500}}");
	assert_int_equal(r->record.time_us, INT64_C(1795336619500000));
	assert_int_equal(r->record.received_us, NOW);
	assert_int_equal(r->record.flags, RECORD_TIME_DEVICE);
	static const char *const disbelieved[][2] = {
	    {"{\"ts\":1}", "behind"}, /* 1970 */
	    {"{\"ts\":1795509419500}", "ahead"},
	    {"{\"ts\":1795336619500000}", "unreadable"}, /* microseconds: beyond 9999 */
	    {"{\"ts\":\"soon\"}", "unreadable"}};
	for (size_t i = 0; i < sizeof(disbelieved) / sizeof(disbelieved[0]); i++) {
		char expected[512];
		r = normalise(&s, text_message(disbelieved[i][0]));
		snprintf(
		    expected, sizeof(expected),
		    HEAD
		    "\"network\":{\"protocol\":\"tcp\"},\"sluice\":{\"v\":1,\"listener\":\"line\",\"clock\":\"%s\"},"
		    "\"payload\":%s}",
		    disbelieved[i][1], disbelieved[i][0]);
		assert_string_equal(without_id(r), expected);
		assert_int_equal(r->record.time_us, NOW);
		assert_int_equal(r->record.flags, 0);
	}
	assert_payload(&s, text_message("{\"t\":1}"), "{\"t\":1}");
	assert_payload(&s, text_message("17"), "{\"number\":17}");
	char payload[64];
	for (int over = 0; over < 2; over++) { /* the window, to the millisecond */
		snprintf(payload, sizeof(payload), "{\"ts\":%lld}", (long long)(NOW / 1000 + 3600000 + over));
		assert_int_equal(normalise(&s, text_message(payload))->record.flags, over ? 0 : RECORD_TIME_DEVICE);
		snprintf(payload, sizeof(payload), "{\"ts\":%lld}",
		         (long long)(NOW / 1000 + 1 - 7 * INT64_C(86400000) - over));
		assert_int_equal(normalise(&s, text_message(payload))->record.flags, over ? 0 : RECORD_TIME_DEVICE);
	}
}

static void a_record_of_ours_is_kept_as_it_is(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	static const char ours[] =
	    "{\"@timestamp\":\"2026-11-20T01:02:03.000004Z\",\"event\":{\"id\":\"01KANKB4KV9F3M0C0200000000\"},"
	    "\"device\":{\"id\":\"far\"},"
	    "\"network\":{\"protocol\":\"mqtt\"},\"sluice\":{\"v\":1,\"listener\":\"x\"},\"payload\":{\"a\":1}}";
	struct result *r = normalise(&s, text_message(ours)); /* not asked for: wrapped like any object */
	assert_int_not_equal(r->record.json_len, strlen(ours));
	s.envelope = 1;
	r = normalise(&s, text_message(ours));
	assert_int_equal(r->record.json_len, strlen(ours));
	assert_string_equal(r->json, ours);
	assert_memory_equal(record_id(r->entry), "01KANKB4KV9F3M0C0200000000", 26);
	char name[DEVICE_MAX];
	assert_int_equal(record_device(name, r->entry), 3);
	assert_memory_equal(name, "far", 3);
	int64_t us;
	struct json_value v = {.type = JSON_STRING, .text = "\"2026-11-20T01:02:03.000004Z\"", .len = 29};
	assert_true(json_time(&v, JSON_TIME_RFC3339, &us));
	assert_int_equal(r->record.time_us, us);
	assert_int_equal(r->record.received_us, NOW);
	/* whatever is not quite one is wrapped */
	static const char *const changes[][2] = {{"\"v\":1", "\"v\":2"},
	                                         {"\"v\":1", "\"v\":11"},
	                                         {"0200000000\"", "020000000\""},
	                                         {"01KANKB4", "01kankb4"},
	                                         {"\"far\"", "\"\""},
	                                         {"\"far\"", "\"f\\u0000r\""},
	                                         {"\"far\"", "17"},
	                                         {"2026-11-20T", "2026-13-20T"},
	                                         {"{\"a\":1}", "[1]"},
	                                         {"\"payload\"", "\"Payload\""}};
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		char other[512];
		const char *at = strstr(ours, changes[i][0]);
		snprintf(other, sizeof(other), "%.*s%s%s", (int)(at - ours), ours, changes[i][1],
		         at + strlen(changes[i][0]));
		r = normalise(&s, text_message(other));
		assert_int_equal(r->err, GW_OK);
		assert_memory_equal(r->json, "{\"@timestamp\":\"" TIME, 15 + 27);
		assert_non_null(strstr(r->json, "\"device\":{\"id\":\"d1\"}"));
	}
	/* so is one of another device than the sender is known to be */
	struct message named = text_message(ours);
	named.device_named = true;
	assert_non_null(strstr(normalise(&s, named)->json, "\"device\":{\"id\":\"d1\"}"));
	named.device = "far";
	named.device_len = 3;
	assert_string_equal(normalise(&s, named)->json, ours);
	/* a device with escapes stays as it is written */
	char escaped[512];
	const char *far = strstr(ours, "\"far\"");
	snprintf(escaped, sizeof(escaped), "%.*s%s%s", (int)(far - ours), ours, "\"f\\u0061r\\\\\"", far + 5);
	r = normalise(&s, text_message(escaped));
	assert_string_equal(r->json, escaped);
	assert_int_equal(r->record.flags & RECORD_DEVICE_ESCAPED, RECORD_DEVICE_ESCAPED);
	assert_int_equal(record_device(name, r->entry), 4);
	assert_memory_equal(name, "far\\", 4);
	/* line breaks become spaces, and offsets stay right */
	char lines[512];
	snprintf(lines, sizeof(lines), "  %s", ours);
	*strchr(lines, ',') = ',';
	char *comma = strstr(lines, ",\"device\"");
	memmove(comma + 2, comma + 1, strlen(comma));
	comma[1] = '\n';
	r = normalise(&s, text_message(lines));
	assert_memory_equal(record_id(r->entry), "01KANKB4KV9F3M0C0200000000", 26);
	assert_int_equal(record_device(name, r->entry), 3);
	assert_memory_equal(name, "far", 3);
}

/* Everything at its largest and worst at the same time. */
static void the_room_that_is_planned_is_always_enough(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	char *include[] = {"source", "content_type"};
	s.include = (struct string_list){.items = include, .count = 2};
	s.on_invalid = INVALID_DEAD_LETTER;
	char pointer[] = "/ts";
	s.time.pointer = pointer;
	s.time.format = JSON_TIME_UNIX;
	char device[DEVICE_MAX], channel[CHANNEL_MAX], key[300], type[300];
	memset(device, '"', sizeof(device));
	memset(channel, 1, sizeof(channel));
	memset(key, 1, sizeof(key));
	memset(type, '\\', sizeof(type));
	struct sockaddr_in6 peer = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};
	inet_pton(AF_INET6, "2001:db8:1111:2222:3333:4444:5555:6666", &peer.sin6_addr);
	static const char *const payloads[] = {
	    "",   "\x01\x01", "\xff\xff\xff\xff", "{",        "[\"\\ud800\"]", "{\"ts\":1795336600}", "[[[[1]]",
	    "1e", "\"",       "\"\x01",           "{\"a\":1}"};
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		for (int kind = PAYLOAD_AUTO; kind <= PAYLOAD_BINARY; kind++) {
			struct message m = {.device = device,
			                    .device_len = sizeof(device),
			                    .channel = channel,
			                    .channel_len = sizeof(channel),
			                    .payload = payloads[i],
			                    .payload_len = strlen(payloads[i]),
			                    .kind = (enum payload_kind)kind,
			                    .qos = 2,
			                    .retain = true,
			                    .content_type = type,
			                    .content_type_len = sizeof(type),
			                    .idempotency_key = key,
			                    .idempotency_key_len = sizeof(key),
			                    .peer = (struct sockaddr *)&peer};
			assert_int_equal(normalise(&s, m)->err, GW_OK);
			char name[DEVICE_MAX];
			assert_int_equal(record_device(name, result.entry), DEVICE_MAX);
			assert_memory_equal(name, device, DEVICE_MAX);
		}
}

static void the_time_of_receipt_is_right_over_seconds(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct normaliser n;
	static struct normalise_plan plan;
	struct refusal refusal;
	struct why why;
	_Alignas(8) uint8_t entry[4096];
	char expected[CLOCK_FORMAT_LEN];
	assert_int_equal(normalise_init(&n, &(struct normalise_source){"tcp", "line", &s}, 1, 1, &why), GW_OK);
	struct message m = text_message("1");
	static const int64_t steps[] = {0, 1, 999999, 1, 876543, 1000000, 60000000, -5000000, 86400000000, 123456};
	int64_t now = NOW;
	for (size_t i = 0; i < 40; i++) {
		now += steps[i % 10];
		assert_int_equal(normalise_plan(&n, &m, now, &plan, &refusal), GW_OK);
		normalise_write(&n, &plan, now, entry);
		clock_format(expected, now);
		assert_memory_equal(record_json(entry) + 15, expected, CLOCK_FORMAT_LEN);
	}
	normalise_fini(&n);
}

static void dates_are_those_of_the_calendar(void **unused)
{
	(void)unused;
	char text[CLOCK_FORMAT_LEN + 1] = "", expected[64];
	unsigned random = 1;
	for (int i = 0; i < 300000; i++) {
		int64_t second =
		    i < 800 ? (i - 400) * INT64_C(86400) + (i % 3 - 1)
		            : -INT64_C(62135596800) + (int64_t)((uint64_t)rand_r(&random) * (uint64_t)rand_r(&random) %
		                                                UINT64_C(315537897600));
		unsigned micro = (unsigned)rand_r(&random) % 1000000;
		struct tm tm;
		time_t t = (time_t)second;
		assert_non_null(gmtime_r(&t, &tm));
		clock_format(text, second * 1000000 + micro);
		snprintf(expected, sizeof(expected), "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900,
		         tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, micro);
		assert_string_equal(text, expected);
	}
	static const struct {
		int64_t us;
		const char *text;
	} edges[] = {{0, "1970-01-01T00:00:00.000000Z"},
	             {-1, "1969-12-31T23:59:59.999999Z"},
	             {INT64_C(951782399999999), "2000-02-28T23:59:59.999999Z"},
	             {INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z"},
	             {INT64_C(4107542399000000), "2100-02-28T23:59:59.000000Z"},
	             {INT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z"},
	             {INT64_C(-62135596800000000), "0001-01-01T00:00:00.000000Z"},
	             {INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z"}};
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		clock_format(text, edges[i].us);
		assert_string_equal(text, edges[i].text);
	}
}

static void names_that_are_too_long_are_told_at_the_start(void **unused)
{
	(void)unused;
	struct listener_settings s = defaults();
	struct normaliser n;
	struct why why = {.text = ""};
	char name[300], pointer[] = "ts";
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(normalise_init(&n, &(struct normalise_source){"tcp", name, &s}, 1, 1, &why), GW_CONFIG);
	normalise_fini(&n);
	s.time.pointer = pointer;
	assert_int_equal(normalise_init(&n, &(struct normalise_source){"tcp", "line", &s}, 1, 1, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "time.pointer"));
	normalise_fini(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_form_of_payload_has_its_place),
	    cmocka_unit_test(what_the_sender_declares_wins_over_the_setting),
	    cmocka_unit_test(declared_json_that_is_none_is_refused_wrapped_or_dead),
	    cmocka_unit_test(what_is_acknowledged_all_the_same_becomes_a_dead_letter),
	    cmocka_unit_test(what_was_meant_to_be_json_is_flagged),
	    cmocka_unit_test(a_mark_in_front_and_nuls_behind_are_left_out),
	    cmocka_unit_test(the_first_pointer_that_finds_something_names_the_device),
	    cmocka_unit_test(unreadable_json_is_not_booked_on_an_address),
	    cmocka_unit_test(a_senml_pack_is_one_record_with_its_base_fields),
	    cmocka_unit_test(too_deep_json_is_no_json),
	    cmocka_unit_test(the_channel_and_the_rest_stand_in_their_places),
	    cmocka_unit_test(bytes_of_headers_never_spoil_the_record),
	    cmocka_unit_test(a_device_is_found_by_its_pointer_first),
	    cmocka_unit_test(bad_names_are_refused),
	    cmocka_unit_test(sizes_are_limited),
	    cmocka_unit_test(the_devices_own_time_is_used_where_it_is_plausible),
	    cmocka_unit_test(a_record_of_ours_is_kept_as_it_is),
	    cmocka_unit_test(the_room_that_is_planned_is_always_enough),
	    cmocka_unit_test(the_time_of_receipt_is_right_over_seconds),
	    cmocka_unit_test(dates_are_those_of_the_calendar),
	    cmocka_unit_test(names_that_are_too_long_are_told_at_the_start),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(result.entry);
	return failed;
}
