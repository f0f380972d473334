/* The MQTT protocol over real sockets, with a stand-in for the intake: what is answered to what, when, and in which
 * order. */
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

#include "protocols/mqtt/mqtt_conn.h"
#include "protocols/net/stream_conn.h"
#include "test/unit/fake_intake.c"

extern const struct protocol mqtt_protocol;

static char *default_templates[] = {"devices/{device}/#", "{client_id}"};

struct rig {
	struct intake *in;
	struct mqtt *mqtt;
};

static struct rig rig_make(void)
{
	struct rig r = {.in = fake_intake_new(), .mqtt = calloc(1, sizeof(struct mqtt))};
	*r.mqtt = (struct mqtt){.stream = {.listen = {.host = "127.0.0.1", .port = "0"},
	                                   .max_connections = 1000,
	                                   .max_unacked = 1024,
	                                   .max_output = 64 << 10,
	                                   .max_buffered = 64 << 20,
	                                   .stall_timeout = 30000000,
	                                   .backlog = 100},
	                        .max_packet = 4096,
	                        .max_client_id = 128,
	                        .device = {.items = default_templates, .count = 2},
	                        .connect_timeout = 10000000,
	                        .keep_alive_max = 3600000000,
	                        .idle_timeout = 3600000000,
	                        .session_expiry = 3600000000,
	                        .receive_maximum = 16,
	                        .max_sessions = 1000};
	return r;
}

static void rig_open(struct rig *r)
{
	struct why why = {{0}};
	if (mqtt_protocol.open(r->mqtt, r->in, &why) != GW_OK)
		fail_msg("open: %s", why.text);
}

static struct rig rig_new(void)
{
	struct rig r = rig_make();
	rig_open(&r);
	return r;
}

static void rig_free(struct rig *r)
{
	mqtt_protocol.close(r->mqtt);
	free(r->mqtt);
	fake_intake_free(r->in);
}

static void rig_turns(struct rig *r, int n)
{
	fake_turns(r->in, n);
	mqtt_protocol.run(r->mqtt);
}

/* Lets time pass, in steps too small to look as if the process had been stopped. */
static void pass(struct rig *r, int ms)
{
	for (; ms > 0; ms -= 1000) {
		r->in->skew_ms += ms < 1000 ? ms : 1000;
		rig_turns(r, 1);
	}
}

#define RIG_UNTIL(r, condition) FAKE_UNTIL((r)->in, mqtt_protocol.run((r)->mqtt), condition)

