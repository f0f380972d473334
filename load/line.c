/* The command line of a run; see line.h. What stands behind # in a TARGET holds for it
 * alone: mqtt://127.0.0.1#qos=2,window=20 */
#include "load/line.h"

#include <stdlib.h>
#include <string.h>

#include "config/units.h"

#define TARGETS_MAX LOAD_TARGETS_MAX

static enum gw_err read_shape_rate(void *into, const char *text, struct why *why)
{
	return shape_read_rate(&((struct load_plan *)into)->shape, text, why);
}

static enum gw_err read_shape_ramp(void *into, const char *text, struct why *why)
{
	return shape_read_ramp(&((struct load_plan *)into)->shape, text, why);
}

static enum gw_err read_shape_step(void *into, const char *text, struct why *why)
{
	return shape_read_step(&((struct load_plan *)into)->shape, text, why);
}

static enum gw_err read_shape_burst(void *into, const char *text, struct why *why)
{
	return shape_read_burst(&((struct load_plan *)into)->shape, text, why);
}

static enum gw_err read_every(void *into, const char *text, struct why *why)
{
	struct load_shape *s = &((struct load_plan *)into)->shape;
	uint64_t us;
	const char *wrong = units_parse_duration(text, &us);
	if (wrong || us == 0)
		return why_set(why, GW_CONFIG, "%s %s", text, wrong ? wrong : "is no time between two messages");
	*s = (struct load_shape){.kind = SHAPE_FLEET, .every_s = (double)us / 1e6, .jitter = s->jitter};
	return GW_OK;
}

static enum gw_err read_jitter(void *into, const char *text, struct why *why)
{
	double percent;
	const char *wrong = units_parse_percent(text, &percent);
	if (wrong || percent > 100)
		return why_set(why, GW_CONFIG, "%s is no share: 0%% to 100%%", text);
	((struct load_plan *)into)->shape.jitter = percent / 100;
	return GW_OK;
}

static enum gw_err read_storm(void *into, const char *text, struct why *why)
{
	struct load_plan *p = into;
	char *end;
	double n = strtod(text, &end) * (*end == 'k' ? 1e3 : 1);
	end += *end == 'k';
	if (end == text || *end || n < 1 || n > 1e7)
		return why_set(why, GW_CONFIG, "%s is no number of connections", text);
	p->storm = true;
	p->connections = (uint64_t)n;
	return GW_OK;
}

static enum gw_err read_slow(void *into, const char *text, struct why *why)
{
	struct load_plan *p = into;
	char *end;
	p->dribble_bytes = strtoul(text, &end, 10);
	const char *wrong = *end == ':' ? units_parse_duration(end + 1, &p->dribble_us) : "";
	if (wrong || !p->dribble_bytes || !p->dribble_us)
		return why_set(why, GW_CONFIG, "%s is not BYTES:EVERY, as 1:100ms", text);
	return GW_OK;
}

static enum gw_err read_bind(void *into, const char *text, struct why *why)
{
	struct load_plan *p = into;
	while (*text) {
		size_t len = strcspn(text, ",");
		if (p->bind_count == LOAD_BIND_MAX || len == 0 || len >= sizeof(p->bind[0]))
			return why_set(why, GW_CONFIG, "%s: 1 to %d addresses, divided by commas", text, LOAD_BIND_MAX);
		snprintf(p->bind[p->bind_count++], sizeof(p->bind[0]), "%.*s", (int)len, text);
		text += len + (text[len] == ',');
	}
	return GW_OK;
}

static enum gw_err read_run(void *into, const char *text, struct why *why)
{
	struct load_plan *p = into;
	if (!*text || strlen(text) >= sizeof(p->run) || strpbrk(text, "\"\\{} \t\n"))
		return why_set(why, GW_CONFIG, "%s: 1 to %zu characters without quotes, braces and spaces", text,
		               sizeof(p->run) - 1);
	snprintf(p->run, sizeof(p->run), "%s", text);
	return GW_OK;
}

static enum gw_err read_fail_if(void *into, const char *text, struct why *why)
{
	struct load_outputs *o = into;
	if (o->fail_if_count == LOAD_CONDITIONS_MAX)
		return why_set(why, GW_CONFIG, "at most %d conditions", LOAD_CONDITIONS_MAX);
	o->fail_if[o->fail_if_count++] = text;
	return GW_OK;
}

