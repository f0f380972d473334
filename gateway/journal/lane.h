/* A lane is the lock-free ring buffer between one listener thread (the producer) and the journal thread (the consumer).
 *
 * It carries entries (record.h) of any size. The producer reserves room for the largest entry that may come of a
 * message, writes it where it will lie, commits its real size, and publishes once per loop turn; the consumer takes runs
 * of whole entries and gives their room back. Both sides are wait-free: no lock, no retry, no allocation. An entry never
 * wraps: where the rest of the ring is too short for a reservation, a RECORD_PAD entry fills it.
 *
 * Positions count bytes since the lane was made, in 64 bits, so they never wrap either. A lane has four:
 *
 *	head       what the producer has published
 *	taken      copied into a block: the room is free again
 *	durable    synced to disk
 *	delivered  in every sink that the listener's `delivered_to` names
 * and delivered <= durable <= taken <= head.
 *
 * Sleeping and waking (Dekker's pattern: publish then check, announce the sleep then check; all accesses seq_cst,
 * since with release and acquire alone both sides may read the old value, and the last message sleeps until the next
 * one comes):
 *	producer: publish head;     then read journal.sleeping -> wake the journal
 *	journal:  set sleeping;     then read every head       -> do not sleep
 *	producer: publish awaited;  then read journal.sleeping -> wake the journal, if it sleeps until there is one
 *	journal:  set sleeping;     then read every awaited    -> do not sleep
 *	journal:  advance durable;  then read lane.waiting     -> wake the producer
 *	producer: set waiting;      then read durable          -> do not sleep */
#ifndef SLUICE_GATEWAY_JOURNAL_LANE_H
#define SLUICE_GATEWAY_JOURNAL_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

#define LANE_NOTHING UINT64_MAX /* a position that is never settled */

struct lane {
	/* constant after lane_init */
	uint8_t *ring; /* owned; size bytes, aligned to a page */
	size_t size;   /* a power of two */
	int wake_fd;   /* eventfd: the journal writes it to wake the producer */
	/* nobody was promised what it brings: a full journal may give it up. false; set before the start */
	bool may_drop;

	/* producer only */
	_Alignas(64) uint64_t tail; /* end of what was committed, published or not */
	uint64_t taken_seen;        /* the newest value of taken that the producer has read */
	uint64_t published;         /* the value of head, without reading it back */
	uint64_t woken;             /* what was read from wake_fd so far */
	uint64_t wanted;            /* end of the newest entry that somebody waits for, shown or not */
	uint64_t wanted_shown;      /* the value of awaited, without reading it back */

	_Alignas(64) _Atomic uint64_t
	    head; /* producer writes (release), consumer reads (acquire): the entries are visible before it */
	_Alignas(64) _Atomic uint64_t
	    taken;                /* consumer writes (release), producer reads (acquire): the room is free before it */
	_Atomic uint64_t durable; /* consumer writes (seq_cst), producer reads: see above */
	_Atomic uint64_t delivered; /* consumer writes (seq_cst), producer reads */
	/* end of the newest entry with state; producer writes (relaxed: published with head), consumer reads */
	_Atomic uint64_t state_end;
	/* behind the newest entry that somebody waits for; producer writes (seq_cst: the journal may sleep until there is
	 * one), consumer reads */
	_Atomic uint64_t awaited;
	/* when the first and the last such entries came that were not taken yet; producer writes, consumer reads (relaxed:
	 * hints) */
	_Atomic int64_t awaited_first_us, awaited_last_us;
	_Atomic bool cramped; /* the producer lacks room; producer sets (seq_cst, as awaited), consumer clears */
	/* producer sets (seq_cst), consumer clears: wake me when everything before waits_for is settled */
	_Alignas(64) _Atomic bool waiting;
	_Atomic uint64_t waits_for; /* producer sets (relaxed: before waiting); 0: whatever advances; LANE_NOTHING */
	_Atomic uint64_t wakes;     /* what was written to wake_fd so far; counted before it is written */

