/* What payload.c and payload_put.c know of one another. Compiled, a text is a list of parts: stretches of plain bytes,
 * stretches that wander, and the holes that differ with every message. Padding comes last, since it depends on the length of
 * all the rest. */
#ifndef SLUICE_LOAD_PAYLOAD_PARTS_H
#define SLUICE_LOAD_PAYLOAD_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_PARTS_MAX 64
#define PAYLOAD_SIZES_MAX 32

enum payload_part_kind { PART_PLAIN, PART_VARIED, PART_DEVICE, PART_SEQ, PART_TIME, PART_CONNECTION, PART_N };

struct payload_part {
	enum payload_part_kind kind;
	const uint8_t *bytes; /* plain: into text; varied: into pool */
	uint32_t len;
	uint8_t *pool;    /* owned: the variants, one after the other */
	uint32_t *starts; /* owned: variants + 1 of them */
	uint32_t variants;
};

struct payload {
	char *text; /* owned: what was compiled, with identity */
	struct payload_part parts[PAYLOAD_PARTS_MAX];
	unsigned part_count;
	enum { PAD_NONE, PAD_JSON, PAD_RAW } pad;
	uint32_t sizes[PAYLOAD_SIZES_MAX];
	unsigned size_count;
	bool size_range; /* from sizes[0] to sizes[1] */
	bool json;
	uint64_t seed;
	size_t longest; /* of plain and varied parts, together */
};

static inline uint64_t payload_mix(uint64_t x) /* SplitMix64's output function */
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif
