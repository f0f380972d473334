/* The Kafka sink's settings, and the librdkafka configuration made from them. */
#ifndef SLUICE_SINKS_KAFKA_KAFKA_CONF_H
#define SLUICE_SINKS_KAFKA_KAFKA_CONF_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "gateway/base/error.h"
#include "gateway/base/settings.h"

enum kafka_headers { KAFKA_HEADERS_ID, KAFKA_HEADERS_CLOUDEVENTS, KAFKA_HEADERS_NONE };
enum kafka_security {
	KAFKA_SECURITY_PLAINTEXT,
	KAFKA_SECURITY_SSL,
	KAFKA_SECURITY_SASL_PLAINTEXT,
	KAFKA_SECURITY_SASL_SSL
};
enum kafka_mechanism { KAFKA_PLAIN, KAFKA_SCRAM_SHA_256, KAFKA_SCRAM_SHA_512, KAFKA_GSSAPI };
enum kafka_timestamp { KAFKA_TIMESTAMP_EVENT, KAFKA_TIMESTAMP_RECEIVED };

struct kafka_settings {
	struct string_list brokers;
	char *topic, *fallback_topic;
	int64_t max_targets;
	int headers; /* enum kafka_headers */
	char *cloudevents_source, *cloudevents_type;
	int timestamp; /* enum kafka_timestamp */
	int compression;
	uint64_t linger; /* us */
	uint64_t queue_bytes;
	int64_t queue_records;
	int security;  /* enum kafka_security */
	int mechanism; /* enum kafka_mechanism */
	char *username, *password;
	char *ca_file, *cert_file, *key_file;
	struct string_map properties;
};
/* Its offsets are those in struct kafka_settings, which is the first member of the sink's state. */
extern const struct setting kafka_settings[];

/* kafka_conf_check judges what a table cannot: each property by the library itself, and those that would break the
 * promise by us. Does not connect. GW_OK | GW_CONFIG | GW_NOMEM. */
enum gw_err kafka_conf_check(const struct kafka_settings *s, struct why *why);

/* kafka_conf_make makes the configuration of a producer; brokers are left out, callbacks are the caller's.
 *   single  each message travels in a request of its own, so that a refusal says which one is meant
 *   out   set on GW_OK, then the caller's
 * GW_OK | GW_CONFIG | GW_NOMEM. */
enum gw_err kafka_conf_make(const struct kafka_settings *s, bool single, rd_kafka_conf_t **out, struct why *why);

/* kafka_conf_brokers writes the broker list, comma-separated, to out; false when it does not fit. */
bool kafka_conf_brokers(const struct kafka_settings *s, char *out, size_t size);

#endif
