/* The inside of the journal, shared by its files alone: journal_open.c (settings, opening, closing), journal.c (the thread), journal_wait.c (when it commits, how it
 * sleeps), journal_settle.c (who waits for
 * what), journal_spill.c (memory first, disk when sinks fall behind), journal_segments.c (segments, spares, room),
 * journal_capacity.c (no room: who hears of it, what may go),
 * segment_files.c and journal_recover.c (what is there at start) and journal_read.c (what pumps
 * read). inspection.c and cmd_journal_repair.c use what does not need a running journal. */
#ifndef SLUICE_GATEWAY_JOURNAL_JOURNAL_PARTS_H
#define SLUICE_GATEWAY_JOURNAL_JOURNAL_PARTS_H

#include <pthread.h>

#include "gateway/journal/commit_delay.h"
#include "gateway/journal/directory_lock.h"
#include "gateway/journal/journal.h"
#include "gateway/journal/segment_files.h"
#include "gateway/journal/segment_reader.h"

#define LANES_MAX 256u
#define DELIVERIES 1024u /* commits whose delivery one lane can wait for; more share an entry */

/* What a lane waits for: when all its cursors have passed sequence, everything before position is delivered. */
struct delivery {
	uint64_t sequence, position;
};

struct deliveries {
	struct delivery *items; /* owned; DELIVERIES of them, a ring; NULL: not kept */
	size_t first, count;
};

struct journal_lane {
	struct lane *lane;
	uint64_t delivered_to;
	uint64_t gathered;           /* position behind what is in the block being written */
	struct deliveries delivered; /* for `ack: delivered`; kept with delivered_to */
	struct deliveries in_memory; /* what is in memory alone (spill): durable when every cursor has passed it */
};

/* What ends a sleep of the journal's thread, beside its time, journal_wake and the stop. */
enum journal_sleep {
	SLEEP_NOT,           /* it does not sleep */
	SLEEP_UNTIL_ANY,     /* anything published */
	SLEEP_UNTIL_AWAITED, /* an entry that somebody waits for, or a crowded lane */
	SLEEP_UNTIL_CROWDED, /* a crowded lane */
};

struct journal {
	/* constant after the start */
	const struct journal_settings *settings;
	const struct disk *disk;
	struct journal_stats *stats;
	char *dir, *cursor_dir; /* owned */
	bool direct;            /* O_DIRECT works here */
	struct journal_lane lanes[LANES_MAX];
	size_t lane_count;
	struct cursor cursors[CURSORS_MAX];
	size_t cursor_count;
	struct {
		int fd;
		_Atomic uint64_t *wake_at;
	} readers[CURSORS_MAX];
	size_t reader_count;
	const char *scopes[LANES_MAX]; /* borrowed: whose state is kept */
	size_t scope_count;
	uint64_t checkpoint_room; /* bytes of a segment that a checkpoint may take; 0: no state is kept */
	size_t most_body;         /* bytes of entries in a block, but for a single larger entry */
	uint64_t promised;        /* bytes that must be free for what the lanes may hold */
	int wake_fd;
	pthread_t thread;
	bool running;
	struct heartbeat heartbeat;

	/* any thread reads; the journal's thread writes */
	_Alignas(64) _Atomic uint64_t last; /* release: the block is in the tail or on disk before */
	_Atomic bool full, nearly_full, faulty;
	_Atomic uint64_t first;            /* journal_first; release: before what lies below it goes */
	_Atomic bool quiescent;            /* journal_is_quiescent */
	_Alignas(64) _Atomic int sleeping; /* enum journal_sleep; lane.h tells the protocol */
	_Atomic bool stopping;             /* main sets it */
	_Atomic int64_t stop_by_us;        /* main sets it before stopping */
	_Atomic bool missing;              /* a reader found no file of a segment; relaxed: looked at within a second */

	/* under lock: changed by the journal's thread, looked at by readers */
	pthread_mutex_t lock;
	struct segment *segments; /* owned; the oldest first; the last is the current one if `current` */
	size_t segment_count, segment_room;
	struct block **tail; /* owned; a ring of the newest blocks */
	size_t tail_first, tail_count, tail_room;
	uint64_t tail_bytes;
	/* spill: from this sequence on records are in the tail alone; UINT64_MAX: all are on disk */
	uint64_t in_memory_from;
	char trouble[768];

