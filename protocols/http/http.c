/* HTTP: POST /v1/telemetry/{device}/{channel...} and batches; docs/http.md describes it as its users see it.
 *
 * libmicrohttpd parses and writes HTTP; it has no thread of its own. The listener's loop waits on the library's epoll
 * descriptor and on the intake's, and lets the library run when there is something to do:
 *
 *	clock -> answers that are due: resume their connections -> the library: writes answers, reads, parses, calls
 *	http_request_handle, which puts messages into the lane and suspends -> publish the lane -> sleep
 *
 * Suspending and resuming happen in this one thread: resumed from another one, the library (0.9.75) stalls. Its epoll
 * is edge-triggered, so its own idea of when it wants to run again (MHD_get_timeout) has to be honoured. A suspended
 * connection is not watched: that its peer has left shows when it is resumed, and until then its struct http_conn stays
 * where the intake's queue points to.
 *
 *	http.c            settings, socket, loop
 *	http_request.c    one request, from its head to its answer
 *	http_head.c       judging the head; http_seams.c: what an old library hides of it
 *	http_take.c       from the body to messages; http_batch.c: splitting; unpack.c: gzip
 *	http_conn.c       connections, time, body memory
 *	http_answer.c     what is answered; http_problem.c: what can be wrong */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/socket.h"
#include "gateway/protocol.h"
#include "protocols/http/http_seams.h"
#include "protocols/http/http_server.h"

#define SWEEP_MS 500          /* how often connections are looked at for their time-outs */
#define HOLD_MS 2             /* between two tries to find room for a batch, if nothing wakes us before */
#define DRAIN_MS 1000         /* an orderly stop waits no longer for peers that do not read their answers */
#define SPARE_CONNECTIONS 64u /* beyond max_connections: they hear 503 rather than nothing */

static const struct setting settings[] = {
    SETTING(struct http, listen, SETTING_ADDRESS, "127.0.0.1:8080", 0, 0,
            "Address and port to listen on; `[::]` is every address, IPv4 too."),
    SETTING(struct http, max_body, SETTING_BYTES, "1MiB", 1024, 256 << 20,
            "Longest request body, as sent. A body with one message may not be longer than max_payload either."),
    SETTING(struct http, max_unpacked, SETTING_BYTES, "4MiB", 1024, 256 << 20,
            "Most that a gzip or deflate body may unpack to."),
    SETTING(struct http, max_head, SETTING_BYTES, "16KiB", 4096, 1 << 20,
            "Memory for the heads of a request and its answer, taken per connection. The request line and headers may "
            "have all but 1 KiB of it, each header counting 64 bytes more than its text."),
    SETTING(struct http, max_buffered, SETTING_BYTES, "64MiB", 65536, 17179869184.0,
            "Memory of all bodies on their way into one listener thread; a body over 4 KiB that finds none is answered "
            "503."),
    SETTING(struct http, max_connections, SETTING_INT, "10000", 1, 1000000,
            "Connections of one listener thread; further ones are answered 503 and closed."),
    SETTING(struct http, max_per_address, SETTING_INT, "0", 0, 1000000,
            "Connections that one IPv4 address or IPv6 /64 may have to one listener thread; further ones are answered "
            "429 and closed. 0: no limit, as behind a proxy."),
    SETTING(struct http, max_batch_lines, SETTING_INT, "10000", 1, 1000000, "Most messages in one batch."),
    SETTING(struct http, idle_timeout, SETTING_DURATION, "30s", 1e6, 3.6e9,
            "A connection is closed when the head of its next request has not arrived, or nothing more of a body, for "
            "so long."),
    SETTING(struct http, request_timeout, SETTING_DURATION, "60s", 1e6, 3.6e9,
            "Longest time that a whole body may take to arrive, or an answer to be read."),
    SETTING(struct http, device, SETTING_STRING, "/device", 0, 0,
            "JSON pointer to the device identifier of each message sent to /v1/telemetry; where there is none, "
            "X-Sluice-Device counts."),
    SETTING(struct http, channel, SETTING_STRING, "/channel", 0, 0,
            "The same for the channel; where there is none, X-Sluice-Channel counts."),
    SETTING(
        struct http, idempotency_keys, SETTING_INT, "10000", 0, 10000000,
        "Values of Idempotency-Key that are remembered, over all threads; the oldest make room. 0: a key is recorded, "
        "and a repetition is another message."),
    SETTING(struct http, idempotency_window, SETTING_DURATION, "1h", 1e6, 2.592e12, "How long they are remembered."),
    SETTING(struct http, backlog, SETTING_INT, "4096", 1, 65535,
            "Connections the kernel queues before they are accepted."),
    SETTINGS_END,
};

