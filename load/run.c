/* Carrying out plans; see run.h. The calling thread sleeps to the next second or until a worker has something to tell, parks
 * each worker for the moment in which it takes its counts, and decides when it is over:
 *	connect   until every connection was tried once; then the clock of the shape starts
 *	send      until all is sent, the time is up, nobody answers any more, or somebody stops it
 *	drain     until everything open is acknowledged, or --grace is over */
#include "load/run.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "load/run_parts.h"
#include "load/server.h"
#include "load/stop.h"
#include "load/worker_loop.h"

#define LEDGER_US (3 * SECOND_US)
#define STOP_GRACE_US (2 * SECOND_US) /* somebody who stops it waits */

void run_make_id(char run[32])
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	struct timespec t;
	uint32_t chance;
	clock_gettime(CLOCK_REALTIME, &t);
	if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
		chance = (uint32_t)t.tv_nsec;
	uint64_t v = ((uint64_t)t.tv_sec << 10 | (chance & 1023)) & ((UINT64_C(1) << 40) - 1);
	for (int i = 7; i >= 0; i--, v >>= 5)
		run[i] = digits[v & 31];
	run[8] = 0;
}

/* -- one plan under way -- */

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

static enum gw_err prepare(struct load_run *r, struct why *why)
{
	const struct load_plan *plan = r->plan;
	struct load_result *result;
	struct timespec t;
	enum gw_err err;
	r->result = result = result_new();
	r->second = hdr_new();
	r->late = hdr_new();
	r->workers = calloc(r->job.worker_count, sizeof(*r->workers));
	r->cpu_before = calloc(r->job.worker_count, sizeof(*r->cpu_before));
	if (!result || !r->second || !r->late || !r->workers || !r->cpu_before)
		return why_set(why, GW_NOMEM, "out of memory");
	result->command = copy(plan->command);
	result->target = copy(plan->target);
	if (!result->command || !result->target)
		return why_set(why, GW_NOMEM, "out of memory");
	snprintf(result->run, sizeof(result->run), "%s", r->job.run);
	snprintf(result->protocol, sizeof(result->protocol), "%s", plan->protocol->name);
	snprintf(result->tool, sizeof(result->tool), "sluice-load %s", SLUICE_VERSION);
	gethostname(result->host, sizeof(result->host) - 1);
	clock_gettime(CLOCK_REALTIME, &t);
	result->started_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
	result->workers = r->job.worker_count;
	for (; r->opened < r->job.worker_count; r->opened++)
		if ((err = worker_open(&r->workers[r->opened], &r->job, r->opened, why))) {
			r->opened++; /* closed all the same */
			return err;
		}
	return GW_OK;
}

static void release(struct load_run *r)
{
	for (unsigned i = 0; i < r->opened; i++)
		worker_close(&r->workers[i]);
	free(r->workers);
	free(r->cpu_before);
	hdr_free(r->second);
	hdr_free(r->late);
	result_free(r->result);
	job_close(&r->job);
}

/* -- phases -- */

static void set_phase(struct load_run *r, enum job_phase phase)
{
	/* pairs with the acquire in the workers' turn */
	atomic_store_explicit(&r->job.phase, (int)phase, memory_order_release);
	for (unsigned i = 0; i < r->started; i++)
		worker_wake(&r->workers[i]);
}

static bool all(const struct load_run *r, size_t flag)
{
	for (unsigned i = 0; i < r->started; i++)
		if (!atomic_load_explicit((const _Atomic bool *)(const void *)((const char *)&r->workers[i] + flag),
		                          memory_order_acquire))
			return false;
	return true;
}

static uint64_t tried_well(const struct load_run *r)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < r->started; i++)
		n += atomic_load_explicit(&r->workers[i].tried_well, memory_order_relaxed);
	return n;
}

static enum job_phase phase_of(const struct load_run *r)
{
	return (enum job_phase)atomic_load_explicit(&r->job.phase, memory_order_relaxed);
}

