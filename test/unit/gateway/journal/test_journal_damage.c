/* Damage to a journal: single bytes, files cut anywhere, torn tails, lost segments. It always opens, what is whole is
 * read, and nothing wrong ever is. SLUICE_EXHAUSTIVE=1 flips every byte instead of those that matter and a sample of
 * the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/base/clock.h"
#include "test/unit/gateway/journal/journal_world.h"

/* Opens a damaged journal and tells which of the known records are there; wrong ones are an error. Returns the last
 * sequence. */
static uint64_t read_damaged(struct small *s, struct sim *sim, bool *there, struct journal_stats *stats)
{
	struct journal *j;
	struct journal_reader *r;
	struct cursor *cursor;
	struct why why = {.text = ""};
	struct block *b;
	memset(there, 0, (size_t)s->w.known + 1);
	memset(stats, 0, sizeof(*stats));
	if (journal_open(&j, &s->w.settings, sim_disk(sim), root, stats, &why) ||
	    journal_add_cursor(j, "sink", false, &cursor, &why))
		fail_msg("does not open: %s", why.text);
	assert_int_equal(journal_reader_open(j, &r), GW_OK);
	uint64_t last = journal_last(j), at = 1;
	assert_true(last <= s->w.known);
	while (at <= last && journal_read(r, at, &b) == GW_OK) {
		const uint8_t *entry = block_entries(b);
		assert_true(b->first >= at);
		for (uint32_t i = 0; i < b->count; i++, entry += record_size(entry)) {
			uint64_t q = b->first + i;
			assert_true(q <= s->w.known &&
			            record_right(entry, s->w.history[q].lane, s->w.history[q].number));
			there[q] = true;
		}
		at = block_last(b) + 1;
		block_unref(b);
	}
	journal_reader_close(r);
	journal_close(j);
	assert_int_equal(sim_open_files(sim), 0);
	return last;
}

/* The one block whose records are missing; SIZE_MAX: none is. Fails when more are missing. */
static size_t missing_block(const struct small *s, const bool *there)
{
	size_t missing = SIZE_MAX;
	for (size_t i = 0; i < s->block_count; i++)
		for (uint64_t q = s->first[i]; q <= s->last[i]; q++)
			if (!there[q]) {
				assert_true(missing == SIZE_MAX || missing == i);
				missing = i;
			}
	return missing;
}

/* Bytes that are worth damaging one by one; of the rest some. */
static bool worth(const uint8_t *bytes, size_t len, size_t at)
{
	if (getenv("SLUICE_EXHAUSTIVE"))
		return true;
	size_t page = at & ~(size_t)4095;
	if (at < 56)
		return true;
	if (page && page + 64 <= len && memcmp(bytes + page, "SLBK", 4) == 0 && at - page < 104)
		return true;
	return at % 131 == 0;
}

static void one_damaged_byte_costs_at_most_its_block(void **unused)
{
	(void)unused;
	struct small s;
	struct journal_stats stats;
	small_init(&s, 8);
	bool *there = sim_resize(NULL, (size_t)s.w.known + 1);
	uint64_t tried = 0, lost = 0, random = 1;
	for (size_t f = 0; f < s.file_count; f++) {
		size_t len;
		const uint8_t *original = sim_bytes(s.base, s.files[f], &len);
		for (size_t at = 0; at < len; at++) {
			if (!worth(original, len, at))
				continue;
			struct sim *sim = sim_copy(s.base);
			size_t same;
			sim_bytes(sim, s.files[f], &same)[at] ^= (uint8_t)(1u << sim_random(&random) % 8);
			uint64_t last = read_damaged(&s, sim, there, &stats);
			size_t missing = missing_block(&s, there);
			assert_true(at >= SEGMENT_HEADER || missing == SIZE_MAX); /* a spoilt header costs nothing */
			if (missing != SIZE_MAX) {
				lost++;
				if (last == s.w.known) { /* in the middle: counted. At the end it is taken for a crash,
					                    and cut. */
					assert_int_equal(stats.damaged_blocks > 0, 1);
					assert_true(stats.lost_sequences >= s.last[missing] - s.first[missing] + 1);
				}
			}
			tried++;
			sim_free(sim);
		}
	}
	assert_true(tried > 1000 && lost > 100);
	free(there);
	small_fini(&s);
}

