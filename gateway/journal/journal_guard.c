/* What an operator may do to the journal's files while it runs: delete them, move them, give them to another process.
 *
 * Every write and sync of a deleted file succeeds, so its link count is asked after each sync, before anything is settled
 * (statx, about a microsecond). Once a second, and before a segment is begun or a file removed, the directory, the lock,
 * the open segment and the cursors are looked at.
 *
 *   moved     nothing is written or acknowledged until the directory is back. No file was touched, so no restart is needed
 *   taken     another process has the journal (directory_lock.h): nothing is written any more, for good
 *   deleted   directories are made again, and so are the cursors. What the deleted segments had is written into new ones
 *             as far as it is still there: in the tail's blocks in memory, and in the open segment, which is read through its
 *             descriptor. The rest, if a sink lacks it, is lost: the range is logged and counted
 *
 * While files are written again the old descriptor stays open; when the new ones are deleted meanwhile it begins again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"
#include "gateway/journal/record.h"

#define LOOK_US 1000000

int journal_guard_named(struct journal *j)
{
	if (j->disk->place(j->disk, j->fd, NULL) != DISK_GONE)
		return 0;
	j->nameless = true;
	j->guard_us = 0;
	return -ENOENT;
}

/* Whether a segment is a file. 0, or a negative errno: not known. */
static int is_file(const struct journal *j, uint32_t number, bool *there)
{
	int fd = journal_segments_open(j, number, DISK_READ);
	if (fd >= 0)
		j->disk->close(j->disk, fd);
	*there = fd >= 0;
	return fd == -ENOENT || fd >= 0 ? 0 : fd;
}

/* For each of j->segments whether it is a file. NULL: not known now (no memory, no descriptor, a disk that fails). */
static bool *which_are_files(struct journal *j)
{
	bool *there = calloc(j->segment_count + 1, sizeof(*there));
	int err = there ? 0 : -ENOMEM;
	for (size_t i = 0; i < j->segment_count && !err; i++)
		err = is_file(j, j->segments[i].number, &there[i]);
	if (!err && j->current) /* is_at_path judges it */
		there[j->segment_count - 1] = true;
	if (!err)
		return there;
	journal_note_trouble(j, err);
	free(there);
	return NULL;
}

/* Whether the open segment is where it should be. */
static bool is_at_path(struct journal *j)
{
	char path[4096];
	journal_segments_path(j, j->segments[j->segment_count - 1].number, path, sizeof(path));
	int place = j->disk->place(j->disk, j->fd, path);
	return place != DISK_GONE && place != DISK_MOVED;
}

/* -- what was deleted -- */

static void report_lost(struct journal *j, uint64_t from, uint64_t end)
{
	uint64_t passed = journal_cursors_min_stored(j);
	from = from > passed ? from : passed + 1;
	if (end <= from)
		return;
	stat_add(&j->stats->deleted, end - from);
	log_event(LOG_ERROR, "journal", "segments were deleted; records that only they had are lost",
	          LOG_N("sluice.journal.first_lost", from), LOG_N("sluice.journal.last_lost", end - 1),
	          LOG_N("sluice.journal.records_lost", end - from));
}

/* Leaves those for which there[i] is true. */
static void keep_segments(struct journal *j, const bool *there)
{
	size_t kept = 0;
	pthread_mutex_lock(&j->lock);
	for (size_t i = 0; i < j->segment_count; i++)
		if (there[i])
			j->segments[kept++] = j->segments[i];
	j->segment_count = kept;
	pthread_mutex_unlock(&j->lock);
}

static void forget_spares(struct journal *j)
{
	size_t kept = 0;
	bool there;
	for (size_t i = 0; i < j->spare_count; i++)
		if (is_file(j, j->spares[i], &there) == 0 && there)
			j->spares[kept++] = j->spares[i];
	j->spare_count = kept;
}

/* Forgets the segments and spares that are no files any more. What of them lies below `rescued` is lost; `end` is behind
 * the last record. */
