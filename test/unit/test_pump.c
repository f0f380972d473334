/* The pump between a real journal (on a simulated disk) and a sink that does what each test tells it: takes, refuses,
 * delays, forgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/log.h"
#include "gateway/pump.h"
#include "gateway/record.h"
#include "test/unit/sim_disk.c"

#define DEADLINE_US 20000000
#define SEEN_MAX 20000
#define HELD_MAX 64

/* -- the sink -- */

/* What the test and the sink share; the sink runs on the pump's thread. */
static struct control {
	pthread_mutex_t lock;
	enum gw_err (*submit)(struct batch *b); /* under lock */
	uint64_t seen[SEEN_MAX];                /* sequences in the order of submission */
	size_t seen_count;
	bool settled[SEEN_MAX]; /* by sequence: the sink has it, or has refused it for good */
	size_t submits, most_records, most_bytes, flushes;
	int64_t submitted_us[1000];
	struct batch *held[HELD_MAX];
	size_t held_count, held_most;
	int finish; /* 1: poll finishes the oldest held, 2: the newest, 3: all */
	struct batch *known[HELD_MAX];
	size_t known_count; /* different batches seen */
	int count;          /* for the test's own use */
	struct sink_host *host;
	bool wrong;          /* a batch was not as it must be; told by fixture_fini */
	bool synced, rewind; /* what poll of the deferred sink shall say */
} control;

struct test_sink {
	struct sink_host *host;
};
static const struct setting no_settings[] = {SETTINGS_END};

static void take(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		control.settled[b->items[i].sequence] = true;
	batch_done_all(b);
	batch_finish(b);
}

static enum gw_err submit_take(struct batch *b)
{
	take(b);
	return GW_OK;
}

static enum gw_err submit_hold(struct batch *b)
{
	if (control.held_count == HELD_MAX)
		abort();
	control.held[control.held_count++] = b;
	if (control.held_count > control.held_most)
		control.held_most = control.held_count;
	return GW_OK;
}

static enum gw_err test_open(void *self, struct sink_host *host, struct why *why)
{
	struct test_sink *s = self;
	(void)why;
	s->host = control.host = host;
	return GW_OK;
}

static void note(struct batch *b)
{
	size_t k = 0;
	while (k < control.known_count && control.known[k] != b)
		k++;
	if (k == control.known_count && k < HELD_MAX)
		control.known[control.known_count++] = b;
	size_t bytes = 0;
	for (size_t i = 0; i < b->count; i++) {
		struct record r;
		record_read(&r, b->items[i].entry);
		bytes += r.json_len;
		control.wrong |= b->items[i].state != ITEM_PENDING || !record_check(b->items[i].entry, r.size) ||
		                 (uint64_t)r.time_us != b->items[i].sequence; /* the right bytes for the number */
		if (control.seen_count < SEEN_MAX)
			control.seen[control.seen_count++] = b->items[i].sequence;
	}
	control.wrong |= bytes != b->bytes;
	control.most_records = b->count > control.most_records ? b->count : control.most_records;
	control.most_bytes = bytes > control.most_bytes ? bytes : control.most_bytes;
	if (control.submits < 1000)
		control.submitted_us[control.submits] = clock_mono_us();
	control.submits++;
}

static enum gw_err test_submit(void *self, struct batch *b)
{
	(void)self;
	pthread_mutex_lock(&control.lock);
	note(b);
	enum gw_err err = control.submit(b);
	pthread_mutex_unlock(&control.lock);
	return err;
}

static void finish_held(size_t i)
{
	struct batch *b = control.held[i];
	memmove(control.held + i, control.held + i + 1, (--control.held_count - i) * sizeof(*control.held));
	take(b);
}

