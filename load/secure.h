/* TLS on a load's connections, by OpenSSL, on the non-blocking socket itself. */
#ifndef SLUICE_LOAD_SECURE_H
#define SLUICE_LOAD_SECURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/base/error.h"

struct connection;
struct load_job;

/* secure_init makes the job's context from the plan: trust, and the certificate if it is the same for all.
 * GW_OK | GW_CONFIG with why. */
enum gw_err secure_init(struct load_job *j, struct why *why);
/* secure_open puts TLS on a connection that is established. NULL, or what went wrong (static text, or one that lives
 * until the next call on this thread). */
const char *secure_open(struct connection *c);
void secure_close(struct connection *c); /* also when there is none */
/* secure_shake goes on with the handshake: 1 done, 0 later (c->blocked: when it can be written to), -1 it was lost. */
int secure_shake(struct connection *c);
/* As write and read. write: bytes taken, SIZE_MAX when lost, fewer with c->blocked set. read: 0 the end, -1 with errno
 * EAGAIN, -2 lost. */
size_t secure_write(struct connection *c, const uint8_t *bytes, size_t len);
ssize_t secure_read(struct connection *c, uint8_t *out, size_t room);

#endif
