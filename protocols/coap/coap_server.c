#include "protocols/coap/coap_server.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* RFC 7252 section 4.8. */
#define ACK_TIMEOUT_MS 2000u
#define ACK_RANDOM_MS 1000u /* ACK_RANDOM_FACTOR 1.5 */
#define MAX_RETRANSMIT 4

/* Answers to requests from addresses that nobody has proved: RFC 7252 section 11.3, RFC 9175 section 2.6. */
#define AMPLIFICATION 3u

/* Why a table without room will have some again: exchanges settle, transfers expire. */
#define RETRY_SECONDS 5u

/* A request on its way through the functions below. */
struct request {
	const struct udp_datagram *d;
	struct coap_message m;
	const struct exchange_key *key;
	struct coap_exchange *exchange; /* NULL: nothing is to be remembered */
};

enum gw_err coap_server_init(struct coap_server *s, const struct coap_server_settings *settings, struct intake *in,
                             struct udp_out *out)
{
	memset(s, 0, sizeof(*s));
	s->settings = *settings;
	s->in = in;
	s->out = out;
	struct siphash_key key;
	siphash_key_random(&key);
	s->id_shift = (uint16_t)key.k0;
	s->random = key.k1 | 1;
	intake_late(in, true);
	char formats[128];
	payload_list_formats(formats, sizeof(formats), " ");
	snprintf(s->well_known, sizeof(s->well_known), "</t>;ct=\"%s\"", formats);
	payload_list_formats(formats, sizeof(formats), ", ");
	snprintf(s->formats_taken, sizeof(s->formats_taken), "formats taken: %s", formats);
	enum gw_err err = coap_exchanges_init(&s->exchanges, settings->exchanges, settings->exchange_lifetime_ms);
	return err == GW_OK ? coap_blocks_init(&s->blocks, &settings->blocks) : err;
}

void coap_server_fini(struct coap_server *s)
{
	coap_exchanges_fini(&s->exchanges);
	coap_blocks_fini(&s->blocks);
}

/* -- sending -- */

/* A peer must not use a message ID twice within EXCHANGE_LIFETIME, and neither must we with this peer (RFC 7252
 * section 4.4). Ours follow from the peer's, one to one: they keep that rule as long as the peer does, and cost no
 * memory per peer. A counter over all peers would come round every 65536 answers, a fraction of a second, and a peer
 * would now and then take a new answer for an old one. */
static uint16_t response_id(const struct coap_server *s, uint16_t request_id)
{
	return (uint16_t)(request_id + s->id_shift);
}

static void send_empty(struct coap_server *s, const struct udp_route *route, enum coap_type type, uint16_t id)
{
	udp_out_add(s->out, route, coap_empty_encode(udp_out_next(s->out), type, id));
}

/* RFC 7967 section 2.1: bit n - 1 says that class n is of no interest. */
static bool unwanted(uint8_t no_response, uint8_t code)
{
	return no_response >> ((code >> 5) - 1) & 1;
}

static void send_answer(struct coap_server *s, const struct udp_route *route, const struct coap_layer *l,
                        const struct coap_answer *a, size_t request_len)
{
	size_t most = AMPLIFICATION * request_len;
	size_t len = coap_answer_encode(udp_out_next(s->out), l, a, most);
	udp_out_add(s->out, route, len);
}

/* What is not wanted is still acknowledged. */
static void send_exchange(struct coap_server *s, const struct coap_exchange *x)
{
	bool mute = unwanted(x->no_response, x->answer.code);
	struct coap_layer l = {COAP_ACK, x->id, x->token, x->token_len};
	if (x->type == COAP_CON && !x->separated && mute) {
		send_empty(s, &x->route, COAP_ACK, x->id);
	} else if (x->type == COAP_CON && !x->separated) {
		send_answer(s, &x->route, &l, &x->answer, x->request_len);
	} else if (!mute) {
		l.type = x->type;
		l.id = response_id(s, x->id);
		send_answer(s, &x->route, &l, &x->answer, x->request_len);
	}
}

/* -- answering requests -- */

