/* `sluice journal repair`: a damaged journal becomes one that `verify` passes, and nothing that can be read is lost.
 *
 * What is done, under the journal's lock, to each segment that has damage:
 *	1. its good blocks are written one behind the other into a new file under a name that is no segment's, with the header
 *	   they had. Where the first block was lost, a checkpoint of the state as of then is written in its place: a segment
 *	   that begins with a record would say that nobody kept state (journal_state.c)
 *	2. the file is synced, gets the number behind the highest, and the directory is synced
 *	3. the old file is moved to quarantine/, and both directories are synced
 * A crash between 2 and 3 leaves two segments of one generation that hold the same; one of them supersedes the other. Then
 * the sequences that are gone are noted in quarantine/lost, so that verify, which cannot see what never will be there
 * again, does not tell of them for ever. Damaged cursors are moved aside and begun anew in front of the oldest record.
 *
 * A segment that the disk cannot read is left as it is: that may pass, and a gateway does not start with it meanwhile. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/commands/cmd_journal.h"
#include "gateway/commands/owner.h"
#include "gateway/journal/block.h"
#include "gateway/journal/directory_lock.h"
#include "gateway/journal/journal.h"
#include "gateway/journal/record.h"
#include "gateway/journal/segment_files.h"
#include "gateway/journal/state_store.h"

struct repair {
	struct inspection *inspection;
	FILE *out, *errors;
	struct cmd_journal_progress progress;
	struct inspection_damage *found; /* owned */
	size_t count, room;
	struct state_store state; /* as of the block before the one that is walked */
	/* the copy of the segment that is walked */
	uint32_t segment, copy_number;
	bool copying;
	int fd;
	uint64_t at;
	int failed; /* errno; 0: none */
	unsigned mended;
};

static bool fail(struct repair *r, int err)
{
	if (!r->failed)
		r->failed = err < 0 ? -err : err;
	return false;
}

/* -- what is damaged -- */

static void note_damage(void *context, const struct inspection_damage *d)
{
	struct repair *r = context;
	char text[512];
	inspection_describe(d, text, sizeof(text));
	fprintf(r->out, "found: %s\n", text);
	if (r->count == r->room) {
		size_t room = r->room ? r->room * 2 : 16;
		struct inspection_damage *more = realloc(r->found, room * sizeof(*more));
		if (!more) {
			fail(r, ENOMEM);
			return;
		}
		r->found = more;
		r->room = room;
	}
	r->found[r->count++] = *d;
}

static void show_progress(void *context, uint64_t bytes)
{
	struct repair *r = context;
	cmd_journal_progress(&r->progress, bytes, r->inspection->bytes);
}

/* Whether a file has something in it that must go; a gap alone is mended by knowing of it. */
static bool is_damaged(const struct repair *r, uint32_t number)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct inspection_damage *d = &r->found[i];
		if (!d->cursor && d->segment == number &&
		    (d->kind == INSPECTION_HEADER || d->kind == INSPECTION_SHORT ||
		     (d->kind == INSPECTION_RANGE && d->bytes > 0) || (d->kind == INSPECTION_GAP && d->torn)))
			return true;
	}
	return false;
}

static bool is_unread(const struct repair *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->found[i].kind == INSPECTION_UNREAD)
			return true;
	return false;
}

/* -- the copy -- */

static void copy_path(const struct repair *r, char *out, size_t size)
{
	snprintf(out, size, "%s/%08u.repaired", r->inspection->dir, r->copy_number);
}

static bool put(struct repair *r, const void *bytes, size_t len)
{
	int err = r->inspection->disk->write(r->inspection->disk, r->fd, bytes, len, r->at);
	r->at += len;
	return err ? fail(r, err) : true;
}

