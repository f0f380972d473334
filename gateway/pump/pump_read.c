/* From the journal into batches. */
#include "gateway/base/clock.h"
#include "gateway/pump/pump_parts.h"

static void pass_over(struct pump *p, struct track *t, uint64_t to)
{
	uint64_t first = journal_first(p->journal), end = first < to ? first : to;
	uint64_t from = t->sequence > t->passed_over ? t->sequence : t->passed_over;
	if (end > from) {
		stat_add(&p->stats.dropped, end - from);
		t->passed_over = end;
	}
	t->sequence = to;
}

/* Makes t->entry the record at t->sequence; false: there is none yet, or none of the track's. */
static bool next_entry(struct pump *p, struct track *t)
{
	while (!t->block || t->sequence > block_last(t->block)) {
		block_unref(t->block);
		t->block = NULL;
		if (t->sequence > t->end)
			return false;
		bool there = journal_last(p->journal) >= t->sequence;
		heartbeat_outside(&p->heartbeat, true);
		enum gw_err err = journal_read(t->reader, t->sequence, &t->block);
		heartbeat_outside(&p->heartbeat, false);
		t->stuck = err && there;
		uint64_t left_out;
		if (t->stuck && log_allow(&p->read_log, clock_mono_us() / 1000, &left_out))
			log_event(LOG_ERROR, "sink", "cannot read the journal, will try again",
			          LOG_S("sink.name", p->plan.name), LOG_N("sluice.journal.sequence", t->sequence));
		if (err)
			return false;
		t->entry = block_entries(t->block);
		uint64_t at = t->block->first;
		if (t->sequence <
		    at) /* a damaged range was passed over, and counted by the reader; or it was given up */
			pass_over(p, t, at);
		for (; at < t->sequence; at++)
			t->entry += record_size(t->entry);
	}
	return t->sequence <= t->end;
}

void pump_read_from(struct track *t, uint64_t sequence)
{
	block_unref(t->block);
	t->block = NULL;
	t->sequence = sequence;
}

static void lean_on(struct batch *b, struct block *block)
{
	struct batch_blocks *blocks = b->blocks;
	if (blocks->count > 0 && blocks->items[blocks->count - 1] == block)
		return;
	block_ref(block);
	blocks->items[blocks->count++] = block;
}

/* Another processor wrote the block, and only the heads of its entries are read, one after the other: without this each
 * would be waited for. Records of a like size come next, so the eighth from here begins in one of these two lines, most
 * likely. Behind the block's end it does no harm. */
static inline void ask_ahead(const uint8_t *entry, uint32_t size)
{
	uintptr_t there = (uintptr_t)entry + 8 * (uintptr_t)size;
	__builtin_prefetch((const void *)(there - 32));
	__builtin_prefetch((const void *)(there + 32));
}

/* Adds records of one block to the batch; true: no more of them fit. */
static bool fill_from_block(struct pump *p, struct track *t, struct batch *b)
{
	const uint8_t *entry = t->entry;
	uint64_t sequence = t->sequence, last = block_last(t->block), most_bytes = p->plan.common->batch_bytes;
	bool full = false;
	last = last < t->end ? last : t->end;
	for (; sequence <= last; sequence++) {
		uint32_t size = record_size(entry), json_len = record_json_len(entry);
		ask_ahead(entry, size);
		if (record_kind(entry) == p->kind) {
			full = b->count == t->most || (b->count > 0 && b->bytes + json_len > most_bytes);
			if (full)
				break;
			lean_on(b, t->block);
			b->items[b->count++] = (struct batch_item){.entry = entry, .sequence = sequence};
			b->bytes += json_len;
			b->entry_bytes += size;
		}
		entry += size;
	}
	if (sequence > t->sequence)
		b->last_sequence = sequence - 1;
	t->entry = entry;
	t->sequence = sequence;
	return full;
}

/* What the thread was not woken for may have come at any time since it looked. */
static void note_begin(struct pump *p)
{
	p->filling_since_us = p->gathers ? p->looked_us : clock_mono_us();
}

bool pump_read_fill(struct pump *p, struct track *t)
{
	while (next_entry(p, t)) {
		struct batch *b = t->filling ? t->filling : pump_take_batch(p, t);
		if (!b)
			return false;
		if (!t->filling) {
			t->filling = b;
			if (t == &p->live)
				note_begin(p);
		}
		if (fill_from_block(p, t, b))
			return true;
	}
	if (t == &p->live && !t->filling)
		p->looked_us = clock_mono_us();
	return t->filling && t->filling->count == t->most;
}
