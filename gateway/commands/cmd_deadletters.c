/* Dead letters for people: the command line; see cmd_deadletters.h. */
#include "gateway/commands/cmd_deadletters.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/commands/deadletters_parts.h"
#include "gateway/commands/owner.h"

int cmd_deadletters(const struct gateway_plan *plan, const struct cmd_deadletters_options *o, FILE *out, FILE *errors)
{
	struct why why = {0};
	bool writes = o->command != DEADLETTERS_LIST && o->command != DEADLETTERS_SHOW;
	if (writes && owner_check(plan->settings->data, &why))
		return fprintf(errors, "deadletters: %s\n", why.text), 2;
	struct deadletters_job *j = calloc(1, sizeof(*j));
	if (!j || !(j->reader = dead_letter_line_reader_open())) {
		free(j);
		return fputs("deadletters: out of memory\n", errors), 2;
	}
	j->plan = plan;
	j->options = o;
	j->out = out;
	j->errors = errors;
	j->progress = (struct cmd_journal_progress){.out = errors, .command = "deadletters"};
	deadletters_find(j);
	int code = o->sink && !deadletters_is_known(j, o->sink) ? 2
	           : o->command == DEADLETTERS_LIST             ? deadletters_list(j)
	           : o->command == DEADLETTERS_SHOW             ? deadletters_show(j)
	                                                        : deadletters_retry_or_purge(j);
	dead_letter_line_reader_close(j->reader);
	free(j);
	return code;
}

/* -- the command line -- */

static const char help[] =
    "sluice deadletters list | show | replay | purge [--config FILE] [--data DIR] [--sink NAME] [--reason TEXT]\n"
    "                   [--older-than TIME]\n\n"
    "What sinks refused for good, and why.\n\n"
    "  list [--json]        how many there are, since when, and for which reasons\n"
    "  show [--limit N]     the letters, one a line: time, sink, sequence, reason, record\n"
    "  replay [--rate N]    send them to their sink again, when what was wrong is fixed. What it takes leaves the "
    "file;\n"
    "                       what it refuses again stays, with its new reason\n"
    "  purge --yes          throw them away; without --yes it tells how many\n\n"
    "  --sink NAME          of this sink alone (`intake`: messages that were refused at the door and kept)\n"
    "  --reason TEXT        only those whose reason has TEXT in it\n"
    "  --older-than TIME    only those older than 90s, 15m, 12h, 7d\n\n"
    "list and show may run beside the gateway; replay and purge need it stopped.\n\n"
    "  sluice deadletters list\n"
    "  sluice deadletters show --sink elasticsearch --limit 1 | jq .reason\n"
    "  sluice deadletters replay --sink elasticsearch\n\n"
    "Exit codes: 0 done, 1 some were refused again, or it was ended early, 2 it could not be done.\n";

static const struct option long_options[] = {
    {"sink", required_argument, NULL, 's'},
    {"reason", required_argument, NULL, 'r'},
    {"limit", required_argument, NULL, 'l'},
    {"older-than", required_argument, NULL, 'o'},
    {"rate", required_argument, NULL, 'a'},
    {"json", no_argument, NULL, 'j'},
    {"yes", no_argument, NULL, 'y'},
    {"config", required_argument, NULL, 'c'},
    {"data", required_argument, NULL, 'd'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* A number from 1 and what stands behind it; 0: there is none. */
static uint64_t number(const char *text, char **end)
{
	errno = 0;
	uint64_t n = *text >= '0' && *text <= '9' ? strtoull(text, end, 10) : 0;
	return errno ? 0 : n;
}

static bool age(const char *text, int64_t *us)
{
	static const struct {
		const char *unit;
		int64_t us;
	} units[] = {{"s", 1000000}, {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}};
	char *end = NULL;
	uint64_t n = number(text, &end);
	for (size_t i = 0; n > 0 && n < 1000000 && i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0) {
			*us = (int64_t)n * units[i].us;
			return true;
		}
	return false;
}

static bool count_of(const char *option, uint64_t *out, FILE *errors)
{
	char *end = NULL;
	*out = number(optarg, &end);
	if (*out > 0 && *end == '\0')
		return true;
	fprintf(errors, "deadletters: --%s %s: a number from 1\n", option, optarg);
	return false;
}

int cmd_deadletters_options(struct cmd_deadletters_options *o, struct command_line *l)
{
	static const char *const names[] = {"list", "show", "replay", "purge"};
	optind = 0;
	for (int c; (c = getopt_long(l->count, l->words, "c:h", long_options, NULL)) != -1;)
		switch (c) {
		case 's': o->sink = optarg; break;
		case 'r': o->reason = optarg; break;
		case 'j': o->json = true; break;
		case 'y': o->yes = true; break;
		case 'c': l->config = optarg; break;
		case 'd': l->data = optarg; break;
		case 'h': return fputs(help, l->out), -1;
		case 'l':
			if (!count_of("limit", &o->limit, l->errors))
				return 2;
			break;
		case 'a':
			if (!count_of("rate", &o->rate, l->errors))
				return 2;
			break;
		case 'o':
			if (age(optarg, &o->older_us))
				break;
			return fprintf(l->errors, "deadletters: --older-than %s: a time such as 90s, 15m, 12h, 7d\n",
			               optarg),
			       2;
		default: return fputs("deadletters: `sluice deadletters --help` tells more\n", l->errors), 2;
		}
	for (size_t i = 0; l->count - optind == 1 && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(l->words[optind], names[i]) == 0) {
			o->command = (enum deadletters_command)i;
			return 0;
		}
	return fputs("deadletters: say `list`, `show`, `replay` or `purge`\n", l->errors), 2;
}
