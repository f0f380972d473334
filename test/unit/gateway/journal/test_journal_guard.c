/* Segments that are deleted under a running journal, on the simulated disk: what memory and the open segment have is written
 * again, whatever fails meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/journal/segment_files.h"
#include "test/unit/gateway/journal/journal_world.h"

struct names {
	char paths[64][SIM_PATH];
	size_t count;
};

static void note_segment(void *context, const char *path)
{
	struct names *n = context;
	uint32_t number;
	if (n->count < 64 && segment_files_number(strrchr(path, '/') + 1, &number))
		snprintf(n->paths[n->count++], SIM_PATH, "%s", path);
}

static void delete_segments(struct sim *sim)
{
	struct names n = {.count = 0};
	sim_names(sim, note_segment, &n);
	for (size_t i = 0; i < n.count; i++)
		sim_disk(sim)->remove(sim_disk(sim), n.paths[i]);
}

static void delete_oldest(struct sim *sim)
{
	struct names n = {.count = 0};
	struct segment_header h;
	size_t len;
	sim_names(sim, note_segment, &n);
	for (size_t i = 0; i < n.count; i++)
		if (segment_header_read(&h, sim_bytes(sim, n.paths[i], &len)) == 1 && h.first == 1)
			assert_int_equal(sim_disk(sim)->remove(sim_disk(sim), n.paths[i]), 0);
}

static void begin(struct world *w, uint64_t seed, uint64_t tail_memory)
{
	struct why why = {.text = ""};
	world_init(w, seed);
	w->settings.tail_memory = tail_memory;
	w->lane_size = 32 << 10;
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
}

static void put_durable(struct world *w, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		world_put(w, i % LANES);
	assert_true(world_wait_durable(w));
}

/* Ends the life, and judges the disk as an orderly end leaves it and as a power cut does. */
static void end_and_judge(struct world *w, uint64_t seed)
{
	world_stop(w);
	assert_int_equal(stat_get(&w->stats.deleted), 0);
	world_close(w);
	drop_cuts_over(w, 0);
	for (int i = 0; i < 2; i++)
		w->cuts[w->cut_count++] = (struct cut){.disk = i ? sim_copy(w->sim) : sim_crash(w->sim, seed),
		                                       .cursor = w->passed,
		                                       .durable = {UINT64_MAX, UINT64_MAX}};
	for (size_t i = 0; i < w->cut_count; i++) {
		uint64_t last;
		const char *bad = judge(w, &w->cuts[i], 0, &last);
		if (bad)
			fail_msg("seed %llu: %s", (unsigned long long)seed, bad);
	}
	assert_int_equal(sim_open_files(w->sim), 0);
	world_fini(w);
}

/* -- deleted before a call of the disk -- */

struct deletion {
	struct world *world;
	_Atomic uint64_t in; /* so many calls from now; 0: done, or not yet */
	_Atomic bool deleting;
};

static void maybe_delete(void *context, uint64_t call)
{
	struct deletion *d = context;
	(void)call;
	if (atomic_load(&d->in) == 0 || atomic_load(&d->deleting))
		return;
	if (atomic_fetch_sub(&d->in, 1) != 1)
		return;
	atomic_store(&d->deleting, true);
	delete_segments(d->world->sim);
	atomic_store(&d->deleting, false);
}

static void segments_deleted_before_any_call_lose_nothing_that_memory_has(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct world w;
		struct deletion d = {.world = &w};
		begin(&w, seed, 4 << 20);
		put_durable(&w, 40 + (unsigned)(sim_random(&w.random) % 60));
		sim_watch(w.sim, maybe_delete, &d);
		atomic_store(&d.in, seed);
		world_work(&w, 30);
		sim_watch(w.sim, NULL, NULL);
		put_durable(&w, 2);
		end_and_judge(&w, seed);
	}
}

static void a_failure_while_they_are_written_again_loses_nothing(void **unused)
{
	(void)unused;
	for (uint64_t n = 1; n <= 60; n++) {
		struct world w;
		begin(&w, n, n % 2 ? 4 << 20 : 0);
		put_durable(&w, 20);
		delete_segments(w.sim);
		sim_fail(w.sim, n, 1 + n % 3, n % 4 ? EIO : ENOSPC);
		put_durable(&w, 20);
		assert_false(journal_faulty(w.journal));
		end_and_judge(&w, n);
	}
}

static void the_open_segment_is_read_back_through_its_descriptor(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, 1, 0);
	put_durable(&w, 12);
	delete_segments(w.sim);
	put_durable(&w, 1);
	assert_true(stat_get(&w.stats.rescued) >= 12);
	end_and_judge(&w, 1);
}

static int64_t (*honest_read)(const struct disk *d, int fd, void *data, size_t len, uint64_t at);
static _Atomic bool no_reads;

static int64_t refusing_read(const struct disk *d, int fd, void *data, size_t len, uint64_t at)
{
	return atomic_load(&no_reads) ? -EIO : honest_read(d, fd, data, len, at);
}

