/* The HTTP listener over real sockets, with a stand-in for the intake. What libmicrohttpd itself makes of bytes is in
 * test/system. */
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

#include "protocols/http/http.c"
#include "test/unit/fake_intake.c"

struct rig {
	struct intake *in;
	struct http *http;
	char got[1 << 16]; /* what the client read, terminated */
	size_t got_len;
	bool closed; /* the client met the end */
};

static struct rig *rig_new(void)
{
	struct rig *r = calloc(1, sizeof(*r));
	r->in = fake_intake_new();
	r->http = calloc(1, sizeof(*r->http));
	*r->http = (struct http){.listen = {.host = "127.0.0.1", .port = "0"},
	                         .max_body = 64 << 10,
	                         .max_unpacked = 128 << 10,
	                         .max_head = 16 << 10,
	                         .max_buffered = 1 << 20,
	                         .max_connections = 100,
	                         .max_batch_lines = 1000,
	                         .backlog = 100,
	                         .idle_timeout = 30000000,
	                         .request_timeout = 60000000,
	                         .device = "/device",
	                         .channel = "/channel"};
	r->in->settings.max_payload = 16 << 10;
	return r;
}

static struct rig *rig_open(struct rig *r)
{
	struct why why = {{0}};
	if (http_protocol.open(r->http, r->in, &why) != GW_OK)
		fail_msg("open: %s", why.text);
	return r;
}

static void rig_free(struct rig *r)
{
	http_protocol.close(r->http);
	free(r->http);
	fake_intake_free(r->in);
	free(r);
}

static int rig_connect(struct rig *r)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	a.sin_port = htons((uint16_t)atoi(strrchr(r->in->address, ':') + 1));
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	r->got_len = 0;
	r->got[0] = 0;
	r->closed = false;
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void listen_in(struct rig *r, int fd)
{
	ssize_t n = recv(fd, r->got + r->got_len, sizeof(r->got) - 1 - r->got_len, MSG_DONTWAIT);
	if (n > 0)
		r->got_len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		r->closed = true;
	r->got[r->got_len] = 0;
}

/* One more answer has arrived whole; it stands in r->got alone. */
static bool answered(struct rig *r, int fd)
{
	listen_in(r, fd);
	const char *end = strstr(r->got, "\r\n\r\n"), *length = strstr(r->got, "Content-Length: ");
	if (!end)
		return false;
	size_t body = length && length < end ? (size_t)atol(length + 16) : 0;
	return r->got_len >= (size_t)(end + 4 - r->got) + body;
}

#define UNTIL(r, condition) FAKE_UNTIL((r)->in, http_protocol.run((r)->http), condition)

static unsigned answer_to(struct rig *r, int fd, const char *request)
{
	r->got_len = 0;
	r->got[0] = 0;
	say(fd, request);
	UNTIL(r, answered(r, fd) || r->closed);
	return (unsigned)(r->got_len > 12 ? atoi(r->got + 9) : 0);
}

static char *post(const char *path, const char *headers, const char *body)
{
	static char text[1 << 16];
	snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", path, headers,
	         strlen(body), body);
	return text;
}

#define JSON_TYPE "Content-Type: application/json\r\n"
#define LINES_TYPE "Content-Type: application/x-ndjson\r\n"

/* Ends when the loop has: settle everything, let it answer. */
static void finish(struct rig *r)
{
	fake_settle_all(r->in);
	rig_free(r);
}

/* -- tests -- */

static void message_is_put_and_answered_when_it_is_safe(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->manual = true;
	rig_open(r);
	int fd = rig_connect(r);
	say(fd, post("/v1/telemetry/d%201/a/b", JSON_TYPE "Idempotency-Key: k1\r\n", "{\"t\":1}"));
	UNTIL(r, r->in->answer_count == 1);
	const struct fake_message *m = &r->in->messages[0];
	assert_string_equal(m->device, "d 1");
	assert_string_equal(m->channel, "a/b");
	assert_string_equal(m->payload, "{\"t\":1}");
	assert_string_equal(m->idempotency_key, "k1");
	assert_string_equal(m->content_type, "application/json");
	assert_int_equal(m->kind, PAYLOAD_JSON);
	assert_true(m->has_peer);
	assert_int_equal(m->qos, -1);
	fake_turns(r->in, 3);
	http_protocol.run(r->http);
	assert_false(answered(r, fd));
	fake_settle(r->in, m->position);
	UNTIL(r, answered(r, fd));
	assert_memory_equal(r->got, "HTTP/1.1 204 ", 13);
	close(fd);
	finish(r);
}

