/* A pump between a real journal (on a simulated disk) and a sink that does what each test tells it: takes, refuses,
 * delays, forgets. */
#ifndef SLUICE_TEST_UNIT_GATEWAY_PUMP_PUMP_FIXTURE_H
#define SLUICE_TEST_UNIT_GATEWAY_PUMP_PUMP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/journal/record.h"
#include "gateway/pump/pump.h"
#include "test/unit/sim_disk.c"
#include "test/unit/temporary.h" /* the journal's lock is a real file; the rest of it exists in the simulation only */
#include "test/unit/threads.h"

#define DEADLINE_US 120000000 /* the machine may be busy; a test that waits so long has failed */
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

static inline void take(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		control.settled[b->items[i].sequence] = true;
	batch_done_all(b);
	batch_finish(b);
}

static inline enum gw_err submit_take(struct batch *b)
{
	take(b);
	return GW_OK;
}

static inline enum gw_err submit_hold(struct batch *b)
{
	if (control.held_count == HELD_MAX)
		abort();
	control.held[control.held_count++] = b;
	if (control.held_count > control.held_most)
		control.held_most = control.held_count;
	return GW_OK;
}

static inline enum gw_err test_open(void *self, struct sink_host *host, struct why *why)
{
	struct test_sink *s = self;
	(void)why;
	s->host = control.host = host;
	return GW_OK;
}

static inline void note(struct batch *b)
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

static inline enum gw_err test_submit(void *self, struct batch *b)
{
	(void)self;
	pthread_mutex_lock(&control.lock);
	note(b);
	enum gw_err err = control.submit(b);
	pthread_mutex_unlock(&control.lock);
	return err;
}

static inline void finish_held(size_t i)
{
	struct batch *b = control.held[i];
	memmove(control.held + i, control.held + i + 1, (--control.held_count - i) * sizeof(*control.held));
	take(b);
}

static inline void test_poll(void *self, int timeout_ms)
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

static inline void test_flush(void *self)
{
	(void)self;
	pthread_mutex_lock(&control.lock);
	control.flushes++;
	pthread_mutex_unlock(&control.lock);
}

static inline void test_close(void *self)
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

static inline void fixture_init(struct fixture *f)
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

static inline void fixture_open(struct fixture *f, const struct sink *sink, bool dead_letters)
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

static inline void put_kind(struct fixture *f, enum record_kind kind)
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

static inline void put(struct fixture *f, uint64_t count)
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

static inline uint64_t cursor_now(struct fixture *f)
{
	return cursor_get(pump_cursor(f->pump));
}

static inline size_t locked_size(const size_t *value)
{
	pthread_mutex_lock(&control.lock);
	size_t v = *value;
	pthread_mutex_unlock(&control.lock);
	return v;
}

static inline bool finish_done(int how)
{
	pthread_mutex_lock(&control.lock);
	bool done = control.finish == 0 || (how == 3 && control.held_count == 0);
	pthread_mutex_unlock(&control.lock);
	return done;
}

static inline void set_finish(int how)
{
	pthread_mutex_lock(&control.lock);
	control.finish = how;
	pthread_mutex_unlock(&control.lock);
	WAIT(finish_done(how));
}

/* What is held is done, and what comes from now on is taken at once. */
static inline void take_everything(void)
{
	pthread_mutex_lock(&control.lock);
	control.submit = submit_take;
	pthread_mutex_unlock(&control.lock);
	set_finish(3);
}

static inline bool fixture_stop(struct fixture *f, int64_t within_us)
{
	assert_int_equal(journal_stop(f->journal, clock_mono_us() + DEADLINE_US), GW_OK);
	pump_stop(f->pump, clock_mono_us() + within_us);
	return pump_join(f->pump);
}

static inline void fixture_close(struct fixture *f)
{
	pump_close(f->pump);
	journal_close(f->journal);
	lane_fini(&f->lane);
	assert_int_equal(sim_open_files(f->sim), 0);
}

static inline void fixture_fini(struct fixture *f)
{
	assert_false(control.wrong);
	fixture_close(f);
	sim_free(f->sim);
	pthread_mutex_destroy(&control.lock);
}

static inline void assert_seen_in_order(uint64_t from, uint64_t to)
{
	assert_int_equal(control.seen_count, to - from + 1);
	for (size_t i = 0; i < control.seen_count; i++)
		assert_int_equal(control.seen[i], from + i);
}

static inline enum gw_err submit_retry(struct batch *b)
{
	batch_retry_all(b, "down");
	batch_finish(b);
	return GW_OK;
}

static inline enum gw_err submit_random(struct batch *b)
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

static inline bool all_settled(uint64_t upto)
{
	bool all = true;
	pthread_mutex_lock(&control.lock);
	for (uint64_t s = 1; s <= upto && s < SEEN_MAX; s++)
		all &= control.settled[s];
	pthread_mutex_unlock(&control.lock);
	return all;
}

#endif
