/* Stream connections over real sockets, with a stand-in for the intake and a protocol of one-letter lines:
 *	e<text>  is echoed    p<text>  is put, and answered "+" when settled    b<n>  is answered with n KiB
 *	w        pauses the connection until the test resumes it                q     closes it at once; s settles first
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocols/net/stream_conn.h"
#include "test/unit/fake_intake.c"
#include "test/unit/threads.h"

#define CONNS 64

struct toy {
	struct stream_settings settings;
	struct stream_protocol protocol;
	struct intake *in;
	struct stream *stream;
	struct stream_conn *conns[CONNS]; /* as accepted */
	size_t accepted, ended, deadlines, turns, data_calls;
	uint32_t deadline_ms;
	bool deadline_closes;
	char peer[64];
};

static void toy_accepted(void *self, struct stream_conn *c)
{
	struct toy *t = self;
	if (t->accepted < CONNS)
		t->conns[t->accepted] = c;
	t->accepted++;
	if (t->deadline_ms)
		stream_deadline(c, t->deadline_ms);
	const struct sockaddr *a = stream_peer(c);
	assert_int_equal(a->sa_family, AF_INET);
	inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, t->peer, sizeof(t->peer));
}

static bool toy_line(struct toy *t, struct stream_conn *c, const uint8_t *line, size_t len)
{
	static char kib[1024];
	struct message m = {.device = "d", .device_len = 1, .payload = line, .payload_len = len, .qos = -1};
	struct refusal refusal;
	uint64_t position;
	switch (line[0]) {
	case 'e': stream_write(c, line + 1, len - 1); return true;
	case 'b':
		memset(kib, 'b', sizeof(kib));
		for (int i = atoi((const char *)line + 1); i > 0; i--)
			stream_write(c, kib, sizeof(kib));
		return true;
	case 'w': stream_pause(c); return true;
	case 'q': stream_close(c, false); return true;
	case 's': stream_close(c, true); return true;
	default: break;
	}
	if (intake_put(t->in, &m, &position, &refusal) == GW_FULL)
		return false;
	stream_await(c, position, ANSWER_ACKNOWLEDGEMENT, '+');
	return true;
}

static size_t toy_data(void *self, struct stream_conn *c, const uint8_t *bytes, size_t len)
{
	struct toy *t = self;
	const uint8_t *at = bytes, *newline;
	t->data_calls++;
	while (!stream_blocked(c) && (newline = memchr(at, '\n', len - (size_t)(at - bytes)))) {
		if (!toy_line(t, c, at, (size_t)(newline - at))) {
			stream_hold(c);
			break;
		}
		at = newline + 1;
	}
	if (at > bytes && t->deadline_ms)
		stream_deadline(c, t->deadline_ms);
	return (size_t)(at - bytes);
}

static void toy_answer(void *self, struct stream_conn *c, uint64_t what)
{
	(void)self;
	stream_write(c, &(char){(char)what}, 1);
}

static void toy_deadline(void *self, struct stream_conn *c)
{
	struct toy *t = self;
	t->deadlines++;
	if (t->deadline_closes)
		stream_close(c, false);
}

static void toy_ended(void *self, struct stream_conn *c)
{
	struct toy *t = self;
	t->ended++;
	for (size_t i = 0; i < CONNS; i++)
		if (t->conns[i] == c)
			t->conns[i] = NULL;
}

static void toy_turn(void *self)
{
	((struct toy *)self)->turns++;
}

static struct toy *toy_new(void)
{
	struct toy *t = calloc(1, sizeof(*t));
	t->in = fake_intake_new();
	t->settings = (struct stream_settings){.listen = {.host = "127.0.0.1", .port = "0"},
	                                       .max_connections = 1000,
	                                       .max_unacked = 100,
	                                       .max_output = 64 << 10,
	                                       .stall_timeout = 30000000,
	                                       .backlog = 1000};
	t->protocol = (struct stream_protocol){.conn_size = 16,
	                                       .max_message = 1 << 20,
	                                       .accepted = toy_accepted,
	                                       .data = toy_data,
	                                       .answer = toy_answer,
	                                       .deadline = toy_deadline,
	                                       .ended = toy_ended,
	                                       .turn = toy_turn};
	return t;
}

