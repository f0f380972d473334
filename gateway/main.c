/* Sluice: an IoT ingestion gateway. This file is the program: its command line, its configuration, its signals.
 * Everything else is in gateway/gateway.c.
 *
 * One message's way, for whoever reads on:
 *	protocols/http/http.c -> gateway/intake.c -> gateway/normalise.c -> gateway/journal/lane.c
 *	-> gateway/journal/journal.c -> gateway/pump/pump_thread.c -> sinks/kafka/kafka.c
 *
 * Exit codes: 0 all is well; 1 it could not start or go on; 2 the command line or the configuration is wrong; 3 a
 * second signal ended it at once; 4 stopped, but something that was not acknowledged could not be made durable. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config/config.h"
#include "gateway/base/log.h"
#include "gateway/base/stats.h"
#include "gateway/commands/cmd_cursor.h"
#include "gateway/commands/cmd_deadletters.h"
#include "gateway/commands/cmd_drain.h"
#include "gateway/commands/cmd_journal.h"
#include "gateway/commands/cmd_replay.h"
#include "gateway/commands/data_directory.h"
#include "gateway/commands/owner.h"
#include "gateway/gateway.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_AT_ONCE = 3, EXIT_UNSAFE = 4 };

#define KINDS_MAX 32

/* -- the configuration's schema, from the modules' tables -- */

static struct config_kind protocol_kinds[KINDS_MAX], sink_kinds[KINDS_MAX];
static struct config_section sections[2] = {
    {.name = "listeners",
     .selector = "protocol",
     .kinds = protocol_kinds,
     .common = listener_settings,
     .common_size = sizeof(struct listener_settings),
     .help = "What listens for devices. The key is the listener's name."},
    {.name = "sinks",
     .selector = "type",
     .kinds = sink_kinds,
     .common = sink_settings,
     .common_size = sizeof(struct sink_settings),
     .help = "Where records go. The key is the sink's name, under which it keeps its place in the journal."},
};
static struct config_schema schema = {
    .settings = gateway_settings, .size = sizeof(struct gateway_settings), .sections = sections, .section_count = 2};

static void make_schema(void)
{
	size_t n = 0;
	for (const struct protocol *const *p = protocol_list; *p; p++)
		protocol_kinds[n++] = (struct config_kind){
		    .name = (*p)->name, .size = (*p)->size, .settings = (*p)->settings, .help = (*p)->help};
	sections[0].kind_count = n;
	n = 0;
	for (const struct sink *const *s = sink_list; *s; s++)
		sink_kinds[n++] = (struct config_kind){
		    .name = (*s)->name, .size = (*s)->size, .settings = (*s)->settings, .help = (*s)->help};
	sections[1].kind_count = n;
}

/* -- from what was read to a plan -- */

struct loaded {
	struct config *config, *dead; /* dead: where invalid messages go, configured like any file sink */
	struct listener_plan *listeners;
	struct sink_plan *sinks;
	struct gateway_plan plan;
};

static void unload(struct loaded *l)
{
	config_free(&schema, l->config);
	config_free(&schema, l->dead);
	free(l->listeners);
	free(l->sinks);
}

static bool make_plan(struct loaded *l)
{
	const struct config_entries *listeners = &l->config->sections[0], *sinks = &l->config->sections[1];
	l->listeners = calloc(listeners->count + 1, sizeof(*l->listeners));
	l->sinks = calloc(sinks->count + 1, sizeof(*l->sinks));
	if (!l->listeners || !l->sinks)
		return false;
	for (size_t i = 0; i < listeners->count; i++) {
		const struct config_entry *e = &listeners->items[i];
		if (e->unfit) /* then it does not run */
			continue;
		l->listeners[i] = (struct listener_plan){.name = e->name,
		                                         .protocol = protocol_list[e->kind - protocol_kinds],
		                                         .settings = e->settings,
		                                         .common = e->common};
	}
	for (size_t i = 0; i < sinks->count; i++) {
		const struct config_entry *e = &sinks->items[i];
		if (e->unfit)
			continue;
		l->sinks[i] = (struct sink_plan){.name = e->name,
		                                 .sink = sink_list[e->kind - sink_kinds],
		                                 .settings = e->settings,
		                                 .common = e->common};
	}
	const struct config_entry *dead = &l->dead->sections[1].items[0];
	l->plan = (struct gateway_plan){.settings = l->config->settings,
	                                .listeners = l->listeners,
	                                .listener_count = listeners->count,
	                                .sinks = l->sinks,
	                                .sink_count = sinks->count,
	                                .dead_sink = sink_list[dead->kind - sink_kinds],
	                                .dead_settings = dead->settings};
	return true;
}

