#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocols/coap/coap_server.h"
#include "test/unit/fake_intake.c"
#include "test/unit/guard.h"
#include "test/unit/protocols/coap/coap_bytes.h"

static struct intake *in;
static struct udp_out *out;
static struct coap_server s;
static struct coap_bytes b;
static struct udp_route route;

static int setup(void **unused)
{
	(void)unused;
	in = fake_intake_new();
	in->manual = true;
	out = calloc(1, sizeof(*out));
	struct coap_server_settings settings = {
	    .exchanges = 64,
	    .exchange_lifetime_ms = 60000,
	    .separate_after_ms = 500,
	    .block_exponent = 5,
	    .blocks = {.max_body = 4096, .memory = 65536, .per_peer = 4, .timeout_ms = 60000},
	};
	in->settings.max_payload = 4096;
	route = (struct udp_route){.port = 40000};
	route.peer.s6_addr[15] = 1;
	return out && coap_server_init(&s, &settings, in, out) == GW_OK ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	coap_server_fini(&s);
	free(out);
	fake_intake_free(in);
	return 0;
}

/* -- what goes in -- */

/* Offers what stands in b, at the end of readable memory; returns how many answers that gave. */
static size_t offer(void)
{
	struct sockaddr_in6 from = {.sin6_family = AF_INET6, .sin6_addr = route.peer, .sin6_port = 1};
	struct udp_datagram d = {.route = route,
	                         .from = (struct sockaddr *)&from,
	                         .bytes = (const uint8_t *)guard_copy(b.at, b.len),
	                         .len = b.len};
	size_t before = out->count;
	coap_server_take(&s, &d, 1);
	return out->count - before;
}

static size_t post(int type, unsigned id, const char *token, const char *path, int format, const char *payload)
{
	bytes_request(&b, type, COAP_POST, id, token, path, format, payload);
	return offer();
}

static void settle(void)
{
	struct answer a;
	intake_flush(in);
	fake_settle_all(in);
	while (intake_answer(in, &a))
		coap_server_answer(&s, &a);
}

static void pass(int64_t ms)
{
	in->skew_ms += ms;
	intake_turn(in);
	coap_server_tick(&s);
}

/* -- what comes out -- */

struct seen {
	int type, code;
	unsigned id;
	size_t token_len, len;
	const uint8_t *token;
	struct coap_message m;
};

static struct seen last(void)
{
	assert_true(out->count > 0);
	struct seen seen = {.len = out->item[out->count - 1].len};
	const uint8_t *p = out->item[out->count - 1].bytes;
	assert_true(udp_route_same_peer(&out->item[out->count - 1].route, &route));
	assert_true(IN6_ARE_ADDR_EQUAL(&out->item[out->count - 1].route.local, &route.local));
	assert_int_equal(coap_message_header(&seen.m, p, seen.len), COAP_PARSED);
	assert_int_equal(coap_message_options(&seen.m), COAP_PARSED);
	seen.type = seen.m.type;
	seen.code = seen.m.code;
	seen.id = seen.m.id;
	seen.token = seen.m.token;
	seen.token_len = seen.m.token_len;
	return seen;
}

static void assert_last(int type, int code, int id, const char *token)
{
	struct seen l = last();
	assert_int_equal(l.type, type);
	assert_int_equal(l.code, code);
	if (id >= 0)
		assert_int_equal(l.id, id);
	assert_int_equal(l.token_len, strlen(token));
	assert_memory_equal(l.token, token, l.token_len);
}

/* The value of an option of the last answer; -1: it has none. */
static int64_t option(unsigned wanted)
{
	struct seen l = last();
	const uint8_t *p = l.m.rest, *end = p + l.m.rest_len;
	unsigned number = 0;
	while (p < end && *p != 0xff) {
		unsigned delta = *p >> 4, len = *p & 15;
		p++;
		if (delta == 13)
			delta = 13u + *p++;
		number += delta;
		int64_t value = 0;
		for (; len > 0; len--)
			value = value << 8 | *p++;
		if (number == wanted)
			return value;
	}
	return -1;
}

