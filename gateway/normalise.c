/* From a message to a record; see normalise.h.
 *
 * The record's JSON, in this order (docs/record.md):
 *	{"@timestamp":"T","event":{"id":"I","created":"T"},"device":{"id":"D"},"network":{"protocol":"P"},
 *	 "sluice":{"v":1,"listener":"L","channel":"C","qos":1,"retain":true,...},"source":{"ip":"A","port":N},"payload":{...}}
 * What is constant for a listener (from behind the device to the listener's name) is made once, in normalise_init. */
#include "gateway/normalise.h"
#include "gateway/base/base64.h"
#include "gateway/base/clock.h"
#include "gateway/base/utf8.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Everything in the envelope that has a fixed size at most: times, id, names of keys, the address. */
#define ENVELOPE 704u
#define PADDING 8u /* zeros behind the JSON, whatever of them belongs to the entry */
#define ID_AT 59u  /* {"@timestamp":"<27>","event":{"id":" */

static const char front_text[] = "{\"@timestamp\":\"---------------------------\",\"event\":{\"id\":"
                                 "\"--------------------------\"},\"device\":{\"id\":\"";
#define TIME_AT 15u
#define BEHIND_ID (ID_AT + RECORD_ID_LEN + 1u) /* behind its quote */
#define DEVICE_AT (sizeof(front_text) - 1)
_Static_assert(sizeof(front_text) == sizeof(((struct normaliser *)0)->front), "one is copied to the other");

enum { KEEP_VERSION, KEEP_ID, KEEP_TIME, KEEP_DEVICE, KEEP_PAYLOAD, KEEPS };
static const char *const keep_pointers[KEEPS] = {"/sluice/v", "/event/id", "/@timestamp", "/device/id", "/payload"};

/* A record's beginning up to its device, with the time of receipt: the same for all that is read in one turn, and within
 * one second only the fraction changes. */
static const char *front(struct normaliser *n, int64_t now_us)
{
	if (now_us == n->wrote)
		return n->front;
	int64_t second = now_us / 1000000;
	if (second != n->second) {
		clock_format(n->front + TIME_AT, now_us);
		n->second = second;
	}
	clock_format_micros(n->front + TIME_AT + 20, (unsigned)(now_us % 1000000));
	n->wrote = now_us;
	return n->front;
}

/* -- setting up -- */

static bool included(const struct listener_settings *s, const char *what)
{
	for (size_t i = 0; i < s->include.count; i++)
		if (strcmp(s->include.items[i], what) == 0)
			return true;
	return false;
}

enum gw_err normalise_init(struct normaliser *n, const struct normalise_source *source, uint32_t start, uint8_t lane,
                           struct why *why)
{
	const struct listener_settings *settings = source->settings;
	memset(n, 0, sizeof(*n));
	n->settings = settings;
	n->second = n->wrote = INT64_MIN;
	memcpy(n->front, front_text, sizeof(n->front));
	record_id_init(&n->identity, start, lane);
	n->include_source = included(settings, "source");
	n->include_content_type = included(settings, "content_type");
	int len = snprintf(n->middle, sizeof(n->middle),
	                   "\"},\"network\":{\"protocol\":\"%s\"},\"sluice\":{\"v\":1,\"listener\":\"%s\"",
	                   source->protocol, source->listener);
	if (len < 0 || (size_t)len >= sizeof(n->middle))
		return why_set(why, GW_CONFIG, "the listener's name is too long");
	n->middle_len = (size_t)len;
	for (int i = 0; i < KEEPS; i++)
		if (!json_pointer_init(&n->keep[i], keep_pointers[i]))
			return why_set(why, GW_NOMEM, "out of memory");
	if (!settings->time.pointer)
		return GW_OK;
	if (!json_pointer_init(&n->time_pointer, settings->time.pointer))
		return why_set(why, GW_CONFIG,
		               "time.pointer: \"%s\" is no JSON pointer; it looks like /ts or /meta/time (RFC 6901)",
		               settings->time.pointer);
	n->has_time = true;
	return GW_OK;
}

void normalise_fini(struct normaliser *n)
{
	for (int i = 0; i < KEEPS; i++)
		json_pointer_fini(&n->keep[i]);
	json_pointer_fini(&n->time_pointer);
}

