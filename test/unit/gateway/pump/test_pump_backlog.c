/* What gathered during an outage: in which order and at which rate it comes, that nothing of it is lost, and what a crash
 * repeats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "test/unit/gateway/pump/pump_fixture.h"

#define BACKLOG 2000

static enum gw_err submit_down(struct batch *b)
{
	sink_report_health(control.host, "is away");
	return submit_retry(b);
}

static enum gw_err submit_up(struct batch *b)
{
	sink_report_health(control.host, NULL);
	return submit_take(b);
}

static void set_submit(enum gw_err (*submit)(struct batch *b))
{
	pthread_mutex_lock(&control.lock);
	control.submit = submit;
	pthread_mutex_unlock(&control.lock);
}

static void begin(struct fixture *f, int order, int64_t rate)
{
	fixture_init(f);
	f->common.replay_order = order;
	f->common.replay_rate = rate;
	f->common.replay_after = 1000;
	f->common.backoff_min = 1000;
	f->common.backoff_max = 2000;
}

static bool is_settled(uint64_t from, uint64_t to)
{
	bool all = true;
	pthread_mutex_lock(&control.lock);
	for (uint64_t s = from; s <= to; s++)
		all &= control.settled[s];
	pthread_mutex_unlock(&control.lock);
	return all;
}

/* The sink is away while count records gather. On return it has come back. */
static void outage(struct fixture *f, uint64_t count)
{
	set_submit(submit_down);
	size_t before = locked_size(&control.submits);
	put(f, 1); /* meets the outage */
	WAIT(locked_size(&control.submits) > before + 2);
	put(f, count);
	WAIT(journal_last(f->journal) == f->put);
	usleep(2000); /* replay_after: it was long enough */
	pthread_mutex_lock(&control.lock);
	control.seen_count = 0;
	control.submit = submit_up;
	pthread_mutex_unlock(&control.lock);
}

static uint64_t replay_left_now(struct fixture *f)
{
	return stat_get(&pump_stats(f->pump)->replay_left);
}

/* Nothing was seen twice since the last clearing. */
static void assert_seen_once(uint64_t from, uint64_t to)
{
	static unsigned times[SEEN_MAX];
	memset(times, 0, sizeof(times));
	for (size_t i = 0; i < control.seen_count; i++)
		times[control.seen[i]]++;
	for (uint64_t s = from; s <= to; s++)
		if (times[s] != 1)
			fail_msg("%llu came %u times", (unsigned long long)s, times[s]);
}

static void the_new_goes_first_and_what_gathered_follows_at_its_rate(void **unused)
{
	(void)unused;
	struct fixture f;
	begin(&f, REPLAY_LIVE_FIRST, 4000);
	fixture_open(&f, &plain_sink, false);
	int64_t since = clock_mono_us();
	outage(&f, BACKLOG);
	WAIT(replay_left_now(&f) > BACKLOG / 2);
	uint64_t new_from = f.put + 1;
	for (int i = 0; i < 5; i++) {
		put(&f, 30);
		WAIT(is_settled(new_from, f.put));
	}
	/* The cursor stays behind what is missing. Of 4000 a second not all can have come, unless this machine stood. */
	if (clock_mono_us() - since < 300000)
		assert_true(cursor_now(&f) < new_from - 1);
	WAIT(cursor_now(&f) == f.put);
	WAIT(replay_left_now(&f) == 0);
	assert_true(clock_mono_us() - since > (BACKLOG - 600) * INT64_C(1000000) / 4000);
	assert_true(stat_get(&pump_stats(f.pump)->replayed) > BACKLOG / 2);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_true(all_settled(f.put));
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), f.put);
	fixture_fini(&f);
}

