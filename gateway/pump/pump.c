/* The pump as main makes and ends it, and what others may ask of it. What it promises is told in pump.h, what it asks of
 * a sink in gateway/pump/sink.h, how it works in pump_parts.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/pump/pump_parts.h"

static const char *const froms[] = {"oldest", "now", NULL};
static const char *const orders[] = {[REPLAY_OLDEST_FIRST] = "oldest_first", [REPLAY_LIVE_FIRST] = "live_first", NULL};

const struct setting sink_settings[] = {
    SETTING_CHOICES(
        struct sink_settings, from, "oldest", froms,
        "Where a new sink starts: with the oldest record that the journal still has, or with the next one."),
    SETTING(struct sink_settings, batch_records, SETTING_INT, "2000", 1, 1000000, "Most records of one batch."),
    SETTING(struct sink_settings, batch_bytes, SETTING_BYTES, "2MiB", 1024, 1 << 30, "Most bytes of one batch."),
    SETTING(struct sink_settings, batch_age, SETTING_DURATION, "50ms", 0, 6e7,
            "Longest time a record waits for its batch to fill; not if a listener waits for this sink (`ack: "
            "delivered`, or `journal.type: spill`), or the journal is full."),
    SETTING(struct sink_settings, in_flight, SETTING_INT, "4", 1, 64,
            "Batches that the sink has at one time. Fewer for a while after it refused some for now (overload), down "
            "to one."),
    SETTING(struct sink_settings, backoff_min, SETTING_DURATION, "200ms", 1e3, 6e8,
            "First wait after a failure; it doubles, with jitter."),
    SETTING(struct sink_settings, backoff_max, SETTING_DURATION, "30s", 1e3, 3.6e9, "Longest wait between two tries."),
    SETTING(
        struct sink_settings, give_up_after, SETTING_DURATION, "0", 0, 3.2e15,
        "A record that the sink could not take for that long becomes a dead letter; 0: never, the journal holds it."),
    SETTING_CHOICES(struct sink_settings, replay_order, "oldest_first", orders,
                    "After an outage or a start: everything in its order, or new records at once and what gathered "
                    "behind them."),
    SETTING(struct sink_settings, replay_rate, SETTING_INT, "0", 0, 100000000,
            "Records a second of what gathered during an outage or was there at the start; 0: no limit."),
    SETTING(struct sink_settings, replay_after, SETTING_DURATION, "5s", 0, 3.6e9,
            "A sink that was in trouble for less long had no outage."),
    SETTING(struct sink_settings, dead_letters, SETTING_STRING, NULL, 0, 0,
            "File for records that the sink refuses for good; else DATA/dead/NAME.ndjson."),
    SETTING(struct sink_settings, max_dead_letters, SETTING_BYTES, "10GiB", 0, 1e15,
            "Bytes of that file. When it has them, a record that the sink refuses for good stays in the journal, and "
            "holds up what is behind it, until there is room or the sink takes it. 0: no limit but the disk's."),
    SETTINGS_END,
};

#define BLOCKED_US 300000 /* a pump that has not ended so long after its deadline waits for its target */
#define SILENT_MS 3000    /* a call to a sink's target that takes so long is reported */

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
	atomic_init(&p->wake_at, JOURNAL_WAKE_NEVER);
	p->kind = plan->dead_letters ? RECORD_DEAD : RECORD_TELEMETRY;
	p->allowed = (size_t)plan->common->in_flight;
	p->random = (unsigned)clock_wall_us() ^ (unsigned)(uintptr_t)p;
	snprintf(p->heartbeat.name, sizeof(p->heartbeat.name), "sink %.60s", plan->name);
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
	    dead_letter_file_init(&p->dead, disk, plan->common->dead_letters ? plan->common->dead_letters : path,
	                          plan->name, plan->common->max_dead_letters))
		err = why_set(why, GW_NOMEM, "out of memory or file descriptors");
	else if (!(err = journal_add_cursor(j, plan->name, plan->common->from == 1, &p->cursor, why))) {
		memcpy(p->state, plan->settings, plan->sink->size);
		stat_set(&p->stats.up, 1);
		if (!(err = pump_backlog_open(p, why)))
			err = plan->sink->open(p->state, &p->host, why);
	}
	if (!err && (journal_reader_open(j, &p->live.reader) || journal_reader_open(j, &p->backlog.reader) ||
	             journal_add_reader(j, fd, &p->wake_at)))
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
	int64_t by = atomic_load(&p->stop_by_us), rest = by ? by - clock_mono_us() + BLOCKED_US : INT64_MAX;
	struct timespec until;
	if (p->running && by != INT64_MAX && by != 0) {
		clock_gettime(CLOCK_REALTIME, &until);
		rest = (rest < 0 ? 0 : rest) + until.tv_nsec / 1000;
		until.tv_sec += rest / 1000000;
		until.tv_nsec = rest % 1000000 * 1000;
		if (pthread_timedjoin_np(p->thread, NULL, &until) == ETIMEDOUT)
			return false;
	} else if (p->running) {
		pthread_join(p->thread, NULL);
	}
	p->running = false;
	return p->has_all;
}

