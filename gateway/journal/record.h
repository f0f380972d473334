/* A record: one telemetry message in the form that lanes, journal and sinks share. docs/record.md describes the JSON.
 *
 * An entry, little-endian, at an address that is a multiple of 8:
 *	 0  u32  size        bytes of the whole entry, a multiple of 8
 *	 4  u8   kind        enum record_kind
 *	 5  u8   flags       RECORD_*
 *	 6  u16  id_at       offset of the 26 characters of the id in the JSON
 *	 8  i64  time_us     @timestamp, microseconds since 1970-01-01T00:00:00Z
 *	16  u32  json_len    bytes of JSON
 *	20  u16  device_at   offset of the device identifier (inside its quotes) in the JSON
 *	22  u16  device_len  its bytes, as they stand in the JSON (escaped if RECORD_DEVICE_ESCAPED)
 *	24  u64  received_us time of receipt, microseconds since the epoch
 *	32  json_len bytes of JSON, one line without its newline, then zeros up to size
 * With RECORD_HAS_STATE changes of state follow behind those zeros, which then end at a multiple of 8; an entry of
 * RECORD_STATE has changes instead of JSON. Readers skip entries of a kind that they do not know. Any thread; entries are constant once published. */
#ifndef SLUICE_GATEWAY_JOURNAL_RECORD_H
#define SLUICE_GATEWAY_JOURNAL_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gateway/message.h"

enum record_kind {
	RECORD_PAD = 0,       /* lanes only: skip to the end of the ring */
	RECORD_TELEMETRY = 1, /* for every sink */
	RECORD_STATE = 2,     /* changes of state alone (state_store.h), no JSON; sinks never see it */
	RECORD_DEAD = 3,      /* invalid at the door with on_invalid: dead_letter; for the dead letter file alone */
};

#define RECORD_DEVICE_ESCAPED 1u /* the identifier holds JSON escapes */
#define RECORD_TIME_DEVICE 2u    /* @timestamp is the device's own time */
#define RECORD_HAS_STATE 4u      /* changes of state (state_store.h) stand behind the JSON */

#define RECORD_HEADER 32u
#define RECORD_MAX (2u << 20) /* bytes of an entry, header and padding included */

/* What stands in an entry's header. */
struct record {
	uint32_t size;
	uint8_t kind, flags;
	uint16_t id_at;
	int64_t time_us;
	uint32_t json_len;
	uint16_t device_at, device_len;
	int64_t received_us;
};

static inline uint32_t record_size(const uint8_t *entry)
{
	return (uint32_t)entry[0] | (uint32_t)entry[1] << 8 | (uint32_t)entry[2] << 16 | (uint32_t)entry[3] << 24;
}
static inline enum record_kind record_kind(const uint8_t *entry)
{
	return (enum record_kind)entry[4];
}
static inline uint32_t record_json_len(const uint8_t *entry)
{
	return record_size(entry + 16);
}
static inline const char *record_json(const uint8_t *entry)
{
	return (const char *)entry + RECORD_HEADER;
}

/* record_read decodes a header; the entry was checked (journal) or written by us (lane). */
void record_read(struct record *r, const uint8_t *entry);
/* record_write encodes a header in front of json_len bytes of JSON that stand at entry + RECORD_HEADER already, zeroes
 * the padding and sets r->size. The caller has room for RECORD_HEADER + json_len + 7 bytes. */
void record_write(struct record *r, uint8_t *entry);
/* record_write_head does the same but for the padding, for who has written eight zeros behind the JSON already: reading back
 * what was just written in other pieces waits until it has left the store buffer. */
void record_write_head(struct record *r, uint8_t *entry);
/* record_attach adds a change of state behind an entry; the caller has room for state_size more. Returns the size of
 * both. record_write_state makes an entry of that change alone and returns its size. */
struct state_change;
size_t record_attach(uint8_t *entry, const struct state_change *c);
size_t record_write_state(uint8_t *entry, const struct state_change *c);
/* record_check tells whether the bytes at entry, of which room are there, are a well-formed entry (sizes and offsets
 * inside). */
int record_check(const uint8_t *entry, size_t room);

/* record_device copies the device identifier, unescaped, to out (DEVICE_MAX bytes) and returns its length. */
size_t record_device(char out[DEVICE_MAX], const uint8_t *entry);
/* record_id points to the RECORD_ID_LEN characters of the id. */
const char *record_id(const uint8_t *entry);

#endif
