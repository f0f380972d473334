/* Bodies of _bulk requests, and the answers to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "sinks/elasticsearch/bulk.h"
#include "test/unit/entry_fixture.h"
#include "test/unit/guard.h"

#define NOON 1795348800123456 /* 2026-11-22T12:00:00.123456Z */

/* -- the body -- */

static void body_of(struct bulk_body *b, const char *index, unsigned count)
{
	*b = (struct bulk_body){0};
	assert_true(bulk_reserve(b, 64 * 1024));
	for (unsigned i = 0; i < count; i++) {
		uint8_t *entry = entry_make(NOON, "d1", "{\"t\":21.40}", i);
		bulk_add(b, index, index ? strlen(index) : 0, entry);
		free(entry);
	}
}

#define JSON(n)                                                                                                        \
	"{\"@timestamp\":\"2026-11-22T12:00:00.123456Z\",\"event\":{\"id\":\"01KC000000000000000000000" n              \
	"\"},\"device\":{\"id\":\"d1\"},"                                                                              \
	"\"network\":{\"protocol\":\"tcp\"},\"sluice\":{\"v\":1,\"listener\":\"line\",\"channel\":\"a/"                \
	"b\"},\"payload\":{\"t\":21.40}}\n"

static void body_has_an_action_and_the_record_byte_for_byte(void **state)
{
	(void)state;
	struct bulk_body b;
	body_of(&b, NULL, 2);
	static const char want[] = "{\"create\":{\"_id\":\"01KC0000000000000000000000\"}}\n" JSON(
	    "0") "{\"create\":{\"_id\":\"01KC0000000000000000000001\"}}\n" JSON("1");
	assert_int_equal(b.len, sizeof(want) - 1);
	assert_memory_equal(b.data, want, b.len);
	bulk_fini(&b);
}

static void body_names_the_index_where_the_url_does_not(void **state)
{
	(void)state;
	struct bulk_body b;
	body_of(&b, "telemetry-2026.11.22", 1);
	static const char want[] =
	    "{\"create\":{\"_index\":\"telemetry-2026.11.22\",\"_id\":\"01KC0000000000000000000000\"}}\n" JSON("0");
	assert_int_equal(b.len, sizeof(want) - 1);
	assert_memory_equal(b.data, want, b.len);
	bulk_fini(&b);
}

static void room_per_record_is_a_bound(void **state)
{
	(void)state;
	char index[256];
	struct bulk_body b = {0};
	struct record r;
	uint8_t *entry = entry_make(NOON, "d1", "{}", 1);
	memset(index, 'x', 255);
	record_read(&r, entry);
	assert_true(bulk_reserve(&b, r.json_len + 255 + BULK_LINE_MAX)); /* the sanitizers watch its end */
	bulk_add(&b, index, 255, entry);
	assert_true(b.len <= b.capacity);
	free(entry);
	bulk_fini(&b);
}

static void body_is_used_again_without_its_old_bytes(void **state)
{
	(void)state;
	struct bulk_body b;
	body_of(&b, NULL, 3);
	char *data = b.data;
	assert_true(bulk_reserve(&b, 1024));
	assert_int_equal(b.len, 0);
	assert_ptr_equal(b.data, data);
	bulk_fini(&b);
}

static void packed_body_is_gzip_of_it_each_time(void **state)
{
	(void)state;
	struct bulk_gzip z = {0};
	struct bulk_body b, packed = {0};
	for (unsigned count = 1; count <= 40; count += 39) {
		char plain[64 * 1024];
		z_stream in = {0};
		body_of(&b, NULL, count);
		assert_int_equal(bulk_pack(&z, &b, &packed), GW_OK);
		assert_int_equal(inflateInit2(&in, 15 + 16), Z_OK); /* gzip and nothing else */
		in.next_in = (Bytef *)packed.data;
		in.avail_in = (uInt)packed.len;
		in.next_out = (Bytef *)plain;
		in.avail_out = sizeof(plain);
		assert_int_equal(inflate(&in, Z_FINISH), Z_STREAM_END);
		assert_int_equal(in.avail_in, 0);
		assert_int_equal(in.total_out, b.len);
		assert_memory_equal(plain, b.data, b.len);
		assert_true(count == 1 || packed.len < b.len / 4);
		inflateEnd(&in);
		bulk_fini(&b);
	}
	bulk_fini(&packed);
	bulk_gzip_fini(&z);
}

