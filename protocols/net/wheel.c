/* See wheel.h. A timer due at t lies in the slot of the first whole second that is not before t. */
#include "protocols/net/wheel.h"

#include <string.h>

#define SECOND 1000

void wheel_init(struct wheel *w, int64_t now_ms)
{
	memset(w, 0, sizeof(*w));
	w->tick = now_ms / SECOND;
}

static int64_t tick_of(const struct wheel *w, int64_t at_ms)
{
	int64_t tick = (at_ms + SECOND - 1) / SECOND;
	if (tick <= w->tick)
		return w->tick + 1;
	if (tick >= w->tick + WHEEL_SLOTS)
		return w->tick + WHEEL_SLOTS - 1;
	return tick;
}

static void link_timer(struct wheel *w, struct wheel_timer *t, int64_t tick)
{
	struct wheel_timer **slot = &w->slots[(uint64_t)tick % WHEEL_SLOTS];
	t->tick = tick;
	t->next = *slot;
	t->back = slot;
	if (t->next)
		t->next->back = &t->next;
	*slot = t;
	w->linked++;
}

static void unlink_timer(struct wheel *w, struct wheel_timer *t)
{
	*t->back = t->next;
	if (t->next)
		t->next->back = t->back;
	t->back = NULL;
	w->linked--;
}

void wheel_set(struct wheel *w, struct wheel_timer *t, int64_t at_ms)
{
	t->at_ms = at_ms;
	if (at_ms == 0)
		return; /* dropped when its slot comes round */
	int64_t tick = tick_of(w, at_ms);
	if (t->back && t->tick <= tick)
		return; /* looked at in time: wheel_next puts it further on */
	if (t->back)
		unlink_timer(w, t);
	link_timer(w, t, tick);
}

void wheel_remove(struct wheel *w, struct wheel_timer *t)
{
	t->at_ms = 0;
	if (t->back)
		unlink_timer(w, t);
}

struct wheel_timer *wheel_next(struct wheel *w, int64_t now_ms)
{
	int64_t second = now_ms / SECOND;
	if (second - w->tick > WHEEL_SLOTS)
		w->tick = second - WHEEL_SLOTS; /* we slept for long: once round is enough */
	for (; w->tick < second; w->tick++) {
		/* What is set to a time to come while this slot is emptied goes to a later one. */
		struct wheel_timer **slot = &w->slots[(uint64_t)(w->tick + 1) % WHEEL_SLOTS];
		while (*slot) {
			struct wheel_timer *t = *slot;
			unlink_timer(w, t);
			if (t->at_ms == 0)
				continue;
			if (t->at_ms <= now_ms) {
				t->at_ms = 0;
				return t;
			}
			link_timer(w, t, tick_of(w, t->at_ms));
		}
	}
	return NULL;
}

int wheel_wait(const struct wheel *w, int64_t now_ms)
{
	if (w->linked == 0)
		return -1;
	int64_t wait = (w->tick + 1) * SECOND - now_ms;
	return wait < 0 ? 0 : (int)(wait > SECOND ? SECOND : wait);
}
