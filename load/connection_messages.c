/* The messages of a connection: which may go, what became of them, what stands in them; see connection.h. */
#include <stdlib.h>
#include <string.h>

#include "load/connection.h"
#include "load/connection_parts.h"
#include "load/worker.h"

/* -- which messages may go -- */

static bool have_slots(struct connection *c)
{
	uint64_t size = 1;
	while (size < c->worker->job->window)
		size *= 2;
	c->slots = malloc(size * sizeof(*c->slots));
	c->slot_mask = (uint32_t)(size - 1);
	return c->slots;
}

uint64_t connection_new_messages(const struct connection *c)
{
	const struct load_job *j = c->worker->job;
	uint64_t piece = j->batch, left = c->limit - c->next;
	if (left == 0 || c->worker->phase != JOB_SEND || c->leaving)
		return 0;
	piece = piece < left ? piece : left;
	if (c->next + piece > c->due || (j->confirms && c->next - c->base + piece > j->window))
		return 0;
	return piece;
}

static uint64_t ledger_of(const struct connection *c, uint64_t number, uint64_t *seq)
{
	const struct load_job *j = c->worker->job;
	*seq = number / c->devices;
	return j->ledger_base + c->number + number % c->devices * j->connections;
}

static void note_sent(struct connection *c, uint64_t from, uint64_t count, bool again)
{
	struct ledger *l = c->worker->job->ledger;
	for (uint64_t i = from, seq = 0; l && i < from + count; i++) {
		struct ledger_device *d = &l->devices[ledger_of(c, i, &seq)];
		if (seq >= d->sent)
			d->sent = seq + 1;
		if (again && ledger_ranges_add(&d->resent, seq))
			worker_error(c->worker, LOAD_RESOURCES, "out of memory for the ledger");
	}
}

static void note_acked(struct connection *c, uint64_t number)
{
	struct ledger *l = c->worker->job->ledger;
	uint64_t seq;
	if (!l)
		return;
	uint64_t at = ledger_of(c, number, &seq);
	if (ledger_ranges_add(&l->devices[at].acked, seq))
		worker_error(c->worker, LOAD_RESOURCES, "out of memory for the ledger");
}

/* One piece that was sent before; 0: nothing needs to be sent for it. */
static size_t put_again(struct connection *c, uint8_t *out)
{
	struct worker *w = c->worker;
	const struct load_protocol *p = connection_protocol(c);
	const struct slot *first = connection_slot(c, c->resend);
	uint64_t from = c->resend, count = p->batches ? c->next - from : 1;
	c->resend += count;
	if (first->state == SLOT_DONE && !p->in_order)
		return 0;
	for (uint64_t i = from; i < from + count; i++) {
		struct slot *s = connection_slot(c, i);
		s->again_us = (uint32_t)(w->now_us - s->first_us);
		s->tries = s->tries < UINT8_MAX ? (uint8_t)(s->tries + 1) : UINT8_MAX;
	}
	enum slot_state last = connection_slot(c, from + count - 1)->state;
	if (last == SLOT_SENT || last == SLOT_HALF) {
		w->counts.resent += count;
		note_sent(c, from, count, true);
	}
	return p->put(c, from, count, true, out);
}

static size_t put_new(struct connection *c, uint8_t *out)
{
	struct worker *w = c->worker;
	const struct load_job *j = w->job;
	uint64_t count = connection_new_messages(c), from = c->next;
	if (count == 0 || (j->confirms && !c->slots && !have_slots(c)))
		return 0;
	c->next = c->resend = from + count;
	w->counts.sent += count;
	if (j->confirms) {
		for (uint64_t i = from; i < from + count; i++)
			*connection_slot(c, i) = (struct slot){.first_us = w->now_us};
	} else {
		c->base = c->next;
		w->counts.unconfirmed += count;
	}
	if (j->ledger)
		note_sent(c, from, count, false);
	return j->protocol->put(c, from, count, false, out);
}

size_t connection_put_next(struct connection *c, uint8_t *out)
{
	while (c->resend < c->next) {
		size_t len = put_again(c, out);
		if (len > 0)
			return len;
	}
	return put_new(c, out);
}

/* -- what became of messages -- */

