/* CoAP (RFC 7252): POST of one message, confirmable or not, from as many endpoints as there are connections.
 *
 * Token: the low 32 bits of the message's number on its endpoint, by which an answer finds its request; the message id
 * counts up per endpoint. A confirmable request is sent again after 2 to 3 seconds, then after twice that, four times at most
 * (section 4.2: ACK_TIMEOUT 2 s, ACK_RANDOM_FACTOR 1.5, MAX_RETRANSMIT 4), the same to the last byte. After that a time-out
 * is counted, and the message begins anew under another message id; so it does after 5.03, when its Max-Age is over. An empty
 * acknowledgement stops the retransmission, and the answer comes separately (5.2.2). A request that is not confirmable
 * waits 2 seconds for its answer, and is then counted as unconfirmed. */
#include <string.h>

#include "load/connection.h"
#include "load/datagram.h"
#include "load/job.h"
#include "load/worker.h"

#define ACK_TIMEOUT_US UINT64_C(2000000)
#define MAX_RETRANSMIT 4
#define PAUSE_MOST_US UINT64_C(30000000)

enum { CON, NON, ACK, RST };
enum { OPTION_URI_PATH = 11, OPTION_CONTENT_FORMAT = 12, OPTION_MAX_AGE = 14, OPTION_URI_QUERY = 15 };

/* -- writing -- */

static uint8_t *put_header(uint8_t *out, unsigned type, unsigned token_len, uint8_t code, uint16_t id)
{
	out[0] = (uint8_t)(0x40 | type << 4 | token_len);
	out[1] = code;
	out[2] = (uint8_t)(id >> 8);
	out[3] = (uint8_t)id;
	return out + 4;
}

/* An option (section 3.1); deltas are below 13. */
static uint8_t *put_option(uint8_t *out, unsigned delta, const uint8_t *value, size_t len)
{
	size_t more = len < 13 ? 0 : len < 269 ? 1 : 2;
	*out++ = (uint8_t)(delta << 4 | (more == 0 ? len : 12 + more));
	if (more == 1)
		*out++ = (uint8_t)(len - 13);
	if (more == 2) {
		*out++ = (uint8_t)((len - 269) >> 8);
		*out++ = (uint8_t)(len - 269);
	}
	memcpy(out, value, len);
	return out + len;
}

static size_t render(struct connection *c, uint64_t number, bool again, uint8_t *out)
{
	const struct load_job *j = c->worker->job;
	struct payload_facts f;
	char time[64];
	uint8_t path[1200], format = 50, *at; /* application/json; empty: 0, text/plain */
	connection_facts(c, number, again, &f, time);
	at = put_header(out, j->plan->qos == 0 ? NON : CON, 4, 0x02, connection_slot(c, number)->id);
	for (int i = 3; i >= 0; i--)
		*at++ = (uint8_t)(number >> (8 * i));
	size_t len = payload_put(j->path, &f, path), from = len > 0 && path[0] == '/' ? 1 : 0;
	unsigned last = 0, option = OPTION_URI_PATH;
	for (size_t i = from; i <= len; i++) {
		uint8_t divider = option == OPTION_URI_PATH ? '/' : '&';
		if (i < len && path[i] != divider && !(option == OPTION_URI_PATH && path[i] == '?'))
			continue;
		at = put_option(at, option - last, path + from, i - from);
		last = option;
		from = i + 1;
		if (option == OPTION_URI_PATH && (i == len || path[i] == '?')) {
			at = put_option(at, OPTION_CONTENT_FORMAT - last, &format, j->json);
			if (i == len)
				break;
			last = OPTION_CONTENT_FORMAT;
			option = OPTION_URI_QUERY;
		}
	}
	*at++ = 0xff;
	at += payload_put(j->payload, &f, at);
	return (size_t)(at - out);
}

static size_t put(struct connection *c, uint64_t number, uint64_t count, bool again, uint8_t *out)
{
	struct slot *s = connection_slot(c, number);
	(void)count;
	s->id = c->next_id++;
	s->tries = 0;
	s->state = SLOT_SENT;
	return render(c, number, again, out);
}

/* -- retransmission -- */

/* From one sending to the next, by the message id's own share of chance. */
static uint64_t wait_us(const struct slot *s)
{
	return (ACK_TIMEOUT_US + ACK_TIMEOUT_US / 2 * (s->id * 40503u % 65536u) / 65536) << s->tries;
}

static uint8_t *room(struct connection *c)
{
	return datagram_room(c->worker, &c->fd);
}

static void put_in_line(struct connection *c, size_t len)
{
	datagram_put(c->worker, &c->fd, c->number, len);
}

static void send_again(struct connection *c, uint64_t number, bool anew)
{
	struct slot *s = connection_slot(c, number);
	s->again_us = (uint32_t)(c->worker->now_us - s->first_us);
	s->tries = anew ? 0 : (uint8_t)(s->tries + 1);
	s->state = SLOT_SENT;
	if (anew)
		s->id = c->next_id++;
	connection_resent(c, number);
	put_in_line(c, render(c, number, true, room(c)));
}