static void test_poll(void *self, int timeout_ms)
{
	struct test_sink *s = self;
	struct pollfd p = {.fd = s->host->wake_fd, .events = POLLIN};
	poll(&p, 1, timeout_ms < 20 ? timeout_ms : 20);
	pthread_mutex_lock(&control.lock);
	while (control.finish && control.held_count) {
		finish_held(control.finish == 2 ? control.held_count - 1 : 0);
		if (control.finish != 3)
			control.finish = 0;
	}
	if (control.rewind)
		sink_rewind(s->host);
	if (control.synced)
		sink_synced(s->host);
	control.rewind = false;
	pthread_mutex_unlock(&control.lock);
}

static void test_flush(void *self)
{
	(void)self;
	pthread_mutex_lock(&control.lock);
	control.flushes++;
	pthread_mutex_unlock(&control.lock);
}

static void test_close(void *self)
{
	(void)self;
}

static const struct sink plain_sink = {.name = "test",
                                       .size = sizeof(struct test_sink),
                                       .settings = no_settings,
                                       .open = test_open,
                                       .submit = test_submit,
                                       .close = test_close};
static const struct sink polled_sink = {.name = "test",
                                        .size = sizeof(struct test_sink),
                                        .settings = no_settings,
                                        .open = test_open,
                                        .submit = test_submit,
                                        .poll = test_poll,
                                        .flush = test_flush,
                                        .close = test_close};
static const struct sink deferred_sink = {.name = "test",
                                          .size = sizeof(struct test_sink),
                                          .settings = no_settings,
                                          .deferred = true,
                                          .open = test_open,
                                          .submit = test_submit,
                                          .poll = test_poll,
                                          .flush = test_flush,
                                          .close = test_close};

/* -- what stands around it -- */

static char root[64];

struct fixture {
	struct sim *sim;
	struct journal_settings settings;
	struct journal_stats stats;
	struct journal *journal;
	struct lane lane;
	struct sink_settings common;
	struct test_sink own;
	struct pump *pump;
	uint64_t put;
	uint64_t delivered_to;
};

static void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	memset(&control, 0, sizeof(control));
	pthread_mutex_init(&control.lock, NULL);
	control.submit = submit_take;
	f->sim = sim_new(root, 0);
	f->settings = (struct journal_settings){.type = JOURNAL_DISK,
	                                        .max_bytes = 16 << 20,
	                                        .max_share = 100,
	                                        .segment = 128 << 10,
	                                        .block = 16 << 10,
	                                        .tail_memory = 64 << 10};
	f->common = (struct sink_settings){.batch_records = 50,
	                                   .batch_bytes = 1 << 20,
	                                   .batch_age = 1000,
	                                   .in_flight = 4,
	                                   .backoff_min = 2000,
	                                   .backoff_max = 50000};
}

static void fixture_open(struct fixture *f, const struct sink *sink, bool dead_letters)
{
	struct why why = {.text = ""};
	if (journal_open(&f->journal, &f->settings, sim_disk(f->sim), root, &f->stats, &why))
		fail_msg("%s", why.text);
	struct pump_plan plan = {.name = "test",
	                         .sink = sink,
	                         .settings = &f->own,
	                         .common = &f->common,
	                         .data = root,
	                         .dead_letters = dead_letters};
	if (pump_open(&f->pump, &plan, f->journal, sim_disk(f->sim), &why))
		fail_msg("%s", why.text);
	f->put = journal_last(f->journal);
	assert_int_equal(lane_init(&f->lane, 256 << 10), GW_OK);
	assert_int_equal(journal_add_lane(f->journal, &f->lane, f->delivered_to), GW_OK);
	if (journal_start(f->journal, &why) || pump_start(f->pump, &why))
		fail_msg("%s", why.text);
}

static void put_kind(struct fixture *f, enum record_kind kind)
{
	int64_t until = clock_mono_us() + DEADLINE_US;
	size_t json = 40 + f->put * 7 % 120;
	uint8_t *entry;
	while (!(entry = lane_reserve(&f->lane, (RECORD_HEADER + json + 7) & ~(size_t)7))) {
		lane_publish(&f->lane);
		journal_wake(f->journal);
		usleep(100);
		assert_true(clock_mono_us() < until);
	}
	struct record r = {.kind = (uint8_t)kind, .json_len = (uint32_t)json, .time_us = (int64_t)++f->put};
	memset(entry + RECORD_HEADER, 'x', json);
	record_write(&r, entry);
	lane_commit(&f->lane, r.size);
}

