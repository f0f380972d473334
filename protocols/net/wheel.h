/* Coarse timers for many connections: a wheel of one-second slots. Setting and replacing are O(1) and usually touch
 * nothing but the timer: a timer that moves to a later time stays in its slot and is put where it belongs when that
 * slot comes round. Fires up to a second late, never early. One thread; times are monotonic milliseconds, 0 means none.
 */
#ifndef SLUICE_PROTOCOLS_NET_WHEEL_H
#define SLUICE_PROTOCOLS_NET_WHEEL_H

#include <stddef.h>
#include <stdint.h>

#define WHEEL_SLOTS 128u /* later times wait in the last slot and go round again */

/* Part of what it times; zeroed is a timer that is not set. */
struct wheel_timer {
	int64_t at_ms; /* when it is due; 0: never */
	int64_t tick;  /* the second in whose slot it lies; only while linked */
	struct wheel_timer *next;
	struct wheel_timer **back; /* what points to it; NULL: in no slot */
};

struct wheel {
	int64_t tick;  /* every slot up to this second has been emptied */
	size_t linked; /* timers in slots */
	struct wheel_timer *slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now_ms);
/* wheel_set makes a timer due at a time; 0 turns it off. */
void wheel_set(struct wheel *w, struct wheel_timer *t, int64_t at_ms);
/* wheel_remove takes a timer out; it may be freed then. */
void wheel_remove(struct wheel *w, struct wheel_timer *t);
/* wheel_next returns a timer that is due, no longer set; NULL: none is. */
struct wheel_timer *wheel_next(struct wheel *w, int64_t now_ms);
/* wheel_wait returns the milliseconds until wheel_next should be asked again; -1: nothing is set. */
int wheel_wait(const struct wheel *w, int64_t now_ms);

#endif
