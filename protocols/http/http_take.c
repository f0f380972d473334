/* From the body of a request to messages in the lane: unpack, find out whether it is one message or a batch, split,
 * put.  A batch may be longer than the lane has room for. What was put is published as it goes, so that the journal
 * empties the lane meanwhile; when there is no room all the same, the request is held: suspended with its body, and
 * http_take_more goes on with it in a later turn. Only when no room turns up for a second, or the journal itself is
 * full, is the rest refused.
 *
 * A request with an Idempotency-Key claims it first (http_keys.h). What it came to is kept in the journal with its message,
 * in one entry, or behind the messages of a batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "protocols/http/http_server.h"

#define REJECTION_MAX 1024u       /* bytes of one entry in a batch's list */
#define HELD_MS 1000              /* without room, before the rest of a batch is refused */
#define PUBLISH_BYTES (64u << 10) /* of a batch, before the lane is published */

static enum payload_kind kind_of(enum payload_kind media)
{
	if (media == PAYLOAD_LINES)
		return PAYLOAD_JSON;
	return media == PAYLOAD_UNKNOWN ? PAYLOAD_AUTO : media; /* accept_types has it, or it had been refused */
}

bool http_take_is_batch(const struct http *h, const struct http_request *r)
{
	enum payload_kind kind = kind_of(r->head.media);
	if (kind == PAYLOAD_AUTO)
		kind = (enum payload_kind)h->common->payload;
	return r->head.media == PAYLOAD_LINES ||
	       (r->target.route == ROUTE_COLLECTION && (kind == PAYLOAD_JSON || kind == PAYLOAD_AUTO));
}

/* Names are percent-encoded in headers as they are in the path: how else would a header carry more than ASCII? */
static bool decode_name(struct http_text raw, bool in_path, char *buffer, size_t room, const char **name, size_t *len)
{
	*name = raw.text ? buffer : NULL;
	*len = 0;
	if (!raw.text)
		return true;
	return in_path ? http_text_decode(raw, buffer, room, len) : http_value_decode(raw, buffer, room, len);
}

static enum http_problem bad_name(struct http *h, bool in_path, enum refusal_reason reason)
{
	if (in_path)
		return HTTP_BAD_TARGET;
	intake_refuse(h->in, reason);
	return http_problem_of(reason);
}

static enum http_problem prepare_names(struct http *h, const struct http_request *r, struct message *m)
{
	bool device = m->device_named, channel = r->target.channel.text != NULL; /* in the path? */
	if (!decode_name(device ? r->target.device : r->head.device, device, h->device_text, sizeof(h->device_text),
	                 &m->device, &m->device_len))
		return bad_name(h, device, REFUSED_DEVICE);
	if (!decode_name(channel ? r->target.channel : r->head.channel, channel, h->channel_text,
	                 sizeof(h->channel_text), &m->channel, &m->channel_len))
		return bad_name(h, channel, REFUSED_CHANNEL);
	return HTTP_FINE;
}

/* What all messages of a request have in common. The device in the path is the device: no payload may claim
 * another. */
static enum http_problem prepare(struct http *h, struct http_conn *c, struct message *m)
{
	struct http_request *r = &c->request;
	*m = (struct message){.qos = -1, .kind = kind_of(r->head.media), .peer = c->peer};
	m->content_type = r->head.type.text;
	m->content_type_len = r->head.type.len;
	m->idempotency_key = r->head.key.text;
	m->idempotency_key_len = r->head.key.len;
	m->device_named = r->target.route == ROUTE_DEVICE;
	if (!m->device_named) {
		m->device_pointer = &h->device_pointer;
		m->device_pointers = h->has_device_pointer ? 1 : 0;
		m->channel_pointer = h->has_channel_pointer ? &h->channel_pointer : NULL;
	}
	return prepare_names(h, r, m);
}

/* -- Idempotency-Key -- */

