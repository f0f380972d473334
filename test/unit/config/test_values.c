/* Values of every type: what is taken, what is refused and how that is said. */
#include "test/unit/config/config_fixture.h"

#include "config/address.h"
#include "config/nearest.h"
#include "config/units.h"

static void whole_numbers_are_strict(void **state)
{
	(void)state;
	int64_t v = 0;
	assert_null(units_parse_int("0", &v));
	assert_int_equal(v, 0);
	assert_null(units_parse_int("-17", &v));
	assert_int_equal(v, -17);
	assert_null(units_parse_int("9223372036854775807", &v));
	assert_true(v == INT64_MAX);
	assert_string_equal(units_parse_int("9223372036854775808", &v), "is too large");
	assert_string_equal(units_parse_int("99999999999999999999999", &v), "is too large");
	assert_string_equal(units_parse_int("-99999999999999999999999", &v), "is too small");
	const char *const bad[] = {"", "-", "+1", "01", "0x10", "1_000", "1.0", "1e3", " 1", "1 ", "--1", "one", "1k"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(units_parse_int(bad[i], &v), "is not a whole number");
}

static void sizes_have_units(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},
	            {"65536", 65536},
	            {"7B", 7},
	            {"10kB", 10000},
	            {"64KiB", 65536},
	            {"3MB", 3000000},
	            {"16MiB", 16 << 20},
	            {"2GB", 2000000000},
	            {"1GiB", 1 << 30},
	            {"1TB", 1000000000000},
	            {"1TiB", UINT64_C(1) << 40},
	            {"1.5GiB", UINT64_C(3) << 29},
	            {"0.1kB", 100},
	            {"0.50KiB", 512},
	            {"2.0", 2},
	            {"18446744073709551615", UINT64_MAX}};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint64_t v = 1;
		assert_null(units_parse_bytes(good[i].text, &v));
		assert_true(v == good[i].bytes);
	}
	static const char *const bad[][2] = {{"", "is not a size"},
	                                     {"KiB", "is not a size"},
	                                     {"64KB", "is not a size"},
	                                     {"64 KiB", "is not a size"},
	                                     {"-1", "is not a size"},
	                                     {"1.", "is not a size"},
	                                     {".5kB", "is not a size"},
	                                     {"1.5", "is not a whole number of bytes"},
	                                     {"1.0005kB", "is not a whole number of bytes"},
	                                     {"18446744073709551616", "is too large"},
	                                     {"16777216TiB", "is too large"},
	                                     {"99999999999999999999999GiB", "is too large"},
	                                     {"1.00000000000000000000000000001GiB", "is not a whole number of bytes"},
	                                     {"064", "is not a size"}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t v;
		assert_string_equal(units_parse_bytes(bad[i][0], &v), bad[i][1]);
	}
}

static void durations_need_units(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t us;
	} good[] = {{"0", 0},
	            {"0s", 0},
	            {"500us", 500},
	            {"20ms", 20000},
	            {"5s", 5000000},
	            {"1.5s", 1500000},
	            {"2m", 120000000},
	            {"1h", UINT64_C(3600000000)},
	            {"7d", UINT64_C(604800000000)}};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint64_t v = 1;
		assert_null(units_parse_duration(good[i].text, &v));
		assert_true(v == good[i].us);
	}
	uint64_t v;
	assert_string_equal(units_parse_duration("5", &v), "has no unit (us, ms, s, m, h or d)");
	assert_string_equal(units_parse_duration("0.0", &v), "has no unit (us, ms, s, m, h or d)");
	assert_string_equal(units_parse_duration("5 s", &v), "is not a duration (units are us, ms, s, m, h and d)");
	assert_string_equal(units_parse_duration("5min", &v), "is not a duration (units are us, ms, s, m, h and d)");
	assert_string_equal(units_parse_duration("soon", &v), "is not a duration");
	assert_string_equal(units_parse_duration("0.5us", &v), "is not a whole number of microseconds");
	assert_string_equal(units_parse_duration("300000000d", &v), "is too large");
}