static void assert_refused(enum refusal_reason reason, uint64_t times)
{
	assert_int_equal(stat_get(&in->stats.refused[reason]), times);
}

/* -- requests and answers -- */

static void a_confirmable_message_is_answered_in_its_ack_once_it_is_safe(void **unused)
{
	(void)unused;
	assert_int_equal(post(CON, 7, "tok", "/t/sensor-1/env", 50, "{\"t\":21.40}"), 0);
	assert_int_equal(in->message_count, 1);
	assert_string_equal(in->messages[0].device, "sensor-1");
	assert_string_equal(in->messages[0].channel, "env");
	assert_string_equal(in->messages[0].payload, "{\"t\":21.40}");
	assert_int_equal(in->messages[0].kind, PAYLOAD_JSON);
	assert_int_equal(in->messages[0].qos, -1);
	assert_true(in->messages[0].has_peer);
	settle();
	assert_int_equal(out->count, 1);
	assert_last(ACK, COAP_CHANGED, 7, "tok");
	assert_int_equal(last().len, 4 + 3);
}

static void put_and_content_formats_are_understood(void **unused)
{
	(void)unused;
	static const struct {
		int format;
		enum payload_kind kind;
		const char *type;
	} cases[] = {{-1, PAYLOAD_AUTO, NULL},
	             {50, PAYLOAD_JSON, "application/json"},
	             {0, PAYLOAD_TEXT, "text/plain"},
	             {42, PAYLOAD_AUTO, "application/octet-stream"},
	             {110, PAYLOAD_SENML, "application/senml+json"},
	             {11543, PAYLOAD_JSON, "application/vnd.oma.lwm2m+json"}};
	for (unsigned i = 0; i < 6; i++) {
		bytes_request(&b, CON, COAP_PUT, i, "", "/t/d", cases[i].format, "1");
		assert_int_equal(offer(), 0);
		assert_int_equal(in->messages[i].kind, cases[i].kind);
		assert_null(in->messages[i].channel);
		if (cases[i].type)
			assert_string_equal(in->messages[i].content_type, cases[i].type);
		else
			assert_null(in->messages[i].content_type);
	}
	assert_int_equal(in->message_count, 6);
}

static void an_unsupported_format_is_answered_with_those_that_are_taken(void **unused)
{
	(void)unused;
	static const char taken[] = "formats taken: 0, 42, 50, 110, 11543";
	static char *more[] = {"application/cbor"};
	static const int formats[] = {40, 60, 112, 1541, 65535};
	for (uint16_t i = 0; i < 5; i++) {
		assert_int_equal(post(CON, i, "t", "/t/f22", formats[i], "{\"t\":1}"), 1);
		assert_last(ACK, COAP_UNSUPPORTED_FORMAT, i, "t");
		struct seen l = last();
		assert_int_equal(l.m.payload_len, strlen(taken));
		assert_memory_equal(l.m.payload, taken, l.m.payload_len);
		assert_int_equal(in->reported, REFUSED_UNSUPPORTED);
		assert_string_equal(in->reported_device, "f22");
		assert_true(in->reported_peer);
	}
	assert_refused(REFUSED_UNSUPPORTED, 5);
	assert_int_equal(in->message_count, 0);
	in->settings.accept_types = (struct string_list){more, 1};
	assert_int_equal(post(CON, 9, "t", "/t/f22", 60, "\xa0"), 0);
	assert_int_equal(in->messages[0].kind, PAYLOAD_AUTO);
	assert_string_equal(in->messages[0].content_type, "application/cbor");
}

static void an_empty_payload_is_refused_as_in_http(void **unused)
{
	(void)unused;
	assert_int_equal(post(CON, 1, "t", "/t/sensor", -1, NULL), 1);
	assert_last(ACK, COAP_BAD_REQUEST, 1, "t");
	struct seen l = last();
	assert_memory_equal(l.m.payload, "empty payload", l.m.payload_len);
	assert_refused(REFUSED_PAYLOAD, 1);
	assert_int_equal(in->reported, REFUSED_PAYLOAD);
	assert_string_equal(in->reported_device, "sensor");
	assert_int_equal(in->message_count, 0);
}

