/* Normalising: a message becomes one record (record.h; the JSON is described in docs/record.md). A JSON payload is
 * checked strictly in one pass and spliced in byte for byte; no tree is built, nothing is allocated, no number is
 * printed again.
 *
 * Two steps, so that the record is written once, where it will lie: normalise_plan checks and decides and says how much
 * room is needed; normalise_write writes. One normaliser per listener thread; the plan borrows from the message and
 * lives for one message. */
#ifndef SLUICE_GATEWAY_NORMALISE_H
#define SLUICE_GATEWAY_NORMALISE_H

#include "gateway/base/error.h"
#include "gateway/base/json.h"
#include "gateway/base/record_id.h"
#include "gateway/journal/record.h"
#include "gateway/listener_settings.h"
#include "gateway/message.h"
#include "gateway/payload.h"

struct normaliser {
	const struct listener_settings *settings;
	struct record_id_source identity;
	struct json_pointer time_pointer; /* owned; used when has_time */
	struct json_pointer keep[5];      /* owned: where a record has what `envelope: keep` looks at */
	bool has_time, include_source, include_content_type;
	char middle[256]; /* from behind the device to the listener's name: constant for a listener */
	size_t middle_len;
	int64_t second;  /* the second whose text stands in clock */
	int64_t wrote;   /* microseconds of the time in front */
	char front[105]; /* how a record begins whose time is that of its receipt, up to its device; but for the id */
};

enum payload_form {
	FORM_OBJECT,
	FORM_ARRAY,
	FORM_NUMBER,
	FORM_BOOLEAN,
	FORM_NULL,
	FORM_STRING,
	FORM_TEXT,
	FORM_BASE64,
	FORM_KEEP
};

/* What is thought of the device's own time; where it is not believed, the record says so. */
enum device_clock { CLOCK_BELIEVED, CLOCK_BEHIND, CLOCK_AHEAD, CLOCK_UNREADABLE };

struct normalise_plan {
	const struct message *message;
	enum payload_form form;
	enum record_kind kind;
	struct payload_text
	    found; /* what a decoder made of it; not set where the payload is JSON as it stands, but for look */
	const char *payload; /* the value without white space around it, or the raw bytes */
	size_t payload_len;
	bool newline;          /* it holds CR or LF that must become spaces */
	bool not_json;         /* it was meant to be JSON, and is kept as text or base64 ... */
	enum json_fault fault; /* ... because of this */
	const char *device, *channel;
	size_t device_len, channel_len;
	bool device_plain, channel_plain; /* it stands in the payload, and needs no escapes */
	bool has_time;
	enum device_clock clock;
	int64_t time_us;
	const char *error; /* RECORD_DEAD: what was wrong */
	size_t error_offset;
	size_t room;             /* bytes that normalise_write needs, a multiple of 8 */
	size_t id_at, device_at; /* FORM_KEEP: where they stand */
	bool kept_escaped;       /* FORM_KEEP: the device holds JSON escapes */
	char device_buffer[DEVICE_MAX + 8], channel_buffer[CHANNEL_MAX + 8];
};

/* Where messages come from; the texts are copied, the settings borrowed until normalise_fini. */
struct normalise_source {
	const char *protocol, *listener; /* names */
	const struct listener_settings *settings;
};

/* normalise_init prepares for one listener thread; start and lane go into record ids. GW_OK | GW_CONFIG (a pointer is none, with why) | GW_NOMEM. */
enum gw_err normalise_init(struct normaliser *n, const struct normalise_source *source, uint32_t start, uint8_t lane,
                           struct why *why);
void normalise_fini(struct normaliser *n);

/* normalise_plan decides what a message becomes.
 *   now_us  time of receipt, microseconds since the epoch
 * GW_OK | GW_INVALID | GW_TOOBIG, both with refusal set. */
enum gw_err normalise_plan(struct normaliser *n, const struct message *m, int64_t now_us, struct normalise_plan *plan,
                           struct refusal *refusal);
/* normalise_write writes the entry (plan->room bytes are there) and returns its size. */
size_t normalise_write(struct normaliser *n, const struct normalise_plan *plan, int64_t now_us, uint8_t *entry);

#endif
