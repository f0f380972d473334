/* The journal's segments: which are in use, which are spare, and whether there is room for what the lanes may still
 * bring.
 *
 * `promised` bytes must be free in the current segment and the spares, or else the journal is full: then nothing more
 * is taken in, and what is in the lanes already still fits. It is twice the lanes (entries cannot be split over blocks
 * nor blocks over segments, so up to half of a block or of a segment's end may be wasted) and two blocks. The place of a
 * checkpoint does not count as free in any spare. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk_explain.h"
#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"

#define ASK_US 1000000
#define TRIM_US 5000000 /* so long a spare too many is kept, and between two that are given back */

void journal_segments_path(const struct journal *j, uint32_t number, char *out, size_t size)
{
	snprintf(out, size, "%s/%08u.segment", j->dir, number);
}

int journal_segments_open(const struct journal *j, uint32_t number, unsigned flags)
{
	char path[4096];
	journal_segments_path(j, number, path, sizeof(path));
	int fd = -EINVAL;
	if (j->direct)
		fd = j->disk->open(j->disk, path, flags | DISK_DIRECT);
	return fd == -EINVAL ? j->disk->open(j->disk, path, flags) : fd;
}

bool journal_segments_add(struct journal *j, const struct segment *s)
{
	bool added = false;
	pthread_mutex_lock(&j->lock);
	if (j->segment_count == j->segment_room) {
		size_t room = j->segment_room ? j->segment_room * 2 : 64;
		struct segment *more = realloc(j->segments, room * sizeof(*more));
		if (more) {
			j->segments = more;
			j->segment_room = room;
		}
	}
	if (j->segment_count < j->segment_room) {
		j->segments[j->segment_count++] = *s;
		added = true;
	}
	pthread_mutex_unlock(&j->lock);
	return added;
}

bool journal_segments_add_spare(struct journal *j, uint32_t number)
{
	if (j->spare_count == j->spare_room) {
		size_t room = j->spare_room ? j->spare_room * 2 : 64;
		uint32_t *more = realloc(j->spares, room * sizeof(*more));
		if (!more)
			return false;
		j->spares = more;
		j->spare_room = room;
	}
	j->spares[j->spare_count++] = number;
	return true;
}

void journal_segments_remove(struct journal *j, uint32_t number)
{
	char path[4096];
	journal_segments_path(j, number, path, sizeof(path));
	j->disk->remove(j->disk, path);
}

uint64_t journal_cursors_min_stored(const struct journal *j)
{
	uint64_t least = UINT64_MAX;
	for (size_t i = 0; i < j->cursor_count; i++) {
		uint64_t s = cursor_saved(&j->cursors[i]);
		least = s < least ? s : least;
	}
	return j->cursor_count ? least : 0;
}

/* -- limits -- */

/* Bytes of a spare that records can have. */
static uint64_t segment_worth(const struct journal *j)
{
	return j->settings->segment - SEGMENT_HEADER - j->checkpoint_room;
}

enum gw_err journal_segments_prepare(struct journal *j, struct why *why)
{
	const struct journal_settings *s = j->settings;
	char text[768];
	j->limit = s->max_bytes;
	if (journal_has_disk(j)) {
		uint64_t free_bytes, total;
		int err = j->disk->space(j->disk, j->dir, &free_bytes, &total);
		if (err)
			return why_set(why, GW_IO, "journal: cannot ask for free space: %s",
			               disk_explain(err, j->dir, text, sizeof(text)));
		double share = (double)total * s->max_share / 100;
		if (share < (double)j->limit)
			j->limit = (uint64_t)share;
	}
	/* One segment is being written; the others alone must be able to hold what is promised, and the slack after
	 * which `full` ends again (journal_segments_maintain), or a journal that became full when its current segment was nearly used
	 * up would stay so for ever. */
	uint64_t worth = segment_worth(j), spares = (j->promised + s->segment / 2 + worth - 1) / worth;
	uint64_t least = journal_has_disk(j) ? (spares + 1) * s->segment : j->promised + s->segment;
	if (j->limit >= least)
		return GW_OK;
	return why_set(why, GW_CONFIG,
	               "journal: %llu MiB are allowed (max_bytes %llu MiB, max_share %g%% of the file system), but the "
	               "listeners' lanes%s need at least %llu MiB: "
	               "raise journal.max_bytes or journal.max_share, or lower `lane` or `threads` of the listeners",
	               (unsigned long long)(j->limit >> 20), (unsigned long long)(s->max_bytes >> 20), s->max_share,
	               s->type == JOURNAL_SPILL ? " and journal.tail_memory" : "",
	               (unsigned long long)(least >> 20) + 1);
}

