/* Reading of a stream connection: into one large buffer per thread, parsed where it lies; what the protocol leaves is
 * kept in a buffer of its size. A connection that found no room (stream_hold) is not read until its rest was taken. */
#include "protocols/net/stream_conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* -- the rest: what was received and not consumed -- */

static void rest_resize(struct stream_conn *c, uint8_t *to, size_t cap)
{
	c->stream->buffered += cap - c->rest_cap;
	c->rest = to;
	c->rest_cap = (uint32_t)cap;
}

void stream_conn_rest_free(struct stream_conn *c)
{
	free(c->rest);
	rest_resize(c, NULL, 0);
	c->rest_len = 0;
}

static bool rest_grow(struct stream_conn *c, size_t cap)
{
	uint8_t *to = realloc(c->rest, cap);
	if (to)
		rest_resize(c, to, cap);
	return to != NULL;
}

/* Keeps len bytes, which lie in the shared buffer or in the rest itself, in a buffer of just that size. */
static bool rest_keep(struct stream_conn *c, const uint8_t *bytes, size_t len)
{
	if (len == 0) {
		stream_conn_rest_free(c);
		return true;
	}
	if (len <= c->rest_cap) { /* always so when it lies in the rest itself */
		if (bytes != c->rest)
			memmove(c->rest, bytes, len);
		c->rest_len = (uint32_t)len;
		return len >= c->rest_cap / 4 || rest_grow(c, len);
	}
	stream_conn_rest_free(c);
	if (!rest_grow(c, len))
		return false;
	memcpy(c->rest, bytes, len);
	c->rest_len = (uint32_t)len;
	return true;
}

/* -- reading -- */

static bool over_budget(const struct stream *s, size_t more)
{
	uint64_t most = s->settings->max_buffered;
	return most > 0 && s->buffered + more > most;
}

static void refuse_connection(struct stream_conn *c, enum refusal_reason reason)
{
	intake_refuse(c->stream->in, reason);
	stream_close(c, true);
}

/* Offers len bytes, the kept rest included, to the protocol, and keeps what it leaves. */
static void offer(struct stream_conn *c, const uint8_t *bytes, size_t len)
{
	struct stream *s = c->stream;
	size_t used = 0;
	if (!c->eof)
		used = s->protocol->data(s->self, c, bytes, len);
	else if (s->protocol->finished)
		used = s->protocol->finished(s->self, c, bytes, len);
	assert(used <= len);
	if (c->state != CONN_OPEN || c->broken) {
		stream_conn_rest_free(c);
		return;
	}
	size_t left = len - used;
	bool blocked = stream_blocked(c);
	if (c->eof && !c->is_held) {
		stream_close(c, true);
	} else if (!blocked && left > s->protocol->max_message) {
		refuse_connection(c, REFUSED_TOO_LARGE);
	} else if (!blocked && left > READ_SCARCE && over_budget(s, left > c->rest_cap ? left - c->rest_cap : 0)) {
		refuse_connection(c, REFUSED_MEMORY);
	} else if (!rest_keep(c, bytes + used, left)) {
		c->broken = true;
		stream_conn_mark_dirty(c);
	}
	if (c->is_held) /* what has been put must be seen to make room */
		intake_flush(s->in);
}

/* Where the next bytes go: behind a copy of the rest in the shared buffer, or, where the rest is large, behind the rest
 * itself, so that a long message that comes in small pieces is not copied with each of them. */
static uint8_t *read_place(struct stream_conn *c, size_t *room)
{
	struct stream *s = c->stream;
	bool scarce = !TAILQ_EMPTY(&s->held) || over_budget(s, s->settings->max_buffered / 2);
	size_t chunk = scarce ? READ_SCARCE : READ_CHUNK;
	*room = chunk;
	if (c->rest_len <= REST_SMALL) {
		if (c->rest_len > 0)
			memcpy(s->buffer, c->rest, c->rest_len);
		return s->buffer;
	}
	if (c->rest_cap - c->rest_len < READ_SCARCE) {
		size_t more = c->rest_len < chunk ? c->rest_len : chunk;
		if (!rest_grow(c, c->rest_len + (size_t)(more > READ_SCARCE ? more : READ_SCARCE)))
			return NULL;
	}
	*room = c->rest_cap - c->rest_len;
	return c->rest;
}