static void connection_serves_many_requests(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	for (int i = 0; i < 20; i++)
		assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "x")), 204);
	r->in->refuse = GW_INVALID;
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", JSON_TYPE, "{")), 400);
	assert_int_equal(answer_to(r, fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "x")), 204);
	assert_false(r->closed);
	assert_int_equal(r->in->stats.connections_opened, 1);
	close(fd);
	UNTIL(r, r->in->stats.connections == 0);
	finish(r);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	char both[2000] = "";
	strcat(both, post("/v1/telemetry/a", "", "1"));
	strcat(both, post("/v1/nothing", "", "2"));
	strcat(both, post("/v1/telemetry/b", "", "3"));
	say(fd, both);
	UNTIL(r, (listen_in(r, fd),
	          r->in->message_count == 2 && strstr(r->got, " 404 ") && strstr(strstr(r->got, " 404 "), " 204 ")));
	assert_memory_equal(r->got, "HTTP/1.1 204 ", 13);
	assert_string_equal(r->in->messages[1].device, "b");
	close(fd);
	finish(r);
}

static void lines_of_a_batch_are_taken_one_by_one(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->refuse_payload = "{bad";
	rig_open(r);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd,
	                           post("/v1/telemetry", LINES_TYPE "X-Sluice-Device: other\r\nX-Sluice-Channel: c\r\n",
	                                "{\"device\":\"a\",\"channel\":\"x\"}\r\n\n{bad}\n{\"v\":1}\n")),
	                 200);
	assert_non_null(strstr(r->got, "{\"accepted\":2,\"rejected_count\":1,\"rejected\":[{\"line\":3,\"offset\":31,"
	                               "\"reason\":\"invalid_payload\""));
	assert_string_equal(r->in->messages[0].device, "a");
	assert_string_equal(r->in->messages[0].channel, "x");
	assert_string_equal(r->in->messages[1].device, "other");
	assert_string_equal(r->in->messages[1].channel, "c");
	assert_int_equal(r->in->messages[1].kind, PAYLOAD_JSON);
	close(fd);
	finish(r);
}

static void array_is_a_batch_and_an_object_a_message(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	assert_int_equal(
	    answer_to(r, fd, post("/v1/telemetry", JSON_TYPE, " [{\"device\":\"a\"}, {\"device\":\"b\"}]")), 200);
	assert_non_null(strstr(r->got, "{\"accepted\":2,\"rejected_count\":0,\"rejected\":[]}"));
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry", JSON_TYPE, "{\"device\":\"c\"}")), 204);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", JSON_TYPE, "[1,2]")), 204);
	assert_int_equal(r->in->message_count, 4);
	assert_string_equal(r->in->messages[1].payload, "{\"device\":\"b\"}");
	assert_string_equal(r->in->messages[3].payload, "[1,2]");
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry", JSON_TYPE, "[{\"device\":\"a\"},{]")), 400);
	assert_non_null(strstr(r->got, "\"offset\":17"));
	assert_int_equal(r->in->message_count, 4);
	close(fd);
	finish(r);
}

static void undeclared_array_of_the_collection_is_a_batch_too(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	static const char *const types[] = {"", "Content-Type: application/x-www-form-urlencoded\r\n",
	                                    "Content-Type: application/octet-stream\r\n"};
	for (int i = 0; i < 3; i++)
		assert_int_equal(
		    answer_to(r, fd,
		              post("/v1/telemetry", types[i], "\xef\xbb\xbf[{\"device\":\"a\"},{\"device\":\"b\"}]")),
		    200);
	assert_int_equal(r->in->message_count, 6);
	assert_string_equal(r->in->messages[5].device, "b");
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "[1,2]")), 204);
	assert_string_equal(r->in->messages[6].payload, "[1,2]");
	r->in->settings.payload = PAYLOAD_TEXT; /* the listener says what undeclared is */
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry", "X-Sluice-Device: d\r\n", "[1,2]")), 204);
	assert_string_equal(r->in->messages[7].payload, "[1,2]");
	close(fd);
	finish(r);
}

static void senml_pack_is_one_message(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	assert_int_equal(
	    answer_to(r, fd,
	              post("/v1/telemetry", "Content-Type: application/senml+json\r\nX-Sluice-Device: d\r\n",
	                   "[{\"bn\":\"x\",\"v\":1},{\"v\":2}]")),
	    204);
	assert_int_equal(r->in->message_count, 1);
	assert_int_equal(r->in->messages[0].kind, PAYLOAD_SENML);
	close(fd);
	finish(r);
}

