/* The list of sinks that a journal knows: whole or as before, whatever the disk does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/journal/cursor_names.h"
#include "test/unit/sim_disk.c"

#define DIR_PATH "/data"

static struct cursor_names two(const char *a, const char *b)
{
	struct cursor_names n = {.count = 0};
	cursor_names_add(&n, a);
	cursor_names_add(&n, b);
	return n;
}

static void what_is_written_is_there_after_a_crash(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct sim *sim = sim_new(DIR_PATH, 0);
		struct cursor_names n = two("kafka", "file"), got;
		cursor_names_read(&got, sim_disk(sim), DIR_PATH);
		assert_int_equal(got.count, 0);
		assert_int_equal(cursor_names_write(&n, sim_disk(sim), DIR_PATH), 0);
		struct sim *crashed = sim_crash(sim, seed);
		cursor_names_read(&got, sim_disk(crashed), DIR_PATH);
		assert_int_equal(got.count, 2);
		assert_true(cursor_names_has(&got, "kafka") && cursor_names_has(&got, "file"));
		assert_false(cursor_names_has(&got, "kaf"));
		assert_int_equal(sim_open_files(sim), 0);
		sim_free(crashed);
		sim_free(sim);
	}
}

static void a_crash_or_a_failure_while_it_changes_leaves_the_old_or_the_new(void **unused)
{
	(void)unused;
	for (uint64_t cut = 1; cut < 20; cut++) {
		struct sim *sim = sim_new(DIR_PATH, 0);
		struct cursor_names n = two("kafka", "file"), more = n, got;
		cursor_names_add(&more, "archive");
		assert_int_equal(cursor_names_write(&n, sim_disk(sim), DIR_PATH), 0);
		sim_fail(sim, cut, 1, ENOSPC);
		int err = cursor_names_write(&more, sim_disk(sim), DIR_PATH);
		struct sim *crashed = sim_crash(sim, cut);
		cursor_names_read(&got, sim_disk(crashed), DIR_PATH);
		assert_true(cursor_names_has(&got, "kafka") && cursor_names_has(&got, "file"));
		assert_true(err || cursor_names_has(&got, "archive"));
		assert_int_equal(sim_open_files(sim), 0);
		sim_free(crashed);
		sim_free(sim);
	}
}

static void a_name_that_is_cut_off_is_none(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	const struct disk *d = sim_disk(sim);
	struct cursor_names got;
	int fd = d->open(d, DIR_PATH "/sinks", DISK_WRITE | DISK_CREATE);
	assert_true(fd >= 0);
	assert_int_equal(d->write(d, fd, "kafka\n\nfi", 9, 0), 0);
	d->close(d, fd);
	cursor_names_read(&got, d, DIR_PATH);
	assert_int_equal(got.count, 1);
	assert_true(cursor_names_has(&got, "kafka"));
	sim_free(sim);
}

static void names_of_every_length_and_number_fit(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor_names n = {.count = 0}, got;
	char name[CURSOR_NAME_MAX + 1];
	for (unsigned i = 0; i < CURSORS_MAX + 3; i++) {
		snprintf(name, sizeof(name), "%0*u", (int)CURSOR_NAME_MAX, i);
		cursor_names_add(&n, name);
		cursor_names_add(&n, name);
	}
	assert_int_equal(n.count, CURSORS_MAX);
	assert_int_equal(cursor_names_write(&n, sim_disk(sim), DIR_PATH), 0);
	cursor_names_read(&got, sim_disk(sim), DIR_PATH);
	assert_int_equal(got.count, CURSORS_MAX);
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_written_is_there_after_a_crash),
	    cmocka_unit_test(a_crash_or_a_failure_while_it_changes_leaves_the_old_or_the_new),
	    cmocka_unit_test(a_name_that_is_cut_off_is_none),
	    cmocka_unit_test(names_of_every_length_and_number_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
