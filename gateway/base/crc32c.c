/* CRC-32C, four ways: by table (slicing by 8, any machine), by the SSE4.2 instruction, by the ARMv8 instruction, and long
 * inputs on x86 by carry-less multiplication of 64 bytes at a time (see folded).
 *
 * The polynomial is 0x1EDC6F41, here in reflected order; the register is inverted before and after. The instruction
 * takes 8 bytes but answers only after 3 cycles, so a long input is cut into three lanes that are summed side by side
 * and then joined: if f(n, x) is what n zero bytes make of register x, then sum(a b) = f(len b, sum(a)) ^ sum(b), each
 * on registers without inversion. f is linear, so for the one lane length used it is four tables of 256 words. Table
 * bytes are in the order of the register, not of the machine: all of it works on big-endian machines too. */
#include "gateway/base/crc32c.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_STEP8(crc, word) (uint32_t) _mm_crc32_u64(crc, word)
#define CRC_STEP1(crc, byte) _mm_crc32_u8(crc, byte)
#elif defined(__aarch64__) && defined(__linux__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <sys/auxv.h>
/* <arm_acle.h> of clang has these only where the whole file may use the instruction. */
#ifdef __clang__
#define CRC_TARGET __attribute__((target("crc")))
#define CRC_STEP8(crc, word) __builtin_arm_crc32cd(crc, word)
#define CRC_STEP1(crc, byte) __builtin_arm_crc32cb(crc, byte)
#else
#define CRC_TARGET __attribute__((target("+crc")))
#define CRC_STEP8(crc, word) __builtin_aarch64_crc32cx(crc, word)
#define CRC_STEP1(crc, byte) __builtin_aarch64_crc32cb(crc, byte)
#endif
#define CRC_HWCAP_CRC32 (1 << 7) /* Linux arch/arm64 asm/hwcap.h: HWCAP_CRC32 */
#endif

#define POLYNOMIAL_REFLECTED 0x82f63b78u
#define LANE 256 /* bytes: a 4 KiB block, the smallest the journal writes, still goes through the lanes five times */

static uint32_t bytes[8][256]; /* bytes[k][b]: what byte b followed by k zero bytes makes of an empty register */
static uint32_t lanes[4][256]; /* lanes[k][b]: what LANE zero bytes make of a register whose byte k is b */

static void bytes_init(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL_REFLECTED : 0);
		bytes[0][b] = crc;
	}
	for (int k = 1; k < 8; k++) {
		for (int b = 0; b < 256; b++)
			bytes[k][b] = bytes[k - 1][b] >> 8 ^ bytes[0][bytes[k - 1][b] & 255];
	}
}

static void lanes_init(void)
{
	for (int k = 0; k < 4; k++) {
		for (uint32_t b = 0; b < 256; b++) {
			uint32_t crc = b << (8 * k);
			for (int n = 0; n < LANE; n++)
				crc = crc >> 8 ^ bytes[0][crc & 255];
			lanes[k][b] = crc;
		}
	}
}

static inline uint32_t load32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint32_t low = crc ^ load32(p), high = load32(p + 4);
		crc = bytes[7][low & 255] ^ bytes[6][low >> 8 & 255] ^ bytes[5][low >> 16 & 255] ^ bytes[4][low >> 24] ^
		      bytes[3][high & 255] ^ bytes[2][high >> 8 & 255] ^ bytes[1][high >> 16 & 255] ^
		      bytes[0][high >> 24];
	}
	for (; len > 0; len--, p++)
		crc = crc >> 8 ^ bytes[0][(crc ^ *p) & 255];
	return ~crc;
}

#ifdef CRC_TARGET
static inline uint64_t load64(const uint8_t *p)
{
	uint64_t word;
	memcpy(&word, p, 8);
	return word;
}

static inline uint32_t lane_shift(uint32_t crc)
{
	return lanes[0][crc & 255] ^ lanes[1][crc >> 8 & 255] ^ lanes[2][crc >> 16 & 255] ^ lanes[3][crc >> 24];
}

CRC_TARGET static inline uint32_t three_lanes(uint32_t crc, const uint8_t *p)
{
	uint32_t a = crc, b = 0, c = 0;
	for (size_t i = 0; i < LANE; i += 8) {
		a = CRC_STEP8(a, load64(p + i));
		b = CRC_STEP8(b, load64(p + LANE + i));
		c = CRC_STEP8(c, load64(p + 2 * LANE + i));
	}
	return lane_shift(lane_shift(a) ^ b) ^ c;
}

