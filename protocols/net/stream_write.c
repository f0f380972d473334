/* Writing of a stream connection: answers gather in one buffer, leave in one call per turn, and the buffer goes back to
 * a small pool. */
#include "protocols/net/stream_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

size_t stream_conn_output(const struct stream_conn *c)
{
	return c->out_len - c->out_at;
}

static uint8_t *pool_take(struct stream *s)
{
	void *b = s->pool;
	if (!b)
		return malloc(OUTPUT_FIRST);
	memcpy(&s->pool, b, sizeof(s->pool));
	s->pooled--;
	return b;
}

void stream_conn_output_free(struct stream_conn *c)
{
	struct stream *s = c->stream;
	if (c->out_cap == OUTPUT_FIRST && s->pooled < OUTPUT_POOL) {
		memcpy(c->out, &s->pool, sizeof(s->pool));
		s->pool = c->out;
		s->pooled++;
	} else {
		free(c->out);
	}
	c->out = NULL;
	c->out_cap = c->out_at = c->out_len = 0;
}

static bool output_room(struct stream_conn *c, size_t len)
{
	size_t need = c->out_len + len;
	if (need <= c->out_cap)
		return true;
	if (stream_conn_output(c) + len > c->stream->settings->max_output + OUTPUT_SLACK)
		return false;
	if (!c->out && len <= OUTPUT_FIRST) {
		c->out = pool_take(c->stream);
		c->out_cap = c->out ? OUTPUT_FIRST : 0;
		return c->out != NULL;
	}
	if (c->out && c->out_at > 0) {
		memmove(c->out, c->out + c->out_at, stream_conn_output(c));
		c->out_len -= c->out_at;
		c->out_at = 0;
		return output_room(c, len);
	}
	size_t cap = need > 2 * (size_t)c->out_cap ? need : 2 * (size_t)c->out_cap;
	uint8_t *to = realloc(c->out, cap);
	if (!to)
		return false;
	c->out = to;
	c->out_cap = (uint32_t)cap;
	return true;
}

void stream_write(struct stream_conn *c, const void *bytes, size_t len)
{
	if (c->state >= CONN_LINGERING || c->broken || len == 0)
		return;
	if (!output_room(c, len)) {
		c->broken = true;
	} else {
		memcpy(c->out + c->out_len, bytes, len);
		c->out_len += (uint32_t)len;
	}
	stream_conn_mark_dirty(c);
}

bool stream_unwrite(struct stream_conn *c, size_t len)
{
	if (len > stream_conn_output(c))
		return false;
	c->out_len -= (uint32_t)len;
	return true;
}

bool stream_conn_send(struct stream_conn *c)
{
	if (c->write_blocked)
		return true;
	while (stream_conn_output(c) > 0) {
		ssize_t n = send(stream_conn_fd(c), c->out + c->out_at, stream_conn_output(c), MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
			return false;
		if (n < 0) {
			c->write_blocked = true;
			return true;
		}
		stat_add(&c->stream->stats->network_out, (uint64_t)n);
		c->out_at += (uint32_t)n;
	}
	if (c->out)
		stream_conn_output_free(c);
	return true;
}
