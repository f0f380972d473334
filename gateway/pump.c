/* The pump's thread: read, batch, submit, settle, move the cursor. What it promises is told in pump.h, what it asks of
 * a sink in sinks/sink.h.
 *
 * Batches stand in one list in the order of their records. A batch is being filled (at most one, the last), with the
 * sink, waiting for its next try, or finished; the cursor moves over the finished ones at the front. */
#include "gateway/pump.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/log.h"
#include "gateway/record.h"

#define SAVE_US 250000 /* how often the cursor is stored: so long, what is delivered is kept in the journal */
#define BLOCKS_MAX 64u /* blocks that one batch may lean on */

static const char *const froms[] = {"oldest", "now", NULL};

const struct setting sink_settings[] = {
    SETTING_CHOICES(
        struct sink_settings, from, "oldest", froms,
        "Where a new sink starts: with the oldest record that the journal still has, or with the next one."),
    SETTING(struct sink_settings, batch_records, SETTING_INT, "2000", 1, 1000000, "Most records of one batch."),
    SETTING(struct sink_settings, batch_bytes, SETTING_BYTES, "2MiB", 1024, 1 << 30, "Most bytes of one batch."),
    SETTING(struct sink_settings, batch_age, SETTING_DURATION, "5ms", 0, 6e7,
            "Longest time a record waits for its batch to fill."),
    SETTING(struct sink_settings, in_flight, SETTING_INT, "4", 1, 64, "Batches that the sink has at one time."),
    SETTING(struct sink_settings, backoff_min, SETTING_DURATION, "200ms", 1e3, 6e8,
            "First wait after a failure; it doubles, with jitter."),
    SETTING(struct sink_settings, backoff_max, SETTING_DURATION, "30s", 1e3, 3.6e9, "Longest wait between two tries."),
    SETTING(
        struct sink_settings, give_up_after, SETTING_DURATION, "0", 0, 3.2e15,
        "A record that the sink could not take for that long becomes a dead letter; 0: never, the journal holds it."),
    SETTING(struct sink_settings, dead_letters, SETTING_STRING, NULL, 0, 0,
            "File for records that the sink refuses for good; else DATA/dead/NAME.ndjson."),
    SETTINGS_END,
};

struct block_list {
	struct block *items[BLOCKS_MAX];
	size_t count;
};

struct pump {
	/* constant after pump_open */
	struct pump_plan plan;
	void *state; /* owned: the sink's */
	struct sink_host host;
	struct journal *journal;
	struct cursor *cursor; /* the journal's; this thread moves it */
	struct journal_reader *reader;
	enum record_kind kind;
	pthread_t thread;
	bool running, urgent; /* urgent: a listener waits for `delivered` */

	/* shared */
	struct pulse pulse;
	_Atomic bool sleeping;      /* journal.h */
	_Atomic int64_t stop_by_us; /* 0: runs; main writes */
	pthread_mutex_t lock;       /* guards state_text */
	char state_text[512];
	struct sink_stats stats;

	/* this thread's own */
	struct batch *first, *last; /* all batches, in order */
	struct batch *filling;      /* the last of them, or NULL */
	struct batch *spare;        /* finished ones, used again */
	size_t with_sink, waiting;
	struct block *block; /* being read */
	const uint8_t *entry;
	uint64_t sequence; /* of entry; the next to be read */
	uint64_t finished; /* last sequence of the finished prefix: the cursor, but for what a deferred sink has not
	                      synced */
	bool rewind;       /* asked for by sink_rewind */
	struct dead_file dead;
	uint64_t backoff_us;
	int64_t quiet_until_us; /* the sink is not asked before that */
	int64_t saved_us, filling_since_us;
	unsigned random;
	struct log_limit retry_log, save_log, read_log;
	bool stuck; /* what should be there could not be read: not asked for again at once */
	bool has_all;
};

/* -- batches -- */

