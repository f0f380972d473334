/* An MQTT connection from CONNECT to its end: who it is, taking over the client identifier from an older connection,
 * sessions, and ways to close. References: OASIS MQTT 3.1.1. */
#include "protocols/mqtt/mqtt_conn.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <arpa/inet.h>

#include "gateway/base/utf8.h"

/* -- ending -- */

static void peer_text(const struct sockaddr *peer, char out[INET6_ADDRSTRLEN])
{
	const void *ip = peer->sa_family == AF_INET6
	                     ? (const void *)&((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr
	                     : (const void *)&((const struct sockaddr_in *)(const void *)peer)->sin_addr;
	if (!inet_ntop(peer->sa_family, ip, out, INET6_ADDRSTRLEN))
		out[0] = '\0';
}

void mqtt_conn_log(struct mqtt *self, struct log_limit *limit, struct mqtt_conn *own, const char *message,
                   const char *reason)
{
	uint64_t left_out = 0;
	if (!log_allow(limit, intake_now_ms(self->in), &left_out))
		return;
	char id[DEVICE_MAX + 1] = "", peer[INET6_ADDRSTRLEN];
	bool named = own->state == STATE_OPENING || own->state == STATE_OPEN;
	if (named) {
		struct mqtt_string s = mqtt_clients_id(&own->member);
		memcpy(id, s.text, s.len);
		id[s.len] = '\0';
	}
	peer_text(stream_peer(own->c), peer);
	log_event(LOG_WARN, "mqtt", message, LOG_S("sluice.listener", intake_name(self->in)),
	          LOG_S("error.message", reason), LOG_S("sluice.mqtt.client_id", named ? id : NULL),
	          LOG_S("source.ip", peer), LOG_N("sluice.log.suppressed", left_out));
}

void mqtt_conn_fault(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_fault *fault)
{
	static const struct {
		enum mqtt_reason reason;
		enum refusal_reason counted;
	} kinds[] = {
	    {MQTT_PACKET_TOO_LARGE, REFUSED_TOO_LARGE},      {MQTT_RECEIVE_MAXIMUM_EXCEEDED, REFUSED_MEMORY},
	    {MQTT_UNSUPPORTED_VERSION, REFUSED_UNSUPPORTED}, {MQTT_CLIENT_ID_NOT_VALID, REFUSED_DEVICE},
	    {MQTT_SERVER_UNAVAILABLE, REFUSED_FULL},
	};
	enum refusal_reason counted = REFUSED_PROTOCOL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].reason == fault->reason)
			counted = kinds[i].counted;
	}
	intake_refuse(self->in, counted);
	mqtt_conn_log(self, &self->fault_log, own, "connection closed", fault->text);
	stream_close(own->c, true); /* what is stored is acknowledged, or the client would send it again */
}

/* Answers CONNECT with the reason and closes. */
static void conn_refuse(struct mqtt *self, struct mqtt_conn *own, enum mqtt_version version, enum mqtt_reason reason,
                        const char *text)
{
	uint8_t out[MQTT_CONNACK_MAX];
	stream_write(own->c, out, mqtt_connack_write(out, version, false, reason));
	mqtt_conn_fault(self, own, &(struct mqtt_fault){reason, text});
}

void mqtt_conn_late(struct mqtt *self, struct mqtt_conn *own)
{
	static const char *const silent[] = {
	    [STATE_NEW] = "no CONNECT within connect_timeout",
	    [STATE_WAITING] = "the connection it takes over did not end within connect_timeout",
	    [STATE_OPENING] = "the session was not durable within connect_timeout",
	    [STATE_OPEN] = "nothing received for 1.5 times the keep-alive, or for idle_timeout",
	    [STATE_LEFT] = "taken over",
	};
	uint8_t out[MQTT_CONNACK_MAX];
	if (own->state == STATE_WAITING || own->state == STATE_OPENING)
		stream_write(own->c, out, mqtt_connack_write(out, own->version, false, MQTT_SERVER_UNAVAILABLE));
	intake_refuse(self->in, REFUSED_TIMEOUT);
	mqtt_conn_log(self, &self->fault_log, own, "connection closed", silent[own->state]);
	stream_close(own->c, own->state == STATE_OPEN); /* else there is nothing to be acknowledged */
}

void mqtt_conn_forgotten(struct mqtt *self, size_t count)
{
	if (count > 0)
		stat_add(&intake_stats(self->in)->forgotten, count);
}

