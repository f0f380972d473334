/* Looking into a journal from outside: without its lock, changing nothing, also while a gateway writes it. `sluice journal`
 * (cmd_journal.h) and cmd_journal_repair.c stand on it.
 *
 * A look is as of the moment when it was opened: segments that are begun later are not met, and one that a gateway uses
 * again meanwhile is passed over and counted (recycled), not taken for damage. One thread; nothing is shared. */
#ifndef SLUICE_GATEWAY_JOURNAL_INSPECTION_H
#define SLUICE_GATEWAY_JOURNAL_INSPECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/disk.h"
#include "gateway/base/error.h"
#include "gateway/journal/cursor.h"
#include "gateway/journal/segment.h"

#define INSPECTION_QUARANTINE "quarantine" /* directory below the journal's: what repair moved aside */
#define INSPECTION_LOST "lost" /* file in it: what is known to be lost, a line "FROM TO" and a comment each */

struct inspection_segment {
	uint32_t number;  /* of its file */
	uint32_t version; /* 0: not known */
	uint64_t generation, first, size;
	uint64_t told_size;              /* what its header says */
	uint64_t time_us;                /* of its first use; 0: not known */
	uint8_t identity[IDENTITY_SIZE]; /* what its header says */
	uint64_t kept_from;              /* what its header says; 0: nothing */
	bool spoilt;                     /* its header is damaged; its blocks are used */
	bool unread;                     /* the disk failed when it was looked at: nothing else is known of it */
};

struct inspection_cursor {
	char name[CURSOR_NAME_MAX + 1];
	uint64_t sequence;                             /* the sink has everything up to it ... */
	struct cursor_stretch ahead[CURSOR_AHEAD_MAX]; /* ... and these above it */
	size_t ahead_count;
	bool damaged, unread;
};

/* Sequences first to end - 1. */
struct inspection_range {
	uint64_t first, end;
};

struct inspection {
	const struct disk *disk;
	char *dir, *cursor_dir; /* owned: DATA/journal, DATA/journal/cursors */
	/* owned; the oldest first; those that are wholly superseded are left out */
	struct inspection_segment *segments;
	size_t segment_count;
	struct inspection_cursor *cursors; /* owned */
	size_t cursor_count;
	struct inspection_range *lost; /* owned; known since a repair */
	size_t lost_count;
	uint8_t identity[IDENTITY_SIZE]; /* of the journal; zeros: not known */
	unsigned foreign;                /* segments of another journal: left out */
	uint64_t passed;                 /* what every sink has; 0 when a cursor is damaged, or there is none */
	uint32_t highest;                /* number of a file */
	uint64_t bytes;                  /* of all segments: what a walk reads */
	unsigned spares;                 /* files that hold nothing that counts */
	unsigned recycled;               /* segments that were used again while they were walked */
	uint64_t last;                   /* after a walk: the last record's sequence; before: 0 */
};

enum inspection_damage_kind {
	INSPECTION_HEADER, /* a segment's header; its blocks are used */
	INSPECTION_SHORT,  /* a file is shorter than its header says */
	INSPECTION_RANGE,  /* bytes between two blocks of a segment, or sequences missing there */
	INSPECTION_GAP,    /* sequences that are missing behind a segment, though its bytes are in order up to there */
	INSPECTION_CURSOR, /* both slots of a cursor */
	INSPECTION_UNREAD, /* the disk failed: whether it is damaged is not known */
};

struct inspection_damage {
	enum inspection_damage_kind kind;
	uint32_t segment;
	const char *cursor;           /* of INSPECTION_CURSOR and an unread cursor; else NULL */
	uint64_t offset, bytes;       /* where in the segment */
	struct inspection_range lost; /* first == end: no record */
	bool torn;                    /* INSPECTION_GAP: an unfinished or spoilt block stands there */
};

/* What a walk calls, in the order of the journal; context is the caller's. Each may be NULL. Pointers are valid during the
 * call. */
struct inspection_visitor {
	/* A segment is entered. */
	void (*segment)(void *context, const struct inspection_segment *s);
	/* A valid block; bytes as on disk, header first. False: enough, the walk ends. */
	bool (*block)(void *context, const struct inspection_segment *s, uint64_t offset, const struct block_header *h,
	              const uint8_t *bytes);
	/* Something is damaged, missing or unread. */
	void (*damage)(void *context, const struct inspection_damage *d);
	/* How many of l->bytes are behind; often. */
	void (*progress)(void *context, uint64_t bytes);
};

/* inspection_open lists DIR's segments and cursors. DIR is a data directory, or its `journal`.
 * GW_OK | GW_CONFIG (no journal there, or one of a newer version) | GW_IO | GW_NOMEM, with why. */
enum gw_err inspection_open(struct inspection *l, const struct disk *disk, const char *dir, struct why *why);
void inspection_close(struct inspection *l); /* safe on zeros */
/* inspection_walk reads every byte and visits what is there. from: segments that end below this sequence are left out. */
void inspection_walk(struct inspection *l, uint64_t from, const struct inspection_visitor *v, void *context);
/* inspection_find_last sets l->last without a visit: it walks the last segment alone. */
void inspection_find_last(struct inspection *l);
/* inspection_behind: records from the journal's first to l->last that the cursor has not passed, less those that a repair has
 * noted as lost. After inspection_walk or inspection_find_last. */
uint64_t inspection_behind(const struct inspection *l, const struct inspection_cursor *c);
/* inspection_refresh reads anew what every sink has passed: a gateway may have used segments again since. */
void inspection_refresh(struct inspection *l);
/* inspection_is_known_lost tells whether a repair has told of the loss already. */
bool inspection_is_known_lost(const struct inspection *l, const struct inspection_range *r);
/* inspection_describe writes damage as a sentence into out. */
void inspection_describe(const struct inspection_damage *d, char *out, size_t size);
/* inspection_open_segment opens a segment's file: past the page cache where that works, since the gateway writes so. A file
 * descriptor or a negative errno. */
int inspection_open_segment(const struct inspection *l, uint32_t number, unsigned flags);

#endif
