/* The journal keeps every accepted record until every sink has it.
 *
 * One thread drains all lanes fairly into one block, writes it, syncs it, moves every lane's durable position and wakes
 * the listeners that wait. While it syncs, the next block gathers in the lanes: group commit. On an idle gateway it
 * commits at once; while more comes, and its senders do not all wait for their answers, a commit is put off a little so
 * that it takes more (`commit_delay`; commit_delay.h); what nobody waits for, longer (`commit_idle`). The last blocks stay in memory for
 * the pumps (`tail_memory`); the journal never waits for a pump.
 *
 * On disk (segment.h, docs/journal-format.md) a block goes to the current segment; a segment whose records all cursors
 * have passed becomes a spare and is used again. Space is promised before a message is taken: when the free
 * preallocated space no longer covers all lanes, two blocks and a checkpoint, the journal is `full` and intake_put
 * takes nothing, unless there are records at its front that may be dropped (journal_capacity.c). A block that cannot be written or synced is never acknowledged and goes to a fresh segment, again and
 * again with a back-off, until the disk works again; meanwhile the journal is `faulty`.
 *
 * With `type: memory` blocks are never written: a record is gone with the process unless the sinks have it. With `type:
 * spill` (journal_spill.c) they are written only while the sinks do not keep up, and a record is `durable` when every
 * sink has it or it is on disk, whichever is first.
 *
 * Sequences count records: 1, 2, 3 ... across restarts (spill: those that were never on disk may be given out again
 * after a crash). */
#ifndef SLUICE_GATEWAY_JOURNAL_JOURNAL_H
#define SLUICE_GATEWAY_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/disk.h"
#include "gateway/base/error.h"
#include "gateway/base/heartbeat.h"
#include "gateway/base/settings.h"
#include "gateway/base/stats.h"
#include "gateway/journal/block.h"
#include "gateway/journal/cursor.h"
#include "gateway/journal/lane.h"
#include "gateway/journal/state_store.h"

enum journal_type { JOURNAL_DISK, JOURNAL_MEMORY, JOURNAL_SPILL };

struct journal_settings {
	int type;              /* enum journal_type */
	uint64_t max_bytes;    /* of all segments, or of all blocks in memory */
	double max_share;      /* percent of the file system */
	double keep_free;      /* percent of the file system that is left free */
	uint64_t segment;      /* bytes of a segment */
	int64_t preallocate;   /* segments kept ready beyond what is promised */
	uint64_t block;        /* most bytes of one block */
	uint64_t gather;       /* us */
	uint64_t commit_delay; /* us */
	uint64_t commit_idle;  /* us */
	uint64_t tail_memory;  /* bytes of blocks kept in memory for pumps; spill: held before they go to disk */
	uint64_t spill_after;  /* us: spill: a record that no sink took for so long goes to disk */
	double high_water;     /* percent of what records may have: nearly full; and until low_water */
	double low_water;
	uint64_t max_state;    /* bytes of a checkpoint */
	uint64_t write_budget; /* bytes a day that may be written before it is warned of; 0: no budget */
};
extern const struct setting journal_settings[];

struct journal;

/* -- before the threads start; main thread -- */

/* journal_open opens or makes the journal in dir (with its own cursors/), recovers what is there, and never fails
 * because of what it finds there: torn tails are cut, damage is quarantined, counted and logged. Only what the disk
 * refuses to read ends it: that may be whole, and its numbers must not be given out again.
 *   disk   kept; disk_real but in tests
 * GW_OK | GW_CONFIG (limits that cannot work; a newer format) | GW_IO (directory cannot be used, a segment cannot be
 * read, another process has it) | GW_NOMEM, with why. */
enum gw_err journal_open(struct journal **out, const struct journal_settings *settings, const struct disk *disk,
                         const char *dir, struct journal_stats *stats, struct why *why);
/* journal_add_cursor makes or finds the cursor of a sink; from_now: a new one starts behind everything that is there.
 */
enum gw_err journal_add_cursor(struct journal *j, const char *name, bool from_now, struct cursor **out,
                               struct why *why);
/* journal_has_cursor: a sink of this name has a cursor on disk. Main thread, before the start. */
bool journal_has_cursor(const struct journal *j, const char *name);
/* journal_check_cursors looks for cursors of sinks that are no longer there: with records undelivered GW_CONFIG and
 * why, else they are removed. Only a cursor that was read as good is judged; call it after the last journal_add_cursor.
 */