static void begin_copy(struct repair *r, const struct inspection_segment *s)
{
	struct segment_header h = {.version = s->version ? s->version : SEGMENT_VERSION,
	                           .generation = s->generation,
	                           .first = s->first,
	                           .size = s->told_size,
	                           .time_us = s->time_us,
	                           .kept_from = s->kept_from};
	uint8_t header[SEGMENT_HEADER];
	char path[4200];
	memcpy(h.identity, s->identity, IDENTITY_SIZE);
	if (r->inspection->highest >= SEGMENT_NUMBER_MAX) { /* ten thousand repairs of a journal at its last number */
		fail(r, EOVERFLOW);
		return;
	}
	r->copy_number = ++r->inspection->highest;
	copy_path(r, path, sizeof(path));
	r->inspection->disk->remove(r->inspection->disk, path); /* left by a repair that was cut short */
	r->fd = r->inspection->disk->open(r->inspection->disk, path, DISK_WRITE | DISK_CREATE);
	r->copying = r->fd >= 0;
	if (!r->copying) {
		fail(r, r->fd);
		return;
	}
	segment_header_write(&h, header);
	r->at = 0;
	put(r, header, sizeof(header));
}

/* Stands for the lost first block: the state as it was before the block h. */
static bool put_checkpoint(struct repair *r, const struct block_header *next)
{
	size_t room = segment_block_size(r->state.bytes + (r->state.bytes / 4096 + 2) * RECORD_HEADER);
	struct block *b = block_new(room);
	if (!b || !state_store_write_entries(&r->state, b, room - BLOCK_HEADER)) {
		block_unref(b);
		return fail(r, ENOMEM);
	}
	struct block_header h = {.generation = next->generation,
	                         .first = next->first,
	                         .time_us = (uint64_t)clock_wall_us(),
	                         .body = b->body,
	                         .count = b->count,
	                         .checkpoint = true};
	segment_block_write(&h, b->bytes);
	bool good = put(r, b->bytes, segment_block_size(b->body));
	block_unref(b);
	return good;
}

static bool move_aside(struct repair *r, const char *dir, const char *name)
{
	const struct disk *d = r->inspection->disk;
	char from[4200], aside[4200], to[4400];
	snprintf(aside, sizeof(aside), "%s/" INSPECTION_QUARANTINE, r->inspection->dir);
	snprintf(from, sizeof(from), "%s/%s", dir, name);
	snprintf(to, sizeof(to), "%s/%s", aside, name);
	int err = disk_make_path(d, aside), fd;
	for (unsigned n = 2; !err && (fd = d->open(d, to, DISK_READ)) >= 0; n++) { /* of an earlier repair */
		d->close(d, fd);
		snprintf(to, sizeof(to), "%s/%s.%u", aside, name, n);
	}
	if (!err && !(err = d->rename(d, from, to)) && !(err = d->sync_dir(d, aside)))
		err = d->sync_dir(d, dir);
	if (err)
		return fail(r, err);
	fprintf(r->out, "moved: %s to %s\n", from, to);
	return true;
}

/* The new file has the mode of the old one. Its owner is that of the directory: owner_check saw to it. */
static void keep_mode(const struct repair *r, uint32_t number, const char *path)
{
	char old[4200];
	struct stat st;
	snprintf(old, sizeof(old), "%s/%08u.segment", r->inspection->dir, number);
	if (stat(old, &st) == 0)
		chmod(path, st.st_mode & 07777);
}

/* Steps 2 and 3. */
static void end_copy(struct repair *r, const struct inspection_segment *s)
{
	const struct disk *d = r->inspection->disk;
	char path[4200], to[4200], name[32];
	copy_path(r, path, sizeof(path));
	snprintf(to, sizeof(to), "%s/%08u.segment", r->inspection->dir, r->copy_number);
	uint64_t size = s->told_size > r->at ? s->told_size : r->at;
	int err = r->failed ? -r->failed : d->allocate(d, r->fd, size);
	if (!err)
		err = d->sync(d, r->fd);
	d->close(d, r->fd);
	r->copying = false;
	keep_mode(r, s->number, path);
	if (!err && !(err = d->rename(d, path, to)))
		err = d->sync_dir(d, r->inspection->dir);
	if (err) {
		fail(r, err);
		return;
	}
	fprintf(r->out, "written: %s, what is good of segment %08u\n", to, s->number);
	snprintf(name, sizeof(name), "%08u.segment", s->number);
	r->mended += move_aside(r, r->inspection->dir, name);
}