static void the_channel_is_the_rest_of_the_path(void **unused)
{
	(void)unused;
	post(CON, 1, "", "/t/d/a/b/c", -1, "1");
	post(CON, 2, "", "/t/d/", -1, "1");
	post(CON, 3, "", "/t/d/a/", -1, "1");
	assert_int_equal(in->message_count, 3);
	assert_string_equal(in->messages[0].channel, "a/b/c");
	assert_null(in->messages[1].channel);
	assert_string_equal(in->messages[2].channel, "a/");
	bytes_begin(&b, CON, COAP_POST, 4, "");
	bytes_path(&b, "/t/d");
	char segment[256];
	memset(segment, 'x', sizeof(segment));
	for (int i = 0; i < 5; i++)
		bytes_option(&b, 11, segment, 250);
	assert_int_equal(offer(), 1);
	assert_last(ACK, COAP_BAD_REQUEST, 4, "");
	assert_refused(REFUSED_CHANNEL, 1);
}

static void other_paths_and_methods_are_refused(void **unused)
{
	(void)unused;
	static const char *const unknown[] = {"",     "/", "/t", "/x/y", "/T/d", "/.well-known", "/.well-known/core/x",
	                                      "/tt/d"};
	for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		assert_int_equal(post(CON, i, "t", unknown[i], -1, "1"), 1);
		assert_last(ACK, COAP_NOT_FOUND, (int)i, "t");
	}
	for (int code = 1; code < 32; code++) {
		if (code == COAP_POST || code == COAP_PUT)
			continue;
		bytes_request(&b, CON, code, 100, "t", "/t/d", -1, NULL);
		assert_int_equal(offer(), 1);
		assert_last(ACK, COAP_METHOD_NOT_ALLOWED, 100, "t");
	}
	assert_int_equal(in->message_count, 0);
	assert_int_equal(s.exchanges.count, 0); /* nothing is remembered of what had no effect */
}

static void discovery_lists_one_link_and_stays_small(void **unused)
{
	(void)unused;
	bytes_request(&b, CON, COAP_GET, 1, "", "/.well-known/core", -1, NULL);
	assert_int_equal(offer(), 1);
	assert_last(ACK, COAP_CONTENT, 1, "");
	assert_int_equal(option(12), 40);
	struct seen l = last();
	assert_int_equal(l.m.payload_len, strlen("</t>;ct=\"0 42 50 110 11543\""));
	assert_memory_equal(l.m.payload, "</t>;ct=\"0 42 50 110 11543\"", l.m.payload_len);
	assert_true(l.len <= 3 * b.len);
	bytes_uint(&b, 17, 50);
	offer();
	assert_last(ACK, COAP_NOT_ACCEPTABLE, 1, "");
	post(CON, 2, "", "/.well-known/core", -1, NULL);
	assert_last(ACK, COAP_METHOD_NOT_ALLOWED, 2, "");
}

static void accept_on_a_message_asks_for_nothing_that_we_lack(void **unused)
{
	(void)unused;
	bytes_begin(&b, CON, COAP_POST, 1, "");
	bytes_path(&b, "/t/d");
	bytes_uint(&b, 17, 60);
	bytes_payload(&b, "1", 1);
	assert_int_equal(offer(), 0);
	assert_int_equal(in->message_count, 1);
}

static void bad_options_are_refused_and_in_a_non_passed_over_in_silence(void **unused)
{
	(void)unused;
	for (int type = CON; type <= NON; type++) {
		bytes_begin(&b, type, COAP_POST, 1, "");
		bytes_uint(&b, 9, 1);
		bytes_path(&b, "/t/d");
		assert_int_equal(offer(), type == CON ? 1 : 0);
	}
	assert_last(ACK, COAP_BAD_OPTION, 1, "");
	bytes_begin(&b, CON, COAP_POST, 2, "");
	bytes_path(&b, "/t/d");
	bytes_text(&b, 35, "coap://elsewhere/");
	offer();
	assert_last(ACK, COAP_NO_PROXY, 2, "");
}

