/* Replaying: what gathered in the journal while the sink was away, or lay there at the start.
 *
 * When an outage ends (the sink was in trouble, as sink_report_health tells, for replay_after or longer), and at the start, all
 * that the journal holds at that moment and the live track has not read becomes a gap, if it is more than one batch; the
 * live track goes on behind it. So what counts as backlog is fixed once, by number and not by clock, and nothing that
 * comes later is ever slowed as backlog.
 *
 * replay_order oldest_first: the live track stands still until the gap is filled. A gap is made only for the sake of
 * replay_rate, and not while another is being filled: a sink that comes and goes does not put the live off for ever.
 * live_first: the live track has its turn first and always finds a free place with the sink (in_flight 2 and more); of
 * four batches in a row at least one is of a replay that is due. Each outage adds a gap, up to CURSOR_AHEAD_MAX; with no
 * place for another the live track takes what gathered in its order.
 *
 * replay_rate spaces the batches of the replay: after n records the next may go n / rate seconds later. They are small
 * (a tenth of a second's records at most) so that the sink sees the rate and not bursts.
 *
 * The stretches between the gaps are stored with the cursor, so that a restart does not send them again. */
#include "gateway/base/clock.h"
#include "gateway/pump/pump_parts.h"

#define TELL_US 10000000
#define SLICES 10 /* of a second, at replay_rate */

static bool live_first(const struct pump *p)
{
	return p->plan.common->replay_order == REPLAY_LIVE_FIRST;
}

bool pump_backlog_blocks_live(const struct pump *p)
{
	return p->gap_count > 0 && !live_first(p);
}

uint64_t pump_backlog_left(const struct pump *p)
{
	uint64_t left = 0;
	for (size_t i = 0; i < p->gap_count; i++) {
		const struct gap *g = &p->gaps[i];
		uint64_t from = i == 0 && p->backlog.safe >= g->from ? p->backlog.safe + 1 : g->from;
		left += g->to >= from ? g->to - from + 1 : 0;
	}
	return left;
}

/* The replay track goes to the first gap. */
static void enter(struct pump *p)
{
	const struct gap *g = &p->gaps[0];
	pump_read_from(&p->backlog, g->from);
	p->backlog.end = g->to;
	p->backlog.finished = p->backlog.safe = g->from - 1;
	p->resumes = g->from <= p->earlier;
}

/* The live track leaves out what it has not read up to `to`. False: no place for another gap. */
static bool leave_out(struct pump *p, uint64_t to)
{
	struct gap *last = p->gap_count > 0 ? &p->gaps[p->gap_count - 1] : NULL;
	if (last && last->to + 1 == p->live.sequence) {
		last->to = to;
		if (p->gap_count == 1)
			p->backlog.end = to;
	} else if (p->gap_count < CURSOR_AHEAD_MAX) {
		p->gaps[p->gap_count++] = (struct gap){p->live.sequence, to};
		if (p->gap_count == 1)
			enter(p);
	} else {
		return false;
	}
	pump_read_from(&p->live, to + 1);
	return true;
}

/* An outage has ended, or this is the start. */
static bool look_at_backlog(struct pump *p)
{
	const struct sink_settings *s = p->plan.common;
	uint64_t last = journal_last(p->journal);
	if (!live_first(p) && (s->replay_rate == 0 || p->gap_count > 0))
		return false;
	if (last < p->live.sequence + (uint64_t)s->batch_records)
		return false;
	return leave_out(p, last);
}

static void tell(struct pump *p, const char *what, int64_t now_us)
{
	uint64_t replayed = stat_get(&p->stats.replayed), spent = (uint64_t)(now_us - p->told_us) / 1000;
	uint64_t rate = spent > 0 ? (replayed - p->told_records) * 1000 / spent : 0;
	log_event(LOG_INFO, "sink", what, LOG_S("sink.name", p->plan.name),
	          LOG_N("sluice.replay.left", pump_backlog_left(p)), LOG_N("sluice.replay.per_second", rate));
	p->told_us = now_us;
	p->told_records = replayed;
}

static void begin_backlog(struct pump *p, int64_t now_us)
{
	log_event(LOG_INFO, "sink",
	          live_first(p) ? "replays what gathered, behind what is new"
	                        : "replays what gathered, before what is new",
	          LOG_S("sink.name", p->plan.name), LOG_N("sluice.replay.left", pump_backlog_left(p)),
	          LOG_N("sluice.replay.rate", (uint64_t)p->plan.common->replay_rate));
	p->told_us = now_us;
	p->told_records = stat_get(&p->stats.replayed);
	if (p->next_us < now_us)
		p->next_us = now_us;
}

/* What the stored cursor says the sink has above it. Only what the journal still has is believed: if its end was lost,
 * those numbers are given out again. */