static struct batch *batch_new(struct pump *p)
{
	struct batch *b = p->spare;
	if (b) {
		p->spare = b->next;
	} else {
		b = calloc(1, sizeof(*b));
		if (!b)
			return NULL;
		b->items = calloc((size_t)p->plan.common->batch_records, sizeof(*b->items));
		b->blocks = calloc(1, sizeof(struct block_list));
		if (!b->items || !b->blocks) {
			free(b->items);
			free(b->blocks);
			free(b);
			return NULL;
		}
	}
	b->pump = p;
	b->next = NULL;
	b->count = b->bytes = b->entry_bytes = 0;
	b->attempt = 0;
	b->retry_after_ms = 0;
	b->own = NULL;
	b->submitted_us = 0;
	b->waiting = b->finished = false;
	if (p->last)
		p->last->next = b;
	else
		p->first = b;
	p->last = b;
	return b;
}

static void item_forget(struct batch_item *item)
{
	free(item->reason);
	item->reason = NULL;
}

static void batch_clear(struct batch *b)
{
	struct block_list *blocks = b->blocks;
	for (size_t i = 0; i < b->count; i++)
		item_forget(&b->items[i]);
	for (size_t i = 0; i < blocks->count; i++)
		block_release(blocks->items[i]);
	blocks->count = 0;
	b->count = 0;
}

static void batch_free(struct batch *b)
{
	batch_clear(b);
	free(b->items);
	free(b->blocks);
	free(b);
}

static void save_cursor(struct pump *p, int64_t now_us)
{
	uint64_t left_out;
	p->saved_us = now_us;
	pulse_outside(&p->pulse, true);
	if (cursor_save(p->cursor) && log_allow(&p->save_log, now_us / 1000, &left_out))
		log_event(LOG_WARN, "sink", "its cursor cannot be stored; a restart would send records twice",
		          LOG_S("sink.name", p->plan.name));
	pulse_outside(&p->pulse, false);
}

static void move_cursor(struct pump *p)
{
	if (cursor_get(p->cursor) == p->finished)
		return;
	cursor_move(p->cursor, p->finished);
	stat_set(&p->stats.cursor, p->finished);
	bool full = journal_full(p->journal);
	if (full)
		save_cursor(p, clock_mono_us()); /* space is freed behind what is stored */
	if (p->urgent || full)
		journal_wake(p->journal);
}

static void keep_spare(struct pump *p, struct batch *b)
{
	batch_clear(b);
	b->next = p->spare;
	p->spare = b;
}

/* Finished batches at the front are passed. Behind one that takes long, neighbours that are finished become one, so
 * that the list stays as short as what is with the sink. */
static void pass_finished(struct pump *p)
{
	while (p->first && p->first->finished) {
		struct batch *b = p->first;
		p->finished = b->last_sequence;
		p->first = b->next;
		if (!p->first)
			p->last = NULL;
		keep_spare(p, b);
	}
	for (struct batch *b = p->first; b; b = b->next)
		while (b->finished && b->next && b->next->finished) {
			struct batch *gone = b->next;
			b->last_sequence = gone->last_sequence;
			b->next = gone->next;
			if (!b->next)
				p->last = b;
			keep_spare(p, gone);
		}
	if (!p->plan.sink->deferred)
		move_cursor(p);
}

void sink_synced(struct sink_host *host)
{
	if (!host->pump->rewind) /* asked for and not done yet: what was finished until now is not to be believed */
		move_cursor(host->pump);
}

void sink_rewind(struct sink_host *host)
{
	host->pump->rewind = true;
}

/* -- what became of a batch -- */

static void back_off(struct pump *p, uint64_t least_ms)
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

/* A record that was retried for longer than give_up_after is dead. */
static bool given_up(const struct pump *p, const struct batch *b)
{
	return p->plan.common->give_up_after && b->attempt > 0 &&
	       clock_mono_us() - b->submitted_us > (int64_t)p->plan.common->give_up_after;
}

static void bury(struct pump *p, struct batch *b)
{
	size_t buried = 0;
	bool failed = false;
	for (size_t i = 0; i < b->count && !failed; i++) {
		struct batch_item *item = &b->items[i];
		if (item->state != ITEM_DEAD)
			continue;
		failed =
		    dead_add(&p->dead, item->sequence, item->reason ? item->reason : "refused", item->entry) != GW_OK;
		buried++;
	}
	if (buried == 0)
		return;
	if (failed || dead_sync(&p->dead)) {
		for (size_t i = 0; i < b->count; i++)
			if (b->items[i].state == ITEM_DEAD)
				b->items[i].state = ITEM_RETRY; /* the sink will say it again */
		return;
	}
	stat_add(&p->stats.dead, buried);
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].state == ITEM_DEAD) {
			log_event(LOG_WARN, "sink", "refused records for good; they are in the dead letter file",
			          LOG_S("sink.name", p->plan.name), LOG_N("sluice.dead", buried),
			          LOG_S("file.path", p->dead.path), LOG_S("error.message", b->items[i].reason));
			return;
		}
}