static void toy_open(struct toy *t)
{
	struct why why = {{0}};
	if (stream_open(&t->stream, &t->settings, &t->protocol, t, t->in, &why) != GW_OK)
		fail_msg("open: %s", why.text);
}

static void toy_free(struct toy *t)
{
	stream_free(t->stream);
	assert_int_equal(t->ended, t->accepted);
	assert_int_equal(t->in->stats.connections, 0);
	fake_intake_free(t->in);
	free(t);
}

static int toy_connect(const struct toy *t)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	a.sin_port = htons((uint16_t)atoi(strrchr(t->in->address, ':') + 1));
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void toy_turns(struct toy *t, int n)
{
	fake_turns(t->in, n);
	stream_run(t->stream);
}

#define TOY_UNTIL(t, condition) FAKE_UNTIL((t)->in, stream_run((t)->stream), condition)

/* Bytes received so far into text; -1 at the end of input. */
static ssize_t gather(int fd, char *text, size_t size)
{
	size_t len = strlen(text);
	ssize_t n = recv(fd, text + len, size - 1 - len, MSG_DONTWAIT);
	if (n > 0)
		text[len + (size_t)n] = 0;
	return n > 0 ? (ssize_t)strlen(text) : n < 0 && errno == EAGAIN ? (ssize_t)len : -1;
}

static void expect(struct toy *t, int fd, const char *expected)
{
	char text[1000] = "";
	TOY_UNTIL(t, gather(fd, text, sizeof(text)) >= (ssize_t)strlen(expected));
	assert_string_equal(text, expected);
}

static void expect_end(struct toy *t, int fd, const char *expected)
{
	char text[1000] = "";
	TOY_UNTIL(t, gather(fd, text, sizeof(text)) < 0);
	assert_string_equal(text, expected);
}

static void connection_costs_less_than_400_bytes(void **state)
{
	(void)state;
	assert_true(sizeof(struct stream_conn) <= 400);
}

static void answers_of_one_turn_leave_together_and_in_order(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "eone \nput\netwo \nput\nput\n");
	expect(t, fd, "one two +++");
	assert_int_equal(t->in->stats.network_out, 11);
	assert_int_equal(t->in->stats.network_in, 24);
	assert_int_equal(t->in->stats.connections_opened, 1);
	assert_string_equal(t->peer, "127.0.0.1");
	TOY_UNTIL(t, t->stream->pooled == 1); /* its output buffer is free again */
	close(fd);
	TOY_UNTIL(t, t->ended == 1);
	toy_free(t);
}

static void ipv4_peer_of_a_dual_stack_socket_is_ipv4(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	snprintf(t->settings.listen.host, sizeof(t->settings.listen.host), "::");
	toy_open(t);
	assert_memory_equal(t->in->address, "[::]:", 5);
	int fd = toy_connect(t);
	TOY_UNTIL(t, t->accepted == 1);
	assert_string_equal(t->peer, "127.0.0.1");
	close(fd);
	toy_free(t);
}

static void threads_of_a_listener_share_one_chosen_port(void **state)
{
	(void)state;
	struct toy *a = toy_new(), *b = toy_new();
	a->in->settings.threads = b->in->settings.threads = 2;
	b->in->thread = 1;
	toy_open(a);
	b->in->port = a->in->port; /* the core's is the same for both */
	toy_open(b);
	assert_string_equal(a->in->address, b->in->address);
	toy_free(a);
	toy_free(b);
}

