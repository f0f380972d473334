/* The journal under power cuts and failing disks, and what else it promises. Every record whose position a lane saw as
 * durable is read back after whatever happened, in order, with the right bytes, under the number it had.
 *
 * A judged cut becomes the disk of the next life, so recovery is tried on what recovery left. SLUICE_CRASH_STATES says
 * how many cuts are judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

#include "gateway/base/clock.h"
#include "test/unit/gateway/journal/journal_world.h"

static uint64_t states_wanted(uint64_t otherwise)
{
	const char *text = getenv("SLUICE_CRASH_STATES");
	return text ? strtoull(text, NULL, 10) : otherwise;
}

/* One life with cuts in it; all are judged, and one becomes the disk of the next life. Returns how many were wrong. */
static unsigned live_and_judge(struct world *w, uint64_t *judged, uint64_t *safe, const char **verdict)
{
	struct why why = {.text = ""};
	unsigned wrong = 0;
	w->cut_one_in = 6 + (unsigned)(sim_random(&w->random) % 30);
	sim_watch(w->sim, consider_cut, w);
	enum gw_err err = world_open(w, &why);
	if (err || world_start(w, &why))
		fail_msg("%s", why.text);
	world_work(w, 20 + (unsigned)(sim_random(&w->random) % 30));
	sim_watch(w->sim, NULL, NULL);
	world_stop(w);
	world_close(w);
	uint64_t last = w->known, next_safe = 0;
	size_t chosen = w->cut_count ? (size_t)(sim_random(&w->random) % w->cut_count) : 0;
	for (size_t i = 0; i < w->cut_count; i++) {
		uint64_t found = 0;
		const char *bad = judge(w, &w->cuts[i], *safe, &found);
		if (bad && !wrong++)
			*verdict = bad;
		if (i == chosen && !bad) {
			last = found;
			next_safe = found;
		}
	}
	*judged += w->cut_count;
	if (w->cut_count && !wrong) {
		sim_free(w->sim);
		w->sim = w->cuts[chosen].disk;
		w->cuts[chosen].disk = NULL;
		w->known = last;
		w->passed = w->cuts[chosen].cursor;
		*safe = next_safe;
	} else {
		*safe = last;
	}
	drop_cuts_over(w, 0);
	return wrong;
}

static unsigned crash_many(enum sim_mutant mutant, uint64_t states, const char **verdict, bool direct)
{
	unsigned wrong = 0;
	uint64_t judged = 0;
	for (uint64_t seed = 1; judged < states && !wrong; seed++) {
		struct world w;
		uint64_t safe = 0;
		world_init(&w, seed);
		sim_mutate(w.sim, mutant);
		if (!direct)
			sim_refuse_direct(w.sim);
		for (int life = 0; life < 5 && judged < states && !wrong; life++)
			wrong += live_and_judge(&w, &judged, &safe, verdict);
		world_fini(&w);
	}
	return wrong;
}

static void what_was_durable_survives_any_power_cut(void **unused)
{
	(void)unused;
	const char *verdict = NULL;
	if (crash_many(SIM_HONEST, states_wanted(600), &verdict, true))
		fail_msg("%s", verdict);
}

static void it_survives_without_direct_io_too(void **unused)
{
	(void)unused;
	const char *verdict = NULL;
	if (crash_many(SIM_HONEST, states_wanted(600) / 4, &verdict, false))
		fail_msg("%s", verdict);
}

/* The judge must be able to find loss: these disks or programs lie. */
static void a_missing_fdatasync_is_caught(void **unused)
{
	(void)unused;
	const char *verdict;
	assert_true(crash_many(SIM_NO_SYNC, 600, &verdict, true) > 0);
}

static void a_missing_directory_sync_is_caught(void **unused)
{
	(void)unused;
	const char *verdict;
	assert_true(crash_many(SIM_NO_SYNC_DIR, 600, &verdict, true) > 0);
}

static void an_acknowledgement_before_the_sync_is_caught(void **unused)
{
	(void)unused;
	const char *verdict;
	assert_true(crash_many(SIM_LATE_SYNC, 600, &verdict, true) > 0);
}

static void a_cursor_ahead_of_its_sink_is_caught(void **unused)
{
	(void)unused;
	const char *verdict = "";
	assert_true(crash_many(SIM_CURSOR_AHEAD, 600, &verdict, true) > 0);
	assert_non_null(strstr(verdict, "the cursor is ahead"));
}

/* -- a disk that fails -- */

