/* The loop of a stream listener: one thread, one epoll set (through libevent), its connections and their timers. The
 * contract is stream.h; what happens to a single connection is in stream_conn.c, stream_read.c and stream_write.c.
 *
 * libevent only tells readiness: its callbacks put connections on the list `ready`, and the work is done after
 * intake_turn has read the clock. One turn: clock, phase -> accept -> held connections: try again -> ready
 * connections: read, parse, put -> timers -> publish the lane
 *	-> answers that are due -> write, close (the list `dirty`) -> free -> sleep
 * Everything that waits is found by one of: readiness, the intake's eventfd, stream_wake, or the time-out computed in
 * sleep_ms. */
#include "protocols/net/stream_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/base/socket.h"

#define ACCEPT_TURN 64           /* connections accepted per turn */
#define ACCEPT_PAUSE_MS 1000     /* when descriptors or memory have run out */
#define FLUSH_BYTES (512u << 10) /* read in one turn before the lane is published early */
#define HOLD_MS_MAX 32           /* pause between two tries to find room */
#define HELD_TURN (1u << 20)     /* bytes of the lane that held connections fill in one turn */
#define STOPPED_MS 2500          /* a turn later than this: the whole process was stopped or starved */
#define GRACE_MS 2000            /* what devices sent meanwhile is read before their deadlines count again */
#define DRAIN_MS 1000            /* peers that do not read hold an orderly stop up no longer than this */

/* -- opening -- */

static enum gw_err listen_on(struct stream *s, struct why *why)
{
	char text[SOCKET_TEXT];
	struct socket_share share = {.thread = intake_thread(s->in),
	                             .threads = (unsigned)intake_settings(s->in)->threads,
	                             .port = intake_port(s->in)};
	enum gw_err err =
	    socket_listen(&s->settings->listen, (int)s->settings->backlog, &share, &s->listen_fd, text, why);
	if (err)
		return why_add(why, err, "listen");
	intake_listening(s->in, text);
	return GW_OK;
}

static void on_listener(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	((struct stream *)arg)->acceptable = true;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	((struct stream *)arg)->wake_fired = true;
}

static void on_nothing(evutil_socket_t fd, short what, void *arg) /* that the loop woke is all */
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void on_log(int severity, const char *text)
{
	log_event(severity >= EVENT_LOG_WARN ? LOG_WARN : LOG_DEBUG, "listener", "event loop",
	          LOG_S("error.message", text));
}

