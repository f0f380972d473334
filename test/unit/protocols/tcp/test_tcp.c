/* The TCP protocol over real sockets, with a stand-in for the intake. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocols/net/stream_conn.h"
#include "protocols/tcp/tcp.c"
#include "test/unit/fake_intake.c"

static char *pointer_or_peer[] = {"/device", "peer"};

struct rig {
	struct intake *in;
	struct tcp *tcp;
};

static struct rig rig_new(void)
{
	struct rig r = {.in = fake_intake_new(), .tcp = calloc(1, sizeof(struct tcp))};
	*r.tcp = (struct tcp){.stream = {.listen = {.host = "127.0.0.1", .port = "0"},
	                                 .max_connections = 100,
	                                 .max_unacked = 1024,
	                                 .max_output = 64 << 10,
	                                 .max_buffered = 64 << 20,
	                                 .stall_timeout = 30000000,
	                                 .backlog = 100},
	                      .max_line = 65536,
	                      .device = {.items = pointer_or_peer, .count = 2},
	                      .reply = REPLY_COUNT,
	                      .idle_timeout = 300000000};
	return r;
}

static void rig_open(struct rig *r)
{
	struct why why = {{0}};
	if (tcp_protocol.open(r->tcp, r->in, &why) != GW_OK)
		fail_msg("open: %s", why.text);
}

static void rig_free(struct rig *r)
{
	tcp_protocol.close(r->tcp);
	free(r->tcp);
	fake_intake_free(r->in);
}

static int rig_connect(struct rig *r)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	a.sin_port = htons((uint16_t)atoi(strrchr(r->in->address, ':') + 1));
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void rig_turns(struct rig *r, int n)
{
	fake_turns(r->in, n);
	tcp_protocol.run(r->tcp);
}

#define RIG_UNTIL(r, condition) FAKE_UNTIL((r)->in, tcp_protocol.run((r)->tcp), condition)

/* Appends what has arrived; returns false at the end of input. */
static bool gather(int fd, char *text, size_t size)
{
	size_t len = strlen(text);
	ssize_t n = recv(fd, text + len, size - 1 - len, MSG_DONTWAIT);
	if (n > 0)
		text[len + (size_t)n] = 0;
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void expect_text(struct rig *r, int fd, const char *expected)
{
	char text[4096] = "";
	RIG_UNTIL(r, (gather(fd, text, sizeof(text)), strlen(text) >= strlen(expected)));
	assert_string_equal(text, expected);
}

static void expect_end(struct rig *r, int fd, const char *expected)
{
	char text[4096] = "";
	RIG_UNTIL(r, !gather(fd, text, sizeof(text)));
	assert_string_equal(text, expected);
}

static void lines_become_messages_of_their_device(void **state)
{
	(void)state;
	struct rig r = rig_new();
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "{\"device\":\"a\",\"t\":1}\n{\"t\":2}\r\n\n\r\nhello\n");
	RIG_UNTIL(&r, r.in->message_count == 3);
	assert_string_equal(r.in->messages[0].payload, "{\"device\":\"a\",\"t\":1}");
	assert_string_equal(r.in->messages[0].device, "a");
	assert_string_equal(r.in->messages[1].payload, "{\"t\":2}");
	assert_string_equal(r.in->messages[1].device, "127.0.0.1");
	assert_string_equal(r.in->messages[2].payload, "hello");
	assert_int_equal(r.in->messages[2].qos, -1);
	assert_true(r.in->messages[2].has_peer);
	expect_text(&r, fd, "ok 3\n");
	close(fd);
	rig_free(&r);
}