static const struct inspection_segment *segment_of(const struct repair *r, uint32_t number)
{
	for (size_t i = 0; i < r->inspection->segment_count; i++)
		if (r->inspection->segments[i].number == number)
			return &r->inspection->segments[i];
	return NULL;
}

static void enter(void *context, const struct inspection_segment *s)
{
	struct repair *r = context;
	if (r->copying)
		end_copy(r, segment_of(r, r->segment));
	r->segment = s->number;
	if (!r->failed && is_damaged(r, s->number))
		begin_copy(r, s);
}

static bool take(void *context, const struct inspection_segment *s, uint64_t offset, const struct block_header *h,
                 const uint8_t *bytes)
{
	struct repair *r = context;
	bool begins = offset == SEGMENT_HEADER;
	if (begins && !h->checkpoint)
		state_store_clear(&r->state);
	/* Version 1 knows neither state nor checkpoints. */
	bool lost = r->at == SEGMENT_HEADER && !begins && !h->checkpoint && s->version != 1;
	if (r->copying && lost && !put_checkpoint(r, h))
		return false;
	state_store_apply_entries(&r->state, bytes + BLOCK_HEADER, h->count, h->checkpoint);
	if (r->copying && !put(r, bytes, segment_block_size(h->body)))
		return false;
	return !r->failed;
}

/* The disk may fail now that did not before: then what was copied is not all. */
static void meet_again(void *context, const struct inspection_damage *d)
{
	if (d->kind == INSPECTION_UNREAD)
		fail(context, EIO);
}

static bool mend_segments(struct repair *r)
{
	static const struct inspection_visitor copier = {
	    .segment = enter, .block = take, .damage = meet_again, .progress = show_progress};
	bool any = false;
	for (size_t i = 0; i < r->inspection->segment_count; i++)
		any |= is_damaged(r, r->inspection->segments[i].number);
	if (!any)
		return true;
	state_store_init(&r->state, SIZE_MAX);
	inspection_walk(r->inspection, 0, &copier, r);
	if (r->copying)
		end_copy(r, segment_of(r, r->segment));
	state_store_fini(&r->state);
	return !r->failed;
}

/* -- what is gone, and cursors -- */

static bool note_lost(struct repair *r)
{
	const struct disk *d = r->inspection->disk;
	char path[4200], line[256], now[32];
	int fd = -1, err = 0;
	cmd_journal_format_time((uint64_t)clock_wall_us(), now);
	for (size_t i = 0; i < r->count && !err; i++) {
		const struct inspection_damage *f = &r->found[i];
		if (f->lost.end <= f->lost.first)
			continue;
		snprintf(path, sizeof(path), "%s/" INSPECTION_QUARANTINE, r->inspection->dir);
		if (fd < 0 && !(err = disk_make_path(d, path))) {
			snprintf(path, sizeof(path), "%s/" INSPECTION_QUARANTINE "/" INSPECTION_LOST,
			         r->inspection->dir);
			fd = d->open(d, path, DISK_WRITE | DISK_CREATE | DISK_APPEND);
			err = fd < 0 ? fd : 0;
		}
		int len = snprintf(line, sizeof(line),
		                   "%" PRIu64 " %" PRIu64 " found missing at %s, segment %08u, offset %" PRIu64 "\n",
		                   f->lost.first, f->lost.end - 1, now, f->segment, f->offset);
		if (!err)
			err = d->write(d, fd, line, (size_t)len, 0);
		fprintf(r->out, "lost: sequences %" PRIu64 " to %" PRIu64 "\n", f->lost.first, f->lost.end - 1);
		r->mended++;
	}
	if (fd >= 0) {
		if (!err)
			err = d->sync(d, fd);
		d->close(d, fd);
		snprintf(path, sizeof(path), "%s/" INSPECTION_QUARANTINE, r->inspection->dir);
		if (!err)
			err = d->sync_dir(d, path);
	}
	return err ? fail(r, err) : true;
}

