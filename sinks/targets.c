/* A bounded set of names: see targets.h. */
#include "sinks/targets.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int name_compare(const struct target *t, const char *name, size_t len)
{
	int order = memcmp(t->name, name, t->len < len ? t->len : len);
	return order ? order : (t->len > len) - (t->len < len);
}

/* Where the name is, or where it would be. */
static size_t position(const struct targets *t, const char *name, size_t len, bool *found)
{
	size_t low = 0, high = t->count;
	*found = false;
	while (low < high && !*found) {
		size_t middle = low + (high - low) / 2;
		int order = name_compare(t->items[middle], name, len);
		if (order < 0) {
			low = middle + 1;
		} else {
			high = middle;
			*found = order == 0;
		}
	}
	return *found ? high : low;
}

static void target_remove(struct targets *t, size_t at)
{
	if (t->release)
		t->release(t->context, t->items[at]);
	free(t->items[at]);
	t->count--;
	memmove(&t->items[at], &t->items[at + 1], (t->count - at) * sizeof(*t->items));
}

static bool make_room(struct targets *t, int64_t before_ms)
{
	if (t->count < t->max)
		return true;
	if (before_ms <= t->oldest_ms)
		return false; /* looked before: a flood of new names must not cost a walk each */
	size_t oldest = 0;
	for (size_t i = 1; i < t->count; i++)
		if (t->items[i]->used_ms < t->items[oldest]->used_ms)
			oldest = i;
	if (t->count == 0)
		return false;
	t->oldest_ms = t->items[oldest]->used_ms;
	if (t->oldest_ms >= before_ms)
		return false;
	target_remove(t, oldest);
	return true;
}

struct target *targets_take(struct targets *t, const char *name, size_t len, int64_t now_ms, int64_t before_ms)
{
	bool found;
	size_t at = position(t, name, len, &found);
	if (found) {
		t->items[at]->used_ms = now_ms;
		return t->items[at];
	}
	if (!make_room(t, before_ms))
		return NULL;
	at = position(t, name, len, &found);
	struct target **items = realloc(t->items, (t->count + 1) * sizeof(struct target *));
	if (!items)
		return NULL;
	t->items = items;
	struct target *new = malloc(sizeof(*new) + len + 1);
	if (!new)
		return NULL;
	*new = (struct target){.len = len, .used_ms = now_ms};
	memcpy(new->name, name, len);
	new->name[len] = '\0';
	memmove(&items[at + 1], &items[at], (t->count - at) * sizeof(*items));
	items[at] = new;
	t->count++;
	return new;
}

void targets_fini(struct targets *t)
{
	while (t->count > 0)
		target_remove(t, t->count - 1);
	free(t->items);
	t->items = NULL;
}
