/* What durability costs: records through lanes into a journal in a real directory, beside what the disk itself takes
 * for writing and syncing blocks of the sizes that come of it.
 *
 *	bench_journal DIR [SECONDS]      of each of 5 runs of each figure, 0.5 unless told
 *
 * Prints (see bench_micro.h; members behind value are those of the median run):
 *
 *	name   journal_us      append and commit, the cursor following at once, so that segments are recycled
 *	how    saturated (as fast as the journal takes them) | alone (each record waits for its commit)
 *	lanes  1 | 4
 *	value  us of CPU time for a 256-byte record, of all threads, the producer's included
 *	producer_us, records_s, commits_s, kib (of a commit), mib_s (written)
 *
 *	name   disk_us         preallocated blocks, written with O_DIRECT and synced one by one, nothing else
 *	kib    of a block: 4, 64, 256, 1024, and the mean commit of the saturated journal with one lane
 *	how    given | as journal
 *	value  us by the clock for one write and fdatasync
 *	cpu_us, mib_s
 *
 * A directory on no disk is told on stderr. Everything in DIR/bench-journal is removed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/journal/journal.h"
#include "gateway/journal/record.h"
#include "test/bench/bench_micro.h"

#define ENTRY 256u
#define LANES 4
#define LANE (2u << 20)
#define MIB (1024.0 * 1024.0)
#define RUNS 5

/* One run. value is what the figure says, more the JSON members that go with it. */
struct sample {
	double value, kib;
	char more[192];
};

static int compare_samples(const void *a, const void *b)
{
	return compare_doubles(&((const struct sample *)a)->value, &((const struct sample *)b)->value);
}

/* Prints the figure of RUNS samples. */
static void samples_print(const char *name, const char *labels, struct sample *s)
{
	double values[RUNS];
	qsort(s, RUNS, sizeof(*s), compare_samples);
	for (int i = 0; i < RUNS; i++)
		values[i] = s[i].value;
	figure_print(name, labels, values, RUNS, "us", s[RUNS / 2].more);
}

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_journal: %s: %s\n", what, why);
	exit(1);
}

struct bench {
	struct journal_settings settings;
	struct journal_stats stats;
	struct journal *journal;
	struct cursor *cursor;
	struct lane lanes[LANES];
	unsigned lane_count;
};

static void bench_open(struct bench *b, const char *dir, unsigned lane_count)
{
	struct why why = {.text = ""};
	memset(b, 0, sizeof(*b));
	b->settings = (struct journal_settings){.type = JOURNAL_DISK,
	                                        .max_bytes = 512 << 20,
	                                        .max_share = 100,
	                                        .segment = 16 << 20,
	                                        .preallocate = 1,
	                                        .block = 1 << 20,
	                                        .gather = 1000,
	                                        .tail_memory = 8 << 20};
	b->lane_count = lane_count;
	if (journal_open(&b->journal, &b->settings, &disk_real, dir, &b->stats, &why) ||
	    journal_add_cursor(b->journal, "sink", true, &b->cursor, &why))
		die("open", why.text);
	for (unsigned i = 0; i < lane_count; i++)
		if (lane_init(&b->lanes[i], LANE) || journal_add_lane(b->journal, &b->lanes[i], 0))
			die("lane", "no memory");
	if (journal_start(b->journal, &why))
		die("start", why.text);
}

static void bench_close(struct bench *b)
{
	if (journal_stop(b->journal, INT64_MAX))
		die("stop", "not everything is durable");
	journal_close(b->journal);
	for (unsigned i = 0; i < b->lane_count; i++)
		lane_fini(&b->lanes[i]);
}

static bool put(struct lane *lane)
{
	uint8_t *entry = lane_reserve(lane, ENTRY);
	if (!entry)
		return false;
	struct record r = {.kind = RECORD_TELEMETRY, .json_len = ENTRY - RECORD_HEADER};
	memset(entry + RECORD_HEADER, 'x', ENTRY - RECORD_HEADER);
	record_write(&r, entry);
	lane_commit(lane, ENTRY);
	return true;
}

