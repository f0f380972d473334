/* `sluice-load verify`: reads back what arrived, and says what became of everything that was sent. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "load/command.h"
#include "load/condition.h"
#include "load/options.h"
#include "load/plan.h"
#include "load/readback.h"
#include "load/report.h"
#include "load/verdict.h"

static const struct readback *const readback_list[] = {&readback_file, &readback_kafka, &readback_search, NULL};

#define NAMES_MAX 64

struct name_list {
	const char *items[NAMES_MAX];
	size_t count;
};

struct load_verify {
	struct name_list ledgers, dead, sources;
	struct condition conditions[LOAD_CONDITIONS_MAX];
	unsigned condition_count;
	const char *json;
	bool once, quiet, help;
};

static enum gw_err add_name(struct name_list *n, const char *text, struct why *why)
{
	if (n->count == NAMES_MAX)
		return why_set(why, GW_CONFIG, "%s: at most %d", text, NAMES_MAX);
	n->items[n->count++] = text;
	return GW_OK;
}

static enum gw_err read_ledger(void *into, const char *text, struct why *why)
{
	return add_name(&((struct load_verify *)into)->ledgers, text, why);
}

static enum gw_err read_dead(void *into, const char *text, struct why *why)
{
	return add_name(&((struct load_verify *)into)->dead, text, why);
}

static enum gw_err read_condition(void *into, const char *text, struct why *why)
{
	struct load_verify *v = into;
	if (v->condition_count == LOAD_CONDITIONS_MAX)
		return why_set(why, GW_CONFIG, "at most %d", LOAD_CONDITIONS_MAX);
	return condition_read(&v->conditions[v->condition_count++], text, true, why);
}

static enum gw_err take_source(void *context, const char *text, struct why *why)
{
	return add_name(&((struct load_verify *)context)->sources, text, why);
}

static const struct load_option rows[] = {
    {.name = "ledger",
     .letter = 'l',
     .type = OPTION_READ,
     .value = "FILE",
     .help =
         "What was sent and acknowledged, as written by a run with --ledger. Again for another one of the same --run.",
     .read = read_ledger},
    {.name = "dead",
     .type = OPTION_READ,
     .value = "FILE",
     .help = "Dead letters (NDJSON): what is in them is accounted for. May be given again.",
     .read = read_dead},
    {.name = "once",
     .type = OPTION_FLAG,
     .offset = offsetof(struct load_verify, once),
     .help = "What was sent once and is there twice is a failure, too."},
    {.name = "fail-if",
     .type = OPTION_READ,
     .value = "CONDITION",
     .help = "Exit status 1 if it holds: 'out_of_order>0'; may be given again. 'missing>0' always counts.",
     .read = read_condition},
    {.name = "json",
     .type = OPTION_TEXT,
     .offset = offsetof(struct load_verify, json),
     .value = "FILE",
     .help = "Write the verdicts as JSON: a list, one object per source; - is standard output."},
    {.name = "quiet",
     .letter = 'q',
     .type = OPTION_FLAG,
     .offset = offsetof(struct load_verify, quiet),
     .help = "No progress."},
    {.name = "help",
     .letter = 'h',
     .type = OPTION_FLAG,
     .offset = offsetof(struct load_verify, help),
     .help = "This text."},
    {0},
};

static void usage(FILE *out, const struct load_options *set)
{
	fputs("sluice-load verify --ledger FILE SOURCE...\n\n"
	      "Reads back what arrived and compares it with what was acknowledged. SOURCE is one of:\n",
	      out);
	for (const struct readback *const *r = readback_list; *r; r++)
		fprintf(out, "  %s\n", (*r)->form);
	fputs("A file is read together with what a file sink rotated away from it.\n\n", out);
	options_help(out, set, 1);
	fputs("\nFigures of --fail-if:\n", out);
	condition_figures(out, true);
	fputs(
	    "\nExit status: 0 all that was acknowledged is there (or among the dead letters), in every source; 1 "
	    "something\n"
	    "is missing (or, with --once, was sent once and is there twice); 2 the command line or a source is "
	    "wrong.\n\n"
	    "Example:\n"
	    "  sluice-load tcp://127.0.0.1:5170 --count 100000 --ledger run.ledger\n"
	    "  sluice-load verify --ledger run.ledger data/telemetry.ndjson kafka://127.0.0.1:9092/sluice.telemetry\n",
	    out);
}

static enum gw_err read_ledgers(const struct name_list *n, struct ledger **out, struct why *why)
{
	struct ledger *all = NULL;
	enum gw_err err = n->count ? GW_OK : why_set(why, GW_CONFIG, "--ledger FILE is missing");
	for (size_t i = 0; i < n->count && !err; i++) {
		struct ledger *one = NULL;
		if ((err = ledger_read(&one, n->items[i], why)))
			break;
		if (!all) {
			all = one;
			continue;
		}
		const char *shared = ledger_shared(all, one);
		if (shared)
			err = why_set(why, GW_CONFIG,
			              "%s: device %s is in another ledger, too: runs that go together need names of "
			              "their own (--name)",
			              n->items[i], shared);
		else
			err = ledger_merge(all, one, why);
		ledger_free(one);
	}
	if (err)
		ledger_free(all);
	else
		*out = all;
	return err;
}

/* -- one source -- */

