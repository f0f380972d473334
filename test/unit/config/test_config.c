/* Files as a whole: keys, sections, entries, what is wrong with them and where. Types are in test_values.c. */
#include "test/unit/config/config_fixture.h"

#include <errno.h>
#include <unistd.h>

/* ---- What is taken ---- */

static void empty_file_means_all_defaults(void **state)
{
	(void)state;
	const char *const texts[] = {
	    "", "\n", "# only a comment\n", "---\n", "{}", "~\n", "\xef\xbb\xbf# with a byte order mark\n"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct outcome o = read_good(texts[i]);
		const struct gateway *g = o.config->settings;
		assert_string_equal(g->name, "sluice");
		assert_string_equal(g->journal.path, "data/journal");
		assert_int_equal(g->journal.size, 1 << 30);
		assert_int_equal(o.config->sections[0].count, 0);
		assert_int_equal(o.config->sections[1].count, 0);
		assert_string_equal(o.config->path, "s.yaml");
		outcome_free(&o);
	}
}

static void entry_with_nothing_in_it_has_all_defaults(void **state)
{
	(void)state;
	const char *const texts[] = {"listeners:\n  mqtt:\n", "listeners: {mqtt: {}}", "listeners:\n  mqtt: null\n",
	                             "listeners:\n  mqtt:\n    # ack: durable\n"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct outcome o = read_good(texts[i]);
		const struct mqtt *m = only_mqtt(&o);
		const struct listener *l = entry_at(&o, 0, 0)->common;
		assert_string_equal(m->socket.listen.host, "127.0.0.1");
		assert_string_equal(m->socket.listen.port, "1883");
		assert_int_equal(m->max_packet, 256 << 10);
		assert_int_equal(m->keep_alive_max, UINT64_C(3600000000));
		assert_int_equal(m->max_inflight, 100);
		assert_true(m->keep_free == 5.0);
		assert_true(m->retain);
		assert_string_equal(m->greeting, "hello");
		assert_null(m->prefix);
		assert_null(m->password);
		assert_int_equal(m->topics.count, 2);
		assert_string_equal(m->topics.items[0], "devices/{device}/#");
		assert_string_equal(m->topics.items[1], "t/{device}");
		assert_int_equal(m->extra.count, 0);
		assert_int_equal(m->properties.count, 0);
		assert_null(m->tls.cert);
		assert_int_equal(l->ack, 1);
		assert_int_equal(l->threads, 1);
		outcome_free(&o);
	}
}

static void entries_keep_the_order_of_the_file(void **state)
{
	(void)state;
	struct outcome o = read_good("sinks:\n  kafka: {brokers: a:1}\n"
	                             "listeners:\n  zeta: {protocol: mqtt, max_packet: 1KiB, ack: delivered}\n"
	                             "  tcp: {device: /id}\n  alpha:\n    protocol: mqtt\n    threads: 3\n");
	assert_int_equal(o.config->sections[0].count, 3);
	assert_string_equal(entry_at(&o, 0, 0)->name, "zeta");
	assert_string_equal(entry_at(&o, 0, 1)->name, "tcp");
	assert_string_equal(entry_at(&o, 0, 2)->name, "alpha");
	assert_ptr_equal(entry_at(&o, 0, 0)->kind, &listener_kinds[0]);
	assert_ptr_equal(entry_at(&o, 0, 1)->kind, &listener_kinds[1]);
	assert_int_equal(((struct mqtt *)entry_at(&o, 0, 0)->settings)->max_packet, 1024);
	assert_int_equal(((struct listener *)entry_at(&o, 0, 0)->common)->ack, 2);
	assert_int_equal(((struct listener *)entry_at(&o, 0, 2)->common)->threads, 3);
	assert_int_equal(entry_at(&o, 0, 2)->line, 6);
	assert_int_equal(entry_at(&o, 0, 2)->column, 3);
	assert_string_equal(entry_at(&o, 1, 0)->name, "kafka");
	outcome_free(&o);
}

