/* What pumps read: the newest blocks from memory (journal_tail.c), older ones from the segments, a window at a time. */
#include <stdlib.h>

#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"

struct journal_reader {
	struct journal *journal;
	struct segment_reader reader;
	bool open;
	struct segment segment;    /* that is open */
	uint64_t offset, expected; /* where the next block lies, and with which sequence */
	uint64_t reported;         /* damage up to here was told already */
};

enum gw_err journal_reader_open(struct journal *j, struct journal_reader **out)
{
	struct journal_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return GW_NOMEM;
	r->journal = j;
	r->reader.fd = -1;
	*out = r;
	return GW_OK;
}

void journal_reader_close(struct journal_reader *r)
{
	if (!r)
		return;
	if (r->open)
		segment_reader_close(&r->reader);
	free(r);
}

/* The segment that holds sequence: the last that begins at or below it; where that was freed already, the oldest. Under
 * lock. */
static bool segment_find(const struct journal *j, uint64_t sequence, struct segment *out, uint64_t *end)
{
	if (j->segment_count == 0)
		return false;
	size_t i = j->segment_count - 1;
	while (i > 0 && j->segments[i].first > sequence)
		i--;
	*out = j->segments[i];
	*end = i + 1 < j->segment_count ? j->segments[i + 1].first : UINT64_MAX;
	return true;
}

static enum gw_err reader_enter(struct journal_reader *r, const struct segment *s, uint64_t sequence)
{
	r->reader.failed = false;
	if (r->open && r->segment.generation == s->generation && r->segment.number == s->number &&
	    sequence >= r->expected) {
		if (r->reader.at == r->offset)
			r->reader.len = 0; /* what was not there the last time may be there now */
		return GW_OK;
	}
	if (r->open)
		segment_reader_close(&r->reader);
	r->open = journal_segments_open_reader(&r->reader, r->journal, s->number, s->size, DISK_READ) == GW_OK;
	if (!r->open) {
		atomic_store_explicit(&r->journal->missing, true, memory_order_relaxed);
		return GW_IO;
	}
	r->segment = *s;
	r->offset = SEGMENT_HEADER;
	r->expected = s->first;
	return GW_OK;
}

static struct block *take_block(const uint8_t *bytes, const struct block_header *h)
{
	struct block from = {.first = h->first, .count = h->count, .body = h->body, .time_us = h->time_us};
	return block_copy(&from, bytes);
}

static void report_damage(struct journal_reader *r, uint64_t from, uint64_t to)
{
	if (to <= r->reported) /* met again */
		return;
	if (to <= journal_first(r->journal)) /* given up, and its file used again, while it was read: no damage */
		return;
	r->reported = to;
	stat_add_shared(&r->journal->stats->damaged_blocks, 1);
	stat_add_shared(&r->journal->stats->lost_sequences, to - from);
	log_event(LOG_ERROR, "journal", "a damaged range was passed over",
	          LOG_N("sluice.journal.segment", r->segment.number), LOG_N("sluice.journal.offset", r->offset),
	          LOG_N("sluice.journal.first_lost", from), LOG_N("sluice.journal.records_lost", to - from));
}

/* Walks the open segment to the block that holds sequence. end: where the next segment begins. *out stays NULL when it
 * is not here. */
static enum gw_err reader_walk(struct journal_reader *r, uint64_t sequence, uint64_t end, struct block **out)
{
	struct segment_reader *s = &r->reader;
	for (;;) {
		struct block_header h;
		const uint8_t *bytes = segment_reader_block(s, r->offset, r->segment.generation, &h);
		if (s->failed)
			return GW_IO;
		if (!bytes && s->len && s->at != r->offset) {
			s->len = 0; /* the window may be older than the block: look again */
			continue;
		}
		if (!bytes || h.first < r->expected) {
			uint64_t next =
			    segment_reader_next(s, r->offset + BLOCK_ALIGN, r->segment.generation, r->expected, &h);
			if (s->failed)
				return GW_IO;
			if (next == UINT64_MAX)
				return GW_OK;
			if (h.first > r->expected)
				report_damage(r, r->expected, h.first);
			r->offset = next;
			bytes = segment_reader_block(s, next, r->segment.generation, &h);
			if (!bytes)
				return GW_IO;
		}
		if (h.first >= end)
			return GW_OK; /* superseded by the next segment */
		r->offset += segment_block_size(h.body);
		if (h.checkpoint)
			continue;
		uint64_t last = h.first + h.count - 1;
		r->expected = last + 1;
		if (last >= sequence)
			return (*out = take_block(bytes, &h)) ? GW_OK : GW_NOMEM;
	}
}

enum gw_err journal_read(struct journal_reader *r, uint64_t sequence, struct block **out)
{
	struct journal *j = r->journal;
	uint64_t last = journal_last(j);
	while (sequence <= last) {
		struct segment s;
		uint64_t end;
		pthread_mutex_lock(&j->lock);
		struct block *b = journal_tail_find(j, sequence);
		if (b)
			block_ref(b);
		bool found = !b && segment_find(j, sequence, &s, &end);
		pthread_mutex_unlock(&j->lock);
		*out = b;
		if (b)
			return GW_OK;
		if (!found || reader_enter(r, &s, sequence))
			return found ? GW_IO : GW_AGAIN;
		enum gw_err err = reader_walk(r, sequence, end, out);
		if (err || *out)
			return err;
		if (end == UINT64_MAX)
			return GW_AGAIN;
		/* The rest of this segment is gone; the next one begins behind it. */
		if (end > r->expected && r->expected <= sequence)
			report_damage(r, r->expected, end);
		sequence = end;
	}
	return GW_AGAIN;
}
