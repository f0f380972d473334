/* The ring buffer of one listener thread; what it is for and how it sleeps and wakes is told in lane.h. */
#include "gateway/journal/lane.h"

#include <assert.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/journal/record.h"

#define SMALLEST 4096u
#define CROWDED (96u << 10) /* bytes that are not to wait for more, and at most a quarter of the lane */

enum gw_err lane_init(struct lane *lane, size_t size)
{
	memset(lane, 0, sizeof(*lane));
	lane->wake_fd = -1;
	lane->size = SMALLEST;
	while (lane->size < size)
		lane->size *= 2;
	/* Anonymous pages cost nothing before they are touched: an idle listener's lane is address space only. */
	void *ring = mmap(NULL, lane->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ring == MAP_FAILED)
		return GW_NOMEM;
	lane->ring = ring;
	lane->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (lane->wake_fd < 0) {
		lane_fini(lane);
		return GW_IO;
	}
	return GW_OK;
}

void lane_fini(struct lane *lane)
{
	if (!lane->ring)
		return;
	munmap(lane->ring, lane->size);
	if (lane->wake_fd >= 0)
		close(lane->wake_fd);
	lane->ring = NULL;
	lane->wake_fd = -1;
}

static void write_pad(uint8_t *at, size_t size)
{
	memset(at, 0, 8);
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(size >> (8 * i));
	at[4] = RECORD_PAD;
}

static bool room(struct lane *lane, uint64_t end)
{
	if (end - lane->taken_seen <= lane->size)
		return true;
	lane->taken_seen = atomic_load_explicit(&lane->taken, memory_order_acquire);
	return end - lane->taken_seen <= lane->size;
}

uint8_t *lane_reserve(struct lane *lane, size_t size)
{
	assert(size % 8 == 0 && size <= lane->size / 2);
	size_t at = (size_t)lane->tail & (lane->size - 1);
	size_t rest = lane->size - at;
	if (rest >= size)
		return room(lane, lane->tail + size) ? lane->ring + at : NULL;
	if (!room(lane, lane->tail + rest + size))
		return NULL;
	write_pad(lane->ring + at, rest);
	lane->tail += rest;
	return lane->ring;
}

bool lane_has_room(struct lane *lane, size_t size)
{
	size_t rest = lane->size - ((size_t)lane->tail & (lane->size - 1));
	return room(lane, lane->tail + (rest < size ? rest : 0) + size);
}