static void cursor_follow(struct bench *b)
{
	cursor_move(b->cursor, journal_last(b->journal));
	cursor_save(b->cursor);
	journal_wake(b->journal);
}

static void wait_durable(struct lane *lane)
{
	for (;;) {
		lane_awake(lane);
		atomic_store_explicit(&lane->waiting, true, memory_order_seq_cst);
		if (atomic_load_explicit(&lane->durable, memory_order_seq_cst) >= lane->tail)
			return;
		struct pollfd p = {.fd = lane->wake_fd, .events = POLLIN};
		poll(&p, 1, 1000);
	}
}

static struct sample report(const struct bench *b, double clock, double cpu, double producer)
{
	double records = (double)stat_get(&b->stats.records), commits = (double)stat_get(&b->stats.commits);
	double bytes = (double)stat_get(&b->stats.written_bytes);
	if (records < 1 || commits < 1)
		die("journal", "nothing was committed");
	struct sample s = {.value = cpu * 1e6 / records, .kib = bytes / commits / 1024};
	snprintf(s.more, sizeof(s.more),
	         "\"producer_us\":%.4g,\"records_s\":%.0f,\"commits_s\":%.0f,\"kib\":%.1f,\"mib_s\":%.0f,",
	         producer * 1e6 / records, records / clock, commits / clock, s.kib, bytes / MIB / clock);
	return s;
}

/* As fast as it goes; batches of 64 are published at once. */
static struct sample saturate(const char *dir, unsigned lane_count, double seconds)
{
	struct bench b;
	bench_open(&b, dir, lane_count);
	double since = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID),
	       own = seconds_of(CLOCK_THREAD_CPUTIME_ID);
	double followed = since, now = since;
	while (now - since < seconds) {
		bool any = false;
		for (unsigned i = 0; i < lane_count; i++) {
			if (!journal_full(b.journal))
				for (int n = 0; n < 64 && put(&b.lanes[i]); n++)
					any = true;
			lane_publish(&b.lanes[i]);
		}
		journal_wake(b.journal);
		now = seconds_of(CLOCK_MONOTONIC);
		if (now - followed > 0.01 || journal_full(b.journal)) {
			cursor_follow(&b);
			followed = now;
		}
		if (!any)
			usleep(200);
	}
	for (unsigned i = 0; i < lane_count; i++)
		wait_durable(&b.lanes[i]);
	now = seconds_of(CLOCK_MONOTONIC);
	struct sample sample = report(&b, now - since, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu,
	                              seconds_of(CLOCK_THREAD_CPUTIME_ID) - own);
	bench_close(&b);
	return sample;
}

static struct sample one_by_one(const char *dir, double seconds)
{
	struct bench b;
	bench_open(&b, dir, 1);
	double since = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID),
	       own = seconds_of(CLOCK_THREAD_CPUTIME_ID), now = since;
	for (unsigned n = 0; now - since < seconds; n++) {
		put(&b.lanes[0]);
		lane_publish(&b.lanes[0]);
		journal_wake(b.journal);
		wait_durable(&b.lanes[0]);
		if (n % 100 == 0)
			cursor_follow(&b);
		now = seconds_of(CLOCK_MONOTONIC);
	}
	struct sample sample = report(&b, now - since, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu,
	                              seconds_of(CLOCK_THREAD_CPUTIME_ID) - own);
	bench_close(&b);
	return sample;
}