static void a_refused_payload_says_where_it_is_wrong(void **unused)
{
	(void)unused;
	in->refuse = GW_INVALID;
	assert_int_equal(post(CON, 1, "", "/t/sensor-1", 50, "{\"a\":1,,,,,,,,,,,,,,,,,,,,,,,,}"), 1);
	assert_last(ACK, COAP_BAD_REQUEST, 1, "");
	struct seen l = last();
	assert_memory_equal(l.m.payload, "refused by the test at byte 0", l.m.payload_len);
	/* The retransmission is not offered again. */
	assert_int_equal(offer(), 1);
	assert_last(ACK, COAP_BAD_REQUEST, 1, "");
	assert_int_equal(in->puts, 1);
}

static void too_long_payloads_are_told_the_limit(void **unused)
{
	(void)unused;
	static char payload[5000];
	memset(payload, '1', 4097);
	assert_int_equal(post(CON, 1, "", "/t/d", -1, payload), 1);
	assert_last(ACK, COAP_TOO_LARGE, 1, "");
	assert_int_equal(option(60), 4096);
	assert_refused(REFUSED_TOO_LARGE, 1);
	in->refuse = GW_TOOBIG;
	post(CON, 2, "", "/t/d", -1, "1");
	assert_last(ACK, COAP_TOO_LARGE, 2, "");
	bytes_request(&b, CON, COAP_POST, 3, "", "/t/d", -1, "1");
	struct udp_datagram d = {.route = route, .bytes = b.at, .len = b.len, .cut = true};
	coap_server_take(&s, &d, 1);
	assert_last(ACK, COAP_TOO_LARGE, 3, "");
	assert_int_equal(in->message_count, 0);
}

/* -- the message layer -- */

static void a_ping_is_answered_by_a_reset(void **unused)
{
	(void)unused;
	bytes_begin(&b, CON, COAP_EMPTY, 77, "");
	assert_int_equal(offer(), 1);
	assert_last(RST, COAP_EMPTY, 77, "");
	bytes_begin(&b, NON, COAP_EMPTY, 77, "");
	assert_int_equal(offer(), 0);
}

static void what_asks_for_nothing_gets_nothing(void **unused)
{
	(void)unused;
	for (int type = CON; type <= RST; type++)
		for (int code = 0; code < 256; code++) {
			if (code >> 5 == 0 && type < ACK)
				continue;
			bytes_begin(&b, type, code, 5, "");
			assert_int_equal(offer(), type == CON ? 1 : 0); /* an unexpected CON is rejected */
			if (type == CON)
				assert_last(RST, COAP_EMPTY, 5, "");
			out->count = 0;
		}
	b.at[0] = 0x80;
	assert_int_equal(offer(), 0);
	b.len = 3;
	assert_int_equal(offer(), 0);
}

static void format_errors_reset_a_con_and_nothing_else(void **unused)
{
	(void)unused;
	for (int type = CON; type <= RST; type++) {
		bytes_begin(&b, type, COAP_POST, 9, "");
		b.at[0] |= 9;
		assert_int_equal(offer(), type == CON ? 1 : 0);
		bytes_begin(&b, type, COAP_POST, 9, "");
		b.at[b.len++] = 0xff;
		assert_int_equal(offer(), type == CON ? 1 : 0);
		if (type == CON)
			assert_last(RST, COAP_EMPTY, 9, "");
	}
}

static void a_retransmission_is_one_message_with_one_answer(void **unused)
{
	(void)unused;
	assert_int_equal(post(CON, 7, "tok", "/t/d", 50, "{}"), 0);
	assert_int_equal(offer(), 0); /* it waits like the first */
	settle();
	assert_int_equal(out->count, 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(offer(), 1);
		assert_last(ACK, COAP_CHANGED, 7, "tok");
	}
	assert_int_equal(in->puts, 1);
	assert_int_equal(stat_get(&in->stats.duplicates), 4);
}

