/* Reading back a Kafka topic: every partition from its beginning to where it ended when the reading began. No consumer
 * group is made, nothing is committed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "load/readback.h"

#define METADATA_MS 15000
#define SILENCE_MS 30000 /* nothing for so long although something is there: an error */

static rd_kafka_t *consumer_new(const char *brokers, struct why *why)
{
	char text[512] = "";
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	static const char *const settings[][2] = {{"group.id", "sluice-load-verify"},
	                                          {"enable.auto.commit", "false"},
	                                          {"auto.offset.reset", "earliest"},
	                                          {"log_level", "2"},
	                                          {"queued.min.messages", "50000"}};
	bool good = rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text)) == RD_KAFKA_CONF_OK;
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		good = good &&
		       rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof(text)) == RD_KAFKA_CONF_OK;
	rd_kafka_t *k = good ? rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text)) : NULL;
	if (!k) {
		rd_kafka_conf_destroy(conf);
		why_set(why, GW_CONFIG, "kafka: %s", text);
	}
	return k;
}

/* The topic's partitions with their ends in opaque; NULL: none. *left is set to the records there are. */
static rd_kafka_topic_partition_list_t *find_partitions(rd_kafka_t *k, const char *topic, int64_t *left,
                                                        struct why *why)
{
	const struct rd_kafka_metadata *m = NULL;
	rd_kafka_topic_t *t = rd_kafka_topic_new(k, topic, NULL);
	rd_kafka_resp_err_t err = rd_kafka_metadata(k, 0, t, &m, METADATA_MS);
	rd_kafka_topic_destroy(t);
	if (!err && m->topic_cnt == 1)
		err = m->topics[0].err;
	if (err || m->topic_cnt != 1) {
		why_set(why, GW_CONFIG, "kafka: topic %s: %s", topic, rd_kafka_err2str(err));
		rd_kafka_metadata_destroy(m);
		return NULL;
	}
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(m->topics[0].partition_cnt);
	*left = 0;
	for (int i = 0; i < m->topics[0].partition_cnt && !err; i++) {
		int64_t low = 0, high = 0;
		err = rd_kafka_query_watermark_offsets(k, topic, i, &low, &high, METADATA_MS);
		rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, i);
		p->offset = low;
		p->opaque =
		    (void *)(intptr_t)high; /* NOLINT(performance-no-int-to-ptr): librdkafka lends a pointer's room */
		*left += high - low;
	}
	rd_kafka_metadata_destroy(m);
	if (!err)
		return list;
	why_set(why, GW_IO, "kafka: topic %s: %s", topic, rd_kafka_err2str(err));
	rd_kafka_topic_partition_list_destroy(list);
	return NULL;
}

/* True when every partition has been read to the end it had. */
static bool at_end(rd_kafka_t *k, rd_kafka_topic_partition_list_t *ends)
{
	rd_kafka_topic_partition_list_t *now = rd_kafka_topic_partition_list_copy(ends);
	bool done = rd_kafka_position(k, now) == RD_KAFKA_RESP_ERR_NO_ERROR;
	for (int i = 0; i < ends->cnt && done; i++) {
		int64_t end = (intptr_t)ends->elems[i].opaque;
		done = ends->elems[i].offset >= end || now->elems[i].offset >= end;
	}
	rd_kafka_topic_partition_list_destroy(now);
	return done;
}

static enum gw_err read_all(rd_kafka_t *k, rd_kafka_topic_partition_list_t *ends, readback_take *take, void *context,
                            struct why *why)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(k);
	rd_kafka_message_t *messages[1000];
	enum gw_err err = GW_OK;
	int silent_ms = 0;
	while (!err && !at_end(k, ends)) {
		ssize_t n = rd_kafka_consume_batch_queue(queue, 200, messages, 1000);
		silent_ms = n > 0 ? 0 : silent_ms + 200;
		for (ssize_t i = 0; i < n; i++) {
			rd_kafka_message_t *m = messages[i];
			if (m->err)
				err = why_set(why, GW_IO, "kafka: %s", rd_kafka_message_errstr(m));
			else if (m->partition < ends->cnt && m->offset < (intptr_t)ends->elems[m->partition].opaque)
				take(context, m->payload, m->len);
			rd_kafka_message_destroy(m);
		}
		if (silent_ms > SILENCE_MS)
			err = why_set(why, GW_IO, "kafka: nothing came for %d s, and the end is not reached",
			              SILENCE_MS / 1000);
	}
	rd_kafka_queue_destroy(queue);
	return err;
}

static enum gw_err read_source(const char *source, readback_take *take, void *context, struct why *why)
{
	char brokers[1024];
	const char *rest = source + strlen("kafka://"), *slash = strchr(rest, '/');
	if (!slash || !slash[1] || slash == rest || (size_t)(slash - rest) >= sizeof(brokers))
		return why_set(why, GW_CONFIG, "%s: must be %s", source, readback_kafka.form);
	snprintf(brokers, sizeof(brokers), "%.*s", (int)(slash - rest), rest);
	rd_kafka_t *k = consumer_new(brokers, why);
	if (!k)
		return GW_CONFIG;
	int64_t left = 0;
	enum gw_err err = GW_IO;
	rd_kafka_topic_partition_list_t *ends = find_partitions(k, slash + 1, &left, why);
	if (ends) {
		rd_kafka_resp_err_t failed = rd_kafka_assign(k, ends);
		err = failed ? why_set(why, GW_IO, "kafka: %s", rd_kafka_err2str(failed)) : GW_OK;
		if (!err && left > 0)
			err = read_all(k, ends, take, context, why);
		rd_kafka_assign(k, NULL);
		rd_kafka_topic_partition_list_destroy(ends);
	}
	rd_kafka_consumer_close(k);
	rd_kafka_destroy(k);
	return err;
}

static bool mine(const char *source)
{
	return strncmp(source, "kafka://", strlen("kafka://")) == 0;
}

const struct readback readback_kafka = {
    .form = "kafka://HOST:PORT[,HOST:PORT]/TOPIC", .ordered = true, .mine = mine, .read = read_source};