/* -- the socket: ours, so that threads can share the port, [::] takes IPv4 too, and an error says which setting it
 * comes from -- */

static enum gw_err socket_open(struct http *h, struct why *why)
{
	char text[SOCKET_TEXT];
	struct socket_share share = {
	    .thread = intake_thread(h->in), .threads = (unsigned)h->common->threads, .port = intake_port(h->in)};
	enum gw_err err = socket_listen(&h->listen, (int)h->backlog, &share, &h->listen_fd, text, why);
	if (err)
		return why_add(why, err, "listen");
	intake_listening(h->in, text);
	return GW_OK;
}

/* -- the library -- */

/* Before 1.0 the library reads some ambiguous requests its own way without a trace for us: docs/http.md lists them. */
static void warn_of_version(const struct http *h)
{
	if (intake_thread(h->in) > 0 || socket_is_loopback(&h->listen) || strncmp(MHD_get_version(), "0.", 2) != 0)
		return;
	log_event(LOG_WARN, "listener",
	          "this version of libmicrohttpd hides ambiguously framed requests: do not put the listener behind a "
	          "proxy that passes them on "
	          "(request smuggling); version 1.0 or later refuses them",
	          LOG_S("sluice.listener", intake_name(h->in)), LOG_S("package.version", MHD_get_version()),
	          LOG_S("server.address", h->listen.host));
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **state, enum MHD_ConnectionNotificationCode what)
{
	struct http *h = cls;
	struct listener_stats *stats = intake_stats(h->in);
	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (!*state)
			return;
		http_conns_close(&h->conns, *state, intake_now_ms(h->in));
		*state = NULL;
	} else {
		int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		const struct sockaddr *peer =
		    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
		*state = http_conns_open(&h->conns, mhd, fd, peer, intake_now_ms(h->in));
		stat_add(&stats->connections_opened, 1);
		if (*state && fd >= h->fd_limit)
			http_request_expired(h, *state, HTTP_CONNECTION_LIMIT);
	}
	stat_set(&stats->connections, h->conns.count);
}

/* Left as it is: http_head.c decodes it, and sees a %00 that would end the text. */
static size_t keep_encoded(void *cls, struct MHD_Connection *mhd, char *text)
{
	(void)cls;
	(void)mhd;
	return strlen(text);
}

static void on_log(void *cls, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void on_log(void *cls, const char *format, va_list args)
{
	struct http *h = cls;
	char text[256];
	uint64_t left_out;
	if (!h->in || !log_enabled(LOG_DEBUG) || !log_allow(&h->log_limit, intake_now_ms(h->in), &left_out))
		return;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = 0;
	log_event(LOG_DEBUG, "listener", "libmicrohttpd", LOG_S("sluice.listener", intake_name(h->in)),
	          LOG_S("error.message", text), LOG_N("log.suppressed", left_out));
}

/* By the version that runs, not the one of the headers. Before 1.0 strictness adds to 0 that the library refuses a
 * missing Host, with an answer that has its head twice, and a space in the target: we do both ourselves. From 1.0 on 1
 * allows no ambiguous framing, and one empty line before a request (RFC 9112 section 2.2), which 2 refuses. */
static int strictness(void)
{
	return strncmp(MHD_get_version(), "0.", 2) == 0 ? 0 : 1;
}

static enum gw_err daemon_open(struct http *h, struct why *why)
{
	/* A backstop behind our own: only inactivity, and silent. */
	uint64_t longest = h->idle_timeout > h->request_timeout ? h->idle_timeout : h->request_timeout;
	h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
	                             http_request_handle, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, (void *)h,
	                             MHD_OPTION_LISTEN_SOCKET, h->listen_fd, MHD_OPTION_STRICT_FOR_CLIENT, strictness(),
	                             MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, (void *)h, MHD_OPTION_NOTIFY_COMPLETED,
	                             http_request_completed, (void *)h, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
	                             (void *)h, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)h->max_head,
	                             MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->max_connections + SPARE_CONNECTIONS,
	                             MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(longest / 1000000) + 5u, MHD_OPTION_END);
	if (!h->daemon)
		return why_set(why, GW_IO, "listen: libmicrohttpd %s could not be started: %s", MHD_get_version(),
		               strerror(errno));
	h->listen_fd = -1; /* the daemon's now */
	return GW_OK;
}

