/* The life of a connection and its messages; see connection.h. What is rendered goes to the socket straight from the
 * worker's scratch memory; only what the socket does not take is kept, so an idle connection costs little more than its
 * struct. */
#include "load/connection.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load/connection_parts.h"
#include "load/datagram.h"
#include "load/secure.h"
#include "load/worker.h"

#define BACKOFF_FIRST_US 100000u
#define BACKOFF_MOST_US 2000000u

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static const struct load_protocol *protocol_of(const struct connection *c)
{
	return c->worker->job->protocol;
}

/* -- opening -- */

static void settled(struct connection *c) /* it was tried; how it went does not matter */
{
	struct worker *w = c->worker;
	if (c->state == CONNECTION_OPENS || c->state == CONNECTION_TLS || c->state == CONNECTION_HELLO)
		w->opening--;
	if (!c->tried) {
		c->tried = true;
		w->tried++;
	}
}

static bool watch(struct connection *c, int how, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = c};
	c->watching_out = events & EPOLLOUT;
	return epoll_ctl(c->worker->epoll_fd, how, c->fd, &e) == 0;
}

static bool open_socket(struct connection *c)
{
	const struct load_job *j = c->worker->job;
	int on = 1;
	c->fd = socket(j->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (j->plan->bind_count > 0) {
		/* the port is chosen at connect(), so that the same one can serve several peers */
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(c->fd, (const struct sockaddr *)&j->bind[c->number % j->plan->bind_count], j->to_len) != 0)
			return false;
	}
	return true;
}

static enum load_error kind_of(int error)
{
	switch (error) {
	case ECONNREFUSED: return LOAD_REFUSED;
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH: return LOAD_TIMEOUT;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL:
	case EADDRINUSE: return LOAD_RESOURCES;
	default: return LOAD_RESET;
	}
}

/* A port that was left out of the target is told, too. */
static void connect_failed(struct connection *c, int error)
{
	const struct load_plan *p = c->worker->job->plan;
	connection_lost(c, kind_of(error), "connect to %s port %s: %s", p->host, p->port, strerror(error));
}

static void hello(struct connection *c)
{
	const struct load_protocol *p = protocol_of(c);
	size_t len = p->hello ? p->hello(c, c->worker->scratch) : 0;
	c->state = CONNECTION_HELLO;
	if (len == 0) {
		connection_ready(c);
		return;
	}
	connection_answer(c, c->worker->scratch, len);
}

static void connected(struct connection *c)
{
	if (c->worker->job->tls) {
		const char *wrong = secure_open(c);
		if (wrong) {
			connection_lost(c, LOAD_TLS, "%s", wrong);
			return;
		}
		c->state = CONNECTION_TLS;
	} else {
		hello(c);
	}
	if (c->fd >= 0 && !c->out_len)
		watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

void connection_open(struct connection *c)
{
	struct worker *w = c->worker;
	const struct load_job *j = w->job;
	c->since_us = j->plan->storm && !c->was_ready ? w->began_us : w->now_us;
	c->state = CONNECTION_OPENS;
	c->blocked = c->finishing = c->leaving = c->pinged = false;
	w->opening++;
	if (j->protocol->datagram) {
		if (!datagram_open_endpoint(c))
			connection_lost(c, kind_of(errno), "socket: %s", strerror(errno));
		else
			connection_ready(c);
		return;
	}
	if (!open_socket(c) ||
	    (connect(c->fd, (const struct sockaddr *)&j->to, j->to_len) != 0 && errno != EINPROGRESS) ||
	    !watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT))
		connect_failed(c, errno);
}

static void shut(struct connection *c)
{
	secure_close(c);
	if (c->fd >= 0 && !c->worker->job->one_socket)
		close(c->fd);
	c->fd = -1;
	c->out_len = c->out_at = c->in_len = 0;
}

void connection_ready(struct connection *c)
{
	struct worker *w = c->worker;
	settled(c);
	c->state = CONNECTION_READY;
	w->open++;
	w->counts.connects++;
	if (c->was_ready)
		w->counts.reconnects++;
	else
		atomic_fetch_add_explicit(&w->tried_well, 1, memory_order_relaxed);
	hdr_record(w->connect, w->now_us - c->since_us, 1);
	c->was_ready = true;
	c->since_us = c->read_us = c->sent_us = w->now_us;
	c->counted = c->resend = c->base;
	connection_queue(c);
	if (c->limit == 0)
		connection_check_done(c);
}

