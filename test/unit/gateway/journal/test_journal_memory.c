/* No memory: the journal waits for it, acknowledges nothing meanwhile, and a stop that cannot wait tells what it left. The
 * linker puts __wrap_ in front of what the library allocates with (Makefile). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "gateway/journal/journal_parts.h"
#include "test/unit/gateway/journal/journal_world.h"

struct block *__real_block_new(size_t room);
void *__real_malloc(size_t size);

static _Atomic bool no_blocks;
static _Atomic uint64_t refused;
static _Atomic size_t no_size; /* a malloc of so many bytes fails */

struct block *__wrap_block_new(size_t room);
struct block *__wrap_block_new(size_t room)
{
	if (!atomic_load(&no_blocks))
		return __real_block_new(room);
	atomic_fetch_add(&refused, 1);
	return NULL;
}

void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	if (size == 0 || size != atomic_load(&no_size))
		return __real_malloc(size);
	atomic_fetch_add(&refused, 1);
	return NULL;
}

static void set_no_blocks(bool no)
{
	atomic_store(&refused, 0);
	atomic_store(&no_blocks, no);
}

static void open_world(struct world *w, int type)
{
	struct why why = {.text = ""};
	world_init(w, 1);
	w->settings.type = type;
	w->settings.spill_after = 3600000000;
	w->settings.max_bytes = 32 << 20;
	w->settings.tail_memory = 4 << 20;
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
}

static void close_world(struct world *w)
{
	set_no_blocks(false);
	world_close(w);
	world_fini(w);
}

/* It holds `count` records that the sink lacks. */
static void hold(struct world *w, unsigned count)
{
	open_world(w, JOURNAL_SPILL);
	int64_t until = clock_mono_us() + DEADLINE_US;
	atomic_store(&w->journal->spill_after_us, 1000); /* to rest soon */
	while (!journal_is_quiescent(w->journal)) {
		journal_wake(w->journal);
		usleep(200);
		assert_true(clock_mono_us() < until);
	}
	atomic_store(&w->journal->spill_after_us, 3600000000);
	for (unsigned i = 0; i < count; i++) {
		uint64_t last = journal_last(w->journal);
		world_put(w, 0);
		world_publish(w);
		while (journal_last(w->journal) == last)
			assert_true(clock_mono_us() < until);
	}
	assert_int_equal(atomic_load(&w->lanes[0].durable), 0);
}

static void what_is_in_the_lanes_waits_and_the_thread_rests_between_its_tries(void **unused)
{
	(void)unused;
	struct world w;
	open_world(&w, JOURNAL_DISK);
	set_no_blocks(true);
	world_put(&w, 0);
	world_publish(&w);
	usleep(450000);
	uint64_t tries = atomic_load(&refused);
	assert_in_range(tries, 1, 8);
	assert_int_equal(atomic_load(&w.lanes[0].durable), 0);
	set_no_blocks(false);
	assert_true(world_wait_durable(&w));
	world_stop(&w);
	close_world(&w);
}

static void a_stop_without_memory_for_what_is_in_the_lanes_ends_in_time_and_tells_it(void **unused)
{
	(void)unused;
	struct world w;
	open_world(&w, JOURNAL_DISK);
	set_no_blocks(true);
	world_put(&w, 0);
	world_publish(&w);
	assert_int_equal(journal_stop(w.journal, clock_mono_us() + 200000), GW_IO);
	assert_int_equal(atomic_load(&w.lanes[0].durable), 0);
	close_world(&w);
}

static void a_stop_without_memory_for_what_is_held_tells_it(void **unused)
{
	(void)unused;
	struct world w;
	hold(&w, 5);
	set_no_blocks(true);
	assert_int_equal(journal_stop(w.journal, clock_mono_us() + 200000), GW_IO);
	assert_true(atomic_load(&refused) > 1);
	assert_int_equal(atomic_load(&w.lanes[0].durable), 0);
	close_world(&w);
}

static void a_stop_tells_nothing_of_what_was_held_when_the_sink_has_it(void **unused)
{
	(void)unused;
	struct world w;
	hold(&w, 5);
	set_no_blocks(true);
	while (read_known(&w))
		;
	cursor_move(w.cursor, w.known);
	assert_int_equal(journal_stop(w.journal, clock_mono_us() + 200000), GW_OK);
	close_world(&w);
}

static void *memory_comes_back(void *unused)
{
	while (atomic_load(&refused) == 0)
		usleep(1000);
	atomic_store(&no_blocks, false);
	return unused;
}

static void a_stop_waits_for_memory_and_then_writes_what_is_held(void **unused)
{
	(void)unused;
	struct world w;
	pthread_t other;
	hold(&w, 5);
	set_no_blocks(true);
	assert_int_equal(pthread_create(&other, NULL, memory_comes_back, NULL), 0);
	world_stop(&w); /* all is durable */
	pthread_join(other, NULL);
	close_world(&w);
}

/* Held, and in the tail alone: without a place in it a record would be gone, and the sink's cursor would pass it. */
static void a_tail_that_cannot_grow_loses_nothing_that_is_held(void **unused)
{
	(void)unused;
	struct world w;
	hold(&w, 256);
	atomic_store(&refused, 0);
	atomic_store(&no_size, 512 * sizeof(struct block *));
	world_put(&w, 0);
	world_publish(&w);
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (atomic_load(&refused) == 0) {
		usleep(1000);
		assert_true(clock_mono_us() < until);
	}
	assert_int_equal(journal_last(w.journal), 256);
	atomic_store(&no_size, 0);
	while (w.known < 257) {
		read_known(&w); /* the 257th is the right one: note_known */
		assert_true(clock_mono_us() < until);
	}
	world_stop(&w);
	close_world(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_is_in_the_lanes_waits_and_the_thread_rests_between_its_tries),
	    TEST(a_stop_without_memory_for_what_is_in_the_lanes_ends_in_time_and_tells_it),
	    TEST(a_stop_without_memory_for_what_is_held_tells_it),
	    TEST(a_stop_tells_nothing_of_what_was_held_when_the_sink_has_it),
	    TEST(a_stop_waits_for_memory_and_then_writes_what_is_held),
	    TEST(a_tail_that_cannot_grow_loses_nothing_that_is_held),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
