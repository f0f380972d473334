/* What connection.c, connection_write.c and connection_messages.c know of one another. */
#ifndef SLUICE_LOAD_CONNECTION_PARTS_H
#define SLUICE_LOAD_CONNECTION_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "load/result.h"

struct connection;
struct load_protocol;

const struct load_protocol *connection_protocol(const struct connection *c);
/* connection_watch is epoll_ctl: how is EPOLL_CTL_ADD or _MOD. */
bool connection_watch(struct connection *c, int how, uint32_t events);
/* The kind of error that an errno of the connection's socket is. */
enum load_error connection_error_kind(int error);
/* connection_keep copies len bytes to *buffer + at, which is made larger as needed (*room); false: out of memory. */
bool connection_keep(uint8_t **buffer, size_t *room, const uint8_t *bytes, size_t at, size_t len);
/* How many new messages may go in one piece; 0: none now. */
uint64_t connection_new_messages(const struct connection *c);
/* Renders the next piece to out, sent again or new, and counts it; returns its length, 0: there is none now. */
size_t connection_put_next(struct connection *c, uint8_t *out);

#endif
