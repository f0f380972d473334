/* The pump's thread: read, batch, submit, settle, move the cursor. */
#include <assert.h>
#include <poll.h>
#include <unistd.h>

#include "gateway/pump_parts.h"

#define SAVE_US 250000 /* how often the cursor is stored: so long, what is delivered is kept in the journal */

/* -- handing over -- */

static bool submit(struct pump *p, struct batch *b)
{
	if (b->attempt == 0)
		b->submitted_us = clock_mono_us();
	b->retry_after_ms = 0;
	size_t count = b->count;
	p->with_sink++;
	stat_add(&p->stats.in_flight, count);
	if (p->plan.sink->submit(p->state, b) == GW_OK) {
		stat_add(&p->stats.batches, 1);
		return true;
	}
	p->with_sink--;
	stat_sub(&p->stats.in_flight, count);
	return false;
}

static struct batch *first_waiting(const struct pump *p)
{
	struct batch *b = p->first;
	while (b && !b->waiting)
		b = b->next;
	return b;
}

/* Batches that wait for another try go first, and as long as the sink is left alone nothing else does. */
static bool resubmit(struct pump *p)
{
	while (p->waiting > 0) {
		struct batch *b = first_waiting(p);
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

static void hand_over(struct pump *p)
{
	struct batch *b = p->filling;
	if (b->count == 0) { /* nothing in it is for this sink */
		b->finished = true;
		p->filling = NULL;
		settle_finished(p);
		return;
	}
	p->filling = NULL;
	if (!submit(p, b))
		p->filling = b;
}

/* Back to the cursor: a deferred sink lost what it had not synced. Such a sink finishes every batch inside submit, so
 * it has none now. */
static void rewind_to_cursor(struct pump *p)
{
	assert(p->with_sink == 0);
	while (p->first) {
		struct batch *b = p->first;
		p->first = b->next;
		settle_keep(p, b);
	}
	p->last = p->filling = NULL;
	p->waiting = 0;
	p->finished = cursor_get(p->cursor);
	p->sequence = p->finished + 1;
	block_release(p->block);
	p->block = NULL;
	p->rewind = false;
	if (clock_mono_us() >= p->quiet_until_us)
		settle_back_off(p, 0);
}

/* True when there is more to do at once. */
static bool push(struct pump *p, bool stopping)
{
	if (p->rewind)
		rewind_to_cursor(p);
	if (clock_mono_us() < p->quiet_until_us || !resubmit(p))
		return false;
	for (int64_t i = 0; i < p->plan.common->in_flight; i++) {
		if (p->with_sink >= (size_t)p->plan.common->in_flight)
			return false;
		bool full = read_fill(p);
		if (!p->filling)
			return false;
		uint64_t age = (uint64_t)(clock_mono_us() - p->filling_since_us);
		if (!full && !stopping && !p->urgent && age < p->plan.common->batch_age && p->filling->count > 0)
			return false;
		hand_over(p);
		if (p->filling || p->waiting > 0 || p->rewind)
			return false;
	}
	return true;
}

/* -- the loop -- */

static int wait_ms(struct pump *p)
{
	int64_t wait = 1000000, now = clock_mono_us();
	if (now < p->quiet_until_us)
		return (int)((p->quiet_until_us - now + 999) / 1000);
	if (p->waiting > 0 || p->rewind)
		wait = 10000; /* the sink said GW_AGAIN: its own events wake it sooner */
	if (p->filling && p->filling->count > 0 && p->waiting == 0 &&
	    p->with_sink < (size_t)p->plan.common->in_flight) {
		int64_t rest = p->filling_since_us + (int64_t)p->plan.common->batch_age - now;
		wait = rest < wait ? rest : wait;
		if (rest <= 0)
			wait = 10000; /* the sink said GW_AGAIN: its own events wake it sooner */
	}
	return wait <= 0 ? 0 : (int)((wait + 999) / 1000);
}

static void wait_for_work(struct pump *p, int timeout_ms)
{
	uint64_t n;
	atomic_store_explicit(&p->sleeping, true, memory_order_seq_cst);
	bool more = !p->stuck && p->with_sink < (size_t)p->plan.common->in_flight && p->waiting == 0 && !p->filling &&
	            clock_mono_us() >= p->quiet_until_us && journal_last(p->journal) >= p->sequence;
	if (more)
		timeout_ms = 0;
	if (p->plan.sink->poll) {
		p->plan.sink->poll(p->state, timeout_ms);
	} else if (timeout_ms > 0) {
		struct pollfd f = {.fd = p->host.wake_fd, .events = POLLIN};
		poll(&f, 1, timeout_ms);
	}
	atomic_store_explicit(&p->sleeping, false, memory_order_relaxed);
	ssize_t got = read(p->host.wake_fd, &n, sizeof(n));
	(void)got;
}

static void show(struct pump *p, int64_t now)
{
	uint64_t last = journal_last(p->journal), cursor = cursor_get(p->cursor);
	pulse_beat(&p->pulse, now / 1000);
	stat_set(&p->stats.lag_records, last > cursor ? last - cursor : 0);
	const struct block_list *blocks = p->first ? p->first->blocks : NULL;
	uint64_t since = blocks && blocks->count > 0                       ? blocks->items[0]->time_us
	                 : p->block && p->sequence <= block_last(p->block) ? p->block->time_us
	                                                                   : 0;
	stat_set(&p->stats.lag_since_us, last > cursor ? since : 0);
	if (now - p->saved_us >= SAVE_US) {
		if (!journal_rests(p->journal))
			settle_save(p, now);
		if (journal_full(p->journal))
			journal_wake(p->journal);
	}
}

void *pump_run(void *arg)
{
	struct pump *p = arg;
	for (;;) {
		int64_t now = clock_mono_us(), stop_by = atomic_load(&p->stop_by_us);
		show(p, now);
		bool more = push(p, stop_by != 0);
		p->has_all = cursor_get(p->cursor) >= journal_last(p->journal);
		if (stop_by && (p->has_all || now >= stop_by))
			break;
		if ((p->urgent || stop_by) && (p->with_sink || p->finished > cursor_get(p->cursor)) &&
		    p->plan.sink->flush)
			p->plan.sink->flush(p->state);
		int wait = more ? 0 : wait_ms(p);
		if (stop_by && (stop_by - now) / 1000 + 1 < wait)
			wait = (int)((stop_by - now) / 1000) + 1;
		wait_for_work(p, wait);
	}
	show(p, clock_mono_us());
	cursor_save(p->cursor);
	pulse_end(&p->pulse);
	return NULL;
}
