/* One connection of a stream listener: what it watches, when it is held back, its timers, its answers, its end. Reading
 * is in stream_read.c, writing in stream_write.c, the contract in stream.h.
 *
 * Callbacks of the protocol never find a connection destroyed under their hands: they only change its state and put it
 * on the list `dirty`, which is gone through once at the end of the turn (stream_conn_push). There, where the socket is read,
 * and on a timer connections die. */
#include "protocols/net/stream_conn.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int stream_conn_fd(const struct stream_conn *c)
{
	return (int)event_get_fd(&c->event);
}

void stream_conn_mark_dirty(struct stream_conn *c)
{
	if (c->in_dirty || c->state == CONN_DEAD)
		return;
	c->in_dirty = true;
	TAILQ_INSERT_TAIL(&c->stream->dirty, c, dirty);
}

/* -- watching: one event per connection, changed as seldom as possible -- */

static void watch(struct stream_conn *c, unsigned what)
{
	if (what == c->watched)
		return;
	if (c->watched)
		event_del(&c->event);
	c->watched = 0;
	if (what == 0)
		return;
	event_assign(&c->event, c->stream->base, stream_conn_fd(c), (short)(what | EV_PERSIST), stream_on_ready, c);
	if (event_add(&c->event, NULL) != 0) {
		c->broken = true;
		stream_conn_mark_dirty(c);
		return;
	}
	c->watched = (uint8_t)what;
}

/* Held back for want of room, too many answers or too much output; stream_pause is not: its deadline runs on. */
bool stream_conn_note_backpressure(const struct stream_conn *c)
{
	const struct stream_settings *st = c->stream->settings;
	return c->is_held || c->waiting >= (uint64_t)st->max_unacked || stream_conn_output(c) > st->max_output;
}

bool stream_conn_readable(const struct stream_conn *c)
{
	return c->state == CONN_OPEN && !c->eof && !c->paused && !stream_conn_note_backpressure(c);
}

void stream_conn_watch(struct stream_conn *c)
{
	bool in = stream_conn_readable(c) || c->state == CONN_LINGERING;
	watch(c, (in ? EV_READ : 0u) | (c->write_blocked ? EV_WRITE : 0u));
}

/* -- timers -- */

static int64_t after(const struct stream *s, uint64_t us)
{
	return s->now_ms + (int64_t)(us / 1000) + 1;
}

static void give_up_at(struct stream_conn *c, int64_t at_ms)
{
	wheel_set(&c->stream->wheel, &c->timer, at_ms);
}

void stream_conn_set_stall(struct stream_conn *c)
{
	int64_t at = c->back_since + (int64_t)(c->stream->settings->stall_timeout / 1000);
	give_up_at(c, at > c->stream->now_ms ? at : c->stream->now_ms + 1);
}

void stream_conn_go_back(struct stream_conn *c)
{
	if (c->back_since != 0 || c->state != CONN_OPEN)
		return;
	stat_add(&c->stream->stats->backpressured, 1);
	c->back_since = c->stream->now_ms;
	stream_conn_set_stall(c);
}

/* Reading goes on: time that we did not listen does not count against the device. */
void stream_conn_resume_output(struct stream_conn *c)
{
	if (c->back_since == 0)
		return;
	c->back_since = 0;
	stream_deadline(c, c->deadline_ms);
}

void stream_deadline(struct stream_conn *c, uint32_t ms)
{
	if (c->state != CONN_OPEN)
		return;
	c->deadline_ms = ms;
	if (c->back_since == 0)
		wheel_set(&c->stream->wheel, &c->timer, ms > 0 ? c->stream->now_ms + ms : 0);
}

/* -- answers -- */

static bool queued(struct stream_conn *c, enum gw_err err)
{
	if (err)
		stream_close(c, true);
	else
		c->waiting++;
	return !err;
}

bool stream_await(struct stream_conn *c, uint64_t position, enum answer_kind kind, uint64_t what)
{
	return queued(c, intake_await(c->stream->in, position, kind, c, what));
}