/* One life in which call number n (and times - 1 more) fails. True: there were that many calls. */
static bool live_with_failure(uint64_t n, uint64_t times, int err, const char **verdict)
{
	struct world w;
	struct why why = {.text = ""};
	uint64_t judged = 0, safe = 0;
	world_init(&w, n);
	w.lane_size = 32 << 10;
	*verdict = NULL;
	if (live_and_judge(&w, &judged, &safe, verdict)) /* so that there is something to recover */
		fail_msg("%s", *verdict);
	w.cut_one_in = 12;
	sim_watch(w.sim, consider_cut, &w);
	uint64_t before = sim_calls(w.sim);
	sim_fail(w.sim, n, times, err);
	bool up = false;
	for (uint64_t tries = 0; tries <= times && !up;
	     tries++) { /* it may refuse to start, but not for longer than the disk fails */
		up = world_open(&w, &why) == GW_OK;
		if (up && world_start(&w, &why)) {
			world_close(&w);
			up = false;
		}
	}
	if (!up)
		fail_msg("call %llu fails: does not start: %s", (unsigned long long)n, why.text);
	for (int i = 0; i < 8; i++) {
		for (int k = 0; k < 5; k++)
			world_put(&w, (unsigned)(sim_random(&w.random) % LANES));
		world_publish(&w);
		sink_turn(&w);
		if (i % 2)
			assert_true(world_wait_durable(&w)); /* service goes on */
	}
	assert_false(journal_faulty(w.journal));
	world_stop(&w);
	world_close(&w);
	bool reached = sim_calls(w.sim) - before >= n;
	sim_watch(w.sim, NULL, NULL);
	drop_cuts_over(&w, CUTS - 2);
	for (int i = 0; i < 2; i++)
		w.cuts[w.cut_count++] = (struct cut){.disk = i ? sim_copy(w.sim) : sim_crash(w.sim, n),
		                                     .cursor = w.passed,
		                                     .durable = {UINT64_MAX, UINT64_MAX}};
	for (size_t i = 0; i < w.cut_count && !*verdict; i++) {
		uint64_t last;
		*verdict = judge(&w, &w.cuts[i], safe, &last);
	}
	assert_int_equal(sim_open_files(w.sim), 0);
	world_fini(&w);
	return reached;
}

static void fail_every_call(uint64_t times, int err, uint64_t step)
{
	const char *verdict = NULL;
	for (uint64_t n = 1; n < 3000; n += step) {
		bool reached = live_with_failure(n, times, err, &verdict);
		if (verdict)
			fail_msg("call %llu fails: %s", (unsigned long long)n, verdict);
		if (!reached)
			return;
	}
}

static void no_call_of_the_disk_may_fail_so_that_something_is_lost(void **unused)
{
	(void)unused;
	fail_every_call(1, EIO, 1);
}

static void nor_may_several_fail_in_a_row(void **unused)
{
	(void)unused;
	fail_every_call(4, ENOSPC, 7);
}

/* -- what else it promises -- */

static void a_second_process_is_refused(void **unused)
{
	(void)unused;
	char dir[] = "/tmp/sluice-journal-XXXXXX";
	struct journal_settings settings = small_settings();
	struct journal_stats stats = {0};
	struct journal *j, *second;
	struct why why = {.text = ""};
	assert_non_null(mkdtemp(dir));
	if (journal_open(&j, &settings, &disk_real, dir, &stats, &why))
		fail_msg("%s", why.text);
	pid_t pid = fork();
	if (pid == 0)
		_exit(journal_open(&second, &settings, &disk_real, dir, &stats, &why) == GW_IO &&
		              strstr(why.text, "in use")
		          ? 0
		          : 1);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	journal_close(j);
	assert_int_equal(journal_open(&j, &settings, &disk_real, dir, &stats, &why), GW_OK); /* and free again */
	journal_close(j);
	char command[128];
	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	assert_int_equal(system(command), 0);
}

