/* `sluice-load run`: carries out plans, shows how it goes, writes what came out. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load/command.h"
#include "load/condition.h"
#include "load/line.h"
#include "load/report.h"
#include "load/run.h"
#include "load/stop.h"

#define RUNS_MAX LOAD_TARGETS_MAX

static void help(void)
{
	fputs("sluice-load run TARGET [TARGET...] [OPTION...]\n\n"
	      "Sends messages to a server and tells how many it acknowledged, how fast, and what went wrong. TARGETs "
	      "are\n"
	      "mqtt:// mqtts:// coap:// tcp:// tls:// http:// https:// with HOST[:PORT][/PATH]; several are loaded at "
	      "the\n"
	      "same time. Options behind # hold for that one target: 'mqtt://127.0.0.1#qos=2,window=20'. `run` may be "
	      "left out.\n"
	      "^C ends it early, with a report. Exit status: 0; 1 if a --fail-if holds or nothing could be sent; 2 if "
	      "the command\n"
	      "line is wrong or this machine cannot do it.\n\n"
	      "  sluice-load mqtt://127.0.0.1 -c 100 -t 30s                      as fast as it is acknowledged\n"
	      "  sluice-load mqtt://127.0.0.1 -c 100 -r 20k -t 60s --warmup 5s   20,000 a second, latency from the "
	      "intended time\n"
	      "  sluice-load http://127.0.0.1:8080 -c 64 -b 100 -n 1M            a million in batches of 100\n"
	      "  sluice-load coap://127.0.0.1 -c 1000 -e 10s --jitter 20% -t 5m  a thousand devices, each every ten "
	      "seconds\n"
	      "  sluice-load mqtt://127.0.0.1 --storm 10k                        how long until 10,000 connections are "
	      "in\n"
	      "  sluice-load mqtt://127.0.0.1 tcp://127.0.0.1 -t 1m --ledger sent.ndjson --fail-if 'errors>0'\n",
	      stdout);
	line_help(stdout, NULL, NULL);
	fputs("\nFigures of --fail-if, as in --fail-if 'p99>50ms' --fail-if 'errors>0':\n", stdout);
	condition_figures(stdout, false);
}

/* The exit code by --fail-if; each condition that holds is told, and each of which nobody can say: a server that acknowledges
 * nothing has no latency, and is not well for that. Of what the server used one of several targets tells. */
static int judge(const struct load_outputs *o, const struct condition *conditions, struct load_result *const *results,
                 size_t count)
{
	int exit_code = LOAD_EXIT_OK;
	for (size_t i = 0; i < count; i++) {
		if (results[i]->sent == 0 && results[i]->connects == 0)
			exit_code = LOAD_EXIT_FAILED;
		for (unsigned k = 0; k < o->fail_if_count; k++) {
			double found;
			char text[32];
			if (!condition_holds(&conditions[k], results[i], &found) &&
			    (isfinite(found) || condition_of_server(&conditions[k])))
				continue;
			fprintf(stderr, "sluice-load: %s: failed: %s (it is %s)\n", results[i]->target,
			        conditions[k].text, condition_text(&conditions[k], found, text));
			exit_code = LOAD_EXIT_FAILED;
		}
	}
	return exit_code;
}

static enum gw_err read_conditions(const struct load_line *line, struct condition *out, struct why *why)
{
	const struct load_outputs *o = &line->outputs;
	bool looks = false;
	for (size_t i = 0; i < line->plan_count; i++)
		looks = looks || line->plans[i].pid;
	for (unsigned k = 0; k < o->fail_if_count; k++) {
		enum gw_err err = condition_read(&out[k], o->fail_if[k], false, why);
		if (!err && condition_of_server(&out[k]) && !looks)
			err = why_set(why, GW_CONFIG, "%s: needs --pid", o->fail_if[k]);
		if (err)
			return why_add(why, err, "--fail-if");
	}
	return GW_OK;
}

static int carry_out(struct load_line *line)
{
	struct load_result *results[RUNS_MAX] = {NULL};
	struct condition conditions[LOAD_CONDITIONS_MAX];
	const struct load_outputs *o = &line->outputs;
	struct why why = {0};
	enum gw_err err = read_conditions(line, conditions, &why);
	if (!err && (err = report_try(o, &why)))
		err = GW_CONFIG;
	for (size_t i = 0; i < line->plan_count; i++)
		if (o->progress || (!o->quiet && isatty(STDERR_FILENO)))
			line->plans[i].on_second = report_second;
	if (!err)
		err = run_plans(line->plans, line->plan_count, results, NULL, &why);
	if (err) {
		fprintf(stderr, "sluice-load: %s\n", why.text);
		return err == GW_CONFIG ? LOAD_EXIT_USAGE : LOAD_EXIT_FAILED;
	}
	for (size_t i = 0; i < line->plan_count && !o->quiet; i++)
		report_table(results[i], report_people(o->json));
	int exit_code = judge(o, conditions, results, line->plan_count);
	if (report_files(o, (const struct load_result *const *)results, line->plan_count, &why)) {
		fprintf(stderr, "sluice-load: %s\n", why.text);
		exit_code = LOAD_EXIT_FAILED;
	}
	for (size_t i = 0; i < line->plan_count; i++)
		result_free(results[i]);
	return exit_code;
}

static int run(int argc, char **argv)
{
	struct load_line line;
	struct why why = {0};
	enum gw_err err = line_read(&line, argc, argv, NULL, NULL, &why);
	int exit_code = LOAD_EXIT_USAGE;
	if (err) {
		fprintf(stderr, "sluice-load: %s\n", why.text);
	} else if (line.help) {
		help();
		exit_code = LOAD_EXIT_OK;
	} else {
		stop_catch_signals();
		exit_code = carry_out(&line);
	}
	line_free(&line);
	return exit_code;
}

const struct load_command load_command_run = {"run", run, "loads a server (may be left out)"};