static void oldest_first_keeps_the_order_also_at_a_rate(void **unused)
{
	(void)unused;
	struct fixture f;
	begin(&f, REPLAY_OLDEST_FIRST, 5000);
	f.common.batch_age = 0;
	fixture_open(&f, &plain_sink, false);
	int64_t since = clock_mono_us();
	outage(&f, BACKLOG);
	uint64_t last = f.put;
	WAIT(replay_left_now(&f) > 0);
	put(&f, BACKLOG); /* these are no backlog: only what was there before is slowed */
	WAIT(cursor_now(&f) >= last);
	assert_true(clock_mono_us() - since > (BACKLOG - 800) * INT64_C(1000000) / 5000);
	WAIT(cursor_now(&f) == f.put);
	assert_true(stat_get(&pump_stats(f.pump)->replayed) <= last);
	assert_true(fixture_stop(&f, DEADLINE_US));
	for (size_t i = 1; i < control.seen_count; i++)
		assert_true(control.seen[i] > control.seen[i - 1]);
	assert_true(all_settled(f.put));
	fixture_fini(&f);
}

static void short_trouble_and_small_backlogs_are_no_outage(void **unused)
{
	(void)unused;
	for (int small = 0; small < 2; small++) {
		struct fixture f;
		begin(&f, REPLAY_LIVE_FIRST, 1);
		if (!small)
			f.common.replay_after = 3600000000;
		fixture_open(&f, &plain_sink, false);
		outage(&f, small ? 40 : BACKLOG);
		WAIT(cursor_now(&f) == f.put); /* with one a second it would take too long */
		assert_true(fixture_stop(&f, DEADLINE_US));
		assert_int_equal(stat_get(&pump_stats(f.pump)->replayed), 0);
		fixture_fini(&f);
	}
}

