/* See fake_intake.h. */
#include "test/unit/fake_intake.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Weak: should something else of the archive bring the real table along, they do not clash. */
__attribute__((weak)) const struct setting listener_settings[] = {SETTINGS_END};

int64_t fake_clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct intake *fake_intake_new(void)
{
	struct intake *in = aligned_alloc(_Alignof(struct intake), sizeof(*in));
	assert(in);
	memset(in, 0, sizeof(*in));
	in->settings = (struct listener_settings){.ack = ACK_DURABLE,
	                                          .ack_timeout = 5000000,
	                                          .payload = PAYLOAD_AUTO,
	                                          .max_depth = 32,
	                                          .max_payload = 256 << 10,
	                                          .lane = 4 << 20,
	                                          .threads = 1,
	                                          .time_past = 86400000000u,
	                                          .time_future = 86400000000u};
	in->name = "test";
	in->room = -1;
	in->lane_room = -1;
	in->turn_limit = -1;
	in->refuse_reason = REFUSED_PAYLOAD;
	in->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	in->now_ms = fake_clock_ms();
	assert(in->fd >= 0);
	return in;
}

void fake_forget(struct intake *in)
{
	for (size_t i = 0; i < in->message_count; i++) {
		free(in->messages[i].device);
		free(in->messages[i].channel);
		free(in->messages[i].payload);
		free(in->messages[i].content_type);
		free(in->messages[i].idempotency_key);
	}
	in->message_count = 0;
}

void fake_intake_free(struct intake *in)
{
	fake_forget(in);
	free(in->messages);
	free(in->answers);
	free(in->shared);
	close(in->fd);
	free(in);
}

void fake_turns(struct intake *in, int n)
{
	in->turn_limit = n;
	in->turn_count = 0;
	in->over = false;
}

static void fake_wake(struct intake *in)
{
	uint64_t one = 1;
	ssize_t n = write(in->fd, &one, sizeof(one));
	(void)n;
}

void fake_settle(struct intake *in, uint64_t position)
{
	if (position > in->settled)
		in->settled = position;
	fake_wake(in);
}

void fake_settle_all(struct intake *in)
{
	fake_settle(in, in->position);
}

const char *intake_name(const struct intake *in)
{
	return in->name;
}

const struct listener_settings *intake_settings(const struct intake *in)
{
	return &in->settings;
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
	if (!in->shared)
		in->shared = calloc(1, size);
	return in->shared;
}

uint16_t *intake_port(struct intake *in)
{
	return &in->port;
}

void intake_listening(struct intake *in, const char *address)
{
	size_t len = strnlen(address, sizeof(in->address) - 1);
	memcpy(in->address, address, len);
	in->address[len] = 0;
}

enum intake_phase intake_phase(const struct intake *in)
{
	return in->over ? INTAKE_END : in->phase;
}

int64_t intake_turn(struct intake *in)
{
	uint64_t drop;
	ssize_t n = read(in->fd, &drop, sizeof(drop));
	(void)n;
	in->over = in->turn_limit >= 0 && in->turn_count >= in->turn_limit;
	in->turn_count++;
	in->watched = 0;
	in->now_ms = fake_clock_ms() + in->skew_ms;
	return in->now_ms;
}

int64_t intake_now_ms(const struct intake *in)
{
	return in->now_ms;
}

static char *fake_copy(const void *bytes, size_t len)
{
	if (!bytes)
		return NULL;
	char *c = malloc(len + 1);
	assert(c);
	memcpy(c, bytes, len);
	c[len] = 0;
	return c;
}

/* The text at a pointer in a JSON payload, else the name given; as normalise does, strings and numbers only. */
static char *fake_name(const struct intake *in, const struct message *m, const struct json_pointer *p, const char *name,
                       size_t len, size_t *out_len)
{
	const char *payload = m->payload;
	unsigned depth = (unsigned)in->settings.max_depth;
	if (p && m->payload_len > 0 && json_check(payload, m->payload_len, depth).type != JSON_INVALID) {
		struct json_value v = json_find(payload, m->payload_len, p);
		if (v.type == JSON_STRING) {
			char *c = fake_copy(v.text, v.len);
			*out_len = json_unescape(c, v.text + 1, v.len - 2);
			c[*out_len] = 0;
			return c;
		}
		if (v.type == JSON_NUMBER) {
			*out_len = v.len;
			return fake_copy(v.text, v.len);
		}
	}
	*out_len = name ? len : 0;
	return fake_copy(name, len);
}