static void port_is_not_shared_with_another_listener(void **state)
{
	(void)state;
	struct toy *a = toy_new(), *b = toy_new();
	struct why why = {{0}};
	a->in->settings.threads = b->in->settings.threads = 2;
	toy_open(a);
	snprintf(b->settings.listen.port, sizeof(b->settings.listen.port), "%s", strrchr(a->in->address, ':') + 1);
	assert_int_equal(stream_open(&b->stream, &b->settings, &b->protocol, b, b->in, &why), GW_IO);
	assert_non_null(strstr(why.text, "another program or listener has it"));
	toy_free(a);
	toy_open(b);
	toy_free(b);
}

static void connections_over_the_limit_are_closed_and_counted(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->settings.max_connections = 2;
	toy_open(t);
	int a = toy_connect(t), b = toy_connect(t), c = toy_connect(t);
	expect_end(t, c, "");
	assert_int_equal(t->in->stats.refused[REFUSED_CONNECTIONS], 1);
	close(a);
	TOY_UNTIL(t, t->ended == 1);
	int d = toy_connect(t);
	send_text(d, "ehello\n");
	expect(t, d, "hello");
	close(b);
	close(c);
	close(d);
	toy_free(t);
}

static void connections_leave_descriptors_to_journal_and_sinks(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	struct rlimit before, few;
	getrlimit(RLIMIT_NOFILE, &before);
	int lowest = dup(0), fds[100], spare[100], count = 0, left = 0;
	close(lowest);
	few = (struct rlimit){.rlim_cur = (rlim_t)lowest + 60, .rlim_max = before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &few);
	toy_open(t);
	int reserve = (lowest + 60) / 4;
	while (!t->stream->accept_paused && count < 60 - reserve) {
		fds[count++] = toy_connect(t);
		toy_turns(t, 1);
	}
	assert_true(t->stream->accept_paused);
	assert_int_equal(t->in->stats.accept_pauses, 1);
	assert_int_equal(t->in->stats.refused[REFUSED_CONNECTIONS], 0);
	int waiting =
	    count - (int)t->accepted; /* in the kernel's queue; this end of theirs is one of those that are left */
	assert_true(waiting > 0);
	while (left < 100 && (spare[left] = dup(0)) >= 0)
		left++;
	assert_true(left + waiting >= reserve);
	while (left > 0)
		close(spare[--left]);
	for (int i = 0; i < 10; i++)
		close(fds[i]);
	TOY_UNTIL(t, t->ended == 10);
	t->in->skew_ms += 1000;
	send_text(fds[count - 1], "ethank you for waiting\n");
	expect(t, fds[count - 1], "thank you for waiting");
	for (int i = 10; i < count; i++)
		close(fds[i]);
	setrlimit(RLIMIT_NOFILE, &before);
	toy_free(t);
}

static void without_descriptors_accepting_pauses_without_spinning_and_recovers(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	int old = toy_connect(t);
	TOY_UNTIL(t, t->accepted == 1);
	int waiting = toy_connect(t);
	struct rlimit before, none;
	getrlimit(RLIMIT_NOFILE, &before);
	int lowest = dup(0);
	close(lowest);
	none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	TOY_UNTIL(t, t->stream->accept_paused);
	send_text(old, "estill here\n"); /* the others are served */
	expect(t, old, "still here");
	size_t turns = t->turns;
	int64_t start = fake_clock_ms();
	fake_turns(t->in, 20); /* a turn of the stand-in sleeps 2 ms, if nothing is to be done */
	stream_run(t->stream);
	assert_true(fake_clock_ms() - start >= 25);
	assert_int_equal(t->turns, turns + 20);
	assert_int_equal(t->accepted, 1);
	setrlimit(RLIMIT_NOFILE, &before);
	t->in->skew_ms += 1000;
	TOY_UNTIL(t, t->accepted == 2);
	send_text(waiting, "eback\n");
	expect(t, waiting, "back");
	close(old);
	close(waiting);
	toy_free(t);
}

static uint64_t drop_all(int fd)
{
	static char drop[65536];
	uint64_t got = 0;
	for (ssize_t n; (n = recv(fd, drop, sizeof(drop), MSG_DONTWAIT)) > 0;)
		got += (uint64_t)n;
	return got;
}