static void send_bytes(int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* C programs send sizeof; GELF has nothing else between its messages. */
static void a_nul_ends_a_line_wherever_it_is_cut(void **state)
{
	(void)state;
	static const char text[] =
	    "{\"device\":\"a\",\"n\":1}\n\0{\"device\":\"a\",\"n\":2}\n\0\0{\"device\":\"a\",\"n\":3}\0"
	    "{\"device\":\"a\",\"n\":4}";
	for (size_t cut = 1; cut < sizeof(text); cut++) {
		struct rig r = rig_new();
		rig_open(&r);
		int fd = rig_connect(&r);
		send_bytes(fd, text, cut);
		RIG_UNTIL(&r, r.in->stats.network_in == cut);
		send_bytes(fd, text + cut, sizeof(text) - cut); /* the last NUL is the terminator */
		RIG_UNTIL(&r, r.in->message_count == 4);
		for (size_t i = 0; i < 4; i++) {
			assert_string_equal(r.in->messages[i].device, "a");
			assert_int_equal(r.in->messages[i].payload_len, 20);
			assert_int_equal(r.in->messages[i].payload[18], '1' + (char)i);
		}
		close(fd);
		rig_free(&r);
	}
}

static void a_nul_is_a_byte_of_other_lines(void **state)
{
	(void)state;
	struct rig r = rig_new();
	rig_open(&r);
	int fd = rig_connect(&r);
	static const char lines[] = "a\0b\n\0\xff\n\xff\0\1\n";
	send_bytes(fd, lines, sizeof(lines) - 1);
	RIG_UNTIL(&r, r.in->message_count == 3);
	assert_int_equal(r.in->messages[0].payload_len, 3);
	assert_int_equal(r.in->messages[1].payload_len, 2);
	assert_int_equal(r.in->messages[2].payload_len, 3);
	close(fd);
	rig_free(&r);
	r = rig_new();
	r.in->settings.payload = PAYLOAD_BINARY;
	rig_open(&r);
	fd = rig_connect(&r);
	send_bytes(fd, "{\0b\n\0\n", 6);
	RIG_UNTIL(&r, r.in->message_count == 2);
	assert_int_equal(r.in->messages[0].payload_len, 3);
	assert_int_equal(r.in->messages[1].payload_len, 1);
	close(fd);
	rig_free(&r);
}

static void a_refused_line_is_reported_with_its_sender(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->refuse_payload = "bad";
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "bad\n");
	expect_text(&r, fd, "error 1 invalid_payload\n");
	assert_int_equal(r.in->reports, 1);
	assert_int_equal(r.in->reported, REFUSED_PAYLOAD);
	assert_true(r.in->reported_peer);
	assert_string_equal(r.in->reported_device, "127.0.0.1");
	assert_string_equal(r.in->reported_detail, "refused by the test");
	close(fd);
	rig_free(&r);
}

static void line_is_whole_wherever_it_is_cut(void **state)
{
	(void)state;
	const char *text = "{\"n\":1}\r\n\n{\"n\":2}\n";
	for (size_t cut = 1; cut < strlen(text); cut++) {
		struct rig r = rig_new();
		rig_open(&r);
		int fd = rig_connect(&r);
		assert_int_equal(send(fd, text, cut, 0), cut);
		RIG_UNTIL(&r, r.in->stats.network_in == cut);
		assert_int_equal(send(fd, text + cut, strlen(text) - cut, 0), strlen(text) - cut);
		RIG_UNTIL(&r, r.in->message_count == 2);
		assert_string_equal(r.in->messages[0].payload, "{\"n\":1}");
		assert_string_equal(r.in->messages[1].payload, "{\"n\":2}");
		close(fd);
		rig_free(&r);
	}
}

