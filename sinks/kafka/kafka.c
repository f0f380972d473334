/* The Kafka sink: records to topics, by librdkafka's idempotent producer.
 *
 * How a batch goes: submit takes it as a flight and hands its records to librdkafka, which keeps pointers into the
 * batch's blocks and copies nothing but the key. When the library's queue is full the rest of the flight waits for
 * room; no other batch is taken meanwhile, so order stays. Delivery reports come through rd_kafka_poll on the pump's
 * thread and settle one record each; a flight whose last report has come is finished. The library writes to the pump's
 * eventfd when there is something to poll for: nobody sleeps a fixed time.
 *
 * What a report means:
 *
 *	persisted           done: all in-sync replicas have it
 *	the record refused  Kafka answers for a whole request, and one record can spoil it for its neighbours. So each record
 *	                    of it is sent once more by a second producer whose requests hold a single record: what is refused
 *	                    there is dead, with the reason
 *	the topic refused   (missing, forbidden, illegal) from a template: the record goes to the fallback topic, and the
 *	                    topic is asked again later; else the operator is told and the record retried
 *	anything else       retried
 *
 * The library itself resends what a resend can mend, without limit of time (message.timeout.ms=0). A fatal error (the
 * idempotent producer cannot go on) ends the producers: a thread of its own destroys them, since that may wait for a
 * name server, and then all that was in flight is retried, in order, with new producers. Kafka may then hold a record
 * twice, with the same id in its header. */
#include <librdkafka/rdkafka.h>

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/journal/record.h"
#include "gateway/pump/sink.h"
#include "sinks/kafka/kafka_conf.h"
#include "sinks/kafka/kafka_health.h"
#include "sinks/kafka/kafka_message.h"
#include "sinks/kafka/kafka_producer.h"
#include "sinks/kafka/kafka_topics.h"
#include "sinks/template.h"

#define DOUBT_TOLD_MS 60000 /* between two warnings that requests are refused */
#define STALL_MS 10000      /* without an acknowledgement, while records wait for one, before it is told */
#define CLOSE_MS 3000       /* for the producers to end when the gateway stops */

/* A batch with us. */
struct kafka_flight {
	struct batch *batch;
	size_t next; /* first item not handed to the library */
	size_t out;  /* items with the library */
	int64_t since_ms;
};

struct kafka {
	struct kafka_settings s;
	/* the rest: set by open, then the pump thread's */
	struct sink_host *host;
	char brokers[4096];
	struct kafka_topics topics;
	struct kafka_producer batching; /* many records in a request */
	struct kafka_producer single;   /* one record in a request */
	struct kafka_flight *flights;   /* in order of submission; only the last may be partly handed over */
	size_t flight_count, flight_max;
	struct kafka_teardown *teardown; /* producers on their way out: nothing goes on before they are gone */
	struct kafka_health health;
	bool heard; /* something was acknowledged in this turn */
	bool fatal; /* a fatal error was met; dealt with at the end of the turn */
	bool full_told;
	struct json_pointer time_at; /* "/@timestamp" */
	struct log_limit log_limit;
	int64_t doubt_told_ms;
};

static int64_t clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A record arrived: whatever was wrong no longer is, but for a topic that is not this one. */
static void recover(struct kafka *k, const rd_kafka_message_t *m)
{
	struct kafka_topic_handle *topic = rd_kafka_topic_opaque(m->rkt);
	topic->missing_ms = 0;
	k->health.all_down = false;
	if (k->health.is != KAFKA_NO_TOPIC || !k->topics.home.missing_ms)
		kafka_health_well(&k->health);
}

/* -- callbacks of the library; all inside rd_kafka_poll -- */

static void log_cb(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	const struct kafka_producer *p = rd_kafka_opaque(rk);
	struct kafka *k = p->owner;
	uint64_t suppressed;
	/* Failed connections come as errors, too, and are told as the sink's state. */
	enum log_level to = level <= 2 ? LOG_ERROR : level <= 4 ? LOG_WARN : level <= 6 ? LOG_INFO : LOG_DEBUG;
	if (!strcmp(facility, "FAIL"))
		to = LOG_DEBUG;
	if (log_enabled(to) && (to == LOG_DEBUG || log_allow(&k->log_limit, clock_ms(), &suppressed)))
		log_event(to, "sink", "librdkafka says", LOG_S("sink.name", k->host->name),
		          LOG_S("event.code", facility), LOG_S("error.message", text));
}