static int dial(struct rig *r)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	a.sin_port = htons((uint16_t)atoi(strrchr(r->in->address, ':') + 1));
	inet_pton(AF_INET, r->mqtt->stream.listen.host, &a.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void send_bytes(int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}
#define SEND(fd, ...) send_bytes((fd), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void send_connect(int fd, uint8_t level, const char *id, bool clean, unsigned keep_alive)
{
	uint8_t b[400] = {
	    0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', level, clean ? 2 : 0, (uint8_t)(keep_alive >> 8), (uint8_t)keep_alive};
	size_t n = 12, len = strlen(id);
	if (level == 3) {
		memcpy(b + 2, ((uint8_t[]){0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, clean ? 2 : 0, 0, 0}), 12);
		n = 14;
	}
	b[n++] = (uint8_t)(len >> 8);
	b[n++] = (uint8_t)len;
	memcpy(b + n, id, len);
	n += len;
	assert_true(n - 2 < 128 || len > 120);
	if (n - 2 < 128) {
		b[1] = (uint8_t)(n - 2);
	} else { /* one more byte of length */
		memmove(b + 3, b + 2, n - 2);
		b[1] = (uint8_t)((n - 2) | 0x80);
		b[2] = (uint8_t)((n - 2) >> 7);
		n++;
	}
	send_bytes(fd, b, n);
}

static size_t publish_bytes(uint8_t *b, uint8_t flags, const char *topic, uint16_t id, const char *payload)
{
	size_t t = strlen(topic), p = strlen(payload), n = 0, with_id = (flags & 6) != 0 ? 2 : 0;
	b[n++] = (uint8_t)(0x30 | flags);
	b[n++] = (uint8_t)(2 + t + with_id + p);
	b[n++] = 0;
	b[n++] = (uint8_t)t;
	memcpy(b + n, topic, t);
	n += t;
	if (with_id) {
		b[n++] = (uint8_t)(id >> 8);
		b[n++] = (uint8_t)id;
	}
	memcpy(b + n, payload, p);
	return n + p;
}

static void send_publish(int fd, uint8_t flags, const char *topic, uint16_t id, const char *payload)
{
	uint8_t b[256];
	send_bytes(fd, b, publish_bytes(b, flags, topic, id, payload));
}
enum { QOS0 = 0, QOS1 = 2, QOS2 = 4, DUP = 8, RETAIN = 1 };

/* Appends what has arrived; false: the end of input. */
static bool gather(int fd, uint8_t *b, size_t size, size_t *len)
{
	ssize_t n = recv(fd, b + *len, size - *len, MSG_DONTWAIT);
	*len += n > 0 ? (size_t)n : 0;
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void expect_bytes(struct rig *r, int fd, const uint8_t *expected, size_t expected_len)
{
	uint8_t b[4096];
	size_t len = 0;
	RIG_UNTIL(r, (gather(fd, b, sizeof(b), &len), len >= expected_len));
	assert_int_equal(len, expected_len);
	assert_memory_equal(b, expected, len);
}
#define EXPECT(r, fd, ...)                                                                                             \
	expect_bytes((r), (fd), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void expect_end(struct rig *r, int fd, const uint8_t *expected, size_t expected_len)
{
	uint8_t b[4096];
	size_t len = 0;
	RIG_UNTIL(r, !gather(fd, b, sizeof(b), &len));
	assert_int_equal(len, expected_len);
	assert_memory_equal(b, expected, len);
	close(fd);
}
#define EXPECT_END(r, fd, ...)                                                                                         \
	expect_end((r), (fd), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define EXPECT_CLOSED(r, fd) expect_end((r), (fd), (const uint8_t *)"", 0)

static void expect_nothing(struct rig *r, int fd)
{
	uint8_t b[16];
	size_t len = 0;
	rig_turns(r, 5);
	assert_true(gather(fd, b, sizeof(b), &len));
	assert_int_equal(len, 0);
}

static int client(struct rig *r, const char *id, bool clean)
{
	int fd = dial(r);
	send_connect(fd, 4, id, clean, 60);
	EXPECT(r, fd, 0x20, 2, 0, 0);
	return fd;
}

static uint64_t refused(const struct rig *r, enum refusal_reason reason)
{
	return stat_get(&r->in->stats.refused[reason]);
}

/* -- CONNECT -- */

static void connect_is_answered_with_each_return_code(void **state)
{
	(void)state;
	struct rig r = rig_new();
	char long_id[160];
	memset(long_id, 'x', sizeof(long_id));
	int fd = dial(&r);
	send_connect(fd, 4, "dev", true, 60);
	EXPECT(&r, fd, 0x20, 2, 0, 0);
	close(fd);
	fd = dial(&r);
	send_connect(fd, 3, "dev31", true, 60);
	EXPECT(&r, fd, 0x20, 2, 0, 0);
	close(fd);
	fd = dial(&r);
	send_connect(fd, 6, "dev", true, 60);
	EXPECT_END(&r, fd, 0x20, 2, 0, 1);
	fd = dial(&r);
	send_connect(fd, 5, "dev", true, 60);
	EXPECT_END(&r, fd, 0x20, 3, 0, 0x84, 0);
	assert_int_equal(refused(&r, REFUSED_UNSUPPORTED), 2);
	fd = dial(&r);
	send_connect(fd, 4, "", false, 60);
	EXPECT_END(&r, fd, 0x20, 2, 0, 2);
	fd = dial(&r);
	send_connect(fd, 3, "", true, 60);
	EXPECT_END(&r, fd, 0x20, 2, 0, 2);
	fd = dial(&r);
	send_connect(fd, 4, "a\nb", true, 60);
	EXPECT_END(&r, fd, 0x20, 2, 0, 2);
	fd = dial(&r);
	long_id[129] = 0;
	send_connect(fd, 4, long_id, true, 60);
	EXPECT_END(&r, fd, 0x20, 2, 0, 2);
	assert_int_equal(refused(&r, REFUSED_DEVICE), 4);
	fd = dial(&r);
	long_id[128] = 0;
	send_connect(fd, 4, long_id, true, 60);
	EXPECT(&r, fd, 0x20, 2, 0, 0);
	close(fd);
	r.in->full = true;
	fd = dial(&r);
	send_connect(fd, 4, "dev", true, 60);
	EXPECT_END(&r, fd, 0x20, 2, 0, 3);
	assert_int_equal(refused(&r, REFUSED_FULL), 1);
	rig_free(&r);
}

static void first_packet_other_than_connect_closes(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = dial(&r);
	SEND(fd, 0xc0, 0);
	EXPECT_CLOSED(&r, fd);
	fd = dial(&r);
	send_bytes(fd, "GET / HTTP/1.1\r\n", 16);
	EXPECT_CLOSED(&r, fd);
	fd = dial(&r);
	SEND(fd, 0x20); /* CONNACK from a client: one byte is enough to know */
	EXPECT_CLOSED(&r, fd);
	assert_int_equal(refused(&r, REFUSED_PROTOCOL), 3);
	rig_free(&r);
}

static void second_connect_closes(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	send_connect(fd, 4, "dev", true, 60);
	EXPECT_CLOSED(&r, fd);
	rig_free(&r);
}

static void connect_must_come_in_time(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = dial(&r);
	SEND(fd, 0x10, 20, 0, 4, 'M', 'Q');
	RIG_UNTIL(&r, r.in->stats.network_in == 6);
	pass(&r, 9000);
	expect_nothing(&r, fd);
	pass(&r, 3000);
	EXPECT_CLOSED(&r, fd);
	assert_int_equal(refused(&r, REFUSED_TIMEOUT), 1);
	rig_free(&r);
}

static void packet_over_the_limit_closes_when_it_is_announced(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = dial(&r);
	SEND(fd, 0x10, 0xff, 0xff, 0xff, 0x7f);
	EXPECT_CLOSED(&r, fd);
	fd = client(&r, "dev", true);
	SEND(fd, 0x30, 0xfd, 0x1f); /* 4096 in all: just allowed */
	expect_nothing(&r, fd);
	close(fd);
	fd = client(&r, "dev2", true);
	SEND(fd, 0x82, 0xfe, 0x1f);
	EXPECT_CLOSED(&r, fd);
	assert_int_equal(refused(&r, REFUSED_TOO_LARGE), 2);
	rig_free(&r);
}

static void send_oversize(int fd, uint8_t flags, uint16_t id, size_t left)
{
	uint8_t b[5000] = {(uint8_t)(0x30 | flags), 0x88, 0x27, 0, 1, 't', (uint8_t)(id >> 8), (uint8_t)id}; /* 5000 */
	assert_true(left <= sizeof(b));
	send_bytes(fd, b, sizeof(b) - left);
}

static void send_zeros(int fd, size_t len)
{
	static const uint8_t zeros[5000];
	send_bytes(fd, zeros, len);
}

static void publish_over_the_limit_is_skipped_and_acknowledged(void **state)
{
	(void)state;
	struct rig r = rig_make();
	r.mqtt->on_refused = ON_REFUSED_ACKNOWLEDGE;
	rig_open(&r);
	int fd = client(&r, "dev", false);
	send_oversize(fd, QOS1, 7, 4000);
	RIG_UNTIL(&r, refused(&r, REFUSED_TOO_LARGE) == 1);
	expect_nothing(&r, fd); /* before it has come wholly there is no telling what comes next */
	assert_int_equal(r.mqtt->s->buffered, 0);
	send_zeros(fd, 4003);
	send_publish(fd, QOS1, "t", 8, "x");
	EXPECT(&r, fd, 0x40, 2, 0, 7, 0x40, 2, 0, 8);
	send_oversize(fd, QOS2, 9, 0);
	send_zeros(fd, 3);
	SEND(fd, 0x62, 2, 0, 9);
	EXPECT(&r, fd, 0x50, 2, 0, 9, 0x70, 2, 0, 9);
	send_oversize(fd, QOS0, 0, 0);
	send_zeros(fd, 3);
	SEND(fd, 0xc0, 0);
	EXPECT(&r, fd, 0xd0, 0);
	assert_int_equal(refused(&r, REFUSED_TOO_LARGE), 3);
	assert_int_equal(r.in->message_count, 1);
	assert_int_equal(r.in->stats.acknowledged, 1);
	close(fd);
	rig_free(&r);
}

static void publish_over_the_limit_closes_on_request(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS1, "t", 1, "x");
	send_oversize(fd, QOS1, 7, 4990);
	EXPECT_END(&r, fd, 0x40, 2, 0, 1);
	assert_int_equal(refused(&r, REFUSED_TOO_LARGE), 1);
	fd = client(&r, "dev", true);
	SEND(fd, 0x32, 0x88, 0x27, 0, 1, '#', 0, 1); /* malformed all the same */
	EXPECT_CLOSED(&r, fd);
	assert_int_equal(refused(&r, REFUSED_PROTOCOL), 1);
	rig_free(&r);
}

static void largest_payload_fits_by_default(void **state)
{
	(void)state;
	struct rig r = rig_make();
	r.mqtt->max_packet = 0;
	rig_open(&r);
	assert_true(r.mqtt->max_packet >= r.in->settings.max_payload + 65535 + 9);
	rig_free(&r);
}

static void empty_client_identifier_is_replaced(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int a = client(&r, "", true), b = client(&r, "", true);
	send_publish(a, QOS0, "t", 0, "1");
	RIG_UNTIL(&r, r.in->message_count == 1);
	send_publish(b, QOS0, "t", 0, "2");
	RIG_UNTIL(&r, r.in->message_count == 2);
	assert_int_equal(strncmp(r.in->messages[0].device, "auto-", 5), 0);
	assert_int_equal(r.in->messages[0].device_len, 37);
	assert_string_not_equal(r.in->messages[0].device, r.in->messages[1].device);
	close(a);
	close(b);
	rig_free(&r);
}

/* -- PUBLISH -- */

static void publish_becomes_a_message_with_its_topic(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS1 | RETAIN, "devices/s1/temp", 5, "{\"t\":1}");
	EXPECT(&r, fd, 0x40, 2, 0, 5);
	send_publish(fd, QOS0, "other/topic", 0, "");
	RIG_UNTIL(&r, r.in->message_count == 2);
	const struct fake_message *m = r.in->messages;
	assert_string_equal(m[0].device, "s1");
	assert_string_equal(m[0].channel, "devices/s1/temp");
	assert_string_equal(m[0].payload, "{\"t\":1}");
	assert_int_equal(m[0].qos, 1);
	assert_true(m[0].retain && m[0].has_peer);
	assert_int_equal(m[0].kind, PAYLOAD_AUTO);
	assert_string_equal(m[1].device, "dev");
	assert_string_equal(m[1].channel, "other/topic");
	assert_int_equal(m[1].payload_len, 0);
	assert_int_equal(m[1].qos, 0);
	assert_false(m[1].retain);
	close(fd);
	rig_free(&r);
}

static void packets_are_whole_wherever_they_are_cut(void **state)
{
	(void)state;
	uint8_t b[64];
	size_t n = publish_bytes(b, QOS1, "devices/s/t", 1, "{\"a\":1}");
	n += publish_bytes(b + n, QOS2, "devices/s/t", 2, "{\"a\":2}");
	for (size_t cut = 1; cut < n; cut++) {
		struct rig r = rig_new();
		int fd = client(&r, "dev", true);
		uint64_t before = r.in->stats.network_in;
		send_bytes(fd, b, cut);
		RIG_UNTIL(&r, r.in->stats.network_in == before + cut);
		send_bytes(fd, b + cut, n - cut);
		RIG_UNTIL(&r, r.in->message_count == 2);
		assert_string_equal(r.in->messages[0].payload, "{\"a\":1}");
		assert_string_equal(r.in->messages[1].payload, "{\"a\":2}");
		close(fd);
		rig_free(&r);
	}
}

static void acknowledgements_wait_until_safe_and_keep_their_order(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS1, "t", 1, "1");
	send_publish(fd, QOS2, "t", 2, "2");
	send_publish(fd, QOS0, "t", 0, "3");
	send_publish(fd, QOS1, "t", 1, "4"); /* the same identifier without QoS 2: another message */
	SEND(fd, 0x62, 2, 0, 9);             /* PUBREL of nothing: its PUBCOMP is behind them all */
	SEND(fd, 0xc0, 0);                   /* but a ping is answered at once */
	EXPECT(&r, fd, 0xd0, 0);
	assert_int_equal(r.in->message_count, 4);
	expect_nothing(&r, fd);
	fake_settle(r.in, r.in->messages[1].position);
	EXPECT(&r, fd, 0x40, 2, 0, 1, 0x50, 2, 0, 2);
	fake_settle_all(r.in);
	EXPECT(&r, fd, 0x40, 2, 0, 1, 0x70, 2, 0, 9);
	close(fd);
	rig_free(&r);
}

static void many_acknowledgements_leave_in_one_write(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	int fd = client(&r, "dev", true);
	uint8_t b[100 * 16];
	size_t n = 0;
	for (uint16_t i = 1; i <= 100; i++)
		n += publish_bytes(b + n, QOS1, "t", i, "x");
	send_bytes(fd, b, n);
	RIG_UNTIL(&r, r.in->message_count == 100);
	uint64_t before = r.in->stats.network_out;
	fake_settle_all(r.in);
	rig_turns(&r, 1);
	assert_int_equal(r.in->stats.network_out, before + 400);
	uint8_t acks[512];
	size_t len = 0;
	gather(fd, acks, sizeof(acks), &len);
	assert_int_equal(len, 400);
	for (uint8_t i = 0; i < 100; i++)
		assert_memory_equal(acks + 4 * i, ((uint8_t[]){0x40, 2, 0, (uint8_t)(i + 1)}), 4);
	close(fd);
	rig_free(&r);
}

static void malformed_packets_close(void **state)
{
	(void)state;
	static const struct {
		uint8_t len, bytes[16];
	} cases[] = {
	    {7, {0x36, 5, 0, 1, 't', 0, 1}}, /* QoS 3 */
	    {6, {0x38, 4, 0, 1, 't', 'x'}},  /* DUP with QoS 0 */
	    {7, {0x32, 5, 0, 1, 't', 0, 0}}, /* packet identifier 0 */
	    {5, {0x30, 3, 0, 1, '+'}},       /* wildcard */
	    {5, {0x30, 3, 0, 1, '#'}},
	    {4, {0x30, 2, 0, 0}},                   /* empty topic */
	    {5, {0x30, 3, 0, 1, 0}},                /* U+0000 */
	    {7, {0x30, 5, 0, 3, 0xed, 0xa0, 0x80}}, /* surrogate */
	    {6, {0x30, 4, 0, 2, 0xc0, 0x80}},       /* overlong */
	    {5, {0x30, 3, 0, 9, 't'}},              /* topic cut */
	    {2, {0x30, 0}},
	    {5, {0x30, 0x80, 0x80, 0x80, 0x80}}, /* remaining length */
	    {2, {0x00, 0}},                      /* type 0 */
	    {2, {0xf0, 0}},                      /* type 15 */
	    {4, {0x20, 2, 0, 0}},                /* CONNACK, SUBACK, UNSUBACK, PINGRESP from a client */
	    {5, {0x90, 3, 0, 1, 0}},
	    {4, {0xb0, 2, 0, 1}},
	    {2, {0xd0, 0}},
	    {2, {0xc1, 0}}, /* reserved flags */
	    {2, {0xe8, 0}},
	    {4, {0x60, 2, 0, 1}},
	    {4, {0x42, 2, 0, 1}},
	    {3, {0xc0, 1, 0}}, /* PINGREQ with a body */
	    {3, {0x62, 1, 1}}, /* short PUBREL */
	    {4, {0x62, 2, 0, 0}},
	    {4, {0x82, 2, 0, 1}},               /* SUBSCRIBE without filter */
	    {8, {0x82, 6, 0, 1, 0, 1, 't', 3}}, /* requested QoS 3 */
	    {8, {0x80, 6, 0, 1, 0, 1, 't', 0}}, /* its flags */
	};
	struct rig r = rig_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = client(&r, "dev", true);
		send_bytes(fd, cases[i].bytes, cases[i].len);
		EXPECT_CLOSED(&r, fd);
		assert_int_equal(refused(&r, REFUSED_PROTOCOL), i + 1);
	}
	assert_int_equal(r.in->message_count, 0);
	rig_free(&r);
}

static void messages_before_a_fault_are_acknowledged_first(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS1, "t", 1, "x");
	send_publish(fd, QOS2, "t", 2, "x");
	send_publish(fd, QOS1, "t/#", 3, "x");
	send_publish(fd, QOS1, "t", 4, "x");
	RIG_UNTIL(&r, refused(&r, REFUSED_PROTOCOL) == 1);
	expect_nothing(&r, fd);
	fake_settle_all(r.in);
	EXPECT_END(&r, fd, 0x40, 2, 0, 1, 0x50, 2, 0, 2);
	assert_int_equal(r.in->message_count, 2);
	rig_free(&r);
}