static struct http_outcome outcome_of(const struct http_request *r)
{
	struct http_outcome o = {.digest = r->digest,
	                         .batch = r->batch,
	                         .accepted = (uint32_t)r->accepted,
	                         .rejected = (uint32_t)r->rejected,
	                         .report = r->report};
	memcpy(o.id, r->id, RECORD_ID_LEN);
	return o;
}

/* What the journal is to remember of a request; value: HTTP_KEY_VALUE + HTTP_KEY_REPORT bytes. */
static struct state_change key_change(const struct http *h, const struct http_request *r, uint8_t *value)
{
	struct http_outcome o = outcome_of(r);
	size_t len = http_keys_value(&o, value);
	return (struct state_change){.op = STATE_SET,
	                             .group = {r->head.key.text, r->head.key.len},
	                             .value = {value, len},
	                             .expires_us = clock_wall_us() + (int64_t)h->idempotency_window};
}

/* All that makes two requests the same. The key is no secret: whoever aims at a collision aims at a key of his own. */
static uint64_t digest_of(const struct http_request *r, const char *body, size_t len)
{
	char media[HTTP_MEDIA_NAME];
	const struct http_text type = {r->head.type.text ? media : NULL, http_media_name(r->head.type, media)};
	const struct http_text parts[] = {r->target.device, r->target.channel, r->head.device, r->head.channel, type,
	                                  {body, len}};
	struct siphash_key key = {UINT64_C(0x736c7569636531), UINT64_C(0x6964656d706f74)};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t sum = siphash(&key, parts[i].text ? parts[i].text : "", parts[i].len);
		key.k0 = sum;
		key.k1 += parts[i].text ? parts[i].len + 1 : 0;
	}
	return key.k0;
}

/* Claims the request's key. False: the request is decided. */
static bool key_claim(struct http *h, struct http_request *r, const char *body, size_t len)
{
	struct http_outcome o = {0};
	size_t dropped = 0;
	int64_t now_us = clock_wall_us();
	r->digest = digest_of(r, body, len);
	const struct http_key_claim claim = {r->head.key, r->digest, now_us, now_us + (int64_t)h->idempotency_window};
	enum http_key_state state = http_keys_claim(h->keys, &claim, &o, &dropped);
	if (dropped > 0)
		stat_add(&intake_stats(h->in)->forgotten, dropped);
	switch (state) {
	case KEY_NEW: r->keyed = true; return true;
	case KEY_BUSY: http_request_decide(r, HTTP_KEY_BUSY, NULL, -1); break;
	case KEY_OTHER: http_request_decide(r, HTTP_KEY_REUSED, NULL, -1); break;
	case KEY_NOMEM: http_request_decide(r, HTTP_NO_MEMORY, NULL, -1); break;
	case KEY_KNOWN:
		stat_add(&intake_stats(h->in)->duplicates, 1);
		r->known = true;
		r->batch = o.batch;
		r->accepted = o.accepted;
		r->rejected = o.rejected;
		r->report = (char *)(uintptr_t)o.report;
		memcpy(r->id, o.id, RECORD_ID_LEN);
		http_request_decide(r, HTTP_FINE, NULL, -1);
		break;
	}
	return false;
}

/* The request is decided: what it came to is remembered, or its key is free again. */
static void key_settle(struct http *h, struct http_request *r)
{
	if (!r->keyed)
		return;
	r->keyed = false;
	if (r->problem != HTTP_FINE) {
		http_keys_drop(h->keys, r->head.key);
		return;
	}
	struct http_outcome o = outcome_of(r);
	/* `accepted` promises no more than that it was taken. */
	http_keys_finish(h->keys, r->head.key, &o, h->common->ack == ACK_ACCEPTED ? NULL : h->in,
	                 intake_position(h->in));
}