/* Direct I/O wants whole pages; a file system check may have cut a file anywhere. */
static void a_segment_of_any_length_is_read_from_a_real_disk(void **unused)
{
	(void)unused;
	char dir[] = "/var/tmp/sluice-journal-XXXXXX", path[128];
	struct journal_settings settings = small_settings();
	struct journal_stats stats = {0};
	struct journal *j;
	struct lane lane;
	struct cursor *c;
	struct why why = {.text = ""};
	assert_non_null(mkdtemp(dir));
	if (journal_open(&j, &settings, &disk_real, dir, &stats, &why) ||
	    journal_add_cursor(j, "sink", false, &c, &why))
		fail_msg("%s", why.text);
	assert_int_equal(lane_init(&lane, 32 << 10), GW_OK);
	assert_int_equal(journal_add_lane(j, &lane, 0), GW_OK);
	assert_int_equal(journal_start(j, &why), GW_OK);
	record_make(lane_reserve(&lane, record_room(0, 1)), 0, 1);
	lane_commit(&lane, record_room(0, 1));
	lane_publish(&lane);
	journal_wake(j);
	assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
	journal_close(j);
	lane_fini(&lane);
	for (uint32_t n = 1; n < 20; n++) {
		snprintf(path, sizeof(path), "%s/%08u.segment", dir, n);
		if (truncate(path, (32 << 10) - 1000 - (off_t)n) < 0)
			break;
	}
	memset(&stats, 0, sizeof(stats));
	if (journal_open(&j, &settings, &disk_real, dir, &stats, &why))
		fail_msg("%s", why.text);
	assert_int_equal(journal_last(j), 1);
	journal_close(j);
	snprintf(path, sizeof(path), "rm -r '%s'", dir);
	assert_int_equal(system(path), 0);
}

static void wait_position(_Atomic uint64_t *position, uint64_t wanted)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (atomic_load(position) < wanted) {
		assert_true(clock_mono_us() < until);
		usleep(100);
	}
}

static void delivered_positions_follow_the_slowest_named_cursor(void **unused)
{
	(void)unused;
	struct journal_settings settings = small_settings();
	struct journal_stats stats = {0};
	struct sim *sim = sim_new(root, 0);
	settings.max_bytes = 64 << 20;
	struct journal *j;
	struct lane lane, plain;
	struct cursor *a, *b, *c;
	struct why why = {.text = ""};
	if (journal_open(&j, &settings, sim_disk(sim), root, &stats, &why) ||
	    journal_add_cursor(j, "a", false, &a, &why) || journal_add_cursor(j, "b", false, &b, &why) ||
	    journal_add_cursor(j, "c", false, &c, &why))
		fail_msg("%s", why.text);
	lane_init(&lane, 32 << 10);
	lane_init(&plain, 32 << 10);
	journal_add_lane(j, &lane, 1 | 2); /* waits for a and b, not for c */
	journal_add_lane(j, &plain, 0);
	assert_true(journal_wants_delivered(j, a) && journal_wants_delivered(j, b));
	assert_false(journal_wants_delivered(j, c));
	assert_int_equal(journal_start(j, &why), GW_OK);
	uint64_t positions[3000];
	for (uint64_t n = 0; n < 3000; n++) { /* more commits than the table has entries */
		struct lane *l = n % 8 == 7 ? &plain : &lane;
		uint8_t *entry = lane_reserve(l, 128);
		struct record r = {.kind = RECORD_TELEMETRY, .json_len = 64};
		memset(entry + RECORD_HEADER, 'x', 64);
		record_write(&r, entry);
		lane_commit(l, r.size);
		positions[n] = lane.tail;
		lane_publish(l);
		journal_wake(j);
		wait_position(&l->durable, l->tail);
		if (n == 20) {
			assert_int_equal(atomic_load(&lane.delivered), 0);
			cursor_move(a, 21);
			cursor_move(c, 21);
			journal_wake(j);
			usleep(2000);
			assert_int_equal(atomic_load(&lane.delivered), 0);
			cursor_move(b, 10);
			journal_wake(j);
			wait_position(&lane.delivered, positions[9]);
			assert_int_equal(atomic_load(&lane.delivered), positions[9]);
		}
		if (n == 2000)
			cursor_move(a, 2001), cursor_move(b, 2001), cursor_move(c, 2001), cursor_save(a),
			    cursor_save(b), cursor_save(c);
		assert_true(atomic_load(&lane.delivered) <= atomic_load(&lane.durable));
	}
	assert_true(stat_get(&stats.delivered_coalesced) > 0);
	cursor_move(a, 3000);
	cursor_move(b, 3000);
	journal_wake(j);
	wait_position(&lane.delivered, lane.tail);
	assert_int_equal(atomic_load(&plain.delivered), 0);
	assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
	journal_close(j);
	lane_fini(&lane);
	lane_fini(&plain);
	sim_free(sim);
}

