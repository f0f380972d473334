/* A cursor remembers how far one sink is: the sequence up to which everything is settled. It is stored after the fact:
 * a crash lets a sink see some records twice, never lose one.
 *
 * File NAME.cursor: two slots of 4096 bytes, written in turn, each:
 *	 0  8  magic "SLCURSR1"
 *	 8  u32 CRC-32C of bytes 12..4095
 *	12  u32 version, 1
 *	16  u64 count: the slot with the higher count is newer
 *	24  u64 sequence
 *	32  u8  length of the name, then the name (at most 63 bytes)
 *	96  u32 number n of stretches, at most 16
 *	100 n times u64 first, u64 last sequence of a stretch above `sequence` that the sink has, too; in order, apart
 * 512 16 bytes identity of the journal (identity.h); 0 in older ones
 * Programs that do not know the stretches send what is in them again.
 * A torn write spoils at most the older slot. */
#ifndef SLUICE_GATEWAY_JOURNAL_CURSOR_H
#define SLUICE_GATEWAY_JOURNAL_CURSOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/disk.h"
#include "gateway/base/error.h"
#include "gateway/journal/identity.h"

#define CURSORS_MAX 64u /* of one journal */
#define CURSOR_NAME_MAX 63u
#define CURSOR_AHEAD_MAX 16u

/* Records above the cursor that are settled, too. */
struct cursor_stretch {
	uint64_t from, to;
};

struct cursor {
	char name[CURSOR_NAME_MAX + 1];
	const struct disk *disk; /* NULL: kept in memory only */
	char *path;              /* owned */
	int fd;
	uint8_t identity[IDENTITY_SIZE];               /* of the journal; zeros: not known */
	pthread_mutex_t lock;                          /* guards the file and count: pump and journal store it */
	uint64_t count;                                /* of the file */
	struct cursor_stretch ahead[CURSOR_AHEAD_MAX]; /* also under lock, once threads run */
	size_t ahead_count;
	bool ahead_changed;        /* since the file was written */
	bool frozen;               /* also under lock */
	int err;                   /* of the last save: 0 or a negative errno; also under lock */
	_Atomic uint64_t sequence; /* the pump moves it, the journal reads it to settle `delivered` */
	_Atomic uint64_t saved;    /* what the file says; the pump stores it, the journal reads it to free space */
};

/* Where a cursor is kept: NAME.cursor in dir. */
struct cursor_file {
	const struct disk *disk; /* NULL: it is kept in memory, and dir is not looked at */
	const char *dir, *name;
	const uint8_t *identity; /* of the journal, copied; NULL: not known, and that of the file is not looked at */
};

/* cursor_open reads or creates the file. Its texts are copied. A new one starts at `start` and is synced with its directory before
 * it returns; one that was there and is damaged or holds nothing starts at 0, and so does one of another journal, which is
 * moved to quarantine. Main thread.
 *   existed  set: whether it was there
 * GW_OK | GW_IO (also when it cannot be read) | GW_NOMEM, with why. */
enum gw_err cursor_open(struct cursor *c, const struct cursor_file *f, uint64_t start, bool *existed, struct why *why);
/* cursor_set_ahead says what is settled above the cursor, for the next cursor_save; what the cursor has passed by then
 * does no harm. In order, not touching; at most CURSOR_AHEAD_MAX. Any thread. */
void cursor_set_ahead(struct cursor *c, const struct cursor_stretch *ahead, size_t count);
/* cursor_save writes and syncs the sequence if it or what is ahead has changed since the last save. GW_OK | GW_IO (the old one stays
 * good). Any thread. */
enum gw_err cursor_save(struct cursor *c);
/* cursor_keep makes the file again, with what it should say, when somebody deleted, moved or replaced it. GW_OK | GW_IO (tried
 * again with the next save). Any thread. */
enum gw_err cursor_keep(struct cursor *c);
/* cursor_freeze lets no save reach the file any more: it belongs to another process now. Any thread. */
void cursor_freeze(struct cursor *c);
/* cursor_explain writes why the last cursor_save failed (disk_explain.h) into out, which is returned. Any thread. */
const char *cursor_explain(struct cursor *c, char *out, size_t size);
void cursor_close(struct cursor *c); /* does not save; safe on a zeroed struct */
/* cursor_peek reads the sequence of the file at path without changing it. GW_OK | GW_AGAIN (it
 * was just made, nothing is in it) | GW_INVALID (neither slot is valid) | GW_IO. */
enum gw_err cursor_peek(const struct disk *disk, const char *path, uint64_t *sequence);
/* cursor_peek_own is cursor_peek, for which a cursor of another journal than `identity` is invalid. */
enum gw_err cursor_peek_own(const struct disk *disk, const char *path, const uint8_t *identity, uint64_t *sequence);
/* cursor_peek_ahead reads what is settled above it, too: *count stretches, in order. Results as of cursor_peek. */
enum gw_err cursor_peek_ahead(const struct disk *disk, const char *path, uint64_t *sequence,
                              struct cursor_stretch ahead[CURSOR_AHEAD_MAX], size_t *count);
/* cursor_lacking counts the sequences from passed + 1 to last that are in no stretch; the stretches are in order and
 * apart. cursor_behind does so for a cursor, of which what is at or below `gone` does not count either. Any thread; it may
 * wait until the cursor is stored. */
uint64_t cursor_lacking(uint64_t passed, uint64_t last, const struct cursor_stretch *ahead, size_t count);
uint64_t cursor_behind(struct cursor *c, uint64_t gone, uint64_t last);

static inline uint64_t cursor_get(const struct cursor *c)
{
	return atomic_load_explicit((_Atomic uint64_t *)&c->sequence, memory_order_seq_cst);
}
/* cursor_saved is where it would start after a crash: what lies above must be kept. */
static inline uint64_t cursor_saved(const struct cursor *c)
{
	if (!c->disk)
		return cursor_get(c);
	/* Pairs with the store in cursor_save: the file is synced before its records may go. */
	return atomic_load_explicit((_Atomic uint64_t *)&c->saved, memory_order_seq_cst);
}
static inline void cursor_move(struct cursor *c, uint64_t sequence)
{
	/* Pairs with cursor_get in the journal: what the pump did before (the sink has it, the dead letter is synced)
	 * comes before. seq_cst because journal_wake then looks whether the journal sleeps (lane.h tells why). */
	atomic_store_explicit(&c->sequence, sequence, memory_order_seq_cst);
}

#endif
