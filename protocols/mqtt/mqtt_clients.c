/* The registry of client identifiers; see mqtt_clients.h.
 *
 * A client is in one of three states, changed only under its shard's lock:
 *   owned     a connection has it. At most one more may wait for it.
 *   settling  its connection has left, but messages it put are not settled yet. Only the thread whose lane holds them
 *             may end this state; it keeps these clients in a list by position. A connection of that same thread may
 *             have it at once, since answers of one lane are in order anyway; one of another thread waits.
 *   kept      nothing but its session is left; in one of the shard's lists by expiry, where the oldest make room.
 * A client with nothing left is freed; where several threads have lanes, only after the note that says so is settled, or
 * the note of a new session could come before it.
 */
#include "protocols/mqtt/mqtt_clients.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_BUCKETS_MIN 16
#define SWEEP_EVERY_MS 1000

enum client_state { CLIENT_OWNED, CLIENT_SETTLING, CLIENT_KEPT };

struct mqtt_client {
	struct mqtt_client *chain; /* same bucket */
	union {
		struct mqtt_member *owner; /* owned: ask client_owner; NULL only until the lock is given back */
		struct {
			struct mqtt_client *before, *after; /* settling: the thread's list; kept: the shard's */
		};
	};
	struct mqtt_member *waiter;
	struct mqtt_ids *ids; /* owned; what the next connection inherits */
	union {
		uint64_t position;  /* settling: settled when this is */
		int64_t expires_ms; /* kept */
	} until;
	uint32_t hash;
	uint16_t thread; /* settling: whose lane */
	uint8_t state;   /* enum client_state */
	uint8_t shard;
	uint16_t len;
	char id[]; /* constant */
};

/* -- opening -- */

enum gw_err mqtt_clients_open(struct mqtt_clients *r, unsigned threads, size_t max_sessions, int64_t expiry_ms)
{
	if (r->users > 0) {
		r->users++;
		return GW_OK;
	}
	r->mailboxes = calloc(threads, sizeof(*r->mailboxes));
	if (!r->mailboxes)
		return GW_NOMEM;
	for (unsigned i = 0; i < threads; i++)
		pthread_mutex_init(&r->mailboxes[i].lock, NULL);
	for (unsigned i = 0; i < MQTT_CLIENT_SHARDS; i++)
		pthread_mutex_init(&r->shards[i].lock, NULL);
	siphash_key_random(&r->key);
	r->threads = threads;
	r->max_sessions = (max_sessions + MQTT_CLIENT_SHARDS - 1) / MQTT_CLIENT_SHARDS;
	r->expiry_ms = expiry_ms;
	r->users = 1;
	return GW_OK;
}

static struct mqtt_member *client_owner(const struct mqtt_client *c)
{
	return c->state == CLIENT_OWNED ? c->owner : NULL;
}

/* The identifier begins in what would be padding; 22 characters of it fit into 80 bytes, a size of the allocator's. */
static size_t client_size(size_t len)
{
	size_t size = offsetof(struct mqtt_client, id) + len;
	return size > sizeof(struct mqtt_client) ? size : sizeof(struct mqtt_client);
}

static void client_free(struct mqtt_client *c)
{
	mqtt_ids_free(c->ids);
	free(c);
}

void mqtt_clients_close(struct mqtt_clients *r)
{
	if (r->users == 0)
		return;
	r->users--;
	if (r->users > 0)
		return;
	for (unsigned i = 0; i < MQTT_CLIENT_SHARDS; i++) {
		struct mqtt_shard *s = &r->shards[i];
		for (size_t b = 0; b < s->bucket_count; b++) {
			for (struct mqtt_client *c = s->buckets[b], *chain; c; c = chain) {
				chain = c->chain;
				client_free(c);
			}
		}
		free(s->buckets);
		pthread_mutex_destroy(&s->lock);
	}
	for (unsigned i = 0; i < r->threads; i++)
		pthread_mutex_destroy(&r->mailboxes[i].lock);
	free(r->mailboxes);
	*r = (struct mqtt_clients){0};
}

/* -- mailboxes -- */

void mqtt_clients_listen(struct mqtt_clients *r, unsigned thread, void (*wake)(void *), void *wake_arg)
{
	struct mqtt_mailbox *box = &r->mailboxes[thread];
	pthread_mutex_lock(&box->lock);
	box->wake = wake;
	box->wake_arg = wake_arg;
	pthread_mutex_unlock(&box->lock);
}