/* Whether the sink has all of it and said nothing else before: by far the most common word. */
static bool is_done(const struct batch *b)
{
	unsigned other = 0;
	for (size_t i = 0; i < b->count; i++)
		other |= ((unsigned)b->items[i].state ^ ITEM_DONE) | (b->items[i].reason != NULL);
	return other == 0;
}

/* Settles what is done or dead; what is to be tried again moves together and stays in the batch. */
static void sift(struct pump *p, struct batch *b)
{
	size_t kept = 0, delivered = 0, bytes = 0;
	bool over = given_up(p, b), told = false;
	for (size_t i = 0; i < b->count; i++)
		if (over && b->items[i].state != ITEM_DONE)
			b->items[i].state = ITEM_DEAD;
	bury(p, b);
	for (size_t i = 0; i < b->count; i++) {
		struct batch_item *item = &b->items[i];
		if (item->state == ITEM_DONE || item->state == ITEM_DEAD) {
			if (item->state == ITEM_DONE) {
				delivered++;
				bytes += record_size(item->entry);
			}
			item_forget(item);
			continue;
		}
		struct batch_item keep = *item;
		*item = (struct batch_item){0};
		keep.state = ITEM_PENDING;
		uint64_t left_out;
		if (!told && keep.reason && (told = true) &&
		    log_allow(&p->retry_log, clock_mono_us() / 1000, &left_out))
			log_event(LOG_WARN, "sink", "could not take records now, will try again",
			          LOG_S("sink.name", p->plan.name), LOG_N("sluice.attempt", b->attempt + 1),
			          LOG_S("error.message", keep.reason), LOG_N("sluice.left_out", left_out));
		item_forget(&keep);
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
	stat_add(&p->stats.delivered, delivered);
	stat_add(&p->stats.delivered_bytes, bytes);
}

void batch_finish(struct batch *b)
{
	struct pump *p = b->pump;
	assert(p->with_sink > 0);
	p->with_sink--;
	stat_sub(&p->stats.in_flight, b->count);
	if (is_done(b)) {
		stat_add(&p->stats.delivered, b->count);
		stat_add(&p->stats.delivered_bytes, b->entry_bytes);
		b->count = 0;
	} else {
		sift(p, b);
	}
	if (b->count > 0) {
		stat_add(&p->stats.errors, 1);
		stat_add(&p->stats.retried, b->count);
		back_off(p, b->retry_after_ms);
		b->attempt++;
		b->waiting = true;
		p->waiting++;
		return;
	}
	if (b->attempt > 0 || clock_mono_us() >= p->quiet_until_us)
		p->backoff_us = 0;
	histogram_add(&p->stats.batch, (uint64_t)(clock_mono_us() - b->submitted_us), 1);
	b->finished = true;
	batch_clear(b); /* its blocks are not kept while it waits for those in front of it */
	pass_finished(p);
}

/* -- reading and filling -- */

/* Makes p->entry the record at p->sequence; false: there is none yet. */
static bool next_entry(struct pump *p)
{
	while (!p->block || p->sequence > block_last(p->block)) {
		block_release(p->block);
		p->block = NULL;
		bool there = journal_last(p->journal) >= p->sequence;
		pulse_outside(&p->pulse, true);
		enum gw_err err = journal_read(p->reader, p->sequence, &p->block);
		pulse_outside(&p->pulse, false);
		p->stuck = err && there;
		uint64_t left_out;
		if (p->stuck && log_allow(&p->read_log, clock_mono_us() / 1000, &left_out))
			log_event(LOG_ERROR, "sink", "cannot read the journal, will try again",
			          LOG_S("sink.name", p->plan.name), LOG_N("sluice.journal.sequence", p->sequence));
		if (err)
			return false;
		p->entry = block_entries(p->block);
		uint64_t at = p->block->first;
		if (p->sequence < at)
			p->sequence = at; /* a damaged range was passed over, and counted by the reader */
		for (; at < p->sequence; at++)
			p->entry += record_size(p->entry);
	}
	return true;
}

static bool lean_on(struct batch *b, struct block *block)
{
	struct block_list *blocks = b->blocks;
	if (blocks->count > 0 && blocks->items[blocks->count - 1] == block)
		return true;
	if (blocks->count == BLOCKS_MAX)
		return false;
	block_hold(block);
	blocks->items[blocks->count++] = block;
	return true;
}

/* Another processor wrote the block, and only the heads of its entries are read, one after the other: without this each
 * would be waited for. Records of a like size come next, so the eighth from here begins in one of these two lines, most
 * likely. Behind the block's end it does no harm. */
static inline void ask_ahead(const uint8_t *entry, uint32_t size)
{
	uintptr_t there = (uintptr_t)entry + 8 * (uintptr_t)size;
	__builtin_prefetch((const void *)(there - 32));
	__builtin_prefetch((const void *)(there + 32));
}

/* Adds records of one block to the batch; true: no more of them fit. */
static bool fill_from_block(struct pump *p, struct batch *b)
{
	const struct sink_settings *s = p->plan.common;
	const uint8_t *entry = p->entry;
	uint64_t sequence = p->sequence, last = block_last(p->block);
	bool full = false;
	for (; sequence <= last; sequence++) {
		uint32_t size = record_size(entry), json_len = record_json_len(entry);
		ask_ahead(entry, size);
		if (record_kind(entry) == p->kind) {
			full = b->count == (size_t)s->batch_records ||
			       (b->count > 0 && b->bytes + json_len > s->batch_bytes) || !lean_on(b, p->block);
			if (full)
				break;
			b->items[b->count++] = (struct batch_item){.entry = entry, .sequence = sequence};
			b->bytes += json_len;
			b->entry_bytes += size;
		}
		entry += size;
	}
	if (sequence > p->sequence)
		b->last_sequence = sequence - 1;
	p->entry = entry;
	p->sequence = sequence;
	return full;
}

/* Adds records to the batch being filled; true: it is full. */
static bool fill(struct pump *p)
{
	while (next_entry(p)) {
		struct batch *b = p->filling ? p->filling : batch_new(p);
		if (!b)
			return false;
		if (!p->filling) {
			p->filling = b;
			p->filling_since_us = clock_mono_us();
		}
		if (fill_from_block(p, b))
			return true;
	}
	return p->filling && p->filling->count == (size_t)p->plan.common->batch_records;
}

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
		pass_finished(p);
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
		keep_spare(p, b);
	}
	p->last = p->filling = NULL;
	p->waiting = 0;
	p->finished = cursor_get(p->cursor);
	p->sequence = p->finished + 1;
	block_release(p->block);
	p->block = NULL;
	p->rewind = false;
	if (clock_mono_us() >= p->quiet_until_us)
		back_off(p, 0);
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
		bool full = fill(p);
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
			save_cursor(p, now);
		if (journal_full(p->journal))
			journal_wake(p->journal);
	}
}

