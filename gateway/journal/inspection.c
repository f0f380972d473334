/* What is in a journal's directory, seen from outside: segments, cursors, and what a repair has noted. inspection_walk.c reads the
 * segments. */
#include "gateway/journal/inspection.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/journal/segment_files.h"

/* -- what is there -- */

int inspection_open_segment(const struct inspection *l, uint32_t number, unsigned flags)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%08u.segment", l->dir, number);
	int fd = l->disk->open(l->disk, path, flags | DISK_DIRECT);
	return fd == -EINVAL ? l->disk->open(l->disk, path, flags) : fd;
}

/* GW_CONFIG: a newer version. A file that is gone is no error: a gateway gave it back. */
static enum gw_err look_at(struct inspection *l, uint32_t number, struct why *why)
{
	struct segment plain = {.number = number};
	struct segment_header h = {0};
	struct segment_reader reader;
	struct inspection_segment *s = &l->segments[l->segment_count];
	int fd = inspection_open_segment(l, number, DISK_READ);
	if (fd == -ENOENT)
		return GW_OK;
	segment_reader_init(&reader, l->disk, fd, 0);
	enum segment_kind kind = fd < 0 ? SEGMENT_UNREAD : segment_files_identify(&reader, &plain, &h);
	segment_reader_close(&reader);
	if (kind == SEGMENT_NEWER)
		return why_set(
		    why, GW_CONFIG,
		    "%s/%08u.segment was written by a newer Sluice (format version %u, this one knows %u): use "
		    "that version",
		    l->dir, number, h.version, SEGMENT_VERSION);
	if (kind == SEGMENT_GOOD && identity_is_foreign(l->identity, h.identity)) {
		l->foreign++;
		return GW_OK;
	}
	if (kind == SEGMENT_EMPTY) {
		l->spares++;
		return GW_OK;
	}
	*s = (struct inspection_segment){.number = number,
	                                 .version = h.version,
	                                 .generation = plain.generation,
	                                 .first = plain.first,
	                                 .size = plain.size,
	                                 .told_size = kind == SEGMENT_GOOD ? h.size : plain.size,
	                                 .time_us = h.time_us,
	                                 .kept_from = plain.kept_from,
	                                 .spoilt = kind == SEGMENT_SPOILT,
	                                 .unread = kind == SEGMENT_UNREAD};
	memcpy(s->identity, h.identity, IDENTITY_SIZE);
	l->segment_count++;
	return GW_OK;
}

/* As segment_files_sort orders them; what could not be read comes first. */
static int by_age(const void *a, const void *b)
{
	const struct inspection_segment *x = a, *y = b;
	if (x->generation != y->generation)
		return x->generation > y->generation ? 1 : -1;
	if (x->first != y->first)
		return x->first > y->first ? 1 : -1;
	return (x->number > y->number) - (x->number < y->number);
}

/* Leaves those that count, the oldest first. False: out of memory. */
static bool sort_segments(struct inspection *l)
{
	size_t unread = 0, kept = 0;
	struct segment *plain = calloc(l->segment_count + 1, sizeof(*plain));
	if (!plain)
		return false;
	if (l->segment_count > 0)
		qsort(l->segments, l->segment_count, sizeof(*l->segments), by_age);
	while (unread < l->segment_count && l->segments[unread].unread)
		unread++;
	for (size_t i = unread; i < l->segment_count; i++)
		plain[i - unread] = (struct segment){.number = l->segments[i].number,
		                                     .generation = l->segments[i].generation,
		                                     .first = l->segments[i].first,
		                                     .kept_from = l->segments[i].kept_from};
	segment_files_sort(plain, l->segment_count - unread);
	for (size_t i = 0; i < l->segment_count; i++) {
		if (i >= unread && plain[i - unread].bad) {
			l->spares++;
			continue;
		}
		l->bytes += l->segments[i].size;
		l->segments[kept++] = l->segments[i];
	}
	l->segment_count = kept;
	free(plain);
	return true;
}

static enum gw_err list_segments(struct inspection *l, struct why *why)
{
	struct segment_files_numbers numbers;
	enum gw_err err = GW_OK;
	int failed = segment_files_list(l->disk, l->dir, &numbers);
	if (failed == -ENOENT || failed == -ENOTDIR)
		err = why_set(why, GW_CONFIG, "%s: there is no journal", l->dir);
	else if (failed)
		err = why_set(why, failed == -ENOMEM ? GW_NOMEM : GW_IO, "%s: %s", l->dir, strerror(-failed));
	else if (!(l->segments = calloc(numbers.count + 1, sizeof(*l->segments))))
		err = why_set(why, GW_NOMEM, "out of memory");
	for (size_t i = 0; l->segments && i < numbers.count && !err; i++) {
		if (numbers.items[i] > l->highest)
			l->highest = numbers.items[i];
		err = look_at(l, numbers.items[i], why);
	}
	if (!err && l->segments && !sort_segments(l))
		err = why_set(why, GW_NOMEM, "out of memory");
	free(numbers.items);
	return err;
}

