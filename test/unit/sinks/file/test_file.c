/* The file sink behind a real pump and a journal in memory: lines, syncs, rotation, and disks that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/journal/record.h"
#include "gateway/pump/pump.h"
#include "test/unit/temporary.h"
#include "test/unit/threads.h"

#define DEADLINE_US 20000000

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

static void set(struct fixture *f, const char *name, uint64_t value)
{
	for (const struct setting *s = file_sink.settings; s->type != SETTING_END; s++)
		if (strcmp(s->name, name) == 0) {
			memcpy(f->own + s->offset, &value, sizeof(value));
			return;
		}
	fail_msg("no setting %s", name);
}

static void set_path(struct fixture *f, const char *path)
{
	set(f, "path", (uint64_t)(uintptr_t)path);
}

static void fixture_init(struct fixture *f)
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

static void fixture_open(struct fixture *f)
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

static size_t line_make(char *out, uint64_t number)
{
	size_t n = (size_t)sprintf(out, "{\"@timestamp\":\"2026-11-22T08:37:00.123456Z\",\"n\":%llu,\"fill\":\"",
	                           (unsigned long long)number);
	size_t fill = (size_t)number * 7 % 200;
	memset(out + n, 'x', fill);
	memcpy(out + n + fill, "\"}", 2);
	return n + fill + 2;
}

static void put(struct fixture *f, uint64_t count)
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

static uint64_t cursor_now(struct fixture *f)
{
	return cursor_get(pump_cursor(f->pump));
}

static bool stop(struct fixture *f)
{
	assert_int_equal(journal_stop(f->journal, clock_mono_us() + DEADLINE_US), GW_OK);
	pump_stop(f->pump, clock_mono_us() + DEADLINE_US);
	return pump_join(f->pump);
}

static void fixture_fini(struct fixture *f)
{
	pump_close(f->pump);
	journal_close(f->journal);
	lane_fini(&f->lane);
	free(f->own);
}

/* -- looking at files -- */

static char *path_of(const char *name)
{
	static char path[4096];
	snprintf(path, sizeof(path), "%s/sub/%s", root, name);
	return path;
}

static void file_write(const char *name, const char *text)
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
static unsigned lines_read(const char *name, unsigned *times, uint64_t most)
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

static unsigned files_like(const char *begin, char names[][128], unsigned most)
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

/* -- the tests -- */

static void each_record_is_one_line(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[2001] = {0};
	char text[128], expected[128];
	fixture_init(&f);
	fixture_open(&f);
	pump_describe(f.pump, text, sizeof(text));
	snprintf(expected, sizeof(expected), "%s/sub/out.ndjson", root);
	assert_string_equal(text, expected);
	put(&f, 2000);
	WAIT(cursor_now(&f) == 2000);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 2000), 0);
	for (int i = 1; i <= 2000; i++)
		assert_int_equal(times[i], 1);
	fixture_fini(&f);
}

static bool is_written(uint64_t number)
{
	unsigned times[2001] = {0};
	lines_read("out.ndjson", times, 2000);
	return times[number] > 0;
}

static void the_cursor_waits_for_the_sync_and_a_stop_brings_it(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	set(&f, "sync_interval", 60000000);
	fixture_open(&f);
	put(&f, 10);
	WAIT(is_written(10));
	usleep(20000);
	assert_int_equal(cursor_now(&f), 0);
	assert_true(stop(&f));
	assert_int_equal(cursor_now(&f), 10);
	fixture_fini(&f);
}

static void it_syncs_after_so_many_bytes(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	set(&f, "sync_interval", 60000000);
	set(&f, "sync_bytes", 5000);
	fixture_open(&f);
	unsigned before = atomic_load(&syncs);
	put(&f, 500);
	WAIT(cursor_now(&f) > 400);
	assert_in_range(atomic_load(&syncs) - before, 1, 30);
	assert_true(stop(&f));
	fixture_fini(&f);
}

static void it_rotates_by_size_and_keeps_the_newest(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[3001] = {0};
	char names[20][128];
	fixture_init(&f);
	set(&f, "sync_bytes", 2000);
	set(&f, "rotate_bytes", 20000);
	set(&f, "keep", 3);
	file_write("out.ndjson.backup-of-something-else", "keep me\n");
	file_write("out.ndjson.20260101T000000x", "keep me\n");
	file_write("out.ndjson.20200101T000000", "old\n");
	fixture_open(&f);
	put(&f, 3000);
	WAIT(cursor_now(&f) == 3000);
	assert_true(stop(&f));
	unsigned count = files_like("out.ndjson.", names, 20), ours = 0;
	for (unsigned i = 0; i < count; i++) {
		struct stat st;
		assert_int_equal(stat(path_of(names[i]), &st), 0);
		if (strcmp(names[i], "out.ndjson.backup-of-something-else") == 0 ||
		    strcmp(names[i], "out.ndjson.20260101T000000x") == 0)
			continue;
		assert_string_not_equal(names[i], "out.ndjson.20200101T000000"); /* the oldest went first */
		assert_in_range(st.st_size, 20000, 60000);
		assert_int_equal(lines_read(names[i], times, 3000), 0);
		ours++;
	}
	assert_int_equal(count - ours, 2); /* what only looks like ours is still there */
	assert_int_equal(ours, 3);
	assert_int_equal(lines_read("out.ndjson", times, 3000), 0);
	uint64_t first = 1;
	while (times[first] == 0)
		first++;
	for (uint64_t n = first; n <= 3000; n++) /* the newest of them, without a gap */
		assert_int_equal(times[n], 1);
	fixture_fini(&f);
}