/* The member cannot leave meanwhile: the caller holds the lock of its shard. */
static void member_ask(struct mqtt_clients *r, struct mqtt_member *m, enum mqtt_request request)
{
	struct mqtt_mailbox *box = &r->mailboxes[m->thread];
	pthread_mutex_lock(&box->lock);
	if (m->requests == 0) {
		m->next = box->first;
		box->first = m;
	}
	m->requests |= (uint8_t)request;
	atomic_store_explicit(&box->any, true, memory_order_relaxed);
	if (box->wake)
		box->wake(box->wake_arg);
	pthread_mutex_unlock(&box->lock);
}

static void member_unlist(struct mqtt_clients *r, struct mqtt_member *m)
{
	struct mqtt_mailbox *box = &r->mailboxes[m->thread];
	pthread_mutex_lock(&box->lock);
	if (m->requests != 0) {
		struct mqtt_member **at = &box->first;
		while (*at != m)
			at = &(*at)->next;
		*at = m->next;
		m->requests = 0;
	}
	pthread_mutex_unlock(&box->lock);
}

struct mqtt_member *mqtt_clients_request(struct mqtt_clients *r, unsigned thread, unsigned *requests)
{
	struct mqtt_mailbox *box = &r->mailboxes[thread];
	if (!atomic_load_explicit(&box->any, memory_order_relaxed))
		return NULL;
	pthread_mutex_lock(&box->lock);
	struct mqtt_member *m = box->first;
	if (m) {
		box->first = m->next;
		*requests = m->requests;
		m->requests = 0;
	} else {
		atomic_store_explicit(&box->any, false, memory_order_relaxed);
	}
	pthread_mutex_unlock(&box->lock);
	return m;
}

/* -- a shard's table; all under its lock -- */

static struct mqtt_client **shard_find(struct mqtt_shard *s, uint32_t hash, struct mqtt_string id)
{
	struct mqtt_client **at = &s->buckets[hash & (s->bucket_count - 1)];
	while (*at && ((*at)->hash != hash || (*at)->len != id.len || memcmp((*at)->id, id.text, id.len) != 0))
		at = &(*at)->chain;
	return at;
}

/* Keeps the table at most as full as it has buckets. Without memory it stays as it is, only slower, if it exists at
 * all. */
static bool shard_widen(struct mqtt_shard *s)
{
	if (s->count < s->bucket_count)
		return true;
	size_t count = s->bucket_count > 0 ? s->bucket_count * 2 : SHARD_BUCKETS_MIN;
	struct mqtt_client **buckets = calloc(count, sizeof(struct mqtt_client *));
	if (!buckets)
		return s->bucket_count > 0;
	for (size_t b = 0; b < s->bucket_count; b++) {
		for (struct mqtt_client *c = s->buckets[b], *chain; c; c = chain) {
			chain = c->chain;
			c->chain = buckets[c->hash & (count - 1)];
			buckets[c->hash & (count - 1)] = c;
		}
	}
	free(s->buckets);
	s->buckets = buckets;
	s->bucket_count = count;
	return true;
}

/* The client of that name, made when there is none; NULL: out of memory. */
static struct mqtt_client *shard_client(struct mqtt_shard *s, uint8_t shard, uint32_t hash, struct mqtt_string id)
{
	if (!shard_widen(s))
		return NULL;
	struct mqtt_client **at = shard_find(s, hash, id);
	if (*at)
		return *at;
	struct mqtt_client *c = calloc(1, client_size(id.len));
	if (!c)
		return NULL;
	c->hash = hash;
	c->shard = shard;
	c->len = (uint16_t)id.len;
	memcpy(c->id, id.text, id.len);
	s->count++;
	return *at = c;
}

static void shard_remove(struct mqtt_shard *s, struct mqtt_client *c)
{
	assert(!client_owner(c) && !c->waiter);
	struct mqtt_client **at = &s->buckets[c->hash & (s->bucket_count - 1)];
	while (*at != c)
		at = &(*at)->chain;
	*at = c->chain;
	s->count--;
	client_free(c);
}

/* -- lists by age and by position -- */

static void list_append(struct mqtt_client **first, struct mqtt_client **last, struct mqtt_client *c)
{
	c->before = *last;
	c->after = NULL;
	*(*last ? &(*last)->after : first) = c;
	*last = c;
}

