/* Unpacking bodies; see unpack.h. */
#include "protocols/http/unpack.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#define ROOM_FIRST (16u << 10)
#define ROOM_KEPT (256u << 10)
#define WINDOW 15 /* the largest; +16 tells zlib to expect gzip */

static enum gw_err prepare(struct unpack *u, bool gzip)
{
	int window = WINDOW + (gzip ? 16 : 0);
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

enum gw_err unpack_body(struct unpack *u, const struct unpack_input *in, size_t max, const uint8_t **out,
                        size_t *out_len)
{
	assert(in->len < UINT_MAX && max < UINT_MAX);
	enum gw_err err = prepare(u, in->gzip);
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
			if (u->z.avail_in == 0 && used <= max)
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
