#include "protocols/coap/coap_message.h"

#include <assert.h>
#include <coap3/coap.h>
#include <stdio.h>
#include <string.h>

#define HEADER 4u
#define PAYLOAD_MARKER 0xffu

static_assert(sizeof(coap_opt_t) == 1, "options are parsed in place");

/* -- parsing -- */

enum coap_parsed coap_message_header(struct coap_message *m, const uint8_t *bytes, size_t len)
{
	if (len < HEADER || bytes[0] >> 6 != 1)
		return COAP_FOREIGN;
	m->type = bytes[0] >> 4 & 3;
	m->code = bytes[1];
	m->id = (uint16_t)(bytes[2] << 8 | bytes[3]);
	m->token_len = bytes[0] & 15;
	m->token = bytes + HEADER;
	if (m->token_len > COAP_TOKEN_MAX || len - HEADER < m->token_len)
		return COAP_MALFORMED;
	m->rest = m->token + m->token_len;
	m->rest_len = len - HEADER - m->token_len;
	if (m->code == COAP_EMPTY && len > HEADER) /* RFC 7252 section 4.1 */
		return COAP_MALFORMED;
	return COAP_PARSED;
}

static void demand(struct coap_message *m, uint8_t code, const char *text)
{
	if (m->refusal == COAP_EMPTY) {
		m->refusal = code;
		m->refusal_text = text;
	}
}

/* Unsigned integers have 0 to 4 bytes; leading zeros are allowed to a reader, RFC 7252 section 3.2. */
static uint32_t uint_value(const coap_option_t *o)
{
	uint32_t n = 0;
	for (size_t i = 0; i < o->length; i++)
		n = n << 8 | o->value[i];
	return n;
}

static bool block_value(struct coap_message *m, const coap_option_t *o, struct coap_block_option *b)
{
	if (o->length > 3)
		return false;
	uint32_t n = uint_value(o);
	b->number = n >> 4;
	b->more = n >> 3 & 1;
	b->exponent = n & 7;
	if (b->exponent == 7)
		demand(m, COAP_BAD_REQUEST, "reserved block size");
	return true;
}

static bool path_segment(struct coap_message *m, const coap_option_t *o)
{
	const char *text = (const char *)o->value; /* nothing may be there to look at */
	if (o->length > 255)
		return false;
	if (m->path_count == COAP_SEGMENTS_MAX) {
		demand(m, COAP_BAD_REQUEST, "path too deep");
		return true;
	}
	if ((o->length == 1 && text[0] == '.') ||
	    (o->length == 2 && memcmp(text, "..", 2) == 0)) /* RFC 7252 section 5.10.1 */
		demand(m, COAP_BAD_REQUEST, "dot segment in path");
	m->path[m->path_count++] = (struct coap_segment){text, o->length};
	return true;
}

static bool request_tag(struct coap_message *m, const coap_option_t *o)
{
	if (o->length > 8)
		return false;
	if (m->tag_len + 1 + o->length > COAP_TAG_MAX) {
		demand(m, COAP_BAD_REQUEST, "too many Request-Tags");
		return true;
	}
	m->tag[m->tag_len++] = (uint8_t)o->length;
	memcpy(m->tag + m->tag_len, o->value, o->length);
	m->tag_len = (uint8_t)(m->tag_len + o->length);
	return true;
}

/* option_value takes the value of an option that we know; false: its length is not allowed, or we do not know it. */
static bool option_value(struct coap_message *m, unsigned number, const coap_option_t *o)
{
	struct coap_block_option block2;
	switch (number) {
	case COAP_OPTION_URI_PATH: return path_segment(m, o);
	case COAP_OPTION_CONTENT_FORMAT:
		if (o->length > 2)
			return false;
		m->format = (int32_t)uint_value(o);
		return true;
	case COAP_OPTION_ACCEPT:
		if (o->length > 2)
			return false;
		m->accept = (int32_t)uint_value(o);
		return true;
	case COAP_OPTION_URI_HOST: /* one host is served: its name and port say nothing to us */
		return o->length >= 1 && o->length <= 255;
	case COAP_OPTION_URI_PORT: return o->length <= 2;
	case COAP_OPTION_URI_QUERY: /* no resource of ours takes one */ return o->length <= 255;
	case COAP_OPTION_BLOCK1: m->has_block1 = block_value(m, o, &m->block1); return m->has_block1;
	case COAP_OPTION_BLOCK2: /* answers fit their first block; later ones do not exist */
		if (!block_value(m, o, &block2))
			return false;
		if (block2.number != 0)
			demand(m, COAP_BAD_REQUEST, "no such block");
		return true;
	case COAP_OPTION_SIZE1:
		m->has_size1 = o->length <= 4;
		m->size1 = m->has_size1 ? uint_value(o) : 0;
		return m->has_size1;
	case COAP_OPTION_PROXY_URI:
	case COAP_OPTION_PROXY_SCHEME: demand(m, COAP_NO_PROXY, NULL); return true;
	case 258: /* No-Response, RFC 7967; libcoap 4.3.1 and 4.3.4 spell its name differently */
		if (o->length > 1)
			return false;
		m->no_response = (uint8_t)uint_value(o);
		return true;
	case 292: /* Request-Tag, RFC 9175 */ return request_tag(m, o);
	default: return false;
	}
}

