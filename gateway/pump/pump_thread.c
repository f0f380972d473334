/* The pump's thread: read, batch, submit, settle, move the cursor. */
#include <assert.h>
#include <poll.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/pump/pump_parts.h"

#define SAVE_US 250000 /* how often the cursor is stored: so long, what is delivered is kept in the journal */
#define IN_ROW_MAX 3u  /* batches of the live track, before one of a replay that is due has its turn */

/* -- handing over -- */

static bool submit(struct pump *p, struct batch *b)
{
	struct track *t = b->track;
	if (b->attempt == 0)
		b->submitted_us = clock_mono_us();
	b->retry_after_ms = b->hold_ms = 0;
	b->overloaded = false;
	size_t count = b->count;
	p->with_sink++;
	t->with_sink++;
	stat_add(&p->stats.in_flight, count);
	if (p->plan.sink->submit(p->state, b) == GW_OK) {
		stat_add(&p->stats.batches, 1);
		return true;
	}
	p->with_sink--;
	t->with_sink--;
	stat_sub(&p->stats.in_flight, count);
	return false;
}

static struct batch *first_waiting(const struct track *t)
{
	struct batch *b = t->first;
	while (b && !b->waiting)
		b = b->next;
	return b;
}

/* Batches that wait for another try go first, and as long as the sink is left alone nothing else does. */
static bool resubmit(struct pump *p)
{
	while (p->waiting > 0) {
		if (p->with_sink >= p->allowed)
			return false;
		struct batch *b = first_waiting(&p->live);
		if (!b)
			b = first_waiting(&p->backlog);
		b->waiting = false;
		p->waiting--;
		if (submit(p, b)) {
			if (clock_mono_us() < p->quiet_until_us)
				return false;
			continue;
		}
		b->waiting = true;
		p->waiting++;
		return false;
	}
	return true;
}

/* Those that rest for a target of their own, and may try it: before all others, or they would find no place. */
static void submit_held(struct pump *p)
{
	struct batch *b;
	while (p->with_sink < p->allowed && (b = pump_held_next(p, clock_mono_us())))
		if (!submit(p, b)) {
			pump_held_put_back(p, b);
			return;
		}
}

enum handed { HANDED, NOTHING, REFUSED };

static enum handed hand_over(struct pump *p, struct track *t)
{
	struct batch *b = t->filling;
	t->filling = NULL;
	if (b->count == 0) { /* nothing in it is for this sink */
		b->finished = true;
		pump_settle_finished(p, t);
		return HANDED;
	}
	if (submit(p, b))
		return HANDED;
	t->filling = b;
	return REFUSED;
}

/* Records do not wait for their batch to fill. */
static bool hurries(const struct pump *p, bool stopping)
{
	return stopping || p->urgent || journal_full(p->journal);
}

static void note_size(struct pump *p, const struct batch *b)
{
	if (b->count == 0)
		return;
	uint64_t bytes = b->bytes / b->count;
	p->record_bytes = p->record_bytes > 0 ? (3 * p->record_bytes + bytes) / 4 : bytes;
}

static enum handed push_live(struct pump *p, bool stopping)
{
	struct track *t = &p->live;
	bool full = pump_backlog_blocks_live(p) || pump_read_fill(p, t);
	if (!t->filling)
		return NOTHING;
	int64_t now = clock_mono_us(), age = (int64_t)p->plan.common->batch_age;
	if (!full && !hurries(p, stopping) && now - p->filling_since_us < age && t->filling->count > 0)
		return NOTHING;
	p->live_in_row++;
	p->looked_us = now;
	p->looks_again_us = now + age;
	note_size(p, t->filling);
	return hand_over(p, t);
}

static enum handed push_backlog(struct pump *p)
{
	struct track *t = &p->backlog;
	int64_t now = p->gap_count > 0 ? clock_mono_us() : 0;
	if (pump_backlog_wait_us(p, now) != 0)
		return NOTHING;
	pump_read_fill(p, t); /* what is not full ends its gap, or the rest cannot be read now */
	if (!t->filling)
		return NOTHING;
	size_t count = t->filling->count;
	enum handed handed = hand_over(p, t);
	if (handed == HANDED)
		pump_backlog_handed(p, count, now);
	return handed;
}

