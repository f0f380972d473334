/* What the operator is told about the Kafka sink: one trouble at a time, in words that name the remedy, and once. Pump
 * thread. */
#ifndef SLUICE_SINKS_KAFKA_KAFKA_HEALTH_H
#define SLUICE_SINKS_KAFKA_KAFKA_HEALTH_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/pump/sink.h"

enum kafka_ailment {
	KAFKA_WELL,
	KAFKA_STALLED,
	KAFKA_NO_LEADER, /* stalled, and a broker that the cluster names cannot be reached */
	KAFKA_UNREACHABLE,
	KAFKA_NO_LOGIN,
	KAFKA_NO_TLS,
	KAFKA_NO_TOPIC,
	KAFKA_NO_PRODUCER,
};

struct kafka_health {
	struct sink_host *host;
	const char *brokers; /* for the texts */
	enum kafka_ailment is;
	char cause[512];               /* what the library said last about a broker ... */
	int64_t cause_ms;              /* ... when ... */
	bool cause_is_address;         /* ... whether it is about the address of a broker ... */
	enum kafka_ailment cause_kind; /* ... and what that means */
	const char *topic_what;        /* what was said to be wrong with the topic, a constant of kafka_health.c */
	bool all_down;                 /* the library said so, and nothing arrived since; it says so once */
	int64_t heard_ms;              /* when something was acknowledged last, or there was nothing to be */
};

/* kafka_health_ail tells of a trouble, unless that kind was told already: texts may hold counters that change. */
void kafka_health_ail(struct kafka_health *h, enum kafka_ailment ailment, const char *text);
/* kafka_health_topic: records wait because of their topic. */
void kafka_health_topic(struct kafka_health *h, const char *topic, rd_kafka_resp_err_t err);
/* kafka_health_fatal: a producer ended; each time is news. */
void kafka_health_fatal(struct kafka_health *h, const char *text);
/* kafka_health_error takes what the library's error callback says.
 *   waiting  records wait for an acknowledgement */
void kafka_health_error(struct kafka_health *h, int code, const char *text, bool waiting, int64_t now_ms);
/* kafka_health_well: a record arrived, and nothing else is known to be wrong. */
void kafka_health_well(struct kafka_health *h);
/* kafka_health_watch, once per turn: some trouble the library bears in silence, resending for ever.
 *   heard  something was acknowledged since the last call, or nothing is to be */
void kafka_health_watch(struct kafka_health *h, bool heard, int64_t now_ms, int64_t patience_ms);

#endif
