/* Encoding and checking of segment and block headers; the layout is in segment.h. */
#include "gateway/journal/segment.h"

#include <string.h>

#include "gateway/base/bytes.h"
#include "gateway/base/crc32c.h"
#include "gateway/journal/record.h"

static const char segment_magic[8] = "SLUICEJ1";
static const char block_magic[4] = "SLBK";

void segment_header_write(const struct segment_header *h, uint8_t out[SEGMENT_HEADER])
{
	memset(out, 0, SEGMENT_HEADER);
	memcpy(out, segment_magic, sizeof(segment_magic));
	bytes_put(out + 12, h->version, 4);
	bytes_put(out + 16, h->generation, 8);
	bytes_put(out + 24, h->first, 8);
	bytes_put(out + 32, h->size, 8);
	bytes_put(out + 40, h->time_us, 8);
	bytes_put(out + 48, h->kept_from, 8);
	memcpy(out + 56, h->identity, IDENTITY_SIZE);
	bytes_put(out + 8, crc32c(0, out + 12, SEGMENT_HEADER - 12), 4);
}

int segment_header_read(struct segment_header *h, const uint8_t in[SEGMENT_HEADER])
{
	if (memcmp(in, segment_magic, sizeof(segment_magic)) != 0 ||
	    bytes_get(in + 8, 4) != crc32c(0, in + 12, SEGMENT_HEADER - 12))
		return 0;
	h->version = (uint32_t)bytes_get(in + 12, 4);
	h->generation = bytes_get(in + 16, 8);
	h->first = bytes_get(in + 24, 8);
	h->size = bytes_get(in + 32, 8);
	h->time_us = bytes_get(in + 40, 8);
	h->kept_from = bytes_get(in + 48, 8);
	memcpy(h->identity, in + 56, IDENTITY_SIZE);
	return h->version > SEGMENT_VERSION ? -1 : 1;
}

void segment_block_write(const struct block_header *h, uint8_t *block)
{
	memset(block, 0, BLOCK_HEADER);
	memcpy(block, block_magic, sizeof(block_magic));
	bytes_put(block + 8, h->generation, 8);
	bytes_put(block + 16, h->first, 8);
	bytes_put(block + 24, h->body, 4);
	bytes_put(block + 28, h->count, 4);
	bytes_put(block + 32, h->time_us, 8);
	bytes_put(block + 40, h->checkpoint, 4);
	bytes_put(block + 44, h->may_drop, 4);
	size_t end = BLOCK_HEADER + (size_t)h->body;
	memset(block + end, 0, segment_block_size(h->body) - end);
	uint32_t head = crc32c(0, block + 8, BLOCK_HEADER - 8);
	if (h->summed > 0)
		head = crc32c_join(head, h->sum, h->summed);
	size_t known = BLOCK_HEADER + (size_t)h->summed;
	bytes_put(block + 4, crc32c(head, block + known, end - known), 4);
}

bool segment_block_read(struct block_header *h, const uint8_t *block, uint64_t generation, size_t room)
{
	if (room < BLOCK_ALIGN || memcmp(block, block_magic, sizeof(block_magic)) != 0)
		return false;
	h->generation = bytes_get(block + 8, 8);
	h->first = bytes_get(block + 16, 8);
	h->body = (uint32_t)bytes_get(block + 24, 4);
	h->count = (uint32_t)bytes_get(block + 28, 4);
	h->time_us = bytes_get(block + 32, 8);
	h->checkpoint = bytes_get(block + 40, 4) == 1;
	h->may_drop = bytes_get(block + 44, 4) == 1;
	return h->generation == generation && h->count > 0 && h->body >= RECORD_HEADER &&
	       segment_block_size(h->body) <= room;
}

bool segment_block_check(const struct block_header *h, const uint8_t *block)
{
	if (bytes_get(block + 4, 4) != crc32c(0, block + 8, BLOCK_HEADER - 8 + (size_t)h->body))
		return false;
	const uint8_t *entry = block + BLOCK_HEADER;
	size_t rest = h->body;
	for (uint32_t i = 0; i < h->count; i++) {
		if (!record_check(entry, rest))
			return false;
		rest -= record_size(entry);
		entry += record_size(entry);
	}
	return rest == 0;
}