static void media_type_that_is_not_taken_is_said_to_be(void **state)
{
	(void)state;
	static char *more[] = {"application/msgpack"};
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	const char *request =
	    post("/v1/telemetry/d%201", "Content-Type: application/msgpack; x=1\r\n", "\x81\xa1t\x01");
	assert_int_equal(answer_to(r, fd, request), 415);
	assert_non_null(strstr(r->got, "urn:sluice:problem:bad-type"));
	assert_non_null(strstr(r->got, "Accept: application/octet-stream, application/json, "));
	assert_int_equal(r->in->message_count, 0);
	assert_int_equal(r->in->stats.refused[REFUSED_UNSUPPORTED], 1);
	assert_int_equal(r->in->reports, 1);
	assert_int_equal(r->in->reported, REFUSED_UNSUPPORTED);
	assert_string_equal(r->in->reported_device, "d%201");
	assert_true(r->in->reported_peer);
	r->in->settings.accept_types = (struct string_list){more, 1};
	assert_int_equal(answer_to(r, fd, request), 204);
	assert_int_equal(r->in->messages[0].kind, PAYLOAD_AUTO);
	close(fd);
	finish(r);
}

static void lines_sent_as_json_hear_of_their_type(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->refuse_payload = "{";
	rig_open(r);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", JSON_TYPE, "{\"a\":1}\n{\"a\":2}\n")), 400);
	assert_non_null(strstr(r->got, "application/x-ndjson"));
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", JSON_TYPE, "{\"a\":1} x")), 400);
	assert_null(strstr(r->got, "application/x-ndjson"));
	assert_string_equal(r->in->reported_detail, "refused by the test");
	close(fd);
	finish(r);
}

static void refused_line_of_a_batch_is_reported(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->refuse_payload = "{bad";
	rig_open(r);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, "{bad\n1\n{bad\n")), 200);
	assert_int_equal(r->in->reports, 2);
	assert_int_equal(r->in->reported, REFUSED_PAYLOAD);
	assert_string_equal(r->in->reported_device, "d");
	close(fd);
	finish(r);
}

static void batch_that_finds_no_room_says_how_far_it_came(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->room = 2;
	rig_open(r);
	int fd = rig_connect(r);
	const char *batch = post("/v1/telemetry/d", LINES_TYPE, "1\n2\n\n3\n4\n5\n");
	assert_int_equal(answer_to(r, fd, batch), 200);
	assert_non_null(strstr(
	    r->got, "\"accepted\":2,\"rejected_count\":3,\"rejected\":[{\"line\":4,\"offset\":5,\"reason\":\"full\""));
	assert_null(strstr(r->got, "\"line\":5"));
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, "1\n2\n")), 503);
	assert_non_null(strstr(r->got, "Retry-After: 5\r\n"));
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "1")), 503);
	assert_non_null(strstr(r->got, "Retry-After: 5\r\n"));
	assert_int_equal(r->in->stats.refused[REFUSED_FULL], 3 + 2 + 1);
	r->in->room = -1;
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "1")), 204);
	close(fd);
	finish(r);
}

static void batch_longer_than_the_lane_is_held_and_goes_on(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->lane_room = 2;
	r->in->refuse_payload = "x";
	rig_open(r);
	int fd = rig_connect(r), other = rig_connect(r);
	say(fd, post("/v1/telemetry/d", LINES_TYPE, "1\nx\n2\n3\nx\n4\n5\n"));
	UNTIL(r, r->in->message_count == 2);
	for (size_t n = 3; n <= 5; n++) {
		assert_false(answered(r, fd));
		r->in->lane_room = 1;
		UNTIL(r, r->in->message_count == n);
	}
	UNTIL(r, answered(r, fd));
	assert_int_equal(atoi(r->got + 9), 200);
	assert_non_null(strstr(r->got, "\"accepted\":5,\"rejected_count\":2,\"rejected\":[{\"line\":2,\"offset\":2,"));
	assert_non_null(strstr(r->got, "{\"line\":5,\"offset\":8,"));
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(r->in->messages[i].payload[0], (char)('1' + i));
	assert_int_equal(r->http->conns.buffered, 0);
	close(fd);
	close(other);
	finish(r);
}

