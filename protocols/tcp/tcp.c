/* TCP: one payload per line, ended by LF or CRLF. A NUL ends a line that begins like JSON, too: it is what C programs send with
 * sizeof, and GELF between its messages. In any other line it is a byte like all.
 *
 * Lines are numbered from 1 on each connection, in the order received. Empty lines are skipped and have no number, nor
 * has the first line where it names the device. A last line without newline counts when the device shuts down its side
 * (nc -N). With `reply: count` the device hears
 *
 *	ok <n>              every line up to n is safe at the listener's ack level, except those that were refused;
 *	                    only the newest n is told
 *	error <n> <reason>  line n was refused and will never be taken; in its place among the others. The reasons are
 *	                    the words of the metric sluice_messages_refused_total
 *	error 0 <reason>    the connection itself was refused, and closes
 *
 * A device that did not hear of a line sends it again on its next connection.
 *
 * All lines of one read wait for one position: what an answer costs is paid per read, not per line. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/utf8.h"
#include "gateway/protocol.h"
#include "protocols/net/stream.h"

#define NULS_MAX 16   /* before a line, that are looked at */
#define REASON_BITS 8 /* of what is awaited: line number << REASON_BITS | 0 (ok) or 1 + enum refusal_reason */

enum tcp_reply { REPLY_NONE, REPLY_COUNT };

struct tcp {
	struct stream_settings stream;
	uint64_t max_line;
	struct string_list device;
	char *channel;
	int reply; /* enum tcp_reply */
	uint64_t idle_timeout;

	/* from here on: set by open, constant after */
	struct stream_protocol protocol;
	struct stream *streams;
	struct intake *in;
	struct json_pointer *pointers; /* owned: the pointers among `device`, tried in order */
	size_t pointer_count;
	bool first_line, peer; /* what names the device where no pointer finds it */
	struct json_pointer channel_pointer;
	bool has_channel;
	size_t longest; /* bytes of a line */
	bool binary;    /* payload: binary; a NUL never ends a line */
};

struct tcp_conn {
	char *device;      /* owned: the first line, or the peer's address as text; NULL: not known yet */
	uint64_t line;     /* number of the last line received */
	uint64_t unasked;  /* lines up to this one are put and not awaited yet; 0: none */
	uint64_t position; /* of the last of them */
	uint32_t searched; /* bytes of the kept rest that hold no newline */
	uint16_t device_len;
	uint8_t ok_len;     /* length of the last answer, if it was an ok: a newer one takes its place */
	bool skipping;      /* inside a line that was refused as too long ... */
	bool skipping_json; /* ... and ends at a NUL, too */
};

static const char *const reply_names[] = {"none", "count", NULL};

static const struct setting tcp_settings[] = {
    STREAM_SETTINGS(struct tcp, "5170"),
    SETTING_REQUIRED(
        struct tcp, device, SETTING_LIST,
        "Where the device's identifier comes from, tried in order: a JSON pointer into the payload "
        "(`/device`), `first_line` (the connection's first line "
        "is the identifier) or `peer` (the peer's address without port). With a pointer and `peer`, a line that "
        "begins like JSON and cannot be read is invalid (see on_invalid), not a text of its peer."),
    SETTING(struct tcp, channel, SETTING_STRING, NULL, 0, 0,
            "JSON pointer to the channel in the payload, such as `/channel`."),
    SETTING(struct tcp, max_line, SETTING_BYTES, "1MiB", 16, 1 << 20,
            "Longest line in bytes, its end not counted; max_payload limits it, too. A longer one is refused as "
            "too_large and skipped."),
    SETTING_CHOICES(struct tcp, reply, "none", reply_names,
                    "`count`: tell the device `ok <count>` when all lines up to that one are safe, and `error <line> "
                    "<reason>` for a refused one; `none`: nothing."),
    SETTING(struct tcp, idle_timeout, SETTING_DURATION, "5m", 0, 2.4e12,
            "A connection without a whole line for this long is closed; 0: never."),
    SETTINGS_END,
};

/* -- settings -- */