#define HEADING(text)                                                                                                  \
	{                                                                                                              \
		.type = OPTION_HEADING, .help = text                                                                   \
	}
#define PLAN(option, short, kind, member, shown, text)                                                                 \
	{                                                                                                              \
		.name = option, .letter = short, .type = kind, .offset = offsetof(struct load_plan, member),           \
		.value = shown, .help = text                                                                           \
	}
#define READ(option, short, function, shown, text)                                                                     \
	{                                                                                                              \
		.name = option, .letter = short, .type = OPTION_READ, .read = function, .value = shown, .help = text   \
	}
#define OUTPUT(option, kind, member, shown, text)                                                                      \
	{                                                                                                              \
		.name = option, .type = kind, .offset = offsetof(struct load_outputs, member), .value = shown,         \
		.help = text                                                                                           \
	}

static const struct load_option plan_rows[] = {
    HEADING("How much"),
    PLAN("connections", 'c', OPTION_COUNT, connections, "N", "Connections (CoAP: endpoints). 1"),
    PLAN("devices", 'd', OPTION_COUNT, devices, "N", "Devices that take turns on the connections. One per connection"),
    PLAN("window", 'w', OPTION_COUNT, window, "N",
         "Messages on their way without an acknowledgement, per connection. MQTT 100, TCP 1000, CoAP 1"),
    PLAN("qos", 'q', OPTION_INT, qos, "N", "MQTT: 0, 1 or 2; 1. CoAP: 0 non-confirmable, 1 confirmable; 1"),
    PLAN("batch", 'b', OPTION_COUNT, batch, "N", "HTTP: messages in one request, as NDJSON. 1"),
    PLAN("count", 'n', OPTION_COUNT, count, "N", "Ends after N messages, those of the warm-up included"),
    PLAN("duration", 't', OPTION_TIME, duration_us, "TIME", "Ends after this time: 30s, 10m, 2h"),
    PLAN("warmup", 0, OPTION_TIME, warmup_us, "TIME", "Before that: sends, but does not count. 0"),
    PLAN("grace", 0, OPTION_TIME, grace_us, "TIME", "Waits at the end for open acknowledgements. 10s"),
    PLAN("workers", 0, OPTION_UNSIGNED, workers, "N", "Threads. One per core"),
    HEADING("Shape of the load (without one: as fast as acknowledgements let it, a closed loop)"),
    READ("rate", 'r', read_shape_rate, "N",
         "N messages a second, all together; latency is measured from when a message "
         "should have been sent, so a stall is not hidden"),
    READ("ramp", 0, read_shape_ramp, "FROM:TO:TIME", "From one rate to another: 1k:50k:60s"),
    READ("step", 0, read_shape_step, "FROM:BY:EVERY", "A rate that grows in steps: 1k:1k:10s"),
    READ("burst", 0, read_shape_burst, "SIZE:EVERY", "SIZE messages at once, again and again: 10k:5s"),
    READ("every", 'e', read_every, "TIME", "A fleet: each device sends so often, each at its own phase"),
    READ("jitter", 0, read_jitter, "SHARE", "Of --every: how much later a message may come. 0%"),
    READ("storm", 0, read_storm, "N",
         "N connections at once: how long until all are in. Ends then, unless --count or "
         "--duration say otherwise"),
    PLAN("idle", 0, OPTION_FLAG, idle, NULL, "Connections stay and send nothing but keep-alives"),
    PLAN("connect-rate", 0, OPTION_COUNT, connect_rate, "N", "New connections a second. As fast as they go"),
    PLAN("reconnect-every", 0, OPTION_TIME, reconnect_us, "TIME", "Closes each connection so often and opens it again"),
    READ("slow", 0, read_slow, "BYTES:EVERY", "Slow senders: so many bytes, so often: 1:100ms"),
    HEADING("Messages"),
    PLAN("payload", 'p', OPTION_TEXT, payload, "TEXT",
         "Template, as {\"at\":\"{time}\",\"t\":{walk:10:30}}: numbers {seq} {connection} {walk:MIN:MAX} "
         "{random:MIN:MAX}, texts "
         "{time} {device} {run} {n} {random:a|b|c} {random:hex:N}. Telemetry of about 180 bytes"),
    PLAN("file", 'f', OPTION_TEXT, file, "FILE", "The same, from a file"),
    PLAN("size", 's', OPTION_TEXT, size, "BYTES", "Padded to 190, to 100-2000 (evenly), or to one of 64,256,1024"),
    PLAN("raw", 0, OPTION_FLAG, raw, NULL,
         "Payload as it is, not a JSON object that says who sent it: verify does not work then"),
    PLAN("name", 0, OPTION_TEXT, name, "TEXT", "Names of devices, with {n} and {protocol}. {protocol}-{n}"),
    PLAN("topic", 0, OPTION_TEXT, topic, "TEXT", "MQTT: template. devices/{device}/telemetry"),
    PLAN("client-id", 0, OPTION_TEXT, client_id, "TEXT", "MQTT: template. load-{run}-0-{connection}"),
    PLAN("user", 'u', OPTION_TEXT, user, "TEXT", "MQTT, HTTP: template of the user"),
    PLAN("password", 0, OPTION_TEXT, password, "TEXT", "MQTT, HTTP: template of the password"),
    PLAN("no-reply", 0, OPTION_FLAG, no_reply, NULL, "TCP: the server says nothing; else it says ok N"),
    PLAN("keep-alive", 0, OPTION_TIME, keep_alive_us, "TIME", "MQTT: keep-alive. 60s"),
    READ("run", 0, read_run, "ID", "Identifier of the run in every message. Made up"),
    PLAN("seed", 0, OPTION_COUNT, seed, "N", "Of everything random, so that it can be had again. 1"),
    HEADING("Connections"),
    READ("bind", 0, read_bind, "ADDRESS,...", "Addresses to send from, in turn: each has its own 28,000 ports"),
    PLAN("timeout", 0, OPTION_TIME, timeout_us, "TIME", "To connect, and for an acknowledgement. 30s"),
    PLAN("give-up", 0, OPTION_TIME, give_up_us, "TIME",
         "Ends when nobody could be reached for so long, nor, with --count, answered. 60s"),
    PLAN("ca", 0, OPTION_TEXT, ca, "FILE", "Certificates to trust. The system's"),
    PLAN("cert", 0, OPTION_TEXT, cert, "FILE", "Own certificate; may hold {device} or {connection}"),
    PLAN("key", 0, OPTION_TEXT, key, "FILE", "Its key; likewise"),
    PLAN("insecure", 0, OPTION_FLAG, insecure, NULL, "Takes any certificate of the server"),
    HEADING("Results"),
    PLAN("pid", 0, OPTION_INT, pid, "PID", "Of the server, on this machine: its CPU and memory, and CPU per message"),
    PLAN("ledger", 0, OPTION_TEXT, ledger_path, "FILE", "What was sent and acknowledged, for sluice-load verify"),
    {0},
};