struct reading {
	struct verdict *verdict;
	const char *name;
	bool dead, tell;
	time_t told;
};

static void tell(struct reading *r, bool last)
{
	time_t now = time(NULL);
	if (!r->tell || (!last && now == r->told))
		return;
	r->told = now;
	fprintf(stderr, "\rverify: %s: %llu records%s", r->name, (unsigned long long)r->verdict->records,
	        last ? "\n" : "");
	fflush(stderr);
}

static void take_record(void *context, const char *text, size_t len)
{
	struct reading *r = context;
	if (r->dead) {
		verdict_dead(r->verdict, text, len);
		return;
	}
	verdict_arrived(r->verdict, text, len);
	if (r->verdict->records % 4096 == 0)
		tell(r, false);
}

static const struct readback *find_readback(const char *source)
{
	for (const struct readback *const *r = readback_list; *r; r++)
		if ((*r)->mine(source))
			return *r;
	return NULL;
}

static enum gw_err judge(const struct load_verify *v, const struct ledger *ledger, const char *source,
                         struct verdict *verdict, struct why *why)
{
	const struct readback *from = find_readback(source);
	if (!from)
		return why_set(why, GW_CONFIG, "%s: neither a file, nor kafka://, http:// or https://", source);
	enum gw_err err = verdict_open(verdict, ledger, from->ordered, v->dead.count > 0);
	if (err)
		return why_set(why, err, "%s: out of memory", source);
	struct reading r = {
	    .verdict = verdict, .name = source, .dead = true, .tell = !v->quiet && isatty(STDERR_FILENO)};
	for (size_t i = 0; i < v->dead.count && !err; i++)
		err = readback_file.read(v->dead.items[i], take_record, &r, why);
	r.dead = false;
	if (!err)
		err = from->read(source, take_record, &r, why);
	tell(&r, true);
	verdict_close(verdict);
	return err;
}

/* The conditions that hold are told. */
static bool any_holds(const struct load_verify *v, const struct verdict_line *line, const char *source)
{
	bool any = false;
	for (unsigned i = 0; i < v->condition_count; i++) {
		double found;
		if (!condition_holds_verdict(&v->conditions[i], line, &found))
			continue;
		fprintf(stderr, "sluice-load verify: %s: failed: %s (it is %g)\n", source, v->conditions[i].text,
		        found);
		any = true;
	}
	return any;
}

