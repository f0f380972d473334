#include "protocols/coap/coap_exchange.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* -- lists -- */

static void list_add(struct coap_exchanges *t, struct exchange_list *l, struct coap_exchange *x)
{
	uint32_t n = coap_exchange_number(t, x);
	t->link[n].previous = l->last;
	t->link[n].next = 0;
	if (l->last)
		t->link[l->last].next = n;
	else
		l->first = n;
	l->last = n;
}

static void list_remove(struct coap_exchanges *t, struct exchange_list *l, struct coap_exchange *x)
{
	const struct exchange_link *link = &t->link[coap_exchange_number(t, x)];
	if (link->previous)
		t->link[link->previous].next = link->next;
	else
		l->first = link->next;
	if (link->next)
		t->link[link->next].previous = link->previous;
	else
		l->last = link->previous;
}

static struct exchange_list *slot_of(struct coap_exchanges *t, const struct coap_exchange *x)
{
	return &t->slot[(uint64_t)(x->at_ms / EXCHANGE_SLOT_MS) % EXCHANGE_SLOTS];
}

static void leave_state(struct coap_exchanges *t, struct coap_exchange *x)
{
	switch ((enum exchange_state)x->state) {
	case EXCHANGE_UNSETTLED: list_remove(t, &t->unsettled, x); break;
	case EXCHANGE_SEPARATE:
		list_remove(t, slot_of(t, x), x);
		t->separate--;
		break;
	case EXCHANGE_DONE: list_remove(t, &t->done, x); break;
	case EXCHANGE_ACKED: break;
	case EXCHANGE_FREE: assert(false);
	}
}

/* -- the table -- */

enum gw_err coap_exchanges_init(struct coap_exchanges *t, uint32_t capacity, int64_t lifetime_ms)
{
	memset(t, 0, sizeof(*t));
	size_t buckets = 16;
	while (buckets < capacity)
		buckets *= 2;
	t->entry = calloc((size_t)capacity + 1, sizeof(*t->entry));
	t->link = calloc((size_t)capacity + 1, sizeof(*t->link));
	t->bucket = calloc(buckets, sizeof(*t->bucket));
	t->capacity = capacity;
	t->mask = (uint32_t)(buckets - 1);
	t->lifetime_ms = lifetime_ms;
	siphash_key_random(&t->key);
	return t->entry && t->link && t->bucket ? GW_OK : GW_NOMEM;
}

void coap_exchanges_fini(struct coap_exchanges *t)
{
	free(t->entry);
	free(t->link);
	free(t->bucket);
	memset(t, 0, sizeof(*t));
}

uint32_t coap_exchange_number(const struct coap_exchanges *t, const struct coap_exchange *x)
{
	return (uint32_t)(x - t->entry);
}

struct coap_exchange *coap_exchange_at(struct coap_exchanges *t, uint32_t number)
{
	assert(number >= 1 && number <= t->capacity && t->entry[number].state != EXCHANGE_FREE);
	return &t->entry[number];
}

/* Not the token: an acknowledgement of a separate response comes without one. */
static uint32_t hash_of(const struct coap_exchanges *t, const struct udp_route *route, uint16_t id)
{
	uint8_t text[20];
	memcpy(text, &route->peer, 16);
	memcpy(text + 16, &route->port, 2);
	memcpy(text + 18, &id, 2);
	return (uint32_t)siphash(&t->key, text, sizeof(text));
}

__extension__ typedef unsigned __int128 wide;

static inline uint64_t word_at(const uint8_t *p)
{
	uint64_t word;
	memcpy(&word, p, 8);
	return word;
}

