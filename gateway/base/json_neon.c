/* json_check with NEON, which every AArch64 processor has: 64 bytes are four vectors. See json_vector.h. */
#include "gateway/base/json_parts.h"

#if defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VECTOR_TARGET
#define ISA static inline __attribute__((always_inline))

/* The text's bytes are those from `skip` on. */
struct json_block {
	uint8x16_t v[4];
	unsigned skip;
};

ISA struct json_block block_load(const uint8_t *p)
{
	return (struct json_block){{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}, 0};
}

/* The last 64 bytes of the text, and the first of them skipped: cheaper than moving them to where nothing follows. */
ISA struct json_block block_load_part(const uint8_t *p, size_t n, size_t before)
{
	if (before >= 64 - n) {
		struct json_block b = block_load(p + n - 64);
		b.skip = (unsigned)(64 - n);
		return b;
	}
	uint8_t copy[64] = {0};
	memcpy(copy, p, n);
	return block_load(copy);
}

/* One bit for each byte that is all ones: each keeps the bit of its place in a group of eight, and neighbours are added
 * until a group has become one byte. */
ISA uint64_t block_bits(const struct json_block *b, uint8x16_t v0, uint8x16_t v1, uint8x16_t v2, uint8x16_t v3)
{
	const uint8x16_t place = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
	uint8x16_t low = vpaddq_u8(vandq_u8(v0, place), vandq_u8(v1, place));
	uint8x16_t high = vpaddq_u8(vandq_u8(v2, place), vandq_u8(v3, place));
	uint8x16_t all = vpaddq_u8(low, high);
	return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0) >> b->skip;
}

/* The same step for each of the four. */
#define BLOCK_BITS(b, STEP) block_bits(b, STEP((b)->v[0]), STEP((b)->v[1]), STEP((b)->v[2]), STEP((b)->v[3]))

ISA uint64_t block_equal(const struct json_block *b, uint8_t c)
{
	const uint8x16_t all = vdupq_n_u8(c);
#define STEP(v) vceqq_u8(v, all)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA uint64_t block_folded(const struct json_block *b, uint8_t c)
{
	const uint8x16_t all = vdupq_n_u8(c), bit = vdupq_n_u8(0x20);
#define STEP(v) vceqq_u8(vorrq_u8(v, bit), all)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA uint64_t block_range(const struct json_block *b, uint8_t low, uint8_t high)
{
	const uint8x16_t least = vdupq_n_u8(low), most = vdupq_n_u8((uint8_t)(high - low));
#define STEP(v) vcleq_u8(vsubq_u8(v, least), most)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA uint64_t block_high(const struct json_block *b)
{
	return block_range(b, 0x80, 0xff);
}

/* Each white space stands in the table where its low four bits point; 0 equals no byte that could point to it. */
ISA uint64_t block_space(const struct json_block *b)
{
	const uint8x16_t table = {' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', 0, 0, '\r', 0, 0};
	const uint8x16_t bits = vdupq_n_u8(15);
#define STEP(v) vceqq_u8(vqtbl1q_u8(table, vandq_u8(v, bits)), v)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA uint64_t block_curly(const struct json_block *b)
{
	const uint8x16_t bit = vdupq_n_u8(0x20);
#define STEP(v) vtstq_u8(v, bit)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

/* By doubling: the product without carries is an extension that not every processor has. */
ISA uint64_t prefix_xor(uint64_t bits)
{
	for (unsigned n = 1; n < 64; n *= 2)
		bits ^= bits << n;
	return bits;
}

#include "gateway/base/json_vector.h"

struct json_result json_check_neon(const char *text, size_t len, unsigned max_depth)
{
	return check_vector(text, len, max_depth);
}
#endif
