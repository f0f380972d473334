/* The file sink behind a real pump and a journal in memory. Include first. */
#ifndef SLUICE_TEST_UNIT_SINKS_FILE_FILE_FIXTURE_H
#define SLUICE_TEST_UNIT_SINKS_FILE_FILE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/journal/record.h"
#include "gateway/pump/pump.h"
#include "test/unit/temporary.h"
#include "test/unit/threads.h"

#define DEADLINE_US 120000000 /* the machine may be busy; a test that waits so long has failed */

extern const struct sink file_sink;

/* The library's fdatasync, for the whole program: so many calls fail. */
static _Atomic int syncs_to_fail;
static _Atomic unsigned syncs;

int fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	if (atomic_load(&syncs_to_fail) > 0) {
		atomic_fetch_sub(&syncs_to_fail, 1);
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

struct fixture {
	struct journal_settings settings;
	struct journal_stats stats;
	struct journal *journal;
	struct lane lane;
	struct sink_settings common;
	char *own; /* owned: the sink's settings */
	struct pump *pump;
	uint64_t put;
};

#define WAIT(condition)                                                                                                \
	do {                                                                                                           \
		int64_t until_ = clock_mono_us() + DEADLINE_US;                                                        \
		while (!(condition)) {                                                                                 \
			if (clock_mono_us() > until_)                                                                  \
				fail_msg("waited for " #condition);                                                    \
			usleep(200);                                                                                   \
		}                                                                                                      \
	} while (0)

static inline void set(struct fixture *f, const char *name, uint64_t value)
{
	for (const struct setting *s = file_sink.settings; s->type != SETTING_END; s++)
		if (strcmp(s->name, name) == 0) {
			memcpy(f->own + s->offset, &value, sizeof(value));
			return;
		}
	fail_msg("no setting %s", name);
}

static inline void set_path(struct fixture *f, const char *path)
{
	set(f, "path", (uint64_t)(uintptr_t)path);
}

static inline void fixture_init(struct fixture *f)
{
	atomic_store(&syncs_to_fail, 0);
	memset(f, 0, sizeof(*f));
	f->settings = (struct journal_settings){
	    .type = JOURNAL_MEMORY, .max_bytes = 64 << 20, .segment = 1 << 20, .block = 64 << 10};
	f->common = (struct sink_settings){.batch_records = 50,
	                                   .batch_bytes = 1 << 20,
	                                   .batch_age = 1000,
	                                   .in_flight = 4,
	                                   .backoff_min = 2000,
	                                   .backoff_max = 50000};
	f->own = calloc(1, file_sink.size);
	assert_non_null(f->own);
	set_path(f, "sub/out.ndjson");
	set(f, "sync_bytes", 64 << 20);
	set(f, "sync_interval", 1000);
}

static inline void fixture_open(struct fixture *f)
{
	struct why why = {.text = ""};
	struct pump_plan plan = {
	    .name = "file", .sink = &file_sink, .settings = f->own, .common = &f->common, .data = root};
	if (journal_open(&f->journal, &f->settings, &disk_real, root, &f->stats, &why) ||
	    pump_open(&f->pump, &plan, f->journal, &disk_real, &why))
		fail_msg("%s", why.text);
	assert_int_equal(lane_init(&f->lane, 256 << 10), GW_OK);
	assert_int_equal(journal_add_lane(f->journal, &f->lane, 0), GW_OK);
	if (journal_start(f->journal, &why) || pump_start(f->pump, &why))
		fail_msg("%s", why.text);
}

static inline size_t line_make(char *out, uint64_t number)
{
	size_t n = (size_t)sprintf(out, "{\"@timestamp\":\"2026-11-22T08:37:00.123456Z\",\"n\":%llu,\"fill\":\"",
	                           (unsigned long long)number);
	size_t fill = (size_t)number * 7 % 200;
	memset(out + n, 'x', fill);
	memcpy(out + n + fill, "\"}", 2);
	return n + fill + 2;
}

static inline void put(struct fixture *f, uint64_t count)
{
	for (; count > 0; count--) {
		uint8_t *entry;
		WAIT((entry = lane_reserve(&f->lane, 512)));
		size_t len = line_make((char *)entry + RECORD_HEADER, ++f->put);
		struct record r = {.kind = RECORD_TELEMETRY, .json_len = (uint32_t)len};
		record_write(&r, entry);
		lane_commit(&f->lane, r.size);
		lane_publish(&f->lane);
	}
	journal_wake(f->journal);
}

static inline uint64_t cursor_now(struct fixture *f)
{
	return cursor_get(pump_cursor(f->pump));
}

static inline bool stop(struct fixture *f)
{
	assert_int_equal(journal_stop(f->journal, clock_mono_us() + DEADLINE_US), GW_OK);
	pump_stop(f->pump, clock_mono_us() + DEADLINE_US);
	return pump_join(f->pump);
}

static inline void fixture_fini(struct fixture *f)
{
	pump_close(f->pump);
	journal_close(f->journal);
	lane_fini(&f->lane);
	free(f->own);
}

/* -- looking at files -- */

static inline char *path_of(const char *name)
{
	static char path[4096];
	snprintf(path, sizeof(path), "%s/sub/%s", root, name);
	return path;
}

static inline void file_write(const char *name, const char *text)
{
	char dir[128];
	snprintf(dir, sizeof(dir), "%s/sub", root);
	mkdir(dir, 0750);
	FILE *out = fopen(path_of(name), "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

/* Counts whole lines of records into times[number]; returns how many lines are neither that nor empty. */
static inline unsigned lines_read(const char *name, unsigned *times, uint64_t most)
{
	char line[1024], expected[1024];
	unsigned odd = 0;
	FILE *in = fopen(path_of(name), "r");
	if (!in)
		return 0;
	while (fgets(line, sizeof(line), in)) {
		unsigned long long number = 0;
		if (strcmp(line, "\n") == 0)
			continue;
		const char *at = strstr(line, "\"n\":");
		if (at)
			number = strtoull(at + 4, NULL, 10);
		size_t len = line_make(expected, number);
		if (number >= 1 && number <= most && strlen(line) == len + 1 && line[len] == '\n' &&
		    memcmp(line, expected, len) == 0)
			times[number]++;
		else
			odd++;
	}
	fclose(in);
	return odd;
}

static inline unsigned files_like(const char *begin, char names[][128], unsigned most)
{
	char dir[128];
	unsigned count = 0;
	snprintf(dir, sizeof(dir), "%s/sub", root);
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		if (strncmp(e->d_name, begin, strlen(begin)) == 0 && count < most)
			snprintf(names[count++], 128, "%.127s", e->d_name);
	if (d)
		closedir(d);
	return count;
}

#endif