	/* the journal's thread only (main before and after) */
	uint32_t *spares; /* owned; numbers of files that can be used */
	size_t spare_count, spare_room;
	uint32_t next_number;
	uint64_t generation;      /* of the newest segment */
	uint64_t generation_step; /* to that of the next one */
	uint64_t next;            /* sequence of the next record */
	bool current;             /* the last segment is open for writing: */
	int fd;
	uint64_t offset;           /* where its next block goes */
	struct block *block;       /* being gathered or written; count 0: empty */
	struct state_store state;  /* as of the last settled record */
	bool stale_state;          /* it was not empty, and is not kept any more */
	bool has_state;            /* the block being gathered may have changes of it */
	uint64_t state_generation; /* of the segment from which it can be made again: that one and later ones stay.
	                              UINT64_MAX: there is none */
	uint64_t limit;            /* bytes that all segments may have: max_bytes and max_share */
	int64_t commit_started_us, trimmed_us;
	struct commit_delay delay;
	bool delayed; /* the next commit is, until: */
	int64_t delay_until_us;
	int64_t unawaited_since_us;    /* since when there is something that nobody waits for; 0: there is not */
	uint64_t published;            /* when the last commit began: sum of the lanes' heads */
	bool left;                     /* it could not take all that was published: the next one begins at once */
	bool was_awaited, was_delayed; /* the last commit: somebody waited for what it took; it was put off */
	uint64_t usual;                /* records per commit, a moving average, times 16 */
	uint64_t bytes_per_ms;         /* at which they come, a moving average */
	size_t turn;                   /* lane that is drained first */
	bool space_failed;             /* grow_err is the file system's, which was asked for its space */
	_Atomic int grow_err;   /* why no further segment could be made: a negative errno; 0: it could. Relaxed */
	int64_t retry_us;       /* after a failure: wait that long */
	int64_t asked_space_us; /* when the file system was asked last how much is free, */
	uint64_t disk_left;     /* and what it said, without keep_free */
	_Atomic bool no_disk;   /* the file system has no room for a segment that the limit would allow */
	int64_t drop_told_us;
	int64_t memory_told_us;
	uint64_t dropped;               /* records since that was told */
	int64_t spill_next_us;          /* spill: not tried again before that, after a failure */
	int64_t calm_us;                /* spill: since when the sinks have kept up; 0: they have not */
	uint64_t budget_bytes;          /* written when the day of the budget began ... */
	int64_t budget_us;              /* ... which was then */
	_Atomic int64_t spill_after_us; /* settings->spill_after; relaxed: tests change it while the thread runs */
	bool over_budget;
	struct directory_lock directory;
	uint8_t identity[IDENTITY_SIZE]; /* constant after journal_recover */
	bool identity_stored;
	int64_t guard_us; /* journal_guard_turn looks again then */
	bool guarded;     /* its verdict: nothing may be written */
	bool taken;       /* another process has the journal: for good */
	bool nameless;    /* the open segment was deleted */
	bool rescuing, rescue_again;
	uint64_t rescue_from;  /* records from here on have to be written again; UINT64_MAX: none */
	uint64_t rescue_begin; /* what that was at first */
	uint64_t rescued;      /* records that were written again since then */
	int remains_fd;        /* the open segment that was deleted, until that is done; -1: there is none */
	struct segment remains;
};

/* Whether there is a disk behind it, whatever of it is used. */
static inline bool journal_has_disk(const struct journal *j)
{
	return j->settings->type != JOURNAL_MEMORY;
}
/* Whether the next block stays in memory. The journal's thread. */
static inline bool journal_in_memory(const struct journal *j)
{
	return j->settings->type == JOURNAL_MEMORY || j->in_memory_from != UINT64_MAX;
}

/* journal_wait.c: the journal's thread */
/* journal_wait tells whether a commit is to begin now: there is something in the lanes. Else it slept, once, if there was
 * time and no order to stop. */
bool journal_wait(struct journal *j);
bool journal_lanes_have(struct journal *j);
/* journal_gatherable: bytes of entries, and of pads between them, that lie in the lanes. */
size_t journal_gatherable(const struct journal *j);
/* journal_note_wait, when a commit begins and nothing is gathered yet: what its delay gained. journal_note_rate, when it is
 * gathered: at what rate records come; before_us: when the commit before began. */