static void entry_named_like_a_kind_may_be_of_another(void **state)
{
	(void)state;
	struct outcome o = read_good("listeners: {tcp: {protocol: mqtt}}");
	assert_string_equal(entry_at(&o, 0, 0)->kind->name, "mqtt");
	outcome_free(&o);
}

static void groups_are_read_in_groups(void **state)
{
	(void)state;
	struct outcome o =
	    read_good("name: g1\njournal:\n  size: 64MiB\nlisteners:\n  mqtt:\n    tls:\n      cert: c.pem\n");
	const struct gateway *g = o.config->settings;
	assert_string_equal(g->name, "g1");
	assert_int_equal(g->journal.size, 64 << 20);
	assert_string_equal(g->journal.path, "data/journal");
	assert_string_equal(only_mqtt(&o)->tls.cert, "c.pem");
	outcome_free(&o);
}

/* `journal: spill` is short for `journal: {type: spill}`. */
static void group_with_a_type_can_be_given_by_it_alone(void **state)
{
	(void)state;
	struct outcome o = read_good("journal: memory");
	const struct gateway *g = o.config->settings;
	assert_int_equal(g->journal.type, 1);
	assert_string_equal(g->journal.path, "data/journal");
	outcome_free(&o);
	expect_words("journal: tape", "journal: \"tape\" is not one of the choices; allowed: disk or memory");
	expect_words("listeners: {mqtt: {tls: yes}}", "listeners.mqtt.tls: is a single value");
}

static void dotted_member_is_known_by_its_last_part(void **state)
{
	(void)state;
	struct outcome o = read_good("listeners: {mqtt: {listen: '[::]:2883'}}");
	assert_string_equal(only_mqtt(&o)->socket.listen.host, "::");
	outcome_free(&o);
	expect_words("listeners: {mqtt: {socket.listen: '[::]:2883'}}", "listeners.mqtt.socket.listen: unknown key");
}

/* ---- Keys ---- */

static void misspelt_key_is_told_its_neighbour(void **state)
{
	(void)state;
	expect_errors("listeners:\n  mqtt:\n    keepalive_max: 5s\n",
	              "s.yaml:3:5: listeners.mqtt.keepalive_max: unknown key; did you mean keep_alive_max?\n");
	expect_words("listeners: {mqtt: {Keep-Alive-Max: 5s}}", "did you mean keep_alive_max?");
	expect_words("listeners: {mqtt: {max_pakcet: 5}}", "did you mean max_packet?");
	expect_words("listeners: {mqtt: {thread: 5}}", "did you mean threads?");
	expect_words("listeners: {mqtt: {protocoll: mqtt}}", "did you mean protocol?");
	expect_words("listners: {}", "s.yaml:1:1: listners: unknown key; did you mean listeners?");
	expect_words("jurnal: {}", "did you mean journal?");
	expect_words("journal: {siez: 1MiB}", "did you mean size?");
}

static void unknown_key_without_neighbour_lists_what_there_is(void **state)
{
	(void)state;
	expect_errors("journal:\n  fluffiness: 3\n",
	              "s.yaml:2:3: journal.fluffiness: unknown key; known here: type, path, size\n");
	expect_errors("fluffiness: 3\n",
	              "s.yaml:1:1: fluffiness: unknown key; known here: name, journal, listeners, sinks\n");
	expect_words(
	    "listeners: {tcp: {device: x, fluffiness: 3}}",
	    "unknown key; known here: protocol, device, any_size, any_time, any_int, at_least, ack, threads\n");
}

static void unknown_keys_value_is_not_shown(void **state)
{
	(void)state;
	struct outcome o = read_at("s.yaml", "listeners: {mqtt: {pasword: hunter2, tls: {kye: hunter2}}}");
	assert_int_equal(o.err, GW_CONFIG);
	assert_non_null(strstr(o.errors, "did you mean password?"));
	assert_null(strstr(o.errors, "hunter2"));
	outcome_free(&o);
}

