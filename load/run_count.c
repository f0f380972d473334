/* What a run found out: taken from its workers once a second, and judged at the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load/run_parts.h"
#include "load/server.h"
#include "load/worker_loop.h"

#define LATE_US 5000u /* p99 behind the shape from which on the tool is said to be the limit */
#define BUSY 0.9

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

/* Begins the figures again: what was before the end of the warm-up does not count. What is under way then is acknowledged
 * later, and so it counts as sent, too: never is more acknowledged than sent. */
static void forget(struct load_run *r)
{
	struct load_result *into = r->result;
	into->sent -= into->acknowledged + into->unconfirmed;
	into->acknowledged = into->resent = into->unconfirmed = into->bytes_out = into->bytes_in = 0;
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

/* Takes the workers' counts into the second and the result. */
static void gather(struct load_run *r, struct load_second *s, bool last)
{
	for (unsigned i = 0; i < r->started; i++) {
		struct worker *w = &r->workers[i];
		if (!last)
			worker_park(w);
		take_counts(r, w, s);
		if (!last)
			worker_resume(w);
	}
	s->p50_us = hdr_percentile(r->second, 50);
	s->p99_us = hdr_percentile(r->second, 99);
	s->max_us = hdr_max(r->second);
	hdr_add(r->result->latency, r->second);
	hdr_reset(r->second);
}

/* What the shape wanted sent in the second. */
static void count_intended(struct load_run *r, struct load_second *s)
{
	if (r->plan->shape.kind == SHAPE_CLOSED || r->plan->idle)
		return;
	uint64_t whole = r->plan->warmup_us + r->plan->duration_us, at_us = s->at_us;
	if (r->plan->duration_us && at_us > whole) /* the last second ends a little later */
		at_us = whole;
	double total = shape_total(&r->plan->shape, at_us);
	if (r->plan->count && total > (double)r->plan->count)
		total = (double)r->plan->count;
	if (r->drain_us == 0 || r->drain_us > r->counted_us)
		s->intended = total - r->intended;
	r->intended = total;
}

static void end_warmup(struct load_run *r, uint64_t at_us)
{
	if (r->warm || at_us < r->plan->warmup_us)
		return;
	r->warm = true;
	if (r->plan->warmup_us)
		forget(r);
	r->result->warmup_us = r->plan->warmup_us ? at_us : 0;
	r->result->duration_us = 0;
}

void run_count_second(struct load_run *r, uint64_t now_us, bool last)
{
	struct load_second s = {.at_us = now_us - r->start_us};
	double seconds = (double)(now_us - r->counted_us) / 1e6;
	gather(r, &s, last);
	count_intended(r, &s);
	look_at_server(r, &s, seconds);
	if (s.connections > r->result->connections)
		r->result->connections = s.connections;
	r->result->duration_us = s.at_us > r->result->warmup_us ? s.at_us - r->result->warmup_us : 0;
	r->counted_us = now_us;
	if (!add_second(r->result, &s))
		return;
	end_warmup(r, s.at_us);
	if (r->plan->on_second && !last)
		r->plan->on_second(r->plan->hook_context, r->plan, r->result);
}

void run_begin_counting(struct load_run *r, uint64_t now_us)
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

void run_count_tool(struct load_run *r)
{
	for (unsigned i = 0; i < r->started; i++) {
		double used_us = worker_cpu_us(&r->workers[i]) - r->cpu_before[i];
		double share = used_us / ((double)r->result->duration_us + 1);
		r->result->tool_cpu_us += used_us;
		if (share > r->result->tool_busiest)
			r->result->tool_busiest = share;
	}
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

void run_complete(struct load_run *r)
{
	uint64_t open = 0;
	run_count_second(r, r->ended_us, true); /* what came while connections were closed */
	r->result->second_count--;
	if (!strcmp(r->result->end, "time"))
		r->result->duration_us = r->plan->duration_us; /* what came after it only answered */
	for (unsigned i = 0; i < r->started; i++)
		open += worker_unacknowledged(&r->workers[i]);
	r->result->unacknowledged = open;
	judge(r);
}

void run_share_servers(const struct load_plan *plans, struct load_result *const *results, size_t count)
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
