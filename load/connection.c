/* The life of a connection: opened, lost, read from, closed; see connection.h. */
#include "load/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

/* -- what its other files need, too -- */

const struct load_protocol *connection_protocol(const struct connection *c)
{
	return c->worker->job->protocol;
}

bool connection_watch(struct connection *c, int how, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = c};
	c->watching_out = events & EPOLLOUT;
	return epoll_ctl(c->worker->epoll_fd, how, c->fd, &e) == 0;
}

enum load_error connection_error_kind(int error)
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

bool connection_keep(uint8_t **buffer, size_t *room, const uint8_t *bytes, size_t at, size_t len)
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

/* A port that was left out of the target is told, too. */
static void connect_failed(struct connection *c, int error)
{
	const struct load_plan *p = c->worker->job->plan;
	connection_lost(c, connection_error_kind(error), "connect to %s port %s: %s", p->host, p->port,
	                strerror(error));
}

static void hello(struct connection *c)
{
	const struct load_protocol *p = connection_protocol(c);
	size_t len = p->hello ? p->hello(c, c->worker->scratch) : 0;
	c->state = CONNECTION_HELLO;
	if (len == 0) {
		connection_ready(c);
		return;
	}
	connection_answer(c, c->worker->scratch, len);
}

/* The connection's own certificate and key, when the plan names them by a template. NULL, or what is wrong. */
static const char *use_own_files(struct connection *c)
{
	const struct load_job *j = c->worker->job;
	char path[512];
	const char *wrong = NULL;
	if (j->cert && payload_max(j->cert, j->name_max) < sizeof(path)) {
		path[connection_text(c, j->cert, 0, (uint8_t *)path)] = 0;
		wrong = secure_use_cert(c->ssl, path);
	}
	if (!wrong && j->key && payload_max(j->key, j->name_max) < sizeof(path)) {
		path[connection_text(c, j->key, 0, (uint8_t *)path)] = 0;
		wrong = secure_use_key(c->ssl, path);
	}
	return wrong;
}

static void connected(struct connection *c)
{
	const struct load_job *j = c->worker->job;
	if (j->tls) {
		const char *wrong = secure_open(&c->ssl, j->tls, c->fd, j->plan->host);
		if (!wrong)
			wrong = use_own_files(c);
		if (wrong) {
			connection_lost(c, LOAD_TLS, "%s", wrong);
			return;
		}
		c->state = CONNECTION_TLS;
	} else {
		hello(c);
	}
	if (c->fd >= 0 && !c->out_len)
		connection_watch(c, EPOLL_CTL_MOD, EPOLLIN);
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
		if (!datagram_open_endpoint(w, c->number, c, &c->fd))
			connection_lost(c, connection_error_kind(errno), "socket: %s", strerror(errno));
		else
			connection_ready(c);
		return;
	}
	if (!open_socket(c) ||
	    (connect(c->fd, (const struct sockaddr *)&j->to, j->to_len) != 0 && errno != EINPROGRESS) ||
	    !connection_watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT))
		connect_failed(c, errno);
}

