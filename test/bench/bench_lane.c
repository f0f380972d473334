/* What a record costs on its way from one thread to another: through a lane, and through Concurrency Kit's ck_ring with
 * slots of the record's size, which moves the same bytes. One thread writes records where they will lie and (in a lane)
 * publishes them in batches; the other copies them out into a block, as the journal does, and checks that each comes
 * once and in order. Both go at full speed and neither sleeps, so this is time by the clock, with two cores at work.
 *
 *	bench_lane [RECORDS]      of 256 bytes in a round; of other sizes as many as come to the same bytes
 *
 * Prints, per contender, size and batch (see bench_micro.h):
 *
 *	name   lane_ns
 *	by     sluice | ck_ring
 *	bytes  of a record, header included: 32 to 16384
 *	batch  records that are published at once (a ck_ring publishes each by itself: 1)
 *	value  ns per record by the clock; null where too few rounds counted
 *	disturbed  rounds that did not count
 *
 * A round counts only if each thread had a core to itself, which its own processor time tells: where it is less than
 * 95 % of the time that passed, the round is made again, whatever it came to. Rounds of both contenders alternate. */
#include <ck_ring.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/journal/lane.h"
#include "gateway/journal/record.h"
#include "test/bench/bench_micro.h"

#define LANE (2u << 20) /* the default of a listener's setting */
#define BLOCK (1u << 20)
#define TRIES 60
#define SPINS 1000 /* looks before the core is offered to others */

struct run {
	struct lane lane;
	struct ck_ring ring;
	uint8_t *slots; /* owned; the ring's */
	const struct kind *kind;
	uint64_t records;
	unsigned batch;
	bool disturbed; /* the producer's; read after it was joined */
};

/* What the clock and this thread's processor time say. */
struct watch {
	double clock, cpu;
};

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

/* Sizes are constants in everything that is inlined below: a copy of a known size is what a ring of fixed slots has, so
 * the lane gets it here, too. */
#define INLINE static inline __attribute__((always_inline))

/* Writes the next record where it lies, header and JSON. */
INLINE void write_record(uint8_t *entry, uint32_t size, uint64_t number)
{
	static const char json[16384] = "{\"device\":\"sensor-0042\"}";
	struct record record = {.kind = RECORD_TELEMETRY, .time_us = (int64_t)number, .json_len = size - RECORD_HEADER};
	memcpy(entry + RECORD_HEADER, json, size - RECORD_HEADER);
	record_write(&record, entry);
}

static void check(const uint8_t *block, size_t len, uint32_t entry, uint64_t first)
{
	for (size_t at = 0; at < len; at += entry, first++) {
		struct record record;
		record_read(&record, block + at);
		if (record.size != entry || record.time_us != (int64_t)first) {
			fprintf(stderr, "bench_lane: record %lld where %llu should be\n", (long long)record.time_us,
			        (unsigned long long)first);
			exit(1);
		}
	}
}

/* -- a lane -- */

/* The listener's side: the record is written where it lies. */
INLINE void lane_produce(struct run *r, uint32_t size)
{
	unsigned spins = 0;
	for (uint64_t i = 0; i < r->records; i++) {
		uint8_t *entry;
		while (!(entry = lane_reserve(&r->lane, size))) {
			lane_publish(&r->lane);
			relax(&spins);
		}
		write_record(entry, size, i);
		lane_commit(&r->lane, size);
		if ((i + 1) % r->batch == 0)
			lane_publish(&r->lane);
	}
	lane_publish(&r->lane);
}

/* The journal's side: runs of whole entries are copied into a block, and their room given back. */
static size_t lane_take(struct run *r, uint8_t *block)
{
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
	return filled;
}

/* -- a ring -- */

INLINE void ring_produce(struct run *r, uint32_t size)
{
	unsigned spins = 0;
	for (uint64_t i = 0; i < r->records; i++) {
		uint8_t *entry;
		while (!(entry = _ck_ring_enqueue_reserve_sp(&r->ring, r->slots, size, NULL)))
			relax(&spins);
		write_record(entry, size, i);
		ck_ring_enqueue_commit_spsc(&r->ring);
	}
}

INLINE size_t ring_take(struct run *r, uint8_t *block, uint32_t size)
{
	size_t filled = 0;
	while (filled < BLOCK && _ck_ring_dequeue_sc(&r->ring, r->slots, block + filled, size))
		filled += size;
	return filled;
}

/* -- both -- */

struct kind {
	const char *name;
	uint32_t entry; /* bytes of a record */
	void (*produce)(struct run *r);
	size_t (*take)(struct run *r, uint8_t *block); /* fills a block of BLOCK bytes; returns how far */
};