/* Forwarders send newline-delimited JSON as application/json, or as nothing, unless somebody sets the type. */
static bool is_several(const struct http *h, const struct message *m, const struct refusal *refusal)
{
	if (refusal->reason != REFUSED_PAYLOAD && refusal->reason != REFUSED_NO_DEVICE)
		return false;
	const char *text = m->payload;
	struct payload_text found;
	return !payload_decode_json(text, m->payload_len, (unsigned)h->common->max_depth, &found) &&
	       payload_fault_of(text, m->payload_len, &found) == JSON_FAULT_TRAILING &&
	       memchr("{[", text[found.json.offset], 2);
}

static void take_one(struct http *h, struct http_request *r, struct message *m)
{
	uint64_t position;
	uint8_t value[HTTP_KEY_VALUE + HTTP_KEY_REPORT];
	struct state_change change;
	if (r->keyed) {
		change = key_change(h, r, value);
		change.id_at = HTTP_KEY_ID_AT;
		m->state = &change;
	}
	struct refusal refusal = {.reason = REFUSED_PAYLOAD};
	enum gw_err err = intake_put(h->in, m, &position, &refusal);
	m->state = NULL;
	if (err == GW_OK) {
		memcpy(r->id, intake_last_id(h->in), RECORD_ID_LEN);
		http_request_decide(r, HTTP_FINE, NULL, -1);
	} else if (err == GW_FULL) {
		stat_add(&intake_stats(h->in)->backpressured, 1);
		http_request_decide(r, HTTP_FULL, NULL, -1);
	} else {
		if (is_several(h, m, &refusal))
			refusal.text =
			    "several documents: newline-delimited JSON has the type application/x-ndjson, one document "
			    "a line";
		bool at = refusal.reason == REFUSED_PAYLOAD && err == GW_INVALID;
		http_request_decide(r, http_problem_of(refusal.reason), refusal.text,
		                    at ? (long long)refusal.offset : -1);
	}
}

/* -- batches -- */

static void list_rejection(struct http *h, bool keyed, const struct http_item *item, size_t offset, const char *reason,
                           const char *detail)
{
	char told[6 * 128];
	size_t told_len = detail ? json_escape(told, detail, strnlen(detail, sizeof(told) / 6)) : 0;
	char *at = h->rejections + h->rejections_len;
	size_t most = keyed ? HTTP_KEY_REPORT - 128 : HTTP_REPORT_MAX;
	size_t room = most > h->rejections_len ? most - h->rejections_len : 0;
	if (room < REJECTION_MAX)
		return;
	int n = snprintf(at, room, "%s{\"line\":%zu,\"offset\":%zu,\"reason\":\"%s\",\"detail\":\"%.*s\"}",
	                 h->rejections_len ? "," : "", item->line, item->offset + offset, reason, (int)told_len, told);
	h->rejections_len += (size_t)n;
}

static void refuse_item(struct http *h, struct http_request *r, const struct message *m, const struct http_item *item,
                        const struct refusal *refusal)
{
	const struct refused_sender who = {
	    .peer = m->peer, .device = m->device, .device_len = m->device_len, .detail = refusal->text};
	intake_report(h->in, refusal->reason, &who);
	if (++r->rejected <= HTTP_REJECTED_MAX)
		list_rejection(h, r->keyed, item, refusal->reason == REFUSED_PAYLOAD ? refusal->offset : 0,
		               stats_refusal_names[refusal->reason], refusal->text);
}

/* The entry "full" stands for its line and all that follow. */
static void refuse_rest(struct http *h, struct http_request *r, const struct http_item *item)
{
	size_t rest = 1 + http_batch_count(&r->items, SIZE_MAX - 1);
	r->rejected += rest;
	list_rejection(h, r->keyed, item, 0, stats_refusal_names[REFUSED_FULL],
	               "no room for this message and all that follow it");
	/* When nothing was taken, the problem that is answered counts one. */
	stat_add(&intake_stats(h->in)->refused[REFUSED_FULL], r->accepted > 0 ? rest : rest - 1);
}

/* Puts items until there are no more, or no room; *full tells which, *item is the one without. Items that are
 * refused are listed. */
