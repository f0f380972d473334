/* Timers in a binary heap; see timers.h. The children of place n are 2n and 2n + 1. */
#include "load/timers.h"

#include <stdlib.h>

static void place(struct timers *t, struct timer *timer, uint32_t at)
{
	t->heap[at - 1] = timer;
	timer->place = at;
}

static void move_up(struct timers *t, struct timer *timer, uint32_t at)
{
	for (; at > 1 && t->heap[at / 2 - 1]->at_us > timer->at_us; at /= 2)
		place(t, t->heap[at / 2 - 1], at);
	place(t, timer, at);
}

static void move_down(struct timers *t, struct timer *timer, uint32_t at)
{
	for (uint32_t child; (child = at * 2) <= t->count; at = child) {
		if (child < t->count && t->heap[child]->at_us < t->heap[child - 1]->at_us)
			child++;
		if (t->heap[child - 1]->at_us >= timer->at_us)
			break;
		place(t, t->heap[child - 1], at);
	}
	place(t, timer, at);
}

bool timers_open(struct timers *t, uint32_t room)
{
	*t = (struct timers){.heap = calloc(room, sizeof(*t->heap))};
	return t->heap;
}

void timers_close(struct timers *t)
{
	free(t->heap);
	*t = (struct timers){.heap = NULL};
}

void timers_set(struct timers *t, struct timer *timer, uint64_t at_us)
{
	bool later = at_us > timer->at_us;
	timer->at_us = at_us;
	if (!timer->place)
		move_up(t, timer, ++t->count);
	else if (later)
		move_down(t, timer, timer->place);
	else
		move_up(t, timer, timer->place);
}
