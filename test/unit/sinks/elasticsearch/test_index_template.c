/* The index template: the file and what is compiled in are one, and it fits the server it goes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "sinks/elasticsearch/index_template.h"

static cJSON *made(const char *server, const char *const *patterns, size_t count, bool data_stream)
{
	struct search_server s;
	assert_true(index_template_server_read(&s, server, strlen(server)));
	char *text = index_template_make(&s, patterns, count, data_stream);
	assert_non_null(text);
	cJSON *tree = cJSON_Parse(text);
	assert_non_null(tree);
	free(text);
	return tree;
}

static const cJSON *at(const cJSON *tree, const char *path)
{
	char copy[256], *rest = copy;
	snprintf(copy, sizeof(copy), "%s", path);
	for (char *key; tree && (key = strsep(&rest, "/"));)
		tree = cJSON_GetObjectItemCaseSensitive(tree, key);
	return tree;
}

#define ES(v) "{\"version\":{\"number\":\"" v "\",\"build_flavor\":\"default\"}}"
#define OS(v) "{\"version\":{\"distribution\":\"opensearch\",\"number\":\"" v "\"}}"
#define SUBOBJECTS "template/mappings/properties/payload/subobjects"
#define OVERFLOW "template/settings/index/mapping/total_fields/ignore_dynamic_beyond_limit"

static void file_and_program_are_one(void **state)
{
	(void)state;
	char text[16384];
	FILE *file = fopen("config/elasticsearch-template.json", "r"); /* tests run in the repository's root */
	assert_non_null(file);
	size_t len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	assert_string_equal(text, index_template_text); /* else: see index_template.c how the copy is made */
}

static void patterns_are_those_in_use(void **state)
{
	(void)state;
	const char *const patterns[] = {"telemetry-*", "rest-*"};
	cJSON *tree = made(ES("8.19.21"), patterns, 2, false);
	assert_int_equal(cJSON_GetArraySize(at(tree, "index_patterns")), 2);
	assert_string_equal(cJSON_GetArrayItem(at(tree, "index_patterns"), 1)->valuestring, "rest-*");
	assert_null(at(tree, "data_stream"));
	assert_int_equal(at(tree, "version")->valueint, INDEX_TEMPLATE_VERSION);
	cJSON_Delete(tree);
}

static void data_stream_is_said(void **state)
{
	(void)state;
	const char *const patterns[] = {"telemetry-sluice-default"};
	cJSON *tree = made(OS("2.19.6"), patterns, 1, true);
	assert_true(cJSON_IsObject(at(tree, "data_stream")));
	cJSON_Delete(tree);
}

static void setting_that_a_server_does_not_know_is_left_out(void **state)
{
	(void)state;
	static const struct {
		const char *server;
		bool overflow, subobjects;
	} cases[] = {{ES("8.19.21"), true, true}, {ES("8.14.0"), true, true},   {ES("8.13.4"), false, true},
	             {ES("8.3.0"), false, true},  {ES("8.2.3"), false, false},  {ES("7.17.1"), false, false},
	             {ES("9.2.0"), true, true},   {OS("2.19.6"), false, false}, {OS("3.3.0"), false, false}};
	const char *const patterns[] = {"t-*"};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cJSON *tree = made(cases[i].server, patterns, 1, false);
		assert_int_equal(at(tree, OVERFLOW) != NULL, cases[i].overflow);
		assert_int_equal(at(tree, SUBOBJECTS) != NULL, cases[i].subobjects);
		assert_non_null(at(tree, "template/mappings/properties/payload/dynamic"));
		assert_non_null(at(tree, "template/settings/index/mapping/total_fields/limit"));
		cJSON_Delete(tree);
	}
}

static void pattern(const char *index, const char *want)
{
	char out[300];
	index_template_pattern(out, sizeof(out), index);
	assert_string_equal(out, want);
}

static void pattern_is_what_stands_before_the_first_brace(void **state)
{
	(void)state;
	pattern("telemetry-{yyyy.MM.dd}", "telemetry-*");
	pattern("t.{device.id}-{yyyy}", "t.*");
	pattern("telemetry-sluice-default", "telemetry-sluice-default");
}

static void what_is_no_search_server_is_told(void **state)
{
	(void)state;
	static const char *const texts[] = {"",
	                                    "{}",
	                                    "<html>",
	                                    "{\"version\":\"1.2\"}",
	                                    "{\"version\":{\"number\":\"eight\"}}",
	                                    "[]",
	                                    "{\"version\":{\"number\":8.1}}"};
	struct search_server s;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_false(index_template_server_read(&s, texts[i], strlen(texts[i])));
}

static int version_of(const char *text)
{
	return index_template_version(text, strlen(text));
}

static void version_of_an_installed_template_is_found(void **state)
{
	(void)state;
	assert_int_equal(
	    version_of("{\"index_templates\":[{\"name\":\"n\",\"index_template\":{\"version\":3,\"priority\":1}}]}"),
	    3);
	assert_int_equal(version_of("{\"index_templates\":[{\"name\":\"n\",\"index_template\":{\"priority\":1}}]}"), 0);
	assert_int_equal(version_of("{\"index_templates\":[{\"index_template\":{\"version\":-1}}]}"), 0);
	assert_int_equal(version_of("{\"index_templates\":[]}"), -1);
	assert_int_equal(version_of("{\"error\":1}"), -1);
	assert_int_equal(version_of("no"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(file_and_program_are_one),
	    cmocka_unit_test(patterns_are_those_in_use),
	    cmocka_unit_test(data_stream_is_said),
	    cmocka_unit_test(setting_that_a_server_does_not_know_is_left_out),
	    cmocka_unit_test(pattern_is_what_stands_before_the_first_brace),
	    cmocka_unit_test(what_is_no_search_server_is_told),
	    cmocka_unit_test(version_of_an_installed_template_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
