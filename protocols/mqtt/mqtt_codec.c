/* MQTT control packets, read and written byte by byte; see mqtt_codec.h. The specification asks a server to close the
 * connection on anything malformed, so every reader here stops at the first fault and says which it was. */
#include "protocols/mqtt/mqtt_codec.h"

#include <string.h>

#include "gateway/base/scan.h"
#include "gateway/base/utf8.h"

#define REMAINING_LENGTH_BYTES 4 /* section 2.2.3 */

static enum gw_err fault_set(struct mqtt_fault *fault, enum mqtt_reason reason, const char *text)
{
	fault->reason = reason;
	fault->text = text;
	return GW_INVALID;
}

static enum gw_err malformed(struct mqtt_fault *fault, const char *text)
{
	return fault_set(fault, MQTT_MALFORMED, text);
}

/* -- fields -- */

struct mqtt_reader {
	const uint8_t *p, *end;
};

static size_t reader_left(const struct mqtt_reader *c)
{
	return (size_t)(c->end - c->p);
}

static bool reader_u8(struct mqtt_reader *c, uint8_t *v)
{
	if (reader_left(c) < 1)
		return false;
	*v = *c->p++;
	return true;
}

static bool reader_u16(struct mqtt_reader *c, uint16_t *v)
{
	if (reader_left(c) < 2)
		return false;
	*v = (uint16_t)(c->p[0] << 8 | c->p[1]);
	c->p += 2;
	return true;
}

/* Binary data of a two-byte length (a will message, a password, the bytes of a string). */
static bool reader_binary(struct mqtt_reader *c, const uint8_t **bytes, size_t *len)
{
	uint16_t n;
	if (!reader_u16(c, &n) || reader_left(c) < n)
		return false;
	*bytes = c->p;
	*len = n;
	c->p += n;
	return true;
}

/* Section 1.5.3: well-formed UTF-8 without surrogates [MQTT-1.5.3-1], without U+0000 [MQTT-1.5.3-2]. */
static bool text_check(const uint8_t *bytes, size_t len)
{
	const char *text = (const char *)bytes;
	return utf8_check(text, len) == len && (len == 0 || !memchr(text, 0, len));
}

static bool reader_string(struct mqtt_reader *c, struct mqtt_string *s)
{
	const uint8_t *bytes;
	if (!reader_binary(c, &bytes, &s->len) || !text_check(bytes, s->len))
		return false;
	s->text = (const char *)bytes;
	return true;
}

/* -- fixed header -- */

enum gw_err mqtt_frame_read(const uint8_t *bytes, size_t len, size_t max_packet, bool first, struct mqtt_frame *f,
                            struct mqtt_fault *fault)
{
	if (len == 0)
		return GW_AGAIN;
	unsigned type = bytes[0] >> 4;
	if (type == 0 || type > MQTT_AUTH)
		return malformed(fault, "packet type is reserved");
	if (first &&
	    type != MQTT_CONNECT) /* [MQTT-3.1.0-1]; known at the first byte: a stranger is not worth a buffer */
		return fault_set(fault, MQTT_PROTOCOL_ERROR, "first packet is not CONNECT");
	size_t remaining = 0, at = 1;
	for (unsigned shift = 0;; shift += 7) {
		if (at > REMAINING_LENGTH_BYTES)
			return malformed(fault, "remaining length has more than four bytes");
		if (at == len)
			return GW_AGAIN;
		uint8_t b = bytes[at++];
		remaining |= (size_t)(b & 0x7f) << shift;
		if ((b & 0x80) == 0)
			break;
	}
	bool too_big = at + remaining > max_packet;
	if (!too_big && len - at < remaining)
		return GW_AGAIN;
	f->type = (enum mqtt_type)type;
	f->flags = bytes[0] & 0x0f;
	f->body = bytes + at;
	f->len = remaining;
	f->size = at + remaining;
	if (!too_big)
		return GW_OK;
	(void)fault_set(fault, MQTT_PACKET_TOO_LARGE, "packet is longer than max_packet");
	return GW_TOOBIG;
}