static void list_remove(struct mqtt_client **first, struct mqtt_client **last, struct mqtt_client *c)
{
	*(c->before ? &c->before->after : first) = c->after;
	*(c->after ? &c->after->before : last) = c->before;
	c->before = c->after = NULL;
}

enum gw_err mqtt_clients_forget(struct intake *in, struct mqtt_string id, uint64_t *position)
{
	*position = 0;
	struct state_change c = {.op = STATE_DELETE_GROUP, .group = {id.text, id.len}};
	return in ? intake_note(in, &c, position) : GW_OK;
}

void mqtt_clients_intake(struct mqtt_clients *r, unsigned thread, struct intake *in)
{
	r->mailboxes[thread].in = in;
}

static void kept_add(struct mqtt_shard *s, struct mqtt_client *c, int64_t expires_ms)
{
	bool open = mqtt_ids_count(c->ids) > 0;
	c->state = CLIENT_KEPT;
	c->until.expires_ms = expires_ms;
	list_append(&s->kept[open].oldest, &s->kept[open].newest, c);
	s->sessions++;
}

static void kept_remove(struct mqtt_shard *s, struct mqtt_client *c)
{
	bool open = mqtt_ids_count(c->ids) > 0;
	list_remove(&s->kept[open].oldest, &s->kept[open].newest, c);
	s->sessions--;
}

/* The list is by position: one that leaves later waits no shorter. */
static void settling_add(struct mqtt_clients *r, struct mqtt_shard *s, struct mqtt_client *c, unsigned thread,
                         uint64_t position)
{
	struct mqtt_mailbox *box = &r->mailboxes[thread];
	struct mqtt_client *last = box->settling_last;
	c->state = CLIENT_SETTLING;
	c->thread = (uint16_t)thread;
	c->until.position = last && last->until.position > position ? last->until.position : position;
	list_append(&box->settling_first, &box->settling_last, c);
	s->sessions++;
}

/* False: the journal has no room to be told, so it must be remembered for now: what came back after a crash could
 * swallow a message. */
static bool session_drop(struct mqtt_clients *r, struct mqtt_shard *s, struct mqtt_client *c, unsigned thread)
{
	struct intake *in = r->mailboxes[thread].in;
	uint64_t position;
	if (mqtt_clients_forget(in, (struct mqtt_string){c->id, c->len}, &position) != GW_OK)
		return false;
	kept_remove(s, c);
	mqtt_ids_free(c->ids);
	c->ids = NULL;
	/* Not where settled means delivered: the client would be shut out for as long as a sink is down. */
	if (r->threads > 1 && in && intake_keeps_state(in) && intake_settings(in)->ack != ACK_DELIVERED)
		settling_add(r, s, c, thread, position);
	else
		shard_remove(s, c);
	return true;
}

static struct mqtt_client *session_oldest(struct mqtt_shard *s)
{
	return s->kept[false].oldest ? s->kept[false].oldest : s->kept[true].oldest;
}

/* Makes room for one more session without a connection, for which the oldest may have to go; false: there is none, and all
 * others are settling. */
static bool session_room(struct mqtt_clients *r, struct mqtt_shard *s, unsigned thread, size_t *given_up)
{
	struct mqtt_client *oldest = session_oldest(s);
	if (s->sessions < r->max_sessions)
		return true;
	(*given_up)++;
	if (oldest)
		(void)session_drop(r, s, oldest, thread);
	return oldest != NULL;
}

/* -- from one connection to the next; all under the shard's lock -- */

static void client_grant(struct mqtt_client *c, struct mqtt_member *m)
{
	c->state = CLIENT_OWNED;
	c->owner = m;
}

/* What a client without owner and unsettled messages becomes: the waiter's, kept for its identifiers, or nothing. It is
 * not counted as a session on entry. */
static size_t client_pass_on(struct mqtt_clients *r, struct mqtt_shard *s, struct mqtt_client *c, unsigned thread,
                             int64_t now_ms)
{
	size_t given_up = 0;
	if (c->waiter) {
		struct mqtt_member *m = c->waiter;
		c->waiter = NULL;
		client_grant(c, m);
		member_ask(r, m, MQTT_REQUEST_GRANTED);
	} else if (c->ids && session_room(r, s, thread, &given_up)) {
		kept_add(s, c, now_ms + r->expiry_ms);
	} else {
		uint64_t position;
		if (c->ids)
			(void)mqtt_clients_forget(r->mailboxes[thread].in, (struct mqtt_string){c->id, c->len},
			                          &position);
		shard_remove(s, c);
	}
	return given_up;
}