static void a_deleted_segment_that_cannot_be_read_is_reported_as_a_fault(void **unused)
{
	(void)unused;
	struct world w;
	char text[768];
	begin(&w, 1, 0);
	put_durable(&w, 12);
	struct disk *d = (struct disk *)(uintptr_t)sim_disk(w.sim);
	honest_read = d->read;
	d->read = refusing_read;
	atomic_store(&no_reads, true);
	delete_segments(w.sim);
	world_put(&w, 0);
	world_publish(&w);
	int64_t until = clock_mono_us() + 30 * INT64_C(1000000);
	do { /* until it knows that, the file is missing */
		usleep(1000);
		journal_trouble(w.journal, text, sizeof(text));
	} while (!strstr(text, strerror(EIO)) && clock_mono_us() < until);
	assert_true(journal_faulty(w.journal));
	assert_non_null(strstr(text, strerror(EIO)));
	atomic_store(&no_reads, false);
	put_durable(&w, 1);
	end_and_judge(&w, 1);
}

static _Atomic unsigned far_reads; /* refused; 0: none yet */

static int64_t near_read(const struct disk *d, int fd, void *data, size_t len, uint64_t at)
{
	if (!atomic_load(&no_reads) || at < 1 << 20)
		return honest_read(d, fd, data, len, at);
	atomic_fetch_add(&far_reads, 1);
	return -EIO;
}

static void wait_far_reads(unsigned count)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (atomic_load(&far_reads) < count && clock_mono_us() < until)
		usleep(1000);
	assert_true(atomic_load(&far_reads) >= count);
}

static void what_was_written_again_is_not_written_once_more_while_the_rest_cannot_be_read(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 1);
	w.settings.tail_memory = 0;
	w.settings.segment = 2 << 20;
	w.settings.max_bytes = 32 << 20;
	w.lane_size = 32 << 10;
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	for (int i = 0; i < 300; i++) /* a commit takes 4 KiB at least */
		put_durable(&w, 2);
	struct disk *d = (struct disk *)(uintptr_t)sim_disk(w.sim);
	honest_read = d->read;
	d->read = near_read;
	atomic_store(&no_reads, true);
	delete_segments(w.sim);
	world_put(&w, 0);
	world_publish(&w);
	wait_far_reads(1);
	uint64_t written = stat_get(&w.stats.written_bytes);
	wait_far_reads(3); /* two more tries have begun, and the first of them has ended */
	assert_true(stat_get(&w.stats.written_bytes) <= written + (16 << 10));
	atomic_store(&no_reads, false);
	put_durable(&w, 1);
	end_and_judge(&w, 1);
}

static void an_idle_journal_notices_within_a_second_and_an_orderly_stop_at_once(void **unused)
{
	(void)unused;
	struct world w;
	begin(&w, 1, 0);
	put_durable(&w, 12);
	delete_segments(w.sim);
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (stat_get(&w.stats.rescued) < 12 && clock_mono_us() < until)
		usleep(1000);
	assert_int_equal(stat_get(&w.stats.rescued), 12);
	delete_segments(w.sim);
	end_and_judge(&w, 1);
}

/* Written again, several blocks of memory became one on the disk, and memory may begin in the middle of it by the next time. */
static void segments_deleted_again_and_again_lose_nothing_that_memory_and_the_open_one_have(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct world w;
		struct why why = {.text = ""};
		world_init(&w, seed);
		w.settings.tail_memory = 20 << 10;
		w.settings.segment = 512 << 10;
		w.lane_size = 32 << 10;
		if (world_open(&w, &why) || world_start(&w, &why))
			fail_msg("%s", why.text);
		for (int i = 0; i < 30; i++) {
			put_durable(&w, 1 + (unsigned)(sim_random(&w.random) % 2));
			if (sim_random(&w.random) % 4 == 0)
				delete_segments(w.sim);
		}
		delete_segments(w.sim);
		put_durable(&w, 1);
		end_and_judge(&w, seed);
	}
}

static void an_older_segment_that_is_missing_is_passed_over_and_counted(void **unused)
{
	(void)unused;
	struct world w;
	struct block *b = NULL;
	begin(&w, 1, 0);
	for (int i = 0; i < 40; i++) /* few at a time: a full lane would let the sink turn */
		put_durable(&w, 5);
	assert_int_equal(cursor_get(w.cursor), 0);
	delete_oldest(w.sim);
	int64_t until = clock_mono_us() + DEADLINE_US;
	enum gw_err err;
	while ((err = journal_read(w.reader, 1, &b)) && clock_mono_us() < until)
		usleep(1000);
	assert_int_equal(err, GW_OK);
	assert_true(b->first > 1);
	assert_int_equal(stat_get(&w.stats.deleted), b->first - 1);
	assert_int_equal(journal_first(w.journal), b->first);
	assert_int_equal(stat_get(&w.stats.lost_sequences), 0);
	block_unref(b);
	put_durable(&w, 1);
	assert_int_equal(journal_stop(w.journal, clock_mono_us() + DEADLINE_US), GW_OK);
	world_close(&w);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(segments_deleted_before_any_call_lose_nothing_that_memory_has),
	    TEST(a_failure_while_they_are_written_again_loses_nothing),
	    TEST(the_open_segment_is_read_back_through_its_descriptor),
	    TEST(a_deleted_segment_that_cannot_be_read_is_reported_as_a_fault),
	    TEST(what_was_written_again_is_not_written_once_more_while_the_rest_cannot_be_read),
	    TEST(an_idle_journal_notices_within_a_second_and_an_orderly_stop_at_once),
	    TEST(segments_deleted_again_and_again_lose_nothing_that_memory_and_the_open_one_have),
	    TEST(an_older_segment_that_is_missing_is_passed_over_and_counted),
	};
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