/* Back to what is safe: a deferred sink lost what it had not synced. Such a sink finishes every batch inside submit, so
 * it has none now. */
static void rewind_to_safe(struct pump *p)
{
	assert(p->with_sink == 0);
	for (int i = 0; i < 2; i++) {
		struct track *t = i == 0 ? &p->live : &p->backlog;
		pump_note_unsafe(t);
		t->unsafe_records = t->unsafe_bytes = 0;
		while (t->first) {
			struct batch *b = t->first;
			t->first = b->next;
			pump_recycle_batch(p, b);
		}
		t->last = t->filling = NULL;
	}
	p->waiting = 0;
	pump_backlog_rewind(p);
	p->rewind = false;
	if (clock_mono_us() >= p->quiet_until_us)
		pump_back_off(p, 0);
}

/* True when there is more to do at once. */
static bool push(struct pump *p, bool stopping)
{
	if (p->rewind)
		rewind_to_safe(p);
	if (pump_backlog_is_due(p) || p->gap_count > 0)
		pump_backlog_turn(p, clock_mono_us());
	if (clock_mono_us() < p->quiet_until_us)
		return false;
	submit_held(p);
	if (!resubmit(p))
		return false;
	for (size_t i = 0; i < p->allowed; i++) {
		if (p->with_sink >= p->allowed)
			return false;
		/* The new goes first, but does not keep the old back for ever. */
		bool backlog_first = p->gap_count > 0 && (pump_backlog_blocks_live(p) || p->live_in_row >= IN_ROW_MAX);
		enum handed handed = backlog_first ? push_backlog(p) : push_live(p, stopping);
		if (handed == NOTHING)
			handed = backlog_first ? push_live(p, stopping) : push_backlog(p);
		if (handed != HANDED || p->waiting > 0 || p->rewind)
			return false;
	}
	return true;
}

/* -- the loop -- */

static bool is_filling(const struct pump *p)
{
	return p->live.filling && p->live.filling->count > 0;
}

static int wait_ms(struct pump *p)
{
	int64_t wait = 1000000, now = clock_mono_us();
	if (now < p->quiet_until_us && p->quiet_until_us - now < wait)
		wait = p->quiet_until_us - now;
	if (now < p->quiet_until_us) /* at most a second, for the heartbeat */
		return (int)((wait + 999) / 1000);
	if (pump_backlog_is_due(p) || pump_backlog_gap_is_filled(p))
		return 0;
	if (p->waiting > 0 || p->rewind)
		wait = 10000; /* the sink said GW_AGAIN: its own events wake it sooner */
	int64_t held = p->with_sink < p->allowed ? pump_held_wait_us(p, now) : -1;
	wait = held >= 0 && held < wait ? held : wait;
	if (!is_filling(p) && p->gathers && p->looks_again_us - now < wait)
		wait = p->looks_again_us - now;
	if (is_filling(p) && p->waiting == 0 && p->with_sink < p->allowed) {
		int64_t rest = p->filling_since_us + (int64_t)p->plan.common->batch_age - now;
		wait = rest < wait ? rest : wait;
		if (rest <= 0)
			wait = 10000; /* the sink said GW_AGAIN: its own events wake it sooner */
	}
	if (p->gap_count > 0 && !p->backlog.stuck && p->with_sink < p->allowed) {
		int64_t rest = pump_backlog_wait_us(p, now);
		if (rest == 0)
			rest = p->backlog.filling ? 10000 : 1000; /* as above; or it was not due a moment ago */
		wait = rest > 0 && rest < wait ? rest : wait;
	}
	return wait <= 0 ? 0 : (int)((wait + 999) / 1000);
}

/* How many more records the batch being filled, or the next one, takes. */
static uint64_t room_of_batch(const struct pump *p)
{
	const struct batch *b = p->live.filling;
	uint64_t records = p->live.most - (b ? b->count : 0), bytes = p->plan.common->batch_bytes;
	if (p->record_bytes == 0)
		return records;
	uint64_t fit = (bytes > (b ? b->bytes : 0) ? bytes - (b ? b->bytes : 0) : 0) / p->record_bytes + 1;
	return fit < records ? fit : records;
}