static void drain(struct load_run *r, uint64_t now_us, const char *end)
{
	if (phase_of(r) >= JOB_DRAIN)
		return;
	if (!r->result->end[0])
		snprintf(r->result->end, sizeof(r->result->end), "%s", end);
	r->drain_us = now_us;
	set_phase(r, JOB_DRAIN);
}

static void connect_phase(struct load_run *r, uint64_t now_us)
{
	bool tried = all(r, offsetof(struct worker, all_tried));
	bool storm_only = r->plan->storm && !r->plan->count && !r->plan->duration_us;
	if (stop_asked()) {
		run_begin_counting(r, now_us);
		drain(r, now_us, "interrupted");
		return;
	}
	if (!tried)
		return;
	run_begin_counting(r, now_us);
	if (tried_well(r) == 0)
		drain(r, now_us, "no connection could be made");
	else if (storm_only)
		drain(r, now_us, "connected");
	else
		set_phase(r, JOB_SEND); /* only now: a worker that sees it sends at once */
}

/* Nobody is there, or somebody who is silent about all that was sent: then a count is never reached. */
static bool is_silent(const struct load_run *r)
{
	const struct load_result *x = r->result;
	if (x->second_count == 0)
		return false;
	const struct load_second *s = &x->seconds[x->second_count - 1];
	return s->connections == 0 ||
	       (r->plan->count && !r->plan->duration_us && s->sent == 0 && x->sent > result_messages(x));
}

static void send_phase(struct load_run *r, uint64_t now_us)
{
	uint64_t last = atomic_load_explicit(&r->job.last_answer_us, memory_order_relaxed);
	uint64_t whole = r->plan->warmup_us + r->plan->duration_us;
	if (stop_asked())
		drain(r, now_us, "interrupted");
	else if (r->plan->duration_us && now_us - r->start_us >= whole)
		drain(r, now_us, "time");
	else if (r->plan->count && !r->plan->idle && all(r, offsetof(struct worker, all_done)))
		drain(r, now_us, "count");
	else if (r->job.confirms && is_silent(r) &&
	         now_us - (last > r->start_us ? last : r->start_us) > r->plan->give_up_us)
		drain(r, now_us, "gave up: nobody answered");
}

static void drain_phase(struct load_run *r, uint64_t now_us)
{
	bool lost = !strncmp(r->result->end, "no connection", 13) || !strncmp(r->result->end, "gave up", 7);
	uint64_t grace = lost ? 0 : r->plan->grace_us;
	if (stop_asked() && grace > STOP_GRACE_US)
		grace = STOP_GRACE_US;
	if (!all(r, offsetof(struct worker, all_done)) && now_us - r->drain_us < grace && stop_count() < 2)
		return;
	run_count_second(r, now_us, false); /* now, before connections close */
	r->ended_us = now_us;
	run_count_tool(r);
	set_phase(r, JOB_STOP);
	for (unsigned i = 0; i < r->started; i++)
		worker_join(&r->workers[i]);
	r->over = true;
}

static void step(struct load_run *r)
{
	uint64_t now_us = worker_clock(), told;
	(void)!read(r->job.done_fd, &told, sizeof(told));
	if (r->over)
		return;
	if (phase_of(r) == JOB_CONNECT)
		connect_phase(r, now_us);
	if (phase_of(r) == JOB_SEND)
		send_phase(r, now_us);
	/* the warm-up's end closes a second, too, so that all figures begin there */
	bool warm = !r->warm && r->start_us && now_us - r->start_us >= r->plan->warmup_us;
	if (r->start_us && (now_us - r->counted_us >= SECOND_US || warm))
		run_count_second(r, now_us, false);
	if (phase_of(r) == JOB_DRAIN)
		drain_phase(r, now_us);
}

