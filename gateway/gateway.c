/* Putting the gateway together, starting and stopping it in order.
 *
 * Start: recover the journal; open sinks (they need not be reachable) and their cursors; make the listener threads'
 * lanes; bind every listener; then start the journal, the pumps and at last the listeners: nothing is taken in before
 * it can be kept. Stop: the listeners take nothing more in and answer what becomes safe; the journal drains the lanes;
 * the pumps bring the rest to the sinks. */
#include "gateway/gateway.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/record_id.h"
#include "gateway/base/socket.h"
#include "gateway/base/stats.h"
#include "gateway/listener.h"
#include "gateway/protocol.h"
#include "gateway/pump/dead_letter_file.h"
#include "gateway/pump/pump.h"

#define STALLED_MS 10000 /* a heartbeat that does not beat for so long has stopped */

static const char *const levels[] = {"debug", "info", "warn", "error", "none", NULL};
static const char *const formats[] = {"auto", "text", "json", NULL};

static const struct setting log_table[] = {
    SETTING_CHOICES(struct log_settings, level, "info", levels, "Least serious kind of event that is logged."),
    SETTING_CHOICES(struct log_settings, format, "auto", formats,
                    "`auto`: text on a terminal, else one JSON object a line with ECS keys."),
    SETTINGS_END,
};
static const struct setting stop_table[] = {
    SETTING(struct stop_settings, drain, SETTING_DURATION, "8s", 0, 8.64e10,
            "Longest time an orderly stop may take. What the sinks have not got by then stays in the journal."),
    SETTING(struct stop_settings, until_empty, SETTING_BOOL, "false", 0, 0,
            "Wait for the sinks as long as it takes: for a replica that will not come back."),
    SETTINGS_END,
};

const struct setting gateway_settings[] = {
    SETTING(struct gateway_settings, data, SETTING_STRING, "data", 0, 0,
            "Directory for everything that is kept: journal, cursors, dead letters."),
    SETTING_NESTED(struct gateway_settings, journal, journal_settings,
                   "Where accepted records are kept until every sink has them."),
    SETTING_NESTED(struct gateway_settings, log, log_table, "Logs, to stderr."),
    SETTING_NESTED(struct gateway_settings, admin, admin_settings, "Metrics and probes."),
    SETTING_NESTED(struct gateway_settings, stop, stop_table, "What SIGTERM does."),
    SETTINGS_END,
};

struct gateway {
	const struct gateway_plan *plan;
	struct journal_stats journal_stats;
	struct journal *journal;
	struct listener *listeners; /* one per plan entry */
	struct intake **intakes;    /* all threads of all listeners, in order */
	size_t intake_count;
	struct pump **pumps; /* one per sink, and one for dead letters of the intake if anybody makes them */
	size_t pump_count;
	struct sink_settings dead_common;
	struct admin *admin;
	char admin_address[SOCKET_TEXT];
	uint64_t start_us;
	_Atomic bool ready, draining;
};

/* -- opening -- */

/* Whether a listener that promises nothing is full before the others are. */
static bool yields(const struct gateway_plan *plan, const struct listener_settings *c)
{
	bool promised = false;
	for (size_t i = 0; i < plan->listener_count; i++)
		promised |= plan->listeners[i].common->ack != ACK_ACCEPTED;
	return promised && c->ack == ACK_ACCEPTED && c->when_full == WHEN_FULL_REFUSE;
}

/* The bits of delivered_to: cursors are added in the order of the sinks. */
static uint64_t delivered_bits(const struct gateway_plan *plan, const struct listener_settings *c)
{
	uint64_t bits = 0;
	if (c->ack != ACK_DELIVERED)
		return 0;
	for (size_t i = 0; i < plan->sink_count; i++)
		bits |= (uint64_t)gateway_waits_for(c, plan->sinks[i].name) << i;
	return bits;
}

/* A run with on_invalid: dead_letter ended before all of them were in their file. Nobody configured that sink, so nobody could
 * put it back. */
static bool has_dead_letters_left(const struct gateway *g)
{
	char path[4096];
	uint64_t sequence;
	snprintf(path, sizeof(path), "%s/journal/cursors/" DEAD_LETTER_INTAKE ".cursor", g->plan->settings->data);
	return journal_has_cursor(g->journal, DEAD_LETTER_INTAKE) &&
	       (cursor_peek(&disk_real, path, &sequence) != GW_OK || sequence < journal_last(g->journal));
}

