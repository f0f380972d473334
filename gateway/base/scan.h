/* Walking over text at more than a byte a step: find the next byte of a small set, step over one UTF-8 sequence.
 *
 * Every set is written three times: for a byte, for 8 bytes in a register (SWAR), for 16 bytes (SSE2). The byte version
 * defines it, the others must agree, and test/unit/gateway/base/test_json.c compares them. None reads at or after `end`.
 *
 * SWAR: hits_swar marks a byte by its top bit. A mark may be false only above a true one (a borrow runs upwards), so
 * the lowest mark is exact; that is why big-endian machines look at the eight bytes again one by one. */
#ifndef SLUICE_GATEWAY_BASE_SCAN_H
#define SLUICE_GATEWAY_BASE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum scan_set {
	SCAN_HIGH,    /* not ASCII */
	SCAN_ESCAPE,  /* what cannot stand for itself in a JSON string: quote, backslash, control */
	SCAN_SPECIAL, /* both of the above */
	SCAN_NEST     /* quote and the four brackets */
};

/* The set is a constant at every call: inlined, the tests for it vanish. */
#define SCAN_INLINE static inline __attribute__((always_inline))

SCAN_INLINE bool scan_hit(uint8_t b, enum scan_set set)
{
	if (set == SCAN_HIGH)
		return b >= 0x80;
	if (set == SCAN_NEST)
		return b == '"' || (b | 0x20) == '{' || (b | 0x20) == '}';
	return b == '"' || b == '\\' || b < 0x20 || (set == SCAN_SPECIAL && b >= 0x80);
}

SCAN_INLINE const uint8_t *scan_bytes(const uint8_t *p, const uint8_t *end, enum scan_set set)
{
	while (p < end && !scan_hit(*p, set))
		p++;
	return p;
}

#define SCAN_ONES UINT64_C(0x0101010101010101)
#define SCAN_TOPS (SCAN_ONES * 0x80)

/* Marks the bytes of v below n, n <= 0x80. */
SCAN_INLINE uint64_t scan_swar_below(uint64_t v, uint8_t n)
{
	return (v - SCAN_ONES * n) & ~v & SCAN_TOPS;
}

SCAN_INLINE uint64_t scan_swar_equal(uint64_t v, char b)
{
	return scan_swar_below(v ^ (SCAN_ONES * (uint8_t)b), 1);
}

SCAN_INLINE uint64_t scan_swar_hits(uint64_t v, enum scan_set set)
{
	if (set == SCAN_HIGH)
		return v & SCAN_TOPS;
	uint64_t quote = scan_swar_equal(v, '"');
	if (set == SCAN_NEST)
		return quote | scan_swar_equal(v | SCAN_ONES * 0x20, '{') | scan_swar_equal(v | SCAN_ONES * 0x20, '}');
	uint64_t hits = quote | scan_swar_equal(v, '\\') | scan_swar_below(v, 0x20);
	return set == SCAN_SPECIAL ? hits | (v & SCAN_TOPS) : hits;
}

SCAN_INLINE const uint8_t *scan_swar(const uint8_t *p, const uint8_t *end, enum scan_set set)
{
	const uint8_t *start = p;
	for (; end - p >= 8; p += 8) {
		uint64_t v;
		memcpy(&v, p, 8);
		uint64_t hits = scan_swar_hits(v, set);
		if (hits == 0)
			continue;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		return p + (__builtin_ctzll(hits) >> 3);
#else
		break;
#endif
	}
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (p < end && end - start >= 8) { /* the last eight once more as a whole, rather than byte by byte */
		uint64_t v;
		memcpy(&v, end - 8, 8);
		uint64_t hits = scan_swar_hits(v, set);
		return hits ? end - 8 + (__builtin_ctzll(hits) >> 3) : end;
	}
#endif
	return scan_bytes(p, end, set);
}

#ifdef __SSE2__
SCAN_INLINE __m128i scan_sse2_equal(__m128i v, char b)
{
	return _mm_cmpeq_epi8(v, _mm_set1_epi8(b));
}

/* One bit for each byte that is hit. */
SCAN_INLINE unsigned scan_sse2_hits(__m128i v, enum scan_set set)
{
	if (set == SCAN_HIGH)
		return (unsigned)_mm_movemask_epi8(v);
	__m128i quote = scan_sse2_equal(v, '"');
	if (set == SCAN_NEST) {
		__m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20));
		__m128i bracket = _mm_or_si128(scan_sse2_equal(folded, '{'), scan_sse2_equal(folded, '}'));
		return (unsigned)_mm_movemask_epi8(_mm_or_si128(quote, bracket));
	}
	/* Signed, bytes from 0x80 on are below the space too. Unsigned, min(v, 0x1f) == v only for controls. */
	__m128i low = set == SCAN_SPECIAL ? _mm_cmplt_epi8(v, _mm_set1_epi8(0x20))
	                                  : _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
	__m128i hits = _mm_or_si128(_mm_or_si128(quote, scan_sse2_equal(v, '\\')), low);
	return (unsigned)_mm_movemask_epi8(hits);
}

SCAN_INLINE const uint8_t *scan_sse2(const uint8_t *p, const uint8_t *end, enum scan_set set)
{
	const uint8_t *start = p;
	for (; end - p >= 16; p += 16) {
		unsigned hits = scan_sse2_hits(_mm_loadu_si128((const __m128i *)(const void *)p), set);
		if (hits != 0)
			return p + __builtin_ctz(hits);
	}
	if (end - start < 16)
		return scan_swar(p, end, set);
	/* The last sixteen once more as a whole: those before p are not in the set. */
	unsigned hits = scan_sse2_hits(_mm_loadu_si128((const __m128i *)(const void *)(end - 16)), set);
	return hits ? end - 16 + __builtin_ctz(hits) : end;
}
#endif

/* scan_to returns the first byte of [p, end) that is in the set, else end. */
SCAN_INLINE const uint8_t *scan_to(const uint8_t *p, const uint8_t *end, enum scan_set set)
{
#ifdef __SSE2__
	return scan_sse2(p, end, set);
#else
	return scan_swar(p, end, set);
#endif
}

SCAN_INLINE bool scan_continues(uint8_t b)
{
	return (b & 0xc0) == 0x80;
}

/* scan_utf8 returns the length of the sequence at p, whose first byte is not ASCII, p < end; 0: not valid. RFC 3629
 * section 4: which second bytes are allowed depends on the first and excludes overlong forms, surrogates and what lies
 * above U+10FFFF. */
static inline size_t scan_utf8(const uint8_t *p, const uint8_t *end)
{
	size_t left = (size_t)(end - p);
	uint8_t lead = p[0];
	if (lead < 0xc2 || lead > 0xf4 || left < 2 || !scan_continues(p[1]))
		return 0;
	if (lead < 0xe0)
		return 2;
	if (left < 3 || !scan_continues(p[2]))
		return 0;
	if (lead < 0xf0)
		return (lead == 0xe0 && p[1] < 0xa0) || (lead == 0xed && p[1] > 0x9f) ? 0 : 3;
	if (left < 4 || !scan_continues(p[3]))
		return 0;
	return (lead == 0xf0 && p[1] < 0x90) || (lead == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

#endif
