/* Numbers of the journal near their end: of segment files, which have eight digits. Sequences near 2^32 and beyond are
 * tried with the whole gateway (make torture ITEM=10); lane positions in test_lane.c, record identifiers in
 * test_record_id.c. docs/testing.md lists them all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/journal/journal_parts.h"

#include "test/unit/gateway/journal/journal_world.h"

static void note_file(void *context, const char *path)
{
	struct listing *l = context;
	if (!strstr(path, "/cursors/"))
		snprintf(l->spare[l->spare_count++], SIM_PATH, "%s", path);
}

/* All segment files, spares too, their numbers moved up so that the highest is `last`. */
static void renumber(struct sim *sim, uint32_t last)
{
	struct listing l = {.sim = sim};
	uint32_t number, highest = 0;
	char to[SIM_PATH];
	sim_names(sim, note_file, &l);
	for (size_t i = 0; i < l.spare_count; i++)
		if (segment_files_number(strrchr(l.spare[i], '/') + 1, &number) && number > highest)
			highest = number;
	for (size_t i = l.spare_count; i-- > 0;) {
		if (!segment_files_number(strrchr(l.spare[i], '/') + 1, &number))
			continue;
		snprintf(to, sizeof(to), "%s/%08u.segment", root, last - (highest - number));
		assert_int_equal(sim_disk(sim)->rename(sim_disk(sim), l.spare[i], to), 0);
	}
	sim_disk(sim)->sync_dir(sim_disk(sim), root);
}

/* Puts `count` records that no sink takes, each in a block of its own. */
static void put_many(struct world *w, unsigned count)
{
	struct why why = {.text = ""};
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
	for (unsigned i = 0; i < count; i++) {
		world_put(w, i % LANES);
		assert_true(world_wait_durable(w));
	}
	world_stop(w);
	world_close(w);
}

/* Reads everything from outside of the world's memory; note_known compares what was known. */
static void read_all(struct world *w)
{
	struct why why = {.text = ""};
	struct block *b;
	uint64_t next = 1;
	if (world_open(w, &why))
		fail_msg("%s", why.text);
	assert_int_equal(journal_last(w->journal), w->known);
	for (; next <= w->known; next = block_last(b) + 1, block_unref(b)) {
		assert_int_equal(journal_read(w->reader, next, &b), GW_OK);
		assert_int_equal(b->first, next);
		const uint8_t *entry = block_entries(b);
		for (uint32_t i = 0; i < b->count; i++, entry += record_size(entry))
			note_known(w, b->first + i, entry);
	}
	world_close(w);
}

static void live_across(uint32_t last)
{
	struct world w;
	world_init(&w, 3);
	w.settings.segment = 16 << 10;
	w.lane_size = 32 << 10;
	put_many(&w, 20);
	renumber(w.sim, last);
	put_many(&w, 100);
	read_all(&w);
	put_many(&w, 100);
	read_all(&w);
	world_fini(&w);
}

static void segment_numbers_that_come_to_their_end_lose_nothing(void **unused)
{
	(void)unused;
	live_across(SEGMENT_NUMBER_LAST - 3);
	live_across(SEGMENT_NUMBER_LAST);
}

static void nor_do_numbers_that_a_repair_gave(void **unused)
{
	(void)unused;
	live_across(SEGMENT_NUMBER_MAX - 1);
	live_across(SEGMENT_NUMBER_MAX);
}

int main(void)
{
	log_init(LOG_NONE, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	    TEST(segment_numbers_that_come_to_their_end_lose_nothing),
	    TEST(nor_do_numbers_that_a_repair_gave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