static void peer_that_does_not_read_is_not_read_until_it_does(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	int fd = toy_connect(t);
	int small = 64 << 10;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	uint64_t sent = 0;
	for (int blocked = 0; blocked < 20;) { /* until our side has stopped reading for good */
		ssize_t n = send(fd, &"b0010\n"[sent % 6], 6 - sent % 6, MSG_NOSIGNAL);
		sent += n > 0 ? (uint64_t)n : 0;
		toy_turns(t, 1);
		blocked = t->accepted == 1 && t->conns[0]->back_since != 0 ? blocked + 1 : 0;
		assert_true(sent < 100000);
	}
	assert_true(stream_conn_output(t->conns[0]) <= (64 << 10) + (11 << 10));
	uint64_t before = t->in->stats.network_in;
	toy_turns(t, 10);
	assert_int_equal(t->in->stats.network_in, before);
	uint64_t got = 0;
	TOY_UNTIL(t, (got += drop_all(fd)) == sent / 6 * 10240);
	assert_int_equal(t->conns[0]->back_since, 0);
	close(fd);
	toy_free(t);
}

static void peer_that_never_reads_is_cut_off(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	int fd = toy_connect(t);
	for (int i = 0; i < 20; i++)
		send_text(fd, "b1000\n");
	TOY_UNTIL(t, (t->in->skew_ms += 100, t->ended == 1));
	assert_int_equal(t->in->stats.refused[REFUSED_TIMEOUT], 1);
	close(fd);
	toy_free(t);
}

static void max_unacked_stops_reading_until_answers_are_due(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->settings.max_unacked = 3;
	t->in->manual = true;
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "p1\np2\np3\np4\np5\neE\n");
	TOY_UNTIL(t, t->in->message_count == 3);
	toy_turns(t, 5);
	assert_int_equal(t->in->message_count, 3);
	fake_settle(t->in, t->in->messages[0].position);
	TOY_UNTIL(t, t->in->message_count == 4);
	/* nothing of this is the device's fault: it is not closed for it, however long it takes */
	for (int i = 0; i < 100; i++) {
		t->in->skew_ms += 1000;
		toy_turns(t, 1);
	}
	assert_int_equal(t->ended, 0);
	t->in->manual = false;
	fake_settle_all(t->in);
	expect(t, fd, "++++E+");
	close(fd);
	toy_free(t);
}

static void vanished_peer_is_noticed_though_it_is_not_read(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->settings.max_unacked = 1;
	t->in->manual = true;
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "p1\np2\n");
	TOY_UNTIL(t, t->in->message_count == 1);
	toy_turns(t, 3);
	struct linger now = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	for (int i = 0; i < 32; i++) { /* in steps: a jump would be taken for a stopped process */
		t->in->skew_ms += 1000;
		toy_turns(t, 1);
	}
	TOY_UNTIL(t, t->ended == 1);
	fake_settle_all(t->in);
	TOY_UNTIL(t, t->in->answer_count == 0);
	toy_free(t);
}

static void paused_connection_is_not_read_and_goes_on_with_its_rest(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->deadline_ms = 5000;
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "ea\nw\neb\n");
	expect(t, fd, "a");
	send_text(fd, "ec\n");
	toy_turns(t, 5);
	size_t calls = t->data_calls;
	toy_turns(t, 5);
	assert_int_equal(t->data_calls, calls);
	t->in->skew_ms += 2400; /* in steps: a jump would be taken for a stopped process */
	toy_turns(t, 1);
	t->in->skew_ms += 2400;
	toy_turns(t, 1);
	t->in->skew_ms += 2400;
	TOY_UNTIL(t, t->deadlines == 1); /* runs on while paused */
	stream_resume(t->conns[0]);
	expect(t, fd, "bc");
	close(fd);
	toy_free(t);
}