/* A drain has no listeners: the journal alone says whether one of them took invalid messages. */
static bool any_dead_letters(const struct gateway *g)
{
	const struct gateway_plan *plan = g->plan;
	for (size_t i = 0; i < plan->listener_count; i++)
		if (plan->listeners[i].common->on_invalid == INVALID_DEAD_LETTER)
			return true;
	return plan->listener_count == 0 ? journal_has_cursor(g->journal, DEAD_LETTER_INTAKE)
	                                 : has_dead_letters_left(g);
}

static enum gw_err open_pump(struct gateway *g, const struct pump_plan *p, struct why *why)
{
	enum gw_err err = pump_open(&g->pumps[g->pump_count], p, g->journal, &disk_real, why);
	if (err)
		return err;
	char where[512];
	pump_describe(g->pumps[g->pump_count++], where, sizeof(where));
	log_event(LOG_INFO, "sink", "opened", LOG_S("sink.name", p->name), LOG_S("sink.type", p->sink->name),
	          LOG_S("sink.target", where));
	return GW_OK;
}

/* Invalid messages that were taken as dead letters go to a file of their own, through a file sink like any other. */
static enum gw_err open_dead_pump(struct gateway *g, struct why *why)
{
	g->dead_common = (struct sink_settings){.batch_records = 100,
	                                        .batch_bytes = 1 << 20,
	                                        .batch_age = 50000,
	                                        .in_flight = 1,
	                                        .backoff_min = 200000,
	                                        .backoff_max = 30000000};
	struct pump_plan p = {.name = DEAD_LETTER_INTAKE,
	                      .sink = g->plan->dead_sink,
	                      .settings = g->plan->dead_settings,
	                      .common = &g->dead_common,
	                      .data = g->plan->settings->data,
	                      .dead_letters = true};
	return open_pump(g, &p, why);
}

static enum gw_err open_pumps(struct gateway *g, struct why *why)
{
	enum gw_err err = GW_OK;
	const struct gateway_plan *plan = g->plan;
	if (!(g->pumps = calloc(plan->sink_count + 1, sizeof(struct pump *))))
		return why_set(why, GW_NOMEM, "out of memory");
	for (size_t i = 0; i < plan->sink_count && !err; i++) {
		const struct sink_plan *s = &plan->sinks[i];
		struct pump_plan p = {.name = s->name,
		                      .sink = s->sink,
		                      .settings = s->settings,
		                      .common = s->common,
		                      .data = plan->settings->data};
		err = open_pump(g, &p, why);
	}
	if (!err && any_dead_letters(g))
		err = open_dead_pump(g, why);
	return err ? err : journal_check_cursors(g->journal, why);
}

static enum gw_err open_intake(struct gateway *g, struct listener *l, const struct listener_plan *plan, unsigned thread,
                               uint32_t start, struct why *why)
{
	struct intake *in = NULL;
	if (posix_memalign((void **)&in, 64, sizeof(*in)))
		return why_set(why, GW_NOMEM, "out of memory");
	const struct intake_plan own = {.thread = thread,
	                                .number = (unsigned)g->intake_count,
	                                .start = start,
	                                .delivered_to = delivered_bits(g->plan, plan->common)};
	enum gw_err err = intake_init(in, l, g->journal, &own, why);
	g->intakes[g->intake_count++] = in;
	if (err)
		return err;
	memcpy(in->state, plan->settings, plan->protocol->size);
	err = plan->protocol->open(in->state, in, why);
	return err ? why_add(why, err, "listeners.%s", plan->name) : GW_OK;
}

static enum gw_err open_listeners(struct gateway *g, struct why *why)
{
	const struct gateway_plan *plan = g->plan;
	size_t threads = 0;
	uint32_t start = record_id_random();
	for (size_t i = 0; i < plan->listener_count; i++)
		threads += (size_t)plan->listeners[i].common->threads;
	g->listeners = calloc(plan->listener_count + 1, sizeof(*g->listeners));
	g->intakes = calloc(threads + 1, sizeof(struct intake *));
	if (!g->listeners || !g->intakes)
		return why_set(why, GW_NOMEM, "out of memory");
	for (size_t i = 0; i < plan->listener_count; i++) {
		struct listener *l = &g->listeners[i];
		const struct listener_plan *p = &plan->listeners[i];
		*l = (struct listener){.name = p->name,
		                       .protocol = p->protocol,
		                       .settings = p->common,
		                       .data = plan->settings->data,
		                       .yields = yields(plan, p->common)};
		pthread_mutex_init(&l->lock, NULL);
		for (unsigned t = 0; t < (unsigned)p->common->threads; t++) {
			enum gw_err err = open_intake(g, l, p, t, start, why);
			if (err)
				return err;
		}
	}
	return GW_OK;
}