static void ok_waits_until_the_lines_are_safe_and_tells_the_newest_count(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\n2\n");
	RIG_UNTIL(&r, r.in->message_count == 2);
	send_text(fd, "3\n");
	RIG_UNTIL(&r, r.in->message_count == 3);
	send_text(fd, "4\n");
	RIG_UNTIL(&r, r.in->message_count == 4);
	char text[100] = "";
	gather(fd, text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(r.in->answer_count, 3); /* one per read, not per line */
	fake_settle(r.in, r.in->messages[2].position);
	expect_text(&r, fd, "ok 3\n");
	fake_settle_all(r.in);
	expect_text(&r, fd, "ok 4\n");
	close(fd);
	rig_free(&r);
}

static void refused_line_is_answered_in_its_place_and_counts(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	r.in->refuse_payload = "bad";
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\n2\nbad\nbad\n5\n");
	RIG_UNTIL(&r, r.in->message_count == 3);
	rig_turns(&r, 2);
	char text[100] = "";
	gather(fd, text, sizeof(text));
	assert_string_equal(text, ""); /* line 3 has its answer behind that of line 2 */
	fake_settle_all(r.in);
	expect_text(&r, fd, "ok 2\nerror 3 invalid_payload\nerror 4 invalid_payload\nok 5\n");
	assert_int_equal(r.in->stats.acknowledged, 2);
	close(fd);
	rig_free(&r);
}

static void nothing_is_awaited_or_said_without_reply(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.tcp->reply = REPLY_NONE;
	r.in->manual = true;
	r.in->refuse_payload = "bad";
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\nbad\n3");
	shutdown(fd, SHUT_WR);
	expect_end(&r, fd, "");
	assert_int_equal(r.in->message_count, 2);
	assert_string_equal(r.in->messages[1].payload, "3");
	close(fd);
	rig_free(&r);
}

static void long_line_is_refused_once_and_skipped(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.tcp->max_line = 20;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "12345678901234567890\r\n12345678901234567890x\n3\n");
	expect_text(&r, fd, "ok 1\nerror 2 too_large\nok 3\n");
	char *long_line = malloc(300000);
	memset(long_line, 'x', 300000);
	for (int i = 0; i < 3; i++) {
		size_t at = 0;
		uint64_t before = r.in->stats.network_in;
		while (at < 300000) {
			ssize_t n = send(fd, long_line + at, 300000 - at, MSG_DONTWAIT);
			at += n > 0 ? (size_t)n : 0;
			rig_turns(&r, 1);
		}
		RIG_UNTIL(&r, r.in->stats.network_in == before + 300000);
	}
	assert_true(r.tcp->streams->buffered < 100);
	send_text(fd, "y\n5\n");
	expect_text(&r, fd, "error 4 too_large\nok 5\n");
	assert_int_equal(r.in->stats.refused[REFUSED_TOO_LARGE], 2);
	assert_int_equal(r.in->message_count, 3);
	free(long_line);
	close(fd);
	rig_free(&r);
}

static void line_of_the_longest_length_fits_however_it_ends(void **state)
{
	(void)state;
	const char *ends[] = {"\n", "\r\n", "", "\r"};
	for (int i = 0; i < 4; i++) {
		struct rig r = rig_new();
		r.tcp->max_line = 16;
		rig_open(&r);
		int fd = rig_connect(&r);
		send_text(fd, "1234567890123456");
		RIG_UNTIL(&r, r.in->stats.network_in == 16);
		send_text(fd, ends[i]);
		shutdown(fd, SHUT_WR);
		expect_end(&r, fd, "ok 1\n");
		assert_string_equal(r.in->messages[0].payload, "1234567890123456");
		close(fd);
		rig_free(&r);
	}
}

static void first_line_names_the_device_and_has_no_number(void **state)
{
	(void)state;
	static char *ways[] = {"/device", "/id", "first_line"};
	struct rig r = rig_new();
	r.tcp->device.items = ways;
	r.tcp->device.count = 3;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "\r\npump-7\r\n1\n{\"device\":\"x\"}\n{\"id\":\"y\"}\n{\"id\":\"y\",\"device\":\"z\"}\n");
	expect_text(&r, fd, "ok 4\n");
	const char *devices[] = {"pump-7", "x", "y", "z"};
	for (int i = 0; i < 4; i++)
		assert_string_equal(r.in->messages[i].device, devices[i]);
	close(fd);
	rig_free(&r);
}

