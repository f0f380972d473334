/* Writes CoAP messages byte by byte, well-formed or not, for tests; independent of the product's own encoder. */
#ifndef SLUICE_TEST_UNIT_PROTOCOLS_COAP_COAP_BYTES_H
#define SLUICE_TEST_UNIT_PROTOCOLS_COAP_COAP_BYTES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct coap_bytes {
	uint8_t at[70000];
	size_t len;
	unsigned number; /* of the last option */
};

enum { CON = 0, NON = 1, ACK = 2, RST = 3 };

static inline void bytes_begin(struct coap_bytes *b, int type, int code, unsigned id, const char *token)
{
	size_t token_len = strlen(token);
	b->at[0] = (uint8_t)(0x40 | type << 4 | (int)token_len);
	b->at[1] = (uint8_t)code;
	b->at[2] = (uint8_t)(id >> 8);
	b->at[3] = (uint8_t)id;
	memcpy(b->at + 4, token, token_len);
	b->len = 4 + token_len;
	b->number = 0;
}

static inline unsigned bytes_nibble(uint8_t **more, unsigned n)
{
	if (n < 13)
		return n;
	if (n < 269) {
		*(*more)++ = (uint8_t)(n - 13);
		return 13;
	}
	*(*more)++ = (uint8_t)((n - 269) >> 8);
	*(*more)++ = (uint8_t)(n - 269);
	return 14;
}

static inline void bytes_option(struct coap_bytes *b, unsigned number, const void *value, size_t len)
{
	uint8_t *head = b->at + b->len, *more = head + 1;
	assert(number >= b->number && b->len + len + 6 < sizeof(b->at));
	unsigned delta = bytes_nibble(&more, number - b->number);
	unsigned length = bytes_nibble(&more, (unsigned)len);
	*head = (uint8_t)(delta << 4 | length);
	memcpy(more, value, len);
	b->len = (size_t)(more - b->at) + len;
	b->number = number;
}

static inline void bytes_text(struct coap_bytes *b, unsigned number, const char *text)
{
	bytes_option(b, number, text, strlen(text));
}

static inline void bytes_uint(struct coap_bytes *b, unsigned number, uint32_t value)
{
	uint8_t v[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
	size_t skip = 0;
	while (skip < 4 && v[skip] == 0)
		skip++;
	bytes_option(b, number, v + skip, 4 - skip);
}

/* "/t/dev/a" as Uri-Path options. */
static inline void bytes_path(struct coap_bytes *b, const char *path)
{
	while (*path == '/') {
		const char *end = strchr(path + 1, '/');
		size_t len = end ? (size_t)(end - path - 1) : strlen(path + 1);
		bytes_option(b, 11, path + 1, len);
		path += 1 + len;
	}
}

static inline void bytes_payload(struct coap_bytes *b, const void *payload, size_t len)
{
	b->at[b->len++] = 0xff;
	assert(b->len + len <= sizeof(b->at));
	memcpy(b->at + b->len, payload, len);
	b->len += len;
}

/* A whole request; format -1: none; payload NULL: none. */
static inline void bytes_request(struct coap_bytes *b, int type, int code, unsigned id, const char *token,
                                 const char *path, int format, const char *payload)
{
	bytes_begin(b, type, code, id, token);
	bytes_path(b, path);
	if (format >= 0)
		bytes_uint(b, 12, (uint32_t)format);
	if (payload)
		bytes_payload(b, payload, strlen(payload));
}

#endif