static void put(struct fixture *f, uint64_t count)
{
	while (count-- > 0)
		put_kind(f, RECORD_TELEMETRY);
	lane_publish(&f->lane);
	journal_wake(f->journal);
}

#define WAIT(condition)                                                                                                \
	do {                                                                                                           \
		int64_t until_ = clock_mono_us() + DEADLINE_US;                                                        \
		while (!(condition)) {                                                                                 \
			if (clock_mono_us() > until_)                                                                  \
				fail_msg("waited for " #condition);                                                    \
			usleep(200);                                                                                   \
		}                                                                                                      \
	} while (0)

static uint64_t cursor_now(struct fixture *f)
{
	return cursor_get(pump_cursor(f->pump));
}

static size_t locked_size(const size_t *value)
{
	pthread_mutex_lock(&control.lock);
	size_t v = *value;
	pthread_mutex_unlock(&control.lock);
	return v;
}

static bool finish_done(int how)
{
	pthread_mutex_lock(&control.lock);
	bool done = control.finish == 0 || (how == 3 && control.held_count == 0);
	pthread_mutex_unlock(&control.lock);
	return done;
}

static void set_finish(int how)
{
	pthread_mutex_lock(&control.lock);
	control.finish = how;
	pthread_mutex_unlock(&control.lock);
	WAIT(finish_done(how));
}

static bool fixture_stop(struct fixture *f, int64_t within_us)
{
	assert_int_equal(journal_stop(f->journal, clock_mono_us() + DEADLINE_US), GW_OK);
	pump_stop(f->pump, clock_mono_us() + within_us);
	return pump_join(f->pump);
}

static void fixture_close(struct fixture *f)
{
	pump_close(f->pump);
	journal_close(f->journal);
	lane_fini(&f->lane);
	assert_int_equal(sim_open_files(f->sim), 0);
}

static void fixture_fini(struct fixture *f)
{
	assert_false(control.wrong);
	fixture_close(f);
	sim_free(f->sim);
	pthread_mutex_destroy(&control.lock);
}

static void assert_seen_in_order(uint64_t from, uint64_t to)
{
	assert_int_equal(control.seen_count, to - from + 1);
	for (size_t i = 0; i < control.seen_count; i++)
		assert_int_equal(control.seen[i], from + i);
}

/* -- the plain way -- */

static void every_record_comes_once_in_order_and_the_cursor_follows(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f, &plain_sink, false);
	for (int i = 0; i < 40; i++) {
		put(&f, (uint64_t)(1 + i * 7 % 50));
		usleep(100);
	}
	WAIT(cursor_now(&f) == f.put);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, f.put);
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), f.put);
	assert_int_equal(stat_get(&pump_stats(f.pump)->in_flight), 0);
	fixture_fini(&f);
}

static void a_batch_keeps_to_its_limits(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_records = 7;
	fixture_open(&f, &plain_sink, false);
	put(&f, 1000);
	WAIT(cursor_now(&f) == 1000);
	assert_int_equal(control.most_records, 7);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
	fixture_init(&f);
	f.common.batch_bytes = 1024;
	fixture_open(&f, &plain_sink, false);
	put(&f, 1000);
	WAIT(cursor_now(&f) == 1000);
	assert_true(control.most_bytes <= 1024 && control.most_bytes > 800);
	fixture_stop(&f, DEADLINE_US);
	assert_seen_in_order(1, 1000);
	fixture_fini(&f);
}

