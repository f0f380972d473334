/* The names a sink writes to (topics, indices) where they come from a template: a bounded set, so that devices that
 * have a say in the name cannot make a broker or a search cluster carry any number of them. A sorted array: look-ups
 * cost the same whatever names peers choose, and names are added rarely. One thread. */
#ifndef SLUICE_SINKS_TARGETS_H
#define SLUICE_SINKS_TARGETS_H

#include <stddef.h>
#include <stdint.h>

struct target {
	size_t len;
	int64_t used_ms; /* when it was taken last */
	void *own;       /* the sink's; NULL at first */
	char name[];     /* terminated */
};

struct targets {
	struct target **items; /* owned, sorted by name */
	size_t count, max;
	int64_t oldest_ms;                                /* when full: no target was used last before this */
	void (*release)(void *context, struct target *t); /* called before a target goes; NULL: nothing to do */
	void *context;
};

/* A target that nobody used for this long makes room for a new one: a template with a date meets new names for ever. */
#define TARGET_IDLE_MS (24 * 3600 * 1000LL)

/* targets_take finds a name or adds it.
 *   now_ms     monotonic
 *   before_ms  when the set is full, the target that was used longest ago makes room if that was before this time
 * NULL: the set is full, or memory is out. */
struct target *targets_take(struct targets *t, const char *name, size_t len, int64_t now_ms, int64_t before_ms);
void targets_fini(struct targets *t);

#endif