static void reply(struct coap_server *s, struct request *r, const struct coap_answer *a)
{
	struct coap_exchange *x = r->exchange;
	if (x) {
		x->answer = *a;
		send_exchange(s, x);
		coap_exchange_done(&s->exchanges, x, intake_now_ms(s->in));
		return;
	}
	const struct coap_message *m = &r->m;
	bool mute = unwanted(m->no_response, a->code);
	struct coap_layer l = {COAP_ACK, m->id, m->token, m->token_len};
	if (m->type == COAP_CON && mute) {
		send_empty(s, &r->d->route, COAP_ACK, m->id);
	} else if (m->type == COAP_CON) {
		send_answer(s, &r->d->route, &l, a, r->d->len);
	} else if (!mute) {
		l.type = COAP_NON;
		l.id = response_id(s, m->id);
		send_answer(s, &r->d->route, &l, a, r->d->len);
	}
}

static bool segment_is(const struct coap_segment *g, const char *text)
{
	return g->len == strlen(text) && memcmp(g->text, text, g->len) == 0;
}

/* Options that could not be read name nobody. */
static void report(struct coap_server *s, const struct udp_datagram *d, const struct coap_message *m,
                   enum refusal_reason reason, const char *detail)
{
	struct refused_sender who = {.peer = d->from, .detail = detail};
	if (m && m->path_count >= 2 && segment_is(&m->path[0], "t")) {
		who.device = m->path[1].text;
		who.device_len = m->path[1].len;
	}
	intake_report(s->in, reason, &who);
}

static void refuse(struct coap_server *s, struct request *r, enum refusal_reason reason, uint8_t code, const char *text)
{
	intake_refuse(s->in, reason);
	report(s, r->d, &r->m, reason, text);
	reply(s, r, &(struct coap_answer){.code = code, .text = text});
}

/* 5.03 is not remembered. RFC 7252 section 4.5 wants the same answer for the same message because it must not take
 * effect twice; this one took none. So a retransmission is a new try, which is what the device hopes for, and a full
 * gateway spends no memory on saying so. */
static void unavailable(struct coap_server *s, struct request *r, uint32_t max_age)
{
	if (r->exchange)
		coap_exchange_drop(&s->exchanges, r->exchange);
	r->exchange = NULL;
	if (r->m.type == COAP_NON)
		stat_add(&intake_stats(s->in)->dropped, 1);
	reply(s, r, &(struct coap_answer){.code = COAP_UNAVAILABLE, .has_max_age = true, .max_age = max_age});
}

static void no_memory(struct coap_server *s, struct request *r)
{
	intake_refuse(s->in, REFUSED_MEMORY);
	report(s, r->d, &r->m, REFUSED_MEMORY, "exchanges, blocks_per_peer or blocks_memory");
	unavailable(s, r, RETRY_SECONDS);
}

/* Without Block1: in a 4.13 that asks for smaller blocks (RFC 7959 section 2.9.3), and their size is not what is wrong.
 */
static void too_large(struct coap_server *s, struct request *r, size_t most)
{
	report(s, r->d, &r->m, REFUSED_TOO_LARGE, "over max_payload, max_body or max_datagram");
	reply(s, r, &(struct coap_answer){.code = COAP_TOO_LARGE, .has_size1 = true, .size1 = (uint32_t)most});
}

/* -- telemetry -- */

static bool channel_join(struct coap_server *s, const struct coap_message *m, struct message *out)
{
	size_t len = 0;
	for (size_t i = 2; i < m->path_count; i++) {
		if (len + 1 + m->path[i].len > sizeof(s->channel))
			return false;
		if (i > 2)
			s->channel[len++] = '/';
		memcpy(s->channel + len, m->path[i].text, m->path[i].len);
		len += m->path[i].len;
	}
	out->channel = s->channel;
	out->channel_len = len;
	return true;
}

/* A trailing slash is an empty last segment; /t/x/ has no channel. */
static bool channel_set(struct coap_server *s, const struct coap_message *m, struct message *out)
{
	if (m->path_count < 3 || (m->path_count == 3 && m->path[2].len == 0))
		return true;
	if (m->path_count > 3)
		return channel_join(s, m, out);
	out->channel = m->path[2].text;
	out->channel_len = m->path[2].len;
	return true;
}

static void refuse_message(struct coap_server *s, struct request *r, const struct refusal *refusal)
{
	report(s, r->d, &r->m, refusal->reason, refusal->text);
	struct coap_answer a = {.code = COAP_BAD_REQUEST, .text = refusal->text};
	if (refusal->reason == REFUSED_PAYLOAD) {
		a.has_offset = true;
		a.offset = (uint32_t)refusal->offset;
	}
	reply(s, r, &a);
}