/* -- CONNECT -- */

enum connect_flags {
	FLAG_RESERVED = 0x01,
	FLAG_CLEAN_SESSION = 0x02,
	FLAG_WILL = 0x04,
	FLAG_WILL_QOS = 0x18,
	FLAG_WILL_RETAIN = 0x20,
	FLAG_PASSWORD = 0x40,
	FLAG_USERNAME = 0x80,
};

static bool name_is(const struct mqtt_string *s, const char *name)
{
	return s->len == strlen(name) && memcmp(s->text, name, s->len) == 0;
}

/* Set in the level by the bridges of brokers (Mosquitto's try_private): it asks for what matters between brokers, such as not
 * sending a client its own messages back. To a server that sends nothing it says nothing. */
#define LEVEL_BRIDGE 0x80

/* Section 3.1.2.1 and 3.1.2.2. A name that is not MQTT's at all is no MQTT client: closed without an answer. */
static enum gw_err connect_version(struct mqtt_reader *in, struct mqtt_connect *c, struct mqtt_fault *fault)
{
	struct mqtt_string name;
	uint8_t level;
	if (!reader_string(in, &name))
		return malformed(fault, "protocol name is cut or not UTF-8");
	bool is_mqtt = name_is(&name, "MQTT"), is_isdp = name_is(&name, "MQIsdp");
	if (!is_mqtt && !is_isdp)
		return fault_set(fault, MQTT_UNSUPPORTED_VERSION, "protocol name is neither MQTT nor MQIsdp");
	if (!reader_u8(in, &level))
		return malformed(fault, "CONNECT ends before its protocol level");
	uint8_t plain = level & (uint8_t)~LEVEL_BRIDGE;
	if (is_isdp && plain == MQTT_3_1)
		c->version = MQTT_3_1;
	else if (is_mqtt && plain == MQTT_3_1_1)
		c->version = MQTT_3_1_1;
	else
		c->version = is_mqtt && level == MQTT_5 ? MQTT_5 : MQTT_UNKNOWN;
	return GW_OK;
}

/* Section 3.1.2.3 to 3.1.2.9. */
static enum gw_err connect_flags_read(uint8_t flags, struct mqtt_connect *c, struct mqtt_fault *fault)
{
	c->clean_session = (flags & FLAG_CLEAN_SESSION) != 0;
	c->has_will = (flags & FLAG_WILL) != 0;
	c->will_qos = (uint8_t)((flags & FLAG_WILL_QOS) >> 3);
	c->will_retain = (flags & FLAG_WILL_RETAIN) != 0;
	c->has_username = (flags & FLAG_USERNAME) != 0;
	c->has_password = (flags & FLAG_PASSWORD) != 0;
	if ((flags & FLAG_RESERVED) != 0 && c->version != MQTT_3_1) /* [MQTT-3.1.2-3]; 3.1 calls it unused */
		return malformed(fault, "reserved CONNECT flag is set");
	if (!c->has_will && (c->will_qos != 0 || c->will_retain)) /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15] */
		return malformed(fault, "will QoS or will retain without a will");
	if (c->will_qos > 2) /* [MQTT-3.1.2-14] */
		return malformed(fault, "will QoS is 3");
	if (c->has_password && !c->has_username) /* [MQTT-3.1.2-22] */
		return malformed(fault, "password without a user name");
	return GW_OK;
}

static enum gw_err connect_will(struct mqtt_reader *in, struct mqtt_connect *c, struct mqtt_fault *fault)
{
	if (!reader_string(in, &c->will_topic) || !mqtt_topic_check(c->will_topic.text, c->will_topic.len))
		return malformed(fault, "will topic is cut or no topic name");
	if (!reader_binary(in, &c->will_message, &c->will_message_len))
		return malformed(fault, "will message is cut");
	return GW_OK;
}