/* A device that wakes up may count from 1 again: another reading under the same message ID is another message. */
static void another_payload_under_the_same_message_id_is_another_message(void **unused)
{
	(void)unused;
	post(CON, 1, "", "/t/d", -1, "21.4");
	settle();
	post(CON, 1, "", "/t/d", -1, "21.5");
	settle();
	assert_int_equal(in->message_count, 2);
	assert_int_equal(out->count, 2);
}

static void the_same_request_after_the_lifetime_is_new(void **unused)
{
	(void)unused;
	post(CON, 1, "", "/t/d", -1, "1");
	settle();
	pass(60001);
	post(CON, 1, "", "/t/d", -1, "1");
	assert_int_equal(in->message_count, 2);
}

static void a_non_is_answered_by_a_non_of_our_own(void **unused)
{
	(void)unused;
	assert_int_equal(post(NON, 7, "tok", "/t/d", 50, "{}"), 0);
	settle();
	assert_last(NON, COAP_CHANGED, -1, "tok");
	unsigned id = last().id;
	assert_int_equal(offer(), 1);
	assert_last(NON, COAP_CHANGED, (int)id, "tok");
	assert_int_equal(in->message_count, 1);
	post(NON, 8, "tok", "/t/d", 50, "{}");
	settle();
	assert_int_not_equal(last().id, id);
	pass(10000); /* nobody acknowledges a NON, and it is not sent again */
	assert_int_equal(out->count, 3);
}

static void no_response_is_honoured(void **unused)
{
	(void)unused;
	for (int type = CON; type <= NON; type++) {
		out->count = 0;
		bytes_begin(&b, type, COAP_POST, (unsigned)type, "t");
		bytes_path(&b, "/t/d");
		bytes_uint(&b, 258, 2); /* not interested in 2.xx */
		bytes_payload(&b, "1", 1);
		offer();
		settle();
		assert_int_equal(out->count, type == CON ? 1 : 0);
		if (type == CON)
			assert_last(ACK, COAP_EMPTY, type, "");
		bytes_begin(&b, type, COAP_GET, (unsigned)type, "t");
		bytes_path(&b, "/t/d");
		bytes_uint(&b, 258, 2);
		assert_int_equal(offer(), 1); /* errors are of interest */
		assert_int_equal(last().code, COAP_METHOD_NOT_ALLOWED);
		bytes_begin(&b, type, COAP_GET, (unsigned)type, "t");
		bytes_path(&b, "/t/d");
		bytes_uint(&b, 258, 26);
		assert_int_equal(offer(), type == CON ? 1 : 0);
	}
}

/* -- slow answers -- */

static void a_slow_answer_is_acknowledged_first_and_comes_separately(void **unused)
{
	(void)unused;
	post(CON, 7, "tok", "/t/d", -1, "1");
	pass(400);
	assert_int_equal(out->count, 0);
	pass(100);
	assert_int_equal(out->count, 1);
	assert_last(ACK, COAP_EMPTY, 7, "");
	assert_int_equal(offer(), 1); /* the acknowledgement was lost: again */
	assert_last(ACK, COAP_EMPTY, 7, "");
	settle();
	assert_int_equal(out->count, 3);
	assert_last(CON, COAP_CHANGED, -1, "tok");
	unsigned id = last().id;
	assert_int_equal(offer(), 1); /* no answer in an ACK any more: RFC 7252 section 5.2.2 */
	assert_last(ACK, COAP_EMPTY, 7, "");

	bytes_begin(&b, ACK, COAP_EMPTY, id, "");
	assert_int_equal(offer(), 0);
	pass(20000);
	assert_int_equal(out->count, 4);
	assert_int_equal(s.exchanges.separate, 0);
}