bool pump_is_blocked(const struct pump *p)
{
	return p->running;
}

static void track_close(struct track *t)
{
	while (t->first) {
		struct batch *b = t->first;
		t->first = b->next;
		batch_free(b);
	}
	block_unref(t->block);
	journal_reader_close(t->reader);
}

void pump_close(struct pump *p)
{
	if (!p)
		return;
	if (p->state)
		p->plan.sink->close(p->state);
	track_close(&p->live);
	track_close(&p->backlog);
	while (p->spare) {
		struct batch *b = p->spare;
		p->spare = b->next;
		batch_free(b);
	}
	dead_letter_file_fini(&p->dead);
	if (p->host.wake_fd >= 0)
		close(p->host.wake_fd);
	pthread_mutex_destroy(&p->lock);
	free(p->state);
	free(p);
}

/* -- for others -- */

/* Under lock: notes when an outage begins and ends. */
static void note_outage(struct pump *p, bool trouble)
{
	int64_t now = clock_mono_us();
	if (!trouble && p->down_us && now - p->down_us >= (int64_t)p->plan.common->replay_after)
		atomic_store_explicit(&p->back, true, memory_order_relaxed);
	if (!trouble || !p->down_us)
		p->down_us = trouble ? now : 0;
}

/* kept: one of the two texts of the pump */
static void report(struct pump *p, char kept[512], const char *text)
{
	pthread_mutex_lock(&p->lock);
	bool changed = strcmp(kept, text ? text : "") != 0;
	snprintf(kept, 512, "%s", text ? text : "");
	bool trouble = p->state_text[0] || p->own_text[0];
	if (changed)
		note_outage(p, trouble);
	pthread_mutex_unlock(&p->lock);
	if (!changed)
		return;
	stat_set(&p->stats.up, !trouble);
	if (text)
		log_event(LOG_WARN, "sink", "is in trouble; records wait in the journal",
		          LOG_S("sink.name", p->plan.name), LOG_S("error.message", text));
	else if (!trouble)
		log_event(LOG_INFO, "sink", "works again", LOG_S("sink.name", p->plan.name));
}

void sink_report_health(struct sink_host *host, const char *text)
{
	report(host->pump, host->pump->state_text, text);
}

void pump_report_own(struct pump *p, const char *text)
{
	report(p, p->own_text, text);
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

struct heartbeat *pump_heartbeat(struct pump *p)
{
	return &p->heartbeat;
}

struct cursor *pump_cursor(struct pump *p)
{
	return p->cursor;
}

void pump_state(struct pump *p, char *out, size_t size)
{
	pthread_mutex_lock(&p->lock);
	snprintf(out, size, "%s", p->own_text[0] ? p->own_text : p->state_text);
	pthread_mutex_unlock(&p->lock);
	int64_t silent = heartbeat_outside_ms(&p->heartbeat, clock_mono_us() / 1000);
	if (!*out && silent >= SILENT_MS)
		snprintf(out, size, "a call to its target or the disk has not returned for %lld s",
		         (long long)silent / 1000);
}

void pump_describe(const struct pump *p, char *out, size_t size)
{
	if (size)
		out[0] = '\0';
	if (p->plan.sink->describe)
		p->plan.sink->describe(p->state, out, size);
}
