/* The memory of exchanges: which requests came in, and what was answered, so that a retransmission is not a second
 * message and gets the same answer (RFC 7252 sections 4.2 and 4.5).
 *
 * An exchange is known by its endpoint, message ID, token, and a keyed hash of the whole datagram. The RFC asks for the
 * first two; a retransmission has the other two in common as well. So a device that wakes up, starts its message IDs
 * anew and sends another reading under a number that it used a minute ago is not told "accepted" for a reading that was
 * thrown away.
 *
 * Memory is bounded: `capacity` entries of about 150 bytes, touched only as they are needed. An exchange that is
 * answered is remembered for `lifetime`, and less when room is needed: then the one that was answered first goes. One
 * that still waits for its answer is never given up.
 *
 * An exchange of a CON goes through these states; each transition is one function:
 *
 *	UNSETTLED --settled in time: answered in the ACK--------------> DONE
 *	    |                                                            ^
 *	    +--too slow: empty ACK--> ACKED --settled--> SEPARATE --ACK, RST or no more tries
 *
 * NON starts as ACKED: there is nothing to acknowledge. One thread. Time is monotonic milliseconds. */
#ifndef SLUICE_PROTOCOLS_COAP_COAP_EXCHANGE_H
#define SLUICE_PROTOCOLS_COAP_COAP_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "gateway/base/siphash.h"
#include "protocols/coap/coap_message.h"
#include "protocols/net/udp.h"

enum exchange_state {
	EXCHANGE_FREE = 0,
	EXCHANGE_UNSETTLED, /* CON: nothing was sent yet */
	EXCHANGE_ACKED,     /* waits for its message to settle; no hurry any more */
	EXCHANGE_SEPARATE,  /* the separate response is on its way and sent again until it is acknowledged */
	EXCHANGE_DONE,      /* answered; kept for retransmissions */
};

struct coap_exchange {
	/* who it is */
	uint64_t digest;
	struct udp_route route;
	uint16_t id; /* message ID of the request */
	/* answers without proof of the address are kept small in proportion; 65535: that or more */
	uint16_t request_len;
	uint8_t type; /* COAP_CON or COAP_NON */
	uint8_t token_len;
	uint8_t token[COAP_TOKEN_MAX];
	/* the caller's */
	uint8_t no_response; /* of the request */
	bool separated;      /* an empty ACK went out: no answer may stand in an ACK any more, RFC 7252 section 5.2.2 */
	struct coap_answer answer;
	/* the table's */
	uint8_t state;
	uint8_t tries;       /* SEPARATE: retransmissions so far */
	uint32_t timeout_ms; /* SEPARATE: until the next one */
	int64_t at_ms;       /* UNSETTLED: came in; DONE: answered; SEPARATE: due */
};

/* What a look-up walks over lies apart from the exchanges: at full speed these megabytes stay in the cache and those do
 * not. */
struct exchange_link {
	uint32_t hash;
	uint32_t chain;          /* next in its bucket; 0 is none, here and below */
	uint32_t previous, next; /* in the list of its state */
};

/* What a request is looked up by: hashes with the table's key. */
struct exchange_key {
	uint32_t hash;   /* of endpoint and message ID */
	uint64_t digest; /* of the whole datagram */
};

struct exchange_list {
	uint32_t first, last;
};

#define EXCHANGE_SLOTS 256u  /* of the wheel that keeps the retransmission times ... */
#define EXCHANGE_SLOT_MS 128 /* ... which reaches 32.8 s: RFC 7252's longest wait before a retransmission is 24 s */

struct coap_exchanges {
	struct coap_exchange *entry; /* owned; entry[0] is not used, so that zeroed memory is a valid table */
	struct exchange_link *link;  /* owned; one for each entry */
	uint32_t *bucket;            /* owned; a power of two */
	uint32_t capacity, mask, fresh, count;
	uint32_t free; /* list through next */
	int64_t lifetime_ms;
	struct siphash_key key;
	struct exchange_list unsettled, done, slot[EXCHANGE_SLOTS];
	int64_t turned;     /* number of the slot up to which the wheel has turned */
	uint32_t separate;  /* exchanges on the wheel */
	uint64_t forgotten; /* exchanges given up before their lifetime was over */
};

/* GW_OK | GW_NOMEM. coap_exchanges_fini is safe on a zeroed struct. */
enum gw_err coap_exchanges_init(struct coap_exchanges *t, uint32_t capacity, int64_t lifetime_ms);
void coap_exchanges_fini(struct coap_exchanges *t);

/* coap_exchange_key hashes a datagram, whatever it is: one that is too short to be a message will not be looked up. */
struct exchange_key coap_exchange_key(const struct coap_exchanges *t, const struct udp_route *route,
                                      const uint8_t *bytes, size_t len);
/* coap_exchange_prefetch brings to the cache what a look-up of n requests will need, and adding them when the table is
 * full. At full speed the table does not fit there, and each look-up by itself would wait twice for memory. */
void coap_exchange_prefetch(const struct coap_exchanges *t, const struct exchange_key *keys, size_t n);
/* coap_exchange_find returns the exchange that this request belongs to, NULL if it is a new one. */
struct coap_exchange *coap_exchange_find(struct coap_exchanges *t, int64_t now_ms, const struct udp_route *route,
                                         const struct coap_message *m, const struct exchange_key *key);
/* coap_exchange_add remembers a new request, UNSETTLED (CON) or ACKED (NON). NULL: the table is full of exchanges that
 * wait. The pointer stays valid until the exchange is DONE or dropped. */
struct coap_exchange *coap_exchange_add(struct coap_exchanges *t, int64_t now_ms, const struct udp_route *route,
                                        const struct coap_message *m, const struct exchange_key *key,
                                        size_t request_len);
/* coap_exchange_drop forgets an exchange as if it had never been. */
void coap_exchange_drop(struct coap_exchanges *t, struct coap_exchange *x);

uint32_t coap_exchange_number(const struct coap_exchanges *t, const struct coap_exchange *x);
struct coap_exchange *coap_exchange_at(struct coap_exchanges *t, uint32_t number);

/* coap_exchange_oldest is the UNSETTLED exchange that came first; NULL: none. */
struct coap_exchange *coap_exchange_oldest(struct coap_exchanges *t);
void coap_exchange_acked(struct coap_exchanges *t, struct coap_exchange *x);                /* UNSETTLED -> ACKED */
void coap_exchange_done(struct coap_exchanges *t, struct coap_exchange *x, int64_t now_ms); /* any -> DONE */
/* coap_exchange_separate (ACKED -> SEPARATE, or SEPARATE again) has the separate response due timeout_ms from now. */
void coap_exchange_separate(struct coap_exchanges *t, struct coap_exchange *x, int64_t now_ms, uint32_t timeout_ms);
/* coap_exchange_due returns a SEPARATE exchange whose time has come, NULL: none. The caller schedules it again or has
 * it done. */
struct coap_exchange *coap_exchange_due(struct coap_exchanges *t, int64_t now_ms);
/* coap_exchange_response finds the SEPARATE exchange with a peer by the message ID of its request. */
struct coap_exchange *coap_exchange_response(struct coap_exchanges *t, const struct udp_route *route, uint16_t id);

#endif