static void *pump_run(void *arg)
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

/* -- made and ended by main -- */

enum gw_err pump_open(struct pump **out, const struct pump_plan *plan, struct journal *j, const struct disk *disk,
                      struct why *why)
{
	struct pump *p = NULL;
	if (posix_memalign((void **)&p, 64, sizeof(*p)))
		return why_set(why, GW_NOMEM, "sink %s: out of memory", plan->name);
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	*out = p;
	p->plan = *plan;
	p->journal = j;
	p->dead.fd = -1;
	p->kind = plan->dead_letters ? RECORD_DEAD : RECORD_TELEMETRY;
	p->random = (unsigned)clock_wall_us() ^ (unsigned)(uintptr_t)p;
	snprintf(p->pulse.name, sizeof(p->pulse.name), "sink %.60s", plan->name);
	p->state = calloc(1, plan->sink->size);
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	p->host = (struct sink_host){.name = plan->name,
	                             .data = plan->data,
	                             .settings = plan->common,
	                             .stats = &p->stats,
	                             .wake_fd = fd,
	                             .pump = p};
	char path[4096];
	snprintf(path, sizeof(path), "%s/dead/%s.ndjson", plan->data, plan->name);
	enum gw_err err = GW_OK;
	if (!p->state || fd < 0 ||
	    dead_init(&p->dead, disk, plan->common->dead_letters ? plan->common->dead_letters : path, plan->name))
		err = why_set(why, GW_NOMEM, "out of memory or file descriptors");
	else if (!(err = journal_add_cursor(j, plan->name, plan->common->from == 1, &p->cursor, why))) {
		p->finished = cursor_get(p->cursor);
		p->sequence = p->finished + 1;
		memcpy(p->state, plan->settings, plan->sink->size);
		stat_set(&p->stats.up, 1);
		err = plan->sink->open(p->state, &p->host, why);
	}
	if (!err && (journal_reader_open(j, &p->reader) || journal_add_reader(j, fd, &p->sleeping)))
		err = why_set(why, GW_NOMEM, "out of memory");
	if (err) {
		pump_close(p);
		*out = NULL;
		return why_add(why, err, "sinks.%s", plan->name);
	}
	return GW_OK;
}

