/* The bytes of segments and blocks: the format does not change by accident, and no damaged block counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "gateway/journal/record.h"
#include "gateway/journal/segment.h"
#include "test/unit/guard.h"

static const struct segment_header segment = {
    .version = 1, .generation = UINT64_C(0x1122334455667788), .first = 1000, .size = 16 << 20, .time_us = 77};

static void a_segment_header_is_read_as_written(void **unused)
{
	(void)unused;
	uint8_t bytes[SEGMENT_HEADER];
	struct segment_header h;
	segment_header_write(&segment, bytes);
	static const uint8_t begin[] = {'S', 'L', 'U', 'I', 'C', 'E', 'J', '1'};
	static const uint8_t rest[] = {1, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xe8, 3, 0, 0, 0, 0,
	                               0, 0, 0, 0, 0,    1,    0,    0,    0,    0,    77,   0,    0,    0, 0, 0, 0, 0};
	assert_memory_equal(bytes, begin, sizeof(begin));
	assert_memory_equal(bytes + 12, rest, sizeof(rest));
	assert_int_equal(segment_header_read(&h, bytes), 1);
	assert_int_equal(h.version, 1);
	assert_true(h.generation == segment.generation);
	assert_int_equal(h.first, 1000);
	assert_int_equal(h.size, 16 << 20);
	assert_int_equal(h.time_us, 77);
}

static void no_flipped_bit_of_a_segment_header_passes(void **unused)
{
	(void)unused;
	uint8_t bytes[SEGMENT_HEADER];
	struct segment_header h;
	segment_header_write(&segment, bytes);
	for (size_t at = 0; at < SEGMENT_HEADER; at += at < 64 ? 1 : 37)
		for (int bit = 0; bit < 8; bit++) {
			bytes[at] ^= (uint8_t)(1 << bit);
			assert_int_equal(segment_header_read(&h, bytes), 0);
			bytes[at] ^= (uint8_t)(1 << bit);
		}
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(segment_header_read(&h, bytes), 0);
}

static void a_newer_version_is_told_from_damage(void **unused)
{
	(void)unused;
	uint8_t bytes[SEGMENT_HEADER];
	struct segment_header h = segment;
	h.version = SEGMENT_VERSION + 1;
	segment_header_write(&h, bytes);
	memset(&h, 0, sizeof(h));
	assert_int_equal(segment_header_read(&h, bytes), -1);
	assert_int_equal(h.version, SEGMENT_VERSION + 1);
}

/* A block of `count` entries; returns its header. */
static struct block_header block_make(uint8_t *block, uint32_t count, size_t json)
{
	size_t at = BLOCK_HEADER;
	for (uint32_t i = 0; i < count; i++) {
		struct record r = {.kind = RECORD_TELEMETRY, .json_len = (uint32_t)json};
		memset(block + at + RECORD_HEADER, 'a' + (int)(i % 26), json);
		record_write(&r, block + at);
		at += r.size;
	}
	struct block_header h = {
	    .generation = 42, .first = 7, .time_us = 99, .body = (uint32_t)(at - BLOCK_HEADER), .count = count};
	segment_block_write(&h, block);
	return h;
}

static void a_block_is_read_as_written(void **unused)
{
	(void)unused;
	static _Alignas(8) uint8_t block[65536];
	for (uint32_t count = 1; count < 100; count += 7) {
		memset(block, 0xee, sizeof(block));
		struct block_header h = block_make(block, count, 100), in;
		size_t size = segment_block_size(h.body);
		assert_int_equal(size % BLOCK_ALIGN, 0);
		for (size_t i = BLOCK_HEADER + h.body; i < size; i++)
			assert_int_equal(block[i], 0); /* nothing of other memory reaches the disk */
		assert_true(segment_block_read(&in, (uint8_t *)guard_copy(block, size), 42, size));
		assert_int_equal(in.first, 7);
		assert_int_equal(in.count, count);
		assert_int_equal(in.body, h.body);
		assert_int_equal(in.time_us, 99);
		assert_true(segment_block_check(&in, (uint8_t *)guard_copy(block, size)));
		assert_false(segment_block_read(&in, block, 41, size));               /* an older use of the segment */
		assert_false(segment_block_read(&in, block, 42, size - BLOCK_ALIGN)); /* over the end of the segment */
	}
}

static void sizes_are_rounded_to_pages(void **unused)
{
	(void)unused;
	assert_int_equal(segment_block_size(32), 4096);
	assert_int_equal(segment_block_size(4096 - BLOCK_HEADER), 4096);
	assert_int_equal(segment_block_size(4096 - BLOCK_HEADER + 8), 8192);
	assert_int_equal(segment_block_size(UINT32_MAX), (size_t)UINT32_MAX + 1 + 4096);
}

static void no_flipped_bit_of_a_block_passes(void **unused)
{
	(void)unused;
	static _Alignas(8) uint8_t block[8192];
	struct block_header h = block_make(block, 20, 100), in;
	size_t size = segment_block_size(h.body);
	for (size_t at = 0; at < BLOCK_HEADER + h.body; at++)
		for (int bit = 0; bit < 8; bit++) {
			block[at] ^= (uint8_t)(1 << bit);
			assert_false(segment_block_read(&in, block, 42, size) && segment_block_check(&in, block));
			block[at] ^= (uint8_t)(1 << bit);
		}
	assert_true(segment_block_read(&in, block, 42, size) && segment_block_check(&in, block));
}

/* A right checksum over wrong entries: a bug of a writer, never to be followed. */
static void entries_must_fill_the_body_exactly(void **unused)
{
	(void)unused;
	static _Alignas(8) uint8_t block[8192];
	struct block_header h = block_make(block, 5, 100), in;
	for (uint32_t count = 0; count < 12; count++) {
		h.count = count;
		segment_block_write(&h, block);
		assert_int_equal(segment_block_read(&in, block, 42, 8192) && segment_block_check(&in, block),
		                 count == 5);
	}
	block[BLOCK_HEADER] ^= 8; /* the size of the first entry */
	h.count = 5;
	segment_block_write(&h, block);
	assert_false(segment_block_read(&in, block, 42, 8192) && segment_block_check(&in, block));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_segment_header_is_read_as_written),
	    cmocka_unit_test(no_flipped_bit_of_a_segment_header_passes),
	    cmocka_unit_test(a_newer_version_is_told_from_damage),
	    cmocka_unit_test(a_block_is_read_as_written),
	    cmocka_unit_test(sizes_are_rounded_to_pages),
	    cmocka_unit_test(no_flipped_bit_of_a_block_passes),
	    cmocka_unit_test(entries_must_fill_the_body_exactly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