/* put offers the message; false: it found no room and was not taken. */
static bool put(struct coap_server *s, struct request *r, struct message *msg)
{
	uint64_t position;
	struct refusal refusal = {0};
	struct coap_exchange *x = r->exchange;
	switch (intake_put(s->in, msg, &position, &refusal)) {
	case GW_OK:
		if (intake_await(s->in, position, ANSWER_ACKNOWLEDGEMENT, s, coap_exchange_number(&s->exchanges, x)) !=
		    GW_OK)
			coap_exchange_drop(&s->exchanges, x); /* unanswered: the device sends again */
		return true;
	case GW_FULL:
		if (r->m.type == COAP_CON) /* a NON is counted as dropped */
			intake_refuse(s->in, REFUSED_FULL);
		unavailable(s, r, intake_retry_after(s->in));
		return false;
	case GW_TOOBIG: too_large(s, r, intake_settings(s->in)->max_payload); return true;
	default: refuse_message(s, r, &refusal); return true;
	}
}

static void put_block(struct coap_server *s, struct request *r, struct message *msg)
{
	struct coap_message *m = &r->m;
	struct coap_answer *a = &r->exchange->answer; /* its code comes when the message has settled */
	a->has_block1 = true;
	a->block1 = m->block1;
	if (m->block1.number == 0 &&
	    m->block1.exponent > s->settings.block_exponent) /* smaller ones, please; RFC 7959 section 2.5 */
		a->block1.exponent = s->settings.block_exponent;
	if (m->block1.number == 0 && !m->block1.more) {
		put(s, r, msg);
		return;
	}
	struct coap_block *transfer = NULL;
	size_t len;
	switch (coap_block_take(&s->blocks, intake_now_ms(s->in), &r->d->route, m, &transfer, &len)) {
	case BLOCK_CONTINUE:
		reply(s, r, &(struct coap_answer){.code = COAP_CONTINUE, .has_block1 = true, .block1 = a->block1});
		break;
	case BLOCK_COMPLETE:
		msg->payload = transfer->bytes;
		msg->payload_len = len;
		if (put(s, r, msg))
			coap_block_end(&s->blocks, transfer);
		break;
	case BLOCK_MISSING: refuse(s, r, REFUSED_PROTOCOL, COAP_INCOMPLETE, "an earlier block is missing"); break;
	case BLOCK_WRONG: refuse(s, r, REFUSED_PROTOCOL, COAP_BAD_REQUEST, "block of a wrong length"); break;
	case BLOCK_TOO_LARGE:
		intake_refuse(s->in, REFUSED_TOO_LARGE);
		too_large(s, r, s->settings.blocks.max_body);
		break;
	case BLOCK_NO_ROOM: no_memory(s, r); break;
	}
}

/* False: a format that nobody takes. */
static bool format_set(const struct coap_server *s, int32_t format, struct message *out)
{
	enum payload_kind kind = payload_of_format(format);
	const char *type = payload_format_type(format);
	if (kind == PAYLOAD_UNKNOWN &&
	    (!type || !payload_accepts(&intake_settings(s->in)->accept_types, type, strlen(type))))
		return false;
	out->kind = kind == PAYLOAD_UNKNOWN ? PAYLOAD_AUTO : kind;
	out->content_type = type;
	out->content_type_len = type ? strlen(type) : 0;
	return true;
}

static void telemetry(struct coap_server *s, struct request *r)
{
	struct coap_message *m = &r->m;
	struct message msg = {
	    .device = m->path[1].text,
	    .device_len = m->path[1].len,
	    .device_named = true,
	    .payload = m->payload,
	    .payload_len = m->payload_len,
	    .qos = -1,
	    .peer = r->d->from,
	};
	if (!format_set(s, m->format, &msg)) {
		refuse(s, r, REFUSED_UNSUPPORTED, COAP_UNSUPPORTED_FORMAT, s->formats_taken);
		return;
	}
	if (!channel_set(s, m, &msg)) {
		refuse(s, r, REFUSED_CHANNEL, COAP_BAD_REQUEST, "channel too long");
		return;
	}
	/* As in HTTP. The last block of a body may be empty. */
	if (m->payload_len == 0 && !(m->has_block1 && m->block1.number > 0)) {
		refuse(s, r, REFUSED_PAYLOAD, COAP_BAD_REQUEST, "empty payload");
		return;
	}
	if (m->payload_len > intake_settings(s->in)->max_payload) {
		intake_refuse(s->in, REFUSED_TOO_LARGE);
		too_large(s, r, intake_settings(s->in)->max_payload);
		return;
	}
	r->exchange = coap_exchange_add(&s->exchanges, intake_now_ms(s->in), &r->d->route, m, r->key, r->d->len);
	if (!r->exchange)
		no_memory(s, r);
	else if (m->has_block1)
		put_block(s, r, &msg);
	else
		put(s, r, &msg);
}

