/* Counted blocks: copies are whole, and the last holder frees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/journal/block.h"
#include "gateway/journal/segment.h"

static void a_block_is_aligned_for_direct_io_and_empty(void **unused)
{
	(void)unused;
	for (size_t room = 4096; room <= 4 << 20; room *= 2)
		for (int again = 0; again < 3; again++) {
			struct block *b = block_new(room);
			assert_non_null(b);
			assert_int_equal((uintptr_t)b->bytes % 4096, 0);
			assert_true(b->room >= room);
			assert_int_equal(b->count, 0);
			assert_int_equal(b->body, 0);
			memset(b->bytes, 0xa5, b->room);
			block_unref(b);
		}
	block_unref(NULL);
}

static void a_copy_has_everything_and_stands_alone(void **unused)
{
	(void)unused;
	for (uint32_t body = 32; body < 600000; body = body * 3 + 8) {
		struct block *b = block_new(segment_block_size(body));
		b->first = 10;
		b->count = 3;
		b->body = body;
		b->time_us = 99;
		memset(b->bytes, (int)(body % 251), BLOCK_HEADER + (size_t)body);
		struct block *copy = block_copy(b, b->bytes);
		memset(b->bytes, 0, BLOCK_HEADER + (size_t)body);
		block_unref(b);
		assert_int_equal(copy->first, 10);
		assert_int_equal(block_last(copy), 12);
		assert_int_equal(copy->body, body);
		assert_int_equal(copy->time_us, 99);
		assert_ptr_equal(block_entries(copy), copy->bytes + BLOCK_HEADER);
		for (size_t i = 0; i < BLOCK_HEADER + (size_t)body; i++)
			assert_int_equal(copy->bytes[i], body % 251);
		block_unref(copy);
	}
}

static void a_block_lives_as_long_as_somebody_holds_it(void **unused)
{
	(void)unused;
	struct block *b = block_new(8192);
	block_ref(b);
	block_ref(b);
	block_unref(b);
	memset(b->bytes, 1, 8192);
	block_unref(b);
	memset(b->bytes, 2, 8192);
	block_unref(b);
}

static void *hold_and_release(void *arg)
{
	struct block *b = arg;
	unsigned sum = 0;
	for (int i = 0; i < 2000; i++) {
		block_ref(b);
		sum += b->bytes[i % 4096];
		block_unref(b);
		struct block *own = block_new((size_t)(128 + i % 3 * 128) << 10); /* those that are used again */
		own->bytes[0] = own->bytes[own->room - 1] = (uint8_t)i;
		struct block *other = block_new(256 << 10);
		other->bytes[0] = 1;
		sum += own->bytes[0] != (uint8_t)i;
		block_unref(own);
		block_unref(other);
	}
	block_unref(b);
	return (void *)(uintptr_t)sum;
}

static void threads_may_share_and_make_blocks(void **unused)
{
	(void)unused;
	pthread_t threads[3];
	struct block *b = block_new(4096);
	memset(b->bytes, 0, 4096);
	for (int i = 0; i < 3; i++) {
		block_ref(b);
		assert_int_equal(pthread_create(&threads[i], NULL, hold_and_release, b), 0);
	}
	block_unref(b);
	for (int i = 0; i < 3; i++) {
		void *sum;
		pthread_join(threads[i], &sum);
		assert_null(sum);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_block_is_aligned_for_direct_io_and_empty),
	    cmocka_unit_test(a_copy_has_everything_and_stands_alone),
	    cmocka_unit_test(a_block_lives_as_long_as_somebody_holds_it),
	    cmocka_unit_test(threads_may_share_and_make_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
