#include "protocols/coap/coap_block.h"

#include <stdlib.h>
#include <string.h>

/* A live sender sends its block again after at most ACK_TIMEOUT * ACK_RANDOM_FACTOR = 3 s the first time (RFC 7252
 * section 4.8). */
#define IDLE_MS 5000
#define FIRST_ROOM 1024u
#define BUCKETS 4096u

enum gw_err coap_blocks_init(struct coap_blocks *t, const struct coap_block_limits *limits)
{
	memset(t, 0, sizeof(*t));
	t->limits = *limits;
	t->bucket = calloc(BUCKETS, sizeof(struct coap_block *));
	t->mask = BUCKETS - 1;
	siphash_key_random(&t->hash);
	return t->bucket ? GW_OK : GW_NOMEM;
}

void coap_blocks_fini(struct coap_blocks *t)
{
	while (t->first)
		coap_block_end(t, t->first);
	free(t->bucket);
	memset(t, 0, sizeof(*t));
}

static struct coap_block **bucket_of(struct coap_blocks *t, const struct udp_route *route)
{
	uint8_t text[18];
	memcpy(text, &route->peer, 16);
	memcpy(text + 16, &route->port, 2);
	return &t->bucket[siphash(&t->hash, text, sizeof(text)) & t->mask];
}

/* Chained: each part is hashed together with the hash of what came before it, so that no two lists of parts look alike.
 */
static uint64_t hash_part(const struct coap_blocks *t, uint64_t before, const void *part, size_t len)
{
	uint64_t pair[2] = {before, siphash(&t->hash, part, len)};
	return siphash(&t->hash, pair, sizeof(pair));
}

static uint64_t request_key(const struct coap_blocks *t, const struct coap_message *m)
{
	uint64_t key = hash_part(t, 0, &m->code, 1);
	for (size_t i = 0; i < m->path_count; i++)
		key = hash_part(t, key, m->path[i].text, m->path[i].len);
	return hash_part(t, key, m->tag, m->tag_len);
}

/* -- the list by time -- */

static void list_remove(struct coap_blocks *t, struct coap_block *b)
{
	*(b->previous ? &b->previous->next : &t->first) = b->next;
	*(b->next ? &b->next->previous : &t->last) = b->previous;
}

static void list_add(struct coap_blocks *t, struct coap_block *b)
{
	b->previous = t->last;
	b->next = NULL;
	*(t->last ? &t->last->next : &t->first) = b;
	t->last = b;
}

static void touch(struct coap_blocks *t, struct coap_block *b, int64_t now_ms)
{
	list_remove(t, b);
	b->at_ms = now_ms;
	list_add(t, b);
}

void coap_block_end(struct coap_blocks *t, struct coap_block *b)
{
	struct coap_block **link = bucket_of(t, &b->route);
	while (*link != b)
		link = &(*link)->chain;
	*link = b->chain;
	list_remove(t, b);
	t->count--;
	t->used -= sizeof(*b) + b->room;
	free(b->bytes);
	free(b);
}

size_t coap_blocks_expire(struct coap_blocks *t, int64_t now_ms)
{
	size_t ended = 0;
	for (; t->first && now_ms - t->first->at_ms >= t->limits.timeout_ms; ended++)
		coap_block_end(t, t->first);
	return ended;
}

/* -- limits -- */

/* Makes room for `more` bytes; `keep` is not sacrificed. */
static bool make_room(struct coap_blocks *t, int64_t now_ms, size_t more, const struct coap_block *keep)
{
	while (t->used + more > t->limits.memory) {
		struct coap_block *b = t->first;
		if (!b || b == keep || now_ms - b->at_ms < IDLE_MS)
			return false;
		coap_block_end(t, b);
	}
	return true;
}

/* Whether the endpoint may begin one more. */
static bool peer_allows(struct coap_blocks *t, int64_t now_ms, const struct udp_route *route)
{
	size_t count = 0;
	struct coap_block *oldest = NULL;
	for (struct coap_block *b = *bucket_of(t, route); b; b = b->chain) {
		if (!udp_route_same_peer(&b->route, route))
			continue;
		count++;
		if (!oldest || b->at_ms < oldest->at_ms)
			oldest = b;
	}
	if (count < t->limits.per_peer)
		return true;
	if (!oldest || now_ms - oldest->at_ms < IDLE_MS)
		return false;
	coap_block_end(t, oldest);
	return true;
}