static void subscribe_is_refused_or_granted(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	SEND(fd, 0x82, 10, 0, 7, 0, 1, 'a', 1, 0, 1, 'b', 2);
	EXPECT(&r, fd, 0x90, 4, 0, 7, 0x80, 0x80);
	assert_int_equal(refused(&r, REFUSED_SUBSCRIPTION), 1);
	SEND(fd, 0xa2, 5, 0, 8, 0, 1, 'a');
	EXPECT(&r, fd, 0xb0, 2, 0, 8);
	r.mqtt->subscribe = SUBSCRIBE_GRANT_SILENTLY;
	SEND(fd, 0x82, 10, 0, 7, 0, 1, 'a', 1, 0, 1, 'b', 2);
	EXPECT(&r, fd, 0x90, 4, 0, 7, 1, 2);
	r.mqtt->subscribe = SUBSCRIBE_REFUSE;
	close(fd);
	fd = dial(&r);
	send_connect(fd, 3, "old", true, 60); /* 3.1 cannot be refused */
	EXPECT(&r, fd, 0x20, 2, 0, 0);
	SEND(fd, 0x82, 6, 0, 7, 0, 1, 'a', 1);
	EXPECT(&r, fd, 0x90, 3, 0, 7, 1);
	close(fd);
	rig_free(&r);
}

