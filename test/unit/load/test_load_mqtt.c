/* MQTT as the load tester speaks it: OASIS MQTT 3.1.1, byte by byte. */
#include "test/unit/load/load_world.h"

static const uint8_t connack[] = {0x20, 2, 0, 0};

static void window_of_3(struct load_plan *p)
{
	p->window = 3;
	p->topic = "d/{device}";
	p->user = "u";
	p->password = "p";
	p->client_id = "id";
}

static void window_of_3_qos_2(struct load_plan *p)
{
	window_of_3(p);
	p->qos = 2;
}

static void ready(struct world *w, void (*change)(struct load_plan *))
{
	uint8_t out[65536];
	world_open(w, "mqtt://127.0.0.1", change);
	w->job.protocol->hello(w->c, out);
	world_answer(w, connack, 4, 0);
	assert_int_equal(w->c->state, CONNECTION_READY);
}

static void it_says_hello_by_the_plan(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, "mqtt://127.0.0.1", window_of_3);
	static const uint8_t expected[] = {0x10, 20, 0, 4,   'M', 'Q', 'T', 'T', 4, 0xc2, 0,
	                                   60,   0,  2, 'i', 'd', 0,   1,   'u', 0, 1,    'p'};
	assert_int_equal(w.job.protocol->hello(w.c, out), sizeof(expected));
	assert_memory_equal(out, expected, sizeof(expected));
	world_close(&w);
}

static void a_refusal_is_counted_by_its_kind(void **state)
{
	(void)state;
	static const enum load_error kinds[] = {LOAD_REJECTED, LOAD_REJECTED, LOAD_BUSY, LOAD_AUTH, LOAD_AUTH};
	for (uint8_t code = 1; code <= 5; code++) {
		struct world w;
		world_open(&w, "mqtt://127.0.0.1", NULL);
		world_answer(&w, (uint8_t[]){0x20, 2, 0, code}, 4, 0);
		assert_int_equal(w.worker.counts.errors[kinds[code - 1]], 1);
		assert_int_equal(w.c->state, CONNECTION_REST);
		world_close(&w);
	}
}

static void a_publish_has_topic_identifier_and_identity(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	ready(&w, window_of_3);
	static const char body[] =
	    "{\"device\":\"mqtt-000000\",\"load\":{\"run\":\"R\",\"device\":\"mqtt-000000\",\"seq\":0},\"v\":1}";
	size_t len = world_sent(&w, out), one = 4 + 13 + sizeof(body) - 1;
	assert_int_equal(len, 3 * (one + 2));
	assert_int_equal(out[0], 0x32);
	assert_int_equal(out[1], one);
	assert_memory_equal(out + 2, "\0\15d/mqtt-000000\0\1", 17);
	assert_memory_equal(out + 19, body, sizeof(body) - 1);
	assert_memory_equal(out + one + 2 + 2 + 15, "\0\2", 2);
	world_close(&w);
}

static void acknowledgements_in_any_order_free_the_window_in_order(void **state)
{
	(void)state;
	static const uint8_t acks[] = {0x40, 2, 0, 2, 0x40, 2, 0, 1};
	for (size_t cut = 0; cut < sizeof(acks); cut++) {
		struct world w;
		uint8_t out[65536];
		ready(&w, window_of_3);
		world_sent(&w, out);
		world_answer(&w, acks, 4, cut < 4 ? cut : 0);
		assert_int_equal(w.c->base, 0);
		assert_int_equal(world_sent(&w, out), 0);
		world_answer(&w, acks + 4, 4, cut < 4 ? 0 : cut - 4);
		assert_int_equal(w.c->base, 2);
		assert_int_equal(w.worker.counts.acknowledged, 2);
		assert_true(world_sent(&w, out) > 0);
		assert_int_equal(w.c->next, 5);
		assert_int_equal(world_errors(&w), 0);
		world_close(&w);
	}
}

static void a_second_acknowledgement_counts_for_nothing(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	ready(&w, window_of_3);
	world_sent(&w, out);
	for (int i = 0; i < 3; i++)
		world_answer(&w, "\x40\2\0\1", 4, 0);
	assert_int_equal(w.worker.counts.acknowledged, 1);
	world_close(&w);
}