/* Milliseconds until there is something to do for a run. */
static int wait_ms(const struct load_run *r)
{
	uint64_t now = worker_clock(), until = r->counted_us + SECOND_US;
	if (r->over || !r->start_us)
		return 100;
	uint64_t warm_end = r->start_us + r->plan->warmup_us, end = warm_end + r->plan->duration_us;
	if (!r->warm && warm_end < until)
		until = warm_end;
	if (r->plan->duration_us && phase_of(r) == JOB_SEND && end < until)
		until = end;
	uint64_t ms = until > now ? (until - now) / 1000 + 1 : 0;
	return ms > 100 ? 100 : (int)ms; /* stop_ask may come from a signal at any moment */
}

/* -- the ledger -- */

struct keeper {
	struct ledger *ledger; /* owned if own */
	bool own;
	const char *path;
	uint64_t written_us, rest_us;
};

/* Copies it while all stand still, and writes the copy while they work. */
static void keep_ledger(struct keeper *k, struct load_run *runs, size_t count, struct why *why)
{
	uint64_t begin = worker_clock();
	if (!k->path || begin - k->written_us < k->rest_us)
		return;
	struct ledger *now = ledger_new(k->ledger->run, k->ledger->target);
	if (!now)
		return;
	now->started_us = k->ledger->started_us;
	for (size_t i = 0; i < count; i++)
		for (unsigned n = 0; n < runs[i].started && !runs[i].over; n++)
			worker_park(&runs[i].workers[n]);
	enum gw_err err = ledger_merge(now, k->ledger, why);
	for (size_t i = 0; i < count; i++)
		for (unsigned n = 0; n < runs[i].started && !runs[i].over; n++)
			worker_resume(&runs[i].workers[n]);
	/* a large one stops everybody longer: then rarely, so that it takes no more than a hundredth of the time */
	uint64_t stood = worker_clock() - begin;
	k->rest_us = stood * 100 > LEDGER_US ? stood * 100 : LEDGER_US;
	if (!err)
		(void)ledger_write(now, k->path, why);
	ledger_free(now);
	k->written_us = worker_clock();
}

/* Nobody is to stand still for the ledger when it is written anyway in a moment. */
static bool ends_soon(const struct load_run *runs, size_t count)
{
	uint64_t now = worker_clock();
	for (size_t i = 0; i < count; i++) {
		uint64_t end = atomic_load_explicit(&runs[i].job.end_us, memory_order_relaxed);
		if (end && now + LEDGER_US > end)
			return true;
	}
	return false;
}

static enum gw_err open_ledger(struct keeper *k, const char *run, const char *target, struct why *why)
{
	if (!k->path || k->ledger)
		return GW_OK;
	k->own = true;
	k->ledger = ledger_new(run, target);
	return k->ledger ? GW_OK : why_set(why, GW_NOMEM, "out of memory");
}

static enum gw_err complete_ledger(struct keeper *k, struct why *why)
{
	if (!k->path)
		return GW_OK;
	k->ledger->complete = true;
	return ledger_write(k->ledger, k->path, why);
}

/* -- from start to end -- */

static enum gw_err start(struct load_run *r, struct why *why)
{
	r->began_us = r->counted_us = worker_clock();
	for (; r->started < r->job.worker_count; r->started++) {
		enum gw_err err = worker_start(&r->workers[r->started], why);
		if (err)
			return err;
	}
	return GW_OK;
}

static void abandon(struct load_run *r)
{
	set_phase(r, JOB_STOP);
	for (unsigned n = 0; n < r->started && !r->over; n++)
		worker_join(&r->workers[n]);
}

/* Takes all of them a step on; false: they are over. *rest_ms is how long nothing is to be done. */
static bool step_all(struct load_run *runs, size_t count, int *rest_ms)
{
	bool over = true;
	*rest_ms = 100;
	for (size_t i = 0; i < count; i++) {
		step(&runs[i]);
		over = over && runs[i].over;
		int ms = wait_ms(&runs[i]);
		*rest_ms = ms < *rest_ms ? ms : *rest_ms;
	}
	return !over;
}

