/* The dead letter file: one JSON object a line, whatever the reason, the record or an earlier crash hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/pump/dead_letter_file.h"
#include "test/unit/entry_fixture.h"
#include "test/unit/sim_disk.c"

#define FILE_PATH "/data/dead/kafka.ndjson"

struct fixture {
	struct sim *sim;
	struct dead_letter_file dead;
	uint8_t *entry; /* owned */
};

static void fixture_init(struct fixture *f)
{
	memset(f, 0xff, sizeof(*f));
	f->sim = sim_new("/data", 0);
	f->entry = entry_make(1, "d1", "{\"a\":1}", 7);
	assert_int_equal(dead_letter_file_init(&f->dead, sim_disk(f->sim), FILE_PATH, "kafka", 0), GW_OK);
}

static void fixture_fini(struct fixture *f)
{
	dead_letter_file_fini(&f->dead);
	dead_letter_file_fini(&f->dead); /* twice does no harm */
	assert_int_equal(sim_open_files(f->sim), 0);
	sim_free(f->sim);
	free(f->entry);
}

/* Counts the lines, all of which must be JSON, but for `odd` of them; empty ones do not count. */
static unsigned lines(struct sim *sim, unsigned odd)
{
	size_t len;
	const char *at = (const char *)sim_bytes(sim, FILE_PATH, &len), *end = at + len;
	unsigned count = 0, wrong = 0;
	while (at && at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		assert_non_null(newline);
		if (newline > at) {
			if (json_check(at, (size_t)(newline - at), 100).type == JSON_OBJECT)
				count++;
			else
				wrong++;
		}
		at = newline + 1;
	}
	assert_true(wrong <= odd);
	return count;
}

static void the_file_is_made_with_the_first_letter(void **unused)
{
	(void)unused;
	struct fixture f;
	size_t len;
	fixture_init(&f);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
	assert_null(sim_bytes(f.sim, FILE_PATH, &len));
	assert_int_equal(dead_letter_file_add(&f.dead, 42, "no such topic", f.entry), GW_OK);
	const char *text = (const char *)sim_bytes(f.sim, FILE_PATH, &len);
	assert_memory_equal(text, "{\"@timestamp\":\"2", 16);
	char expected[1024];
	int n = snprintf(expected, sizeof(expected),
	                 "Z\",\"sink\":\"kafka\",\"sequence\":42,\"reason\":\"no such topic\",\"record\":%.*s}\n",
	                 (int)record_size(f.entry), record_json(f.entry));
	assert_int_equal(len, 15 + 26 + (size_t)n);
	assert_memory_equal(text + 15 + 26, expected, (size_t)n);
	fixture_fini(&f);
}

static void any_reason_is_harmless(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	char longest[1024];
	memset(longest, 1, sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const char *const reasons[] = {
	    "", "a \"quote\"\n and a line", "\x01\x02\\", "ends in bad UTF-8 \xff\xfe", "\xff", longest};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		assert_int_equal(dead_letter_file_add(&f.dead, UINT64_MAX, reasons[i], f.entry), GW_OK);
	assert_int_equal(lines(f.sim, 0), sizeof(reasons) / sizeof(reasons[0]));
	fixture_fini(&f);
}

static void what_was_synced_survives_a_power_cut(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct fixture f;
		fixture_init(&f);
		for (int i = 0; i < 3; i++)
			assert_int_equal(dead_letter_file_add(&f.dead, 1, "x", f.entry), GW_OK);
		assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
		struct sim *crashed = sim_crash(f.sim, seed);
		assert_int_equal(lines(crashed, 0), 3);
		sim_free(crashed);
		fixture_fini(&f);
	}
}

static void a_file_that_is_deleted_takes_no_new_letter_along(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	const struct disk *d = sim_disk(f.sim);
	assert_int_equal(dead_letter_file_add(&f.dead, 1, "x", f.entry), GW_OK);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
	d->remove(d, FILE_PATH);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(dead_letter_file_add(&f.dead, 2, "x", f.entry), GW_OK);
		assert_int_equal(dead_letter_file_sync(&f.dead), i == 0 ? GW_IO : GW_OK); /* and it is written again */
	}
	assert_int_equal(lines(f.sim, 0), 1);
	fixture_fini(&f);
}

static void nor_does_one_that_is_replaced_by_its_equal(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	const struct disk *d = sim_disk(f.sim);
	assert_int_equal(dead_letter_file_add(&f.dead, 1, "x", f.entry), GW_OK);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
	assert_int_equal(dead_letter_file_add(&f.dead, 2, "x", f.entry), GW_OK);
	size_t len;
	uint8_t *bytes = sim_bytes(f.sim, FILE_PATH, &len);
	assert_int_equal(d->rename(d, FILE_PATH, "/data/dead/old"), 0);
	int fd = d->open(d, FILE_PATH, DISK_WRITE | DISK_CREATE);
	assert_int_equal(d->write(d, fd, bytes, len, 0), 0);
	d->close(d, fd);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_IO);
	assert_int_equal(dead_letter_file_add(&f.dead, 2, "x", f.entry), GW_OK);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
	assert_int_equal(lines(f.sim, 0), 3);
	fixture_fini(&f);
}