static void the_replay_leaves_a_place_for_what_is_new(void **unused)
{
	(void)unused;
	struct fixture f;
	begin(&f, REPLAY_LIVE_FIRST, 1000);
	fixture_open(&f, &polled_sink, false);
	outage(&f, BACKLOG);
	WAIT(replay_left_now(&f) > 0);
	set_submit(submit_hold);
	WAIT(locked_size(&control.held_count) == 3);
	put(&f, 50);
	/* Though nothing of the backlog is given back, the new is with the sink. */
	WAIT(locked_size(&control.held_count) == 4);
	uint64_t newest = 0;
	pthread_mutex_lock(&control.lock);
	for (size_t i = 0; i < control.held_count; i++) {
		uint64_t sequence = control.held[i]->items[0].sequence;
		newest = sequence > newest ? sequence : newest;
	}
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	assert_true(newest > BACKLOG + 1);
	set_finish(3);
	WAIT(cursor_now(&f) == f.put);
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

static void what_is_new_does_not_keep_the_replay_back_for_ever(void **unused)
{
	(void)unused;
	struct fixture f;
	begin(&f, REPLAY_LIVE_FIRST, 0);
	f.common.in_flight = 1;
	f.common.batch_age = 0;
	f.common.batch_records = 5;
	fixture_open(&f, &plain_sink, false);
	outage(&f, 500);
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (cursor_now(&f) < 500 && f.put < SEEN_MAX - 100) {
		put(&f, 20);
		/* There is always something new, but not all that this test may put at once. */
		while (f.put - stat_get(&pump_stats(f.pump)->delivered) > 600)
			assert_true(clock_mono_us() < until);
	}
	assert_true(cursor_now(&f) >= 500); /* though new ones came all the time */
	WAIT(cursor_now(&f) == f.put);
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

static void what_is_there_at_the_start_is_a_backlog_too(void **unused)
{
	(void)unused;
	struct fixture f;
	begin(&f, REPLAY_LIVE_FIRST, 0);
	control.submit = submit_down;
	fixture_open(&f, &plain_sink, false);
	put(&f, BACKLOG);
	WAIT(journal_last(f.journal) == BACKLOG);
	assert_false(fixture_stop(&f, 0));
	fixture_close(&f);
	control.submit = submit_up;
	control.seen_count = 0;
	f.common.replay_rate = 2000;
	int64_t since = clock_mono_us();
	fixture_open(&f, &plain_sink, false);
	put(&f, 10);
	WAIT(is_settled(BACKLOG + 1, BACKLOG + 10));
	if (clock_mono_us() - since < 500000) /* else this machine stood; it is a second's worth */
		assert_false(all_settled(BACKLOG));
	WAIT(cursor_now(&f) == f.put);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_once(1, f.put);
	fixture_fini(&f);
}

/* Takes up what a power cut (0: a stop) left, and delivers the rest. Before: what is new was delivered ahead. */
static void take_up(struct fixture *f, struct sim *disk, int order, int64_t rate)
{
	sim_free(f->sim);
	f->sim = disk;
	f->common.replay_order = order;
	f->common.replay_rate = rate;
	control.seen_count = 0;
	fixture_open(f, &plain_sink, false);
	WAIT(cursor_now(f) == f->put);
	assert_true(fixture_stop(f, DEADLINE_US));
	assert_true(all_settled(f->put));
}

/* The disk after a power cut now; NULL: it does not say that the sink has all up to `to`. */
static struct sim *crash_with_ahead(struct sim *sim, uint64_t seed, uint64_t to)
{
	struct cursor c;
	bool existed;
	struct why why;
	char dir[100];
	snprintf(dir, sizeof(dir), "%s/cursors", root);
	struct sim *crashed = sim_crash(sim, seed);
	bool stored =
	    cursor_open(&c, &(struct cursor_file){sim_disk(crashed), dir, "test", NULL}, 0, &existed, &why) == GW_OK &&
	    c.ahead_count > 0 && c.ahead[c.ahead_count - 1].to >= to;
	cursor_close(&c);
	if (!stored) {
		sim_free(crashed);
		return NULL;
	}
	return crashed;
}

static void a_crash_does_not_repeat_what_went_ahead(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 4; seed++) {
		struct fixture f;
		begin(&f, REPLAY_LIVE_FIRST, 100);
		fixture_open(&f, &plain_sink, false);
		outage(&f, BACKLOG);
		WAIT(replay_left_now(&f) > 0);
		put(&f, 700);
		WAIT(is_settled(BACKLOG + 2, f.put));
		uint64_t ahead = f.put;
		struct sim *crashed = NULL;
		if (seed < 2) /* a power cut, once it was stored */
			WAIT((crashed = crash_with_ahead(f.sim, seed, ahead)));
		assert_false(fixture_stop(&f, 0));
		if (!crashed)
			crashed = sim_copy(f.sim);
		fixture_close(&f);
		take_up(&f, crashed, seed % 2 ? REPLAY_LIVE_FIRST : REPLAY_OLDEST_FIRST, 0);
		for (size_t i = 0; i < control.seen_count; i++)
			assert_true(control.seen[i] <= BACKLOG + 1 || control.seen[i] > ahead);
		assert_true(control.seen_count > BACKLOG / 2);
		fixture_fini(&f);
	}
}

static void what_went_ahead_is_not_believed_when_the_journal_has_lost_it(void **unused)
{
	(void)unused;
	struct fixture f;
	begin(&f, REPLAY_OLDEST_FIRST, 0);
	struct cursor c;
	bool existed;
	struct why why;
	char dir[100];
	snprintf(dir, sizeof(dir), "%s/cursors", root);
	sim_disk(f.sim)->make_dir(sim_disk(f.sim), dir);
	assert_int_equal(cursor_open(&c, &(struct cursor_file){sim_disk(f.sim), dir, "test", NULL}, 0, &existed, &why),
	                 GW_OK);
	cursor_set_ahead(&c, &(struct cursor_stretch){20, 60}, 1);
	assert_int_equal(cursor_save(&c), GW_OK);
	cursor_close(&c);
	fixture_open(&f, &plain_sink, false);
	put(&f, 100); /* other records than those */
	WAIT(cursor_now(&f) == 100);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 100);
	fixture_fini(&f);
}

/* -- whatever happens -- */

static enum gw_err submit_weather(struct batch *b)
{
	static unsigned random = 3;
	switch (rand_r(&random) % 8) {
	case 0: return submit_down(b);
	case 1: control.seen_count -= b->count; return GW_AGAIN;
	case 2:
	case 3:
		submit_hold(b);
		control.finish = 1 + rand_r(&random) % 3;
		return GW_OK;
	default: return submit_up(b);
	}
}

struct watch {
	struct fixture *f;
	_Atomic unsigned looked, ahead;
	_Atomic bool wrong;
};