	/* consumer only */
	_Alignas(64) uint64_t next; /* what the consumer has read */
	uint64_t head_seen;
};

/* lane_init makes an empty lane of at least size bytes (rounded up to a power of two, at least 4 KiB). The pages are
 * not touched until they are used. GW_OK | GW_NOMEM | GW_IO (no eventfd). lane_fini gives it back; safe on a zeroed
 * struct. */
enum gw_err lane_init(struct lane *lane, size_t size);
void lane_fini(struct lane *lane);

/* -- producer -- */
/* lane_reserve finds room for size bytes (a multiple of 8, at most half the lane) and returns where the entry may be
 * written; NULL: full. */
uint8_t *lane_reserve(struct lane *lane, size_t size);
/* lane_commit takes size bytes (a multiple of 8, at most what was reserved) into the lane and returns the position
 * behind them. */
uint64_t lane_commit(struct lane *lane, size_t size);
/* lane_mark_state tells the consumer that what was committed last has changes of state, so that it need not look at every
 * entry. */
void lane_mark_state(struct lane *lane);
/* lane_has_room tells whether lane_reserve would succeed now. */
bool lane_has_room(struct lane *lane, size_t size);
/* lane_awake takes back the announcement of a sleep and empties wake_fd, with no system call unless it was written. */
void lane_awake(struct lane *lane);
/* lane_await: somebody waits until everything before position, at most what was committed, is settled. */
void lane_await(struct lane *lane, uint64_t position);
/* lane_publish_awaited shows the consumer up to where somebody waits; true when that is further than before. Call it before
 * lane_publish. now_us: monotonic. */
bool lane_publish_awaited(struct lane *lane, int64_t now_us);
/* lane_sleep announces that the producer is about to sleep until everything before position is settled; 0: until anything
 * advances. It must look at what it waits for after that. */
void lane_sleep(struct lane *lane, uint64_t position);
/* lane_publish shows everything committed to the consumer; true when there was something new. */
bool lane_publish(struct lane *lane);
/* lane_was_crowded: so much is published and not taken that it is not to wait for more. lane_lacks_room: it is not,
 * however little it is. */
bool lane_was_crowded(struct lane *lane);
void lane_lacks_room(struct lane *lane);

/* -- consumer -- */
/* lane_peek shows the next run of whole entries that lie one behind the other (pads skipped): *run and its length; 0:
 * nothing there. */
size_t lane_peek(struct lane *lane, const uint8_t **run);
/* lane_advance moves past len bytes of the run; lane_release then frees the room of all that was passed. */
void lane_advance(struct lane *lane, size_t len);
void lane_release(struct lane *lane);
/* lane_state_since: among the entries behind position that were peeked there may be changes of state. */
bool lane_state_since(const struct lane *lane, uint64_t position);
/* lane_has tells whether something is published and not passed. seq_cst: for the check before sleeping. */
bool lane_has(struct lane *lane);
/* lane_is_awaited: somebody waits for what is not passed. seq_cst, as lane_has. lane_is_crowded is lane_was_crowded for the
 * consumer. */
bool lane_is_awaited(struct lane *lane);
bool lane_is_crowded(struct lane *lane);
/* lane_awaited_times tells when the first and the last of the entries came that somebody waits for and that are not passed;
 * false: there are none. */
bool lane_awaited_times(struct lane *lane, int64_t *first_us, int64_t *last_us);
/* lane_settle_durable / _delivered: everything before position is durable / delivered. */
void lane_settle_durable(struct lane *lane, uint64_t position);
void lane_settle_delivered(struct lane *lane, uint64_t position);
/* lane_wake wakes the producer if it waits for position or one before it; lane_wake_always even if it does not wait. */
void lane_wake(struct lane *lane, uint64_t position);
void lane_wake_always(struct lane *lane);

#endif
