/* HTTP as the load tester speaks it. */
#include "test/unit/load/load_world.h"

#include "test/unit/guard.h"

static void batch_of_3(struct load_plan *p)
{
	p->batch = 3;
	p->user = "me";
	p->password = "x";
}

static void answer(struct world *w, const char *text, size_t cut)
{
	world_answer(w, text, strlen(text), cut);
}

/* A batch's report. */
static void report(struct world *w, const char *json)
{
	char text[1000];
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(json), json);
	answer(w, text, 0);
}

static void one_request_is_under_way_with_its_length(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "http://127.0.0.1:81", NULL);
	size_t len = world_sent(&w, out);
	out[len] = 0;
	assert_string_equal(
	    (char *)out,
	    "POST /v1/telemetry/http-000000 HTTP/1.1\r\nHost: 127.0.0.1:81\r\nContent-Type: application/json\r\n"
	    "Content-Length: 80\r\n\r\n"
	    "{\"device\":\"http-000000\",\"load\":{\"run\":\"R\",\"device\":\"http-000000\",\"seq\":0},\"v\":1}");
	assert_int_equal(world_sent(&w, out), 0);
	world_close(&w);
}

static void an_answer_is_taken_wherever_it_is_cut(void **state)
{
	(void)state;
	static const char *const answers[] = {
	    "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n",
	    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	};
	for (size_t i = 0; i < 3; i++)
		for (size_t cut = 0; cut < strlen(answers[i]); cut++) {
			struct world w;
			uint8_t out[65536];
			world_open(&w, "http://127.0.0.1", NULL);
			world_sent(&w, out);
			answer(&w, answers[i], cut);
			assert_int_equal(w.worker.counts.acknowledged, 1);
			assert_int_equal(world_errors(&w), 0);
			assert_true(world_sent(&w, out) > 0);
			world_close(&w);
		}
}

static void a_batch_is_ndjson_with_credentials(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "http://127.0.0.1", batch_of_3);
	size_t len = world_sent(&w, out), lines = 0;
	out[len] = 0;
	assert_non_null(strstr((char *)out, "POST /v1/telemetry HTTP/1.1\r\n"));
	assert_non_null(strstr((char *)out,
	                       "application/x-ndjson\r\nAuthorization: Basic bWU6eA==\r\nContent-Length: 243\r\n\r\n"));
	for (char *at = strstr((char *)out, "\r\n\r\n") + 4; (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, 3);
	world_close(&w);
}

static void rejected_lines_of_a_batch_are_taken_out(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "http://127.0.0.1", batch_of_3);
	world_sent(&w, out);
	report(&w, "{\"accepted\":2,\"rejected_count\":1,\"rejected\":[{\"line\":2,"
	           "\"offset\":92,\"reason\":\"invalid_payload\",\"detail\":\"expected a v\"}]}");
	assert_int_equal(w.worker.counts.acknowledged, 2);
	assert_int_equal(w.worker.counts.errors[LOAD_REJECTED], 1);
	assert_int_equal(w.c->base, 3);
	world_close(&w);
}

static void from_a_full_line_on_it_is_sent_again_after_a_pause(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "http://127.0.0.1", batch_of_3);
	world_sent(&w, out);
	report(&w, "{\"accepted\":1,\"rejected_count\":2,\"rejected\":[{\"line\":2,"
	           "\"reason\":\"full\"}]}       ");
	assert_int_equal(w.worker.counts.acknowledged, 1);
	assert_int_equal(w.worker.counts.errors[LOAD_BUSY], 1);
	assert_int_equal(world_sent(&w, out), 0);
	w.worker.now_us += 1000001;
	out[world_sent(&w, out)] = 0;
	assert_non_null(strstr((char *)out, "\"seq\":1}"));
	assert_non_null(strstr((char *)out, "\"seq\":2}"));
	assert_null(strstr((char *)out, "\"seq\":0}"));
	world_close(&w);
}

static void more_rejections_than_are_listed_acknowledge_nothing_behind_the_list(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "http://127.0.0.1", batch_of_3);
	world_sent(&w, out);
	report(&w, "{\"rejected_count\":2,\"rejected\":[{\"line\":2,\"reason\":\"no_device\"}]}   ");
	assert_int_equal(w.worker.counts.acknowledged, 1);
	assert_int_equal(w.worker.counts.errors[LOAD_REJECTED], 2);
	world_close(&w);
}

static void what_is_no_answer_ends_the_connection(void **state)
{
	(void)state;
	static const char *const wrong[] = {"SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1\r\n\r\n",
	                                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct world w;
		uint8_t out[65536];
		world_open(&w, "http://127.0.0.1", NULL);
		world_sent(&w, out);
		answer(&w, wrong[i], 0);
		assert_int_equal(w.worker.counts.errors[LOAD_PROTOCOL], 1);
		assert_int_equal(w.worker.counts.acknowledged, 0);
		world_close(&w);
	}
}

/* What is read has no terminator: numbers and words end where the answer does. */
static void a_report_without_an_end_is_read_no_further_than_it_goes(void **state)
{
	(void)state;
	static const char *const reports[] = {"{\"rejected_count\":2", "{\"rejected_count\":2,\"line\":2",
	                                      "{\"rejected_count\":2,\"line\":2,\"reason\":\"full"};
	for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++) {
		struct world w;
		uint8_t out[65536];
		char text[200];
		world_open(&w, "http://127.0.0.1", batch_of_3);
		world_sent(&w, out);
		int len = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		                   strlen(reports[i]), reports[i]);
		world_answer(&w, guard_copy(text, (size_t)len), (size_t)len, 0);
		assert_int_equal(w.worker.counts.errors[LOAD_BUSY], 0);
		assert_true(w.worker.counts.acknowledged <= 1);
		world_close(&w);
	}
}

static void an_interim_answer_is_passed_over(void **state)
{
	(void)state;
	static const char both[] = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
	for (size_t cut = 0; cut < strlen(both); cut++) {
		struct world w;
		uint8_t out[65536];
		world_open(&w, "http://127.0.0.1", NULL);
		world_sent(&w, out);
		answer(&w, both, cut);
		assert_int_equal(w.worker.counts.acknowledged, 1);
		assert_int_equal(world_errors(&w), 0);
		world_close(&w);
	}
}

static void a_date_to_retry_after_is_a_second(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "http://127.0.0.1", NULL);
	world_sent(&w, out);
	answer(&w, "HTTP/1.1 503 Busy\r\nRetry-After: Fri, 27 Nov 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", 0);
	assert_int_equal(world_sent(&w, out), 0);
	w.worker.now_us += 1000001;
	assert_true(world_sent(&w, out) > 0);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_request_is_under_way_with_its_length),
	    cmocka_unit_test(an_answer_is_taken_wherever_it_is_cut),
	    cmocka_unit_test(a_batch_is_ndjson_with_credentials),
	    cmocka_unit_test(rejected_lines_of_a_batch_are_taken_out),
	    cmocka_unit_test(from_a_full_line_on_it_is_sent_again_after_a_pause),
	    cmocka_unit_test(more_rejections_than_are_listed_acknowledge_nothing_behind_the_list),
	    cmocka_unit_test(what_is_no_answer_ends_the_connection),
	    cmocka_unit_test(a_report_without_an_end_is_read_no_further_than_it_goes),
	    cmocka_unit_test(an_interim_answer_is_passed_over),
	    cmocka_unit_test(a_date_to_retry_after_is_a_second),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
