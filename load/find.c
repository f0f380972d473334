/* `sluice-load find`: the highest rate at which stated conditions still hold. The rate doubles until they do not, then
 * the gap is halved until it is small. Every try is a run of its own, open loop, so that a server that falls behind shows
 * it in its latency. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "load/command.h"
#include "load/condition.h"
#include "load/line.h"
#include "load/report.h"
#include "load/run.h"
#include "load/stop.h"
#include "load/text.h"

#define TRIES_MAX 64
#define PACE 0.98 /* of the rate must be acknowledged, or the server does not keep up */

struct find {
	const char *json;
	const char *hold[LOAD_CONDITIONS_MAX];
	unsigned hold_count;
	uint64_t from, most;
	double precision;
	bool of_server; /* a condition is about it */
};

struct
try {
	double rate, reached, p50, p99;
	bool holds, limited; /* limited: by the load tester, so that it says nothing about the server */
};

static enum gw_err read_hold(void *into, const char *text, struct why *why)
{
	struct find *f = into;
	struct condition c;
	if (f->hold_count == LOAD_CONDITIONS_MAX)
		return why_set(why, GW_CONFIG, "at most %d", LOAD_CONDITIONS_MAX);
	f->hold[f->hold_count++] = text;
	enum gw_err err = condition_read(&c, text, false, why);
	f->of_server = f->of_server || (!err && condition_of_server(&c));
	return err;
}

static const struct load_option rows[] = {
    {.type = OPTION_HEADING, .name = "", .help = "What is looked for"},
    {.name = "hold",
     .type = OPTION_READ,
     .value = "CONDITION",
     .help = "Must hold, as in 'p99<20ms'; may be given again. That the server keeps up with the rate must hold, too.",
     .read = read_hold},
    {.name = "from",
     .type = OPTION_COUNT,
     .offset = offsetof(struct find, from),
     .value = "RATE",
     .help = "Messages a second of the first try: 20k. 1000"},
    {.name = "most",
     .type = OPTION_COUNT,
     .offset = offsetof(struct find, most),
     .value = "RATE",
     .help = "No try is above that. 10M"},
    {.name = "precision",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct find, precision),
     .value = "SHARE",
     .help = "It ends when the answer is known to within that share. 0.05"},
    {.name = "json",
     .type = OPTION_TEXT,
     .offset = offsetof(struct find, json),
     .value = "FILE",
     .help = "The answer and every try; - is standard output"},
    {0},
};

static bool judge(const struct find *f, const struct load_result *r, double rate, struct try *t)
{
	double seconds = (double)r->duration_us / 1e6;
	*t = (struct try){.rate = rate,
	                  .reached = seconds > 0 ? (double)(r->acknowledged + r->unconfirmed) / seconds : 0,
	                  .p50 = hdr_count(r->latency) ? (double)hdr_percentile(r->latency, 50) : NAN,
	                  .p99 = hdr_count(r->latency) ? (double)hdr_percentile(r->latency, 99) : NAN};
	t->holds = t->reached * seconds + 1 >= PACE * rate * seconds; /* one message more or less says nothing */
	for (unsigned i = 0; i < f->hold_count; i++) {
		struct condition c;
		struct why why;
		double found;
		t->holds =
		    condition_read(&c, f->hold[i], false, &why) == GW_OK && condition_holds(&c, r, &found) && t->holds;
	}
	return t->holds;
}

static void print_try(const struct try *t, const char *warning, FILE *out)
{
	char a[32], b[32], c[32], d[32];
	fprintf(out, "  %12s/s  reached %12s/s  p50 %9s  p99 %9s  %s%s\n", report_count(a, t->rate),
	        report_count(b, t->reached), report_time(c, t->p50), report_time(d, t->p99),
	        t->holds ? "holds" : "does not hold", *warning ? "  (the load tester was the limit)" : "");
	fflush(out);
}

/* GW_OK also when the conditions do not hold: see t. */
static enum gw_err try_rate(const struct find *f, struct load_plan *plan, double rate, struct try *t, struct why *why)
{
	struct load_result *r = NULL;
	plan->shape = (struct load_shape){.kind = SHAPE_RATE, .from = rate, .seed = plan->seed};
	enum gw_err err = run_plan(plan, &r, NULL, why);
	if (err)
		return err;
	if (r->connects == 0)
		err = why_set(why, GW_IO, "%s: no connection: %s", plan->target,
		              *r->first_error[LOAD_REFUSED] ? r->first_error[LOAD_REFUSED] : r->end);
	judge(f, r, rate, t);
	t->limited = *r->warning;
	print_try(t, r->warning, report_people(f->json));
	result_free(r);
	return err;
}

/* *best is the highest rate that held, 0: none. */
static enum gw_err search(const struct find *f, struct load_plan *plan, struct try *tries, size_t *count, double *best,
                          struct why *why)
{
	double low = 0, high = 0, rate = (double)f->from, most = (double)f->most;
	while (*count < TRIES_MAX && !stop_asked()) {
		struct try *t = &tries[*count];
		enum gw_err err = try_rate(f, plan, rate, t, why);
		if (err)
			return err;
		if (stop_asked())
			break; /* cut short: no verdict on it */
		(*count)++;
		if (t->holds)
			low = rate;
		else
			high = rate;
		*best = low;
		if ((high > 0 && low > 0 && high - low <= f->precision * high) || (high <= 0 && rate >= most) ||
		    (low <= 0 && rate < 2))
			break;
		rate = high <= 0 ? fmin(2 * low, most) : low > 0 ? floor((low + high) / 2) : floor(high / 4);
	}
	return GW_OK;
}

