/* State in the journal across power cuts: a random history of changes, some attached to records and some alone, on a
 * disk that may lose power at every call, while segments are recycled under them. What is recalled afterwards is the state
 * after some prefix of that history, never before what was durable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/gateway/journal/journal_world.h"

#include "gateway/base/clock.h"
#include "gateway/journal/state_store.h"

#define GROUPS 6
#define MEMBERS 12
#define CHANGES 4000

struct model {
	uint32_t value[GROUPS][MEMBERS]; /* 0: not there */
};

struct history {
	struct {
		uint8_t op, group, member;
		uint64_t position; /* in the lane, of this life */
	} items[CHANGES];
	size_t count, life_begin;
};

static struct history h;
static struct world w;

static void apply(struct model *m, size_t i)
{
	uint32_t(*g)[MEMBERS] = &m->value[h.items[i].group];
	if (h.items[i].op == STATE_DELETE_GROUP)
		memset(*g, 0, sizeof(*g));
	else
		(*g)[h.items[i].member] = h.items[i].op == STATE_SET ? (uint32_t)i + 1 : 0;
}

static void recall(void *context, const struct state_change *c)
{
	struct model *m = context;
	uint32_t value;
	assert_int_equal(c->group.len, 1);
	assert_int_equal(c->member.len, 1);
	assert_int_equal(c->value.len, sizeof(value));
	memcpy(&value, c->value.bytes, sizeof(value));
	m->value[*(const uint8_t *)c->group.bytes][*(const uint8_t *)c->member.bytes] = value;
}

static void put_change(uint64_t *random)
{
	struct lane *lane = &w.lanes[0];
	size_t i = h.count;
	uint64_t dice = sim_random(random);
	uint8_t group = (uint8_t)(dice % GROUPS), member = (uint8_t)(dice / 8 % MEMBERS);
	enum state_op op = dice / 128 % 40 == 0 ? STATE_DELETE_GROUP : dice / 128 % 5 < 2 ? STATE_DELETE : STATE_SET;
	uint32_t value = (uint32_t)i + 1;
	struct state_change c = {.op = op, .scope = {"mqtt", 4}, .group = {&group, 1}, .member = {&member, 1}};
	if (op == STATE_SET)
		c.value = (struct state_text){&value, sizeof(value)};
	bool alone = dice >> 40 & 1;
	size_t room = (alone ? RECORD_HEADER : record_room(0, w.number[0])) + record_state_size(&c);
	uint8_t *entry;
	int64_t until = clock_mono_us() + DEADLINE_US;
	while (!(entry = lane_reserve(lane, room))) {
		lane_publish(lane);
		journal_wake(w.journal);
		sched_yield();
		assert_true(clock_mono_us() < until);
	}
	size_t size;
	if (alone) {
		size = record_write_state(entry, &c);
	} else {
		record_make(entry, 0, w.number[0]++);
		size = record_attach(entry, &c);
	}
	assert_int_equal(record_check(entry, size), 1);
	h.items[i].op = (uint8_t)op;
	h.items[i].group = group;
	h.items[i].member = member;
	h.items[i].position = lane_commit(lane, size);
	lane_mark_state(lane);
	h.count++;
}

static void recall_from(struct sim *disk, struct model *found)
{
	struct journal_stats stats = {0};
	struct journal *j;
	struct why why;
	memset(found, 0, sizeof(*found));
	if (journal_open(&j, &w.settings, sim_disk(disk), root, &stats, &why))
		fail_msg("does not open: %s", why.text);
	journal_recall(j, "mqtt", recall, found);
	journal_close(j);
}

/* Whether what is found is the state after n changes, for an n from least on. */
static bool is_a_state(const struct model *found, size_t least)
{
	struct model m = {0};
	for (size_t n = 0;; n++) {
		if (n >= least && memcmp(&m, found, sizeof(m)) == 0)
			return true;
		if (n == h.count)
			return false;
		apply(&m, n);
	}
}

static size_t durable_changes(const struct cut *c)
{
	size_t n = h.life_begin;
	while (n < h.count && h.items[n].position <= c->durable[0])
		n++;
	return n;
}

