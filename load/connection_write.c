/* What a connection writes; see connection.h. What is rendered goes to the socket straight from the worker's scratch
 * memory; only what the socket does not take is kept, so an idle connection costs little more than its struct. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "load/connection.h"
#include "load/connection_parts.h"
#include "load/datagram.h"
#include "load/secure.h"
#include "load/worker.h"

/* -- writing -- */

void connection_answer(struct connection *c, const uint8_t *bytes, size_t len)
{
	if (c->out_at > 0 && c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	if (!connection_keep(&c->out, &c->out_room, bytes, c->out_len, len)) {
		connection_lost(c, LOAD_RESOURCES, "out of memory");
		return;
	}
	c->out_len += len;
	connection_queue(c);
}

/* Both write as much as the socket takes; blocked: it took less. They return how much; SIZE_MAX: the connection is lost. */

static size_t write_secure(struct connection *c, const uint8_t *bytes, size_t len)
{
	struct secure_loss loss;
	size_t n = secure_write(c->ssl, bytes, len, &c->worker->counts.bytes_out, &loss);
	if (n == SIZE_MAX)
		connection_lost(c, loss.kind, "%s", loss.words);
	else if (n < len)
		c->blocked = true;
	return n;
}

static size_t write_plain(struct connection *c, const uint8_t *bytes, size_t len)
{
	for (;;) {
		ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			connection_lost(c, connection_error_kind(errno), "write: %s", strerror(errno));
			return SIZE_MAX;
		}
		size_t taken = n < 0 ? 0 : (size_t)n;
		c->worker->counts.bytes_out += taken;
		c->blocked = c->blocked || taken < len; /* to ask again would give EAGAIN, most likely */
		return taken;
	}
}

static size_t write_some(struct connection *c, const uint8_t *bytes, size_t len)
{
	return c->ssl ? write_secure(c, bytes, len) : write_plain(c, bytes, len);
}

/* Writes what is in out, by at most `most` bytes; false: it was lost. */
static bool write_kept(struct connection *c, size_t most)
{
	size_t len = c->out_len - c->out_at, n;
	if (len == 0)
		return true;
	n = write_some(c, c->out + c->out_at, len < most ? len : most);
	if (n == SIZE_MAX)
		return false;
	c->out_at += n;
	if (c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	return true;
}

/* -- sending -- */

/* A slow sender: one piece at a time, a few bytes now and then. */
static void send_slowly(struct connection *c)
{
	struct worker *w = c->worker;
	const struct load_plan *p = w->job->plan;
	if (c->out_len == 0) {
		size_t len = connection_put_next(c, w->scratch);
		if (len == 0 || !connection_keep(&c->out, &c->out_room, w->scratch, 0, len))
			return;
		c->out_len = len;
	}
	if (w->now_us >= c->drip_us && write_kept(c, p->dribble_bytes)) {
		c->drip_us = w->now_us + p->dribble_us;
		timers_set(&w->timers, &c->timer, c->drip_us);
	}
}

static void send_stream(struct connection *c)
{
	struct worker *w = c->worker;
	size_t len = 0, n;
	if (c->out_len > c->out_at) {
		if (!write_kept(c, SIZE_MAX) || c->blocked)
			return;
	}
	while (w->scratch_size - len >= w->job->room) {
		n = connection_put_next(c, w->scratch + len);
		if (n == 0)
			break;
		len += n;
	}
	if (len == 0)
		return;
	c->sent_us = w->now_us;
	n = write_some(c, w->scratch, len);
	if (n == SIZE_MAX)
		return;
	if (n < len) {
		if (!connection_keep(&c->out, &c->out_room, w->scratch + n, 0, len - n)) {
			connection_lost(c, LOAD_RESOURCES, "out of memory");
			return;
		}
		c->out_len = len - n;
		c->out_at = 0;
	} else if (w->scratch_size - len < w->job->room) {
		connection_queue(c); /* there may be more */
	}
}

static void send_datagrams(struct connection *c)
{
	struct worker *w = c->worker;
	size_t len;
	while (!c->blocked && c->state == CONNECTION_READY &&
	       (len = connection_put_next(c, datagram_room(w, &c->fd))) > 0)
		datagram_put(w, &c->fd, c->number, len);
}

static void send_messages(struct connection *c)
{
	const struct load_job *j = c->worker->job;
	if (j->protocol->datagram)
		send_datagrams(c);
	else if (j->plan->dribble_us)
		send_slowly(c);
	else
		send_stream(c);
}

/* What is written is always whole messages, except for slow senders: so hello, answers and pings of the protocol (out)
 * never come into the middle of one. */
void connection_send(struct connection *c)
{
	const struct load_job *j = c->worker->job;
	if (c->state == CONNECTION_HELLO ||
	    (c->state == CONNECTION_READY && c->out_len > c->out_at && !j->plan->dribble_us))
		if (!c->blocked && !write_kept(c, SIZE_MAX))
			return;
	if (c->state == CONNECTION_READY && !c->blocked && c->worker->now_us >= c->hold_us)
		send_messages(c);
	if (c->state == CONNECTION_READY)
		connection_check_done(c);
	if (c->fd >= 0 && !j->protocol->datagram && c->blocked != c->watching_out && c->state != CONNECTION_OPENS &&
	    c->state != CONNECTION_TLS)
		connection_watch(c, EPOLL_CTL_MOD, c->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
	/* without acknowledgements nothing but the socket holds it back */
	if (c->state == CONNECTION_READY && !c->blocked && !j->confirms && !j->plan->dribble_us &&
	    connection_new_messages(c) > 0)
		connection_queue(c);
}

void connection_queue(struct connection *c)
{
	struct worker *w = c->worker;
	if (c->queued)
		return;
	c->queued = true;
	c->next_ready = NULL;
	if (w->ready_last)
		w->ready_last->next_ready = c;
	else
		w->ready_first = c;
	w->ready_last = c;
}
