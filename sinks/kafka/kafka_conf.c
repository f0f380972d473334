/* The Kafka sink's settings: see kafka_conf.h.
 *
 * Whatever librdkafka can be told, `properties` can tell it, but for what would break the promise (a record leaves the
 * journal when all in-sync replicas have it, once and in order) and for what has a setting of its own: two places for
 * one thing always disagree one day. */
#include "sinks/kafka/kafka_conf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *const headers_choices[] = {"id", "cloudevents", "none", NULL};
static const char *const timestamp_choices[] = {"event", "received", NULL};
static const char *const compression_choices[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};
static const char *const security_choices[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl", NULL};
static const char *const mechanism_choices[] = {"plain", "scram-sha-256", "scram-sha-512", "gssapi", NULL};
static const char *const mechanism_values[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI"};

#define ST struct kafka_settings
const struct setting kafka_settings[] = {
    SETTING_REQUIRED(ST, brokers, SETTING_LIST,
                     "Kafka brokers to begin with, `host:port` each (port 9092 when left out); the others of the "
                     "cluster are found through them."),
    SETTING(ST, topic, SETTING_STRING, "sluice.telemetry", 0, 0,
            "Topic that records go to. May be a template: `{yyyy.MM.dd}` is the record's time in UTC, `{device.id}` or "
            "`{payload.site|none}` a field of "
            "the record, escaped to a legal name."),
    SETTING(ST, fallback_topic, SETTING_STRING, "sluice.telemetry.other", 0, 0,
            "Topic of records whose own topic cannot be used, where `topic` is a template: a field is missing, the "
            "name is too long, `max_targets` is "
            "reached, or the topic does not exist or is forbidden."),
    SETTING(ST, max_targets, SETTING_INT, "100", 1, 10000,
            "Distinct topics that a template may make; further ones go to `fallback_topic`. A topic unused for a day "
            "no longer counts."),
    SETTING_CHOICES(ST, headers, "id", headers_choices,
                    "Headers of each Kafka record: `id` is `sluice-id` with the record's id, by which a consumer "
                    "recognises a repeated record; `cloudevents` the "
                    "CloudEvents 1.0 binary content mode (ce_id, ce_source, ce_type, ce_subject, ce_time)."),
    SETTING(ST, cloudevents_source, SETTING_STRING, "/sluice", 0, 0,
            "ce_source of `headers: cloudevents`, a URI reference that names this gateway."),
    SETTING(ST, cloudevents_type, SETTING_STRING, "sluice.telemetry", 0, 0, "ce_type of `headers: cloudevents`."),
    SETTING_CHOICES(ST, timestamp, "event", timestamp_choices,
                    "Timestamp of each Kafka record: `event` is the record's @timestamp, `received` when the gateway "
                    "got it (for brokers that refuse a device's "
                    "clock, see message.timestamp.after.max.ms)."),
    SETTING_CHOICES(ST, compression, "lz4", compression_choices, "Compression of what is sent."),
    SETTING(ST, linger, SETTING_DURATION, "20ms", 0, 9e8,
            "How long a request waits for more records; longer makes larger, cheaper requests. Where devices wait for "
            "`ack: delivered` to Kafka alone, 1ms to 5ms answers sooner."),
    SETTING(ST, queue_bytes, SETTING_BYTES, "32MiB", 1 << 20, 2147482624.0,
            "Records the Kafka library may hold; what does not fit waits in the journal."),
    SETTING(ST, queue_records, SETTING_INT, "100000", 1, 10000000, "The same as a number of records."),
    SETTING_CHOICES(ST, security, "plaintext", security_choices,
                    "How to talk to the brokers: in the clear or by TLS, with or without a login (SASL)."),
    SETTING_CHOICES(ST, mechanism, "plain", mechanism_choices,
                    "SASL mechanism, with `security: sasl_plaintext` or `sasl_ssl`."),
    SETTING(ST, username, SETTING_STRING, NULL, 0, 0, "SASL user name."),
    SETTING(ST, password, SETTING_SECRET, NULL, 0, 0, "SASL password; `{file: PATH}` keeps it out of this file."),
    SETTING(ST, ca_file, SETTING_STRING, NULL, 0, 0,
            "PEM file of certificate authorities that vouch for the brokers; left out: those of the system."),
    SETTING(ST, cert_file, SETTING_STRING, NULL, 0, 0,
            "PEM file with this client's certificate, where the brokers ask for one."),
    SETTING(ST, key_file, SETTING_STRING, NULL, 0, 0, "PEM file with the key of `cert_file`."),
    SETTING(ST, properties, SETTING_MAP, NULL, 0, 0,
            "Any other property of librdkafka, such as `batch.size: 500000`. Those that would break the promise of the "
            "sink are refused, as are those that "
            "have a setting here."),
    SETTINGS_END,
};

/* -- properties that are not the operator's -- */

static const struct {
	const char *name;
	const char *values[4]; /* allowed ones; none: refused altogether */
	const char *text;
} rules[] = {
    {"enable.idempotence",
     {"true", "1", "t"},
     "without the idempotent producer a resend would be stored twice and out of order"},
    {"acks", {"all", "-1"}, "a record is settled when all in-sync replicas have it"},
    {"request.required.acks", {"all", "-1"}, "a record is settled when all in-sync replicas have it"},
    {"message.timeout.ms",
     {"0"},
     "a record that timed out would leave a gap; what cannot be sent waits in the journal (see give_up_after)"},
    {"delivery.timeout.ms",
     {"0"},
     "a record that timed out would leave a gap; what cannot be sent waits in the journal (see give_up_after)"},
    {"delivery.report.only.error", {"false", "0", "f"}, "the cursor moves by the reports of success"},
    {"enable.gapless.guarantee",
     {"false", "0", "f"},
     "one record that the broker refuses would stop all others for good"},
    {"transactional.id", {NULL}, "this sink does not use transactions"},
    {"log.queue", {NULL}, "the sink sets it itself"},
    {"bootstrap.servers", {NULL}, "use the setting brokers"},
    {"metadata.broker.list", {NULL}, "use the setting brokers"},
    {"compression.codec", {NULL}, "use the setting compression"},
    {"compression.type", {NULL}, "use the setting compression"},
    {"linger.ms", {NULL}, "use the setting linger"},
    {"queue.buffering.max.ms", {NULL}, "use the setting linger"},
    {"queue.buffering.max.kbytes", {NULL}, "use the setting queue_bytes"},
    {"queue.buffering.max.messages", {NULL}, "use the setting queue_records"},
    {"security.protocol", {NULL}, "use the setting security"},
    {"sasl.mechanism", {NULL}, "use the setting mechanism"},
    {"sasl.mechanisms", {NULL}, "use the setting mechanism"},
    {"sasl.username", {NULL}, "use the setting username"},
    {"sasl.password", {NULL}, "use the setting password"},
    {"ssl.ca.location", {NULL}, "use the setting ca_file"},
    {"ssl.certificate.location", {NULL}, "use the setting cert_file"},
    {"ssl.key.location", {NULL}, "use the setting key_file"},
};

static bool secret(const char *name)
{
	return strstr(name, "password") || strstr(name, "secret") || strstr(name, "pem") || strstr(name, "oauthbearer");
}

static enum gw_err property_allowed(const char *name, const char *value, struct why *why)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		if (strcmp(rules[i].name, name) != 0)
			continue;
		for (size_t v = 0; v < 4 && rules[i].values[v]; v++)
			if (!strcasecmp(rules[i].values[v], value))
				return GW_OK;
		if (!rules[i].values[0])
			return why_set(why, GW_CONFIG, "properties: %s cannot be set here: %s", name, rules[i].text);
		return why_set(why, GW_CONFIG, "properties: %s: \"%s\" is refused, only \"%s\" is possible: %s", name,
		               value, rules[i].values[0], rules[i].text);
	}
	return GW_OK;
}

