/* The topics that records go to: named by a template of their time and fields, with a fallback for those whose own
 * topic cannot be used. Pump thread. */
#ifndef SLUICE_SINKS_KAFKA_KAFKA_TOPICS_H
#define SLUICE_SINKS_KAFKA_KAFKA_TOPICS_H

#include <stddef.h>
#include <stdint.h>

#include "gateway/base/log.h"
#include "gateway/pump/sink.h"
#include "sinks/kafka/kafka_conf.h"
#include "sinks/kafka/kafka_producer.h"
#include "sinks/targets.h"
#include "sinks/template.h"

#define KAFKA_TOPICS_ASK_FIRST_MS                                                                                      \
	60000 /* a topic that could not be used is asked again after this, then twice that ... */
#define KAFKA_TOPICS_ASK_MOST_MS 3600000 /* ... up to this: each time records wait for the answer */

struct kafka_topics {
	struct template template;
	struct kafka_topic_handle home; /* the topic of a constant template, else the fallback */
	struct targets targets;         /* handles of a template's topics */
	struct target *last;            /* where the record before went */
	struct sink_host *host;
	struct log_limit limit;
};

/* kafka_topics_init fills a zeroed *t, which must then stay where it is; settings and host are borrowed.
 * GW_OK | GW_CONFIG | GW_NOMEM, with why. kafka_topics_fini in any case, also after zeroing alone. */
enum gw_err kafka_topics_init(struct kafka_topics *t, const struct kafka_settings *s, struct sink_host *host,
                              struct why *why);
void kafka_topics_fini(struct kafka_topics *t);

/* kafka_topics_route returns where an entry (gateway/journal/record.h) goes: its own topic, or `home`, counted as
 * limited, when it has none, that one cannot be used now, or there are as many as may be. The pointer is good until
 * the library has reported the record.
 *   since_ms  when the oldest batch under way was taken, no later than now_ms; now_ms: there is none
 *   now_ms    monotonic */
struct kafka_topic_handle *kafka_topics_route(struct kafka_topics *t, const uint8_t *entry, int64_t since_ms,
                                              int64_t now_ms);

/* kafka_topics_missing sets aside a topic made by the template; the next record for it goes to `home`. */
void kafka_topics_missing(struct kafka_topics *t, struct kafka_topic_handle *topic, rd_kafka_resp_err_t err,
                          int64_t now_ms);

/* kafka_topics_detach drops the library's handles of all topics: their producers are on their way out. */
void kafka_topics_detach(struct kafka_topics *t);

#endif