static void a_batch_waits_no_longer_than_its_age(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_age = 300000;
	fixture_open(&f, &plain_sink, false);
	int64_t since = clock_mono_us();
	put(&f, 1);
	WAIT(cursor_now(&f) == 1);
	assert_in_range(clock_mono_us() - since, 290000, 5000000);
	put(&f, 50); /* a full one does not wait */
	WAIT(cursor_now(&f) == 51);
	fixture_stop(&f, DEADLINE_US);
	assert_int_equal(control.submits, 2);
	fixture_fini(&f);
}

static void each_pump_gets_its_kind_and_passes_the_others(void **unused)
{
	(void)unused;
	for (int dead = 0; dead < 2; dead++) {
		struct fixture f;
		fixture_init(&f);
		fixture_open(&f, &plain_sink, dead);
		for (int i = 0; i < 300; i++)
			put_kind(&f, i % 3 == 0 ? RECORD_TELEMETRY : i % 3 == 1 ? RECORD_DEAD : RECORD_STATE);
		put_kind(&f, (enum record_kind)200); /* of a later version */
		lane_publish(&f.lane);
		journal_wake(f.journal);
		WAIT(cursor_now(&f) == 301);
		assert_true(fixture_stop(&f, DEADLINE_US));
		assert_int_equal(control.seen_count, 100);
		for (size_t i = 0; i < 100; i++)
			assert_int_equal(control.seen[i], 3 * i + 1 + (size_t)dead);
		fixture_fini(&f);
	}
}

static void what_lags_is_read_from_disk(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.settings.tail_memory = 0;
	control.submit = submit_hold;
	f.common.in_flight = 1;
	fixture_open(&f, &polled_sink, false);
	put(&f, 5000);
	WAIT(atomic_load(&f.lane.durable) == f.lane.tail);
	pthread_mutex_lock(&control.lock);
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	set_finish(3);
	WAIT(cursor_now(&f) == 5000);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 5000);
	fixture_fini(&f);
}

/* -- refusals -- */

static enum gw_err submit_some_retry(struct batch *b) /* sequences that end with 3 work with the third try */
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].sequence % 10 == 3 && b->attempt < 2) {
			batch_retry(b, i, "not now, %d", 3);
		} else {
			control.settled[b->items[i].sequence] = true;
			batch_done(b, i);
		}
	batch_finish(b);
	return GW_OK;
}

static void what_is_retried_comes_again_before_anything_else(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	control.submit = submit_some_retry;
	f.common.batch_age = 10000000; /* only full ones */
	fixture_open(&f, &plain_sink, false);
	put(&f, 100);
	WAIT(cursor_now(&f) == 100);
	assert_true(fixture_stop(&f, DEADLINE_US));
	size_t times[101] = {0};
	uint64_t newest = 0;
	for (size_t i = 0; i < control.seen_count; i++) {
		uint64_t s = control.seen[i];
		if (times[s]++ == 0) {
			assert_int_equal(s, ++newest);
			if (s > 51)
				assert_int_equal(times[43], 3); /* the first batch is through before the next begins */
		}
	}
	for (uint64_t s = 1; s <= 100; s++)
		assert_int_equal(times[s], s % 10 == 3 ? 3 : 1);
	assert_int_equal(stat_get(&pump_stats(f.pump)->retried), 20);
	fixture_fini(&f);
}

static enum gw_err submit_retry(struct batch *b)
{
	batch_retry_all(b, "down");
	batch_finish(b);
	return GW_OK;
}

