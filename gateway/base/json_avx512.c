/* json_check with AVX-512: 64 bytes are one vector, and a comparison is a mask already. See json_vector.h. */
#include "gateway/base/json_parts.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VECTOR_TARGET __attribute__((target("avx512f,avx512bw,bmi,bmi2,popcnt,pclmul")))
#define ISA VECTOR_TARGET static inline __attribute__((always_inline))

struct json_block {
	__m512i v;
};

/* A byte 64 times over. Read from memory, it is an operand of the comparison; made on the spot, as compilers like to, it
 * costs two instructions and the unit that compares. */
static _Alignas(64) uint8_t rows[256][64];

__attribute__((constructor)) static void rows_init(void)
{
	for (unsigned c = 0; c < 256; c++)
		memset(rows[c], (int)c, 64);
}

ISA __m512i all(uint8_t c)
{
	return _mm512_load_si512(rows[c]);
}

ISA struct json_block block_load(const uint8_t *p)
{
	return (struct json_block){_mm512_loadu_si512(p)};
}

/* Bytes that are masked out are not touched, wherever they lie. */
ISA struct json_block block_load_part(const uint8_t *p, size_t n, size_t before)
{
	(void)before;
	return (struct json_block){_mm512_mask_loadu_epi8(all(' '), (UINT64_C(1) << n) - 1, p)};
}

ISA uint64_t block_equal(const struct json_block *b, uint8_t c)
{
	return _mm512_cmpeq_epi8_mask(b->v, all(c));
}

ISA uint64_t block_folded(const struct json_block *b, uint8_t c)
{
	return _mm512_cmpeq_epi8_mask(_mm512_or_si512(b->v, all(0x20)), all(c));
}

ISA uint64_t block_range(const struct json_block *b, uint8_t low, uint8_t high)
{
	return _mm512_cmple_epu8_mask(low ? _mm512_sub_epi8(b->v, all(low)) : b->v, all((uint8_t)(high - low)));
}

ISA uint64_t block_high(const struct json_block *b)
{
	return _mm512_movepi8_mask(b->v);
}

/* Each white space stands in the table where its low four bits point; 0 equals no byte that could point to it. */
ISA uint64_t block_space(const struct json_block *b)
{
	const __m512i table =
	    _mm512_broadcast_i32x4(_mm_setr_epi8(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', 0, 0, '\r', 0, 0));
	return _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(table, b->v), b->v);
}

ISA uint64_t block_curly(const struct json_block *b)
{
	return _mm512_test_epi8_mask(b->v, all(0x20));
}

/* A product without carries with all ones. */
ISA uint64_t prefix_xor(uint64_t bits)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)bits), _mm_set1_epi8(-1), 0);
	return (uint64_t)_mm_cvtsi128_si64(product);
}

#include "gateway/base/json_vector.h"

VECTOR_TARGET struct json_result json_check_avx512(const char *text, size_t len, unsigned max_depth)
{
	return check_vector(text, len, max_depth);
}
#endif