/* -- the answer -- */

struct seen {
	size_t count;
	int status[8];
	char type[8][64], reason[8][64];
};

static void see(void *context, size_t i, const struct bulk_item *item)
{
	struct seen *s = context;
	assert_int_equal(i, s->count);
	assert_true(i < 8);
	s->status[i] = item->status;
	snprintf(s->type[i], 64, "%s", item->type ? item->type : "-");
	snprintf(s->reason[i], 64, "%s", item->reason ? item->reason : "-");
	s->count++;
}

static enum gw_err read_text(const char *text, size_t count, struct seen *s, bool *all)
{
	*s = (struct seen){0};
	size_t len = strlen(text);
	char *at = guard_copy(text, len + 1); /* with the terminator; beyond it no byte may be read */
	enum gw_err err = bulk_read(at, len, count, see, s, all);
	return err;
}

static void refuses(const char *text, size_t count)
{
	struct seen s;
	bool all = false;
	if (read_text(text, count, &s, &all) != GW_INVALID)
		fail_msg("taken for an answer to %zu records: %s", count, text);
	assert_int_equal(s.count, 0);
}

#define OK201 "{\"create\":{\"status\":201}}"

static void answer_without_errors_is_all(void **state)
{
	(void)state;
	struct seen s;
	bool all = false;
	assert_int_equal(read_text("{\"errors\":false,\"items\":[" OK201 "," OK201 "]}", 2, &s, &all), GW_OK);
	assert_true(all);
	assert_int_equal(s.count, 0);
	all = false;
	assert_int_equal(read_text("{\"took\":12,\"errors\":false,\"items\":[" OK201 "]}", 1, &s, &all), GW_OK);
	assert_true(all);
	all = false; /* in a form of its own, but complete */
	assert_int_equal(read_text("{ \"items\": [ {\"create\": {\"_id\":\"a\", \"status\": 200}} ] }\n", 1, &s, &all),
	                 GW_OK);
	assert_true(all);
}

static void answer_with_another_number_of_items_is_none(void **state)
{
	(void)state;
	refuses("{\"errors\":false,\"items\":[" OK201 "," OK201 "]}", 1);
	refuses("{\"errors\":false,\"items\":[" OK201 "," OK201 "]}", 3);
	refuses("{\"errors\":false,\"items\":[]}", 1);
	refuses("{\"errors\":false}", 1);
	refuses("{\"errors\":true,\"items\":[{\"create\":{\"status\":429}}]}", 2);
}

static void garbage_is_no_answer(void **state)
{
	(void)state;
	refuses("", 1);
	refuses("{", 1);
	refuses("null", 1);
	refuses("<html>" OK201 "</html>", 1);
	refuses("{\"errors\":false,\"items\":[" OK201, 1);
	refuses("{\"errors\":false,\"items\":[" OK201 "]", 1);
	refuses("{\"errors\":true,\"items\":[" OK201 "]} trailing", 1);
	refuses("{\"errors\":true,\"items\":{\"create\":{\"status\":201}}}", 1);
	refuses("{\"errors\":true,\"items\":[{\"create\":{}}]}", 1);
	refuses("{\"errors\":true,\"items\":[{\"create\":{\"status\":\"201\"}}]}", 1);
	refuses("{\"errors\":true,\"items\":[{\"create\":{\"status\":1e999}}]}", 1);
	refuses("{\"errors\":true,\"items\":[{\"create\":{\"status\":20}}]}", 1);
	refuses("{\"errors\":false,\"items\":[{\"create\":{\"status\":2010}}]}", 1);
	refuses("{\"errors\":true,\"items\":[{\"create\":{\"status\":201},\"index\":{\"status\":201}}]}", 1);
	refuses("{\"errors\":true,\"items\":[201]}", 1);
	refuses("{\"errors\":true,\"items\":[{}]}", 1);
}

