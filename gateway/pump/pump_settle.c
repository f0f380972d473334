/* What became of a batch: done, dead or to be tried again; back-off; the cursor behind the finished ones. */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "gateway/base/clock.h"
#include "gateway/pump/pump_parts.h"

#define CALM 8u /* note_overload */

/* -- batches of a track -- */

struct batch *pump_take_batch(struct pump *p, struct track *t)
{
	struct batch *b = p->spare;
	if (b)
		p->spare = b->next;
	else if (!(b = batch_new((size_t)p->plan.common->batch_records)))
		return NULL;
	b->pump = p;
	b->track = t;
	b->next = NULL;
	b->count = b->bytes = b->entry_bytes = 0;
	b->attempt = 0;
	b->taken = b->taken_bytes = 0;
	b->retry_after_ms = b->hold_ms = 0;
	b->held = b->resting = false;
	b->own = NULL;
	b->submitted_us = 0;
	b->waiting = b->finished = false;
	b->earlier = t->sequence <= p->earlier;
	b->resumes = t == &p->backlog && p->resumes;
	if (b->resumes)
		p->resumes = false;
	if (t->last) {
		t->last->next = b;
	} else {
		t->first = b;
		t->finished = t->sequence - 1;
	}
	t->last = b;
	return b;
}

void pump_recycle_batch(struct pump *p, struct batch *b)
{
	pump_mark_unburied(p, b, false);
	batch_clear(b);
	b->next = p->spare;
	p->spare = b;
}

/* -- the cursor -- */

void pump_store_cursor(struct pump *p, int64_t now_us)
{
	struct cursor_stretch ahead[CURSOR_AHEAD_MAX];
	char text[768];
	uint64_t left_out;
	p->saved_us = now_us;
	/* Sequences that were never on disk may be given out again after a crash: of those nothing may be remembered. */
	if (journal_keeps_state(p->journal))
		cursor_set_ahead(p->cursor, ahead, pump_backlog_ahead(p, ahead));
	heartbeat_outside(&p->heartbeat, true);
	if (cursor_save(p->cursor) && log_allow(&p->save_log, now_us / 1000, &left_out))
		log_event(LOG_WARN, "sink", "its cursor cannot be stored; a restart would send records twice",
		          LOG_S("sink.name", p->plan.name),
		          LOG_S("error.message", cursor_explain(p->cursor, text, sizeof(text))));
	heartbeat_outside(&p->heartbeat, false);
}

/* With no batch left all that was read is finished, also what was read over. */
static uint64_t finished(const struct track *t)
{
	return t->first ? t->finished : t->sequence - 1;
}

void pump_advance_cursor(struct pump *p)
{
	uint64_t safe = p->live.safe;
	if (p->gap_count > 0 && p->backlog.safe < safe)
		safe = p->backlog.safe;
	if (cursor_get(p->cursor) == safe)
		return;
	cursor_move(p->cursor, safe);
	stat_set(&p->stats.cursor, safe);
	bool full = journal_full(p->journal);
	if (full)
		pump_store_cursor(p, clock_mono_us()); /* space is freed behind what is stored */
	if (p->urgent || full)
		journal_wake(p->journal);
}

/* What is safe now is delivered; before that a rewind would have made it come, and count, again. */
static void settle_track(struct pump *p, struct track *t)
{
	t->safe = finished(t);
	if (t->safe >= t->unsafe_from)
		t->unsafe_since_us = 0;
	stat_add(&p->stats.delivered, t->unsafe_records);
	stat_add(&p->stats.delivered_bytes, t->unsafe_bytes);
	if (t == &p->backlog)
		stat_add(&p->stats.replayed, t->unsafe_records);
	t->unsafe_records = t->unsafe_bytes = 0;
}

void pump_settle_safe(struct pump *p)
{
	settle_track(p, &p->live);
	if (p->gap_count > 0)
		settle_track(p, &p->backlog);
	pump_advance_cursor(p);
}

void pump_note_unsafe(struct track *t)
{
	uint64_t since = pump_oldest_us(t);
	if (t->unsafe_since_us || !since)
		return;
	t->unsafe_since_us = since;
	t->unsafe_from = t->safe + 1;
}

