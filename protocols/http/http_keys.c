/* The table of idempotency keys; see http_keys.h. */
#include "protocols/http/http_keys.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/base/bytes.h"

struct http_key {
	struct http_key *chain;
	TAILQ_ENTRY(http_key) by_age;
	uint64_t hash;
	int64_t expires_us;
	struct http_outcome outcome; /* its report is owned */
	bool finished;               /* outcome is all there, and settled when ... */
	const struct intake *in;     /* ... this one has settled position; NULL: it is */
	uint64_t position;
	size_t len;
	char text[];
};

enum gw_err http_keys_open(struct http_keys *t, size_t max)
{
	if (t->users++ > 0)
		return GW_OK;
	size_t buckets = 64;
	while (buckets < max && buckets < (1u << 20))
		buckets *= 2;
	pthread_mutex_init(&t->lock, NULL);
	siphash_key_random(&t->hash_key);
	TAILQ_INIT(&t->items);
	t->max = max;
	t->buckets = calloc(buckets, sizeof(struct http_key *));
	t->bucket_count = buckets;
	return t->buckets ? GW_OK : GW_NOMEM;
}

/* All below: under the lock. */

static struct http_key **find(struct http_keys *t, struct http_text key, uint64_t hash)
{
	struct http_key **at = &t->buckets[hash & (t->bucket_count - 1)];
	while (*at && ((*at)->hash != hash || (*at)->len != key.len || memcmp((*at)->text, key.text, key.len) != 0))
		at = &(*at)->chain;
	return at;
}

static uint64_t hash_of(const struct http_keys *t, struct http_text key)
{
	return siphash(&t->hash_key, key.text, key.len);
}

static void forget(struct http_keys *t, struct http_key *k)
{
	struct http_key **at = &t->buckets[k->hash & (t->bucket_count - 1)];
	while (*at != k)
		at = &(*at)->chain;
	*at = k->chain;
	TAILQ_REMOVE(&t->items, k, by_age);
	t->count--;
	free((char *)(uintptr_t)k->outcome.report);
	free(k);
}

static struct http_key *make(struct http_keys *t, struct http_text key, uint64_t hash)
{
	struct http_key *k = calloc(1, sizeof(*k) + key.len);
	if (!k)
		return NULL;
	k->hash = hash;
	k->len = key.len;
	memcpy(k->text, key.text, key.len);
	struct http_key **at = &t->buckets[hash & (t->bucket_count - 1)];
	k->chain = *at;
	*at = k;
	TAILQ_INSERT_TAIL(&t->items, k, by_age);
	t->count++;
	return k;
}

static size_t make_room(struct http_keys *t, int64_t now_us)
{
	size_t dropped = 0;
	struct http_key *k;
	while ((k = TAILQ_FIRST(&t->items)) && k->expires_us <= now_us)
		forget(t, k);
	for (; (k = TAILQ_FIRST(&t->items)) && t->count >= t->max; dropped++)
		forget(t, k);
	return dropped;
}

void http_keys_close(struct http_keys *t)
{
	if (t->users == 0 || --t->users > 0)
		return;
	while (t->buckets && !TAILQ_EMPTY(&t->items))
		forget(t, TAILQ_FIRST(&t->items));
	free(t->buckets);
	t->buckets = NULL;
	pthread_mutex_destroy(&t->lock);
}

/* -- requests -- */

static enum http_key_state judge(const struct http_key *k, uint64_t digest, struct http_outcome *outcome)
{
	if (k->outcome.digest != digest)
		return KEY_OTHER;
	if (!k->finished || (k->in && !intake_settled(k->in, k->position)))
		return KEY_BUSY;
	*outcome = k->outcome;
	if (k->outcome.report && !(outcome->report = strdup(k->outcome.report)))
		return KEY_NOMEM;
	return KEY_KNOWN;
}

enum http_key_state http_keys_claim(struct http_keys *t, const struct http_key_claim *claim,
                                    struct http_outcome *outcome, size_t *dropped)
{
	uint64_t hash = hash_of(t, claim->key);
	enum http_key_state state = KEY_NEW;
	pthread_mutex_lock(&t->lock);
	*dropped = make_room(t, claim->now_us);
	struct http_key *k = *find(t, claim->key, hash);
	if (k && k->expires_us <= claim->now_us) {
		forget(t, k);
		k = NULL;
	}
	if (k) {
		state = judge(k, claim->digest, outcome);
	} else if ((k = make(t, claim->key, hash))) {
		k->outcome.digest = claim->digest;
		k->expires_us = claim->expires_us;
	} else {
		state = KEY_NOMEM;
	}
	pthread_mutex_unlock(&t->lock);
	return state;
}

void http_keys_finish(struct http_keys *t, struct http_text key, const struct http_outcome *outcome,
                      const struct intake *in, uint64_t position)
{
	char *report = outcome->report ? strdup(outcome->report) : NULL;
	pthread_mutex_lock(&t->lock);
	struct http_key *k = *find(t, key, hash_of(t, key));
	if (k && !k->finished) { /* else it had to go meanwhile */
		k->outcome = *outcome;
		k->outcome.report = report;
		report = NULL;
		k->in = in;
		k->position = position;
		k->finished = true;
	}
	pthread_mutex_unlock(&t->lock);
	free(report);
}

void http_keys_drop(struct http_keys *t, struct http_text key)
{
	pthread_mutex_lock(&t->lock);
	struct http_key *k = *find(t, key, hash_of(t, key));
	if (k && !k->finished)
		forget(t, k);
	pthread_mutex_unlock(&t->lock);
}

/* -- the journal -- */

size_t http_keys_value(const struct http_outcome *o, uint8_t *out)
{
	size_t len = o->report ? strlen(o->report) : 0;
	if (len > HTTP_KEY_REPORT)
		len = 0;
	memset(out, 0, HTTP_KEY_VALUE);
	out[0] = 1;
	out[1] = o->batch;
	bytes_put(out + 4, o->accepted, 4);
	bytes_put(out + 8, o->rejected, 4);
	bytes_put(out + 16, o->digest, 8);
	memcpy(out + HTTP_KEY_ID_AT, o->id, RECORD_ID_LEN);
	if (len > 0)
		memcpy(out + HTTP_KEY_VALUE, o->report, len);
	return HTTP_KEY_VALUE + len;
}

void http_keys_restore(struct http_keys *t, const struct state_change *c, int64_t now_us)
{
	const uint8_t *value = c->value.bytes;
	struct http_text key = {c->group.bytes, c->group.len};
	if (c->value.len < HTTP_KEY_VALUE || value[0] != 1 || t->max == 0)
		return;
	pthread_mutex_lock(&t->lock);
	make_room(t, now_us);
	uint64_t hash = hash_of(t, key);
	struct http_key *k = *find(t, key, hash) ? NULL : make(t, key, hash);
	if (k) {
		k->finished = true;
		k->expires_us = c->expires_us;
		k->outcome = (struct http_outcome){.digest = bytes_get(value + 16, 8),
		                                   .batch = value[1] & 1,
		                                   .accepted = (uint32_t)bytes_get(value + 4, 4),
		                                   .rejected = (uint32_t)bytes_get(value + 8, 4)};
		memcpy(k->outcome.id, value + HTTP_KEY_ID_AT, RECORD_ID_LEN);
		if (c->value.len > HTTP_KEY_VALUE)
			k->outcome.report =
			    strndup((const char *)value + HTTP_KEY_VALUE, c->value.len - HTTP_KEY_VALUE);
	}
	pthread_mutex_unlock(&t->lock);
}