static void deadline_does_not_run_while_held_and_starts_anew_afterwards(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->deadline_ms = 10000;
	t->deadline_closes = true;
	t->in->full = true;
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "p\n");
	TOY_UNTIL(t, t->in->stats.backpressured == 1);
	for (int i = 0; i < 20; i++) {
		t->in->skew_ms += 1000;
		toy_turns(t, 1);
	}
	assert_int_equal(t->deadlines, 0);
	t->in->full = false;
	expect(t, fd, "+");
	for (int i = 0; i < 9; i++) {
		t->in->skew_ms += 1000;
		toy_turns(t, 1);
	}
	assert_int_equal(t->deadlines, 0);
	t->in->skew_ms += 2000;
	expect_end(t, fd, "");
	assert_int_equal(t->deadlines, 1);
	close(fd);
	toy_free(t);
}

/* Of the messages kept so far, how many begin with that text. */
static size_t put_of(const struct toy *t, const char *text)
{
	size_t n = 0;
	for (size_t i = 0; i < t->in->message_count; i++)
		n += strncmp(t->in->messages[i].payload, text, strlen(text)) == 0;
	return n;
}

static void held_connection_is_not_overtaken(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->in->lane_room = 0;
	toy_open(t);
	int first = toy_connect(t), second = toy_connect(t);
	send_text(first, "pfirst\n");
	TOY_UNTIL(t, t->in->stats.backpressured == 1);
	TOY_UNTIL(t, t->accepted == 2);
	send_text(second, "psecond\n"); /* readable in the very turn in which there is room again */
	struct pollfd there = {.fd = stream_conn_fd(t->conns[1]), .events = POLLIN};
	assert_int_equal(poll(&there, 1, 5000), 1);
	stream_link_ready(t->conns[1], EV_READ);
	t->in->lane_room = 1;
	TOY_UNTIL(t, t->in->message_count == 1);
	assert_string_equal(t->in->messages[0].payload, "pfirst");
	t->in->lane_room = 1;
	TOY_UNTIL(t, t->in->message_count == 2);
	assert_string_equal(t->in->messages[1].payload, "psecond");
	close(first);
	close(second);
	toy_free(t);
}

/* Thousands of small messages may be kept of one connection: without turns the others would wait for all of them. */
static void held_connections_take_turns(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	char lines[16001] = "";
	t->settings.max_unacked = 65535;
	t->in->lane_room = 0;
	toy_open(t);
	int greedy = toy_connect(t), modest = toy_connect(t);
	for (int i = 0; i < 4000; i++)
		memcpy(lines + 4 * i, "pgg\n", 5);
	send_text(greedy, lines);
	TOY_UNTIL(t, t->in->stats.backpressured == 1);
	send_text(modest, "pm\n");
	TOY_UNTIL(t, t->in->stats.backpressured == 2);
	t->in->lane_room = 1000;
	TOY_UNTIL(t, t->in->message_count == 1000);
	assert_int_equal(put_of(t, "pm"), 1);
	t->in->lane_room = -1;
	TOY_UNTIL(t, t->in->message_count == 4001);
	TOY_UNTIL(t, t->in->answer_count == 0);
	assert_true(TAILQ_EMPTY(&t->stream->held));
	close(greedy);
	close(modest);
	toy_free(t);
}

/* A connection with one message stored and one held, after stall_timeout. */
static int stall_behind_one_message(struct toy *t)
{
	t->in->manual = true;
	t->in->lane_room = 1;
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "p1\np2\n");
	TOY_UNTIL(t, t->in->message_count == 1 && t->in->stats.backpressured == 1);
	for (int i = 0; i < 31; i++) {
		t->in->skew_ms += 1000;
		toy_turns(t, 1);
	}
	assert_int_equal(stat_get(&t->in->stats.refused[REFUSED_FULL]), 1);
	assert_int_equal(t->ended, 0);
	return fd;
}

static void stalled_connection_hears_of_what_was_stored(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	int fd = stall_behind_one_message(t);
	fake_settle_all(t->in);
	expect_end(t, fd, "+");
	assert_int_equal(t->in->message_count, 1);
	close(fd);
	toy_free(t);
}