static void batch_that_is_held_too_long_is_refused_from_there(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->lane_room = 2;
	rig_open(r);
	int fd = rig_connect(r);
	say(fd, post("/v1/telemetry/d", LINES_TYPE, "1\n2\n3\n4\n"));
	UNTIL(r, r->in->message_count == 2);
	r->in->skew_ms = 1500;
	UNTIL(r, answered(r, fd));
	assert_non_null(strstr(
	    r->got, "\"accepted\":2,\"rejected_count\":2,\"rejected\":[{\"line\":3,\"offset\":4,\"reason\":\"full\""));
	assert_int_equal(r->in->stats.refused[REFUSED_FULL], 2);
	close(fd);
	finish(r);
}

static void packed_batch_that_is_held_keeps_its_bytes(void **state)
{
	(void)state;
	static const char text[] = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
	char packed[200], request[400];
	z_stream z = {0};
	assert_int_equal(deflateInit(&z, 9), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)text;
	z.avail_in = sizeof(text) - 1;
	z.next_out = (Bytef *)packed;
	z.avail_out = sizeof(packed);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t len = sizeof(packed) - z.avail_out;
	deflateEnd(&z);
	int head = snprintf(request, sizeof(request),
	                    "POST /v1/telemetry/%%s HTTP/1.1\r\nHost: h\r\n" LINES_TYPE
	                    "Content-Encoding: deflate\r\nContent-Length: %zu\r\n\r\n",
	                    len);
	assert_true(head > 0 && (size_t)head < sizeof(request));
	struct rig *r = rig_new();
	r->in->lane_room = 1;
	rig_open(r);
	int fds[2];
	for (int i = 0; i < 2; i++) { /* the second uses the thread's memory for unpacking again */
		char whole[700];
		int n = snprintf(whole, sizeof(whole), "%.*s%s%s", 19, request, i ? "b" : "a", request + 21);
		memcpy(whole + n, packed, len);
		fds[i] = rig_connect(r);
		assert_int_equal(send(fds[i], whole, (size_t)n + len, MSG_NOSIGNAL), n + (int)len);
		UNTIL(r, TAILQ_FIRST(&r->http->conns.phases[PHASE_HOLD]) &&
		             (i == 0 || TAILQ_NEXT(TAILQ_FIRST(&r->http->conns.phases[PHASE_HOLD]), in_phase)));
	}
	r->in->lane_room = -1;
	UNTIL(r, r->in->message_count == 6);
	static const char *const devices = "aaabbb";
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(r->in->messages[i].device[0], devices[i]);
		assert_int_equal(r->in->messages[i].payload[5], (char)('1' + i % 3));
	}
	close(fds[0]);
	close(fds[1]);
	UNTIL(r, r->http->conns.count == 0);
	assert_int_equal(r->http->conns.buffered, 0);
	finish(r);
}

static void stop_refuses_the_rest_of_a_held_batch(void **state)
{
	(void)state;
	for (int drain = 0; drain < 2; drain++) {
		struct rig *r = rig_new();
		r->in->lane_room = 1;
		rig_open(r);
		int fd = rig_connect(r);
		say(fd, post("/v1/telemetry/d", LINES_TYPE, "1\n2\n"));
		UNTIL(r, r->in->message_count == 1);
		if (drain) {
			r->in->phase = INTAKE_DRAIN;
			r->in->turn_limit = -1;
			r->in->over = false;
			http_protocol.run(r->http);
		} else {
			http_protocol.close(r->http);
		}
		assert_true(answered(r, fd));
		assert_int_equal(atoi(r->got + 9), drain ? 200 : 503);
		close(fd);
		rig_free(r);
	}
}

static void batch_of_which_nothing_is_taken_is_refused(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->refuse_payload = "x";
	rig_open(r);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, "x\nxx\n")), 400);
	assert_non_null(strstr(r->got, "nothing-taken"));
	assert_non_null(strstr(r->got, "\"accepted\":0,\"rejected_count\":2,\"rejected\":[{\"line\":1"));
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, "\n\n")), 400);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry", JSON_TYPE, "[]")), 400);
	assert_int_equal(r->in->message_count, 0);
	close(fd);
	finish(r);
}

static void list_of_rejections_is_bounded(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->refuse_payload = "x";
	r->in->room = 1;
	rig_open(r);
	int fd = rig_connect(r);
	char body[4000] = "1\n";
	for (int i = 0; i < 500; i++)
		strcat(body, "x\n");
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, body)), 200);
	assert_non_null(strstr(r->got, "\"rejected_count\":500"));
	r->in->room = -1;
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, body)), 200);
	assert_non_null(strstr(r->got, "\"line\":101,"));
	assert_null(strstr(r->got, "\"line\":102,"));
	assert_non_null(strstr(r->got, "\"rejected_count\":500"));
	close(fd);
	finish(r);
}

