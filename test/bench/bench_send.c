/* TCP and MQTT sender: keeps a window of unacknowledged messages on each of several connections, as fast as the server
 * takes them.
 *
 *	bench_send tcp|mqtt|mqtt0 HOST PORT CONNECTIONS WINDOW MESSAGES [RATE]
 *
 * tcp sends lines and reads "ok N" (a listener with `reply: count`); mqtt publishes with QoS 1 and reads PUBACKs, in
 * order; mqtt0 with QoS 0, and the answer to a last PINGREQ tells that all was read. RATE: messages per second over all
 * connections, whatever the server does; 0: as fast as it goes. One thread. An answer that is not the one expected ends
 * it with exit code 1; at the end it prints one line of JSON. */
#include <poll.h>
#include <stdbool.h>

#include "test/bench/bench_client.h"

#define CONNECTIONS_MAX 1024
#define BUFFER (256 * 1024)
#define MESSAGE_MAX 256

enum protocol { TCP, MQTT1, MQTT0 };

/* As it goes over the wire; id: where an MQTT packet identifier is to be put. */
struct wire {
	char bytes[MESSAGE_MAX];
	size_t len, id;
};

struct connection {
	int fd;
	uint64_t sent, acked, goal;
	char *out; /* owned; BUFFER bytes */
	size_t out_len, out_at;
	char in[8192];
	size_t in_len;
	bool pinged;
};

static enum protocol protocol;
static struct wire wires[DOCUMENTS];

/* -- messages -- */

static void wire_line(struct wire *w, const struct document *d)
{
	memcpy(w->bytes, d->text, d->len);
	w->bytes[d->len] = '\n';
	w->len = d->len + 1;
}

/* PUBLISH, MQTT 3.1.1 section 3.3. */
static void wire_publish(struct wire *w, const struct document *d)
{
	char topic[64];
	size_t topic_len = (size_t)snprintf(topic, sizeof(topic), "devices/%s/telemetry", d->device);
	size_t rest = 2 + topic_len + (protocol == MQTT1 ? 2 : 0) + d->len, n = 0;
	w->bytes[n++] = protocol == MQTT1 ? 0x32 : 0x30;
	w->bytes[n++] = (char)(rest % 128 + 128); /* rest is more than 127, less than 16384 */
	w->bytes[n++] = (char)(rest / 128);
	w->bytes[n++] = 0;
	w->bytes[n++] = (char)topic_len;
	memcpy(w->bytes + n, topic, topic_len);
	w->id = n += topic_len;
	n += protocol == MQTT1 ? 2 : 0;
	memcpy(w->bytes + n, d->text, d->len);
	w->len = n + d->len;
}

static uint16_t packet_id(uint64_t number)
{
	return (uint16_t)(number % 65535 + 1);
}

static void put_message(struct connection *c, uint32_t start)
{
	const struct wire *w = &wires[(c->sent + start) % DOCUMENTS];
	char *at = c->out + c->out_len;
	memcpy(at, w->bytes, w->len);
	if (protocol == MQTT1) {
		at[w->id] = (char)(packet_id(c->sent) >> 8);
		at[w->id + 1] = (char)packet_id(c->sent);
	}
	c->out_len += w->len;
	c->sent++;
}

/* -- connections -- */

static void read_whole(int fd, char *to, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, to + got, len - got);
		if (n <= 0)
			bench_fail("CONNACK");
		got += (size_t)n;
	}
}

static void mqtt_hello(int fd, int number)
{
	char packet[64], answer[4];
	memcpy(packet, "\x10\x00\x00\x04MQTT\x04\x02\x00\x00\x00", 13);
	size_t len = 14 + (size_t)snprintf(packet + 14, 16, "bench-%d", number);
	packet[1] = (char)(len - 2);
	packet[13] = (char)(len - 14);
	if (write(fd, packet, len) != (ssize_t)len)
		bench_fail("CONNECT");
	read_whole(fd, answer, sizeof(answer));
	if (answer[3] != 0) {
		fprintf(stderr, "bench_send: connection refused with code %d\n", answer[3]);
		exit(1);
	}
}

static void connection_open(struct connection *c, const struct sockaddr_in *to, int number)
{
	c->fd = bench_connect(to);
	c->out = malloc(BUFFER);
	if (!c->out)
		bench_fail("malloc");
	if (protocol != TCP)
		mqtt_hello(c->fd, number);
	bench_nonblocking(c->fd);
}