static void a_separate_response_is_sent_again_until_it_is_given_up(void **unused)
{
	(void)unused;
	post(CON, 7, "tok", "/t/d", -1, "1");
	pass(500);
	settle();
	size_t count = out->count;
	unsigned id = last().id;
	int64_t waited = 0, times[8] = {0};
	for (int seen = 0; waited < 200000; waited += 50) {
		pass(50);
		if (out->count > count) {
			assert_last(CON, COAP_CHANGED, (int)id, "tok");
			count = out->count;
			times[seen++] = waited;
			assert_true(seen <= 4);
		}
	}
	assert_int_equal(out->count, 2 + 4);
	assert_in_range(times[0], 1900, 3200); /* ACK_TIMEOUT to 1.5 times that */
	for (int i = 1; i < 4; i++)
		assert_in_range(times[i] - times[i - 1], ((unsigned)1900 << i) - 200, (3000u << i) + 200);
	assert_int_equal(s.exchanges.separate, 0);
}

static void a_reset_ends_a_separate_response_and_strangers_do_not(void **unused)
{
	(void)unused;
	post(CON, 7, "tok", "/t/d", -1, "1");
	pass(500);
	settle();
	bytes_begin(&b, RST, COAP_EMPTY, last().id, "");
	route.port = 40001;
	offer();
	assert_int_equal(s.exchanges.separate, 1);
	route.port = 40000;
	offer();
	assert_int_equal(s.exchanges.separate, 0);
}

static void an_answer_that_takes_too_long_is_a_timeout(void **unused)
{
	(void)unused;
	post(CON, 7, "tok", "/t/d", -1, "1");
	pass(500);
	pass(5001);
	struct answer a;
	assert_true(intake_answer(in, &a));
	coap_server_answer(&s, &a);
	assert_last(CON, COAP_GATEWAY_TIMEOUT, -1, "tok");
}

/* -- limits -- */

static void a_full_gateway_says_so_and_takes_the_retransmission(void **unused)
{
	(void)unused;
	in->full = true;
	assert_int_equal(post(CON, 7, "tok", "/t/d", -1, "1"), 1);
	assert_last(ACK, COAP_UNAVAILABLE, 7, "tok");
	assert_int_equal(option(14), 5);
	assert_refused(REFUSED_FULL, 1);
	assert_int_equal(s.exchanges.count, 0);
	in->full = false;
	assert_int_equal(offer(), 0);
	settle();
	assert_last(ACK, COAP_CHANGED, 7, "tok");
	assert_int_equal(in->message_count, 1);
	in->full = true;
	assert_int_equal(post(NON, 8, "tok", "/t/d", -1, "1"), 1);
	assert_last(NON, COAP_UNAVAILABLE, -1, "tok");
	assert_int_equal(stat_get(&in->stats.dropped), 1);
}

static void a_full_memory_of_exchanges_says_so(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(post(CON, i, "", "/t/d", -1, "1"), 0);
	assert_int_equal(post(CON, 64, "", "/t/d", -1, "1"), 1);
	assert_last(ACK, COAP_UNAVAILABLE, 64, "");
	assert_true(option(14) > 0);
	assert_refused(REFUSED_MEMORY, 1);
	assert_int_equal(in->message_count, 64);
	settle();
	assert_int_equal(offer(), 0);
	assert_int_equal(in->message_count, 65);
}

static void a_message_that_cannot_be_awaited_is_not_answered(void **unused)
{
	(void)unused;
	in->await_fails = true;
	assert_int_equal(post(CON, 1, "", "/t/d", -1, "1"), 0);
	assert_int_equal(s.exchanges.count, 0);
}