void journal_note_wait(struct journal *j, int64_t now_us);
void journal_note_rate(struct journal *j, int64_t before_us);

/* journal.c: the journal's thread */
/* journal_write makes j->block, its first record numbered `first`, safe on disk, however often that takes; everything
 * below first is safe. False: stopped before that. */
bool journal_write(struct journal *j, uint64_t first);
/* journal_wake_readers wakes the pumps that sleep until a record is there that is not above last. */
void journal_wake_readers(struct journal *j, uint64_t last);
/* journal_note_trouble shows that the disk fails with err, a negative errno, or (0) works again. */
void journal_note_trouble(struct journal *j, int err);
/* journal_note_cause shows that it fails for a reason that text tells. */
void journal_note_cause(struct journal *j, const char *text);
/* journal_note_memory tells that there is no memory for what has to be written: it waits, unacknowledged. */
void journal_note_memory(struct journal *j);
/* journal_room makes j->block an empty one with room for body bytes of entries; false: no memory. */
bool journal_room(struct journal *j, size_t body);

/* journal_settle.c: the journal's thread */
/* journal_settle_note: once sequence `last` is passed, everything of the lane that was gathered until now is. */
void journal_settle_note(struct journal *j, struct journal_lane *l, struct deliveries *d, uint64_t last);
/* journal_settle_pass takes out what ends at or below `passed`; the position reached, 0: none. */
uint64_t journal_settle_pass(struct deliveries *d, uint64_t passed);
/* journal_settle_delivered moves the delivered position of every lane that waits for sinks, and the durable one of what is held
 * in memory. True when one moved. */
bool journal_settle_delivered(struct journal *j);
/* journal_settle_in_memory: what of the lane is in memory alone and ends at or below `passed` is durable. True when it moved. */
bool journal_settle_in_memory(struct journal_lane *l, uint64_t passed);
/* journal_cursors_min is the sequence that every cursor has passed. */
uint64_t journal_cursors_min(const struct journal *j);

/* journal_spill.c: the journal's thread */
/* journal_spill_turn goes to disk when the sinks have fallen behind, and back to memory when they have caught up. False: stopped
 * before what it had to write was safe. */
bool journal_spill_turn(struct journal *j);
/* journal_spill_left: how many records are in memory alone that some sink lacks. Also when the thread has ended. */
uint64_t journal_spill_left(const struct journal *j);
/* journal_spill_wait_ms: how long the thread may sleep before journal_spill_turn has something to do. */
int journal_spill_wait_ms(const struct journal *j);
/* journal_spill_check_budget looks whether more was written in a day than allowed. */
void journal_spill_check_budget(struct journal *j);

/* journal_state.c: the journal's thread (main before the start) */
/* journal_state_apply applies the changes in the entries of a block to the table; a checkpoint begins it anew. */
void journal_state_apply(struct journal *j, const uint8_t *entries, uint32_t count, bool checkpoint);
/* journal_state_begin decides what is kept and how large a checkpoint may be, before the start. */
void journal_state_begin(struct journal *j);
/* journal_state_checkpoint writes the table at the head of the new current segment and syncs it. 0 or negative errno. */
int journal_state_checkpoint(struct journal *j, uint64_t first);

/* journal_state_discard makes state that is no longer kept be gone for good (spill). GW_OK | GW_IO, with why. */
enum gw_err journal_state_discard(struct journal *j, struct why *why);

/* journal_segments.c: the journal's thread (main before the start) */
void journal_segments_path(const struct journal *j, uint32_t number, char *out, size_t size);
/* journal_segments_open opens a segment's file, direct where that works; file descriptor or negative errno. Any thread. */
int journal_segments_open(const struct journal *j, uint32_t number, unsigned flags);
/* journal_segments_open_reader opens a segment for reading. GW_OK | GW_IO. */
enum gw_err journal_segments_open_reader(struct segment_reader *s, const struct journal *j, uint32_t number,
                                         uint64_t size, unsigned flags);
/* journal_segments_walk gives each block that counts in a segment behind which another begins at `end`, checkpoints too, until each
 * returns false. False: the disk failed; what was given until then is good. */