/* -- planning -- */

static enum gw_err refuse(struct refusal *r, enum gw_err err, enum refusal_reason reason, size_t offset,
                          const char *text)
{
	r->reason = reason;
	r->offset = offset;
	r->text = text;
	return err;
}

static struct json_value find(const struct normalise_plan *p, const struct json_pointer *pointer)
{
	if (p->found.look)
		return json_find(p->found.look, p->found.look_len, pointer);
	return json_find(p->payload, p->payload_len, pointer);
}

/* A name found in the payload: a string, decoded where it has escapes, or a number's digits. */
struct found_name {
	bool found;
	const char *text; /* in the payload, or in the buffer */
	size_t len;
};

/* False: not usable as a name. buffer has room for `most` bytes. */
static bool name_from_payload(const struct normalise_plan *plan, const struct json_pointer *p, char *buffer,
                              size_t most, struct found_name *name)
{
	struct json_value v = find(plan, p);
	name->found = v.type == JSON_STRING || v.type == JSON_NUMBER;
	if (!name->found)
		return true;
	name->text = v.text;
	name->len = v.len;
	if (v.type == JSON_NUMBER)
		return v.len <= most;
	name->text = v.text + 1;
	name->len = v.len - 2;
	if (!memchr(name->text, '\\', name->len))
		return name->len <= most;
	if (name->len > most * 6)
		return false;
	char decoded[CHANNEL_MAX * 6];
	name->len = json_unescape(decoded, name->text, name->len);
	if (name->len > most)
		return false;
	memcpy(buffer, decoded, name->len);
	name->text = buffer;
	return true;
}

static enum gw_err plan_device(const struct message *m, bool json, struct normalise_plan *p, struct refusal *r)
{
	struct found_name name = {0};
	bool usable = true;
	for (size_t i = 0; json && !name.found && i < m->device_pointers; i++)
		usable = name_from_payload(p, &m->device_pointer[i], p->device_buffer, DEVICE_MAX, &name);
	p->device = name.text;
	p->device_len = name.len;
	if (!name.found) {
		p->device = m->device;
		p->device_len = m->device_len;
		if (!m->device)
			return refuse(r, GW_INVALID, REFUSED_NO_DEVICE, 0,
			              "no device identifier where the listener looks for it");
		usable = m->device_len <= DEVICE_MAX && utf8_check(m->device, m->device_len) == m->device_len;
	}
	p->device_plain = name.found && p->device != p->device_buffer;
	if (!usable || p->device_len == 0 || utf8_has_control(p->device, p->device_len))
		return refuse(r, GW_INVALID, REFUSED_DEVICE, 0,
		              "the device identifier must be 1 to 256 bytes of UTF-8 without control characters and "
		              "marks of writing direction");
	return GW_OK;
}

static enum gw_err plan_channel(const struct message *m, bool json, struct normalise_plan *p, struct refusal *r)
{
	struct found_name name = {0};
	bool usable = true;
	if (json && m->channel_pointer)
		usable = name_from_payload(p, m->channel_pointer, p->channel_buffer, CHANNEL_MAX, &name);
	p->channel = name.text;
	p->channel_len = name.len;
	if (!name.found) {
		p->channel = m->channel;
		p->channel_len = m->channel ? m->channel_len : 0;
		usable = p->channel_len <= CHANNEL_MAX &&
		         (p->channel_len == 0 || utf8_check(m->channel, m->channel_len) == m->channel_len);
	}
	p->channel_plain = name.found && p->channel != p->channel_buffer;
	if (!usable)
		return refuse(r, GW_INVALID, REFUSED_CHANNEL, 0, "the channel must be at most 1024 bytes of UTF-8");
	return GW_OK;
}

static void plan_time(struct normaliser *n, int64_t now_us, struct normalise_plan *p)
{
	const struct listener_settings *s = n->settings;
	struct json_value v = find(p, &n->time_pointer);
	int64_t us;
	if (v.type == JSON_INVALID) {
		return;
	} else if (!json_time(&v, (enum json_time_format)s->time.format, &us)) {
		p->clock = CLOCK_UNREADABLE;
	} else if (us < now_us - (int64_t)s->time_past) {
		p->clock = CLOCK_BEHIND;
	} else if (us > now_us + (int64_t)s->time_future) {
		p->clock = CLOCK_AHEAD;
	} else {
		p->has_time = true;
		p->time_us = us;
	}
}

