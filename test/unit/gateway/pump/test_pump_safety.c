/* What the pump must never lose: dead letters, sinks that sync later, stops, crashes, disks that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "test/unit/gateway/pump/pump_fixture.h"

/* -- dead letters -- */

static enum gw_err submit_dead(struct batch *b) /* sequences that end with 7 are refused for good */
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].sequence % 10 == 7)
			batch_dead(b, i, "bad \"%d\"", (int)b->items[i].sequence);
		else
			batch_done(b, i);
	batch_finish(b);
	return GW_OK;
}

/* Whether the dead letter file of a disk has a whole line for a sequence. */
static bool has_letter(struct sim *sim, uint64_t sequence)
{
	char path[128], text[96];
	size_t len;
	snprintf(path, sizeof(path), "%s/dead/test.ndjson", root);
	const char *bytes = (const char *)sim_bytes(sim, path, &len);
	snprintf(text, sizeof(text),
	         "\"sink\":\"test\",\"sequence\":%llu,\"reason\":\"bad \\\"%llu\\\"\",\"record\":xxx",
	         (unsigned long long)sequence, (unsigned long long)sequence);
	const char *end = bytes + len, *at = bytes;
	while (bytes && (at = memmem(at, (size_t)(end - at), text, strlen(text)))) { /* the first may be half a line */
		const char *next = memchr(at, '\n', (size_t)(end - at)),
		           *before = memrchr(bytes, '\n', (size_t)(at - bytes));
		if (next && next[-1] == '}' && (before ? before[1] : bytes[0]) == '{')
			return true;
		at++;
	}
	return false;
}

/* At every call of the disk: what the cursor has passed must have its dead letter after a power cut now. */
struct letter_watch {
	struct fixture *f;
	_Atomic uint64_t checked;
	_Atomic bool lost;
};

static void watch_letters(void *context, uint64_t call)
{
	struct letter_watch *w = context;
	if (!w->f->pump)
		return;
	uint64_t cursor = cursor_now(w->f);
	if (cursor == w->checked)
		return;
	w->checked = cursor;
	struct sim *crashed = sim_crash(w->f->sim, call);
	for (uint64_t s = 7; s <= cursor; s += 10)
		if (!has_letter(crashed, s))
			w->lost = true;
	sim_free(crashed);
}

static void a_refused_record_is_a_synced_dead_letter_before_the_cursor_passes_it(void **unused)
{
	(void)unused;
	struct fixture f;
	struct letter_watch w = {.f = &f};
	fixture_init(&f);
	control.submit = submit_dead;
	fixture_open(&f, &plain_sink, false);
	sim_watch(f.sim, watch_letters, &w);
	for (int i = 0; i < 30; i++) {
		put(&f, 20);
		WAIT(cursor_now(&f) == f.put);
	}
	sim_watch(f.sim, NULL, NULL);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_false(w.lost);
	assert_true(w.checked > 300);
	assert_int_equal(stat_get(&pump_stats(f.pump)->dead), 60);
	for (uint64_t s = 7; s <= f.put; s += 10)
		assert_true(has_letter(f.sim, s));
	fixture_fini(&f);
}

static void dead_letters_survive_a_disk_that_fails(void **unused)
{
	(void)unused;
	for (uint64_t n = 1; n <= 40; n++) {
		struct fixture f;
		fixture_init(&f);
		control.submit = submit_dead;
		fixture_open(&f, &plain_sink, false);
		put(&f, 5);
		WAIT(cursor_now(&f) == 5);
		sim_fail(f.sim, n, 1, n % 2 ? EIO : ENOSPC);
		struct letter_watch w = {.f = &f};
		sim_watch(f.sim, watch_letters, &w);
		put(&f, 95);
		WAIT(cursor_now(&f) == 100);
		sim_watch(f.sim, NULL, NULL);
		fixture_stop(&f, DEADLINE_US);
		for (uint64_t s = 7; s <= 100; s += 10)
			assert_true(has_letter(f.sim, s));
		assert_false(w.lost);
		fixture_fini(&f);
	}
}

static void a_full_file_holds_the_record_and_loses_none(void **unused)
{
	(void)unused;
	struct fixture f;
	char from[128], to[128];
	fixture_init(&f);
	control.submit = submit_dead;
	f.common.max_dead_letters = 500; /* two letters */
	fixture_open(&f, &plain_sink, false);
	put(&f, 40);
	WAIT(stat_get(&pump_stats(f.pump)->limited) > 1);
	assert_int_equal(stat_get(&pump_stats(f.pump)->dead), 2);
	assert_true(cursor_now(&f) < 27);
	snprintf(from, sizeof(from), "%s/dead/test.ndjson", root);
	snprintf(to, sizeof(to), "%s/dead/old", root);
	assert_int_equal(sim_disk(f.sim)->rename(sim_disk(f.sim), from, to), 0);
	WAIT(cursor_now(&f) == 40);
	assert_int_equal(stat_get(&pump_stats(f.pump)->dead), 4);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_true(!has_letter(f.sim, 17) && has_letter(f.sim, 27) && has_letter(f.sim, 37));
	assert_int_equal(sim_disk(f.sim)->rename(sim_disk(f.sim), to, from), 0);
	assert_true(has_letter(f.sim, 7) && has_letter(f.sim, 17) && !has_letter(f.sim, 27));
	fixture_fini(&f);
}

