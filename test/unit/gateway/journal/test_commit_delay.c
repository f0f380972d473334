/* The law of commit_delay.h, played with a clock of its own: senders that wait, senders that do not, and what each loses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/journal/commit_delay.h"

#define MOST 8000
#define COMMIT 200 /* us that a commit takes */
#define TRIP 150   /* us from an answer to the next message of a sender that waits */
#define SENDERS 64

/* A world of senders: each sends at next[i]; answered, it sends again after think_us (closed) or at its own time. */
struct world {
	struct commit_delay delay;
	int64_t now, started;
	int64_t next[SENDERS];
	size_t senders;
	int64_t think_us; /* closed: from the answer to the next message; 0 with period_us: open */
	int64_t period_us;
	bool at_random; /* periods and thinking times vary */
	unsigned random;
	uint64_t records, commits, delayed;
};

static void world_init(struct world *w, size_t senders, int64_t think_us, int64_t period_us)
{
	*w = (struct world){.delay = {.most_us = MOST}, .now = 1000000, .senders = senders, .think_us = think_us};
	w->period_us = period_us;
	w->random = 1;
	for (size_t i = 0; i < senders; i++)
		w->next[i] = w->now + (think_us + period_us) * (int64_t)(i + 1) / (int64_t)senders;
}

static int64_t first_to_come(const struct world *w)
{
	int64_t least = INT64_MAX;
	for (size_t i = 0; i < w->senders; i++)
		least = w->next[i] < least ? w->next[i] : least;
	return least;
}

/* A time with that mean. */
static int64_t about(struct world *w, int64_t us)
{
	double u = (double)rand_r(&w->random) / RAND_MAX; /* 3 u^2 has the mean 1 */
	return w->at_random ? (int64_t)(3.0 * u * u * (double)us) + 1 : us;
}

/* One commit: the first record comes, the delay, the answers. */
static void commit(struct world *w)
{
	int64_t first = first_to_come(w), last = 0;
	w->now = first > w->now ? first : w->now;
	int64_t rest = commit_delay_rest(&w->delay, w->started, w->now);
	w->now += rest;
	uint64_t count = 0;
	int64_t done = w->now + COMMIT;
	for (size_t i = 0; i < w->senders; i++)
		while (w->next[i] <= w->now) {
			last = w->next[i] > last ? w->next[i] : last;
			count++;
			w->next[i] =
			    w->period_us ? w->next[i] + about(w, w->period_us) : done + TRIP + about(w, w->think_us);
		}
	if (rest > 0)
		commit_delay_note_gain(&w->delay, first, last, w->now);
	commit_delay_note_records(&w->delay, w->started, w->now, count, rest > 0);
	w->started = w->now;
	w->now = done;
	w->records += count;
	w->commits++;
	w->delayed += rest > 0;
}

static void play(struct world *w, int64_t us)
{
	int64_t until = w->now + us;
	w->records = w->commits = w->delayed = 0;
	while (w->now < until)
		commit(w);
}

/* Records that a world of senders brings in so long, from its second second on, with delays and without. */
static double share_kept(size_t senders, int64_t think_us, bool at_random)
{
	struct world w;
	world_init(&w, senders, think_us, 0);
	w.at_random = at_random;
	play(&w, 1000000);
	play(&w, 10000000);
	uint64_t with = w.records;
	world_init(&w, senders, think_us, 0);
	w.at_random = at_random;
	w.delay.most_us = 0;
	play(&w, 1000000);
	play(&w, 10000000);
	return (double)with / (double)w.records;
}

