/* Unpacking a compressed body, with a cap: gzip (RFC 1952, several members in a row too) and deflate, which HTTP means
 * as zlib's format (RFC 9110 section 8.4.1.2). One struct unpack per thread; its state and output are made once and
 * used again. */
#ifndef SLUICE_PROTOCOLS_HTTP_UNPACK_H
#define SLUICE_PROTOCOLS_HTTP_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "gateway/base/error.h"

struct unpack {
	z_stream z;
	bool ready;
	uint8_t *out; /* owned */
	size_t room;
};

struct unpack_input {
	bool gzip; /* else deflate */
	const void *bytes;
	size_t len;
};

/* unpack_body unpacks all of in.
 *   max  bytes that the output may have; memory grows with what really comes out, at most to max
 *   out  set on GW_OK; belongs to u and is valid until the next call or unpack_trim
 * GW_OK | GW_INVALID (not that format, cut, or bytes behind its end) | GW_TOOBIG (more than max) | GW_NOMEM. */
enum gw_err unpack_body(struct unpack *u, const struct unpack_input *in, size_t max, const uint8_t **out,
                        size_t *out_len);
/* unpack_trim gives memory of an unusually large body back. */
void unpack_trim(struct unpack *u);
void unpack_fini(struct unpack *u);

#endif
