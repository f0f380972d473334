/* Cursors over crashes, torn slots and failing disks: behind, perhaps; ahead, never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/journal/cursor.h"
#include "test/unit/sim_disk.c"

#define DIR_PATH "/data"
#define FILE_PATH "/data/sink.cursor"

static enum gw_err open_at(struct cursor *c, struct sim *sim, uint64_t start, bool *existed)
{
	struct why why;
	return cursor_open(c, &(struct cursor_file){sim_disk(sim), DIR_PATH, "sink", NULL}, start, existed, &why);
}

static uint64_t reopened(struct sim *sim)
{
	struct cursor c;
	bool existed;
	assert_int_equal(open_at(&c, sim, 12345, &existed), GW_OK);
	uint64_t sequence = cursor_get(&c);
	cursor_close(&c);
	return sequence;
}

static void a_new_one_starts_where_told_and_is_there_after_a_crash(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct sim *sim = sim_new(DIR_PATH, 0);
		struct cursor c;
		bool existed = true;
		assert_int_equal(open_at(&c, sim, 77, &existed), GW_OK);
		assert_false(existed);
		assert_int_equal(cursor_get(&c), 77);
		assert_int_equal(cursor_saved(&c), 77);
		struct sim *crashed = sim_crash(sim, seed);
		assert_int_equal(reopened(crashed), 77);
		sim_free(crashed);
		cursor_close(&c);
		cursor_close(&c); /* twice does no harm */
		assert_int_equal(sim_open_files(sim), 0);
		sim_free(sim);
	}
}

/* What a cursor in a file says about the stretches above it: "5: 8-9 12-20". */
static void told(struct sim *sim, char out[200])
{
	struct cursor c;
	bool existed;
	assert_int_equal(open_at(&c, sim, 12345, &existed), GW_OK);
	int n = snprintf(out, 200, "%llu:", (unsigned long long)cursor_get(&c));
	for (size_t i = 0; i < c.ahead_count; i++)
		n += snprintf(out + n, 200 - (size_t)n, " %llu-%llu", (unsigned long long)c.ahead[i].from,
		              (unsigned long long)c.ahead[i].to);
	cursor_close(&c);
}

static void what_is_settled_above_it_is_stored_too_until_it_has_passed(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor c;
	bool existed;
	char text[200];
	const struct cursor_stretch ahead[] = {{8, 9}, {12, 20}, {30, 30}};
	assert_int_equal(open_at(&c, sim, 5, &existed), GW_OK);
	cursor_set_ahead(&c, ahead, 3);
	assert_int_equal(cursor_save(&c), GW_OK);
	told(sim, text);
	assert_string_equal(text, "5: 8-9 12-20 30-30");
	struct cursor_stretch seen[CURSOR_AHEAD_MAX];
	uint64_t sequence;
	size_t count;
	assert_int_equal(cursor_peek_ahead(sim_disk(sim), FILE_PATH, &sequence, seen, &count), GW_OK);
	assert_true(sequence == 5 && count == 3);
	assert_memory_equal(seen, ahead, sizeof(ahead));
	uint64_t calls = sim_calls(sim);
	cursor_set_ahead(&c, ahead, 3); /* nothing new: nothing is written */
	assert_int_equal(cursor_save(&c), GW_OK);
	assert_int_equal(sim_calls(sim), calls);
	cursor_move(&c, 15);
	assert_int_equal(cursor_save(&c), GW_OK);
	told(sim, text);
	assert_string_equal(text, "15: 16-20 30-30");
	cursor_set_ahead(&c, NULL, 0);
	assert_int_equal(cursor_save(&c), GW_OK);
	told(sim, text);
	assert_string_equal(text, "15:");
	cursor_close(&c);
	sim_free(sim);
}

static void a_save_that_fails_keeps_what_is_ahead_for_the_next(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor c;
	bool existed;
	char text[200];
	assert_int_equal(open_at(&c, sim, 5, &existed), GW_OK);
	cursor_set_ahead(&c, &(struct cursor_stretch){8, 9}, 1);
	sim_fail(sim, 1, 1, EIO);
	assert_int_equal(cursor_save(&c), GW_IO);
	assert_int_equal(cursor_save(&c), GW_OK);
	told(sim, text);
	assert_string_equal(text, "5: 8-9");
	cursor_close(&c);
	sim_free(sim);
}

static void what_was_saved_is_there_after_a_crash(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor c;
	bool existed;
	open_at(&c, sim, 0, &existed);
	for (uint64_t s = 1; s < 40; s++) {
		cursor_move(&c, 10 * s);
		assert_int_equal(cursor_saved(&c), 10 * (s - 1));
		assert_int_equal(cursor_save(&c), GW_OK);
		uint64_t calls = sim_calls(sim);
		assert_int_equal(cursor_save(&c), GW_OK); /* nothing new: nothing written */
		assert_int_equal(sim_calls(sim), calls);
		struct sim *crashed = sim_crash(sim, s);
		assert_int_equal(reopened(crashed), 10 * s);
		sim_free(crashed);
	}
	cursor_close(&c);
	assert_int_equal(reopened(sim), 390);
	sim_free(sim);
}