/* Wherever the connection ends, a cut answer is not taken for a whole one. */
static void cut_answer_is_no_answer(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "{\"errors\":false,\"items\":[" OK201 "," OK201 "]}",
	    "{\"errors\":true,\"items\":[" OK201
	    ",{\"create\":{\"status\":400,\"error\":{\"type\":\"t\",\"reason\":\"r\"}}}]}",
	};
	for (size_t t = 0; t < 2; t++) {
		for (size_t len = 0; len < strlen(texts[t]); len++) {
			char *cut = strndup(texts[t], len);
			refuses(cut, 2);
			free(cut);
		}
	}
}

static void items_come_in_order_with_type_and_reason(void **state)
{
	(void)state;
	struct seen s;
	bool all = true;
	assert_int_equal(
	    read_text(
	        "{\"errors\":true,\"items\":[" OK201
	        ",{\"create\":{\"status\":400,\"error\":{\"type\":\"document_parsing_exception\",\"reason\":\"[1:2] "
	        "\\u00e9\"}}},{\"create\":{\"status\":429,\"error\":\"old form\"}}]}",
	        3, &s, &all),
	    GW_OK);
	assert_false(all);
	assert_int_equal(s.count, 3);
	assert_int_equal(s.status[0], 201);
	assert_string_equal(s.type[0], "-");
	assert_int_equal(s.status[1], 400);
	assert_string_equal(s.type[1], "document_parsing_exception");
	assert_string_equal(s.reason[1], "[1:2] \xc3\xa9");
	assert_int_equal(s.status[2], 429);
	assert_string_equal(s.type[2], "-");
	assert_string_equal(s.reason[2], "old form");
}

static void says_errors_false_but_has_one(void **state)
{
	(void)state;
	struct seen s;
	bool all = true;
	assert_int_equal(read_text("{\"errors\":false,\"items\":[{\"create\":{\"status\":503}}]}", 1, &s, &all), GW_OK);
	assert_false(all);
	assert_int_equal(s.status[0], 503);
}

static void words_about_the_target_are_no_verdict_on_the_record(void **state)
{
	(void)state;
	static const struct {
		const char *reason;
		enum bulk_verdict verdict;
	} cases[] = {
	    {"no write index is defined for alias [a]. The write index may be explicitly disabled using "
	     "is_write_index=false or the alias points to multiple indices without one being designated as a write "
	     "index",
	     BULK_TARGET},
	    {"pipeline with id [nope] does not exist", BULK_TARGET},
	    {"composable template [t] template after composition is invalid", BULK_TARGET},
	    {"unknown index sort field:[nope]", BULK_TARGET},
	    {"alias name [a] self-conflicts with index name", BULK_TARGET},
	    {"pipeline with id [nope] is slow", BULK_DEAD},
	    {"does not exist: pipeline with id [x]", BULK_DEAD},
	    {"mapper [payload.x] cannot be changed from type [keyword] to [double]", BULK_DEAD},
	    {NULL, BULK_DEAD},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bulk_item item = {400, "illegal_argument_exception", cases[i].reason};
		if (bulk_judge(&item) != cases[i].verdict)
			fail_msg("%s", cases[i].reason ? cases[i].reason : "");
	}
}