static enum gw_err make_base(struct stream *s, struct why *why)
{
	struct event_config *config = event_config_new();
	if (!config)
		return why_set(why, GW_NOMEM, "event loop: out of memory");
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
	s->base = event_base_new_with_config(config);
	event_config_free(config);
	if (!s->base)
		return why_set(why, GW_NOMEM, "event loop: cannot be made");
	event_assign(&s->listener, s->base, s->listen_fd, EV_READ | EV_PERSIST, on_listener, s);
	event_assign(&s->intake_event, s->base, intake_fd(s->in), EV_READ | EV_PERSIST, on_nothing, s);
	event_assign(&s->wake_event, s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
	event_assign(&s->tick, s->base, -1, 0, on_nothing, s);
	if (event_add(&s->listener, NULL) || event_add(&s->intake_event, NULL) || event_add(&s->wake_event, NULL))
		return why_set(why, GW_IO, "event loop: cannot watch the listening socket");
	return GW_OK;
}

enum gw_err stream_open(struct stream **out, const struct stream_settings *settings,
                        const struct stream_protocol *protocol, void *self, struct intake *in, struct why *why)
{
	struct stream *s = calloc(1, sizeof(*s));
	if (!s)
		return why_set(why, GW_NOMEM, "out of memory");
	s->settings = settings;
	s->protocol = protocol;
	s->self = self;
	s->in = in;
	s->stats = intake_stats(in);
	s->listen_fd = -1;
	s->fd_limit = socket_limit();
	s->now_ms = intake_now_ms(in);
	wheel_init(&s->wheel, s->now_ms);
	TAILQ_INIT(&s->open);
	TAILQ_INIT(&s->zombies);
	TAILQ_INIT(&s->dead);
	TAILQ_INIT(&s->ready);
	TAILQ_INIT(&s->dirty);
	TAILQ_INIT(&s->held);
	event_set_log_callback(on_log);
	s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->buffer = malloc(REST_SMALL + READ_CHUNK);
	enum gw_err err = GW_OK;
	if (s->wake_fd < 0)
		err = why_set(why, GW_IO, "eventfd: %s", strerror(errno));
	else if (!s->buffer)
		err = why_set(why, GW_NOMEM, "out of memory");
	if (err || (err = listen_on(s, why)) || (err = make_base(s, why))) {
		stream_free(s);
		return err;
	}
	*out = s;
	return GW_OK;
}

/* -- accepting -- */

static void accept_pause(struct stream *s, int error)
{
	event_del(&s->listener);
	s->accept_paused = true;
	s->accept_at = s->now_ms + ACCEPT_PAUSE_MS;
	stat_add(&s->stats->accept_pauses, 1);
	uint64_t left_out;
	if (log_allow(&s->accept_log, s->now_ms, &left_out))
		log_event(LOG_ERROR, "listener",
		          error == EMFILE || error == ENFILE
		              ? "cannot accept connections, waiting a second; raise the limit of open files"
		              : "cannot accept connections, waiting a second",
		          LOG_S("listener.name", intake_name(s->in)), LOG_S("error.message", strerror(error)),
		          LOG_N("connections", s->count), LOG_N("suppressed", left_out));
}

static void refuse_excess(struct stream *s, int fd)
{
	close(fd);
	intake_refuse(s->in, REFUSED_CONNECTIONS);
	uint64_t left_out;
	if (log_allow(&s->limit_log, s->now_ms, &left_out))
		log_event(LOG_WARN, "listener", "too many connections, closing new ones at once; see max_connections",
		          LOG_S("listener.name", intake_name(s->in)),
		          LOG_N("max_connections", s->settings->max_connections), LOG_N("suppressed", left_out));
}

/* Asked before accepting: who waits in the kernel's queue is served later, who was accepted could only be closed. */
static bool descriptor_left(const struct stream *s)
{
	int lowest = fcntl(s->wake_fd, F_DUPFD_CLOEXEC, 0);
	if (lowest >= 0)
		close(lowest);
	return lowest >= 0 && lowest < s->fd_limit;
}

static void accept_some(struct stream *s)
{
	if (s->accept_paused && s->now_ms >= s->accept_at && !s->draining) {
		s->accept_paused = event_add(&s->listener, NULL) != 0;
		s->accept_at = s->now_ms + ACCEPT_PAUSE_MS;
	}
	if (!s->acceptable)
		return;
	s->acceptable = false; /* level-triggered: told again if there are more */
	for (int i = 0; i < ACCEPT_TURN; i++) {
		if (!descriptor_left(s)) {
			if (i == 0) /* somebody waits */
				accept_pause(s, EMFILE);
			return;
		}
		union {
			struct sockaddr any;
			struct sockaddr_storage room;
		} peer;
		socklen_t len = sizeof(peer);
		int fd = accept4(s->listen_fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 && s->count >= (uint64_t)s->settings->max_connections) {
			refuse_excess(s, fd);
		} else if (fd >= 0 && !stream_conn_new(s, fd, &peer.any)) {
			accept_pause(s, ENOMEM);
			return;
		} else if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			accept_pause(s, errno);
			return;
		} else if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			return;
		} /* all else is an error of that one connection: accept(2) passes network errors on */
	}
}

/* -- the loop -- */

void stream_on_ready(evutil_socket_t fd, short what, void *conn)
{
	(void)fd;
	stream_link_ready(conn, (unsigned)what & (EV_READ | EV_WRITE));
}

void stream_link_ready(struct stream_conn *c, unsigned fired)
{
	if (c->state == CONN_DEAD)
		return;
	c->fired = (uint8_t)(c->fired | fired);
	if (c->in_ready)
		return;
	c->in_ready = true;
	TAILQ_INSERT_TAIL(&c->stream->ready, c, ready);
}

/* Connections made ready while the list is gone through (stream_resume) have their turn, too: each does at most one
 * read. */
static void serve_ready(struct stream *s)
{
	struct stream_conn *c;
	while ((c = TAILQ_FIRST(&s->ready))) {
		TAILQ_REMOVE(&s->ready, c, ready);
		c->in_ready = false;
		stream_conn_mark_ready(c);
		if (s->unflushed >= FLUSH_BYTES) {
			intake_flush(s->in);
			s->unflushed = 0;
		}
	}
}

static void serve_timers(struct stream *s)
{
	struct wheel_timer *t;
	while ((t = wheel_next(&s->wheel, s->now_ms)))
		stream_conn_timer((struct stream_conn *)(void *)((char *)t - offsetof(struct stream_conn, timer)));
}

/* In the order in which they were held, until one finds no room. They come before what has become readable, or that
 * would take the room that they wait for; and no more is put in one turn than can be published and answered soon. */
static void serve_held(struct stream *s)
{
	bool stuck = false;
	uint64_t enough = intake_position(s->in) + HELD_TURN;
	while (!stuck && !TAILQ_EMPTY(&s->held) && intake_position(s->in) < enough) {
		struct stream_conn *c = TAILQ_FIRST(&s->held);
		stream_conn_retry(c);
		stuck = c == TAILQ_FIRST(&s->held);
	}
	if (!stuck)
		s->hold_ms = 0;
	else if (s->hold_ms < HOLD_MS_MAX)
		s->hold_ms = s->hold_ms > 0 ? 2 * s->hold_ms : 1;
}