static enum gw_err check_device(const char *how, bool last, struct why *why)
{
	if (how[0] == '/') {
		struct json_pointer p;
		if (!json_pointer_init(&p, how))
			return why_set(why, GW_CONFIG, "device: %s is not a JSON pointer (RFC 6901)", how);
		json_pointer_fini(&p);
		return GW_OK;
	}
	if (strcmp(how, "first_line") != 0 && strcmp(how, "peer") != 0)
		return why_set(why, GW_CONFIG,
		               "device: %s is unknown; allowed: a JSON pointer like /device, first_line, peer", how);
	if (!last)
		return why_set(why, GW_CONFIG, "device: %s always names a device, so nothing may stand behind it", how);
	return GW_OK;
}

static enum gw_err tcp_check(const void *self, const struct listener_settings *common, struct why *why)
{
	const struct tcp *t = self;
	(void)common;
	if (t->device.count == 0)
		return why_set(why, GW_CONFIG,
		               "device: must name at least one way to find the device, such as [/device, peer]");
	for (size_t i = 0; i < t->device.count; i++) {
		enum gw_err err = check_device(t->device.items[i], i + 1 == t->device.count, why);
		if (err)
			return err;
	}
	struct json_pointer p;
	if (t->channel && (t->channel[0] != '/' || !json_pointer_init(&p, t->channel)))
		return why_set(why, GW_CONFIG, "channel: %s is not a JSON pointer (RFC 6901), such as /channel",
		               t->channel);
	if (t->channel)
		json_pointer_fini(&p);
	return GW_OK;
}

/* -- the device -- */

static bool set_device(struct tcp_conn *own, const void *text, size_t len)
{
	own->device = malloc(len > 0 ? len : 1);
	if (!own->device)
		return false;
	memcpy(own->device, text, len);
	own->device_len = (uint16_t)len;
	return true;
}

