/* MQTT listener: an ingest server for devices that speak MQTT 3.1 or 3.1.1. It takes what they publish and is no
 * broker: nothing is ever published to a client, so subscriptions are refused, wills are checked and ignored, retained
 * messages are ordinary messages whose flag is recorded, and a session is nothing but that it exists, and the QoS 2 packet
 * identifiers that are still open.
 *
 * This file has the settings and what the stream and the core call. mqtt_codec.c knows the bytes, mqtt_conn.c a
 * connection's life, mqtt_packets.c what is done with each packet, mqtt_topics.c the device, mqtt_clients.c who is
 * connected on which thread, mqtt_ids.c a set of numbers. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "protocols/mqtt/mqtt_conn.h"

#define HEAD_MAX                                                                                                       \
	(5u + 2 + UINT16_MAX + 2) /* bytes of a PUBLISH before its payload: fixed header, topic, packet identifier */

static const char *const subscribe_choices[] = {"refuse", "grant_silently", NULL};
static const char *const on_refused_choices[] = {"close", "acknowledge", NULL};

static const struct setting mqtt_settings[] = {
    STREAM_SETTINGS(struct mqtt, "1883"),
    SETTING(struct mqtt, max_packet, SETTING_BYTES, "0", 0, 256 << 20,
            "Longest control packet, at least 128 bytes; 0: max_payload and 64 KiB for topic and header. A longer "
            "PUBLISH is "
            "skipped and refused (on_refused); a client that announces another longer packet is disconnected at once."),
    SETTING(struct mqtt, device, SETTING_LIST, "devices/{device}/#,{client_id}", 0, 0,
            "Templates that find the device in a topic, first match wins: literal levels, `{device}` (one level), "
            "`+` (any level), `#` or `...` (any rest); `{client_id}` alone takes the client identifier for any topic. "
            "A message that none matches is refused."),
    SETTING(struct mqtt, max_client_id, SETTING_INT, "128", 23, 256,
            "Longest client identifier in bytes; a longer one is answered 0x02."),
    SETTING_CHOICES(struct mqtt, subscribe, "refuse", subscribe_choices,
                    "Answer to SUBSCRIBE: `refuse` with 0x80, or `grant_silently` for firmware that cannot bear it; "
                    "nothing is ever published to a client."),
    SETTING_CHOICES(
        struct mqtt, on_refused, "acknowledge", on_refused_choices,
        "What becomes of a QoS 1 or 2 message that can never be taken (invalid payload or device, too "
        "large), which MQTT 3.1.1 cannot say: `acknowledge` it as if it were taken, so that the device does "
        "not send it for ever and goes on with the next, or `close` the connection. Counted and logged either "
        "way; what is acknowledged is kept as a dead letter where on_invalid says so, unless it is too large."),
    SETTING(struct mqtt, connect_timeout, SETTING_DURATION, "10s", 1e5, 6e8,
            "Time from the connection to its CONNECT, and for taking over a client."),
    SETTING(struct mqtt, keep_alive_max, SETTING_DURATION, "1h", 1e6, 65535e6,
            "Longest keep-alive: a client that asks for more, and is silent for 1.5 times this, is disconnected all "
            "the same."),
    SETTING(struct mqtt, idle_timeout, SETTING_DURATION, "1h", 1e6, 2.592e12,
            "A client without keep-alive (0) that is silent this long is disconnected."),
    SETTING(struct mqtt, receive_maximum, SETTING_INT, "65535", 1, 65535,
            "QoS 2 messages of one client between PUBLISH and PUBREL; one more ends the connection. MQTT 3.1.1 cannot "
            "tell a client of a limit, so by default there is none but the number of packet identifiers; they take at "
            "most 8 KiB a client."),
    SETTING(struct mqtt, max_sessions, SETTING_INT, "10000", 16, 10000000,
            "Sessions (clean session 0) of clients that are away that are remembered, over all threads; the oldest "
            "make room, "
            "those without open QoS 2 identifiers first."),
    SETTING(struct mqtt, session_expiry, SETTING_DURATION, "1h", 1e6, 2.592e12,
            "How long they are remembered after the client has left; counted from the start where the gateway was "
            "stopped meanwhile."),
    SETTINGS_END,
};

/* -- what the stream calls -- */

static void mqtt_accepted(void *ptr, struct stream_conn *c)
{
	const struct mqtt *self = ptr;
	struct mqtt_conn *own = stream_own(c);
	own->c = c;
	stream_deadline(c, (uint32_t)(self->connect_timeout / 1000));
}