static void error_cb(rd_kafka_t *rk, int code, const char *text, void *opaque)
{
	struct kafka *k = ((struct kafka_producer *)opaque)->owner;
	(void)rk;
	if (code == RD_KAFKA_RESP_ERR__FATAL)
		k->fatal = true;
	else
		kafka_health_error(&k->health, code, text, k->flight_count > 0, clock_ms());
}

static struct kafka_flight *flight_of(struct kafka *k, const struct batch_item *item)
{
	for (size_t i = 0;; i++) {
		struct kafka_flight *f = &k->flights[i];
		assert(i < k->flight_count);
		if (item >= f->batch->items && item < f->batch->items + f->batch->count)
			return f;
	}
}

static void report_failed(struct kafka_producer *p, struct kafka_flight *f, struct batch_item *item,
                          struct kafka_topic_handle *topic, rd_kafka_resp_err_t err);

static void report_cb(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	struct kafka_producer *p = opaque;
	struct kafka *k = p->owner;
	struct batch_item *item = m->_private;
	struct kafka_flight *f = flight_of(k, item);
	(void)rk;
	f->out--;
	if (!m->err && rd_kafka_message_status(m) == RD_KAFKA_MSG_STATUS_PERSISTED) {
		item->state = ITEM_DONE;
		k->heard = true;
		if (k->health.is != KAFKA_WELL || k->health.all_down || k->topics.targets.count > 0)
			recover(k, m);
	} else {
		report_failed(p, f, item, rd_kafka_topic_opaque(m->rkt), m->err);
	}
}

/* -- producers -- */

static const struct kafka_callbacks callbacks = {.report = report_cb, .error = error_cb, .log = log_cb};

static enum gw_err producer_open(struct kafka *k, struct kafka_producer *p, struct why *why)
{
	struct kafka_producer_plan plan = {
	    .owner = k,
	    .single = p == &k->single,
	    .settings = &k->s,
	    .brokers = k->brokers,
	    .wake_fd = k->host->wake_fd,
	    .callbacks = &callbacks,
	};
	return kafka_producer_open(p, &plan, why);
}

/* -- producing -- */

/* Hands a record to a producer; RD_KAFKA_RESP_ERR_NO_ERROR: its report will come. */
static rd_kafka_resp_err_t produce(struct kafka_producer *p, struct kafka_topic_handle *topic, struct batch_item *item)
{
	const struct kafka *k = p->owner;
	struct kafka_message m;
	rd_kafka_topic_t *rkt = kafka_topic_handle_get(topic, p);
	if (!rkt)
		return RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
	kafka_message_pack(&m, &k->s, &k->time_at, item->entry, rkt, item);
	rd_kafka_error_t *error = rd_kafka_produceva(p->rk, m.values, m.count);
	if (!error)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	kafka_message_drop(&m);
	rd_kafka_resp_err_t err = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	return err;
}

/* -- refusals -- */

static bool is_about_topic(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
	       err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || err == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
}

/* About one record, or several, of a request. */
static bool is_about_record(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || err == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE ||
	       err == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE || err == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
	       err == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
}

static void item_retry(struct kafka_flight *f, struct batch_item *item, const struct kafka_topic_handle *topic,
                       rd_kafka_resp_err_t err)
{
	batch_retry(f->batch, (size_t)(item - f->batch->items), "topic %s: %s", topic->name, rd_kafka_err2str(err));
}

static void item_dead(struct kafka_flight *f, struct batch_item *item, const struct kafka_topic_handle *topic,
                      rd_kafka_resp_err_t err)
{
	struct record r;
	record_read(&r, item->entry);
	batch_dead(f->batch, (size_t)(item - f->batch->items), "Kafka refuses it: topic %s: %s (%s), %u bytes",
	           topic->name, rd_kafka_err2str(err), rd_kafka_err2name(err), (unsigned)r.json_len);
}

/* A record that a request was refused for, maybe: once more, alone. A request holds thousands, so that is told once per
 * spell. */
