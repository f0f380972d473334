/* Timers in a binary heap, the earliest first. A timer lies inside what it wakes, so setting one allocates nothing.
 * One thread. */
#ifndef SLUICE_LOAD_TIMERS_H
#define SLUICE_LOAD_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
	uint64_t at_us;
	uint32_t place; /* in the heap, from 1; 0: never set */
};

struct timers {
	struct timer **heap; /* owned; the timers are borrowed */
	uint32_t count;
};

/* timers_open makes room for so many; false: out of memory. timers_close frees it, also when there is none. */
bool timers_open(struct timers *t, uint32_t room);
void timers_close(struct timers *t);
/* timers_set sets one, or moves one that is set. No more may be set than there is room for. */
void timers_set(struct timers *t, struct timer *timer, uint64_t at_us);
/* timers_first is the earliest; NULL: none is set. */
static inline struct timer *timers_first(const struct timers *t)
{
	return t->count > 0 ? t->heap[0] : NULL;
}

#endif
