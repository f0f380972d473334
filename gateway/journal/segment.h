/* The journal's bytes on disk, version 2. docs/journal-format.md tells the same for readers in other languages. All
 * numbers little-endian.
 *
 * A journal is a directory of segments, NNNNNNNN.segment, all of the same size (a multiple of 4 KiB), preallocated and
 * recycled under their names. A segment is one header of 4096 bytes and then blocks, one behind the other, each at an
 * offset that is a multiple of 4096.
 *
 * Segment header (4096 bytes; those not named are zero):
 *	 0  8  magic "SLUICEJ1"
 *	 8  u32 CRC-32C of bytes 12..4095
 *	12  u32 version, 1 or 2
 *	16  u64 generation: counts uses of segments, from a random start, so that no payload can look like a block
 *	24  u64 first: sequence of the first record that this segment may hold; anything at or above it in segments
 *	    of lower generation does not count
 *	32  u64 size of the segment in bytes
 *	40  u64 time of first use, microseconds since the epoch
 *	48  u64 kept_from: what ended below this sequence had been given up when the segment was begun (the journal was
 *	    full): segments that end below the greatest of these do not count. 0 in older ones
 *	56  16 bytes identity of the journal (identity.h); 0 in older ones
 *
 * Block (header 64 bytes, then `body` bytes of entries (record.h), then zeros up to a multiple of 4096):
 *	 0  u32 magic "SLBK"
 *	 4  u32 CRC-32C of bytes 8 .. 64+body-1
 *	 8  u64 generation of its segment
 *	16  u64 first: sequence of its first record; the others follow without gaps
 *	24  u32 body: bytes of entries
 *	28  u32 count: number of entries, at least 1
 *	32  u64 time of the commit, microseconds since the epoch
 *	40  u32 0: records; 1: checkpoint: entries of kind RECORD_STATE that have no sequences of their own (state_store.h);
 *	    `first` is that of the next record, and so the same as that of the block behind it
 *	44  u32 1: nobody was promised any of its records; a journal that is full may give them up
 *	48  16 bytes of zero
 *
 * A block counts if magic, generation and checksum are right, it lies inside its segment, and its `first` is what the
 * block before it (or the segment header) leads to, or more where a damaged range lies between. Since segments are
 * recycled, old blocks with good checksums may lie behind the last block; their generation is lower. One block is in
 * flight at a time, so a crash leaves at most one that is invalid: the last. An invalid block with a valid one of the
 * same generation behind it is damage, not a crash. */
#ifndef SLUICE_GATEWAY_JOURNAL_SEGMENT_H
#define SLUICE_GATEWAY_JOURNAL_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/journal/identity.h"

#define SEGMENT_HEADER 4096u
#define SEGMENT_VERSION 2u /* 1: neither state (state_store.h) nor checkpoints */
#define BLOCK_HEADER 64u
#define BLOCK_ALIGN 4096u

struct segment_header {
	uint32_t version;
	uint64_t generation, first, size, time_us, kept_from;
	uint8_t identity[IDENTITY_SIZE];
};

struct block_header {
	uint64_t generation, first, time_us;
	uint32_t body, count;
	uint32_t sum, summed; /* for writing: CRC-32C of the first `summed` bytes of entries, if it is known; else 0 */
	bool checkpoint, may_drop;
};

void segment_header_write(const struct segment_header *h, uint8_t out[SEGMENT_HEADER]);
/* segment_header_read returns 1 when the header is valid, 0 when it is not, -1 when it is valid and of a newer version
 * (h->version set). */
int segment_header_read(struct segment_header *h, const uint8_t in[SEGMENT_HEADER]);

/* segment_block_write fills in the header in front of h->body bytes of entries at block + BLOCK_HEADER, and zeroes the
 * padding. */
void segment_block_write(const struct block_header *h, uint8_t *block);
/* segment_block_read decodes without the checksum; false: no block of this generation begins here, or it does not fit
 * into room bytes. */
bool segment_block_read(struct block_header *h, const uint8_t *block, uint64_t generation, size_t room);
/* segment_block_check verifies checksum and entries of a block whose header was read and whose bytes are all there. */
bool segment_block_check(const struct block_header *h, const uint8_t *block);

static inline size_t segment_block_size(size_t body)
{
	return (BLOCK_HEADER + body + BLOCK_ALIGN - 1) & ~(size_t)(BLOCK_ALIGN - 1);
}

#endif
