#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/scan.h"
#include "test/unit/guard.h"

static void compare_scans(const uint8_t *p, const uint8_t *end, enum scan_set set)
{
	const uint8_t *expected = scan_bytes(p, end, set);
	assert_ptr_equal(scan_swar(p, end, set), expected);
#ifdef __SSE2__
	assert_ptr_equal(scan_sse2(p, end, set), expected);
#endif
}

static void compare_all_scans(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)guard_copy(text, len), *end = p + len;
	compare_scans(p, end, SCAN_HIGH);
	compare_scans(p, end, SCAN_ESCAPE);
	compare_scans(p, end, SCAN_SPECIAL);
	compare_scans(p, end, SCAN_NEST);
}

static void wide_scans_agree_with_the_bytewise_one(void **unused)
{
	(void)unused;
	char text[40];
	for (int filler = 0x20; filler < 256; filler += 0x1f) {
		for (size_t at = 0; at < sizeof(text); at++) {
			for (int b = 0; b < 256; b++) {
				memset(text, filler, sizeof(text));
				text[at] = (char)b;
				compare_all_scans(text, sizeof(text));
			}
		}
	}
	for (size_t len = 0; len <= sizeof(text); len++) {
		memset(text, 'x', sizeof(text));
		compare_all_scans(text, len);
	}
}

/* Any two neighbours: where a borrow could make a false mark. */
static void wide_scans_agree_on_every_pair_of_bytes(void **unused)
{
	(void)unused;
	for (unsigned pair = 0; pair < 0x10000; pair++) {
		char text[16] = "aaaaaaaaaaaaaaaa";
		text[5] = (char)(pair >> 8);
		text[6] = (char)pair;
		compare_all_scans(text, sizeof(text));
	}
}

/* Every code point, written without a look at the code under test; and the same bits in forms that are too long. */
static void exactly_the_scalar_values_are_utf8(void **unused)
{
	(void)unused;
	for (uint32_t rune = 0x80; rune < 0x200000; rune++) {
		uint8_t b[4] = {(uint8_t)(0xf0 | rune >> 18), (uint8_t)(0x80 | (rune >> 12 & 63)),
		                (uint8_t)(0x80 | (rune >> 6 & 63)), (uint8_t)(0x80 | (rune & 63))};
		assert_int_equal(scan_utf8(b, b + 4), rune >= 0x10000 && rune <= 0x10ffff ? 4 : 0);
		if (rune >= 0x10000)
			continue;
		b[1] = (uint8_t)(0xe0 | rune >> 12);
		assert_int_equal(scan_utf8(b + 1, b + 4), rune >= 0x800 && (rune < 0xd800 || rune > 0xdfff) ? 3 : 0);
		if (rune >= 0x800)
			continue;
		b[2] = (uint8_t)(0xc0 | rune >> 6);
		assert_int_equal(scan_utf8(b + 2, b + 4), 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wide_scans_agree_with_the_bytewise_one),
	    cmocka_unit_test(wide_scans_agree_on_every_pair_of_bytes),
	    cmocka_unit_test(exactly_the_scalar_values_are_utf8),
	};
	return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