static uint64_t intended_us(const struct connection *c, uint64_t number, const struct slot *s)
{
	const struct load_job *j = c->worker->job;
	const struct load_shape *shape = &j->plan->shape;
	uint64_t unit = number / j->batch, t;
	if (shape->kind == SHAPE_CLOSED)
		return s->first_us;
	t = shape->kind == SHAPE_FLEET ? shape_fleet_us(shape, c->number, j->connections, c->devices, unit)
	                               : shape_time_us(shape, (unit * j->connections + c->number) * j->batch);
	t += atomic_load_explicit(&j->start_us, memory_order_relaxed);
	return t < s->first_us ? t : s->first_us;
}

/* Messages of one piece were sent at the same time and are acknowledged at the same time: recorded together. */
static void record(struct connection *c, uint64_t intended, uint64_t sent, uint64_t count)
{
	struct worker *w = c->worker;
	if (count == 0)
		return;
	hdr_record(w->latency, w->now_us - intended, count);
	hdr_record(w->service, w->now_us - sent, count);
}

static void move_base(struct connection *c)
{
	while (c->base < c->next && connection_slot(c, c->base)->state == SLOT_DONE)
		c->base++;
	if (c->resend < c->base)
		c->resend = c->base;
	c->backoff_us = 0; /* the server answers */
}

void connection_acked(struct connection *c, uint64_t from, uint64_t to)
{
	uint64_t run = 0, intended = 0, sent = 0;
	for (uint64_t i = from < c->base ? c->base : from; i < to && i < c->next; i++) {
		struct slot *s = connection_slot(c, i);
		bool counts = s->state == SLOT_SENT || s->state == SLOT_HALF;
		s->state = SLOT_DONE;
		if (!counts)
			continue;
		uint64_t at = intended_us(c, i, s), really = s->first_us + s->again_us;
		if (at != intended || really != sent) {
			record(c, intended, sent, run);
			run = 0;
			intended = at;
			sent = really;
		}
		run++;
		c->worker->counts.acknowledged++;
		if (c->worker->job->ledger)
			note_acked(c, i);
	}
	record(c, intended, sent, run);
	move_base(c);
}

void connection_counted(struct connection *c, uint64_t number)
{
	struct slot *s = connection_slot(c, number);
	if (number < c->base || number >= c->next || s->state != SLOT_SENT)
		return;
	record(c, intended_us(c, number, s), s->first_us + s->again_us, 1);
	s->state = SLOT_COUNTED;
	c->worker->counts.acknowledged++;
	note_acked(c, number);
}

void connection_rejected(struct connection *c, uint64_t from, uint64_t to, enum load_error kind, const char *words)
{
	for (uint64_t i = from < c->base ? c->base : from; i < to && i < c->next; i++) {
		if (connection_slot(c, i)->state == SLOT_DONE)
			continue;
		connection_slot(c, i)->state = SLOT_DONE;
		worker_error(c->worker, kind, "%s", words);
	}
	move_base(c);
}

void connection_unheard(struct connection *c, uint64_t number)
{
	if (number < c->base || number >= c->next)
		return;
	connection_slot(c, number)->state = SLOT_DONE;
	c->worker->counts.unconfirmed++;
	move_base(c);
}

void connection_resent(struct connection *c, uint64_t number)
{
	c->worker->counts.resent++;
	note_sent(c, number, 1, true);
}

void connection_repeat(struct connection *c, uint64_t hold_us)
{
	c->resend = c->base;
	c->hold_us = c->worker->now_us + hold_us;
}

/* -- what stands in a message -- */

void connection_facts(struct connection *c, uint64_t number, bool again, struct payload_facts *f, char time[64])
{
	struct worker *w = c->worker;
	const struct load_job *j = w->job;
	uint64_t device = c->number + (c->devices > 1 ? number % c->devices * j->connections : 0);
	*f = (struct payload_facts){.seq = c->devices > 1 ? number / c->devices : number,
	                            .connection = c->number,
	                            .n = device,
	                            .time = w->time,
	                            .time_len = w->time_len};
	if (again && j->confirms) {
		f->time = time;
		f->time_len = worker_time(w, connection_slot(c, number)->first_us, time);
	}
	if (!c->name || c->name_of != device) {
		if (!c->name && !(c->name = calloc(1, j->name_max + PAYLOAD_SLACK)))
			abort(); /* a few bytes */
		c->name_len = payload_put(j->name, f, (uint8_t *)c->name);
		c->name_of = device;
	}
	f->device = c->name;
	f->device_len = c->name_len;
}

size_t connection_text(struct connection *c, const struct payload *text, uint64_t number, uint8_t *out)
{
	struct payload_facts f;
	char time[64];
	connection_facts(c, number, false, &f, time);
	return payload_put(text, &f, out);
}
