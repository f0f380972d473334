/* Which indices are in trouble, by what the server says of records for them. Pure: no network, no clock.
 *
 * The server refuses a record for what is wrong with the record, or for what is wrong with its index: an alias without a write
 * index, a pipeline that does not exist, a shard that is away. Often its words say which (bulk_judge). Where they do not, there is
 * evidence: an index that takes nothing at all, whatever device a record is from and whatever it looks like, is itself at fault. */
#ifndef SLUICE_SINKS_ELASTICSEARCH_TARGET_HEALTH_H
#define SLUICE_SINKS_ELASTICSEARCH_TARGET_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sinks/template.h"

#define TARGET_HEALTH_MAX 32u /* indices that are remembered */
#define TARGET_DEVICES 3u     /* different devices and ... */
#define TARGET_SHAPES 2u      /* ... different shapes of payload that an index must refuse before it is at fault */

enum target_trouble {
	TARGET_FINE,
	TARGET_AWAY,   /* it takes nothing: records are not even sent, except to try it */
	TARGET_REFUSES /* it refuses all: records are sent, and those it refuses wait */
};

struct target_health {
	char name[TEMPLATE_NAME_MAX + 1];
	enum target_trouble trouble;
	int64_t seen_ms;    /* when anything was said of it last */
	int64_t taken_ms;   /* when it took a record last, as far as was looked; 0: never */
	int64_t refused_ms; /* since when it refuses all */
	uint64_t hold_ms;   /* how long its records wait; grows ... */
	int64_t waits_ms;   /* ... when they have waited that long since this time */
	uint64_t devices[TARGET_DEVICES], shapes[TARGET_SHAPES];
	size_t device_count, shape_count;
	char reason[320]; /* of its trouble */
};

struct targets_health {
	struct target_health items[TARGET_HEALTH_MAX];
	size_t count;
	size_t troubled;  /* not fine */
	size_t suspected; /* refused something since they took something */
};

/* target_health_find gives what is known of an index; NULL: nothing. target_health_get begins to remember it; NULL: there are too
 * many in trouble. */
struct target_health *target_health_find(struct targets_health *t, const char *name, size_t len);
struct target_health *target_health_get(struct targets_health *t, const char *name, size_t len, int64_t now_ms);

/* target_health_fail: it is in trouble for that reason; true: that is news. Its records wait for hold_ms, which doubles from first_ms up to most_ms. */
bool target_health_fail(struct targets_health *t, struct target_health *h, enum target_trouble trouble,
                        const char *reason, int64_t now_ms);
void target_health_wait(struct target_health *h, uint64_t first_ms, uint64_t most_ms, int64_t now_ms);
/* target_health_take: it took a record; true: it was in trouble. */
bool target_health_take(struct targets_health *t, struct target_health *h, int64_t now_ms);
/* target_health_refuse adds evidence: it refused a record of that device and shape. True: enough to say that the index is at fault. */
bool target_health_refuse(struct targets_health *t, struct target_health *h, uint64_t device, uint64_t shape,
                          int64_t now_ms);
/* target_health_expire forgets trouble that nobody met since before_ms; true: some. */
bool target_health_expire(struct targets_health *t, int64_t before_ms);

/* What a record looks like, for evidence: a hash of its device.id, and one of the names and types in its payload, not of the
 * values.
 *   json  len bytes, a record's JSON (docs/record.md) */
uint64_t target_health_device(const char *json, size_t len);
uint64_t target_health_shape(const char *json, size_t len);

#endif
