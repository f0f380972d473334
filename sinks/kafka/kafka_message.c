/* A record as a Kafka message: see kafka_message.h. The value is the record's JSON, the key the device identifier, so
 * that one device's records stay in order in one partition. */
#include "sinks/kafka/kafka_message.h"

#include <string.h>

#include "gateway/journal/record.h"

/* -- names of topics: Kafka, Topic.validate -- */

static bool topic_literal(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
	       c == '_';
}

/* '.' is not plain: in the broker's names of metrics '.' and '_' are the same, and it refuses to make a topic that
 * differs from another by that alone. Besides, '.' thus separates fields without doubt. */
static bool topic_plain(unsigned char c)
{
	return topic_literal(c) && c != '.' && c != '_';
}

static bool topic_legal(const char *name, size_t len)
{
	return !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

const struct template_rules kafka_topic_rules = {
    .what = "Kafka topic",
    .max_len = KAFKA_TOPIC_MAX,
    .literal = topic_literal,
    .plain = topic_plain,
    .mark = '_',
    .legal = topic_legal,
};

/* -- messages -- */

static void header_add(struct kafka_message *m, const char *name, const void *value, size_t len)
{
	rd_kafka_header_add(m->headers, name, -1, value, (ssize_t)len);
}

/* CloudEvents 1.0, Kafka Protocol Binding, section 3.2 (binary content mode). source and id together must be unique:
 * the id alone is. */
static void cloudevents_add(struct kafka_message *m, const struct kafka_settings *s, const struct json_value *time,
                            const char *id)
{
	header_add(m, "ce_specversion", "1.0", 3);
	header_add(m, "ce_id", id, RECORD_ID_LEN);
	header_add(m, "ce_source", s->cloudevents_source, strlen(s->cloudevents_source));
	header_add(m, "ce_type", s->cloudevents_type, strlen(s->cloudevents_type));
	header_add(m, "ce_subject", m->values[2].u.mem.ptr, m->values[2].u.mem.size);
	if (time->type == JSON_STRING)
		header_add(m, "ce_time", time->text + 1, time->len - 2);
	header_add(m, "content-type", "application/json", 16);
}

/* The headers are made here and not by rd_kafka_produceva (RD_KAFKA_VTYPE_HEADER): up to librdkafka 2.8 at least it
 * frees its own twice when the topic does not exist. */
static void headers_add(struct kafka_message *m, const struct kafka_settings *s, const struct json_pointer *time_at,
                        const uint8_t *entry, size_t json_len)
{
	m->headers = NULL;
	if (s->headers == KAFKA_HEADERS_NONE)
		return;
	m->headers = rd_kafka_headers_new(s->headers == KAFKA_HEADERS_ID ? 1 : 7);
	if (s->headers == KAFKA_HEADERS_ID) {
		header_add(m, "sluice-id", record_id(entry), RECORD_ID_LEN);
	} else {
		struct json_value time = json_find(record_json(entry), json_len, time_at);
		cloudevents_add(m, s, &time, record_id(entry));
	}
	rd_kafka_vu_t *v = &m->values[m->count++];
	v->vtype = RD_KAFKA_VTYPE_HEADERS;
	v->u.headers = m->headers;
}

/* In milliseconds. Kafka takes no time before 1970, and librdkafka takes 0 as "now". */
static int64_t timestamp(const struct kafka_settings *s, const struct record *r)
{
	int64_t us = s->timestamp == KAFKA_TIMESTAMP_EVENT && r->time_us > 0 ? r->time_us : r->received_us;
	return us / 1000;
}

void kafka_message_pack(struct kafka_message *m, const struct kafka_settings *s, const struct json_pointer *time_at,
                        const uint8_t *entry, rd_kafka_topic_t *topic, void *opaque)
{
	struct record r;
	record_read(&r, entry);
	const char *json = record_json(entry), *device = json + r.device_at;
	size_t device_len = r.device_len;
	if (r.flags & RECORD_DEVICE_ESCAPED) {
		device_len = record_device(m->device, entry);
		device = m->device;
	}
	rd_kafka_vu_t *v = m->values;
	v[0].vtype = RD_KAFKA_VTYPE_RKT;
	v[0].u.rkt = topic;
	v[1].vtype = RD_KAFKA_VTYPE_VALUE; /* without MSG_F_COPY */
	v[1].u.mem.ptr = (void *)(uintptr_t)json;
	v[1].u.mem.size = r.json_len;
	v[2].vtype = RD_KAFKA_VTYPE_KEY;
	v[2].u.mem.ptr = (void *)(uintptr_t)device;
	v[2].u.mem.size = device_len;
	v[3].vtype = RD_KAFKA_VTYPE_OPAQUE;
	v[3].u.ptr = opaque;
	v[4].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
	v[4].u.i64 = timestamp(s, &r);
	m->count = 5;
	headers_add(m, s, time_at, entry, r.json_len);
}

void kafka_message_drop(struct kafka_message *m)
{
	if (m->headers)
		rd_kafka_headers_destroy(m->headers);
	m->headers = NULL;
}