static void what_was_not_acknowledged_is_sent_again_with_dup(void **state)
{
	(void)state;
	struct world w;
	uint8_t first[65536], again[65536];
	ready(&w, window_of_3);
	size_t len = world_sent(&w, first), one = len / 3;
	world_answer(&w, "\x40\2\0\2", 4, 0);
	connection_lost(w.c, LOAD_RESET, "gone");
	w.worker.now_us += 5000;
	world_connect(&w);
	world_answer(&w, connack, 4, 0);
	assert_int_equal(world_sent(&w, again), 2 * one);
	assert_int_equal(again[0], 0x3a);
	assert_memory_equal(again + 1, first + 1, one - 1);
	assert_memory_equal(again + one + 1, first + 2 * one + 1, one - 1);
	assert_int_equal(w.worker.counts.resent, 2);
	assert_int_equal(w.worker.counts.sent, 3);
	world_close(&w);
}

static void qos_2_is_released_and_goes_on_with_the_release_after_a_break(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	ready(&w, window_of_3_qos_2);
	world_sent(&w, out);
	assert_int_equal(out[0], 0x34);
	world_answer(&w, "\x50\2\0\1", 4, 2);
	assert_int_equal(w.worker.counts.acknowledged, 1);
	assert_int_equal(world_sent(&w, out), 4);
	assert_memory_equal(out, "\x62\2\0\1", 4);
	connection_lost(w.c, LOAD_RESET, "gone");
	world_connect(&w);
	world_answer(&w, connack, 4, 0);
	assert_true(world_sent(&w, out) > 4);
	assert_memory_equal(out, "\x62\2\0\1\x3c", 5);
	assert_int_equal(w.worker.counts.resent, 2);
	world_answer(&w, "\x70\2\0\1", 4, 0);
	assert_int_equal(w.c->base, 1);
	assert_int_equal(w.worker.counts.acknowledged, 1);
	world_close(&w);
}

static void what_does_not_belong_to_a_publisher_ends_the_connection(void **state)
{
	(void)state;
	static const uint8_t wrong[][5] = {{0x30, 3, 0, 0, 0},
	                                   {0x20, 2, 0, 0, 0},
	                                   {0x50, 2, 0, 1, 0},
	                                   {0xff, 0xff, 0xff, 0xff, 0xff},
	                                   {0x40, 0, 0, 0, 0}};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct world w;
		ready(&w, NULL);
		world_answer(&w, wrong[i], 5, 0);
		assert_int_equal(w.worker.counts.errors[LOAD_PROTOCOL], 1);
		assert_int_equal(w.c->state, CONNECTION_REST);
		world_close(&w);
	}
}

static void identifiers_go_round_without_zero(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	ready(&w, window_of_3);
	w.plan.count = 0;
	w.c->limit = UINT64_MAX;
	w.c->base = w.c->next = w.c->resend = 65534;
	world_sent(&w, out);
	size_t id = 2 + 15;
	assert_memory_equal(out + id, "\xff\xff", 2);
	assert_memory_equal(out + out[1] + 2 + id, "\0\1", 2);
	world_answer(&w, "\x40\2\xff\xff\x40\2\0\1", 8, 0);
	assert_int_equal(w.c->base, 65536);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_says_hello_by_the_plan),
	    cmocka_unit_test(a_refusal_is_counted_by_its_kind),
	    cmocka_unit_test(a_publish_has_topic_identifier_and_identity),
	    cmocka_unit_test(acknowledgements_in_any_order_free_the_window_in_order),
	    cmocka_unit_test(a_second_acknowledgement_counts_for_nothing),
	    cmocka_unit_test(what_was_not_acknowledged_is_sent_again_with_dup),
	    cmocka_unit_test(qos_2_is_released_and_goes_on_with_the_release_after_a_break),
	    cmocka_unit_test(what_does_not_belong_to_a_publisher_ends_the_connection),
	    cmocka_unit_test(identifiers_go_round_without_zero),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