static rd_kafka_resp_err_t produce_single(struct kafka *k, struct kafka_topic_handle *topic, struct batch_item *item,
                                          rd_kafka_resp_err_t err)
{
	int64_t now_ms = clock_ms();
	if (!k->doubt_told_ms || now_ms - k->doubt_told_ms > DOUBT_TOLD_MS) {
		k->doubt_told_ms = now_ms;
		log_event(LOG_WARN, "sink",
		          "Kafka refused a request: its records are sent one by one, to find which are meant; if this "
		          "goes on and none are dead "
		          "letters, set properties: batch.size below the topic's max.message.bytes",
		          LOG_S("sink.name", k->host->name), LOG_S("kafka.topic", topic->name),
		          LOG_S("error.message", rd_kafka_err2str(err)));
	}
	if (!k->single.rk && producer_open(k, &k->single, NULL))
		return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
	return produce(&k->single, topic, item);
}

/* A record was not taken, by the library or by Kafka: what becomes of it. */
static void report_failed(struct kafka_producer *p, struct kafka_flight *f, struct batch_item *item,
                          struct kafka_topic_handle *topic, rd_kafka_resp_err_t err)
{
	struct kafka *k = p->owner;
	rd_kafka_resp_err_t again = err;
	if (err == RD_KAFKA_RESP_ERR__FATAL) {
		k->fatal = true;
	} else if (is_about_topic(err) && topic != &k->topics.home) {
		kafka_topics_missing(&k->topics, topic, err, clock_ms());
		stat_add(&k->host->stats->limited, 1);
		again = produce(p, &k->topics.home, item);
	} else if (is_about_topic(err)) {
		topic->missing_ms = KAFKA_TOPICS_ASK_FIRST_MS;
		kafka_health_topic(&k->health, topic->name, err);
	} else if (is_about_record(err) && !p->single) {
		again = produce_single(k, topic, item, err);
	} else if (is_about_record(err)) {
		item_dead(f, item, topic, err);
		return;
	}
	if (again == RD_KAFKA_RESP_ERR_NO_ERROR)
		f->out++;
	else
		item_retry(f, item, topic, again);
}

/* -- flights -- */

/* Hands over what the library has room for. */
static void flight_produce(struct kafka *k, struct kafka_flight *f)
{
	struct batch *b = f->batch;
	int64_t now_ms = clock_ms(), since_ms = k->flight_count > 0 ? k->flights[0].since_ms : now_ms;
	for (; f->next < b->count && !k->fatal; f->next++) {
		struct batch_item *item = &b->items[f->next];
		if (item->state == ITEM_DONE || item->state == ITEM_DEAD)
			continue;
		item->state = ITEM_PENDING;
		struct kafka_topic_handle *topic = kafka_topics_route(&k->topics, item->entry, since_ms, now_ms);
		rd_kafka_resp_err_t err = produce(&k->batching, topic, item);
		if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
			if (!k->full_told)
				stat_add(&k->host->stats->limited, 1);
			k->full_told = true;
			return;
		}
		if (!err)
			f->out++;
		else if (err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
			item_dead(f, item, topic, err); /* the library's own limit: message.max.bytes */
		else
			report_failed(&k->batching, f, item, topic, err);
	}
	k->full_told = false;
}

static bool flight_landed(const struct kafka_flight *f)
{
	return f->out == 0 && f->next == f->batch->count;
}

static void flight_finish(struct kafka *k, size_t i)
{
	struct batch *b = k->flights[i].batch;
	k->flight_count--;
	memmove(&k->flights[i], &k->flights[i + 1], (k->flight_count - i) * sizeof(*k->flights));
	batch_finish(b);
}

static bool flights_finish(struct kafka *k)
{
	bool any = false;
	for (size_t i = 0; i < k->flight_count;) {
		if (flight_landed(&k->flights[i])) {
			flight_finish(k, i);
			any = true;
		} else {
			i++;
		}
	}
	return any;
}

/* -- the end of producers -- */

/* Takes the producers away. The batches stay until the teardown is done: the library still points into their blocks. */
static void producers_tear_down(struct kafka *k)
{
	kafka_topics_detach(&k->topics);
	rd_kafka_t *batching = kafka_producer_detach(&k->batching), *single = kafka_producer_detach(&k->single);
	k->teardown = kafka_teardown_start(batching, single, k->host->wake_fd);
}

static void flights_retry(struct kafka *k)
{
	while (k->flight_count > 0) {
		batch_retry_all(k->flights[0].batch, "the Kafka producer was rebuilt");
		flight_finish(k, 0);
	}
}