/* Fills the output with as many messages as window and allowance permit. */
static void fill(struct connection *c, uint32_t start, uint64_t window, uint64_t allowed)
{
	if (c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	while (c->sent < c->goal && c->sent < allowed && (protocol == MQTT0 || c->sent - c->acked < window) &&
	       c->out_len + MESSAGE_MAX < BUFFER)
		put_message(c, start);
	if (protocol == MQTT0 && c->sent == c->goal && !c->pinged && c->out_len + 2 < BUFFER) {
		memcpy(c->out + c->out_len, "\xc0\x00", 2);
		c->out_len += 2;
		c->pinged = true;
	}
}

static void send_some(struct connection *c)
{
	ssize_t n = write(c->fd, c->out + c->out_at, c->out_len - c->out_at);
	if (n < 0 && errno != EAGAIN)
		bench_fail("write");
	c->out_at += n > 0 ? (size_t)n : 0;
}

/* -- answers -- */

_Noreturn static void unexpected(const char *what, const char *bytes, size_t len)
{
	fprintf(stderr, "bench_send: %s:", what);
	for (size_t i = 0; i < len; i++)
		fprintf(stderr, protocol == TCP ? "%c" : " %02x", (unsigned char)bytes[i]);
	fputc('\n', stderr);
	exit(1);
}

/* "ok N" is cumulative. */
static size_t take_lines(struct connection *c)
{
	size_t at = 0;
	for (char *end; (end = memchr(c->in + at, '\n', c->in_len - at)); at = (size_t)(end - c->in) + 1) {
		if (strncmp(c->in + at, "ok ", 3) != 0)
			unexpected("answer", c->in + at, (size_t)(end - c->in) - at);
		uint64_t acked = strtoull(c->in + at + 3, NULL, 10);
		if (acked < c->acked || acked > c->sent)
			unexpected("count", c->in + at, (size_t)(end - c->in) - at);
		c->acked = acked;
	}
	return at;
}

static size_t take_pubacks(struct connection *c)
{
	size_t at = 0;
	for (; c->in_len - at >= 4; at += 4) {
		const unsigned char *p = (const unsigned char *)c->in + at;
		if (p[0] != 0x40 || p[1] != 2 || (p[2] << 8 | p[3]) != packet_id(c->acked))
			unexpected("not the PUBACK that is due", c->in + at, 4);
		c->acked++;
	}
	return at;
}

static void receive_some(struct connection *c)
{
	ssize_t n = read(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len);
	if (n == 0)
		errno = ECONNRESET;
	if (n == 0 || (n < 0 && errno != EAGAIN))
		bench_fail("read");
	if (n < 0)
		return;
	c->in_len += (size_t)n;
	size_t used = protocol == TCP ? take_lines(c) : protocol == MQTT1 ? take_pubacks(c) : 0;
	if (protocol == MQTT0 && c->in_len >= 2) {
		if (memcmp(c->in, "\xd0\x00", 2) != 0)
			unexpected("not a PINGRESP", c->in, 2);
		c->acked = c->goal;
		used = 2;
	}
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
}

/* -- the run -- */

static void turn(struct connection *all, int count, uint64_t window, uint64_t allowed, int wait_ms)
{
	static struct pollfd p[CONNECTIONS_MAX];
	for (int i = 0; i < count; i++) {
		fill(&all[i], (uint32_t)i * 97, window, allowed);
		p[i] = (struct pollfd){.fd = all[i].fd,
		                       .events = (short)(POLLIN | (all[i].out_at < all[i].out_len ? POLLOUT : 0))};
	}
	if (poll(p, (nfds_t)count, wait_ms) < 0)
		bench_fail("poll");
	for (int i = 0; i < count; i++) {
		if (p[i].revents & POLLOUT)
			send_some(&all[i]);
		if (p[i].revents & (POLLIN | POLLHUP | POLLERR))
			receive_some(&all[i]);
	}
}

static bool all_acked(const struct connection *all, int count)
{
	for (int i = 0; i < count; i++)
		if (all[i].acked < all[i].goal)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	int count = argc < 7 ? 0 : atoi(argv[4]);
	if (count < 1 || count > CONNECTIONS_MAX) {
		fputs("usage: bench_send tcp|mqtt|mqtt0 HOST PORT CONNECTIONS WINDOW MESSAGES [RATE]\n", stderr);
		return 2;
	}
	protocol = strcmp(argv[1], "tcp") == 0 ? TCP : strcmp(argv[1], "mqtt") == 0 ? MQTT1 : MQTT0;
	struct sockaddr_in to = bench_address(argv[2], argv[3]);
	uint64_t window = strtoull(argv[5], NULL, 10), each = strtoull(argv[6], NULL, 10) / (unsigned)count;
	double rate = argc > 7 ? atof(argv[7]) : 0;
	struct connection *all = calloc((size_t)count, sizeof(*all));
	if (!all)
		bench_fail("calloc");
	documents_init();
	for (uint32_t i = 0; i < DOCUMENTS; i++)
		(protocol == TCP ? wire_line : wire_publish)(&wires[i], &documents[i]);
	for (int i = 0; i < count; i++) {
		connection_open(&all[i], &to, i);
		all[i].goal = each;
	}
	double begin = seconds_now();
	while (!all_acked(all, count)) {
		uint64_t allowed = rate > 0 ? (uint64_t)((seconds_now() - begin) * rate / count) + 1 : UINT64_MAX;
		turn(all, count, window, allowed, rate > 0 ? 1 : 1000);
	}
	bench_report(each * (unsigned)count, 0, seconds_now() - begin);
	for (int i = 0; i < count; i++) {
		close(all[i].fd);
		free(all[i].out);
	}
	free(all);
	return 0;
}
