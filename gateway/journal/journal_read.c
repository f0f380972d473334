/* What pumps read: the newest blocks from memory (the tail), older ones from the segments, a window at a time. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"

#define WINDOW (1u << 20)

/* -- the tail -- */

static struct block *tail_at(const struct journal *j, size_t i)
{
	assert(j->tail_room > 0);
	return j->tail[(j->tail_first + i) % j->tail_room];
}

bool tail_room(struct journal *j)
{
	if (j->tail_count < j->tail_room)
		return true;
	size_t room = j->tail_room ? j->tail_room * 2 : 256;
	struct block **more = malloc(room * sizeof(*more));
	if (!more)
		return false;
	for (size_t i = 0; i < j->tail_count; i++)
		more[i] = tail_at(j, i);
	pthread_mutex_lock(&j->lock);
	struct block **old = j->tail;
	j->tail = more;
	j->tail_first = 0;
	j->tail_room = room;
	pthread_mutex_unlock(&j->lock);
	free(old);
	return true;
}

void tail_add(struct journal *j, struct block *b)
{
	assert(j->tail_count < j->tail_room);
	pthread_mutex_lock(&j->lock);
	j->tail[(j->tail_first + j->tail_count++) % j->tail_room] = b;
	j->tail_bytes += b->room;
	pthread_mutex_unlock(&j->lock);
}

static bool tail_may_drop(const struct journal *j, const struct block *b, uint64_t least)
{
	if (j->settings->type == JOURNAL_MEMORY || block_last(b) >= j->held_from)
		return block_last(b) <= least;
	return j->tail_bytes > j->settings->tail_memory;
}

const struct block *tail_oldest(const struct journal *j)
{
	return j->tail_count > 0 ? tail_at(j, 0) : NULL;
}

void tail_drop(struct journal *j)
{
	uint64_t least = settle_least(j);
	/* The tail is changed by this thread alone: looking needs no lock. */
	for (const struct block *b; (b = tail_oldest(j)) && tail_may_drop(j, b, least);)
		tail_give_up(j);
}

void tail_give_up(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	struct block *b = tail_at(j, 0);
	j->tail_first = (j->tail_first + 1) % j->tail_room;
	j->tail_count--;
	j->tail_bytes -= b->room;
	pthread_mutex_unlock(&j->lock);
	block_release(b);
}

/* The first block in the tail that holds sequence or something above it; NULL when older ones are on disk alone. Under
 * lock. */