static void a_dead_letter_file_that_fails_is_a_state_that_names_it(void **unused)
{
	(void)unused;
	struct fixture f;
	char state[512], path[128], away[128];
	fixture_init(&f);
	const struct disk *disk = sim_disk(f.sim);
	snprintf(path, sizeof(path), "%s/dead/test.ndjson", root); /* a directory where the file should be */
	snprintf(away, sizeof(away), "%s/dead/x", root);
	assert_int_equal(disk_make_path(disk, path), 0);
	control.submit = submit_dead;
	fixture_open(&f, &plain_sink, false);
	put(&f, 10);
	WAIT((pump_state(f.pump, state, sizeof(state)), state[0] != '\0'));
	assert_non_null(strstr(state, "/dead/test.ndjson cannot be opened: Is a directory"));
	assert_int_equal(stat_get(&pump_stats(f.pump)->up), 0);
	assert_true(cursor_now(&f) < 7);
	assert_int_equal(disk->rename(disk, path, away), 0);
	WAIT(cursor_now(&f) == 10);
	WAIT(stat_get(&pump_stats(f.pump)->up) == 1);
	pump_state(f.pump, state, sizeof(state));
	assert_string_equal(state, "");
	assert_int_equal(stat_get(&pump_stats(f.pump)->dead), 1);
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

static void what_fails_for_too_long_is_given_up(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.give_up_after = 100000;
	control.submit = submit_retry;
	fixture_open(&f, &plain_sink, false);
	int64_t since = clock_mono_us();
	put(&f, 3);
	WAIT(cursor_now(&f) == 3);
	assert_in_range(clock_mono_us() - since, 100000, 5000000);
	assert_int_equal(stat_get(&pump_stats(f.pump)->dead), 3);
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 0);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

/* -- sinks that sync later -- */

static void the_cursor_of_a_deferred_sink_waits_for_its_sync(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f, &deferred_sink, false);
	put(&f, 200);
	WAIT(locked_size(&control.seen_count) == 200);
	usleep(30000);
	assert_int_equal(cursor_now(&f), 0);
	pthread_mutex_lock(&control.lock);
	control.synced = true;
	pthread_mutex_unlock(&control.lock);
	WAIT(cursor_now(&f) == 200);
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

static void after_a_rewind_everything_since_the_sync_comes_again(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f, &deferred_sink, false);
	pthread_mutex_lock(&control.lock);
	control.synced = true;
	pthread_mutex_unlock(&control.lock);
	put(&f, 100);
	WAIT(cursor_now(&f) == 100);
	pthread_mutex_lock(&control.lock);
	control.synced = false;
	pthread_mutex_unlock(&control.lock);
	put(&f, 100);
	WAIT(locked_size(&control.seen_count) == 200);
	pthread_mutex_lock(&control.lock);
	control.rewind = true;
	pthread_mutex_unlock(&control.lock);
	WAIT(locked_size(&control.seen_count) == 300);
	assert_int_equal(cursor_now(&f), 100);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(control.seen[200 + i], 101 + i);
	pthread_mutex_lock(&control.lock);
	control.synced = true;
	pthread_mutex_unlock(&control.lock);
	WAIT(cursor_now(&f) == 200);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 200); /* each once */
	fixture_fini(&f);
}

/* As the file sink does: a write fails inside submit, and the next poll, before the pump has gone back, finds nothing
 * unsynced. */
static enum gw_err submit_write_fails(struct batch *b)
{
	if (b->items[0].sequence > 100 && control.count++ == 0) {
		batch_retry_all(b, "write");
		batch_finish(b);
		sink_rewind(control.host);
		control.synced = true;
		return GW_OK;
	}
	take(b);
	return GW_OK;
}

static void a_sync_that_comes_before_the_rewind_is_done_does_not_count(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.in_flight = 1;
	control.submit = submit_write_fails;
	fixture_open(&f, &deferred_sink, false);
	put(&f, 100);
	WAIT(locked_size(&control.seen_count) == 100); /* finished, not synced */
	put(&f, 10);
	WAIT(cursor_now(&f) == 110);
	fixture_stop(&f, DEADLINE_US);
	assert_true(control.seen_count >= 100 + 1 + 110); /* what was finished and not synced came again */
	size_t times = 0;
	for (size_t i = 0; i < control.seen_count; i++)
		times += control.seen[i] == 1;
	assert_int_equal(times, 2);
	fixture_fini(&f);
}

