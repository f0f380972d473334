/* Environment variables and secrets from files. */
#include "test/unit/config/config_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_environment(void **state)
{
	(void)state;
	setenv("T_NAME", "edge-7", 1);
	setenv("T_EMPTY", "", 1);
	setenv("T_YAML", "x\nname: injected\n- [a: b, {", 1);
	setenv("T_NESTED", "${T_NAME} $$", 1);
	setenv("T_SECRET", "hunter2", 1);
	setenv("T_SIZE", "64KiB", 1);
	unsetenv("T_UNSET");
	return 0;
}

static void expect_name(const char *value, const char *name)
{
	char text[300];
	snprintf(text, sizeof(text), "name: %s\n", value);
	struct outcome o = read_good(text);
	assert_string_equal(((struct gateway *)o.config->settings)->name, name);
	outcome_free(&o);
}

static void variables_are_put_into_values(void **state)
{
	(void)state;
	expect_name("${T_NAME}", "edge-7");
	expect_name("a-${T_NAME}-${T_NAME}", "a-edge-7-edge-7");
	expect_name("'${T_NAME}'", "edge-7");
	expect_name("\"${T_NAME}\"", "edge-7");
	expect_name("|\n  ${T_NAME}", "edge-7\n");
	expect_name("x${T_EMPTY}", "x");
	expect_name("'${T_EMPTY}'", "");
}

static void defaults_stand_in_for_unset_and_empty(void **state)
{
	(void)state;
	expect_name("${T_UNSET:-other}", "other");
	expect_name("${T_EMPTY:-other}", "other");
	expect_name("${T_NAME:-other}", "edge-7");
	expect_name("'${T_UNSET:-}'", "");
	expect_name("'${T_UNSET:-a: b # c}'", "a: b # c");
	expect_name("${T_UNSET:-a}}", "a}");
}

static void dollar_signs_are_kept(void **state)
{
	(void)state;
	expect_name("$share/group/t", "$share/group/t");
	expect_name("a$", "a$");
	expect_name("$$", "$");
	expect_name("$${T_NAME}", "${T_NAME}");
	expect_name("$$$$", "$$");
	expect_name("$$${T_NAME}", "$edge-7");
}

static void what_a_variable_holds_stays_one_value(void **state)
{
	(void)state;
	struct outcome o = read_good("name: a\njournal:\n  path: ${T_YAML}\n");
	const struct gateway *g = o.config->settings;
	assert_string_equal(g->name, "a");
	assert_string_equal(g->journal.path, getenv("T_YAML"));
	outcome_free(&o);
	expect_name("${T_NESTED}", "${T_NAME} $$");
	setenv("T_NULL", "null", 1);
	expect_name("${T_NULL}", "null");
}

static void lists_maps_and_selectors_take_variables(void **state)
{
	(void)state;
	setenv("T_KIND", "mqtt", 1);
	struct outcome o =
	    read_good("listeners:\n  a:\n    protocol: ${T_KIND}\n    extra: ['${T_NAME}', \"b-${T_UNSET:-x}\"]\n"
	              "    properties: {a: '${T_NAME}'}\n    max_packet: ${T_SIZE}\n    topics: ${T_NAME}\n");
	const struct mqtt *m = only_mqtt(&o);
	assert_string_equal(m->extra.items[0], "edge-7");
	assert_string_equal(m->extra.items[1], "b-x");
	assert_string_equal(m->properties.values[0], "edge-7");
	assert_string_equal(m->topics.items[0], "edge-7");
	assert_int_equal(m->max_packet, 65536);
	outcome_free(&o);
	o = read_good("listeners: {mqtt: {topics: '${T_EMPTY}'}}");
	assert_int_equal(only_mqtt(&o)->topics.count, 0);
	outcome_free(&o);
}

static void keys_take_no_variables(void **state)
{
	(void)state;
	expect_words("${T_NAME}: x\n", "unknown key");
	struct outcome o = read_good("listeners: {mqtt: {properties: {'${T_NAME}': x}}}");
	assert_string_equal(only_mqtt(&o)->properties.keys[0], "${T_NAME}");
	outcome_free(&o);
}

static void unset_variable_is_an_error(void **state)
{
	(void)state;
	expect_errors(
	    "name: x-${T_UNSET}\n",
	    "s.yaml:1:7: name: environment variable T_UNSET is not set; set it, or write ${T_UNSET:-default}\n");
	expect_words("listeners: {mqtt: {extra: [a, '${T_UNSET}']}}",
	             "listeners.mqtt.extra[2]: environment variable T_UNSET is not set");
	expect_words("listeners: {mqtt: {properties: {a: '${T_UNSET}'}}}",
	             "listeners.mqtt.properties.a: environment variable T_UNSET");
	expect_words("listeners: {a: {protocol: '${T_UNSET}'}}", "listeners.a.protocol: environment variable T_UNSET");
}