static struct block *tail_find(const struct journal *j, uint64_t sequence)
{
	if (j->tail_count == 0 || (journal_has_disk(j) && sequence < tail_at(j, 0)->first && sequence < j->held_from))
		return NULL;
	size_t low = 0, high = j->tail_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (block_last(tail_at(j, middle)) < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low < j->tail_count ? tail_at(j, low) : NULL;
}

/* -- scanning a segment -- */

void scan_init(struct scan *s, const struct disk *disk, int fd, uint64_t size)
{
	*s = (struct scan){.disk = disk, .fd = fd, .size = size};
}

enum gw_err scan_open(struct scan *s, const struct journal *j, uint32_t number, uint64_t size, unsigned flags)
{
	scan_init(s, j->disk, space_open(j, number, flags), size);
	return s->fd < 0 ? GW_IO : GW_OK;
}

void scan_close(struct scan *s)
{
	if (s->disk && s->fd >= 0)
		s->disk->close(s->disk, s->fd);
	free(s->buffer);
	memset(s, 0, sizeof(*s));
	s->fd = -1;
}

static bool scan_room(struct scan *s, size_t room)
{
	if (room <= s->room)
		return true;
	void *buffer;
	if (posix_memalign(&buffer, DISK_ALIGN, room))
		return false;
	free(s->buffer);
	s->buffer = buffer;
	s->room = room;
	s->len = 0;
	return true;
}

const uint8_t *scan_bytes(struct scan *s, uint64_t offset, size_t len)
{
	if (offset + len > s->size)
		return NULL;
	if (offset >= s->at && offset + len <= s->at + s->len)
		return s->buffer + (offset - s->at);
	size_t most = s->size < WINDOW ? (size_t)s->size : WINDOW; /* whole pages are read, below */
	size_t want = ((len > most ? len : most) + DISK_ALIGN - 1) & ~(size_t)(DISK_ALIGN - 1);
	if (!scan_room(s, want)) {
		s->failed = true;
		return NULL;
	}
	/* Whole pages, also at the end of a file that was cut: direct I/O takes nothing else. The read is short there.
	 */
	int64_t n = s->disk->read(s->disk, s->fd, s->buffer, want, offset);
	s->at = offset;
	s->len = n < 0 ? 0 : (size_t)n;
	s->failed |= n < 0; /* stays: what could not be read must not pass for the end */
	return s->len >= len ? s->buffer : NULL;
}

const uint8_t *scan_block(struct scan *s, uint64_t offset, uint64_t generation, struct block_header *h)
{
	const uint8_t *bytes = scan_bytes(s, offset, BLOCK_ALIGN);
	if (!bytes || !block_header_read(h, bytes, generation, (size_t)(s->size - offset)))
		return NULL;
	bytes = scan_bytes(s, offset, block_size(h->body));
	return bytes && block_check(h, bytes) ? bytes : NULL;
}

uint64_t scan_next(struct scan *s, uint64_t offset, uint64_t generation, uint64_t least, struct block_header *h)
{
	for (; offset + BLOCK_ALIGN <= s->size; offset += BLOCK_ALIGN) {
		if (scan_block(s, offset, generation, h) && h->first >= least)
			return offset;
		if (s->failed)
			break;
	}
	return UINT64_MAX;
}

const uint8_t *scan_step(struct scan *s, uint64_t *at, uint64_t generation, uint64_t expected, struct block_header *h)
{
	const uint8_t *bytes = scan_block(s, *at, generation, h);
	if (bytes && h->first >= expected)
		return bytes;
	uint64_t next = s->failed ? UINT64_MAX : scan_next(s, *at + BLOCK_ALIGN, generation, expected, h);
	if (next == UINT64_MAX)
		return NULL;
	*at = next;
	return scan_block(s, next, generation, h);
}

bool scan_segment(struct journal *j, const struct segment *segment, uint64_t end,
                  bool (*each)(void *context, const uint8_t *bytes, const struct block_header *h), void *context)
{
	struct scan scan;
	struct block_header h;
	if (scan_open(&scan, j, segment->number, segment->size, DISK_READ) != GW_OK)
		return false;
	uint64_t at = SEGMENT_HEADER, expected = segment->first;
	const uint8_t *bytes;
	while ((bytes = scan_step(&scan, &at, segment->generation, expected, &h)) && h.first < end &&
	       each(context, bytes, &h)) {
		if (!h.checkpoint)
			expected = h.first + h.count;
		at += block_size(h.body);
	}
	bool read = !scan.failed;
	scan_close(&scan);
	return read;
}

bool scan_torn(struct scan *s, uint64_t offset, uint64_t generation)
{
	struct block_header h;
	const uint8_t *bytes = scan_bytes(s, offset, BLOCK_ALIGN);
	return bytes && block_header_read(&h, bytes, generation, (size_t)(s->size - offset));
}

/* -- a pump's reader -- */

struct journal_reader {
	struct journal *journal;
	struct scan scan;
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
	r->scan.fd = -1;
	*out = r;
	return GW_OK;
}

void journal_reader_close(struct journal_reader *r)
{
	if (!r)
		return;
	if (r->open)
		scan_close(&r->scan);
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
	r->scan.failed = false;
	if (r->open && r->segment.generation == s->generation && r->segment.number == s->number &&
	    sequence >= r->expected) {
		if (r->scan.at == r->offset)
			r->scan.len = 0; /* what was not there the last time may be there now */
		return GW_OK;
	}
	if (r->open)
		scan_close(&r->scan);
	r->open = scan_open(&r->scan, r->journal, s->number, s->size, DISK_READ) == GW_OK;
	if (!r->open)
		return GW_IO;
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
	struct scan *s = &r->scan;
	for (;;) {
		struct block_header h;
		const uint8_t *bytes = scan_block(s, r->offset, r->segment.generation, &h);
		if (s->failed)
			return GW_IO;
		if (!bytes && s->len && s->at != r->offset) {
			s->len = 0; /* the window may be older than the block: look again */
			continue;
		}
		if (!bytes || h.first < r->expected) {
			uint64_t next = scan_next(s, r->offset + BLOCK_ALIGN, r->segment.generation, r->expected, &h);
			if (s->failed)
				return GW_IO;
			if (next == UINT64_MAX)
				return GW_OK;
			if (h.first > r->expected)
				report_damage(r, r->expected, h.first);
			r->offset = next;
			bytes = scan_block(s, next, r->segment.generation, &h);
			if (!bytes)
				return GW_IO;
		}
		if (h.first >= end)
			return GW_OK; /* superseded by the next segment */
		r->offset += block_size(h.body);
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
		struct block *b = tail_find(j, sequence);
		if (b)
			block_hold(b);
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
