/* The journal's identity in its file, in segments and in cursors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "gateway/base/log.h"
#include "gateway/journal/cursor.h"
#include "gateway/journal/identity.h"
#include "gateway/journal/segment.h"
#include "test/unit/sim_disk.c"

#define DIR "/data/journal"
#define CURSORS DIR "/cursors"

static const uint8_t none[IDENTITY_SIZE];

static void it_is_read_back_after_a_power_cut_and_random(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR, 0);
	uint8_t a[IDENTITY_SIZE], b[IDENTITY_SIZE], back[IDENTITY_SIZE];
	identity_make(a);
	identity_make(b);
	assert_true(identity_is_foreign(a, b));
	assert_int_equal(identity_read(sim_disk(sim), DIR, back), 0);
	assert_true(identity_is_none(back)); /* no file */
	assert_int_equal(identity_write(sim_disk(sim), DIR, a), 0);
	struct sim *crashed = sim_crash(sim, 1);
	assert_int_equal(identity_read(sim_disk(crashed), DIR, back), 0);
	assert_memory_equal(back, a, IDENTITY_SIZE);
	sim_free(crashed);
	sim_free(sim);
}

static void a_file_that_is_not_whole_is_none_and_an_unread_one_an_error(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR, 0);
	uint8_t id[IDENTITY_SIZE];
	size_t len;
	identity_make(id);
	identity_write(sim_disk(sim), DIR, id);
	sim_fail(sim, 1, 1, EIO);
	assert_int_equal(identity_read(sim_disk(sim), DIR, id), -EIO);
	sim_bytes(sim, DIR "/identity", &len)[5] = 'x';
	assert_int_equal(identity_read(sim_disk(sim), DIR, id), 0);
	assert_true(identity_is_none(id));
	sim_truncate(sim, DIR "/identity", 20);
	assert_int_equal(identity_read(sim_disk(sim), DIR, id), 0);
	assert_true(identity_is_none(id));
	sim_free(sim);
}

static void files_of_older_versions_have_none_and_are_not_foreign(void **unused)
{
	(void)unused;
	uint8_t id[IDENTITY_SIZE], bytes[SEGMENT_HEADER];
	struct segment_header h = {.version = SEGMENT_VERSION, .generation = 7, .first = 1, .size = 8192}, back;
	identity_make(id);
	segment_header_write(&h, bytes);
	assert_int_equal(segment_header_read(&back, bytes), 1);
	assert_true(identity_is_none(back.identity));
	assert_false(identity_is_foreign(id, back.identity));
	assert_false(identity_is_foreign(none, id));
	memcpy(h.identity, id, IDENTITY_SIZE);
	segment_header_write(&h, bytes);
	assert_int_equal(segment_header_read(&back, bytes), 1);
	assert_memory_equal(back.identity, id, IDENTITY_SIZE);
}

static enum gw_err open_cursor(struct cursor *c, struct sim *sim, const uint8_t *id)
{
	bool existed;
	struct why why = {.text = ""};
	return cursor_open(c, &(struct cursor_file){sim_disk(sim), CURSORS, "sink", id}, 5, &existed, &why);
}

static void a_foreign_cursor_is_set_aside_and_one_without_identity_is_taken(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(CURSORS, 0);
	uint8_t own[IDENTITY_SIZE], other[IDENTITY_SIZE];
	struct cursor c;
	uint64_t sequence;
	size_t len;
	identity_make(own);
	identity_make(other);
	assert_int_equal(open_cursor(&c, sim, NULL), GW_OK);
	cursor_close(&c);
	assert_int_equal(open_cursor(&c, sim, other),
	                 GW_OK); /* written without one: taken, and marked by the next save */
	assert_int_equal(cursor_get(&c), 5);
	cursor_move(&c, 6);
	assert_int_equal(cursor_save(&c), GW_OK);
	cursor_move(&c, 7);
	assert_int_equal(cursor_save(&c), GW_OK);
	cursor_close(&c);
	assert_int_equal(cursor_peek_own(sim_disk(sim), CURSORS "/sink.cursor", other, &sequence), GW_OK);
	assert_int_equal(sequence, 7);
	assert_int_equal(cursor_peek_own(sim_disk(sim), CURSORS "/sink.cursor", own, &sequence), GW_INVALID);
	assert_int_equal(open_cursor(&c, sim, own), GW_OK);
	assert_int_equal(cursor_get(&c), 0);
	cursor_close(&c);
	assert_non_null(sim_bytes(sim, DIR "/quarantine/sink.cursor", &len));
	assert_int_equal(cursor_peek_own(sim_disk(sim), CURSORS "/sink.cursor", own, &sequence), GW_OK);
	assert_int_equal(sim_open_files(sim), 0);
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_is_read_back_after_a_power_cut_and_random),
	    cmocka_unit_test(a_file_that_is_not_whole_is_none_and_an_unread_one_an_error),
	    cmocka_unit_test(files_of_older_versions_have_none_and_are_not_foreign),
	    cmocka_unit_test(a_foreign_cursor_is_set_aside_and_one_without_identity_is_taken),
	};
	log_init(LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