static void client_settled(struct mqtt_clients *r, struct mqtt_shard *s, struct mqtt_client *c)
{
	struct mqtt_mailbox *box = &r->mailboxes[c->thread];
	list_remove(&box->settling_first, &box->settling_last, c);
	s->sessions--;
}

/* Waits in this thread's list; false: no room for one more. */
static bool client_settle(struct mqtt_clients *r, struct mqtt_shard *s, struct mqtt_client *c, unsigned thread,
                          uint64_t position, size_t *given_up)
{
	if (!session_room(r, s, thread, given_up))
		return false;
	settling_add(r, s, c, thread, position);
	return true;
}

/* m becomes the one that waits; who waited before gives way. */
static void client_wait(struct mqtt_clients *r, struct mqtt_client *c, struct mqtt_member *m)
{
	if (c->waiter) {
		c->waiter->client = NULL; /* the client may be gone before it leaves */
		member_ask(r, c->waiter, MQTT_REQUEST_CLOSE);
	} else if (client_owner(c)) {
		member_ask(r, client_owner(c), MQTT_REQUEST_CLOSE);
	}
	c->waiter = m;
}

/* true: m owns c now. */
static bool client_claim(struct mqtt_clients *r, struct mqtt_shard *s, struct mqtt_client *c, struct mqtt_member *m,
                         int64_t now_ms)
{
	if (client_owner(c) || (c->state == CLIENT_SETTLING && c->thread != m->thread)) {
		client_wait(r, c, m);
		return false;
	}
	if (c->state == CLIENT_SETTLING) {
		client_settled(r, s, c);
		if (c->waiter) {
			c->waiter->client = NULL;
			member_ask(r, c->waiter, MQTT_REQUEST_CLOSE);
			c->waiter = NULL;
		}
	} else if (c->state == CLIENT_KEPT) {
		uint64_t position;
		kept_remove(s, c);
		if (c->until.expires_ms <= now_ms &&
		    mqtt_clients_forget(r->mailboxes[m->thread].in, (struct mqtt_string){c->id, c->len}, &position) ==
		        GW_OK) {
			mqtt_ids_free(c->ids);
			c->ids = NULL;
		}
	}
	client_grant(c, m);
	return true;
}

/* -- what connections call -- */

