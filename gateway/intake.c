/* What a listener thread has in hand: putting messages into its lane, and telling it when they are safe. See intake.h.
 */
#include "gateway/intake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/listener.h"
#include "gateway/protocol.h"
#include "gateway/pump/dead_letter_file.h"

#define DEAD_LOOK_US 1000000

/* -- made and ended by main -- */

enum gw_err intake_init(struct intake *in, struct listener *l, struct journal *j, const struct intake_plan *plan,
                        struct why *why)
{
	memset(in, 0, sizeof(*in));
	in->listener = l;
	in->journal = j;
	in->thread = plan->thread;
	snprintf(in->heartbeat.name, sizeof(in->heartbeat.name), "listener %.50s/%u", l->name, plan->thread);
	enum gw_err err = lane_init(&in->lane, (size_t)l->settings->lane);
	if (err)
		return why_set(why, err, "listener %s: no memory or file descriptors for its lane", l->name);
	const struct normalise_source source = {l->protocol->name, l->name, l->settings};
	if ((err = normalise_init(&in->normaliser, &source, plan->start, (uint8_t)plan->number, why)))
		return why_add(why, err, "listeners.%s", l->name);
	in->lane.may_drop = l->settings->when_full == WHEN_FULL_DROP_OLDEST;
	in->state = calloc(1, l->protocol->size);
	in->keeps_state = journal_keeps_state(j);
	if (!in->state || journal_add_lane(j, &in->lane, plan->delivered_to))
		return why_set(why, GW_NOMEM, "listener %s: out of memory, or too many listener threads", l->name);
	return GW_OK;
}

void intake_fini(struct intake *in)
{
	lane_fini(&in->lane);
	normalise_fini(&in->normaliser);
	free(in->state);
	free(in->answers.ring);
	free(in->notes.ring);
	in->state = NULL;
	in->answers = in->notes = (struct answer_queue){0};
}

void intake_set_phase(struct intake *in, enum intake_phase phase)
{
	atomic_store(&in->phase, (int)phase);
	lane_wake_always(&in->lane);
}

/* -- what a listener is -- */

const char *intake_name(const struct intake *in)
{
	return in->listener->name;
}

const struct listener_settings *intake_settings(const struct intake *in)
{
	return in->listener->settings;
}

struct listener_stats *intake_stats(struct intake *in)
{
	return &in->stats;
}

unsigned intake_thread(const struct intake *in)
{
	return in->thread;
}

void *intake_shared(struct intake *in, size_t size)
{
	struct listener *l = in->listener;
	pthread_mutex_lock(&l->lock);
	if (!l->shared)
		l->shared = calloc(1, size);
	pthread_mutex_unlock(&l->lock);
	return l->shared;
}

uint16_t *intake_port(struct intake *in)
{
	return &in->listener->port;
}

void intake_listening(struct intake *in, const char *address)
{
	struct listener *l = in->listener;
	if (in->thread > 0)
		return;
	snprintf(l->address, sizeof(l->address), "%s", address);
	log_event(LOG_INFO, "listener", "listening", LOG_S("sluice.listener", l->name),
	          LOG_S("network.protocol", l->protocol->name), LOG_S("server.address", address),
	          LOG_S("sluice.ack", listener_settings_acks[l->settings->ack]),
	          LOG_N("sluice.threads", l->settings->threads));
}

/* -- the loop -- */

enum intake_phase intake_phase(const struct intake *in)
{
	return (enum intake_phase)atomic_load_explicit((_Atomic int *)&in->phase, memory_order_acquire);
}

int64_t intake_turn(struct intake *in)
{
	lane_awake(&in->lane);
	in->starved = 0;
	in->watched = 0;
	in->now_us = clock_mono_us();
	in->wall_us = clock_wall_us();
	in->answered_us = 0;
	heartbeat_beat(&in->heartbeat, in->now_us / 1000);
	return in->now_us / 1000;
}

int64_t intake_now_ms(const struct intake *in)
{
	return in->now_us / 1000;
}

static struct state_change in_scope(const struct intake *in, const struct state_change *c)
{
	struct state_change change = *c;
	change.scope = (struct state_text){in->listener->name, strlen(in->listener->name)};
	return change;
}

/* Whether an invalid message may be kept. The file is written by a sink behind the journal, which may not refuse what was
 * accepted; so it is the door that looks how large it is, once a second, and between counts what it lets in. */
static bool dead_room(struct intake *in)
{
	char path[4096];
	struct stat st;
	uint64_t most = in->listener->settings->max_dead_letters;
	if (most == 0)
		return true;
	if (in->dead_us == 0 || in->now_us - in->dead_us >= DEAD_LOOK_US) {
		snprintf(path, sizeof(path), "%s/dead/" DEAD_LETTER_INTAKE ".ndjson", in->listener->data);
		in->dead_bytes = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
		in->dead_us = in->now_us;
	}
	bool full = in->dead_bytes >= most;
	if (full && !in->dead_full)
		log_event(LOG_WARN, "listener",
		          "invalid messages are refused: their dead-letter file reached max_dead_letters",
		          LOG_S("sluice.listener", in->listener->name),
		          LOG_N("sluice.dead_letters.bytes", in->dead_bytes));
	in->dead_full = full;
	return !full;
}

