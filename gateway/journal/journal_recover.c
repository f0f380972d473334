/* What is there at start. It always starts: torn tails are cut, damage is quarantined, counted and reported.
 *
 * All segment headers are read; those whose header is spoilt are named by the first good block in them. The newest
 * segment is walked to its end, block by block; older ones are verified when they are read. An invalid block with a
 * valid one of the same generation behind it is damage; otherwise it is the end. When something of this generation
 * stands at the end, a write was torn: the next block goes to a fresh segment, so that what lies there stays as it is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk_explain.h"
#include "gateway/base/log.h"
#include "gateway/journal/cursor_names.h"
#include "gateway/journal/journal_parts.h"
#include "gateway/journal/quarantine.h"

struct found {
	struct segment *items;
	size_t count, room;
	struct journal *journal;
	bool nomem, newer, unread, mixed;
	uint32_t newer_version, unread_number;
	int unread_err;
	int aside_err; /* a foreign one could not be moved aside */
};

static void add_found(struct found *f, const struct segment *s)
{
	if (f->count == f->room) {
		size_t room = f->room ? f->room * 2 : 64;
		struct segment *more = realloc(f->items, room * sizeof(*more));
		if (!more) {
			f->nomem = true;
			return;
		}
		f->items = more;
		f->room = room;
	}
	f->items[f->count++] = *s;
}

/* Of a file that is not used: how far its records go. */
static uint64_t last_of(struct journal *j, const struct segment *s)
{
	struct segment_reader scan;
	struct block_header h;
	uint64_t at = SEGMENT_HEADER, expected = s->first;
	if (journal_segments_open_reader(&scan, j, s->number, s->size, DISK_READ) == GW_OK)
		while (segment_reader_step(&scan, &at, s->generation, expected, &h)) {
			expected = h.checkpoint ? expected : h.first + h.count;
			at += segment_block_size(h.body);
		}
	segment_reader_close(&scan);
	return expected - 1;
}

static void set_aside(struct found *f, const struct segment *s)
{
	struct journal *j = f->journal;
	char name[32], to[4400];
	uint64_t last = last_of(j, s);
	snprintf(name, sizeof(name), "%08u.segment", s->number);
	int err = quarantine_move(j->disk, j->dir, j->dir, name, to, sizeof(to));
	if (err) {
		f->aside_err = err;
		return;
	}
	stat_add(&j->stats->foreign, last + 1 - s->first);
	log_event(LOG_ERROR, "journal",
	          "a segment belongs to another journal; it is set aside, and its records are not delivered",
	          LOG_N("sluice.journal.segment", s->number), LOG_N("sluice.journal.first", s->first),
	          LOG_N("sluice.journal.last", last), LOG_N("sluice.journal.records", last + 1 - s->first),
	          LOG_S("file.path", to));
}

/* Without a file `identity` the journal has that of its segments, if they have one. */
static bool is_own(struct found *f, const struct segment *s, const struct segment_header *h)
{
	struct journal *j = f->journal;
	if (identity_is_foreign(j->identity, h->identity)) {
		if (j->identity_stored)
			set_aside(f, s);
		else
			f->mixed = true;
		return false;
	}
	if (identity_is_none(j->identity))
		memcpy(j->identity, h->identity, IDENTITY_SIZE);
	return true;
}

static void look_at_file(struct found *f, uint32_t number)
{
	struct journal *j = f->journal;
	struct segment s = {.number = number};
	struct segment_header h;
	struct segment_reader reader;
	if (number >= j->next_number)
		j->next_number = number + 1;
	enum segment_kind kind = SEGMENT_UNREAD;
	if (journal_segments_open_reader(&reader, j, number, 0, DISK_READ) == GW_OK)
		kind = segment_files_identify(&reader, &s, &h);
	int err = reader.err;
	segment_reader_close(&reader);
	switch (kind) {
	case SEGMENT_UNREAD:
		f->unread = true;
		f->unread_err = err;
		f->unread_number = number;
		break;
	case SEGMENT_NEWER:
		f->newer = true;
		f->newer_version = h.version;
		break;
	case SEGMENT_SPOILT:
		log_event(LOG_ERROR, "journal", "the header of a segment is damaged; its blocks are used",
		          LOG_N("sluice.journal.segment", number));
		stat_add_shared(&j->stats->damaged_blocks, 1);
		add_found(f, &s);
		break;
	case SEGMENT_GOOD:
		if (is_own(f, &s, &h))
			add_found(f, &s);
		break;
	case SEGMENT_EMPTY:
		if (s.size == j->settings->segment)
			f->nomem |= !journal_segments_add_spare(j, number);
		else
			journal_segments_remove(j,
			                        number); /* an unfinished preallocation, or a spare of another size */
	}
}