/* -- making -- */

static enum gw_err property_set(rd_kafka_conf_t *conf, const char *name, const char *value, struct why *why)
{
	char text[512];
	if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
		return GW_OK;
	if (secret(name))
		return why_set(why, GW_CONFIG, "%s: the value is refused by librdkafka %s", name,
		               rd_kafka_version_str());
	return why_set(why, GW_CONFIG, "%s: \"%s\": %s (librdkafka %s)", name, value, text, rd_kafka_version_str());
}

struct property {
	const char *name, *value; /* value NULL: left as it is */
};

static enum gw_err properties_set(rd_kafka_conf_t *conf, const struct property *list, size_t count, struct why *why)
{
	enum gw_err err = GW_OK;
	for (size_t i = 0; i < count && !err; i++)
		if (list[i].value)
			err = property_set(conf, list[i].name, list[i].value, why);
	return err;
}

static enum gw_err settings_set(rd_kafka_conf_t *conf, const struct kafka_settings *s, struct why *why)
{
	bool tls = s->security == KAFKA_SECURITY_SSL || s->security == KAFKA_SECURITY_SASL_SSL;
	bool sasl = s->security == KAFKA_SECURITY_SASL_PLAINTEXT || s->security == KAFKA_SECURITY_SASL_SSL;
	char linger[32], bytes[32], records[32];
	snprintf(linger, sizeof(linger), "%.3f", (double)s->linger / 1000);
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)s->queue_bytes / 1024);
	snprintf(records, sizeof(records), "%lld", (long long)s->queue_records);
	const struct property list[] = {
	    {"client.id", "sluice"},
	    {"enable.idempotence", "true"},
	    {"acks", "all"},
	    {"message.timeout.ms", "0"},
	    {"partitioner",
	     "murmur2_random"}, /* where Java's producer puts the same key; librdkafka's own default is CRC32 */
	    {"topic.metadata.propagation.max.ms",
	     "3000"}, /* until a missing topic counts as missing; a wrong guess is only a retry */
	    {"socket.keepalive.enable", "true"},
	    {"log.connection.close", "false"},
	    {"log.queue", "true"}, /* logs, too, come on the pump's thread */
	    {"linger.ms", linger},
	    {"queue.buffering.max.kbytes", bytes},
	    {"queue.buffering.max.messages", records},
	    {"compression.codec", compression_choices[s->compression]},
	    {"security.protocol", security_choices[s->security]},
	    {"sasl.mechanism", sasl ? mechanism_values[s->mechanism] : NULL},
	    {"sasl.username", sasl ? s->username : NULL},
	    {"sasl.password", sasl ? s->password : NULL},
	    {"ssl.ca.location", tls ? s->ca_file : NULL},
	    {"ssl.certificate.location", tls ? s->cert_file : NULL},
	    {"ssl.key.location", tls ? s->key_file : NULL},
	};
	return properties_set(conf, list, sizeof(list) / sizeof(*list), why);
}