static const struct load_option output_rows[] = {
    OUTPUT("json", OPTION_TEXT, json, "FILE", "Everything, for compare, merge and scripts; - is standard output"),
    OUTPUT("html", OPTION_TEXT, html, "FILE", "One page with everything drawn"),
    OUTPUT("csv", OPTION_TEXT, csv, "FILE", "A row a second"),
    OUTPUT("hdr", OPTION_TEXT, hdr, "FILE", "HdrHistogram log"),
    READ("fail-if", 0, read_fail_if, "CONDITION",
         "Exit status 1 if it holds: 'p99>50ms', 'errors>0', 'rate<10000'; may be repeated"),
    OUTPUT("quiet", OPTION_FLAG, quiet, NULL, "No line a second, no table"),
    OUTPUT("progress", OPTION_FLAG, progress, NULL, "A line a second also where stderr is no terminal"),
    {0},
};

/* -- the line -- */

struct line_targets {
	const char *items[TARGETS_MAX];
	size_t count;
};

static enum gw_err take_target(void *context, const char *text, struct why *why)
{
	struct line_targets *t = context;
	if (t->count == TARGETS_MAX)
		return why_set(why, GW_CONFIG, "at most %d targets", TARGETS_MAX);
	t->items[t->count++] = text;
	return GW_OK;
}