struct passed {
	struct journal *journal;
	uint64_t least;
	bool any, unknown;
};

static void look_at_cursor(void *context, const char *name)
{
	struct passed *p = context;
	char path[4096];
	uint64_t sequence;
	size_t len = strlen(name);
	if (len <= 7 || strcmp(name + len - 7, ".cursor") != 0)
		return;
	snprintf(path, sizeof(path), "%s/%s", p->journal->cursor_dir, name);
	if (cursor_peek_own(p->journal->disk, path, p->journal->identity, &sequence))
		p->unknown = true;
	else if (sequence < p->least)
		p->least = sequence;
	p->any = true;
}

/* Whether a sink that this journal had has no cursor any more: somebody deleted it. */
static bool cursor_is_missing(const struct journal *j)
{
	struct cursor_names known;
	cursor_names_read(&known, j->disk, j->dir);
	for (size_t i = 0; i < known.count; i++)
		if (!journal_has_cursor(j, known.items[i]))
			return true;
	return false;
}

/* What every cursor has passed; 0 where one is not known. */
static uint64_t passed_by_all(struct journal *j)
{
	struct passed p = {.journal = j, .least = UINT64_MAX};
	bool listed = j->disk->list(j->disk, j->cursor_dir, look_at_cursor, &p) == 0;
	return listed && p.any && !p.unknown && !cursor_is_missing(j) ? p.least : 0;
}

/* After a failed write that is right: nothing of it was acknowledged. Otherwise files of another journal without an identity were
 * copied in. */
static void report_superseded(struct journal *j, const struct found *f, size_t index)
{
	const struct segment *s = &f->items[index];
	bool superseded = false;
	for (size_t i = index + 1; i < f->count; i++)
		superseded |= f->items[i].first <= s->first;
	uint64_t last = superseded ? last_of(j, s) : 0, passed = passed_by_all(j);
	uint64_t first = s->first > passed ? s->first : passed + 1;
	if (last < first)
		return;
	stat_add(&j->stats->superseded, last + 1 - first);
	log_event(LOG_WARN, "journal", "records of a segment are superseded by those of a later one and not delivered",
	          LOG_N("sluice.journal.segment", s->number), LOG_N("sluice.journal.first", first),
	          LOG_N("sluice.journal.last", last), LOG_N("sluice.journal.records", last + 1 - first));
}

/* Segments that a later one supersedes wholly hold nothing that counts. */
static bool keep_counting(struct journal *j, struct found *f)
{
	segment_files_sort(f->items, f->count);
	for (size_t i = 0; i < f->count; i++) {
		const struct segment *s = &f->items[i];
		if (s->bad)
			report_superseded(j, f, i);
		if (!s->bad)
			f->nomem |= !journal_segments_add(j, s);
		else if (s->size == j->settings->segment)
			f->nomem |= !journal_segments_add_spare(j, s->number);
		else
			journal_segments_remove(j, s->number);
	}
	if (f->count) {
		/* The life before may have begun a segment whose header was lost in a crash and whose first block was not:
		 * that block must not be met again behind a new header of the same generation. */
		uint32_t chance = 0;
		if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
			chance = (uint32_t)clock_wall_us();
		j->generation = f->items[f->count - 1].generation;
		j->generation_step = (UINT64_C(1) << 32) + chance;
	}
	return !f->nomem;
}

