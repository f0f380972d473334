/* Carrying out plans; see run.h. The calling thread sleeps to the next second or until a worker has something to tell, parks
 * each worker for the moment in which it takes its counts, and decides when it is over:
 *	connect   until every connection was tried once; then the clock of the shape starts
 *	send      until all is sent, the time is up, nobody answers any more, or somebody stops it
 *	drain     until everything open is acknowledged, or --grace is over */
#include "load/run.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load/job.h"
#include "load/server.h"
#include "load/worker_loop.h"

#define SECOND_US UINT64_C(1000000)
#define LEDGER_US (3 * SECOND_US)
#define DESCRIPTORS_OURS 64u
#define LATE_US 5000u /* p99 behind the shape from which on the tool is said to be the limit */
#define BUSY 0.9
#define STOP_GRACE_US (2 * SECOND_US) /* somebody who stops it waits */

static _Atomic int stops; /* how often stop_ask was called; relaxed: a flag */

void stop_ask(void)
{
	atomic_fetch_add_explicit(&stops, 1, memory_order_relaxed);
}

static void interrupted(int number)
{
	(void)number;
	stop_ask();
}

void stop_catch_signals(void)
{
	struct sigaction act = {.sa_handler = interrupted};
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
}

bool stop_asked(void)
{
	return atomic_load_explicit(&stops, memory_order_relaxed) > 0;
}

void stop_clear(void)
{
	atomic_store_explicit(&stops, 0, memory_order_relaxed);
}

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

struct load_run {
	const struct load_plan *plan;
	struct load_job job;
	struct worker *workers; /* owned; job.worker_count of them, `started` of them have a thread */
	unsigned opened, started;
	struct load_result *result; /* owned until it is given away */
	struct hdr *second, *late;  /* owned */
	uint64_t began_us, start_us, ended_us, drain_us;
	uint64_t counted_us;  /* when the last second was closed */
	double *cpu_before;   /* owned; of each worker when the figures began */
	double server_before; /* CPU of the server at the last second */
	double intended;      /* by the shape, at the last second */
	bool warm, over;
};

static const char *find_limits(const struct load_run *runs, size_t count, struct why *why)
{
	struct rlimit limit;
	uint64_t needed = DESCRIPTORS_OURS;
	for (size_t i = 0; i < count; i++)
		needed += runs[i].job.one_socket ? runs[i].job.worker_count : runs[i].job.connections;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed) {
		limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		if (limit.rlim_max < needed) {
			why_set(why, GW_CONFIG,
			        "%llu file descriptors are needed, and at most %llu allowed: raise the hard limit "
			        "(ulimit -Hn "
			        "%llu as root, LimitNOFILE= in systemd, or /etc/security/limits.conf)",
			        (unsigned long long)needed, (unsigned long long)limit.rlim_max,
			        (unsigned long long)needed);
			return why->text;
		}
	}
	unsigned low = 32768, high = 60999;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
	if (f) {
		if (fscanf(f, "%u %u", &low, &high) != 2)
			low = 1024, high = 65535;
		fclose(f);
	}
	for (size_t i = 0; i < count; i++) {
		const struct load_job *j = &runs[i].job;
		uint64_t ports = high >= low ? (uint64_t)high - low + 1 : 0;
		uint64_t most = ports * (j->plan->bind_count ? j->plan->bind_count : 1);
		if (!j->one_socket && j->connections > most) {
			why_set(why, GW_CONFIG,
			        "%llu connections to %s need as many ports, and there are %llu: widen the "
			        "range (sysctl "
			        "net.ipv4.ip_local_port_range='1024 65535'), or send from more addresses (--bind)",
			        (unsigned long long)j->connections, j->plan->target, (unsigned long long)most);
			return why->text;
		}
	}
	return NULL;
}

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

/* -- counting -- */

