/* json_check with SSE4.2 and PCLMULQDQ, for x86 processors without AVX2, which many small boxes have: 64 bytes are four
 * vectors. See json_vector.h. */
#include "gateway/base/json_parts.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wmmintrin.h>

#define VECTOR_TARGET __attribute__((target("sse4.2,popcnt,pclmul")))
#define ISA VECTOR_TARGET static inline __attribute__((always_inline))

/* The text's bytes are those from `skip` on. */
struct json_block {
	__m128i v[4];
	unsigned skip;
};

ISA struct json_block block_load(const uint8_t *p)
{
	const __m128i *at = (const __m128i *)(const void *)p;
	return (struct json_block){
	    {_mm_loadu_si128(at), _mm_loadu_si128(at + 1), _mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3)}, 0};
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

/* One bit for each byte whose top bit is set. */
ISA uint64_t block_bits(const struct json_block *b, __m128i v0, __m128i v1, __m128i v2, __m128i v3)
{
	uint64_t low = (uint64_t)_mm_movemask_epi8(v0) | (uint64_t)_mm_movemask_epi8(v1) << 16;
	uint64_t high = (uint64_t)_mm_movemask_epi8(v2) | (uint64_t)_mm_movemask_epi8(v3) << 16;
	return (low | high << 32) >> b->skip;
}

/* The same step for each of the four. */
#define BLOCK_BITS(b, STEP) block_bits(b, STEP((b)->v[0]), STEP((b)->v[1]), STEP((b)->v[2]), STEP((b)->v[3]))

ISA uint64_t block_equal(const struct json_block *b, uint8_t c)
{
	const __m128i all = _mm_set1_epi8((char)c);
#define STEP(v) _mm_cmpeq_epi8(v, all)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA uint64_t block_folded(const struct json_block *b, uint8_t c)
{
	const __m128i all = _mm_set1_epi8((char)c), bit = _mm_set1_epi8(0x20);
#define STEP(v) _mm_cmpeq_epi8(_mm_or_si128(v, bit), all)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA __m128i in_range(__m128i v, __m128i least, __m128i most)
{
	__m128i x = _mm_sub_epi8(v, least);
	return _mm_cmpeq_epi8(_mm_min_epu8(x, most), x);
}

ISA uint64_t block_range(const struct json_block *b, uint8_t low, uint8_t high)
{
	const __m128i least = _mm_set1_epi8((char)low), most = _mm_set1_epi8((char)(high - low));
#define STEP(v) in_range(v, least, most)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA uint64_t block_high(const struct json_block *b)
{
	return block_bits(b, b->v[0], b->v[1], b->v[2], b->v[3]);
}

/* Each white space stands in the table where its low four bits point; 0 equals no byte that could point to it. */
ISA uint64_t block_space(const struct json_block *b)
{
	const __m128i table = _mm_setr_epi8(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', 0, 0, '\r', 0, 0);
#define STEP(v) _mm_cmpeq_epi8(_mm_shuffle_epi8(table, v), v)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

ISA uint64_t block_curly(const struct json_block *b)
{
#define STEP(v) _mm_slli_epi16(v, 2)
	return BLOCK_BITS(b, STEP);
#undef STEP
}

/* A product without carries with all ones. */
ISA uint64_t prefix_xor(uint64_t bits)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)bits), _mm_set1_epi8(-1), 0);
	return (uint64_t)_mm_cvtsi128_si64(product);
}

#include "gateway/base/json_vector.h"

VECTOR_TARGET struct json_result json_check_sse42(const char *text, size_t len, unsigned max_depth)
{
	return check_vector(text, len, max_depth);
}
#endif