/* Its clock was years ahead when an earlier process rotated, so many times, and was put right since. */
static void rotate_on(const char *newest, const char *names_begin)
{
	struct fixture f;
	unsigned times[3001] = {0};
	char names[20][128];
	fixture_init(&f);
	set(&f, "sync_bytes", 2000);
	set(&f, "rotate_bytes", 20000);
	set(&f, "keep", 2);
	file_write("out.ndjson.20990101T000000", "old\n");
	file_write("out.ndjson.20990101T000000-000006", "old, too\n");
	file_write(newest, "newer\n");
	fixture_open(&f);
	put(&f, 3000);
	WAIT(cursor_now(&f) == 3000);
	assert_true(stop(&f));
	assert_int_equal(files_like("out.ndjson.", names, 20), 2);
	for (int i = 0; i < 2; i++) { /* the two newest, whose records end where the current file begins */
		assert_ptr_equal(strstr(names[i], names_begin), names[i]);
		assert_int_equal(lines_read(names[i], times, 3000), 0);
	}
	assert_int_equal(lines_read("out.ndjson", times, 3000), 0);
	uint64_t first = 1;
	while (times[first] == 0)
		first++;
	for (uint64_t n = first; n <= 3000; n++)
		assert_int_equal(times[n], 1);
	fixture_fini(&f);
}

static void a_clock_that_went_back_makes_no_file_the_oldest(void **unused)
{
	(void)unused;
	rotate_on("out.ndjson.20990101T000000-000007", "out.ndjson.20990101T000000-0000");
}

static void nor_does_a_number_of_seven_digits(void **unused)
{
	(void)unused;
	rotate_on("out.ndjson.20990101T000000-999999", "out.ndjson.20990101T000000-10000");
}

static void it_rotates_by_time(void **unused)
{
	(void)unused;
	struct fixture f;
	char names[20][128];
	fixture_init(&f);
	set(&f, "rotate_interval", 50000);
	fixture_open(&f);
	put(&f, 5);
	WAIT(files_like("out.ndjson.", names, 20) == 1);
	put(&f, 5);
	WAIT(files_like("out.ndjson.", names, 20) == 2);
	assert_true(stop(&f));
	fixture_fini(&f);
}

static void a_file_that_is_deleted_takes_nothing_along_that_was_not_synced(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[31] = {0};
	fixture_init(&f);
	set(&f, "sync_interval", 50000);
	fixture_open(&f);
	put(&f, 10);
	WAIT(cursor_now(&f) == 10);
	put(&f, 10);
	WAIT(is_written(20));
	assert_int_equal(unlink(path_of("out.ndjson")), 0);
	put(&f, 10);
	WAIT(cursor_now(&f) == 30);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 30), 0);
	for (int i = 21; i <= 30; i++)
		assert_true(times[i] >= 1);
	fixture_fini(&f);
}

static void a_file_that_is_moved_keeps_what_it_has_and_a_new_one_begins(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[31] = {0};
	fixture_init(&f);
	fixture_open(&f);
	put(&f, 10);
	WAIT(cursor_now(&f) == 10);
	char *moved = strdup(path_of("moved.ndjson"));
	assert_int_equal(rename(path_of("out.ndjson"), moved), 0);
	free(moved);
	put(&f, 10);
	WAIT(cursor_now(&f) == 20);
	put(&f, 10);
	WAIT(cursor_now(&f) == 30);
	assert_true(stop(&f));
	assert_true(is_written(30));
	assert_int_equal(lines_read("moved.ndjson", times, 30), 0);
	assert_int_equal(times[10], 1);
	assert_int_equal(times[30], 0);
	assert_int_equal(lines_read("out.ndjson", times, 30), 0);
	for (int i = 1; i <= 30; i++)
		assert_int_equal(times[i], 1);
	fixture_fini(&f);
}

static void half_a_record_left_by_a_crash_is_cut_off(void **unused)
{
	(void)unused;
	static const char *const halves[] = {"{", "{\"@timest",
	                                     "{\"@timestamp\":\"2026-11-22T08:37:00.123456Z\",\"n\":7,\"fi"};
	for (size_t i = 0; i < 3; i++) {
		struct fixture f;
		unsigned times[11] = {0};
		char line[1200];
		size_t len = line_make(line, 9);
		snprintf(line + len, sizeof(line) - len, "\n%s", halves[i]);
		file_write("out.ndjson", line);
		fixture_init(&f);
		fixture_open(&f);
		put(&f, 3);
		WAIT(cursor_now(&f) == 3);
		assert_true(stop(&f));
		assert_int_equal(lines_read("out.ndjson", times, 10), 0);
		assert_true(times[1] == 1 && times[2] == 1 && times[3] == 1 && times[9] == 1);
		fixture_fini(&f);
	}
}