/* Whether the inside of a JSON string with escapes names a device: no control characters behind them. */
static bool is_name_escaped(const char *text, size_t len)
{
	char plain[6 * DEVICE_MAX];
	size_t n = json_unescape(plain, text, len);
	return n > 0 && n <= DEVICE_MAX && !utf8_has_control(plain, n);
}

/* Whether text, of a JSON string, is the device that the sender named. */
static bool is_named(const struct message *m, const char *text, size_t len, bool escaped)
{
	char plain[6 * DEVICE_MAX];
	if (escaped) {
		len = json_unescape(plain, text, len);
		text = plain;
	}
	return len == m->device_len && memcmp(text, m->device, len) == 0;
}

/* Is this payload a record of ours already? All that sinks rely on is checked; anything else is wrapped as any payload.
 */
static bool plan_keep(struct normaliser *n, struct normalise_plan *p)
{
	struct json_value v[KEEPS];
	for (int i = 0; i < KEEPS; i++)
		v[i] = json_find(p->payload, p->payload_len, &n->keep[i]);
	if (v[KEEP_VERSION].len != 1 || *v[KEEP_VERSION].text != '1' || v[KEEP_PAYLOAD].type != JSON_OBJECT ||
	    v[KEEP_TIME].type != JSON_STRING || !json_time(&v[KEEP_TIME], JSON_TIME_RFC3339, &p->time_us))
		return false;
	if (v[KEEP_ID].type != JSON_STRING || v[KEEP_ID].len != RECORD_ID_LEN + 2)
		return false;
	for (size_t i = 1; i <= RECORD_ID_LEN; i++) {
		char c = v[KEEP_ID].text[i];
		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')))
			return false;
	}
	const char *device = v[KEEP_DEVICE].text;
	size_t len = v[KEEP_DEVICE].len;
	if (v[KEEP_DEVICE].type != JSON_STRING || len < 3 || len > 6 * DEVICE_MAX + 2 || utf8_has_control(device, len))
		return false;
	p->kept_escaped = memchr(device, '\\', len) != NULL;
	if (p->kept_escaped ? !is_name_escaped(device + 1, len - 2) : len - 2 > DEVICE_MAX)
		return false;
	if (p->message->device_named && !is_named(p->message, device + 1, len - 2, p->kept_escaped))
		return false;
	p->id_at = (size_t)(v[KEEP_ID].text + 1 - p->payload);
	p->device_at = (size_t)(device + 1 - p->payload);
	p->device_len = len - 2;
	if (p->id_at > UINT16_MAX || p->device_at > UINT16_MAX)
		return false;
	p->form = FORM_KEEP;
	return true;
}

static const enum payload_form forms[] = {
    [JSON_INVALID] = FORM_BASE64, [JSON_OBJECT] = FORM_OBJECT, [JSON_ARRAY] = FORM_ARRAY,   [JSON_STRING] = FORM_STRING,
    [JSON_NUMBER] = FORM_NUMBER,  [JSON_TRUE] = FORM_BOOLEAN,  [JSON_FALSE] = FORM_BOOLEAN, [JSON_NULL] = FORM_NULL,
};

static void plan_raw(struct normalise_plan *p, const struct message *m, enum payload_kind kind)
{
	p->payload = m->payload;
	p->payload_len = m->payload_len;
	bool text = kind != PAYLOAD_BINARY && utf8_check(m->payload, m->payload_len) == m->payload_len;
	p->form = text ? FORM_TEXT : FORM_BASE64;
}

/* A payload that its decoder cannot read. Whether it was declared decides what becomes of it: by its sender or the listener's
 * `payload`, or because it was to name its device itself and only an address would be left for that: behind one modem or
 * proxy are many devices, and they would become one. */