static void suback_of_many_filters_is_complete(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	uint8_t b[5 + 4 * 1000] = {0x82, 0xa2, 0x1f, 0, 7}, out[1005]; /* 2 + 4000 */
	for (size_t i = 0; i < 1000; i++)
		memcpy(b + 5 + 4 * i, "\0\1a", 4);
	send_bytes(fd, b, sizeof(b));
	size_t len = 0;
	RIG_UNTIL(&r, (gather(fd, out, sizeof(out), &len), len == sizeof(out)));
	assert_memory_equal(out, ((uint8_t[]){0x90, 0xea, 7, 0, 7, 0x80}), 6);
	assert_int_equal(out[1004], 0x80);
	close(fd);
	rig_free(&r);
}

static void stray_acknowledgements_are_borne(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	SEND(fd, 0x40, 2, 0, 1, 0x70, 2, 0, 1, 0x50, 2, 0, 3);
	EXPECT(&r, fd, 0x62, 2, 0, 3);
	close(fd);
	rig_free(&r);
}

static void disconnect_closes_after_what_is_due(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS1, "t", 1, "1");
	SEND(fd, 0xe0, 0);
	send_publish(fd, QOS1, "t", 2, "2"); /* behind DISCONNECT nothing counts */
	RIG_UNTIL(&r, r.in->message_count == 1);
	expect_nothing(&r, fd);
	fake_settle_all(r.in);
	EXPECT_END(&r, fd, 0x40, 2, 0, 1);
	assert_int_equal(r.in->message_count, 1);
	rig_free(&r);
}

/* -- QoS 2 -- */

static void repeated_identifier_is_one_message_until_released(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS2, "t", 5, "first");
	send_publish(fd, QOS2 | DUP, "t", 5, "first");
	RIG_UNTIL(&r, r.in->stats.duplicates == 1);
	expect_nothing(&r, fd); /* the second PUBREC waits for the first copy, too */
	fake_settle_all(r.in);
	EXPECT(&r, fd, 0x50, 2, 0, 5, 0x50, 2, 0, 5);
	SEND(fd, 0x62, 2, 0, 5);
	EXPECT(&r, fd, 0x70, 2, 0, 5);
	SEND(fd, 0x62, 2, 0, 5);
	EXPECT(&r, fd, 0x70, 2, 0, 5);
	send_publish(fd, QOS2, "t", 5, "second");
	RIG_UNTIL(&r, r.in->message_count == 2);
	assert_string_equal(r.in->messages[1].payload, "second");
	close(fd);
	rig_free(&r);
}

static void qos_2_counts_as_one_acknowledgement(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS2, "t", 7, "x");
	EXPECT(&r, fd, 0x50, 2, 0, 7);
	send_publish(fd, QOS2 | DUP, "t", 7, "x");
	EXPECT(&r, fd, 0x50, 2, 0, 7);
	SEND(fd, 0x62, 2, 0, 7);
	EXPECT(&r, fd, 0x70, 2, 0, 7);
	assert_int_equal(r.in->stats.acknowledged, 1);
	close(fd);
	rig_free(&r);
}

static void more_than_receive_maximum_closes(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	for (uint16_t id = 1; id <= 17; id++)
		send_publish(fd, QOS2, "t", id, "x");
	uint8_t b[200];
	size_t len = 0;
	RIG_UNTIL(&r, !gather(fd, b, sizeof(b), &len));
	assert_int_equal(r.in->message_count, 16);
	assert_int_equal(refused(&r, REFUSED_MEMORY), 1);
	close(fd);
	rig_free(&r);
}

