/* Every MQTT packet after CONNECT. A PUBLISH is parsed where it lies in the stream's read buffer and put into the lane;
 * its PUBACK or PUBREC is an awaited answer, written when the message is settled at the listener's ack level. What
 * names a packet identifier goes the same way, by the lane's position, and so it all leaves in the order of the packets
 * it answers [MQTT-4.6.0-2 to -4], gathered into one write by the stream.
 *
 * QoS 2 is method A of section 4.3.3: the identifier is remembered from PUBLISH to PUBREL, and the same identifier
 * meanwhile is the same message. So that this holds across a crash, message and identifier are one entry of the journal,
 * PUBREL is one, too, and PUBCOMP leaves only when that is settled: an identifier that came back after the client has
 * used it for its next message would swallow that. References: OASIS MQTT 3.1.1. */
#include "protocols/mqtt/mqtt_conn.h"

static void packet_fault(struct mqtt *self, struct mqtt_conn *own, const char *text)
{
	mqtt_conn_fault(self, own, &(struct mqtt_fault){MQTT_PROTOCOL_ERROR, text});
}

/* -- PUBLISH and its acknowledgements -- */

/* Queues an acknowledgement of a message behind everything put so far: the message itself, or the first copy of it. */
static void packet_acknowledge(struct mqtt *self, struct mqtt_conn *own, enum answer_kind kind, enum mqtt_type type,
                               uint16_t id)
{
	(void)stream_await(own->c, intake_position(self->in), kind, (uint64_t)type << 16 | id);
}

/* Answers what stands for no message: at once, if no earlier answer is due before it. */
static void packet_follow(struct mqtt *self, struct mqtt_conn *own, enum mqtt_type type, uint16_t id)
{
	if (stream_waiting(own->c) > 0)
		packet_acknowledge(self, own, ANSWER_RELEASE, type, id);
	else
		mqtt_packet_answer(self, own->c, (uint64_t)type << 16 | id);
}

void mqtt_packet_answer(const struct mqtt *self, struct stream_conn *c, uint64_t what)
{
	uint8_t out[MQTT_ID_SIZE];
	if (what >> 16 == MQTT_CONNACK)
		mqtt_conn_accept(self, stream_own(c), what & 1);
	else
		stream_write(c, out, mqtt_id_write(out, (enum mqtt_type)(what >> 16), (uint16_t)what));
}

/* The message can never be taken, which 3.x cannot say. QoS 0 expects no answer; else see on_refused. GW_OK:
 * acknowledge it all the same. */
static enum gw_err publish_refused(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_publish *p,
                                   const struct refusal *refusal)
{
	bool close = p->qos > 0 && self->on_refused == ON_REFUSED_CLOSE;
	mqtt_conn_log(self, &self->refusal_log, own,
	              close        ? "message refused, connection closed"
	              : p->qos > 0 ? "message refused, acknowledged all the same"
	                           : "message refused",
	              refusal->text);
	if (close)
		stream_close(own->c, true); /* what it sent before is still acknowledged */
	return p->qos > 0 && !close ? GW_OK : GW_INVALID;
}

/* Puts a message into the lane. GW_OK: acknowledge it, as kind says | GW_FULL: the connection is held, the packet comes again |
 * GW_INVALID: done with it. */
static enum gw_err publish_put(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_publish *p,
                               const struct state_change *state, enum answer_kind *kind)
{
	struct mqtt_string client = mqtt_clients_id(&own->member),
	                   device = mqtt_topics_device(&self->topics, p->topic, client);
	const struct message m = {
	    .device = device.len > 0 ? device.text : NULL,
	    .device_len = device.len,
	    .channel = p->topic.text,
	    .channel_len = p->topic.len,
	    .payload = p->payload,
	    .payload_len = p->payload_len,
	    .qos = p->qos,
	    .retain = p->retain,
	    .peer = stream_peer(own->c),
	    .state = state,
	    .sender = self->on_refused == ON_REFUSED_ACKNOWLEDGE ? client.text : NULL,
	    .sender_len = client.len,
	};
	struct refusal refusal;
	*kind = ANSWER_ACKNOWLEDGEMENT;
	enum gw_err err = stream_crowded(own->c) ? GW_FULL : intake_put(self->in, &m, &own->position, &refusal);
	if (err == GW_FULL) {
		stream_hold(own->c); /* QoS 0 too: TCP pushes back, nothing is dropped unseen */
	} else if (err != GW_OK) {
		*kind = ANSWER_REFUSAL;
		err = publish_refused(self, own, p, &refusal);
	}
	return err;
}

