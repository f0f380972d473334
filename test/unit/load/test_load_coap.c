/* CoAP as the load tester speaks it: RFC 7252. */
#include "test/unit/load/load_world.h"

static void confirmable(struct load_plan *p)
{
	p->window = 2;
}

static void not_confirmable(struct load_plan *p)
{
	p->qos = 0;
}

static void a_request_has_path_format_and_payload(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, NULL, NULL);
	size_t len = world_sent(&w, out);
	assert_int_equal(out[0], 0x44);
	assert_int_equal(out[1], 0x02);
	assert_memory_equal(out + 4,
	                    "\0\0\0\0\xb1t\x0b"
	                    "coap-000000\x03"
	                    "env\x11\x32\xff{\"device\"",
	                    34);
	assert_int_equal(out[len - 1], '}');
	assert_int_equal(world_sent(&w, out), 0); /* NSTART is 1 */
	world_close(&w);
}

static void it_is_retransmitted_to_the_last_byte_with_growing_pauses(void **state)
{
	(void)state;
	struct world w;
	uint8_t first[65536], again[65536];
	world_open(&w, NULL, NULL);
	size_t len = world_sent(&w, first);
	uint64_t wait = 2000000, begin = w.worker.now_us;
	for (int i = 0; i < 4; i++, wait *= 2) {
		w.worker.now_us += wait - 1;
		load_coap.tick(w.c);
		assert_int_equal(world_sent(&w, again), 0);
		w.worker.now_us += wait / 2 + 2;
		load_coap.tick(w.c);
		assert_int_equal(world_sent(&w, again), len);
		assert_memory_equal(again, first, len);
	}
	assert_true(w.worker.now_us - begin <= 45000010); /* MAX_TRANSMIT_SPAN, section 4.8.2 */
	assert_int_equal(w.worker.counts.errors[LOAD_TIMEOUT], 0);
	w.worker.now_us += 100000000;
	load_coap.tick(w.c);
	assert_int_equal(w.worker.counts.errors[LOAD_TIMEOUT], 1);
	assert_int_equal(world_sent(&w, again), len); /* anew: another message id, the same token */
	assert_memory_not_equal(again + 2, first + 2, 2);
	assert_memory_equal(again + 4, first + 4, len - 4);
	world_close(&w);
}

static void a_piggybacked_answer_acknowledges(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, NULL, NULL);
	world_sent(&w, out);
	uint8_t ack[] = {0x64, 0x44, out[2], (uint8_t)(out[3] + 1), 0, 0, 0, 0};
	world_answer(&w, ack, 8, 0); /* of another message id */
	assert_int_equal(w.worker.counts.acknowledged, 0);
	ack[3] = out[3];
	world_answer(&w, ack, 8, 0);
	world_answer(&w, ack, 8, 0);
	assert_int_equal(w.worker.counts.acknowledged, 1);
	assert_true(world_sent(&w, out) > 0);
	assert_memory_equal(out + 4, "\0\0\0\1", 4);
	world_close(&w);
}

static void a_separate_answer_is_awaited_and_acknowledged(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, NULL, NULL);
	world_sent(&w, out);
	world_answer(&w, (uint8_t[]){0x60, 0, out[2], out[3]}, 4, 0);
	w.worker.now_us += 10000000;
	load_coap.tick(w.c);
	assert_int_equal(world_sent(&w, out), 0); /* no retransmission any more */
	world_answer(&w, (uint8_t[]){0x44, 0x44, 0x12, 0x34, 0, 0, 0, 0}, 8, 0);
	assert_int_equal(w.worker.counts.acknowledged, 1);
	assert_int_equal(world_sent(&w, out), 4);
	assert_memory_equal(out, "\x60\0\x12\x34", 4);
	world_close(&w);
}

static void after_5_03_it_waits_for_max_age(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536], again[65536];
	world_open(&w, NULL, NULL);
	size_t len = world_sent(&w, out);
	world_answer(&w, (uint8_t[]){0x64, 0xa3, out[2], out[3], 0, 0, 0, 0, 0xd1, 1, 5}, 11, 0);
	assert_int_equal(w.worker.counts.errors[LOAD_BUSY], 1);
	w.worker.now_us += 4900000;
	load_coap.tick(w.c);
	assert_int_equal(world_sent(&w, again), 0);
	w.worker.now_us += 200000;
	load_coap.tick(w.c);
	assert_int_equal(world_sent(&w, again), len);
	assert_memory_not_equal(again + 2, out + 2, 2);
	world_close(&w);
}

static void refusals_are_told_apart(void **state)
{
	(void)state;
	static const struct {
		uint8_t code;
		enum load_error kind;
	} answers[] = {
	    {0x80, LOAD_REJECTED}, {0x81, LOAD_AUTH}, {0x83, LOAD_AUTH}, {0x8d, LOAD_REJECTED}, {0xa4, LOAD_TIMEOUT}};
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct world w;
		uint8_t out[65536];
		world_open(&w, NULL, confirmable);
		world_sent(&w, out);
		world_answer(&w, (uint8_t[]){0x64, answers[i].code, out[2], out[3], 0, 0, 0, 0}, 8, 0);
		assert_int_equal(w.worker.counts.errors[answers[i].kind], 1);
		assert_int_equal(w.worker.counts.acknowledged, 0);
		world_close(&w);
	}
}

static void a_reset_rejects(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, NULL, NULL);
	world_sent(&w, out);
	world_answer(&w, (uint8_t[]){0x70, 0, out[2], out[3]}, 4, 0);
	assert_int_equal(w.worker.counts.errors[LOAD_REJECTED], 1);
	world_close(&w);
}

static void without_confirmation_silence_is_unconfirmed(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536];
	world_open(&w, NULL, not_confirmable);
	world_sent(&w, out);
	assert_int_equal(out[0], 0x54);
	w.worker.now_us += 2000001;
	load_coap.tick(w.c);
	assert_int_equal(w.worker.counts.unconfirmed, 1);
	assert_int_equal(w.c->base, 1);
	assert_true(world_sent(&w, out) > 0);
	world_close(&w);
}

static void rubbish_is_counted_and_harmless(void **state)
{
	(void)state;
	struct world w;
	uint8_t out[65536], in[64];
	world_open(&w, NULL, NULL);
	world_sent(&w, out);
	srand(1);
	for (int i = 0; i < 20000; i++) {
		size_t len = (size_t)rand() % sizeof(in);
		for (size_t k = 0; k < len; k++)
			in[k] = (uint8_t)rand();
		if (len > 0)
			in[0] = (uint8_t)((in[0] & 0x3f) | 0x40);
		uint8_t *exact = malloc(len + 1);
		memcpy(exact, in, len);
		world_answer(&w, exact, len, 0);
		free(exact);
	}
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_request_has_path_format_and_payload),
	    cmocka_unit_test(it_is_retransmitted_to_the_last_byte_with_growing_pauses),
	    cmocka_unit_test(a_piggybacked_answer_acknowledges),
	    cmocka_unit_test(a_separate_answer_is_awaited_and_acknowledged),
	    cmocka_unit_test(after_5_03_it_waits_for_max_age),
	    cmocka_unit_test(refusals_are_told_apart),
	    cmocka_unit_test(a_reset_rejects),
	    cmocka_unit_test(without_confirmation_silence_is_unconfirmed),
	    cmocka_unit_test(rubbish_is_counted_and_harmless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
