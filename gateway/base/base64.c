/* Base64 (RFC 4648 section 4) for payloads that are neither JSON nor text. */
#include "gateway/base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Writes four characters for the lowest 24 bits of v. */
static void encode_group(char *out, uint32_t v)
{
	out[0] = alphabet[v >> 18 & 63];
	out[1] = alphabet[v >> 12 & 63];
	out[2] = alphabet[v >> 6 & 63];
	out[3] = alphabet[v & 63];
}

size_t base64_encode(char *out, const void *data, size_t len)
{
	const uint8_t *p = data;
	char *at = out;
	for (; len >= 3; len -= 3, p += 3, at += 4)
		encode_group(at, (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]);
	if (len > 0) {
		encode_group(at, (uint32_t)p[0] << 16 | (len == 2 ? (uint32_t)p[1] << 8 : 0));
		at[3] = '=';
		if (len == 1)
			at[2] = '=';
		at += 4;
	}
	return (size_t)(at - out);
}
