/* Listening sockets: the one place that resolves an address, binds it, shares it between the threads of a listener, and
 * tells why that failed. For everything that listens: TCP and MQTT (protocols/net/stream.c), HTTP, UDP and admin.
 *
 * Texts begin with the address; the caller puts the name of its setting before them (why_add). Main thread, unless
 * said otherwise. */
#ifndef SLUICE_GATEWAY_BASE_SOCKET_H
#define SLUICE_GATEWAY_BASE_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gateway/base/error.h"
#include "gateway/base/settings.h"

#define SOCKET_TEXT 300 /* bytes that always hold an address as text, with its end: "[fe80::1%eth0]:1883" */

struct socket_name {
	struct sockaddr_storage address;
	socklen_t len;
};

/* Threads of one listener that share a port; they open one after the other, 0 first. */
struct socket_share {
	unsigned thread, threads;
	uint16_t *port; /* host byte order; set by thread 0, and where the setting says port 0, taken by the others */
};

/* socket_listen opens a stream socket that listens. [::] takes IPv4, too. Accepted sockets inherit TCP_NODELAY and
 * keep-alive.
 *   share  NULL: one thread alone
 *   fd     set to the socket, not blocking, close-on-exec; the caller's to close
 *   text   set to what was bound, as of socket_text
 * GW_OK | GW_CONFIG (cannot be resolved) | GW_IO. A port that another program or listener has is GW_IO for thread 0,
 * whoever shares it: thread 0 listens alone first and opens the port to the other threads afterwards. */
enum gw_err socket_listen(const struct address *at, int backlog, const struct socket_share *share, int *fd,
                          char text[SOCKET_TEXT], struct why *why);

/* -- its parts, for sockets of another kind (udp.c) -- */

/* socket_resolve looks the first address of a name up; type: SOCK_STREAM or SOCK_DGRAM. GW_OK | GW_CONFIG. */
enum gw_err socket_resolve(const struct address *at, int type, struct socket_name *name, struct why *why);
/* socket_bind binds fd and sets text to what was bound; GW_OK | GW_IO. at: as configured, for the text. */
enum gw_err socket_bind(int fd, const struct address *at, const struct socket_name *name, char text[SOCKET_TEXT],
                        struct why *why);

/* -- addresses; any thread -- */

void socket_text(const struct sockaddr *a, socklen_t len, char text[SOCKET_TEXT]);
/* socket_is_loopback: only this machine can reach it. A name counts if it is localhost. */
bool socket_is_loopback(const struct address *at);
/* socket_is_wildcard: 0.0.0.0 or [::]. */
bool socket_is_wildcard(const struct sockaddr *a);
/* socket_clash: two sockets of one kind (both stream or both UDP) cannot have both addresses, as far as that shows
 * without asking a name server. Port 0 clashes with nothing. */
bool socket_clash(const struct address *a, const struct address *b);

/* socket_limit: a connection with this descriptor or a higher one is to be refused. Descriptors are given out lowest
 * first, so a high one tells that few are left: those are for the journal and the sinks, without which no connection
 * would be of use. */
int socket_limit(void);

#endif