static enum gw_err take_ahead(struct pump *p, struct why *why)
{
	struct cursor *c = p->cursor;
	bool believed =
	    journal_keeps_state(p->journal) && (c->ahead_count == 0 || c->ahead[c->ahead_count - 1].to <= p->earlier);
	if (!believed) {
		log_event(LOG_WARN, "sink",
		          "records that it received ahead of its cursor before the stop are sent again",
		          LOG_S("sink.name", p->plan.name));
		cursor_set_ahead(c, NULL, 0);
		/* At once: after the next crash those numbers may be there again, as other records. */
		return cursor_save(c) ? why_set(why, GW_IO, "its cursor cannot be stored") : GW_OK;
	}
	for (size_t i = 0; i < c->ahead_count; i++) {
		if (c->ahead[i].from > p->live.sequence)
			leave_out(p, c->ahead[i].from - 1);
		pump_read_from(&p->live, c->ahead[i].to + 1);
	}
	return GW_OK;
}

enum gw_err pump_backlog_open(struct pump *p, struct why *why)
{
	enum gw_err err = GW_OK;
	const struct sink_settings *s = p->plan.common;
	p->earlier = journal_last(p->journal);
	p->live.end = UINT64_MAX;
	p->live.most = p->backlog.most = (size_t)s->batch_records;
	if (s->replay_rate > 0 && s->replay_rate / SLICES < s->batch_records)
		p->backlog.most = s->replay_rate < SLICES ? 1 : (size_t)s->replay_rate / SLICES;
	pump_read_from(&p->live, cursor_get(p->cursor) + 1);
	if (p->cursor->ahead_count > 0 && (err = take_ahead(p, why)))
		return err;
	look_at_backlog(p);
	p->live.safe = p->live.sequence - 1;
	pump_advance_cursor(p); /* what it had above the cursor may begin there */
	if (p->gap_count > 0)
		begin_backlog(p, clock_mono_us());
	return GW_OK;
}

static void end_gap(struct pump *p, int64_t now_us)
{
	p->gap_count--;
	for (size_t i = 0; i < p->gap_count; i++)
		p->gaps[i] = p->gaps[i + 1];
	if (p->gap_count > 0) {
		enter(p);
	} else {
		pump_read_from(&p->backlog, p->backlog.sequence); /* gives its block back */
		p->live_in_row = 0;
		tell(p, "has all that gathered", now_us);
	}
	pump_advance_cursor(p);
}

bool pump_backlog_gap_is_filled(const struct pump *p)
{
	return p->gap_count > 0 && p->backlog.safe >= p->gaps[0].to && !p->backlog.first;
}

void pump_backlog_turn(struct pump *p, int64_t now_us)
{
	if (pump_backlog_is_due(p)) {
		size_t before = p->gap_count;
		atomic_store_explicit(&p->back, false, memory_order_relaxed);
		if (look_at_backlog(p) && before == 0)
			begin_backlog(p, now_us);
		if (!p->plan.sink->deferred)
			pump_settle_safe(p);
	}
	while (pump_backlog_gap_is_filled(p))
		end_gap(p, now_us);
	if (p->gap_count > 0 && now_us - p->told_us >= TELL_US)
		tell(p, "replays", now_us);
}

int64_t pump_backlog_wait_us(const struct pump *p, int64_t now_us)
{
	const struct sink_settings *s = p->plan.common;
	const struct track *t = &p->backlog;
	if (p->gap_count == 0 || p->waiting > 0 || (!t->filling && t->sequence > t->end))
		return -1;
	if (live_first(p) && p->allowed > 1 && t->with_sink + 1 >= p->allowed)
		return -1;
	return s->replay_rate == 0 || now_us >= p->next_us ? 0 : p->next_us - now_us;
}

void pump_backlog_handed(struct pump *p, size_t records, int64_t now_us)
{
	int64_t rate = p->plan.common->replay_rate, least = now_us - 1000000 / SLICES;
	p->live_in_row = 0;
	if (rate == 0)
		return;
	if (p->next_us < least) /* it is late; by so much it may catch up */
		p->next_us = least;
	p->next_us += (int64_t)records * 1000000 / rate;
}

void pump_backlog_rewind(struct pump *p)
{
	pump_read_from(&p->live, p->live.safe + 1);
	/* Gaps that the live track has jumped over and delivered nothing behind are its own again. */
	while (p->gap_count > 0 && p->gaps[p->gap_count - 1].to > p->live.safe) {
		struct gap *last = &p->gaps[p->gap_count - 1];
		if (last->from <= p->live.safe) { /* it grew, and only that is given back */
			last->to = p->live.safe;
			if (p->gap_count == 1)
				p->backlog.end = last->to;
			break;
		}
		p->gap_count--;
	}
	if (p->gap_count > 0)
		pump_read_from(&p->backlog, p->backlog.safe + 1);
}

size_t pump_backlog_ahead(const struct pump *p, struct cursor_stretch out[CURSOR_AHEAD_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < p->gap_count; i++) {
		uint64_t from = p->gaps[i].to + 1, to = p->live.safe;
		if (i + 1 < p->gap_count && p->gaps[i + 1].from - 1 < to)
			to = p->gaps[i + 1].from - 1;
		if (from <= to)
			out[n++] = (struct cursor_stretch){from, to};
	}
	return n;
}
