/* What connection.c and connection_messages.c know of one another. */
#ifndef SLUICE_LOAD_CONNECTION_PARTS_H
#define SLUICE_LOAD_CONNECTION_PARTS_H

#include <stddef.h>
#include <stdint.h>

struct connection;

/* How many new messages may go in one piece; 0: none now. */
uint64_t connection_new_messages(const struct connection *c);
/* Renders the next piece to out, sent again or new, and counts it; returns its length, 0: there is none now. */
size_t connection_put_next(struct connection *c, uint8_t *out);

#endif