enum gw_err journal_check_cursors(struct journal *j, struct why *why);
/* journal_add_lane: the lane's records are drained from now on; delivered_to: bit i is the i-th cursor added; 0:
 * delivered positions are not kept. */
enum gw_err journal_add_lane(struct journal *j, struct lane *lane, uint64_t delivered_to);
/* journal_add_reader registers the eventfd of a pump. It is written when a record numbered *wake_at or higher is there, and
 * when the journal becomes full; *wake_at is then set to JOURNAL_WAKE_NEVER. The pump sets it before it sleeps, looks at
 * journal_last after that, and sets it to JOURNAL_WAKE_NEVER when it is awake; all seq_cst, lane.h tells why. */
#define JOURNAL_WAKE_NEVER UINT64_MAX
enum gw_err journal_add_reader(struct journal *j, int wake_fd, _Atomic uint64_t *wake_at);

/* journal_keeps_state: changes of state (state_store.h) in entries survive the process. False with `type` memory and spill. */
bool journal_keeps_state(const struct journal *j);
/* journal_recall gives the state of a scope, the oldest first, and keeps it from now on; other scopes are dropped at
 * journal_start. scope is borrowed as long as the journal. */
void journal_recall(struct journal *j, const char *scope,
                    void (*each)(void *context, const struct state_change *change), void *context);

enum gw_err journal_start(struct journal *j,
                          struct why *why); /* GW_OK | GW_CONFIG (too small for its lanes) | GW_FATAL */
/* journal_stop drains the lanes a last time, ends the thread (at most until deadline_us, monotonic) and returns GW_OK,
 * or GW_IO, and tells it in the log, when something that was taken could not be made durable: nobody was told that it is. */
enum gw_err journal_stop(struct journal *j, int64_t deadline_us);
void journal_close(struct journal *j); /* after all pumps have ended; j may be NULL */

/* -- any thread -- */
/* journal_wake wakes the journal's thread if it sleeps: by pumps after moving a cursor that somebody waits for, by
 * producers that need room. journal_wake_published wakes it if what was just published there ends its sleep; awaited:
 * lane_publish_awaited said so. The lane's producer. */
void journal_wake(struct journal *j);
void journal_wake_published(struct journal *j, struct lane *lane, bool awaited);
/* journal_full and journal_nearly_full are hints: the space is promised with slack. A journal that is full is nearly full:
 * who reads that it is not nearly full reads after that that it is not full. Any thread; acquire, see journal_capacity.c. */
bool journal_full(const struct journal *j);
bool journal_nearly_full(const struct journal *j);
/* journal_lacks_disk: its limits allow another segment, and the file system, less keep_free, has no room for it. Relaxed. */
bool journal_lacks_disk(const struct journal *j);
/* journal_first: records below that sequence were given up because the journal was full (struct lane, may_drop) or, at
 * the start, were gone; a reader that is still below it meets the next one. */
uint64_t journal_first(const struct journal *j);
/* journal_is_pinned_by: the journal is nearly full, and no other cursor is further behind. */
bool journal_is_pinned_by(const struct journal *j, const struct cursor *c);
bool journal_faulty(const struct journal *j);
/* journal_trouble copies why nothing can be written, or "". */
void journal_trouble(struct journal *j, char *out, size_t size);
/* journal_growth_trouble writes why no further segment can be made, or "", into out, which is returned. */
const char *journal_growth_trouble(const struct journal *j, char *out, size_t size);
uint64_t journal_last(const struct journal *j); /* sequence of the last durable record */
struct heartbeat *journal_heartbeat(struct journal *j);
bool journal_wants_delivered(const struct journal *j,
                             const struct cursor *c); /* a listener acknowledges only when this cursor has passed */
/* journal_is_quiescent is true while nothing is on disk that a sink does not have (spill mode): then no cursor need be stored,
 * and nothing is to be written. relaxed: the journal stores the cursors itself before it writes again. */
bool journal_is_quiescent(const struct journal *j);

/* -- reading; one reader per pump, its thread -- */
struct journal_reader;
enum gw_err journal_reader_open(struct journal *j, struct journal_reader **out);
/* journal_read returns the block that holds sequence, or the next one where a damaged range was passed over; the caller
 * releases it. What a reader reads is protected from being freed by its cursor: sequence must be above it. GW_OK |
 * GW_AGAIN (nothing there yet) | GW_IO (the disk failed; try later). */
enum gw_err journal_read(struct journal_reader *r, uint64_t sequence, struct block **out);
void journal_reader_close(struct journal_reader *r);

#endif