enum gw_err pump_start(struct pump *p, struct why *why)
{
	p->urgent = journal_wants_delivered(p->journal, p->cursor);
	if (pthread_create(&p->thread, NULL, pump_run, p))
		return why_set(why, GW_FATAL, "sink %s: cannot start its thread", p->plan.name);
	p->running = true;
	return GW_OK;
}

void pump_stop(struct pump *p, int64_t deadline_us)
{
	uint64_t one = 1;
	atomic_store(&p->stop_by_us, deadline_us);
	ssize_t n = write(p->host.wake_fd, &one, sizeof(one));
	(void)n;
}

bool pump_join(struct pump *p)
{
	if (p->running)
		pthread_join(p->thread, NULL);
	p->running = false;
	return p->has_all;
}

void pump_close(struct pump *p)
{
	if (!p)
		return;
	if (p->state)
		p->plan.sink->close(p->state);
	while (p->first) {
		struct batch *b = p->first;
		p->first = b->next;
		batch_free(b);
	}
	while (p->spare) {
		struct batch *b = p->spare;
		p->spare = b->next;
		batch_free(b);
	}
	block_release(p->block);
	journal_reader_close(p->reader);
	dead_fini(&p->dead);
	if (p->host.wake_fd >= 0)
		close(p->host.wake_fd);
	pthread_mutex_destroy(&p->lock);
	free(p->state);
	free(p);
}

/* -- for others -- */

void sink_state(struct sink_host *host, const char *text)
{
	struct pump *p = host->pump;
	pthread_mutex_lock(&p->lock);
	bool changed = strcmp(p->state_text, text ? text : "") != 0;
	snprintf(p->state_text, sizeof(p->state_text), "%s", text ? text : "");
	pthread_mutex_unlock(&p->lock);
	if (!changed)
		return;
	stat_set(&p->stats.up, text == NULL);
	if (text)
		log_event(LOG_WARN, "sink", "is in trouble; records wait in the journal",
		          LOG_S("sink.name", p->plan.name), LOG_S("error.message", text));
	else
		log_event(LOG_INFO, "sink", "works again", LOG_S("sink.name", p->plan.name));
}

const char *pump_name(const struct pump *p)
{
	return p->plan.name;
}

const struct sink *pump_sink(const struct pump *p)
{
	return p->plan.sink;
}

const struct sink_stats *pump_stats(const struct pump *p)
{
	return &p->stats;
}

struct pulse *pump_pulse(struct pump *p)
{
	return &p->pulse;
}

struct cursor *pump_cursor(struct pump *p)
{
	return p->cursor;
}

void pump_state(struct pump *p, char *out, size_t size)
{
	pthread_mutex_lock(&p->lock);
	snprintf(out, size, "%s", p->state_text);
	pthread_mutex_unlock(&p->lock);
}

void pump_describe(const struct pump *p, char *out, size_t size)
{
	if (size)
		out[0] = '\0';
	if (p->plan.sink->describe)
		p->plan.sink->describe(p->state, out, size);
}
