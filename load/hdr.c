/* The histogram of latencies; what it promises is told in hdr.h.
 *
 * Values of up to 2048 have a slot each; from there on buckets double and have 1024 slots each, so that a value is known
 * to within 1/1024 of itself: 3 significant digits. Index of v, with b = position of its highest bit - 10 (0 for v <
 * 2048): b * 1024 + (v >> b). G. Tene, HdrHistogram, "subBucketCount 2048, unitMagnitude 0". */
#include "load/hdr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "gateway/base/base64.h"
#include "gateway/base/json.h"

#define HALF 1024u /* slots of a bucket */
#define HALF_BITS 10u
#define BUCKETS 22u /* 2^(11+21) us are more than an hour */
#define SLOTS ((BUCKETS + 1) * HALF)
#define V2_COOKIE 0x1c849303u
#define V2_COMPRESSED_COOKIE 0x1c849304u
#define V2_HEADER 40u

struct hdr {
	uint64_t count, sum, max, min;
	uint64_t slot[SLOTS];
};

struct hdr *hdr_new(void)
{
	struct hdr *h = malloc(sizeof(*h));
	if (h)
		hdr_reset(h);
	return h;
}

void hdr_free(struct hdr *h)
{
	free(h);
}

void hdr_reset(struct hdr *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

static size_t index_of(uint64_t us)
{
	unsigned top = 63u - (unsigned)__builtin_clzll(us | (2 * HALF - 1));
	unsigned shift = top - HALF_BITS;
	return shift * HALF + (size_t)(us >> shift);
}

/* The highest value of a slot. */
static uint64_t value_of(size_t index)
{
	if (index < 2 * HALF)
		return index;
	unsigned shift = (unsigned)(index / HALF) - 1;
	uint64_t sub = index - (uint64_t)shift * HALF;
	return ((sub + 1) << shift) - 1;
}

void hdr_record(struct hdr *h, uint64_t us, uint64_t count)
{
	us = us > HDR_MAX_US ? HDR_MAX_US : us;
	h->slot[index_of(us)] += count;
	h->count += count;
	h->sum += us * count;
	h->max = us > h->max ? us : h->max;
	h->min = us < h->min ? us : h->min;
}

void hdr_add(struct hdr *into, const struct hdr *from)
{
	if (from->count == 0)
		return;
	size_t last = index_of(from->max);
	for (size_t i = index_of(from->min); i <= last; i++)
		into->slot[i] += from->slot[i];
	into->count += from->count;
	into->sum += from->sum;
	into->max = from->max > into->max ? from->max : into->max;
	into->min = from->min < into->min ? from->min : into->min;
}

uint64_t hdr_count(const struct hdr *h)
{
	return h->count;
}

uint64_t hdr_percentile(const struct hdr *h, double percentile)
{
	uint64_t wanted = (uint64_t)ceil(percentile / 100 * (double)h->count), seen = 0;
	if (h->count == 0)
		return 0;
	wanted = wanted < 1 ? 1 : wanted > h->count ? h->count : wanted;
	for (size_t i = 0; i < SLOTS; i++)
		if ((seen += h->slot[i]) >= wanted)
			return value_of(i) < h->max ? value_of(i) : h->max;
	return h->max;
}

uint64_t hdr_min(const struct hdr *h)
{
	return h->count ? h->min : 0;
}

uint64_t hdr_max(const struct hdr *h)
{
	return h->max;
}

double hdr_mean(const struct hdr *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

double hdr_deviation(const struct hdr *h)
{
	double mean = hdr_mean(h), total = 0;
	for (size_t i = 0; h->count && i < SLOTS; i++) {
		double away = (double)value_of(i) - mean;
		total += away * away * (double)h->slot[i];
	}
	return h->count ? sqrt(total / (double)h->count) : 0;
}

bool hdr_next(const struct hdr *h, size_t *at, uint64_t *value, uint64_t *count)
{
	while (*at < SLOTS && h->slot[*at] == 0)
		(*at)++;
	if (*at == SLOTS)
		return false;
	*value = value_of(*at);
	*count = h->slot[(*at)++];
	return true;
}

/* -- encoding: HdrHistogram V2, compressed -- */

static void put_be(uint8_t *at, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static uint64_t get_be(const uint8_t *at, int bytes)
{
	uint64_t v = 0;
	for (int i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

/* ZigZag LEB128 of at most 9 bytes: the ninth holds 8 bits. */
static size_t put_zigzag(uint8_t *at, int64_t v)
{
	uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
	size_t n = 0;
	for (; z > 0x7f && n < 8; z >>= 7)
		at[n++] = (uint8_t)(z | 0x80);
	at[n++] = (uint8_t)z;
	return n;
}

static size_t get_zigzag(const uint8_t *at, size_t len, int64_t *v)
{
	uint64_t z = 0;
	for (size_t n = 0; n < len && n < 9; n++) {
		z |= (uint64_t)(n == 8 ? at[n] : at[n] & 0x7f) << (7 * n);
		if (n == 8 || !(at[n] & 0x80)) {
			*v = (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
			return n + 1;
		}
	}
	return 0;
}

/* Counts, a run of zeros as its negative length. */
static size_t put_counts(const struct hdr *h, uint8_t *out)
{
	size_t n = 0, last = h->count ? index_of(h->max) : 0;
	for (size_t i = 0; i <= last && h->count; i++) {
		size_t zeros = 0;
		while (h->slot[i] == 0) {
			zeros++;
			i++;
		}
		if (zeros)
			n += put_zigzag(out + n, -(int64_t)zeros);
		n += put_zigzag(out + n, (int64_t)h->slot[i]);
	}
	return n;
}

char *hdr_encode(const struct hdr *h)
{
	uint8_t *plain = malloc(V2_HEADER + SLOTS * 9);
	uLong room = compressBound(V2_HEADER + SLOTS * 9);
	uint8_t *packed = malloc(room + 8);
	char *text = malloc(4 * ((room + 8 + 2) / 3) + 1);
	bool good = plain && packed && text;
	if (good) {
		size_t body = put_counts(h, plain + V2_HEADER);
		double one = 1;
		uint64_t bits;
		memcpy(&bits, &one, 8);
		put_be(plain, V2_COOKIE, 4);
		put_be(plain + 4, body, 4);
		put_be(plain + 8, 0, 4);  /* normalizing index offset */
		put_be(plain + 12, 3, 4); /* significant digits */
		put_be(plain + 16, 1, 8); /* lowest discernible value */
		put_be(plain + 24, HDR_MAX_US, 8);
		put_be(plain + 32, bits, 8); /* conversion ratio */
		good = compress2(packed + 8, &room, plain, V2_HEADER + body, 6) == Z_OK;
		put_be(packed, V2_COMPRESSED_COOKIE, 4);
		put_be(packed + 4, room, 4);
		if (good)
			text[base64_encode(text, packed, room + 8)] = '\0';
	}
	free(plain);
	free(packed);
	if (!good) {
		free(text);
		return NULL;
	}
	return text;
}

static size_t from_base64(const char *text, size_t len, uint8_t *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	size_t n = 0, have = 0;
	for (size_t i = 0; i < len && text[i] != '='; i++) {
		const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
		if (!digit)
			return 0;
		bits = bits << 6 | (uint32_t)(digit - digits);
		if ((have += 6) >= 8)
			out[n++] = (uint8_t)(bits >> (have -= 8));
	}
	return n;
}

static bool take_counts(struct hdr *h, const uint8_t *at, size_t len)
{
	size_t index = 0;
	while (len > 0) {
		int64_t v;
		size_t n = get_zigzag(at, len, &v);
		if (n == 0 || (v < 0 && (uint64_t)-v > SLOTS))
			return false;
		at += n;
		len -= n;
		if (v < 0) {
			index += (size_t)-v;
			continue;
		}
		if (index >= SLOTS)
			return false;
		if (v > 0)
			hdr_record(h, value_of(index), (uint64_t)v);
		index++;
	}
	return true;
}

struct hdr *hdr_decode(const char *text, size_t len)
{
	uint8_t *packed = malloc(len + 4), *plain = malloc(V2_HEADER + SLOTS * 9);
	struct hdr *h = hdr_new();
	uLongf size = V2_HEADER + SLOTS * 9;
	bool good = packed && plain && h;
	size_t n = good ? from_base64(text, len, packed) : 0;
	good = good && n > 8 && get_be(packed, 4) == V2_COMPRESSED_COOKIE && get_be(packed + 4, 4) <= n - 8 &&
	       uncompress(plain, &size, packed + 8, (uLong)get_be(packed + 4, 4)) == Z_OK && size >= V2_HEADER &&
	       get_be(plain, 4) == V2_COOKIE && get_be(plain + 12, 4) == 3 && get_be(plain + 16, 8) == 1 &&
	       get_be(plain + 4, 4) <= size - V2_HEADER &&
	       take_counts(h, plain + V2_HEADER, (size_t)get_be(plain + 4, 4));
	free(packed);
	free(plain);
	if (!good) {
		hdr_free(h);
		return NULL;
	}
	return h;
}