bool journal_segments_walk(struct journal *j, const struct segment *segment, uint64_t end,
                           bool (*each)(void *context, const uint8_t *bytes, const struct block_header *h),
                           void *context);
/* journal_segments_prepare limits the journal to the file system it is on; promised is known. GW_OK | GW_CONFIG (too small) |
 * GW_IO. */
enum gw_err journal_segments_prepare(struct journal *j, struct why *why);
/* journal_segments_recycle makes spares of the segments whose records are all at or below `least`; never of the last one,
 * which is being written. */
void journal_segments_recycle(struct journal *j, uint64_t least);
/* journal_segments_maintain gives back what the cursors have passed, keeps enough spares ready, and decides `full`. */
void journal_segments_maintain(struct journal *j);
/* journal_segments_roll makes a spare the current segment, for records from `first` on. 0 or negative errno (-ENOSPC: there is
 * none). */
int journal_segments_roll(struct journal *j, uint64_t first);
/* journal_segments_abandon closes the current segment after a failure; it is never written again. Of what it holds nothing is
 * acknowledged from sequence `failed` on. */
void journal_segments_abandon(struct journal *j, uint64_t failed);
void journal_segments_remove(struct journal *j, uint32_t number); /* removes a segment's file */
bool journal_segments_add(struct journal *j, const struct segment *s);
bool journal_segments_add_spare(struct journal *j, uint32_t number);
uint64_t journal_cursors_min_stored(const struct journal *j);

/* journal_guard.c: the journal's thread */
/* journal_guard_named: whether the open segment still has a name; asked after each sync, before anything is settled. 0 | -ENOENT,
 * then j->nameless and journal_guard_turn looks at once. */
int journal_guard_named(struct journal *j);
/* journal_guard_turn looks, once a second, whether directory, lock and files are still there and its own, and writes what was
 * deleted again. False: nothing may be written or acknowledged now; the log and journal_trouble say why. */
bool journal_guard_turn(struct journal *j);
/* journal_guard_now is journal_guard_turn without waiting for the second. */
bool journal_guard_now(struct journal *j);
/* journal_open.c */
/* journal_note_sinks writes the names of the sinks that have a cursor (cursor_names.h). Without the list nothing is lost but the
 * knowledge that a sink is not new. The main thread, then the journal's. */
void journal_note_sinks(const struct journal *j);

/* journal_open.c: makes and syncs its directories. GW_OK | GW_IO, with why. */
enum gw_err journal_open_dirs(struct journal *j, struct why *why);

/* journal_capacity.c: the journal's thread */
/* journal_capacity_decide tells those who wait or look whether it is full, and whether it is nearly so: room bytes are left of the
 * capacity that records may have. */
void journal_capacity_decide(struct journal *j, uint64_t room, uint64_t capacity, bool full);
/* journal_capacity_note_promise says what is known of one of j->segments. */
void journal_capacity_note_promise(struct journal *j, struct segment *s, enum segment_promise promised);
/* journal_capacity_drop_segment gives up the oldest segment, if nobody was promised anything in it. journal_capacity_drop_block: the same for
 * the oldest block in memory. False: it stays. */
bool journal_capacity_drop_segment(struct journal *j);
bool journal_capacity_drop_block(struct journal *j);

/* journal_recover.c: main, before the start */
enum gw_err journal_recover(struct journal *j, struct why *why);

/* journal_tail.c: the newest blocks, in memory; the journal's thread (journal_tail_find: any, under lock) */
/* journal_tail_room makes sure that journal_tail_add has a place; false: no memory. */
bool journal_tail_room(struct journal *j);
/* journal_tail_add hands a durable block to the readers; takes over the caller's reference. There is room. */
void journal_tail_add(struct journal *j, struct block *b);
/* journal_tail_drop frees blocks that are over tail_memory (disk) or that every cursor has passed (memory). */
void journal_tail_drop(struct journal *j);
/* journal_tail_oldest: the oldest block in memory, or NULL; lent to the journal's thread. journal_tail_give_up frees it. */
const struct block *journal_tail_oldest(const struct journal *j);
void journal_tail_give_up(struct journal *j);
/* journal_tail_find: the first block in memory that holds sequence or something above it; NULL when older ones are on disk alone. */
struct block *journal_tail_find(const struct journal *j, uint64_t sequence);

#endif