static void serve_answers(struct stream *s)
{
	struct answer a;
	while (intake_answer(s->in, &a))
		stream_conn_answered(a.who, a.what);
}

static void push_output(struct stream *s)
{
	struct stream_conn *c;
	while ((c = TAILQ_FIRST(&s->dirty))) {
		TAILQ_REMOVE(&s->dirty, c, dirty);
		c->in_dirty = false;
		stream_conn_push(c);
	}
}

void stream_wake(struct stream *s)
{
	if (atomic_exchange_explicit(&s->woken, true, memory_order_acq_rel))
		return; /* somebody did, and take_wake has not been there since */
	uint64_t one = 1;
	ssize_t n = write(s->wake_fd, &one, sizeof(one));
	(void)n;
}

/* First the descriptor, then the flag: the other way round a wake in between would leave the flag set and the
 * descriptor empty. The exchange sees what the waker did before its own. */
static void take_wake(struct stream *s)
{
	if (!s->wake_fired)
		return;
	s->wake_fired = false;
	uint64_t drop;
	ssize_t n = read(s->wake_fd, &drop, sizeof(drop));
	(void)n;
	atomic_exchange_explicit(&s->woken, false, memory_order_acq_rel);
}

static int sooner(int a, int64_t b)
{
	if (b < 0)
		return a;
	return a < 0 || b < a ? (int)b : a;
}

/* The time until something of our own is to be done; -1: nothing is. */
static int sleep_ms(const struct stream *s)
{
	if (!TAILQ_EMPTY(&s->ready) || !TAILQ_EMPTY(&s->dirty))
		return 0;
	int ms = wheel_wait(&s->wheel, s->now_ms);
	if (!TAILQ_EMPTY(&s->held))
		ms = sooner(ms, s->hold_ms);
	if (s->accept_paused)
		ms = sooner(ms, s->accept_at > s->now_ms ? s->accept_at - s->now_ms : 0);
	return ms;
}

static void wait_ready(struct stream *s)
{
	int ms = intake_sleep(s->in, sleep_ms(s));
	if (ms > 0) {
		struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
		event_add(&s->tick, &tv);
	}
	/* Without ONCE it would go round for as long as anything is ready. */
	event_base_loop(s->base, ms > 0 ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void drain_begin(struct stream *s)
{
	s->draining = true;
	s->drain_until = s->now_ms + DRAIN_MS;
	s->accept_paused = s->acceptable = false;
	event_del(&s->listener);
	close(s->listen_fd);
	s->listen_fd = -1;
	struct stream_conn *c, *next;
	for (c = TAILQ_FIRST(&s->open); c; c = next) {
		next = TAILQ_NEXT(c, all);
		if (c->state == CONN_LINGERING)
			stream_conn_destroy(c);
		else
			stream_close(c, true);
	}
}

static bool drained(const struct stream *s)
{
	return intake_waiting(s->in) == 0 && (TAILQ_EMPTY(&s->open) || s->now_ms >= s->drain_until);
}

static void turn(struct stream *s)
{
	take_wake(s);
	accept_some(s);
	serve_held(s);
	serve_ready(s);
	serve_timers(s);
	if (s->protocol->turn)
		s->protocol->turn(s->self);
	intake_flush(s->in);
	s->unflushed = 0;
	serve_answers(s);
	push_output(s);
	stream_conn_reap(s);
}

void stream_run(struct stream *s)
{
	for (;;) {
		int64_t before = s->now_ms;
		s->now_ms = intake_turn(s->in);
		if (s->now_ms - before > STOPPED_MS)
			s->grace_until = s->now_ms + GRACE_MS;
		enum intake_phase phase = intake_phase(s->in);
		if (phase == INTAKE_END)
			return;
		if (phase == INTAKE_DRAIN && !s->draining)
			drain_begin(s);
		turn(s);
		if (s->draining && drained(s))
			return;
		wait_ready(s);
	}
}

/* -- the end -- */

static void free_all(struct conn_list *list)
{
	struct stream_conn *c;
	while ((c = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, c, all);
		free(c);
	}
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	while (!TAILQ_EMPTY(&s->open))
		stream_conn_destroy(TAILQ_FIRST(&s->open));
	free_all(&s->dead);
	free_all(&s->zombies);
	if (s->base) {
		event_del(&s->listener);
		event_del(&s->intake_event);
		event_del(&s->wake_event);
		event_del(&s->tick);
		event_base_free(s->base);
	}
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	while (s->pool) {
		void *b = s->pool;
		memcpy(&s->pool, b, sizeof(s->pool));
		free(b);
	}
	free(s->buffer);
	free(s);
}