static void no_answer_is_more_than_three_times_its_request(void **unused)
{
	(void)unused;
	uint32_t seed = 7;
	for (int i = 0; i < 100000; i++) {
		static const char *const paths[] = {"", "/", "/t", "/t/", "/t/d", "/.well-known/core", "/t/d/a/b"};
		seed = seed * 1664525 + 1013904223;
		bytes_begin(&b, (int)(seed >> 31), (int)(seed >> 20 & 7), (unsigned)i, &"12345678"[seed >> 16 & 7]);
		bytes_path(&b, paths[(seed >> 8) % 7]);
		if (seed & 1)
			bytes_uint(&b, 12, seed >> 5 & 63);
		if (seed & 2)
			bytes_uint(&b, 27, seed >> 7 & 255);
		if (seed & 4)
			bytes_uint(&b, 60, seed >> 3);
		if (seed & 8)
			bytes_payload(&b, "1", 1);
		in->full = seed >> 12 & 1;
		in->refuse = seed >> 13 & 1 ? GW_INVALID : GW_OK;
		out->count = 0;
		if (offer() > 0)
			assert_true(last().len <= 3 * b.len);
		out->count = 0;
		settle();
		if (out->count > 0)
			assert_true(last().len <= 3 * b.len);
		out->count = 0;
	}
}

/* -- blocks -- */

static size_t block(unsigned id, unsigned number, bool more, unsigned exponent, const char *payload)
{
	bytes_begin(&b, CON, COAP_PUT, id, "");
	bytes_path(&b, "/t/d/big");
	bytes_uint(&b, 12, 50);
	bytes_uint(&b, 27, number << 4 | (unsigned)more << 3 | exponent);
	bytes_payload(&b, payload, strlen(payload));
	return offer();
}

static void a_body_in_blocks_is_one_message(void **unused)
{
	(void)unused;
	assert_int_equal(block(1, 0, true, 0, "[1,2,3,4,5,6,7,8"), 1);
	assert_last(ACK, COAP_CONTINUE, 1, "");
	assert_int_equal(option(27), 8);
	assert_int_equal(offer(), 1); /* a retransmission gets the same */
	assert_last(ACK, COAP_CONTINUE, 1, "");
	assert_int_equal(block(2, 1, true, 0, ",9,10,11,12,13,1"), 1);
	assert_int_equal(option(27), 1 << 4 | 8);
	assert_int_equal(block(3, 2, false, 0, "4,15]"), 0);
	assert_int_equal(in->message_count, 1);
	assert_string_equal(in->messages[0].payload, "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]");
	assert_string_equal(in->messages[0].channel, "big");
	settle();
	assert_last(ACK, COAP_CHANGED, 3, "");
	assert_int_equal(option(27), 2 << 4);
	assert_int_equal(offer(), 1);
	assert_last(ACK, COAP_CHANGED, 3, "");
	assert_int_equal(in->message_count, 1);
	assert_int_equal(s.blocks.count, 0);
}

static void a_body_of_one_block_needs_no_memory(void **unused)
{
	(void)unused;
	assert_int_equal(block(1, 0, false, 6, "[1]"), 0);
	assert_int_equal(s.blocks.count, 0);
	settle();
	assert_last(ACK, COAP_CHANGED, 1, "");
	assert_int_equal(option(27), 5);
}

static void smaller_blocks_are_asked_for(void **unused)
{
	(void)unused;
	static char payload[1025];
	memset(payload, '1', 1024);
	assert_int_equal(block(1, 0, true, 6, payload), 1);
	assert_last(ACK, COAP_CONTINUE, 1, "");
	assert_int_equal(option(27), 8 | 5);
	payload[512] = 0;
	assert_int_equal(block(2, 2, true, 5, payload), 1);
	assert_last(ACK, COAP_CONTINUE, 2, "");
	assert_int_equal(block(3, 3, false, 5, "1"), 0);
	assert_int_equal(in->messages[0].payload_len, 1024 + 512 + 1);
}