void lane_awake(struct lane *lane)
{
	uint64_t n;
	atomic_store_explicit(&lane->waiting, false, memory_order_relaxed);
	if (atomic_load_explicit(&lane->wakes, memory_order_acquire) == lane->woken)
		return;
	/* Counted but not written yet: then it is read in a later turn. */
	if (read(lane->wake_fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
		lane->woken += n;
}

void lane_sleep(struct lane *lane, uint64_t position)
{
	atomic_store_explicit(&lane->waits_for, position, memory_order_relaxed);
	atomic_store_explicit(&lane->waiting, true, memory_order_seq_cst);
}

uint64_t lane_commit(struct lane *lane, size_t size)
{
	assert(size % 8 == 0);
	lane->tail += size;
	return lane->tail;
}

void lane_mark_state(struct lane *lane)
{
	atomic_store_explicit(&lane->state_end, lane->tail, memory_order_relaxed);
}

bool lane_state_since(const struct lane *lane, uint64_t position)
{
	return atomic_load_explicit((_Atomic uint64_t *)&lane->state_end, memory_order_relaxed) > position;
}

void lane_await(struct lane *lane, uint64_t position)
{
	if (position > lane->wanted)
		lane->wanted = position;
}

bool lane_publish_awaited(struct lane *lane, int64_t now_us)
{
	if (lane->wanted_shown == lane->wanted)
		return false;
	if (atomic_load_explicit(&lane->taken, memory_order_acquire) >= lane->wanted_shown)
		atomic_store_explicit(&lane->awaited_first_us, now_us, memory_order_relaxed);
	atomic_store_explicit(&lane->awaited_last_us, now_us, memory_order_relaxed);
	lane->wanted_shown = lane->wanted;
	/* seq_cst: as head, the producer's half of "publish, then check whether the journal sleeps" */
	atomic_store_explicit(&lane->awaited, lane->wanted, memory_order_seq_cst);
	return true;
}

static bool is_crowd(const struct lane *lane, uint64_t bytes)
{
	return bytes > lane->size / 4 || bytes >= CROWDED;
}

bool lane_was_crowded(struct lane *lane)
{
	lane->taken_seen = atomic_load_explicit(&lane->taken, memory_order_acquire);
	return is_crowd(lane, lane->published - lane->taken_seen);
}

void lane_lacks_room(struct lane *lane)
{
	atomic_store_explicit(&lane->cramped, true, memory_order_seq_cst);
}

bool lane_publish(struct lane *lane)
{
	if (lane->published == lane->tail)
		return false;
	lane->published = lane->tail;
	/* seq_cst: the producer's half of "publish, then check whether the journal sleeps" */
	atomic_store_explicit(&lane->head, lane->tail, memory_order_seq_cst);
	return true;
}

size_t lane_peek(struct lane *lane, const uint8_t **run)
{
	for (;;) {
		if (lane->next == lane->head_seen) {
			lane->head_seen = atomic_load_explicit(&lane->head, memory_order_acquire);
			if (lane->next == lane->head_seen)
				return 0;
		}
		size_t at = (size_t)lane->next & (lane->size - 1);
		const uint8_t *entry = lane->ring + at;
		if (record_kind(entry) == RECORD_PAD) {
			lane->next += lane->size - at;
			continue;
		}
		uint64_t len = lane->head_seen - lane->next;
		*run = entry;
		return len < lane->size - at ? (size_t)len : lane->size - at;
	}
}

void lane_advance(struct lane *lane, size_t len)
{
	lane->next += len;
}

void lane_release(struct lane *lane)
{
	if (atomic_load_explicit(&lane->cramped, memory_order_relaxed))
		atomic_store_explicit(&lane->cramped, false, memory_order_relaxed);
	atomic_store_explicit(&lane->taken, lane->next, memory_order_release);
}

bool lane_has(struct lane *lane)
{
	return atomic_load_explicit(&lane->head, memory_order_seq_cst) != lane->next;
}

bool lane_is_awaited(struct lane *lane)
{
	return atomic_load_explicit(&lane->awaited, memory_order_seq_cst) > lane->next;
}

bool lane_is_crowded(struct lane *lane)
{
	return is_crowd(lane, atomic_load_explicit(&lane->head, memory_order_seq_cst) - lane->next) ||
	       atomic_load_explicit(&lane->cramped, memory_order_seq_cst);
}

bool lane_awaited_times(struct lane *lane, int64_t *first_us, int64_t *last_us)
{
	*first_us = atomic_load_explicit(&lane->awaited_first_us, memory_order_relaxed);
	*last_us = atomic_load_explicit(&lane->awaited_last_us, memory_order_relaxed);
	return lane_is_awaited(lane);
}

void lane_settle_durable(struct lane *lane, uint64_t position)
{
	atomic_store_explicit(&lane->durable, position, memory_order_seq_cst);
}

void lane_settle_delivered(struct lane *lane, uint64_t position)
{
	atomic_store_explicit(&lane->delivered, position, memory_order_seq_cst);
}

void lane_wake(struct lane *lane, uint64_t position)
{
	if (!atomic_load_explicit(&lane->waiting, memory_order_seq_cst) ||
	    atomic_load_explicit(&lane->waits_for, memory_order_relaxed) > position)
		return;
	lane_wake_always(lane);
}

void lane_wake_always(struct lane *lane)
{
	uint64_t one = 1;
	atomic_store_explicit(&lane->waiting, false, memory_order_relaxed);
	atomic_fetch_add_explicit(&lane->wakes, 1, memory_order_release);
	ssize_t n = write(lane->wake_fd, &one, sizeof(one)); /* fails only when the counter is full: awake anyway */
	(void)n;
}
