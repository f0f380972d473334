/* Lines with counted replies as the load tester sends them. */
#include "test/unit/load/load_world.h"

static void window_of_4(struct load_plan *p)
{
	p->window = 4;
}

static void no_reply(struct load_plan *p)
{
	p->no_reply = true;
	p->count = 5;
}

static void every_message_is_a_line(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "tcp://127.0.0.1", window_of_4);
	size_t len = world_sent(&w, out), lines = 0;
	for (size_t i = 0; i < len; i++)
		lines += out[i] == '\n';
	assert_int_equal(lines, 4);
	assert_int_equal(out[len - 1], '\n');
	world_close(&w);
}

static void counts_are_cumulative_wherever_they_are_cut(void **state)
{
	(void)state;
	static const char answer[] = "ok 1\r\nok 3\n";
	for (size_t cut = 0; cut < sizeof(answer) - 1; cut++) {
		struct world w;
		uint8_t out[65536];
		world_open(&w, "tcp://127.0.0.1", window_of_4);
		world_sent(&w, out);
		world_answer(&w, answer, sizeof(answer) - 1, cut);
		assert_int_equal(w.worker.counts.acknowledged, 3);
		assert_int_equal(w.c->base, 3);
		assert_int_equal(world_errors(&w), 0);
		world_close(&w);
	}
}

static void a_refused_line_is_not_acknowledged_by_the_count_behind_it(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "tcp://127.0.0.1", window_of_4);
	world_sent(&w, out);
	world_answer(&w, "error 2 invalid_payload\nok 4\n", 29, 0);
	assert_int_equal(w.worker.counts.acknowledged, 3);
	assert_int_equal(w.worker.counts.errors[LOAD_REJECTED], 1);
	assert_string_equal(w.worker.first_error[LOAD_REJECTED], "error 2 invalid_payload");
	world_close(&w);
}

static void counting_begins_anew_on_a_new_connection(void **state)
{
	(void)state;
	struct world w;
	uint8_t first[65536], again[65536];
	world_open(&w, "tcp://127.0.0.1", window_of_4);
	size_t len = world_sent(&w, first);
	world_answer(&w, "error 3 too_large\nok 1\n", 23, 0);
	connection_lost(w.c, LOAD_RESET, "gone");
	world_connect(&w);
	size_t more = world_sent(&w, again);
	assert_memory_equal(again, first + len / 4,
	                    len - len / 4); /* lines 2 to 4: the refused one, too, to keep count */
	assert_int_equal(more, len);        /* and one new */
	world_answer(&w, "ok 4\n", 5, 0);
	assert_int_equal(w.c->base, 5);
	assert_int_equal(w.worker.counts.acknowledged, 4);
	world_close(&w);
}

static void an_answer_that_cannot_be_ends_the_connection(void **state)
{
	(void)state;
	static const char *const wrong[] = {"ok 5\n",      "ok x\n",      "hello\n",
	                                    "error 0 x\n", "error 9 x\n", "ok 18446744073709551616\n"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct world w;
		uint8_t out[65536];
		world_open(&w, "tcp://127.0.0.1", window_of_4);
		world_sent(&w, out);
		world_answer(&w, wrong[i], strlen(wrong[i]), 0);
		assert_int_equal(w.worker.counts.errors[LOAD_PROTOCOL], 1);
		world_close(&w);
	}
}

static void without_replies_the_end_is_told_by_closing(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "tcp://127.0.0.1", no_reply);
	assert_true(world_sent(&w, out) > 0);
	assert_int_equal(w.worker.counts.unconfirmed, 5);
	assert_int_equal(recv(w.peer, out, 1, 0), 0); /* our side is shut */
	assert_int_equal(w.worker.done, 0);
	connection_finished(w.c);
	assert_int_equal(w.worker.done, 1);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_message_is_a_line),
	    cmocka_unit_test(counts_are_cumulative_wherever_they_are_cut),
	    cmocka_unit_test(a_refused_line_is_not_acknowledged_by_the_count_behind_it),
	    cmocka_unit_test(counting_begins_anew_on_a_new_connection),
	    cmocka_unit_test(an_answer_that_cannot_be_ends_the_connection),
	    cmocka_unit_test(without_replies_the_end_is_told_by_closing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