/* Whether what ended the search was the load tester: the lowest rate that did not hold, or every one, if all did. */
static bool is_limited(const struct try *tries, size_t count)
{
	const struct try *lowest = NULL;
	bool all = count > 0;
	for (size_t i = 0; i < count; i++) {
		all = all && tries[i].limited;
		if (!tries[i].holds && (!lowest || tries[i].rate < lowest->rate))
			lowest = &tries[i];
	}
	return lowest ? lowest->limited : all;
}

static bool write_json(const char *path, const struct load_plan *plan, const struct try *tries, size_t count,
                       double best)
{
	FILE *out = report_open(path);
	if (!out)
		return false;
	fputs("{\"target\":", out);
	text_json(out, plan->target);
	fprintf(out, ",\"rate\":%.0f,\"limit\":\"%s\",\"tries\":[", best,
	        is_limited(tries, count) ? "load tester" : "server");
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "%s\n {\"rate\":%.0f,\"reached\":%.0f,\"holds\":%s,\"limited\":%s", i ? "," : "",
		        tries[i].rate, tries[i].reached, tries[i].holds ? "true" : "false",
		        tries[i].limited ? "true" : "false");
		if (isfinite(tries[i].p99))
			fprintf(out, ",\"p50_us\":%.0f,\"p99_us\":%.0f", tries[i].p50, tries[i].p99);
		fputc('}', out);
	}
	fputs("\n]}\n", out);
	return report_close(out);
}

static int find(const struct find *f, struct load_plan *plan)
{
	FILE *out = report_people(f->json);
	struct try tries[TRIES_MAX];
	struct why why = {{0}};
	size_t count = 0;
	double best = 0;
	stop_catch_signals();
	fprintf(out, "%s: the highest rate that holds\n", plan->target);
	enum gw_err err = search(f, plan, tries, &count, &best, &why);
	if (err) {
		fprintf(stderr, "sluice-load find: %s\n", why.text);
		return err == GW_CONFIG ? LOAD_EXIT_USAGE : LOAD_EXIT_FAILED;
	}
	char text[32];
	bool limited = is_limited(tries, count);
	if (limited && best > 0)
		fprintf(out,
		        "  %12s/s held, but the load tester was the limit: what the server can do is not known (more "
		        "--workers, more machines, or one with less to do)\n",
		        report_count(text, best));
	else if (best > 0)
		fprintf(out, "  %12s/s is the highest rate that held\n", report_count(text, best));
	else if (limited)
		fputs("  no rate held, and the load tester was the limit: nothing is known of the server\n", out);
	else
		fputs("  no rate held\n", out);
	if (f->json && !write_json(f->json, plan, tries, count, best)) {
		fprintf(stderr, "sluice-load find: cannot write %s\n", f->json);
		return LOAD_EXIT_USAGE;
	}
	return best > 0 ? LOAD_EXIT_OK : LOAD_EXIT_FAILED;
}

/* What a run may be told and a search may not; conflict says so. */
static const char *const refused[] = {"rate",  "ramp", "step",  "burst",  "every", "jitter",
                                      "storm", "idle", "count", "ledger", NULL};

static const char *conflict(const struct find *f, const struct load_line *line)
{
	const struct load_plan *p = &line->plans[0];
	if (line->plan_count != 1)
		return "one TARGET at a time";
	if (f->from < 1 || f->most < f->from || !(f->precision > 0 && f->precision < 1))
		return "--from must be at least 1, --most no less than it, --precision between 0 and 1";
	if (p->shape.kind != SHAPE_CLOSED || p->storm || p->idle)
		return "the rate is what is looked for: without --rate, --ramp, --step, --burst, --every, --storm and "
		       "--idle";
	if (f->of_server && !p->pid)
		return "--hold with cpu or memory needs --pid";
	if (p->count || p->ledger_path)
		return "a try lasts --duration and is not verified: without --count and --ledger";
	return NULL;
}

static int run_find(int argc, char **argv)
{
	struct find f = {.from = 1000, .most = 10000000, .precision = 0.05};
	const struct load_options own = {.rows = rows, .into = &f};
	struct load_plan base;
	struct load_line line;
	struct why why = {{0}};
	plan_init(&base);
	base.duration_us = 5000000;
	base.warmup_us = 1000000;
	enum gw_err err = line_read(&line, argc, argv, &base, &own, &why);
	const char *wrong = err || line.help ? NULL : conflict(&f, &line);
	if (wrong)
		err = why_set(&why, GW_CONFIG, "%s", wrong);
	if (!err && report_try_file(f.json, &why))
		err = GW_CONFIG;
	int code = LOAD_EXIT_USAGE;
	if (err) {
		fprintf(stderr, "sluice-load find: %s (see --help)\n", why.text);
	} else if (line.help) {
		puts("sluice-load find TARGET --hold CONDITION [OPTION...]\n\n"
		     "Looks for the highest rate at which the conditions hold: doubles the rate until they do not, "
		     "then halves\n"
		     "the gap. Each try lasts --duration (5s) after --warmup (1s).\n\n"
		     "  sluice-load find tcp://127.0.0.1:5170 -c 8 --hold 'p99<20ms'");
		line_help(stdout, &own, refused);
		code = LOAD_EXIT_OK;
	} else {
		code = find(&f, &line.plans[0]);
	}
	line_free(&line);
	return code;
}

const struct load_command load_command_find = {
    .name = "find", .run = run_find, .help = "the highest rate at which conditions still hold"};
