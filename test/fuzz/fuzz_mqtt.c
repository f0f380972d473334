/* Any bytes as what an MQTT client sends: whole, a byte at a time, and in sevens. However they are cut, the same
 * messages must be taken, the same answers given, and the connection must end or not end alike. The protocol is the
 * real one; stream and intake are stand-ins without sockets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/utf8.h"
#include "protocols/mqtt/mqtt_conn.h"
#include "test/unit/fake_intake.c"

extern const struct protocol mqtt_protocol;

/* -- a stream of one connection -- */

struct stream_conn {
	_Alignas(16) uint8_t own[sizeof(struct mqtt_conn)];
	struct mqtt *mqtt;
	uint8_t *out;
	size_t out_len, waiting;
	bool closing, paused, held;
};

struct stream {
	int unused;
};

enum gw_err stream_open(struct stream **out, const struct stream_settings *settings,
                        const struct stream_protocol *protocol, void *self, struct intake *in, struct why *why)
{
	(void)settings, (void)protocol, (void)self, (void)in, (void)why;
	*out = calloc(1, sizeof(struct stream));
	return GW_OK;
}

void stream_free(struct stream *s)
{
	free(s);
}

void stream_run(struct stream *s)
{
	(void)s;
}

void stream_wake(struct stream *s)
{
	(void)s;
}

void *stream_own(struct stream_conn *c)
{
	return c->own;
}

const struct sockaddr *stream_peer(struct stream_conn *c)
{
	static const struct sockaddr_in peer = {.sin_family = AF_INET};
	(void)c;
	return (const struct sockaddr *)&peer;
}

void stream_write(struct stream_conn *c, const void *bytes, size_t len)
{
	c->out = realloc(c->out, c->out_len + len + 1);
	memcpy(c->out + c->out_len, bytes, len);
	c->out_len += len;
}

bool stream_await(struct stream_conn *c, uint64_t position, enum answer_kind kind, uint64_t what)
{
	c->waiting++;
	return intake_await(c->mqtt->in, position, kind, c, what) == GW_OK;
}

bool stream_await_note(struct stream_conn *c, uint64_t position, uint64_t what)
{
	c->waiting++;
	return intake_await_note(c->mqtt->in, position, c, what) == GW_OK;
}

size_t stream_waiting(const struct stream_conn *c)
{
	return c->waiting;
}

void stream_hold(struct stream_conn *c)
{
	c->held = true;
}

bool stream_crowded(const struct stream_conn *c)
{
	(void)c;
	return false;
}

bool stream_blocked(const struct stream_conn *c)
{
	return c->closing || c->paused || c->held;
}

void stream_pause(struct stream_conn *c)
{
	c->paused = true;
}

void stream_resume(struct stream_conn *c)
{
	c->paused = false;
}

void stream_deadline(struct stream_conn *c, uint32_t ms)
{
	(void)c, (void)ms;
}

void stream_close(struct stream_conn *c, bool settle)
{
	(void)settle;
	c->closing = true;
}

bool stream_closing(const struct stream_conn *c)
{
	return c->closing;
}

/* -- one run -- */

struct outcome {
	uint8_t *out;
	size_t out_len, messages, duplicates, bytes;
	bool closing;
};

static char *templates[] = {"devices/{device}/#", "+/{device}", "{client_id}"};

static struct mqtt settings_for(uint8_t options)
{
	return (struct mqtt){.max_packet = options & 16 ? 48 : 4096, /* few fit: the others are skipped */
	                     .max_client_id = 64,
	                     .device = {.items = templates, .count = options & 1 ? 3 : 2},
	                     .subscribe = options >> 1 & 1,
	                     .on_refused = options >> 2 & 1,
	                     .connect_timeout = 1000000,
	                     .keep_alive_max = 1000000,
	                     .idle_timeout = 1000000,
	                     .session_expiry = 1000000,
	                     .receive_maximum = 8,
	                     .max_sessions = 16};
}

static void check_messages(struct intake *in, struct outcome *o)
{
	for (size_t i = 0; i < in->message_count; i++) {
		const struct fake_message *m = &in->messages[i];
		if (m->channel_len == 0 || memchr(m->channel, 0, m->channel_len) || strpbrk(m->channel, "+#") ||
		    utf8_check(m->channel, m->channel_len) != m->channel_len || m->device_len == 0)
			abort();
		o->bytes += m->channel_len + m->payload_len;
	}
	o->messages = in->message_count;
	o->duplicates = stat_get(&in->stats.duplicates);
}

/* As the stream does: what is not consumed is offered again with more behind it, without going behind what has come so
 * far. */
static struct outcome run(const uint8_t *data, size_t size, uint8_t options, size_t step)
{
	struct mqtt mqtt = settings_for(options);
	struct intake *in = fake_intake_new();
	struct stream_conn c = {.mqtt = &mqtt};
	struct outcome o = {0};
	in->manual = true;
	if (options & 8)
		in->refuse_payload = "!";
	if (mqtt_protocol.open(&mqtt, in, NULL) != GW_OK)
		abort();
	mqtt.protocol.accepted(&mqtt, &c);
	size_t from = 0;
	for (size_t to = 0; to < size && !c.closing;) {
		to = to + step < size ? to + step : size;
		uint8_t *exact = malloc(to - from + 1);
		memcpy(exact, data + from, to - from);
		size_t used = mqtt.protocol.data(&mqtt, &c, exact, to - from);
		if (used > to - from)
			abort();
		from += used;
		free(exact);
	}
	struct answer a;
	fake_settle_all(in);
	while (intake_answer(in, &a))
		mqtt.protocol.answer(&mqtt, &c, a.what);
	mqtt.protocol.turn(&mqtt);
	mqtt.protocol.ended(&mqtt, &c);
	check_messages(in, &o);
	o.out = c.out;
	o.out_len = c.out_len;
	o.closing = c.closing;
	mqtt_protocol.close(&mqtt);
	fake_intake_free(in);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	if (!quiet)
		log_init(LOG_NONE, LOG_TEXT);
	quiet = true;
	if (size < 1)
		return 0;
	struct outcome whole = run(data + 1, size - 1, data[0], size);
	for (size_t step = 1; step <= 7; step += 6) {
		struct outcome o = run(data + 1, size - 1, data[0], step);
		if (o.messages != whole.messages || o.duplicates != whole.duplicates || o.bytes != whole.bytes ||
		    o.closing != whole.closing || o.out_len != whole.out_len ||
		    (o.out_len > 0 && memcmp(o.out, whole.out, o.out_len) != 0))
			abort();
		free(o.out);
	}
	free(whole.out);
	return 0;
}