static void too_many_lines_are_refused_before_one_is_taken(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->http->max_batch_lines = 3;
	rig_open(r);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, "1\n2\n3\n4\n")), 413);
	assert_int_equal(r->in->message_count, 0);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, "1\n2\n3\n\n")), 200);
	close(fd);
	finish(r);
}

static void accepted_answers_202_with_the_id(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->settings.ack = ACK_ACCEPTED;
	rig_open(r);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "1")), 202);
	assert_non_null(strstr(r->got, "{\"id\":\"00000000000000000000000001\"}"));
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", LINES_TYPE, "1\n")), 202);
	close(fd);
	finish(r);
}

static void late_answer_tells_whether_the_message_is_durable(void **state)
{
	(void)state;
	for (int delivered = 0; delivered < 2; delivered++) {
		struct rig *r = rig_new();
		r->in->manual = true;
		r->in->settings.ack = delivered ? ACK_DELIVERED : ACK_DURABLE;
		rig_open(r);
		int fd = rig_connect(r);
		say(fd, post("/v1/telemetry/d", "", "1"));
		UNTIL(r, r->in->answer_count == 1);
		r->in->skew_ms = 6000;
		UNTIL(r, answered(r, fd));
		assert_int_equal(atoi(r->got + 9), delivered ? 202 : 503);
		assert_true(delivered || strstr(r->got, "Retry-After: "));
		close(fd);
		finish(r);
	}
}

static void client_that_left_is_forgotten_when_its_answer_is_due(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->manual = true;
	rig_open(r);
	for (int i = 0; i < 5; i++) {
		int fd = rig_connect(r);
		say(fd, post("/v1/telemetry/d", "", "1"));
		UNTIL(r, r->in->answer_count == (size_t)i + 1);
		struct linger hard = {.l_onoff = 1};
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
	}
	assert_int_equal(r->in->stats.connections, 5);
	fake_settle_all(r->in);
	UNTIL(r, r->in->stats.connections == 0);
	assert_int_equal(r->in->answer_count, 0);
	rig_free(r);
}

/* RFC 9112 section 9.6: who shuts down its sending side has said all it wants to say, and still reads. */
static void half_closed_clients_get_their_answers(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->manual = true;
	rig_open(r);
	int fds[6];
	for (size_t i = 0; i < 6; i++) {
		fds[i] = rig_connect(r);
		bool in_parts = i % 2;
		char *request = post("/v1/telemetry/d", JSON_TYPE, "{\"n\":1}");
		size_t rest = in_parts ? 3 : 0;
		assert_int_equal(send(fds[i], request, strlen(request) - rest, MSG_NOSIGNAL), strlen(request) - rest);
		if (in_parts) {
			fake_turns(r->in, 3);
			http_protocol.run(r->http);
			say(fds[i], request + strlen(request) - rest);
		}
		shutdown(fds[i], SHUT_WR);
		UNTIL(r, r->in->answer_count == i + 1);
	}
	fake_turns(r->in, 3);
	http_protocol.run(r->http);
	fake_settle_all(r->in);
	for (size_t i = 0; i < 6; i++) {
		r->got_len = 0;
		r->got[0] = 0;
		r->closed = false;
		UNTIL(r, answered(r, fds[i]) || r->closed);
		assert_memory_equal(r->got, "HTTP/1.1 204 ", 13);
		close(fds[i]);
	}
	finish(r);
}

static void stop_with_suspended_requests_answers_them(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->manual = true;
	rig_open(r);
	int fd = rig_connect(r);
	say(fd, post("/v1/telemetry/d", "", "1"));
	UNTIL(r, r->in->answer_count == 1);
	http_protocol.close(r->http);
	assert_true(answered(r, fd));
	assert_int_equal(atoi(r->got + 9), 503);
	close(fd);
	rig_free(r);
}

static void drain_answers_what_is_safe_and_takes_nothing_new(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->manual = true;
	rig_open(r);
	int fd = rig_connect(r);
	say(fd, post("/v1/telemetry/d", "", "1"));
	UNTIL(r, r->in->answer_count == 1);
	r->in->phase = INTAKE_DRAIN;
	fake_settle_all(r->in);
	r->in->turn_limit = -1;
	r->in->over = false;
	http_protocol.run(r->http);
	assert_true(answered(r, fd));
	assert_int_equal(atoi(r->got + 9), 204);
	assert_non_null(strstr(r->got, "Connection: close"));
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_port = htons((uint16_t)atoi(strrchr(r->in->address, ':') + 1))};
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	int other = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(other, (struct sockaddr *)&a, sizeof(a)), -1);
	close(other);
	close(fd);
	rig_free(r);
}

