/* Which indices of a data stream have to be asked for a record, and what the answer means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sinks/elasticsearch/elasticsearch.h"
#include "test/unit/entry_fixture.h"

#define RECEIVED_MS INT64_C(1800000000000)

/* Three indices, made at these times relative to the record's receipt. */
static enum doubt_next ask(int64_t a, int64_t b, int64_t c, char **body)
{
	char answer[600];
	uint8_t *entry = entry_make(RECEIVED_MS * 1000 - 1500000, "d", "{}", 7);
	struct batch_item item = {.entry = entry};
	struct batch batch = {.items = &item, .count = 1};
	snprintf(answer, sizeof(answer),
	         "{\"i2\":{\"settings\":{\"index\":{\"creation_date\":\"%lld\"}}},"
	         "\"i3\":{\"settings\":{\"index\":{\"creation_date\":\"%lld\"}}},"
	         "\"i1\":{\"settings\":{\"index\":{\"creation_date\":\"%lld\"}}}}",
	         (long long)(RECEIVED_MS + b), (long long)(RECEIVED_MS + c), (long long)(RECEIVED_MS + a));
	enum doubt_next next = elasticsearch_doubt_stream_read(answer, &batch, body);
	free(entry);
	return next;
}

static void only_indices_written_to_since_are_asked(void **unused)
{
	(void)unused;
	char *body = NULL;
	const int64_t hour = 3600000;
	assert_int_equal(ask(-9 * hour, -8 * hour, -7 * hour, &body), DOUBT_NONE);
	assert_int_equal(ask(-9 * hour, -8 * hour, 5000, &body), DOUBT_FIND);
	assert_string_equal(
	    body, "{\"docs\":[{\"_index\":\"i2\",\"_id\":\"01KC0000000000000000000007\",\"_source\":false}]}");
	free(body);
	assert_int_equal(ask(-9 * hour, 4000, 5000, &body), DOUBT_FIND);
	assert_non_null(strstr(body, "\"i1\""));
	assert_non_null(strstr(body, "\"i2\""));
	assert_null(strstr(body, "\"i3\"")); /* it is written to now: create itself meets what it has */
	free(body);
}

static void garbage_is_no_answer(void **unused)
{
	(void)unused;
	char *body = NULL;
	struct batch batch = {.count = 0};
	size_t found;
	assert_int_equal(elasticsearch_doubt_stream_read("<html>", &batch, &body), DOUBT_NO_ANSWER);
	assert_int_equal(elasticsearch_doubt_stream_read("[]", &batch, &body), DOUBT_NO_ANSWER);
	assert_false(elasticsearch_doubt_found_read("{}", &batch, &found));
	assert_false(elasticsearch_doubt_found_read("nothing", &batch, &found));
}

static void what_is_found_is_done_and_nothing_else(void **unused)
{
	(void)unused;
	struct batch_item items[4];
	struct batch batch = {.items = items, .count = 4};
	size_t found;
	for (unsigned i = 0; i < 4; i++)
		items[i] = (struct batch_item){.entry = entry_make(1, "d", "{}", i)};
	items[0].state = ITEM_DONE;
	assert_true(elasticsearch_doubt_found_read("{\"docs\":[{\"_id\":\"01KC0000000000000000000001\",\"found\":true},"
	                                           "{\"_id\":\"01KC0000000000000000000001\",\"found\":true},"
	                                           "{\"_id\":\"01KC0000000000000000000002\"},"
	                                           "{\"_id\":\"01KC0000000000000000000002\",\"found\":false},"
	                                           "{\"_id\":\"01KC0000000000000000000003\",\"found\":true}]}",
	                                           &batch, &found));
	assert_int_equal(found, 2);
	assert_int_equal(items[1].state, ITEM_DONE);
	assert_int_equal(items[2].state, ITEM_PENDING);
	assert_int_equal(items[3].state, ITEM_DONE);
	for (unsigned i = 0; i < 4; i++)
		free((void *)(uintptr_t)items[i].entry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_indices_written_to_since_are_asked),
	    cmocka_unit_test(garbage_is_no_answer),
	    cmocka_unit_test(what_is_found_is_done_and_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