static bool grow(struct coap_blocks *t, int64_t now_ms, struct coap_block *b, size_t len)
{
	size_t room = b->room ? b->room : FIRST_ROOM;
	while (room < len)
		room *= 2;
	if (room == b->room)
		return true;
	if (!make_room(t, now_ms, room - b->room, b))
		return false;
	uint8_t *bytes = realloc(b->bytes, room);
	if (!bytes)
		return false;
	b->bytes = bytes;
	t->used += room - b->room;
	b->room = room;
	return true;
}

/* -- taking blocks -- */

static struct coap_block *find(struct coap_blocks *t, const struct udp_route *route, uint64_t key)
{
	for (struct coap_block *b = *bucket_of(t, route); b; b = b->chain)
		if (b->key == key && udp_route_same_peer(&b->route, route))
			return b;
	return NULL;
}

static struct coap_block *begin(struct coap_blocks *t, int64_t now_ms, const struct udp_route *route, uint64_t key,
                                int32_t format)
{
	if (!peer_allows(t, now_ms, route) || !make_room(t, now_ms, sizeof(struct coap_block), NULL))
		return NULL;
	struct coap_block *b = calloc(1, sizeof(*b)), **bucket = bucket_of(t, route);
	if (!b)
		return NULL;
	b->route = *route;
	b->key = key;
	b->at_ms = now_ms;
	b->format = format;
	b->chain = *bucket;
	*bucket = b;
	list_add(t, b);
	t->count++;
	t->used += sizeof(*b);
	return b;
}

static enum block_take append(struct coap_blocks *t, int64_t now_ms, struct coap_block *b, const struct coap_message *m,
                              size_t offset, size_t *body_len)
{
	if (b->format != m->format || offset > b->len)
		return BLOCK_MISSING;
	size_t len = offset + m->payload_len;
	if (offset < b->len) /* sent again under another message ID: the same bytes are welcome */
		return m->block1.more && len <= b->len && memcmp(b->bytes + offset, m->payload, m->payload_len) == 0
		           ? BLOCK_CONTINUE
		           : BLOCK_MISSING;
	if (!grow(t, now_ms, b, len))
		return BLOCK_NO_ROOM;
	memcpy(b->bytes + offset, m->payload, m->payload_len);
	touch(t, b, now_ms);
	if (m->block1.more)
		b->len = len; /* the last block only counts once the caller has got rid of the body */
	*body_len = len;
	return m->block1.more ? BLOCK_CONTINUE : BLOCK_COMPLETE;
}

enum block_take coap_block_take(struct coap_blocks *t, int64_t now_ms, const struct udp_route *route,
                                const struct coap_message *m, struct coap_block **transfer, size_t *body_len)
{
	size_t size = (size_t)16 << m->block1.exponent, offset = m->block1.number * size;
	if (m->block1.more ? m->payload_len != size : m->payload_len > size)
		return BLOCK_WRONG;
	uint64_t key = request_key(t, m);
	struct coap_block *b = find(t, route, key);
	if (offset + m->payload_len > t->limits.max_body || (m->has_size1 && m->size1 > t->limits.max_body)) {
		if (b)
			coap_block_end(t, b);
		return BLOCK_TOO_LARGE;
	}
	if (offset == 0 && b) { /* the first block begins anew, RFC 7959 section 2.5 */
		b->len = 0;
		b->format = m->format;
	}
	if (!b && offset > 0)
		return BLOCK_MISSING;
	if (!b && !(b = begin(t, now_ms, route, key, m->format)))
		return BLOCK_NO_ROOM;
	enum block_take taken = append(t, now_ms, b, m, offset, body_len);
	if (taken == BLOCK_NO_ROOM && b->len == 0)
		coap_block_end(t, b);
	else if (taken == BLOCK_COMPLETE)
		*transfer = b;
	return taken;
}