static void key_given_twice_is_an_error_wherever_it_is(void **state)
{
	(void)state;
	expect_errors(
	    "name: a\njournal: {}\nname: b\nname: c\n",
	    "s.yaml:3:1: name: given twice, first on line 1\ns.yaml:4:1: name: given twice, first on line 1\n");
	expect_words("journal:\n  size: 2MiB\n  size: 3MiB\n",
	             "s.yaml:3:3: journal.size: given twice, first on line 2");
	expect_words("listeners:\n  mqtt:\n  mqtt:\n", "s.yaml:3:3: listeners.mqtt: given twice, first on line 2");
	expect_words("listeners:\nlisteners:\n", "s.yaml:2:1: listeners: given twice");
	expect_words("listeners: {mqtt: {ack: durable, ack: durable}}", "listeners.mqtt.ack: given twice");
	expect_words("listeners: {x: {protocol: mqtt, protocol: tcp}}", "listeners.x.protocol: given twice");
	expect_words("listeners: {mqtt: {properties: {a: 1, a: 2}}}", "listeners.mqtt.properties.a: given twice");
}

static void hostile_keys_stay_on_one_line(void **state)
{
	(void)state;
	struct outcome o = read_at("s.yaml", "\"a\\nb\\e[31m\": 1\n? |\n  two\n  lines\n: x\n");
	assert_int_equal(o.err, GW_CONFIG);
	assert_null(strchr(o.errors, '\033'));
	size_t lines = 0;
	for (const char *s = o.errors; (s = strchr(s, '\n')); s++)
		lines++;
	assert_int_equal(lines, 2);
	outcome_free(&o);
}

/* ---- Shape ---- */

static void all_errors_come_at_once_in_file_order(void **state)
{
	(void)state;
	expect_errors(
	    "listeners:\n"
	    "  mqtt:\n"
	    "    max_packet: '64KB '\n"
	    "    keepalive_max: 5s\n"
	    "    threads: 0\n"
	    "  lines:\n"
	    "    protocol: tcp\n"
	    "journal:\n"
	    "  size: 5\n"
	    "sinks:\n"
	    "  kafka:\n",
	    "s.yaml:3:17: listeners.mqtt.max_packet: \"64KB \" is not a size; allowed: 16B to 256MiB, like 64KiB "
	    "(default 256KiB)\n"
	    "s.yaml:4:5: listeners.mqtt.keepalive_max: unknown key; did you mean keep_alive_max?\n"
	    "s.yaml:5:14: listeners.mqtt.threads: \"0\" is too small; allowed: 1 to 64 (default 1)\n"
	    "s.yaml:6:3: listeners.lines.device: must be given; allowed: text (Where the device name is found.)\n"
	    "s.yaml:9:9: journal.size: \"5\" is too small; allowed: 1MiB to 1100GB, like 1MiB (default 1GiB)\n"
	    "s.yaml:11:3: sinks.kafka.brokers: must be given; allowed: one text, or a list of texts like [a, b] (Where "
	    "to begin.)\n");
}

static void wrong_shapes_are_named(void **state)
{
	(void)state;
	expect_errors("- a\n", "s.yaml:1:1: the file is a list; it must be a mapping, like `listeners:`\n");
	expect_words("hello\n", "the file is a single value");
	expect_words("listeners: [mqtt]\n",
	             "s.yaml:1:12: listeners: is a list; allowed: a mapping with a name for each of the listeners");
	expect_words("listeners: {mqtt: [1]}\n",
	             "listeners.mqtt: is a list; allowed: a mapping of settings, or nothing for all defaults");
	expect_words("listeners: {mqtt: yes}\n", "listeners.mqtt: is a single value; allowed");
	expect_words("journal: [big]\n",
	             "s.yaml:1:10: journal: is a list; allowed: a mapping with the keys type, path, size\n");
	expect_words("name: [a]\n", "s.yaml:1:7: name: is a list; allowed: text (default sluice)\n");
	expect_words("name: {a: b}\n", "name: is a mapping; allowed: text");
}

