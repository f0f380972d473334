/* Identifiers: the ULID layout, and that none comes twice or goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "gateway/base/record_id.h"

/* Decodes 26 digits into 128 bits, the most significant byte first; false: not a ULID. */
static bool decode(const char text[26], uint8_t out[16])
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	memset(out, 0, 16);
	if (text[0] > '7') /* 130 bits do not fit */
		return false;
	for (int i = 0; i < 26; i++) {
		const char *at = memchr(digits, text[i], 32);
		if (!at)
			return false;
		unsigned carry = (unsigned)(at - digits);
		for (int b = 15; b >= 0; b--) {
			unsigned v = (unsigned)out[b] << 5 | carry;
			out[b] = (uint8_t)v;
			carry = v >> 8;
		}
	}
	return true;
}

static uint64_t bits(const uint8_t *p, int count)
{
	uint64_t v = 0;
	for (int i = 0; i < count; i++)
		v = v << 8 | p[i];
	return v;
}

static void every_part_stands_in_its_bits(void **unused)
{
	(void)unused;
	struct record_id_source id;
	char text[26];
	uint8_t b[16];
	record_id_init(&id, 0xDEADBEEF, 0xA5);
	for (uint64_t i = 0; i < 3; i++) {
		record_id_next(&id, UINT64_C(0x123456789ABC) + i, text);
		assert_true(decode(text, b));
		assert_true(bits(b, 6) == UINT64_C(0x123456789ABC) + i);
		assert_int_equal(bits(b + 6, 4), 0xDEADBEEF);
		assert_int_equal(b[10], 0xA5);
		assert_int_equal(bits(b + 11, 5), i);
	}
	/* the example of the ULID specification: 1469918176385 is 01ARYZ6S41 */
	record_id_init(&id, 0, 0);
	record_id_next(&id, UINT64_C(1469918176385), text);
	assert_memory_equal(text, "01ARYZ6S410000000000000000", 26);
	record_id_init(&id, UINT32_MAX, UINT8_MAX);
	id.counter = (UINT64_C(1) << 40) - 1;
	record_id_next(&id, (UINT64_C(1) << 48) - 1, text);
	assert_memory_equal(text, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 26);
}

static void they_grow_whatever_the_clock_does(void **unused)
{
	(void)unused;
	struct record_id_source id;
	char last[26] = {0}, text[26];
	static const int64_t clock[] = {1000, 1000, 1001, 5, 0, 1001, 900000, 2, 900001, 900001, 900001};
	record_id_init(&id, 1, 2);
	for (size_t round = 0; round < 5000; round++) {
		record_id_next(&id, (uint64_t)clock[round % 11] + round / 11, text);
		assert_true(memcmp(text, last, 26) > 0);
		memcpy(last, text, 26);
	}
}

/* The clock was a year ahead and was put right: the newest millisecond lasts for a year. */
static void they_grow_when_the_counter_comes_round(void **unused)
{
	(void)unused;
	struct record_id_source id;
	char last[26] = {0}, text[26];
	record_id_init(&id, 1, 2);
	record_id_next(&id, 2000, text);
	id.counter = (UINT64_C(1) << 40) - 100;
	for (size_t i = 0; i < 200; i++) {
		record_id_next(&id, 1000 + i, text);
		assert_true(memcmp(text, last, 26) > 0);
		memcpy(last, text, 26);
	}
	assert_true(id.ms == 2001);
}

static void lanes_and_starts_differ(void **unused)
{
	(void)unused;
	struct record_id_source a, b, c;
	char x[26], y[26], z[26];
	record_id_init(&a, 1, 1);
	record_id_init(&b, 1, 2);
	record_id_init(&c, 2, 1);
	record_id_next(&a, 77, x);
	record_id_next(&b, 77, y);
	record_id_next(&c, 77, z);
	assert_memory_not_equal(x, y, 26);
	assert_memory_not_equal(x, z, 26);
	assert_memory_not_equal(y, z, 26);
	uint32_t drawn = record_id_random(), other = record_id_random();
	assert_true(drawn != other || record_id_random() != drawn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_part_stands_in_its_bits),
	    cmocka_unit_test(they_grow_whatever_the_clock_does),
	    cmocka_unit_test(they_grow_when_the_counter_comes_round),
	    cmocka_unit_test(lanes_and_starts_differ),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