static int grow_err(const struct journal *j)
{
	return atomic_load_explicit((_Atomic int *)&j->grow_err, memory_order_relaxed);
}

/* Logged when it begins and when the reason changes: before the journal is full, if possible. */
static void note_growth(struct journal *j, int err)
{
	char text[768];
	bool changed = err != grow_err(j);
	atomic_store_explicit(&j->grow_err, err, memory_order_relaxed);
	if (err && changed)
		log_event(LOG_ERROR, "journal", "no further segment can be made",
		          LOG_S("error.message", journal_growth_trouble(j, text, sizeof(text))));
}

const char *journal_growth_trouble(const struct journal *j, char *out, size_t size)
{
	int err = grow_err(j);
	if (err)
		return disk_explain(err, j->dir, out, size);
	*out = '\0';
	return out;
}

/* Asks the file system how many bytes it has beyond keep_free; it has none if it does not tell. */
static void ask_space(struct journal *j)
{
	uint64_t free_bytes, total;
	double left = 0;
	int err = j->disk->space(j->disk, j->dir, &free_bytes, &total);
	if (err || j->space_failed)
		note_growth(j, err);
	j->space_failed = err != 0;
	if (!err)
		left = (double)free_bytes - (double)total * j->settings->keep_free / 100;
	j->asked_space_us = clock_mono_us();
	j->disk_left = left > 0 ? (uint64_t)left : 0;
}

static bool may_grow(struct journal *j)
{
	const struct journal_settings *s = j->settings;
	if ((j->segment_count + j->spare_count + 1) * s->segment > j->limit)
		return false;
	ask_space(j);
	return j->disk_left >= s->segment;
}

/* Bytes that further segments may have; the file system is asked once a second at least. */
static uint64_t growth(struct journal *j)
{
	const struct journal_settings *s = j->settings;
	uint64_t have = (j->segment_count + j->spare_count) * s->segment;
	if (!j->asked_space_us || clock_mono_us() - j->asked_space_us > ASK_US)
		ask_space(j);
	uint64_t most = (j->limit > have ? j->limit - have : 0) / s->segment, fit = j->disk_left / s->segment;
	atomic_store_explicit(&j->no_disk, most > 0 && fit == 0, memory_order_relaxed);
	return (most < fit ? most : fit) * segment_worth(j);
}

static bool number_taken(const struct journal *j, uint32_t number)
{
	for (size_t i = 0; i < j->segment_count; i++)
		if (j->segments[i].number == number)
			return true;
	for (size_t i = 0; i < j->spare_count; i++)
		if (j->spares[i] == number)
			return true;
	return false;
}

/* Every segment that is made counts the numbers up, also where spares come and go for years; at the end of what fits
 * into a name they come round to those that are free. */
static uint32_t free_number(const struct journal *j)
{
	uint32_t number = j->next_number;
	while (number > SEGMENT_NUMBER_LAST || number_taken(j, number))
		number = number >= SEGMENT_NUMBER_LAST ? 1 : number + 1;
	return number;
}

/* 0 or a negative errno. */
static int make_file(struct journal *j, uint32_t number, const char *path)
{
	int fd = j->disk->open(j->disk, path, DISK_WRITE | DISK_CREATE), err;
	if (fd < 0)
		return fd;
	if (!(err = j->disk->allocate(j->disk, fd, j->settings->segment)) && !(err = j->disk->sync(j->disk, fd)))
		err = j->disk->sync_dir(j->disk, j->dir);
	j->disk->close(j->disk, fd);
	if (!err && !journal_segments_add_spare(j, number))
		err = -ENOMEM;
	if (err)
		journal_segments_remove(j, number);
	return err;
}

