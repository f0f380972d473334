#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "protocols/coap/coap_block.h"

static struct coap_blocks t;
static uint8_t body[100000];

static int setup(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 31 + i / 251);
	struct coap_block_limits limits = {.max_body = 16384, .memory = 65536, .per_peer = 4, .timeout_ms = 60000};
	return coap_blocks_init(&t, &limits) == GW_OK ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	coap_blocks_fini(&t);
	return 0;
}

static struct udp_route peer(unsigned n)
{
	struct udp_route r = {.port = (uint16_t)(1000 + n)};
	r.peer.s6_addr[15] = (uint8_t)(n >> 16);
	return r;
}

/* What one block is; the defaults are those of a transfer to /t/dev. */
struct block {
	unsigned peer;
	const char *path, *tag;
	unsigned number, exponent;
	bool more;
	size_t len;           /* of the payload; 0: a whole block */
	const uint8_t *bytes; /* NULL: out of body */
	uint32_t size1;
	int32_t format;
	uint8_t code;
};

static struct coap_block *transfer;
static size_t body_len;

static enum block_take take(int64_t now, struct block b)
{
	struct coap_message m = {
	    .code = b.code ? b.code : COAP_PUT, .format = b.format, .has_block1 = true, .path_count = 2};
	m.block1 = (struct coap_block_option){.number = b.number, .more = b.more, .exponent = (uint8_t)b.exponent};
	m.path[0] = (struct coap_segment){"t", 1};
	m.path[1] = (struct coap_segment){b.path ? b.path : "dev", strlen(b.path ? b.path : "dev")};
	size_t size = (size_t)16 << b.exponent;
	m.payload = b.bytes ? b.bytes : body + b.number * size;
	m.payload_len = b.len ? b.len : size;
	m.has_size1 = b.size1 != 0;
	m.size1 = b.size1;
	m.tag_len = (uint8_t)(b.tag ? strlen(b.tag) : 0);
	memcpy(m.tag, b.tag ? b.tag : "", m.tag_len);
	struct udp_route r = peer(b.peer);
	transfer = NULL;
	return coap_block_take(&t, now, &r, &m, &transfer, &body_len);
}
#define TAKE(now, ...) take((now), (struct block){__VA_ARGS__})

static void assert_body(size_t len)
{
	assert_non_null(transfer);
	assert_int_equal(body_len, len);
	assert_memory_equal(transfer->bytes, body, len);
	coap_block_end(&t, transfer);
}

static void blocks_in_order_make_the_body(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 15; i++)
		assert_int_equal(TAKE(0, .number = i, .more = true, .exponent = 6), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 15, .exponent = 6, .len = 100), BLOCK_COMPLETE);
	assert_body(15 * 1024 + 100);
	assert_int_equal(t.count, 0);
	assert_int_equal(t.used, 0);
}

static void blocks_may_become_smaller_on_the_way(void **unused)
{
	(void)unused;
	assert_int_equal(TAKE(0, .number = 0, .more = true, .exponent = 3), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 4, .more = true, .exponent = 1), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 5, .exponent = 1, .len = 1), BLOCK_COMPLETE);
	assert_body(161);
}

static void a_gap_is_incomplete(void **unused)
{
	(void)unused;
	assert_int_equal(TAKE(0, .number = 1, .more = true), BLOCK_MISSING);
	assert_int_equal(TAKE(0, .number = 0, .more = true), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 2, .more = true), BLOCK_MISSING);
	assert_int_equal(TAKE(0, .number = 2), BLOCK_MISSING);
	assert_int_equal(TAKE(0, .number = 1), BLOCK_COMPLETE);
	assert_body(32);
}

static void a_block_that_comes_twice_is_welcome_if_it_is_the_same(void **unused)
{
	(void)unused;
	TAKE(0, .number = 0, .more = true);
	TAKE(0, .number = 1, .more = true);
	assert_int_equal(TAKE(0, .number = 1, .more = true), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 1, .more = true, .bytes = (const uint8_t *)"0123456789abcdef"),
	                 BLOCK_MISSING);
	assert_int_equal(TAKE(0, .number = 2), BLOCK_COMPLETE);
	assert_body(48);
}

static void a_first_block_begins_anew(void **unused)
{
	(void)unused;
	TAKE(0, .number = 0, .more = true, .bytes = (const uint8_t *)"0123456789abcdef");
	TAKE(0, .number = 1, .more = true);
	assert_int_equal(TAKE(0, .number = 0, .more = true), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 2), BLOCK_MISSING);
	assert_int_equal(TAKE(0, .number = 1), BLOCK_COMPLETE);
	assert_body(32);
	assert_int_equal(t.count, 0);
}

static void transfers_are_kept_apart(void **unused)
{
	(void)unused;
	static const uint8_t other[17] = "0123456789abcdef";
	assert_int_equal(TAKE(0, .number = 0, .more = true), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 0, .more = true, .peer = 1, .bytes = other), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 0, .more = true, .path = "other", .bytes = other), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 0, .more = true, .tag = "\1a", .bytes = other), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 0, .more = true, .code = COAP_POST, .bytes = other), BLOCK_CONTINUE);
	assert_int_equal(t.count, 5);
	assert_int_equal(TAKE(0, .number = 1, .format = 50), BLOCK_MISSING);
	assert_int_equal(TAKE(0, .number = 1), BLOCK_COMPLETE);
	assert_body(32);
}