static enum gw_err connect_credentials(struct mqtt_reader *in, struct mqtt_connect *c, struct mqtt_fault *fault)
{
	/* 3.1, CONNECT, payload: the remaining length takes precedence over the flags, for clients of the original V3.
	 */
	if (c->version == MQTT_3_1 && reader_left(in) == 0)
		c->has_username = c->has_password = false;
	if (c->has_username && !reader_string(in, &c->username))
		return malformed(fault, "user name is cut or not UTF-8");
	if (c->version == MQTT_3_1 && reader_left(in) == 0)
		c->has_password = false;
	if (c->has_password && !reader_binary(in, &c->password, &c->password_len))
		return malformed(fault, "password is cut");
	return GW_OK;
}

enum gw_err mqtt_connect_read(const struct mqtt_frame *f, struct mqtt_connect *c, struct mqtt_fault *fault)
{
	struct mqtt_reader in = {f->body, f->body + f->len};
	*c = (struct mqtt_connect){0};
	enum gw_err err = connect_version(&in, c, fault);
	if (err != GW_OK || c->version == MQTT_UNKNOWN || c->version == MQTT_5)
		return err;
	if (f->flags != 0 &&
	    c->version != MQTT_3_1) /* [MQTT-2.2.2-2]; 3.1, section 3.1: they are not used in CONNECT */
		return malformed(fault, "reserved flags of the fixed header are wrong");
	uint8_t flags;
	if (!reader_u8(&in, &flags) || !reader_u16(&in, &c->keep_alive))
		return malformed(fault, "CONNECT ends before its keep-alive");
	if ((err = connect_flags_read(flags, c, fault)) != GW_OK)
		return err;
	if (!reader_string(&in, &c->client_id))
		return malformed(fault, "client identifier is cut or not UTF-8");
	if (c->has_will && (err = connect_will(&in, c, fault)) != GW_OK)
		return err;
	if ((err = connect_credentials(&in, c, fault)) != GW_OK)
		return err;
	if (reader_left(&in) != 0)
		return malformed(fault, "bytes follow the end of CONNECT");
	return GW_OK;
}

/* -- PUBLISH -- */

/* Eight bytes at a time while they are plain: ASCII, no U+0000, no wildcard. Marks may be false only above a true one
 * (scan.h). */
static size_t topic_plain(const uint8_t *p, size_t len)
{
	size_t i = 0;
	for (; len - i >= 8; i += 8) {
		uint64_t v;
		memcpy(&v, p + i, 8);
		uint64_t hits = scan_swar_below(v, 1) | scan_swar_equal(v, '+') | scan_swar_equal(v, '#');
		if ((hits | (v & SCAN_TOPS)) != 0)
			break;
	}
	return i;
}

bool mqtt_topic_check(const char *topic, size_t len)
{
	const uint8_t *start = (const uint8_t *)topic, *end = start + len, *p = start + topic_plain(start, len);
	while (p < end) {
		size_t n = *p >= 0x80 ? scan_utf8(p, end) : 1;
		if (n == 0 || *p == 0 || *p == '+' || *p == '#')
			return false;
		p += n;
	}
	return len > 0; /* [MQTT-4.7.3-1] */
}

enum gw_err mqtt_publish_read(const struct mqtt_frame *f, struct mqtt_publish *p, struct mqtt_fault *fault)
{
	struct mqtt_reader in = {f->body, f->body + f->len};
	p->dup = (f->flags & 0x08) != 0;
	p->qos = (uint8_t)(f->flags >> 1 & 0x03);
	p->retain = (f->flags & 0x01) != 0;
	p->id = 0;
	if (p->qos == 3) /* [MQTT-3.3.1-4] */
		return malformed(fault, "QoS is 3");
	if (p->qos == 0 && p->dup) /* [MQTT-3.3.1-2] */
		return malformed(fault, "DUP flag with QoS 0");
	const uint8_t *topic;
	if (!reader_binary(&in, &topic, &p->topic.len))
		return malformed(fault, "topic is cut");
	p->topic.text = (const char *)topic;
	if (!mqtt_topic_check(p->topic.text, p->topic.len)) /* [MQTT-3.3.2-1] [MQTT-3.3.2-2] */
		return fault_set(fault, MQTT_TOPIC_NAME_INVALID,
		                 "topic is empty, not UTF-8, or has a wildcard or U+0000");
	if (p->qos > 0 && !reader_u16(&in, &p->id))
		return malformed(fault, "PUBLISH ends before its packet identifier");
	if (p->qos > 0 && p->id == 0) /* [MQTT-2.3.1-1] */
		return fault_set(fault, MQTT_PROTOCOL_ERROR, "packet identifier is 0");
	p->payload = in.p;
	p->payload_len = reader_left(&in);
	return GW_OK;
}

