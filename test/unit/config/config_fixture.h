/* A small schema with every type of setting, and a way to read a text by it: shared by the tests of config/. */
#ifndef SLUICE_TEST_UNIT_CONFIG_CONFIG_FIXTURE_H
#define SLUICE_TEST_UNIT_CONFIG_CONFIG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"

static const char *const ack_choices[] = {"accepted", "durable", "delivered", NULL};

struct tls {
	char *cert;
	char *key;
};
static const struct setting tls_table[] = {
    SETTING(struct tls, cert, SETTING_STRING, NULL, 0, 0, "Certificate file."),
    SETTING(struct tls, key, SETTING_SECRET, NULL, 0, 0, "Key."),
    SETTINGS_END,
};

struct socket_part {
	struct address listen;
};

struct mqtt {
	struct socket_part socket;
	uint64_t max_packet;
	uint64_t keep_alive_max;
	int64_t max_inflight;
	int64_t offset;
	double keep_free;
	bool retain;
	char *greeting;
	char *prefix;
	char *password;
	struct string_list topics;
	struct string_list extra;
	struct string_map properties;
	struct tls tls;
};
static const struct setting mqtt_table[] = {
    SETTING(struct mqtt, socket.listen, SETTING_ADDRESS, "127.0.0.1:1883", 0, 0,
            "Where to listen; `[::]` is every address."),
    SETTING(struct mqtt, max_packet, SETTING_BYTES, "256KiB", 16, 256 << 20, "Largest packet."),
    SETTING(struct mqtt, keep_alive_max, SETTING_DURATION, "1h", 1e6, 86400e6, "Longest keep-alive | cap <s>."),
    SETTING(struct mqtt, max_inflight, SETTING_INT, "100", 1, 65535, "Messages in flight."),
    SETTING(struct mqtt, offset, SETTING_INT, "0", -10, 0, "An offset."),
    SETTING(struct mqtt, keep_free, SETTING_PERCENT, "5%", 0, 50, "Free space."),
    SETTING(struct mqtt, retain, SETTING_BOOL, "true", 0, 0, "Records the retain flag."),
    SETTING(struct mqtt, greeting, SETTING_STRING, "hello", 0, 0, "A text."),
    SETTING(struct mqtt, prefix, SETTING_STRING, NULL, 0, 0, "A text without default."),
    SETTING(struct mqtt, password, SETTING_SECRET, NULL, 0, 0, "A password."),
    SETTING(struct mqtt, topics, SETTING_LIST, "devices/{device}/#, t/{device}", 0, 0, "Topic templates."),
    SETTING(struct mqtt, extra, SETTING_LIST, NULL, 0, 0, "More."),
    SETTING(struct mqtt, properties, SETTING_MAP, NULL, 0, 0, "Passed on."),
    SETTING_NESTED(struct mqtt, tls, tls_table, "Encryption."),
    SETTINGS_END,
};

struct tcp {
	char *device;
	uint64_t any_size;
	uint64_t any_time;
	int64_t any_int;
	uint64_t at_least;
};
static const struct setting tcp_table[] = {
    SETTING_REQUIRED(struct tcp, device, SETTING_STRING, "Where the device name is found."),
    SETTING(struct tcp, any_size, SETTING_BYTES, "0", 0, 0, "Any size."),
    SETTING(struct tcp, any_time, SETTING_DURATION, "0", 0, 0, "Any time."),
    SETTING(struct tcp, any_int, SETTING_INT, "0", 0, 0, "Any number."),
    SETTING(struct tcp, at_least, SETTING_BYTES, "1KiB", 512, 0, "At least half a KiB."),
    SETTINGS_END,
};

struct listener {
	int ack;
	int64_t threads;
};
static const struct setting listener_table[] = {
    SETTING_CHOICES(struct listener, ack, "durable", ack_choices, "When a message counts as accepted."),
    SETTING(struct listener, threads, SETTING_INT, "1", 1, 64, "Threads."),
    SETTINGS_END,
};