/* -- losing -- */

static void rest(struct connection *c, bool pause)
{
	struct worker *w = c->worker;
	if (c->state == CONNECTION_READY)
		w->open--;
	settled(c);
	shut(c);
	c->state = CONNECTION_REST;
	c->blocked = false;
	if (!pause) {
		c->retry_us = w->now_us;
		return;
	}
	c->backoff_us = c->backoff_us ? c->backoff_us * 2 : BACKOFF_FIRST_US;
	if (c->backoff_us > BACKOFF_MOST_US)
		c->backoff_us = BACKOFF_MOST_US;
	c->chance = c->chance * 1664525u + 1013904223u;
	c->retry_us = w->now_us + c->backoff_us / 2 + c->backoff_us * (c->chance >> 8) / (2u << 24);
}

void connection_lost(struct connection *c, enum load_error kind, const char *format, ...)
{
	char words[200];
	va_list args;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	worker_error(c->worker, kind, "%s", words);
	rest(c, true);
}

void connection_again(struct connection *c)
{
	rest(c, false);
}

void connection_close(struct connection *c)
{
	const struct load_protocol *p = protocol_of(c);
	if (c->state == CONNECTION_READY) {
		if (p->goodbye && c->out_len == 0) {
			size_t len = p->goodbye(c, c->worker->scratch);
			if (len > 0)
				connection_answer(c, c->worker->scratch, len);
			connection_send(c);
		}
		if (c->state == CONNECTION_READY) /* else it broke just now */
			c->worker->open--;
	}
	shut(c);
	c->state = CONNECTION_OVER;
}

void connection_free(struct connection *c)
{
	shut(c);
	free(c->slots);
	free(c->out);
	free(c->in);
	free(c->name);
}

/* -- writing -- */

static bool keep(uint8_t **buffer, size_t *room, const uint8_t *bytes, size_t at, size_t len)
{
	if (at + len > *room) {
		size_t more = (at + len) * 2 < 512 ? 512 : (at + len) * 2;
		uint8_t *larger = realloc(*buffer, more);
		if (!larger)
			return false;
		*buffer = larger;
		*room = more;
	}
	memcpy(*buffer + at, bytes, len);
	return true;
}