/* Takes what has come of a packet that is skipped. Returns its bytes. */
static size_t skip(struct mqtt *self, struct mqtt_conn *own, size_t len, bool *whole)
{
	size_t n = len < own->skip ? len : own->skip;
	own->skip -= (uint32_t)n;
	*whole = own->skip == 0;
	if (*whole)
		mqtt_packet_skipped(self, own);
	return n;
}

/* Takes the next packet, or what has come of one that is skipped. Returns its bytes; 0: not now, or only with more behind it. */
static size_t take_one(struct mqtt *self, struct mqtt_conn *own, const uint8_t *bytes, size_t len, bool *whole)
{
	struct mqtt_frame f;
	struct mqtt_fault fault;
	if (own->skip > 0)
		return skip(self, own, len, whole);
	enum gw_err err = mqtt_frame_read(bytes, len, (size_t)self->max_packet, own->state == STATE_NEW, &f, &fault);
	if (err == GW_AGAIN)
		return 0;
	if (err == GW_TOOBIG && f.type == MQTT_PUBLISH && own->state == STATE_OPEN) {
		if (!mqtt_packet_skip(self, own, &f, len - (size_t)(f.body - bytes)))
			return 0;
		return own->skip > 0 && !stream_closing(own->c) ? skip(self, own, len, whole) : len;
	}
	if (err != GW_OK) {
		mqtt_conn_fault(self, own, &fault);
		return len;
	}
	*whole = mqtt_packet_take(self, own, &f);
	return *whole ? f.size : 0;
}

static size_t mqtt_data(void *ptr, struct stream_conn *c, const uint8_t *bytes, size_t len)
{
	struct mqtt *self = ptr;
	struct mqtt_conn *own = stream_own(c);
	size_t at = 0, n;
	bool whole = false, any = false;
	while (at < len && !stream_blocked(c) && (n = take_one(self, own, bytes + at, len - at, &whole)) > 0) {
		at += n;
		any |= whole;
	}
	if (any && own->state == STATE_OPEN)
		mqtt_conn_alive(self, own); /* by whole packets: half of one keeps nobody alive */
	return at;
}

static void mqtt_answer(void *ptr, struct stream_conn *c, uint64_t what)
{
	mqtt_packet_answer(ptr, c, what);
}

static void mqtt_deadline(void *ptr, struct stream_conn *c)
{
	mqtt_conn_late(ptr, stream_own(c));
}

static void mqtt_ended(void *ptr, struct stream_conn *c)
{
	mqtt_conn_leave(ptr, stream_own(c));
}

/* Another connection, of this thread or another, took the client identifier, or left it to this one. */
static void take_requests(struct mqtt *self, struct mqtt_conn *own, unsigned requests)
{
	if ((requests & MQTT_REQUEST_CLOSE) != 0) { /* [MQTT-3.1.4-2] */
		intake_refuse(self->in, REFUSED_TAKEN_OVER);
		mqtt_conn_log(self, &self->take_over_log, own, "connection closed",
		              "another connection has the same client identifier");
		mqtt_conn_leave(self, own); /* at once: its last bytes may take as long to leave as the peer likes */
		stream_close(own->c, false);
	} else if (!stream_closing(own->c)) {
		mqtt_conn_open(self, own);
	}
}

static void mqtt_turn(void *ptr)
{
	struct mqtt *self = ptr;
	unsigned requests, thread = intake_thread(self->in);
	struct mqtt_member *m;
	mqtt_conn_forgotten(self, mqtt_clients_turn(self->clients, thread, self->in));
	while ((m = mqtt_clients_request(self->clients, thread, &requests)))
		take_requests(self, (struct mqtt_conn *)(void *)((char *)m - offsetof(struct mqtt_conn, member)),
		              requests);
}

static const struct stream_protocol stream_callbacks = {
    .conn_size = sizeof(struct mqtt_conn),
    .accepted = mqtt_accepted,
    .data = mqtt_data,
    .answer = mqtt_answer,
    .deadline = mqtt_deadline,
    .ended = mqtt_ended,
    .turn = mqtt_turn,
};

/* -- what the core calls -- */

static enum gw_err mqtt_check(const void *ptr, const struct listener_settings *common, struct why *why)
{
	const struct mqtt *self = ptr;
	struct mqtt_topics topics;
	(void)common;
	if (self->max_packet > 0 && self->max_packet < 128)
		return why_set(why, GW_CONFIG, "max_packet: %llu bytes; at least 128, or 0 for what max_payload needs",
		               (unsigned long long)self->max_packet);
	enum gw_err err = mqtt_topics_init(&topics, &self->device, why);
	mqtt_topics_fini(&topics);
	return err;
}

