/* TLS on a load's connections, by OpenSSL, on the non-blocking socket itself. Nothing here knows a connection: who calls
 * keeps the SSL, and reports what was lost. */
#ifndef SLUICE_LOAD_SECURE_H
#define SLUICE_LOAD_SECURE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/base/error.h"
#include "load/plan.h"
#include "load/result.h"

/* Why a connection is lost. */
struct secure_loss {
	enum load_error kind; /* LOAD_TLS | LOAD_RESET */
	char words[240];
};

/* secure_init makes the context of a run from its plan: trust, and the certificate if it is the same for all. *out is
 * owned by the caller, and set as soon as there is one, whatever is returned. GW_OK | GW_NOMEM | GW_CONFIG, with why. */
enum gw_err secure_init(SSL_CTX **out, const struct load_plan *plan, struct why *why);
/* secure_open puts TLS on an established socket; host is checked against the server's certificate. *out as above.
 * NULL, or what went wrong (static text, or one that lives until the next call on this thread). */
const char *secure_open(SSL **out, SSL_CTX *context, int fd, const char *host);
/* secure_use_cert and secure_use_key load a file of one connection's own. NULL, or what went wrong, as above. */
const char *secure_use_cert(SSL *ssl, const char *path);
const char *secure_use_key(SSL *ssl, const char *path);
/* secure_shake goes on with the handshake: 1 done, 0 later (*for_write: when the socket can be written to), -1 lost. */
int secure_shake(SSL *ssl, bool *for_write, struct secure_loss *loss);
/* As write and read. write: bytes taken, fewer than len when the socket takes no more, SIZE_MAX when lost; what went to
 * the socket is added to *on_wire. read: 0 the end, -1 with errno EAGAIN, -2 lost. */
size_t secure_write(SSL *ssl, const uint8_t *bytes, size_t len, uint64_t *on_wire, struct secure_loss *loss);
ssize_t secure_read(SSL *ssl, uint8_t *out, size_t room, struct secure_loss *loss);

#endif
