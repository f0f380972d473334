/* What a disk takes for writing a block and syncing it, as the journal does it: O_DIRECT, into a file that has all its
 * blocks already, one behind the other, again and again from its start.
 *
 *	bench_disk DIR BYTES EVERY_US SECONDS [unsynced]
 *
 * BYTES of each block, rounded up to 4 KiB. EVERY_US: a block begins so long after the one before began (0: at once),
 * so that the disk is asked as often as by the run that it is compared with. unsynced: one fdatasync at the end, for the
 * rate at which it takes blocks at all. Prints one line of JSON:
 *
 *	{"bytes":4096,"count":812,"p50_us":101.2,"p99_us":188.0,"max_us":1203.1,"mean_us":105.1,"mib_s":37.1,"direct":true}
 *
 * Times are by the clock, of write and fdatasync together. direct: false where the file system refuses O_DIRECT. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/bench/bench_micro.h"

#define FILE_BYTES (64u << 20)
#define BLOCK_MAX (1u << 20)
#define TIMES_MAX 1000000

static void die(const char *what)
{
	fprintf(stderr, "bench_disk: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int file_open(const char *path, void *block, bool *direct)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
	*direct = fd >= 0;
	if (fd < 0)
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	for (off_t at = 0; at < (off_t)FILE_BYTES; at += BLOCK_MAX)
		if (pwrite(fd, block, BLOCK_MAX, at) != BLOCK_MAX)
			die(path);
	if (fdatasync(fd) < 0)
		die(path);
	return fd;
}

static void sleep_until(double when)
{
	struct timespec t = {.tv_sec = (time_t)when, .tv_nsec = (long)((when - (double)(time_t)when) * 1e9)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* Writes for so many seconds; the number of blocks, their times in us[]. */
static size_t blocks_write(int fd, const void *block, size_t bytes, double every, double seconds, bool synced,
                           double *us)
{
	double start = seconds_of(CLOCK_MONOTONIC), next = start;
	off_t at = 0;
	size_t count = 0;
	for (double now = start; now - start < seconds && count < TIMES_MAX; count++) {
		double begin = seconds_of(CLOCK_MONOTONIC);
		if (pwrite(fd, block, bytes, at) != (ssize_t)bytes || (synced && fdatasync(fd) < 0))
			die("write");
		now = seconds_of(CLOCK_MONOTONIC);
		us[count] = (now - begin) * 1e6;
		at = at + 2 * (off_t)bytes <= (off_t)FILE_BYTES ? at + (off_t)bytes : 0;
		if (every > 0 && (next += every) > now)
			sleep_until(next);
		else
			next = now;
	}
	if (!synced && fdatasync(fd) < 0)
		die("sync");
	return count;
}

int main(int argc, char **argv)
{
	size_t bytes = argc < 5 ? 0 : (strtoul(argv[2], NULL, 10) + 4095) & ~(size_t)4095;
	double every = argc < 5 ? 0 : strtod(argv[3], NULL) / 1e6, seconds = argc < 5 ? 0 : strtod(argv[4], NULL);
	bool synced = argc < 6, direct;
	if (bytes == 0 || bytes > BLOCK_MAX || seconds <= 0 || (!synced && strcmp(argv[5], "unsynced") != 0)) {
		fputs("usage: bench_disk DIR BYTES EVERY_US SECONDS [unsynced], BYTES at most 1 MiB\n", stderr);
		return 2;
	}
	char path[4096];
	void *block = NULL;
	double *us = malloc(TIMES_MAX * sizeof(*us)), sum = 0;
	snprintf(path, sizeof(path), "%s/bench-disk", argv[1]);
	if (!us || posix_memalign(&block, 4096, BLOCK_MAX))
		die("memory");
	for (size_t i = 0; i < BLOCK_MAX; i++) /* no disk shall find it easy to compress */
		((uint8_t *)block)[i] = (uint8_t)((i * 2654435761u) >> 13);
	int fd = file_open(path, block, &direct);
	double start = seconds_of(CLOCK_MONOTONIC);
	size_t count = blocks_write(fd, block, bytes, every, seconds, synced, us);
	double took = seconds_of(CLOCK_MONOTONIC) - start;
	for (size_t i = 0; i < count; i++)
		sum += us[i];
	qsort(us, count, sizeof(*us), compare_doubles);
	printf("{\"bytes\":%zu,\"count\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"mean_us\":%.1f,"
	       "\"mib_s\":%.1f,\"direct\":%s}\n",
	       bytes, count, us[count / 2], us[count * 99 / 100], us[count - 1], sum / (double)count,
	       (double)count * (double)bytes / took / (1 << 20), direct ? "true" : "false");
	close(fd);
	unlink(path);
	free(block);
	free(us);
	return 0;
}