static void session_recognises_a_repetition_after_reconnecting(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	int fd = client(&r, "dev", false);
	send_publish(fd, QOS2, "t", 5, "x");
	RIG_UNTIL(&r, r.in->message_count == 1);
	close(fd); /* before its PUBREC */
	int again = dial(&r);
	send_connect(again, 4, "dev", false, 60);
	EXPECT(&r, again, 0x20, 2, 1, 0); /* session present */
	send_publish(again, QOS2 | DUP, "t", 5, "x");
	RIG_UNTIL(&r, r.in->stats.duplicates == 1);
	expect_nothing(&r, again);
	fake_settle_all(r.in);
	EXPECT(&r, again, 0x50, 2, 0, 5);
	SEND(again, 0x62, 2, 0, 5);
	EXPECT(&r, again, 0x70, 2, 0, 5);
	assert_int_equal(r.in->message_count, 1);
	SEND(again, 0xe0, 0);
	EXPECT_CLOSED(&r, again);
	again = dial(&r); /* nothing is open any more, but the session is there */
	send_connect(again, 4, "dev", false, 60);
	EXPECT(&r, again, 0x20, 2, 1, 0);
	close(again);
	rig_free(&r);
}

static void clean_session_forgets(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", false);
	send_publish(fd, QOS2, "t", 5, "x");
	EXPECT(&r, fd, 0x50, 2, 0, 5);
	close(fd);
	fd = client(&r, "dev", true); /* session present 0 */
	send_publish(fd, QOS2 | DUP, "t", 5, "x");
	EXPECT(&r, fd, 0x50, 2, 0, 5);
	assert_int_equal(r.in->message_count, 2);
	close(fd);
	fd = client(&r, "dev", false);
	close(fd);
	rig_free(&r);
}

static struct rig rig_keeping(void)
{
	struct rig r = rig_make();
	r.in->keeps_state = r.in->manual = true;
	return r;
}

static int client_kept(struct rig *r, const char *id)
{
	size_t notes = r->in->notes + 1;
	int fd = dial(r);
	send_connect(fd, 4, id, false, 60);
	RIG_UNTIL(r, r->in->awaiting_note_count == 1 && r->in->notes == notes);
	expect_nothing(r, fd);
	r->in->durable = r->in->position;
	EXPECT(r, fd, 0x20, 2, 0, 0);
	return fd;
}

static void session_exists_without_identifiers(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", false);
	close(fd);
	fd = dial(&r);
	send_connect(fd, 4, "dev", false, 60);
	EXPECT(&r, fd, 0x20, 2, 1, 0); /* [MQTT-3.2.2-2] */
	fd = client(&r, "dev", true);  /* taken over, and begun from nothing [MQTT-3.1.2-6] */
	close(fd);
	fd = client(&r, "dev", false);
	close(fd);
	fd = dial(&r);
	send_connect(fd, 3, "dev", false, 60);
	EXPECT(&r, fd, 0x20, 2, 0, 0); /* 3.1 has no such flag */
	close(fd);
	rig_free(&r);
}

static void connack_waits_until_the_session_is_durable(void **state)
{
	(void)state;
	struct rig r = rig_keeping();
	rig_open(&r);
	int fd = client_kept(&r, "dev");
	assert_int_equal(r.in->last_note, STATE_SET);
	int next = dial(&r);
	send_connect(next, 4, "dev", false, 60); /* takes over: nothing more to be noted, and it is durable */
	EXPECT(&r, next, 0x20, 2, 1, 0);
	EXPECT_CLOSED(&r, fd);
	close(next);
	fd = client(&r, "other", true);
	assert_int_equal(r.in->notes, 1); /* nothing to be remembered or forgotten */
	close(fd);
	rig_free(&r);
}

static void session_is_not_present_before_it_is_durable(void **state)
{
	(void)state;
	struct rig r = rig_keeping();
	rig_open(&r);
	int first = dial(&r);
	send_connect(first, 4, "dev", false, 60);
	RIG_UNTIL(&r, r.in->notes == 1);
	close(first); /* before its CONNACK */
	int fd = dial(&r);
	send_connect(fd, 4, "dev", false, 60);
	send_publish(fd, QOS1, "t", 1, "x"); /* not waiting for CONNACK */
	RIG_UNTIL(&r, r.in->awaiting_note_count == 2);
	expect_nothing(&r, fd);
	assert_int_equal(r.in->message_count, 0);
	fake_settle_all(r.in);
	EXPECT(&r, fd, 0x20, 2, 1, 0);
	RIG_UNTIL(&r, r.in->message_count == 1);
	fake_settle_all(r.in);
	EXPECT(&r, fd, 0x40, 2, 0, 1);
	close(fd);
	rig_free(&r);
}

static void session_that_cannot_be_noted_is_refused(void **state)
{
	(void)state;
	struct rig r = rig_keeping();
	rig_open(&r);
	r.in->lane_room = 0; /* the lane is full, the journal is not */
	int fd = dial(&r);
	send_connect(fd, 4, "dev", false, 60);
	EXPECT_END(&r, fd, 0x20, 2, 0, 3);
	r.in->lane_room = -1;
	close(client_kept(&r, "dev")); /* and it did not begin */
	fd = dial(&r);
	send_connect(fd, 4, "slow", false, 60);
	RIG_UNTIL(&r, r.in->awaiting_note_count == 1);
	pass(&r, 12000);
	EXPECT_END(&r, fd, 0x20, 2, 0, 3);
	rig_free(&r);
}

static void recalled_session_is_present_without_identifiers(void **state)
{
	(void)state;
	const struct state_change recalled[] = {{.op = STATE_SET, .group = {"dev", 3}}};
	struct rig r = rig_keeping();
	r.in->manual = false;
	r.in->recalled = recalled;
	r.in->recalled_count = 1;
	rig_open(&r);
	int fd = dial(&r);
	send_connect(fd, 4, "dev", false, 60);
	EXPECT(&r, fd, 0x20, 2, 1, 0);
	assert_int_equal(r.in->notes, 0);
	close(fd);
	rig_free(&r);
}