enum gw_err mqtt_publish_head(const struct mqtt_frame *f, size_t there, struct mqtt_publish *p,
                              struct mqtt_fault *fault)
{
	struct mqtt_frame head = *f;
	if (there < 2 && f->len >= 2)
		return GW_AGAIN;
	if (f->len >= 2)
		head.len = 2 + (size_t)(f->body[0] << 8 | f->body[1]) + ((f->flags & 0x06) != 0 ? 2 : 0);
	if (head.len > f->len)
		head.len = f->len; /* cut: mqtt_publish_read says where */
	if (there < head.len)
		return GW_AGAIN;
	enum gw_err err = mqtt_publish_read(&head, p, fault);
	if (!err)
		p->payload_len = f->len - head.len;
	return err;
}

/* -- the others -- */

/* Table 2.2 of section 2.2.2. */
static uint8_t flags_required(enum mqtt_type type)
{
	return type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ? 0x02 : 0x00;
}

enum gw_err mqtt_plain_check(const struct mqtt_frame *f, enum mqtt_version version, struct mqtt_fault *fault)
{
	uint8_t required = flags_required(f->type);
	bool good = f->flags == required;
	if (version == MQTT_3_1) /* DUP may be set with what is sent again, the others "are not used" */
		good = required == 0 || (f->flags & 0x06) == required;
	if (!good) /* [MQTT-2.2.2-2] */
		return malformed(fault, "reserved flags of the fixed header are wrong");
	if ((f->type == MQTT_PINGREQ || f->type == MQTT_DISCONNECT) && f->len != 0)
		return malformed(fault, "PINGREQ or DISCONNECT has a body");
	return GW_OK;
}

enum gw_err mqtt_id_read(const struct mqtt_frame *f, uint16_t *id, struct mqtt_fault *fault)
{
	if (f->len != 2)
		return malformed(fault, "packet is not two bytes long");
	*id = (uint16_t)(f->body[0] << 8 | f->body[1]);
	if (*id == 0)
		return fault_set(fault, MQTT_PROTOCOL_ERROR, "packet identifier is 0");
	return GW_OK;
}

/* Section 4.7.1: '+' fills a level, '#' fills the last one. The text is known to be valid UTF-8. */
static bool filter_check(const struct mqtt_string *s)
{
	for (size_t i = 0; i < s->len; i++) {
		char b = s->text[i];
		if (b != '+' && b != '#')
			continue;
		bool last = i + 1 == s->len;
		if (i > 0 && s->text[i - 1] != '/')
			return false;
		if (!last && (b == '#' || s->text[i + 1] != '/'))
			return false;
	}
	return s->len > 0;
}

/* Takes one filter, and the requested QoS behind it when there is one. */
static enum gw_err filter_read(struct mqtt_reader *in, bool with_qos, struct mqtt_fault *fault)
{
	struct mqtt_string filter;
	uint8_t qos = 0;
	if (!reader_string(in, &filter))
		return malformed(fault, "topic filter is cut or not UTF-8");
	if (!filter_check(&filter))
		return malformed(fault, "topic filter is empty or has a misplaced wildcard");
	if (with_qos && (!reader_u8(in, &qos) || qos > 2)) /* [MQTT-3-8.3-4] */
		return malformed(fault, "requested QoS is missing or over 2");
	return GW_OK;
}