/* Returns whether a teardown goes on. */
static bool teardown_check(struct kafka *k)
{
	if (!k->teardown)
		return false;
	if (!kafka_teardown_done(k->teardown))
		return true;
	k->teardown = NULL;
	flights_retry(k);
	return false;
}

static void producers_rebuild(struct kafka *k)
{
	char text[512] = "unknown";
	if (!k->batching.rk || !rd_kafka_fatal_error(k->batching.rk, text, sizeof(text)))
		if (k->single.rk)
			rd_kafka_fatal_error(k->single.rk, text, sizeof(text));
	kafka_health_fatal(&k->health, text);
	k->fatal = false;
	k->full_told = false;
	producers_tear_down(k);
	if (!k->teardown)
		flights_retry(k);
}

/* -- struct sink -- */

/* One turn of the sink. Returns whether anything came of it. */
static bool turn(struct kafka *k)
{
	if (teardown_check(k) || !k->batching.rk)
		return false;
	int events = rd_kafka_poll(k->batching.rk, 0);
	if (k->single.rk)
		events += rd_kafka_poll(k->single.rk, 0);
	if (k->flight_count > 0 && !k->fatal)
		flight_produce(k, &k->flights[k->flight_count - 1]);
	bool finished = flights_finish(k);
	kafka_health_watch(&k->health, k->heard || k->flight_count == 0, clock_ms(),
	                   STALL_MS + (int64_t)(k->s.linger / 1000));
	k->heard = false;
	if (k->fatal)
		producers_rebuild(k);
	return finished || events > 0;
}

static void kafka_poll(void *self, int timeout_ms)
{
	struct kafka *k = self;
	if (turn(k) || timeout_ms == 0)
		return;
	struct pollfd fd = {.fd = k->host->wake_fd, .events = POLLIN};
	poll(&fd, 1, timeout_ms);
	turn(k);
}

static enum gw_err kafka_submit(void *self, struct batch *b)
{
	struct kafka *k = self;
	struct why why;
	if (k->teardown || k->fatal || k->flight_count == k->flight_max ||
	    (k->flight_count > 0 &&
	     k->flights[k->flight_count - 1].next < k->flights[k->flight_count - 1].batch->count))
		return GW_AGAIN;
	if (!k->batching.rk && producer_open(k, &k->batching, &why)) {
		kafka_health_ail(&k->health, KAFKA_NO_PRODUCER, why.text);
		return GW_AGAIN;
	}
	struct kafka_flight *f = &k->flights[k->flight_count++];
	*f = (struct kafka_flight){.batch = b, .since_ms = clock_ms()};
	flight_produce(k, f);
	if (flight_landed(f))
		flight_finish(k, k->flight_count - 1);
	return GW_OK;
}

/* The library forgets its linger only while a flush lasts, so a flush without waiting would do nothing: a millisecond
 * is enough to wake its threads. */
static void kafka_flush(void *self)
{
	struct kafka *k = self;
	if (k->flight_count > 0 && k->batching.rk && !k->fatal && k->s.linger > 20000)
		rd_kafka_flush(k->batching.rk, 1);
}

static enum gw_err kafka_check(const void *self, const struct sink_settings *common, struct why *why)
{
	const struct kafka *k = self;
	struct template t = {0};
	(void)common;
	enum gw_err err = template_init(&t, k->s.fallback_topic ? k->s.fallback_topic : "", &kafka_topic_rules, why);
	if (err || !template_constant(&t)) {
		template_fini(&t);
		return err ? why_add(why, err, "fallback_topic")
		           : why_set(why, GW_CONFIG, "fallback_topic: cannot be a template");
	}
	template_fini(&t);
	err = template_init(&t, k->s.topic ? k->s.topic : "", &kafka_topic_rules, why);
	if (err)
		return why_add(why, err, "topic");
	template_fini(&t);
	if (k->s.headers == KAFKA_HEADERS_CLOUDEVENTS && (!k->s.cloudevents_source || !*k->s.cloudevents_source ||
	                                                  !k->s.cloudevents_type || !*k->s.cloudevents_type))
		return why_set(why, GW_CONFIG,
		               "cloudevents_source and cloudevents_type must not be empty with headers: cloudevents");
	return kafka_conf_check(&k->s, why);
}

