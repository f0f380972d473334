/* The connections of an HTTP listener; see http_conn.h. */
#include "protocols/http/http_conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/intake.h"

#define SPARE_MAX 1024
#define SMALL 4096u /* bytes of a small body buffer: holds nearly every single message */
#define SMALL_MAX 256
#define LINGER_MS 2000
#define LINGER_READS 16 /* per connection and turn */

enum gw_err http_conns_init(struct http_conns *t, size_t max_connections, size_t max_per_address, size_t max_buffered)
{
	for (int i = 0; i < PHASES; i++)
		TAILQ_INIT(&t->phases[i]);
	TAILQ_INIT(&t->spare);
	TAILQ_INIT(&t->orphans);
	t->max_connections = max_connections;
	t->max_per_address = max_per_address;
	t->max_buffered = max_buffered;
	if (max_per_address == 0)
		return GW_OK;
	t->bucket_count = 64;
	while (t->bucket_count < max_connections)
		t->bucket_count *= 2;
	t->buckets = calloc(t->bucket_count, sizeof(*t->buckets));
	siphash_key_random(&t->key);
	return t->buckets ? GW_OK : GW_NOMEM;
}

/* -- connections per address -- */

/* The bytes that tell addresses apart: IPv4 whole; of IPv6 the /64 that one site has to itself. */
static size_t address_bytes(const struct sockaddr *a, uint8_t out[16])
{
	if (a && a->sa_family == AF_INET) {
		struct sockaddr_in v4;
		memcpy(&v4, a, sizeof(v4));
		memcpy(out, &v4.sin_addr, 4);
		return 4;
	}
	if (!a || a->sa_family != AF_INET6)
		return 0;
	struct sockaddr_in6 v6;
	memcpy(&v6, a, sizeof(v6));
	bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
	memcpy(out, mapped ? v6.sin6_addr.s6_addr + 12 : v6.sin6_addr.s6_addr, mapped ? 4 : 8);
	return mapped ? 4 : 8;
}

static bool same_address(const struct sockaddr *a, const uint8_t *bytes, size_t len)
{
	uint8_t other[16];
	return address_bytes(a, other) == len && memcmp(other, bytes, len) == 0;
}

/* False: the address has its share already. Counting stops at the limit, so a crowded bucket costs no more than that.
 */
static bool count_in(struct http_conns *t, struct http_conn *c)
{
	uint8_t bytes[16];
	size_t len = address_bytes(c->peer, bytes), n = 0;
	if (!t->buckets || len == 0)
		return true;
	struct http_bucket *bucket = &t->buckets[siphash(&t->key, bytes, len) & (t->bucket_count - 1)];
	struct http_conn *other;
	LIST_FOREACH(other, bucket, in_bucket)
	if (same_address(other->peer, bytes, len) && ++n == t->max_per_address)
		return false;
	LIST_INSERT_HEAD(bucket, c, in_bucket);
	c->counted = true;
	return true;
}

/* -- opening and closing -- */

struct http_conn *http_conns_open(struct http_conns *t, struct MHD_Connection *mhd, int fd, const struct sockaddr *peer,
                                  int64_t now_ms)
{
	struct http_conn *c = TAILQ_FIRST(&t->spare);
	if (c) {
		TAILQ_REMOVE(&t->spare, c, in_phase);
		t->spare_count--;
	} else if (!(c = malloc(sizeof(*c)))) {
		return NULL;
	}
	memset(c, 0, sizeof(*c));
	c->mhd = mhd;
	c->fd = fd;
	c->linger_fd = -1;
	c->peer = peer;
	c->since_ms = now_ms;
	TAILQ_INSERT_TAIL(&t->phases[PHASE_HEAD], c, in_phase);
	t->count++;
	if (t->count > t->max_connections)
		c->limit = HTTP_CONNECTION_LIMIT;
	else if (!count_in(t, c))
		c->limit = HTTP_PEER_LIMIT;
	return c;
}

