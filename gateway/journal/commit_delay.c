/* Whether and how long a commit is delayed; the law is in commit_delay.h. */
#include "gateway/journal/commit_delay.h"

#include <math.h>
#include <string.h>

#define PAUSE_FIRST_US 16000
#define PAUSE_MOST_US 1000000
#define PAUSE_LEAST_US 4000 /* a shorter one is none */
#define DOUBT_MOST 5.0      /* by chance once in 150 */
#define SILENCE_US 100000   /* what came before it is not compared with what comes after it */
#define PROBE_US 32000
#define PROBE_EVERY_FIRST_US 250000
#define PROBE_EVERY_MOST_US 16000000
#define TRIAL_PAUSE_US 128000 /* with such a pause between them delays are too few to compare */
#define LEAST_WITH_US 50000   /* to be compared */
#define LEAST_WITHOUT_US 16000
#define HALVED_US 4000000
#define HARM_FIRST_US 1000000
#define HARM_MOST_US 16000000
#define HARM_SHARE 1.03

int64_t commit_delay_rest(const struct commit_delay *d, int64_t started_us, int64_t now_us)
{
	if (now_us < d->again_us || d->probe.runs)
		return 0;
	int64_t most = d->pause_us > 0 ? d->most_us / 2 : d->most_us; /* a trial */
	int64_t rest = started_us + most - now_us;
	return rest > d->gap_us ? rest : 0;
}

/* -- what comes without delays -- */

static int64_t grown(int64_t us, int64_t by, int64_t first, int64_t most)
{
	us = us > 0 ? by * us : first;
	return us < most ? us : most;
}

/* How much more comes without delays than HARM_SHARE of what comes with them, in standard deviations. */
static double excess(const struct commit_delay *d)
{
	const struct arrivals *with = &d->probe.with, *without = &d->probe.without;
	if (with->us < LEAST_WITH_US || without->us < LEAST_WITHOUT_US)
		return 0;
	double expected = HARM_SHARE * with->records * without->us / with->us;
	return (without->records - expected) / sqrt(expected * (1 + without->us / with->us) + 1);
}

static void count_arrivals(struct arrivals *a, int64_t us, uint64_t records)
{
	a->us += (double)us;
	a->records += (double)records;
}

static void halve(struct arrivals *a)
{
	a->us /= 2;
	a->records /= 2;
}

static void stop_for_harm(struct commit_delay *d, int64_t now_us)
{
	int64_t harm_us = grown(d->probe.harm_us, 2, HARM_FIRST_US, HARM_MOST_US);
	memset(&d->probe, 0, sizeof(d->probe));
	d->probe.harm_us = harm_us;
	d->again_us = now_us + harm_us;
}

/* Begins and ends the times without delays. */
static void turn_probe(struct commit_delay *d, int64_t us, bool delayed)
{
	int64_t every = d->probe.every_us > 0 ? d->probe.every_us : PROBE_EVERY_FIRST_US;
	if (d->probe.runs != delayed)
		d->probe.phase_us += us;
	if (d->probe.phase_us < (d->probe.runs ? PROBE_US : every))
		return;
	if (d->probe.runs && excess(d) < 1) {
		d->probe.every_us = grown(every, 4, 0, PROBE_EVERY_MOST_US);
		d->probe.harm_us = 0;
	}
	d->probe.runs = !d->probe.runs;
	d->probe.phase_us = 0;
}

static void compare(struct commit_delay *d, int64_t us, int64_t now_us, uint64_t count, bool delayed)
{
	if (us > SILENCE_US)
		return;
	if (delayed && d->pause_us < TRIAL_PAUSE_US)
		count_arrivals(&d->probe.with, us, count);
	if (!delayed && (d->probe.runs || now_us < d->again_us))
		count_arrivals(&d->probe.without, us, count);
	if (excess(d) > 3) {
		stop_for_harm(d, now_us);
		return;
	}
	turn_probe(d, us, delayed);
	if (d->probe.with.us + d->probe.without.us > HALVED_US) {
		halve(&d->probe.with);
		halve(&d->probe.without);
	}
}

void commit_delay_note_records(struct commit_delay *d, int64_t before_us, int64_t now_us, uint64_t count, bool delayed)
{
	compare(d, now_us - before_us, now_us, count, delayed);
	if (delayed && d->pause_us > 0)
		return;
	int64_t gap = (now_us - before_us) / (int64_t)count, longest = 2 * d->most_us;
	gap = gap < longest ? gap : longest; /* so that a long silence is soon forgotten */
	d->gap_us = (3 * d->gap_us + gap) / 4;
}

/* -- what comes during a delay -- */

static void pause(struct commit_delay *d, int64_t now_us, int64_t pause_us)
{
	d->pause_us = pause_us;
	d->again_us = now_us + pause_us;
}

bool commit_delay_note_gain(struct commit_delay *d, int64_t first_us, int64_t last_us, int64_t now_us)
{
	int64_t wait = now_us - first_us;
	if (wait < d->most_us / 16)
		return true;
	if (2 * (last_us - first_us) >= wait) {
		d->doubt /= 2;
		if (d->pause_us > 0)
			pause(d, now_us, d->pause_us / 4 < PAUSE_LEAST_US ? 0 : d->pause_us / 4);
		return true;
	}
	d->doubt += (double)(now_us - last_us) / (double)(d->gap_us > 0 ? d->gap_us : 1);
	if (d->doubt < DOUBT_MOST) {
		if (d->pause_us > 0) /* the mean gap may be that of a silence, and trials leave it as it is */
			d->again_us = now_us + PAUSE_FIRST_US;
		return d->pause_us == 0;
	}
	d->doubt = 0;
	int64_t longer = d->pause_us > 0 ? 2 * d->pause_us : PAUSE_FIRST_US;
	pause(d, now_us, longer < PAUSE_MOST_US ? longer : PAUSE_MOST_US);
	return false;
}