/* What was planned is not to be put. */
static enum gw_err turn_away(struct intake *in, const struct message *m, enum gw_err err, const struct refusal *refusal)
{
	stat_add(&in->stats.received, 1);
	stat_add(&in->stats.received_bytes, m->payload_len);
	stat_add(&in->stats.refused[refusal->reason], 1);
	return err;
}

enum gw_err intake_put(struct intake *in, const struct message *m, uint64_t *position, struct refusal *refusal)
{
	/* Checked before any work is done on the message: it will be offered again. */
	if (intake_full(in)) {
		in->starved = 8;
		return GW_FULL;
	}
	enum gw_err err = normalise_plan(&in->normaliser, m, in->wall_us, &in->plan, refusal);
	if (err)
		return turn_away(in, m, err, refusal);
	if (in->plan.kind == RECORD_DEAD && !dead_room(in)) {
		*refusal = (struct refusal){REFUSED_DEAD, in->plan.error_offset, in->plan.error};
		return turn_away(in, m, GW_INVALID, refusal);
	}
	struct state_change change;
	size_t room = in->plan.room;
	bool stateful = m->state && in->keeps_state;
	if (stateful) {
		change = in_scope(in, m->state);
		room += record_state_size(&change);
	}
	uint8_t *entry = lane_reserve(&in->lane, room);
	if (!entry) {
		in->starved = room;
		return GW_FULL;
	}
	size_t size = normalise_write(&in->normaliser, &in->plan, in->wall_us, entry);
	if (stateful)
		size = record_attach(entry, &change);
	*position = lane_commit(&in->lane, size);
	if (stateful)
		lane_mark_state(&in->lane);
	in->last = entry;
	stat_add(&in->stats.received, 1);
	stat_add(&in->stats.received_bytes, m->payload_len);
	stat_add(&in->stats.accepted, 1);
	if (in->plan.kind == RECORD_DEAD) {
		stat_add(&in->stats.dead, 1);
		in->dead_bytes += record_json_len(entry) + 1;
	}
	if (in->plan.clock)
		stat_add(&in->stats.clock_off, 1);
	if (in->plan.not_json) {
		stat_add(&in->stats.not_json[in->plan.fault], 1);
		intake_report_not_json(in, m);
	}
	return GW_OK;
}

bool intake_keeps_state(const struct intake *in)
{
	return in->keeps_state;
}

enum gw_err intake_note(struct intake *in, const struct state_change *c, uint64_t *position)
{
	*position = in->lane.tail;
	if (!in->keeps_state)
		return GW_OK;
	struct state_change change = in_scope(in, c);
	size_t size = RECORD_HEADER + record_state_size(&change);
	uint8_t *entry = intake_full(in) ? NULL : lane_reserve(&in->lane, size);
	if (!entry) {
		in->starved = size;
		return GW_FULL;
	}
	record_write_state(entry, &change);
	*position = lane_commit(&in->lane, size);
	lane_mark_state(&in->lane);
	return GW_OK;
}

void intake_recall(struct intake *in, void (*each)(void *context, const struct state_change *change), void *context)
{
	journal_recall(in->journal, in->listener->name, each, context);
}

void intake_refuse(struct intake *in, enum refusal_reason reason)
{
	stat_add(&in->stats.refused[reason], 1);
}

const char *intake_last_id(const struct intake *in)
{
	return record_id(in->last);
}

bool intake_full(const struct intake *in)
{
	return in->listener->yields ? journal_nearly_full(in->journal) : journal_full(in->journal);
}

unsigned intake_retry_after(const struct intake *in)
{
	return intake_full(in) ? 10 : 1;
}

uint64_t intake_position(const struct intake *in)
{
	return in->lane.tail;
}

/* -- answers -- */

static bool grow(struct answer_queue *q)
{
	size_t room = q->room ? q->room * 2 : 64;
	struct waiting_answer *more = malloc(room * sizeof(*more));
	if (!more)
		return false;
	for (size_t i = 0; i < q->count; i++)
		more[i] = q->ring[(q->first + i) & (q->room - 1)];
	free(q->ring);
	*q = (struct answer_queue){.ring = more, .count = q->count, .room = room};
	return true;
}

/* The journal puts off what nobody waits for. */
static void await_settled(struct intake *in, uint64_t position)
{
	if (in->listener->settings->ack != ACK_ACCEPTED)
		lane_await(&in->lane, position);
}

static enum gw_err queue(struct answer_queue *q, const struct waiting_answer *w)
{
	if (q->count == q->room && !grow(q))
		return GW_NOMEM;
	assert(q->count == 0 || q->ring[(q->first + q->count - 1) & (q->room - 1)].position <= w->position);
	q->ring[(q->first + q->count++) & (q->room - 1)] = *w;
	return GW_OK;
}

static const struct waiting_answer *queue_head(const struct answer_queue *q)
{
	return q->count > 0 ? &q->ring[q->first & (q->room - 1)] : NULL;
}