/* The disk alone: blocks of one size, one behind the other, over and over a preallocated file. */
static struct sample raw(const char *dir, size_t size, double seconds)
{
	char path[4200];
	const uint64_t file = 64 << 20;
	snprintf(path, sizeof(path), "%s/raw", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0640);
	if (fd < 0)
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	void *block = NULL;
	if (fd < 0 || fallocate(fd, 0, 0, (off_t)file) < 0 || posix_memalign(&block, 4096, 1 << 20))
		die(path, strerror(errno));
	memset(block, 'x', 1 << 20);
	for (uint64_t at = 0; at < file; at += 1 << 20) /* recycled, not written for the first time */
		if (pwrite(fd, block, 1 << 20, (off_t)at) != 1 << 20)
			die(path, strerror(errno));
	fdatasync(fd);
	double since = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID), now = since;
	double count = 0;
	for (uint64_t at = 0; now - since < seconds; count++) {
		if (pwrite(fd, block, size, (off_t)at) != (ssize_t)size || fdatasync(fd) < 0)
			die(path, strerror(errno));
		at = at + 2 * size <= file ? at + size : 0;
		now = seconds_of(CLOCK_MONOTONIC);
	}
	struct sample s = {.value = (now - since) * 1e6 / count, .kib = (double)size / 1024};
	snprintf(s.more, sizeof(s.more), "\"cpu_us\":%.4g,\"mib_s\":%.0f,",
	         (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / count,
	         count * (double)size / MIB / (now - since));
	free(block);
	close(fd);
	unlink(path);
	return s;
}

static void remove_name(void *context, const char *name)
{
	char path[8192];
	snprintf(path, sizeof(path), "%s/%s", (const char *)context, name);
	unlink(path);
}

static void remove_all(char *dir)
{
	char cursors[4200];
	snprintf(cursors, sizeof(cursors), "%s/cursors", dir);
	disk_real.list(&disk_real, cursors, remove_name, cursors);
	rmdir(cursors);
	disk_real.list(&disk_real, dir, remove_name, dir);
	rmdir(dir);
}

int main(int argc, char **argv)
{
	char dir[4096];
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.5;
	bool is_volatile;
	if (argc < 2 || seconds <= 0) {
		fprintf(stderr, "usage: bench_journal DIR [SECONDS]\n");
		return 2;
	}
	log_init(LOG_WARN, LOG_TEXT);
	snprintf(dir, sizeof(dir), "%s/bench-journal", argv[1]);
	if (disk_make_path(&disk_real, dir))
		die(dir, strerror(errno));
	const char *kind = disk_kind(dir, &is_volatile);
	if (kind)
		fprintf(stderr, "bench_journal: %s is on %s: this measures no disk\n", argv[1], kind);
	/* The journal and the disk in turn, run by run: both meet the same machine. */
	static const size_t sizes[] = {4 << 10, 64 << 10, 256 << 10, 1 << 20};
	struct sample one[RUNS], four[RUNS], alone[RUNS], same[RUNS], disk[4][RUNS];
	for (int run = 0; run < RUNS; run++) {
		one[run] = saturate(dir, 1, seconds);
		size_t size = ((size_t)(one[run].kib * 1024) + 4095) & ~(size_t)4095;
		same[run] = raw(dir, size < 1 << 20 ? size : 1 << 20, seconds);
		four[run] = saturate(dir, LANES, seconds);
		alone[run] = one_by_one(dir, seconds);
		for (size_t i = 0; i < 4; i++)
			disk[i][run] = raw(dir, sizes[i], seconds / 2);
		fprintf(stderr, "bench_journal: run %d of %d\n", run + 1, RUNS);
	}
	samples_print("journal_us", "\"how\":\"saturated\",\"lanes\":1,", one);
	samples_print("journal_us", "\"how\":\"saturated\",\"lanes\":4,", four);
	samples_print("journal_us", "\"how\":\"alone\",\"lanes\":1,", alone);
	for (size_t i = 0; i < 4; i++) {
		char labels[64];
		snprintf(labels, sizeof(labels), "\"how\":\"given\",\"kib\":%zu,", sizes[i] / 1024);
		samples_print("disk_us", labels, disk[i]);
	}
	char labels[64];
	qsort(same, RUNS, sizeof(same[0]), compare_samples);
	snprintf(labels, sizeof(labels), "\"how\":\"as journal\",\"kib\":%.0f,", same[RUNS / 2].kib);
	samples_print("disk_us", labels, same);
	remove_all(dir);
	return 0;
}
