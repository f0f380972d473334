/* MQTT control packets as bytes: reading what a client sends and writing what a server answers, for MQTT 3.1 and 3.1.1.
 * Pure functions over borrowed bytes: no input or output, no allocation, no state; any thread.
 *
 * "MQTT" in comments is OASIS MQTT 3.1.1 (section numbers and [MQTT-x.y.z-n] are its own), "3.1" the IBM/Eurotech
 * specification V3.1. Everything that differs between versions is told by an enum mqtt_version, and faults are named by
 * MQTT 5 reason codes, so that a further version is a further branch here and nowhere else. */
#ifndef SLUICE_PROTOCOLS_MQTT_MQTT_CODEC_H
#define SLUICE_PROTOCOLS_MQTT_MQTT_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

enum mqtt_version {
	MQTT_UNKNOWN = 0, /* a level that this codec does not know */
	MQTT_3_1 = 3,
	MQTT_3_1_1 = 4,
	MQTT_5 = 5, /* recognised, so that it can be refused in its own words */
};

enum mqtt_type {
	MQTT_CONNECT = 1,
	MQTT_CONNACK,
	MQTT_PUBLISH,
	MQTT_PUBACK,
	MQTT_PUBREC,
	MQTT_PUBREL,
	MQTT_PUBCOMP,
	MQTT_SUBSCRIBE,
	MQTT_SUBACK,
	MQTT_UNSUBSCRIBE,
	MQTT_UNSUBACK,
	MQTT_PINGREQ,
	MQTT_PINGRESP,
	MQTT_DISCONNECT,
	MQTT_AUTH, /* MQTT 5 only */
};

/* Reason codes of MQTT 5 section 2.4. A 3.x CONNACK gets the return code of the same meaning; else a 3.x connection
 * just closes. */
enum mqtt_reason {
	MQTT_SUCCESS = 0x00,
	MQTT_MALFORMED = 0x81,
	MQTT_PROTOCOL_ERROR = 0x82,
	MQTT_UNSUPPORTED_VERSION = 0x84, /* 3.x: 0x01 */
	MQTT_CLIENT_ID_NOT_VALID = 0x85, /* 3.x: 0x02 */
	MQTT_BAD_CREDENTIALS = 0x86,     /* 3.x: 0x04 */
	MQTT_NOT_AUTHORIZED = 0x87,      /* 3.x: 0x05 */
	MQTT_SERVER_UNAVAILABLE = 0x88,  /* 3.x: 0x03 */
	MQTT_TOPIC_NAME_INVALID = 0x90,
	MQTT_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
	MQTT_PACKET_TOO_LARGE = 0x95,
};

/* What was wrong with a packet: set by the functions below when they return GW_INVALID or GW_TOOBIG. */
struct mqtt_fault {
	enum mqtt_reason reason;
	const char *text; /* static: "packet identifier is 0" */
};

/* One control packet in its fixed header's terms (section 2.2). */
struct mqtt_frame {
	enum mqtt_type type;
	uint8_t flags;       /* lower four bits of the first byte */
	const uint8_t *body; /* what follows the fixed header; borrowed */
	size_t len;          /* of body: the remaining length */
	size_t size;         /* of the whole packet */
};

/* mqtt_frame_read finds the first packet in len bytes.
 *   max_packet  longest packet allowed, fixed header included: an announced length over it is refused at once
 *   first       true before CONNECT was seen: any other packet is refused from its first byte
 * GW_OK: *f is set | GW_AGAIN: more bytes are needed | GW_INVALID: type 0 or 15, or a remaining length of more than
 * four bytes | GW_TOOBIG: *f is set, but not all of its body need be there. Never looks at what lies behind len. */
enum gw_err mqtt_frame_read(const uint8_t *bytes, size_t len, size_t max_packet, bool first, struct mqtt_frame *f,
                            struct mqtt_fault *fault);

struct mqtt_string {
	const char *text; /* valid UTF-8 without U+0000, not terminated; borrowed */
	size_t len;
};

struct mqtt_connect {
	enum mqtt_version version; /* MQTT_UNKNOWN and MQTT_5: nothing below is set */
	bool clean_session;
	bool has_will, will_retain, has_username, has_password;
	uint8_t will_qos;
	uint16_t keep_alive; /* seconds; 0: none */
	struct mqtt_string client_id, will_topic, username;
	const uint8_t *will_message, *password; /* password is a secret: never logged */
	size_t will_message_len, password_len;
};

