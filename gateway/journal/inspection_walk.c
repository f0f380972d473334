/* Walking a journal from outside; what inspection.h promises.
 *
 * While a gateway writes, what is read may be half old and half new. Three things make it safe: a block's checksum, and
 * that of its generation; a place that looks damaged is read once more after a block behind it was seen (blocks are
 * written one after the other, so it must be whole by then); and before damage is told the header is read again, since a
 * segment that is used again gets its new header before anything else. */
#include "gateway/journal/inspection.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "gateway/journal/segment_files.h"

struct inspection_walk {
	struct inspection *inspection;
	const struct inspection_visitor *visitor;
	void *context;
	struct segment_reader reader;
	const struct inspection_segment *segment;
	uint64_t before; /* bytes of the segments before this one */
	uint64_t end;    /* where the next segment begins */
	uint64_t at, expected;
	bool ended, over; /* the visitor has enough; the segment is at its end, in order */
};

static void tell(const struct inspection_walk *w, const struct inspection_damage *d)
{
	if (w->visitor->damage)
		w->visitor->damage(w->context, d);
}

/* Whether the file is another segment by now. */
static bool is_recycled(struct inspection_walk *w)
{
	struct segment_header h;
	w->reader.len = 0;
	const uint8_t *bytes = segment_reader_bytes(&w->reader, 0, SEGMENT_HEADER);
	return bytes && segment_header_read(&h, bytes) == 1 && h.generation != w->segment->generation;
}

/* The next block, told of what lies before it; NULL: the end of the segment, in whatever way. */
static const uint8_t *walk_step(struct inspection_walk *w, struct block_header *h)
{
	struct segment_reader *s = &w->reader;
	uint64_t generation = w->segment->generation, from = w->at;
	const uint8_t *bytes = segment_reader_step(s, &w->at, generation, w->expected, h);
	if (bytes && w->at > from) { /* again: it may be whole by now */
		s->len = 0;
		bytes = segment_reader_block(s, from, generation, h);
		if (bytes && h->first >= w->expected)
			w->at = from;
		else
			bytes = segment_reader_block(s, w->at, generation, h);
	}
	if (s->failed)
		return NULL;
	if (!bytes || h->first >= w->end) {
		w->over = true;
		w->at = from;
		return NULL;
	}
	if (w->at == from && h->first == w->expected)
		return bytes;
	if (is_recycled(w))
		return NULL;
	struct inspection_damage d = {.kind = INSPECTION_RANGE,
	                              .segment = w->segment->number,
	                              .offset = from,
	                              .bytes = w->at - from,
	                              .lost = {w->expected, h->first}};
	if (d.bytes > 0 || !inspection_is_known_lost(w->inspection, &d.lost))
		tell(w, &d);
	return segment_reader_block(s, w->at, generation, h);
}

/* What every sink has may be missing: its segments are used again in any order, perhaps since they were listed. */
static bool is_needed(struct inspection *l, uint64_t sequence)
{
	if (sequence > l->passed)
		inspection_refresh(l);
	return sequence > l->passed;
}

/* What is told of a segment when it was walked to its end. */
static void walk_end(struct inspection_walk *w, bool last)
{
	const struct inspection_segment *seg = w->segment;
	struct inspection_damage d = {.segment = seg->number, .offset = w->at, .lost = {w->expected, w->expected}};
	bool torn = segment_reader_torn(&w->reader, w->at, seg->generation);
	if (w->reader.failed) {
		d.kind = INSPECTION_UNREAD;
		tell(w, &d);
	} else if (!w->over || is_recycled(w)) {
		w->inspection->recycled++;
	} else {
		if (seg->size < seg->told_size)
			tell(w, &(struct inspection_damage){.kind = INSPECTION_SHORT,
			                                    .segment = seg->number,
			                                    .offset = seg->size,
			                                    .bytes = seg->told_size - seg->size});
		d.kind = INSPECTION_GAP;
		d.torn = torn;
		d.lost.end = last ? w->expected : w->end;
		if (d.lost.end > w->expected && is_needed(w->inspection, d.lost.end - 1) &&
		    !inspection_is_known_lost(w->inspection, &d.lost))
			tell(w, &d);
	}
	if (w->expected > w->inspection->last + 1)
		w->inspection->last = w->expected - 1;
}

