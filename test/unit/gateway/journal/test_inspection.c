/* Looking into a journal and mending it (inspection.h, cmd_journal_repair.c), on a small one: any byte of it flipped, any file cut, is told,
 * and what repair makes of it is whole and has everything that could be read. SLUICE_EXHAUSTIVE=1 flips every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "gateway/commands/cmd_journal.h"
#include "gateway/journal/inspection.h"

#include "test/unit/gateway/journal/journal_world.h"

/* What a look sees. */
struct seen {
	const struct small *small;
	bool there[256]; /* by sequence */
	uint64_t records, blocks, checkpoints;
	struct inspection_damage damage[8];
	size_t damages;
};

static bool see_block(void *context, const struct inspection_segment *segment, uint64_t offset,
                      const struct block_header *h, const uint8_t *bytes)
{
	struct seen *seen = context;
	const struct world *w = &seen->small->w;
	const uint8_t *entry = bytes + BLOCK_HEADER;
	assert_true(offset >= SEGMENT_HEADER && offset + segment_block_size(h->body) <= segment->size);
	seen->blocks++;
	seen->checkpoints += h->checkpoint;
	for (uint64_t i = 0; i < h->count && !h->checkpoint; i++, entry += record_size(entry)) {
		uint64_t q = h->first + i;
		assert_true(q <= w->known && record_right(entry, w->history[q].lane, w->history[q].number));
		assert_false(seen->there[q]);
		seen->there[q] = true;
		seen->records++;
	}
	return true;
}

static void see_damage(void *context, const struct inspection_damage *d)
{
	struct seen *seen = context;
	char text[512];
	inspection_describe(d, text, sizeof(text));
	assert_true(strlen(text) > 10);
	assert_true(seen->damages < 8);
	seen->damage[seen->damages++] = *d;
}

static void see(struct seen *seen, const struct small *small, struct sim *sim)
{
	static const struct inspection_visitor visitor = {.block = see_block, .damage = see_damage};
	struct inspection l;
	struct why why = {0};
	memset(seen, 0, sizeof(*seen));
	seen->small = small;
	assert_true(small->w.known < 256);
	if (inspection_open(&l, sim_disk(sim), root, &why))
		fail_msg("%s", why.text);
	inspection_walk(&l, 0, &visitor, seen);
	assert_int_equal(l.recycled, 0);
	inspection_close(&l);
	assert_int_equal(sim_open_files(sim), 0);
}

/* A small journal in ROOT/journal, as a look wants it. */
static char base_root[64];

static void begin(struct small *s, unsigned commits)
{
	snprintf(base_root, sizeof(base_root), "%s", root);
	strncat(root, "/journal", sizeof(root) - strlen(root) - 1);
	assert_int_equal(mkdir(root, 0700), 0);
	small_init(s, commits);
}

static void end(struct small *s)
{
	char path[128];
	small_fini(s);
	snprintf(path, sizeof(path), "%s/lock", root);
	unlink(path);
	rmdir(root);
	snprintf(root, sizeof(root), "%s", base_root);
}

static int repair(struct sim *sim)
{
	struct inspection l;
	struct why why = {0};
	struct cmd_journal_options o = {.data = root};
	FILE *nothing = fopen("/dev/null", "w");
	if (inspection_open(&l, sim_disk(sim), root, &why))
		fail_msg("%s", why.text);
	int code = cmd_journal_repair(&l, &o, nothing, nothing);
	inspection_close(&l);
	fclose(nothing);
	assert_int_equal(sim_open_files(sim), 0);
	return code;
}

static void a_whole_journal_is_seen_whole(void **unused)
{
	(void)unused;
	struct small s;
	struct seen seen;
	begin(&s, 8);
	see(&seen, &s, s.base);
	assert_int_equal(seen.damages, 0);
	assert_int_equal(seen.records, s.w.known);
	assert_int_equal(seen.blocks - seen.checkpoints, s.block_count);
	uint64_t calls = sim_calls(s.base);
	assert_int_equal(repair(s.base), CMD_JOURNAL_WHOLE);
	assert_true(sim_calls(s.base) > calls);
	see(&seen, &s, s.base);
	assert_int_equal(seen.records, s.w.known);
	end(&s);
}