static void recycle(struct http_conns *t, struct http_conn *c)
{
	if (t->spare_count >= SPARE_MAX) {
		free(c);
		return;
	}
	TAILQ_INSERT_HEAD(&t->spare, c, in_phase);
	t->spare_count++;
}

static void linger_start(struct http_conns *t, int fd, int64_t now_ms)
{
	size_t at = t->lingering;
	if (at == HTTP_LINGER_MAX) { /* the one that has had the most time gives way */
		at = 0;
		for (size_t i = 1; i < HTTP_LINGER_MAX; i++)
			if (t->linger[i].until_ms < t->linger[at].until_ms)
				at = i;
		close(t->linger[at].fd);
	} else {
		t->lingering++;
	}
	t->linger[at].fd = fd;
	t->linger[at].until_ms = now_ms + LINGER_MS;
}

void http_conns_close(struct http_conns *t, struct http_conn *c, int64_t now_ms)
{
	if (c->linger_fd >= 0)
		linger_start(t, c->linger_fd, now_ms);
	c->linger_fd = -1;
	http_conns_clear(t, &c->request);
	TAILQ_REMOVE(&t->phases[c->phase], c, in_phase);
	if (c->counted)
		LIST_REMOVE(c, in_bucket);
	c->counted = false;
	c->mhd = NULL;
	c->peer = NULL;
	t->count--;
	if (c->waiting)
		TAILQ_INSERT_TAIL(&t->orphans, c, in_phase);
	else
		recycle(t, c);
}

bool http_conns_answered(struct http_conns *t, struct http_conn *c)
{
	assert(c->waiting);
	c->waiting = false;
	if (c->mhd)
		return true;
	TAILQ_REMOVE(&t->orphans, c, in_phase);
	recycle(t, c);
	return false;
}

static void free_all(struct http_conn_list *list)
{
	struct http_conn *c;
	while ((c = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, c, in_phase);
		free(c);
	}
}

void http_conns_fini(struct http_conns *t)
{
	for (size_t i = 0; i < t->lingering; i++)
		close(t->linger[i].fd);
	t->lingering = 0;
	if (t->spare.tqh_last) {
		assert(t->count == 0);
		free_all(&t->spare);
		free_all(&t->orphans);
	}
	while (t->small) {
		void *next = *(void **)t->small;
		free(t->small);
		t->small = next;
	}
	free(t->buckets);
	t->buckets = NULL;
}

void http_conn_phase(struct http_conns *t, struct http_conn *c, enum http_phase phase, int64_t now_ms)
{
	TAILQ_REMOVE(&t->phases[c->phase], c, in_phase);
	c->phase = phase;
	c->since_ms = c->active_ms = now_ms;
	TAILQ_INSERT_TAIL(&t->phases[phase], c, in_phase);
}

void http_conn_linger(struct http_conn *c)
{
	if (c->linger_fd < 0)
		c->linger_fd = dup(c->fd);
}

/* -- bodies -- */

static uint8_t *buffer_take(struct http_conns *t, size_t room)
{
	if (room > SMALL || !t->small)
		return malloc(room < SMALL ? SMALL : room);
	void *buffer = t->small;
	t->small = *(void **)buffer;
	t->small_count--;
	return buffer;
}

static void buffer_give(struct http_conns *t, uint8_t *buffer, size_t room)
{
	if (room != SMALL || t->small_count >= SMALL_MAX) {
		free(buffer);
		return;
	}
	*(void **)(void *)buffer = t->small;
	t->small = buffer;
	t->small_count++;
}

/* A small body finds room whatever the others have: else a few that stop half-way through long bodies would have everybody
 * refused. max_connections bounds the sum of them. */