static bool make_spare(struct journal *j)
{
	char path[4096];
	uint32_t number = free_number(j);
	journal_segments_path(j, number, path, sizeof(path));
	int err = make_file(j, number, path);
	note_growth(j, err);
	if (!err)
		j->next_number = number + 1;
	return !err;
}

/* -- keeping room -- */

void journal_segments_recycle(struct journal *j, uint64_t least)
{
	while (j->segment_count > 1 && j->segments[1].first - 1 <= least &&
	       j->segments[0].generation < j->state_generation) {
		struct segment s = j->segments[0];
		pthread_mutex_lock(&j->lock);
		memmove(j->segments, j->segments + 1, --j->segment_count * sizeof(*j->segments));
		pthread_mutex_unlock(&j->lock);
		if (s.bad || s.size != j->settings->segment || !journal_segments_add_spare(j, s.number))
			journal_segments_remove(j, s.number);
	}
}

static uint64_t room_now(const struct journal *j)
{
	uint64_t room = j->spare_count * segment_worth(j);
	if (j->current)
		room += j->segments[j->segment_count - 1].size - j->offset;
	return room;
}

static void keep_memory(struct journal *j)
{
	uint64_t slack = journal_full(j) ? j->settings->segment : 0; /* some room before it is taken for free again */
	uint64_t capacity = j->limit - j->promised;
	journal_tail_drop(j);
	while (j->tail_bytes + slack > capacity && journal_capacity_drop_block(j))
		;
	stat_set(&j->stats->used_bytes, j->tail_bytes);
	stat_set(&j->stats->capacity_bytes, j->limit);
	journal_capacity_decide(j, capacity > j->tail_bytes ? capacity - j->tail_bytes : 0, capacity,
	                        j->tail_bytes + slack > capacity);
}

/* A backlog that is gone leaves spares behind: they go back to the file system, slowly. Removing one takes the disk
 * milliseconds, and commits wait meanwhile; so not while the number only swings with the cursors, which are stored a few
 * times a second. */
static void trim(struct journal *j, uint64_t want)
{
	int64_t now = clock_mono_us();
	if (j->spare_count == 0 || room_now(j) <= want + 2 * j->settings->segment) {
		j->trimmed_us = now;
	} else if (now - j->trimmed_us > TRIM_US && journal_guard_now(j)) {
		j->trimmed_us = now;
		journal_segments_remove(j, j->spares[--j->spare_count]);
	}
}

/* Spares are made until `want` bytes are free, and what nobody was promised goes until `enough` are. */
static void make_room(struct journal *j, uint64_t want, uint64_t enough)
{
	while (room_now(j) < want && may_grow(j) && make_spare(j))
		;
	while (room_now(j) < enough && journal_capacity_drop_segment(j))
		;
	trim(j, want);
}

static void set_gauges(struct journal *j)
{
	stat_set(&j->stats->segments, j->segment_count);
	stat_set(&j->stats->spare_segments, j->spare_count);
	stat_set(&j->stats->used_bytes, j->segment_count * j->settings->segment);
	stat_set(&j->stats->capacity_bytes, j->limit);
}

static void decide_full(struct journal *j, uint64_t enough)
{
	uint64_t room = room_now(j) + growth(j), most = j->limit / j->settings->segment * segment_worth(j);
	journal_capacity_decide(j, room > j->promised ? room - j->promised : 0, most - j->promised,
	                        room_now(j) < enough);
}

void journal_segments_maintain(struct journal *j)
{
	if (j->settings->type == JOURNAL_MEMORY) {
		keep_memory(j);
		return;
	}
	if (j->guarded)
		return;
	journal_segments_recycle(j, journal_cursors_min_stored(j));
	uint64_t want = j->promised + (uint64_t)j->settings->preallocate * j->settings->segment;
	uint64_t enough = journal_full(j) ? j->promised + j->settings->segment / 2 : j->promised;
	make_room(j, want < enough ? enough : want, enough);
	set_gauges(j);
	decide_full(j, enough);
}

/* -- the current segment -- */