enum gw_err kafka_conf_make(const struct kafka_settings *s, bool single, rd_kafka_conf_t **out, struct why *why)
{
	static const struct property lone_list[] = {{"batch.num.messages", "1"}, {"linger.ms", "0"}};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	enum gw_err err = settings_set(conf, s, why);
	for (size_t i = 0; i < s->properties.count && !err; i++) {
		err = property_allowed(s->properties.keys[i], s->properties.values[i], why);
		if (!err && (err = property_set(conf, s->properties.keys[i], s->properties.values[i], why)))
			why_add(why, err, "properties");
	}
	if (!err && single)
		err = properties_set(conf, lone_list, sizeof(lone_list) / sizeof(*lone_list), why);
	if (err)
		rd_kafka_conf_destroy(conf);
	else
		*out = conf;
	return err;
}

bool kafka_conf_brokers(const struct kafka_settings *s, char *out, size_t size)
{
	size_t len = 0;
	for (size_t i = 0; i < s->brokers.count; i++) {
		int n = snprintf(out + len, size - len, "%s%s", i ? "," : "", s->brokers.items[i]);
		if (n < 0 || (size_t)n >= size - len)
			return false;
		len += (size_t)n;
	}
	return len > 0;
}

/* -- checking -- */

static enum gw_err brokers_check(const struct kafka_settings *s, struct why *why)
{
	char list[4096];
	for (size_t i = 0; i < s->brokers.count; i++) {
		const char *broker = s->brokers.items[i], *colon = strrchr(broker, ':');
		bool port =
		    colon && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1) && strlen(colon + 1) <= 5;
		bool bare = !colon || broker[strlen(broker) - 1] == ']';
		if (!*broker || *broker == ':' || strpbrk(broker, " \t,/") || (!port && !bare))
			return why_set(why, GW_CONFIG, "brokers: \"%s\" is not host:port", broker);
	}
	if (!kafka_conf_brokers(s, list, sizeof(list)))
		return why_set(why, GW_CONFIG, "brokers: give at least one host:port, and at most 4 KiB of them");
	return GW_OK;
}