struct watch {
	struct sim *sim;
	uint64_t before, now, seen_old, seen_new;
};

static void look(void *context, uint64_t call)
{
	struct watch *w = context;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct sim *crashed = sim_crash(w->sim, call * 100 + seed);
		uint64_t s = reopened(crashed);
		if (s != w->before && s != w->now)
			fail_msg("%llu is neither %llu nor %llu", (unsigned long long)s, (unsigned long long)w->before,
			         (unsigned long long)w->now);
		w->seen_old += s == w->before;
		w->seen_new += s == w->now;
		sim_free(crashed);
	}
}

static void a_torn_write_leaves_the_old_or_the_new(void **unused)
{
	(void)unused;
	struct watch w = {.sim = sim_new(DIR_PATH, 0)};
	struct cursor c;
	bool existed;
	open_at(&c, w.sim, 100, &existed);
	for (uint64_t s = 1; s < 20; s++) {
		w.before = cursor_get(&c);
		w.now = 100 + 7 * s;
		cursor_move(&c, w.now);
		sim_watch(w.sim, look, &w);
		assert_int_equal(cursor_save(&c), GW_OK);
		sim_watch(w.sim, NULL, NULL);
	}
	assert_true(w.seen_old > 20 && w.seen_new > 20);
	cursor_close(&c);
	sim_free(w.sim);
}

static void a_failed_save_keeps_the_old_one_and_is_made_up_for(void **unused)
{
	(void)unused;
	for (uint64_t n = 1; n <= 2; n++) /* the write, the sync */
		for (uint64_t seed = 0; seed < 30; seed++) {
			struct sim *sim = sim_new(DIR_PATH, 0);
			struct cursor c;
			bool existed;
			open_at(&c, sim, 5, &existed);
			cursor_move(&c, 6);
			assert_int_equal(cursor_save(&c), GW_OK);
			cursor_move(&c, 7);
			sim_fail(sim, n, 1, EIO);
			assert_int_equal(cursor_save(&c), GW_IO);
			assert_int_equal(cursor_saved(&c), 6);
			struct sim *crashed = sim_crash(sim, seed);
			assert_in_range(reopened(crashed), 6, 7);
			sim_free(crashed);
			assert_int_equal(cursor_save(&c), GW_OK);
			crashed = sim_crash(sim, seed);
			assert_int_equal(reopened(crashed), 7);
			sim_free(crashed);
			cursor_close(&c);
			sim_free(sim);
		}
}

static void one_spoilt_slot_costs_one_step(void **unused)
{
	(void)unused;
	for (size_t slot = 0; slot < 2; slot++)
		for (size_t at = 0; at < 4096; at += at < 96 ? 1 : 59) {
			struct sim *sim = sim_new(DIR_PATH, 0);
			struct cursor c;
			bool existed;
			size_t len;
			open_at(&c, sim, 1, &existed);
			cursor_move(&c, 2);
			cursor_save(&c); /* 1 stands in the second slot, 2 in the first */
			cursor_close(&c);
			sim_bytes(sim, FILE_PATH, &len)[4096 * slot + at] ^= 4;
			assert_int_equal(len, 8192);
			assert_int_equal(reopened(sim), slot == 0 ? 1 : 2);
			assert_int_equal(reopened(sim), slot == 0 ? 1 : 2);
			sim_free(sim);
		}
}

/* No bytes, or zeros: what a crash, a full disk or a restored backup leaves of a cursor. */
static void a_cursor_that_is_there_and_holds_nothing_starts_behind_everything(void **unused)
{
	(void)unused;
	for (int zeros = 0; zeros < 2; zeros++) {
		struct sim *sim = sim_new(DIR_PATH, 0);
		struct cursor c;
		bool existed;
		assert_int_equal(open_at(&c, sim, 77, &existed), GW_OK);
		cursor_close(&c);
		size_t len;
		uint8_t *bytes = sim_bytes(sim, FILE_PATH, &len);
		if (zeros)
			memset(bytes, 0, len);
		else
			sim_truncate(sim, FILE_PATH, 0);
		assert_int_equal(open_at(&c, sim, 12345, &existed), GW_OK);
		assert_true(existed);
		assert_int_equal(cursor_get(&c), 0);
		cursor_close(&c);
		assert_int_equal(reopened(sim), 0);
		sim_free(sim);
	}
}

static void a_cursor_damaged_wholly_starts_behind_everything(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor c;
	bool existed;
	size_t len;
	open_at(&c, sim, 50, &existed);
	cursor_move(&c, 60);
	cursor_save(&c);
	cursor_close(&c);
	uint8_t *bytes = sim_bytes(sim, FILE_PATH, &len);
	bytes[100] ^= 1;
	bytes[4096 + 100] ^= 1;
	assert_int_equal(open_at(&c, sim, 1000, &existed), GW_OK); /* `from: now` must not skip what the sink has not */
	assert_int_equal(cursor_get(&c), 0);
	cursor_move(&c, 61);
	assert_int_equal(cursor_save(&c), GW_OK);
	cursor_close(&c);
	assert_int_equal(reopened(sim), 61);
	sim_free(sim);
}

