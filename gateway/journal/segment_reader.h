/* Reading a segment's file from front to back, through a window: blocks that count, and what lies between them where something
 * is damaged. Used by the journal (recovery, pumps) and by whoever looks at a journal from outside (inspection.h). One
 * thread a reader. */
#ifndef SLUICE_GATEWAY_JOURNAL_SEGMENT_READER_H
#define SLUICE_GATEWAY_JOURNAL_SEGMENT_READER_H

#include "gateway/base/disk.h"
#include "gateway/journal/segment.h"

/* A window over a segment's file, for reading it from front to back. */
struct scan {
	const struct disk *disk;
	int fd;
	uint64_t size;   /* of the segment */
	uint8_t *buffer; /* owned, aligned */
	size_t room;
	uint64_t at; /* what the window holds */
	size_t len;
	bool failed; /* the disk failed: not the same as an invalid block */
};
/* scan_init takes over fd, which may be a negative errno. */
void scan_init(struct scan *s, const struct disk *disk, int fd, uint64_t size);
void scan_close(struct scan *s);
/* scan_bytes returns at least len bytes at offset, or NULL (behind the end, or s->failed). Valid until the next call.
 */
const uint8_t *scan_bytes(struct scan *s, uint64_t offset, size_t len);
/* scan_block returns the valid block of this generation at offset, checksum verified; NULL: none there. */
const uint8_t *scan_block(struct scan *s, uint64_t offset, uint64_t generation, struct block_header *h);
/* scan_next looks for the next valid block of this generation from offset on whose first is at least `least`;
 * UINT64_MAX: none. */
uint64_t scan_next(struct scan *s, uint64_t offset, uint64_t generation, uint64_t least, struct block_header *h);
/* scan_step goes to the next block that counts, at *at or, where that is damaged, behind it: then *at is moved. Returns
 * its bytes; NULL at the end (*at stays) or when the disk failed. */
const uint8_t *scan_step(struct scan *s, uint64_t *at, uint64_t generation, uint64_t expected, struct block_header *h);
/* scan_torn tells whether something of this generation stands at offset: the start of a block that was not finished. */
bool scan_torn(struct scan *s, uint64_t offset, uint64_t generation);

#endif