/* -- what the admin server shows -- */

static void show_metrics(void *context, FILE *out)
{
	struct gateway *g = context;
	const struct listener_stats *threads[LISTENER_THREADS_MAX];
	struct stats_listener listeners[LISTENER_THREADS_MAX];
	struct stats_sink sinks[64];
	char build[1024];
	size_t listener_count = 0, used = 0;
	for (size_t i = 0; i < g->plan->listener_count && listener_count < LISTENER_THREADS_MAX; i++) {
		struct stats_listener l = {.name = g->listeners[i].name,
		                           .protocol = g->listeners[i].protocol->name,
		                           .threads = threads + used};
		for (size_t k = 0; k < g->intake_count && used < LISTENER_THREADS_MAX; k++) {
			const struct lane *lane = &g->intakes[k]->lane;
			if (g->intakes[k]->listener != &g->listeners[i])
				continue;
			threads[used++] = &g->intakes[k]->stats;
			l.thread_count++;
			l.lane_limit += lane->size;
			uint64_t taken = atomic_load((_Atomic uint64_t *)&lane->taken);
			l.lane_bytes += atomic_load((_Atomic uint64_t *)&lane->head) - taken;
		}
		listeners[listener_count++] = l;
	}
	for (size_t i = 0; i < g->pump_count; i++)
		sinks[i] = (struct stats_sink){.name = pump_name(g->pumps[i]),
		                               .type = pump_sink(g->pumps[i])->name,
		                               .stats = pump_stats(g->pumps[i]),
		                               .committed = journal_last(g->journal)};
	versions_labels(build, sizeof(build));
	struct stats_page page = {.listeners = listeners,
	                          .listener_count = listener_count,
	                          .sinks = sinks,
	                          .sink_count = g->pump_count,
	                          .journal = &g->journal_stats,
	                          .build = build,
	                          .start_us = g->start_us};
	stats_write(&page, out);
}

static bool beats(const struct heartbeat *p, FILE *out)
{
	int64_t beat = atomic_load_explicit((_Atomic int64_t *)&p->beat_ms, memory_order_relaxed);
	bool outside = atomic_load_explicit((_Atomic bool *)&p->outside, memory_order_relaxed);
	int64_t silent = clock_mono_us() / 1000 - beat;
	bool alive = beat == 0 || outside || silent < STALLED_MS;
	fprintf(out, "[%s] %s", alive ? "+" : "-", p->name);
	if (!alive)
		fprintf(out, ": no turn for %lld s", (long long)silent / 1000);
	fputc('\n', out);
	return alive;
}

static bool show_live(void *context, FILE *out)
{
	struct gateway *g = context;
	bool live = beats(journal_heartbeat(g->journal), out);
	for (size_t i = 0; i < g->intake_count; i++)
		live &= beats(&g->intakes[i]->heartbeat, out);
	for (size_t i = 0; i < g->pump_count; i++)
		live &= beats(pump_heartbeat(g->pumps[i]), out);
	return live;
}

static bool show_ready(void *context, FILE *out)
{
	struct gateway *g = context;
	char text[800];
	bool ready = atomic_load(&g->ready), draining = atomic_load(&g->draining);
	bool full = journal_full(g->journal), faulty = journal_faulty(g->journal);
	fprintf(out, "[%s] started\n[%s] not draining\n", ready ? "+" : "-", draining ? "-" : "+");
	bool nearly = !full && journal_nearly_full(g->journal);
	journal_growth_trouble(g->journal, text, sizeof(text));
	fprintf(out, "[%s] journal has room%s%s%s%s\n",
	        full     ? "-"
	        : nearly ? "!"
	                 : "+",
	        nearly ? ", but is nearly full" : "",
	        (full || nearly) && journal_lacks_disk(g->journal) ? ": its file system has none for more" : "",
	        *text ? ": no further segment can be made: " : "", text);
	journal_trouble(g->journal, text, sizeof(text));
	fprintf(out, faulty ? "[-] disk works: %s\n" : "[+] disk works\n", text);
	for (size_t i = 0; i < g->plan->listener_count; i++)
		fprintf(out, "[+] listener %s on %s\n", g->listeners[i].name, g->listeners[i].address);
	for (size_t i = 0; i < g->pump_count; i++) {
		const char *holds =
		    journal_is_pinned_by(g->journal, pump_cursor(g->pumps[i])) ? ", holds the journal" : "";
		pump_state(g->pumps[i], text, sizeof(text));
		fprintf(out, *text ? "[!] sink %s: %s (records wait in the journal)%s\n" : "[+] sink %s%s%s\n",
		        pump_name(g->pumps[i]), text, holds);
	}
	return ready && !draining && !full && !faulty;
}

