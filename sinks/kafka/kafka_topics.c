/* Topics of the Kafka sink: see kafka_topics.h. */
#include "sinks/kafka/kafka_topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void release(void *context, struct target *target)
{
	struct kafka_topics *t = context;
	struct kafka_topic_handle *topic = target->own;
	if (!topic)
		return;
	if (t->last == target)
		t->last = NULL;
	kafka_topic_handle_drop(topic);
	free(topic);
}

enum gw_err kafka_topics_init(struct kafka_topics *t, const struct kafka_settings *s, struct sink_host *host,
                              struct why *why)
{
	enum gw_err err = template_init(&t->template, s->topic, &kafka_topic_rules, why);
	if (err)
		return why_add(why, err, "topic");
	snprintf(t->home.name, sizeof(t->home.name), "%s",
	         template_constant(&t->template) ? s->topic : s->fallback_topic);
	t->targets = (struct targets){.max = (size_t)s->max_targets, .release = release, .context = t};
	t->host = host;
	return GW_OK;
}

void kafka_topics_fini(struct kafka_topics *t)
{
	targets_fini(&t->targets);
	template_fini(&t->template);
}

/* A target may go when nobody used it for long, and no record for it can still be with the library. */
static int64_t target_before(int64_t since_ms, int64_t now_ms)
{
	int64_t before = now_ms - TARGET_IDLE_MS;
	return since_ms < before ? since_ms : before;
}

static struct kafka_topic_handle *find(struct kafka_topics *t, const char *name, size_t len, int64_t since_ms,
                                       int64_t now_ms)
{
	struct target *target = t->last;
	if (!target || target->len != len || memcmp(target->name, name, len) != 0) {
		if (!strcmp(name, t->home.name))
			return &t->home; /* the library knows a topic once, so there is one handle for it */
		target = targets_take(&t->targets, name, len, now_ms, target_before(since_ms, now_ms));
		if (!target)
			return NULL;
	}
	if (!target->own) {
		struct kafka_topic_handle *topic = calloc(1, sizeof(*topic));
		if (!topic)
			return NULL;
		memcpy(topic->name, name, len + 1);
		target->own = topic;
	}
	target->used_ms = now_ms;
	t->last = target;
	return target->own;
}

struct kafka_topic_handle *kafka_topics_route(struct kafka_topics *t, const uint8_t *entry, int64_t since_ms,
                                              int64_t now_ms)
{
	if (template_constant(&t->template))
		return &t->home;
	char name[TEMPLATE_NAME_MAX + 1];
	size_t len = template_render(&t->template, entry, name);
	struct kafka_topic_handle *topic = len > 0 ? find(t, name, len, since_ms, now_ms) : NULL;
	if (topic && (!topic->missing_ms || now_ms >= topic->ask_ms))
		return topic;
	stat_add(&t->host->stats->limited, 1);
	return &t->home;
}

void kafka_topics_missing(struct kafka_topics *t, struct kafka_topic_handle *topic, rd_kafka_resp_err_t err,
                          int64_t now_ms)
{
	uint64_t suppressed = 0;
	if (topic->missing_ms && now_ms < topic->ask_ms)
		return;
	topic->missing_ms = topic->missing_ms ? topic->missing_ms * 2 : KAFKA_TOPICS_ASK_FIRST_MS;
	if (topic->missing_ms > KAFKA_TOPICS_ASK_MOST_MS)
		topic->missing_ms = KAFKA_TOPICS_ASK_MOST_MS;
	topic->ask_ms = now_ms + topic->missing_ms;
	if (log_allow(&t->limit, now_ms, &suppressed))
		log_event(LOG_WARN, "sink", "a topic cannot be used: its records go to the fallback topic",
		          LOG_S("sink.name", t->host->name), LOG_S("kafka.topic", topic->name),
		          LOG_S("error.message", rd_kafka_err2str(err)), LOG_N("suppressed", suppressed));
}

void kafka_topics_detach(struct kafka_topics *t)
{
	kafka_topic_handle_drop(&t->home);
	for (size_t i = 0; i < t->targets.count; i++)
		if (t->targets.items[i]->own)
			kafka_topic_handle_drop(t->targets.items[i]->own);
}