/* Damage, repair, and the same records again. */
static void damage_and_mend(const struct small *s, struct sim *sim, bool must_tell)
{
	struct seen before, after;
	see(&before, s, sim);
	if (must_tell && before.damages == 0)
		fail_msg("damage was not told");
	assert_int_equal(repair(sim), CMD_JOURNAL_WHOLE);
	see(&after, s, sim);
	if (after.damages > 0) {
		char text[512];
		inspection_describe(&after.damage[0], text, sizeof(text));
		fail_msg("after the repair: %s", text);
	}
	assert_memory_equal(before.there, after.there, sizeof(before.there));
	/* And a gateway starts with it. */
	struct journal *j;
	struct journal_stats stats = {0};
	struct why why = {0};
	if (journal_open(&j, &s->w.settings, sim_disk(sim), root, &stats, &why))
		fail_msg("%s", why.text);
	assert_int_equal(stat_get(&stats.damaged_blocks), 0);
	journal_close(j);
}

static size_t bytes_of_last_block(struct sim *sim, const char *path)
{
	size_t len, last = 0;
	const uint8_t *bytes = sim_bytes(sim, path, &len);
	for (size_t at = SEGMENT_HEADER; at + BLOCK_ALIGN <= len; at += BLOCK_ALIGN)
		if (memcmp(bytes + at, "SLBK", 4) == 0)
			last = at;
	return last;
}

static void any_flipped_byte_is_told_and_mended(void **unused)
{
	(void)unused;
	struct small s;
	unsigned tried = 0;
	begin(&s, 8);
	size_t step = getenv("SLUICE_EXHAUSTIVE") ? 1 : 149;
	for (size_t f = 0; f < s.file_count; f++) {
		size_t len, newest = f + 1 == s.file_count ? bytes_of_last_block(s.base, s.files[f]) : SIZE_MAX;
		const uint8_t *original = sim_bytes(s.base, s.files[f], &len);
		for (size_t at = 0; at < len; at += at % 4096 < 64 && step > 1 ? 7 : step) {
			size_t page = at & ~(size_t)4095, same;
			struct block_header h;
			uint64_t generation;
			memcpy(&generation, original + 16, 8);
			while (page > 0 && !(segment_block_read(&h, original + page, generation, len - page)))
				page -= 4096;
			/* Padding is nobody's; and the last block looks as after a crash. */
			bool counts =
			    at < SEGMENT_HEADER || (page > 0 && page != newest && at < page + BLOCK_HEADER + h.body);
			struct sim *sim = sim_copy(s.base);
			sim_bytes(sim, s.files[f], &same)[at] ^= (uint8_t)(1u << at % 8);
			damage_and_mend(&s, sim, counts);
			sim_free(sim);
			tried++;
		}
	}
	assert_true(tried > 200);
	end(&s);
}

static void any_cut_file_is_told_and_mended(void **unused)
{
	(void)unused;
	struct small s;
	begin(&s, 8);
	size_t step = getenv("SLUICE_EXHAUSTIVE") ? 61 : 1021;
	for (size_t f = 0; f < s.file_count; f++) {
		size_t len;
		sim_bytes(s.base, s.files[f], &len);
		for (size_t cut = SEGMENT_HEADER; cut < len; cut += step) {
			struct sim *sim = sim_copy(s.base);
			sim_truncate(sim, s.files[f], cut);
			damage_and_mend(&s, sim, true);
			sim_free(sim);
		}
	}
	end(&s);
}

