/* Reading a segment's file; see segment_reader.h. */
#include "gateway/journal/segment_reader.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW (1u << 20)

void scan_init(struct scan *s, const struct disk *disk, int fd, uint64_t size)
{
	*s = (struct scan){.disk = disk, .fd = fd, .size = size};
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

bool scan_torn(struct scan *s, uint64_t offset, uint64_t generation)
{
	struct block_header h;
	const uint8_t *bytes = scan_bytes(s, offset, BLOCK_ALIGN);
	return bytes && block_header_read(&h, bytes, generation, (size_t)(s->size - offset));
}