static void percentages_may_have_their_sign(void **state)
{
	(void)state;
	double v;
	assert_null(units_parse_percent("5", &v));
	assert_true(v == 5.0);
	assert_null(units_parse_percent("12.5%", &v));
	assert_true(v == 12.5);
	const char *const bad[] = {"", "%", "-1%", "5 %", "5%%", "1e1", "nan", "0x1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(units_parse_percent(bad[i], &v), "is not a percentage");
}

static void quantities_print_in_their_shortest_exact_form(void **state)
{
	(void)state;
	char text[200] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");
	const uint64_t sizes[] = {0, 16, 65536, 65537, 1000, 10000000, 256 << 20, UINT64_C(3) << 29, UINT64_MAX};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		units_print_bytes(out, sizes[i]);
		fputc(' ', out);
	}
	const uint64_t times[] = {0, 1, 1500, 5000000, 90000000, 3600000000, 86400000000};
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		units_print_duration(out, times[i]);
		fputc(' ', out);
	}
	fclose(out);
	assert_string_equal(
	    text, "0 16B 64KiB 65537B 1kB 10MB 256MiB 1536MiB 18446744073709551615B 0 1us 1500us 5s 90s 1h 1d ");
}

static void addresses_are_host_and_port(void **state)
{
	(void)state;
	static const char *const good[][3] = {
	    {"127.0.0.1:1883", "127.0.0.1", "1883"},
	    {"[::]:0", "::", "0"},
	    {"[2001:db8::1]:65535", "2001:db8::1", "65535"},
	    {"localhost:80", "localhost", "80"},
	    {"my_kafka-0.svc.cluster.local.:9092", "my_kafka-0.svc.cluster.local.", "9092"},
	    {"[fe80::1%eth0]:1", "fe80::1%eth0", "1"}};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct address a;
		assert_null(address_parse(good[i][0], &a));
		assert_string_equal(a.host, good[i][1]);
		assert_string_equal(a.port, good[i][2]);
	}
	static const char *const bad[][2] = {
	    {"", "has no port"},
	    {"localhost", "has no port"},
	    {"1883", "has no port"},
	    {"localhost:", "has no port"},
	    {"[::1]", "has no port"},
	    {"[::1]1883", "has no port"},
	    {"[::1:80", "has a [ without ]"},
	    {"::1:80", "is no address (an IPv6 address needs brackets)"},
	    {"a:65536", "has a port above 65535"},
	    {"a:99999999999999999999999999", "has a port above 65535"},
	    {"a:http", "has a port that is not a number"},
	    {"a:080", "has a port that is not a number"},
	    {"a:+80", "has a port that is not a number"},
	    {":1883", "has no host ([::] is every address, 127.0.0.1 this machine only)"},
	    {"*:1883", "has no host (every address is [::])"},
	    {"1.2.3:80", "has a malformed IPv4 address"},
	    {"1.2.3.256:80", "has a malformed IPv4 address"},
	    {"[1.2.3.4]:80", "has something else than an IPv6 address in its brackets"},
	    {"[]:80", "has something else than an IPv6 address in its brackets"},
	    {"[::1%]:80", "has a malformed zone after the %"},
	    {"a..b:80", "has a malformed host name"},
	    {".a:80", "has a malformed host name"},
	    {"a b:80", "has a malformed host name"},
	    {"http://a:80", "is a URL, not an address"}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct address a;
		assert_string_equal(address_parse(bad[i][0], &a), bad[i][1]);
	}
	char longest[300];
	struct address a;
	memset(longest, 'a', sizeof(longest));
	strcpy(longest + sizeof(longest) - 4, ":80");
	assert_string_equal(address_parse(longest, &a), "has a host name that is too long");
}

static void errors_say_the_range_in_human_units(void **state)
{
	(void)state;
	expect_words("listeners: {mqtt: {max_packet: 1GiB}}",
	             "s.yaml:1:32: listeners.mqtt.max_packet: \"1GiB\" is too large; allowed: 16B to 256MiB, like "
	             "64KiB (default 256KiB)\n");
	expect_words("listeners: {mqtt: {max_packet: 15}}", "\"15\" is too small; allowed: 16B to 256MiB");
	expect_words("listeners: {mqtt: {keep_alive_max: 5}}",
	             "\"5\" has no unit (us, ms, s, m, h or d); allowed: 1s to 1d, like 5s (default 1h)\n");
	expect_words("listeners: {mqtt: {keep_alive_max: 0}}", "\"0\" is too short; allowed: 1s to 1d");
	expect_words("listeners: {mqtt: {max_inflight: 65536}}",
	             "\"65536\" is too large; allowed: 1 to 65535 (default 100)\n");
	expect_words("listeners: {mqtt: {offset: 1}}", "\"1\" is too large; allowed: -10 to 0 (default 0)\n");
	expect_words("listeners: {mqtt: {keep_free: 60%}}", "\"60%\" is too large; allowed: 0% to 50% (default 5%)\n");
	expect_words("listeners: {mqtt: {retain: yes}}",
	             "\"yes\" is neither true nor false; allowed: true or false (default true)\n");
	expect_words("listeners: {mqtt: {listen: '1883'}}",
	             "\"1883\" has no port; allowed: HOST:PORT, like 127.0.0.1:1883, [::]:1883 or localhost:80 "
	             "(default 127.0.0.1:1883)\n");
	expect_words("listeners: {tcp: {device: x, at_least: 511}}",
	             "\"511\" is too small; allowed: at least 512B, like 64KiB (default 1KiB)\n");
	expect_words("listeners: {tcp: {device: x, any_time: x}}",
	             "\"x\" is not a duration; allowed: a duration, like 5s (default 0)\n");
	expect_words("listeners: {tcp: {device: x, any_int: x}}", "allowed: a whole number (default 0)\n");
}