static void a_sink_that_is_down_is_asked_once_per_back_off(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.backoff_min = 20000;
	f.common.backoff_max = 80000;
	control.submit = submit_retry;
	fixture_open(&f, &plain_sink, false);
	put(&f, 1000);
	WAIT(locked_size(&control.submits) >= 8);
	pthread_mutex_lock(&control.lock);
	for (size_t i = 1; i < 8; i++) { /* 20, 40, 80, 80 ... with jitter down to half */
		int64_t waited = control.submitted_us[i] - control.submitted_us[i - 1];
		int64_t least = i == 1 ? 10000 : i == 2 ? 20000 : 40000;
		assert_in_range(waited, least, 3000000);
	}
	for (size_t i = 0; i < control.seen_count; i++)
		assert_int_equal(control.seen[i], 1 + i % 50); /* always the same batch, nothing overtakes */
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	WAIT(cursor_now(&f) == 1000);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

static enum gw_err submit_fail_together(struct batch *b)
{
	submit_hold(b);
	if (control.held_count == 4) {
		control.count++;
		while (control.held_count) {
			struct batch *one = control.held[--control.held_count];
			batch_retry_all(one, "down");
			batch_finish(one);
		}
	}
	return GW_OK;
}

static void batches_that_fail_together_lengthen_the_back_off_once(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.backoff_min = 20000;
	f.common.backoff_max = 10000000;
	control.submit = submit_fail_together;
	f.common.batch_age = 10000000; /* only full ones */
	fixture_open(&f, &polled_sink, false);
	put(&f, 1000);
	WAIT(locked_size(&control.submits) >= 12); /* three rounds of four */
	pthread_mutex_lock(&control.lock);
	assert_true(control.submitted_us[4] - control.submitted_us[3] >= 10000);
	assert_true(control.submitted_us[8] - control.submitted_us[4] < 400000); /* 40 ms, not 20 * 2^8 */
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	set_finish(3);
	WAIT(cursor_now(&f) == 1000);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

static enum gw_err submit_again(struct batch *b)
{
	if (control.count++ % 3 != 2) {
		control.seen_count -= b->count; /* it was not taken */
		return GW_AGAIN;
	}
	take(b);
	return GW_OK;
}

static void what_the_sink_cannot_take_now_is_offered_again_in_its_place(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	control.submit = submit_again;
	fixture_open(&f, &polled_sink, false);
	put(&f, 300);
	WAIT(cursor_now(&f) == 300);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 300);
	fixture_fini(&f);
}

static enum gw_err submit_retry_after(struct batch *b)
{
	if (control.count++ == 0) {
		b->retry_after_ms = 300;
		return submit_retry(b);
	}
	return submit_take(b);
}

static void the_sinks_own_retry_after_is_kept(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.backoff_max = 1000000;
	control.submit = submit_retry_after;
	fixture_open(&f, &plain_sink, false);
	put(&f, 10);
	WAIT(cursor_now(&f) == 10);
	assert_in_range(control.submitted_us[1] - control.submitted_us[0], 295000, 5000000);
	fixture_stop(&f, DEADLINE_US);
	fixture_fini(&f);
}

/* -- several in flight -- */

static void no_more_batches_are_with_the_sink_than_allowed(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.in_flight = 3;
	f.common.batch_age = 10000000; /* only full ones */
	control.submit = submit_hold;
	fixture_open(&f, &polled_sink, false);
	put(&f, 1000);
	WAIT(locked_size(&control.held_count) == 3);
	usleep(50000);
	assert_int_equal(locked_size(&control.held_count), 3);
	assert_int_equal(stat_get(&pump_stats(f.pump)->in_flight), 150);
	set_finish(2); /* the newest first: the cursor must not move over the others */
	WAIT(locked_size(&control.submits) == 4);
	assert_int_equal(cursor_now(&f), 0);
	set_finish(1); /* the oldest */
	WAIT(cursor_now(&f) == 50);
	set_finish(1); /* the second: the third was finished long ago */
	WAIT(cursor_now(&f) == 150);
	set_finish(3);
	WAIT(cursor_now(&f) == 1000);
	assert_int_equal(control.held_most, 3);
	fixture_stop(&f, DEADLINE_US);
	assert_seen_in_order(1, 1000);
	fixture_fini(&f);
}

static enum gw_err submit_hold_first(struct batch *b)
{
	if (b->items[0].sequence == 1)
		return submit_hold(b);
	return submit_take(b);
}

static void one_slow_batch_does_not_make_the_others_pile_up(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_records = 10;
	f.common.batch_age = 10000000; /* only full ones */
	control.submit = submit_hold_first;
	fixture_open(&f, &polled_sink, false);
	put(&f, 8000);
	WAIT(locked_size(&control.submits) == 800);
	assert_int_equal(cursor_now(&f), 0);
	assert_true(control.known_count <= 8); /* batches are used again, not kept until the first is done */
	set_finish(1);
	WAIT(cursor_now(&f) == 8000);
	assert_true(fixture_stop(&f, DEADLINE_US));
	assert_seen_in_order(1, 8000);
	fixture_fini(&f);
}

static enum gw_err submit_random(struct batch *b)
{
	static unsigned random = 1;
	switch (rand_r(&random) % 5) {
	case 0:
		for (size_t i = 0; i < b->count; i++)
			if (rand_r(&random) % 3) {
				control.settled[b->items[i].sequence] = true;
				batch_done(b, i);
			} /* the others are pending: the same as a retry */
		batch_finish(b);
		return GW_OK;
	case 1: return submit_take(b);
	case 2: control.seen_count -= b->count; return GW_AGAIN;
	default:
		submit_hold(b);
		control.finish = 1 + rand_r(&random) % 3;
		return GW_OK;
	}
}

static bool all_settled(uint64_t upto)
{
	bool all = true;
	pthread_mutex_lock(&control.lock);
	for (uint64_t s = 1; s <= upto && s < SEEN_MAX; s++)
		all &= control.settled[s];
	pthread_mutex_unlock(&control.lock);
	return all;
}

static void the_cursor_never_passes_what_the_sink_has_not(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	f.common.batch_records = 9;
	f.common.backoff_min = 1000;
	f.common.backoff_max = 2000;
	control.submit = submit_random;
	fixture_open(&f, &polled_sink, false);
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (f.put < 3000) {
		put(&f, 20);
		assert_true(all_settled(cursor_now(&f)));
		usleep(300);
	}
	while (cursor_now(&f) < f.put) {
		assert_true(all_settled(cursor_now(&f)));
		assert_true(clock_mono_us() < until);
		usleep(300);
	}
	assert_true(fixture_stop(&f, DEADLINE_US));
	fixture_fini(&f);
}

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
	WAIT(cursor_now(&f) == f.put);
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
	sink_state(control.host, "topic is missing");
	pump_state(f.pump, text, sizeof(text));
	assert_string_equal(text, "topic is missing");
	assert_int_equal(stat_get(&pump_stats(f.pump)->up), 0);
	sink_state(control.host, NULL);
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

static int make_root(void **unused)
{
	(void)unused;
	snprintf(root, sizeof(root), "/tmp/sluice-pump-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **unused)
{
	(void)unused;
	char path[128];
	snprintf(path, sizeof(path), "%s/lock", root);
	unlink(path);
	return rmdir(root);
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(every_record_comes_once_in_order_and_the_cursor_follows),
	    TEST(a_batch_keeps_to_its_limits),
	    TEST(a_batch_waits_no_longer_than_its_age),
	    TEST(each_pump_gets_its_kind_and_passes_the_others),
	    TEST(what_lags_is_read_from_disk),
	    TEST(what_is_retried_comes_again_before_anything_else),
	    TEST(a_sink_that_is_down_is_asked_once_per_back_off),
	    TEST(batches_that_fail_together_lengthen_the_back_off_once),
	    TEST(what_the_sink_cannot_take_now_is_offered_again_in_its_place),
	    TEST(the_sinks_own_retry_after_is_kept),
	    TEST(no_more_batches_are_with_the_sink_than_allowed),
	    TEST(one_slow_batch_does_not_make_the_others_pile_up),
	    TEST(the_cursor_never_passes_what_the_sink_has_not),
	    TEST(a_refused_record_is_a_synced_dead_letter_before_the_cursor_passes_it),
	    TEST(dead_letters_survive_a_disk_that_fails),
	    TEST(what_fails_for_too_long_is_given_up),
	    TEST(the_cursor_of_a_deferred_sink_waits_for_its_sync),
	    TEST(after_a_rewind_everything_since_the_sync_comes_again),
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
