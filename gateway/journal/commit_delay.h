/* How long a commit is put off so that more records come with it; decided by what that gains.
 *
 * A commit with its wake-ups costs as much for one record as for hundreds, so at some thousand records a second it pays
 * to let them gather. It never pays when all senders wait for their answers: they send nothing until they have them, and
 * the delay only makes them slower. The rate alone does not tell the two apart, the order of arrival does: senders that
 * do not wait come at any time of the delay; those that do, come together, as soon as they have their answers, and then
 * nothing comes until the end of the delay.
 *
 * The law, where records count only if somebody waits for their answer:
 *	1. A commit begins at most `most` after the one before began: a record that comes later than that never waits.
 *	2. No delay, if less than one further record is to be expected in what is left of it. The mean gap between records is
 *	   a moving average; while delays are a trial (4.), of commits without delay alone.
 *	3. Afterwards: `wait` from the first record that waited to the commit, `spread` from the first to the last one. The
 *	   delay was worth it if spread >= wait / 2: records came in most of it. Else an immediate commit would have had
 *	   nearly the same records; that is doubtful by as many records as were to be expected since the last one came (if
 *	   they come at random, exp(-doubt) is how likely none comes). A wait shorter than most / 16 tells nothing.
 *	4. Doubt adds up, and is halved by a delay that was worth it. When it comes to 5, there is no delay for a while: 16 ms at
 *	   first, twice as long each time, up to 1 s. Then one commit is delayed again, by half as much. When it was worth it
 *	   the while becomes a quarter, and nothing when it is below 4 ms. When it was not, but little was to be expected, the
 *	   next one comes 16 ms later: meanwhile the mean gap forgets the silence before.
 *	5. Senders that wait, but think for random times, come at any time, too; what shows them is that more comes without
 *	   delays. So what comes with delays and, in the pauses of 4. and in 32 ms without delays after each 250 ms of them,
 *	   without, is counted apart. More by 3 % and three standard deviations: no delay for 1 s, twice as long each
 *	   time, up to 16 s. As long as it is not, the 250 ms become four times as long, up to 16 s. The counts are halved each
 *	   four seconds, since loads change.
 * So senders that all wait lose 4 ms a second once it is known, and others are delayed again 1.4 s after they came. */
#ifndef SLUICE_GATEWAY_JOURNAL_COMMIT_DELAY_H
#define SLUICE_GATEWAY_JOURNAL_COMMIT_DELAY_H

#include <stdbool.h>
#include <stdint.h>

/* Times are monotonic microseconds. One thread. Zeroed, with `most_us` set, it is ready. */
struct commit_delay {
	int64_t most_us;  /* 0: commits are never delayed */
	int64_t pause_us; /* between two delays; 0: every commit may be delayed */
	int64_t again_us; /* none before that */
	int64_t gap_us;   /* between two records, a moving average */
	double doubt;     /* records that were to be expected and did not come */
	struct {
		struct arrivals {
			double us, records;
		} with, without;  /* delays */
		bool runs;        /* no delays now, to see what comes */
		int64_t phase_us; /* how long it runs, or there were delays since it ran */
		int64_t every_us; /* of delays, until it runs again; 0: as at first */
		int64_t harm_us;  /* how long there were none the last time that they did harm; 0: they did not */
	} probe;
};

/* commit_delay_rest returns how long the next commit may still wait, the one before having begun at started_us; 0: it is not
 * to wait. */
int64_t commit_delay_rest(const struct commit_delay *d, int64_t started_us, int64_t now_us);
/* commit_delay_note_records: a commit that began at now_us took count > 0 records, the one before began at before_us. delayed:
 * it was put off. After commit_delay_note_gain. */
void commit_delay_note_records(struct commit_delay *d, int64_t before_us, int64_t now_us, uint64_t count, bool delayed);
/* commit_delay_note_gain: a delay ends; the first record that somebody waits for came at first_us, the last at last_us. False:
 * there will be none for a while. */
bool commit_delay_note_gain(struct commit_delay *d, int64_t first_us, int64_t last_us, int64_t now_us);

#endif
