/* The file sink behind a real pump and a journal in memory: lines, syncs, rotation, files that somebody moves, deletes or
 * truncates, and disks that fail. */
#include "test/unit/sinks/file/file_fixture.h"

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
	for (int i = 1; i <= 300; i++) /* what the failed syncs were for was cut off before it was written again */
		assert_int_equal(times[i], 1);
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 300);
	fixture_fini(&f);
}

static unsigned bytes_like(const char *name, const char *text)
{
	char content[65536] = "";
	unsigned count = 0;
	FILE *in = fopen(path_of(name), "r");
	assert_non_null(in);
	assert_true(fread(content, 1, sizeof(content) - 1, in) > 0);
	fclose(in);
	for (const char *at = content; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void a_failed_sync_leaves_no_empty_line(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f);
	put(&f, 1);
	WAIT(cursor_now(&f) == 1);
	atomic_store(&syncs_to_fail, 3);
	put(&f, 1);
	WAIT(cursor_now(&f) == 2);
	assert_true(stop(&f));
	assert_int_equal(bytes_like("out.ndjson", "\n\n"), 0);
	assert_int_equal(bytes_like("out.ndjson", "\n"), 2);
	fixture_fini(&f);
}

static void what_others_append_is_never_cut_off(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[3] = {0};
	fixture_init(&f);
	set(&f, "sync_interval", 100000);
	fixture_open(&f);
	put(&f, 1);
	WAIT(is_written(1));
	FILE *other = fopen(path_of("out.ndjson"), "a");
	assert_non_null(other);
	fputs("somebody else\n", other);
	fclose(other);
	atomic_store(&syncs_to_fail, 1);
	WAIT(cursor_now(&f) == 1);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 2), 1);
	assert_true(times[1] >= 1);
	fixture_fini(&f);
}

/* The age of the oldest record that it does not have for good counts also while that is written and not synced. */
static void its_lag_is_told_while_it_cannot_sync(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f);
	atomic_store(&syncs_to_fail, 1000000);
	put(&f, 20);
	WAIT(stat_get(&pump_stats(f.pump)->lag_records) == 20);
	WAIT(stat_get(&pump_stats(f.pump)->lag_since_us) != 0);
	uint64_t since = stat_get(&pump_stats(f.pump)->lag_since_us);
	for (int i = 0; i < 300; i++) { /* through many tries */
		usleep(1000);
		assert_int_equal(stat_get(&pump_stats(f.pump)->lag_since_us), since);
		assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 0);
	}
	atomic_store(&syncs_to_fail, 0);
	WAIT(cursor_now(&f) == 20);
	WAIT(stat_get(&pump_stats(f.pump)->lag_since_us) == 0);
	assert_true(stop(&f));
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 20);
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
		assert_int_equal(times[i], 1);
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 500);
	fixture_fini(&f);
}

/* Room for a few records at a time: what fits is kept, and not written again. */
static void a_disk_that_is_nearly_full_goes_on_with_what_fits(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[501] = {0};
	char text[600];
	struct rlimit before, small;
	struct stat st;
	fixture_init(&f);
	f.common.batch_records = 500;
	fixture_open(&f);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 3001;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	put(&f, 500);
	for (rlim_t size = 3001; size < 20000; size += 2000) {
		small.rlim_cur = size;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		WAIT(stat(path_of("out.ndjson"), &st) == 0 && st.st_size + 500 > (off_t)size);
		WAIT((pump_state(f.pump, text, sizeof(text)), text[0]));
		memset(times, 0, sizeof(times));
		lines_read("out.ndjson", times, 500);
		for (int i = 1; i <= 500; i++)
			assert_true(times[i] <= 1);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	WAIT(cursor_now(&f) == 500);
	assert_true(stop(&f));
	memset(times, 0, sizeof(times));
	assert_int_equal(lines_read("out.ndjson", times, 500), 0);
	for (int i = 1; i <= 500; i++)
		assert_int_equal(times[i], 1);
	fixture_fini(&f);
}

static void a_file_truncated_before_its_sync_gets_its_records_again(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[106] = {0};
	fixture_init(&f);
	set(&f, "sync_interval", 300000);
	fixture_open(&f);
	put(&f, 100);
	WAIT(is_written(100));
	assert_int_equal(cursor_now(&f), 0);
	assert_int_equal(truncate(path_of("out.ndjson"), 0), 0);
	put(&f, 5);
	WAIT(cursor_now(&f) == 105);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 105), 0);
	for (int i = 1; i <= 105; i++)
		assert_int_equal(times[i], 1);
	fixture_fini(&f);
}

