/* Datagrams of a worker, many per system call. To a server on 127/8 all endpoints are addresses of 127/8 behind one
 * socket, so that a thousand devices cost one; to any other there is a socket per endpoint. */
#ifndef SLUICE_LOAD_DATAGRAM_H
#define SLUICE_LOAD_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

struct connection;
struct worker;

enum gw_err datagram_open(struct worker *w, struct why *why); /* GW_OK | GW_NOMEM | GW_IO */
void datagram_close(struct worker *w);                        /* also when there is none */
bool datagram_open_endpoint(struct connection *c);            /* false: errno says why */
/* datagram_room is where the next datagram is rendered (job->room bytes), datagram_put puts it in line; datagram_flush sends them. */
uint8_t *datagram_room(struct connection *c);
void datagram_put(struct connection *c, size_t len);
void datagram_flush(struct worker *w);
void datagram_receive(struct worker *w, int fd, struct connection *c); /* c NULL: the one socket */

#endif