static void stalled_connection_does_not_wait_for_ever(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	int fd = stall_behind_one_message(t);
	for (int i = 0; i < 31; i++) {
		t->in->skew_ms += 1000;
		toy_turns(t, 1);
	}
	expect_end(t, fd, "");
	close(fd);
	toy_free(t);
}

static void stopped_process_does_not_close_who_is_held(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->in->lane_room = 0;
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "p\n");
	TOY_UNTIL(t, t->in->stats.backpressured == 1);
	t->in->skew_ms += 60000; /* SIGSTOP, SIGCONT: while it stood there may have been room all the time */
	toy_turns(t, 3);
	assert_int_equal(t->ended, 0);
	t->in->lane_room = -1;
	expect(t, fd, "+");
	close(fd);
	toy_free(t);
}

static void stopped_process_does_not_take_it_out_on_its_devices(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->deadline_ms = 10000;
	t->deadline_closes = true;
	toy_open(t);
	int alive = toy_connect(t), gone = toy_connect(t);
	TOY_UNTIL(t, t->accepted == 2);
	t->in->skew_ms += 30000; /* SIGSTOP, SIGCONT */
	toy_turns(t, 1);
	send_text(alive, "eping\n"); /* was in the socket, but the first look did not show it */
	expect(t, alive, "ping");
	assert_int_equal(t->deadlines, 0);
	t->in->skew_ms += 2400;
	toy_turns(t, 1);
	t->in->skew_ms += 1000;
	expect_end(t, gone, "");
	assert_int_equal(t->deadlines, 1);
	close(alive);
	close(gone);
	toy_free(t);
}

static void long_message_may_come_in_small_pieces(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	int fd = toy_connect(t);
	size_t len = 300000;
	char *text = malloc(len + 1);
	memset(text, 'x', len);
	text[0] = 'p';
	text[len - 1] = '\n';
	size_t at = 0;
	for (size_t piece = 1; at < len; piece = piece * 5 % 30011 + 1) {
		if (piece > len - at)
			piece = len - at;
		assert_int_equal(send(fd, text + at, piece, 0), piece);
		at += piece;
		TOY_UNTIL(t, t->in->stats.network_in == at);
		if (t->conns[0]->rest)
			assert_true(t->conns[0]->rest_cap <=
			            2 * at + READ_SCARCE); /* grows with what is received only */
	}
	expect(t, fd, "+");
	assert_int_equal(t->in->messages[0].payload_len, len - 1);
	assert_memory_equal(t->in->messages[0].payload, text, len - 1);
	assert_int_equal(t->stream->buffered, 0);
	free(text);
	close(fd);
	toy_free(t);
}

static void message_over_the_limit_ends_its_connection(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->protocol.max_message = 1000;
	toy_open(t);
	int fd = toy_connect(t);
	char text[1200];
	memset(text, 'x', sizeof(text));
	memcpy(text, "p\n", 2);
	assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
	expect_end(t, fd, "+"); /* what came before is answered */
	assert_int_equal(t->in->stats.refused[REFUSED_TOO_LARGE], 1);
	close(fd);
	toy_free(t);
}

static void memory_for_unfinished_messages_is_bounded(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->settings.max_buffered = 100000;
	toy_open(t);
	int fds[20];
	static char text[20000];
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 20; i++) {
		fds[i] = toy_connect(t);
		assert_int_equal(send(fds[i], text, sizeof(text), 0), sizeof(text));
	}
	TOY_UNTIL(t, t->in->stats.network_in >= 400000 - 15 * 20000 && t->in->stats.refused[REFUSED_MEMORY] >= 15);
	assert_true(t->stream->buffered <= 100000 + READ_CHUNK);
	int small = toy_connect(t);
	send_text(small, "ehal");
	toy_turns(t, 3);
	send_text(small, "lo\n");
	expect(t, small, "hallo");
	for (int i = 0; i < 20; i++)
		close(fds[i]);
	close(small);
	toy_free(t);
}