/* Positions are multiples of 8. Were the last message 4 GiB behind the release, this would be too late a position, never too
 * early a one. */
static uint64_t released_at(const struct mqtt_conn *own)
{
	return own->released ? own->position - (uint32_t)((uint32_t)own->position - (own->released & ~1u)) : 0;
}

void mqtt_conn_leave(struct mqtt *self, struct mqtt_conn *own)
{
	struct mqtt_ids *ids = own->ids;
	/* One that waited may own the client by now without knowing, and what it would have inherited may lie in this
	 * lane. */
	uint64_t position = own->state == STATE_WAITING ? intake_position(self->in) : own->position;
	uint64_t unsettled = intake_settled(self->in, position) ? 0 : position;
	own->ids = NULL;
	if (own->clean_session) {
		mqtt_ids_free(ids);
		ids = NULL;
	}
	/* Without identifiers to protect, waiting only keeps the client's messages in order over two lanes; that is
	 * worth the disk's time, not the sinks'. */
	bool begun = own->state == STATE_OPENING || own->state == STATE_OPEN;
	if (begun && mqtt_ids_count(ids) == 0 && intake_settled(self->in, released_at(own)) &&
	    intake_settings(self->in)->ack == ACK_DELIVERED)
		unsettled = 0;
	own->state = STATE_LEFT;
	mqtt_conn_forgotten(self,
	                    mqtt_clients_leave(self->clients, &own->member, ids, unsettled, intake_now_ms(self->in)));
}

/* -- CONNECT -- */

/* 1.5 times the keep-alive [MQTT-3.1.2-24]; 3.1.1 gives the server no way to lower it but to act upon it. */
static uint32_t silence_allowed(const struct mqtt *self, uint16_t keep_alive)
{
	uint64_t us = keep_alive * UINT64_C(1000000);
	if (us == 0)
		return (uint32_t)(self->idle_timeout / 1000);
	return (uint32_t)((us < self->keep_alive_max ? us : self->keep_alive_max) * 3 / 2 / 1000);
}

void mqtt_conn_alive(const struct mqtt *self, struct mqtt_conn *own)
{
	stream_deadline(own->c, silence_allowed(self, own->keep_alive));
}

bool mqtt_conn_outlives(const struct mqtt *self, const struct mqtt_conn *own)
{
	return !own->clean_session && intake_keeps_state(self->in);
}

void mqtt_conn_accept(const struct mqtt *self, struct mqtt_conn *own, bool present)
{
	uint8_t out[MQTT_CONNACK_MAX];
	if (own->state != STATE_OPENING)
		return;
	own->state = STATE_OPEN;
	stream_write(own->c, out, mqtt_connack_write(out, own->version, present, MQTT_SUCCESS));
	mqtt_conn_alive(self, own);
	stream_resume(own->c);
}

/* Clean session 1: what there was is forgotten for good [MQTT-3.1.2-6]. False: not now; the client is refused. */
static bool session_end(struct mqtt *self, struct mqtt_conn *own)
{
	if (!own->ids)
		return true;
	if (mqtt_clients_forget(self->in, mqtt_clients_id(&own->member), &own->position) != GW_OK) {
		own->clean_session = false; /* it stays for the next connection */
		conn_refuse(self, own, own->version, MQTT_SERVER_UNAVAILABLE,
		            "the journal has no room to forget the session");
		return false;
	}
	mqtt_ids_free(own->ids);
	own->ids = NULL;
	return true;
}

/* Clean session 0: from now on there is one, though nothing is in it [MQTT-3.1.2-4]. False: the client is refused. */
static bool session_begin(struct mqtt *self, struct mqtt_conn *own)
{
	struct mqtt_string id = mqtt_clients_id(&own->member);
	struct state_change c = {.op = STATE_SET, .group = {id.text, id.len}};
	own->ids = mqtt_ids_new();
	if (own->ids && intake_note(self->in, &c, &own->position) == GW_OK) {
		self->noted = own->position;
		return true;
	}
	own->clean_session = true; /* none began */
	conn_refuse(self, own, own->version, MQTT_SERVER_UNAVAILABLE,
	            own->ids ? "the journal has no room for the session" : "out of memory");
	return false;
}

