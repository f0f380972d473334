/* A connection of the load tester without its threads: a job and a worker whose turns the test takes itself, and the other end
 * of the connection as a socket, so that what is written and read are the real bytes. */
#ifndef SLUICE_TEST_UNIT_LOAD_LOAD_WORLD_H
#define SLUICE_TEST_UNIT_LOAD_LOAD_WORLD_H

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "load/connection.h"
#include "load/datagram.h"
#include "load/worker_loop.h"

struct world {
	struct load_plan plan;
	struct load_job job;
	struct worker worker;
	struct connection *c;
	int peer;
};

static inline void world_connect(struct world *w)
{
	int pair[2];
	if (w->peer >= 0)
		close(w->peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	w->c->fd = pair[0];
	w->peer = pair[1];
	w->c->state = CONNECTION_HELLO;
	w->worker.opening++;
	if (!w->job.protocol->hello)
		connection_ready(w->c);
}

/* url NULL: a UDP socket of our own is the peer. */
static inline void world_open(struct world *w, const char *url, void (*change)(struct load_plan *))
{
	struct why why = {0};
	char own[64];
	*w = (struct world){.peer = -1};
	plan_init(&w->plan);
	if (!url) {
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof(a);
		w->peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		assert_int_equal(bind(w->peer, (struct sockaddr *)&a, len), 0);
		getsockname(w->peer, (struct sockaddr *)&a, &len);
		snprintf(own, sizeof(own), "coap://127.0.0.1:%u/t/{device}/env", ntohs(a.sin_port));
		url = own;
	}
	assert_int_equal(plan_target(&w->plan, url, &why), GW_OK);
	w->plan.count = 1000;
	w->plan.workers = 1;
	w->plan.payload = "{\"v\":1}";
	if (change)
		change(&w->plan);
	assert_int_equal(plan_check(&w->plan, &why), GW_OK);
	assert_int_equal(job_open(&w->job, &w->plan, "R", 0, NULL, &why), GW_OK);
	assert_int_equal(worker_open(&w->worker, &w->job, 0, &why), GW_OK);
	w->worker.now_us = 1000000;
	w->worker.phase = JOB_SEND;
	w->c = &w->worker.connections[0];
	if (w->job.protocol->datagram)
		connection_open(w->c);
	else
		world_connect(w);
}

static inline void world_close(struct world *w)
{
	close(w->peer);
	worker_close(&w->worker);
	job_close(&w->job);
}

/* What was sent, in one piece; for datagrams one of them. */
static inline size_t world_sent(struct world *w, uint8_t out[65536])
{
	connection_send(w->c);
	datagram_flush(&w->worker);
	ssize_t n = recv(w->peer, out, 65536, 0);
	return n > 0 ? (size_t)n : 0;
}

/* An answer comes, cut into two at a byte. */
static inline void world_answer(struct world *w, const void *bytes, size_t len, size_t cut)
{
	const uint8_t *all = bytes;
	if (w->job.protocol->datagram) {
		w->job.protocol->take(w->c, all, len);
		return;
	}
	size_t used = cut > 0 ? w->job.protocol->take(w->c, all, cut) : 0;
	if (w->c->fd >= 0)
		w->job.protocol->take(w->c, all + used, len - used);
}

static inline uint64_t world_errors(const struct world *w)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < LOAD_ERRORS; i++)
		sum += w->worker.counts.errors[i];
	return sum;
}

#endif
