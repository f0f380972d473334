/* The library's producers and topic handles: how they are made, and how they end without anybody waiting for them. */
#ifndef SLUICE_SINKS_KAFKA_KAFKA_PRODUCER_H
#define SLUICE_SINKS_KAFKA_KAFKA_PRODUCER_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "sinks/kafka/kafka_conf.h"
#include "sinks/kafka/kafka_message.h"

struct kafka_producer {
	void *owner;
	bool single;    /* each message in a request of its own */
	rd_kafka_t *rk; /* NULL: there is none */
	rd_kafka_queue_t *queue;
};

/* What the library calls back, always inside rd_kafka_poll of the thread that calls it; the last argument is the struct
 * kafka_producer. */
struct kafka_callbacks {
	void (*report)(rd_kafka_t *rk, const rd_kafka_message_t *m, void *producer);
	void (*error)(rd_kafka_t *rk, int code, const char *text, void *producer);
	/* rd_kafka_opaque(rk) is the producer */
	void (*log)(const rd_kafka_t *rk, int level, const char *facility, const char *text);
};

/* How a producer is to be. Borrowed for the call, except owner. */
struct kafka_producer_plan {
	void *owner;
	bool single; /* each message in a request of its own */
	const struct kafka_settings *settings;
	const char *brokers; /* comma-separated */
	int wake_fd;         /* an eventfd: written to when there is something to poll for */
	const struct kafka_callbacks *callbacks;
};

/* kafka_producer_open fills *p, which must then stay where it is.
 * GW_OK | GW_CONFIG (the library refuses the configuration, or has no threads). Connects in the background. */
enum gw_err kafka_producer_open(struct kafka_producer *p, const struct kafka_producer_plan *plan, struct why *why);
/* kafka_producer_detach gives up everything but the library's handle, which it returns for a teardown (NULL: there was
 * none). */
rd_kafka_t *kafka_producer_detach(struct kafka_producer *p);

/* A topic that records go to. */
struct kafka_topic_handle {
	char name[KAFKA_TOPIC_MAX + 1];
	rd_kafka_topic_t *rkt[2]; /* by producer: [single]; NULL: not made yet */
	int64_t missing_ms;       /* 0: usable, as far as we know; else the wait until it is asked again */
	int64_t ask_ms;           /* when, monotonic */
};
/* kafka_topic_handle_get returns the handle for a producer, whose opaque is the topic; NULL: rd_kafka_last_error. */
rd_kafka_topic_t *kafka_topic_handle_get(struct kafka_topic_handle *topic, struct kafka_producer *p);
void kafka_topic_handle_drop(struct kafka_topic_handle *topic);

/* Producers on their way out. Destroying one may wait for a name server, so a thread of its own does it. */
struct kafka_teardown {
	rd_kafka_t *rk[2];
	pthread_t thread;
	int wake_fd;
	_Atomic bool done; /* the thread's last act: no thread of the library reads a payload any more. Pairs with the
	                      acquire in kafka_teardown_done */
	_Atomic bool left; /* nobody waits any more: wake nobody, free yourself */
};
/* kafka_teardown_start destroys the producers (either may be NULL), writing to wake_fd afterwards. NULL: no thread could
 * be had, and it is done already. */
struct kafka_teardown *kafka_teardown_start(rd_kafka_t *batching, rd_kafka_t *single, int wake_fd);
/* kafka_teardown_done tells whether it is over; then the teardown is gone. */
bool kafka_teardown_done(struct kafka_teardown *t);
/* kafka_teardown_wait waits at most wait_ms and then leaves the thread alone; false if it had to. */
bool kafka_teardown_wait(struct kafka_teardown *t, int wait_ms);

#endif