static void body_over_the_limit_is_refused_before_it_is_read(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	assert_int_equal(
	    answer_to(
	        r, fd,
	        "POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 20000\r\n\r\n"),
	    413);
	UNTIL(r, (listen_in(r, fd), r->closed));
	assert_null(strstr(r->got, "100 Continue"));
	close(fd);
	fd = rig_connect(r);
	assert_int_equal(
	    answer_to(r, fd, "POST /v1/telemetry HTTP/1.1\r\nHost: h\r\n" LINES_TYPE "Content-Length: 65537\r\n\r\n"),
	    413);
	close(fd);
	assert_int_equal(r->in->stats.refused[REFUSED_TOO_LARGE], 2);
	finish(r);
}

/* Sends a request with a head of about that many bytes, and whatever follows it, on a connection of its own. */
static unsigned answer_to_head(struct rig *r, size_t len, const char *type, const char *behind)
{
	static char filler[8 << 10], headers[9 << 10];
	memset(filler, 'a', sizeof(filler));
	snprintf(headers, sizeof(headers), "%sX-A: %.*s\r\n", type, (int)len, filler);
	char *request = post("/v1/telemetry/d", headers, "{\"n\":1}");
	int fd = rig_connect(r);
	say(fd, request);
	say(fd, behind);
	UNTIL(r, answered(r, fd) || r->closed);
	close(fd);
	return (unsigned)(r->got_len > 12 ? atoi(r->got + 9) : 0);
}

/* The library makes the head of its answer in what the request's left of max_head. */
static void head_is_answered_whatever_its_length(void **state)
{
	(void)state;
	static const char *const types[] = {"", LINES_TYPE, "Cookie: a=b; c=d; e=f\r\n",
	                                    "Content-Type: b/\r\nHost: i\r\n"};
	static const unsigned fine[] = {204, 200, 204, 400};
	struct rig *r = rig_new();
	r->http->max_head = 4 << 10;
	rig_open(r);
	for (size_t type = 0; type < 4; type++)
		for (size_t len = 2300; len < 4200; len += type == 0 ? 3 : 7) {
			size_t before = r->in->puts;
			unsigned status =
			    answer_to_head(r, len, types[type], type == 0 && len % 2 ? "\r\nPOST /v1/t" : "");
			bool small = len<2400, large = len> 3100;
			if (status != fine[type] && status != 431 && (status != 414 || !large))
				fail_msg("%zu bytes: %u %s", len, status, r->got);
			assert_true(!small || status == fine[type]);
			assert_true(!large || status != fine[type]);
			assert_int_equal(r->in->puts - before, status < 300);
		}
	finish(r);
}