/* One life: changes until there are `until`, with power cuts that are judged at its end. */
static size_t live(size_t until, uint64_t *random)
{
	struct why why;
	size_t wrong = 0;
	struct model found;
	if (world_open(&w, &why))
		fail_msg("%s", why.text);
	memset(&found, 0, sizeof(found));
	journal_recall(w.journal, "mqtt", recall, &found);
	assert_true(is_a_state(&found, h.count));
	if (world_start(&w, &why))
		fail_msg("%s", why.text);
	h.life_begin = h.count;
	w.cut_one_in = 20;
	sim_watch(w.sim, consider_cut, &w);
	while (h.count < until) {
		for (uint64_t n = 1 + sim_random(random) % 9; n > 0; n--)
			put_change(random);
		assert_true(world_wait_durable(&w));
		if (sim_random(random) % 3 == 0) {
			cursor_move(w.cursor, journal_last(w.journal));
			cursor_save(w.cursor);
		}
	}
	sim_watch(w.sim, NULL, NULL);
	assert_int_equal(journal_stop(w.journal, clock_mono_us() + DEADLINE_US), GW_OK);
	world_close(&w);
	for (size_t i = 0; i < w.cut_count; i++) {
		recall_from(w.cuts[i].disk, &found);
		/* The cut may lie before this life's first call: then what the last one left is the least. */
		wrong += !is_a_state(&found, durable_changes(&w.cuts[i]));
	}
	drop_cuts_over(&w, 0);
	return wrong;
}

static size_t lives(uint64_t seed, enum sim_mutant mutant, uint64_t *checkpoints)
{
	size_t wrong = 0;
	uint64_t random = seed;
	memset(&h, 0, sizeof(h));
	world_init(&w, seed);
	w.settings.max_state = 1 << 20;
	sim_mutate(w.sim, mutant);
	for (size_t until = 400; until <= 2000; until += 400) {
		wrong += live(until, &random);
		*checkpoints += stat_get(&w.stats.checkpoints);
		assert_int_equal(stat_get(&w.stats.state_forgotten), 0);
	}
	world_fini(&w);
	return wrong;
}

static void what_was_durable_is_recalled_after_any_power_cut(void **unused)
{
	(void)unused;
	uint64_t checkpoints = 0;
	for (uint64_t seed = 1; seed <= 4; seed++)
		assert_int_equal(lives(seed, SIM_HONEST, &checkpoints), 0);
	assert_true(checkpoints > 20); /* segments were recycled under the state */
}

static void a_disk_that_does_not_sync_is_found_out(void **unused)
{
	(void)unused;
	uint64_t checkpoints = 0;
	size_t wrong = 0;
	for (uint64_t seed = 1; seed <= 4 && wrong == 0; seed++)
		wrong = lives(seed, SIM_NO_SYNC, &checkpoints);
	assert_true(wrong > 0);
}

static void every_failing_call_leaves_the_state_whole(void **unused)
{
	(void)unused;
	struct model found;
	for (uint64_t n = 1; n <= 120; n += 1) {
		struct why why;
		uint64_t random = n;
		memset(&h, 0, sizeof(h));
		world_init(&w, n);
		w.settings.max_state = 1 << 20;
		if (world_open(&w, &why))
			fail_msg("%s", why.text);
		journal_recall(w.journal, "mqtt", recall, &found);
		if (world_start(&w, &why))
			fail_msg("%s", why.text);
		sim_fail(w.sim, n, 1, EIO);
		for (int turn = 0; turn < 30; turn++) {
			for (int k = 0; k < 8; k++)
				put_change(&random);
			assert_true(world_wait_durable(&w));
			cursor_move(w.cursor, journal_last(w.journal));
			cursor_save(w.cursor);
		}
		assert_int_equal(journal_stop(w.journal, clock_mono_us() + DEADLINE_US), GW_OK);
		world_close(&w);
		struct sim *left = sim_crash(w.sim, n);
		recall_from(left, &found);
		if (!is_a_state(&found, h.count))
			fail_msg("call %llu failed, and the state is another", (unsigned long long)n);
		sim_free(left);
		world_fini(&w);
	}
}

static void state_of_nobody_is_dropped(void **unused)
{
	(void)unused;
	uint64_t random = 5;
	struct why why;
	struct model found = {0};
	memset(&h, 0, sizeof(h));
	world_init(&w, 5);
	w.settings.max_state = 1 << 20;
	assert_int_equal(live(200, &random), 0);
	assert_int_equal(world_open(&w, &why), GW_OK);
	journal_recall(w.journal, "other", recall, &found);
	assert_int_equal(world_start(&w, &why), GW_OK);
	assert_int_equal(stat_get(&w.stats.state_items), 0);
	assert_int_equal(journal_stop(w.journal, clock_mono_us() + DEADLINE_US), GW_OK);
	world_close(&w);
	world_fini(&w);
}

/* What a run without state on disk did not write must not come back in the run after it. */
static void a_run_with_spill_forgets_it(void **unused)
{
	(void)unused;
	uint64_t random = 6;
	struct why why;
	struct model found, none = {0};
	memset(&h, 0, sizeof(h));
	world_init(&w, 6);
	w.settings.max_state = 1 << 20;
	assert_int_equal(live(200, &random), 0);
	w.settings.type = JOURNAL_SPILL;
	w.settings.tail_memory = 64 << 10;
	assert_int_equal(world_open(&w, &why), GW_OK);
	assert_int_equal(world_start(&w, &why), GW_OK);
	assert_int_equal(journal_stop(w.journal, clock_mono_us() + DEADLINE_US), GW_OK);
	world_close(&w);
	w.settings.type = JOURNAL_DISK;
	recall_from(w.sim, &found);
	assert_memory_equal(&found, &none, sizeof(none));
	world_fini(&w);
}

