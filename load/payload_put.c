/* Putting messages together; see payload.h. */
#include <string.h>

#include "load/payload.h"
#include "load/payload_parts.h"

static size_t digit_count(uint64_t v)
{
	static const uint64_t tens[] = {10u,
	                                100u,
	                                1000u,
	                                10000u,
	                                100000u,
	                                1000000u,
	                                10000000u,
	                                100000000u,
	                                1000000000u,
	                                10000000000u,
	                                100000000000u,
	                                1000000000000u,
	                                10000000000000u,
	                                100000000000000u,
	                                1000000000000000u,
	                                10000000000000000u,
	                                100000000000000000u,
	                                1000000000000000000u,
	                                10000000000000000000u};
	size_t n = 0;
	while (n < sizeof(tens) / sizeof(tens[0]) && v >= tens[n])
		n++;
	return n + 1;
}

size_t payload_digits(uint8_t *out, uint64_t v)
{
	static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
	                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
	                            "8081828384858687888990919293949596979899";
	size_t len = digit_count(v);
	uint8_t *at = out + len; /* in place: put together elsewhere, the copy would wait for the bytes to be written */
	while (v >= 100) {
		at -= 2;
		memcpy(at, pairs + v % 100 * 2, 2);
		v /= 100;
	}
	if (v >= 10)
		memcpy(at - 2, pairs + v * 2, 2);
	else
		at[-1] = (uint8_t)('0' + v);
	return len;
}

static uint8_t *put_n(uint8_t *out, uint64_t n)
{
	for (uint64_t tens = 100000; tens > n && tens > 1; tens /= 10)
		*out++ = '0';
	return out + payload_digits(out, n);
}

static size_t size_wanted(const struct payload *p, const struct payload_facts *f)
{
	if (p->size_count == 1)
		return p->sizes[0];
	uint64_t r = payload_mix(payload_mix(p->seed ^ (f->n + 1)) + f->seq * UINT64_C(0x9e3779b97f4a7c15));
	return p->size_range ? p->sizes[0] + r % (p->sizes[1] - p->sizes[0] + 1u) : p->sizes[r % p->size_count];
}

static uint8_t *put_padding(const struct payload *p, const struct payload_facts *f, uint8_t *start, uint8_t *out)
{
	size_t wanted = size_wanted(p, f), have = (size_t)(out - start);
	if (p->pad == PAD_RAW) {
		size_t more = wanted > have ? wanted - have : 0;
		memset(out, 'x', more);
		return out + more;
	}
	if (wanted >= have + 10) {
		memcpy(out, ",\"pad\":\"", 8);
		memset(out + 8, 'x', wanted - have - 10);
		out += wanted - have - 2;
		*out++ = '"';
	}
	*out++ = '}';
	return out;
}

/* Copies len bytes, and up to PAYLOAD_SLACK - 1 more. */
static inline uint8_t *put_bytes(uint8_t *out, const void *from, size_t len)
{
	const uint8_t *bytes = from;
	for (size_t at = 0; at < len; at += PAYLOAD_SLACK)
		memcpy(out + at, bytes + at, PAYLOAD_SLACK);
	return out + len;
}

size_t payload_put(const struct payload *p, const struct payload_facts *f, uint8_t *out)
{
	uint8_t *start = out;
	for (const struct payload_part *part = p->parts, *end = part + p->part_count; part < end; part++)
		switch (part->kind) {
		case PART_PLAIN: out = put_bytes(out, part->bytes, part->len); break;
		case PART_VARIED: {
			/* forth and back, so that one step never leads from the end of a walk to its beginning */
			uint32_t v = (uint32_t)(f->n * 97 + f->seq) & (2 * part->variants - 1);
			v = v < part->variants ? v : 2 * part->variants - 1 - v;
			out = put_bytes(out, part->pool + part->starts[v], part->starts[v + 1] - part->starts[v]);
			break;
		}
		case PART_DEVICE: out = put_bytes(out, f->device, f->device_len); break;
		case PART_TIME: out = put_bytes(out, f->time, f->time_len); break;
		case PART_SEQ: out += payload_digits(out, f->seq); break;
		case PART_CONNECTION: out += payload_digits(out, f->connection); break;
		case PART_N: out = put_n(out, f->n); break;
		}
	if (p->pad != PAD_NONE)
		out = put_padding(p, f, start, out);
	return (size_t)(out - start);
}

size_t payload_max(const struct payload *p, size_t device_max)
{
	size_t most = p->longest + 32 + PAYLOAD_SLACK, pad = 0;
	for (unsigned i = 0; i < p->part_count; i++)
		most += p->parts[i].kind == PART_DEVICE ? device_max : p->parts[i].kind == PART_TIME ? 32 : 20;
	for (unsigned i = 0; i < p->size_count; i++)
		pad = p->sizes[i] > pad ? p->sizes[i] : pad;
	return most + pad;
}

bool payload_is_json(const struct payload *p)
{
	return p->json;
}
