/* A heartbeat shows that a thread lives: it beats once per turn of its loop, and /livez fails when one has stopped. A
 * thread that is inside a call to the disk or to a sink's library says so first: waiting for a slow disk is no reason
 * to be restarted. */
#ifndef SLUICE_GATEWAY_BASE_HEARTBEAT_H
#define SLUICE_GATEWAY_BASE_HEARTBEAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct heartbeat {
	char name[80];           /* constant: "listener mqtt/0", "journal", "sink kafka" */
	_Atomic int64_t beat_ms; /* monotonic; 0: not started or ended. Its thread writes, admin reads; relaxed */
	_Atomic bool outside;    /* in a call that may take long */
};

static inline void heartbeat_beat(struct heartbeat *p, int64_t now_ms)
{
	atomic_store_explicit(&p->beat_ms, now_ms, memory_order_relaxed);
}
static inline void heartbeat_outside(struct heartbeat *p, bool on)
{
	atomic_store_explicit(&p->outside, on, memory_order_relaxed);
}
/* heartbeat_outside_ms: how long it has been in such a call, about; 0: it is in none. Any thread. */
static inline int64_t heartbeat_outside_ms(const struct heartbeat *p, int64_t now_ms)
{
	int64_t beat = atomic_load_explicit((_Atomic int64_t *)&p->beat_ms, memory_order_relaxed);
	bool outside = atomic_load_explicit((_Atomic bool *)&p->outside, memory_order_relaxed);
	return outside && beat ? now_ms - beat : 0;
}
static inline void heartbeat_end(struct heartbeat *p)
{
	atomic_store_explicit(&p->beat_ms, 0, memory_order_relaxed);
}

#endif