static void first_line_that_names_nobody_closes_the_connection(void **state)
{
	(void)state;
	static char *ways[] = {"first_line"};
	char longest[DEVICE_MAX + 3];
	memset(longest, 'x', DEVICE_MAX + 1);
	memcpy(longest + DEVICE_MAX + 1, "\n", 2);
	const char *bad[] = {"a\tb\n1\n", "\xff\n1\n", longest};
	for (int i = 0; i < 3; i++) {
		struct rig r = rig_new();
		r.tcp->device.items = ways;
		r.tcp->device.count = 1;
		rig_open(&r);
		int fd = rig_connect(&r);
		send_text(fd, bad[i]);
		expect_end(&r, fd, "error 0 invalid_device\n");
		assert_int_equal(r.in->message_count, 0);
		assert_int_equal(r.in->stats.refused[REFUSED_DEVICE], 1);
		close(fd);
		rig_free(&r);
	}
}

static void line_without_a_device_is_refused(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.tcp->device.count = 1;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "{\"t\":1}\n{\"device\":\"d\"}\n");
	expect_text(&r, fd, "error 1 no_device\nok 2\n");
	close(fd);
	rig_free(&r);
}

static void channel_is_found_in_the_payload(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.tcp->channel = (char[]){"/c/n"};
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "{\"c\":{\"n\":\"env\"}}\n");
	expect_text(&r, fd, "ok 1\n");
	assert_string_equal(r.in->messages[0].channel, "env");
	close(fd);
	rig_free(&r);
}

static void half_closed_connection_hears_its_last_answer(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\n2\n3");
	shutdown(fd, SHUT_WR);
	RIG_UNTIL(&r, r.in->message_count == 3);
	rig_turns(&r, 3);
	assert_int_equal(r.in->stats.connections, 1);
	fake_settle_all(r.in);
	expect_end(&r, fd, "ok 3\n");
	RIG_UNTIL(&r, r.in->stats.connections == 0);
	close(fd);
	rig_free(&r);
}

static void short_lines_do_not_take_the_room_that_a_long_one_waits_for(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->longest = 10;
	rig_open(&r);
	int a = rig_connect(&r), b = rig_connect(&r);
	send_text(a, "{\"a\":\"long one\"}\n");
	RIG_UNTIL(&r, r.in->stats.backpressured == 1);
	send_text(b, "short\n");
	RIG_UNTIL(&r, r.in->stats.backpressured == 2);
	assert_int_equal(r.in->message_count, 0);
	r.in->longest = 0;
	expect_text(&r, b, "ok 1\n");
	assert_string_equal(r.in->messages[0].payload, "{\"a\":\"long one\"}");
	assert_string_equal(r.in->messages[1].payload, "short");
	close(a);
	close(b);
	rig_free(&r);
}

static void full_lane_holds_the_sender_and_loses_nothing(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->room = 2;
	rig_open(&r);
	int a = rig_connect(&r), b = rig_connect(&r);
	send_text(a, "1\n2\n3\n4\n5");
	RIG_UNTIL(&r, r.in->message_count == 2);
	send_text(b, "x\n");
	shutdown(a, SHUT_WR);
	RIG_UNTIL(&r, r.in->stats.backpressured == 2);
	expect_text(&r, a, "ok 2\n");
	assert_int_equal(r.in->message_count, 2);
	r.in->room = 2;
	RIG_UNTIL(&r, r.in->message_count == 4);
	rig_turns(&r, 5);
	assert_int_equal(r.in->message_count, 4);
	r.in->room = -1;
	expect_end(&r, a, "ok 4\nok 5\n");
	expect_text(&r, b, "ok 1\n");
	assert_int_equal(r.in->stats.backpressured, 3);      /* a once more, at its end */
	assert_string_equal(r.in->messages[4].payload, "x"); /* b was held before a's last line was read */
	assert_string_equal(r.in->messages[5].payload, "5");
	close(a);
	close(b);
	rig_free(&r);
}

static void connection_that_is_held_too_long_is_closed(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->full = true;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\n");
	RIG_UNTIL(&r, r.in->stats.backpressured == 1);
	r.in->skew_ms += 29000;
	rig_turns(&r, 3);
	char text[10] = "";
	assert_true(gather(fd, text, sizeof(text)));
	r.in->skew_ms += 2500;
	expect_end(&r, fd, "");
	assert_int_equal(r.in->stats.refused[REFUSED_FULL], 1);
	close(fd);
	rig_free(&r);
}