static void closing_at_once_drops_answers_and_settling_waits_for_them(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->in->manual = true;
	toy_open(t);
	int quits = toy_connect(t), settles = toy_connect(t);
	send_text(quits, "p\nebye\nq\nenot read\n");
	send_text(settles, "p\nebye\ns\nenot read\n");
	expect_end(t, quits, "bye");
	TOY_UNTIL(t, t->in->message_count == 2);
	toy_turns(t, 3);
	fake_settle_all(t->in);
	expect_end(t, settles, "bye+");
	assert_int_equal(t->ended, 2); /* though the sockets linger until the peer closes */
	assert_int_equal(t->in->stats.connections, 2);
	close(quits);
	close(settles);
	TOY_UNTIL(t, t->in->stats.connections == 0);
	toy_free(t);
}

static void peer_that_does_not_close_is_waited_for_but_briefly(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	int fd = toy_connect(t);
	send_text(fd, "q\n");
	expect_end(t, fd, "");
	send_text(fd, "and more\n");
	toy_turns(t, 3);
	assert_int_equal(t->in->stats.connections, 1);
	t->in->skew_ms += 2400;
	toy_turns(t, 2);
	t->in->skew_ms += 1000;
	TOY_UNTIL(t, t->in->stats.connections == 0);
	close(fd);
	toy_free(t);
}

static void drain_closes_each_connection_when_it_is_settled(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	t->in->manual = true;
	toy_open(t);
	int held = toy_connect(t), waits = toy_connect(t), idle = toy_connect(t);
	send_text(waits, "p\n");
	TOY_UNTIL(t, t->in->message_count == 1);
	t->in->full = true;
	send_text(held, "p\n");
	TOY_UNTIL(t, t->in->stats.backpressured == 1);
	t->in->phase = INTAKE_DRAIN;
	expect_end(t, held, "");
	expect_end(t, idle, "");
	struct sockaddr_in a = {.sin_family = AF_INET};
	a.sin_port = htons((uint16_t)atoi(strrchr(t->in->address, ':') + 1));
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(late, (struct sockaddr *)&a, sizeof(a)), -1);
	fake_settle_all(t->in);
	t->in->turn_limit = -1;
	stream_run(t->stream);
	char text[10] = "";
	gather(waits, text, sizeof(text));
	assert_string_equal(text, "+");
	close(held);
	close(waits);
	close(idle);
	close(late);
	toy_free(t);
}

static void unwrite_takes_back_only_what_has_not_left(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	int fd = toy_connect(t);
	TOY_UNTIL(t, t->accepted == 1);
	struct stream_conn *c = t->conns[0];
	stream_write(c, "one", 3);
	stream_write(c, "two", 3);
	assert_true(stream_unwrite(c, 3));
	assert_false(stream_unwrite(c, 4));
	expect(t, fd, "one");
	assert_false(stream_unwrite(c, 1));
	close(fd);
	toy_free(t);
}

static void *waker(void *arg)
{
	for (int i = 0; i < 1000; i++)
		stream_wake(arg);
	return NULL;
}

static void stop_when_woken(struct intake *in, void *arg)
{
	struct toy *t = arg;
	if (t->stream->wake_fired)
		in->phase = INTAKE_END;
}

static void other_thread_wakes_the_loop(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	for (int i = 0; i < 20; i++) { /* each wake is seen, also after many */
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, waker, t->stream), 0);
		t->in->phase = INTAKE_RUN;
		t->in->on_sleep = stop_when_woken;
		t->in->on_sleep_arg = t;
		TOY_UNTIL(t, t->stream->wake_fired);
		pthread_join(thread, NULL);
		toy_turns(t, 3);
		size_t turns = t->turns;
		stream_wake(t->stream);
		t->in->on_sleep = NULL;
		t->in->phase = INTAKE_RUN;
		int64_t start = fake_clock_ms();
		TOY_UNTIL(t, t->turns > turns + 1);
		assert_true(fake_clock_ms() - start < 1000);
		toy_turns(t, 2);
		assert_false(t->stream->wake_fired);
		assert_false(t->stream->woken);
	}
	toy_free(t);
}