/* What a power cut now would leave: the stored cursor, and what is stored as ahead of it, are true. */
static void watch_cursor(void *context, uint64_t call)
{
	struct watch *w = context;
	struct cursor c;
	bool existed;
	struct why why;
	char dir[100];
	if (call % 3)
		return;
	struct sim *crashed = sim_crash(w->f->sim, call);
	snprintf(dir, sizeof(dir), "%s/cursors", root);
	if (cursor_open(&c, &(struct cursor_file){sim_disk(crashed), dir, "test", NULL}, 0, &existed, &why) == GW_OK) {
		w->wrong = w->wrong || !all_settled(cursor_get(&c));
		for (size_t i = 0; i < c.ahead_count; i++)
			w->wrong = w->wrong || !is_settled(c.ahead[i].from, c.ahead[i].to);
		w->ahead += c.ahead_count > 0;
		w->looked++;
		cursor_close(&c);
	}
	sim_free(crashed);
}

static void what_is_stored_is_true_in_any_weather(void **unused)
{
	(void)unused;
	struct fixture f;
	struct watch w = {.f = &f};
	begin(&f, REPLAY_LIVE_FIRST, 800); /* slow: what is ahead is stored only four times a second */
	f.common.batch_records = 20;
	f.common.replay_after = 0;
	control.submit = submit_weather;
	fixture_open(&f, &polled_sink, false);
	sim_watch(f.sim, watch_cursor, &w);
	/* On a busy machine it may take longer until something was stored as ahead while this looked. */
	for (int i = 0; i < 60 || (i < 300 && !(w.looked > 10 && w.ahead > 0)); i++) {
		put(&f, 60);
		usleep(15000);
		if (i % 15 == 5)
			set_submit(submit_down);
		if (i % 15 == 9)
			set_submit(submit_weather);
	}
	set_submit(submit_up);
	set_finish(3);
	WAIT(cursor_now(&f) == f.put);
	assert_true(fixture_stop(&f, DEADLINE_US));
	sim_watch(f.sim, NULL, NULL);
	assert_false(w.wrong);
	assert_true(w.looked > 10 && w.ahead > 0);
	assert_true(all_settled(f.put));
	assert_true(stat_get(&pump_stats(f.pump)->replayed) > 0);
	fixture_fini(&f);
}

/* A deferred sink takes a batch, and only its sync makes it settled; a rewind forgets what was not. */
static bool unsynced[SEEN_MAX];

static enum gw_err submit_unsynced(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		unsynced[b->items[i].sequence] = true;
	batch_done_all(b);
	batch_finish(b);
	return GW_OK;
}

/* Under the lock, from the pump's own thread: poll and submit are the only ones that are called with it. */
static void deferred_poll(void *self, int timeout_ms)
{
	struct test_sink *s = self;
	static unsigned random = 9;
	struct pollfd p = {.fd = s->host->wake_fd, .events = POLLIN};
	poll(&p, 1, timeout_ms < 2 ? timeout_ms : 2);
	pthread_mutex_lock(&control.lock);
	unsigned what = (unsigned)rand_r(&random) % 10;
	if (control.count || what < 5) {
		for (size_t i = 0; i < SEEN_MAX; i++)
			control.settled[i] |= unsynced[i];
		memset(unsynced, 0, sizeof(unsynced));
		sink_report_health(s->host, NULL);
		sink_synced(s->host);
	} else if (what == 5) {
		memset(unsynced, 0, sizeof(unsynced));
		sink_report_health(s->host, "the disk failed");
		sink_rewind(s->host);
	}
	pthread_mutex_unlock(&control.lock);
}