/* The sequence behind the last block that lies wholly in front of `cut`. */
static uint64_t whole_until(struct sim *sim, const char *path, size_t cut)
{
	size_t len, at = SEGMENT_HEADER;
	struct segment_header h;
	struct block_header b;
	const uint8_t *bytes = sim_bytes(sim, path, &len);
	assert_int_equal(segment_header_read(&h, bytes), 1);
	uint64_t next = h.first;
	while (at < len && segment_block_read(&b, bytes + at, h.generation, len - at) &&
	       at + segment_block_size(b.body) <= cut) {
		next = b.first + b.count;
		at += segment_block_size(b.body);
	}
	return next;
}

static void a_cut_file_loses_what_was_cut_off_and_no_more(void **unused)
{
	(void)unused;
	struct small s;
	struct journal_stats stats;
	small_init(&s, 8);
	bool *there = sim_resize(NULL, (size_t)s.w.known + 1);
	for (size_t f = 0; f < s.file_count; f++) {
		size_t len;
		sim_bytes(s.base, s.files[f], &len);
		uint64_t begin = file_first(s.base, s.files[f]);
		uint64_t end = f + 1 < s.file_count ? file_first(s.base, s.files[f + 1]) : s.w.known + 1;
		for (size_t cut = 0; cut < len;
		     cut += cut % 4096 == 0 || cut % 4096 == 4095 ? 1 : 227 - cut % 4096 % 227) {
			struct sim *sim = sim_copy(s.base);
			sim_truncate(sim, s.files[f], cut);
			read_damaged(&s, sim, there, &stats);
			uint64_t whole = cut < SEGMENT_HEADER ? begin : whole_until(s.base, s.files[f], cut);
			for (uint64_t q = 1; q <= s.w.known; q++)
				assert_int_equal(there[q], q < whole || q >= end);
			sim_free(sim);
		}
	}
	free(there);
	small_fini(&s);
}

/* Opens what is there, adds records, and reads everything back: the old, as far as expected, and the new behind it. */
static void goes_on(struct world *w)
{
	struct why why = {.text = ""};
	if (world_open(w, &why) || world_start(w, &why))
		fail_msg("%s", why.text);
	uint64_t before = journal_last(w->journal);
	assert_true(before <= w->known);
	w->known = before;
	for (int i = 0; i < 6; i++) {
		for (int k = 0; k < 4; k++)
			world_put(w, (unsigned)k % LANES);
		assert_true(world_wait_durable(w));
	}
	world_stop(w);
	assert_int_equal(w->known, before + 24);
	world_close(w);
	struct cut whole = {.disk = sim_copy(w->sim), .cursor = w->passed};
	uint64_t last;
	const char *bad = judge(w, &whole, w->known, &last);
	if (bad)
		fail_msg("%s", bad);
	sim_free(whole.disk);
}

static void a_torn_block_at_the_tail_is_cut_and_service_goes_on(void **unused)
{
	(void)unused;
	struct small s;
	small_init(&s, 7);
	const char *newest = s.files[s.file_count - 1];
	size_t len;
	uint8_t *bytes = sim_bytes(s.base, newest, &len);
	size_t tail = 4096;
	while (tail + 4096 < len && memcmp(bytes + tail + 4096, "SLBK", 4) == 0)
		tail += 4096;
	sim_free(s.w.sim);
	s.w.sim = s.base;
	memset(bytes + tail + 512, 0, 3584); /* the first sector is there, the others are not */
	uint64_t expected = s.first[s.block_count - 1] - 1;
	struct why why;
	assert_int_equal(world_open(&s.w, &why), GW_OK);
	assert_int_equal(journal_last(s.w.journal), expected);
	assert_true(stat_get(&s.w.stats.cut_bytes) > 0);
	world_close(&s.w);
	goes_on(&s.w);
	goes_on(&s.w);
	s.base = NULL;
	small_fini(&s);
}

static void an_unwritten_tail_is_taken_up_in_place(void **unused)
{
	(void)unused;
	struct small s;
	small_init(&s, 4); /* the newest segment has room */
	sim_free(s.w.sim);
	s.w.sim = s.base;
	struct why why = {.text = ""};
	assert_int_equal(world_open(&s.w, &why), GW_OK);
	assert_int_equal(world_start(&s.w, &why), GW_OK);
	world_put(&s.w, 0);
	assert_true(world_wait_durable(&s.w));
	assert_int_equal(stat_get(&s.w.stats.segments), s.file_count);
	world_stop(&s.w);
	world_close(&s.w);
	goes_on(&s.w);
	s.base = NULL;
	small_fini(&s);
}