/* Walks the newest segment to its end. */
static void walk_newest(struct journal *j, struct segment_reader *s, const struct segment *newest)
{
	struct journal_stats *stats = j->stats;
	uint64_t expected = newest->first, at = SEGMENT_HEADER;
	struct block_header h;
	const uint8_t *bytes;
	for (uint64_t from = at; (bytes = segment_reader_step(s, &at, newest->generation, expected, &h)); from = at) {
		if (at > from) {
			log_event(LOG_ERROR, "journal",
			          "a damaged range was found in the newest segment and is passed over",
			          LOG_N("sluice.journal.segment", newest->number), LOG_N("sluice.journal.offset", from),
			          LOG_N("sluice.journal.records_lost", h.first - expected));
			stat_add_shared(&stats->damaged_blocks, 1);
		}
		if (h.first > expected)
			stat_add_shared(&stats->lost_sequences, h.first - expected);
		journal_state_apply(j, bytes + BLOCK_HEADER, h.count, h.checkpoint);
		if (h.checkpoint) {
			at += segment_block_size(h.body);
			continue;
		}
		stat_add(&stats->recovered, h.count);
		expected = h.first + h.count;
		at += segment_block_size(h.body);
	}
	j->next = expected;
	j->offset = at;
	if (segment_reader_torn(s, at, newest->generation)) {
		log_event(LOG_WARN, "journal",
		          "the last block was not finished and is cut; nothing in it was acknowledged",
		          LOG_N("sluice.journal.segment", newest->number), LOG_N("sluice.journal.offset", at));
		stat_add(&stats->cut_bytes, newest->size - at);
		j->offset = newest->size;
	}
}

/* -- state: the last checkpoint and what follows it -- */

/* Whether the state can be made again from this segment on: its checkpoint is there, or it begins with a record and had
 * none (version 1, or nobody kept state), since a record is written only when the checkpoint before it is safe. */
static bool begins_whole(struct journal *j, const struct segment *segment, bool *failed)
{
	struct segment_reader reader;
	struct block_header h;
	bool whole = false;
	if (journal_segments_open_reader(&reader, j, segment->number, segment->size, DISK_READ) == GW_OK)
		whole = segment_reader_block(&reader, SEGMENT_HEADER, segment->generation, &h) != NULL;
	*failed |= reader.failed || reader.fd < 0;
	segment_reader_close(&reader);
	return whole;
}

static bool take_state(void *context, const uint8_t *bytes, const struct block_header *h)
{
	journal_state_apply(context, bytes + BLOCK_HEADER, h->count, h->checkpoint);
	return true;
}

/* Makes the state again up to the newest segment, which is walked anyway. True: the newest has to be followed by a
 * fresh one with a checkpoint. */
static bool recall_older(struct journal *j, bool *failed)
{
	size_t newest = j->segment_count - 1, from = newest;
	while (from > 0 && !begins_whole(j, &j->segments[from], failed) && !*failed)
		from--;
	for (size_t i = from; i < newest && !*failed; i++)
		*failed = !journal_segments_walk(j, &j->segments[i], j->segments[i + 1].first, take_state, j);
	if (journal_keeps_state(j))
		j->state_generation = j->segments[from].generation;
	return from < newest;
}

static enum gw_err refuse_newest(const struct journal *j, uint32_t number, const char *what, int err, struct why *why)
{
	char path[4096], text[768];
	journal_segments_path(j, number, path, sizeof(path));
	return why_set(why, GW_IO, "journal: the newest segment %s: %s", what,
	               disk_explain(err, path, text, sizeof(text)));
}

/* Takes the newest segment up again. What is read back now may never have been synced: it must be before anybody sees
 * it. */
