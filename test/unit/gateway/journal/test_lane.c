/* The ring between a listener and the journal: room, pads, positions, and two threads at full speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/journal/lane.h"
#include "gateway/journal/record.h"
#include "test/unit/threads.h"

#define ENTRY(json) ((RECORD_HEADER + (json) + 7) & ~(size_t)7)

static size_t entry_write(uint8_t *at, size_t json, uint8_t fill)
{
	struct record r = {.kind = RECORD_TELEMETRY, .json_len = (uint32_t)json, .time_us = fill};
	memset(at + RECORD_HEADER, fill, json);
	record_write(&r, at);
	return r.size;
}

static bool entry_right(const uint8_t *at, size_t json, uint8_t fill)
{
	struct record r;
	record_read(&r, at);
	if (r.kind != RECORD_TELEMETRY || r.json_len != json || r.time_us != fill || r.size != ENTRY(json))
		return false;
	for (size_t i = 0; i < json; i++)
		if (at[RECORD_HEADER + i] != fill)
			return false;
	return true;
}

static bool put(struct lane *lane, size_t json, uint8_t fill)
{
	uint8_t *at = lane_reserve(lane, ENTRY(json));
	if (!at)
		return false;
	lane_commit(lane, entry_write(at, json, fill));
	return true;
}

/* As if `position` bytes had gone through already. */
static void start_at(struct lane *lane, uint64_t position)
{
	lane->tail = lane->taken_seen = lane->published = lane->next = lane->head_seen = position;
	atomic_store(&lane->head, position);
	atomic_store(&lane->taken, position);
	atomic_store(&lane->durable, position);
	atomic_store(&lane->delivered, position);
}

static void a_size_is_rounded_up_to_a_power_of_two(void **unused)
{
	(void)unused;
	static const size_t sizes[][2] = {{0, 4096}, {1, 4096}, {4096, 4096}, {4097, 8192}, {100000, 131072}};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct lane lane;
		assert_int_equal(lane_init(&lane, sizes[i][0]), GW_OK);
		assert_int_equal(lane.size, sizes[i][1]);
		assert_int_equal((uintptr_t)lane.ring % 4096, 0);
		lane_fini(&lane);
		lane_fini(&lane); /* twice does no harm */
	}
	struct lane zero = {.ring = NULL};
	lane_fini(&zero);
}

static void what_is_not_published_is_not_seen(void **unused)
{
	(void)unused;
	struct lane lane;
	const uint8_t *run;
	lane_init(&lane, 4096);
	assert_false(lane_publish(&lane));
	assert_true(put(&lane, 10, 1));
	assert_int_equal(lane_peek(&lane, &run), 0);
	assert_false(lane_has(&lane));
	assert_true(lane_publish(&lane));
	assert_false(lane_publish(&lane)); /* nothing new */
	assert_true(lane_has(&lane));
	assert_int_equal(lane_peek(&lane, &run), ENTRY(10));
	assert_true(entry_right(run, 10, 1));
	lane_advance(&lane, ENTRY(10));
	assert_false(lane_has(&lane));
	assert_int_equal(lane_peek(&lane, &run), 0);
	lane_fini(&lane);
}

static void a_reservation_may_be_committed_smaller(void **unused)
{
	(void)unused;
	struct lane lane;
	const uint8_t *run;
	lane_init(&lane, 4096);
	uint8_t *at = lane_reserve(&lane, 2048);
	assert_ptr_equal(at, lane.ring);
	assert_int_equal(lane_commit(&lane, entry_write(at, 5, 1)), ENTRY(5));
	at = lane_reserve(&lane, 2048);
	assert_ptr_equal(at, lane.ring + ENTRY(5));
	assert_int_equal(lane_commit(&lane, entry_write(at, 6, 2)), ENTRY(5) + ENTRY(6));
	lane_publish(&lane);
	assert_int_equal(lane_peek(&lane, &run), ENTRY(5) + ENTRY(6));
	assert_true(entry_right(run, 5, 1) && entry_right(run + ENTRY(5), 6, 2));
	lane_fini(&lane);
}

