/* A block in memory: the entries of one commit, shared by the journal's tail and the pumps that read it, counted. The
 * last to let go frees it. */
#ifndef SLUICE_GATEWAY_JOURNAL_BLOCK_H
#define SLUICE_GATEWAY_JOURNAL_BLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_SMALL (16u << 10) /* bytes; smaller blocks are not worth to be kept and used again */

struct block {
	_Atomic unsigned refs; /* block_unref: acq_rel, so that the last sees what the others did */
	uint64_t first;        /* sequence of the first entry */
	uint32_t count, body;  /* entries; their bytes */
	uint32_t sum, summed;  /* CRC-32C of the first `summed` bytes of the entries */
	uint64_t time_us;      /* of the commit, wall clock */
	int64_t sealed_us;     /* the same, monotonic; of blocks read back from disk 0 */
	uint8_t *bytes;        /* owned; aligned for direct I/O; the block as it is on disk, header first */
	size_t room;           /* bytes allocated */
	bool small;            /* a copy: bytes lie behind the struct, in one allocation */
	bool may_drop;         /* all its entries came from lanes that may_drop */
};

/* block_new makes a block with room bytes (a multiple of 4096) and one reference; NULL: out of memory. Any thread. */
struct block *block_new(size_t room);
/* block_copy makes a block for reading that holds a copy of header and entries (first, count, body and time_us as in
 * from) in no more memory than they need; not for writing.
 *   bytes  BLOCK_HEADER + from->body of them
 * NULL: out of memory. Any thread. */
struct block *block_copy(const struct block *from, const uint8_t *bytes);
/* block_clear empties it. The writer. */
void block_clear(struct block *b);
/* block_fill copies len bytes behind its entries: there is room. block_grow makes entries of the first len of them,
 * count whole ones. The writer. */
void block_fill(struct block *b, const uint8_t *bytes, size_t len);
void block_grow(struct block *b, size_t len, uint32_t count);
void block_ref(struct block *b);
void block_unref(struct block *b); /* b may be NULL */

static inline const uint8_t *block_entries(const struct block *b)
{
	return b->bytes + 64; /* BLOCK_HEADER */
}
static inline uint64_t block_last(const struct block *b)
{
	return b->first + b->count - 1;
}

#endif
