/* Putting bodies together that come in blocks (Block1, RFC 7959): memory of transfers that are under way.
 *
 * A transfer is known by its endpoint and a keyed hash of what the RFC calls the request key: method, path,
 * Request-Tags (RFC 9175 section 3.3). Blocks are taken in order only; their size may shrink on the way (RFC 7959
 * section 2.5), so what counts is the offset in bytes.
 *
 * Anybody can begin transfers from forged addresses and never finish them. So a transfer holds no more than twice what
 * arrived (a Size1 is believed only when it is too large); there are limits of number per endpoint and of bytes over
 * all; a transfer that rests for `timeout` ends; and when a limit is reached, the one that has rested longest makes
 * room, if that is longer than any live sender rests between retransmissions. One thread. Time is monotonic
 * milliseconds. */
#ifndef SLUICE_PROTOCOLS_COAP_COAP_BLOCK_H
#define SLUICE_PROTOCOLS_COAP_COAP_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "gateway/base/siphash.h"
#include "protocols/coap/coap_message.h"
#include "protocols/net/udp.h"

struct coap_block_limits {
	size_t max_body; /* bytes of one body */
	size_t memory;   /* bytes of all transfers, book-keeping included */
	size_t per_peer; /* transfers of one endpoint */
	int64_t timeout_ms;
};

/* One transfer. */
struct coap_block {
	struct coap_block *chain;           /* next in its bucket */
	struct coap_block *previous, *next; /* by time of the last block: the one that rests longest is first */
	struct udp_route route;
	uint64_t key;
	int64_t at_ms;  /* when the last block came */
	int32_t format; /* Content-Format of the first block */
	uint8_t *bytes; /* owned */
	size_t len, room;
};

struct coap_blocks {
	struct coap_block_limits limits;
	struct coap_block **bucket; /* owned; by endpoint alone, so that those of one endpoint are together */
	size_t mask;
	struct coap_block *first, *last;
	size_t count, used;
	struct siphash_key hash;
};

enum block_take {
	BLOCK_CONTINUE,  /* taken; more is to come */
	BLOCK_COMPLETE,  /* the body is whole */
	BLOCK_MISSING,   /* an earlier block is missing, or belongs to something else: 4.08 */
	BLOCK_WRONG,     /* a block of a wrong length: 4.00 */
	BLOCK_TOO_LARGE, /* the body is or would be over max_body: 4.13 */
	BLOCK_NO_ROOM,   /* too many transfers: 5.03 */
};

/* GW_OK | GW_NOMEM. coap_blocks_fini is safe on a zeroed struct. */
enum gw_err coap_blocks_init(struct coap_blocks *t, const struct coap_block_limits *limits);
void coap_blocks_fini(struct coap_blocks *t);

/* coap_block_take takes one block of a request that has a Block1 option.
 *   transfer  set on BLOCK_COMPLETE: its bytes and len are the body, last block included. The caller ends it with
 * coap_block_end, or leaves it alone, if the body found no room: then the last block can come again. On BLOCK_TOO_LARGE
 * the transfer has ended. */
enum block_take coap_block_take(struct coap_blocks *t, int64_t now_ms, const struct udp_route *route,
                                const struct coap_message *m, struct coap_block **transfer, size_t *body_len);
void coap_block_end(struct coap_blocks *t, struct coap_block *b);

/* coap_blocks_expire ends what has rested too long; returns how many transfers that were. */
size_t coap_blocks_expire(struct coap_blocks *t, int64_t now_ms);

#endif