static bool repeatable(unsigned number)
{
	return number == COAP_OPTION_URI_PATH || number == COAP_OPTION_URI_QUERY || number == 292;
}

/* RFC 7252 sections 5.4.1, 5.4.3 and 5.4.5: unknown, of a wrong length, or once too often are the same: an elective
 * option (even number) is ignored, a critical one refused. */
static void option_take(struct coap_message *m, unsigned number, bool again, const coap_option_t *o)
{
	if ((again && !repeatable(number)) || !option_value(m, number, o))
		if (number & 1)
			demand(m, COAP_BAD_OPTION, "critical option not supported");
}

enum coap_parsed coap_message_options(struct coap_message *m)
{
	m->path_count = 0;
	m->format = m->accept = -1;
	m->has_block1 = m->has_size1 = false;
	m->no_response = 0;
	m->tag_len = 0;
	m->payload_len = 0;
	m->refusal = COAP_EMPTY;
	m->refusal_text = NULL;

	const uint8_t *p = m->rest, *end = p + m->rest_len;
	unsigned number = 0;
	while (p < end && *p != PAYLOAD_MARKER) {
		coap_option_t o;
		size_t used = coap_opt_parse(p, (size_t)(end - p), &o);
		/* A delta of two bytes that goes beyond 65535 wraps in libcoap's 16 bits and comes out below 269. */
		if (used == 0 || (*p >> 4 == 14 && o.delta < 269) || number + o.delta > UINT16_MAX)
			return COAP_MALFORMED;
		option_take(m, number + o.delta, o.delta == 0 && p != m->rest, &o);
		number += o.delta;
		p += used;
	}
	m->payload = end;
	if (p == end)
		return COAP_PARSED;
	if (++p == end) /* a marker and nothing behind it, RFC 7252 section 3 */
		return COAP_MALFORMED;
	m->payload = p;
	m->payload_len = (size_t)(end - p);
	return COAP_PARSED;
}

/* -- encoding -- */

struct writer {
	uint8_t *at;
	unsigned number; /* of the last option */
};

/* Our options have numbers that differ by less than 269, and values of at most 4 bytes. */
static void write_option(struct writer *w, unsigned number, uint32_t value)
{
	unsigned delta = number - w->number, len = 0;
	w->number = number;
	while (len < 4 && value >> (8 * len) != 0)
		len++;
	assert(delta < 269);
	*w->at++ = (uint8_t)((delta < 13 ? delta : 13) << 4 | len);
	if (delta >= 13)
		*w->at++ = (uint8_t)(delta - 13);
	for (unsigned i = len; i > 0; i--)
		*w->at++ = (uint8_t)(value >> (8 * (i - 1)));
}

static size_t write_header(uint8_t *out, enum coap_type type, uint8_t code, uint16_t id, size_t token_len)
{
	out[0] = (uint8_t)(1u << 6 | (unsigned)type << 4 | (unsigned)token_len);
	out[1] = code;
	out[2] = (uint8_t)(id >> 8);
	out[3] = (uint8_t)id;
	return HEADER;
}

static void write_payload(struct writer *w, const struct coap_answer *a, uint8_t *end)
{
	char text[128];
	int len = a->has_offset ? snprintf(text, sizeof(text), "%.100s at byte %u", a->text, (unsigned)a->offset)
	                        : snprintf(text, sizeof(text), "%.120s", a->text);
	assert(len > 0 && (size_t)len < sizeof(text));
	if (end - w->at < len + 1)
		return;
	*w->at++ = PAYLOAD_MARKER;
	memcpy(w->at, text, (size_t)len);
	w->at += len;
}

size_t coap_answer_encode(uint8_t out[COAP_ANSWER_MAX], const struct coap_layer *l, const struct coap_answer *a,
                          size_t most)
{
	assert(l->token_len <= COAP_TOKEN_MAX);
	struct writer w = {.at = out + write_header(out, l->type, a->code, l->id, l->token_len)};
	memcpy(w.at, l->token, l->token_len);
	w.at += l->token_len;
	if (a->has_format)
		write_option(&w, COAP_OPTION_CONTENT_FORMAT, a->format);
	if (a->has_max_age)
		write_option(&w, COAP_OPTION_MAXAGE, a->max_age);
	if (a->has_block1)
		write_option(&w, COAP_OPTION_BLOCK1,
		             a->block1.number << 4 | (uint32_t)a->block1.more << 3 | a->block1.exponent);
	if (a->has_size1)
		write_option(&w, COAP_OPTION_SIZE1, a->size1);
	if (a->text)
		write_payload(&w, a, out + (most < COAP_ANSWER_MAX ? most : COAP_ANSWER_MAX));
	return (size_t)(w.at - out);
}

size_t coap_empty_encode(uint8_t out[COAP_ANSWER_MAX], enum coap_type type, uint16_t id)
{
	return write_header(out, type, COAP_EMPTY, id, 0);
}