bool stream_await_note(struct stream_conn *c, uint64_t position, uint64_t what)
{
	return queued(c, intake_await_note(c->stream->in, position, c, what));
}

size_t stream_waiting(const struct stream_conn *c)
{
	return c->waiting;
}

void stream_conn_answered(struct stream_conn *c, uint64_t what)
{
	struct stream *s = c->stream;
	assert(c->waiting > 0);
	c->waiting--;
	if (c->state <= CONN_SETTLING && !c->broken)
		s->protocol->answer(s->self, c, what);
	if (c->state == CONN_DEAD && c->waiting == 0) {
		TAILQ_REMOVE(&s->zombies, c, all);
		TAILQ_INSERT_TAIL(&s->dead, c, all);
	} else if (c->state == CONN_SETTLING && c->waiting == 0) {
		stream_conn_mark_dirty(c);
	} else if (c->back_since != 0 && !c->is_held) {
		stream_conn_mark_dirty(c); /* stream_conn_push sees whether it comes forth */
	}
}

/* -- closing -- */

void stream_close(struct stream_conn *c, bool settle)
{
	if (c->state > CONN_SETTLING || (settle && c->state == CONN_SETTLING))
		return;
	stream_conn_end_backpressure(c);
	c->back_since = 0;
	c->state = settle ? CONN_SETTLING : CONN_FLUSHING;
	give_up_at(c, after(c->stream, c->stream->settings->stall_timeout));
	stream_conn_mark_dirty(c);
}

bool stream_closing(const struct stream_conn *c)
{
	return c->state != CONN_OPEN || c->broken;
}

static void tell_end(struct stream_conn *c)
{
	if (c->told)
		return;
	c->told = true;
	if (c->stream->protocol->ended)
		c->stream->protocol->ended(c->stream->self, c);
}

void stream_conn_destroy(struct stream_conn *c)
{
	struct stream *s = c->stream;
	if (c->state == CONN_DEAD)
		return;
	stream_conn_end_backpressure(c);
	tell_end(c);
	watch(c, 0);
	close(stream_conn_fd(c));
	wheel_remove(&s->wheel, &c->timer);
	stream_conn_rest_free(c);
	if (c->out)
		stream_conn_output_free(c);
	if (c->in_ready)
		TAILQ_REMOVE(&s->ready, c, ready);
	if (c->in_dirty)
		TAILQ_REMOVE(&s->dirty, c, dirty);
	c->in_ready = c->in_dirty = false;
	c->state = CONN_DEAD;
	TAILQ_REMOVE(&s->open, c, all);
	s->count--;
	stat_sub(&s->stats->connections, 1);
	if (c->waiting > 0)
		TAILQ_INSERT_TAIL(&s->zombies, c, all);
	else
		TAILQ_INSERT_TAIL(&s->dead, c, all);
}

/* Everything is written. A socket closed with unread input sends a reset, which may overtake our last answer at the
 * peer: shut down our side, then wait a little for the peer's. */
static void finish(struct stream_conn *c)
{
	bool end = c->eof || c->stream->draining;
	if (end && !c->eof)
		stream_conn_drop_input(c);
	if (!end && shutdown(stream_conn_fd(c), SHUT_WR) != 0)
		end = true;
	if (end) {
		stream_conn_destroy(c);
		return;
	}
	tell_end(c);
	c->state = CONN_LINGERING;
	give_up_at(c, c->stream->now_ms + LINGER_MS);
	stream_conn_watch(c);
}

void stream_conn_push(struct stream_conn *c)
{
	if (c->broken || !stream_conn_send(c)) {
		stream_conn_destroy(c);
		return;
	}
	if (c->state != CONN_OPEN)
		stream_conn_rest_free(c);
	if (c->state == CONN_SETTLING && c->waiting == 0)
		stream_close(c, false);
	if (c->state == CONN_FLUSHING && stream_conn_output(c) == 0) {
		finish(c);
		return;
	}
	if (c->state == CONN_OPEN && stream_conn_note_backpressure(c))
		stream_conn_go_back(c);
	else if (c->state == CONN_OPEN && c->back_since != 0)
		stream_link_ready(c, CONN_RESUME);
	if (c->write_blocked != ((c->watched & EV_WRITE) != 0) || c->state != CONN_OPEN)
		stream_conn_watch(c);
}