static __attribute__((noinline, cold)) enum gw_err plan_unreadable(const struct normaliser *n, const struct message *m,
                                                                   enum payload_kind kind, struct normalise_plan *p,
                                                                   struct refusal *r)
{
	bool meant = payload_looks_json(m->payload, m->payload_len);
	bool declared = kind != PAYLOAD_AUTO || (meant && m->device_is_address && m->device_pointers > 0);
	if (declared && n->settings->on_invalid == INVALID_REFUSE)
		return refuse(r, GW_INVALID, REFUSED_PAYLOAD, p->found.json.offset, p->found.json.reason);
	plan_raw(p, m, PAYLOAD_AUTO);
	if (declared && n->settings->on_invalid == INVALID_DEAD_LETTER) {
		p->kind = RECORD_DEAD;
		p->error = p->found.json.reason;
		p->error_offset = p->found.json.offset;
	} else if (declared || meant) {
		p->not_json = true;
		p->fault = payload_fault_of(m->payload, m->payload_len, &p->found);
	}
	return GW_OK;
}

static inline void plan_value(struct normalise_plan *p, const char *text, const struct json_result *r)
{
	p->form = forms[r->type];
	p->payload = text + r->start;
	p->payload_len = r->end - r->start;
	p->newline = r->newline;
}

/* What the payload is. *json tells whether it was decoded, and pointers can be followed in it. */
static enum gw_err plan_payload(struct normaliser *n, const struct message *m, struct normalise_plan *p, bool *json,
                                struct refusal *r)
{
	enum payload_kind kind = m->kind == PAYLOAD_AUTO ? (enum payload_kind)n->settings->payload : m->kind;
	payload_decode *decode = payload_rows[kind].decode;
	p->found.look = NULL;
	*json = true;
	/* Nearly every message: valid JSON, which costs one pass over it and nothing more. */
	if (decode == payload_decode_json) {
		struct json_result check = json_check(m->payload, m->payload_len, (unsigned)n->settings->max_depth);
		if (check.type != JSON_INVALID) {
			plan_value(p, m->payload, &check);
			return GW_OK;
		}
	}
	if (decode && decode(m->payload, m->payload_len, (unsigned)n->settings->max_depth, &p->found)) {
		plan_value(p, p->found.text, &p->found.json);
		return GW_OK;
	}
	*json = false;
	if (decode)
		return plan_unreadable(n, m, kind, p, r);
	plan_raw(p, m, kind);
	return GW_OK;
}

/* What could not be taken as it is becomes a dead letter, if that is wanted: of the sender, with as much of the channel as a
 * record may have. */
static bool plan_dead(const struct normaliser *n, struct normalise_plan *p, const struct refusal *r)
{
	const struct message *m = p->message;
	if (!m->sender || n->settings->on_invalid != INVALID_DEAD_LETTER)
		return false;
	p->kind = RECORD_DEAD;
	p->error = r->text;
	p->error_offset = 0;
	p->device = m->sender;
	p->device_len = m->sender_len;
	p->channel = m->channel;
	p->channel_len = 0;
	if (m->channel)
		p->channel_len = utf8_check(m->channel, m->channel_len < CHANNEL_MAX ? m->channel_len : CHANNEL_MAX);
	p->device_plain = p->channel_plain = false;
	return true;
}

static size_t payload_room(const struct normalise_plan *p)
{
	if (p->form == FORM_TEXT)
		return json_escaped_size(p->payload, p->payload_len);
	if (p->form == FORM_BASE64)
		return 4 * ((p->payload_len + 2) / 3);
	return p->payload_len;
}

enum gw_err normalise_plan(struct normaliser *n, const struct message *m, int64_t now_us, struct normalise_plan *p,
                           struct refusal *r)
{
	p->message = m;
	p->kind = RECORD_TELEMETRY;
	p->newline = p->not_json = p->has_time = false;
	p->clock = CLOCK_BELIEVED;
	p->time_us = now_us;
	p->error = NULL;
	if (m->payload_len > n->settings->max_payload)
		return refuse(r, GW_TOOBIG, REFUSED_TOO_LARGE, 0, "the payload is over max_payload");
	bool json;
	enum gw_err err = plan_payload(n, m, p, &json, r);
	if (err)
		return err;
	bool keep = json && n->settings->envelope == 1 && p->form == FORM_OBJECT && plan_keep(n, p);
	if (!keep) {
		p->time_us = now_us;
		if (((err = plan_device(m, json, p, r)) || (err = plan_channel(m, json, p, r))) && !plan_dead(n, p, r))
			return err;
		if (json && n->has_time)
			plan_time(n, now_us, p);
	}
	p->room = RECORD_HEADER + ENVELOPE + payload_room(p) + PADDING;
	if (!keep)
		p->room +=
		    n->middle_len + 6 * (p->device_len + p->channel_len + m->content_type_len + m->idempotency_key_len);
	p->room = (p->room + 7) & ~(size_t)7;
	size_t most = n->settings->lane / 4 < RECORD_MAX ? n->settings->lane / 4 : RECORD_MAX;
	if (p->room > most)
		return refuse(r, GW_TOOBIG, REFUSED_TOO_LARGE, 0, "the record would be over the limit of the lane");
	return GW_OK;
}