static void a_disk_that_fails_at_the_start_is_no_new_cursor(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor c;
	bool existed;
	open_at(&c, sim, 50, &existed);
	cursor_move(&c, 60);
	cursor_save(&c);
	cursor_close(&c);
	for (uint64_t n = 1; n <= 2; n++) { /* open, read */
		sim_fail(sim, n, 1, EIO);
		assert_int_equal(open_at(&c, sim, 1000, &existed), GW_IO);
		assert_int_equal(sim_open_files(sim), 0);
		assert_int_equal(reopened(sim), 60);
	}
	sim_free(sim);
}

static void a_cursor_is_looked_at_without_being_changed(void **unused)
{
	(void)unused;
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor c;
	bool existed;
	uint64_t sequence = 9;
	size_t len;
	assert_int_equal(cursor_peek(sim_disk(sim), FILE_PATH, &sequence), GW_IO);
	assert_null(sim_bytes(sim, FILE_PATH, &len));
	open_at(&c, sim, 50, &existed);
	cursor_close(&c);
	assert_int_equal(cursor_peek(sim_disk(sim), FILE_PATH, &sequence), GW_OK);
	assert_int_equal(sequence, 50);
	sim_bytes(sim, FILE_PATH, &len)[4096 + 16] ^= 1;
	assert_int_equal(cursor_peek(sim_disk(sim), FILE_PATH, &sequence), GW_INVALID);
	sim_truncate(sim, FILE_PATH, 4096);
	assert_int_equal(cursor_peek(sim_disk(sim), FILE_PATH, &sequence), GW_AGAIN); /* just made */
	assert_int_equal(sim_open_files(sim), 0);
	sim_free(sim);
}

static void a_cursor_in_memory_needs_no_disk(void **unused)
{
	(void)unused;
	struct cursor c;
	struct why why;
	bool existed;
	assert_int_equal(cursor_open(&c, &(struct cursor_file){NULL, NULL, "sink", NULL}, 3, &existed, &why), GW_OK);
	cursor_move(&c, 4);
	assert_int_equal(cursor_save(&c), GW_OK);
	assert_int_equal(cursor_get(&c), 4);
	assert_int_equal(cursor_saved(&c), 4); /* so that its space is freed */
	cursor_close(&c);
}

static void what_it_lacks_is_what_lies_between(void **unused)
{
	(void)unused;
	const struct cursor_stretch ahead[] = {{8, 9}, {12, 20}, {30, 30}};
	assert_int_equal(cursor_lacking(5, 30, NULL, 0), 25);
	assert_int_equal(cursor_lacking(5, 30, ahead, 3), 13);
	assert_int_equal(cursor_lacking(5, 15, ahead, 3), 4);  /* 6, 7, 10 and 11 */
	assert_int_equal(cursor_lacking(15, 30, ahead, 3), 9); /* 21 to 29: it has passed the others */
	assert_int_equal(cursor_lacking(40, 30, ahead, 3), 0);
	struct sim *sim = sim_new(DIR_PATH, 0);
	struct cursor c;
	bool existed;
	assert_int_equal(open_at(&c, sim, 5, &existed), GW_OK);
	cursor_set_ahead(&c, ahead, 3);
	assert_int_equal(cursor_behind(&c, 0, 30), 13);
	assert_int_equal(cursor_behind(&c, 25, 30), 4); /* up to 25 nothing is there any more */
	cursor_move(&c, 20);
	assert_int_equal(cursor_behind(&c, 0, 30), 9);
	cursor_close(&c);
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_new_one_starts_where_told_and_is_there_after_a_crash),
	    cmocka_unit_test(what_is_settled_above_it_is_stored_too_until_it_has_passed),
	    cmocka_unit_test(a_save_that_fails_keeps_what_is_ahead_for_the_next),
	    cmocka_unit_test(what_was_saved_is_there_after_a_crash),
	    cmocka_unit_test(a_torn_write_leaves_the_old_or_the_new),
	    cmocka_unit_test(a_failed_save_keeps_the_old_one_and_is_made_up_for),
	    cmocka_unit_test(one_spoilt_slot_costs_one_step),
	    cmocka_unit_test(a_cursor_that_is_there_and_holds_nothing_starts_behind_everything),
	    cmocka_unit_test(a_cursor_damaged_wholly_starts_behind_everything),
	    cmocka_unit_test(a_disk_that_fails_at_the_start_is_no_new_cursor),
	    cmocka_unit_test(a_cursor_is_looked_at_without_being_changed),
	    cmocka_unit_test(a_cursor_in_memory_needs_no_disk),
	    cmocka_unit_test(what_it_lacks_is_what_lies_between),
	};
	log_init(LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
