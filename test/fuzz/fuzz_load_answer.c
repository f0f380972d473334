/* Whatever a server answers to the load tester: MQTT, CoAP, TCP lines or HTTP. The first byte chooses the protocol and how
 * it is spoken, the second where the answer is cut. Each piece lies at the end of its memory, so that a byte too far is
 * noticed. Whatever comes, no more is acknowledged than was sent, and places stay in their order. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load/connection.h"
#include "load/datagram.h"
#include "load/worker_loop.h"
#include "test/fuzz/must.h"

static const struct way {
	const char *url; /* port 9 is nobody's: only what is read matters */
	int qos;
	uint64_t batch;
} ways[] = {
    {"mqtt://127.0.0.1:9", 0, 1},  {"mqtt://127.0.0.1:9", 1, 1},  {"mqtt://127.0.0.1:9", 2, 1},
    {"coap://127.0.0.1:9", 0, 1},  {"coap://127.0.0.1:9", 1, 1},  {"tcp://127.0.0.1:9", -1, 1},
    {"http://127.0.0.1:9", -1, 1}, {"http://127.0.0.1:9", -1, 5},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static struct load_plan plans[WAYS];
static struct load_job jobs[WAYS];
static struct worker workers[WAYS];

static struct worker *worker_of(size_t way)
{
	struct worker *w = &workers[way];
	struct load_plan *p = &plans[way];
	struct why why = {0};
	if (w->connections)
		return w;
	plan_init(p);
	MUST(plan_target(p, ways[way].url, &why) == GW_OK);
	p->count = 100; /* with QoS 0 all of them are sent at once */
	p->workers = 1;
	p->payload = "{\"v\":1}";
	p->qos = ways[way].qos;
	p->batch = ways[way].batch;
	p->window = ways[way].batch > 1 || strncmp(p->target, "http", 4) == 0 ? 0 : 8;
	MUST(plan_check(p, &why) == GW_OK);
	MUST(job_open(&jobs[way], p, "R", 0, NULL, &why) == GW_OK);
	MUST(worker_open(w, &jobs[way], 0, &why) == GW_OK);
	w->now_us = 1000000;
	w->phase = JOB_SEND;
	return w;
}

/* A connection whose window is under way; returns the other end of it. */
static int begin(struct worker *w, struct connection *c, bool greeted)
{
	int pair[2];
	MUST(socketpair(AF_UNIX, w->job->protocol->datagram ? SOCK_DGRAM : SOCK_STREAM, 0, pair) == 0);
	c->fd = pair[0];
	c->state = CONNECTION_HELLO;
	w->opening = 1;
	w->open = 0;
	if (greeted || !w->job->protocol->hello)
		connection_ready(c);
	connection_send(c);
	return pair[1];
}

static void check(const struct connection *c, const struct worker *w)
{
	MUST(c->base <= c->next && c->resend <= c->next && c->next <= c->limit);
	MUST(c->next - c->base <= w->job->window);
	MUST(w->counts.acknowledged <= w->counts.sent);
}

/* What was sent is read, or a socket that is full would be waited for. */
static void swallow(int peer)
{
	static char bytes[65536];
	while (recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

/* As connection.c does it: what is not used up comes again with more behind it. */
static void offer(struct connection *c, const uint8_t *data, size_t size, unsigned cut, int peer)
{
	const struct worker *w = c->worker;
	int fd = c->fd;
	size_t used = 0, have = 0;
	for (unsigned i = 0; have < size && c->fd == fd; i++) {
		size_t step = cut == 0 ? size : 1 + (cut * (i + 1) * 7u) % 61u;
		have = size - have < step ? size : have + step;
		uint8_t *piece = malloc(have - used);
		MUST(piece);
		memcpy(piece, data + used, have - used);
		size_t n = w->job->protocol->take(c, piece, have - used);
		free(piece);
		MUST(n <= have - used);
		used = w->job->protocol->datagram ? have : used + n;
		check(c, w);
		if (c->fd == fd && c->state == CONNECTION_READY)
			connection_send(c); /* room in the window is used again */
		if (i % 8 == 0)
			swallow(peer);
		check(c, w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct worker *w = worker_of(data[0] % WAYS);
	struct connection *c = &w->connections[0], fresh = *c;
	memset(&w->counts, 0, sizeof(w->counts));
	int peer = begin(w, c, data[0] < 128);
	offer(c, data + 2, size - 2, data[1], peer);
	if (w->job->protocol->datagram)
		datagram_flush(w);
	if (c->fd >= 0)
		close(c->fd);
	close(peer);
	free(c->slots);
	free(c->out);
	free(c->in);
	free(c->name);
	*c = fresh;
	w->ready_first = w->ready_last = NULL;
	return 0;
}
