/* The command line of `sluice journal`, and what its commands share. A new command is a function and a line in the list. */
#include "gateway/commands/cmd_journal.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/utf8.h"

struct command {
	const char *name;
	int (*run)(struct inspection *l, const struct cmd_journal_options *o, FILE *out, FILE *errors);
	const char *options; /* letters of those it takes */
	const char *help;
};

static const struct command commands[] = {
    {"info", cmd_journal_info, "dj",
     "sluice journal info --data DIR [--json]\n\n"
     "What is in a journal: segments, records, times, what must be remembered, where each sink is and how far behind.\n"
     "Reads every byte and changes nothing; also while a gateway runs.\n\n"
     "  sluice journal info --data /var/lib/sluice\n"
     "  sluice journal info --data /var/lib/sluice --json | jq .cursors\n\n"
     "Exit codes: 0 told, 1 told, and there is damage, 2 it could not be read.\n"},
    {"dump", cmd_journal_dump, "djftlm",
     "sluice journal dump --data DIR [--from SEQ] [--to SEQ] [--limit N] [--meta]\n\n"
     "The records as NDJSON, the oldest first: each one's JSON as it stands. With --meta a line has where it lies, "
     "too:\n"
     "{\"sequence\":1,\"segment\":1,\"offset\":4096,\"kind\":\"telemetry\",\"listener\":\"mqtt\",\"record\":{...}}, "
     "and entries\n"
     "that are no telemetry are shown (kind \"dead\": refused at the door and kept as a dead letter; \"state\": what "
     "must be\n"
     "remembered). Changes nothing; also while a gateway runs.\n\n"
     "  sluice journal dump --data /var/lib/sluice > records.ndjson\n"
     "  sluice journal dump --data /var/lib/sluice --from 1000 --limit 10 --meta\n\n"
     "Exit codes: 0 all there, 1 damage was passed over (told on standard error), 2 it could not be read, or "
     "nothing is\n"
     "between --from and --to.\n"},
    {"verify", cmd_journal_verify, "dj",
     "sluice journal verify --data DIR [--json]\n\n"
     "Reads every byte, verifies every checksum and tells each place that is damaged, and which records that costs.\n"
     "Changes nothing; also while a gateway runs. A last block that is not finished is no damage: nothing in it was\n"
     "acknowledged.\n\n"
     "  sluice journal verify --data /var/lib/sluice && echo whole\n\n"
     "Exit codes: 0 whole, 1 damaged, 2 it could not be read.\n"},
    {"repair", cmd_journal_repair, "d",
     "sluice journal repair --data DIR\n\n"
     "Makes a damaged journal one that `verify` passes, and loses nothing that can be read: a damaged segment is "
     "written\n"
     "anew without what is damaged, and the old file is moved to DIR/journal/quarantine; nothing is deleted. A cursor "
     "that\n"
     "is damaged starts at the oldest record: its sink gets some twice, and misses none. Refused while a gateway "
     "runs.\n\n"
     "  sluice journal repair --data /var/lib/sluice\n\n"
     "Exit codes: 0 whole, or mended, 1 it could not be mended, 2 it could not be read, or a gateway runs.\n"},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const struct option long_options[] = {
    {"data", required_argument, NULL, 'd'},  {"json", no_argument, NULL, 'j'},
    {"from", required_argument, NULL, 'f'},  {"to", required_argument, NULL, 't'},
    {"limit", required_argument, NULL, 'l'}, {"meta", no_argument, NULL, 'm'},
    {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
};

static void usage(FILE *out)
{
	fputs("Looking into a journal, and mending it:\n\n", out);
	for (size_t i = 0; i < COMMANDS; i++) /* its first line */
		fprintf(out, "  %.*s\n", (int)strcspn(commands[i].help, "\n"), commands[i].help);
	fputs("\nEach with --help tells more. DIR is the configuration's `data`.\n", out);
}

static bool number(const char *option, const char *text, uint64_t *out)
{
	char *end;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && !errno)
		return true;
	fprintf(stderr, "sluice journal: --%s %s: say a whole number, such as --%s 1000\n", option, text, option);
	return false;
}

/* -1: go on, else the exit code. */
static int read_options(const struct command *c, struct cmd_journal_options *o, int count, char **words)
{
	optind = 0; /* begin anew: getopt keeps what it was given before */
	for (int letter; (letter = getopt_long(count, words, "h", long_options, NULL)) != -1;) {
		bool good = true;
		if (letter == 'h')
			return fputs(c->help, stdout), 0;
		if (letter == '?')
			return fprintf(stderr, "Try: sluice journal %s --help\n", c->name), CMD_JOURNAL_UNREAD;
		if (!strchr(c->options, letter)) {
			fprintf(stderr, "sluice journal %s does not take that option; try: sluice journal %s --help\n",
			        c->name, c->name);
			return CMD_JOURNAL_UNREAD;
		}
		switch (letter) {
		case 'd': o->data = optarg; break;
		case 'j': o->json = true; break;
		case 'm': o->meta = true; break;
		case 'f': good = number("from", optarg, &o->from); break;
		case 't': good = number("to", optarg, &o->to); break;
		case 'l': good = number("limit", optarg, &o->limit); break;
		default: break;
		}
		if (!good)
			return CMD_JOURNAL_UNREAD;
	}
	if (o->from > o->to) {
		fprintf(stderr, "sluice journal %s: --from %llu is behind --to %llu: nothing can lie between\n",
		        c->name, (unsigned long long)o->from, (unsigned long long)o->to);
		return CMD_JOURNAL_UNREAD;
	}
	if (optind < count)
		fprintf(stderr, "sluice journal %s: what is \"%s\"? Try: sluice journal %s --help\n", c->name,
		        words[optind], c->name);
	else if (!o->data)
		fprintf(stderr, "sluice journal %s: say --data DIR, the configuration's `data`\n", c->name);
	return optind < count || !o->data ? CMD_JOURNAL_UNREAD : -1;
}

int cmd_journal(int count, char **words)
{
	const struct command *c = NULL;
	for (size_t i = 0; i < COMMANDS && count > 1; i++)
		if (strcmp(words[1], commands[i].name) == 0)
			c = &commands[i];
	if (!c) {
		bool help = count > 1 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0);
		usage(help ? stdout : stderr);
		return help ? 0 : CMD_JOURNAL_UNREAD;
	}
	struct cmd_journal_options o = {.to = UINT64_MAX, .limit = UINT64_MAX};
	int code = read_options(c, &o, count - 1, words + 1);
	if (code >= 0)
		return code;
	struct inspection l;
	struct why why = {0};
	log_init(LOG_WARN, LOG_TEXT);
	if (inspection_open(&l, &disk_real, o.data, &why)) {
		fprintf(stderr, "sluice journal %s: %s\n", c->name, why.text);
		return CMD_JOURNAL_UNREAD;
	}
	code = c->run(&l, &o, stdout, stderr);
	inspection_close(&l);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "sluice journal %s: cannot write what was found: %s\n", c->name, strerror(errno));
		return CMD_JOURNAL_UNREAD;
	}
	return code;
}

