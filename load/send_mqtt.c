/* MQTT 3.1.1 (OASIS standard, 2014) as a publisher: QoS 0, 1 and 2, any number of messages under way.
 *
 * The packet identifier of message n is n % 65535 + 1, so that none is kept: the window is far smaller. QoS 2 counts as
 * acknowledged with PUBREC, when the receiver has taken over the message (section 4.3.3); its place in the window is free
 * with PUBCOMP. A session is kept (clean session 0) for QoS 2 only, since only there it makes a difference. QoS 0 ends with a
 * PINGREQ: its answer tells that all before it was read. */
#include <string.h>

#include "load/connection.h"
#include "load/job.h"
#include "load/worker.h"

#define IDS 65535u

enum { CONNACK = 0x20, PUBACK = 0x40, PUBREC = 0x50, PUBCOMP = 0x70, PINGRESP = 0xd0 };

/* -- writing -- */

static size_t put_length(uint8_t *out, size_t v) /* section 2.2.3 */
{
	size_t n = 0;
	do {
		out[n] = (uint8_t)(v % 128 | (v > 127 ? 128 : 0));
		v /= 128;
		n++;
	} while (v > 0);
	return n;
}

static uint8_t *put_text(uint8_t *out, struct connection *c, const struct payload *text)
{
	size_t len = connection_text(c, text, 0, out + 2);
	out[0] = (uint8_t)(len >> 8);
	out[1] = (uint8_t)len;
	return out + 2 + len;
}

/* Moves a packet's rest, rendered at out + 5, to behind its header. */
static size_t close_packet(uint8_t *out, uint8_t type, size_t rest)
{
	uint8_t length[4];
	size_t n = put_length(length, rest);
	out[0] = type;
	memcpy(out + 1, length, n);
	if (n < 4)
		memmove(out + 1 + n, out + 5, rest);
	return 1 + n + rest;
}

static size_t hello(struct connection *c, uint8_t *out) /* CONNECT, section 3.1 */
{
	const struct load_job *j = c->worker->job;
	uint64_t alive = j->plan->keep_alive_us / 1000000;
	uint8_t *at = out + 5, flags = j->plan->qos == 2 ? 0 : 0x02;
	flags |= (uint8_t)((j->user ? 0x80 : 0) | (j->password ? 0x40 : 0));
	memcpy(at, "\0\4MQTT\4", 7);
	at[7] = flags;
	at[8] = (uint8_t)(alive >> 8);
	at[9] = (uint8_t)alive;
	at = put_text(at + 10, c, j->client);
	if (j->user)
		at = put_text(at, c, j->user);
	if (j->password)
		at = put_text(at, c, j->password);
	return close_packet(out, 0x10, (size_t)(at - out) - 5);
}

static uint16_t id_of(uint64_t number)
{
	return (uint16_t)(number % IDS + 1);
}

static size_t put_ack(uint8_t *out, uint8_t type, uint16_t id)
{
	out[0] = type;
	out[1] = 2;
	out[2] = (uint8_t)(id >> 8);
	out[3] = (uint8_t)id;
	return 4;
}

/* The packet is rendered behind the longest header it can have and the header put in front of it: the rest is moved by as
 * many bytes as the header is shorter. To move nothing, the length of the header is guessed: that of the last packet. */
static size_t put(struct connection *c, uint64_t number, uint64_t count, bool again, uint8_t *out) /* section 3.3 */
{
	const struct load_job *j = c->worker->job;
	struct payload_facts f;
	char time[64];
	(void)count;
	if (again && connection_slot(c, number)->state == SLOT_COUNTED)
		return put_ack(out, 0x62, id_of(number)); /* PUBREL */
	connection_facts(c, number, again, &f, time);
	uint8_t *at = out + 3; /* rest of 128 to 16383 bytes: nearly all */
	size_t topic = payload_put(j->topic, &f, at + 2);
	at[0] = (uint8_t)(topic >> 8);
	at[1] = (uint8_t)topic;
	at += 2 + topic;
	if (j->plan->qos > 0) {
		*at++ = (uint8_t)(id_of(number) >> 8);
		*at++ = (uint8_t)id_of(number);
	}
	at += payload_put(j->payload, &f, at);
	size_t rest = (size_t)(at - out) - 3;
	uint8_t length[4];
	size_t n = put_length(length, rest);
	if (n != 2)
		memmove(out + 1 + n, out + 3, rest);
	out[0] = (uint8_t)(0x30 | j->plan->qos << 1 | (again && j->plan->qos > 0 ? 0x08 : 0));
	memcpy(out + 1, length, n);
	return 1 + n + rest;
}