static enum gw_err take_up(struct journal *j, struct why *why)
{
	struct segment *newest = &j->segments[j->segment_count - 1];
	struct segment_reader reader;
	if (journal_segments_open_reader(&reader, j, newest->number, newest->size, DISK_WRITE))
		return refuse_newest(j, newest->number, "cannot be opened for writing", reader.err, why);
	bool failed = false, fresh = recall_older(j, &failed);
	const uint8_t *bytes = segment_reader_bytes(&reader, 0, SEGMENT_HEADER);
	struct segment_header header;
	fresh |= bytes && segment_header_read(&header, bytes) == 1 && header.version < SEGMENT_VERSION;
	walk_newest(j, &reader, newest);
	if (fresh)
		j->offset = newest->size;
	int err = reader.failed ? reader.err : failed ? -EIO : j->disk->sync(j->disk, reader.fd);
	if (err) {
		segment_reader_close(&reader);
		return refuse_newest(j, newest->number, "cannot be read", err, why);
	}
	j->fd = reader.fd;
	reader.fd = -1;
	segment_reader_close(&reader);
	j->current = true;
	return GW_OK;
}

/* Segments that were free before the stop look like any others, but some of them were used again meanwhile: a new sink
 * would meet the rest with gaps between them. They are those that all cursors, also of sinks that are gone, have
 * passed. */
static void free_again(struct journal *j)
{
	uint64_t passed = passed_by_all(j);
	if (passed > 0)
		journal_segments_recycle(j, passed);
}

/* Not the same as damage: it may be whole, and its numbers must not be given out again. Only where reading failed on a
 * disk that answers is moving it away the last resort. */
static enum gw_err refuse_unread(const struct journal *j, const struct found *f, struct why *why)
{
	char path[4096], text[768];
	journal_segments_path(j, f->unread_number, path, sizeof(path));
	disk_explain(f->unread_err, path, text, sizeof(text));
	if (f->unread_err != -EIO)
		return why_set(why, GW_IO, "journal: a segment cannot be read: %s", text);
	return why_set(
	    why, GW_IO,
	    "journal: a segment cannot be read: %s. Only if it still cannot be read on a working disk (try to copy "
	    "it with dd or ddrescue first): move it away, and its records are lost",
	    text);
}

static int store_identity(struct journal *j)
{
	if (j->identity_stored)
		return 0;
	if (identity_is_none(j->identity))
		identity_make(j->identity);
	j->identity_stored = true;
	return identity_write(j->disk, j->dir, j->identity);
}

enum gw_err journal_recover(struct journal *j, struct why *why)
{
	struct segment_files_numbers numbers;
	struct found found = {.journal = j};
	enum gw_err err = GW_OK;
	char text[768];
	int failed = identity_read(j->disk, j->dir, j->identity);
	if (failed)
		return why_set(why, GW_IO, "journal: its file `identity` cannot be read: %s",
		               disk_explain(failed, j->dir, text, sizeof(text)));
	j->identity_stored = !identity_is_none(j->identity);
	failed = segment_files_list(j->disk, j->dir, &numbers);
	for (size_t i = 0; i < numbers.count; i++)
		look_at_file(&found, numbers.items[i]);
	if (failed)
		err = why_set(why, failed == -ENOMEM ? GW_NOMEM : GW_IO, "journal: %s",
		              disk_explain(failed, j->dir, text, sizeof(text)));
	else if (found.newer)
		err = why_set(why, GW_CONFIG,
		              "journal: %s was written by a newer Sluice (format version %u, this one knows %u): use "
		              "that version",
		              j->dir, found.newer_version, SEGMENT_VERSION);
	else if (found.unread)
		err = refuse_unread(j, &found, why);
	else if (found.mixed)
		err = why_set(
		    why, GW_CONFIG,
		    "journal: %s has segments of two journals, and its file `identity` is missing: which are its own "
		    "is not known. Restore that file, or give each journal a directory of its own",
		    j->dir);
	else if (found.aside_err || (failed = store_identity(j)))
		err = why_set(why, GW_IO, "journal: %s",
		              disk_explain(found.aside_err ? found.aside_err : failed, j->dir, text, sizeof(text)));
	else if (!keep_counting(j, &found))
		err = why_set(why, GW_NOMEM, "journal: out of memory");
	else if (j->segment_count > 0 && !(err = take_up(j, why)))
		free_again(j);
	free(numbers.items);
	free(found.items);
	return err;
}