enum gw_err mqtt_clients_claim(struct mqtt_clients *r, struct mqtt_member *m, unsigned thread, struct mqtt_string id,
                               int64_t now_ms)
{
	assert(!m->joined);
	uint64_t hash = siphash(&r->key, id.text, id.len);
	m->thread = (uint16_t)thread;
	m->shard = (uint8_t)(hash >> 60) % MQTT_CLIENT_SHARDS;
	struct mqtt_shard *s = &r->shards[m->shard];
	enum gw_err err = GW_NOMEM;
	pthread_mutex_lock(&s->lock);
	struct mqtt_client *c = shard_client(s, m->shard, (uint32_t)hash, id);
	if (c) {
		m->client = c;
		m->joined = true;
		err = client_claim(r, s, c, m, now_ms) ? GW_OK : GW_AGAIN;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

static bool restore_in(struct mqtt_shard *s, struct mqtt_client *c, uint16_t packet, int64_t expires_ms)
{
	if (c->ids)
		kept_remove(s, c);
	else
		c->ids = mqtt_ids_new();
	if (!c->ids) {
		shard_remove(s, c);
		return false;
	}
	bool added = packet == 0 || mqtt_ids_has(c->ids, packet) || mqtt_ids_add(&c->ids, packet) == GW_OK;
	kept_add(s, c, expires_ms);
	return added;
}

bool mqtt_clients_restore(struct mqtt_clients *r, struct mqtt_string id, uint16_t packet, int64_t now_ms)
{
	uint64_t hash = siphash(&r->key, id.text, id.len);
	uint8_t shard = (uint8_t)(hash >> 60) % MQTT_CLIENT_SHARDS;
	struct mqtt_shard *s = &r->shards[shard];
	pthread_mutex_lock(&s->lock);
	struct mqtt_client *c = shard_client(s, shard, (uint32_t)hash, id);
	bool added = c && restore_in(s, c, packet, now_ms + r->expiry_ms);
	pthread_mutex_unlock(&s->lock);
	return added;
}

struct mqtt_string mqtt_clients_id(const struct mqtt_member *m)
{
	return (struct mqtt_string){m->client->id, m->client->len};
}

struct mqtt_ids *mqtt_clients_session(struct mqtt_clients *r, struct mqtt_member *m)
{
	struct mqtt_shard *s = &r->shards[m->shard];
	pthread_mutex_lock(&s->lock);
	assert(m->client && client_owner(m->client) == m);
	struct mqtt_ids *ids = m->client->ids;
	m->client->ids = NULL;
	pthread_mutex_unlock(&s->lock);
	return ids;
}

static size_t owner_leave(struct mqtt_clients *r, struct mqtt_shard *s, struct mqtt_member *m, struct mqtt_ids *ids,
                          uint64_t unsettled, int64_t now_ms)
{
	struct mqtt_client *c = m->client;
	size_t given_up = 0;
	c->owner = NULL;
	if (ids) { /* an owner that was closed before it asked for its session leaves what it inherited */
		mqtt_ids_free(c->ids);
		c->ids = ids;
	}
	bool same_lane = r->threads == 1 || (c->waiter && c->waiter->thread == m->thread);
	/* Where only the order of its messages over two lanes is at stake, no other client's session makes room. */
	bool needed = c->ids || c->waiter || s->sessions < r->max_sessions;
	if (unsettled != 0 && !same_lane && needed) {
		if (client_settle(r, s, c, m->thread, unsettled, &given_up))
			return given_up;
		/* No room to remember that its messages are not safe yet: then nothing may be taken for a repetition of
		 * them. */
		uint64_t position;
		if (c->ids)
			(void)mqtt_clients_forget(r->mailboxes[m->thread].in, mqtt_clients_id(m), &position);
		mqtt_ids_free(c->ids);
		c->ids = NULL;
	}
	return given_up + client_pass_on(r, s, c, m->thread, now_ms);
}

size_t mqtt_clients_leave(struct mqtt_clients *r, struct mqtt_member *m, struct mqtt_ids *ids, uint64_t unsettled,
                          int64_t now_ms)
{
	size_t given_up = 0;
	if (!m->joined) {
		mqtt_ids_free(ids);
		return 0;
	}
	struct mqtt_shard *s = &r->shards[m->shard];
	pthread_mutex_lock(&s->lock);
	if (m->client && client_owner(m->client) == m) {
		given_up = owner_leave(r, s, m, ids, unsettled, now_ms);
	} else {
		mqtt_ids_free(ids);
		if (m->client && m->client->waiter == m)
			m->client->waiter = NULL;
	}
	m->client = NULL;
	member_unlist(r, m);
	pthread_mutex_unlock(&s->lock);
	m->joined = false;
	return given_up;
}

/* -- what threads call -- */

static void shard_expire(struct mqtt_clients *r, struct mqtt_shard *s, unsigned thread, int64_t now_ms)
{
	pthread_mutex_lock(&s->lock);
	for (int open = 0; open < 2; open++)
		while (s->kept[open].oldest && s->kept[open].oldest->until.expires_ms <= now_ms &&
		       session_drop(r, s, s->kept[open].oldest, thread))
			;
	pthread_mutex_unlock(&s->lock);
}

size_t mqtt_clients_turn(struct mqtt_clients *r, unsigned thread, struct intake *in)
{
	struct mqtt_mailbox *box = &r->mailboxes[thread];
	int64_t now_ms = intake_now_ms(in);
	size_t given_up = 0;
	struct mqtt_client *c;
	while ((c = box->settling_first) != NULL && intake_settled(in, c->until.position)) {
		struct mqtt_shard *s = &r->shards[c->shard];
		pthread_mutex_lock(&s->lock);
		client_settled(r, s, c);
		given_up += client_pass_on(r, s, c, thread, now_ms);
		pthread_mutex_unlock(&s->lock);
	}
	if (c)
		intake_watch(in, c->until.position);
	if (now_ms >= box->sweep_ms) {
		box->sweep_ms = now_ms + SWEEP_EVERY_MS;
		for (unsigned i = 0; i < MQTT_CLIENT_SHARDS; i++)
			shard_expire(r, &r->shards[i], thread, now_ms);
	}
	return given_up;
}