static void null_is_no_value_for_a_single_setting(void **state)
{
	(void)state;
	expect_errors(
	    "name:\n",
	    "s.yaml:1:6: name: has no value (leave the key out for the default); allowed: text (default sluice)\n");
	expect_words("listeners: {mqtt: {max_packet: ~}}", "has no value");
	expect_words("listeners: {mqtt: {password: }}", "has no value");
	struct outcome o =
	    read_good("journal:\nlisteners: {mqtt: {prefix: 'null', tls: , extra: , properties: }}\nsinks:\n");
	assert_string_equal(only_mqtt(&o)->prefix, "null");
	outcome_free(&o);
}

static void required_setting_is_named_when_missing(void **state)
{
	(void)state;
	expect_words("listeners:\n  tcp:\n", "s.yaml:2:3: listeners.tcp.device: must be given; allowed: text");
	expect_words("listeners:\n  tcp: {device: ''}\n",
	             "listeners.tcp.device: \"\" is empty, and the setting is required");
	expect_words("listeners:\n  tcp: {device: }\n", "listeners.tcp.device: has no value");
}

/* A group that is not there has its required settings missing, too. */
static void required_setting_of_an_absent_group_is_missing(void **state)
{
	(void)state;
	struct inner {
		char *path;
	};
	struct outer {
		struct inner inner;
	};
	static const struct setting inner_table[] = {
	    SETTING_REQUIRED(struct inner, path, SETTING_STRING, "Path."),
	    SETTINGS_END,
	};
	static const struct setting outer_table[] = {
	    SETTING_NESTED(struct outer, inner, inner_table, "Inner."),
	    SETTINGS_END,
	};
	static const struct config_schema strict = {.settings = outer_table, .size = sizeof(struct outer)};
	const char *const texts[] = {"", "inner:", "inner: {}"};
	for (size_t i = 0; i < 3; i++) {
		char errors[200] = "";
		FILE *out = fmemopen(errors, sizeof(errors), "w");
		struct config *config = NULL;
		assert_int_equal(config_read(&strict, "s.yaml", texts[i], out, &config), GW_CONFIG);
		fclose(out);
		assert_string_equal(errors, "s.yaml:1:1: inner.path: must be given; allowed: text (Path.)\n");
		assert_null(config);
	}
}

/* ---- Entries ---- */

static void unknown_kind_lists_the_kinds(void **state)
{
	(void)state;
	expect_errors(
	    "listeners:\n  a:\n    protocol: mqqt\n    nonsense: 1\n    threads: 99\n",
	    "s.yaml:3:15: listeners.a.protocol: \"mqqt\" is unknown; allowed: mqtt or tcp; did you mean mqtt?\n"
	    "s.yaml:5:14: listeners.a.threads: \"99\" is too large; allowed: 1 to 64 (default 1)\n");
	expect_words("listeners: {a: {protocol: carrier-pigeon}}",
	             "\"carrier-pigeon\" is unknown; allowed: mqtt or tcp\n");
	expect_words("listeners: {a: {protocol: }}", "listeners.a.protocol: has no value");
	expect_words("listeners: {a: {protocol: [mqtt]}}", "listeners.a.protocol: is a list");
}

static void entry_without_kind_is_told_how_to_say_it(void **state)
{
	(void)state;
	expect_errors("listeners:\n  a: {}\n",
	              "s.yaml:2:3: listeners.a: has no protocol; add `protocol:` with one of mqtt or tcp\n");
	expect_words("listeners:\n  mqt:\n",
	             "listeners.mqt: has no protocol; add `protocol:` with one of mqtt or tcp; did you mean mqtt?");
	expect_words("sinks:\n  a:\n", "sinks.a: has no type; add `type:` with one of kafka\n");
}

static void entry_names_are_checked(void **state)
{
	(void)state;
	const char *const bad[] = {
	    "Upper", "_x", "-x",        "a.b",      "a b",
	    "a/b",   "''", "\"a\\tb\"", "\xc3\xa4", "a123456789012345678901234567890123456789012345678901234567890123"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[200];
		snprintf(text, sizeof(text), "listeners:\n  %s: {protocol: mqtt}\n", bad[i]);
		expect_words(text,
		             "not a name; allowed: 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit");
	}
	struct outcome o = read_good(
	    "listeners:\n  a12345678901234567890123456789012345678901234567890123456789012: {protocol: mqtt}\n"
	    "  0_-: {protocol: mqtt}\n");
	assert_int_equal(o.config->sections[0].count, 2);
	outcome_free(&o);
}