static void verdicts(void **state)
{
	(void)state;
	static const struct {
		int status;
		const char *type;
		enum bulk_verdict verdict;
	} cases[] = {
	    {201, NULL, BULK_DONE},
	    {200, NULL, BULK_DONE},
	    {409, "version_conflict_engine_exception", BULK_DONE},
	    {409, "some_other_conflict", BULK_RETRY},
	    {429, "es_rejected_execution_exception", BULK_RETRY},
	    {429, "cluster_block_exception", BULK_BLOCKED},
	    {403, "cluster_block_exception", BULK_BLOCKED},
	    {500, NULL, BULK_RETRY},
	    {503, "unavailable_shards_exception", BULK_AWAY},
	    {400, "document_parsing_exception", BULK_DEAD},
	    {400, "mapper_parsing_exception", BULK_DEAD},
	    {400, "illegal_argument_exception", BULK_DEAD},
	    {400, "index_closed_exception", BULK_NO_INDEX},
	    {400, "validation_exception", BULK_NO_INDEX},
	    {404, "index_not_found_exception", BULK_NO_INDEX},
	    {403, "security_exception", BULK_NO_INDEX},
	    {400, "resource_already_exists_exception", BULK_RETRY},
	    {400, NULL, BULK_DEAD},
	    {400, "routing_missing_exception", BULK_TARGET},
	    {301, NULL, BULK_RETRY},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bulk_item item = {.status = cases[i].status, .type = cases[i].type};
		if (bulk_judge(&item) != cases[i].verdict)
			fail_msg("%d %s", cases[i].status, cases[i].type ? cases[i].type : "");
	}
}

static void faults_of_whole_requests_are_read_and_bounded(void **state)
{
	(void)state;
	struct bulk_fault f;
	char text[4096], long_reason[2000];
	const char *plain = "{\"error\":{\"root_cause\":[],\"type\":\"security_exception\",\"reason\":"
	                    "\"missing\\nkey\"},\"status\":401}";
	bulk_fault_read(&f, plain, strlen(plain));
	assert_string_equal(f.type, "security_exception");
	assert_string_equal(f.reason, "missing key"); /* it goes into a log line */
	plain = "{\"error\":\"alias\",\"status\":400}";
	bulk_fault_read(&f, plain, strlen(plain));
	assert_string_equal(f.type, "");
	assert_string_equal(f.reason, "alias");
	bulk_fault_read(&f, "<html>", 6);
	assert_string_equal(f.type, "");
	bulk_fault_read(&f, "", 0);
	assert_string_equal(f.reason, "");
	memset(long_reason, 'r', sizeof(long_reason) - 1);
	long_reason[sizeof(long_reason) - 1] = '\0';
	int len =
	    snprintf(text, sizeof(text), "{\"error\":{\"type\":\"%s\",\"reason\":\"%s\"}}", long_reason, long_reason);
	bulk_fault_read(&f, text, (size_t)len);
	assert_int_equal(strlen(f.type), sizeof(f.type) - 1);
	assert_int_equal(strlen(f.reason), sizeof(f.reason) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(body_has_an_action_and_the_record_byte_for_byte),
	    cmocka_unit_test(body_names_the_index_where_the_url_does_not),
	    cmocka_unit_test(room_per_record_is_a_bound),
	    cmocka_unit_test(body_is_used_again_without_its_old_bytes),
	    cmocka_unit_test(packed_body_is_gzip_of_it_each_time),
	    cmocka_unit_test(answer_without_errors_is_all),
	    cmocka_unit_test(answer_with_another_number_of_items_is_none),
	    cmocka_unit_test(garbage_is_no_answer),
	    cmocka_unit_test(cut_answer_is_no_answer),
	    cmocka_unit_test(items_come_in_order_with_type_and_reason),
	    cmocka_unit_test(says_errors_false_but_has_one),
	    cmocka_unit_test(verdicts),
	    cmocka_unit_test(words_about_the_target_are_no_verdict_on_the_record),
	    cmocka_unit_test(faults_of_whole_requests_are_read_and_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