/* -- resources -- */

static void discovery(struct coap_server *s, struct request *r)
{
	if (r->m.code != COAP_GET)
		refuse(s, r, REFUSED_UNSUPPORTED, COAP_METHOD_NOT_ALLOWED, "use GET");
	else if (r->m.accept != -1 && r->m.accept != COAP_FORMAT_LINKS)
		refuse(s, r, REFUSED_UNSUPPORTED, COAP_NOT_ACCEPTABLE, "only format 40");
	else
		reply(
		    s, r,
		    &(struct coap_answer){
		        .code = COAP_CONTENT, .has_format = true, .format = COAP_FORMAT_LINKS, .text = s->well_known});
}

static void resource(struct coap_server *s, struct request *r)
{
	const struct coap_message *m = &r->m;
	if (m->path_count >= 2 && segment_is(&m->path[0], "t")) {
		if (m->code == COAP_POST ||
		    m->code == COAP_PUT) /* Accept says nothing here: the answer has no representation */
			telemetry(s, r);
		else
			refuse(s, r, REFUSED_UNSUPPORTED, COAP_METHOD_NOT_ALLOWED, "use POST or PUT");
	} else if (m->path_count == 2 && segment_is(&m->path[0], ".well-known") && segment_is(&m->path[1], "core")) {
		discovery(s, r);
	} else {
		refuse(s, r, REFUSED_UNSUPPORTED, COAP_NOT_FOUND, "use /t/{device}");
	}
}

/* -- the message layer -- */

/* RFC 7252 section 4.2: a CON that is in error is rejected by RST; section 4.3: anything else is ignored. */
static void reject(struct coap_server *s, const struct udp_datagram *d, const struct coap_message *m)
{
	intake_refuse(s->in, REFUSED_PROTOCOL);
	report(s, d, NULL, REFUSED_PROTOCOL, "a malformed message, or one that nobody asked for");
	if (m->type == COAP_CON)
		send_empty(s, &d->route, COAP_RST, m->id);
}

static void duplicate(struct coap_server *s, struct coap_exchange *x)
{
	stat_add(&intake_stats(s->in)->duplicates, 1);
	if (x->type == COAP_CON && x->separated)
		send_empty(s, &x->route, COAP_ACK, x->id);
	else if (x->state == EXCHANGE_DONE)
		send_exchange(s, x);
	/* else it waits: its answer comes when there is one */
}

static void request(struct coap_server *s, struct request *r)
{
	const struct udp_datagram *d = r->d;
	struct coap_exchange *x = coap_exchange_find(&s->exchanges, intake_now_ms(s->in), &d->route, &r->m, r->key);
	if (x) {
		duplicate(s, x);
		return;
	}
	enum coap_parsed parsed = coap_message_options(&r->m);
	if (d->cut) { /* what stands in it may be cut, too: only its size is sure */
		intake_refuse(s->in, REFUSED_TOO_LARGE);
		too_large(s, r, s->settings.blocks.max_body);
	} else if (parsed != COAP_PARSED) {
		reject(s, d, &r->m);
	} else if (r->m.refusal != COAP_EMPTY && r->m.type == COAP_NON && r->m.refusal == COAP_BAD_OPTION) {
		reject(s, d, &r->m); /* RFC 7252 section 5.4.1: to be rejected, which for a NON is silence */
	} else if (r->m.refusal != COAP_EMPTY) {
		refuse(s, r, REFUSED_UNSUPPORTED, r->m.refusal, r->m.refusal_text);
	} else {
		resource(s, r);
	}
}

/* An empty ACK or RST ends a separate response; any other is nothing of ours. */
static void response_ended(struct coap_server *s, const struct udp_datagram *d, const struct coap_message *m)
{
	uint16_t id = (uint16_t)(m->id - s->id_shift);
	struct coap_exchange *x = m->code == COAP_EMPTY ? coap_exchange_response(&s->exchanges, &d->route, id) : NULL;
	if (x)
		coap_exchange_done(&s->exchanges, x, intake_now_ms(s->in));
}

