/* Counted blocks; see block.h. */
#include "gateway/journal/block.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/base/crc32c.h"
#include "gateway/base/disk.h"
#include "gateway/journal/segment.h"

_Static_assert(BLOCK_HEADER == 64, "block_entries knows it");

/* Large blocks are used again: the C library would give their memory back to the kernel each time, and fetching fresh
 * pages costs a fifth of the processor time of a busy listener. A few are enough, since one goes for each that comes. A
 * slot is taken and filled by exchange, so no lock is needed and none can be met twice. */
#define SPARES 8
#ifdef __SANITIZE_ADDRESS__
#define SPARE_BYTES SIZE_MAX /* whoever uses a block after its release is to be found out */
#else
#define SPARE_BYTES BLOCK_SMALL
#endif

/* Entries are summed when so many have come, while the processor's first cache still has them. */
#define SUM_BYTES (8u << 10)

static _Atomic(struct block *) spares[SPARES];

static void block_free(struct block *b)
{
	if (!b->small)
		free(b->bytes);
	free(b);
}

/* Keeps b instead of what the slots hold already when they are full: sizes change with the load. */
static void spare_put(struct block *b)
{
	for (size_t i = 0; i < SPARES; i++) {
		struct block *empty = NULL;
		if (atomic_compare_exchange_strong_explicit(&spares[i], &empty, b, memory_order_acq_rel,
		                                            memory_order_relaxed))
			return;
	}
	b = atomic_exchange_explicit(&spares[0], b, memory_order_acq_rel);
	if (b)
		block_free(b);
}

static struct block *spare_take(size_t room)
{
	for (size_t i = 0; i < SPARES; i++) {
		struct block *b = atomic_exchange_explicit(&spares[i], NULL, memory_order_acq_rel);
		if (b && b->room >= room && b->room / 2 <= room)
			return b;
		if (b)
			spare_put(b);
	}
	return NULL;
}

struct block *block_new(size_t room)
{
	struct block *b = room >= SPARE_BYTES ? spare_take(room) : NULL;
	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return NULL;
		void *bytes = NULL;
		if (posix_memalign(&bytes, DISK_ALIGN, room)) {
			free(b);
			return NULL;
		}
		b->bytes = bytes;
		b->room = room;
	}
	block_clear(b);
	atomic_init(&b->refs, 1);
	return b;
}

struct block *block_copy(const struct block *from, const uint8_t *bytes)
{
	size_t size = BLOCK_HEADER + (size_t)from->body;
	struct block *b = NULL;
	if (size >= SPARE_BYTES) {
		b = block_new(segment_block_size(from->body));
	} else if ((b = malloc(sizeof(*b) + size))) {
		/* Most blocks of a quiet gateway hold a record or two: 4 KiB and as much again for its alignment would
		 * be most of the tail. */
		memset(b, 0, sizeof(*b));
		b->bytes = (uint8_t *)(b + 1);
		b->room = sizeof(*b) + size;
		b->small = true;
		atomic_init(&b->refs, 1);
	}
	if (!b)
		return NULL;
	memcpy(b->bytes, bytes, size);
	b->first = from->first;
	b->count = from->count;
	b->body = from->body;
	b->time_us = from->time_us;
	b->sealed_us = from->sealed_us;
	b->may_drop = from->may_drop;
	return b;
}

void block_clear(struct block *b)
{
	b->body = b->count = b->sum = b->summed = 0;
	b->may_drop = false;
}

void block_fill(struct block *b, const uint8_t *bytes, size_t len)
{
	memcpy(b->bytes + BLOCK_HEADER + b->body, bytes, len);
}

void block_grow(struct block *b, size_t len, uint32_t count)
{
	b->body += (uint32_t)len;
	b->count += count;
	if (b->body - b->summed < SUM_BYTES)
		return;
	b->sum = crc32c(b->sum, b->bytes + BLOCK_HEADER + b->summed, b->body - b->summed);
	b->summed = b->body;
}

void block_ref(struct block *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void block_unref(struct block *b)
{
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (b->room >= SPARE_BYTES && !b->small)
		spare_put(b);
	else
		block_free(b);
}
