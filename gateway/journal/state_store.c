/* Changes of state as bytes, and the bounded table they are applied to; see state_store.h. */
#include "gateway/journal/state_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/bytes.h"
#include "gateway/journal/record.h"

size_t state_size(const struct state_change *c)
{
	return (STATE_HEADER + c->scope.len + c->group.len + c->member.len + c->value.len + 7) & ~(size_t)7;
}

static uint8_t *put_text(uint8_t *at, const struct state_text *t)
{
	if (t->len > 0)
		memcpy(at, t->bytes, t->len);
	return at + t->len;
}

void state_write(const struct state_change *c, uint8_t *out)
{
	size_t size = state_size(c);
	assert(c->scope.len <= UINT8_MAX && c->group.len <= UINT16_MAX && c->member.len <= UINT16_MAX &&
	       c->value.len <= STATE_VALUE_MAX);
	bytes_put(out, size, 4);
	out[4] = (uint8_t)c->op;
	out[5] = (uint8_t)c->scope.len;
	bytes_put(out + 6, c->group.len, 2);
	bytes_put(out + 8, c->member.len, 2);
	bytes_put(out + 10, c->value.len, 2);
	bytes_put(out + 12, 0, 4);
	bytes_put(out + 16, (uint64_t)c->expires_us, 8);
	uint8_t *at = put_text(out + STATE_HEADER, &c->scope);
	at = put_text(at, &c->group);
	at = put_text(at, &c->member);
	at = put_text(at, &c->value);
	memset(at, 0, (size_t)(out + size - at));
}

size_t state_read(struct state_change *c, const uint8_t *bytes, size_t len)
{
	if (len < STATE_HEADER)
		return 0;
	size_t size = (size_t)bytes_get(bytes, 4);
	c->op = (enum state_op)bytes[4];
	c->scope.len = bytes[5];
	c->group.len = (size_t)bytes_get(bytes + 6, 2);
	c->member.len = (size_t)bytes_get(bytes + 8, 2);
	c->value.len = (size_t)bytes_get(bytes + 10, 2);
	c->expires_us = (int64_t)bytes_get(bytes + 16, 8);
	c->scope.bytes = bytes + STATE_HEADER;
	c->group.bytes = bytes + STATE_HEADER + c->scope.len;
	c->member.bytes = (const uint8_t *)c->group.bytes + c->group.len;
	c->value.bytes = (const uint8_t *)c->member.bytes + c->member.len;
	return size == state_size(c) && size <= len ? size : 0;
}

bool state_check(const uint8_t *bytes, size_t len)
{
	struct state_change c;
	while (len > 0) {
		size_t size = state_read(&c, bytes, len);
		if (size == 0)
			return false;
		bytes += size;
		len -= size;
	}
	return true;
}

size_t state_of_entry(const uint8_t *entry, const uint8_t **changes)
{
	struct record r;
	record_read(&r, entry);
	if (r.kind == RECORD_STATE) {
		*changes = entry + RECORD_HEADER;
		return r.json_len & ~7u;
	}
	if ((r.flags & RECORD_HAS_STATE) == 0)
		return 0;
	size_t at = (RECORD_HEADER + (size_t)r.json_len + 7) & ~(size_t)7;
	*changes = entry + at;
	return r.size - at;
}

/* -- the table -- */

#define BUCKETS_MIN 64u

struct state_group {
	struct state_group *chain;
	struct state_items items; /* the oldest first: they usually go in that order */
	uint64_t hash;
	size_t scope_len, group_len;
	uint8_t bytes[]; /* scope, group */
};

struct state_item {
	TAILQ_ENTRY(state_item) by_age, in_group;
	struct state_group *group;
	int64_t expires_us;
	size_t member_len, value_len;
	uint8_t bytes[]; /* member, value */
};

void state_table_init(struct state_table *t, size_t max)
{
	*t = (struct state_table){.max = max};
	TAILQ_INIT(&t->items);
	siphash_key_random(&t->key);
}