static void shut(struct connection *c)
{
	SSL_free(c->ssl);
	c->ssl = NULL;
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
	const struct load_protocol *p = connection_protocol(c);
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

/* -- reading -- */

static void take(struct connection *c, size_t len)
{
	struct worker *w = c->worker;
	int fd = c->fd;
	w->counts.bytes_in += len - c->in_len;
	c->read_us = w->now_us;
	atomic_store_explicit(&w->job->last_answer_us, w->now_us, memory_order_relaxed);
	size_t used = connection_protocol(c)->take(c, w->in, len);
	if (c->fd != fd || c->fd < 0)
		return;
	c->in_len = 0;
	if (used < len) {
		if (len - used > w->in_size / 2)
			connection_lost(c, LOAD_PROTOCOL, "an answer longer than %zu bytes", w->in_size / 2);
		else if (!connection_keep(&c->in, &c->in_room, w->in + used, 0, len - used))
			connection_lost(c, LOAD_RESOURCES, "out of memory");
		else
			c->in_len = len - used;
	}
}

static void ended(struct connection *c)
{
	const struct load_protocol *p = connection_protocol(c);
	if (c->finishing && p->finish_by_shutdown) {
		connection_finished(c);
		connection_close(c);
	} else if (!p->closed || !p->closed(c)) {
		connection_lost(c, LOAD_RESET, "the server closed the connection%s",
		                c->state == CONNECTION_HELLO ? " instead of accepting it" : "");
	}
}

/* As recv; -2: it was lost. */
static ssize_t read_secure(struct connection *c, uint8_t *out, size_t room)
{
	struct secure_loss loss;
	ssize_t n = secure_read(c->ssl, out, room, &loss);
	if (n == -2)
		connection_lost(c, loss.kind, "%s", loss.words);
	return n;
}

static void read_some(struct connection *c)
{
	struct worker *w = c->worker;
	do {
		memcpy(w->in, c->in ? c->in : w->in, c->in_len);
		uint8_t *to = w->in + c->in_len;
		size_t room = w->in_size - c->in_len;
		ssize_t n = c->ssl ? read_secure(c, to, room) : recv(c->fd, to, room, 0);
		if (n > 0)
			take(c, c->in_len + (size_t)n);
		else if (n == 0)
			ended(c);
		else if (n == -1 && errno != EAGAIN && errno != EINTR)
			connection_lost(c, connection_error_kind(errno), "read: %s", strerror(errno));
		else
			return;
	} while (c->ssl && c->fd >= 0);
}

void connection_take_datagram(struct connection *c, const uint8_t *in, size_t len)
{
	if (c->state != CONNECTION_READY)
		return;
	c->read_us = c->worker->now_us;
	connection_protocol(c)->take(c, in, len);
	connection_queue(c);
}

/* False: it is lost, or not connected yet. */
static bool go_on_connecting(struct connection *c, uint32_t events)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) {
		connect_failed(c, error);
		return false;
	}
	if (!(events & EPOLLOUT))
		return false;
	connected(c);
	return true;
}

/* False: it is lost, or the handshake is not over. */
static bool go_on_shaking(struct connection *c)
{
	struct secure_loss loss;
	int done = secure_shake(c->ssl, &c->blocked, &loss);
	if (done < 0)
		connection_lost(c, loss.kind, "%s", loss.words);
	else if (done == 0)
		connection_watch(c, EPOLL_CTL_MOD, c->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
	if (done <= 0)
		return false;
	c->blocked = false;
	hello(c);
	connection_watch(c, EPOLL_CTL_MOD, EPOLLIN);
	return true;
}

void connection_event(struct connection *c, uint32_t events)
{
	if (c->state == CONNECTION_OPENS && !go_on_connecting(c, events))
		return;
	if (c->state == CONNECTION_TLS && !go_on_shaking(c))
		return;
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

static void finish(struct connection *c)
{
	const struct load_protocol *p = connection_protocol(c);
	c->finishing = true;
	if (p->finish && !p->finish_by_shutdown)
		connection_answer(c, c->worker->scratch, p->finish(c, c->worker->scratch));
	else if (p->finish_by_shutdown)
		c->worker->job->tls ? connection_finished(c) : (void)shutdown(c->fd, SHUT_WR);
	else
		connection_finished(c);
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

/* Whether the oldest message has waited for too long, and the connection is lost for that. */
static bool is_overdue(struct connection *c)
{
	const struct worker *w = c->worker;
	uint64_t timeout_us = w->job->plan->timeout_us;
	if (connection_protocol(c)->datagram || c->base >= c->next || w->now_us <= c->read_us + timeout_us)
		return false;
	const struct slot *s = connection_slot(c, c->base);
	if (s->state == SLOT_DONE || w->now_us - (s->first_us + s->again_us) <= timeout_us)
		return false;
	connection_lost(c, LOAD_TIMEOUT, "no acknowledgement within %.1f s", (double)timeout_us / 1e6);
	return true;
}

/* Closes it in order and opens it again. */
static void leave(struct connection *c)
{
	const struct load_protocol *p = connection_protocol(c);
	if (p->goodbye)
		connection_answer(c, c->worker->scratch, p->goodbye(c, c->worker->scratch));
	connection_send(c);
	if (c->state == CONNECTION_READY)
		connection_again(c);
}

static void look_ready(struct connection *c)
{
	struct worker *w = c->worker;
	const struct load_plan *p = w->job->plan;
	const struct load_protocol *protocol = w->job->protocol;
	if (protocol->tick)
		protocol->tick(c);
	if (is_overdue(c))
		return;
	if (p->reconnect_us && w->phase == JOB_SEND && w->now_us - c->since_us > p->reconnect_us)
		c->leaving = true;
	if (c->leaving && c->base == c->next && c->out_len == c->out_at) {
		leave(c);
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