/* Every module's own checks; all of what is wrong is reported. What others say of an entry that is unfit proves nothing. */
static bool check_plan(const struct loaded *l, FILE *errors)
{
	const struct config_entries *listeners = &l->config->sections[0], *sinks = &l->config->sections[1];
	struct why why = {0};
	bool good = true;
	for (size_t i = 0; i < listeners->count && !l->config->unfit; i++)
		if (gateway_check_listener(&l->plan, &l->listeners[i], &why)) {
			config_entry_error(l->config, &sections[0], &listeners->items[i], why.text, errors);
			good = false;
		}
	for (size_t i = 0; i < sinks->count; i++)
		if (!sinks->items[i].unfit && gateway_check_sink(&l->plan, &l->sinks[i], &why)) {
			config_entry_error(l->config, &sections[1], &sinks->items[i], why.text, errors);
			good = false;
		}
	if (!l->config->unfit && gateway_check_whole(&l->plan, &why)) {
		config_whole_error(l->config, why.text, errors);
		good = false;
	}
	return good;
}

/* text: read instead of the file at path; NULL: the file. */
static int load_from(struct loaded *l, const char *path, const char *text)
{
	memset(l, 0, sizeof(*l));
	enum gw_err err = config_read_all(&schema, path, text, stderr, &l->config);
	if (!l->config ||
	    config_read(&schema, "built-in", "sinks: {file: {path: dead/intake.ndjson}}", stderr, &l->dead))
		return EXIT_USAGE;
	if (!make_plan(l)) {
		fputs("sluice: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	return check_plan(l, stderr) && !err ? 0 : EXIT_USAGE;
}

static int load(struct loaded *l, const char *path)
{
	return load_from(l, path, NULL);
}

/* -- running -- */

static void at_once(int number)
{
	(void)number;
	_exit(EXIT_AT_ONCE);
}

/* A thread of its own may write the log, which a signal's handler may not. */
static void *wait_for_second(void *arg)
{
	sigset_t set;
	int number;
	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	while (sigwait(&set, &number))
		;
	log_event(LOG_WARN, "gateway",
	          "a second signal: exits at once; what is acknowledged stays in the journal, what was being "
	          "delivered is sent again at the next start",
	          LOG_N("process.exit_code", EXIT_AT_ONCE));
	_exit(EXIT_AT_ONCE);
}

/* Blocks the signals that end the program, for all threads; they are waited for. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void wait_for_stop(const sigset_t *set)
{
	for (;;) {
		int number = 0;
		if (sigwait(set, &number))
			continue;
		if (number != SIGHUP)
			break;
		log_say(LOG_WARN, "gateway", "the configuration is read at the start only: restart to change it");
	}
	signal(SIGHUP, SIG_IGN); /* a supervisor may send it behind SIGTERM: that cuts no stop short */
	/* From now on a second signal means: at once. */
	pthread_t second;
	if (pthread_create(&second, NULL, wait_for_second, NULL) == 0) {
		pthread_detach(second);
		return;
	}
	struct sigaction now = {.sa_handler = at_once};
	sigaction(SIGTERM, &now, NULL);
	sigaction(SIGINT, &now, NULL);
	pthread_sigmask(SIG_UNBLOCK, set, NULL);
}

/* Each device costs a descriptor, and what a process starts with (often 1024) is a default of old; what it may have is
 * the hard limit. */
static void raise_descriptors(void)
{
	struct rlimit most;
	if (getrlimit(RLIMIT_NOFILE, &most) != 0 || most.rlim_cur >= most.rlim_max)
		return;
	most.rlim_cur = most.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &most) != 0)
		log_event(LOG_WARN, "gateway", "cannot raise the limit of open files to its hard limit",
		          LOG_S("error.message", strerror(errno)));
}

static int fail(const struct why *why, enum gw_err err)
{
	log_event(LOG_ERROR, "gateway", "cannot start", LOG_S("error.message", why->text));
	return err == GW_CONFIG ? EXIT_USAGE : EXIT_FAILED;
}