/* What the journal is to remember of an identifier. */
static struct state_change id_change(const struct mqtt_conn *own, enum state_op op, uint16_t id, uint8_t member[2])
{
	struct mqtt_string client = mqtt_clients_id(&own->member);
	member[0] = (uint8_t)id;
	member[1] = (uint8_t)(id >> 8);
	return (struct state_change){.op = op, .group = {client.text, client.len}, .member = {member, 2}};
}

/* Opens an identifier. It is remembered first, for when there is no memory for it the message must not be taken. False: the
 * connection closes. */
static bool id_open(struct mqtt *self, struct mqtt_conn *own, uint16_t id)
{
	static const struct mqtt_fault too_many = {MQTT_RECEIVE_MAXIMUM_EXCEEDED,
	                                           "more QoS 2 messages without PUBREL than receive_maximum"};
	static const struct mqtt_fault no_memory = {MQTT_SERVER_UNAVAILABLE, "out of memory"};
	bool room = mqtt_ids_count(own->ids) < (size_t)self->receive_maximum;
	if (room && mqtt_ids_add(&own->ids, id) == GW_OK)
		return true;
	mqtt_conn_fault(self, own, room ? &no_memory : &too_many);
	return false;
}

/* QoS 2. An identifier that is still open is the same message, whatever the DUP flag says [MQTT-4.3.3-2]. */
static bool is_repetition(struct mqtt *self, struct mqtt_conn *own, uint16_t id)
{
	if (!mqtt_ids_has(own->ids, id))
		return false;
	stat_add(&intake_stats(self->in)->duplicates, 1);
	packet_acknowledge(self, own, ANSWER_RELEASE, MQTT_PUBREC, id);
	return true;
}

static bool publish_exactly_once(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_publish *p)
{
	if (is_repetition(self, own, p->id) || !id_open(self, own, p->id))
		return true;
	uint8_t member[2];
	enum answer_kind kind;
	struct state_change change = id_change(own, STATE_SET, p->id, member);
	enum gw_err err = publish_put(self, own, p, mqtt_conn_outlives(self, own) ? &change : NULL, &kind);
	if (err == GW_OK)
		packet_acknowledge(self, own, kind, MQTT_PUBREC, p->id);
	else
		(void)mqtt_ids_remove(own->ids, p->id);
	return err != GW_FULL;
}

static bool take_publish(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	struct mqtt_fault fault;
	if (mqtt_publish_read(f, &p, &fault) != GW_OK) {
		mqtt_conn_fault(self, own, &fault);
		return true;
	}
	if (p.qos == 2)
		return publish_exactly_once(self, own, &p);
	enum answer_kind kind;
	enum gw_err err = publish_put(self, own, &p, NULL, &kind);
	if (err == GW_OK && p.qos == 1)
		packet_acknowledge(self, own, kind, MQTT_PUBACK, p.id);
	return err != GW_FULL;
}

bool mqtt_packet_skip(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f, size_t there)
{
	static const struct refusal too_large = {.reason = REFUSED_TOO_LARGE,
	                                         .text = "packet is longer than max_packet"};
	struct mqtt_publish p;
	struct mqtt_fault fault;
	enum gw_err err = mqtt_publish_head(f, there, &p, &fault);
	if (err == GW_AGAIN)
		return false;
	if (err != GW_OK) {
		mqtt_conn_fault(self, own, &fault);
		return true;
	}
	intake_refuse(self->in, too_large.reason);
	own->skip = (uint32_t)f->size;
	own->skip_id = p.id;
	own->skip_qos = publish_refused(self, own, &p, &too_large) == GW_OK ? p.qos : 0;
	return true;
}

void mqtt_packet_skipped(struct mqtt *self, struct mqtt_conn *own)
{
	if (own->skip_qos == 1)
		packet_acknowledge(self, own, ANSWER_REFUSAL, MQTT_PUBACK, own->skip_id);
	else if (own->skip_qos == 2 && !is_repetition(self, own, own->skip_id) && id_open(self, own, own->skip_id))
		packet_acknowledge(self, own, ANSWER_REFUSAL, MQTT_PUBREC, own->skip_id);
}

/* -- the other packets -- */

