/* What a record costs on its way through a lane: one thread writes 256-byte entries and publishes them in batches, the
 * other copies them out in runs, as the journal does, and checks that each comes once and in order. Both go at full
 * speed and neither sleeps, so this is time by the clock, with two cores at work.
 *
 *	bench_lane [RECORDS]
 *
 * A round counts only if each thread had a core to itself, which its own processor time tells: where it is less than
 * 95 % of the time that passed, the round is made again, whatever it came to. Prints a line per batch size, the median
 * of the rounds that count: "batch 16: 17.9 ns, 9 rounds, 2 disturbed"; no figure ("-") when too few counted. */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/lane.h"
#include "gateway/record.h"

#define ENTRY 256u
#define LANE (2u << 20) /* the default of a listener's setting */
#define BLOCK (1u << 20)
#define ROUNDS 9
#define TRIES 100
#define SPINS 1000 /* looks before the core is offered to others */

struct run {
	struct lane lane;
	uint64_t records;
	unsigned batch;
	bool disturbed; /* the producer's; read after it was joined */
};

/* What the clock and this thread's processor time say. */
struct watch {
	double clock, cpu;
};

static double seconds_of(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct watch watch_now(void)
{
	return (struct watch){seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_THREAD_CPUTIME_ID)};
}

static bool was_disturbed(struct watch begin, struct watch end)
{
	return end.cpu - begin.cpu < 0.95 * (end.clock - begin.clock);
}

static void relax(unsigned *spins)
{
	if (++*spins % SPINS == 0)
		sched_yield();
}

/* The listener's side: the record is written where it lies. */
static void *produce(void *context)
{
	struct run *r = context;
	static char json[ENTRY - RECORD_HEADER];
	memset(json, '7', sizeof(json));
	struct watch begin = watch_now();
	unsigned spins = 0;
	for (uint64_t i = 0; i < r->records; i++) {
		uint8_t *entry;
		while (!(entry = lane_reserve(&r->lane, ENTRY))) {
			lane_publish(&r->lane);
			relax(&spins);
		}
		struct record record = {.kind = RECORD_TELEMETRY, .time_us = (int64_t)i, .json_len = sizeof(json)};
		memcpy(entry + RECORD_HEADER, json, sizeof(json));
		record_write(&record, entry);
		lane_commit(&r->lane, record.size);
		if ((i + 1) % r->batch == 0)
			lane_publish(&r->lane);
	}
	lane_publish(&r->lane);
	r->disturbed = was_disturbed(begin, watch_now());
	return NULL;
}

static void check(const uint8_t *block, size_t len, uint64_t first)
{
	for (size_t at = 0; at < len; at += ENTRY, first++) {
		struct record record;
		record_read(&record, block + at);
		if (record.size != ENTRY || record.time_us != (int64_t)first) {
			fprintf(stderr, "bench_lane: record %lld where %llu should be\n", (long long)record.time_us,
			        (unsigned long long)first);
			exit(1);
		}
	}
}

/* The journal's side: runs of whole entries are copied into a block, and their room given back. */
static void consume(struct run *r)
{
	static uint8_t block[BLOCK];
	unsigned spins = 0;
	for (uint64_t taken = 0; taken < r->records;) {
		const uint8_t *run;
		size_t filled = 0, len;
		while (filled < BLOCK && (len = lane_peek(&r->lane, &run)) > 0) {
			if (len > BLOCK - filled)
				len = BLOCK - filled;
			/* A pad may stand behind the last entry of a run; here the ring is a multiple of the entry. */
			memcpy(block + filled, run, len);
			lane_advance(&r->lane, len);
			filled += len;
		}
		lane_release(&r->lane);
		if (filled == 0)
			relax(&spins);
		check(block, filled, taken);
		taken += filled / ENTRY;
	}
}

/* Nanoseconds per record; *disturbed tells whether they count. */
static double measure(uint64_t records, unsigned batch, bool *disturbed)
{
	struct run r = {.records = records, .batch = batch};
	pthread_t producer;
	if (lane_init(&r.lane, LANE) || pthread_create(&producer, NULL, produce, &r)) {
		fputs("bench_lane: cannot start\n", stderr);
		exit(1);
	}
	struct watch begin = watch_now();
	consume(&r);
	struct watch end = watch_now();
	pthread_join(producer, NULL);
	lane_fini(&r.lane);
	*disturbed = r.disturbed || was_disturbed(begin, end);
	return (end.clock - begin.clock) / (double)records * 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure_batch(uint64_t records, unsigned batch)
{
	double ns[ROUNDS];
	int counted = 0, disturbed = 0;
	while (counted < ROUNDS && counted + disturbed < TRIES) {
		bool bad;
		ns[counted] = measure(records, batch, &bad);
		if (bad)
			disturbed++;
		else
			counted++;
	}
	qsort(ns, (size_t)counted, sizeof(ns[0]), compare);
	if (counted == ROUNDS)
		printf("batch %u: %.1f ns, %d rounds, %d disturbed\n", batch, ns[ROUNDS / 2], counted, disturbed);
	else
		printf("batch %u: - ns, %d rounds, %d disturbed\n", batch, counted, disturbed);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const unsigned batches[] = {1, 4, 16, 64, 256};
	uint64_t records = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++)
		measure_batch(records, batches[i]);
	return 0;
}
