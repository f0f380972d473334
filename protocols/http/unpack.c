/* Unpacking bodies; see unpack.h. */
#include "protocols/http/unpack.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#define ROOM_FIRST (16u << 10)
#define ROOM_KEPT (256u << 10)
#define WINDOW 15 /* the largest; +16 tells zlib to expect gzip, minus that there is no wrapping */

/* "deflate" is the zlib format (RFC 9110 section 8.4.1.2), and some clients send the bare stream: told by the two bytes
 * that begin the former (RFC 1950 section 2.2), which no encoder of the latter writes. */
static int window_of(const struct unpack_input *in)
{
	const uint8_t *head = in->bytes;
	if (in->gzip)
		return WINDOW + 16;
	bool zlib = in->len < 2 || ((head[0] & 0x0f) == 8 && (head[0] * 256 + head[1]) % 31 == 0);
	return zlib ? WINDOW : -WINDOW;
}

static enum gw_err prepare(struct unpack *u, int window)
{
	int rc = u->ready ? inflateReset2(&u->z, window) : inflateInit2(&u->z, window);
	if (rc != Z_OK)
		return GW_NOMEM;
	u->ready = true;
	return GW_OK;
}

/* One byte more than max may come out: it tells that there would have been more. */
static enum gw_err grow(struct unpack *u, size_t max)
{
	size_t room = u->room ? u->room * 2 : ROOM_FIRST;
	if (room > max + 1)
		room = max + 1;
	assert(room > u->room); /* full, and not yet past max */
	uint8_t *more = realloc(u->out, room);
	if (!more)
		return GW_NOMEM;
	u->out = more;
	u->room = room;
	return GW_OK;
}

/* Zeros behind the end, as of a client that rounds up to its buffer or block; gzip(1) ignores them, too. */
static bool is_padding(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

enum gw_err unpack_body(struct unpack *u, const struct unpack_input *in, size_t max, const uint8_t **out,
                        size_t *out_len)
{
	assert(in->len < UINT_MAX && max < UINT_MAX);
	enum gw_err err = prepare(u, window_of(in));
	if (err)
		return err;
	size_t used = 0;
	u->z.next_in = (Bytef *)(uintptr_t)in->bytes;
	u->z.avail_in = (uInt)in->len;
	for (;;) {
		if (used > max)
			return GW_TOOBIG;
		if (used == u->room && (err = grow(u, max)))
			return err;
		size_t room = u->room < max + 1 ? u->room : max + 1;
		u->z.next_out = u->out + used;
		u->z.avail_out = (uInt)(room - used);
		int rc = inflate(&u->z, Z_NO_FLUSH);
		used = room - u->z.avail_out;
		if (rc == Z_STREAM_END) {
			if (used <= max && is_padding(u->z.next_in, u->z.avail_in))
				break;
			if (used > max)
				return GW_TOOBIG;
			if (!in->gzip || inflateReset(&u->z) != Z_OK)
				return GW_INVALID;
		} else if (rc == Z_MEM_ERROR) {
			return GW_NOMEM;
		} else if (rc != Z_OK && rc != Z_BUF_ERROR) {
			return GW_INVALID;
		} else if (u->z.avail_out > 0) {
			return GW_INVALID; /* it wants more input than there is */
		}
	}
	*out = u->out;
	*out_len = used;
	return GW_OK;
}

void unpack_trim(struct unpack *u)
{
	if (u->room <= ROOM_KEPT)
		return;
	free(u->out);
	u->out = NULL;
	u->room = 0;
}

void unpack_fini(struct unpack *u)
{
	if (u->ready)
		inflateEnd(&u->z);
	free(u->out);
	*u = (struct unpack){.ready = false};
}