uint64_t pump_oldest_us(const struct track *t)
{
	const struct batch_blocks *blocks = t->first ? t->first->blocks : NULL;
	return t->unsafe_since_us                                ? t->unsafe_since_us
	       : t->first && t->first->held                      ? t->first->oldest_us
	       : blocks && blocks->count > 0                     ? blocks->items[0]->time_us
	       : t->block && t->sequence <= block_last(t->block) ? t->block->time_us
	                                                         : 0;
}

bool pump_has_unsafe(const struct pump *p)
{
	return finished(&p->live) > p->live.safe || (p->gap_count > 0 && finished(&p->backlog) > p->backlog.safe);
}

/* Behind a batch that takes long, neighbours that are finished become one, so that the list stays as short as what is
 * with the sink. */
void pump_settle_finished(struct pump *p, struct track *t)
{
	while (t->first && t->first->finished) {
		struct batch *b = t->first;
		t->finished = b->last_sequence;
		t->first = b->next;
		if (!t->first)
			t->last = NULL;
		pump_recycle_batch(p, b);
	}
	for (struct batch *b = t->first; b; b = b->next)
		while (b->finished && b->next && b->next->finished) {
			struct batch *gone = b->next;
			b->last_sequence = gone->last_sequence;
			b->next = gone->next;
			if (!b->next)
				t->last = b;
			pump_recycle_batch(p, gone);
		}
	if (!p->plan.sink->deferred)
		pump_settle_safe(p);
}

void sink_synced(struct sink_host *host)
{
	if (!host->pump->rewind) /* asked for and not done yet: what was finished until now is not to be believed */
		pump_settle_safe(host->pump);
}

void sink_rewind(struct sink_host *host)
{
	host->pump->rewind = true;
}

bool sink_is_rewinding(const struct sink_host *host)
{
	return host->pump->rewind;
}

void sink_outside(struct sink_host *host, bool outside)
{
	heartbeat_outside(&host->pump->heartbeat, outside);
}

/* -- what became of a batch -- */

void pump_back_off(struct pump *p, uint64_t least_ms)
{
	const struct sink_settings *s = p->plan.common;
	int64_t now = clock_mono_us();
	if (now >= p->quiet_until_us) /* batches that fail together make it longer once */
		p->backoff_us = p->backoff_us ? p->backoff_us * 2 : s->backoff_min;
	if (p->backoff_us > s->backoff_max)
		p->backoff_us = s->backoff_max;
	uint64_t wait = p->backoff_us / 2 + (uint64_t)rand_r(&p->random) % (p->backoff_us / 2 + 1);
	if (least_ms * 1000 > wait)
		wait = least_ms * 1000;
	if (wait > s->backoff_max)
		wait = s->backoff_max;
	if (p->quiet_until_us < now + (int64_t)wait)
		p->quiet_until_us = now + (int64_t)wait;
}

/* A server that has too much to do, perhaps through us alone, gets half as many batches at a time, and one more whenever it
 * took CALM times so many (additive increase, multiplicative decrease: Chiu and Jain 1989). Batches that are refused
 * together count once. */
static void note_overload(struct pump *p)
{
	if (clock_mono_us() < p->quiet_until_us)
		return;
	p->allowed = p->allowed > 1 ? p->allowed / 2 : 1;
	p->taken = 0;
}

static void note_taken(struct pump *p)
{
	if (p->allowed == (size_t)p->plan.common->in_flight || ++p->taken < CALM * p->allowed)
		return;
	p->allowed++;
	p->taken = 0;
}

/* A record that was retried for longer than give_up_after is dead. */
static bool given_up(const struct pump *p, const struct batch *b, const struct batch_item *item, int64_t now_us)
{
	return now_us - (item->copy ? item->copy->since_us : b->submitted_us) > (int64_t)p->plan.common->give_up_after;
}

/* Whether the sink has all of it and said nothing else before: by far the most common word. */
static bool is_done(const struct batch *b)
{
	unsigned other = 0;
	for (size_t i = 0; i < b->count; i++)
		other |= ((unsigned)b->items[i].state ^ ITEM_DONE) | (b->items[i].reason != NULL);
	return other == 0;
}

/* Records that the sink has. A deferred sink has them for good only after its sync: they are counted when the batch is
 * finished and safe, so that a rewind counts none of them twice. */