/* Once per connection: the peer's address does not change. */
static bool set_peer(struct tcp_conn *own, struct stream_conn *c)
{
	char text[INET6_ADDRSTRLEN];
	const struct sockaddr *peer = stream_peer(c);
	const void *address = peer->sa_family == AF_INET6
	                          ? (const void *)&((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr
	                          : (const void *)&((const struct sockaddr_in *)(const void *)peer)->sin_addr;
	return inet_ntop(peer->sa_family, address, text, sizeof(text)) && set_device(own, text, strlen(text));
}

static bool is_name(const uint8_t *text, size_t len)
{
	const char *name = (const char *)text;
	return len <= DEVICE_MAX && utf8_check(name, len) == len && !utf8_has_control(name, len);
}

/* -- answers -- */

static void say(struct stream_conn *c, const char *format, uint64_t line, const char *reason)
{
	char text[96];
	struct tcp_conn *own = stream_own(c);
	int len = snprintf(text, sizeof(text), format, (unsigned long long)line, reason);
	stream_write(c, text, (size_t)len);
	own->ok_len = 0;
}

static void say_ok(struct stream_conn *c, uint64_t line)
{
	struct tcp_conn *own = stream_own(c);
	if (own->ok_len > 0)
		stream_unwrite(c, own->ok_len); /* when it has left already there is nothing to take back */
	char text[32] = "ok ", *end = text + sizeof(text), *at = end;
	*--at = '\n';
	for (uint64_t n = line; n > 0; n /= 10)
		*--at = (char)('0' + n % 10);
	memcpy(at -= 3, "ok ", 3);
	stream_write(c, at, (size_t)(end - at));
	own->ok_len = (uint8_t)(end - at);
}

static void tcp_answer(void *self, struct stream_conn *c, uint64_t what)
{
	(void)self;
	uint64_t line = what >> REASON_BITS, reason = what & ((1u << REASON_BITS) - 1);
	if (reason == 0) {
		say_ok(c, line);
		return;
	}
	say(c, "error %llu %s\n", line, stats_refusal_names[reason - 1]);
}

/* Asks for the answer to the lines put so far; all at once. */
static void await_lines(const struct tcp *t, struct stream_conn *c, struct tcp_conn *own)
{
	if (own->unasked == 0)
		return;
	if (t->reply == REPLY_COUNT)
		stream_await(c, own->position, ANSWER_ACKNOWLEDGEMENT, own->unasked << REASON_BITS);
	own->unasked = 0;
}

/* Its answer waits for what came before it. */
static void await_error(const struct tcp *t, struct stream_conn *c, struct tcp_conn *own, enum refusal_reason reason)
{
	await_lines(t, c, own);
	if (t->reply == REPLY_COUNT)
		stream_await(c, intake_position(t->in), ANSWER_REFUSAL,
		             own->line << REASON_BITS | (1u + (unsigned)reason));
}

static void report(struct tcp *t, struct stream_conn *c, enum refusal_reason reason, const char *detail)
{
	const struct tcp_conn *own = stream_own(c);
	const struct refused_sender who = {
	    .peer = stream_peer(c), .device = own->device, .device_len = own->device_len, .detail = detail};
	intake_report(t->in, reason, &who);
}

static void refuse_connection(struct tcp *t, struct stream_conn *c, enum refusal_reason reason, const char *detail)
{
	intake_refuse(t->in, reason);
	report(t, c, reason, detail);
	if (t->reply == REPLY_COUNT)
		say(c, "error %llu %s\n", 0, stats_refusal_names[reason]);
	stream_close(c, true);
}

/* -- lines -- */

static void take_first_line(struct tcp *t, struct stream_conn *c, struct tcp_conn *own, const uint8_t *text, size_t len)
{
	if (!is_name(text, len))
		refuse_connection(t, c, REFUSED_DEVICE, "the first line is no device identifier");
	else if (!set_device(own, text, len))
		stream_close(c, true);
}

static bool is_all_nul(const uint8_t *text, size_t len)
{
	while (len > 0 && text[len - 1] == 0)
		len--;
	return len == 0;
}

/* False: there is no room for it now, it has to be offered again. */
static bool take_line(struct tcp *t, struct stream_conn *c, struct tcp_conn *own, const uint8_t *text, size_t len)
{
	if (len > 0 && text[len - 1] == '\r')
		len--;
	if (len == 0 || (len <= NULS_MAX && !t->binary && is_all_nul(text, len)))
		return true;
	if (!own->device && t->first_line) {
		take_first_line(t, c, own, text, len);
		return true;
	}
	if (!own->device && t->peer && !set_peer(own, c)) {
		stream_close(c, true);
		return true;
	}
	if (stream_crowded(c))
		return false;
	struct message m = {.device = own->device,
	                    .device_len = own->device_len,
	                    .payload = text,
	                    .payload_len = len,
	                    .kind = PAYLOAD_AUTO,
	                    .device_pointer = t->pointers,
	                    .device_pointers = t->pointer_count,
	                    .device_is_address = t->peer,
	                    .channel_pointer = t->has_channel ? &t->channel_pointer : NULL,
	                    .qos = -1,
	                    .peer = stream_peer(c)};
	struct refusal refusal = {.reason = REFUSED_TOO_LARGE};
	uint64_t position;
	switch (intake_put(t->in, &m, &position, &refusal)) {
	case GW_OK:
		own->unasked = ++own->line;
		own->position = position;
		return true;
	case GW_FULL: return false;
	default:
		own->line++;
		report(t, c, refusal.reason, refusal.text);
		await_error(t, c, own, refusal.reason);
		return true;
	}
}

static void refuse_long(struct tcp *t, struct stream_conn *c, struct tcp_conn *own)
{
	if (!own->device && t->first_line) {
		refuse_connection(t, c, REFUSED_DEVICE, "the first line is longer than max_line");
		return;
	}
	intake_refuse(t->in, REFUSED_TOO_LARGE);
	own->line++;
	report(t, c, REFUSED_TOO_LARGE, "the line is longer than max_line or max_payload; is its end missing?");
	await_error(t, c, own, REFUSED_TOO_LARGE);
}

/* A whole line of len bytes, its CR included. False as take_line. */
static bool end_line(struct tcp *t, struct stream_conn *c, struct tcp_conn *own, const uint8_t *text, size_t len)
{
	if (own->skipping) {
		own->skipping = false;
		return true;
	}
	if (len > t->longest && (len > t->longest + 1 || text[len - 1] != '\r')) {
		refuse_long(t, c, own);
		return true;
	}
	return take_line(t, c, own, text, len);
}

static bool begins_json(const uint8_t *at, const uint8_t *end)
{
	return at < end && (*at == '{' || *at == '[' || (end - at >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0));
}

/* Whether a NUL ends the line at `at`: it begins like JSON, or some NULs stand before one that does, or before its end. */
static bool nul_ends(const struct tcp *t, const uint8_t *at, const uint8_t *end)
{
	if (t->binary || at == end)
		return false;
	const uint8_t *json = at;
	while (json < end && *json == 0 && json - at < NULS_MAX)
		json++;
	return begins_json(json, end) || (json > at && json < end && (*json == '\n' || *json == '\r'));
}

/* Bytes behind the last newline. What is too long already is refused now and dropped as it comes. */
static size_t keep_or_skip(struct tcp *t, struct stream_conn *c, struct tcp_conn *own, const uint8_t *at, size_t len)
{
	if (!own->skipping && len > t->longest + 1) {
		refuse_long(t, c, own);
		own->skipping = true;
		own->skipping_json = nul_ends(t, at, at + len);
	}
	own->searched = own->skipping ? 0 : (uint32_t)len;
	return own->skipping ? len : 0;
}

static void restart_idle(const struct tcp *t, struct stream_conn *c)
{
	stream_deadline(c, (uint32_t)(t->idle_timeout / 1000));
}

/* The end of the line at `at`, whose bytes before `search` have none; NULL: none yet. *newline is the next LF, kept from
 * call to call: NULL is not known yet, end is that there is none. */
static const uint8_t *find_end(const struct tcp *t, const struct tcp_conn *own, const uint8_t *at,
                               const uint8_t *search, const uint8_t *end, const uint8_t **newline)
{
	if (!*newline || *newline < search) {
		*newline = memchr(search, '\n', (size_t)(end - search));
		if (!*newline)
			*newline = end;
	}
	if (own->skipping ? own->skipping_json : nul_ends(t, at, end)) {
		if (!own->skipping && *at == 0) /* it was not clear before what follows */
			return at;
		const uint8_t *nul = memchr(search, 0, (size_t)(*newline - search));
		if (nul)
			return nul;
	}
	return *newline < end ? *newline : NULL;
}

static size_t tcp_data(void *self, struct stream_conn *c, const uint8_t *bytes, size_t len)
{
	struct tcp *t = self;
	struct tcp_conn *own = stream_own(c);
	const uint8_t *at = bytes, *end = bytes + len, *search = bytes + own->searched, *stop = NULL, *newline = NULL;
	own->searched = 0;
	while (!stream_blocked(c) && (stop = find_end(t, own, at, search, end, &newline))) {
		if (!end_line(t, c, own, at, (size_t)(stop - at))) {
			stream_hold(c);
			break;
		}
		at = search = stop + 1;
	}
	if (at > bytes)
		restart_idle(t, c);
	if (!stop && !stream_blocked(c))
		at += keep_or_skip(t, c, own, at, (size_t)(end - at));
	await_lines(t, c, own);
	return (size_t)(at - bytes);
}

/* The rest is a line, too. */
static size_t tcp_finished(void *self, struct stream_conn *c, const uint8_t *bytes, size_t len)
{
	struct tcp *t = self;
	struct tcp_conn *own = stream_own(c);
	if (len == 0)
		return 0;
	if (!end_line(t, c, own, bytes, len)) {
		stream_hold(c);
		return 0;
	}
	await_lines(t, c, own);
	return len;
}

static void tcp_accepted(void *self, struct stream_conn *c)
{
	restart_idle(self, c);
}

static void tcp_deadline(void *self, struct stream_conn *c)
{
	struct tcp *t = self;
	if (stream_waiting(c) > 0) { /* it is we who are slow */
		restart_idle(t, c);
		return;
	}
	intake_refuse(t->in, REFUSED_TIMEOUT);
	stream_close(c, false);
}

static void tcp_ended(void *self, struct stream_conn *c)
{
	(void)self;
	struct tcp_conn *own = stream_own(c);
	free(own->device);
	own->device = NULL;
}

/* -- the listener -- */

static enum gw_err read_settings(struct tcp *t, struct why *why)
{
	t->pointers = calloc(t->device.count + 1, sizeof(*t->pointers));
	if (!t->pointers)
		return why_set(why, GW_NOMEM, "out of memory");
	for (size_t i = 0; i < t->device.count; i++) {
		const char *how = t->device.items[i];
		if (strcmp(how, "first_line") == 0)
			t->first_line = true;
		else if (strcmp(how, "peer") == 0)
			t->peer = true;
		else if (json_pointer_init(&t->pointers[t->pointer_count], how))
			t->pointer_count++;
		else
			return why_set(why, GW_NOMEM, "out of memory");
	}
	t->has_channel = t->channel != NULL;
	if (t->has_channel && !json_pointer_init(&t->channel_pointer, t->channel)) {
		t->has_channel = false;
		return why_set(why, GW_NOMEM, "out of memory");
	}
	return GW_OK;
}

static enum gw_err tcp_open(void *self, struct intake *in, struct why *why)
{
	struct tcp *t = self;
	t->in = in;
	const struct listener_settings *common = intake_settings(in);
	t->binary = common->payload == PAYLOAD_BINARY;
	t->longest = t->max_line < common->max_payload ? t->max_line : common->max_payload;
	enum gw_err err = tcp_check(self, common, why);
	if (!err)
		err = read_settings(t, why);
	if (err)
		return err;
	t->protocol = (struct stream_protocol){.conn_size = sizeof(struct tcp_conn),
	                                       .max_message = t->longest + 1,
	                                       .accepted = tcp_accepted,
	                                       .data = tcp_data,
	                                       .answer = tcp_answer,
	                                       .deadline = tcp_deadline,
	                                       .ended = tcp_ended,
	                                       .finished = tcp_finished};
	return stream_open(&t->streams, &t->stream, &t->protocol, t, in, why);
}

static void tcp_run(void *self)
{
	struct tcp *t = self;
	stream_run(t->streams);
}

static void tcp_close(void *self)
{
	struct tcp *t = self;
	stream_free(t->streams);
	t->streams = NULL;
	for (size_t i = 0; i < t->pointer_count; i++)
		json_pointer_fini(&t->pointers[i]);
	free(t->pointers);
	t->pointers = NULL;
	t->pointer_count = 0;
	if (t->has_channel)
		json_pointer_fini(&t->channel_pointer);
	t->has_channel = false;
}

static void tcp_hint(const void *self, const char *address, char *out, size_t size)
{
	const struct tcp *t = self;
	const char *colon = strrchr(address, ':');
	const char *port = colon ? colon + 1 : "5170";
	bool any = strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
	char host[64] = "127.0.0.1";
	if (!any && colon && (size_t)(colon - address) < sizeof(host)) {
		bool brackets = address[0] == '[';
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address) - (brackets ? 2 : 0),
		         address + (brackets ? 1 : 0));
	}
	const char *how = t->device.count > 0 ? t->device.items[0] : "";
	const char *key = how[0] == '/' && how[1 + strcspn(how + 1, "/~\"\\'%")] == 0 ? how + 1 : "device";
	snprintf(out, size, "printf '%s{\"%s\":\"sensor-3\",\"temperature\":21.4}\\n' | nc -N %s %s",
	         strcmp(how, "first_line") == 0 ? "sensor-3\\n" : "", key, host, port);
}

const struct protocol tcp_protocol = {
    .name = "tcp",
    .help = "Newline-delimited payloads over TCP",
    .size = sizeof(struct tcp),
    .settings = tcp_settings,
    .max_threads = 64,
    .check = tcp_check,
    .open = tcp_open,
    .run = tcp_run,
    .close = tcp_close,
    .hint = tcp_hint,
};
