/* The library's producers and topic handles: see kafka_producer.h. */
#include "sinks/kafka/kafka_producer.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const uint64_t one = 1; /* what an eventfd wants */

enum gw_err kafka_producer_open(struct kafka_producer *p, void *owner, bool lone, const struct kafka_settings *s,
                                const char *brokers, int wake_fd, const struct kafka_callbacks *callbacks,
                                struct why *why)
{
	rd_kafka_conf_t *conf;
	char text[512];
	enum gw_err err = kafka_conf_make(s, lone, &conf, why);
	if (err)
		return err;
	*p = (struct kafka_producer){.owner = owner, .lone = lone};
	rd_kafka_conf_set_opaque(conf, p);
	rd_kafka_conf_set_dr_msg_cb(conf, callbacks->report);
	rd_kafka_conf_set_error_cb(conf, callbacks->error);
	rd_kafka_conf_set_log_cb(conf, callbacks->log);
	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text)) == RD_KAFKA_CONF_OK)
		p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	if (!p->rk) {
		rd_kafka_conf_destroy(conf);
		return why_set(why, GW_CONFIG, "librdkafka %s: %s", rd_kafka_version_str(), text);
	}
	p->queue = rd_kafka_queue_get_main(p->rk);
	rd_kafka_queue_io_event_enable(p->queue, wake_fd, &one, sizeof(one));
	rd_kafka_set_log_queue(p->rk, NULL);
	return GW_OK;
}

rd_kafka_t *kafka_producer_leave(struct kafka_producer *p)
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

rd_kafka_topic_t *kafka_place_handle(struct kafka_place *place, struct kafka_producer *p)
{
	rd_kafka_topic_t **handle = &place->handle[p->lone];
	if (*handle)
		return *handle;
	rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(p->rk);
	rd_kafka_topic_conf_set_opaque(conf, place);
	*handle = rd_kafka_topic_new(p->rk, place->name, conf);
	if (!*handle)
		rd_kafka_topic_conf_destroy(conf);
	return *handle;
}

void kafka_place_leave(struct kafka_place *place)
{
	for (int i = 0; i < 2; i++) {
		if (place->handle[i])
			rd_kafka_topic_destroy(place->handle[i]);
		place->handle[i] = NULL;
	}
}

/* -- the end of producers -- */

static void grave_dig(struct kafka_grave *g)
{
	for (int i = 0; i < 2; i++) {
		if (!g->rk[i])
			continue;
		rd_kafka_purge(g->rk[i],
		               RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
		rd_kafka_destroy(g->rk[i]);
	}
}

static void *grave_run(void *arg)
{
	struct kafka_grave *g = arg;
	int wake_fd = g->wake_fd;
	grave_dig(g);
	if (atomic_load(&g->left)) {
		free(g);
		return NULL;
	}
	atomic_store_explicit(&g->done, true, memory_order_release);
	/* Once done is set, g may be gone. A wake-up that fails is made up for by the pump's own time-out. */
	if (write(wake_fd, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

struct kafka_grave *kafka_grave_open(rd_kafka_t *many, rd_kafka_t *lone, int wake_fd)
{
	struct kafka_grave here = {.rk = {many, lone}}, *g = malloc(sizeof(*g));
	if (g) {
		*g = (struct kafka_grave){.rk = {many, lone}, .wake_fd = wake_fd};
		if (pthread_create(&g->thread, NULL, grave_run, g) == 0)
			return g;
		free(g);
	}
	grave_dig(&here); /* then it takes as long as it takes */
	return NULL;
}

bool kafka_grave_done(struct kafka_grave *g)
{
	if (!atomic_load_explicit(&g->done, memory_order_acquire))
		return false;
	pthread_join(g->thread, NULL);
	free(g);
	return true;
}

bool kafka_grave_close(struct kafka_grave *g, int wait_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until); /* pthread_timedjoin_np knows no other clock */
	until.tv_sec += wait_ms / 1000;
	if (pthread_timedjoin_np(g->thread, NULL, &until) == 0) {
		free(g);
		return true;
	}
	pthread_t thread = g->thread;
	atomic_store(&g->left, true);
	pthread_detach(thread);
	return false;
}