/* Faults of the linked library that this configuration may meet. */
static void warn_library(const struct kafka *k)
{
	bool scram = k->s.security >= KAFKA_SECURITY_SASL_PLAINTEXT &&
	             (k->s.mechanism == KAFKA_SCRAM_SHA_256 || k->s.mechanism == KAFKA_SCRAM_SHA_512);
	if (rd_kafka_version() < 0x020300ff)
		log_event(LOG_WARN, "sink",
		          "the linked librdkafka may end the idempotent producer by a fatal error after a lost "
		          "connection; it is rebuilt then, and "
		          "records in flight may be in Kafka twice, with the same id. Mended in librdkafka 2.3.0 (its "
		          "pull request 4438)",
		          LOG_S("sink.name", k->host->name), LOG_S("library.version", rd_kafka_version_str()));
	if (scram && rd_kafka_version() < 0x020601ff)
		log_event(LOG_WARN, "sink",
		          "the linked librdkafka cannot log in by SCRAM to Kafka 4 and later; use mechanism: plain, or "
		          "librdkafka 2.6.1 or later (its "
		          "pull request 4895)",
		          LOG_S("sink.name", k->host->name), LOG_S("library.version", rd_kafka_version_str()));
}

/* Kafka's names of metrics know no difference between '.' and '_', and escapes bring '_' into names. */
static void warn_names(const struct kafka *k)
{
	if (k->topics.template.has_field && strchr(k->s.topic, '_') && strchr(k->s.topic, '.'))
		log_event(LOG_WARN, "sink",
		          "the topic template has both '.' and '_': Kafka refuses to make a topic whose name differs "
		          "from another's in these alone",
		          LOG_S("sink.name", k->host->name), LOG_S("kafka.topic", k->s.topic));
}

static enum gw_err kafka_open(void *self, struct sink_host *host, struct why *why)
{
	struct kafka *k = self;
	k->host = host;
	enum gw_err err = kafka_topics_init(&k->topics, &k->s, host, why);
	if (err)
		return err;
	k->flight_max = host->settings->in_flight > 0 ? (size_t)host->settings->in_flight : 1;
	k->flights = calloc(k->flight_max, sizeof(*k->flights));
	if (!k->flights || !json_pointer_init(&k->time_at, "/@timestamp"))
		return why_set(why, GW_NOMEM, "out of memory");
	if (!kafka_conf_brokers(&k->s, k->brokers, sizeof(k->brokers)))
		return why_set(why, GW_CONFIG, "brokers: none, or more than fit 4 KiB");
	k->health = (struct kafka_health){.host = host, .brokers = k->brokers, .heard_ms = clock_ms()};
	err = producer_open(k, &k->batching, why);
	if (err)
		return err;
	kafka_topic_handle_get(
	    &k->topics.home,
	    &k->batching); /* now, so that what is wrong with the topic is known when the first record comes */
	warn_library(k);
	warn_names(k);
	return GW_OK;
}

static void kafka_close(void *self)
{
	struct kafka *k = self;
	if (!k->teardown && (k->batching.rk || k->single.rk))
		producers_tear_down(k);
	if (k->teardown && !kafka_teardown_wait(k->teardown, CLOSE_MS))
		log_event(LOG_WARN, "sink", "the Kafka library did not end in time", LOG_S("sink.name", k->host->name));
	k->teardown = NULL;
	kafka_topics_fini(&k->topics);
	json_pointer_fini(&k->time_at);
	free(k->flights);
	k->flights = NULL;
	k->flight_count = 0;
}

static void kafka_describe(const void *self, char *out, size_t size)
{
	const struct kafka *k = self;
	char list[512];
	if (!kafka_conf_brokers(&k->s, list, sizeof(list)))
		snprintf(list, sizeof(list), "%zu brokers", k->s.brokers.count);
	snprintf(out, size, "%s topic %s", list, k->s.topic);
}

const struct sink kafka_sink = {
    .name = "kafka",
    .help = "Apache Kafka: an idempotent producer, acknowledged by all in-sync replicas",
    .size = sizeof(struct kafka),
    .settings = kafka_settings,
    .check = kafka_check,
    .open = kafka_open,
    .submit = kafka_submit,
    .poll = kafka_poll,
    .flush = kafka_flush,
    .close = kafka_close,
    .describe = kafka_describe,
};