static void idle_connection_is_closed_and_a_busy_one_stays(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.tcp->idle_timeout = 10000000;
	rig_open(&r);
	int idle = rig_connect(&r), busy = rig_connect(&r);
	RIG_UNTIL(&r, r.in->stats.connections == 2);
	send_text(idle, "half a line");
	for (int i = 1; i < 15; i++) {
		r.in->skew_ms += 1000;
		send_text(busy, "1\n");
		RIG_UNTIL(&r, r.in->message_count == (size_t)i);
	}
	expect_end(&r, idle, "");
	assert_int_equal(r.in->stats.refused[REFUSED_TIMEOUT], 1);
	char text[1000] = "";
	assert_true(gather(busy, text, sizeof(text)));
	close(idle);
	RIG_UNTIL(&r, r.in->stats.connections == 1);
	close(busy);
	rig_free(&r);
}

static void device_that_waits_for_our_answer_is_not_idle(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.tcp->idle_timeout = 10000000;
	r.in->manual = true;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\n");
	RIG_UNTIL(&r, r.in->message_count == 1);
	for (int i = 0; i < 30; i++) {
		r.in->skew_ms += 1000;
		rig_turns(&r, 1);
	}
	fake_settle_all(r.in);
	expect_text(&r, fd, "ok 1\n");
	close(fd);
	rig_free(&r);
}

static void stop_answers_what_is_due_and_closes(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	rig_open(&r);
	int waits = rig_connect(&r), idle = rig_connect(&r);
	send_text(waits, "1\n2\n");
	RIG_UNTIL(&r, r.in->message_count == 2 && r.in->stats.connections == 2);
	r.in->phase = INTAKE_DRAIN;
	expect_end(&r, idle, "");
	send_text(waits, "3\n");
	rig_turns(&r, 3);
	assert_int_equal(r.in->message_count, 2);
	fake_settle_all(r.in);
	r.in->turn_limit = -1;
	tcp_protocol.run(r.tcp); /* returns by itself */
	char text[100] = "";
	gather(waits, text, sizeof(text));
	assert_string_equal(text, "ok 2\n");
	close(waits);
	close(idle);
	rig_free(&r);
}

static void errors_beyond_max_unacked_wait(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	r.in->refuse_payload = "bad";
	r.tcp->stream.max_unacked = 4;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\nbad\nbad\nbad\nbad\nbad\nbad\nbad\n9\n");
	RIG_UNTIL(&r, r.in->answer_count == 4);
	rig_turns(&r, 4);
	assert_int_equal(r.in->answer_count, 4);
	fake_settle_all(r.in);
	r.in->manual = false;
	expect_text(
	    &r, fd,
	    "ok 1\nerror 2 invalid_payload\nerror 3 invalid_payload\nerror 4 invalid_payload\nerror 5 invalid_payload\n"
	    "error 6 invalid_payload\nerror 7 invalid_payload\nerror 8 invalid_payload\nok 9\n");
	close(fd);
	rig_free(&r);
}

static void out_of_memory_for_an_answer_closes_the_connection(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->await_fails = true;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\n");
	expect_end(&r, fd, "");
	close(fd);
	rig_free(&r);
}

static void peer_that_resets_is_forgotten_and_its_answers_are_dropped(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	rig_open(&r);
	int fd = rig_connect(&r);
	send_text(fd, "1\n");
	RIG_UNTIL(&r, r.in->message_count == 1);
	struct linger now = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	RIG_UNTIL(&r, r.in->stats.connections == 0);
	fake_settle_all(r.in);
	RIG_UNTIL(&r, r.in->answer_count == 0);
	rig_free(&r);
}

