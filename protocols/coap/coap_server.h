/* What a CoAP listener does with a datagram, and when it says what: requests (RFC 7252 section 5), the message layer
 * (section 4), Block1 (RFC 7959), No-Response (RFC 7967). It knows no socket: datagrams come in by a call, answers go to
 * an outbox.
 *
 *	POST or PUT on /t/{device}/{channel...}  a message; 2.04 when it is safe
 *	GET on /.well-known/core                 one link
 *
 * What is asked may come from a forged address, so no answer is more than three times as long as its request, most are
 * shorter, and nothing is remembered of a request that had no effect.
 *
 * One thread owns it. */
#ifndef SLUICE_PROTOCOLS_COAP_COAP_SERVER_H
#define SLUICE_PROTOCOLS_COAP_COAP_SERVER_H

#include "gateway/intake.h"
#include "protocols/coap/coap_block.h"
#include "protocols/coap/coap_exchange.h"
#include "protocols/net/udp.h"

struct coap_server_settings {
	uint32_t exchanges;
	int64_t exchange_lifetime_ms, separate_after_ms;
	uint8_t block_exponent; /* the largest block that we ask for is 16 << block_exponent bytes */
	struct coap_block_limits blocks;
};

struct coap_server {
	struct coap_server_settings settings;
	struct intake *in;   /* borrowed */
	struct udp_out *out; /* borrowed */
	struct coap_exchanges exchanges;
	struct coap_blocks blocks;
	uint16_t id_shift;         /* our message IDs are the request's and this: see response_id */
	uint64_t random;           /* state of the generator that spreads retransmissions */
	char well_known[160];      /* /.well-known/core */
	char formats_taken[160];   /* diagnostic payload of 4.15 */
	char channel[CHANNEL_MAX]; /* a channel of several segments, put together */
	struct exchange_key key[UDP_BATCH];
};

/* GW_OK | GW_NOMEM. coap_server_fini is safe on a zeroed struct. */
enum gw_err coap_server_init(struct coap_server *s, const struct coap_server_settings *settings, struct intake *in,
                             struct udp_out *out);
void coap_server_fini(struct coap_server *s);

/* coap_server_take handles up to UDP_BATCH datagrams. Each may add one datagram to the outbox: there must be room. */
void coap_server_take(struct coap_server *s, const struct udp_datagram *d, size_t count);
/* coap_server_answer has one message's answer sent, which needs room for one. */
void coap_server_answer(struct coap_server *s, const struct answer *a);
/* coap_server_tick does what time demands: empty acknowledgements, retransmissions, expiry; as far as the outbox has
 * room. Returns the milliseconds until it wants to be called again, at most 1000. */
int coap_server_tick(struct coap_server *s);

#endif