static int start_segment(struct journal *j, uint32_t number, uint64_t first, int *fd)
{
	uint8_t *header = NULL;
	if (posix_memalign((void **)&header, DISK_ALIGN, SEGMENT_HEADER))
		return -ENOMEM;
	struct segment_header h = {.version = SEGMENT_VERSION,
	                           .generation = j->generation,
	                           .first = first,
	                           .size = j->settings->segment,
	                           .kept_from = journal_first(j),
	                           .time_us = (uint64_t)clock_wall_us()};
	memcpy(h.identity, j->identity, IDENTITY_SIZE);
	segment_header_write(&h, header);
	*fd = journal_segments_open(j, number, DISK_WRITE);
	int err = *fd < 0 ? *fd : j->disk->write(j->disk, *fd, header, SEGMENT_HEADER, 0);
	if (err && *fd >= 0)
		j->disk->close(j->disk, *fd);
	free(header);
	return err;
}

/* Takes a spare and writes its header: *s and *fd are set. */
static int begin_spare(struct journal *j, uint64_t first, struct segment *s, int *fd)
{
	if (j->spare_count == 0 && !(may_grow(j) && make_spare(j)))
		return grow_err(j) ? grow_err(j) : -ENOSPC;
	uint32_t number = j->spares[--j->spare_count];
	j->generation +=
	    j->generation_step; /* also when it fails: a header that was written and not removed must not equal
	                                        the next one */
	j->generation_step = 1;
	int err = start_segment(j, number, first, fd);
	if (!err && j->current && (err = journal_guard_named(j)))
		j->disk->close(j->disk, *fd);
	if (err) {
		journal_segments_remove(j, number);
		return err;
	}
	*s = (struct segment){.number = number,
	                      .generation = j->generation,
	                      .first = first,
	                      .size = j->settings->segment,
	                      .promised = SEGMENT_MAY_DROP};
	return 0;
}

int journal_segments_roll(struct journal *j, uint64_t first)
{
	/* The segment before is closed when the new one is there: if it was deleted, what it has can be read through its
	 * descriptor alone. */
	struct segment s;
	int fd = -1, err = begin_spare(j, first, &s, &fd);
	if (err && j->current && journal_guard_named(j))
		return -ENOENT;
	if (j->current)
		j->disk->close(j->disk, j->fd);
	j->current = false;
	if (err)
		return err;
	/* The header is synced together with the first block: before that, nothing in this segment was acknowledged. */
	if (!journal_segments_add(j, &s)) {
		j->disk->close(j->disk, fd);
		return -ENOMEM;
	}
	j->fd = fd;
	j->offset = SEGMENT_HEADER;
	j->current = true;
	return j->checkpoint_room > 0 ? journal_state_checkpoint(j, first) : 0;
}

void journal_segments_abandon(struct journal *j, uint64_t failed)
{
	if (!j->current)
		return;
	j->disk->close(j->disk, j->fd);
	j->current = false;
	struct segment *s = &j->segments[j->segment_count - 1];
	uint32_t number = s->number;
	bool acknowledged = s->first < failed;
	pthread_mutex_lock(&j->lock);
	s->bad = true;
	if (!acknowledged)
		j->segment_count--;
	pthread_mutex_unlock(&j->lock);
	if (!acknowledged) /* nothing in it was ever acknowledged: it can go at once */
		journal_segments_remove(j, number);
}

enum gw_err journal_segments_open_reader(struct segment_reader *s, const struct journal *j, uint32_t number,
                                         uint64_t size, unsigned flags)
{
	segment_reader_init(s, j->disk, journal_segments_open(j, number, flags), size);
	return s->fd < 0 ? GW_IO : GW_OK;
}

bool journal_segments_walk(struct journal *j, const struct segment *segment, uint64_t end,
                           bool (*each)(void *context, const uint8_t *bytes, const struct block_header *h),
                           void *context)
{
	struct segment_reader reader;
	struct block_header h;
	if (journal_segments_open_reader(&reader, j, segment->number, segment->size, DISK_READ) != GW_OK)
		return false;
	uint64_t at = SEGMENT_HEADER, expected = segment->first;
	const uint8_t *bytes;
	while ((bytes = segment_reader_step(&reader, &at, segment->generation, expected, &h)) && h.first < end &&
	       each(context, bytes, &h)) {
		if (!h.checkpoint)
			expected = h.first + h.count;
		at += segment_block_size(h.body);
	}
	bool read = !reader.failed;
	segment_reader_close(&reader);
	return read;
}
