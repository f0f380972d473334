/* Unpacking bodies: what comes out is what went in, and never more than the cap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/http/unpack.h"
#include "test/unit/guard.h"

static struct unpack u;
static const uint8_t *out;
static size_t out_len;

/* Packs into a static buffer; window 31: gzip, 15: zlib, -15: raw. */
static uint8_t packed[1 << 20];
static size_t pack(int window, const void *bytes, size_t len)
{
	z_stream z = {0};
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)bytes;
	z.avail_in = (uInt)len;
	z.next_out = packed;
	z.avail_out = sizeof(packed);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t n = sizeof(packed) - z.avail_out;
	deflateEnd(&z);
	return n;
}

static enum gw_err body(bool gzip, size_t len, size_t max)
{
	return unpack_body(&u, &(struct unpack_input){gzip, guard_copy(packed, len), len}, max, &out, &out_len);
}

static void gzip_and_deflate_come_out_whole(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		size_t n = pack(31, "hello hello", 11);
		assert_int_equal(body(true, n, 100), GW_OK);
		assert_int_equal(out_len, 11);
		assert_memory_equal(out, "hello hello", 11);
		n = pack(15, "world", 5);
		assert_int_equal(body(false, n, 100), GW_OK);
		assert_int_equal(out_len, 5);
		assert_memory_equal(out, "world", 5);
	}
}

static void cap_is_exact(void **state)
{
	(void)state;
	static char zeros[40000];
	size_t n = pack(31, zeros, sizeof(zeros));
	assert_int_equal(body(true, n, sizeof(zeros)), GW_OK);
	assert_int_equal(out_len, sizeof(zeros));
	assert_int_equal(body(true, n, sizeof(zeros) - 1), GW_TOOBIG);
	assert_int_equal(body(true, n, 0), GW_TOOBIG);
	n = pack(31, "", 0);
	assert_int_equal(body(true, n, 0), GW_OK);
	assert_int_equal(out_len, 0);
}

static void bomb_does_not_grow_beyond_the_cap(void **state)
{
	(void)state;
	size_t big = 100 << 20;
	char *zeros = calloc(1, big);
	size_t n = pack(31, zeros, big);
	free(zeros);
	unpack_fini(&u);
	assert_int_equal(body(true, n, 1 << 20), GW_TOOBIG);
	assert_in_range(u.room, 1 << 20, (1 << 20) + 1);
	unpack_trim(&u);
	assert_int_equal(u.room, 0);
}

static void members_in_a_row_are_one_body(void **state)
{
	(void)state;
	size_t a = pack(31, "one", 3);
	uint8_t first[100];
	memcpy(first, packed, a);
	size_t b = pack(31, "two", 3);
	memmove(packed + a, packed, b);
	memcpy(packed, first, a);
	assert_int_equal(body(true, a + b, 100), GW_OK);
	assert_int_equal(out_len, 6);
	assert_memory_equal(out, "onetwo", 6);
	assert_int_equal(body(true, a + b, 5), GW_TOOBIG);
}

static void cut_or_followed_by_garbage_is_invalid(void **state)
{
	(void)state;
	size_t n = pack(31, "hello hello hello", 17);
	for (size_t len = 0; len < n; len++)
		assert_int_equal(body(true, len, 100), GW_INVALID);
	packed[n] = 'x';
	assert_int_equal(body(true, n + 1, 100), GW_INVALID);
	packed[n - 5] ^= 1; /* checksum */
	assert_int_equal(body(true, n, 100), GW_INVALID);
	n = pack(15, "x", 1);
	packed[n] = 'x';
	assert_int_equal(body(false, n + 1, 100), GW_INVALID);
	assert_int_equal(body(true, n, 100), GW_INVALID);
	n = pack(31, "still works", 11);
	assert_int_equal(body(true, n, 100), GW_OK);
}

static void bare_deflate_is_taken_as_well(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		size_t n = pack(-15, "hello hello", 11);
		assert_int_equal(body(false, n, 100), GW_OK);
		assert_int_equal(out_len, 11);
		assert_memory_equal(out, "hello hello", 11);
		assert_int_equal(body(false, n - 1, 100), GW_INVALID);
		assert_int_equal(body(true, n, 100), GW_INVALID);
		n = pack(15, "world", 5);
		assert_int_equal(body(false, n, 100), GW_OK);
		assert_memory_equal(out, "world", 5);
	}
	static char text[5000]; /* of stored blocks, too */
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7919 >> 3);
	for (size_t len = 0; len < sizeof(text); len += 97) {
		size_t n = pack(-15, text, len);
		assert_int_equal(body(false, n, sizeof(text)), GW_OK);
		assert_int_equal(out_len, len);
	}
}

static void zeros_behind_the_end_are_padding(void **state)
{
	(void)state;
	size_t n = pack(31, "hello", 5);
	memset(packed + n, 0, 512);
	assert_int_equal(body(true, n + 1, 100), GW_OK);
	assert_int_equal(body(true, n + 512, 100), GW_OK);
	assert_int_equal(out_len, 5);
	packed[n + 511] = 1;
	assert_int_equal(body(true, n + 512, 100), GW_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gzip_and_deflate_come_out_whole),       cmocka_unit_test(cap_is_exact),
	    cmocka_unit_test(bomb_does_not_grow_beyond_the_cap),     cmocka_unit_test(members_in_a_row_are_one_body),
	    cmocka_unit_test(cut_or_followed_by_garbage_is_invalid), cmocka_unit_test(bare_deflate_is_taken_as_well),
	    cmocka_unit_test(zeros_behind_the_end_are_padding),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unpack_fini(&u);
	return failed;
}