static void the_oldest_goes_when_there_is_no_room(void **unused)
{
	(void)unused;
	struct state_store t;
	struct state_change c = {.op = STATE_SET, .scope = {"s", 1}};
	state_store_init(&t, 10 * 40);
	size_t dropped = 0;
	for (uint32_t i = 0; i < 25; i++) {
		c.group = (struct state_text){&i, sizeof(i)};
		dropped += state_store_apply(&t, &c);
	}
	assert_true(dropped > 0 && t.count + dropped == 25 && t.bytes <= t.max);
	assert_true(state_store_first(&t, &c));
	uint32_t oldest;
	memcpy(&oldest, c.group.bytes, sizeof(oldest));
	assert_int_equal(oldest, dropped);
	uint32_t i = 24;
	c = (struct state_change){.op = STATE_SET, .scope = {"s", 1}, .group = {&i, sizeof(i)}, .expires_us = 5};
	state_store_apply(&t, &c);
	size_t before = t.count;
	state_store_expire(&t, 4);
	assert_int_equal(t.count, before);
	state_store_expire(&t, 5);
	assert_int_equal(t.count, before - 1);
	state_store_fini(&t);
}

static void changes_that_are_cut_or_lie_are_refused(void **unused)
{
	(void)unused;
	_Alignas(8) uint8_t bytes[128];
	struct state_change c = {.op = STATE_SET,
	                         .scope = {"mqtt", 4},
	                         .group = {"client", 6},
	                         .member = {"\1\2", 2},
	                         .value = {"v", 1},
	                         .expires_us = 77},
	                    r;
	size_t size = record_state_size(&c);
	record_state_write(&c, bytes);
	assert_int_equal(size, 40);
	assert_int_equal(record_state_read(&r, bytes, size), size);
	assert_int_equal(r.expires_us, 77);
	assert_memory_equal(r.group.bytes, "client", 6);
	assert_memory_equal(r.member.bytes, "\1\2", 2);
	assert_memory_equal(r.value.bytes, "v", 1);
	assert_true(record_state_check(bytes, size));
	for (size_t len = 1; len < size; len++)
		assert_false(record_state_check(bytes, len));
	for (size_t at = 0; at < 12; at++) {
		if (at == 4)
			continue; /* the kind of change: unknown ones are passed over */
		bytes[at] ^= 0x80;
		assert_false(record_state_check(bytes, size));
		bytes[at] ^= 0x80;
	}
}

/* Sessions of clients (neither member nor value) are known by more than the journal; identifiers by nothing else. */
static void bare_groups_make_room_first(void **unused)
{
	(void)unused;
	struct state_store t;
	struct state_change c = {.op = STATE_SET, .scope = {"mqtt", 4}};
	char group[8], member = 'm';
	state_store_init(&t, 20 * 32);
	for (int i = 0; i < 40; i++) {
		c.group = (struct state_text){group, (size_t)snprintf(group, sizeof(group), "%d", i)};
		c.member = i % 2 ? (struct state_text){&member, 1} : (struct state_text){0};
		(void)state_store_apply(&t, &c);
	}
	size_t bare = 0, others = 0;
	for (bool more = state_store_first(&t, &c); more; more = state_store_next(&t, &c)) {
		bare += c.member.len == 0;
		others += c.member.len == 1;
		assert_true(c.member.len == 1 || others == 0); /* in this order they are made again, too */
	}
	assert_int_equal(others, 20);
	assert_int_equal(bare, 0);
	c = (struct state_change){.op = STATE_SET, .scope = {"mqtt", 4}, .group = {"x", 1}};
	assert_int_equal(state_store_apply(&t, &c), 1); /* there is no room for it */
	assert_int_equal(t.count, 20);
	c = (struct state_change){.op = STATE_DELETE_GROUP, .scope = {"mqtt", 4}, .group = {"1", 1}};
	assert_int_equal(state_store_apply(&t, &c), 0);
	assert_int_equal(t.count, 19);
	state_store_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_was_durable_is_recalled_after_any_power_cut),
	    TEST(a_disk_that_does_not_sync_is_found_out),
	    TEST(every_failing_call_leaves_the_state_whole),
	    TEST(state_of_nobody_is_dropped),
	    TEST(a_run_with_spill_forgets_it),
	    cmocka_unit_test(the_oldest_goes_when_there_is_no_room),
	    cmocka_unit_test(bare_groups_make_room_first),
	    cmocka_unit_test(changes_that_are_cut_or_lie_are_refused),
	};
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