static void senders_that_all_wait_keep_their_rate(void **unused)
{
	(void)unused;
	static const size_t senders[] = {1, 2, 8, 64};
	static const int64_t thinks[] = {0, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
	for (size_t s = 0; s < 4; s++)
		for (size_t t = 0; t < 8; t++) {
			double kept = share_kept(senders[s], thinks[t], false);
			if (kept < 0.95)
				fail_msg("%zu senders that think %lld us keep %.3f of their rate", senders[s],
				         (long long)thinks[t], kept);
		}
}

static void senders_that_think_for_random_times_keep_it_too(void **unused)
{
	(void)unused;
	static const int64_t thinks[] = {1000, 2000, 5000, 10000};
	for (size_t t = 0; t < 4; t++) {
		double kept = share_kept(64, thinks[t], true);
		if (kept < 0.95)
			fail_msg("64 senders that think about %lld us keep %.3f of their rate", (long long)thinks[t],
			         kept);
	}
}

static void records_that_come_all_the_time_share_commits(void **unused)
{
	(void)unused;
	struct world w;
	for (int64_t rate = 1000; rate <= 64000; rate *= 2) {
		world_init(&w, SENDERS, 0, SENDERS * 1000000 / rate);
		play(&w, 1000000);
		play(&w, 4000000);
		assert_in_range(w.commits, 450, 700); /* 4 s / 8 ms, and some that began a little sooner */
	}
}

static void so_do_records_that_come_at_random(void **unused)
{
	(void)unused;
	struct world w;
	world_init(&w, SENDERS, 0, SENDERS * 1000);
	w.at_random = true;
	play(&w, 2000000);
	play(&w, 10000000);
	assert_in_range(w.records, 8000, 12000);
	assert_in_range(w.commits, 1100, 2500); /* 10 s / 8 ms are 1250 */
}

static void where_less_than_one_more_is_to_be_expected_nothing_waits(void **unused)
{
	(void)unused;
	struct world w;
	for (int64_t rate = 1; rate <= 125; rate *= 5) {
		world_init(&w, 1, 0, 1000000 / rate);
		play(&w, 20000000);
		assert_int_equal(w.delayed, 0);
		assert_int_equal(w.commits, w.records);
	}
}

static void senders_that_stop_waiting_are_delayed_again_soon(void **unused)
{
	(void)unused;
	struct world w;
	world_init(&w, 8, 0, 0);
	play(&w, 5000000);
	assert_true(w.delay.pause_us >= 500000);
	w.period_us = 8000;
	for (size_t i = 0; i < 8; i++)
		w.next[i] = w.now + 1000 * (int64_t)i;
	play(&w, 1500000);
	assert_int_equal(w.delay.pause_us, 0);
}

/* The mean gap is long after a silence. If nothing but trials followed, it would stay so, and each would leave little doubt. */
static void senders_that_wait_are_known_again_soon_after_a_silence(void **unused)
{
	(void)unused;
	static const size_t senders[] = {1, 2, 8, 64};
	for (size_t s = 0; s < 4; s++) {
		struct world w;
		world_init(&w, senders[s], 0, 0);
		play(&w, 5000000);
		for (int64_t silence_us = 200000; silence_us <= 3200000; silence_us *= 2) {
			w.now += silence_us;
			for (size_t i = 0; i < w.senders; i++)
				w.next[i] = w.now + 20 * (int64_t)i;
			play(&w, 400000);
			if (w.delayed > 2)
				fail_msg("%zu senders, %lld us of silence: %llu commits are delayed", senders[s],
				         (long long)silence_us, (unsigned long long)w.delayed);
		}
	}
}

static void a_record_after_a_silence_does_not_wait(void **unused)
{
	(void)unused;
	struct world w;
	world_init(&w, 8, 0, 8000);
	play(&w, 1000000);
	assert_int_equal(commit_delay_rest(&w.delay, w.started, w.started + MOST), 0);
	assert_true(commit_delay_rest(&w.delay, w.started, w.started + 1000) > 0);
}

static void with_no_delay_set_nothing_waits(void **unused)
{
	(void)unused;
	struct world w;
	world_init(&w, 64, 0, 1000);
	w.delay.most_us = 0;
	play(&w, 100000);
	assert_int_equal(w.delayed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(senders_that_all_wait_keep_their_rate),
	    cmocka_unit_test(senders_that_think_for_random_times_keep_it_too),
	    cmocka_unit_test(records_that_come_all_the_time_share_commits),
	    cmocka_unit_test(so_do_records_that_come_at_random),
	    cmocka_unit_test(where_less_than_one_more_is_to_be_expected_nothing_waits),
	    cmocka_unit_test(senders_that_stop_waiting_are_delayed_again_soon),
	    cmocka_unit_test(senders_that_wait_are_known_again_soon_after_a_silence),
	    cmocka_unit_test(a_record_after_a_silence_does_not_wait),
	    cmocka_unit_test(with_no_delay_set_nothing_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