static void a_sink_that_syncs_later_loses_nothing_either(void **unused)
{
	(void)unused;
	struct fixture f;
	struct sink sink = deferred_sink;
	sink.poll = deferred_poll;
	memset(unsynced, 0, sizeof(unsynced));
	begin(&f, REPLAY_LIVE_FIRST, 20000);
	f.common.batch_records = 10;
	f.common.replay_after = 0;
	control.submit = submit_unsynced;
	fixture_open(&f, &sink, false);
	for (int i = 0; i < 200; i++) {
		put(&f, 40);
		usleep(2000);
		assert_true(all_settled(cursor_now(&f)));
	}
	pthread_mutex_lock(&control.lock);
	control.count = 1;
	pthread_mutex_unlock(&control.lock);
	WAIT(cursor_now(&f) == f.put);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_true(all_settled(f.put));
	assert_true(stat_get(&pump_stats(f.pump)->replayed) > 0);
	fixture_fini(&f);
}

static enum gw_err submit_again(struct batch *b)
{
	control.seen_count -= b->count;
	return GW_AGAIN;
}

/* What the sink says in its next turn, once: 1 it works and has synced, 2 it is in trouble and has lost what was not. */
static int word;

static void spoken_poll(void *self, int timeout_ms)
{
	struct test_sink *s = self;
	struct pollfd p = {.fd = s->host->wake_fd, .events = POLLIN};
	poll(&p, 1, timeout_ms < 2 ? timeout_ms : 2);
	pthread_mutex_lock(&control.lock);
	for (size_t i = 0; i < SEEN_MAX && (word || control.count); i++) {
		control.settled[i] |= unsynced[i] && word != 2;
		unsynced[i] = false;
	}
	if (word == 2) {
		sink_report_health(s->host, "the disk failed");
		sink_rewind(s->host);
	} else if (word == 1 || control.count) {
		sink_report_health(s->host, NULL);
		sink_synced(s->host);
	}
	word = 0;
	pthread_mutex_unlock(&control.lock);
}

static bool spoken(void)
{
	pthread_mutex_lock(&control.lock);
	bool done = word == 0;
	pthread_mutex_unlock(&control.lock);
	return done;
}

static void say(int what)
{
	pthread_mutex_lock(&control.lock);
	word = what;
	pthread_mutex_unlock(&control.lock);
	WAIT(spoken());
}

static void a_backlog_that_grew_and_is_given_back_keeps_what_it_was(void **unused)
{
	(void)unused;
	struct fixture f;
	struct sink sink = deferred_sink;
	sink.poll = spoken_poll;
	memset(unsynced, 0, sizeof(unsynced));
	begin(&f, REPLAY_LIVE_FIRST, 200);
	f.common.batch_records = 10;
	f.common.replay_after = 0;
	f.common.backoff_min = f.common.backoff_max = 300000;
	control.submit = submit_again;
	fixture_open(&f, &sink, false);
	say(2);
	put(&f, 100);
	WAIT(journal_last(f.journal) == 100);
	say(1);
	WAIT(replay_left_now(&f) > 0); /* it is left out */
	set_submit(submit_unsynced);
	WAIT(stat_get(&pump_stats(f.pump)->batches) > 0);
	say(1);
	say(2);
	put(&f, 100); /* the sink is left alone: nothing of it is read ... */
	WAIT(journal_last(f.journal) == 200);
	say(1); /* ... and the backlog grows by it */
	WAIT(replay_left_now(&f) > 100);
	say(2); /* nothing was synced meanwhile: the live track goes back */
	pthread_mutex_lock(&control.lock);
	control.count = 1;
	pthread_mutex_unlock(&control.lock);
	WAIT(cursor_now(&f) == 200);
	assert_true(all_settled(200));
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_new_goes_first_and_what_gathered_follows_at_its_rate),
	    TEST(oldest_first_keeps_the_order_also_at_a_rate),
	    TEST(short_trouble_and_small_backlogs_are_no_outage),
	    TEST(the_replay_leaves_a_place_for_what_is_new),
	    TEST(what_is_new_does_not_keep_the_replay_back_for_ever),
	    TEST(what_is_there_at_the_start_is_a_backlog_too),
	    TEST(a_crash_does_not_repeat_what_went_ahead),
	    TEST(what_went_ahead_is_not_believed_when_the_journal_has_lost_it),
	    TEST(what_is_stored_is_true_in_any_weather),
	    TEST(a_sink_that_syncs_later_loses_nothing_either),
	    TEST(a_backlog_that_grew_and_is_given_back_keeps_what_it_was),
	};
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