static void no_range_means_no_limit(void **state)
{
	(void)state;
	struct outcome o =
	    read_good("listeners: {tcp: {device: x, any_size: 18446744073709551615, any_time: 200000000d,\n"
	              " any_int: -9223372036854775807, at_least: 16000000TiB}}");
	const struct tcp *t = entry_at(&o, 0, 0)->settings;
	assert_true(t->any_size == UINT64_MAX);
	assert_true(t->any_time == UINT64_C(17280000000000000000));
	assert_true(t->any_int == -INT64_MAX);
	outcome_free(&o);
}

static void ends_of_a_range_belong_to_it(void **state)
{
	(void)state;
	struct outcome o = read_good(
	    "listeners: {mqtt: {max_packet: 16, max_inflight: 65535, offset: -10, keep_alive_max: 1d, keep_free: 50}}");
	assert_int_equal(only_mqtt(&o)->max_packet, 16);
	assert_int_equal(only_mqtt(&o)->offset, -10);
	outcome_free(&o);
}

static void choices_are_listed(void **state)
{
	(void)state;
	struct outcome o = read_good("listeners: {mqtt: {ack: accepted}}");
	assert_int_equal(((struct listener *)entry_at(&o, 0, 0)->common)->ack, 0);
	outcome_free(&o);
	expect_words("listeners: {mqtt: {ack: durabel}}",
	             "\"durabel\" is not one of the choices; allowed: accepted, durable or delivered (default "
	             "durable); did you mean durable?\n");
	expect_words("listeners: {mqtt: {ack: whenever}}",
	             "allowed: accepted, durable or delivered (default durable)\n");
}

static void texts_replace_their_defaults(void **state)
{
	(void)state;
	struct outcome o = read_good("listeners: {mqtt: {greeting: '', prefix: '', password: pw}}");
	assert_string_equal(only_mqtt(&o)->greeting, "");
	assert_null(only_mqtt(&o)->prefix);
	assert_string_equal(only_mqtt(&o)->password, "pw");
	outcome_free(&o);
	o = read_good(
	    "listeners:\n  mqtt:\n    greeting: yes\n    prefix: |\n      two\n      lines\n    password: 007\n");
	assert_string_equal(only_mqtt(&o)->greeting, "yes");
	assert_string_equal(only_mqtt(&o)->prefix, "two\nlines\n");
	assert_string_equal(only_mqtt(&o)->password, "007");
	outcome_free(&o);
}

static void lists_take_one_or_many(void **state)
{
	(void)state;
	struct outcome o = read_good("listeners: {mqtt: {topics: 'a, b', extra: [x, 5, 'null']}}");
	assert_int_equal(only_mqtt(&o)->topics.count, 1);
	assert_string_equal(only_mqtt(&o)->topics.items[0], "a, b");
	assert_int_equal(only_mqtt(&o)->extra.count, 3);
	assert_string_equal(only_mqtt(&o)->extra.items[1], "5");
	assert_string_equal(only_mqtt(&o)->extra.items[2], "null");
	outcome_free(&o);
	o = read_good("listeners: {mqtt: {topics: []}}");
	assert_int_equal(only_mqtt(&o)->topics.count, 0);
	outcome_free(&o);
	expect_errors("listeners:\n  mqtt:\n    topics:\n      - a\n      - [b]\n      -\n      - ''\n",
	              "s.yaml:5:9: listeners.mqtt.topics[2]: is a list; allowed: one text, or a list of texts like [a, "
	              "b] (default devices/{device}/#, "
	              "t/{device})\n"
	              "s.yaml:6:8: listeners.mqtt.topics[3]: has no value (leave the key out for the default); "
	              "allowed: one text, or a list of texts "
	              "like [a, b] (default devices/{device}/#, t/{device})\n"
	              "s.yaml:7:9: listeners.mqtt.topics[4]: \"\" is empty; allowed: one text, or a list of texts like "
	              "[a, b] (default "
	              "devices/{device}/#, t/{device})\n");
	expect_words("listeners: {mqtt: {topics: {a: b}}}", "listeners.mqtt.topics: is a mapping; allowed: one text");
	expect_words("listeners: {mqtt: {topics: }}", "listeners.mqtt.topics: has no value");
}

