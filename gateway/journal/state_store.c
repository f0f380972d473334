/* The bounded table that changes of state are applied to; see state_store.h. */
#include "gateway/journal/state_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/journal/segment.h"

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

void state_store_init(struct state_store *t, size_t max)
{
	*t = (struct state_store){.max = max};
	TAILQ_INIT(&t->items);
	TAILQ_INIT(&t->bare);
	siphash_key_random(&t->key);
}

/* -- the lists by age: first what goes first -- */

static struct state_items *list_of(struct state_store *t, size_t member_len, size_t value_len)
{
	return member_len + value_len > 0 ? &t->items : &t->bare;
}

static struct state_item *item_first(struct state_store *t)
{
	return TAILQ_EMPTY(&t->bare) ? TAILQ_FIRST(&t->items) : TAILQ_FIRST(&t->bare);
}

static struct state_item *item_next(struct state_store *t, struct state_item *i)
{
	struct state_item *next = TAILQ_NEXT(i, by_age);
	return !next && i->member_len + i->value_len == 0 ? TAILQ_FIRST(&t->items) : next;
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

static uint64_t hash_of(const struct state_store *t, const struct state_change *c)
{
	return siphash(&t->key, c->group.bytes, c->group.len) ^ siphash(&t->key, c->scope.bytes, c->scope.len) << 1;
}

/* Empty texts may be NULL. */
static bool same(const struct state_text *t, const uint8_t *bytes, size_t len)
{
	return t->len == len && (len == 0 || memcmp(t->bytes, bytes, len) == 0);
}

static struct state_group **group_find(const struct state_store *t, const struct state_change *c, uint64_t hash)
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

static void group_free_if_empty(struct state_store *t, struct state_group *g)
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

static void item_drop(struct state_store *t, struct state_item *i)
{
	struct state_change c = change_of(i);
	struct state_group *g = i->group;
	t->bytes -= record_state_size(&c);
	t->count--;
	TAILQ_REMOVE(list_of(t, i->member_len, i->value_len), i, by_age);
	TAILQ_REMOVE(&g->items, i, in_group);
	free(i);
	group_free_if_empty(t, g);
}

void state_store_clear(struct state_store *t)
{
	while (t->count > 0)
		item_drop(t, item_first(t));
}

void state_store_fini(struct state_store *t)
{
	state_store_clear(t);
	free(t->buckets);
	*t = (struct state_store){0};
}

static bool widen(struct state_store *t)
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

static struct state_group *group_make(struct state_store *t, const struct state_change *c, uint64_t hash)
{
	struct state_group *g = malloc(sizeof(*g) + c->scope.len + c->group.len);
	if (!g)
		return NULL;
	*g = (struct state_group){.hash = hash, .scope_len = c->scope.len, .group_len = c->group.len};
	TAILQ_INIT(&g->items);
	record_state_put_text(record_state_put_text(g->bytes, &c->scope), &c->group);
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

static bool item_make(struct state_store *t, struct state_group *g, const struct state_change *c)
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
	record_state_put_text(record_state_put_text(i->bytes, &c->member), &c->value);
	TAILQ_INSERT_TAIL(list_of(t, i->member_len, i->value_len), i, by_age);
	TAILQ_INSERT_TAIL(&g->items, i, in_group);
	t->count++;
	t->bytes += record_state_size(c);
	return true;
}

static size_t make_room(struct state_store *t)
{
	size_t dropped = 0;
	while (t->bytes > t->max) {
		item_drop(t, item_first(t));
		dropped++;
	}
	return dropped;
}

size_t state_store_apply(struct state_store *t, const struct state_change *c)
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

size_t state_store_apply_entries(struct state_store *t, const uint8_t *entries, uint32_t count, bool checkpoint)
{
	size_t forgotten = 0;
	if (checkpoint)
		state_store_clear(t);
	for (; count > 0; count--, entries += record_size(entries)) {
		const uint8_t *changes;
		struct state_change c;
		size_t len = record_state_of(entries, &changes), size;
		for (; len > 0 && (size = record_state_read(&c, changes, len)) > 0; changes += size, len -= size)
			forgotten += state_store_apply(t, &c);
	}
	return forgotten;
}

size_t state_store_limit(struct state_store *t, size_t max)
{
	t->max = max;
	return make_room(t);
}

void state_store_expire(struct state_store *t, int64_t now_us)
{
	for (struct state_item *i = item_first(t), *next; i; i = next) {
		next = item_next(t, i);
		if (i->expires_us != 0 && i->expires_us <= now_us)
			item_drop(t, i);
	}
}

size_t state_store_keep(struct state_store *t, bool (*keep)(void *context, struct state_text scope), void *context)
{
	size_t dropped = 0;
	for (struct state_item *i = item_first(t), *next; i; i = next) {
		next = item_next(t, i);
		if (keep(context, change_of(i).scope))
			continue;
		item_drop(t, i);
		dropped++;
	}
	return dropped;
}

bool state_store_next(struct state_store *t, struct state_change *c)
{
	if (!t->next)
		return false;
	*c = change_of(t->next);
	t->next = item_next(t, t->next);
	return true;
}

bool state_store_first(struct state_store *t, struct state_change *c)
{
	t->next = t->count > 0 ? item_first(t) : NULL;
	return state_store_next(t, c);
}

/* There is always one entry, so that a segment with a checkpoint can be told from one that lost it. */
bool state_store_write_entries(struct state_store *t, struct block *b, size_t room)
{
	struct state_change c;
	bool more = state_store_first(t, &c);
	b->body = b->count = 0;
	do {
		uint8_t *entry = b->bytes + BLOCK_HEADER + b->body;
		struct record r = {.kind = RECORD_STATE};
		while (more && (r.json_len == 0 || r.json_len + record_state_size(&c) <= STATE_STORE_ENTRY)) {
			if (b->body + RECORD_HEADER + r.json_len + record_state_size(&c) > room)
				return false;
			record_state_write(&c, entry + RECORD_HEADER + r.json_len);
			r.json_len += (uint32_t)record_state_size(&c);
			more = state_store_next(t, &c);
		}
		record_write(&r, entry);
		b->body += r.size;
		b->count++;
	} while (more);
	return true;
}
