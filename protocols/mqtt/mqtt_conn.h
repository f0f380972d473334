/* What the files of the MQTT listener share: mqtt.c (settings, what stream and core call), mqtt_conn.c (a connection
 * from CONNECT to its end), mqtt_packets.c (everything in between). Nothing for others. All functions: the listener's
 * thread. */
#ifndef SLUICE_PROTOCOLS_MQTT_MQTT_CONN_H
#define SLUICE_PROTOCOLS_MQTT_MQTT_CONN_H

#include "gateway/base/log.h"
#include "gateway/protocol.h"
#include "protocols/mqtt/mqtt_clients.h"
#include "protocols/mqtt/mqtt_codec.h"
#include "protocols/mqtt/mqtt_ids.h"
#include "protocols/mqtt/mqtt_topics.h"
#include "protocols/net/stream.h"

enum mqtt_subscribe { SUBSCRIBE_REFUSE, SUBSCRIBE_GRANT_SILENTLY };
enum mqtt_on_refused { ON_REFUSED_CLOSE, ON_REFUSED_ACKNOWLEDGE };

/* One listener thread. */
struct mqtt {
	struct stream_settings stream; /* first: stream.h */
	uint64_t max_packet;           /* bytes; from open on never 0 */
	int64_t max_client_id;         /* bytes */
	struct string_list device;
	int subscribe;                                                          /* enum mqtt_subscribe */
	int on_refused;                                                         /* enum mqtt_on_refused */
	uint64_t connect_timeout, keep_alive_max, idle_timeout, session_expiry; /* us */
	int64_t receive_maximum, max_sessions;

	/* its own, from open on */
	struct intake *in;
	struct stream *s;
	struct stream_protocol protocol;
	struct mqtt_topics topics;
	struct mqtt_clients *clients; /* shared by the listener's threads */
	struct log_limit fault_log, refusal_log, subscribe_log, take_over_log;
	uint64_t noted; /* position of the last note of a new session in this thread's lane */
};

enum mqtt_state {
	STATE_NEW,     /* CONNECT is due */
	STATE_WAITING, /* another connection of its client identifier has to go first; not read */
	STATE_OPENING, /* CONNACK waits until the session is durable; not read */
	STATE_OPEN,
	STATE_LEFT, /* has no client identifier any more; nothing is taken from it */
};

/* The state of a connection: what an idle device costs, next to its client identifier in the registry. */
struct mqtt_conn {
	struct mqtt_member member; /* its client identifier; readable when STATE_OPENING and _OPEN */
	struct stream_conn *c;
	struct mqtt_ids *ids; /* owned: QoS 2 messages between PUBLISH and PUBREL; with clean session 0 the session */
	uint64_t position;    /* of the last message or release it put; 0: none */
	uint32_t released;    /* of the last release: its lower half with bit 0 set; 0: none */
	uint32_t skip;        /* bytes of a PUBLISH over max_packet that are still to come; none of them is kept */
	uint16_t keep_alive;  /* seconds; 0: none */
	uint16_t skip_id;     /* its packet identifier */
	uint8_t skip_qos;     /* with which it is acknowledged when it has passed; 0: not at all */
	uint8_t state;        /* enum mqtt_state */
	uint8_t version;      /* enum mqtt_version, from CONNECT on */
	bool clean_session;
};

/* -- mqtt_conn.c -- */

/* mqtt_conn_connect takes the first packet. */
void mqtt_conn_connect(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f);
/* mqtt_conn_open begins the session when the client identifier is its own: CONNACK, at once or when the session is durable. */
void mqtt_conn_open(struct mqtt *self, struct mqtt_conn *own);
/* mqtt_conn_accept writes CONNACK and goes on reading; does nothing unless that is what it waits for. */
void mqtt_conn_accept(const struct mqtt *self, struct mqtt_conn *own, bool present);
/* mqtt_conn_outlives tells whether the client's session is to survive the process: it does not end with the connection. */
bool mqtt_conn_outlives(const struct mqtt *self, const struct mqtt_conn *own);
/* mqtt_conn_alive restarts the time that the client may be silent. */
void mqtt_conn_alive(const struct mqtt *self, struct mqtt_conn *own);
/* mqtt_conn_leave gives the client identifier back and leaves behind what the next connection of that name needs.
 * Harmless when repeated. */
void mqtt_conn_leave(struct mqtt *self, struct mqtt_conn *own);
/* mqtt_conn_fault counts and logs what was wrong, takes nothing more and closes [MQTT-4.8.0-1] as soon as the messages before
 * it are acknowledged. */
void mqtt_conn_fault(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_fault *fault);
/* mqtt_conn_late ends a connection whose deadline has passed. */
void mqtt_conn_late(struct mqtt *self, struct mqtt_conn *own);
/* mqtt_conn_log warns of what a client did, limited: reason is static text. */
void mqtt_conn_log(struct mqtt *self, struct log_limit *limit, struct mqtt_conn *own, const char *message,
                   const char *reason);
/* mqtt_conn_forgotten counts sessions that the full registry forgot. */
void mqtt_conn_forgotten(struct mqtt *self, size_t count);

/* -- mqtt_packets.c -- */

/* mqtt_packet_take takes one packet of any type; false: not now, the connection is held. */
bool mqtt_packet_take(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f);
/* mqtt_packet_skip takes the head of a PUBLISH over max_packet, of whose body `there` bytes have come; the rest of it is
 * skipped (mqtt_conn.skip, from the first byte of the packet on) and mqtt_packet_skipped called. False: more bytes are needed. */
bool mqtt_packet_skip(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f, size_t there);
void mqtt_packet_skipped(struct mqtt *self, struct mqtt_conn *own);
/* mqtt_packet_answer writes an awaited answer that is due. */
void mqtt_packet_answer(const struct mqtt *self, struct stream_conn *c, uint64_t what);

#endif
