#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "protocols/coap/coap_exchange.h"

static struct coap_exchanges t;

static int setup(void **unused)
{
	(void)unused;
	return coap_exchanges_init(&t, 64, 1000) == GW_OK ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	coap_exchanges_fini(&t);
	return 0;
}

static struct udp_route peer(unsigned n)
{
	struct udp_route r = {.port = (uint16_t)(1000 + n)};
	r.peer.s6_addr[15] = (uint8_t)(n >> 16);
	return r;
}

static struct coap_message message(enum coap_type type, uint16_t id, const char *token)
{
	return (struct coap_message){
	    .type = (uint8_t)type, .id = id, .token = (const uint8_t *)token, .token_len = (uint8_t)strlen(token)};
}

static struct exchange_key key_of(const struct udp_route *r, const struct coap_message *m, uint64_t digest)
{
	uint8_t header[4] = {0x40, 2, (uint8_t)(m->id >> 8), (uint8_t)m->id};
	struct exchange_key key = coap_exchange_key(&t, r, header, sizeof(header));
	key.digest = digest;
	coap_exchange_prefetch(&t, &key, 1);
	return key;
}

static struct coap_exchange *add(int64_t now, unsigned who, enum coap_type type, uint16_t id, const char *token,
                                 uint64_t digest)
{
	struct udp_route r = peer(who);
	struct coap_message m = message(type, id, token);
	struct exchange_key key = key_of(&r, &m, digest);
	return coap_exchange_add(&t, now, &r, &m, &key, 100);
}

static struct coap_exchange *find(int64_t now, unsigned who, uint16_t id, const char *token, uint64_t digest)
{
	struct udp_route r = peer(who);
	struct coap_message m = message(COAP_CON, id, token);
	struct exchange_key key = key_of(&r, &m, digest);
	return coap_exchange_find(&t, now, &r, &m, &key);
}

static void only_the_very_same_request_is_a_retransmission(void **unused)
{
	(void)unused;
	struct coap_exchange *x = add(0, 1, COAP_CON, 7, "tok", 99);
	assert_ptr_equal(find(0, 1, 7, "tok", 99), x);
	assert_null(find(0, 2, 7, "tok", 99));
	assert_null(find(0, 1, 8, "tok", 99));
	assert_null(find(0, 1, 7, "tox", 99));
	assert_null(find(0, 1, 7, "to", 99));
	assert_null(find(0, 1, 7, "tok", 98));
}

static void digests_differ_with_every_bit(void **unused)
{
	(void)unused;
	uint8_t text[20] = "a reading of 21.4";
	struct udp_route r = peer(1);
	struct exchange_key before = coap_exchange_key(&t, &r, text, sizeof(text));
	assert_true(coap_exchange_key(&t, &r, text, sizeof(text)).digest == before.digest);
	text[19] ^= 1;
	struct exchange_key after = coap_exchange_key(&t, &r, text, sizeof(text));
	assert_true(after.digest != before.digest);
	assert_true(after.hash == before.hash);
}

static void an_answered_exchange_is_remembered_for_its_lifetime(void **unused)
{
	(void)unused;
	struct coap_exchange *x = add(0, 1, COAP_CON, 7, "", 1);
	assert_non_null(find(100000, 1, 7, "", 1)); /* one that waits has no age */
	coap_exchange_done(&t, x, 100000);
	assert_non_null(find(100999, 1, 7, "", 1));
	assert_null(find(101000, 1, 7, "", 1));
}

static void expired_exchanges_make_room_before_the_table_grows(void **unused)
{
	(void)unused;
	for (uint16_t i = 0; i < 1000; i++)
		coap_exchange_done(&t, add(i * 500, i, COAP_CON, i, "", i), i * 500);
	assert_true(t.fresh <= 4);
	assert_true(t.count <= 4);
	assert_int_equal(t.forgotten, 0);
}

static void the_one_answered_first_goes_when_there_is_no_room(void **unused)
{
	(void)unused;
	struct coap_exchange *x[64];
	for (unsigned i = 0; i < 64; i++)
		x[i] = add(0, i, COAP_CON, 1, "", 1);
	coap_exchange_done(&t, x[5], 1);
	coap_exchange_done(&t, x[3], 2);
	assert_non_null(add(3, 100, COAP_CON, 1, "", 1));
	assert_null(find(3, 5, 1, "", 1));
	assert_non_null(find(3, 3, 1, "", 1));
	assert_non_null(add(3, 101, COAP_CON, 1, "", 1));
	assert_null(find(3, 3, 1, "", 1));
	assert_int_equal(t.forgotten, 2);
}

static void what_waits_is_never_given_up(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 64; i++)
		assert_non_null(add(0, i, i & 1 ? COAP_CON : COAP_NON, 1, "", 1));
	assert_null(add(100000, 64, COAP_CON, 1, "", 1));
	for (unsigned i = 0; i < 64; i++)
		assert_non_null(find(0, i, 1, "", 1));
	coap_exchange_drop(&t, find(0, 10, 1, "", 1));
	assert_non_null(add(100000, 64, COAP_CON, 1, "", 1));
	assert_null(find(0, 10, 1, "", 1));
}