static int run(const char *path, bool hints)
{
	struct loaded l;
	struct why why = {0};
	struct gateway *g = NULL;
	sigset_t set;
	int code = load(&l, path);
	if (code) {
		unload(&l);
		return code;
	}
	block_signals(&set);
	log_init((enum log_level)l.plan.settings->log.level, (enum log_format)l.plan.settings->log.format);
	log_unblock();
	raise_descriptors();
	gateway_warn(&l.plan);
	enum gw_err err = gateway_open(&g, &l.plan, &why);
	if (!err)
		err = gateway_start(g, &why);
	if (err) {
		code = fail(&why, err);
		if (g)
			_exit(code); /* threads may run already; nothing was acknowledged */
		unload(&l);
		return code;
	}
	if (hints)
		gateway_hints(g, stdout);
	wait_for_stop(&set);
	code = gateway_stop(g) ? EXIT_UNSAFE : 0;
	if (gateway_is_blocked(g))
		_exit(code);
	gateway_close(g);
	unload(&l);
	return code;
}

/* -- other commands -- */

static int check_one(const char *path)
{
	struct loaded l;
	int code = load(&l, path);
	if (!code) {
		log_init(LOG_INFO, LOG_AUTO);
		gateway_warn(&l.plan);
		printf("%s: good: %zu listeners, %zu sinks\n", path, l.plan.listener_count, l.plan.sink_count);
	}
	unload(&l);
	return code;
}

static int check(const char *first, int count, char **more)
{
	int code = check_one(first);
	for (int i = 0; i < count; i++) {
		int next = check_one(more[i]);
		code = next > code ? next : code;
	}
	return code;
}

/* Without a configuration the address that `make run` and the default settings have is asked: what matters is where. */
static int health(const char *path, bool ready)
{
	struct loaded l;
	bool configured = access(path, F_OK) == 0 || errno != ENOENT;
	int code = configured ? load(&l, path) : load_from(&l, "built-in", "listeners: {mqtt: }\nsinks: {null: }\n");
	if (!code && !admin_ask(&l.plan.settings->admin.listen, ready ? "/readyz?verbose" : "/livez", stdout)) {
		const struct address *a = &l.plan.settings->admin.listen;
		if (!configured)
			fprintf(stderr,
			        "sluice health: there is no %s, so the default address %s:%s was asked; "
			        "--config FILE names the configuration of another gateway\n",
			        path, a->host, a->port);
		code = EXIT_FAILED;
	}
	unload(&l);
	return code;
}

/* What the command line says before or behind a command's name. */
struct flags {
	const char *config;
	char *data; /* NULL: the configuration's */
	bool hints, ready, yes;
};

static void set_data(struct loaded *l, struct gateway_settings *settings, char *data)
{
	*settings = *l->plan.settings;
	if (data)
		settings->data = data_directory(data);
	l->plan.settings = settings;
}

static int cursors(const struct flags *f, int count, char **words)
{
	struct loaded l;
	struct why why = {0};
	struct gateway_settings settings;
	bool list = count == 1 && strcmp(words[0], "list") == 0, drop = count == 2 && strcmp(words[0], "drop") == 0;
	if (!list && !drop) {
		fputs("sluice cursor: say `list`, or `drop NAME`\n", stderr);
		return EXIT_USAGE;
	}
	int code = load(&l, f->config);
	if (!code) {
		set_data(&l, &settings, f->data);
		enum gw_err err = list ? cmd_cursor_list(&l.plan, stdout, &why)
		                       : cmd_cursor_drop(&l.plan, words[1], f->yes, stdout, &why);
		if (err && err != GW_AGAIN)
			fprintf(stderr, "sluice cursor: %s\n", why.text);
		code = !err ? 0 : err == GW_AGAIN || err == GW_CONFIG ? EXIT_USAGE : EXIT_FAILED;
	}
	unload(&l);
	return code;
}