static void malformed_variables_are_errors(void **state)
{
	(void)state;
	expect_errors(
	    "name: ${T_NAME\n",
	    "s.yaml:1:7: name: \"${T_NAME\" has a ${ without }; allowed: ${NAME} and ${NAME:-default} with letters, "
	    "digits and _ in NAME; $$ for a dollar sign\n");
	const char *const bad[] = {"${}",   "${1A}", "${A-B}", "${A:B}", "${A:=B}",
	                           "${A:}", "${ A}", "${A }",  "${:-x}", "${A.B}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[100];
		snprintf(text, sizeof(text), "name: '%s'\n", bad[i]);
		expect_words(text, "has a malformed ${...}");
	}
	expect_words("name: ${A:-${B}}\n", "has a ${...} inside another");
}

static void wrong_value_of_a_variable_is_shown_with_its_origin(void **state)
{
	(void)state;
	expect_words("listeners:\n  mqtt:\n    max_inflight: ${T_NAME}\n",
	             "listeners.mqtt.max_inflight: \"edge-7\" (from \"${T_NAME}\") is not a whole number; allowed: 1 "
	             "to 65535 (default 100)\n");
}

static void huge_expansions_are_refused(void **state)
{
	(void)state;
	char *big = malloc(100001), *text;
	size_t size;
	assert_non_null(big);
	memset(big, 'x', 100000);
	big[100000] = '\0';
	setenv("T_BIG", big, 1);
	FILE *out = open_memstream(&text, &size);
	fputs("name: ", out);
	for (int i = 0; i < 11; i++)
		fputs("${T_BIG}", out);
	fclose(out);
	expect_words(text, "longer than 1MiB");
	unsetenv("T_BIG");
	free(text);
	free(big);
}

/* ---- Secrets ---- */

struct place {
	char directory[64];
	char config[100];
};

static void write_secret(const struct place *p, const char *name, const char *bytes, size_t len)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/%s", p->directory, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
}

static int make_place(void **state)
{
	static struct place p;
	strcpy(p.directory, "/tmp/test_expand.XXXXXX");
	if (!mkdtemp(p.directory))
		return -1;
	snprintf(p.config, sizeof(p.config), "%s/s.yaml", p.directory);
	*state = &p;
	return 0;
}

static int remove_place(void **state)
{
	const struct place *p = *state;
	static const char *const names[] = {"pw", "crlf", "bare", "empty", "nul", "long", "fifo"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[200];
		snprintf(path, sizeof(path), "%s/%s", p->directory, names[i]);
		unlink(path);
	}
	return rmdir(p->directory);
}

static void expect_secret(const struct place *p, const char *value, const char *secret)
{
	char text[400];
	snprintf(text, sizeof(text), "listeners: {mqtt: {password: %s}}\n", value);
	struct outcome o = read_at(p->config, text);
	if (o.err)
		fail_msg("%s", o.errors);
	assert_string_equal(only_mqtt(&o)->password, secret);
	outcome_free(&o);
}

static void secret_comes_from_the_first_line_of_a_file(void **state)
{
	const struct place *p = *state;
	char absolute[300];
	write_secret(p, "pw", "s3cret ${T_NAME}\nsecond\n", 24);
	write_secret(p, "crlf", "s3cret\r\n", 8);
	write_secret(p, "bare", "s3cret", 6);
	expect_secret(p, "{file: pw}", "s3cret ${T_NAME}");
	expect_secret(p, "{file: ./crlf}", "s3cret");
	expect_secret(p, "{file: bare}", "s3cret");
	setenv("T_FILE", "bare", 1);
	expect_secret(p, "{file: '${T_FILE}'}", "s3cret");
	snprintf(absolute, sizeof(absolute), "{file: '%s/bare'}", p->directory);
	expect_secret(p, absolute, "s3cret");
	expect_secret(p, "'${T_SECRET}'", "hunter2");
	expect_secret(p, "plain", "plain");
}

static void expect_secret_error(const struct place *p, const char *value, const char *words)
{
	char text[400];
	snprintf(text, sizeof(text), "listeners: {mqtt: {password: %s}}\n", value);
	struct outcome o = read_at(p->config, text);
	assert_int_equal(o.err, GW_CONFIG);
	if (!strstr(o.errors, words))
		fail_msg("%s\nnot: %s", o.errors, words);
	assert_null(strstr(o.errors, "hunter"));
	outcome_free(&o);
}