/* ---- YAML ---- */

static void syntax_errors_have_a_place_and_a_hint(void **state)
{
	(void)state;
	expect_words("listeners:\n  mqtt:\n   a: 1\n  b: [1\n", "s.yaml:5:1: not valid YAML: ");
	expect_words("journal:\n\tsize: 1\n", "s.yaml:2:1: not valid YAML: ");
	expect_words("journal:\n\tsize: 1\n", "(indent with spaces, not with tabs)");
	expect_words("listeners: {mqtt: {prefix: ${X}}}", "(a value with ${...} must be quoted inside [ ] and { })");
	expect_words("name: a: b\n", "s.yaml:1:8: not valid YAML: mapping values are not allowed in this context");
	expect_words("name: 'a\n", "not valid YAML");
	expect_words("name: \xff\xfe\n", "not UTF-8 text");
	expect_words("a: 1\nname: \x01\n", "s.yaml:2:1: not UTF-8 text: control characters are not allowed");
}

static void anchors_aliases_and_tags_are_refused(void **state)
{
	(void)state;
	expect_errors("name: &a x\njournal:\n  path: *a\n",
	              "s.yaml:1:7: anchors (&name) are not supported; write the value out where it is needed\n"
	              "s.yaml:3:9: aliases (*name) are not supported; write the value out here\n");
	expect_words("journal: &j {size: 1MiB}\n", "anchors");
	expect_words("name: !!str x\n", "s.yaml:1:7: tags (!name) are not supported");
	expect_words("listeners: {mqtt: {extra: !x [a]}}", "tags");
	expect_words("*a : b\n", "aliases");
	expect_words("listeners: *a\n", "aliases");
	expect_words("listeners: {mqtt: *a}\n", "aliases");
	expect_words("listeners: {mqtt: {extra: [*a], properties: {a: *a}, password: {file: *a}, tls: *a}}\n",
	             "aliases");
	expect_words("journal:\n  <<: *base\n", "aliases");
}

static void structured_keys_are_refused(void **state)
{
	(void)state;
	expect_words("? [a]\n: b\n", "a key must be plain text");
	expect_words("{a: 1}: b\n", "a key must be plain text");
}

static void second_document_is_refused(void **state)
{
	(void)state;
	expect_words("name: a\n---\nname: b\n",
	             "s.yaml:2:1: a second document begins here (---); the file must be one document");
	struct outcome o = read_good("---\nname: a\n...\n");
	outcome_free(&o);
}

static void nesting_is_limited(void **state)
{
	(void)state;
	char text[4000] = "name: ";
	for (size_t i = 0; i < 15; i++)
		strcat(text, "[");
	for (size_t i = 0; i < 15; i++)
		strcat(text, "]");
	expect_words(text, "name: is a list");
	strcpy(text, "name: ");
	for (size_t i = 0; i < 3000; i++)
		strcat(text, "[");
	expect_errors(text, "s.yaml:1:22: nested deeper than 16 levels\n");
}

static void nul_characters_are_refused(void **state)
{
	(void)state;
	expect_words("name: \"a\\0b\"\n", "a value holds a NUL character");
	expect_words("\"a\\0b\": 1\n", "a key holds a NUL character");
}

static void size_is_limited(void **state)
{
	(void)state;
	char *text = malloc((1 << 20) + 2);
	assert_non_null(text);
	memset(text, '#', (1 << 20) + 1);
	text[(1 << 20) + 1] = '\0';
	expect_errors(text, "s.yaml: the file is larger than 1MiB\n");
	text[1 << 20] = '\0';
	struct outcome o = read_good(text);
	outcome_free(&o);
	free(text);
}