/* A peer that has reset or vanished (keep-alive) while its socket is not read. One that shut down its side only is
 * still there. */
static bool peer_gone(const struct stream_conn *c)
{
	struct pollfd p = {.fd = stream_conn_fd(c)};
	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP)) != 0;
}

static void stalled(struct stream_conn *c)
{
	struct stream *s = c->stream;
	if (c->is_held) {
		intake_refuse(s->in, REFUSED_FULL);
		stream_close(c, true);
		c->back_since = s->now_ms; /* but the device is not to wait for long: it tries elsewhere */
	} else if (stream_conn_output(c) > s->settings->max_output) {
		intake_refuse(s->in, REFUSED_TIMEOUT);
		stream_conn_destroy(c);
	} else if (peer_gone(c)) { /* what it sent is safe, or will be: closing would only make it send again */
		stream_conn_destroy(c);
	} else {
		wheel_set(&s->wheel, &c->timer, after(s, s->settings->stall_timeout));
	}
}

void stream_conn_timer(struct stream_conn *c)
{
	struct stream *s = c->stream;
	if (c->state == CONN_OPEN && s->now_ms < s->grace_until) {
		wheel_set(&s->wheel, &c->timer, s->grace_until);
	} else if (c->state == CONN_OPEN && c->back_since != 0) {
		if (s->now_ms - c->back_since < (int64_t)(s->settings->stall_timeout / 1000))
			stream_conn_set_stall(c);
		else
			stalled(c);
	} else if (c->state == CONN_OPEN) {
		c->deadline_ms = 0;
		s->protocol->deadline(s->self, c);
	} else if (c->state == CONN_SETTLING && c->back_since == 0 && !peer_gone(c)) {
		wheel_set(&s->wheel, &c->timer, after(s, s->settings->stall_timeout));
	} else {
		stream_conn_destroy(c);
	}
}

/* -- coming and going -- */

static void set_peer(struct stream_conn *c, const struct sockaddr *peer)
{
	if (peer->sa_family != AF_INET6) {
		memcpy(&c->peer.v4, peer, sizeof(c->peer.v4));
		return;
	}
	memcpy(&c->peer.v6, peer, sizeof(c->peer.v6));
	struct sockaddr_in6 v6 = c->peer.v6;
	if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
		return;
	/* An IPv4 device on a dual-stack socket is shown as what it is. */
	c->peer.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = v6.sin6_port};
	memcpy(&c->peer.v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
}

struct stream_conn *stream_conn_new(struct stream *s, int fd, const struct sockaddr *peer)
{
	struct stream_conn *c = NULL;
	size_t size = (offsetof(struct stream_conn, own) + s->protocol->conn_size + 15) & ~(size_t)15;
	if (size < sizeof(*c))
		size = sizeof(*c);
	c = calloc(1, size);
	if (!c || event_assign(&c->event, s->base, fd, EV_READ | EV_PERSIST, stream_on_ready, c) != 0) {
		free(c);
		close(fd);
		return NULL;
	}
	c->stream = s;
	set_peer(c, peer);
	TAILQ_INSERT_TAIL(&s->open, c, all);
	s->count++;
	stat_add(&s->stats->connections, 1);
	stat_add(&s->stats->connections_opened, 1);
	watch(c, EV_READ);
	s->protocol->accepted(s->self, c);
	return c;
}

void stream_conn_reap(struct stream *s)
{
	struct stream_conn *c;
	while ((c = TAILQ_FIRST(&s->dead))) {
		TAILQ_REMOVE(&s->dead, c, all);
		free(c);
	}
}

void *stream_own(struct stream_conn *c)
{
	return c->own;
}

struct intake *stream_intake(struct stream_conn *c)
{
	return c->stream->in;
}

const struct sockaddr *stream_peer(struct stream_conn *c)
{
	return &c->peer.any;
}