CRC_TARGET static uint32_t crc32c_instruction(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	crc = ~crc;
	for (; len >= 3 * (size_t)LANE; len -= 3 * (size_t)LANE, p += 3 * (size_t)LANE)
		crc = three_lanes(crc, p);
	for (; len >= 8; len -= 8, p += 8)
		crc = CRC_STEP8(crc, load64(p));
	for (; len > 0; len--, p++)
		crc = CRC_STEP1(crc, *p);
	return ~crc;
}

#if defined(__x86_64__)
#define FOLD_TARGET __attribute__((target("sse4.2,avx512f,vpclmulqdq")))
#define FOLD_LEAST 1024 /* bytes from which on it is faster */

/* x^(d + 32) and x^(d - 32) mod P in reflected order, shifted left by one for the bit that a product of two reflected
 * numbers lacks: what moves a quarter of a register d bits on. */
static const uint64_t fold_by[4][2] = {
    {0x740eef02, 0x9e4addf8}, {0x6992cea2, 0x0d3b6092}, {0xa87ab8a8, 0xab7aff2a}, {0xdcb17aa4, 0xb9e02b86}};

FOLD_TARGET static inline __m512i fold(__m512i from, __m512i by, __m512i to)
{
	return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(from, by, 0x00),
	                                 _mm512_clmulepi64_epi128(from, by, 0x11), to,
	                                 0x96); /* exclusive or of three */
}

FOLD_TARGET static inline __m512i fold_constant(int blocks)
{
	return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)fold_by[blocks - 1]));
}

/* V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009), with
 * registers of 512 bits: four of them stand for all before; each is moved on by the 256 bytes that come next and these
 * are added. At the end the four become one, whose 64 bytes have the sum of the whole, and the instruction sums those. */
FOLD_TARGET static uint32_t folded(uint32_t crc, const void *data, size_t len)
{
	if (len < FOLD_LEAST)
		return crc32c_instruction(crc, data, len);
	const uint8_t *p = data;
	__m512i by = fold_constant(4), s0 = _mm512_loadu_si512(p), s1 = _mm512_loadu_si512(p + 64),
	        s2 = _mm512_loadu_si512(p + 128), s3 = _mm512_loadu_si512(p + 192);
	s0 = _mm512_xor_si512(s0, _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~crc)));
	for (p += 256, len -= 256; len >= 256; p += 256, len -= 256) {
		s0 = fold(s0, by, _mm512_loadu_si512(p));
		s1 = fold(s1, by, _mm512_loadu_si512(p + 64));
		s2 = fold(s2, by, _mm512_loadu_si512(p + 128));
		s3 = fold(s3, by, _mm512_loadu_si512(p + 192));
	}
	s3 = fold(s2, fold_constant(1), s3);
	s3 = fold(s1, fold_constant(2), s3);
	s3 = fold(s0, fold_constant(3), s3);
	uint8_t last[64];
	_mm512_storeu_si512(last, s3);
	return crc32c_instruction(crc32c_instruction(UINT32_MAX, last, sizeof(last)), p, len);
}

static bool folding_exists(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
}
#endif

static bool instruction_exists(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2");
#else
	return getauxval(AT_HWCAP) & CRC_HWCAP_CRC32;
#endif
}
#endif

/* Set before main and never again: read without ordering by every thread. */
static uint32_t (*chosen)(uint32_t crc, const void *data, size_t len) = crc32c_portable;

__attribute__((constructor)) static void crc32c_init(void)
{
	bytes_init();
	lanes_init();
#ifdef CRC_TARGET
	if (instruction_exists())
		chosen = crc32c_instruction;
#if defined(__x86_64__)
	if (instruction_exists() && folding_exists())
		chosen = folded;
#endif
#endif
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	return chosen(crc, data, len);
}

/* a b mod P. In reflected order the top bit stands for 1, the next for x. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;
	for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? POLYNOMIAL_REFLECTED : 0);
	}
	return product;
}

/* Behind a come 8 b_len bits: its register is multiplied by x to that power, found by squaring. What the inversions
 * before and after add is the same on both sides and falls out. */
uint32_t crc32c_join(uint32_t a, uint32_t b, size_t b_len)
{
	uint32_t power = UINT32_C(1) << 23; /* x^8 */
	for (; b_len; b_len >>= 1, power = multiply(power, power))
		if (b_len & 1)
			a = multiply(power, a);
	return a ^ b;
}