static void walk_segment(struct inspection_walk *w, size_t index)
{
	const struct inspection *l = w->inspection;
	const struct inspection_segment *s = w->segment = &l->segments[index];
	bool last = index + 1 == l->segment_count;
	w->end = last ? UINT64_MAX : l->segments[index + 1].first;
	w->at = SEGMENT_HEADER;
	w->expected = s->first;
	w->over = false;
	int fd = s->unread ? -EIO : inspection_open_segment(l, s->number, DISK_READ);
	if (fd == -ENOENT) {
		w->inspection->recycled++;
		return;
	}
	if (fd < 0) {
		tell(w, &(struct inspection_damage){.kind = INSPECTION_UNREAD, .segment = s->number});
		return;
	}
	segment_reader_init(&w->reader, l->disk, fd, s->size);
	if (w->visitor->segment)
		w->visitor->segment(w->context, s);
	if (s->spoilt)
		tell(w, &(struct inspection_damage){
		            .kind = INSPECTION_HEADER, .segment = s->number, .bytes = SEGMENT_HEADER});
	struct block_header h;
	const uint8_t *bytes;
	while (!w->ended && (bytes = walk_step(w, &h))) {
		if (w->visitor->block)
			w->ended = !w->visitor->block(w->context, s, w->at, &h, bytes);
		w->at += segment_block_size(h.body);
		if (!h.checkpoint)
			w->expected = h.first + h.count;
		if (w->visitor->progress)
			w->visitor->progress(w->context, w->before + w->at);
	}
	if (!w->ended)
		walk_end(w, last);
	segment_reader_close(&w->reader);
}

void inspection_walk(struct inspection *l, uint64_t from, const struct inspection_visitor *v, void *context)
{
	struct inspection_walk w = {.inspection = l, .visitor = v, .context = context};
	l->recycled = 0;
	l->last = 0;
	for (size_t i = 0; i < l->cursor_count; i++)
		if (l->cursors[i].damaged || l->cursors[i].unread)
			tell(&w, &(struct inspection_damage){.kind = l->cursors[i].damaged ? INSPECTION_CURSOR
			                                                                   : INSPECTION_UNREAD,
			                                     .cursor = l->cursors[i].name});
	for (size_t i = 0; i < l->segment_count && !w.ended; i++) {
		if (i + 1 == l->segment_count || l->segments[i + 1].first > from)
			walk_segment(&w, i);
		w.before += l->segments[i].size;
		if (v->progress)
			v->progress(context, w.before);
	}
}

/* -- telling -- */

void inspection_describe(const struct inspection_damage *d, char *out, size_t size)
{
	static const char *const what[] = {
	    [INSPECTION_HEADER] = "the header is damaged, its blocks are used",
	    [INSPECTION_SHORT] = "the file is cut off",
	    [INSPECTION_RANGE] = "damaged",
	    [INSPECTION_GAP] = "records are missing behind here",
	    [INSPECTION_CURSOR] = "damaged: where the sink was is not known",
	    [INSPECTION_UNREAD] = "cannot be read: the disk failed",
	};
	char where[CURSOR_NAME_MAX + 64], lost[128] = "";
	if (d->cursor)
		snprintf(where, sizeof(where), "cursor %s", d->cursor);
	else
		snprintf(where, sizeof(where), "segment %08u, offset %" PRIu64, d->segment, d->offset);
	if (d->lost.end > d->lost.first)
		snprintf(lost, sizeof(lost), "; lost: sequences %" PRIu64 " to %" PRIu64 " (%" PRIu64 " records)",
		         d->lost.first, d->lost.end - 1, d->lost.end - d->lost.first);
	if (d->bytes > 0)
		snprintf(out, size, "%s, %" PRIu64 " bytes: %s%s", where, d->bytes, what[d->kind], lost);
	else
		snprintf(out, size, "%s: %s%s", where, what[d->kind], lost);
}

void inspection_find_last(struct inspection *l)
{
	static const struct inspection_visitor nothing = {.segment = NULL};
	if (l->segment_count > 0)
		inspection_walk(l, l->segments[l->segment_count - 1].first, &nothing, NULL);
}

/* How many of the sequences from first to last are known to be lost; ranges may overlap. */
static uint64_t count_lost(const struct inspection *l, uint64_t first, uint64_t last)
{
	uint64_t count = 0;
	for (uint64_t at = first; at <= last;) {
		uint64_t next = UINT64_MAX, end = at;
		for (size_t i = 0; i < l->lost_count; i++) {
			const struct inspection_range *r = &l->lost[i];
			if (r->first <= at && r->end > end)
				end = r->end;
			else if (r->first > at && r->first < next)
				next = r->first;
		}
		if (end > at)
			count += (end <= last ? end : last + 1) - at;
		at = end > at ? end : next;
	}
	return count;
}

uint64_t inspection_behind(const struct inspection *l, const struct inspection_cursor *c)
{
	uint64_t from = c->sequence + 1; /* what lies before the journal's first record was given up when it was full */
	if (l->segment_count > 0 && l->segments[0].first > from)
		from = l->segments[0].first;
	uint64_t lacking = cursor_lacking(from - 1, l->last, c->ahead, c->ahead_count);
	uint64_t lost = count_lost(l, from, l->last);
	return lacking > lost ? lacking - lost : 0;
}