static int drain(const char *path, char *data)
{
	struct loaded l;
	struct why why = {0};
	sigset_t set;
	uint64_t left = 0;
	int code = load(&l, path);
	if (code) {
		unload(&l);
		return code;
	}
	struct gateway_settings settings;
	set_data(&l, &settings, data);
	block_signals(&set);
	log_init((enum log_level)settings.log.level, (enum log_format)settings.log.format);
	enum gw_err err = owner_check(settings.data, &why);
	if (!err)
		err = cmd_drain(&l.plan, stdout, &left, &why);
	if (err == GW_OK)
		printf("drain: every sink has everything of %s\n", settings.data);
	else if (err == GW_AGAIN)
		printf("drain: ended early: %llu records are left in %s; run it again\n", (unsigned long long)left,
		       settings.data);
	else
		fprintf(stderr, "sluice drain: %s\n", why.text);
	unload(&l);
	return err == GW_OK ? 0 : err == GW_CONFIG ? EXIT_USAGE : EXIT_FAILED;
}

/* Commands with options of their own, for which the configuration says where sinks and data are. */
struct own_command {
	const char *name;
	int (*options)(void *o, struct command_line *l);
	int (*run)(const struct gateway_plan *plan, void *o);
};

static int read_replay(void *o, struct command_line *l)
{
	return cmd_replay_options(o, l);
}

static int run_replay(const struct gateway_plan *plan, void *o)
{
	return cmd_replay(plan, o, stdout, stderr);
}

static int read_deadletters(void *o, struct command_line *l)
{
	return cmd_deadletters_options(o, l);
}

static int run_deadletters(const struct gateway_plan *plan, void *o)
{
	return cmd_deadletters(plan, o, stdout, stderr);
}

static const struct own_command own_commands[] = {{"replay", read_replay, run_replay},
                                                  {"deadletters", read_deadletters, run_deadletters}};

static int run_own(const struct own_command *c, const char *config, int count, char **words)
{
	union {
		struct cmd_replay_options replay;
		struct cmd_deadletters_options deadletters;
	} options = {0};
	struct command_line line = {.count = count, .words = words, .config = config, .out = stdout, .errors = stderr};
	struct loaded l;
	sigset_t set;
	int code = c->options(&options, &line);
	if (code)
		return code < 0 ? 0 : code;
	if ((code = load(&l, line.config)) == 0) {
		struct gateway_settings settings;
		set_data(&l, &settings, line.data);
		block_signals(&set);
		log_init((enum log_level)settings.log.level, (enum log_format)settings.log.format);
		code = c->run(&l.plan, &options);
	}
	unload(&l);
	return code;
}

static void usage(FILE *out)
{
	fputs(
	    "Sluice " SLUICE_VERSION ", an IoT ingestion gateway\n\n"
	    "  sluice [run] [--config FILE] [--hints]   run; --hints prints a first command per protocol\n"
	    "  sluice --check FILE...                   look for errors in configurations, and exit\n"
	    "  sluice health [--ready]                  ask a running gateway: /livez, or /readyz with --ready\n"
	    "  sluice cursor list [--data DIR]          where sinks are in the journal, also while a gateway runs\n"
	    "  sluice cursor drop NAME [--yes]          give up what a sink has not received; without --yes it says "
	    "how "
	    "many\n"
	    "  sluice drain [--data DIR]                deliver a journal that no gateway serves any more, without "
	    "listeners;\n"
	    "                                           DIR instead of the configuration's `data`\n"
	    "  sluice journal info | dump | verify | repair --data DIR\n"
	    "                                           look into a journal, also while a gateway runs; repair a "
	    "damaged one\n"
	    "  sluice replay FILE... | DIR --to SINK    send records of files or of a journal to a sink again\n"
	    "  sluice deadletters list | show | replay | purge\n"
	    "                                           what sinks refused for good, and why; send it again when that "
	    "is fixed\n"
	    "                                           cursor drop, drain, repair, deadletters replay and purge "
	    "refuse to\n"
	    "                                           run as another user than the data's owner without "
	    "--as-other-user\n"
	    "  sluice --help-config                     every setting, with its default\n"
	    "  sluice --help-config=markdown            the same as docs/configuration.md\n"
	    "  sluice --help-config=yaml                the same as a commented sluice.yaml\n"
	    "  sluice --help-metrics                    every metric, as docs/metrics.md\n"
	    "  sluice --version                         versions of Sluice and its libraries, and known faults of "
	    "them\n\n"
	    "Without --config: ./sluice.yaml, else /etc/sluice/sluice.yaml.\n"
	    "Exit codes: 0 well, 1 failed, 2 command line or configuration wrong, 3 ended at once by a second "
	    "signal, 4 not everything could be kept.\n",
	    out);
}

