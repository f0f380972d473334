/* The listener as a whole over a real socket, with a stand-in for the intake; what it answers to what is in
 * test_coap_server.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "gateway/protocol.h"
#include "test/unit/fake_intake.c"
#include "test/unit/protocols/coap/coap_bytes.h"

extern const struct protocol coap_protocol;

static struct intake *in;
static void *self;
static struct coap_bytes b;
static int fd;
static uint8_t got[2000];
static ssize_t got_len;

/* The settings as the configuration would fill them: numbers by the defaults of the table. */
static void set(const char *name, uint64_t value, const struct address *address)
{
	for (const struct setting *s = coap_protocol.settings; s->type != SETTING_END; s++) {
		char *at = (char *)self + s->offset;
		if (strcmp(s->name, name) != 0)
			continue;
		if (s->type == SETTING_ADDRESS)
			memcpy(at, address, sizeof(*address));
		else if (s->type == SETTING_CHOICE)
			memcpy(at, &(int){(int)value}, sizeof(int));
		else
			memcpy(at, &value, sizeof(value));
		return;
	}
	fail_msg("no setting %s", name);
}

static int setup(void **unused)
{
	(void)unused;
	in = fake_intake_new();
	self = calloc(1, coap_protocol.size);
	set("listen", 0, &(struct address){"127.0.0.1", "0"});
	set("max_datagram", 2048, NULL);
	set("receive_buffer", 1 << 20, NULL);
	set("exchanges", 1024, NULL);
	set("exchange_lifetime", 60000000, NULL);
	set("separate_after", 500000, NULL);
	set("max_body", 65536, NULL);
	set("block_size", 6, NULL);
	set("blocks_per_peer", 4, NULL);
	set("blocks_memory", 1 << 20, NULL);
	set("block_timeout", 60000000, NULL);
	struct why why = {""};
	if (coap_protocol.check(self, &in->settings, &why) != GW_OK || coap_protocol.open(self, in, &why) != GW_OK)
		return -1;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	to.sin_port = htons((uint16_t)atoi(strrchr(in->address, ':') + 1));
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

static int teardown(void **unused)
{
	(void)unused;
	close(fd);
	coap_protocol.close(self);
	coap_protocol.close(self); /* safe twice */
	free(self);
	fake_intake_free(in);
	return 0;
}

static void say(void)
{
	assert_int_equal(send(fd, b.at, b.len, 0), b.len);
}

static bool hear(void)
{
	got_len = recv(fd, got, sizeof(got), 0);
	return got_len > 0;
}

static size_t hear_all(void)
{
	size_t n = 0;
	while (hear())
		n++;
	return n;
}

static void run(void)
{
	coap_protocol.run(self);
}

static void a_message_is_answered(void **unused)
{
	(void)unused;
	bytes_request(&b, CON, 2, 0x1234, "tok", "/t/sensor-1/env", 50, "{\"t\":21.4}");
	say();
	FAKE_UNTIL(in, run(), hear());
	assert_int_equal(got_len, 7);
	assert_memory_equal(got, "\x63\x44\x12\x34tok", 7);
	assert_string_equal(in->messages[0].device, "sensor-1");
	assert_int_equal(stat_get(&in->stats.network_in), b.len);
	assert_int_equal(stat_get(&in->stats.network_out), 7);
}

static void a_thousand_messages_are_answered_in_few_turns(void **unused)
{
	(void)unused;
	size_t answers = 0;
	for (unsigned i = 0; i < 1000; i++) {
		bytes_request(&b, CON, 2, i, "", "/t/d", -1, "1");
		say();
	}
	FAKE_UNTIL(in, run(), (answers += hear_all()) == 1000);
	assert_int_equal(in->message_count, 1000);
	assert_true(in->flushes < 100);
}

static void a_slow_answer_is_acknowledged_in_time(void **unused)
{
	(void)unused;
	in->manual = true;
	bytes_request(&b, CON, 2, 0x1234, "tok", "/t/d", -1, "1");
	say();
	FAKE_UNTIL(in, run(), in->message_count == 1);
	in->skew_ms = 501;
	FAKE_UNTIL(in, run(), hear());
	assert_memory_equal(got, "\x60\x00\x12\x34", 4);
	fake_settle_all(in);
	FAKE_UNTIL(in, run(), hear());
	assert_int_equal(got_len, 7);
	assert_memory_equal(got, "\x43\x44", 2);
}

/* What was taken is answered, what comes then is left alone. */
static void draining_answers_what_waits_and_reads_no_more(void **unused)
{
	(void)unused;
	in->manual = true;
	bytes_request(&b, CON, 2, 1, "", "/t/d", -1, "1");
	say();
	FAKE_UNTIL(in, run(), in->message_count == 1);
	in->phase = INTAKE_DRAIN;
	bytes_request(&b, CON, 2, 2, "", "/t/d", -1, "2");
	say();
	for (int i = 0; i < 3; i++) {
		fake_turns(in, 1);
		run();
	}
	assert_int_equal(in->message_count, 1);
	fake_settle_all(in);
	fake_turns(in, 1000000);
	run(); /* comes back by itself */
	assert_true(hear());
	assert_memory_equal(got, "\x60\x44\x00\x01", 4);
	assert_false(hear());
}

static void memory_for_blocks_must_hold_a_body(void **unused)
{
	(void)unused;
	struct why why;
	set("max_body", 1 << 20, NULL);
	in->settings.max_payload = 1 << 20;
	assert_int_equal(coap_protocol.check(self, &in->settings, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "blocks_memory"));
	in->settings.max_payload = 1 << 10; /* no body is longer */
	assert_int_equal(coap_protocol.check(self, &in->settings, &why), GW_OK);
}

static void an_address_in_use_stops_the_start(void **unused)
{
	(void)unused;
	struct why why;
	struct address taken = {.host = "127.0.0.1"};
	strcpy(taken.port, strrchr(in->address, ':') + 1);
	void *first = self, *second = calloc(1, coap_protocol.size);
	self = second;
	set("listen", 0, &taken);
	set("max_datagram", 2048, NULL);
	self = first;
	assert_int_equal(coap_protocol.open(second, in, &why), GW_IO);
	coap_protocol.close(second);
	free(second);
}

static void the_hint_can_be_typed(void **unused)
{
	(void)unused;
	static const char *const cases[][2] = {{"127.0.0.1:5683", "coap://127.0.0.1:5683/t/"},
	                                       {"0.0.0.0:5683", "coap://127.0.0.1:5683/t/"},
	                                       {"[::]:5683", "coap://[::1]:5683/t/"}};
	for (size_t i = 0; i < 3; i++) {
		char hint[200];
		coap_protocol.hint(self, cases[i][0], hint, sizeof(hint));
		assert_non_null(strstr(hint, cases[i][1]));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_message_is_answered),
	    TEST(a_thousand_messages_are_answered_in_few_turns),
	    TEST(a_slow_answer_is_acknowledged_in_time),
	    TEST(draining_answers_what_waits_and_reads_no_more),
	    TEST(memory_for_blocks_must_hold_a_body),
	    TEST(an_address_in_use_stops_the_start),
	    TEST(the_hint_can_be_typed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