static void a_missing_segment_is_told_once(void **unused)
{
	(void)unused;
	struct small s;
	struct seen seen;
	begin(&s, 12);
	assert_true(s.file_count >= 3);
	uint64_t first = file_first(s.base, s.files[1]), next = file_first(s.base, s.files[2]);
	sim_disk(s.base)->remove(sim_disk(s.base), s.files[1]);
	see(&seen, &s, s.base);
	assert_int_equal(seen.damages, 1);
	assert_int_equal(seen.damage[0].kind, INSPECTION_GAP);
	assert_int_equal(seen.damage[0].lost.first, first);
	assert_int_equal(seen.damage[0].lost.end, next);
	struct sim *passed = sim_copy(s.base);
	assert_int_equal(repair(s.base), CMD_JOURNAL_WHOLE);
	see(&seen, &s, s.base);
	assert_int_equal(seen.damages, 0);
	/* What every sink has is no loss: its segments are used again in any order. */
	struct cursor c;
	struct why why = {0};
	char dir[96];
	bool existed;
	snprintf(dir, sizeof(dir), "%s/cursors", root);
	for (uint64_t left = 1; left < 2; left--) { /* 1, 0 */
		assert_int_equal(
		    cursor_open(&c, &(struct cursor_file){sim_disk(passed), dir, "sink", NULL}, 0, &existed, &why),
		    GW_OK);
		cursor_move(&c, next - 1 - left);
		assert_int_equal(cursor_save(&c), GW_OK);
		cursor_close(&c);
		see(&seen, &s, passed);
		assert_int_equal(seen.damages, left);
	}
	sim_free(passed);
	end(&s);
}

/* Every call of the disk fails once: what could be read before can be read afterwards, and a second run mends it. */
static void a_repair_that_is_cut_short_loses_nothing(void **unused)
{
	(void)unused;
	struct small s;
	struct seen before, after;
	bool reached = true;
	begin(&s, 8);
	size_t len;
	sim_bytes(s.base, s.files[0], &len)[2 * 4096 + 100] ^= 1;
	see(&before, &s, s.base);
	assert_true(before.damages == 1);
	for (uint64_t n = 1; reached; n++) {
		struct sim *sim = sim_copy(s.base);
		uint64_t calls = sim_calls(sim);
		sim_fail(sim, n, 1, EIO);
		struct inspection l;
		struct why why = {0};
		struct cmd_journal_options o = {.data = root};
		FILE *nothing = fopen("/dev/null", "w");
		if (inspection_open(&l, sim_disk(sim), root, &why) == GW_OK) {
			cmd_journal_repair(&l, &o, nothing, nothing);
			inspection_close(&l);
		}
		fclose(nothing);
		reached = sim_calls(sim) - calls >= n;
		assert_true(reached || n > 80);
		sim_fail(sim, 1, 0, 0);
		struct sim *crashed = sim_crash(sim, n); /* and the power goes, too */
		struct sim *disks[] = {sim, crashed};
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(repair(disks[i]), CMD_JOURNAL_WHOLE);
			see(&after, &s, disks[i]);
			assert_int_equal(after.damages, 0);
			if (memcmp(before.there, after.there, sizeof(before.there)) != 0)
				fail_msg("call %d fails%s: records are missing", (int)n,
				         i ? ", and the power goes" : "");
			sim_free(disks[i]);
		}
	}
	end(&s);
}

static void what_the_disk_cannot_read_is_not_called_damaged(void **unused)
{
	(void)unused;
	struct small s;
	static const struct inspection_visitor visitor = {.block = see_block, .damage = see_damage};
	begin(&s, 8);
	for (uint64_t n = 1; n < 40; n++) {
		struct inspection l;
		struct why why = {0};
		struct seen seen = {.small = &s};
		struct sim *sim = sim_copy(s.base);
		sim_fail(sim, n, 1, EIO);
		if (inspection_open(&l, sim_disk(sim), root, &why) == GW_OK) {
			inspection_walk(&l, 0, &visitor, &seen);
			for (size_t i = 0; i < seen.damages; i++)
				if (seen.damage[i].kind != INSPECTION_UNREAD && seen.damage[i].kind != INSPECTION_GAP)
					fail_msg("call %d: kind %d", (int)n, seen.damage[i].kind);
			inspection_close(&l);
		} else {
			assert_true(why.text[0]);
		}
		sim_free(sim);
	}
	end(&s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_whole_journal_is_seen_whole),
	    TEST(any_flipped_byte_is_told_and_mended),
	    TEST(any_cut_file_is_told_and_mended),
	    TEST(a_missing_segment_is_told_once),
	    TEST(a_repair_that_is_cut_short_loses_nothing),
	    TEST(what_the_disk_cannot_read_is_not_called_damaged),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