static double worker_cpu_us(const struct worker *w)
{
	clockid_t clock;
	struct timespec t;
	if (pthread_getcpuclockid(w->thread, &clock) != 0 || clock_gettime(clock, &t) != 0)
		return 0;
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void take_counts(struct load_run *r, struct worker *w, struct load_second *s)
{
	struct load_result *into = r->result;
	struct worker_counts *c = &w->counts;
	s->sent += c->sent;
	s->acknowledged += c->acknowledged;
	s->connections += w->open;
	into->sent += c->sent;
	into->acknowledged += c->acknowledged;
	into->resent += c->resent;
	into->unconfirmed += c->unconfirmed;
	into->bytes_out += c->bytes_out;
	into->bytes_in += c->bytes_in;
	into->connects += c->connects;
	into->reconnects += c->reconnects;
	for (unsigned i = 0; i < LOAD_ERRORS; i++) {
		s->errors += c->errors[i];
		into->errors[i] += c->errors[i];
		if (w->first_error[i][0] && !into->first_error[i][0])
			memcpy(into->first_error[i], w->first_error[i], sizeof(into->first_error[i]));
	}
	*c = (struct worker_counts){0};
	hdr_add(r->second, w->latency);
	hdr_add(into->service, w->service);
	hdr_add(into->connect, w->connect);
	hdr_add(r->late, w->late);
	hdr_reset(w->latency);
	hdr_reset(w->service);
	hdr_reset(w->connect);
	hdr_reset(w->late);
}

static bool add_second(struct load_result *r, const struct load_second *s)
{
	if ((r->second_count & (r->second_count - 1)) == 0) { /* room for a power of two */
		size_t room = r->second_count ? r->second_count * 2 : 1;
		struct load_second *larger = realloc(r->seconds, room * sizeof(*larger));
		if (!larger)
			return false;
		r->seconds = larger;
	}
	r->seconds[r->second_count++] = *s;
	return true;
}

static void look_at_server(struct load_run *r, struct load_second *s, double seconds)
{
	struct server_use use;
	struct load_result *into = r->result;
	s->server_cpu = NAN;
	if (!r->plan->pid || server_read(r->plan->pid, &use, NULL))
		return;
	if (into->has_server && seconds > 0)
		s->server_cpu = (use.cpu_us - r->server_before) / 1e6 / seconds;
	if (into->has_server && use.cpu_us > r->server_before)
		into->server_cpu_us += use.cpu_us - r->server_before;
	r->server_before = use.cpu_us; /* after a restart it counts from 0 again */
	s->server_bytes = use.bytes;
	if (!into->has_server)
		into->server_bytes_first = use.bytes;
	into->has_server = true;
	into->server_pid = (uint64_t)r->plan->pid;
	if (use.bytes > into->server_bytes_most)
		into->server_bytes_most = use.bytes;
}

/* Begins the figures anew: what was before the end of the warm-up does not count. */
static void forget(struct load_run *r)
{
	struct load_result *into = r->result;
	into->sent = into->acknowledged = into->resent = into->unconfirmed = into->bytes_out = into->bytes_in = 0;
	into->server_cpu_us = 0;
	into->server_bytes_most = into->server_bytes_first;
	memset(into->errors, 0, sizeof(into->errors));
	memset(into->first_error, 0, sizeof(into->first_error));
	hdr_reset(into->latency);
	hdr_reset(into->service);
	hdr_reset(r->late);
	for (unsigned i = 0; i < r->started; i++) {
		memset(r->workers[i].first_error, 0, sizeof(r->workers[i].first_error));
		r->cpu_before[i] = worker_cpu_us(&r->workers[i]);
	}
}

/* Closes a second. last: the workers have ended. */
static void count_second(struct load_run *r, uint64_t now_us, bool last)
{
	struct load_second s = {.at_us = now_us - r->start_us};
	double seconds = (double)(now_us - r->counted_us) / 1e6;
	for (unsigned i = 0; i < r->started; i++) {
		struct worker *w = &r->workers[i];
		if (!last)
			worker_park(w);
		take_counts(r, w, &s);
		if (!last)
			worker_resume(w);
	}
	s.p50_us = hdr_percentile(r->second, 50);
	s.p99_us = hdr_percentile(r->second, 99);
	s.max_us = hdr_max(r->second);
	hdr_add(r->result->latency, r->second);
	hdr_reset(r->second);
	if (r->plan->shape.kind != SHAPE_CLOSED && !r->plan->idle) {
		double total = shape_total(&r->plan->shape, s.at_us);
		if (r->plan->count && total > (double)r->plan->count)
			total = (double)r->plan->count;
		if (r->drain_us == 0 || r->drain_us > r->counted_us)
			s.intended = total - r->intended;
		r->intended = total;
	}
	look_at_server(r, &s, seconds);
	if (s.connections > r->result->connections)
		r->result->connections = s.connections;
	r->result->duration_us = s.at_us > r->result->warmup_us ? s.at_us - r->result->warmup_us : 0;
	r->counted_us = now_us;
	if (!add_second(r->result, &s))
		return;
	if (!r->warm && s.at_us >= r->plan->warmup_us) {
		r->warm = true;
		if (r->plan->warmup_us)
			forget(r);
		r->result->warmup_us = r->plan->warmup_us ? s.at_us : 0;
		r->result->duration_us = 0;
	}
	if (r->plan->on_second && !last)
		r->plan->on_second(r->plan->hook_context, r->plan, r->result);
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

/* The clock of what counts starts. */
static void begin_counting(struct load_run *r, uint64_t now_us)
{
	r->start_us = r->counted_us = r->plan->storm ? r->began_us : now_us;
	atomic_store_explicit(&r->job.start_us, r->start_us, memory_order_relaxed);
	if (r->plan->duration_us)
		atomic_store_explicit(&r->job.end_us, r->start_us + r->plan->warmup_us + r->plan->duration_us,
		                      memory_order_relaxed);
	struct load_second none = {0};
	look_at_server(r, &none, 0);
	if (!r->plan->warmup_us) {
		r->warm = true;
		for (unsigned i = 0; i < r->started; i++)
			r->cpu_before[i] = worker_cpu_us(&r->workers[i]);
	}
}

static void connect_phase(struct load_run *r, uint64_t now_us)
{
	bool tried = all(r, offsetof(struct worker, all_tried));
	bool storm_only = r->plan->storm && !r->plan->count && !r->plan->duration_us;
	if (stop_asked()) {
		begin_counting(r, now_us);
		drain(r, now_us, "interrupted");
		return;
	}
	if (!tried)
		return;
	begin_counting(r, now_us);
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
	if (!all(r, offsetof(struct worker, all_done)) && now_us - r->drain_us < grace &&
	    atomic_load_explicit(&stops, memory_order_relaxed) < 2)
		return;
	count_second(r, now_us, false); /* now, before connections close */
	r->ended_us = now_us;
	for (unsigned i = 0; i < r->started; i++) {
		r->result->tool_cpu_us += worker_cpu_us(&r->workers[i]) - r->cpu_before[i];
		double share =
		    (worker_cpu_us(&r->workers[i]) - r->cpu_before[i]) / ((double)r->result->duration_us + 1);
		if (share > r->result->tool_busiest)
			r->result->tool_busiest = share;
	}
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
		count_second(r, now_us, false);
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

/* -- the end -- */

static void judge(struct load_run *r)
{
	struct load_result *x = r->result;
	x->late_us = hdr_percentile(r->late, 99);
	if (x->tool_busiest > 1)
		x->tool_busiest = 1;
	size_t room = sizeof(x->warning), at = 0;
	if (x->tool_busiest > BUSY && x->duration_us > SECOND_US / 4) /* less tells nothing */
		at = (size_t)snprintf(
		    x->warning, room,
		    "the load tester was the limit: its busiest thread used %.0f %% of a core; use more "
		    "--workers, or more machines",
		    x->tool_busiest * 100);
	if (x->late_us > LATE_US)
		snprintf(x->warning + at, room - at,
		         "%sthe load tester was late: 1 %% of the messages were sent %.1f ms or more after they were "
		         "meant to be; "
		         "use more --workers, more machines, or a machine with less to do",
		         at ? "; " : "", (double)x->late_us / 1e3);
}

static void complete(struct load_run *r)
{
	uint64_t open = 0;
	count_second(r, r->ended_us, true); /* what came while connections were closed */
	r->result->second_count--;
	if (!strcmp(r->result->end, "time"))
		r->result->duration_us = r->plan->duration_us; /* what came after it only answered */
	for (unsigned i = 0; i < r->started; i++)
		open += worker_unacknowledged(&r->workers[i]);
	r->result->unacknowledged = open;
	judge(r);
}

static enum gw_err go(struct load_run *runs, size_t count, struct keeper *k, struct why *why)
{
	struct pollfd *fds = calloc(count, sizeof(*fds));
	enum gw_err err = GW_OK;
	if (!fds)
		return why_set(why, GW_NOMEM, "out of memory");
	for (size_t i = 0; i < count && !err; i++) {
		fds[i] = (struct pollfd){.fd = runs[i].job.done_fd, .events = POLLIN};
		runs[i].began_us = runs[i].counted_us = worker_clock();
		for (; !err && runs[i].started < runs[i].job.worker_count; runs[i].started++)
			if ((err = worker_start(&runs[i].workers[runs[i].started], why)))
				break;
	}
	for (bool over = false; !over && !err;) {
		int least = 100;
		over = true;
		for (size_t i = 0; i < count; i++) {
			step(&runs[i]);
			over = over && runs[i].over;
			int ms = wait_ms(&runs[i]);
			least = ms < least ? ms : least;
		}
		if (!ends_soon(runs, count))
			keep_ledger(k, runs, count, NULL);
		if (!over)
			poll(fds, count, least);
	}
	for (size_t i = 0; i < count && err; i++) {
		set_phase(&runs[i], JOB_STOP);
		for (unsigned n = 0; n < runs[i].started && !runs[i].over; n++)
			worker_join(&runs[i].workers[n]);
	}
	free(fds);
	return err;
}

/* Several targets of one server: its processor time cannot be told apart. The one that went on longest tells it, whole, for
 * the messages of all; all are complete. */
static void share_servers(const struct load_plan *plans, struct load_result *const *results, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct load_result *r = results[i];
		uint64_t messages = 0;
		bool longest = true;
		for (size_t k = 0; k < count; k++) {
			const struct load_result *other = results[k];
			if (plans[k].pid != plans[i].pid)
				continue;
			messages += result_messages(other);
			longest = longest &&
			          (k < i ? other->duration_us < r->duration_us : other->duration_us <= r->duration_us);
		}
		if (longest && r->has_server)
			r->server_messages = messages;
		if (longest)
			continue;
		r->has_server = false;
		r->server_cpu_us = 0;
		r->server_bytes_first = r->server_bytes_most = 0;
		for (size_t n = 0; n < r->second_count; n++) {
			r->seconds[n].server_cpu = NAN;
			r->seconds[n].server_bytes = 0;
		}
	}
}

/* How many runs before this one have its protocol. */
static unsigned number_of(const struct load_plan *plans, size_t i)
{
	unsigned n = 0;
	for (size_t k = 0; k < i; k++)
		n += plans[k].protocol == plans[i].protocol;
	return n;
}

enum gw_err run_plans(const struct load_plan *plans, size_t count, struct load_result **out, struct ledger *ledger,
                      struct why *why)
{
	char run[32];
	struct keeper k = {
	    .ledger = ledger, .path = plans[0].ledger_path, .written_us = worker_clock(), .rest_us = LEDGER_US};
	struct load_run *runs = calloc(count, sizeof(*runs));
	enum gw_err err = GW_OK;
	size_t prepared = 0;
	if (!runs)
		return why_set(why, GW_NOMEM, "out of memory");
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
	snprintf(run, sizeof(run), "%s", ledger && ledger->run[0] ? ledger->run : plans[0].run);
	if (!run[0])
		run_make_id(run);
	if (!err && k.path && !ledger) {
		k.own = true;
		if (!(k.ledger = ledger_new(run, plans[0].target)))
			err = why_set(why, GW_NOMEM, "out of memory");
	}
	for (; !err && prepared < count; prepared++) {
		runs[prepared].plan = &plans[prepared];
		err = job_open(&runs[prepared].job, &plans[prepared], run, number_of(plans, prepared), k.ledger, why);
	}
	if (!err && find_limits(runs, count, why)) /* before memory is taken for what cannot be */
		err = GW_CONFIG;
	for (size_t i = 0; !err && i < count; i++)
		err = prepare(&runs[i], why);
	for (size_t i = 0; !err && i < count; i++) {
		struct server_use use;
		if (plans[i].pid && server_read(plans[i].pid, &use, why))
			err = GW_CONFIG;
	}
	if (!err && k.path)
		err = ledger_write(k.ledger, k.path, why); /* better now than after an hour */
	if (!err)
		err = go(runs, count, &k, why);
	if (!err && k.path) {
		k.ledger->complete = true;
		err = ledger_write(k.ledger, k.path, why);
	}
	for (size_t i = 0; i < prepared; i++) {
		if (!err) {
			complete(&runs[i]);
			out[i] = runs[i].result;
			runs[i].result = NULL;
		}
		release(&runs[i]);
	}
	if (!err)
		share_servers(plans, out, count);
	if (k.own)
		ledger_free(k.ledger);
	free(runs);
	return err;
}

enum gw_err run_plan(const struct load_plan *plan, struct load_result **out, struct ledger *ledger, struct why *why)
{
	return run_plans(plan, 1, out, ledger, why);
}
