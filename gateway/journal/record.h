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
 * RECORD_STATE has changes instead of JSON. Readers skip entries of a kind that they do not know. Any thread; entries are constant once published.
 *
 * A change, little-endian, one behind the other in an entry:
 *	 0  u32  size        of the change, a multiple of 8
 *	 4  u8   op          enum state_op
 *	 5  u8   scope_len
 *	 6  u16  group_len
 *	 8  u16  member_len
 *	10  u16  value_len
 *	12  u32  zero
 *	16  i64  expires_us  microseconds since 1970; 0: never
 *	24  scope, group, member, value, then zeros up to size */
#ifndef SLUICE_GATEWAY_JOURNAL_RECORD_H
#define SLUICE_GATEWAY_JOURNAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DEVICE_MAX 256   /* bytes of a device identifier */
#define CHANNEL_MAX 1024 /* bytes of a channel (an MQTT topic, a path) */
#define RECORD_ID_LEN 26 /* characters of a record's id, ULID layout */

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
/* -- changes of state (state_store.h) -- */

#define STATE_HEADER 24u
#define STATE_VALUE_MAX 8192u /* bytes of a value */

enum state_op {
	STATE_SET = 1,
	STATE_DELETE = 2,       /* the item */
	STATE_DELETE_GROUP = 3, /* all items of the group */
};

struct state_text {
	const void *bytes;
	size_t len;
};

struct state_change {
	enum state_op op;
	struct state_text scope; /* at most 255 bytes; the intake sets it */
	struct state_text group, member, value;
	int64_t expires_us; /* wall clock; 0: never */
	size_t id_at;       /* attached to a message: where in value the intake writes its record's id; 0: nowhere */
};

/* record_state_put_text copies a text and returns where it ends. */
uint8_t *record_state_put_text(uint8_t *at, const struct state_text *t);
/* record_state_size is the number of bytes record_state_write writes: a multiple of 8. */
size_t record_state_size(const struct state_change *c);
void record_state_write(const struct state_change *c, uint8_t *out);
/* record_state_read reads the change at bytes, of which len are there; its texts point into them. Returns its size; 0: it is
 * none. */
size_t record_state_read(struct state_change *c, const uint8_t *bytes, size_t len);
/* record_state_check: len bytes are whole changes. */
bool record_state_check(const uint8_t *bytes, size_t len);
/* record_state_of finds the changes in an entry (record.h), which was checked; returns their bytes, 0: it has none. */
size_t record_state_of(const uint8_t *entry, const uint8_t **changes);

/* record_attach adds a change of state behind an entry; the caller has room for record_state_size more. Returns the size of
 * both. record_write_state makes an entry of that change alone and returns its size. */
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