static void put_items(struct http *h, struct http_request *r, struct message *m, struct http_item *item, bool *full)
{
	size_t unpublished = 0;
	uint64_t position;
	struct http_batch rest = r->items;
	while (http_batch_next(&rest, item)) {
		struct refusal refusal = {.reason = REFUSED_PAYLOAD};
		m->payload = item->text;
		m->payload_len = item->len;
		enum gw_err err = intake_put(h->in, m, &position, &refusal);
		if (err == GW_FULL) {
			*full = true;
			return;
		}
		r->items = rest;
		if (err != GW_OK) {
			refuse_item(h, r, m, item, &refusal);
			continue;
		}
		r->accepted++;
		r->room_ms = intake_now_ms(h->in);
		if ((unpublished += item->len) < PUBLISH_BYTES)
			continue;
		intake_flush(h->in);
		unpublished = 0;
	}
	*full = false;
}

static void finish_batch(struct http *h, struct http_request *r, bool full)
{
	r->batch = true;
	if (r->rejected > 0) {
		size_t size = h->rejections_len + 128;
		r->report = malloc(size); /* without memory for it the answer has the counts alone */
		if (r->report)
			snprintf(r->report, size, "\"accepted\":%zu,\"rejected_count\":%zu,\"rejected\":[%.*s]",
			         r->accepted, r->rejected, (int)h->rejections_len, h->rejections);
	}
	http_request_decide(r, r->accepted > 0 ? HTTP_FINE : full ? HTTP_FULL : HTTP_NOTHING_TAKEN, NULL, -1);
}

/* What a held batch needs later has to stop living in memory that the thread's next request uses. */
static bool hold(struct http *h, struct http_request *r)
{
	if (r->head.packed != CODING_NONE && (uint8_t *)(uintptr_t)r->items.text == h->unpack.out) {
		if (http_conns_adopt(&h->conns, r, h->unpack.out, r->items.end, h->unpack.room) != GW_OK)
			return false;
		h->unpack.out = NULL;
		h->unpack.room = 0;
	}
	free(r->list);
	r->list = NULL;
	return h->rejections_len == 0 || (r->list = strndup(h->rejections, h->rejections_len));
}

/* The outcome of a batch goes into the journal behind its messages. False: no room. */
static bool note_batch(struct http *h, struct http_request *r)
{
	uint8_t value[HTTP_KEY_VALUE + HTTP_KEY_REPORT];
	uint64_t position;
	if (!r->keyed || r->problem != HTTP_FINE)
		return true;
	struct state_change change = key_change(h, r, value);
	return intake_note(h->in, &change, &position) == GW_OK;
}

/* True: decided. */
static bool take_items(struct http *h, struct http_request *r, struct message *m, bool last)
{
	struct http_item item;
	bool full;
	put_items(h, r, m, &item, &full);
	if (full && !last && !intake_full(h->in) && intake_now_ms(h->in) - r->room_ms < HELD_MS && hold(h, r))
		return false;
	if (full) {
		(void)http_batch_next(&r->items, &item);
		stat_add(&intake_stats(h->in)->backpressured, 1);
		refuse_rest(h, r, &item);
	}
	finish_batch(h, r, full);
	if (note_batch(h, r) || last || intake_full(h->in) || intake_now_ms(h->in) - r->room_ms >= HELD_MS ||
	    !hold(h, r))
		return true;
	free(r->report); /* again when there is room for the note */
	r->report = NULL;
	r->decided = r->batch = false;
	return false;
}

static bool take_more(struct http *h, struct http_conn *c, bool last)
{
	struct http_request *r = &c->request;
	struct message m;
	enum http_problem problem = prepare(h, c, &m);
	if (problem) { /* cannot be: it was fine before */
		http_request_decide(r, problem, NULL, -1);
		return true;
	}
	h->rejections_len = r->list ? strlen(r->list) : 0;
	if (r->list)
		memcpy(h->rejections, r->list, h->rejections_len);
	return take_items(h, r, &m, last);
}