static void forget_missing(struct journal *j, const bool *there, uint64_t rescued, uint64_t end)
{
	uint64_t lost_from = 0, lost_end = 0; /* of neighbours together */
	for (size_t i = 0; i < j->segment_count; i++) {
		const struct segment *s = &j->segments[i];
		uint64_t next = i + 1 < j->segment_count ? j->segments[i + 1].first : end;
		if (there[i])
			continue;
		next = next < rescued ? next : rescued;
		if (lost_end != s->first) {
			report_lost(j, lost_from, lost_end);
			lost_from = s->first;
		}
		lost_end = next > s->first ? next : s->first;
	}
	report_lost(j, lost_from, lost_end);
	keep_segments(j, there);
	forget_spares(j);
}

/* The first sequence of the segments that are missing without one behind them that is there; `end`: none is. */
static uint64_t missing_from(const struct journal *j, const bool *there, uint64_t end)
{
	uint64_t from = end;
	for (size_t i = j->segment_count; i-- > 0 && !there[i];)
		from = j->segments[i].first;
	return from;
}

/* -- what is written again -- */

struct rescue {
	struct journal *journal;
	uint64_t from, end; /* what is wanted */
	uint64_t first;     /* of what j->block has */
	uint64_t taken_end; /* behind the last record taken */
	bool may_drop;
};

static bool flush(struct rescue *r)
{
	struct journal *j = r->journal;
	if (!j->block || j->block->count == 0)
		return true;
	j->block->may_drop = r->may_drop;
	if (!journal_write(j, r->first) || j->rescue_again)
		return false;
	j->rescued += j->block->count;
	j->rescue_from = r->first + j->block->count;
	block_clear(j->block);
	return true;
}

/* A block in memory may begin inside a block of the deleted segment, where several were written as one. Records must not
 * be written twice: a reader skips a block that begins below what it expects, with everything in it. */
static const uint8_t *skip_taken(const struct rescue *r, const uint8_t *entries, struct block_header *h)
{
	while (h->count > 0 && h->first < r->taken_end) {
		uint32_t size = record_size(entries);
		entries += size;
		h->body -= size;
		h->count--;
		h->first++;
	}
	return entries;
}

/* Changes *h where a part of it was taken before. */
static bool take(struct rescue *r, const uint8_t *entries, struct block_header *h)
{
	struct journal *j = r->journal;
	uint64_t end = h->first + h->count;
	if (end <= r->from || h->first >= r->end)
		return true;
	entries = skip_taken(r, entries, h);
	if (h->count == 0)
		return true;
	bool fits = j->block && j->block->count > 0 && r->first + j->block->count == h->first &&
	            h->body <= j->block->room - BLOCK_HEADER - j->block->body;
	if (!fits) {
		if (!flush(r))
			return false;
		if (!journal_room(j, h->body > j->most_body ? h->body : j->most_body)) {
			journal_note_memory(j);
			return false;
		}
		block_clear(j->block);
		r->first = h->first;
		r->may_drop = true;
	}
	block_fill(j->block, entries, h->body);
	block_grow(j->block, h->body, h->count);
	r->may_drop &= h->may_drop;
	r->taken_end = end;
	return true;
}

/* The deleted segment's blocks below `end`. */
static bool take_remains(struct rescue *r, uint64_t end)
{
	const struct segment *old = &r->journal->remains;
	struct segment_reader scan;
	struct block_header h;
	const uint8_t *bytes;
	bool good = true;
	segment_reader_init(&scan, r->journal->disk, r->journal->remains_fd, old->size);
	uint64_t at = SEGMENT_HEADER, expected = old->first;
	while (good && (bytes = segment_reader_step(&scan, &at, old->generation, expected, &h)) && h.first < end) {
		at += segment_block_size(h.body);
		if (!h.checkpoint) {
			expected = h.first + h.count;
			good = take(r, bytes + BLOCK_HEADER, &h);
		}
	}
	if (scan.failed)
		journal_note_trouble(r->journal, scan.err);
	good &= !scan.failed;
	scan.fd = -1; /* it stays open */
	segment_reader_close(&scan);
	return good;
}

static bool take_tail(struct rescue *r)
{
	struct journal *j = r->journal;
	bool good = true;
	for (size_t i = 0; i < j->tail_count && good; i++) {
		const struct block *b = j->tail[(j->tail_first + i) % j->tail_room];
		struct block_header h = {
		    .first = b->first, .count = b->count, .body = b->body, .may_drop = b->may_drop};
		good = take(r, block_entries(b), &h);
	}
	return good;
}