/* TARGET#name=value,name=value: as if --name=value had been given for it. The plan points into *words. */
static enum gw_err read_own(struct load_plan *p, const char *own, char **words, struct why *why)
{
	struct load_options set = {plan_rows, p, NULL};
	const struct load_operands none = {take_target, NULL}; /* every word begins with -- */
	char *at = *words = calloc(1, 4 * strlen(own) + 4);
	enum gw_err err = GW_OK;
	if (!at)
		return why_set(why, GW_NOMEM, "out of memory");
	while (*own && !err) {
		int len = (int)strcspn(own, ",");
		char *argv[] = {"", at, NULL};
		at += sprintf(at, "--%.*s", len, own) + 1;
		err = options_read(&set, 1, 2, argv, &none, why);
		own += len + (own[len] == ',');
	}
	return err;
}

static enum gw_err make_plan(struct load_plan *p, const struct load_plan *base, const char *target, char **words,
                             struct why *why)
{
	const char *own = strchr(target, '#');
	char url[512];
	enum gw_err err;
	size_t len = own ? (size_t)(own - target) : strlen(target);
	if (len >= sizeof(url))
		return why_set(why, GW_CONFIG, "%s: too long", target);
	memcpy(url, target, len);
	url[len] = 0;
	*p = *base;
	if ((err = plan_target(p, url, why)))
		return err;
	if (own && (err = read_own(p, own + 1, words, why)))
		return why_add(why, err, "%s", target);
	return plan_check(p, why);
}

/* The line as it was given, passwords blotted out. */
static void write_command(struct load_line *line, int argc, char **argv)
{
	size_t at = (size_t)snprintf(line->command, sizeof(line->command), "sluice-load");
	bool secret = false;
	for (int i = 0; i < argc && at < sizeof(line->command); i++) {
		const char *word = argv[i];
		if (!strncmp(word, "--password=", 11))
			word = "--password=***";
		bool plain = !*word || strpbrk(word, " '\"{}#&<>|$*");
		at += (size_t)snprintf(line->command + at, sizeof(line->command) - at, plain ? " '%s'" : " %s",
		                       secret ? "***" : word);
		secret = !strcmp(word, "--password");
	}
}

enum gw_err line_read(struct load_line *line, int argc, char **argv, const struct load_plan *defaults,
                      const struct load_options *own, struct why *why)
{
	struct load_plan base;
	struct line_targets targets = {.count = 0};
	const struct load_operands operands = {take_target, &targets};
	struct load_options sets[] = {{plan_rows, &base, NULL}, {output_rows, &line->outputs, NULL}};
	enum gw_err err;
	*line = (struct load_line){.plans = NULL};
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			line->help = true;
			return GW_OK;
		}
	plan_init(&base);
	if (defaults)
		base = *defaults;
	if (own)
		sets[1] = *own;
	write_command(line, argc, argv);
	if ((err = options_read(sets, 2, argc, argv, &operands, why)))
		return err;
	if (targets.count == 0)
		return why_set(why, GW_CONFIG, "no target: give one, as mqtt://127.0.0.1:1883 (--help has examples)");
	line->plans = calloc(targets.count, sizeof(*line->plans));
	if (!line->plans)
		return why_set(why, GW_NOMEM, "out of memory");
	base.command = line->command;
	for (; line->plan_count < targets.count; line->plan_count++)
		if ((err = make_plan(&line->plans[line->plan_count], &base, targets.items[line->plan_count],
		                     &line->own[line->plan_count], why)))
			return err;
	return GW_OK;
}

void line_help(FILE *out, const struct load_options *own, const char *const *hidden)
{
	fputs(
	    "\nNumbers may end in k, M or G, times in us, ms, s, m or h. What holds without an option, where anything "
	    "does, stands\nbehind the last full stop.\n",
	    out);
	const struct load_options sets[] = {{plan_rows, NULL, hidden},
	                                    own ? *own : (struct load_options){output_rows, NULL, NULL}};
	options_help(out, sets, 2);
}

void line_free(struct load_line *line)
{
	for (size_t i = 0; i < LOAD_TARGETS_MAX; i++) {
		free(line->own[i]);
		line->own[i] = NULL;
	}
	free(line->plans);
	line->plans = NULL;
}