/* -- a whole body -- */

/* True: the body is a batch, and r->items is set (or the request decided: the array is not valid). */
static bool split(struct http *h, struct http_request *r, const char *body, size_t len)
{
	size_t start, end;
	payload_trim(body, len, &start, &end);
	if (r->head.media == PAYLOAD_LINES) {
		http_batch_lines(&r->items, body, end);
		r->items.at = start;
		return true;
	}
	while (start < end && memchr(" \t\r\n", body[start], 4))
		start++;
	if (!http_take_is_batch(h, r) || start == end || body[start] != '[')
		return false;
	/* The array itself is one level more than the messages in it may have. */
	struct json_result checked = json_check(body + start, end - start, (unsigned)h->common->max_depth + 1);
	if (checked.type != JSON_INVALID) {
		checked.start += start;
		checked.end += start;
		http_batch_array(&r->items, body, &checked);
		return true;
	}
	if (r->head.media != PAYLOAD_JSON || h->common->on_invalid != INVALID_REFUSE)
		return false; /* one invalid message: text, or a dead letter */
	intake_refuse(h->in, REFUSED_PAYLOAD);
	http_request_decide(r, HTTP_BAD_PAYLOAD, checked.reason, (long long)start + (long long)checked.offset);
	return true;
}

static enum http_problem unpack(struct http *h, struct http_request *r, const char **body, size_t *len)
{
	*body = (const char *)r->body;
	*len = r->body_len;
	if (r->head.packed == CODING_NONE || r->body_len == 0)
		return HTTP_FINE;
	const uint8_t *out;
	uint64_t max = h->max_unpacked;
	if (!http_take_is_batch(h, r) && h->common->max_payload < max)
		max = h->common->max_payload;
	const struct unpack_input packed = {r->head.packed == CODING_GZIP, r->body, r->body_len};
	switch (unpack_body(&h->unpack, &packed, (size_t)max, &out, len)) {
	case GW_OK: break;
	case GW_TOOBIG: return HTTP_UNPACKED_TOO_LARGE;
	case GW_NOMEM: return HTTP_NO_MEMORY;
	default: return HTTP_BAD_PACKING;
	}
	*body = (const char *)out;
	return HTTP_FINE;
}

static bool take(struct http *h, struct http_conn *c)
{
	struct http_request *r = &c->request;
	struct message m;
	const char *body;
	size_t len;
	enum http_problem problem = h->draining ? HTTP_STOPPING : prepare(h, c, &m);
	if (!problem)
		problem = unpack(h, r, &body, &len);
	if (!problem && len == 0)
		problem = HTTP_EMPTY;
	if (problem) {
		http_request_decide(r, problem, NULL, -1);
		return true;
	}
	if (r->head.key.text && h->keys && !key_claim(h, r, body, len))
		return true;
	if (!split(h, r, body, len)) {
		m.payload = body;
		m.payload_len = len;
		take_one(h, r, &m);
		return true;
	}
	if (r->decided)
		return true;
	size_t most = (size_t)h->max_batch_lines, count = http_batch_count(&r->items, most);
	if (count == 0 || count > most) {
		http_request_decide(r, count == 0 ? HTTP_EMPTY : HTTP_TOO_MANY_LINES,
		                    count == 0 ? "There is no message in the batch." : NULL, -1);
		return true;
	}
	r->room_ms = intake_now_ms(h->in);
	h->rejections_len = 0;
	return take_items(h, r, &m, false);
}

static bool taken(struct http *h, struct http_conn *c, bool decided)
{
	if (decided)
		key_settle(h, &c->request);
	return decided;
}

bool http_take(struct http *h, struct http_conn *c)
{
	return taken(h, c, take(h, c));
}

bool http_take_more(struct http *h, struct http_conn *c, bool last)
{
	return taken(h, c, take_more(h, c, last));
}