enum gw_err mqtt_filters_read(const struct mqtt_frame *f, struct mqtt_filters *s, struct mqtt_fault *fault)
{
	struct mqtt_reader in = {f->body, f->body + f->len};
	*s = (struct mqtt_filters){.with_qos = f->type == MQTT_SUBSCRIBE, .end = in.end};
	if (!reader_u16(&in, &s->id))
		return malformed(fault, "packet ends before its packet identifier");
	if (s->id == 0)
		return fault_set(fault, MQTT_PROTOCOL_ERROR, "packet identifier is 0");
	for (s->next = in.p; reader_left(&in) > 0; s->count++) {
		enum gw_err err = filter_read(&in, s->with_qos, fault);
		if (err != GW_OK)
			return err;
	}
	if (s->count == 0) /* [MQTT-3.8.3-3] [MQTT-3.10.3-2] */
		return fault_set(fault, MQTT_PROTOCOL_ERROR, "no topic filter");
	return GW_OK;
}

bool mqtt_filters_next(struct mqtt_filters *s, struct mqtt_string *filter, uint8_t *qos)
{
	struct mqtt_reader in = {s->next, s->end};
	const uint8_t *bytes;
	if (!reader_binary(&in, &bytes, &filter->len))
		return false;
	filter->text = (const char *)bytes;
	if (s->with_qos && !reader_u8(&in, qos))
		return false;
	s->next = in.p;
	return true;
}

/* -- writing -- */

/* Table 3.1 of section 3.2.2.3. */
static uint8_t return_code(enum mqtt_reason reason)
{
	switch (reason) {
	case MQTT_SUCCESS: return 0x00;
	case MQTT_UNSUPPORTED_VERSION: return 0x01;
	case MQTT_CLIENT_ID_NOT_VALID: return 0x02;
	case MQTT_BAD_CREDENTIALS: return 0x04;
	case MQTT_NOT_AUTHORIZED: return 0x05;
	default: return 0x03; /* server unavailable */
	}
}

size_t mqtt_connack_write(uint8_t out[MQTT_CONNACK_MAX], enum mqtt_version version, bool session_present,
                          enum mqtt_reason reason)
{
	bool v5 = version == MQTT_5;
	out[0] = MQTT_CONNACK << 4;
	out[1] = v5 ? 3 : 2;
	out[2] = session_present && version != MQTT_3_1 && reason == MQTT_SUCCESS; /* [MQTT-3.2.2-4]; 3.1: reserved */
	out[3] = v5 ? (uint8_t)reason : return_code(reason);
	if (v5)
		out[4] = 0; /* no properties */
	return v5 ? 5 : 4;
}

size_t mqtt_id_write(uint8_t out[MQTT_ID_SIZE], enum mqtt_type type, uint16_t id)
{
	out[0] = (uint8_t)((unsigned)type << 4 | flags_required(type));
	out[1] = 2;
	out[2] = (uint8_t)(id >> 8);
	out[3] = (uint8_t)id;
	return MQTT_ID_SIZE;
}

size_t mqtt_suback_head_write(uint8_t out[MQTT_SUBACK_HEAD_MAX], uint16_t id, size_t count)
{
	size_t remaining = 2 + count, at = 0;
	out[at++] = MQTT_SUBACK << 4;
	for (; remaining > 0x7f; remaining >>= 7)
		out[at++] = (uint8_t)(remaining | 0x80);
	out[at++] = (uint8_t)remaining;
	out[at++] = (uint8_t)(id >> 8);
	out[at++] = (uint8_t)id;
	return at;
}

size_t mqtt_pingresp_write(uint8_t out[MQTT_PINGRESP_SIZE])
{
	out[0] = MQTT_PINGRESP << 4;
	out[1] = 0;
	return MQTT_PINGRESP_SIZE;
}