static void damage_in_the_middle_is_counted_once_and_passed_over(void **unused)
{
	(void)unused;
	struct small s;
	struct block *b;
	struct why why;
	small_init(&s, 8);
	size_t len;
	uint8_t *bytes = sim_bytes(s.base, s.files[0], &len);
	bytes[2 * 4096 + 100] ^= 1; /* the second block */
	sim_free(s.w.sim);
	s.w.sim = s.base;
	assert_int_equal(world_open(&s.w, &why), GW_OK);
	assert_int_equal(journal_last(s.w.journal), s.w.known);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(journal_read(s.w.reader, s.first[1], &b), GW_OK);
		assert_int_equal(b->first, s.first[2]);
		block_unref(b);
	}
	assert_int_equal(stat_get(&s.w.stats.damaged_blocks), 1);
	assert_int_equal(stat_get(&s.w.stats.lost_sequences), s.last[1] - s.first[1] + 1);
	world_close(&s.w);
	s.base = NULL;
	small_fini(&s);
}

static void the_journal_of_a_newer_version_is_refused(void **unused)
{
	(void)unused;
	struct small s;
	struct why why = {.text = ""};
	small_init(&s, 4);
	size_t len;
	uint8_t *bytes = sim_bytes(s.base, s.files[0], &len);
	struct segment_header h;
	assert_int_equal(segment_header_read(&h, bytes), 1);
	h.version = SEGMENT_VERSION + 1;
	segment_header_write(&h, bytes);
	struct journal *j;
	struct journal_stats stats = {0};
	assert_int_equal(journal_open(&j, &s.w.settings, sim_disk(s.base), root, &stats, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "newer"));
	small_fini(&s);
}

static void numbers_that_a_sink_has_are_not_given_out_again(void **unused)
{
	(void)unused;
	struct small s;
	struct why why = {.text = ""};
	struct block *b;
	struct cursor *c, *other;
	struct journal *j;
	struct journal_stats stats = {0};
	small_init(&s, 8);
	const struct disk *d = sim_disk(s.base);
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_int_equal(journal_add_cursor(j, "sink", false, &c, &why), GW_OK);
	cursor_move(c, s.w.known);
	assert_int_equal(cursor_save(c), GW_OK);
	journal_close(j);
	d->remove(d, s.files[s.file_count - 1]); /* the newest segment is lost */
	memset(&stats, 0, sizeof(stats));
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_true(journal_last(j) < s.w.known);
	assert_int_equal(journal_add_cursor(j, "sink", false, &c, &why), GW_OK);
	assert_int_equal(journal_last(j), s.w.known);
	assert_int_equal(journal_add_cursor(j, "other", false, &other, &why), GW_OK);
	struct lane lane;
	assert_int_equal(lane_init(&lane, 32 << 10), GW_OK);
	assert_int_equal(journal_add_lane(j, &lane, 0), GW_OK);
	assert_int_equal(journal_start(j, &why), GW_OK);
	uint8_t *entry = lane_reserve(&lane, record_room(0, 1000));
	record_make(entry, 0, 1000);
	lane_commit(&lane, record_room(0, 1000));
	lane_publish(&lane);
	journal_wake(j);
	assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
	assert_int_equal(journal_last(j), s.w.known + 1);
	struct journal_reader *r;
	assert_int_equal(journal_reader_open(j, &r), GW_OK);
	assert_int_equal(journal_read(r, s.w.known + 1, &b), GW_OK);
	assert_int_equal(b->first, s.w.known + 1);
	assert_true(record_right(block_entries(b), 0, 1000));
	block_unref(b);
	journal_reader_close(r);
	journal_close(j);
	lane_fini(&lane);
	/* and it is found there after the next start */
	memset(&stats, 0, sizeof(stats));
	assert_int_equal(journal_open(&j, &s.w.settings, d, root, &stats, &why), GW_OK);
	assert_int_equal(journal_last(j), s.w.known + 1);
	journal_close(j);
	small_fini(&s);
}