static void a_file_that_is_truncated_takes_no_new_letter_along(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f);
	assert_int_equal(dead_letter_file_add(&f.dead, 1, "first", f.entry), GW_OK);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
	assert_int_equal(dead_letter_file_add(&f.dead, 2, "second", f.entry), GW_OK);
	sim_truncate(f.sim, FILE_PATH, 0);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_IO);
	assert_int_equal(dead_letter_file_add(&f.dead, 2, "second", f.entry), GW_OK);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
	assert_int_equal(lines(f.sim, 0), 1);
	sim_truncate(f.sim, FILE_PATH, 0); /* everything was safe before: the next letter need not be written twice */
	assert_int_equal(dead_letter_file_add(&f.dead, 3, "third", f.entry), GW_OK);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
	assert_int_equal(lines(f.sim, 0), 1);
	fixture_fini(&f);
}

static void half_a_line_spoils_no_other(void **unused)
{
	(void)unused;
	struct fixture f;
	size_t len;
	fixture_init(&f);
	dead_letter_file_add(&f.dead, 1, "x", f.entry);
	dead_letter_file_add(&f.dead, 2, "x", f.entry);
	dead_letter_file_fini(&f.dead);
	sim_bytes(f.sim, FILE_PATH, &len);
	sim_truncate(f.sim, FILE_PATH, len - 30);
	assert_int_equal(dead_letter_file_init(&f.dead, sim_disk(f.sim), FILE_PATH, "kafka", 0), GW_OK);
	dead_letter_file_add(&f.dead, 3, "x", f.entry);
	assert_int_equal(lines(f.sim, 1), 2);
	fixture_fini(&f);
}

/* Added and synced until it works, as the pump does: whole and safe then, whichever call failed. */
static void any_call_may_fail(void **unused)
{
	(void)unused;
	for (uint64_t n = 1; n < 16; n++)
		for (int err = 0; err < 2; err++) {
			struct fixture f;
			fixture_init(&f);
			assert_int_equal(dead_letter_file_add(&f.dead, 1, "x", f.entry), GW_OK);
			assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK);
			if (n > 4) { /* from the beginning */
				dead_letter_file_fini(&f.dead);
				dead_letter_file_init(&f.dead, sim_disk(f.sim), FILE_PATH, "kafka", 0);
			}
			sim_fail(f.sim, n > 4 ? n - 4 : n, 1, err ? ENOSPC : EIO);
			while (dead_letter_file_add(&f.dead, 2, "x", f.entry) || dead_letter_file_sync(&f.dead))
				;
			struct sim *crashed = sim_crash(f.sim, n);
			assert_true(lines(crashed, 1) >= 2);
			sim_free(crashed);
			fixture_fini(&f);
		}
}

static void a_file_that_has_its_bytes_takes_no_more_until_there_is_room(void **unused)
{
	(void)unused;
	struct fixture f;
	const struct disk *disk;
	fixture_init(&f);
	disk = sim_disk(f.sim);
	assert_int_equal(dead_letter_file_add(&f.dead, 1, "x", f.entry), GW_OK);
	f.dead.max_bytes = 2 * f.dead.size;
	assert_int_equal(dead_letter_file_add(&f.dead, 2, "x", f.entry), GW_OK);
	assert_int_equal(dead_letter_file_add(&f.dead, 3, "x", f.entry), GW_FULL);
	assert_int_equal(dead_letter_file_sync(&f.dead), GW_OK); /* those before it */
	assert_int_equal(dead_letter_file_add(&f.dead, 3, "x", f.entry), GW_FULL);
	assert_int_equal(lines(f.sim, 0), 2);
	assert_int_equal(disk->rename(disk, FILE_PATH, "/data/dead/old"), 0);
	assert_int_equal(dead_letter_file_add(&f.dead, 3, "x", f.entry), GW_OK);
	assert_int_equal(lines(f.sim, 0), 1);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_file_is_made_with_the_first_letter),
	    cmocka_unit_test(any_reason_is_harmless),
	    cmocka_unit_test(what_was_synced_survives_a_power_cut),
	    cmocka_unit_test(a_file_that_is_deleted_takes_no_new_letter_along),
	    cmocka_unit_test(nor_does_one_that_is_replaced_by_its_equal),
	    cmocka_unit_test(a_file_that_is_truncated_takes_no_new_letter_along),
	    cmocka_unit_test(half_a_line_spoils_no_other),
	    cmocka_unit_test(any_call_may_fail),
	    cmocka_unit_test(a_file_that_has_its_bytes_takes_no_more_until_there_is_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