/* -- the whole -- */

enum gw_err gateway_open(struct gateway **out, const struct gateway_plan *plan, struct why *why)
{
	struct gateway *g = NULL;
	char dir[4096];
	if (posix_memalign((void **)&g, 64, sizeof(*g)))
		return why_set(why, GW_NOMEM, "out of memory");
	memset(g, 0, sizeof(*g));
	g->plan = plan;
	g->start_us = (uint64_t)clock_wall_us();
	snprintf(dir, sizeof(dir), "%s/journal", plan->settings->data);
	struct admin_source source = {.context = g, .metrics = show_metrics, .live = show_live, .ready = show_ready};
	enum gw_err err = journal_open(&g->journal, &plan->settings->journal, &disk_real, dir, &g->journal_stats, why);
	if (err == GW_IO)
		why_add(why, err, "data: %s", plan->settings->data);
	if (!err)
		err = open_pumps(g, why);
	if (!err)
		err = open_listeners(g, why);
	if (!err && plan->settings->admin.enabled)
		err = admin_open(&g->admin, &plan->settings->admin, &source, g->admin_address, why);
	if (err) {
		gateway_close(g);
		return err;
	}
	if (g->admin)
		log_event(LOG_INFO, "admin", "listening", LOG_S("server.address", g->admin_address));
	*out = g;
	return GW_OK;
}

static void *listener_run(void *arg)
{
	struct intake *in = arg;
	intake_turn(in);
	in->listener->protocol->run(in->state);
	if (intake_phase(in) == INTAKE_RUN)
		log_event(LOG_ERROR, "listener", "its thread exited unexpectedly",
		          LOG_S("sluice.listener", in->listener->name));
	heartbeat_end(&in->heartbeat);
	atomic_store(&in->ended, true);
	return NULL;
}

enum gw_err gateway_start(struct gateway *g, struct why *why)
{
	enum gw_err err = journal_start(g->journal, why);
	for (size_t i = 0; i < g->pump_count && !err; i++)
		err = pump_start(g->pumps[i], why);
	for (size_t i = 0; i < g->intake_count && !err; i++) {
		if (pthread_create(&g->intakes[i]->id, NULL, listener_run, g->intakes[i]))
			return why_set(why, GW_FATAL, "a listener's thread cannot be started");
		g->intakes[i]->running = true;
	}
	if (!err) {
		atomic_store(&g->ready, true);
		log_event(LOG_INFO, "gateway", "ready",
		          LOG_N("sluice.start_ms", (clock_wall_us() - (int64_t)g->start_us) / 1000));
	}
	return err;
}

/* Waits until every listener thread has ended by itself or the time is up, then ends the rest. */
static void stop_listeners(struct gateway *g, int64_t by_us)
{
	for (size_t i = 0; i < g->intake_count; i++)
		intake_set_phase(g->intakes[i], INTAKE_DRAIN);
	for (size_t i = 0; i < g->intake_count; i++) {
		struct timespec step = {.tv_nsec = 2000000};
		while (g->intakes[i]->running && !atomic_load(&g->intakes[i]->ended) && clock_mono_us() < by_us)
			nanosleep(&step, NULL);
	}
	for (size_t i = 0; i < g->intake_count; i++) {
		intake_set_phase(g->intakes[i], INTAKE_END);
		if (g->intakes[i]->running)
			pthread_join(g->intakes[i]->id, NULL);
		g->intakes[i]->running = false;
	}
}

/* Records of the journal that its sink has not got. */
static uint64_t behind(const struct gateway *g, struct pump *p)
{
	return cursor_behind(pump_cursor(p), journal_first(g->journal) - 1, journal_last(g->journal));
}

