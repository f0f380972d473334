/* Counted blocks; see block.h. */
#include "gateway/block.h"

#include <stdlib.h>

#include "gateway/disk.h"
#include "gateway/segment.h"

_Static_assert(BLOCK_HEADER == 64, "block_entries knows it");

struct block *block_new(size_t room)
{
	struct block *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	void *bytes = NULL;
	if (posix_memalign(&bytes, DISK_ALIGN, room)) {
		free(b);
		return NULL;
	}
	b->bytes = bytes;
	b->room = room;
	atomic_init(&b->holders, 1);
	return b;
}

void block_hold(struct block *b)
{
	atomic_fetch_add_explicit(&b->holders, 1, memory_order_relaxed);
}

void block_release(struct block *b)
{
	if (!b || atomic_fetch_sub_explicit(&b->holders, 1, memory_order_acq_rel) != 1)
		return;
	free(b->bytes);
	free(b);
}
