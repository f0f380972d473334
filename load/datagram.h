/* Datagrams of a worker, many per system call. To a server on 127/8 all endpoints are addresses of 127/8 behind one
 * socket, so that a thousand devices cost one; to any other there is a socket per endpoint. An endpoint is known here by
 * its number among all of the job and by where its descriptor is kept. Worker's thread only. */
#ifndef SLUICE_LOAD_DATAGRAM_H
#define SLUICE_LOAD_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "load/worker.h"

struct datagram {
	const uint8_t *bytes; /* borrowed until the next datagram_receive */
	size_t len;
	uint64_t number; /* the endpoint that it came for; UINT64_MAX: not known, or the socket's own */
};

enum gw_err datagram_open(struct worker *w, struct why *why); /* GW_OK | GW_NOMEM | GW_IO */
void datagram_close(struct worker *w);                        /* also when there is none */
/* datagram_open_endpoint sets *fd to the descriptor of endpoint `number`; what comes on one of its own is reported by the
 * worker's epoll with `context`. False: errno says why; *fd is open all the same, or -1. */
bool datagram_open_endpoint(struct worker *w, uint64_t number, void *context, int *fd);
/* datagram_room is where the next datagram of an endpoint is rendered (job->room bytes), datagram_put puts it in line;
 * datagram_flush sends them. fd is looked at until then: where the endpoint keeps its descriptor, -1 once it is closed. */
uint8_t *datagram_room(struct worker *w, const int *fd);
void datagram_put(struct worker *w, const int *fd, uint64_t number, size_t len);
void datagram_flush(struct worker *w);
/* datagram_receive takes in what came on a descriptor, -1: the one socket; returns how many datagrams, which
 * datagram_get gives by index. Errors and bytes are counted. */
unsigned datagram_receive(struct worker *w, int fd);
struct datagram datagram_get(const struct worker *w, unsigned i);

#endif