static void give(struct answer_queue *q, struct answer *a)
{
	const struct waiting_answer *w = queue_head(q);
	a->who = w->who;
	a->what = w->what;
	a->kind = (enum answer_kind)w->kind;
	q->first = (q->first + 1) & (q->room - 1);
	q->count--;
}

enum gw_err intake_await(struct intake *in, uint64_t position, enum answer_kind kind, void *who, uint64_t what)
{
	const struct waiting_answer w = {
	    .position = position, .who = who, .what = what, .since_us = in->now_us, .kind = (uint8_t)kind};
	enum gw_err err = queue(&in->answers, &w);
	if (!err)
		await_settled(in, position);
	return err;
}

enum gw_err intake_await_note(struct intake *in, uint64_t position, void *who, uint64_t what)
{
	const struct waiting_answer w = {.position = position, .who = who, .what = what, .kind = ANSWER_RELEASE};
	enum gw_err err = queue(&in->notes, &w);
	if (!err)
		await_settled(in, position);
	return err;
}

static uint64_t read_settled(const struct intake *in)
{
	struct lane *l = (struct lane *)&in->lane;
	switch ((enum ack_level)in->listener->settings->ack) {
	case ACK_ACCEPTED: return l->published;
	case ACK_DURABLE: return atomic_load_explicit(&l->durable, memory_order_seq_cst);
	case ACK_DELIVERED: break;
	}
	return atomic_load_explicit(&l->delivered, memory_order_seq_cst);
}

/* What is awaited by intake_await_note is due up to here. */
static uint64_t read_noted(const struct intake *in)
{
	if (in->listener->settings->ack == ACK_ACCEPTED)
		return in->lane.published;
	return atomic_load_explicit((_Atomic uint64_t *)&in->lane.durable, memory_order_seq_cst);
}

static bool is_noted(const struct intake *in)
{
	const struct waiting_answer *w = queue_head(&in->notes);
	return w && w->position <= read_noted(in);
}

bool intake_settled(const struct intake *in, uint64_t position)
{
	return read_settled(in) >= position;
}

void intake_watch(struct intake *in, uint64_t position)
{
	in->watched = position;
	await_settled(in, position);
}

static bool is_late(const struct intake *in, const struct waiting_answer *w)
{
	return in->late && in->now_us - w->since_us > (int64_t)in->listener->settings->ack_timeout;
}

bool intake_answer(struct intake *in, struct answer *a)
{
	a->late = a->durable = false;
	if (is_noted(in)) {
		give(&in->notes, a);
		return true;
	}
	const struct waiting_answer *w = queue_head(&in->answers);
	if (!w)
		return false;
	if (w->position > in->settled && w->position > (in->settled = read_settled(in))) {
		if (!is_late(in, w))
			return false;
		a->late = true;
		a->durable = atomic_load_explicit(&in->lane.durable, memory_order_seq_cst) >= w->position;
		stat_add(&in->stats.late, 1);
	} else if (w->kind == ANSWER_ACKNOWLEDGEMENT) {
		if (!in->answered_us)
			in->answered_us = clock_mono_us();
		stat_add(&in->stats.acknowledged, 1);
		stats_histogram_add(&in->stats.ack, (uint64_t)(in->answered_us - w->since_us), 1);
	}
	give(&in->answers, a);
	return true;
}

void intake_late(struct intake *in, bool on)
{
	in->late = on;
}

size_t intake_waiting(const struct intake *in)
{
	return in->answers.count + in->notes.count;
}

void intake_flush(struct intake *in)
{
	bool awaited = lane_publish_awaited(&in->lane, in->now_us), more = lane_publish(&in->lane);
	if (awaited || more)
		journal_wake_published(in->journal, &in->lane, awaited);
}

int intake_fd(const struct intake *in)
{
	return in->lane.wake_fd;
}

static uint64_t sooner(uint64_t position, const struct waiting_answer *w)
{
	return w && w->position < position ? w->position : position;
}

/* The position that is to wake it; 0: any that makes room, or anything that becomes durable. */
static uint64_t waits_for(const struct intake *in)
{
	uint64_t position = in->watched ? in->watched : LANE_NOTHING;
	if (in->starved || (in->notes.count > 0 && in->listener->settings->ack == ACK_DELIVERED))
		return 0;
	return sooner(sooner(position, queue_head(&in->answers)), queue_head(&in->notes));
}

int intake_sleep(struct intake *in, int timeout_ms)
{
	intake_flush(in);
	lane_sleep(&in->lane, waits_for(in));
	const struct waiting_answer *w = queue_head(&in->answers);
	if ((w && read_settled(in) >= w->position) || is_noted(in))
		return 0;
	if (in->watched && read_settled(in) >= in->watched)
		return 0;
	if (in->starved && !intake_full(in)) {
		if (lane_has_room(&in->lane, in->starved))
			return 0;
		lane_lacks_room(&in->lane); /* what is in it may be too little for the journal to begin on its own */
		journal_wake(in->journal);
	}
	return timeout_ms < 0 || timeout_ms > 1000 ? 1000 : timeout_ms;
}
