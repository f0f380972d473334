/* Encoding and decoding of entries; the layout is in record.h. */
#include "gateway/journal/record.h"

#include <assert.h>

#include "gateway/base/bytes.h"
#include "gateway/base/json.h"

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)v);
	put16(p + 2, (uint16_t)(v >> 16));
}

static void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)v);
	put32(p + 4, (uint32_t)(v >> 32));
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)record_size(p) | (uint64_t)record_size(p + 4) << 32;
}

void record_read(struct record *r, const uint8_t *entry)
{
	r->size = record_size(entry);
	r->kind = entry[4];
	r->flags = entry[5];
	r->id_at = get16(entry + 6);
	r->time_us = (int64_t)get64(entry + 8);
	r->json_len = record_size(entry + 16);
	r->device_at = get16(entry + 20);
	r->device_len = get16(entry + 22);
	r->received_us = (int64_t)get64(entry + 24);
}

void record_write_head(struct record *r, uint8_t *entry)
{
	size_t size = (RECORD_HEADER + (size_t)r->json_len + 7) & ~(size_t)7;
	assert(size <= RECORD_MAX);
	r->size = (uint32_t)size;
	put32(entry, r->size);
	entry[4] = r->kind;
	entry[5] = r->flags;
	put16(entry + 6, r->id_at);
	put64(entry + 8, (uint64_t)r->time_us);
	put32(entry + 16, r->json_len);
	put16(entry + 20, r->device_at);
	put16(entry + 22, r->device_len);
	put64(entry + 24, (uint64_t)r->received_us);
}

void record_write(struct record *r, uint8_t *entry)
{
	record_write_head(r, entry);
	size_t size = r->size, end = RECORD_HEADER + (size_t)r->json_len;
	/* The last eight bytes as a whole: a call for none to seven bytes would cost more than all of the above. */
	uint64_t last = get64(entry + size - 8);
	unsigned bits = 8 * (unsigned)(size - end);
	put64(entry + size - 8, bits ? last << bits >> bits : last);
}

size_t record_state_size(const struct state_change *c)
{
	return (STATE_HEADER + c->scope.len + c->group.len + c->member.len + c->value.len + 7) & ~(size_t)7;
}

uint8_t *record_state_put_text(uint8_t *at, const struct state_text *t)
{
	if (t->len > 0)
		memcpy(at, t->bytes, t->len);
	return at + t->len;
}

void record_state_write(const struct state_change *c, uint8_t *out)
{
	size_t size = record_state_size(c);
	assert(c->scope.len <= UINT8_MAX && c->group.len <= UINT16_MAX && c->member.len <= UINT16_MAX &&
	       c->value.len <= STATE_VALUE_MAX);
	bytes_put(out, size, 4);
	out[4] = (uint8_t)c->op;
	out[5] = (uint8_t)c->scope.len;
	bytes_put(out + 6, c->group.len, 2);
	bytes_put(out + 8, c->member.len, 2);
	bytes_put(out + 10, c->value.len, 2);
	bytes_put(out + 12, 0, 4);
	bytes_put(out + 16, (uint64_t)c->expires_us, 8);
	uint8_t *at = record_state_put_text(out + STATE_HEADER, &c->scope);
	at = record_state_put_text(at, &c->group);
	at = record_state_put_text(at, &c->member);
	at = record_state_put_text(at, &c->value);
	memset(at, 0, (size_t)(out + size - at));
}

size_t record_state_read(struct state_change *c, const uint8_t *bytes, size_t len)
{
	if (len < STATE_HEADER)
		return 0;
	size_t size = (size_t)bytes_get(bytes, 4);
	c->op = (enum state_op)bytes[4];
	c->scope.len = bytes[5];
	c->group.len = (size_t)bytes_get(bytes + 6, 2);
	c->member.len = (size_t)bytes_get(bytes + 8, 2);
	c->value.len = (size_t)bytes_get(bytes + 10, 2);
	c->expires_us = (int64_t)bytes_get(bytes + 16, 8);
	c->scope.bytes = bytes + STATE_HEADER;
	c->group.bytes = bytes + STATE_HEADER + c->scope.len;
	c->member.bytes = (const uint8_t *)c->group.bytes + c->group.len;
	c->value.bytes = (const uint8_t *)c->member.bytes + c->member.len;
	return size == record_state_size(c) && size <= len ? size : 0;
}

bool record_state_check(const uint8_t *bytes, size_t len)
{
	struct state_change c;
	while (len > 0) {
		size_t size = record_state_read(&c, bytes, len);
		if (size == 0)
			return false;
		bytes += size;
		len -= size;
	}
	return true;
}

size_t record_state_of(const uint8_t *entry, const uint8_t **changes)
{
	struct record r;
	record_read(&r, entry);
	if (r.kind == RECORD_STATE) {
		*changes = entry + RECORD_HEADER;
		return r.json_len & ~7u;
	}
	if ((r.flags & RECORD_HAS_STATE) == 0)
		return 0;
	size_t at = (RECORD_HEADER + (size_t)r.json_len + 7) & ~(size_t)7;
	*changes = entry + at;
	return r.size - at;
}

size_t record_attach(uint8_t *entry, const struct state_change *c)
{
	size_t size = record_size(entry);
	record_state_write(c, entry + size);
	if (c->id_at > 0)
		memcpy(entry + size + STATE_HEADER + c->scope.len + c->group.len + c->member.len + c->id_at,
		       record_id(entry), RECORD_ID_LEN);
	size += record_state_size(c);
	assert(size <= RECORD_MAX);
	put32(entry, (uint32_t)size);
	entry[5] |= RECORD_HAS_STATE;
	return size;
}

size_t record_write_state(uint8_t *entry, const struct state_change *c)
{
	struct record r = {.kind = RECORD_STATE, .json_len = (uint32_t)record_state_size(c)};
	record_state_write(c, entry + RECORD_HEADER);
	record_write(&r, entry);
	return r.size;
}

int record_check(const uint8_t *entry, size_t room)
{
	if (room < RECORD_HEADER)
		return 0;
	struct record r;
	record_read(&r, entry);
	if (r.size % 8 != 0 || r.size < RECORD_HEADER || r.size > room || r.size > RECORD_MAX || r.kind == RECORD_PAD ||
	    r.json_len > r.size - RECORD_HEADER)
		return 0;
	if (r.kind == RECORD_STATE)
		return r.json_len == r.size - RECORD_HEADER && record_state_check(entry + RECORD_HEADER, r.json_len);
	if ((size_t)r.id_at + RECORD_ID_LEN > r.json_len || (size_t)r.device_at + r.device_len > r.json_len)
		return 0;
	if ((r.flags & RECORD_HAS_STATE) == 0)
		return r.size - RECORD_HEADER - r.json_len < 8;
	const uint8_t *changes;
	size_t len = record_state_of(entry, &changes);
	return len < r.size && record_state_check(changes, len);
}

size_t record_device(char out[DEVICE_MAX], const uint8_t *entry)
{
	struct record r;
	record_read(&r, entry);
	const char *text = record_json(entry) + r.device_at;
	/* An identifier of DEVICE_MAX bytes may be longer than that only by its escapes, and unescaping takes those
	 * away again. */
	if (r.flags & RECORD_DEVICE_ESCAPED)
		return json_unescape(out, text, r.device_len);
	assert(r.device_len <= DEVICE_MAX);
	memcpy(out, text, r.device_len);
	return r.device_len;
}

const char *record_id(const uint8_t *entry)
{
	return record_json(entry) + get16(entry + 6);
}