static inline uint64_t fold(uint64_t a, uint64_t b)
{
	wide product = (wide)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* A keyed hash of a whole datagram: its words are multiplied in pairs, in two chains that do not wait for one another.
 * Nobody chooses a place in the table by it (hash_of does that), so it need not be as strong as SipHash, which cost
 * eight times as much, a fortieth of all that the listener did; two datagrams must not collide by accident. */
static uint64_t digest_of(const struct coap_exchanges *t, const uint8_t *bytes, size_t len)
{
	uint64_t a = t->key.k0 ^ len, b = t->key.k1;
	uint8_t padded[32] = {0};
	for (size_t at = 0; at < len; at += 32) {
		const uint8_t *p = bytes + at;
		if (len - at < 32)
			p = len >= 32 ? bytes + len - 32 : memcpy(padded, p, len);
		a = fold(a ^ word_at(p), t->key.k1 ^ word_at(p + 8));
		b = fold(b ^ word_at(p + 16), t->key.k0 ^ word_at(p + 24));
	}
	return fold(a ^ t->key.k1, b ^ t->key.k0);
}

struct exchange_key coap_exchange_key(const struct coap_exchanges *t, const struct udp_route *route,
                                      const uint8_t *bytes, size_t len)
{
	uint16_t id = 0;
	if (len >= 4)
		id = (uint16_t)(bytes[2] << 8 | bytes[3]);
	return (struct exchange_key){.hash = hash_of(t, route, id), .digest = digest_of(t, bytes, len)};
}

void coap_exchange_prefetch(const struct coap_exchanges *t, const struct exchange_key *keys, size_t n)
{
	bool full = !t->free && t->fresh == t->capacity;
	uint32_t oldest = full ? t->done.first : 0;
	for (size_t i = 0; i < n; i++) {
		__builtin_prefetch(&t->bucket[keys[i].hash & t->mask]);
		if (oldest) { /* it will have to go, and be found in its bucket for that */
			__builtin_prefetch(&t->bucket[t->link[oldest].hash & t->mask]);
			oldest = t->link[oldest].next;
		}
	}
	oldest = full ? t->done.first : 0;
	for (size_t i = 0; i < n; i++) {
		__builtin_prefetch(&t->link[t->bucket[keys[i].hash & t->mask]]);
		if (oldest) {
			__builtin_prefetch(&t->link[t->bucket[t->link[oldest].hash & t->mask]]);
			__builtin_prefetch(&t->entry[oldest], 1); /* it will be written anew */
			__builtin_prefetch((const char *)&t->entry[oldest + 1] - 1, 1);
			oldest = t->link[oldest].next;
		}
	}
}

static void release(struct coap_exchanges *t, struct coap_exchange *x)
{
	uint32_t n = coap_exchange_number(t, x);
	uint32_t *at = &t->bucket[t->link[n].hash & t->mask];
	while (*at != n)
		at = &t->link[*at].chain;
	*at = t->link[n].chain;
	x->state = EXCHANGE_FREE;
	t->link[n].next = t->free;
	t->free = n;
	t->count--;
}

void coap_exchange_drop(struct coap_exchanges *t, struct coap_exchange *x)
{
	leave_state(t, x);
	release(t, x);
}

static bool expired(const struct coap_exchanges *t, const struct coap_exchange *x, int64_t now_ms)
{
	return x->state == EXCHANGE_DONE && now_ms - x->at_ms >= t->lifetime_ms;
}

struct coap_exchange *coap_exchange_find(struct coap_exchanges *t, int64_t now_ms, const struct udp_route *route,
                                         const struct coap_message *m, const struct exchange_key *key)
{
	for (uint32_t n = t->bucket[key->hash & t->mask]; n; n = t->link[n].chain) {
		struct coap_exchange *x = &t->entry[n];
		if (t->link[n].hash == key->hash && x->digest == key->digest && x->id == m->id &&
		    x->token_len == m->token_len && memcmp(x->token, m->token, m->token_len) == 0 &&
		    udp_route_same_peer(&x->route, route))
			return expired(t, x, now_ms) ? NULL : x;
	}
	return NULL;
}

/* Expired entries go two at a time while new ones come, so that at a low rate the table stays small. */
static uint32_t take_free(struct coap_exchanges *t, int64_t now_ms)
{
	for (int i = 0; i < 2 && t->done.first && expired(t, &t->entry[t->done.first], now_ms); i++)
		coap_exchange_drop(t, &t->entry[t->done.first]);
	if (!t->free && t->fresh == t->capacity) {
		if (!t->done.first)
			return 0;
		t->forgotten++;
		coap_exchange_drop(t, &t->entry[t->done.first]);
	}
	if (!t->free)
		return ++t->fresh;
	uint32_t n = t->free;
	t->free = t->link[n].next;
	return n;
}

struct coap_exchange *coap_exchange_add(struct coap_exchanges *t, int64_t now_ms, const struct udp_route *route,
                                        const struct coap_message *m, const struct exchange_key *key,
                                        size_t request_len)
{
	uint32_t n = take_free(t, now_ms);
	if (!n)
		return NULL;
	struct coap_exchange *x = &t->entry[n];
	uint32_t *bucket = &t->bucket[key->hash & t->mask];
	x->digest = key->digest;
	x->route = *route;
	x->id = m->id;
	x->request_len = (uint16_t)(request_len < UINT16_MAX ? request_len : UINT16_MAX);
	x->type = m->type;
	x->token_len = m->token_len;
	memcpy(x->token, m->token, m->token_len);
	x->no_response = m->no_response;
	x->separated = false;
	x->answer = (struct coap_answer){0};
	x->tries = 0;
	x->timeout_ms = 0;
	x->at_ms = now_ms;
	t->link[n].hash = key->hash;
	t->link[n].chain = *bucket;
	*bucket = n;
	t->count++;
	x->state = m->type == COAP_CON ? EXCHANGE_UNSETTLED : EXCHANGE_ACKED;
	if (x->state == EXCHANGE_UNSETTLED)
		list_add(t, &t->unsettled, x);
	return x;
}

/* -- states -- */

struct coap_exchange *coap_exchange_oldest(struct coap_exchanges *t)
{
	return t->unsettled.first ? &t->entry[t->unsettled.first] : NULL;
}

void coap_exchange_acked(struct coap_exchanges *t, struct coap_exchange *x)
{
	assert(x->state == EXCHANGE_UNSETTLED);
	leave_state(t, x);
	x->state = EXCHANGE_ACKED;
	x->separated = true;
}

void coap_exchange_done(struct coap_exchanges *t, struct coap_exchange *x, int64_t now_ms)
{
	leave_state(t, x);
	x->state = EXCHANGE_DONE;
	x->at_ms = now_ms;
	list_add(t, &t->done, x);
}

void coap_exchange_separate(struct coap_exchanges *t, struct coap_exchange *x, int64_t now_ms, uint32_t timeout_ms)
{
	assert(x->state == EXCHANGE_ACKED || x->state == EXCHANGE_SEPARATE);
	assert(timeout_ms < (EXCHANGE_SLOTS - 1) * EXCHANGE_SLOT_MS);
	leave_state(t, x);
	if (t->separate == 0) /* an empty wheel need not be turned: begin here */
		t->turned = now_ms / EXCHANGE_SLOT_MS;
	x->state = EXCHANGE_SEPARATE;
	x->timeout_ms = timeout_ms;
	x->at_ms = now_ms + timeout_ms;
	list_add(t, slot_of(t, x), x);
	t->separate++;
}

/* A slot is looked at when its time is over, so nothing is early, and at most EXCHANGE_SLOT_MS late. */
struct coap_exchange *coap_exchange_due(struct coap_exchanges *t, int64_t now_ms)
{
	int64_t now = now_ms / EXCHANGE_SLOT_MS;
	if (t->separate == 0)
		return NULL;
	if (now - t->turned > EXCHANGE_SLOTS) /* it slept through more than one round: every slot is over */
		t->turned = now - EXCHANGE_SLOTS;
	for (; t->turned < now; t->turned++) {
		struct exchange_list *l = &t->slot[(uint64_t)t->turned % EXCHANGE_SLOTS];
		if (l->first)
			return &t->entry[l->first];
	}
	return NULL;
}

struct coap_exchange *coap_exchange_response(struct coap_exchanges *t, const struct udp_route *route, uint16_t id)
{
	if (t->separate == 0)
		return NULL;
	uint32_t hash = hash_of(t, route, id);
	for (uint32_t n = t->bucket[hash & t->mask]; n; n = t->link[n].chain) {
		struct coap_exchange *x = &t->entry[n];
		if (t->link[n].hash == hash && x->state == EXCHANGE_SEPARATE && x->id == id &&
		    udp_route_same_peer(&x->route, route))
			return x;
	}
	return NULL;
}