static void also_without_a_record_behind_the_truncation(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[101] = {0};
	fixture_init(&f);
	set(&f, "sync_interval", 300000);
	fixture_open(&f);
	put(&f, 100);
	WAIT(is_written(100));
	assert_int_equal(truncate(path_of("out.ndjson"), 0), 0);
	WAIT(cursor_now(&f) == 100);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 100), 0);
	for (int i = 1; i <= 100; i++)
		assert_int_equal(times[i], 1);
	fixture_fini(&f);
}

static void records_that_come_after_a_move_go_into_the_new_file(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[21] = {0};
	fixture_init(&f);
	fixture_open(&f);
	put(&f, 10);
	WAIT(cursor_now(&f) == 10);
	char *moved = strdup(path_of("moved.ndjson"));
	assert_int_equal(rename(path_of("out.ndjson"), moved), 0);
	free(moved);
	put(&f, 10);
	WAIT(cursor_now(&f) == 20);
	assert_true(stop(&f));
	assert_int_equal(lines_read("out.ndjson", times, 20), 0);
	for (int i = 1; i <= 20; i++)
		assert_int_equal(times[i], i > 10);
	fixture_fini(&f);
}

static void rotation_renames_what_a_link_points_to(void **unused)
{
	(void)unused;
	struct fixture f;
	char names[20][128];
	struct stat st;
	file_write("big", "");
	assert_int_equal(unlink(path_of("big")), 0);
	assert_int_equal(mkdir(path_of("big"), 0750), 0);
	assert_int_equal(symlink("big/real.ndjson", path_of("out.ndjson")), 0);
	fixture_init(&f);
	set(&f, "sync_bytes", 2000);
	set(&f, "rotate_bytes", 20000);
	fixture_open(&f);
	put(&f, 1000);
	WAIT(cursor_now(&f) == 1000);
	assert_true(stop(&f));
	assert_int_equal(lstat(path_of("out.ndjson"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(files_like("out.ndjson.", names, 20), 0);
	DIR *d = opendir(path_of("big"));
	unsigned rotated = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		rotated += strncmp(e->d_name, "real.ndjson.", 12) == 0;
	closedir(d);
	assert_true(rotated > 2);
	fixture_fini(&f);
}

/* -- where it cannot be opened -- */

static void a_path_that_cannot_be_written_is_a_state_until_it_can(void **unused)
{
	(void)unused;
	struct fixture f;
	char text[600];
	fixture_init(&f);
	file_write("out.ndjson", "");
	assert_int_equal(unlink(path_of("out.ndjson")), 0);
	assert_int_equal(mkdir(path_of("out.ndjson"), 0750), 0); /* root may write anywhere, but not to a directory */
	fixture_open(&f);
	WAIT((pump_state(f.pump, text, sizeof(text)), text[0])); /* before a record comes */
	assert_non_null(strstr(text, "sub/out.ndjson"));
	assert_non_null(strstr(text, "directory"));
	put(&f, 10);
	usleep(20000);
	assert_int_equal(cursor_now(&f), 0);
	assert_int_equal(rmdir(path_of("out.ndjson")), 0);
	WAIT(cursor_now(&f) == 10);
	pump_state(f.pump, text, sizeof(text));
	assert_string_equal(text, "");
	assert_true(stop(&f));
	fixture_fini(&f);
}

static void it_works_again_without_a_record(void **unused)
{
	(void)unused;
	struct fixture f;
	char text[600];
	fixture_init(&f);
	file_write("out.ndjson", "");
	assert_int_equal(unlink(path_of("out.ndjson")), 0);
	assert_int_equal(mkdir(path_of("out.ndjson"), 0750), 0);
	fixture_open(&f);
	WAIT((pump_state(f.pump, text, sizeof(text)), text[0]));
	assert_int_equal(rmdir(path_of("out.ndjson")), 0);
	WAIT((pump_state(f.pump, text, sizeof(text)), !text[0]));
	assert_true(stop(&f));
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
	    TEST(a_failed_sync_leaves_no_empty_line),
	    TEST(what_others_append_is_never_cut_off),
	    TEST(its_lag_is_told_while_it_cannot_sync),
	    TEST(a_full_disk_is_waited_out_and_spoils_no_line),
	    TEST(a_disk_that_is_nearly_full_goes_on_with_what_fits),
	    TEST(a_file_truncated_before_its_sync_gets_its_records_again),
	    TEST(also_without_a_record_behind_the_truncation),
	    TEST(records_that_come_after_a_move_go_into_the_new_file),
	    TEST(rotation_renames_what_a_link_points_to),
	    TEST(a_path_that_cannot_be_written_is_a_state_until_it_can),
	    TEST(it_works_again_without_a_record),
	};
	log_init(LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