/* One source; its verdict, or why there is none, goes to json, which may be NULL. */
static int verify_one(const struct load_verify *v, const struct ledger *ledger, const char *source, FILE *out,
                      FILE *json)
{
	struct verdict verdict = {0};
	struct why why = {{0}};
	int code = LOAD_EXIT_OK;
	if (judge(v, ledger, source, &verdict, &why)) {
		fprintf(stderr, "sluice-load verify: %s\n", why.text);
		if (json)
			verdict_json_none(source, why.text, json);
		code = LOAD_EXIT_USAGE;
	} else {
		verdict_print(&verdict, source, out);
		if (json)
			verdict_json(&verdict, source, json);
		if (verdict.total.missing > 0 || (v->once && verdict.total.twice > 0) ||
		    any_holds(v, &verdict.total, source))
			code = LOAD_EXIT_FAILED;
	}
	verdict_free(&verdict);
	return code;
}

/* A source that cannot be read does not keep the verdicts on the others back. */
static int verify_all(const struct load_verify *v, const struct ledger *ledger, FILE *json)
{
	static const char *const said[] = {
	    [LOAD_EXIT_OK] = "well: everything that was acknowledged is there",
	    [LOAD_EXIT_FAILED] = "FAILED",
	    [LOAD_EXIT_USAGE] = "FAILED: not everything could be read",
	};
	int worst = LOAD_EXIT_OK;
	FILE *out = report_people(v->json);
	for (size_t i = 0; i < v->sources.count; i++) {
		if (json)
			fputs(i ? ",\n" : "[\n", json);
		int code = verify_one(v, ledger, v->sources.items[i], out, json);
		worst = code > worst ? code : worst;
	}
	if (json)
		fputs("\n]\n", json);
	fprintf(out, "verify: %s\n", said[worst]);
	return worst;
}

/* -- the JSON: gathered in memory and written when it is whole -- */

static enum gw_err write_json(const char *path, const char *text, struct why *why)
{
	FILE *file = report_open(path);
	bool good = file && fputs(text, file) >= 0;
	if (file)
		good = report_close(file) && good;
	return good ? GW_OK : why_set(why, GW_IO, "--json: cannot write %s: %s", path, strerror(errno));
}

static int verify_and_tell(const struct load_verify *v, const struct ledger *ledger)
{
	struct why why = {{0}};
	char *text = NULL;
	size_t len;
	FILE *json = v->json ? open_memstream(&text, &len) : NULL;
	int code = verify_all(v, ledger, json);
	if (v->json && (!json || fclose(json) != 0 || write_json(v->json, text, &why))) {
		fprintf(stderr, "sluice-load verify: %s\n", *why.text ? why.text : "--json: out of memory");
		code = LOAD_EXIT_USAGE;
	}
	free(text);
	return code;
}

static int run_verify(int argc, char **argv)
{
	struct load_verify v = {0};
	struct why why = {{0}};
	const struct load_options set = {.rows = rows, .into = &v};
	const struct load_operands operands = {take_source, &v};
	struct ledger *ledger = NULL;
	enum gw_err err = options_read(&set, 1, argc, argv, &operands, &why);
	if (!err && v.help) {
		usage(stdout, &set);
		return LOAD_EXIT_OK;
	}
	if (!err && v.sources.count == 0)
		err = why_set(&why, GW_CONFIG, "nothing to read back: give a file, a topic or an index");
	if (!err)
		err = read_ledgers(&v.ledgers, &ledger, &why);
	if (!err && report_try_file(v.json, &why))
		err = why_add(&why, GW_CONFIG, "--json");
	if (err) {
		fprintf(stderr, "sluice-load verify: %s (see --help)\n", why.text);
		ledger_free(ledger);
		return LOAD_EXIT_USAGE;
	}
	int code = verify_and_tell(&v, ledger);
	ledger_free(ledger);
	return code;
}

const struct load_command load_command_verify = {
    .name = "verify", .run = run_verify, .help = "read back what arrived: what is missing, doubled, out of order"};
