/* `sluice-load self-test`: what the load tester itself costs. Each protocol is sent to a server that only counts (sink.c), in a
 * process of its own, and the processor time of the sending threads is divided by the messages: a server that takes less than
 * that for a message cannot be measured by it on the same cores. */
#include <stdio.h>
#include <string.h>

#include "load/command.h"
#include "load/options.h"
#include "load/plan.h"
#include "load/protocol.h"
#include "load/run.h"
#include "load/sink.h"
#include "load/stop.h"

static const struct {
	const char *what, *url;
	enum sink_kind kind;
	uint64_t connections, window, batch;
	int qos;
} tests[] = {
    {"mqtt QoS 0", "mqtt", SINK_MQTT, 8, 0, 1, 0},       {"mqtt QoS 1", "mqtt", SINK_MQTT, 8, 100, 1, 1},
    {"mqtt QoS 2", "mqtt", SINK_MQTT, 8, 100, 1, 2},     {"tcp, counted replies", "tcp", SINK_TCP, 8, 1000, 1, -1},
    {"http, one each", "http", SINK_HTTP, 64, 0, 1, -1}, {"http, batches of 100", "http", SINK_HTTP, 8, 0, 100, -1},
    {"coap CON", "coap", SINK_COAP, 1000, 1, 1, 1},
};

static enum gw_err measure(size_t i, uint64_t duration_us, unsigned workers, struct load_result **r, struct why *why)
{
	struct load_plan p;
	char url[64];
	pid_t pid = 0;
	unsigned port = 0;
	enum gw_err err = sink_start(tests[i].kind, &pid, &port, why);
	if (err)
		return err;
	plan_init(&p);
	snprintf(url, sizeof(url), "%s://127.0.0.1:%u", tests[i].url, port);
	p.connections = tests[i].connections;
	p.window = tests[i].window;
	p.batch = tests[i].batch;
	p.qos = tests[i].qos;
	p.duration_us = duration_us;
	p.warmup_us = duration_us / 4;
	p.workers = workers;
	if (!(err = plan_target(&p, url, why)) && !(err = plan_check(&p, why)))
		err = run_plan(&p, r, NULL, why);
	sink_stop(pid);
	return err;
}

struct settings {
	uint64_t duration_us;
	unsigned workers;
	bool help;
};

static const struct load_option rows[] = {
    {.name = "duration",
     .letter = 't',
     .type = OPTION_TIME,
     .offset = offsetof(struct settings, duration_us),
     .value = "TIME",
     .help = "Of each test. 2s"},
    {.name = "workers",
     .type = OPTION_UNSIGNED,
     .offset = offsetof(struct settings, workers),
     .value = "N",
     .help = "Threads. 1"},
    {.name = "help",
     .letter = 'h',
     .type = OPTION_FLAG,
     .offset = offsetof(struct settings, help),
     .help = "This text."},
    {0},
};

static enum gw_err no_word(void *context, const char *text, struct why *why)
{
	(void)context;
	return why_set(why, GW_CONFIG, "self-test takes no %s", text);
}

static int self_test(int argc, char **argv)
{
	struct settings s = {.duration_us = 2000000, .workers = 1};
	const struct load_options set = {.rows = rows, .into = &s};
	const struct load_operands none = {no_word, NULL};
	struct why why = {0};
	if (options_read(&set, 1, argc, argv, &none, &why)) {
		fprintf(stderr, "sluice-load: %s\n", why.text);
		return LOAD_EXIT_USAGE;
	}
	if (s.help) {
		puts("sluice-load self-test [OPTION...]\n\nSends over each protocol to a server that only counts, and "
		     "tells what "
		     "sending costs.\n");
		options_help(stdout, &set, 1);
		return LOAD_EXIT_OK;
	}
	printf("%-24s%16s%22s%12s\n", "", "messages/s", "us CPU a message", "errors");
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]) && !stop_asked(); i++) {
		struct load_result *r;
		if (measure(i, s.duration_us, s.workers, &r, &why)) {
			fprintf(stderr, "sluice-load: %s: %s\n", tests[i].what, why.text);
			return LOAD_EXIT_FAILED;
		}
		uint64_t errors = 0, done = tests[i].qos == 0 ? r->unconfirmed : r->acknowledged;
		for (unsigned k = 0; k < LOAD_ERRORS; k++)
			errors += r->errors[k];
		printf("%-24s%16.0f%22.3f%12llu\n", tests[i].what, (double)done / ((double)r->duration_us / 1e6),
		       done ? r->tool_cpu_us / (double)done : 0, (unsigned long long)errors);
		fflush(stdout);
		result_free(r);
	}
	return LOAD_EXIT_OK;
}

const struct load_command load_command_self_test = {"self-test", self_test,
                                                    "what sending itself costs on this machine"};