static void wrong_settings_are_told(void **state)
{
	(void)state;
	static const struct {
		char *device[2];
		size_t count;
		char *channel;
		const char *error;
	} cases[] = {
	    {{0}, 0, NULL, "device: must name at least one way"},
	    {{"/a~2"}, 1, NULL, "device: /a~2 is not a JSON pointer"},
	    {{"serial"}, 1, NULL, "device: serial is unknown"},
	    {{"peer", "/device"}, 2, NULL, "device: peer always names a device"},
	    {{"/device"}, 1, "channel", "channel: channel is not a JSON pointer"},
	};
	struct rig r = rig_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct why why = {{0}};
		char *device[2] = {cases[i].device[0], cases[i].device[1]};
		r.tcp->device = (struct string_list){.items = device, .count = cases[i].count};
		r.tcp->channel = cases[i].channel;
		assert_int_equal(tcp_protocol.check(r.tcp, &r.in->settings, &why), GW_CONFIG);
		assert_non_null(strstr(why.text, cases[i].error));
	}
	rig_free(&r);
}

static void address_in_use_names_address_and_setting(void **state)
{
	(void)state;
	struct rig a = rig_new(), b = rig_new();
	rig_open(&a);
	snprintf(b.tcp->stream.listen.port, sizeof(b.tcp->stream.listen.port), "%s", strrchr(a.in->address, ':') + 1);
	struct why why = {{0}};
	assert_int_equal(tcp_protocol.open(b.tcp, b.in, &why), GW_IO);
	char expected[200];
	snprintf(expected, sizeof(expected), "listen: %s: Address already in use", a.in->address);
	assert_non_null(strstr(why.text, expected));
	rig_free(&a);
	rig_free(&b);
}

static void hint_names_a_command_that_fits(void **state)
{
	(void)state;
	struct rig r = rig_new();
	char text[200];
	tcp_protocol.hint(r.tcp, "[::]:5170", text, sizeof(text));
	assert_string_equal(text, "printf '{\"device\":\"sensor-3\",\"temperature\":21.4}\\n' | nc -N 127.0.0.1 5170");
	tcp_protocol.hint(r.tcp, "[::1]:99", text, sizeof(text));
	assert_string_equal(text, "printf '{\"device\":\"sensor-3\",\"temperature\":21.4}\\n' | nc -N ::1 99");
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_become_messages_of_their_device),
	    cmocka_unit_test(a_nul_ends_a_line_wherever_it_is_cut),
	    cmocka_unit_test(a_nul_is_a_byte_of_other_lines),
	    cmocka_unit_test(a_refused_line_is_reported_with_its_sender),
	    cmocka_unit_test(line_is_whole_wherever_it_is_cut),
	    cmocka_unit_test(ok_waits_until_the_lines_are_safe_and_tells_the_newest_count),
	    cmocka_unit_test(refused_line_is_answered_in_its_place_and_counts),
	    cmocka_unit_test(nothing_is_awaited_or_said_without_reply),
	    cmocka_unit_test(long_line_is_refused_once_and_skipped),
	    cmocka_unit_test(line_of_the_longest_length_fits_however_it_ends),
	    cmocka_unit_test(first_line_names_the_device_and_has_no_number),
	    cmocka_unit_test(first_line_that_names_nobody_closes_the_connection),
	    cmocka_unit_test(line_without_a_device_is_refused),
	    cmocka_unit_test(channel_is_found_in_the_payload),
	    cmocka_unit_test(half_closed_connection_hears_its_last_answer),
	    cmocka_unit_test(short_lines_do_not_take_the_room_that_a_long_one_waits_for),
	    cmocka_unit_test(full_lane_holds_the_sender_and_loses_nothing),
	    cmocka_unit_test(connection_that_is_held_too_long_is_closed),
	    cmocka_unit_test(idle_connection_is_closed_and_a_busy_one_stays),
	    cmocka_unit_test(device_that_waits_for_our_answer_is_not_idle),
	    cmocka_unit_test(stop_answers_what_is_due_and_closes),
	    cmocka_unit_test(errors_beyond_max_unacked_wait),
	    cmocka_unit_test(out_of_memory_for_an_answer_closes_the_connection),
	    cmocka_unit_test(peer_that_resets_is_forgotten_and_its_answers_are_dropped),
	    cmocka_unit_test(wrong_settings_are_told),
	    cmocka_unit_test(address_in_use_names_address_and_setting),
	    cmocka_unit_test(hint_names_a_command_that_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