static void take(struct coap_server *s, const struct udp_datagram *d, const struct exchange_key *key)
{
	struct request r;
	r.d = d;
	r.key = key;
	r.exchange = NULL;
	enum coap_parsed parsed = coap_message_header(&r.m, d->bytes, d->len);
	if (parsed == COAP_FOREIGN) {
		intake_refuse(s->in, REFUSED_PROTOCOL);
		report(s, d, NULL, REFUSED_PROTOCOL, "not a message of CoAP version 1 (DTLS is not spoken here)");
	} else if (parsed == COAP_MALFORMED) {
		reject(s, d, &r.m);
	} else if (r.m.type == COAP_ACK || r.m.type == COAP_RST) {
		response_ended(s, d, &r.m);
	} else if (r.m.code == COAP_EMPTY && r.m.type == COAP_NON) {
		return; /* RFC 7252 section 4.3 */
	} else if (r.m.code == COAP_EMPTY) {
		send_empty(s, &d->route, COAP_RST, r.m.id); /* a ping, section 4.3 */
	} else if (r.m.code >> 5 != 0) {
		reject(s, d, &r.m); /* a response to nothing that we asked, or a reserved class */
	} else {
		request(s, &r);
	}
}

void coap_server_take(struct coap_server *s, const struct udp_datagram *d, size_t count)
{
	assert(count <= UDP_BATCH);
	for (size_t i = 0; i < count; i++)
		s->key[i] = coap_exchange_key(&s->exchanges, &d[i].route, d[i].bytes, d[i].len);
	coap_exchange_prefetch(&s->exchanges, s->key, count);
	for (size_t i = 0; i < count; i++)
		take(s, &d[i], &s->key[i]);
}

/* -- what comes later -- */

/* xorshift64*: spreads retransmissions in time; nothing secret hangs on it. */
static uint32_t random_below(struct coap_server *s, uint32_t limit)
{
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return (uint32_t)((s->random * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % limit;
}

void coap_server_answer(struct coap_server *s, const struct answer *a)
{
	struct coap_exchange *x = coap_exchange_at(&s->exchanges, (uint32_t)a->what);
	int64_t now = intake_now_ms(s->in);
	assert(x->state == EXCHANGE_UNSETTLED || x->state == EXCHANGE_ACKED);
	x->answer.code = a->late ? COAP_GATEWAY_TIMEOUT : COAP_CHANGED;
	send_exchange(s, x);
	if (x->separated && !unwanted(x->no_response, x->answer.code))
		coap_exchange_separate(&s->exchanges, x, now, ACK_TIMEOUT_MS + random_below(s, ACK_RANDOM_MS));
	else
		coap_exchange_done(&s->exchanges, x, now);
}

static void acknowledge_slow(struct coap_server *s, int64_t now)
{
	struct coap_exchange *x;
	while ((x = coap_exchange_oldest(&s->exchanges)) && now - x->at_ms >= s->settings.separate_after_ms &&
	       udp_out_room(s->out) > 0) {
		send_empty(s, &x->route, COAP_ACK, x->id);
		coap_exchange_acked(&s->exchanges, x);
	}
}

static void retransmit(struct coap_server *s, int64_t now)
{
	struct coap_exchange *x;
	while (udp_out_room(s->out) > 0 && (x = coap_exchange_due(&s->exchanges, now))) {
		if (x->tries == MAX_RETRANSMIT) {
			coap_exchange_done(&s->exchanges, x, now); /* the message is safe; its device will never know */
			continue;
		}
		x->tries++;
		send_exchange(s, x);
		/* After the last one there is nothing left to send: wait for its acknowledgement no longer than before
		 * it. */
		coap_exchange_separate(&s->exchanges, x, now,
		                       x->tries == MAX_RETRANSMIT ? x->timeout_ms : 2 * x->timeout_ms);
	}
}

int coap_server_tick(struct coap_server *s)
{
	int64_t now = intake_now_ms(s->in);
	acknowledge_slow(s, now);
	retransmit(s, now);
	stat_set(&intake_stats(s->in)->forgotten, s->exchanges.forgotten);
	for (size_t n = coap_blocks_expire(&s->blocks, now); n > 0; n--)
		intake_refuse(s->in, REFUSED_TIMEOUT);
	int64_t wait = s->exchanges.separate > 0 ? EXCHANGE_SLOT_MS : 1000;
	const struct coap_exchange *x = coap_exchange_oldest(&s->exchanges);
	if (x && x->at_ms + s->settings.separate_after_ms - now < wait)
		wait = x->at_ms + s->settings.separate_after_ms - now;
	return wait > 0 ? (int)wait : 0;
}
