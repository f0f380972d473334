/* What the files of a journal are: which is a segment, of which generation, and which of them count. Used at start
 * (journal_recover.c) and by whoever looks at a journal from outside (inspection.c). */
#include "gateway/journal/segment_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/bytes.h"

bool segment_files_number(const char *name, uint32_t *number)
{
	unsigned n;
	int end = 0;
	if (sscanf(name, "%8u.segment%n", &n, &end) != 1 || end != 16 || name[end])
		return false;
	*number = n;
	return true;
}

static void note_name(void *context, const char *name)
{
	struct segment_files_numbers *n = context;
	uint32_t number;
	if (!segment_files_number(name, &number))
		return;
	if (n->count == n->room) {
		size_t room = n->room ? n->room * 2 : 64;
		uint32_t *more = realloc(n->items, room * sizeof(*more));
		if (!more) {
			n->nomem = true;
			return;
		}
		n->items = more;
		n->room = room;
	}
	n->items[n->count++] = number;
}

int segment_files_list(const struct disk *disk, const char *dir, struct segment_files_numbers *out)
{
	*out = (struct segment_files_numbers){0};
	int err = disk->list(disk, dir, note_name, out);
	if (!err && out->nomem)
		err = -ENOMEM;
	if (err) {
		free(out->items);
		*out = (struct segment_files_numbers){0};
	}
	return err;
}

/* A file whose header is spoilt: the generation and first sequence stand in its blocks, too. */
static bool name_by_blocks(struct segment_reader *s, struct segment *out)
{
	for (uint64_t at = SEGMENT_HEADER; at + BLOCK_ALIGN <= s->size; at += BLOCK_ALIGN) {
		const uint8_t *bytes = segment_reader_bytes(s, at, BLOCK_ALIGN);
		if (!bytes)
			return false;
		uint64_t generation = bytes_get(bytes + 8, 8);
		struct block_header h;
		if (generation == 0 || !segment_reader_block(s, at, generation, &h))
			continue;
		out->generation = generation;
		out->first = h.first;
		return true;
	}
	return false;
}

enum segment_kind segment_files_identify(struct segment_reader *s, struct segment *out, struct segment_header *h)
{
	int64_t size = s->disk->size(s->disk, s->fd);
	if (size < 0)
		return SEGMENT_UNREAD;
	out->size = s->size = (uint64_t)size;
	const uint8_t *bytes = segment_reader_bytes(s, 0, SEGMENT_HEADER);
	int good = bytes ? segment_header_read(h, bytes) : 0;
	if (s->failed)
		return SEGMENT_UNREAD;
	if (good < 0)
		return SEGMENT_NEWER;
	if (good > 0) {
		out->generation = h->generation;
		out->first = h->first;
		out->kept_from = h->kept_from;
		return SEGMENT_GOOD;
	}
	if (name_by_blocks(s, out))
		return SEGMENT_SPOILT;
	return s->failed ? SEGMENT_UNREAD : SEGMENT_EMPTY;
}

/* Two of one generation are what a repair leaves that was cut short: the one with the higher number is the new one. */
static int by_generation(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;
	if (x->generation != y->generation)
		return x->generation > y->generation ? 1 : -1;
	if (x->first != y->first)
		return x->first > y->first ? 1 : -1;
	return (x->number > y->number) - (x->number < y->number);
}

/* A spare keeps its bytes until it is used again; of those that were given up some were, and the rest would be met with
 * gaps between them. */
static void give_up(struct segment *items, size_t count)
{
	uint64_t kept_from = 0;
	for (size_t i = 0; i < count; i++)
		if (!items[i].bad && items[i].kept_from > kept_from)
			kept_from = items[i].kept_from;
	uint64_t end = UINT64_MAX; /* of the one before */
	for (size_t i = count; i-- > 0;) {
		if (items[i].bad)
			continue;
		items[i].bad = end <= kept_from;
		end = items[i].first;
	}
}

void segment_files_sort(struct segment *items, size_t count)
{
	if (count > 0)
		qsort(items, count, sizeof(*items), by_generation);
	uint64_t least = UINT64_MAX;
	for (size_t i = count; i-- > 0;) {
		items[i].bad = items[i].first >= least;
		if (!items[i].bad)
			least = items[i].first;
	}
	give_up(items, count);
}