#define SIZE(n)                                                                                                        \
	static void lane_produce_##n(struct run *r)                                                                    \
	{                                                                                                              \
		lane_produce(r, n);                                                                                    \
	}                                                                                                              \
	static void ring_produce_##n(struct run *r)                                                                    \
	{                                                                                                              \
		ring_produce(r, n);                                                                                    \
	}                                                                                                              \
	static size_t ring_take_##n(struct run *r, uint8_t *block)                                                     \
	{                                                                                                              \
		return ring_take(r, block, n);                                                                         \
	}
#define KINDS(n)                                                                                                       \
	{                                                                                                              \
		{"sluice", n, lane_produce_##n, lane_take},                                                            \
		{                                                                                                      \
			"ck_ring", n, ring_produce_##n, ring_take_##n                                                  \
		}                                                                                                      \
	}
/* clang-format off */
SIZE(32) SIZE(64) SIZE(128) SIZE(256) SIZE(512) SIZE(1024) SIZE(2048) SIZE(4096) SIZE(8192) SIZE(16384)
    /* clang-format on */
    static const struct kind kinds[][2] = {KINDS(32),   KINDS(64),   KINDS(128),  KINDS(256),  KINDS(512),
                                           KINDS(1024), KINDS(2048), KINDS(4096), KINDS(8192), KINDS(16384)};

static void *produce(void *context)
{
	struct run *r = context;
	struct watch begin = watch_now();
	r->kind->produce(r);
	r->disturbed = was_disturbed(begin, watch_now());
	return NULL;
}

static void consume(struct run *r)
{
	static uint8_t block[BLOCK];
	unsigned spins = 0;
	for (uint64_t taken = 0; taken < r->records;) {
		size_t filled = r->kind->take(r, block);
		if (filled == 0)
			relax(&spins);
		check(block, filled, r->kind->entry, taken);
		taken += filled / r->kind->entry;
	}
}

/* Nanoseconds per record; *disturbed tells whether they count. */
static double measure(const struct kind *kind, uint64_t records, unsigned batch, bool *disturbed)
{
	struct run r = {.kind = kind, .records = records, .batch = batch};
	pthread_t producer;
	r.slots = aligned_alloc(4096, LANE);
	if (!r.slots || lane_init(&r.lane, LANE)) {
		fputs("bench_lane: out of memory\n", stderr);
		exit(1);
	}
	ck_ring_init(&r.ring, LANE / kind->entry);
	struct watch begin = watch_now();
	if (pthread_create(&producer, NULL, produce, &r)) {
		fputs("bench_lane: cannot start a thread\n", stderr);
		exit(1);
	}
	consume(&r);
	struct watch end = watch_now();
	pthread_join(producer, NULL);
	lane_fini(&r.lane);
	free(r.slots);
	*disturbed = r.disturbed || was_disturbed(begin, end);
	return (end.clock - begin.clock) / (double)records * 1e9;
}

/* One size and batch, each kind in turn; count 1: the lane alone. */
static void compare(const struct kind *both, uint64_t records, unsigned batch, int count)
{
	uint32_t entry = both->entry;
	double ns[2][MICRO_RUNS];
	int counted[2] = {0}, disturbed[2] = {0};
	for (int try = 0; try < TRIES; try++) {
		for (int k = 0; k < count; k++) {
			bool bad;
			if (counted[k] == MICRO_RUNS)
				continue;
			ns[k][counted[k]] = measure(&both[k], records, batch, &bad);
			disturbed[k] += bad;
			counted[k] += !bad;
		}
	}
	for (int k = 0; k < count; k++) {
		char labels[96], more[32];
		snprintf(labels, sizeof(labels), "\"by\":\"%s\",\"bytes\":%u,\"batch\":%u,", both[k].name, entry,
		         k == 0 ? batch : 1);
		snprintf(more, sizeof(more), "\"disturbed\":%d,", disturbed[k]);
		figure_print("lane_ns", labels, ns[k], counted[k] == MICRO_RUNS ? MICRO_RUNS : 0, "ns", more);
	}
}

int main(int argc, char **argv)
{
	static const unsigned batches[] = {1, 4, 16, 256};
	uint64_t records = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
	if (records < 1000) {
		fputs("usage: bench_lane [RECORDS], at least 1000\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint32_t entry = kinds[i][0].entry;
		compare(kinds[i], entry <= 256 ? records : records * 256 / entry, 64, 2);
	}
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++)
		compare(kinds[3], records, batches[i], 1);
	return 0;
}