/* -- writing -- */

static char *put(char *at, const char *text, size_t len)
{
	memcpy(at, text, len);
	return at + len;
}
#define PUT(at, literal) put((at), (literal), sizeof(literal) - 1)

static const char *const clock_words[] = {
    [CLOCK_BEHIND] = "behind", [CLOCK_AHEAD] = "ahead", [CLOCK_UNREADABLE] = "unreadable"};

/* Text from outside as the inside of a JSON string. *escaped is set when it grew. */
static char *put_text(char *at, const char *text, size_t len, bool *escaped)
{
	size_t n = json_escape(at, text, len);
	if (escaped && n != len)
		*escaped = true;
	return at + n;
}

static char *put_number(char *at, uint64_t n)
{
	char text[20];
	size_t len = 0;
	do
		text[sizeof(text) - ++len] = (char)('0' + n % 10);
	while (n /= 10);
	return put(at, text + sizeof(text) - len, len);
}

static char *put_source(char *at, const struct sockaddr *peer)
{
	char ip[INET6_ADDRSTRLEN] = "";
	uint16_t port;
	if (peer->sa_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)peer;
		port = ntohs(a->sin6_port);
		if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr))
			inet_ntop(AF_INET, a->sin6_addr.s6_addr + 12, ip, sizeof(ip));
		else
			inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof(ip));
	} else {
		const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)peer;
		port = ntohs(a->sin_port);
		inet_ntop(AF_INET, &a->sin_addr, ip, sizeof(ip));
	}
	at = PUT(at, ",\"source\":{\"ip\":\"");
	at = put(at, ip, strlen(ip));
	at = PUT(at, "\",\"port\":");
	at = put_number(at, port);
	return PUT(at, "}");
}

/* The rest of the "sluice" object, which middle opened. */
static char *put_details(struct normaliser *n, const struct normalise_plan *p, char *at)
{
	const struct message *m = p->message;
	if (p->channel_len > 0) {
		at = PUT(at, ",\"channel\":\"");
		at = p->channel_plain ? put(at, p->channel, p->channel_len)
		                      : put_text(at, p->channel, p->channel_len, NULL);
		at = PUT(at, "\"");
	}
	if (m->qos >= 0) {
		at = PUT(at, ",\"qos\":");
		*at++ = (char)('0' + m->qos);
	}
	if (m->retain)
		at = PUT(at, ",\"retain\":true");
	if (p->clock)
		at += sprintf(at, ",\"clock\":\"%s\"", clock_words[p->clock]);
	if (p->not_json)
		at += sprintf(at, ",\"not_json\":\"%s\"", stats_fault_names[p->fault]);
	/* A header may hold any byte above 0x7f (RFC 9110 section 5.5); what is not UTF-8 would spoil the record. */
	if (m->idempotency_key_len > 0 &&
	    utf8_check(m->idempotency_key, m->idempotency_key_len) == m->idempotency_key_len) {
		at = PUT(at, ",\"idempotency_key\":\"");
		at = put_text(at, m->idempotency_key, m->idempotency_key_len, NULL);
		at = PUT(at, "\"");
	}
	if (n->include_content_type && m->content_type_len > 0 &&
	    utf8_check(m->content_type, m->content_type_len) == m->content_type_len) {
		at = PUT(at, ",\"content_type\":\"");
		at = put_text(at, m->content_type, m->content_type_len, NULL);
		at = PUT(at, "\"");
	}
	if (p->error) {
		at = PUT(at, ",\"error\":{\"offset\":");
		at = put_number(at, p->error_offset);
		at = PUT(at, ",\"reason\":\"");
		at = put_text(at, p->error, strlen(p->error), NULL);
		at = PUT(at, "\"}");
	}
	return PUT(at, "}");
}