/* The record for which the thread is to be woken: the next one; while records gather, the one that fills a batch. */
static uint64_t wake_at(const struct pump *p)
{
	const struct track *t = &p->live;
	uint64_t room = p->gathers ? room_of_batch(p) : 1;
	if (t->stuck || p->with_sink >= p->allowed || p->waiting > 0 || pump_backlog_blocks_live(p) ||
	    (t->filling && room_of_batch(p) == 0) || clock_mono_us() < p->quiet_until_us)
		return JOURNAL_WAKE_NEVER; /* more could not be handed over */
	return t->sequence + (room > 0 ? room - 1 : 0);
}

static void wait_for_work(struct pump *p, int timeout_ms)
{
	uint64_t n, from = wake_at(p);
	atomic_store_explicit(&p->wake_at, from, memory_order_seq_cst);
	if (journal_last(p->journal) >= from)
		timeout_ms = 0;
	if (p->plan.sink->poll) {
		p->plan.sink->poll(p->state, timeout_ms);
	} else if (timeout_ms > 0) {
		struct pollfd f = {.fd = p->host.wake_fd, .events = POLLIN};
		poll(&f, 1, timeout_ms);
	}
	atomic_store_explicit(&p->wake_at, JOURNAL_WAKE_NEVER, memory_order_relaxed);
	ssize_t got = read(p->host.wake_fd, &n, sizeof(n));
	(void)got;
}

static void set_gauges(struct pump *p)
{
	uint64_t last = journal_last(p->journal), cursor = cursor_get(p->cursor);
	uint64_t gone = journal_first(p->journal) - 1; /* that is not waited for */
	struct cursor_stretch ahead[CURSOR_AHEAD_MAX];
	stat_set(&p->stats.lag_records,
	         cursor_lacking(gone > cursor ? gone : cursor, last, ahead, pump_backlog_ahead(p, ahead)));
	atomic_store_explicit(&p->stats.lag_seen, last, memory_order_release);
	stat_set(&p->stats.pins_journal, journal_is_pinned_by(p->journal, p->cursor));
	uint64_t since = p->gap_count > 0 ? pump_oldest_us(&p->backlog) : 0;
	stat_set(&p->stats.lag_since_us, last <= cursor ? 0 : since ? since : pump_oldest_us(&p->live));
	stat_set(&p->stats.replay_left, pump_backlog_left(p));
}

static bool is_save_due(const struct pump *p, int64_t now)
{
	return now - p->saved_us >= SAVE_US;
}

/* A stored cursor frees segments; a journal that is full sleeps until it is woken to see that. */
static void wake_full_journal(struct pump *p)
{
	if (journal_full(p->journal))
		journal_wake(p->journal);
}

static void take_turn(struct pump *p, int64_t now)
{
	heartbeat_beat(&p->heartbeat, now / 1000);
	set_gauges(p);
	if (!is_save_due(p, now))
		return;
	if (!journal_is_quiescent(p->journal))
		pump_store_cursor(p, now);
	wake_full_journal(p);
}

void *pump_run(void *arg)
{
	struct pump *p = arg;
	for (;;) {
		int64_t now = clock_mono_us(), stop_by = atomic_load(&p->stop_by_us);
		take_turn(p, now);
		bool more = push(p, stop_by != 0);
		p->has_all = cursor_get(p->cursor) >= journal_last(p->journal);
		if (stop_by && (p->has_all || now >= stop_by))
			break;
		if ((p->urgent || stop_by) && (p->with_sink || pump_has_unsafe(p)) && p->plan.sink->flush)
			p->plan.sink->flush(p->state);
		p->gathers = !hurries(p, stop_by != 0) && (is_filling(p) || now < p->looks_again_us);
		int wait = more ? 0 : wait_ms(p);
		if (stop_by && (stop_by - now) / 1000 + 1 < wait)
			wait = (int)((stop_by - now) / 1000) + 1;
		wait_for_work(p, wait);
	}
	take_turn(p, clock_mono_us());
	pump_store_cursor(p, clock_mono_us());
	heartbeat_end(&p->heartbeat);
	return NULL;
}
