/* A UDP socket that reads and writes many datagrams per system call.
 *
 * What came in is handed to a callback where it lies in a buffer made once; answers gather in an outbox and leave
 * together. On a wildcard address an answer leaves from the address that was asked (RFC 7252 section 8.2 wants that;
 * firewalls and clients insist on it), and what was sent to a multicast or broadcast address is not handed out at all.
 * Datagrams that the kernel dropped for want of buffer are counted.
 *
 * One thread owns it. No allocation after udp_open. */
#ifndef SLUICE_PROTOCOLS_NET_UDP_H
#define SLUICE_PROTOCOLS_NET_UDP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "gateway/base/settings.h"
#include "gateway/base/socket.h"

/* The two ends of a datagram's way. IPv4 addresses are mapped (::ffff:a.b.c.d). */
struct udp_route {
	struct in6_addr peer;
	struct in6_addr local; /* the address that was asked; unspecified: the socket has only one */
	uint32_t scope;        /* sin6_scope_id of a link-local peer, else 0 */
	uint16_t port;         /* peer's, host byte order */
};

static inline bool udp_route_same_peer(const struct udp_route *a, const struct udp_route *b)
{
	return a->port == b->port && a->scope == b->scope && IN6_ARE_ADDR_EQUAL(&a->peer, &b->peer);
}

struct udp_datagram {
	struct udp_route route;
	const struct sockaddr *from; /* sockaddr_in or sockaddr_in6: the peer as a message wants it */
	const uint8_t *bytes;
	size_t len;
	bool cut; /* it was longer than the buffer: len bytes of it are there */
};

#define UDP_ANSWER_MAX 192 /* bytes of a datagram in the outbox */
#define UDP_OUT 512        /* datagrams the outbox holds */
#define UDP_BATCH 64       /* datagrams read per system call */

/* The outbox stands alone, so that a handler can be tested without a socket. */
struct udp_out {
	size_t count, sent; /* [sent, count) wait */
	struct {
		struct udp_route route;
		size_t len;
		uint8_t bytes[UDP_ANSWER_MAX];
	} item[UDP_OUT];
};
static inline size_t udp_out_room(const struct udp_out *o)
{
	return UDP_OUT - o->count;
}
/* udp_out_next lends UDP_ANSWER_MAX bytes to write the next datagram into; there must be room. udp_out_add queues it.
 */
uint8_t *udp_out_next(struct udp_out *o);
void udp_out_add(struct udp_out *o, const struct udp_route *route, size_t len);

struct udp;

/* udp_open binds `listen` (a name is resolved; its first address counts). [::] takes IPv4, too.
 *   max_datagram    bytes of the longest datagram that is taken whole
 *   receive_buffer  bytes the kernel is asked to hold for us; beyond its own limit (net.core.rmem_max) only with
 *                   CAP_NET_ADMIN
 *   bound           set to the address as text: "127.0.0.1:5683", "[::]:5683"
 * GW_OK | GW_CONFIG (the name cannot be resolved) | GW_IO (why names setting, address and cause) | GW_NOMEM.
 * Main thread. */
enum gw_err udp_open(struct udp **out, const struct address *listen, size_t max_datagram, uint64_t receive_buffer,
                     char bound[SOCKET_TEXT], struct why *why);
void udp_free(struct udp *u); /* u may be NULL */

int udp_fd(const struct udp *u);
struct udp_out *udp_outbox(struct udp *u);

/* udp_read hands out up to UDP_BATCH datagrams, all at once, so that their handler can look ahead; returns how many
 * were read, 0: nothing is there now. *bytes grows by their bytes. */
size_t udp_read(struct udp *u, void (*take)(void *self, const struct udp_datagram *d, size_t count), void *self,
                uint64_t *bytes);
/* udp_write sends what the outbox holds. False: the kernel takes no more now; wait until the socket can be written. A
 * datagram that cannot be sent at all (no route, address gone) is given up, as the network might. *bytes grows by what
 * was sent. */
bool udp_write(struct udp *u, uint64_t *bytes);
/* udp_dropped returns how many datagrams the kernel dropped on this socket since the last call. */
uint64_t udp_dropped(struct udp *u);

#endif