static struct state_change change_of(const struct state_item *i)
{
	const struct state_group *g = i->group;
	return (struct state_change){.op = STATE_SET,
	                             .scope = {g->bytes, g->scope_len},
	                             .group = {g->bytes + g->scope_len, g->group_len},
	                             .member = {i->bytes, i->member_len},
	                             .value = {i->bytes + i->member_len, i->value_len},
	                             .expires_us = i->expires_us};
}

static uint64_t hash_of(const struct state_table *t, const struct state_change *c)
{
	return siphash(&t->key, c->group.bytes, c->group.len) ^ siphash(&t->key, c->scope.bytes, c->scope.len) << 1;
}

/* Empty texts may be NULL. */
static bool same(const struct state_text *t, const uint8_t *bytes, size_t len)
{
	return t->len == len && (len == 0 || memcmp(t->bytes, bytes, len) == 0);
}

static struct state_group **group_find(const struct state_table *t, const struct state_change *c, uint64_t hash)
{
	struct state_group **at = &t->buckets[hash & (t->bucket_count - 1)];
	for (; *at; at = &(*at)->chain) {
		const struct state_group *g = *at;
		if (g->hash == hash && same(&c->scope, g->bytes, g->scope_len) &&
		    same(&c->group, g->bytes + g->scope_len, g->group_len))
			break;
	}
	return at;
}

static void group_free_if_empty(struct state_table *t, struct state_group *g)
{
	if (!TAILQ_EMPTY(&g->items))
		return;
	struct state_group **at = &t->buckets[g->hash & (t->bucket_count - 1)];
	while (*at != g)
		at = &(*at)->chain;
	*at = g->chain;
	t->group_count--;
	free(g);
}

static void item_drop(struct state_table *t, struct state_item *i)
{
	struct state_change c = change_of(i);
	struct state_group *g = i->group;
	t->bytes -= state_size(&c);
	t->count--;
	TAILQ_REMOVE(&t->items, i, by_age);
	TAILQ_REMOVE(&g->items, i, in_group);
	free(i);
	group_free_if_empty(t, g);
}

void state_table_clear(struct state_table *t)
{
	while (t->count > 0)
		item_drop(t, TAILQ_FIRST(&t->items));
}

void state_table_fini(struct state_table *t)
{
	state_table_clear(t);
	free(t->buckets);
	*t = (struct state_table){0};
}

static bool widen(struct state_table *t)
{
	if (t->group_count < t->bucket_count)
		return true;
	size_t count = t->bucket_count ? t->bucket_count * 2 : BUCKETS_MIN;
	struct state_group **buckets = calloc(count, sizeof(*buckets));
	if (!buckets)
		return t->bucket_count > 0;
	for (size_t b = 0; b < t->bucket_count; b++)
		for (struct state_group *g = t->buckets[b], *chain; g; g = chain) {
			chain = g->chain;
			g->chain = buckets[g->hash & (count - 1)];
			buckets[g->hash & (count - 1)] = g;
		}
	free(t->buckets);
	t->buckets = buckets;
	t->bucket_count = count;
	return true;
}

static struct state_group *group_make(struct state_table *t, const struct state_change *c, uint64_t hash)
{
	struct state_group *g = malloc(sizeof(*g) + c->scope.len + c->group.len);
	if (!g)
		return NULL;
	*g = (struct state_group){.hash = hash, .scope_len = c->scope.len, .group_len = c->group.len};
	TAILQ_INIT(&g->items);
	put_text(put_text(g->bytes, &c->scope), &c->group);
	struct state_group **at = &t->buckets[hash & (t->bucket_count - 1)];
	g->chain = *at;
	*at = g;
	t->group_count++;
	return g;
}