static char *put_value(const struct normalise_plan *p, char *at)
{
	if (!p->newline)
		return put(at, p->payload, p->payload_len);
	return at + json_copy_line(at, p->payload, p->payload_len);
}

static char *put_payload(const struct normalise_plan *p, char *at)
{
	at = PUT(at, ",\"payload\":");
	switch (p->form) {
	case FORM_KEEP:
	case FORM_OBJECT: return put_value(p, at);
	case FORM_ARRAY: at = put_value(p, PUT(at, "{\"array\":")); break;
	case FORM_NUMBER: at = put_value(p, PUT(at, "{\"number\":")); break;
	case FORM_BOOLEAN: at = put_value(p, PUT(at, "{\"boolean\":")); break;
	case FORM_NULL: at = put_value(p, PUT(at, "{\"null\":")); break;
	case FORM_STRING: at = put_value(p, PUT(at, "{\"text\":")); break;
	case FORM_TEXT:
		at = put_text(PUT(at, "{\"text\":\""), p->payload, p->payload_len, NULL);
		at = PUT(at, "\"");
		break;
	case FORM_BASE64:
		at = PUT(at, "{\"base64\":\"");
		at += base64_encode(at, p->payload, p->payload_len);
		at = PUT(at, "\"");
		break;
	}
	return PUT(at, "}");
}

static size_t write_kept(const struct normalise_plan *p, int64_t now_us, uint8_t *entry)
{
	char *json = (char *)entry + RECORD_HEADER;
	struct record r = {.kind = RECORD_TELEMETRY,
	                   .flags = (uint8_t)(RECORD_TIME_DEVICE | (p->kept_escaped ? RECORD_DEVICE_ESCAPED : 0u)),
	                   .id_at = (uint16_t)p->id_at,
	                   .time_us = p->time_us,
	                   .device_at = (uint16_t)p->device_at,
	                   .device_len = (uint16_t)p->device_len,
	                   .received_us = now_us};
	r.json_len = (uint32_t)(put_value(p, json) - json);
	record_write(&r, entry);
	return r.size;
}

size_t normalise_write(struct normaliser *n, const struct normalise_plan *p, int64_t now_us, uint8_t *entry)
{
	if (p->form == FORM_KEEP)
		return write_kept(p, now_us, entry);
	char *json = (char *)entry + RECORD_HEADER, *at = json;
	bool escaped = false;
	const char *begin = front(n, now_us);
	memcpy(json, begin, DEVICE_AT);
	record_id_next(&n->identity, (uint64_t)now_us / 1000, json + ID_AT);
	at += DEVICE_AT;
	if (p->has_time) {
		clock_format(json + TIME_AT, p->time_us);
		at = PUT(json + BEHIND_ID, ",\"created\":\"");
		at = put(at, begin + TIME_AT, CLOCK_FORMAT_LEN);
		at = PUT(at, "\"");
		at = put(at, begin + BEHIND_ID, DEVICE_AT - BEHIND_ID);
	}
	size_t device_at = (size_t)(at - json);
	at = p->device_plain ? put(at, p->device, p->device_len) : put_text(at, p->device, p->device_len, &escaped);
	size_t device_len = (size_t)(at - json) - device_at;
	at = put(at, n->middle, n->middle_len);
	at = put_details(n, p, at);
	if (n->include_source && p->message->peer)
		at = put_source(at, p->message->peer);
	at = PUT(put_payload(p, at), "}");
	memset(at, 0, PADDING);
	struct record r = {.kind = (uint8_t)p->kind,
	                   .id_at = ID_AT,
	                   .time_us = p->time_us,
	                   .json_len = (uint32_t)(at - json),
	                   .device_at = (uint16_t)device_at,
	                   .device_len = (uint16_t)device_len,
	                   .received_us = now_us};
	r.flags = (uint8_t)((escaped ? RECORD_DEVICE_ESCAPED : 0u) | (p->has_time ? RECORD_TIME_DEVICE : 0u));
	record_write_head(&r, entry);
	assert(r.size <= p->room);
	return r.size;
}