static void errors_of_blocks_have_their_codes(void **unused)
{
	(void)unused;
	block(1, 3, true, 0, "0123456789abcdef");
	assert_last(ACK, COAP_INCOMPLETE, 1, "");
	block(2, 0, true, 0, "0123456789abcde");
	assert_last(ACK, COAP_BAD_REQUEST, 2, "");
	block(3, 0, true, 7, "0123456789abcdef");
	assert_last(ACK, COAP_BAD_REQUEST, 3, "");
	bytes_begin(&b, CON, COAP_PUT, 4, "");
	bytes_path(&b, "/t/d/big");
	bytes_uint(&b, 27, 8);
	bytes_uint(&b, 60, 5000);
	bytes_payload(&b, "0123456789abcdef", 16);
	offer();
	assert_last(ACK, COAP_TOO_LARGE, 4, "");
	assert_int_equal(option(60), 4096);
	assert_int_equal(s.blocks.count, 0);
}

static void the_last_block_may_come_again_when_there_was_no_room(void **unused)
{
	(void)unused;
	block(1, 0, true, 0, "0123456789abcdef");
	in->full = true;
	block(2, 1, false, 0, "gh");
	assert_last(ACK, COAP_UNAVAILABLE, 2, "");
	in->full = false;
	assert_int_equal(offer(), 0);
	assert_string_equal(in->messages[0].payload, "0123456789abcdefgh");
	assert_int_equal(s.blocks.count, 0);
}

static void too_many_transfers_are_refused_for_now_and_expire(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 5; i++) {
		char path[32];
		snprintf(path, sizeof(path), "/t/d%u", i);
		bytes_begin(&b, CON, COAP_PUT, i, "");
		bytes_path(&b, path);
		bytes_uint(&b, 27, 8);
		bytes_payload(&b, "0123456789abcdef", 16);
		offer();
	}
	assert_last(ACK, COAP_UNAVAILABLE, 4, "");
	assert_true(option(14) > 0);
	assert_refused(REFUSED_MEMORY, 1);
	pass(60000);
	assert_int_equal(s.blocks.count, 0);
	assert_refused(REFUSED_TIMEOUT, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_confirmable_message_is_answered_in_its_ack_once_it_is_safe),
	    TEST(put_and_content_formats_are_understood),
	    TEST(an_unsupported_format_is_answered_with_those_that_are_taken),
	    TEST(an_empty_payload_is_refused_as_in_http),
	    TEST(the_channel_is_the_rest_of_the_path),
	    TEST(other_paths_and_methods_are_refused),
	    TEST(discovery_lists_one_link_and_stays_small),
	    TEST(accept_on_a_message_asks_for_nothing_that_we_lack),
	    TEST(bad_options_are_refused_and_in_a_non_passed_over_in_silence),
	    TEST(a_refused_payload_says_where_it_is_wrong),
	    TEST(too_long_payloads_are_told_the_limit),
	    TEST(a_ping_is_answered_by_a_reset),
	    TEST(what_asks_for_nothing_gets_nothing),
	    TEST(format_errors_reset_a_con_and_nothing_else),
	    TEST(a_retransmission_is_one_message_with_one_answer),
	    TEST(another_payload_under_the_same_message_id_is_another_message),
	    TEST(the_same_request_after_the_lifetime_is_new),
	    TEST(a_non_is_answered_by_a_non_of_our_own),
	    TEST(no_response_is_honoured),
	    TEST(a_slow_answer_is_acknowledged_first_and_comes_separately),
	    TEST(a_separate_response_is_sent_again_until_it_is_given_up),
	    TEST(a_reset_ends_a_separate_response_and_strangers_do_not),
	    TEST(an_answer_that_takes_too_long_is_a_timeout),
	    TEST(a_full_gateway_says_so_and_takes_the_retransmission),
	    TEST(a_full_memory_of_exchanges_says_so),
	    TEST(a_message_that_cannot_be_awaited_is_not_answered),
	    TEST(no_answer_is_more_than_three_times_its_request),
	    TEST(a_body_in_blocks_is_one_message),
	    TEST(a_body_of_one_block_needs_no_memory),
	    TEST(smaller_blocks_are_asked_for),
	    TEST(errors_of_blocks_have_their_codes),
	    TEST(the_last_block_may_come_again_when_there_was_no_room),
	    TEST(too_many_transfers_are_refused_for_now_and_expire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