/* Also without records: the state, and the number of the next record, were in the deleted segment alone. */
static bool begin_segment(struct journal *j, uint64_t first)
{
	if (j->current)
		return true;
	int err = journal_segments_roll(j, first);
	if (!err)
		err = j->disk->sync(j->disk, j->fd);
	if (err) {
		journal_note_trouble(j, err);
		journal_segments_abandon(j, first);
	}
	return !err;
}

/* The same of what this rescue has begun, also in front of one that is there; UINT64_MAX: all of it is there. */
static uint64_t missing_again(const struct journal *j, const bool *there)
{
	uint64_t from = UINT64_MAX;
	for (size_t i = j->segment_count; i-- > 0 && j->segments[i].first >= j->rescue_begin;)
		if (!there[i])
			from = j->segments[i].first;
	return from;
}

/* From where on records are to be written again. What an attempt that failed has written counts as long as it is there: else
 * each try would fill further segments, and one begun again would supersede what the one before it has. */
static bool find_missing(struct journal *j, uint64_t tail, uint64_t end)
{
	bool *files = which_are_files(j);
	if (!files)
		return false;
	bool first_try = j->rescue_from == UINT64_MAX;
	uint64_t there = j->remains_fd >= 0 && j->remains.first < tail ? j->remains.first : tail;
	uint64_t from =
	    first_try ? missing_from(j, files, j->remains_fd >= 0 ? j->remains.first : end) : missing_again(j, files);
	from = from > there ? from : there;
	from = from < end ? from : end;
	j->rescue_from = from < j->rescue_from ? from : j->rescue_from;
	j->rescue_begin = first_try ? from : j->rescue_begin;
	forget_missing(j, files, j->rescue_from, j->remains_fd >= 0 ? j->remains.first : end);
	free(files);
	return true;
}

static bool write_again(struct journal *j, struct rescue *r)
{
	const struct block *oldest = journal_tail_oldest(j);
	uint64_t tail = oldest ? oldest->first : UINT64_MAX, passed = journal_cursors_min_stored(j);
	if (!find_missing(j, tail, r->end))
		return false;
	r->from = j->rescue_from > passed ? j->rescue_from : passed + 1;
	r->from = r->from < r->end ? r->from : r->end;
	if (j->remains_fd >= 0 && tail > r->from && !take_remains(r, tail < r->end ? tail : r->end))
		return false;
	return take_tail(r) && flush(r) && begin_segment(j, r->end);
}

/* The files that are there, seen by readers: below the oldest nothing is. */
static void note_first(struct journal *j)
{
	uint64_t first = j->segment_count > 0 ? j->segments[0].first : j->next;
	if (first > journal_first(j))
		atomic_store_explicit(&j->first, first, memory_order_release);
}

/* Takes the open segment out of the way: deleted, it is read; one that an earlier attempt began is not written on. */
static void set_aside(struct journal *j)
{
	if (!j->current)
		return;
	struct segment *s = &j->segments[j->segment_count - 1];
	if (is_at_path(j)) {
		j->offset = s->size;
		return;
	}
	j->current = false;
	if (j->rescue_from != UINT64_MAX) {
		j->disk->close(j->disk, j->fd);
		return;
	}
	j->remains_fd = j->fd;
	j->remains = *s;
	pthread_mutex_lock(&j->lock);
	j->segment_count--;
	pthread_mutex_unlock(&j->lock);
}

static void end_rescue(struct journal *j, const struct rescue *r)
{
	if (j->remains_fd >= 0)
		j->disk->close(j->disk, j->remains_fd);
	j->remains_fd = -1;
	j->rescue_from = UINT64_MAX;
	note_first(j);
	journal_note_sinks(j);
	stat_add(&j->stats->rescued, j->rescued);
	log_event(LOG_WARN, "journal",
	          "its files were deleted while it ran: what was in memory and in the open segment is written again",
	          LOG_N("sluice.journal.records", j->rescued), LOG_N("sluice.journal.first", r->from),
	          LOG_S("file.path", j->dir));
	j->rescued = 0;
}