static void unsettled_ones_come_out_oldest_first_and_non_is_not_among_them(void **unused)
{
	(void)unused;
	assert_null(coap_exchange_oldest(&t));
	add(0, 1, COAP_NON, 1, "", 1);
	assert_null(coap_exchange_oldest(&t));
	struct coap_exchange *a = add(1, 2, COAP_CON, 1, "", 1), *b = add(2, 3, COAP_CON, 1, "", 1),
	                     *c = add(3, 4, COAP_CON, 1, "", 1);
	assert_ptr_equal(coap_exchange_oldest(&t), a);
	coap_exchange_done(&t, b, 4);
	coap_exchange_acked(&t, a);
	assert_true(a->separated);
	assert_ptr_equal(coap_exchange_oldest(&t), c);
	coap_exchange_drop(&t, c);
	assert_null(coap_exchange_oldest(&t));
}

static void separate_responses_are_due_in_time(void **unused)
{
	(void)unused;
	struct coap_exchange *a = add(0, 1, COAP_CON, 1, "", 1), *b = add(0, 2, COAP_CON, 1, "", 1);
	coap_exchange_acked(&t, a);
	coap_exchange_acked(&t, b);
	coap_exchange_separate(&t, a, 10000, 2000);
	coap_exchange_separate(&t, b, 10000, 24000);
	assert_null(coap_exchange_due(&t, 11999));
	assert_ptr_equal(coap_exchange_due(&t, 12000 + EXCHANGE_SLOT_MS), a);
	coap_exchange_separate(&t, a, 12100, 4000);
	assert_null(coap_exchange_due(&t, 16000));
	assert_ptr_equal(coap_exchange_due(&t, 16100 + EXCHANGE_SLOT_MS), a);
	coap_exchange_done(&t, a, 16200);
	assert_null(coap_exchange_due(&t, 33900));
	assert_ptr_equal(coap_exchange_due(&t, 34000 + EXCHANGE_SLOT_MS), b);
	coap_exchange_drop(&t, b);
	assert_null(coap_exchange_due(&t, 100000));
	assert_int_equal(t.separate, 0);
}

static void a_long_sleep_makes_all_of_them_due(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 64; i++) {
		struct coap_exchange *x = add(0, i, COAP_CON, 1, "", 1);
		coap_exchange_acked(&t, x);
		coap_exchange_separate(&t, x, 0, 100 + i * 400);
	}
	struct coap_exchange *x;
	int due = 0;
	while ((x = coap_exchange_due(&t, 10000000))) {
		coap_exchange_done(&t, x, 10000000);
		due++;
	}
	assert_int_equal(due, 64);
}

static void a_separate_response_is_found_by_peer_and_message_id(void **unused)
{
	(void)unused;
	struct coap_exchange *x = add(0, 1, COAP_CON, 7, "token", 1);
	struct udp_route here = peer(1), elsewhere = peer(2);
	assert_null(coap_exchange_response(&t, &here, 7));
	coap_exchange_acked(&t, x);
	coap_exchange_separate(&t, x, 0, 2000);
	assert_null(coap_exchange_response(&t, &elsewhere, 7));
	assert_null(coap_exchange_response(&t, &here, 8));
	assert_ptr_equal(coap_exchange_response(&t, &here, 7), x);
	coap_exchange_done(&t, x, 0);
	assert_null(coap_exchange_response(&t, &here, 7));
}

/* A million endpoints, each with one request: the table neither grows nor loses its way. */
static void a_flood_of_endpoints_is_borne(void **unused)
{
	(void)unused;
	uint64_t live = 0;
	for (unsigned i = 0; i < 1000000; i++) {
		struct coap_exchange *x = add(i / 1000, i, i % 3 ? COAP_CON : COAP_NON, (uint16_t)(i * 7), "", i);
		assert_non_null(x);
		coap_exchange_done(&t, x, i / 1000);
	}
	for (unsigned i = 1000000 - 64; i < 1000000; i++)
		live += find(1000, i, (uint16_t)(i * 7), "", i) != NULL;
	assert_int_equal(live, 64);
	assert_int_equal(t.count, 64);
	assert_int_equal(t.fresh, 64);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(only_the_very_same_request_is_a_retransmission),
	    TEST(digests_differ_with_every_bit),
	    TEST(an_answered_exchange_is_remembered_for_its_lifetime),
	    TEST(expired_exchanges_make_room_before_the_table_grows),
	    TEST(the_one_answered_first_goes_when_there_is_no_room),
	    TEST(what_waits_is_never_given_up),
	    TEST(unsettled_ones_come_out_oldest_first_and_non_is_not_among_them),
	    TEST(separate_responses_are_due_in_time),
	    TEST(a_long_sleep_makes_all_of_them_due),
	    TEST(a_separate_response_is_found_by_peer_and_message_id),
	    TEST(a_flood_of_endpoints_is_borne),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