void mqtt_conn_open(struct mqtt *self, struct mqtt_conn *own)
{
	own->ids = mqtt_clients_session(self->clients, &own->member);
	bool present = own->ids && !own->clean_session;
	if (own->clean_session ? !session_end(self, own) : !present && !session_begin(self, own))
		return;
	if (present) /* the first copies may be in this lane and not settled yet */
		own->position = intake_position(self->in);
	own->state = STATE_OPENING;
	if (!mqtt_conn_outlives(self, own)) {
		mqtt_conn_accept(self, own, present);
		return;
	}
	/* One that was there already may have been noted a moment ago. */
	stream_pause(own->c);
	(void)stream_await_note(own->c, self->noted, (uint64_t)MQTT_CONNACK << 16 | present);
}

#define ASSIGNED_ID_LEN 37 /* auto- and 128 random bits, unique over all replicas */

static bool client_id_assign(char id[ASSIGNED_ID_LEN + 1])
{
	uint64_t r[2];
	if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return false;
	(void)snprintf(id, ASSIGNED_ID_LEN + 1, "auto-%016llx%016llx", (unsigned long long)r[0],
	               (unsigned long long)r[1]);
	return true;
}

static void conn_claim(struct mqtt *self, struct mqtt_conn *own, struct mqtt_string id)
{
	switch (mqtt_clients_claim(self->clients, &own->member, intake_thread(self->in), id, intake_now_ms(self->in))) {
	case GW_OK: mqtt_conn_open(self, own); break;
	case GW_AGAIN: /* until a request comes (mqtt.c); the deadline for CONNECT runs on */
		own->state = STATE_WAITING;
		stream_pause(own->c);
		break;
	default: conn_refuse(self, own, own->version, MQTT_SERVER_UNAVAILABLE, "out of memory");
	}
}

/* What keeps a CONNECT that is well-formed from being served; MQTT_SUCCESS: nothing. */
static struct mqtt_fault connect_judge(const struct mqtt *self, const struct mqtt_connect *connect)
{
	struct mqtt_string id = connect->client_id;
	if (connect->version == MQTT_5)
		return (struct mqtt_fault){MQTT_UNSUPPORTED_VERSION,
		                           "MQTT 5 is not supported; set the client to MQTT 3.1.1"};
	if (connect->version == MQTT_UNKNOWN) /* [MQTT-3.1.2-2] */
		return (struct mqtt_fault){MQTT_UNSUPPORTED_VERSION,
		                           "protocol level is neither 4 of MQTT (3.1.1) nor 3 of MQIsdp (3.1)"};
	if (intake_phase(self->in) != INTAKE_RUN || intake_full(self->in))
		return (struct mqtt_fault){MQTT_SERVER_UNAVAILABLE,
		                           "no messages are taken now: stopping, or the journal is full"};
	if (id.len == 0 && (!connect->clean_session || connect->version == MQTT_3_1)) /* [MQTT-3.1.3-8] */
		return (struct mqtt_fault){MQTT_CLIENT_ID_NOT_VALID,
		                           "client identifier is empty, which needs clean session 1"};
	if (id.len > (size_t)self->max_client_id)
		return (struct mqtt_fault){MQTT_CLIENT_ID_NOT_VALID, "client identifier is longer than max_client_id"};
	if (utf8_has_control(id.text, id.len))
		return (struct mqtt_fault){MQTT_CLIENT_ID_NOT_VALID, "client identifier has control characters"};
	return (struct mqtt_fault){MQTT_SUCCESS, NULL};
}

void mqtt_conn_connect(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	struct mqtt_connect connect;
	struct mqtt_fault fault;
	char assigned[ASSIGNED_ID_LEN + 1];
	if (mqtt_connect_read(f, &connect, &fault) != GW_OK) {
		mqtt_conn_fault(self, own, &fault);
		return;
	}
	fault = connect_judge(self, &connect);
	if (fault.reason != MQTT_SUCCESS) {
		conn_refuse(self, own, connect.version, fault.reason, fault.text);
		return;
	}
	if (connect.client_id.len == 0) { /* [MQTT-3.1.3-6] */
		if (!client_id_assign(assigned)) {
			conn_refuse(self, own, connect.version, MQTT_SERVER_UNAVAILABLE, "no random numbers");
			return;
		}
		connect.client_id = (struct mqtt_string){assigned, ASSIGNED_ID_LEN};
	}
	own->version = (uint8_t)connect.version;
	own->clean_session = connect.clean_session;
	own->keep_alive = connect.keep_alive;
	conn_claim(self, own, connect.client_id);
}