static void chunked_body_over_the_limit_is_refused_as_it_grows(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	say(fd, "POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	char chunk[4096 + 32];
	memset(chunk, 'x', sizeof(chunk));
	memcpy(chunk, "1000\r\n", 6);
	memcpy(chunk + 6 + 4096, "\r\n", 3);
	for (int i = 0; i < 5; i++) {
		say(fd, chunk);
		fake_turns(r->in, 2);
		http_protocol.run(r->http);
	}
	UNTIL(r, (listen_in(r, fd), r->closed));
	assert_memory_equal(r->got, "HTTP/1.1 413 ", 13);
	assert_int_equal(r->in->message_count, 0);
	assert_int_equal(r->http->conns.buffered, 0);
	close(fd);
	finish(r);
}

/* Small ones find room all the same: those that stop half-way through long ones must not have everybody refused. */
static void long_bodies_over_max_buffered_are_answered_503(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->http->max_buffered = 16 << 10;
	rig_open(r);
	static char part[5000];
	memset(part, '1', sizeof(part) - 1);
	int fds[3];
	for (int i = 0; i < 3; i++) {
		fds[i] = rig_connect(r);
		say(fds[i], "POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n");
		say(fds[i], part);
		UNTIL(r, r->http->conns.buffered == (i == 0 ? 8u : 16u) << 10);
	}
	assert_int_equal(answer_to(r, fds[2], "5"), 503);
	assert_int_equal(r->in->stats.refused[REFUSED_MEMORY], 1);
	int small = rig_connect(r);
	say(small, "POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n1234");
	UNTIL(r, r->http->conns.buffered == 20 << 10);
	assert_int_equal(answer_to(r, small, "5"), 204);
	assert_int_equal(answer_to(r, fds[0], "5"), 204);
	close(small);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	finish(r);
}

static void slow_requests_are_closed_and_waiting_ones_are_not(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->manual = true;
	r->in->settings.ack_timeout = 3600000000;
	rig_open(r);
	int waits = rig_connect(r);
	say(waits, post("/v1/telemetry/d", "", "1"));
	UNTIL(r, r->in->answer_count == 1);
	int body = rig_connect(r), head = rig_connect(r);
	say(body, "POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12");
	say(head, "POST /v1/telem");
	UNTIL(r, r->http->conns.count == 3 && r->http->conns.buffered > 0);
	r->in->skew_ms += 25000; /* a drop now and then is not progress for a head, but it is for a body */
	say(head, "etry");
	say(body, "3");
	struct http_conn *c = TAILQ_FIRST(&r->http->conns.phases[PHASE_BODY]);
	UNTIL(r, c->request.body_len == 3);
	r->in->skew_ms += 10000;
	UNTIL(r, (listen_in(r, head), r->closed));
	assert_memory_equal(r->got, "HTTP/1.1 408 ", 13);
	assert_int_equal(r->http->conns.count, 2);
	r->in->skew_ms += 26000;
	r->got_len = 0;
	r->closed = false;
	UNTIL(r, (listen_in(r, body), r->closed));
	assert_memory_equal(r->got, "HTTP/1.1 408 ", 13);
	assert_int_equal(r->in->stats.refused[REFUSED_TIMEOUT], 2);
	r->got_len = 0;
	r->closed = false;
	fake_settle_all(r->in);
	UNTIL(r, answered(r, waits));
	assert_int_equal(atoi(r->got + 9), 204);
	close(waits);
	close(body);
	close(head);
	finish(r);
}

static void idle_connection_is_closed_without_a_word(void **state)
{
	(void)state;
	struct rig *r = rig_open(rig_new());
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "x")), 204);
	r->got_len = 0;
	r->in->skew_ms = 31000;
	UNTIL(r, (listen_in(r, fd), r->closed));
	assert_int_equal(r->got_len, 0);
	assert_int_equal(r->in->stats.refused[REFUSED_TIMEOUT], 0);
	close(fd);
	finish(r);
}

static void connections_beyond_their_limits_are_told(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->http->max_connections = 3;
	r->http->max_per_address = 2;
	rig_open(r);
	int fds[4];
	for (int i = 0; i < 4; i++) {
		fds[i] = rig_connect(r);
		UNTIL(r, r->http->conns.count == (size_t)i + 1);
	}
	assert_int_equal(answer_to(r, fds[2], post("/v1/telemetry/d", "", "x")), 429);
	assert_non_null(strstr(r->got, "Retry-After: "));
	assert_int_equal(answer_to(r, fds[3], post("/v1/telemetry/d", "", "x")), 503);
	assert_non_null(strstr(r->got, "connection-limit"));
	assert_int_equal(answer_to(r, fds[1], post("/v1/telemetry/d", "", "x")), 204);
	assert_int_equal(r->in->stats.refused[REFUSED_CONNECTIONS], 2);
	close(fds[0]);
	UNTIL(r, r->http->conns.count <= 1);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "x")), 204);
	for (int i = 1; i < 4; i++)
		close(fds[i]);
	close(fd);
	finish(r);
}

static void out_of_memory_for_an_answer_is_503(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	r->in->await_fails = true;
	rig_open(r);
	int fd = rig_connect(r);
	assert_int_equal(answer_to(r, fd, post("/v1/telemetry/d", "", "x")), 503);
	close(fd);
	finish(r);
}

static void wrong_settings_are_told(void **state)
{
	(void)state;
	struct rig *r = rig_new();
	struct why why;
	assert_int_equal(http_protocol.check(r->http, &r->in->settings, &why), GW_OK);
	r->http->device = "device";
	assert_int_equal(http_protocol.check(r->http, &r->in->settings, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "device: "));
	r->http->device = NULL;
	r->http->channel = "/a~2";
	assert_int_equal(http_protocol.check(r->http, &r->in->settings, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "channel: "));
	r->http->channel = "";
	r->http->max_buffered = r->http->max_body;
	assert_int_equal(http_protocol.check(r->http, &r->in->settings, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "max_buffered: "));
	rig_free(r);
}