static struct state_item *item_find(const struct state_group *g, const struct state_change *c)
{
	struct state_item *i;
	TAILQ_FOREACH(i, &g->items, in_group)
	if (same(&c->member, i->bytes, i->member_len))
		return i;
	return NULL;
}

static bool item_make(struct state_table *t, struct state_group *g, const struct state_change *c)
{
	struct state_item *i = malloc(sizeof(*i) + c->member.len + c->value.len);
	if (!i) {
		group_free_if_empty(t, g);
		return false;
	}
	i->group = g;
	i->expires_us = c->expires_us;
	i->member_len = c->member.len;
	i->value_len = c->value.len;
	put_text(put_text(i->bytes, &c->member), &c->value);
	TAILQ_INSERT_TAIL(&t->items, i, by_age);
	TAILQ_INSERT_TAIL(&g->items, i, in_group);
	t->count++;
	t->bytes += state_size(c);
	return true;
}

static size_t make_room(struct state_table *t)
{
	size_t dropped = 0;
	while (t->bytes > t->max) {
		item_drop(t, TAILQ_FIRST(&t->items));
		dropped++;
	}
	return dropped;
}

size_t state_table_apply(struct state_table *t, const struct state_change *c)
{
	if (t->count == 0 && c->op != STATE_SET)
		return 0;
	if (!widen(t))
		return 1;
	uint64_t hash = hash_of(t, c);
	struct state_group *g = *group_find(t, c, hash);
	if (c->op == STATE_DELETE_GROUP) {
		while (g) {
			bool last = !TAILQ_NEXT(TAILQ_FIRST(&g->items), in_group);
			item_drop(t, TAILQ_FIRST(&g->items));
			g = last ? NULL : g;
		}
		return 0;
	}
	struct state_item *i = g ? item_find(g, c) : NULL;
	if (i) {
		item_drop(t, i);
		g = *group_find(t, c, hash);
	}
	if (c->op != STATE_SET) /* kinds of change that a later version may know are passed over */
		return 0;
	if ((!g && !(g = group_make(t, c, hash))) || !item_make(t, g, c))
		return 1;
	return make_room(t);
}

size_t state_table_take(struct state_table *t, const uint8_t *entries, uint32_t count, bool checkpoint)
{
	size_t forgotten = 0;
	if (checkpoint)
		state_table_clear(t);
	for (; count > 0; count--, entries += record_size(entries)) {
		const uint8_t *changes;
		struct state_change c;
		size_t len = state_of_entry(entries, &changes), size;
		for (; len > 0 && (size = state_read(&c, changes, len)) > 0; changes += size, len -= size)
			forgotten += state_table_apply(t, &c);
	}
	return forgotten;
}

size_t state_table_limit(struct state_table *t, size_t max)
{
	t->max = max;
	return make_room(t);
}

void state_table_expire(struct state_table *t, int64_t now_us)
{
	for (struct state_item *i = TAILQ_FIRST(&t->items), *next; i; i = next) {
		next = TAILQ_NEXT(i, by_age);
		if (i->expires_us != 0 && i->expires_us <= now_us)
			item_drop(t, i);
	}
}

size_t state_table_keep(struct state_table *t, bool (*keep)(void *context, struct state_text scope), void *context)
{
	size_t dropped = 0;
	for (struct state_item *i = TAILQ_FIRST(&t->items), *next; i; i = next) {
		next = TAILQ_NEXT(i, by_age);
		if (keep(context, change_of(i).scope))
			continue;
		item_drop(t, i);
		dropped++;
	}
	return dropped;
}

bool state_table_next(struct state_table *t, struct state_change *c)
{
	if (!t->next)
		return false;
	*c = change_of(t->next);
	t->next = TAILQ_NEXT(t->next, by_age);
	return true;
}

bool state_table_first(struct state_table *t, struct state_change *c)
{
	t->next = t->count > 0 ? TAILQ_FIRST(&t->items) : NULL;
	return state_table_next(t, c);
}