static int help_config(const char *shape)
{
	if (!shape)
		config_help(&schema, stdout);
	else if (strcmp(shape, "markdown") == 0)
		config_reference(&schema, stdout);
	else if (strcmp(shape, "yaml") == 0)
		config_example(&schema, stdout);
	else
		return fputs("sluice: --help-config takes markdown or yaml\n", stderr), EXIT_USAGE;
	return 0;
}

enum {
	OPTION_CONFIG = 'c',
	OPTION_HELP = 'h',
	OPTION_VERSION = 'V',
	OPTION_CHECK = 256,
	OPTION_HINTS,
	OPTION_READY,
	OPTION_DATA,
	OPTION_YES,
	OPTION_CONFIG_HELP,
	OPTION_METRICS
};

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"check", required_argument, NULL, OPTION_CHECK},
    {"hints", no_argument, NULL, OPTION_HINTS},
    {"ready", no_argument, NULL, OPTION_READY},
    {"data", required_argument, NULL, OPTION_DATA},
    {"yes", no_argument, NULL, OPTION_YES},
    {"help", no_argument, NULL, OPTION_HELP},
    {"help-config", optional_argument, NULL, OPTION_CONFIG_HELP},
    {"help-metrics", no_argument, NULL, OPTION_METRICS},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static int command(const struct flags *f, int count, char **words)
{
	bool is_cursor = count > 0 && strcmp(words[0], "cursor") == 0;
	if (count == 1 && strcmp(words[0], "drain") == 0)
		return drain(f->config, f->data);
	if (f->data && !is_cursor) {
		fputs("sluice: --data goes with drain, cursor, journal, replay and deadletters\n", stderr);
		return EXIT_USAGE;
	}
	if (is_cursor)
		return cursors(f, count - 1, words + 1);
	if (count == 0 || (count == 1 && strcmp(words[0], "run") == 0))
		return run(f->config, f->hints);
	if (count == 1 && strcmp(words[0], "health") == 0)
		return health(f->config, f->ready);
	fprintf(stderr, "sluice: unknown command \"%s\"\n\n", words[0]);
	usage(stderr);
	return EXIT_USAGE;
}

/* --as-other-user goes with every command that writes. */
static int take_owner_option(int argc, char **argv)
{
	int kept = 0;
	for (int i = 0; i < argc; i++)
		if (i > 0 && strcmp(argv[i], "--as-other-user") == 0)
			owner_allow_other();
		else
			argv[kept++] = argv[i];
	argv[kept] = NULL;
	return kept;
}

int main(int argc, char **argv)
{
	struct flags f = {.config = access("sluice.yaml", F_OK) == 0 ? "sluice.yaml" : "/etc/sluice/sluice.yaml"};
	const char *checked = "";
	bool checks = false;
	argc = take_owner_option(argc, argv);
	if (argc > 1 && strcmp(argv[1], "journal") == 0) /* has options of its own, and no configuration */
		return cmd_journal(argc - 1, argv + 1);
	make_schema();
	for (size_t i = 0; argc > 1 && i < sizeof(own_commands) / sizeof(own_commands[0]); i++)
		if (strcmp(argv[1], own_commands[i].name) == 0)
			return run_own(&own_commands[i], f.config, argc - 1, argv + 1);
	for (int o; (o = getopt_long(argc, argv, "c:hV", options, NULL)) != -1;)
		switch (o) {
		case OPTION_CONFIG: f.config = optarg; break;
		case OPTION_HINTS: f.hints = true; break;
		case OPTION_READY: f.ready = true; break;
		case OPTION_YES: f.yes = true; break;
		case OPTION_DATA: f.data = optarg; break;
		case OPTION_CHECK:
			if (checks) /* --check A --check B */
				return fputs("sluice: --check takes all files at once\n", stderr), EXIT_USAGE;
			checks = true;
			checked = optarg;
			break;
		case OPTION_CONFIG_HELP: return help_config(optarg);
		case OPTION_METRICS: stats_reference(stdout); return 0;
		case OPTION_VERSION: versions_write(stdout); return 0;
		case OPTION_HELP: usage(stdout); return 0;
		default: usage(stderr); return EXIT_USAGE;
		}
	if (checks)
		return check(checked, argc - optind, argv + optind);
	return command(&f, argc - optind, argv + optind);
}