static void address_in_use_names_address_and_setting(void **state)
{
	(void)state;
	struct rig *first = rig_open(rig_new()), *second = rig_new();
	struct why why = {{0}};
	const char *port = strrchr(first->in->address, ':') + 1;
	snprintf(second->http->listen.port, sizeof(second->http->listen.port), "%s", port);
	assert_int_equal(http_protocol.open(second->http, second->in, &why), GW_IO);
	assert_non_null(strstr(why.text, "listen: 127.0.0.1:"));
	assert_non_null(strstr(why.text, port));
	assert_non_null(strstr(why.text, "in use"));
	rig_free(second);
	rig_free(first);
}

static void threads_share_one_port(void **state)
{
	(void)state;
	struct rig *first = rig_new(), *second = rig_new();
	first->in->settings.threads = second->in->settings.threads = 2;
	rig_open(first);
	second->in->thread = 1;
	second->in->port = first->in->port; /* the core's is the same for both */
	rig_open(second);
	assert_string_equal(first->in->address, second->in->address);
	rig_free(second);
	rig_free(first);
}

static void port_is_not_shared_with_another_listener(void **state)
{
	(void)state;
	struct rig *first = rig_new(), *second = rig_new();
	struct why why = {{0}};
	first->in->settings.threads = second->in->settings.threads = 2;
	rig_open(first);
	snprintf(second->http->listen.port, sizeof(second->http->listen.port), "%s",
	         strrchr(first->in->address, ':') + 1);
	assert_int_equal(http_protocol.open(second->http, second->in, &why), GW_IO);
	assert_non_null(strstr(why.text, "another program or listener has it"));
	rig_free(second);
	rig_free(first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(message_is_put_and_answered_when_it_is_safe),
	    cmocka_unit_test(connection_serves_many_requests),
	    cmocka_unit_test(pipelined_requests_are_answered_in_order),
	    cmocka_unit_test(lines_of_a_batch_are_taken_one_by_one),
	    cmocka_unit_test(array_is_a_batch_and_an_object_a_message),
	    cmocka_unit_test(undeclared_array_of_the_collection_is_a_batch_too),
	    cmocka_unit_test(senml_pack_is_one_message),
	    cmocka_unit_test(media_type_that_is_not_taken_is_said_to_be),
	    cmocka_unit_test(lines_sent_as_json_hear_of_their_type),
	    cmocka_unit_test(refused_line_of_a_batch_is_reported),
	    cmocka_unit_test(batch_that_finds_no_room_says_how_far_it_came),
	    cmocka_unit_test(batch_longer_than_the_lane_is_held_and_goes_on),
	    cmocka_unit_test(batch_that_is_held_too_long_is_refused_from_there),
	    cmocka_unit_test(packed_batch_that_is_held_keeps_its_bytes),
	    cmocka_unit_test(stop_refuses_the_rest_of_a_held_batch),
	    cmocka_unit_test(batch_of_which_nothing_is_taken_is_refused),
	    cmocka_unit_test(list_of_rejections_is_bounded),
	    cmocka_unit_test(too_many_lines_are_refused_before_one_is_taken),
	    cmocka_unit_test(accepted_answers_202_with_the_id),
	    cmocka_unit_test(late_answer_tells_whether_the_message_is_durable),
	    cmocka_unit_test(client_that_left_is_forgotten_when_its_answer_is_due),
	    cmocka_unit_test(half_closed_clients_get_their_answers),
	    cmocka_unit_test(stop_with_suspended_requests_answers_them),
	    cmocka_unit_test(drain_answers_what_is_safe_and_takes_nothing_new),
	    cmocka_unit_test(body_over_the_limit_is_refused_before_it_is_read),
	    cmocka_unit_test(head_is_answered_whatever_its_length),
	    cmocka_unit_test(chunked_body_over_the_limit_is_refused_as_it_grows),
	    cmocka_unit_test(long_bodies_over_max_buffered_are_answered_503),
	    cmocka_unit_test(slow_requests_are_closed_and_waiting_ones_are_not),
	    cmocka_unit_test(idle_connection_is_closed_without_a_word),
	    cmocka_unit_test(connections_beyond_their_limits_are_told),
	    cmocka_unit_test(out_of_memory_for_an_answer_is_503),
	    cmocka_unit_test(wrong_settings_are_told),
	    cmocka_unit_test(address_in_use_names_address_and_setting),
	    cmocka_unit_test(threads_share_one_port),
	    cmocka_unit_test(port_is_not_shared_with_another_listener),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
