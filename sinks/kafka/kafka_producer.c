/* The library's producers and topic handles: see kafka_producer.h. */
#include "sinks/kafka/kafka_producer.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const uint64_t one = 1; /* what an eventfd wants */

enum gw_err kafka_producer_open(struct kafka_producer *p, const struct kafka_producer_plan *plan, struct why *why)
{
	rd_kafka_conf_t *conf;
	char text[512];
	enum gw_err err = kafka_conf_make(plan->settings, plan->single, &conf, why);
	if (err)
		return err;
	*p = (struct kafka_producer){.owner = plan->owner, .single = plan->single};
	rd_kafka_conf_set_opaque(conf, p);
	rd_kafka_conf_set_dr_msg_cb(conf, plan->callbacks->report);
	rd_kafka_conf_set_error_cb(conf, plan->callbacks->error);
	rd_kafka_conf_set_log_cb(conf, plan->callbacks->log);
	if (rd_kafka_conf_set(conf, "bootstrap.servers", plan->brokers, text, sizeof(text)) == RD_KAFKA_CONF_OK)
		p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	if (!p->rk) {
		rd_kafka_conf_destroy(conf);
		return why_set(why, GW_CONFIG, "librdkafka %s: %s", rd_kafka_version_str(), text);
	}
	p->queue = rd_kafka_queue_get_main(p->rk);
	rd_kafka_queue_io_event_enable(p->queue, plan->wake_fd, &one, sizeof(one));
	rd_kafka_set_log_queue(p->rk, NULL);
	return GW_OK;
}

rd_kafka_t *kafka_producer_detach(struct kafka_producer *p)
{
	rd_kafka_t *rk = p->rk;
	if (rk) {
		rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(p->queue);
	}
	p->rk = NULL;
	p->queue = NULL;
	return rk;
}

/* -- topics -- */

rd_kafka_topic_t *kafka_topic_handle_get(struct kafka_topic_handle *topic, struct kafka_producer *p)
{
	rd_kafka_topic_t **handle = &topic->rkt[p->single];
	if (*handle)
		return *handle;
	rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(p->rk);
	rd_kafka_topic_conf_set_opaque(conf, topic);
	*handle = rd_kafka_topic_new(p->rk, topic->name, conf);
	if (!*handle)
		rd_kafka_topic_conf_destroy(conf);
	return *handle;
}

void kafka_topic_handle_drop(struct kafka_topic_handle *topic)
{
	for (int i = 0; i < 2; i++) {
		if (topic->rkt[i])
			rd_kafka_topic_destroy(topic->rkt[i]);
		topic->rkt[i] = NULL;
	}
}

/* -- the end of producers -- */

static void producers_destroy(struct kafka_teardown *t)
{
	for (int i = 0; i < 2; i++) {
		if (!t->rk[i])
			continue;
		rd_kafka_purge(t->rk[i],
		               RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
		rd_kafka_destroy(t->rk[i]);
	}
}

static void *teardown_run(void *arg)
{
	struct kafka_teardown *t = arg;
	int wake_fd = t->wake_fd;
	producers_destroy(t);
	if (atomic_load(&t->left)) {
		free(t);
		return NULL;
	}
	atomic_store_explicit(&t->done, true, memory_order_release);
	/* Once done is set, t may be gone. A wake-up that fails is made up for by the pump's own time-out. */
	if (write(wake_fd, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

struct kafka_teardown *kafka_teardown_start(rd_kafka_t *batching, rd_kafka_t *single, int wake_fd)
{
	struct kafka_teardown here = {.rk = {batching, single}}, *t = malloc(sizeof(*t));
	if (t) {
		*t = (struct kafka_teardown){.rk = {batching, single}, .wake_fd = wake_fd};
		if (pthread_create(&t->thread, NULL, teardown_run, t) == 0)
			return t;
		free(t);
	}
	producers_destroy(&here); /* then it takes as long as it takes */
	return NULL;
}

bool kafka_teardown_done(struct kafka_teardown *t)
{
	if (!atomic_load_explicit(&t->done, memory_order_acquire))
		return false;
	pthread_join(t->thread, NULL);
	free(t);
	return true;
}

bool kafka_teardown_wait(struct kafka_teardown *t, int wait_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until); /* pthread_timedjoin_np knows no other clock */
	until.tv_sec += wait_ms / 1000;
	if (pthread_timedjoin_np(t->thread, NULL, &until) == 0) {
		free(t);
		return true;
	}
	pthread_t thread = t->thread;
	atomic_store(&t->left, true);
	pthread_detach(thread);
	return false;
}