static void maps_keep_keys_as_they_are(void **state)
{
	(void)state;
	struct outcome o =
	    read_good("listeners:\n  mqtt:\n    properties:\n      linger.ms: 5\n      Sasl Thing: ''\n");
	const struct string_map *m = &only_mqtt(&o)->properties;
	assert_int_equal(m->count, 2);
	assert_string_equal(m->keys[0], "linger.ms");
	assert_string_equal(m->values[0], "5");
	assert_string_equal(m->keys[1], "Sasl Thing");
	assert_string_equal(m->values[1], "");
	outcome_free(&o);
	expect_words("listeners: {mqtt: {properties: [a]}}",
	             "listeners.mqtt.properties: is a list; allowed: a mapping of names to texts\n");
	expect_words("listeners: {mqtt: {properties: {a.b: [c]}}}", "listeners.mqtt.properties.a.b: is a list");
	expect_words("listeners: {mqtt: {properties: {a: }}}", "listeners.mqtt.properties.a: has no value");
}

static void values_in_errors_are_escaped_and_cut(void **state)
{
	(void)state;
	expect_words("listeners: {mqtt: {max_inflight: \"a\\n\\e[1m\\t\\\"\\\\\\u0085\\u00e4\"}}",
	             "\"a\\n\\x1b[1m\\t\\\"\\\\\\xc2\\x85\xc3\xa4\" is not");
	char text[600] = "listeners: {mqtt: {max_inflight: ";
	for (size_t i = 0; i < 400; i++)
		strcat(text, "z");
	strcat(text, "}}");
	expect_words(text, "zzz...\" is not a whole number");
}

static void nearest_word_is_close_or_nothing(void **state)
{
	(void)state;
	static const char *const cases[][3] = {/* wanted, known, what is found */
	                                       {"keepalive", "keep_alive", "keep_alive"},
	                                       {"siez", "size", "size"},
	                                       {"SIZE", "size", "size"},
	                                       {"max-line", "max_line", "max_line"},
	                                       {"ab", "ba", NULL},
	                                       {"size", "path", NULL},
	                                       {"listen", "threads", NULL},
	                                       {"", "size", NULL},
	                                       {"a", "b", NULL}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nearest_word w = {.wanted = cases[i][0]};
		nearest_offer(&w, cases[i][1]);
		if (cases[i][2])
			assert_string_equal(w.best, cases[i][2]);
		else
			assert_null(w.best);
	}
	struct nearest_word w = {.wanted = "max_lime"};
	nearest_offer(&w, "max_time");
	nearest_offer(&w, "max_lines");
	nearest_offer(&w, "max_line");
	assert_string_equal(w.best, "max_time"); /* the first of equals */
	assert_int_equal(w.distance, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_numbers_are_strict),
	    cmocka_unit_test(sizes_have_units),
	    cmocka_unit_test(durations_need_units),
	    cmocka_unit_test(percentages_may_have_their_sign),
	    cmocka_unit_test(quantities_print_in_their_shortest_exact_form),
	    cmocka_unit_test(addresses_are_host_and_port),
	    cmocka_unit_test(errors_say_the_range_in_human_units),
	    cmocka_unit_test(no_range_means_no_limit),
	    cmocka_unit_test(ends_of_a_range_belong_to_it),
	    cmocka_unit_test(choices_are_listed),
	    cmocka_unit_test(texts_replace_their_defaults),
	    cmocka_unit_test(lists_take_one_or_many),
	    cmocka_unit_test(maps_keep_keys_as_they_are),
	    cmocka_unit_test(values_in_errors_are_escaped_and_cut),
	    cmocka_unit_test(nearest_word_is_close_or_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