static void tick(struct connection *c)
{
	struct worker *w = c->worker;
	for (uint64_t i = c->base; i < c->next; i++) {
		struct slot *s = connection_slot(c, i);
		uint64_t since = w->now_us - (s->first_us + s->again_us);
		if (s->state == SLOT_DONE || (int64_t)since < 0)
			continue;
		if (w->job->plan->qos == 0) {
			if (since > ACK_TIMEOUT_US)
				connection_unheard(c, i);
		} else if (s->state == SLOT_HALF) {
			if (since > w->job->plan->timeout_us) {
				worker_error(w, LOAD_TIMEOUT, "acknowledged, but no answer came");
				send_again(c, i, true);
			}
		} else if (since > wait_us(s)) {
			if (s->tries == MAX_RETRANSMIT)
				worker_error(w, LOAD_TIMEOUT, "no answer to a request and %d retransmissions",
				             MAX_RETRANSMIT);
			send_again(c, i, s->tries == MAX_RETRANSMIT);
		}
	}
}

/* Begins anew after a pause. */
static void postpone(struct connection *c, uint64_t number, uint64_t pause_us)
{
	struct slot *s = connection_slot(c, number);
	uint64_t now = c->worker->now_us - s->first_us;
	s->id = c->next_id++;
	s->tries = 0;
	s->state = SLOT_SENT;
	/* as if it had been sent when its retransmission would be due at the end of the pause */
	uint64_t wait = wait_us(s);
	s->again_us = (uint32_t)(now + pause_us > wait ? now + pause_us - wait : 0);
}

/* -- reading -- */

static bool by_token(struct connection *c, const uint8_t *token, uint64_t *number)
{
	uint32_t low = (uint32_t)token[0] << 24 | (uint32_t)token[1] << 16 | (uint32_t)token[2] << 8 | token[3];
	*number = c->base + (uint32_t)(low - (uint32_t)c->base);
	return *number < c->next && connection_slot(c, *number)->state != SLOT_DONE;
}

static bool by_id(struct connection *c, uint16_t id, uint64_t *number)
{
	for (*number = c->base; *number < c->next; ++*number)
		if (connection_slot(c, *number)->id == id && connection_slot(c, *number)->state != SLOT_DONE)
			return true;
	return false;
}

/* Max-Age in seconds; 60 if there is none (section 5.10.5). */
static uint64_t max_age(const uint8_t *at, const uint8_t *end)
{
	unsigned option = 0;
	while (at < end && *at != 0xff) {
		unsigned delta = *at >> 4, len = *at & 15;
		at++;
		if (delta == 13 && at < end)
			delta = 13u + *at++;
		if (len == 13 && at < end)
			len = 13u + *at++;
		if (delta > 268 || len > 268 || (size_t)(end - at) < len)
			break;
		option += delta;
		if (option == OPTION_MAX_AGE && len <= 4) {
			uint64_t v = 0;
			for (unsigned i = 0; i < len; i++)
				v = v << 8 | at[i];
			return v;
		}
		at += len;
	}
	return 60;
}

static void take_response(struct connection *c, uint64_t number, uint8_t code, const uint8_t *options,
                          const uint8_t *end)
{
	char words[60];
	if (code >> 5 == 2) {
		connection_acked(c, number, number + 1);
		return;
	}
	snprintf(words, sizeof(words), "CoAP %u.%02u", code >> 5, code & 31u);
	if (code >> 5 == 5 && code != 0xa5 && code != 0xa1) {
		uint64_t pause = code == 0xa3 ? max_age(options, end) * 1000000 : 1000000;
		worker_error(c->worker, code == 0xa4 ? LOAD_TIMEOUT : LOAD_BUSY, "%s", words);
		postpone(c, number, pause < PAUSE_MOST_US ? pause : PAUSE_MOST_US);
	} else {
		enum load_error kind = code == 0x81 || code == 0x83 ? LOAD_AUTH : LOAD_REJECTED;
		connection_rejected(c, number, number + 1, kind, words);
	}
}

static size_t take(struct connection *c, const uint8_t *in, size_t len)
{
	uint64_t number;
	if (len < 4 || in[0] >> 6 != 1) {
		worker_error(c->worker, LOAD_PROTOCOL, "a datagram that is no CoAP");
		return len;
	}
	unsigned type = in[0] >> 4 & 3, token_len = in[0] & 15;
	uint8_t code = in[1];
	uint16_t id = (uint16_t)(in[2] << 8 | in[3]);
	if (type == RST && by_id(c, id, &number)) {
		connection_rejected(c, number, number + 1, LOAD_REJECTED, "RST");
	} else if (type == ACK && code == 0) {
		if (by_id(c, id, &number) && connection_slot(c, number)->state == SLOT_SENT)
			connection_slot(c, number)->state = SLOT_HALF;
	} else if (code >= 0x40 && token_len == 4 && len >= 8) {
		if (type == CON) {
			put_header(room(c), ACK, 0, 0, id);
			put_in_line(c, 4);
		}
		if (by_token(c, in + 4, &number) && (type != ACK || connection_slot(c, number)->id == id))
			take_response(c, number, code, in + 8, in + len);
	} else if (type == CON) { /* a ping, or something for another: section 4.3 */
		put_header(room(c), RST, 0, 0, id);
		put_in_line(c, 4);
	}
	return len;
}

static bool confirms(const struct load_plan *plan)
{
	(void)plan;
	return true;
}

const struct load_protocol load_coap = {
    .name = "coap",
    .scheme = "coap",
    .port = "5683",
    .path = "/t/{device}",
    .datagram = true,
    .qos = 1,
    .most = 1,
    .window = 1, /* NSTART, section 4.7 */
    .most_window = 1024,
    .confirms = confirms,
    .room = 1100,
    .put = put,
    .take = take,
    .tick = tick,
};