/* -- contract of protocol.h -- */

static enum gw_err pointer_init(struct json_pointer *p, bool *has, const char *name, const char *text, struct why *why)
{
	*has = text && *text;
	if (*has && !json_pointer_init(p, text)) {
		*has = false;
		return why_set(why, GW_CONFIG,
		               "%s: \"%s\" is no JSON pointer; it looks like /device or /meta/id (RFC 6901)", name,
		               text);
	}
	return GW_OK;
}

static enum gw_err http_check(const void *self, const struct listener_settings *common, struct why *why)
{
	const struct http *h = self;
	struct json_pointer p = {.count = 0};
	bool has;
	(void)common;
	enum gw_err err = pointer_init(&p, &has, "device", h->device, why);
	json_pointer_fini(&p);
	if (err)
		return err;
	p = (struct json_pointer){.count = 0};
	err = pointer_init(&p, &has, "channel", h->channel, why);
	json_pointer_fini(&p);
	if (err)
		return err;
	if (h->max_buffered < 2 * h->max_body)
		return why_set(
		    why, GW_CONFIG,
		    "max_buffered: must be at least twice max_body (%llu bytes), or long bodies are never taken",
		    (unsigned long long)h->max_body);
	return GW_OK;
}

static void restore_key(void *keys, const struct state_change *c)
{
	http_keys_restore(keys, c, clock_wall_us());
}

static enum gw_err keys_open(struct http *h, struct why *why)
{
	if (h->idempotency_keys == 0)
		return GW_OK;
	h->keys = intake_shared(h->in, sizeof(*h->keys));
	if (!h->keys || http_keys_open(h->keys, (size_t)h->idempotency_keys))
		return why_set(why, GW_NOMEM, "out of memory");
	if (intake_thread(h->in) == 0)
		intake_recall(h->in, restore_key, h->keys);
	return GW_OK;
}

static enum gw_err http_open(void *self, struct intake *in, struct why *why)
{
	struct http *h = self;
	h->in = in;
	h->common = intake_settings(in);
	h->listen_fd = -1;
	h->opened = true;
	h->fd_limit = socket_limit();
	h->seams = http_seams_apply(MHD_get_version());
	intake_late(in, true);
	enum gw_err err =
	    http_conns_init(&h->conns, (size_t)h->max_connections, (size_t)h->max_per_address, (size_t)h->max_buffered);
	h->rejections = malloc(HTTP_REPORT_MAX);
	if (err || !h->rejections || http_answers_init(&h->answers) != GW_OK)
		return why_set(why, GW_NOMEM, "out of memory");
	if ((err = pointer_init(&h->device_pointer, &h->has_device_pointer, "device", h->device, why)) ||
	    (err = pointer_init(&h->channel_pointer, &h->has_channel_pointer, "channel", h->channel, why)))
		return err;
	if ((err = keys_open(h, why)))
		return err;
	if ((err = socket_open(h, why)) || (err = daemon_open(h, why)))
		return err;
	warn_of_version(h);
	return GW_OK;
}

static void answer_due(struct http *h)
{
	struct answer a;
	while (intake_answer(h->in, &a))
		http_request_settled(h, a.who, &a, false);
}

/* Batches that found no room, oldest first; when the first finds none, the others need not ask. */
static void continue_held(struct http *h, bool last)
{
	struct http_conn *c;
	while ((c = TAILQ_FIRST(&h->conns.phases[PHASE_HOLD])))
		if (!http_request_continue(h, c, last))
			return;
}

static void on_expired(void *self, struct http_conn *c)
{
	http_request_expired(self, c, HTTP_TOO_SLOW);
}

static void sweep(struct http *h, int64_t now_ms)
{
	if (h->conns.lingering > 0)
		http_conns_read_away(&h->conns, now_ms);
	if (now_ms - h->swept_ms < SWEEP_MS)
		return;
	h->swept_ms = now_ms;
	http_conns_sweep(&h->conns, now_ms, (int64_t)(h->idle_timeout / 1000), (int64_t)(h->request_timeout / 1000),
	                 on_expired, h);
}