/* -- stopping, crashing, failing -- */

static void a_stop_drains_and_tells_whether_it_could(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_age = 10000000;
	fixture_open(&f, &polled_sink, false);
	put(&f, 25); /* would wait ten seconds for company */
	int64_t since = clock_mono_us();
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_true(clock_mono_us() - since < 5000000);
	assert_int_equal(cursor_now(&f), 25);
	fixture_fini(&f);

	fixture_init(&f);
	control.submit = submit_hold;
	fixture_open(&f, &polled_sink, false);
	put(&f, 25);
	since = clock_mono_us();
	assert_false(fixture_stop(&f, 100000));
	assert_in_range(clock_mono_us() - since, 90000, 5000000);
	assert_int_equal(cursor_now(&f), 0);
	assert_true(control.flushes > 0);
	fixture_fini(&f);
}

static void what_was_not_settled_comes_again_after_a_start(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f, &plain_sink, false);
	put(&f, 60);
	WAIT(cursor_now(&f) == 60);
	pthread_mutex_lock(&control.lock);
	control.submit = submit_retry;
	control.seen_count = 0;
	pthread_mutex_unlock(&control.lock);
	put(&f, 40);
	WAIT(atomic_load(&f.lane.durable) == f.lane.tail);
	assert_false(fixture_stop(&f, 1000));
	fixture_close(&f);
	control.submit = submit_take;
	control.seen_count = 0;
	fixture_open(&f, &plain_sink, false);
	WAIT(cursor_now(&f) == 100);
	fixture_stop(&f, DEADLINE_US);
	assert_seen_in_order(61, 100);
	fixture_fini(&f);
}

struct cursor_watch {
	struct fixture *f;
	_Atomic uint64_t stored;
	_Atomic bool ahead;
};

/* The cursor that a power cut leaves: never ahead of what the sink has. */
static void watch_cursor(void *context, uint64_t call)
{
	struct cursor_watch *w = context;
	char path[128];
	uint64_t sequence = 0;
	if (call % 3)
		return;
	struct sim *crashed = sim_crash(w->f->sim, call);
	snprintf(path, sizeof(path), "%s/cursors/test.cursor", root);
	if (cursor_peek(sim_disk(crashed), path, &sequence) == GW_OK) {
		if (!all_settled(sequence))
			w->ahead = true;
		w->stored = sequence > w->stored ? sequence : w->stored;
	}
	sim_free(crashed);
}

static void a_crash_leaves_the_cursor_behind_and_never_ahead(void **unused)
{
	(void)unused;
	struct fixture f;
	struct cursor_watch w = {.f = &f};
	fixture_init(&f);
	control.submit = submit_random;
	f.common.backoff_min = 1000;
	f.common.backoff_max = 2000;
	fixture_open(&f, &polled_sink, false);
	sim_watch(f.sim, watch_cursor, &w);
	for (int i = 0; i < 60; i++) {
		put(&f, 20);
		usleep(15000); /* the cursor is stored a few times a second */
	}
	WAIT((set_finish(3), cursor_now(&f) == f.put)); /* what the sink still holds is finished, too */
	assert_true(fixture_stop(&f, DEADLINE_US));
	sim_watch(f.sim, NULL, NULL);
	assert_false(w.ahead);
	assert_true(w.stored > 0);
	fixture_fini(&f);
}

static void a_journal_that_cannot_be_read_is_not_asked_without_rest(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.settings.tail_memory = 0;
	control.submit = submit_hold;
	f.common.in_flight = 1;
	f.common.batch_records = 10;
	fixture_open(&f, &polled_sink, false);
	put(&f, 2000);
	WAIT(atomic_load(&f.lane.durable) == f.lane.tail);
	WAIT(locked_size(&control.held_count) == 1);
	pthread_mutex_lock(&control.lock);
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	sim_fail(f.sim, 1, UINT64_MAX, EIO);
	uint64_t before = sim_calls(f.sim);
	set_finish(3);
	usleep(400000);
	assert_true(sim_calls(f.sim) - before < 300);
	assert_true(cursor_now(&f) < 2000);
	sim_fail(f.sim, UINT64_MAX / 2, 1, EIO); /* it works again */
	WAIT(cursor_now(&f) == 2000);
	fixture_stop(&f, DEADLINE_US);
	assert_seen_in_order(1, 2000);
	fixture_fini(&f);
}