void connection_answer(struct connection *c, const uint8_t *bytes, size_t len)
{
	if (c->out_at > 0 && c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	if (!keep(&c->out, &c->out_room, bytes, c->out_len, len)) {
		connection_lost(c, LOAD_RESOURCES, "out of memory");
		return;
	}
	c->out_len += len;
	connection_queue(c);
}

/* Writes as much as the socket takes; blocked: it took less. Returns how much; SIZE_MAX: the connection is lost. */
static size_t write_some(struct connection *c, const uint8_t *bytes, size_t len)
{
	struct worker *w = c->worker;
	size_t at = 0;
	if (c->ssl) {
		at = secure_write(c, bytes, len);
	} else {
		while (at < len) {
			ssize_t n = send(c->fd, bytes + at, len - at, MSG_NOSIGNAL);
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0 && errno == EAGAIN) {
				c->blocked = true;
				break;
			}
			if (n < 0) {
				connection_lost(c, kind_of(errno), "write: %s", strerror(errno));
				return SIZE_MAX;
			}
			at += (size_t)n;
			w->counts.bytes_out += (uint64_t)n;
			if (at < len) { /* the next would be EAGAIN, most likely */
				c->blocked = true;
				break;
			}
		}
	}
	return at;
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

static void finish(struct connection *c)
{
	const struct load_protocol *p = protocol_of(c);
	c->finishing = true;
	if (p->finish && !p->finish_by_shutdown)
		connection_answer(c, c->worker->scratch, p->finish(c, c->worker->scratch));
	else if (p->finish_by_shutdown)
		c->worker->job->tls ? connection_finished(c) : (void)shutdown(c->fd, SHUT_WR);
	else
		connection_finished(c);
}

/* A slow sender: one piece at a time, a few bytes now and then. */
static void send_slowly(struct connection *c)
{
	struct worker *w = c->worker;
	const struct load_plan *p = w->job->plan;
	if (c->out_len == 0) {
		size_t len = connection_put_next(c, w->scratch);
		if (len == 0 || !keep(&c->out, &c->out_room, w->scratch, 0, len))
			return;
		c->out_len = len;
	}
	if (w->now_us >= c->drip_us && write_kept(c, p->dribble_bytes)) {
		c->drip_us = w->now_us + p->dribble_us;
		worker_wake_at(w, c, c->drip_us);
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
		if (!keep(&c->out, &c->out_room, w->scratch + n, 0, len - n)) {
			connection_lost(c, LOAD_RESOURCES, "out of memory");
			return;
		}
		c->out_len = len - n;
		c->out_at = 0;
	} else if (w->scratch_size - len < w->job->room) {
		connection_queue(c); /* there may be more */
	}
}

/* What is written is always whole messages, except for slow senders: so hello, answers and pings of the protocol (out)
 * never come into the middle of one. */
void connection_send(struct connection *c)
{
	struct worker *w = c->worker;
	const struct load_job *j = w->job;
	if (c->state == CONNECTION_HELLO ||
	    (c->state == CONNECTION_READY && c->out_len > c->out_at && !j->plan->dribble_us))
		if (!c->blocked && !write_kept(c, SIZE_MAX))
			return;
	if (c->state == CONNECTION_READY && !c->blocked && w->now_us >= c->hold_us) {
		if (j->protocol->datagram) {
			size_t len;
			while (!c->blocked && c->state == CONNECTION_READY &&
			       (len = connection_put_next(c, datagram_room(c))) > 0)
				datagram_put(c, len);
		} else if (j->plan->dribble_us) {
			send_slowly(c);
		} else {
			send_stream(c);
		}
	}
	if (c->state == CONNECTION_READY)
		connection_check_done(c);
	if (c->fd >= 0 && !j->protocol->datagram && c->blocked != c->watching_out && c->state != CONNECTION_OPENS &&
	    c->state != CONNECTION_TLS)
		watch(c, EPOLL_CTL_MOD, c->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
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

/* -- reading -- */

static void take(struct connection *c, size_t len)
{
	struct worker *w = c->worker;
	int fd = c->fd;
	w->counts.bytes_in += len - c->in_len;
	c->read_us = w->now_us;
	atomic_store_explicit(&w->job->last_answer_us, w->now_us, memory_order_relaxed);
	size_t used = protocol_of(c)->take(c, w->in, len);
	if (c->fd != fd || c->fd < 0)
		return;
	c->in_len = 0;
	if (used < len) {
		if (len - used > w->in_size / 2)
			connection_lost(c, LOAD_PROTOCOL, "an answer longer than %zu bytes", w->in_size / 2);
		else if (!keep(&c->in, &c->in_room, w->in + used, 0, len - used))
			connection_lost(c, LOAD_RESOURCES, "out of memory");
		else
			c->in_len = len - used;
	}
}

static void ended(struct connection *c)
{
	const struct load_protocol *p = protocol_of(c);
	if (c->finishing && p->finish_by_shutdown) {
		connection_finished(c);
		connection_close(c);
	} else if (!p->closed || !p->closed(c)) {
		connection_lost(c, LOAD_RESET, "the server closed the connection%s",
		                c->state == CONNECTION_HELLO ? " instead of accepting it" : "");
	}
}

static void read_some(struct connection *c)
{
	struct worker *w = c->worker;
	do {
		memcpy(w->in, c->in ? c->in : w->in, c->in_len);
		ssize_t n;
		if (c->ssl) {
			n = secure_read(c, w->in + c->in_len, w->in_size - c->in_len);
			if (n == -2)
				return; /* it was lost */
		} else {
			n = recv(c->fd, w->in + c->in_len, w->in_size - c->in_len, 0);
		}
		if (n > 0)
			take(c, c->in_len + (size_t)n);
		else if (n == 0)
			ended(c);
		else if (errno != EAGAIN && errno != EINTR)
			connection_lost(c, kind_of(errno), "read: %s", strerror(errno));
		else
			return;
	} while (c->ssl && c->fd >= 0);
}

void connection_event(struct connection *c, uint32_t events)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (c->state == CONNECTION_OPENS) {
		if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) {
			connect_failed(c, error);
			return;
		}
		if (!(events & EPOLLOUT))
			return;
		connected(c);
	}
	if (c->state == CONNECTION_TLS) {
		int done = secure_shake(c);
		if (done < 0 || c->fd < 0)
			return;
		if (done == 0) {
			watch(c, EPOLL_CTL_MOD, c->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
			return;
		}
		c->blocked = false;
		hello(c);
		watch(c, EPOLL_CTL_MOD, EPOLLIN);
	}
	if (c->fd < 0)
		return;
	if (events & EPOLLOUT) {
		c->blocked = false;
		connection_queue(c);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		if (c->ssl && c->blocked)
			c->blocked = false; /* the write may have waited for this */
		read_some(c);
		if (c->fd >= 0)
			connection_queue(c);
	}
}

/* -- the end -- */

void connection_finished(struct connection *c)
{
	c->finished = true;
	if (!c->done) {
		c->done = true;
		c->worker->done++;
	}
}

void connection_check_done(struct connection *c)
{
	const struct load_job *j = c->worker->job;
	bool over = c->next >= c->limit || c->worker->phase >= JOB_DRAIN;
	if (c->done || c->finishing || !over || c->base != c->next || c->out_len > c->out_at ||
	    (j->plan->idle && c->worker->phase < JOB_DRAIN) || c->worker->phase < JOB_SEND)
		return;
	if (j->confirms || c->state != CONNECTION_READY || c->next == 0)
		connection_finished(c);
	else
		finish(c);
}

/* -- time -- */

static void look_ready(struct connection *c)
{
	struct worker *w = c->worker;
	const struct load_plan *p = w->job->plan;
	const struct load_protocol *protocol = w->job->protocol;
	if (protocol->tick)
		protocol->tick(c);
	if (!protocol->datagram && c->base < c->next && w->now_us > c->read_us + p->timeout_us) {
		const struct slot *s = connection_slot(c, c->base);
		if (s->state != SLOT_DONE && w->now_us - (s->first_us + s->again_us) > p->timeout_us) {
			connection_lost(c, LOAD_TIMEOUT, "no acknowledgement within %.1f s",
			                (double)p->timeout_us / 1e6);
			return;
		}
	}
	if (p->reconnect_us && w->phase == JOB_SEND && w->now_us - c->since_us > p->reconnect_us)
		c->leaving = true;
	if (c->leaving && c->base == c->next && c->out_len == c->out_at) {
		if (protocol->goodbye)
			connection_answer(c, w->scratch, protocol->goodbye(c, w->scratch));
		connection_send(c);
		if (c->state == CONNECTION_READY)
			connection_again(c);
		return;
	}
	/* a ping half-way through the keep-alive: MQTT 3.1.1 section 3.1.2.10 */
	if (protocol->ping && p->keep_alive_us && w->now_us - c->sent_us > p->keep_alive_us / 2 &&
	    c->out_len == c->out_at) {
		c->sent_us = w->now_us;
		connection_answer(c, w->scratch, protocol->ping(c, w->scratch));
	}
	if ((c->hold_us && w->now_us >= c->hold_us) || c->resend < c->next)
		connection_queue(c);
}

void connection_look(struct connection *c)
{
	struct worker *w = c->worker;
	switch ((enum connection_state)c->state) {
	case CONNECTION_REST:
		if (w->phase >= JOB_DRAIN && c->base == c->next)
			connection_finished(c);
		else if (w->now_us >= c->retry_us)
			connection_open(c);
		break;
	case CONNECTION_OPENS:
	case CONNECTION_TLS:
	case CONNECTION_HELLO:
		if (w->now_us - c->since_us > w->job->plan->timeout_us)
			connection_lost(c, LOAD_TIMEOUT, "no connection within %.1f s",
			                (double)w->job->plan->timeout_us / 1e6);
		break;
	case CONNECTION_READY: look_ready(c); break;
	case CONNECTION_NEW:
	case CONNECTION_OVER: break;
	}
	if (c->state == CONNECTION_READY)
		connection_check_done(c);
}