static void release_is_answered_when_it_is_settled(void **state)
{
	(void)state;
	struct rig r = rig_keeping();
	rig_open(&r);
	int fd = client_kept(&r, "dev");
	send_publish(fd, QOS2, "t", 7, "x");
	RIG_UNTIL(&r, r.in->message_count == 1);
	fake_settle_all(r.in);
	EXPECT(&r, fd, 0x50, 2, 0, 7);
	SEND(fd, 0x62, 2, 0, 7);
	RIG_UNTIL(&r, r.in->notes == 2);
	assert_int_equal(r.in->last_note, STATE_DELETE);
	expect_nothing(&r, fd);
	SEND(fd, 0x62, 2, 0, 7); /* again: the release it repeats is not settled yet */
	expect_nothing(&r, fd);
	assert_int_equal(r.in->notes, 2);
	fake_settle_all(r.in);
	EXPECT(&r, fd, 0x70, 2, 0, 7, 0x70, 2, 0, 7);
	close(fd);
	rig_free(&r);
}

static void release_waits_while_the_journal_is_full(void **state)
{
	(void)state;
	struct rig r = rig_keeping();
	rig_open(&r);
	r.in->manual = false;
	int fd = client(&r, "dev", false);
	send_publish(fd, QOS2, "t", 7, "x");
	EXPECT(&r, fd, 0x50, 2, 0, 7);
	r.in->full = true;
	SEND(fd, 0x62, 2, 0, 7);
	expect_nothing(&r, fd);
	r.in->full = false;
	EXPECT(&r, fd, 0x70, 2, 0, 7);
	close(fd);
	rig_free(&r);
}

static void what_the_journal_recalls_is_recognised(void **state)
{
	(void)state;
	const struct state_change recalled[] = {
	    {.op = STATE_SET, .group = {"dev", 3}, .member = {"\x05\x00", 2}},
	    {.op = STATE_SET, .group = {"dev", 3}, .member = {"\x02\x01", 2}},
	    {.op = STATE_SET, .group = {"other", 5}, .member = {"\x05\x00", 2}},
	};
	struct rig r = rig_keeping();
	r.in->manual = false;
	r.in->recalled = recalled;
	r.in->recalled_count = 3;
	rig_open(&r);
	int fd = dial(&r);
	send_connect(fd, 4, "dev", false, 60);
	EXPECT(&r, fd, 0x20, 2, 1, 0);
	send_publish(fd, QOS2 | DUP, "t", 5, "x");
	send_publish(fd, QOS2, "t", 258, "x");
	EXPECT(&r, fd, 0x50, 2, 0, 5, 0x50, 2, 1, 2);
	assert_int_equal(r.in->message_count, 0);
	int other = client(&r, "other", true); /* clean session: forgotten for good */
	assert_int_equal(r.in->notes, 1);
	assert_int_equal(r.in->last_note, STATE_DELETE_GROUP);
	send_publish(other, QOS2, "t", 5, "x");
	EXPECT(&r, other, 0x50, 2, 0, 5);
	SEND(other, 0x62, 2, 0, 5);
	EXPECT(&r, other, 0x70, 2, 0, 5);
	assert_int_equal(r.in->message_count, 1);
	assert_int_equal(r.in->notes, 1); /* its session ends with the connection: nothing to be kept */
	close(fd);
	close(other);
	rig_free(&r);
}

static void an_expired_session_is_forgotten_for_good(void **state)
{
	(void)state;
	const struct state_change recalled[] = {{.op = STATE_SET, .group = {"dev", 3}, .member = {"\x05\x00", 2}}};
	struct rig r = rig_keeping();
	r.mqtt->session_expiry = 2000000;
	r.in->recalled = recalled;
	r.in->recalled_count = 1;
	rig_open(&r);
	r.in->full = true;
	pass(&r, 4000);
	assert_int_equal(r.in->notes, 0); /* no room to tell the journal: it stays */
	r.in->full = false;
	pass(&r, 2000);
	assert_int_equal(r.in->notes, 1);
	assert_int_equal(r.in->last_note, STATE_DELETE_GROUP);
	rig_free(&r);
}

/* -- no room, refusals -- */

static void nothing_is_lost_or_doubled_while_there_is_no_room(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = client(&r, "dev", true);
	r.in->room = 2;
	send_publish(fd, QOS1, "t", 1, "1");
	send_publish(fd, QOS0, "t", 0, "2");
	send_publish(fd, QOS2, "t", 3, "3");
	send_publish(fd, QOS0, "t", 0, "4");
	EXPECT(&r, fd, 0x40, 2, 0, 1);
	expect_nothing(&r, fd);
	assert_int_equal(r.in->message_count, 2);
	pass(&r, 20000); /* under stall_timeout */
	expect_nothing(&r, fd);
	r.in->room = -1;
	EXPECT(&r, fd, 0x50, 2, 0, 3);
	RIG_UNTIL(&r, r.in->message_count == 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(r.in->messages[i].payload[0], '1' + i);
	assert_int_equal(r.in->stats.duplicates, 0);
	close(fd);
	rig_free(&r);
}

static void small_messages_do_not_take_the_room_that_a_large_one_waits_for(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->longest = 5;
	int a = client(&r, "a", true), b = client(&r, "b", true);
	send_publish(a, QOS1, "t", 1, "large one");
	RIG_UNTIL(&r, r.in->stats.backpressured == 1);
	send_publish(b, QOS2, "t", 2, "small");
	RIG_UNTIL(&r, r.in->stats.backpressured == 2);
	assert_int_equal(r.in->message_count, 0);
	SEND(b, 0xc0, 0);
	r.in->longest = 0;
	EXPECT(&r, a, 0x40, 2, 0, 1);
	EXPECT(&r, b, 0x50, 2, 0, 2, 0xd0, 0);
	assert_string_equal(r.in->messages[0].payload, "large one");
	assert_int_equal(r.in->message_count, 2);
	close(a);
	close(b);
	rig_free(&r);
}

static void keep_alive_does_not_run_while_held(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = dial(&r);
	send_connect(fd, 4, "dev", true, 2); /* 3 seconds */
	EXPECT(&r, fd, 0x20, 2, 0, 0);
	r.in->full = true;
	send_publish(fd, QOS1, "t", 1, "1");
	RIG_UNTIL(&r, r.in->puts > 0);
	pass(&r, 20000);
	expect_nothing(&r, fd);
	r.in->full = false;
	EXPECT(&r, fd, 0x40, 2, 0, 1);
	pass(&r, 5000); /* now it does */
	EXPECT_CLOSED(&r, fd);
	rig_free(&r);
}

static void refused_message_closes_after_what_was_taken_is_acknowledged(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->manual = true;
	r.in->refuse_payload = "bad";
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS1, "t", 1, "good");
	send_publish(fd, QOS1, "t", 2, "bad");
	send_publish(fd, QOS1, "t", 3, "good");
	RIG_UNTIL(&r, refused(&r, REFUSED_PAYLOAD) == 1);
	expect_nothing(&r, fd);
	fake_settle_all(r.in);
	EXPECT_END(&r, fd, 0x40, 2, 0, 1);
	assert_int_equal(r.in->message_count, 1);
	rig_free(&r);
}