static void it_fills_to_the_last_byte_and_not_over_it(void **unused)
{
	(void)unused;
	struct lane lane;
	const uint8_t *run;
	lane_init(&lane, 4096);
	for (int i = 0; i < 8; i++)
		assert_true(put(&lane, 512 - RECORD_HEADER, (uint8_t)i));
	assert_int_equal(lane.tail, 4096);
	assert_false(lane_has_room(&lane, 8));
	assert_null(lane_reserve(&lane, 8));
	assert_int_equal(lane.tail, 4096); /* a refusal changes nothing */
	lane_publish(&lane);
	assert_int_equal(lane_peek(&lane, &run), 4096);
	lane_advance(&lane, 512);
	assert_null(lane_reserve(&lane, 512)); /* passed, but not released */
	lane_release(&lane);
	assert_true(lane_has_room(&lane, 512));
	assert_false(lane_has_room(&lane, 520));
	assert_true(put(&lane, 512 - RECORD_HEADER, 8));
	assert_null(lane_reserve(&lane, 8));
	lane_publish(&lane);
	assert_int_equal(lane_peek(&lane, &run), 3584); /* a run ends where the ring does */
	lane_advance(&lane, 3584);
	assert_int_equal(lane_peek(&lane, &run), 512);
	assert_true(entry_right(run, 512 - RECORD_HEADER, 8));
	lane_fini(&lane);
}

static void a_pad_fills_the_end_of_the_ring_and_is_skipped(void **unused)
{
	(void)unused;
	for (size_t gap = 8; gap <= 1024; gap += 8) { /* every rest that is too short, the shortest too */
		struct lane lane;
		const uint8_t *run;
		lane_init(&lane, 4096);
		size_t first = 1024, second = 2048, third = 4096 - 3072 - gap;
		assert_true(put(&lane, first - RECORD_HEADER, 1));
		assert_true(put(&lane, second - RECORD_HEADER, 2));
		if (third >= ENTRY(1)) {
			assert_true(put(&lane, third - RECORD_HEADER, 3));
		} else {
			start_at(&lane, 4096 - gap);
		}
		lane_publish(&lane);
		while (lane_peek(&lane, &run)) /* all is taken */
			lane_advance(&lane, record_size(run));
		lane_release(&lane);
		assert_int_equal(lane.next, 4096 - gap);
		assert_true(lane_has_room(&lane, 1032));
		uint8_t *at = lane_reserve(&lane, 1032);
		assert_ptr_equal(at, lane.ring);
		uint64_t position = lane_commit(&lane, entry_write(at, 1000, 4));
		assert_int_equal(position, 4096 + 1032);
		lane_publish(&lane);
		assert_int_equal(lane_peek(&lane, &run), 1032);
		assert_ptr_equal(run, lane.ring);
		assert_true(entry_right(run, 1000, 4));
		lane_advance(&lane, 1032);
		lane_release(&lane);
		assert_int_equal(lane.next, position);
		assert_false(lane_has(&lane));
		lane_fini(&lane);
	}
}

static void a_pad_needs_room_itself(void **unused)
{
	(void)unused;
	struct lane lane;
	lane_init(&lane, 4096);
	start_at(&lane, 3072);
	lane.taken_seen = 0;
	atomic_store(&lane.taken, 1024); /* 2048 of 4096 are taken; 1024 are left behind tail, then 1024 at the front */
	assert_false(lane_has_room(&lane, 1032));
	assert_null(lane_reserve(&lane, 1032));
	assert_int_equal(lane.tail, 3072); /* no pad was laid */
	assert_true(lane_has_room(&lane, 1024));
	atomic_store(&lane.taken, 1032);
	assert_true(lane_has_room(&lane, 1032));
	assert_ptr_equal(lane_reserve(&lane, 1032), lane.ring);
	lane_fini(&lane);
}

