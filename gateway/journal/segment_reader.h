/* Reading a segment's file from front to back, through a window: blocks that count, and what lies between them where something
 * is damaged. Used by the journal (recovery, pumps) and by whoever looks at a journal from outside (inspection.h). One
 * thread a reader. */
#ifndef SLUICE_GATEWAY_JOURNAL_SEGMENT_READER_H
#define SLUICE_GATEWAY_JOURNAL_SEGMENT_READER_H

#include "gateway/base/disk.h"
#include "gateway/journal/segment.h"

/* A window over a segment's file, for reading it from front to back. */
struct segment_reader {
	const struct disk *disk;
	int fd;
	uint64_t size;   /* of the segment */
	uint8_t *buffer; /* owned, aligned */
	size_t room;
	uint64_t at; /* what the window holds */
	size_t len;
	bool failed; /* the disk failed: not the same as an invalid block; */
	int err;     /* with this negative errno, of the first call that did, or of opening the file */
};
/* segment_reader_init takes over fd, which may be a negative errno. */
void segment_reader_init(struct segment_reader *s, const struct disk *disk, int fd, uint64_t size);
void segment_reader_close(struct segment_reader *s);
/* scan_bytes returns at least len bytes at offset, or NULL (behind the end, or s->failed). Valid until the next call.
 */
const uint8_t *segment_reader_bytes(struct segment_reader *s, uint64_t offset, size_t len);
/* segment_reader_block returns the valid block of this generation at offset, checksum verified; NULL: none there. */
const uint8_t *segment_reader_block(struct segment_reader *s, uint64_t offset, uint64_t generation,
                                    struct block_header *h);
/* segment_reader_next looks for the next valid block of this generation from offset on whose first is at least `least`;
 * UINT64_MAX: none. */
uint64_t segment_reader_next(struct segment_reader *s, uint64_t offset, uint64_t generation, uint64_t least,
                             struct block_header *h);
/* segment_reader_step goes to the next block that counts, at *at or, where that is damaged, behind it: then *at is moved. Returns
 * its bytes; NULL at the end (*at stays) or when the disk failed. */
const uint8_t *segment_reader_step(struct segment_reader *s, uint64_t *at, uint64_t generation, uint64_t expected,
                                   struct block_header *h);
/* segment_reader_torn tells whether something of this generation stands at offset: the start of a block that was not finished. */
bool segment_reader_torn(struct segment_reader *s, uint64_t offset, uint64_t generation);

#endif