static void a_listener_that_waits_for_delivery_does_not_wait_for_the_batch(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.delivered_to = 1;
	f.common.batch_age = 10000000;
	fixture_open(&f, &polled_sink, false);
	for (int i = 0; i < 20; i++) {
		put(&f, 1);
		int64_t since = clock_mono_us();
		WAIT(atomic_load(&f.lane.delivered) == f.lane.tail);
		assert_true(clock_mono_us() - since < 900000);
	}
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

static void the_state_of_a_sink_is_shown_until_it_works_again(void **unused)
{
	(void)unused;
	struct fixture f;
	char text[64];
	fixture_init(&f);
	fixture_open(&f, &plain_sink, false);
	sink_report_health(control.host, "topic is missing");
	pump_state(f.pump, text, sizeof(text));
	assert_string_equal(text, "topic is missing");
	assert_int_equal(stat_get(&pump_stats(f.pump)->up), 0);
	sink_report_health(control.host, NULL);
	pump_state(f.pump, text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(stat_get(&pump_stats(f.pump)->up), 1);
	pump_describe(f.pump, text, sizeof(text));
	assert_string_equal(text, "");
	assert_string_equal(pump_name(f.pump), "test");
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

static enum gw_err refuse_open(void *self, struct sink_host *host, struct why *why)
{
	(void)self, (void)host;
	return why_set(why, GW_CONFIG, "no such thing");
}

static void a_sink_that_does_not_open_is_told_by_its_name(void **unused)
{
	(void)unused;
	struct fixture f;
	struct why why = {.text = ""};
	fixture_init(&f);
	struct sink broken = plain_sink;
	broken.open = refuse_open;
	struct pump_plan plan = {.name = "bad", .sink = &broken, .settings = &f.own, .common = &f.common, .data = root};
	assert_int_equal(journal_open(&f.journal, &f.settings, sim_disk(f.sim), root, &f.stats, &why), GW_OK);
	assert_int_equal(pump_open(&f.pump, &plan, f.journal, sim_disk(f.sim), &why), GW_CONFIG);
	assert_string_equal(why.text, "sinks.bad: no such thing");
	assert_null(f.pump);
	fixture_fini(&f);
}

/* -- sinks whose target hangs -- */

static int hang[2]; /* a pipe: its target answers when there is something in it */

static enum gw_err submit_into_what_hangs(void *self, struct batch *b)
{
	char byte;
	(void)self;
	sink_outside(control.host, true);
	ssize_t n = read(hang[0], &byte, 1);
	sink_outside(control.host, false);
	if (n == 1)
		batch_done_all(b);
	batch_finish(b);
	return GW_OK;
}

static void a_target_that_hangs_holds_up_no_stop_and_is_reported(void **unused)
{
	(void)unused;
	struct fixture f;
	char text[600];
	struct sink sink = plain_sink;
	sink.submit = submit_into_what_hangs;
	assert_int_equal(pipe(hang), 0);
	fixture_init(&f);
	fixture_open(&f, &sink, false);
	put(&f, 10);
	WAIT((pump_state(f.pump, text, sizeof(text)), strstr(text, "has not returned for")));
	int64_t before = clock_mono_us();
	assert_false(fixture_stop(&f, 100000));
	assert_true(pump_is_blocked(f.pump));
	assert_true(clock_mono_us() - before < DEADLINE_US / 2);
	assert_int_equal(cursor_now(&f), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(write(hang[1], "x", 1), 1);
	WAIT((pump_join(f.pump), !pump_is_blocked(f.pump))); /* for the sake of the test alone */
	close(hang[0]);
	close(hang[1]);
	fixture_fini(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_refused_record_is_a_synced_dead_letter_before_the_cursor_passes_it),
	    TEST(dead_letters_survive_a_disk_that_fails),
	    TEST(a_full_file_holds_the_record_and_loses_none),
	    TEST(a_dead_letter_file_that_fails_is_a_state_that_names_it),
	    TEST(what_fails_for_too_long_is_given_up),
	    TEST(the_cursor_of_a_deferred_sink_waits_for_its_sync),
	    TEST(after_a_rewind_everything_since_the_sync_comes_again),
	    TEST(a_target_that_hangs_holds_up_no_stop_and_is_reported),
	    TEST(a_sync_that_comes_before_the_rewind_is_done_does_not_count),
	    TEST(a_stop_drains_and_tells_whether_it_could),
	    TEST(what_was_not_settled_comes_again_after_a_start),
	    TEST(a_crash_leaves_the_cursor_behind_and_never_ahead),
	    TEST(a_journal_that_cannot_be_read_is_not_asked_without_rest),
	    TEST(a_listener_that_waits_for_delivery_does_not_wait_for_the_batch),
	    TEST(the_state_of_a_sink_is_shown_until_it_works_again),
	    TEST(a_sink_that_does_not_open_is_told_by_its_name),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
