/* `sluice-load compare A B ...`: results side by side, each beside the first. `sluice-load merge`: one of several. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "load/command.h"
#include "load/condition.h"
#include "load/options.h"
#include "load/report.h"

#define FILES_MAX LOAD_MERGE_MAX

struct several {
	const char *paths[FILES_MAX];
	size_t count;
	struct load_outputs outputs;
	bool help;
};

static enum gw_err take_path(void *context, const char *text, struct why *why)
{
	struct several *s = context;
	if (s->count == FILES_MAX)
		return why_set(why, GW_CONFIG, "%s: at most %d reports", text, FILES_MAX);
	s->paths[s->count++] = text;
	return GW_OK;
}

#define OUTPUT(member, text)                                                                                           \
	{                                                                                                              \
		.name = #member, .type = OPTION_TEXT, .offset = offsetof(struct several, outputs.member),              \
		.value = "FILE", .help = (text)                                                                        \
	}
static const struct load_option rows[] = {
    OUTPUT(html, "One page with all of them drawn over one another."),
    OUTPUT(json, "The result (merge) or the list of results (compare) as JSON."),
    OUTPUT(csv, "Their seconds."),
    OUTPUT(hdr, "Their latencies as an HdrHistogram log."),
    {.name = "help",
     .letter = 'h',
     .type = OPTION_FLAG,
     .offset = offsetof(struct several, help),
     .help = "This text."},
    {0},
};

/* -- reading the line and the files -- */

static int start(struct several *s, int argc, char **argv, const char *usage, struct load_result **results)
{
	struct why why = {{0}};
	const struct load_options set = {.rows = rows, .into = s};
	const struct load_operands operands = {take_path, s};
	enum gw_err err = options_read(&set, 1, argc, argv, &operands, &why);
	if (!err && s->help) {
		puts(usage);
		options_help(stdout, &set, 1);
		return -1;
	}
	if (!err && s->count < 2)
		err = why_set(&why, GW_CONFIG, "give at least two reports, as written by --json");
	for (size_t i = 0; i < s->count && !err; i++)
		err = result_read(&results[i], s->paths[i], &why);
	if (!err)
		return LOAD_EXIT_OK;
	fprintf(stderr, "sluice-load %s: %s (see --help)\n", argv[0], why.text);
	return LOAD_EXIT_USAGE;
}

static int finish(const struct several *s, struct load_result **results, size_t count, int code)
{
	struct why why = {{0}};
	if (code == LOAD_EXIT_OK &&
	    report_files(&s->outputs, (const struct load_result *const *)results, count, &why)) {
		fprintf(stderr, "sluice-load: %s\n", why.text);
		code = LOAD_EXIT_USAGE;
	}
	for (size_t i = 0; i < s->count; i++)
		result_free(results[i]);
	return code < 0 ? LOAD_EXIT_OK : code;
}

/* -- compare -- */

struct measure {
	const char *name, *figure; /* figure: as in conditions */
	const char *(*text)(char out[32], double v);
};

static const char *text_cpu(char out[32], double v)
{
	if (!isfinite(v))
		return report_unknown(out);
	snprintf(out, 32, "%.2f us", v);
	return out;
}

static const char *text_bytes(char out[32], double v)
{
	return isfinite(v) ? report_bytes(out, v) : report_unknown(out);
}

static const struct measure measures[] = {
    {"rate", "rate", report_count},
    {"p50", "p50", report_time},
    {"p99", "p99", report_time},
    {"p99.9", "p99.9", report_time},
    {"max", "max", report_time},
    {"errors", "errors", report_count},
    {"open at the end", "unacknowledged", report_count},
    {"CPU a message", "cpu", text_cpu},
    {"memory", "memory", text_bytes},
};

#define NAME_MAX_SHOWN 20

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool are_bases_different(const struct several *s)
{
	for (size_t i = 0; i < s->count; i++)
		for (size_t k = 0; k < i; k++)
			if (!strncmp(base_of(s->paths[i]), base_of(s->paths[k]), NAME_MAX_SHOWN))
				return false;
	return true;
}

/* The file's name; where that would be the same twice, the end of its path behind its number. */
static void name_of(char out[NAME_MAX_SHOWN + 1], const struct several *s, size_t i)
{
	if (are_bases_different(s)) {
		snprintf(out, NAME_MAX_SHOWN + 1, "%s", base_of(s->paths[i]));
		return;
	}
	int used = snprintf(out, NAME_MAX_SHOWN + 1, "%zu ", i + 1);
	size_t len = strlen(s->paths[i]), room = (size_t)(NAME_MAX_SHOWN - used);
	snprintf(out + used, room + 1, "%s", s->paths[i] + (len > room ? len - room : 0));
}

static void print_comparison(const struct several *s, struct load_result *const *results)
{
	char text[32];
	printf("%-16s", "");
	for (size_t i = 0; i < s->count; i++) {
		char name[NAME_MAX_SHOWN + 1];
		name_of(name, s, i);
		printf(" %20s", name);
	}
	putchar('\n');
	for (size_t m = 0; m < sizeof(measures) / sizeof(*measures); m++) {
		printf("%-16s", measures[m].name);
		double first = condition_value(measures[m].figure, results[0]);
		for (size_t i = 0; i < s->count; i++) {
			double v = condition_value(measures[m].figure, results[i]);
			printf(" %12s", measures[m].text(text, v));
			if (i > 0 && first > 0 && isfinite(v))
				printf(" %6.2fx", v / first);
			else
				printf(" %7s", "");
		}
		putchar('\n');
	}
}

static int run_compare(int argc, char **argv)
{
	struct several s = {0};
	struct load_result *results[FILES_MAX] = {0};
	int code = start(
	    &s, argc, argv,
	    "sluice-load compare A.json B.json ...\n\nReports of runs (--json) side by side; x: times the first.\n",
	    results);
	if (code == LOAD_EXIT_OK)
		print_comparison(&s, results);
	return finish(&s, results, s.count, code);
}

const struct load_command load_command_compare = {
    .name = "compare", .run = run_compare, .help = "reports of two or more runs side by side"};

/* -- merge -- */

static int earlier(const void *a, const void *b)
{
	const struct load_result *x = *(struct load_result *const *)a, *y = *(struct load_result *const *)b;
	return (x->started_us > y->started_us) - (x->started_us < y->started_us);
}

static int run_merge(int argc, char **argv)
{
	struct several s = {0};
	struct why why = {{0}};
	struct load_result *results[FILES_MAX] = {0};
	int code =
	    start(&s, argc, argv,
	          "sluice-load merge A.json B.json ... --json ALL.json\n\n"
	          "One report of runs that went on at the same time on several machines: counts and histograms add\n"
	          "up, seconds are laid over one another by wall clock.\n",
	          results);
	if (code != LOAD_EXIT_OK)
		return finish(&s, results, 0, code);
	qsort(results, s.count, sizeof(*results), earlier);
	if (result_merge(results, s.count, &why)) {
		fprintf(stderr, "sluice-load merge: %s\n", why.text);
		return finish(&s, results, 0, LOAD_EXIT_USAGE);
	}
	report_table(results[0], stdout);
	return finish(&s, results, 1, code);
}

const struct load_command load_command_merge = {
    .name = "merge", .run = run_merge, .help = "one report of several machines' runs"};