static void many_connections_come_and_go(void **state)
{
	(void)state;
	struct toy *t = toy_new();
	toy_open(t);
	unsigned seed = 7;
	int fds[50];
	for (int i = 0; i < 50; i++)
		fds[i] = -1;
	for (int round = 0; round < 2000; round++) {
		seed = seed * 1103515245u + 12345u;
		int i = (int)(seed >> 16) % 50;
		const char *texts[] = {"p", "p\n", "ex\np\n", "q\n", "s\n", "p\ns\n", "w\n", "b20\n"};
		if (fds[i] < 0) {
			fds[i] = toy_connect(t);
			fcntl(fds[i], F_SETFL, O_NONBLOCK);
		} else if (seed % 5 == 0) {
			close(fds[i]);
			fds[i] = -1;
		} else {
			ssize_t n = send(fds[i], texts[seed % 8], strlen(texts[seed % 8]), MSG_NOSIGNAL);
			(void)n;
		}
		t->in->full = seed % 7 == 0;
		t->in->manual = seed % 3 == 0;
		toy_turns(t, 1);
		if (seed % 11 == 0)
			t->in->skew_ms += 700;
	}
	for (int i = 0; i < 50; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	t->in->manual = t->in->full = false;
	fake_settle_all(t->in);
	for (size_t i = 0; i < 50; i++)
		toy_turns(t, 1);
	assert_int_equal(t->in->answer_count, 0);
	assert_true(TAILQ_EMPTY(&t->stream->zombies));
	toy_free(t);
}

int main(void)
{
	closefrom(3); /* what whoever started it left open: descriptors are counted here */
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(connection_costs_less_than_400_bytes),
	    cmocka_unit_test(answers_of_one_turn_leave_together_and_in_order),
	    cmocka_unit_test(ipv4_peer_of_a_dual_stack_socket_is_ipv4),
	    cmocka_unit_test(threads_of_a_listener_share_one_chosen_port),
	    cmocka_unit_test(port_is_not_shared_with_another_listener),
	    cmocka_unit_test(connections_over_the_limit_are_closed_and_counted),
	    cmocka_unit_test(connections_leave_descriptors_to_journal_and_sinks),
	    cmocka_unit_test(without_descriptors_accepting_pauses_without_spinning_and_recovers),
	    cmocka_unit_test(peer_that_does_not_read_is_not_read_until_it_does),
	    cmocka_unit_test(peer_that_never_reads_is_cut_off),
	    cmocka_unit_test(max_unacked_stops_reading_until_answers_are_due),
	    cmocka_unit_test(vanished_peer_is_noticed_though_it_is_not_read),
	    cmocka_unit_test(paused_connection_is_not_read_and_goes_on_with_its_rest),
	    cmocka_unit_test(deadline_does_not_run_while_held_and_starts_anew_afterwards),
	    cmocka_unit_test(held_connection_is_not_overtaken),
	    cmocka_unit_test(held_connections_take_turns),
	    cmocka_unit_test(stalled_connection_hears_of_what_was_stored),
	    cmocka_unit_test(stalled_connection_does_not_wait_for_ever),
	    cmocka_unit_test(stopped_process_does_not_close_who_is_held),
	    cmocka_unit_test(stopped_process_does_not_take_it_out_on_its_devices),
	    cmocka_unit_test(long_message_may_come_in_small_pieces),
	    cmocka_unit_test(message_over_the_limit_ends_its_connection),
	    cmocka_unit_test(memory_for_unfinished_messages_is_bounded),
	    cmocka_unit_test(closing_at_once_drops_answers_and_settling_waits_for_them),
	    cmocka_unit_test(peer_that_does_not_close_is_waited_for_but_briefly),
	    cmocka_unit_test(drain_closes_each_connection_when_it_is_settled),
	    cmocka_unit_test(unwrite_takes_back_only_what_has_not_left),
	    cmocka_unit_test(other_thread_wakes_the_loop),
	    cmocka_unit_test(many_connections_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