static void half_a_line_of_somebody_else_is_ended(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[11] = {0};
	file_write("out.ndjson", "not ours, and no newline");
	fixture_init(&f);
	fixture_open(&f);
	put(&f, 3);
	WAIT(cursor_now(&f) == 3);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 10), 1);
	assert_true(times[1] == 1 && times[2] == 1 && times[3] == 1);
	fixture_fini(&f);
}

static void a_failed_sync_brings_everything_since_the_last_one_again(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[301] = {0};
	char text[600];
	fixture_init(&f);
	fixture_open(&f);
	put(&f, 100);
	WAIT(cursor_now(&f) == 100);
	atomic_store(&syncs_to_fail, 1000000);
	put(&f, 200);
	WAIT(is_written(300));
	WAIT((pump_state(f.pump, text, sizeof(text)), text[0]));
	assert_non_null(strstr(text, "sync"));
	usleep(20000);
	assert_int_equal(cursor_now(&f), 100); /* never over what is not safe */
	atomic_store(&syncs_to_fail, 0);
	WAIT(cursor_now(&f) == 300);
	pump_state(f.pump, text, sizeof(text));
	assert_string_equal(text, "");
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 300), 0);
	for (int i = 1; i <= 300; i++)
		assert_true(i <= 100 ? times[i] == 1 : times[i] >= 2);
	fixture_fini(&f);
}

/* After a failed sync the end of the file that can be read may never have reached the disk: the next line must not lean
 * on it. */
static void after_a_failed_sync_a_line_begins_anew(void **unused)
{
	(void)unused;
	struct fixture f;
	char text[4096] = "";
	fixture_init(&f);
	fixture_open(&f);
	atomic_store(&syncs_to_fail, 1);
	put(&f, 1);
	WAIT(cursor_now(&f) == 1);
	assert_true(stop(&f));
	FILE *in = fopen(path_of("out.ndjson"), "r");
	assert_non_null(in);
	assert_true(fread(text, 1, sizeof(text) - 1, in) > 0);
	fclose(in);
	assert_non_null(strstr(text, "}\n\n{"));
	fixture_fini(&f);
}

static void a_full_disk_is_waited_out_and_spoils_no_line(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[501] = {0};
	char text[600];
	struct rlimit before, small;
	fixture_init(&f);
	fixture_open(&f);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 30001; /* somewhere in a line */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	put(&f, 500);
	WAIT((pump_state(f.pump, text, sizeof(text)), text[0]));
	assert_non_null(strstr(text, "write"));
	assert_true(cursor_now(&f) < 500);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	WAIT(cursor_now(&f) == 500);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 500), 0);
	for (int i = 1; i <= 500; i++)
		assert_true(times[i] >= 1);
	fixture_fini(&f);
}

static void a_path_that_cannot_be_written_is_told_at_the_start(void **unused)
{
	(void)unused;
	struct fixture f;
	struct why why = {.text = ""};
	fixture_init(&f);
	set_path(&f, "/proc/no/such/file");
	struct pump_plan plan = {
	    .name = "file", .sink = &file_sink, .settings = f.own, .common = &f.common, .data = root};
	assert_int_equal(journal_open(&f.journal, &f.settings, &disk_real, root, &f.stats, &why), GW_OK);
	assert_int_equal(pump_open(&f.pump, &plan, f.journal, &disk_real, &why), GW_IO);
	assert_non_null(strstr(why.text, "sinks.file"));
	assert_non_null(strstr(why.text, "/proc/no/such/file"));
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_record_is_one_line),
	    TEST(the_cursor_waits_for_the_sync_and_a_stop_brings_it),
	    TEST(it_syncs_after_so_many_bytes),
	    TEST(it_rotates_by_size_and_keeps_the_newest),
	    TEST(a_clock_that_went_back_makes_no_file_the_oldest),
	    TEST(nor_does_a_number_of_seven_digits),
	    TEST(it_rotates_by_time),
	    TEST(a_file_that_is_deleted_takes_nothing_along_that_was_not_synced),
	    TEST(a_file_that_is_moved_keeps_what_it_has_and_a_new_one_begins),
	    TEST(half_a_record_left_by_a_crash_is_cut_off),
	    TEST(half_a_line_of_somebody_else_is_ended),
	    TEST(a_failed_sync_brings_everything_since_the_last_one_again),
	    TEST(after_a_failed_sync_a_line_begins_anew),
	    TEST(a_full_disk_is_waited_out_and_spoils_no_line),
	    TEST(a_path_that_cannot_be_written_is_told_at_the_start),
	};
	log_init(LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