/* The first of its pointers that finds something, else the name given. */
static char *fake_device(const struct intake *in, const struct message *m, size_t *len)
{
	for (size_t i = 0; i < m->device_pointers; i++) {
		char *found = fake_name(in, m, &m->device_pointer[i], NULL, 0, len);
		if (found)
			return found;
	}
	return fake_name(in, m, NULL, m->device, m->device_len, len);
}

static enum gw_err fake_refuse(struct intake *in, enum gw_err err, enum refusal_reason reason, struct refusal *refusal)
{
	stat_add(&in->stats.received, 1);
	intake_refuse(in, reason);
	*refusal = (struct refusal){.reason = reason, .text = "refused by the test"};
	return err;
}

enum gw_err intake_put(struct intake *in, const struct message *m, uint64_t *position, struct refusal *refusal)
{
	in->puts++;
	if (in->full || in->room == 0 || in->lane_room == 0 || (in->longest && m->payload_len > in->longest))
		return GW_FULL;
	if (in->refuse) {
		enum gw_err err = in->refuse;
		in->refuse = GW_OK;
		return fake_refuse(in, err, in->refuse_reason, refusal);
	}
	size_t marked = in->refuse_payload ? strlen(in->refuse_payload) : 0;
	if (marked > 0 && m->payload_len >= marked && memcmp(m->payload, in->refuse_payload, marked) == 0)
		return fake_refuse(in, GW_INVALID, in->refuse_reason, refusal);
	struct fake_message f = {.payload = fake_copy(m->payload_len ? m->payload : "", m->payload_len),
	                         .payload_len = m->payload_len,
	                         .content_type = fake_copy(m->content_type, m->content_type_len),
	                         .idempotency_key = fake_copy(m->idempotency_key, m->idempotency_key_len),
	                         .kind = m->kind,
	                         .qos = m->qos,
	                         .retain = m->retain,
	                         .has_peer = m->peer != NULL};
	f.device = fake_device(in, m, &f.device_len);
	f.channel = fake_name(in, m, m->channel_pointer, m->channel, m->channel_len, &f.channel_len);
	if (!f.device) {
		free(f.channel);
		free(f.payload);
		free(f.content_type);
		free(f.idempotency_key);
		return fake_refuse(in, GW_INVALID, REFUSED_NO_DEVICE, refusal);
	}
	if (in->room > 0)
		in->room--;
	if (in->lane_room > 0)
		in->lane_room--;
	stat_add(&in->stats.received, 1);
	stat_add(&in->stats.accepted, 1);
	in->position += 64 + m->payload_len;
	f.position = in->position;
	if (in->message_count == in->message_room) {
		in->message_room = in->message_room ? 2 * in->message_room : 64;
		in->messages = realloc(in->messages, in->message_room * sizeof(*in->messages));
		assert(in->messages);
	}
	in->messages[in->message_count++] = f;
	*position = in->position;
	return GW_OK;
}

void intake_refuse(struct intake *in, enum refusal_reason reason)
{
	stat_add(&in->stats.refused[reason], 1);
}

void intake_report(struct intake *in, enum refusal_reason reason, const struct refused_sender *who)
{
	in->reports++;
	in->reported = reason;
	in->reported_peer = who->peer != NULL;
	size_t len =
	    who->device_len < sizeof(in->reported_device) - 1 ? who->device_len : sizeof(in->reported_device) - 1;
	if (who->device)
		memcpy(in->reported_device, who->device, len);
	in->reported_device[who->device ? len : 0] = 0;
	snprintf(in->reported_detail, sizeof(in->reported_detail), "%s", who->detail ? who->detail : "");
}

const char *intake_last_id(const struct intake *in)
{
	static const char digits[] = "0123456789";
	char *id = (char *)in->last_id;
	memset(id, '0', RECORD_ID_LEN);
	size_t n = in->message_count;
	for (int i = RECORD_ID_LEN - 1; n > 0 && i >= 0; i--, n /= 10)
		id[i] = digits[n % 10];
	return id;
}

bool intake_full(const struct intake *in)
{
	return in->full || in->room == 0;
}

unsigned intake_retry_after(const struct intake *in)
{
	(void)in;
	return 5;
}

uint64_t intake_position(const struct intake *in)
{
	return in->position;
}

