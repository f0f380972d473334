/* What the files of a journal's directory are: which is a segment, of which generation, and which of them count. Used at start
 * (journal_recover.c) and by whoever looks at a journal from outside (inspection.h). Pure, or any thread. */
#ifndef SLUICE_GATEWAY_JOURNAL_SEGMENT_FILES_H
#define SLUICE_GATEWAY_JOURNAL_SEGMENT_FILES_H

#include "gateway/journal/segment_reader.h"

#define SEGMENT_NUMBER_MAX 99999999u  /* what fits into NNNNNNNN.segment ... */
#define SEGMENT_NUMBER_LAST 99989999u /* ... of which a repair, whose copies must have the highest, keeps the rest */

/* Whether somebody was promised a record in it. UNKNOWN: it is from before the start. */
enum segment_promise { SEGMENT_UNKNOWN, SEGMENT_MAY_DROP, SEGMENT_PROMISED };

struct segment {
	uint32_t number; /* of its file */
	uint64_t generation, first, size;
	uint64_t kept_from; /* what its header says; at the start alone */
	enum segment_promise promised;
	/* a write or sync failed: not used again, removed when it is free. At start: superseded by later ones */
	bool bad;
};

enum segment_kind {
	SEGMENT_GOOD,   /* its header is valid */
	SEGMENT_SPOILT, /* its header is damaged; named by the first valid block in it */
	SEGMENT_EMPTY,  /* neither header nor block: a spare */
	SEGMENT_NEWER,  /* written by a newer version, h->version */
	SEGMENT_UNREAD, /* the disk failed, which is not the same as damage */
};
/* segment_files_number reads the number out of NNNNNNNN.segment; false: it is another file. */
bool segment_files_number(const char *name, uint32_t *number);
/* The numbers of a directory's segment files. */
struct segment_files_numbers {
	uint32_t *items; /* owned: free() */
	size_t count, room;
	bool nomem;
};
/* segment_files_list finds them, in no order. 0 or a negative errno, also -ENOMEM: then there are none. */
int segment_files_list(const struct disk *disk, const char *dir, struct segment_files_numbers *out);
/* segment_files_identify looks at an open file of which s knows no size yet, and sets out but for its number. h: its header, of GOOD
 * and NEWER. */
enum segment_kind segment_files_identify(struct segment_reader *s, struct segment *out, struct segment_header *h);
/* segment_files_sort puts them in the order of their generations and marks as bad those that later ones supersede wholly, and
 * those that had been given up: they hold nothing that counts. */
void segment_files_sort(struct segment *items, size_t count);

#endif