static void bad_secret_files_are_named(void **state)
{
	const struct place *p = *state;
	char *big = malloc(70000), fifo[200];
	assert_non_null(big);
	memset(big, 'x', 70000);
	write_secret(p, "empty", "\nhunter2\n", 9);
	write_secret(p, "nul", "hunter\0x", 8);
	write_secret(p, "long", big, 70000);
	free(big);
	snprintf(fifo, sizeof(fifo), "%s/fifo", p->directory);
	assert_int_equal(mkfifo(fifo, 0600), 0);

	expect_secret_error(p, "{file: gone}", "password.file: secret file \"/tmp/test_expand.");
	expect_secret_error(p, "{file: gone}", "/gone\" cannot be read: No such file or directory\n");
	expect_secret_error(p, "{file: .}", "cannot be read: Is a directory\n");
	expect_secret_error(p, "{file: fifo}", "cannot be read: not a regular file\n");
	expect_secret_error(p, "{file: /dev/zero}", "cannot be read: not a regular file\n");
	expect_secret_error(p, "{file: empty}", "has an empty first line\n");
	expect_secret_error(p, "{file: nul}", "holds a NUL character");
	expect_secret_error(p, "{file: long}", "has a first line of 64KiB or more");
	expect_secret_error(p, "{file: ''}", "names no file");
	expect_secret_error(p, "{file: }", "is not a path; allowed: text, or {file: PATH}\n");
	expect_secret_error(p, "{file: [a]}", "is not a path");
	expect_secret_error(p, "{path: a}", "is a mapping, but not {file: PATH}; allowed: text, or {file: PATH}\n");
	expect_secret_error(p, "{file: a, mode: b}", "is a mapping, but not {file: PATH}");
	expect_secret_error(p, "{}", "is a mapping, but not {file: PATH}");
	expect_secret_error(p, "[hunter2]", "password: is a list; allowed: text, or {file: PATH}\n");
}

static void secrets_are_never_printed(void **state)
{
	const struct place *p = *state;
	expect_secret_error(p, "'hunter${'", "password: has a ${ without }; allowed");
	expect_secret_error(p, "'${hunter-x}'", "password: has a malformed ${...}; allowed");
	expect_secret_error(p, "{file: '${T_SECRET}'}", "secret file \"${T_SECRET}\" cannot be read");
	expect_secret_error(p, "'${T_EMPTY}'",
	                    "password: the environment variable is set but empty; a secret must not be\n");
	expect_secret_error(p, "x, properties: {sasl.password: 'hunter${'}",
	                    "properties.sasl.password: has a ${ without }");
	expect_secret_error(p, "{hunter2: hunter2}", "is a mapping, but not {file: PATH}");
}

static void empty_secret_must_be_meant(void **state)
{
	const struct place *p = *state;
	struct outcome o = read_at(p->config, "listeners: {mqtt: {password: ''}}");
	assert_int_equal(o.err, GW_OK);
	assert_null(only_mqtt(&o)->password);
	outcome_free(&o);
	o = read_at(p->config, "listeners: {mqtt: {password: '${T_UNSET:-}'}}");
	assert_int_equal(o.err, GW_OK);
	assert_null(only_mqtt(&o)->password);
	outcome_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(variables_are_put_into_values),
	    cmocka_unit_test(defaults_stand_in_for_unset_and_empty),
	    cmocka_unit_test(dollar_signs_are_kept),
	    cmocka_unit_test(what_a_variable_holds_stays_one_value),
	    cmocka_unit_test(lists_maps_and_selectors_take_variables),
	    cmocka_unit_test(keys_take_no_variables),
	    cmocka_unit_test(unset_variable_is_an_error),
	    cmocka_unit_test(malformed_variables_are_errors),
	    cmocka_unit_test(wrong_value_of_a_variable_is_shown_with_its_origin),
	    cmocka_unit_test(huge_expansions_are_refused),
	    cmocka_unit_test_setup_teardown(secret_comes_from_the_first_line_of_a_file, make_place, remove_place),
	    cmocka_unit_test_setup_teardown(bad_secret_files_are_named, make_place, remove_place),
	    cmocka_unit_test_setup_teardown(secrets_are_never_printed, make_place, remove_place),
	    cmocka_unit_test_setup_teardown(empty_secret_must_be_meant, make_place, remove_place),
	};
	return cmocka_run_group_tests(tests, set_environment, NULL);
}