static enum gw_err security_check(const struct kafka_settings *s, struct why *why)
{
	bool tls = s->security == KAFKA_SECURITY_SSL || s->security == KAFKA_SECURITY_SASL_SSL;
	bool sasl = s->security == KAFKA_SECURITY_SASL_PLAINTEXT || s->security == KAFKA_SECURITY_SASL_SSL;
	if (!sasl && (s->username || s->password))
		return why_set(why, GW_CONFIG, "username and password need security: sasl_ssl (or sasl_plaintext)");
	if (sasl && s->mechanism != KAFKA_GSSAPI && (!s->username || !s->password))
		return why_set(why, GW_CONFIG, "security: %s needs username and password",
		               security_choices[s->security]);
	if (!s->cert_file != !s->key_file)
		return why_set(why, GW_CONFIG, "cert_file and key_file go together");
	const struct property files[] = {
	    {"ca_file", s->ca_file}, {"cert_file", s->cert_file}, {"key_file", s->key_file}};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (!files[i].value)
			continue;
		if (!tls)
			return why_set(why, GW_CONFIG, "%s needs security: ssl or sasl_ssl", files[i].name);
		/* ca_file may be a directory, too */
		if (access(files[i].value, R_OK) != 0)
			return why_set(why, GW_CONFIG, "%s: %s: %s", files[i].name, files[i].value, strerror(errno));
	}
	return GW_OK;
}

/* What only a whole configuration shows (a certificate that does not fit its key, properties that exclude each other)
 * the library says when it makes a producer. Without brokers that connects to nothing. Kerberos would run kinit: left
 * to the start. */
static enum gw_err producer_try(const struct kafka_settings *s, struct why *why)
{
	char text[512];
	rd_kafka_conf_t *conf;
	enum gw_err err = kafka_conf_make(s, false, &conf, why);
	if (err)
		return err;
	bool kerberos = s->security >= KAFKA_SECURITY_SASL_PLAINTEXT && s->mechanism == KAFKA_GSSAPI;
	rd_kafka_t *rk = kerberos ? NULL : rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	if (rk) {
		rd_kafka_destroy(rk);
		return GW_OK;
	}
	rd_kafka_conf_destroy(conf);
	return kerberos ? GW_OK : why_set(why, GW_CONFIG, "librdkafka %s: %s", rd_kafka_version_str(), text);
}

enum gw_err kafka_conf_check(const struct kafka_settings *s, struct why *why)
{
	enum gw_err err = brokers_check(s, why);
	if (!err)
		err = security_check(s, why);
	if (!err)
		err = producer_try(s, why);
	return err;
}
