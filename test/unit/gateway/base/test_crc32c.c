#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/crc32c.h"
#include "test/unit/guard.h"

/* The definition, bit by bit. */
static uint32_t by_bits(uint32_t crc, const uint8_t *p, size_t len)
{
	crc = ~crc;
	for (; len > 0; len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static void fill(uint8_t *p, size_t len)
{
	uint32_t state = 12345;
	for (size_t i = 0; i < len; i++) {
		state = state * 1664525 + 1013904223;
		p[i] = (uint8_t)(state >> 24);
	}
}

static void check_both(const void *data, size_t len, uint32_t expected)
{
	assert_int_equal(crc32c(0, data, len), expected);
	assert_int_equal(crc32c_portable(0, data, len), expected);
}

/* RFC 3720 appendix B.4 prints the bytes of the result in the order they are sent; these are the same as numbers. */
static void vectors_of_rfc_3720_come_out(void **unused)
{
	(void)unused;
	uint8_t data[32];
	memset(data, 0, sizeof(data));
	check_both(data, sizeof(data), 0x8a9136aa);
	memset(data, 0xff, sizeof(data));
	check_both(data, sizeof(data), 0x62a8ab43);
	for (uint8_t i = 0; i < 32; i++)
		data[i] = i;
	check_both(data, sizeof(data), 0x46dd794e);
	for (uint8_t i = 0; i < 32; i++)
		data[i] = (uint8_t)(31 - i);
	check_both(data, sizeof(data), 0x113fdb5c);
	check_both("123456789", 9, 0xe3069283);
	check_both("", 0, 0);
}

static void every_length_agrees_with_the_definition(void **unused)
{
	(void)unused;
	static uint8_t data[2400]; /* three times the bytes that are summed in lanes, and more */
	fill(data, sizeof(data));
	for (size_t len = 0; len <= sizeof(data); len++) {
		const char *p = guard_copy(data, len);
		uint32_t expected = by_bits(7, data, len);
		assert_int_equal(crc32c(7, p, len), expected);
		assert_int_equal(crc32c_portable(7, p, len), expected);
	}
}

static void every_alignment_agrees_with_the_definition(void **unused)
{
	(void)unused;
	static uint8_t data[2100];
	fill(data, sizeof(data));
	for (size_t from = 0; from < 64; from++)
		check_both(data + from, 2000, by_bits(0, data + from, 2000));
}

static void sum_continues_over_any_cut(void **unused)
{
	(void)unused;
	static uint8_t data[2000];
	fill(data, sizeof(data));
	uint32_t whole = by_bits(0, data, sizeof(data));
	for (size_t cut = 0; cut <= sizeof(data); cut++) {
		assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut), whole);
		assert_int_equal(crc32c_portable(crc32c(0, data, cut), data + cut, sizeof(data) - cut), whole);
	}
}

static void sums_of_two_parts_join(void **unused)
{
	(void)unused;
	static uint8_t data[5000];
	fill(data, sizeof(data));
	uint32_t whole = by_bits(0, data, sizeof(data));
	for (size_t cut = 0; cut <= sizeof(data); cut++) {
		uint32_t a = crc32c(0, data, cut), b = crc32c(0, data + cut, sizeof(data) - cut);
		assert_int_equal(crc32c_join(a, b, sizeof(data) - cut), whole);
	}
}

static void one_flipped_bit_changes_the_sum(void **unused)
{
	(void)unused;
	static uint8_t data[1024];
	fill(data, sizeof(data));
	uint32_t whole = crc32c(0, data, sizeof(data));
	for (size_t bit = 0; bit < sizeof(data) * 8; bit++) {
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(crc32c(0, data, sizeof(data)), whole);
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vectors_of_rfc_3720_come_out),
	    cmocka_unit_test(every_length_agrees_with_the_definition),
	    cmocka_unit_test(every_alignment_agrees_with_the_definition),
	    cmocka_unit_test(sum_continues_over_any_cut),
	    cmocka_unit_test(sums_of_two_parts_join),
	    cmocka_unit_test(one_flipped_bit_changes_the_sum),
	};
	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