static void flood_of_errors_is_counted(void **state)
{
	(void)state;
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	for (int i = 0; i < 20000; i++)
		fprintf(out, "wrong%d: 1\n", i);
	fclose(out);
	struct outcome o = read_at("s.yaml", text);
	assert_int_equal(o.err, GW_CONFIG);
	assert_true(strlen(o.errors) < 200000);
	assert_non_null(strstr(o.errors, "s.yaml:1000:1: wrong999: "));
	assert_null(strstr(o.errors, "wrong1000:"));
	assert_non_null(strstr(o.errors, "\ns.yaml: and 19000 more errors\n"));
	outcome_free(&o);
	free(text);
}

/* ---- Files ---- */

static void file_is_read_from_disk(void **state)
{
	(void)state;
	char path[] = "/tmp/test_config.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "name: disk\nx: 1\n", 11), 11);
	struct outcome o = read_at(path, NULL);
	assert_int_equal(o.err, GW_OK);
	assert_string_equal(((struct gateway *)o.config->settings)->name, "disk");
	assert_string_equal(o.config->path, path);
	outcome_free(&o);
	close(fd);
	unlink(path);
}

static void unreadable_file_is_named(void **state)
{
	(void)state;
	struct outcome o = read_at("/nonexistent/s.yaml", NULL);
	assert_int_equal(o.err, GW_CONFIG);
	assert_string_equal(o.errors, "/nonexistent/s.yaml: cannot be opened: No such file or directory\n");
	outcome_free(&o);
	o = read_at("/", NULL);
	assert_int_equal(o.err, GW_CONFIG);
	assert_string_equal(o.errors, "/: cannot be read: Is a directory\n");
	outcome_free(&o);
	o = read_at("/dev/zero", NULL);
	assert_int_equal(o.err, GW_CONFIG);
	assert_string_equal(o.errors, "/dev/zero: the file is larger than 1MiB\n");
	outcome_free(&o);
}

/* ---- Errors found later ---- */

static char *later(const char *text, void (*report)(struct outcome *o, FILE *out))
{
	char *said;
	size_t size, error_size;
	FILE *out = open_memstream(&said, &size);
	struct outcome o = {0};
	FILE *errors = open_memstream(&o.errors, &error_size);
	o.err = config_read_all(&schema, "s.yaml", text, errors, &o.config);
	fclose(errors);
	assert_non_null(o.config);
	report(&o, out);
	fclose(out);
	outcome_free(&o);
	return said;
}

static void report_entry_and_whole(struct outcome *o, FILE *out)
{
	config_entry_error(o->config, &sections[0], entry_at(o, 0, 0), "ack: \"x\" is impossible", out);
	config_entry_error(o->config, &sections[0], entry_at(o, 0, 0), "max_packet: is too much", out);
	config_entry_error(o->config, &sections[0], entry_at(o, 0, 0), "extra and ack exclude each other", out);
	config_whole_error(o->config, "journal.size: 1; at least 2", out);
	config_whole_error(o->config, "listeners.mqtt: ack: clashes", out);
	config_whole_error(o->config, "sinks: none", out);
}

static void an_error_of_an_entry_is_placed_at_the_key_that_its_text_begins_with(void **state)
{
	(void)state;
	char *said = later("listeners:\n  mqtt:\n    ack: durable\n    extra: [a]\njournal:\n  size: 1MiB\n",
	                   report_entry_and_whole);
	assert_string_equal(said, "s.yaml:3:5: listeners.mqtt: ack: \"x\" is impossible\n"
	                          "s.yaml:2:3: listeners.mqtt: max_packet: is too much\n"
	                          "s.yaml:4:5: listeners.mqtt: extra and ack exclude each other\n"
	                          "s.yaml:6:3: journal.size: 1; at least 2\n"
	                          "s.yaml:3:5: listeners.mqtt: ack: clashes\n"
	                          "s.yaml: sinks: none\n");
	free(said);
}