static void note_cursor(void *context, const char *name)
{
	struct inspection *l = context;
	size_t len = strlen(name);
	if (len <= 7 || len - 7 > CURSOR_NAME_MAX || strcmp(name + len - 7, ".cursor") != 0 ||
	    l->cursor_count == CURSORS_MAX)
		return;
	struct inspection_cursor *c = &l->cursors[l->cursor_count++];
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", l->cursor_dir, name);
	memcpy(c->name, name, len - 7);
	enum gw_err err = cursor_peek_ahead(l->disk, path, &c->sequence, c->ahead, &c->ahead_count);
	c->unread = err == GW_IO;
	c->damaged = err == GW_INVALID;
}

void inspection_refresh(struct inspection *l)
{
	uint64_t passed = l->cursor_count > 0 ? UINT64_MAX : 0;
	for (size_t i = 0; i < l->cursor_count; i++) {
		char path[4400];
		uint64_t sequence;
		snprintf(path, sizeof(path), "%s/%s.cursor", l->cursor_dir, l->cursors[i].name);
		if (cursor_peek(l->disk, path, &sequence))
			sequence = 0;
		passed = sequence < passed ? sequence : passed;
	}
	l->passed = passed;
}

/* Before the segments: a cursor moves only over what is on disk already. */
static enum gw_err list_cursors(struct inspection *l, struct why *why)
{
	if (!(l->cursors = calloc(CURSORS_MAX, sizeof(*l->cursors))))
		return why_set(why, GW_NOMEM, "out of memory");
	int failed = l->disk->list(l->disk, l->cursor_dir, note_cursor, l);
	if (failed && failed != -ENOENT)
		return why_set(why, GW_IO, "%s: %s", l->cursor_dir, strerror(-failed));
	inspection_refresh(l);
	return GW_OK;
}

/* What repairs have told. A file that is not there, or a line that is none, tells nothing. */
static void read_lost(struct inspection *l)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/" INSPECTION_QUARANTINE "/" INSPECTION_LOST, l->dir);
	int fd = l->disk->open(l->disk, path, DISK_READ);
	if (fd < 0)
		return;
	int64_t size = l->disk->size(l->disk, fd);
	char *text = size > 0 ? calloc(1, (size_t)size + 1) : NULL;
	if (text && l->disk->read(l->disk, fd, text, (size_t)size, 0) > 0) {
		size_t lines = 1;
		for (const char *c = text; *c; c++)
			lines += *c == '\n';
		l->lost = calloc(lines, sizeof(*l->lost));
		for (const char *line = text; l->lost && line && *line; line = strchr(line, '\n')) {
			struct inspection_range *r = &l->lost[l->lost_count];
			line += *line == '\n';
			l->lost_count +=
			    sscanf(line, "%" SCNu64 " %" SCNu64, &r->first, &r->end) == 2 && r->first < ++r->end;
		}
	}
	free(text);
	l->disk->close(l->disk, fd);
}

enum gw_err inspection_open(struct inspection *l, const struct disk *disk, const char *dir, struct why *why)
{
	memset(l, 0, sizeof(*l));
	l->disk = disk;
	size_t len = strlen(dir);
	while (len > 1 && dir[len - 1] == '/')
		len--;
	bool inside = len >= 8 && memcmp(dir + len - 8, "/journal", 8) == 0;
	if (asprintf(&l->dir, inside ? "%.*s" : "%.*s/journal", (int)len, dir) < 0) {
		l->dir = NULL;
		return why_set(why, GW_NOMEM, "out of memory");
	}
	enum gw_err err;
	if (asprintf(&l->cursor_dir, "%s/cursors", l->dir) < 0) {
		l->cursor_dir = NULL;
		err = why_set(why, GW_NOMEM, "out of memory");
	} else if (identity_read(disk, l->dir, l->identity)) {
		err = why_set(why, GW_IO, "%s/identity cannot be read", l->dir);
	} else if (!(err = list_cursors(l, why)) && !(err = list_segments(l, why))) {
		read_lost(l);
		return GW_OK;
	}
	inspection_close(l);
	return err;
}

void inspection_close(struct inspection *l)
{
	free(l->dir);
	free(l->cursor_dir);
	free(l->segments);
	free(l->cursors);
	free(l->lost);
	memset(l, 0, sizeof(*l));
}

bool inspection_is_known_lost(const struct inspection *l, const struct inspection_range *r)
{
	uint64_t at = r->first;
	for (bool moved = true; moved && at < r->end;) {
		moved = false;
		for (size_t i = 0; i < l->lost_count; i++)
			if (l->lost[i].first <= at && at < l->lost[i].end) {
				at = l->lost[i].end;
				moved = true;
			}
	}
	return at >= r->end;
}