/* mqtt_connect_read reads a CONNECT (section 3.1), its flags in the fixed header included. A protocol level that is not
 * known is no fault here: it must be answered. The levels of bridges, 0x84 and 0x83, are 3.1.1 and 3.1.
 * GW_OK | GW_INVALID. */
enum gw_err mqtt_connect_read(const struct mqtt_frame *f, struct mqtt_connect *c, struct mqtt_fault *fault);

struct mqtt_publish {
	struct mqtt_string topic; /* not empty, no wildcards */
	uint8_t qos;              /* 0..2 */
	bool retain, dup;
	uint16_t id; /* packet identifier, never 0 when qos > 0; 0 when qos is 0 */
	const uint8_t *payload;
	size_t payload_len;
};

/* mqtt_publish_read reads a PUBLISH (section 3.3). GW_OK | GW_INVALID. */
enum gw_err mqtt_publish_read(const struct mqtt_frame *f, struct mqtt_publish *p, struct mqtt_fault *fault);

/* mqtt_publish_head reads a PUBLISH of whose body only `there` bytes have come: all but the payload, whose length it sets.
 * GW_OK | GW_AGAIN: more bytes are needed | GW_INVALID. */
enum gw_err mqtt_publish_head(const struct mqtt_frame *f, size_t there, struct mqtt_publish *p,
                              struct mqtt_fault *fault);

/* mqtt_plain_check checks the flags of any packet but CONNECT and PUBLISH, and that PINGREQ and DISCONNECT have no body. 3.1 lets
 * the DUP flag be set where it asks for QoS 1 and ignores the flags of the others. GW_OK | GW_INVALID. */
enum gw_err mqtt_plain_check(const struct mqtt_frame *f, enum mqtt_version version, struct mqtt_fault *fault);

/* mqtt_id_read reads a packet that is a packet identifier and nothing else: PUBACK, PUBREC, PUBREL, PUBCOMP.
 * GW_OK | GW_INVALID. */
enum gw_err mqtt_id_read(const struct mqtt_frame *f, uint16_t *id, struct mqtt_fault *fault);

/* A SUBSCRIBE or UNSUBSCRIBE: its filters follow one another in [filters, end). */
struct mqtt_filters {
	uint16_t id;
	size_t count; /* at least 1 */
	const uint8_t *next, *end;
	bool with_qos; /* SUBSCRIBE: a requested QoS follows each filter */
};

/* mqtt_filters_read checks the whole packet (sections 3.8 and 3.10; filters by 4.7.1). GW_OK | GW_INVALID. */
enum gw_err mqtt_filters_read(const struct mqtt_frame *f, struct mqtt_filters *s, struct mqtt_fault *fault);

/* mqtt_filters_next takes the next filter of a checked packet; false: no more. *qos is the requested QoS (SUBSCRIBE).
 */
bool mqtt_filters_next(struct mqtt_filters *s, struct mqtt_string *filter, uint8_t *qos);

/* mqtt_topic_check tells whether len bytes are a topic name: at least one byte, valid UTF-8, no U+0000, no wildcard. */
bool mqtt_topic_check(const char *topic, size_t len);

/* The writers put a packet to out and return its size in bytes. */
#define MQTT_CONNACK_MAX 5
size_t mqtt_connack_write(uint8_t out[MQTT_CONNACK_MAX], enum mqtt_version version, bool session_present,
                          enum mqtt_reason reason);

/* For PUBACK, PUBREC, PUBREL, PUBCOMP and UNSUBACK. */
#define MQTT_ID_SIZE 4
size_t mqtt_id_write(uint8_t out[MQTT_ID_SIZE], enum mqtt_type type, uint16_t id);

/* Header and identifier of a SUBACK; count return codes of one byte follow: 0x00..0x02 granted, MQTT_SUBSCRIBE_FAILED
 * refused. */
#define MQTT_SUBACK_HEAD_MAX 7
#define MQTT_SUBSCRIBE_FAILED 0x80
size_t mqtt_suback_head_write(uint8_t out[MQTT_SUBACK_HEAD_MAX], uint16_t id, size_t count);

#define MQTT_PINGRESP_SIZE 2
size_t mqtt_pingresp_write(uint8_t out[MQTT_PINGRESP_SIZE]);

#endif