/* -- shared -- */

void cmd_journal_progress(struct cmd_journal_progress *p, uint64_t bytes, uint64_t total)
{
	int64_t now = clock_mono_us();
	if (p->next_us == 0)
		p->next_us = now + 1000000;
	if (now < p->next_us)
		return;
	p->next_us = now + 1000000;
	fprintf(p->out, "%s: ", p->command);
	cmd_journal_print_bytes(p->out, bytes, total);
	fputc('\n', p->out);
	fflush(p->out);
}

void cmd_journal_print_bytes(FILE *out, uint64_t bytes, uint64_t total)
{
	fprintf(out, "%.0f ", (double)bytes / 1e6);
	if (total > 0)
		fprintf(out, "of %.0f ", (double)total / 1e6);
	fputs("MB read", out);
}

void cmd_journal_format_time(uint64_t us, char out[32])
{
	struct tm tm;
	time_t s = (time_t)(us / 1000000);
	if (us == 0 || !gmtime_r(&s, &tm) || tm.tm_year > 8099) {
		snprintf(out, 32, "-");
		return;
	}
	size_t len = strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, 32 - len, ".%03uZ", (unsigned)(us / 1000 % 1000));
}

void cmd_journal_print_string(FILE *out, const void *text, size_t len)
{
	const unsigned char *bytes = text;
	fputc('"', out);
	if (len > 0 && utf8_check(text, len) == len) {
		char *escaped = malloc(6 * len);
		if (escaped)
			fwrite(escaped, 1, json_escape(escaped, text, len), out);
		free(escaped);
	} else { /* a key may be any bytes: as Latin-1, each its own character */
		for (size_t i = 0; i < len; i++)
			fprintf(out,
			        bytes[i] < 32 || bytes[i] > 126 || bytes[i] == '"' || bytes[i] == '\\' ? "\\u%04x"
			                                                                               : "%c",
			        bytes[i]);
	}
	fputc('"', out);
}