static void wait_for_work(struct http *h)
{
	struct pollfd fds[2 + HTTP_LINGER_MAX];
	nfds_t count = 2;
	fds[0] =
	    (struct pollfd){.fd = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = intake_fd(h->in), .events = POLLIN};
	for (size_t i = 0; i < h->conns.lingering; i++)
		fds[count++] = (struct pollfd){.fd = h->conns.linger[i].fd, .events = POLLIN};
	MHD_UNSIGNED_LONG_LONG library;
	int ms = h->conns.count > 0 || h->conns.lingering > 0 ? SWEEP_MS : 1000;
	if (!TAILQ_EMPTY(&h->conns.phases[PHASE_HOLD]))
		ms = HOLD_MS;
	if (MHD_get_timeout(h->daemon, &library) == MHD_YES && library < (unsigned)ms)
		ms = (int)library;
	poll(fds, count, intake_sleep(h->in, ms));
}

static void turn(struct http *h)
{
	int64_t now_ms = intake_turn(h->in);
	answer_due(h);
	continue_held(h, h->draining);
	sweep(h, now_ms);
	MHD_run(h->daemon);
	if (h->again) {
		h->again = false;
		MHD_run(h->daemon);
	}
	intake_flush(h->in);
}

static bool is_replying(const struct http *h)
{
	return !TAILQ_EMPTY(&h->conns.phases[PHASE_REPLY]);
}

/* Nothing new is taken: what waits is answered as it becomes safe, bodies on their way are told to go elsewhere. */
static void drain(struct http *h)
{
	h->draining = true;
	h->listen_fd = MHD_quiesce_daemon(h->daemon);
	if (h->listen_fd >= 0)
		close(h->listen_fd);
	h->listen_fd = -1;
	struct http_conn *c;
	TAILQ_FOREACH(c, &h->conns.phases[PHASE_BODY], in_phase)
	if (!c->request.decided)
		http_request_expired(h, c, HTTP_STOPPING);
	int64_t since_ms = intake_now_ms(h->in);
	while (intake_phase(h->in) == INTAKE_DRAIN) {
		turn(h);
		if (intake_waiting(h->in) > 0)
			since_ms = intake_now_ms(h->in);
		else if (!is_replying(h) || intake_now_ms(h->in) - since_ms > DRAIN_MS)
			return;
		wait_for_work(h);
	}
}

static void http_run(void *self)
{
	struct http *h = self;
	while (intake_phase(h->in) == INTAKE_RUN) {
		turn(h);
		wait_for_work(h);
	}
	if (intake_phase(h->in) == INTAKE_DRAIN)
		drain(h);
}

/* The library must not be stopped with suspended connections: its header calls that undefined. Those that still wait
 * when the time for stopping is over hear that their message is not known to be safe. */
static void daemon_close(struct http *h)
{
	struct http_conn *c;
	h->draining = true;
	continue_held(h, true);
	while ((c = TAILQ_FIRST(&h->conns.phases[PHASE_WAIT])))
		http_request_settled(h, c, NULL, true);
	MHD_run(h->daemon);
	MHD_run(h->daemon);
	MHD_stop_daemon(h->daemon);
	h->daemon = NULL;
}

static void http_close(void *self)
{
	struct http *h = self;
	if (!h->opened)
		return;
	if (h->daemon)
		daemon_close(h);
	if (h->listen_fd >= 0)
		close(h->listen_fd);
	http_conns_fini(&h->conns);
	http_answers_fini(&h->answers);
	unpack_fini(&h->unpack);
	if (h->has_device_pointer)
		json_pointer_fini(&h->device_pointer);
	if (h->has_channel_pointer)
		json_pointer_fini(&h->channel_pointer);
	if (h->keys)
		http_keys_close(h->keys);
	free(h->rejections);
	h->opened = false;
}

static void http_hint(const void *self, const char *address, char *out, size_t size)
{
	(void)self;
	snprintf(out, size,
	         "curl -i -H 'Content-Type: application/json' -d '{\"temperature\":21.4}' "
	         "http://%s/v1/telemetry/sensor-4",
	         address);
}

const struct protocol http_protocol = {
    .name = "http",
    .help = "Telemetry by HTTP POST, one message or a batch per request.",
    .size = sizeof(struct http),
    .settings = settings,
    .max_threads = 64,
    .check = http_check,
    .open = http_open,
    .run = http_run,
    .close = http_close,
    .hint = http_hint,
};