static void refused_message_is_acknowledged_on_request(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.mqtt->on_refused = ON_REFUSED_ACKNOWLEDGE;
	r.in->manual = true;
	r.in->refuse_payload = "bad";
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS1, "t", 1, "good");
	send_publish(fd, QOS1, "t", 2, "bad");
	send_publish(fd, QOS2, "t", 3, "bad");
	RIG_UNTIL(&r, refused(&r, REFUSED_PAYLOAD) == 2);
	expect_nothing(&r, fd);
	fake_settle_all(r.in);
	EXPECT(&r, fd, 0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x50, 2, 0, 3);
	close(fd);
	rig_free(&r);
}

static void refused_qos_0_is_only_counted(void **state)
{
	(void)state;
	struct rig r = rig_new();
	r.in->refuse_payload = "bad";
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS0, "t", 0, "bad");
	send_publish(fd, QOS1, "t", 1, "good");
	EXPECT(&r, fd, 0x40, 2, 0, 1);
	assert_int_equal(refused(&r, REFUSED_PAYLOAD), 1);
	close(fd);
	rig_free(&r);
}

static void topic_without_device_is_refused(void **state)
{
	(void)state;
	struct rig r = rig_make();
	r.mqtt->device.count = 1;
	rig_open(&r);
	int fd = client(&r, "dev", true);
	send_publish(fd, QOS0, "else", 0, "x");
	RIG_UNTIL(&r, refused(&r, REFUSED_NO_DEVICE) == 1);
	close(fd);
	rig_free(&r);
}

/* -- time -- */

static void silent_client_is_closed_at_one_and_a_half_keep_alives(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int fd = dial(&r);
	send_connect(fd, 4, "dev", true, 20);
	EXPECT(&r, fd, 0x20, 2, 0, 0);
	pass(&r, 25000);
	SEND(fd, 0xc0, 0);
	EXPECT(&r, fd, 0xd0, 0);
	pass(&r, 25000);
	SEND(fd, 0x30, 10); /* half a packet is no sign of life */
	expect_nothing(&r, fd);
	pass(&r, 7000);
	EXPECT_CLOSED(&r, fd);
	assert_int_equal(refused(&r, REFUSED_TIMEOUT), 1);
	rig_free(&r);
}

static void keep_alive_is_capped_and_none_means_idle_timeout(void **state)
{
	(void)state;
	struct rig r = rig_make();
	r.mqtt->keep_alive_max = 10000000;
	r.mqtt->idle_timeout = 20000000;
	rig_open(&r);
	int capped = dial(&r), none = dial(&r);
	send_connect(capped, 4, "a", true, 65535);
	EXPECT(&r, capped, 0x20, 2, 0, 0);
	send_connect(none, 4, "b", true, 0);
	EXPECT(&r, none, 0x20, 2, 0, 0);
	pass(&r, 13000);
	expect_nothing(&r, capped);
	pass(&r, 3500);
	EXPECT_CLOSED(&r, capped);
	expect_nothing(&r, none);
	pass(&r, 5000);
	EXPECT_CLOSED(&r, none);
	rig_free(&r);
}

/* -- take-over -- */

static void newer_connection_takes_the_client_over(void **state)
{
	(void)state;
	struct rig r = rig_new();
	int old = client(&r, "dev", true);
	send_publish(old, QOS0, "t", 0, "1");
	RIG_UNTIL(&r, r.in->message_count == 1);
	uint8_t b[64];
	int new = dial(&r);
	send_connect(new, 4, "dev", true, 60);
	send_bytes(new, b, publish_bytes(b, QOS1, "t", 1, "2")); /* not waiting for CONNACK */
	EXPECT(&r, new, 0x20, 2, 0, 0, 0x40, 2, 0, 1);
	EXPECT_CLOSED(&r, old);
	assert_int_equal(r.in->message_count, 2);
	close(new);
	rig_free(&r);
}

static void storm_of_connections_of_one_client_ends_with_one(void **state)
{
	(void)state;
	struct rig r = rig_new();
	enum { STORM = 200 };
	int fds[STORM];
	for (int i = 0; i < STORM; i++) {
		fds[i] = dial(&r);
		send_connect(fds[i], 4, "dev", i % 2 == 0, 60);
		send_publish(fds[i], QOS2, "t", 1, "x");
		if (i % 7 == 0)
			rig_turns(&r, 1);
	}
	RIG_UNTIL(&r, r.in->stats.connections_opened == STORM && r.in->stats.connections == 1);
	uint8_t b[64];
	size_t len = 0, open = 0;
	for (int i = 0; i < STORM; i++) {
		bool alive;
		do {
			len = 0;
			alive = gather(fds[i], b, sizeof(b), &len);
		} while (len > 0);
		open += alive;
		close(fds[i]);
	}
	assert_int_equal(open, 1);
	rig_free(&r);
}

/* Two threads of one listener: each its intake, one registry. Both are run from here, in turns. */
struct pair {
	struct rig a, b;
};

static struct pair pair_new(void)
{
	struct pair p = {rig_make(), rig_make()};
	p.a.in->settings.threads = p.b.in->settings.threads = 2;
	p.a.in->manual = p.b.in->manual = true;
	p.b.in->thread = 1;
	strcpy(p.b.mqtt->stream.listen.host, "127.0.0.2"); /* on one address the kernel would choose the thread */
	rig_open(&p.a);
	p.b.in->shared = p.a.in->shared;
	rig_open(&p.b);
	return p;
}

static void pair_free(struct pair *p)
{
	mqtt_protocol.close(p->a.mqtt);
	mqtt_protocol.close(p->b.mqtt);
	p->b.in->shared = NULL;
	free(p->a.mqtt);
	free(p->b.mqtt);
	fake_intake_free(p->a.in);
	fake_intake_free(p->b.in);
}

static void take_over_goes_across_threads(void **state)
{
	(void)state;
	struct pair p = pair_new();
	int old = client(&p.a, "dev", true), new = dial(&p.b);
	send_connect(new, 4, "dev", true, 60);
	expect_nothing(&p.b, new); /* the other thread has not run yet */
	EXPECT_CLOSED(&p.a, old);
	EXPECT(&p.b, new, 0x20, 2, 0, 0);
	close(new);
	pair_free(&p);
}

/* The promise of QoS 2 across two lanes: CONNACK comes only when the first copy is safe, so that its repetition may be
 * acknowledged. */