static bool mend_cursors(struct repair *r)
{
	struct inspection *l = r->inspection;
	for (size_t i = 0; i < r->count; i++) {
		const char *name = r->found[i].cursor;
		char file[CURSOR_NAME_MAX + 16];
		struct cursor c;
		struct why why = {0};
		bool existed;
		if (r->found[i].kind != INSPECTION_CURSOR)
			continue;
		snprintf(file, sizeof(file), "%s.cursor", name);
		uint64_t start = l->segment_count > 0 && l->segments[0].first > 0 ? l->segments[0].first - 1 : 0;
		if (!move_aside(r, l->cursor_dir, file))
			return false;
		if (cursor_open(&c, &(struct cursor_file){l->disk, l->cursor_dir, name, l->identity}, start, &existed,
		                &why)) {
			fprintf(r->errors, "repair: %s\n", why.text);
			return fail(r, EIO);
		}
		cursor_close(&c);
		fprintf(r->out, "reset: sink %s begins again at sequence %" PRIu64 ", and gets some records twice\n",
		        name, start + 1);
		r->mended++;
	}
	return true;
}

static bool find_damage(struct repair *r)
{
	static const struct inspection_visitor finder = {.damage = note_damage, .progress = show_progress};
	inspection_walk(r->inspection, 0, &finder, r);
	if (r->inspection->recycled > 0) {
		fputs("repair: a gateway began while the journal was read: stop it, and run this again\n", r->errors);
		return fail(r, EBUSY);
	}
	if (is_unread(r)) {
		fputs(
		    "repair: something could not be read, so nothing was changed. Check owner and mode of the files, "
		    "and the "
		    "disk, and run this again. Only what cannot be read on a working disk (copy it with dd or ddrescue "
		    "first) may be moved away; its records are lost then\n",
		    r->errors);
		return fail(r, EIO);
	}
	return !r->failed;
}

int cmd_journal_repair(struct inspection *l, const struct cmd_journal_options *o, FILE *out, FILE *errors)
{
	struct repair r = {
	    .inspection = l, .out = out, .errors = errors, .fd = -1, .progress = {.out = errors, .command = "repair"}};
	struct why why = {0};
	struct directory_lock lock = {.dir = NULL};
	enum gw_err err = owner_check(o->data, &why);
	if (!err && !(err = directory_lock_take(&lock, l->dir, &why))) { /* as it is now that nobody else changes it */
		char *data = strdup(o->data);
		const struct disk *disk = l->disk;
		inspection_close(l);
		err = data ? inspection_open(l, disk, data, &why) : why_set(&why, GW_NOMEM, "out of memory");
		free(data);
	}
	if (err) {
		fprintf(errors, "sluice journal repair: %s\n", why.text);
		directory_lock_release(&lock);
		return CMD_JOURNAL_UNREAD;
	}
	bool found = find_damage(&r);
	bool good = found && mend_segments(&r) && note_lost(&r) && mend_cursors(&r);
	if (!found) {
		fputs("repair: nothing was changed\n", out);
	} else if (!good) {
		fprintf(
		    errors,
		    "sluice journal repair: %s: %s; what was begun is harmless: repair the disk and run this again\n",
		    l->dir, strerror(r.failed));
	} else {
		fprintf(out,
		        r.mended ? "%s: repaired; check it with sluice journal verify\n" : "%s: nothing to repair\n",
		        l->dir);
	}
	free(r.found);
	directory_lock_release(&lock);
	return good ? CMD_JOURNAL_WHOLE : found ? CMD_JOURNAL_DAMAGED : CMD_JOURNAL_UNREAD;
}