static void what_was_reported_while_reading_is_not_reported_again_and_the_rest_is(void **state)
{
	(void)state;
	char *said = later("listeners:\n  mqtt:\n    ack: durabel\n    extra: [a]\njournal:\n  size: nonsense\n",
	                   report_entry_and_whole);
	assert_string_equal(said, "s.yaml:2:3: listeners.mqtt: max_packet: is too much\n"
	                          "s.yaml:4:5: listeners.mqtt: extra and ack exclude each other\n"
	                          "s.yaml: sinks: none\n");
	free(said);
}

static void later_errors_are_placed_at_the_key(void **state)
{
	(void)state;
	struct outcome o = read_good("listeners:\n  mqtt:\n    ack: durable\n    extra: [a]\njournal:\n  size: 1MiB\n");
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	config_error(o.config, "listeners.mqtt.ack", "one", out);
	config_error(o.config, "listeners.mqtt.max_packet", "two", out);
	config_error(o.config, "listeners.mqtt.extra[1]", "three", out);
	config_error(o.config, "journal.size", "four", out);
	config_error(o.config, "listeners.mqtt2.ack", "five", out);
	config_error(o.config, "admin.listen", "six", out);
	config_entry_error(o.config, &sections[0], entry_at(&o, 0, 0), "seven", out);
	fclose(out);
	assert_string_equal(text, "s.yaml:3:5: listeners.mqtt.ack: one\n"
	                          "s.yaml:2:3: listeners.mqtt.max_packet: two\n"
	                          "s.yaml:4:5: listeners.mqtt.extra[1]: three\n"
	                          "s.yaml:6:3: journal.size: four\n"
	                          "s.yaml:1:1: listeners.mqtt2.ack: five\n"
	                          "s.yaml: admin.listen: six\n"
	                          "s.yaml:2:3: listeners.mqtt: seven\n");
	free(text);
	outcome_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(empty_file_means_all_defaults),
	    cmocka_unit_test(entry_with_nothing_in_it_has_all_defaults),
	    cmocka_unit_test(entries_keep_the_order_of_the_file),
	    cmocka_unit_test(entry_named_like_a_kind_may_be_of_another),
	    cmocka_unit_test(groups_are_read_in_groups),
	    cmocka_unit_test(group_with_a_type_can_be_given_by_it_alone),
	    cmocka_unit_test(dotted_member_is_known_by_its_last_part),
	    cmocka_unit_test(misspelt_key_is_told_its_neighbour),
	    cmocka_unit_test(unknown_key_without_neighbour_lists_what_there_is),
	    cmocka_unit_test(unknown_keys_value_is_not_shown),
	    cmocka_unit_test(key_given_twice_is_an_error_wherever_it_is),
	    cmocka_unit_test(hostile_keys_stay_on_one_line),
	    cmocka_unit_test(all_errors_come_at_once_in_file_order),
	    cmocka_unit_test(wrong_shapes_are_named),
	    cmocka_unit_test(null_is_no_value_for_a_single_setting),
	    cmocka_unit_test(required_setting_is_named_when_missing),
	    cmocka_unit_test(required_setting_of_an_absent_group_is_missing),
	    cmocka_unit_test(unknown_kind_lists_the_kinds),
	    cmocka_unit_test(entry_without_kind_is_told_how_to_say_it),
	    cmocka_unit_test(entry_names_are_checked),
	    cmocka_unit_test(syntax_errors_have_a_place_and_a_hint),
	    cmocka_unit_test(anchors_aliases_and_tags_are_refused),
	    cmocka_unit_test(structured_keys_are_refused),
	    cmocka_unit_test(second_document_is_refused),
	    cmocka_unit_test(nesting_is_limited),
	    cmocka_unit_test(nul_characters_are_refused),
	    cmocka_unit_test(size_is_limited),
	    cmocka_unit_test(flood_of_errors_is_counted),
	    cmocka_unit_test(file_is_read_from_disk),
	    cmocka_unit_test(unreadable_file_is_named),
	    cmocka_unit_test(later_errors_are_placed_at_the_key),
	    cmocka_unit_test(an_error_of_an_entry_is_placed_at_the_key_that_its_text_begins_with),
	    cmocka_unit_test(what_was_reported_while_reading_is_not_reported_again_and_the_rest_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