enum gw_err intake_await(struct intake *in, uint64_t position, enum answer_kind kind, void *who, uint64_t what)
{
	if (in->await_fails)
		return GW_NOMEM;
	assert(in->answer_count == 0 || position >= in->answers[in->answer_first + in->answer_count - 1].position);
	if (in->answer_first + in->answer_count == in->answer_room) {
		if (in->answer_count > 0)
			memmove(in->answers, in->answers + in->answer_first, in->answer_count * sizeof(*in->answers));
		in->answer_first = 0;
		if (2 * in->answer_count >= in->answer_room) {
			in->answer_room = in->answer_room ? 2 * in->answer_room : 64;
			in->answers = realloc(in->answers, in->answer_room * sizeof(*in->answers));
			assert(in->answers);
		}
	}
	in->answers[in->answer_first + in->answer_count++] =
	    (struct fake_answer){.position = position, .who = who, .what = what, .since_ms = in->now_ms, .kind = kind};
	return GW_OK;
}

enum gw_err intake_await_note(struct intake *in, uint64_t position, void *who, uint64_t what)
{
	if (in->await_fails)
		return GW_NOMEM;
	assert(in->awaiting_note_count < sizeof(in->awaiting_note) / sizeof(in->awaiting_note[0]));
	in->awaiting_note[in->awaiting_note_count++] =
	    (struct fake_answer){.position = position, .who = who, .what = what, .kind = ANSWER_RELEASE};
	return GW_OK;
}

static bool fake_noted(const struct intake *in)
{
	uint64_t durable = in->durable > in->settled ? in->durable : in->settled;
	return in->awaiting_note_count > 0 && in->awaiting_note[0].position <= durable;
}

bool intake_answer(struct intake *in, struct answer *a)
{
	if (fake_noted(in)) {
		*a = (struct answer){
		    .who = in->awaiting_note[0].who, .what = in->awaiting_note[0].what, .kind = ANSWER_RELEASE};
		memmove(in->awaiting_note, in->awaiting_note + 1,
		        --in->awaiting_note_count * sizeof(in->awaiting_note[0]));
		return true;
	}
	if (in->answer_count == 0)
		return false;
	const struct fake_answer *f = &in->answers[in->answer_first];
	bool safe = f->position <= in->settled;
	bool late = in->late && in->now_ms - f->since_ms >= (int64_t)(in->settings.ack_timeout / 1000);
	if (!safe && !late)
		return false;
	*a = (struct answer){.who = f->who,
	                     .what = f->what,
	                     .kind = f->kind,
	                     .late = !safe,
	                     .durable = !safe && in->settings.ack == ACK_DELIVERED};
	if (safe && f->kind == ANSWER_ACKNOWLEDGEMENT)
		stat_add(&in->stats.acknowledged, 1);
	in->answer_first++;
	in->answer_count--;
	return true;
}

void intake_late(struct intake *in, bool on)
{
	in->late = on;
}

size_t intake_waiting(const struct intake *in)
{
	return in->answer_count + in->awaiting_note_count;
}

bool intake_settled(const struct intake *in, uint64_t position)
{
	return position <= in->settled;
}

void intake_watch(struct intake *in, uint64_t position)
{
	in->watched = position;
}

void intake_flush(struct intake *in)
{
	in->flushes++;
	in->flushed = in->position;
	if (!in->manual && in->settled < in->flushed)
		in->settled = in->flushed;
}

int intake_fd(const struct intake *in)
{
	return in->fd;
}

int intake_sleep(struct intake *in, int timeout_ms)
{
	if (in->on_sleep)
		in->on_sleep(in, in->on_sleep_arg);
	int limit = in->turn_limit >= 0 ? 2 : 1000;
	if (in->answer_count > 0 && in->answers[in->answer_first].position <= in->settled)
		return 0;
	if (fake_noted(in))
		return 0;
	if (in->watched && in->watched <= in->settled)
		return 0;
	return timeout_ms < 0 || timeout_ms > limit ? limit : timeout_ms;
}

bool intake_keeps_state(const struct intake *in)
{
	return in->keeps_state;
}

enum gw_err intake_note(struct intake *in, const struct state_change *change, uint64_t *position)
{
	*position = in->position;
	if (!in->keeps_state)
		return GW_OK;
	if (in->full || in->room == 0 || in->lane_room == 0)
		return GW_FULL;
	in->position += 32;
	*position = in->position;
	in->notes++;
	in->last_note = change->op;
	return GW_OK;
}

void intake_recall(struct intake *in, void (*each)(void *context, const struct state_change *change), void *context)
{
	for (size_t i = 0; i < in->recalled_count; i++)
		each(context, &in->recalled[i]);
}