/* Sessions of clients that are away, each an item without member and value (state_store.h), with identifiers of the length
 * that every server has to take [MQTT-3.1.3-5]. */
static uint64_t mqtt_state_bytes(const void *ptr, const char *listener, const char **setting)
{
	const struct mqtt *self = ptr;
	const struct state_change c = {.scope = {listener, strlen(listener)}, .group = {NULL, 23}};
	*setting = "max_sessions";
	return (uint64_t)self->max_sessions * record_state_size(&c);
}

struct restoring {
	struct mqtt *self;
	int64_t now_ms;
};

static void restore(void *ptr, const struct state_change *c)
{
	struct restoring *r = ptr;
	const uint8_t *member = c->member.bytes;
	uint16_t packet = 0;
	if (c->member.len == 2)
		packet = (uint16_t)(member[0] | member[1] << 8);
	else if (c->member.len != 0)
		return;
	if (c->group.len > 0 && c->group.len <= DEVICE_MAX)
		(void)mqtt_clients_restore(r->self->clients, (struct mqtt_string){c->group.bytes, c->group.len}, packet,
		                           r->now_ms);
}

static void wake_stream(void *s)
{
	stream_wake(s);
}

static enum gw_err mqtt_open(void *ptr, struct intake *in, struct why *why)
{
	struct mqtt *self = ptr;
	const struct listener_settings *common = intake_settings(in);
	self->in = in;
	self->protocol = stream_callbacks;
	if (self->max_packet == 0)
		self->max_packet = common->max_payload + HEAD_MAX;
	/* Of what is skipped the head has to be there. */
	self->protocol.max_message = (size_t)(self->max_packet > HEAD_MAX ? self->max_packet : HEAD_MAX);
	enum gw_err err = mqtt_topics_init(&self->topics, &self->device, why);
	if (err != GW_OK)
		return err;
	struct mqtt_clients *clients = intake_shared(in, sizeof(*clients));
	if (!clients || mqtt_clients_open(clients, (unsigned)common->threads, (size_t)self->max_sessions,
	                                  (int64_t)(self->session_expiry / 1000)) != GW_OK)
		return why_set(why, GW_NOMEM, "out of memory");
	self->clients = clients;
	mqtt_clients_intake(clients, intake_thread(in), in);
	struct restoring r = {.self = self, .now_ms = clock_mono_us() / 1000};
	if (intake_thread(in) == 0)
		intake_recall(in, restore, &r);
	err = stream_open(&self->s, &self->stream, &self->protocol, self, in, why);
	if (err == GW_OK)
		mqtt_clients_listen(clients, intake_thread(in), wake_stream, self->s);
	return err;
}

static void mqtt_run(void *ptr)
{
	struct mqtt *self = ptr;
	stream_run(self->s);
}

static void mqtt_close(void *ptr)
{
	struct mqtt *self = ptr;
	if (self->clients)
		mqtt_clients_listen(self->clients, intake_thread(self->in), NULL, NULL);
	stream_free(self->s);
	if (self->clients)
		mqtt_clients_close(self->clients);
	mqtt_topics_fini(&self->topics);
	self->s = NULL;
	self->clients = NULL;
}

static void mqtt_hint(const void *ptr, const char *address, char *out, size_t size)
{
	(void)ptr;
	const char *colon = strrchr(address, ':');
	int host = colon ? (int)(colon - address) : 0;
	const char *name = address;
	if (host > 2 && address[0] == '[') {
		name++;
		host -= 2;
	}
	if (host == 2 && memcmp(name, "::", 2) == 0)
		name = "::1", host = 3;
	else if (host == 7 && memcmp(name, "0.0.0.0", 7) == 0)
		name = "127.0.0.1", host = 9;
	(void)snprintf(out, size,
	               "mosquitto_pub -h %.*s -p %s -q 1 -t devices/sensor-1/telemetry -m '{\"temperature\":21.4}'",
	               host, name, colon ? colon + 1 : "1883");
}

const struct protocol mqtt_protocol = {
    .name = "mqtt",
    .help = "MQTT 3.1 and 3.1.1: an ingest server for devices; QoS 0, 1 and 2, acknowledged when the message is safe.",
    .size = sizeof(struct mqtt),
    .settings = mqtt_settings,
    .max_threads = 64,
    .check = mqtt_check,
    .state_bytes = mqtt_state_bytes,
    .open = mqtt_open,
    .run = mqtt_run,
    .close = mqtt_close,
    .hint = mqtt_hint,
};