static void count_delivered(struct pump *p, struct batch *b, size_t records, uint64_t bytes)
{
	b->taken += records;
	b->taken_bytes += bytes;
	if (p->plan.sink->deferred && b->count > 0)
		return;
	if (p->plan.sink->deferred) {
		b->track->unsafe_records += b->taken;
		b->track->unsafe_bytes += b->taken_bytes;
	} else {
		stat_add(&p->stats.delivered, b->taken);
		stat_add(&p->stats.delivered_bytes, b->taken_bytes);
		if (b->track == &p->backlog)
			stat_add(&p->stats.replayed, b->taken);
	}
	b->taken = b->taken_bytes = 0;
}

/* Settles what is done or dead; what is to be tried again moves together and stays in the batch. */
static void sift(struct pump *p, struct batch *b)
{
	size_t kept = 0, delivered = 0, bytes = 0;
	bool tell = true, may_end = p->plan.common->give_up_after && b->attempt > 0;
	int64_t now_us = may_end ? clock_mono_us() : 0;
	for (size_t i = 0; may_end && i < b->count; i++)
		if (b->items[i].state != ITEM_DONE && given_up(p, b, &b->items[i], now_us))
			b->items[i].state = ITEM_DEAD;
	pump_bury(p, b);
	for (size_t i = 0; i < b->count; i++) {
		struct batch_item *item = &b->items[i];
		if (item->state == ITEM_DONE || item->state == ITEM_DEAD) {
			if (item->state == ITEM_DONE) {
				delivered++;
				bytes += record_size(item->entry);
			}
			batch_item_clear(item);
			pump_held_forget(p, item);
			continue;
		}
		struct batch_item keep = *item;
		*item = (struct batch_item){0};
		keep.state = ITEM_PENDING;
		uint64_t left_out;
		if (tell && !b->unburied && keep.reason && !(tell = false) &&
		    log_allow(&p->retry_log, clock_mono_us() / 1000, &left_out))
			log_event(LOG_WARN, "sink", "could not take records now, will try again",
			          LOG_S("sink.name", p->plan.name), LOG_N("sluice.attempt", b->attempt + 1),
			          LOG_S("error.message", keep.reason), LOG_N("sluice.left_out", left_out));
		batch_item_clear(&keep);
		b->items[kept++] = keep;
	}
	b->count = kept;
	b->bytes = b->entry_bytes = 0;
	for (size_t i = 0; i < kept; i++) {
		struct record r;
		record_read(&r, b->items[i].entry);
		b->bytes += r.json_len;
		b->entry_bytes += r.size;
	}
	count_delivered(p, b, delivered, bytes);
}

void batch_finish(struct batch *b)
{
	struct pump *p = b->pump;
	struct track *t = b->track;
	assert(p->with_sink > 0 && t->with_sink > 0);
	p->with_sink--;
	t->with_sink--;
	stat_sub(&p->stats.in_flight, b->count);
	pump_mark_unburied(p, b, false);
	if (p->probe == b)
		p->probe = NULL;
	if (!b->held && is_done(b)) {
		size_t count = b->count;
		pump_note_unsafe(t);
		b->count = 0;
		count_delivered(p, b, count, b->entry_bytes);
	} else {
		pump_note_unsafe(t);
		sift(p, b);
	}
	if (p->unburied == 0 && p->own_text[0])
		pump_report_own(p, NULL);
	if (b->count > 0) {
		stat_add(&p->stats.errors, 1);
		stat_add(&p->stats.retried, b->count);
		b->attempt += b->attempt < UINT_MAX; /* 0 is what was never offered: a sink need not look for it */
		if (b->hold_ms > 0 && pump_held_add(p, b))
			return;
		if (b->overloaded)
			note_overload(p);
		pump_back_off(p, b->retry_after_ms);
		b->waiting = true;
		p->waiting++;
		return;
	}
	note_taken(p);
	if (b->held)
		pump_held_over(p);
	if (b->attempt > 0 || clock_mono_us() >= p->quiet_until_us)
		p->backoff_us = 0;
	stats_histogram_add(&p->stats.batch, (uint64_t)(clock_mono_us() - b->submitted_us), 1);
	b->finished = true;
	batch_clear(b); /* its blocks are not kept while it waits for those in front of it */
	pump_settle_finished(p, t);
}