/* False: not all could be written now; it is tried again. */
static bool rescue(struct journal *j)
{
	struct block *pending = j->block;
	struct rescue r;
	bool good;
	j->rescuing = true;
	do {
		set_aside(j);
		j->nameless = j->rescue_again = false;
		r = (struct rescue){.journal = j, .end = j->next < j->in_memory_from ? j->next : j->in_memory_from};
		j->block = NULL;
		good = write_again(j, &r);
		block_unref(j->block);
	} while (!good && j->rescue_again && !atomic_load(&j->stopping));
	j->block = pending;
	j->rescuing = false;
	if (good)
		end_rescue(j, &r);
	return good;
}

/* -- the look -- */

static void count_segment(void *context, const char *name)
{
	uint32_t number;
	*(unsigned *)context += segment_files_number(name, &number);
}

/* Makes the directories again and locks them. What another journal has there is left alone. */
static bool make_again(struct journal *j, char *text, size_t size)
{
	struct why why = {.text = ""};
	struct directory_lock lock;
	unsigned segments = 0;
	if (journal_open_dirs(j, &why) || directory_lock_take(&lock, j->dir, &why)) {
		snprintf(text, size, "%s was deleted and cannot be made again: %.600s", j->dir, why.text);
		return false;
	}
	j->disk->list(j->disk, j->dir, count_segment, &segments);
	if (segments > 0) {
		directory_lock_release(&lock);
		snprintf(
		    text, size,
		    "%s was deleted, and another directory with segments is at its place: move that away, and what "
		    "is in memory is written into a new one. Nothing is acknowledged until then",
		    j->dir);
		return false;
	}
	identity_write(j->disk, j->dir, j->identity);
	directory_lock_release(&j->directory);
	j->directory = lock;
	return true;
}

static void set_taken(struct journal *j)
{
	j->taken = true;
	for (size_t i = 0; i < j->cursor_count; i++)
		cursor_freeze(&j->cursors[i]);
}

/* No file is missing, as far as is known. */
static bool is_whole(struct journal *j)
{
	bool there = true;
	if (j->nameless || j->rescue_from != UINT64_MAX || (j->current && !is_at_path(j)))
		return false;
	if (!atomic_exchange_explicit(&j->missing, false, memory_order_relaxed))
		return true;
	for (size_t i = 0; i < j->segment_count && there; i++)
		if (is_file(j, j->segments[i].number, &there)) {
			atomic_store_explicit(&j->missing, true, memory_order_relaxed); /* again the next time */
			return true;
		}
	return there;
}

/* The open segment is there: only older ones are missing. */
static bool forget_older(struct journal *j)
{
	bool *files = which_are_files(j);
	if (!files)
		return false;
	forget_missing(j, files, j->next, j->next);
	free(files);
	note_first(j);
	return true;
}

static bool keep_files(struct journal *j)
{
	if (!j->rescuing && !is_whole(j)) {
		bool older = j->current && !j->nameless && j->rescue_from == UINT64_MAX && is_at_path(j);
		if (!(older ? forget_older(j) : rescue(j)))
			return false;
	}
	for (size_t i = 0; i < j->cursor_count; i++)
		cursor_keep(&j->cursors[i]);
	return true;
}

/* Whether all is as it should be, or could be made so. */
static bool look(struct journal *j, char *text, size_t size)
{
	enum directory_state state = directory_lock_check(&j->directory, text, size);
	if (state == DIRECTORY_TAKEN)
		set_taken(j);
	if (state == DIRECTORY_GONE) {
		log_event(LOG_ERROR, "journal", "its directory was deleted while it runs", LOG_S("file.path", j->dir));
		if (!make_again(j, text, size))
			return false;
		*text = '\0';
		state = DIRECTORY_OURS;
	}
	return state == DIRECTORY_OURS;
}

bool journal_guard_now(struct journal *j)
{
	j->guard_us = 0;
	return journal_guard_turn(j);
}

bool journal_guard_turn(struct journal *j)
{
	char text[sizeof(j->trouble)] = "";
	int64_t now = clock_mono_us();
	if (!journal_has_disk(j) || j->taken || (now < j->guard_us && !j->nameless))
		return !j->guarded;
	j->guard_us = now + LOOK_US;
	bool was = j->guarded;
	j->guarded = !look(j, text, sizeof(text));
	if (j->guarded) {
		journal_note_cause(j, text);
		return false;
	}
	j->guarded = !keep_files(j);
	if (j->guarded)
		return false;
	if (was && !j->rescuing)
		journal_note_cause(j, "");
	return true;
}
