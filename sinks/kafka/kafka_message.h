/* A record as a Kafka message: the names of topics, key, timestamp and headers. */
#ifndef SLUICE_SINKS_KAFKA_KAFKA_MESSAGE_H
#define SLUICE_SINKS_KAFKA_KAFKA_MESSAGE_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/json.h"
#include "gateway/journal/record.h"
#include "sinks/kafka/kafka_conf.h"
#include "sinks/template.h"

#define KAFKA_TOPIC_MAX 249u /* Kafka: Topic.MAX_NAME_LENGTH */
extern const struct template_rules kafka_topic_rules;

/* What one rd_kafka_produceva call borrows, but for the headers: it takes those over when it succeeds. */
struct kafka_message {
	rd_kafka_vu_t values[6];
	size_t count;
	rd_kafka_headers_t *headers; /* NULL: none */
	char device[DEVICE_MAX];     /* the key, where it stands escaped in the record */
};

/* kafka_message_pack fills m from an entry (gateway/journal/record.h), which must stay until the delivery report:
 * nothing of its JSON is copied.
 *   time_at  the compiled pointer "/@timestamp"
 *   opaque   comes back with the report */
void kafka_message_pack(struct kafka_message *m, const struct kafka_settings *s, const struct json_pointer *time_at,
                        const uint8_t *entry, rd_kafka_topic_t *topic, void *opaque);
/* kafka_message_drop is for a message that was not taken. */
void kafka_message_drop(struct kafka_message *m);

#endif
