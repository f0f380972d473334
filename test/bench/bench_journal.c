/* What durability costs: records through lanes into a journal in a real directory, beside what the disk itself takes
 * for writing and syncing blocks of the sizes that came of it.
 *
 *	bench_journal DIR [SECONDS]
 *
 * Part one puts 256-byte records as fast as the journal takes them, from one lane and from four; part two one record at
 * a time, each waiting for its commit. The cursor follows at once, so segments are recycled as they are in service.
 * Processor time is that of all threads, the producer's included (told apart), divided by records. Part three writes
 * preallocated blocks with O_DIRECT and fdatasync, nothing else. Everything in DIR/bench-journal is removed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "gateway/journal.h"
#include "gateway/log.h"
#include "gateway/record.h"

#define ENTRY 256u
#define LANES 4
#define LANE (2u << 20)
#define MIB (1024.0 * 1024.0)

static double seconds_of(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
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

static void report(const struct bench *b, const char *what, double clock, double cpu, double producer)
{
	double records = (double)stat_get(&b->stats.records), commits = (double)stat_get(&b->stats.commits);
	if (records < 1 || commits < 1)
		die(what, "nothing was committed");
	printf("%-28s %10.0f records/s  %7.3f us CPU each (producer %6.3f)  %8.0f commits/s  %7.1f KiB each  %6.0f "
	       "MiB/s\n",
	       what, records / clock, cpu * 1e6 / records, producer * 1e6 / records, commits / clock,
	       (double)stat_get(&b->stats.written_bytes) / commits / 1024,
	       (double)stat_get(&b->stats.written_bytes) / MIB / clock);
}

/* As fast as it goes; batches of 64 are published at once. */
static void saturate(const char *dir, unsigned lane_count, double seconds)
{
	struct bench b;
	char what[64];
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
	snprintf(what, sizeof(what), "journal, %u lane%s", lane_count, lane_count > 1 ? "s" : "");
	report(&b, what, now - since, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu,
	       seconds_of(CLOCK_THREAD_CPUTIME_ID) - own);
	bench_close(&b);
}

static void one_by_one(const char *dir, double seconds)
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
	report(&b, "journal, one at a time", now - since, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu,
	       seconds_of(CLOCK_THREAD_CPUTIME_ID) - own);
	bench_close(&b);
}

/* The disk alone: blocks of one size, one behind the other, over and over a preallocated file. */
static void raw(const char *dir, size_t size, double seconds)
{
	char path[4200], what[64];
	const uint64_t file = 64 << 20;
	snprintf(path, sizeof(path), "%s/raw", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0640);
	bool direct = fd >= 0;
	if (!direct)
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
	snprintf(what, sizeof(what), "disk alone, %zu KiB%s", size / 1024, direct ? "" : " (buffered)");
	printf("%-28s %10.0f writes/s   %7.1f us CPU each  %6.0f MiB/s  (%.3f us CPU per 256-byte record if full)\n",
	       what, count / (now - since), (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / count,
	       count * (double)size / MIB / (now - since),
	       (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / count / ((double)size / ENTRY));
	free(block);
	close(fd);
	unlink(path);
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
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
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
		printf("note: %s is on %s: this measures no disk\n", argv[1], kind);
	saturate(dir, 1, seconds);
	saturate(dir, LANES, seconds);
	one_by_one(dir, seconds);
	static const size_t sizes[] = {4 << 10, 64 << 10, 256 << 10, 1 << 20};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		raw(dir, sizes[i], seconds / 2);
	remove_all(dir);
	return 0;
}