static bool take_pubrel(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	struct mqtt_fault fault;
	uint16_t id;
	if (mqtt_id_read(f, &id, &fault) != GW_OK) {
		mqtt_conn_fault(self, own, &fault);
		return true;
	}
	if (!mqtt_conn_outlives(self, own)) {
		(void)mqtt_ids_remove(own->ids, id); /* not known: a PUBREL sent again; its PUBCOMP was lost */
		packet_follow(self, own, MQTT_PUBCOMP, id);
		return true;
	}
	if (mqtt_ids_has(own->ids, id)) {
		uint8_t member[2];
		uint64_t position;
		struct state_change change = id_change(own, STATE_DELETE, id, member);
		if (intake_note(self->in, &change, &position) != GW_OK) {
			stream_hold(own->c);
			return false;
		}
		own->position = position;
		own->released = (uint32_t)position | 1;
		(void)mqtt_ids_remove(own->ids, id);
	} /* else a PUBREL sent again, whose release may not be settled yet */
	packet_acknowledge(self, own, ANSWER_RELEASE, MQTT_PUBCOMP, id);
	return true;
}

/* Acknowledgements of messages that nobody sent: a client that brings a session from elsewhere along. Where one asks
 * for an answer, it gets it, so that the client can forget. */
static bool take_acknowledgement(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	struct mqtt_fault fault;
	uint16_t id;
	if (mqtt_id_read(f, &id, &fault) != GW_OK)
		mqtt_conn_fault(self, own, &fault);
	else if (f->type == MQTT_PUBREC)
		packet_follow(self, own, MQTT_PUBREL, id);
	return true;
}

/* Section 3.9. 3.1 knows no refusal: there a subscription is granted, whatever comes of it. */
static bool take_subscribe(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	struct mqtt_filters s;
	struct mqtt_fault fault;
	if (mqtt_filters_read(f, &s, &fault) != GW_OK) {
		mqtt_conn_fault(self, own, &fault);
		return true;
	}
	bool grant = self->subscribe == SUBSCRIBE_GRANT_SILENTLY || own->version == MQTT_3_1;
	if (!grant) {
		intake_refuse(self->in, REFUSED_SUBSCRIPTION);
		mqtt_conn_log(self, &self->subscribe_log, own, "subscription refused",
		              "nothing is ever published to a client; see subscribe");
	}
	uint8_t head[MQTT_SUBACK_HEAD_MAX], codes[256];
	stream_write(own->c, head, mqtt_suback_head_write(head, s.id, s.count));
	struct mqtt_string filter;
	uint8_t qos = 0;
	size_t n = 0;
	while (mqtt_filters_next(&s, &filter, &qos)) {
		codes[n++] = grant ? qos : MQTT_SUBSCRIBE_FAILED;
		if (n == sizeof(codes)) {
			stream_write(own->c, codes, n);
			n = 0;
		}
	}
	stream_write(own->c, codes, n);
	return true;
}

static bool take_unsubscribe(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	struct mqtt_filters s;
	struct mqtt_fault fault;
	uint8_t out[MQTT_ID_SIZE];
	if (mqtt_filters_read(f, &s, &fault) != GW_OK)
		mqtt_conn_fault(self, own, &fault);
	else
		stream_write(own->c, out, mqtt_id_write(out, MQTT_UNSUBACK, s.id));
	return true;
}

static bool take_pingreq(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	(void)self, (void)f;
	uint8_t out[MQTT_PINGRESP_SIZE];
	stream_write(own->c, out, mqtt_pingresp_write(out));
	return true;
}

static bool take_disconnect(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	(void)self, (void)f;
	stream_close(own->c, true); /* a client that still listens gets what it waits for */
	return true;
}

static bool take_connect(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	if (own->state == STATE_NEW)
		mqtt_conn_connect(self, own, f);
	else
		packet_fault(self, own, "second CONNECT"); /* [MQTT-3.1.0-2] */
	return true;
}

typedef bool take_fn(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f);
static take_fn *const takers[16] = {
    [MQTT_CONNECT] = take_connect,        [MQTT_PUBLISH] = take_publish,         [MQTT_PUBACK] = take_acknowledgement,
    [MQTT_PUBREC] = take_acknowledgement, [MQTT_PUBREL] = take_pubrel,           [MQTT_PUBCOMP] = take_acknowledgement,
    [MQTT_SUBSCRIBE] = take_subscribe,    [MQTT_UNSUBSCRIBE] = take_unsubscribe, [MQTT_PINGREQ] = take_pingreq,
    [MQTT_DISCONNECT] = take_disconnect,
};

bool mqtt_packet_take(struct mqtt *self, struct mqtt_conn *own, const struct mqtt_frame *f)
{
	struct mqtt_fault fault;
	if (!takers[f->type])
		packet_fault(self, own, "packet that only a server sends, or of another version");
	else if (f->type != MQTT_PUBLISH && f->type != MQTT_CONNECT &&
	         mqtt_plain_check(f, (enum mqtt_version)own->version, &fault) != GW_OK)
		mqtt_conn_fault(self, own, &fault);
	else
		return takers[f->type](self, own, f);
	return true;
}