enum gw_err gateway_stop(struct gateway *g)
{
	const struct stop_settings *s = &g->plan->settings->stop;
	int64_t begin = clock_mono_us(), by = begin + (int64_t)s->drain;
	atomic_store(&g->draining, true);
	log_event(LOG_INFO, "gateway", "stopping: takes nothing more in", LOG_N("sluice.drain_ms", s->drain / 1000));
	stop_listeners(g, begin + (int64_t)s->drain / 2);
	enum gw_err err = journal_stop(g->journal, by);
	int64_t sinks_by = s->until_empty ? INT64_MAX : by;
	size_t late = 0;
	for (size_t i = 0; i < g->pump_count; i++)
		pump_stop(g->pumps[i], sinks_by);
	for (size_t i = 0; i < g->pump_count; i++)
		if (!pump_join(g->pumps[i])) {
			late++;
			log_event(LOG_WARN, "sink",
			          pump_is_blocked(g->pumps[i])
			              ? "its target does not answer; undelivered records remain in the journal"
			              : "stopped with undelivered records; they remain in the journal",
			          LOG_S("sink.name", pump_name(g->pumps[i])),
			          LOG_N("sluice.sink.lag_records", behind(g, g->pumps[i])));
		}
	log_event(LOG_INFO, "gateway", "stopped", LOG_N("sluice.stop_ms", (clock_mono_us() - begin) / 1000),
	          LOG_N("sluice.sinks_behind", late));
	return err;
}

bool gateway_is_blocked(const struct gateway *g)
{
	for (size_t i = 0; i < g->pump_count; i++)
		if (pump_is_blocked(g->pumps[i]))
			return true;
	return false;
}

uint64_t gateway_behind(const struct gateway *g, char *out, size_t size)
{
	uint64_t most = 0;
	if (out)
		snprintf(out, size, "-");
	for (size_t i = 0; i < g->pump_count; i++) {
		uint64_t lacks = behind(g, g->pumps[i]);
		if (lacks <= most)
			continue;
		most = lacks;
		if (out)
			snprintf(out, size, "%s", pump_name(g->pumps[i]));
	}
	return most;
}

bool gateway_asked_to_end(unsigned wait_ms)
{
	sigset_t set;
	struct timespec most = {.tv_sec = wait_ms / 1000, .tv_nsec = (long)(wait_ms % 1000) * 1000000};
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	return sigtimedwait(&set, NULL, &most) > 0;
}

void gateway_sent(const struct gateway *g, uint64_t *delivered, uint64_t *dead)
{
	*delivered = *dead = 0;
	for (size_t i = 0; i < g->pump_count; i++) {
		const struct sink_stats *s = pump_stats(g->pumps[i]);
		*delivered += stat_get(&s->delivered);
		*dead += stat_get(&s->dead);
	}
}

void gateway_close(struct gateway *g)
{
	if (!g)
		return;
	admin_close(g->admin);
	if (gateway_is_blocked(g)) /* its thread still has all of it; the process ends */
		return;
	for (size_t i = 0; i < g->intake_count; i++) {
		struct intake *in = g->intakes[i];
		assert(in); /* counted only when it is there */
		if (in->state)
			in->listener->protocol->close(in->state);
		intake_fini(in);
		free(in);
	}
	for (size_t i = 0; g->listeners && i < g->plan->listener_count; i++) {
		if (g->listeners[i].name)
			pthread_mutex_destroy(&g->listeners[i].lock);
		free(g->listeners[i].shared);
	}
	for (size_t i = 0; i < g->pump_count; i++)
		pump_close(g->pumps[i]);
	journal_close(g->journal);
	free(g->listeners);
	free(g->intakes);
	free(g->pumps);
	free(g);
}

void gateway_hints(const struct gateway *g, FILE *out)
{
	char hint[1024];
	fputs("\nSluice is ready. Send a first message:\n\n", out);
	for (size_t i = 0; i < g->plan->listener_count; i++) {
		const struct listener *l = &g->listeners[i];
		if (!l->protocol->hint)
			continue;
		const struct intake *in = g->intakes[0];
		for (size_t k = 0; k < g->intake_count; k++)
			if (g->intakes[k]->listener == l && g->intakes[k]->thread == 0)
				in = g->intakes[k];
		l->protocol->hint(in->state, l->address, hint, sizeof(hint));
		fprintf(out, "  %-6s %-22s %s\n", l->protocol->name, l->address, hint);
	}
	fputs("\nand see it arrive:\n\n", out);
	for (size_t i = 0; i < g->pump_count; i++) {
		char where[512];
		pump_describe(g->pumps[i], where, sizeof(where));
		if (strcmp(pump_sink(g->pumps[i])->name, "file") == 0)
			fprintf(out, "  %-29s tail -F %s\n", pump_name(g->pumps[i]), where);
		else
			fprintf(out, "  %-29s %s %s\n", pump_name(g->pumps[i]), pump_sink(g->pumps[i])->name, where);
	}
	if (g->admin)
		fprintf(out, "  %-29s curl http://%s/metrics\n", "metrics", g->admin_address);
	fputs("\n^C stops it.\n\n", out);
	fflush(out);
}