/* "a" + "bc" is not "ab" + "c". */
static void paths_with_the_same_letters_differ(void **unused)
{
	(void)unused;
	struct coap_message m = {.code = COAP_PUT,
	                         .has_block1 = true,
	                         .block1 = {.more = true},
	                         .path_count = 2,
	                         .payload = body,
	                         .payload_len = 16};
	struct udp_route r = peer(0);
	m.path[0] = (struct coap_segment){"a", 1};
	m.path[1] = (struct coap_segment){"bc", 2};
	assert_int_equal(coap_block_take(&t, 0, &r, &m, &transfer, &body_len), BLOCK_CONTINUE);
	m.path[0] = (struct coap_segment){"ab", 2};
	m.path[1] = (struct coap_segment){"c", 1};
	m.block1.number = 1;
	assert_int_equal(coap_block_take(&t, 0, &r, &m, &transfer, &body_len), BLOCK_MISSING);
}

static void wrong_lengths_are_refused(void **unused)
{
	(void)unused;
	assert_int_equal(TAKE(0, .number = 0, .more = true, .len = 15), BLOCK_WRONG);
	assert_int_equal(TAKE(0, .number = 0, .more = true, .len = 17), BLOCK_WRONG);
	assert_int_equal(TAKE(0, .number = 0, .len = 17), BLOCK_WRONG);
	assert_int_equal(t.count, 0);
}

static void bodies_over_the_limit_are_refused_as_soon_as_it_shows(void **unused)
{
	(void)unused;
	assert_int_equal(TAKE(0, .number = 0, .more = true, .size1 = 16385), BLOCK_TOO_LARGE);
	assert_int_equal(TAKE(0, .number = 0, .more = true, .size1 = 16384, .exponent = 6), BLOCK_CONTINUE);
	for (unsigned i = 1; i < 16; i++)
		assert_int_equal(TAKE(0, .number = i, .more = true, .exponent = 6), BLOCK_CONTINUE);
	assert_int_equal(TAKE(0, .number = 16, .exponent = 6, .len = 1), BLOCK_TOO_LARGE);
	assert_int_equal(t.count, 0);
	assert_int_equal(TAKE(0, .number = (1 << 20) - 1, .more = true, .exponent = 6, .bytes = body), BLOCK_TOO_LARGE);
}

static void one_endpoint_has_few_transfers(void **unused)
{
	(void)unused;
	char path[24];
	for (int i = 0; i < 10; i++) {
		snprintf(path, sizeof(path), "dev%d", i);
		assert_int_equal(TAKE(1000 * i, .path = path, .number = 0, .more = true),
		                 i == 4 || i == 9 ? BLOCK_NO_ROOM
		                                  : BLOCK_CONTINUE); /* room again once the oldest has rested for 5 s */
	}
	assert_int_equal(t.count, 4);
	assert_int_equal(TAKE(9000, .peer = 1, .path = "dev0", .number = 0, .more = true), BLOCK_CONTINUE);
}

static void unfinished_bodies_stay_within_the_memory_and_expire(void **unused)
{
	(void)unused;
	unsigned taken = 0;
	for (unsigned i = 0; i < 20000; i++) {
		taken += TAKE(0, .peer = i, .number = 0, .more = true, .exponent = i % 7) == BLOCK_CONTINUE;
		assert_true(t.used <= 65536);
	}
	assert_in_range(taken, 30, 65);
	assert_int_equal(taken, t.count);
	assert_int_equal(coap_blocks_expire(&t, 59999), 0);
	assert_int_equal(coap_blocks_expire(&t, 60000), taken);
	assert_int_equal(t.used, 0);
}

static void those_that_rest_make_room_and_those_that_live_do_not(void **unused)
{
	(void)unused;
	assert_int_equal(TAKE(0, .number = 0, .more = true), BLOCK_CONTINUE);
	unsigned i = 1;
	while (TAKE(0, .peer = i, .number = 0, .more = true) == BLOCK_CONTINUE)
		i++;
	assert_int_equal(TAKE(4000, .number = 1, .more = true), BLOCK_CONTINUE);
	assert_int_equal(TAKE(4999, .peer = 1000, .number = 0, .more = true), BLOCK_NO_ROOM);
	assert_int_equal(TAKE(5000, .peer = 1001, .number = 0, .more = true), BLOCK_CONTINUE);
	assert_int_equal(TAKE(5000, .peer = 1, .number = 1, .more = true), BLOCK_MISSING);
	assert_int_equal(TAKE(5000, .number = 2), BLOCK_COMPLETE);
	assert_body(48);
}

/* A Size1 of a forged start reserves nothing. */
static void memory_follows_what_came(void **unused)
{
	(void)unused;
	TAKE(0, .number = 0, .more = true, .size1 = 16000);
	assert_in_range(t.used, 1, 2048);
}

static void a_complete_body_that_found_no_room_can_come_again(void **unused)
{
	(void)unused;
	TAKE(0, .number = 0, .more = true);
	assert_int_equal(TAKE(0, .number = 1, .len = 5), BLOCK_COMPLETE);
	assert_int_equal(TAKE(2500, .number = 1, .len = 5), BLOCK_COMPLETE);
	assert_body(21);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(blocks_in_order_make_the_body),
	    TEST(blocks_may_become_smaller_on_the_way),
	    TEST(a_gap_is_incomplete),
	    TEST(a_block_that_comes_twice_is_welcome_if_it_is_the_same),
	    TEST(a_first_block_begins_anew),
	    TEST(transfers_are_kept_apart),
	    TEST(paths_with_the_same_letters_differ),
	    TEST(wrong_lengths_are_refused),
	    TEST(bodies_over_the_limit_are_refused_as_soon_as_it_shows),
	    TEST(one_endpoint_has_few_transfers),
	    TEST(unfinished_bodies_stay_within_the_memory_and_expire),
	    TEST(those_that_rest_make_room_and_those_that_live_do_not),
	    TEST(memory_follows_what_came),
	    TEST(a_complete_body_that_found_no_room_can_come_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