static void sinks_that_left_with_records_undelivered_are_refused(void **unused)
{
	(void)unused;
	struct small s;
	struct journal *j;
	struct journal_stats stats = {0};
	struct cursor *c;
	struct why why = {.text = ""};
	small_init(&s, 4);
	const struct disk *d = sim_disk(s.base);
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_int_equal(journal_add_cursor(j, "new", true, &c, &why), GW_OK);
	assert_int_equal(cursor_get(c), s.w.known); /* from: now */
	assert_int_equal(journal_check_cursors(j, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "sink ("));
	assert_int_equal(journal_add_cursor(j, "sink", false, &c, &why), GW_OK);
	assert_int_equal(journal_check_cursors(j, &why), GW_OK);
	cursor_move(c, s.w.known);
	journal_close(j); /* stores it */
	char path[128];
	size_t len;
	snprintf(path, sizeof(path), "%s/cursors/sink.cursor", root);
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	sim_fail(s.base, 3, 1, EIO); /* list, open, read: what cannot be read is not judged, and stays */
	assert_int_equal(journal_check_cursors(j, &why), GW_OK);
	assert_non_null(sim_bytes(s.base, path, &len));
	assert_int_equal(journal_check_cursors(j, &why), GW_OK);
	assert_null(sim_bytes(s.base, path, &len)); /* has everything: forgotten */
	journal_close(j);
	small_fini(&s);
}

static void a_producer_that_waits_is_woken(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	world_init(&w, 1);
	if (world_open(&w, &why) || world_start(&w, &why))
		fail_msg("%s", why.text);
	for (int i = 0; i < 300; i++) {
		struct lane *l = &w.lanes[0];
		lane_awake(l);
		world_put(&w, 0);
		world_publish(&w);
		atomic_store(&l->waiting, true);
		int64_t since = clock_mono_us();
		while (atomic_load(&l->durable) < l->tail) {
			struct pollfd p = {.fd = l->wake_fd, .events = POLLIN};
			poll(&p, 1, 5000);
			lane_awake(l);
			atomic_store(&l->waiting, true);
		}
		assert_true(clock_mono_us() - since < 900000); /* nothing slept until a time-out */
	}
	world_stop(&w);
	world_close(&w);
	world_fini(&w);
}

/* The thread had looked into the lanes, found nothing, and then saw that it shall stop: it ended without what was published
 * in between. Many idle lanes behind the one make that moment long enough to be met. */
static void what_was_published_before_the_stop_is_written(void **unused)
{
	(void)unused;
	enum { IDLE = 250 };
	struct journal_settings settings = small_settings();
	struct why why = {.text = ""};
	static struct lane idle[IDLE];
	settings.type = JOURNAL_MEMORY;
	settings.max_bytes = 1 << 30;
	for (size_t i = 0; i < IDLE; i++)
		assert_int_equal(lane_init(&idle[i], 32 << 10), GW_OK);
	for (int life = 0; life < 3000; life++) {
		struct journal_stats stats = {0};
		struct journal *j;
		struct lane lane;
		if (journal_open(&j, &settings, &disk_real, root, &stats, &why) || lane_init(&lane, 32 << 10) ||
		    journal_add_lane(j, &lane, 0))
			fail_msg("%s", why.text);
		for (size_t i = 0; i < IDLE; i++)
			assert_int_equal(journal_add_lane(j, &idle[i], 0), GW_OK);
		assert_int_equal(journal_start(j, &why), GW_OK);
		for (uint64_t n = 1; n <= 2; n++) {
			record_make(lane_reserve(&lane, record_room(0, n)), 0, n);
			lane_commit(&lane, record_room(0, n));
			lane_publish(&lane);
			if (n == 2)
				break;
			journal_wake(j);
			wait_position(&lane.durable, lane.tail);
			for (volatile int pause = life % 300 * 10; pause > 0; pause--)
				;
		}
		assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
		assert_int_equal(atomic_load(&lane.durable), lane.tail);
		journal_close(j);
		lane_fini(&lane);
	}
	for (size_t i = 0; i < IDLE; i++)
		lane_fini(&idle[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_was_durable_survives_any_power_cut),
	    TEST(it_survives_without_direct_io_too),
	    TEST(a_missing_fdatasync_is_caught),
	    TEST(a_missing_directory_sync_is_caught),
	    TEST(an_acknowledgement_before_the_sync_is_caught),
	    TEST(a_cursor_ahead_of_its_sink_is_caught),
	    TEST(no_call_of_the_disk_may_fail_so_that_something_is_lost),
	    TEST(nor_may_several_fail_in_a_row),
	    TEST(a_second_process_is_refused),
	    TEST(a_segment_of_any_length_is_read_from_a_real_disk),
	    TEST(delivered_positions_follow_the_slowest_named_cursor),
	    TEST(sinks_that_left_with_records_undelivered_are_refused),
	    TEST(a_producer_that_waits_is_woken),
	    TEST(what_was_published_before_the_stop_is_written),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