/* One thread, random sizes, published and taken in random portions, at positions where 32 bits end. */
static void positions_are_right_near_two_to_the_32(void **unused)
{
	(void)unused;
	static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 8192, (UINT64_C(1) << 32) - 8,
	                                  (UINT64_C(1) << 31) - 64, UINT64_C(0xfffffffffff00000)};
	for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
		struct lane lane;
		unsigned random = 1;
		uint64_t in = 0, out = 0;
		size_t sizes[4096];
		lane_init(&lane, 8192);
		start_at(&lane, starts[s]);
		while (out < 5000) {
			size_t json = 1 + (size_t)rand_r(&random) % (rand_r(&random) % 8 ? 300 : 4000);
			if (put(&lane, json, (uint8_t)in))
				sizes[in++ % 4096] = json;
			if (rand_r(&random) % 3 == 0)
				lane_publish(&lane);
			const uint8_t *run;
			size_t len;
			while (rand_r(&random) % 4 == 0 && (len = lane_peek(&lane, &run)) > 0) {
				for (size_t at = 0; at < len && record_kind(run + at) != RECORD_PAD;) {
					assert_true(entry_right(run + at, sizes[out % 4096], (uint8_t)out));
					out++;
					size_t n = record_size(run + at);
					at += n;
					lane_advance(&lane, n);
					if (rand_r(&random) % 5 == 0)
						break;
				}
			}
			if (rand_r(&random) % 2)
				lane_release(&lane);
			assert_true(lane.tail - lane.next <= lane.size);
		}
		lane_fini(&lane);
	}
}

static void has_room_says_what_reserve_does(void **unused)
{
	(void)unused;
	struct lane lane;
	unsigned random = 7;
	lane_init(&lane, 4096);
	for (int i = 0; i < 20000; i++) {
		size_t size = 8 * (1 + (size_t)rand_r(&random) % 256);
		bool expected = lane_has_room(&lane, size);
		uint8_t *at = lane_reserve(&lane, size);
		assert_int_equal(at != NULL, expected);
		if (at) {
			memset(at, 0, 8);
			at[0] = (uint8_t)size;
			at[1] = (uint8_t)(size >> 8);
			at[4] = RECORD_TELEMETRY;
			lane_commit(&lane, size);
		}
		lane_publish(&lane);
		const uint8_t *run;
		if (rand_r(&random) % 2 && lane_peek(&lane, &run)) {
			lane_advance(&lane, record_size(run));
			lane_release(&lane);
		}
	}
	lane_fini(&lane);
}

