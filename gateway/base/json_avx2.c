/* json_check with AVX2: 64 bytes are two vectors. See json_vector.h. */
#include "gateway/base/json_parts.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VECTOR_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt,pclmul")))
#define ISA VECTOR_TARGET static inline __attribute__((always_inline))

/* The text's bytes are those from `skip` on. */
struct json_block {
	__m256i low, high;
	unsigned skip;
};

ISA struct json_block block_load(const uint8_t *p)
{
	return (struct json_block){_mm256_loadu_si256((const __m256i *)(const void *)p),
	                           _mm256_loadu_si256((const __m256i *)(const void *)(p + 32)), 0};
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

ISA uint64_t block_bits(const struct json_block *b, __m256i low, __m256i high)
{
	uint64_t bits = (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
	return bits >> b->skip;
}

ISA uint64_t block_equal(const struct json_block *b, uint8_t c)
{
	const __m256i all = _mm256_set1_epi8((char)c);
	return block_bits(b, _mm256_cmpeq_epi8(b->low, all), _mm256_cmpeq_epi8(b->high, all));
}

ISA uint64_t block_folded(const struct json_block *b, uint8_t c)
{
	const __m256i all = _mm256_set1_epi8((char)c), bit = _mm256_set1_epi8(0x20);
	return block_bits(b, _mm256_cmpeq_epi8(_mm256_or_si256(b->low, bit), all),
	                  _mm256_cmpeq_epi8(_mm256_or_si256(b->high, bit), all));
}

ISA uint64_t block_range(const struct json_block *b, uint8_t low, uint8_t high)
{
	const __m256i least = _mm256_set1_epi8((char)low), most = _mm256_set1_epi8((char)(high - low));
	__m256i x = _mm256_sub_epi8(b->low, least), y = _mm256_sub_epi8(b->high, least);
	return block_bits(b, _mm256_cmpeq_epi8(_mm256_min_epu8(x, most), x),
	                  _mm256_cmpeq_epi8(_mm256_min_epu8(y, most), y));
}

ISA uint64_t block_high(const struct json_block *b)
{
	return block_bits(b, b->low, b->high);
}

/* Each white space stands in the table where its low four bits point; 0 equals no byte that could point to it. */
ISA uint64_t block_space(const struct json_block *b)
{
	const __m256i table =
	    _mm256_broadcastsi128_si256(_mm_setr_epi8(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', 0, 0, '\r', 0, 0));
	return block_bits(b, _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, b->low), b->low),
	                  _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, b->high), b->high));
}

ISA uint64_t block_curly(const struct json_block *b)
{
	return block_bits(b, _mm256_slli_epi16(b->low, 2), _mm256_slli_epi16(b->high, 2));
}

/* A product without carries with all ones. */
ISA uint64_t prefix_xor(uint64_t bits)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)bits), _mm_set1_epi8(-1), 0);
	return (uint64_t)_mm_cvtsi128_si64(product);
}

#include "gateway/base/json_vector.h"

VECTOR_TARGET struct json_result json_check_avx2(const char *text, size_t len, unsigned max_depth)
{
	return check_vector(text, len, max_depth);
}
#endif
