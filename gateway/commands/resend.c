/* A gateway that reads instead of listening; see resend.h. */
#include "gateway/commands/resend.h"

#include <poll.h>
#include <stdatomic.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/commands/cmd_journal.h"

#define LANE (16u << 20) /* a record may have a quarter of it, a payload an eighth */
#define WAITING (96u << 20)

/* What the reading thread and main share; each field is written by the one that is named. */
struct resend {
	const struct resend_plan *plan;
	struct intake *in;      /* thread */
	int64_t started_us;     /* thread */
	_Atomic uint64_t taken; /* thread */
	_Atomic uint64_t read;  /* thread; relaxed: bytes, for people */
	_Atomic bool fed;       /* thread: all was handed over, and the sink has it */
	struct listener_settings common;
};

/* The state of the listener: what is in its place of settings. */
struct reader {
	struct resend *resend;
};

static void wait_a_turn(struct intake *in, int most_ms)
{
	struct pollfd p = {.fd = intake_fd(in), .events = POLLIN};
	poll(&p, 1, intake_sleep(in, most_ms));
	intake_turn(in);
}

/* Milliseconds until the rate allows one more; 0: now. */
static int wait_ms(const struct resend *r)
{
	if (r->plan->rate == 0)
		return 0;
	int64_t due = r->started_us + (int64_t)((double)atomic_load(&r->taken) * 1e6 / (double)r->plan->rate);
	int64_t left = due - clock_mono_us();
	return left <= 0 ? 0 : left > 100000 ? 100 : (int)(left / 1000) + 1;
}

enum gw_err resend_put(struct resend *r, const char *json, size_t len, struct refusal *refusal)
{
	/* No device is named, so that only what is a record already is taken. */
	struct message m = {.payload = json, .payload_len = len, .kind = PAYLOAD_JSON, .qos = -1};
	uint64_t position;
	for (;;) {
		if (intake_phase(r->in) != INTAKE_RUN)
			return GW_AGAIN;
		int ms = wait_ms(r);
		enum gw_err err = ms > 0 ? GW_FULL : intake_put(r->in, &m, &position, refusal);
		if (err == GW_OK)
			break;
		if (err != GW_FULL)
			return GW_INVALID;
		wait_a_turn(r->in, ms > 0 ? ms : 100);
	}
	if (atomic_fetch_add(&r->taken, 1) % 64 == 0)
		intake_flush(r->in);
	if (atomic_load_explicit(&r->taken, memory_order_relaxed) % 1024 == 0)
		intake_turn(r->in);
	return GW_OK;
}

void resend_read(struct resend *r, uint64_t bytes)
{
	atomic_store_explicit(&r->read, bytes, memory_order_relaxed);
}

static enum gw_err reader_open(void *self, struct intake *in, struct why *why)
{
	(void)why;
	((struct reader *)self)->resend->in = in;
	return GW_OK;
}

static void reader_run(void *self)
{
	struct resend *r = ((struct reader *)self)->resend;
	intake_turn(r->in);
	r->started_us = clock_mono_us();
	r->plan->feed(r->plan->context, r);
	uint64_t end = intake_position(r->in);
	while (intake_phase(r->in) == INTAKE_RUN) {
		intake_flush(r->in);
		intake_watch(r->in, end);
		if (intake_settled(r->in, end))
			atomic_store(&r->fed, true);
		wait_a_turn(r->in, 100);
	}
}

static void reader_close(void *self)
{
	(void)self;
}

static const struct protocol protocol_reader = {.name = "replay",
                                                .help = "Records from a file or a journal",
                                                .size = sizeof(struct reader),
                                                .max_threads = 1,
                                                .open = reader_open,
                                                .run = reader_run,
                                                .close = reader_close};

/* -- main -- */

static void count(const struct gateway *g, const struct resend *r, struct resend_result *result)
{
	result->taken = atomic_load(&r->taken);
	gateway_sent(g, &result->delivered, &result->dead);
}

static bool deliver(const struct gateway *g, struct resend *r, FILE *progress, struct resend_result *result)
{
	int64_t told = clock_mono_us();
	uint64_t before = 0;
	while (!atomic_load(&r->fed)) {
		int64_t now = clock_mono_us();
		if (now - told >= 1000000) {
			count(g, r, result);
			uint64_t there = result->delivered + result->dead;
			fprintf(progress, "%s: ", r->plan->command);
			cmd_journal_print_bytes(progress, atomic_load_explicit(&r->read, memory_order_relaxed),
			                        r->plan->bytes);
			fprintf(progress, ", %llu records, %llu in %s, %llu refused by it, %.0f a second\n",
			        (unsigned long long)result->taken, (unsigned long long)result->delivered, r->plan->sink,
			        (unsigned long long)result->dead,
			        (double)(there - before) * 1e6 / (double)(now - told));
			fflush(progress);
			before = there;
			told = now;
		}
		if (gateway_asked_to_end(50))
			return false;
	}
	return true;
}

static const struct sink_plan *find_sink(const struct gateway_plan *plan, const char *name, struct why *why)
{
	char names[512] = "";
	for (size_t i = 0; i < plan->sink_count; i++) {
		size_t used = strlen(names);
		if (strcmp(plan->sinks[i].name, name) == 0)
			return &plan->sinks[i];
		snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", plan->sinks[i].name);
	}
	why_set(why, GW_CONFIG, "there is no sink named \"%s\"; the configuration has: %s", name, names);
	return NULL;
}

enum gw_err resend_run(const struct resend_plan *plan, FILE *progress, struct resend_result *result, struct why *why)
{
	struct resend r = {.plan = plan,
	                   .common = {.ack = ACK_DELIVERED,
	                              .envelope = 1,
	                              .max_depth = 1000,
	                              .max_payload = LANE / 8,
	                              .lane = LANE,
	                              .threads = 1,
	                              .anonymous = true}};
	struct reader reader = {.resend = &r};
	struct gateway *g = NULL;
	*result = (struct resend_result){0};
	const struct sink_plan *sink = find_sink(plan->gateway, plan->sink, why);
	if (!sink)
		return GW_CONFIG;
	struct sink_settings common = *sink->common;
	common.from = 0;
	common.replay_rate = 0;
	common.replay_order = REPLAY_OLDEST_FIRST;
	if (plan->dead_letters) {
		common.max_dead_letters = 0; /* they were in a file already */
		common.dead_letters = (char *)plan->dead_letters;
	}
	struct sink_plan one = *sink;
	one.common = &common;
	const struct listener_plan listener = {
	    .name = "replay", .protocol = &protocol_reader, .settings = &reader, .common = &r.common};
	struct gateway_settings settings = *plan->gateway->settings;
	settings.admin.enabled = false;
	settings.journal.type = JOURNAL_MEMORY;
	settings.journal.max_bytes = WAITING;
	settings.journal.segment = LANE;
	settings.journal.block = LANE / 16;
	settings.stop.drain = 500000; /* when it stops, all is delivered or somebody asked for the end */
	settings.stop.until_empty = false;
	const struct gateway_plan whole = {
	    .settings = &settings, .listeners = &listener, .listener_count = 1, .sinks = &one, .sink_count = 1};
	enum gw_err err = gateway_open(&g, &whole, why);
	if (err)
		return err;
	if (!(err = gateway_start(g, why)))
		err = deliver(g, &r, progress, result) ? GW_OK : GW_AGAIN;
	gateway_stop(g);
	count(g, &r, result);
	gateway_close(g);
	return err;
}
