/* From the journal into batches. */
#include "gateway/pump_parts.h"

/* Makes p->entry the record at p->sequence; false: there is none yet. */
static bool next_entry(struct pump *p)
{
	while (!p->block || p->sequence > block_last(p->block)) {
		block_release(p->block);
		p->block = NULL;
		bool there = journal_last(p->journal) >= p->sequence;
		pulse_outside(&p->pulse, true);
		enum gw_err err = journal_read(p->reader, p->sequence, &p->block);
		pulse_outside(&p->pulse, false);
		p->stuck = err && there;
		uint64_t left_out;
		if (p->stuck && log_allow(&p->read_log, clock_mono_us() / 1000, &left_out))
			log_event(LOG_ERROR, "sink", "cannot read the journal, will try again",
			          LOG_S("sink.name", p->plan.name), LOG_N("sluice.journal.sequence", p->sequence));
		if (err)
			return false;
		p->entry = block_entries(p->block);
		uint64_t at = p->block->first;
		if (p->sequence < at)
			p->sequence = at; /* a damaged range was passed over, and counted by the reader */
		for (; at < p->sequence; at++)
			p->entry += record_size(p->entry);
	}
	return true;
}

static bool lean_on(struct batch *b, struct block *block)
{
	struct block_list *blocks = b->blocks;
	if (blocks->count > 0 && blocks->items[blocks->count - 1] == block)
		return true;
	if (blocks->count == BLOCKS_MAX)
		return false;
	block_hold(block);
	blocks->items[blocks->count++] = block;
	return true;
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
static bool fill_from_block(struct pump *p, struct batch *b)
{
	const struct sink_settings *s = p->plan.common;
	const uint8_t *entry = p->entry;
	uint64_t sequence = p->sequence, last = block_last(p->block);
	bool full = false;
	for (; sequence <= last; sequence++) {
		uint32_t size = record_size(entry), json_len = record_json_len(entry);
		ask_ahead(entry, size);
		if (record_kind(entry) == p->kind) {
			full = b->count == (size_t)s->batch_records ||
			       (b->count > 0 && b->bytes + json_len > s->batch_bytes) || !lean_on(b, p->block);
			if (full)
				break;
			b->items[b->count++] = (struct batch_item){.entry = entry, .sequence = sequence};
			b->bytes += json_len;
			b->entry_bytes += size;
		}
		entry += size;
	}
	if (sequence > p->sequence)
		b->last_sequence = sequence - 1;
	p->entry = entry;
	p->sequence = sequence;
	return full;
}

/* Adds records to the batch being filled; true: it is full. */
bool read_fill(struct pump *p)
{
	while (next_entry(p)) {
		struct batch *b = p->filling ? p->filling : settle_batch(p);
		if (!b)
			return false;
		if (!p->filling) {
			p->filling = b;
			p->filling_since_us = clock_mono_us();
		}
		if (fill_from_block(p, b))
			return true;
	}
	return p->filling && p->filling->count == (size_t)p->plan.common->batch_records;
}