static enum gw_err go(struct load_run *runs, size_t count, struct keeper *k, struct why *why)
{
	struct pollfd *fds = calloc(count, sizeof(*fds));
	enum gw_err err = GW_OK;
	int rest_ms;
	if (!fds)
		return why_set(why, GW_NOMEM, "out of memory");
	for (size_t i = 0; i < count && !err; i++) {
		fds[i] = (struct pollfd){.fd = runs[i].job.done_fd, .events = POLLIN};
		err = start(&runs[i], why);
	}
	for (bool more = !err; more;) {
		more = step_all(runs, count, &rest_ms);
		if (!ends_soon(runs, count))
			keep_ledger(k, runs, count, NULL);
		if (more)
			poll(fds, count, rest_ms);
	}
	for (size_t i = 0; i < count && err; i++)
		abandon(&runs[i]);
	free(fds);
	return err;
}

/* How many runs before this one have its protocol. */
static unsigned number_of(const struct load_plan *plans, size_t i)
{
	unsigned n = 0;
	for (size_t k = 0; k < i; k++)
		n += plans[k].protocol == plans[i].protocol;
	return n;
}

static enum gw_err open_runs(struct load_run *runs, const struct load_plan *plans, size_t count, const char *run,
                             struct ledger *ledger, struct why *why)
{
	enum gw_err err = GW_OK;
	for (size_t i = 0; !err && i < count; i++) {
		runs[i].plan = &plans[i];
		err = job_open(&runs[i].job, &plans[i], run, number_of(plans, i), ledger, why);
	}
	if (!err)
		err = run_check_limits(runs, count, why); /* before memory is taken for what cannot be */
	for (size_t i = 0; !err && i < count; i++)
		err = prepare(&runs[i], why);
	for (size_t i = 0; !err && i < count; i++) {
		struct server_use use;
		if (plans[i].pid && server_read(plans[i].pid, &use, why))
			err = GW_CONFIG;
	}
	return err;
}

/* out: where the results go; NULL: the runs failed. */
static void close_runs(struct load_run *runs, size_t count, struct load_result **out)
{
	for (size_t i = 0; i < count && runs[i].plan; i++) {
		if (out) {
			run_complete(&runs[i]);
			out[i] = runs[i].result;
			runs[i].result = NULL;
		}
		release(&runs[i]);
	}
}

enum gw_err run_plans(const struct load_plan *plans, size_t count, struct load_result **out, struct ledger *ledger,
                      struct why *why)
{
	char run[32];
	struct keeper k = {
	    .ledger = ledger, .path = plans[0].ledger_path, .written_us = worker_clock(), .rest_us = LEDGER_US};
	struct load_run *runs = calloc(count, sizeof(*runs));
	if (!runs)
		return why_set(why, GW_NOMEM, "out of memory");
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
	snprintf(run, sizeof(run), "%s", ledger && ledger->run[0] ? ledger->run : plans[0].run);
	if (!run[0])
		run_make_id(run);
	enum gw_err err = open_ledger(&k, run, plans[0].target, why);
	if (!err)
		err = open_runs(runs, plans, count, run, k.ledger, why);
	if (!err && k.path)
		err = ledger_write(k.ledger, k.path, why); /* better now than after an hour */
	if (!err)
		err = go(runs, count, &k, why);
	if (!err)
		err = complete_ledger(&k, why);
	close_runs(runs, count, err ? NULL : out);
	if (!err)
		run_share_servers(plans, out, count);
	if (k.own)
		ledger_free(k.ledger);
	free(runs);
	return err;
}

enum gw_err run_plan(const struct load_plan *plan, struct load_result **out, struct ledger *ledger, struct why *why)
{
	return run_plans(plan, 1, out, ledger, why);
}