static void it_wakes_only_who_waits(void **unused)
{
	(void)unused;
	struct lane lane;
	lane_init(&lane, 4096);
	struct pollfd p = {.fd = lane.wake_fd, .events = POLLIN};
	lane_wake(&lane, 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	atomic_store(&lane.waiting, true);
	lane_wake(&lane, 0);
	lane_wake(&lane, 0); /* the second finds it awake */
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(atomic_load(&lane.wakes), 1);
	lane_awake(&lane);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(lane.woken, 1);
	lane_wake_always(&lane);
	lane_wake_always(&lane);
	assert_int_equal(poll(&p, 1, 0), 1);
	lane_awake(&lane);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(lane.woken, 3);
	atomic_store(&lane.waiting, true);
	lane_awake(&lane);
	assert_false(atomic_load(&lane.waiting));
	lane_fini(&lane);
}

static void it_wakes_who_waits_when_that_is_settled(void **unused)
{
	(void)unused;
	struct lane lane;
	lane_init(&lane, 4096);
	struct pollfd p = {.fd = lane.wake_fd, .events = POLLIN};
	lane_sleep(&lane, 800);
	lane_wake(&lane, 0);
	lane_wake(&lane, 792);
	assert_int_equal(poll(&p, 1, 0), 0);
	lane_wake(&lane, 800);
	assert_int_equal(poll(&p, 1, 0), 1);
	lane_awake(&lane);
	lane_sleep(&lane, LANE_NOTHING);
	lane_wake(&lane, 4096);
	assert_int_equal(poll(&p, 1, 0), 0);
	lane_sleep(&lane, 0); /* room, whatever makes it */
	lane_wake(&lane, 0);
	assert_int_equal(poll(&p, 1, 0), 1);
	lane_fini(&lane);
}

static uint64_t put_entry(struct lane *lane)
{
	size_t size = entry_write(lane_reserve(lane, ENTRY(40)), 40, 'x');
	return lane_commit(lane, size);
}

static void pass_all(struct lane *lane)
{
	const uint8_t *run;
	size_t len;
	while ((len = lane_peek(lane, &run)) > 0)
		lane_advance(lane, len);
	lane_release(lane);
}

static void the_consumer_sees_up_to_where_somebody_waits_and_since_when(void **unused)
{
	(void)unused;
	struct lane lane;
	int64_t first, last;
	lane_init(&lane, 65536);
	put_entry(&lane);
	assert_false(lane_publish_awaited(&lane, 1000));
	lane_publish(&lane);
	assert_false(lane_is_awaited(&lane));
	lane_await(&lane, put_entry(&lane));
	assert_false(lane_is_awaited(&lane)); /* not shown yet */
	assert_true(lane_publish_awaited(&lane, 2000));
	lane_publish(&lane);
	assert_false(lane_publish_awaited(&lane, 3000));
	lane_await(&lane, put_entry(&lane));
	assert_true(lane_publish_awaited(&lane, 4000));
	lane_publish(&lane);
	put_entry(&lane);
	lane_publish(&lane);
	assert_true(lane_is_awaited(&lane));
	assert_true(lane_awaited_times(&lane, &first, &last));
	assert_int_equal(first, 2000);
	assert_int_equal(last, 4000);
	pass_all(&lane);
	assert_false(lane_awaited_times(&lane, &first, &last));
	lane_await(&lane, put_entry(&lane));
	assert_true(lane_publish_awaited(&lane, 5000));
	lane_publish(&lane);
	assert_true(lane_awaited_times(&lane, &first, &last));
	assert_int_equal(first, 5000);
	lane_fini(&lane);
}

static void it_is_crowded_from_a_quarter_on_or_when_the_producer_lacks_room(void **unused)
{
	(void)unused;
	struct lane lane;
	lane_init(&lane, 4096);
	uint64_t end = 0;
	while (end <= 1024) {
		assert_false(lane_was_crowded(&lane) || lane_is_crowded(&lane));
		end = put_entry(&lane);
		lane_publish(&lane);
	}
	assert_true(lane_was_crowded(&lane) && lane_is_crowded(&lane));
	pass_all(&lane);
	assert_false(lane_was_crowded(&lane) || lane_is_crowded(&lane));
	lane_lacks_room(&lane);
	assert_true(lane_is_crowded(&lane));
	pass_all(&lane);
	assert_false(lane_is_crowded(&lane));
	lane_fini(&lane);
}

static void settled_positions_are_kept(void **unused)
{
	(void)unused;
	struct lane lane;
	lane_init(&lane, 4096);
	lane_settle_durable(&lane, 4096);
	lane_settle_delivered(&lane, 2048);
	assert_int_equal(atomic_load(&lane.durable), 4096);
	assert_int_equal(atomic_load(&lane.delivered), 2048);
	lane_fini(&lane);
}

/* -- two threads -- */

#define STRESS 300000

struct stress {
	struct lane lane;
	_Atomic bool done;
	uint64_t received;
	bool wrong;
};

static size_t stress_size(uint64_t n)
{
	uint64_t h = n * UINT64_C(0x9E3779B97F4A7C15);
	return 1 + (h >> 40) % (h % 64 == 0 ? 4000 : 250);
}

/* The consumer sleeps and is woken as the journal does, with the roles of lane.h: durable is moved behind what was
 * taken. */
static void *consume(void *arg)
{
	struct stress *s = arg;
	for (;;) {
		const uint8_t *run;
		size_t len;
		bool done = atomic_load(&s->done);
		while ((len = lane_peek(&s->lane, &run)) > 0) {
			size_t at = 0;
			while (at < len && record_kind(run + at) != RECORD_PAD) {
				s->wrong |= !entry_right(run + at, stress_size(s->received), (uint8_t)s->received);
				s->received++;
				at += record_size(run + at);
			}
			lane_advance(&s->lane, at);
			if (s->received % 3 == 0)
				lane_release(&s->lane);
		}
		lane_release(&s->lane);
		lane_settle_durable(&s->lane, s->lane.next);
		lane_wake(&s->lane, 0);
		if (done && !lane_has(&s->lane))
			return NULL;
		sched_yield();
	}
}

static void two_threads_lose_nothing_and_nobody_oversleeps(void **unused)
{
	(void)unused;
	static struct stress s;
	pthread_t thread;
	memset(&s, 0, sizeof(s));
	lane_init(&s.lane, 16384);
	assert_int_equal(pthread_create(&thread, NULL, consume, &s), 0);
	uint64_t asleep = 0;
	for (uint64_t n = 0; n < STRESS;) {
		lane_awake(&s.lane);
		size_t json = stress_size(n), room = ENTRY(json);
		while (n < STRESS) {
			json = stress_size(n);
			room = ENTRY(json);
			uint8_t *at = lane_reserve(&s.lane, room);
			if (!at)
				break;
			lane_commit(&s.lane, entry_write(at, json, (uint8_t)n));
			n++;
			if (n % 61 == 0)
				break;
		}
		lane_publish(&s.lane);
		if (n % 5 != 0 && lane_has_room(&s.lane, room))
			continue;
		/* as intake_sleep does: announce, look again, sleep */
		atomic_store_explicit(&s.lane.waiting, true, memory_order_seq_cst);
		if (atomic_load_explicit(&s.lane.durable, memory_order_seq_cst) >= s.lane.tail)
			continue;
		struct pollfd p = {.fd = s.lane.wake_fd, .events = POLLIN};
		if (poll(&p, 1, 20000) == 0)
			fail_msg("overslept");
		asleep++;
	}
	atomic_store(&s.done, true);
	pthread_join(thread, NULL);
	assert_int_equal(s.received, STRESS);
	assert_false(s.wrong);
	assert_true(asleep > 0);
	assert_int_equal(atomic_load(&s.lane.durable), s.lane.tail);
	lane_fini(&s.lane);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_size_is_rounded_up_to_a_power_of_two),
	    cmocka_unit_test(what_is_not_published_is_not_seen),
	    cmocka_unit_test(a_reservation_may_be_committed_smaller),
	    cmocka_unit_test(it_fills_to_the_last_byte_and_not_over_it),
	    cmocka_unit_test(a_pad_fills_the_end_of_the_ring_and_is_skipped),
	    cmocka_unit_test(a_pad_needs_room_itself),
	    cmocka_unit_test(positions_are_right_near_two_to_the_32),
	    cmocka_unit_test(has_room_says_what_reserve_does),
	    cmocka_unit_test(it_wakes_only_who_waits),
	    cmocka_unit_test(it_wakes_who_waits_when_that_is_settled),
	    cmocka_unit_test(the_consumer_sees_up_to_where_somebody_waits_and_since_when),
	    cmocka_unit_test(it_is_crowded_from_a_quarter_on_or_when_the_producer_lacks_room),
	    cmocka_unit_test(settled_positions_are_kept),
	    cmocka_unit_test(two_threads_lose_nothing_and_nobody_oversleeps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