static void old_blocks_in_recycled_segments_are_never_met_again(void **unused)
{
	(void)unused;
	struct world w;
	struct why why = {.text = ""};
	unsigned met = 0;
	world_init(&w, 3);
	w.settings.segment = 16 << 10;
	w.lane_size = 32 << 10;
	for (int life = 0; life < 30; life++) {
		if (world_open(&w, &why) || world_start(&w, &why))
			fail_msg("%s", why.text);
		for (int i = 0; i < 9 + life % 5; i++) {
			world_put(&w, (unsigned)i % LANES);
			assert_true(world_wait_durable(&w));
			while (read_known(&w))
				;
			cursor_move(w.cursor, w.known);
			cursor_save(w.cursor);
		}
		world_stop(&w);
		world_close(&w);
		struct small s = {.base = NULL};
		struct listing l = {.small = &s, .sim = w.sim};
		sim_names(w.sim, sort_file, &l);
		/* Is there, in the newest segment, a whole old block behind the last one? */
		uint64_t newest = 0;
		for (size_t i = 0; i < s.file_count; i++) {
			size_t len;
			struct segment_header h;
			struct block_header b;
			const uint8_t *bytes = sim_bytes(w.sim, s.files[i], &len);
			assert_int_equal(segment_header_read(&h, bytes), 1);
			newest = h.generation > newest ? h.generation : newest;
			for (size_t at = 4096; at + 4096 <= len && h.generation == newest; at += 4096) {
				uint64_t generation;
				memcpy(&generation, bytes + at + 8, 8);
				met += generation && generation < newest &&
				       segment_block_read(&b, bytes + at, generation, len - at) &&
				       segment_block_check(&b, bytes + at);
			}
		}
		struct cut cut = {.disk = sim_copy(w.sim), .cursor = w.passed};
		uint64_t last;
		const char *bad = judge(&w, &cut, w.known, &last);
		if (bad)
			fail_msg("%s", bad);
		sim_free(cut.disk);
	}
	assert_true(met > 10); /* there were some to be mistaken for new ones */
	world_fini(&w);
}

/* A crash may lose the header of a segment that was just begun and keep its first block, which was never acknowledged. The
 * next life begins a segment in the same file with other records under the same numbers, and its crash does the opposite:
 * the old block must not be taken for the new one. */
static void a_block_without_its_header_is_not_met_behind_the_next_one(void **unused)
{
	(void)unused;
	struct small s;
	struct why why = {.text = ""};
	small_init(&s, 9);
	uint64_t newest = 0, next = s.w.known + 1;
	for (size_t i = 0; i < s.file_count; i++) {
		size_t len;
		struct segment_header h;
		const uint8_t *bytes = sim_bytes(s.base, s.files[i], &len);
		assert_int_equal(segment_header_read(&h, bytes), 1);
		newest = h.generation > newest ? h.generation : newest;
	}
	struct journal_stats stats = {0};
	struct journal *j = NULL;
	struct cursor *c;
	assert_int_equal(journal_open(&j, &s.w.settings, sim_disk(s.base), root, &stats, &why), GW_OK);
	assert_int_equal(journal_add_cursor(j, "sink", false, &c, &why), GW_OK);
	struct lane lane;
	lane_init(&lane, 32 << 10);
	journal_add_lane(j, &lane, 0);
	if (journal_start(j, &why))
		fail_msg("%s", why.text);
	for (uint64_t n = 0; n < 8; n++) { /* more than a segment */
		size_t room = record_room(0, 1000 + n);
		uint8_t *entry;
		while (!(entry = lane_reserve(&lane, room)))
			sched_yield();
		record_make(entry, 0, 1000 + n);
		lane_commit(&lane, room);
		lane_publish(&lane);
		journal_wake(j);
		int64_t until = clock_mono_us() + DEADLINE_US;
		while (atomic_load(&lane.durable) < lane.tail)
			assert_true(clock_mono_us() < until);
	}
	assert_int_equal(journal_stop(j, clock_mono_us() + DEADLINE_US), GW_OK);
	journal_close(j);
	lane_fini(&lane);
	struct small after = {.base = NULL};
	struct listing l = {.small = &after, .sim = s.base};
	sim_names(s.base, sort_file, &l);
	size_t begun = 0;
	for (size_t i = 0; i < after.file_count; i++) {
		size_t len;
		struct segment_header h;
		segment_header_read(&h, sim_bytes(s.base, after.files[i], &len));
		if (h.generation <= newest)
			continue;
		begun++;
		assert_true(h.first >= next);
		assert_true(h.generation - newest > UINT32_MAX); /* no life before can have used it */
	}
	assert_true(begun > 0);
	small_fini(&s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(one_damaged_byte_costs_at_most_its_block),
	    TEST(a_cut_file_loses_what_was_cut_off_and_no_more),
	    TEST(a_torn_block_at_the_tail_is_cut_and_service_goes_on),
	    TEST(an_unwritten_tail_is_taken_up_in_place),
	    TEST(damage_in_the_middle_is_counted_once_and_passed_over),
	    TEST(the_journal_of_a_newer_version_is_refused),
	    TEST(numbers_that_a_sink_has_are_not_given_out_again),
	    TEST(old_blocks_in_recycled_segments_are_never_met_again),
	    TEST(a_block_without_its_header_is_not_met_behind_the_next_one),
	};
	if (argc > 1) /* some of them: a pattern with * */
		cmocka_set_test_filter(argv[1]);
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
