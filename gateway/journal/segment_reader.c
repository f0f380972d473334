/* Reading a segment's file; see segment_reader.h. */
#include "gateway/journal/segment_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW (1u << 20)

void segment_reader_init(struct segment_reader *s, const struct disk *disk, int fd, uint64_t size)
{
	*s = (struct segment_reader){.disk = disk, .fd = fd, .size = size, .err = fd < 0 ? fd : 0};
}

void segment_reader_close(struct segment_reader *s)
{
	if (s->disk && s->fd >= 0)
		s->disk->close(s->disk, s->fd);
	free(s->buffer);
	memset(s, 0, sizeof(*s));
	s->fd = -1;
}

static bool room_for(struct segment_reader *s, size_t room)
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

const uint8_t *segment_reader_bytes(struct segment_reader *s, uint64_t offset, size_t len)
{
	if (offset + len > s->size)
		return NULL;
	if (offset >= s->at && offset + len <= s->at + s->len)
		return s->buffer + (offset - s->at);
	size_t most = s->size < WINDOW ? (size_t)s->size : WINDOW; /* whole pages are read, below */
	size_t want = ((len > most ? len : most) + DISK_ALIGN - 1) & ~(size_t)(DISK_ALIGN - 1);
	if (!room_for(s, want)) {
		s->failed = true;
		s->err = -ENOMEM;
		return NULL;
	}
	/* Whole pages, also at the end of a file that was cut: direct I/O takes nothing else. The read is short there.
	 */
	int64_t n = s->disk->read(s->disk, s->fd, s->buffer, want, offset);
	s->at = offset;
	s->len = n < 0 ? 0 : (size_t)n;
	if (n < 0 && !s->failed)
		s->err = (int)n;
	s->failed |= n < 0; /* stays: what could not be read must not pass for the end */
	return s->len >= len ? s->buffer : NULL;
}

const uint8_t *segment_reader_block(struct segment_reader *s, uint64_t offset, uint64_t generation,
                                    struct block_header *h)
{
	const uint8_t *bytes = segment_reader_bytes(s, offset, BLOCK_ALIGN);
	if (!bytes || !segment_block_read(h, bytes, generation, (size_t)(s->size - offset)))
		return NULL;
	bytes = segment_reader_bytes(s, offset, segment_block_size(h->body));
	return bytes && segment_block_check(h, bytes) ? bytes : NULL;
}

uint64_t segment_reader_next(struct segment_reader *s, uint64_t offset, uint64_t generation, uint64_t least,
                             struct block_header *h)
{
	for (; offset + BLOCK_ALIGN <= s->size; offset += BLOCK_ALIGN) {
		if (segment_reader_block(s, offset, generation, h) && h->first >= least)
			return offset;
		if (s->failed)
			break;
	}
	return UINT64_MAX;
}

const uint8_t *segment_reader_step(struct segment_reader *s, uint64_t *at, uint64_t generation, uint64_t expected,
                                   struct block_header *h)
{
	const uint8_t *bytes = segment_reader_block(s, *at, generation, h);
	if (bytes && h->first >= expected)
		return bytes;
	uint64_t next = s->failed ? UINT64_MAX : segment_reader_next(s, *at + BLOCK_ALIGN, generation, expected, h);
	if (next == UINT64_MAX)
		return NULL;
	*at = next;
	return segment_reader_block(s, next, generation, h);
}

bool segment_reader_torn(struct segment_reader *s, uint64_t offset, uint64_t generation)
{
	struct block_header h;
	const uint8_t *bytes = segment_reader_bytes(s, offset, BLOCK_ALIGN);
	return bytes && segment_block_read(&h, bytes, generation, (size_t)(s->size - offset));
}
