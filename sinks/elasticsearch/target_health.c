/* The health of indices: see target_health.h. */
#include "sinks/elasticsearch/target_health.h"

#include <stdio.h>
#include <string.h>

struct target_health *target_health_find(struct targets_health *t, const char *name, size_t len)
{
	for (size_t i = 0; i < t->count; i++)
		if (!strncmp(t->items[i].name, name, len) && t->items[i].name[len] == '\0')
			return &t->items[i];
	return NULL;
}

static bool is_suspected(const struct target_health *h)
{
	return h->device_count > 0;
}

/* Room for another: a new place, or that of the one which nobody heard of for longest and which is fine. */
static struct target_health *place_of(struct targets_health *t)
{
	struct target_health *oldest = NULL;
	if (t->count < TARGET_HEALTH_MAX)
		return &t->items[t->count++];
	for (size_t i = 0; i < t->count; i++)
		if (t->items[i].trouble == TARGET_FINE && (!oldest || t->items[i].seen_ms < oldest->seen_ms))
			oldest = &t->items[i];
	if (oldest && is_suspected(oldest))
		t->suspected--;
	return oldest;
}

struct target_health *target_health_get(struct targets_health *t, const char *name, size_t len, int64_t now_ms)
{
	struct target_health *h = target_health_find(t, name, len);
	if (!h) {
		h = place_of(t);
		if (!h)
			return NULL;
		*h = (struct target_health){.taken_ms = 0};
		snprintf(h->name, sizeof(h->name), "%.*s", (int)len, name);
	}
	h->seen_ms = now_ms;
	return h;
}

bool target_health_fail(struct targets_health *t, struct target_health *h, enum target_trouble trouble,
                        const char *reason, int64_t now_ms)
{
	bool news = h->trouble != trouble;
	if (h->trouble == TARGET_FINE) {
		t->troubled++;
		h->hold_ms = 0;
	}
	h->seen_ms = now_ms;
	h->trouble = trouble;
	snprintf(h->reason, sizeof(h->reason), "%s", reason);
	return news;
}

void target_health_wait(struct target_health *h, uint64_t first_ms, uint64_t most_ms, int64_t now_ms)
{
	if (h->hold_ms && now_ms - h->waits_ms < (int64_t)h->hold_ms)
		return;
	h->waits_ms = now_ms;
	h->hold_ms = h->hold_ms ? h->hold_ms * 2 : first_ms;
	if (h->hold_ms > most_ms)
		h->hold_ms = most_ms;
}

static void forgive(struct targets_health *t, struct target_health *h)
{
	if (h->trouble != TARGET_FINE)
		t->troubled--;
	if (is_suspected(h))
		t->suspected--;
	h->trouble = TARGET_FINE;
	h->device_count = h->shape_count = 0;
	h->hold_ms = 0;
}

bool target_health_take(struct targets_health *t, struct target_health *h, int64_t now_ms)
{
	bool was = h->trouble != TARGET_FINE;
	forgive(t, h);
	h->taken_ms = h->seen_ms = now_ms;
	return was;
}

static void add(uint64_t *seen, size_t *count, size_t most, uint64_t value)
{
	for (size_t i = 0; i < *count; i++)
		if (seen[i] == value)
			return;
	if (*count < most)
		seen[(*count)++] = value;
}

bool target_health_refuse(struct targets_health *t, struct target_health *h, uint64_t device, uint64_t shape,
                          int64_t now_ms)
{
	if (!is_suspected(h)) {
		t->suspected++;
		h->refused_ms = now_ms;
	}
	h->seen_ms = now_ms;
	add(h->devices, &h->device_count, TARGET_DEVICES, device);
	add(h->shapes, &h->shape_count, TARGET_SHAPES, shape);
	return h->device_count == TARGET_DEVICES && h->shape_count == TARGET_SHAPES;
}

bool target_health_expire(struct targets_health *t, int64_t before_ms)
{
	bool any = false;
	for (size_t i = 0; i < t->count; i++)
		if (t->items[i].trouble != TARGET_FINE && t->items[i].seen_ms < before_ms) {
			forgive(t, &t->items[i]);
			any = true;
		}
	return any;
}

/* -- what a record looks like: FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ -- */

#define FNV_START 0xcbf29ce484222325u
static uint64_t mix(uint64_t hash, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3u;
	return hash;
}

/* Where the string that begins at `at` ends, behind its quote. */
static const char *string_end(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\')
			at++;
	return at < end ? at + 1 : end;
}

uint64_t target_health_device(const char *json, size_t len)
{
	static const char key[] = "\"device\":{\"id\":";
	const char *at = memmem(json, len, key, sizeof(key) - 1);
	if (!at)
		return 0;
	at += sizeof(key) - 1;
	return mix(FNV_START, at, (size_t)(string_end(at, json + len) - at));
}

uint64_t target_health_shape(const char *json, size_t len)
{
	static const char key[] = "\"payload\":";
	const char *end = json + len, *at = memmem(json, len, key, sizeof(key) - 1);
	uint64_t hash = FNV_START;
	while (at && at < end) {
		const char *next = at + 1;
		if (*at == '"') { /* a name as it is, a text as `"` */
			next = string_end(at, end);
			hash = mix(hash, at, next < end && *next == ':' ? (size_t)(next - at) : 1);
		} else if (strchr("{}[]tfn", *at)) {
			hash = mix(hash, at, 1);
		} else if (*at == '-' || (*at >= '0' && *at <= '9')) { /* a number as `0` */
			while (next < end && strchr("+-.eE0123456789", *next))
				next++;
			hash = mix(hash, "0", 1);
		}
		at = next;
	}
	return hash;
}