static size_t ping(struct connection *c, uint8_t *out)
{
	(void)c;
	memcpy(out, "\xc0\0", 2);
	return 2;
}

static size_t goodbye(struct connection *c, uint8_t *out)
{
	(void)c;
	memcpy(out, "\xe0\0", 2);
	return 2;
}

/* -- reading -- */

static void take_connack(struct connection *c, const uint8_t *p) /* section 3.2 */
{
	static const char *const reasons[] = {"unacceptable protocol version", "client identifier rejected",
	                                      "server unavailable", "bad user name or password", "not authorised"};
	uint8_t code = p[3];
	if (c->state != CONNECTION_HELLO) {
		connection_lost(c, LOAD_PROTOCOL, "a second CONNACK");
	} else if (code == 0) {
		connection_ready(c);
	} else {
		enum load_error kind = code == 3 ? LOAD_BUSY : code == 4 || code == 5 ? LOAD_AUTH : LOAD_REJECTED;
		connection_lost(c, kind, "CONNACK %u: %s", code, code <= 5 ? reasons[code - 1] : "unknown code");
	}
}

/* The open message with this packet identifier; false: there is none. */
static bool message_of(const struct connection *c, uint16_t id, uint64_t *number)
{
	if (id == 0)
		return false;
	*number = c->base + (id - 1u + IDS - (uint32_t)(c->base % IDS)) % IDS;
	return *number < c->next;
}

static void take_ack(struct connection *c, uint8_t type, uint16_t id)
{
	uint64_t number;
	int qos = c->worker->job->plan->qos;
	uint8_t answer[4];
	if (type == PUBREC && qos == 2) {
		if (message_of(c, id, &number))
			connection_counted(c, number);
		connection_answer(c, answer, put_ack(answer, 0x62, id)); /* also for one that is not known any more */
	} else if ((type == PUBACK && qos == 1) || (type == PUBCOMP && qos == 2)) {
		if (message_of(c, id, &number))
			connection_acked(c, number, number + 1);
		/* else of a session before: sent again and acknowledged twice */
	} else {
		connection_lost(c, LOAD_PROTOCOL, "a packet of type %u with QoS %d", type >> 4, qos);
	}
}

/* Returns the length of the packet; 0: it is not whole; SIZE_MAX: it is none. */
static size_t packet_length(const uint8_t *in, size_t len, size_t *header)
{
	size_t v = 0;
	for (size_t i = 1; i < len && i <= 4; i++) {
		v |= (size_t)(in[i] & 127) << (7 * (i - 1));
		if (in[i] < 128) {
			*header = i + 1;
			return i + 1 + v;
		}
		if (i == 4)
			return SIZE_MAX;
	}
	return 0;
}

static size_t take(struct connection *c, const uint8_t *in, size_t len)
{
	size_t at = 0, header = 0;
	int fd = c->fd;
	uint8_t state;
	while (len - at >= 2) {
		const uint8_t *p = in + at;
		size_t n = packet_length(p, len - at, &header);
		if (n == 0 || (n <= 4 && n > len - at))
			break;
		if (n > 4) {
			connection_lost(c, LOAD_PROTOCOL, "a packet of type %u and %zu bytes, to a publisher",
			                p[0] >> 4, n);
			return len;
		}
		state = c->state;
		if (p[0] == CONNACK && n == 4)
			take_connack(c, p);
		else if (p[0] == PINGRESP && n == 2 && c->finishing)
			connection_finished(c);
		else if (n == 4 && state == CONNECTION_READY)
			take_ack(c, p[0], (uint16_t)(p[2] << 8 | p[3]));
		else if (p[0] != PINGRESP || n != 2)
			connection_lost(c, LOAD_PROTOCOL, "a packet of type %u that does not belong here", p[0] >> 4);
		if (c->fd != fd)
			return len;
		at += n;
	}
	return at;
}

static bool confirms(const struct load_plan *plan)
{
	return plan->qos > 0;
}

const struct load_protocol load_mqtt = {
    .name = "mqtt",
    .scheme = "mqtt",
    .tls_scheme = "mqtts",
    .port = "1883",
    .tls_port = "8883",
    .qos = 1,
    .most = 2,
    .window = 100,
    .most_window = 32767, /* half the identifiers */
    .confirms = confirms,
    .room = 16,
    .hello = hello,
    .put = put,
    .take = take,
    .ping = ping,
    .goodbye = goodbye,
    .finish = ping,
};