static void end_of_input(struct stream_conn *c)
{
	c->eof = true;
	stream_conn_watch(c); /* level-triggered: an end stays readable */
	offer(c, c->rest, c->rest_len);
	if (c->state == CONN_OPEN && stream_conn_note_backpressure(c))
		stream_conn_go_back(c);
}

static void read_socket(struct stream_conn *c)
{
	struct stream *s = c->stream;
	size_t room;
	uint8_t *place = read_place(c, &room);
	if (!place) {
		stream_conn_destroy(c);
		return;
	}
	ssize_t n;
	do
		n = recv(stream_conn_fd(c), place + c->rest_len, room, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			stream_conn_destroy(c);
		return;
	}
	if (n == 0) {
		end_of_input(c);
		return;
	}
	stat_add(&s->stats->network_in, (uint64_t)n);
	s->unflushed += (uint64_t)n;
	offer(c, place, c->rest_len + (size_t)n);
	if (c->state == CONN_OPEN && stream_conn_note_backpressure(c))
		stream_conn_go_back(c); /* still watched: unless it stays so, that costs nothing */
}

void stream_conn_drop_input(struct stream_conn *c)
{
	ssize_t n = recv(stream_conn_fd(c), c->stream->buffer, READ_CHUNK, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		stream_conn_destroy(c);
	else if (n > 0)
		stat_add(&c->stream->stats->network_in, (uint64_t)n);
}

/* It has put as much as one of several that are held may: what it still has comes after theirs. */
static bool had_share(const struct stream *s)
{
	return s->retrying && !TAILQ_EMPTY(&s->held) && intake_position(s->in) >= s->share_end;
}

/* What held it back has passed: first what is kept, then the socket. The stall time-out starts anew when something
 * could be taken. */
static void resume(struct stream_conn *c)
{
	if (c->state != CONN_OPEN || c->paused || stream_conn_note_backpressure(c))
		return;
	size_t before = c->rest_len;
	if (before > 0 || c->eof)
		offer(c, c->rest, before);
	if (c->state != CONN_OPEN)
		return;
	if (c->rest_len > 0 && !stream_conn_note_backpressure(c) && had_share(c->stream)) {
		c->is_held = true;
		TAILQ_INSERT_TAIL(&c->stream->held, c, held);
	}
	if (!stream_conn_note_backpressure(c)) {
		stream_conn_resume_output(c);
		stream_conn_watch(c);
	} else if (c->back_since != 0 && c->rest_len < before) {
		c->back_since = c->stream->now_ms;
		stream_conn_set_stall(c);
	} else {
		stream_conn_go_back(c);
	}
}

void stream_conn_mark_ready(struct stream_conn *c)
{
	unsigned fired = c->fired;
	c->fired = 0;
	if (fired & EV_WRITE) {
		c->write_blocked = false;
		stream_conn_mark_dirty(c);
	}
	if (fired & CONN_RESUME)
		resume(c);
	if (!(fired & EV_READ))
		return;
	if (c->state == CONN_LINGERING)
		stream_conn_drop_input(c);
	else if (stream_conn_readable(c))
		read_socket(c);
	else if (c->state != CONN_DEAD)
		stream_conn_watch(c);
}

/* -- being held -- */

void stream_hold(struct stream_conn *c)
{
	struct stream *s = c->stream;
	if (c->is_held || c->state != CONN_OPEN)
		return;
	c->is_held = true;
	if (s->retrying)
		TAILQ_INSERT_HEAD(&s->held, c, held);
	else
		TAILQ_INSERT_TAIL(&s->held, c, held);
	stream_conn_go_back(c);
}

void stream_conn_end_backpressure(struct stream_conn *c)
{
	if (!c->is_held)
		return;
	c->is_held = false;
	TAILQ_REMOVE(&c->stream->held, c, held);
}

void stream_conn_retry(struct stream_conn *c)
{
	struct stream *s = c->stream;
	stream_conn_end_backpressure(c);
	s->retrying = true;
	s->share_end = intake_position(s->in) + HELD_SHARE;
	resume(c);
	s->retrying = false;
}

bool stream_crowded(const struct stream_conn *c)
{
	return !c->stream->retrying && !TAILQ_EMPTY(&c->stream->held);
}

void stream_pause(struct stream_conn *c)
{
	c->paused = true;
}

void stream_resume(struct stream_conn *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	stream_link_ready(c, CONN_RESUME);
}

bool stream_blocked(const struct stream_conn *c)
{
	return c->state != CONN_OPEN || c->broken || c->paused || stream_conn_note_backpressure(c) ||
	       had_share(c->stream);
}