static void session_crosses_threads_when_its_messages_are_safe(void **state)
{
	(void)state;
	struct pair p = pair_new();
	int old = client(&p.a, "dev", false);
	send_publish(old, QOS2, "t", 5, "x");
	RIG_UNTIL(&p.a, p.a.in->message_count == 1);
	int new = dial(&p.b);
	send_connect(new, 4, "dev", false, 60);
	send_publish(new, QOS2 | DUP, "t", 5, "x");
	expect_nothing(&p.b, new);
	EXPECT_CLOSED(&p.a, old);
	expect_nothing(&p.b, new);
	fake_settle_all(p.a.in);
	rig_turns(&p.a, 2);
	EXPECT(&p.b, new, 0x20, 2, 1, 0, 0x50, 2, 0, 5);
	assert_int_equal(p.b.in->message_count, 0);
	close(new);
	pair_free(&p);
}

static void take_over_that_takes_too_long_is_told_unavailable(void **state)
{
	(void)state;
	struct pair p = pair_new();
	int old = client(&p.a, "dev", true), new = dial(&p.b);
	send_connect(new, 4, "dev", true, 60);
	expect_nothing(&p.b, new);
	pass(&p.b, 12000);
	EXPECT_END(&p.b, new, 0x20, 2, 0, 3);
	EXPECT_CLOSED(&p.a, old);
	close(old);
	pair_free(&p);
}

/* -- as a module -- */

static void bad_template_is_a_configuration_error(void **state)
{
	(void)state;
	struct rig r = rig_make();
	struct why why = {{0}};
	char *bad[] = {"devices/#"};
	assert_int_equal(mqtt_protocol.check(r.mqtt, &r.in->settings, &why), GW_OK);
	r.mqtt->device = (struct string_list){bad, 1};
	assert_int_equal(mqtt_protocol.check(r.mqtt, &r.in->settings, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "devices/#"));
	assert_int_equal(mqtt_protocol.open(r.mqtt, r.in, &why), GW_CONFIG);
	rig_free(&r); /* close after a half-done open */
}

static void hint_is_a_command_for_the_address(void **state)
{
	(void)state;
	char out[200];
	mqtt_protocol.hint(NULL, "127.0.0.1:1883", out, sizeof(out));
	assert_int_equal(strncmp(out, "mosquitto_pub -h 127.0.0.1 -p 1883 ", 35), 0);
	mqtt_protocol.hint(NULL, "[::]:7", out, sizeof(out));
	assert_int_equal(strncmp(out, "mosquitto_pub -h ::1 -p 7 ", 26), 0);
	mqtt_protocol.hint(NULL, "[fe80::2]:7", out, sizeof(out));
	assert_int_equal(strncmp(out, "mosquitto_pub -h fe80::2 -p 7 ", 30), 0);
}

static void idle_connection_costs_little(void **state)
{
	(void)state;
	assert_true(sizeof(struct mqtt_conn) <= 96);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(connect_is_answered_with_each_return_code),
	    cmocka_unit_test(first_packet_other_than_connect_closes),
	    cmocka_unit_test(second_connect_closes),
	    cmocka_unit_test(connect_must_come_in_time),
	    cmocka_unit_test(packet_over_the_limit_closes_when_it_is_announced),
	    cmocka_unit_test(publish_over_the_limit_is_skipped_and_acknowledged),
	    cmocka_unit_test(publish_over_the_limit_closes_on_request),
	    cmocka_unit_test(largest_payload_fits_by_default),
	    cmocka_unit_test(empty_client_identifier_is_replaced),
	    cmocka_unit_test(publish_becomes_a_message_with_its_topic),
	    cmocka_unit_test(packets_are_whole_wherever_they_are_cut),
	    cmocka_unit_test(acknowledgements_wait_until_safe_and_keep_their_order),
	    cmocka_unit_test(many_acknowledgements_leave_in_one_write),
	    cmocka_unit_test(malformed_packets_close),
	    cmocka_unit_test(messages_before_a_fault_are_acknowledged_first),
	    cmocka_unit_test(subscribe_is_refused_or_granted),
	    cmocka_unit_test(suback_of_many_filters_is_complete),
	    cmocka_unit_test(stray_acknowledgements_are_borne),
	    cmocka_unit_test(disconnect_closes_after_what_is_due),
	    cmocka_unit_test(repeated_identifier_is_one_message_until_released),
	    cmocka_unit_test(qos_2_counts_as_one_acknowledgement),
	    cmocka_unit_test(more_than_receive_maximum_closes),
	    cmocka_unit_test(session_recognises_a_repetition_after_reconnecting),
	    cmocka_unit_test(clean_session_forgets),
	    cmocka_unit_test(session_exists_without_identifiers),
	    cmocka_unit_test(connack_waits_until_the_session_is_durable),
	    cmocka_unit_test(session_is_not_present_before_it_is_durable),
	    cmocka_unit_test(session_that_cannot_be_noted_is_refused),
	    cmocka_unit_test(recalled_session_is_present_without_identifiers),
	    cmocka_unit_test(release_is_answered_when_it_is_settled),
	    cmocka_unit_test(release_waits_while_the_journal_is_full),
	    cmocka_unit_test(what_the_journal_recalls_is_recognised),
	    cmocka_unit_test(an_expired_session_is_forgotten_for_good),
	    cmocka_unit_test(nothing_is_lost_or_doubled_while_there_is_no_room),
	    cmocka_unit_test(small_messages_do_not_take_the_room_that_a_large_one_waits_for),
	    cmocka_unit_test(keep_alive_does_not_run_while_held),
	    cmocka_unit_test(refused_message_closes_after_what_was_taken_is_acknowledged),
	    cmocka_unit_test(refused_message_is_acknowledged_on_request),
	    cmocka_unit_test(refused_qos_0_is_only_counted),
	    cmocka_unit_test(topic_without_device_is_refused),
	    cmocka_unit_test(silent_client_is_closed_at_one_and_a_half_keep_alives),
	    cmocka_unit_test(keep_alive_is_capped_and_none_means_idle_timeout),
	    cmocka_unit_test(newer_connection_takes_the_client_over),
	    cmocka_unit_test(storm_of_connections_of_one_client_ends_with_one),
	    cmocka_unit_test(take_over_goes_across_threads),
	    cmocka_unit_test(session_crosses_threads_when_its_messages_are_safe),
	    cmocka_unit_test(take_over_that_takes_too_long_is_told_unavailable),
	    cmocka_unit_test(bad_template_is_a_configuration_error),
	    cmocka_unit_test(hint_is_a_command_for_the_address),
	    cmocka_unit_test(idle_connection_costs_little),
	};
	log_init(LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