static enum gw_err grow(struct http_conns *t, struct http_request *r, size_t wanted)
{
	size_t room = r->body_room ? r->body_room : SMALL;
	while (room < wanted)
		room *= 2;
	if (room > SMALL && t->buffered - r->body_room + room > t->max_buffered)
		return GW_NOMEM;
	uint8_t *more = buffer_take(t, room);
	if (!more)
		return GW_NOMEM;
	if (r->body_len > 0)
		memcpy(more, r->body, r->body_len);
	if (r->body)
		buffer_give(t, r->body, r->body_room);
	t->buffered += room - r->body_room;
	r->body = more;
	r->body_room = room;
	return GW_OK;
}

enum gw_err http_conns_append(struct http_conns *t, struct http_request *r, const void *bytes, size_t len)
{
	if (r->body_room - r->body_len < len) {
		enum gw_err err = grow(t, r, r->body_len + len);
		if (err)
			return err;
	}
	memcpy(r->body + r->body_len, bytes, len);
	r->body_len += len;
	return GW_OK;
}

enum gw_err http_conns_adopt(struct http_conns *t, struct http_request *r, uint8_t *buffer, size_t len, size_t room)
{
	if (t->buffered - r->body_room + room > t->max_buffered)
		return GW_NOMEM;
	http_conns_drop_body(t, r);
	r->body = buffer;
	r->body_len = len;
	r->body_room = room;
	t->buffered += room;
	return GW_OK;
}

void http_conns_drop_body(struct http_conns *t, struct http_request *r)
{
	if (r->body)
		buffer_give(t, r->body, r->body_room);
	t->buffered -= r->body_room;
	r->body = NULL;
	r->body_len = r->body_room = 0;
}

void http_conns_clear(struct http_conns *t, struct http_request *r)
{
	http_conns_drop_body(t, r);
	free(r->report);
	free(r->list);
	memset(r, 0, sizeof(*r));
}

/* -- time -- */

struct sweep {
	int64_t now_ms;
	void (*expired)(void *self, struct http_conn *c);
	void *self;
};

/* Lists are ordered by the beginning of the phase, so the first that is young enough ends the search; a body may also
 * have stopped coming, which has no order. */
static void sweep_phase(struct http_conns *t, enum http_phase phase, int64_t limit_ms, int64_t active_ms,
                        const struct sweep *sweep)
{
	struct http_conn *c = TAILQ_FIRST(&t->phases[phase]), *next;
	for (; c; c = next) {
		next = TAILQ_NEXT(c, in_phase);
		bool over = c->since_ms <= sweep->now_ms - limit_ms;
		if (!over && active_ms == 0)
			return;
		if (!over && c->active_ms > sweep->now_ms - active_ms)
			continue;
		http_conn_phase(t, c, phase, sweep->now_ms);
		sweep->expired(sweep->self, c);
	}
}

void http_conns_sweep(struct http_conns *t, int64_t now_ms, int64_t idle_ms, int64_t request_ms,
                      void (*expired)(void *self, struct http_conn *c), void *self)
{
	const struct sweep sweep = {now_ms, expired, self};
	sweep_phase(t, PHASE_HEAD, idle_ms, 0, &sweep);
	sweep_phase(t, PHASE_BODY, request_ms, idle_ms, &sweep);
	sweep_phase(t, PHASE_REPLY, request_ms, 0, &sweep);
}

/* -- reading away -- */

/* True: nothing more will come, or it has had its time. */
static bool read_away(int fd)
{
	char sink[16 << 10]; /* MSG_TRUNC: nothing is copied into it */
	for (int i = 0; i < LINGER_READS; i++) {
		ssize_t n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT | MSG_TRUNC);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return true;
		if (n < 0)
			return false;
	}
	return false;
}

void http_conns_read_away(struct http_conns *t, int64_t now_ms)
{
	for (size_t i = 0; i < t->lingering;) {
		if (!read_away(t->linger[i].fd) && now_ms < t->linger[i].until_ms) {
			i++;
			continue;
		}
		close(t->linger[i].fd);
		t->linger[i] = t->linger[--t->lingering];
	}
}