struct kafka {
	struct string_list brokers;
};
static const struct setting kafka_table[] = {
    SETTING_REQUIRED(struct kafka, brokers, SETTING_LIST, "Where to begin."),
    SETTINGS_END,
};

static const char *const journal_types[] = {"disk", "memory", NULL};
struct journal {
	int type;
	char *path;
	uint64_t size;
};
static const struct setting journal_table[] = {
    SETTING_CHOICES(struct journal, type, "disk", journal_types, "Kind."),
    SETTING(struct journal, path, SETTING_STRING, "data/journal", 0, 0, "Directory."),
    SETTING(struct journal, size, SETTING_BYTES, "1GiB", 1 << 20, 1.1e12, "Room."),
    SETTINGS_END,
};

struct gateway {
	char *name;
	struct journal journal;
};
static const struct setting gateway_table[] = {
    SETTING(struct gateway, name, SETTING_STRING, "sluice", 0, 0, "Name of this gateway."),
    SETTING_NESTED(struct gateway, journal, journal_table, "The journal on disk."),
    SETTINGS_END,
};

static const struct config_kind listener_kinds[] = {
    {.name = "mqtt", .size = sizeof(struct mqtt), .settings = mqtt_table, .help = "MQTT 3.1.1"},
    {.name = "tcp", .size = sizeof(struct tcp), .settings = tcp_table, .help = "Lines over TCP"},
};
static const struct config_kind sink_kinds[] = {
    {.name = "kafka", .size = sizeof(struct kafka), .settings = kafka_table, .help = "Kafka"},
};
static const struct config_section sections[] = {
    {"listeners", "protocol", listener_kinds, 2, listener_table, sizeof(struct listener), "What devices speak to."},
    {"sinks", "type", sink_kinds, 1, NULL, 0, "Where records go."},
};
static const struct config_schema schema = {gateway_table, sizeof(struct gateway), sections, 2};

struct outcome {
	enum gw_err err;
	struct config *config; /* NULL unless err is GW_OK */
	char *errors;
};

static inline struct outcome read_at(const char *path, const char *text)
{
	struct outcome o = {0};
	size_t size;
	FILE *errors = open_memstream(&o.errors, &size);
	assert_non_null(errors);
	o.err = config_read(&schema, path, text, errors, &o.config);
	fclose(errors);
	assert_int_equal(o.err == GW_OK, o.config != NULL);
	assert_int_equal(o.err == GW_CONFIG, size > 0);
	return o;
}

static inline void outcome_free(struct outcome *o)
{
	config_free(&schema, o->config);
	free(o->errors);
}

static inline struct outcome read_good(const char *text)
{
	struct outcome o = read_at("s.yaml", text);
	if (o.err)
		fail_msg("not good: %s\n%s", text, o.errors);
	return o;
}

/* The whole of the errors, exactly. */
static inline void expect_errors(const char *text, const char *errors)
{
	struct outcome o = read_at("s.yaml", text);
	assert_int_equal(o.err, GW_CONFIG);
	assert_string_equal(o.errors, errors);
	outcome_free(&o);
}

/* Some words in the errors. */
static inline void expect_words(const char *text, const char *words)
{
	struct outcome o = read_at("s.yaml", text);
	if (o.err != GW_CONFIG || !strstr(o.errors, words))
		fail_msg("%s\ngave: %s\nnot: %s", text, o.errors, words);
	outcome_free(&o);
}

static inline const struct config_entry *entry_at(const struct outcome *o, size_t section, size_t i)
{
	assert_true(i < o->config->sections[section].count);
	return &o->config->sections[section].items[i];
}

static inline const struct mqtt *only_mqtt(const struct outcome *o)
{
	assert_string_equal(entry_at(o, 0, 0)->kind->name, "mqtt");
	return entry_at(o, 0, 0)->settings;
}

#endif
