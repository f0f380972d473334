/* Conditions on results: a figure by name, an operator, a value with a unit. */
#include "load/condition.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "load/report.h"

enum unit { UNIT_US, UNIT_NUMBER, UNIT_BYTES };

struct figure {
	const char *name;
	enum unit unit;
	double (*of)(const struct load_result *r);
	size_t verdict_at; /* of_verdict: offset in struct verdict_line */
	const char *help;
};

static double ratio(double a, double b)
{
	return b > 0 ? a / b : NAN;
}

static double of_p50(const struct load_result *r)
{
	return hdr_count(r->latency) ? (double)hdr_percentile(r->latency, 50) : NAN;
}
static double of_p90(const struct load_result *r)
{
	return hdr_count(r->latency) ? (double)hdr_percentile(r->latency, 90) : NAN;
}
static double of_p99(const struct load_result *r)
{
	return hdr_count(r->latency) ? (double)hdr_percentile(r->latency, 99) : NAN;
}
static double of_p999(const struct load_result *r)
{
	return hdr_count(r->latency) ? (double)hdr_percentile(r->latency, 99.9) : NAN;
}
static double of_max(const struct load_result *r)
{
	return hdr_count(r->latency) ? (double)hdr_max(r->latency) : NAN;
}
static double of_mean(const struct load_result *r)
{
	return hdr_count(r->latency) ? hdr_mean(r->latency) : NAN;
}
static double of_connect(const struct load_result *r)
{
	return hdr_count(r->connect) ? (double)hdr_percentile(r->connect, 99) : NAN;
}
static double of_rate(const struct load_result *r)
{
	return ratio((double)(r->acknowledged + r->unconfirmed), (double)r->duration_us / 1e6);
}
static double of_sent(const struct load_result *r)
{
	return (double)r->sent;
}
static double of_acknowledged(const struct load_result *r)
{
	return (double)r->acknowledged;
}
static double of_unacknowledged(const struct load_result *r)
{
	return (double)r->unacknowledged;
}
static double of_resent(const struct load_result *r)
{
	return (double)r->resent;
}
static double of_reconnects(const struct load_result *r)
{
	return (double)r->reconnects;
}
static double of_late(const struct load_result *r)
{
	return (double)r->late_us;
}

static double of_errors(const struct load_result *r)
{
	return (double)result_errors(r);
}

static double of_cpu(const struct load_result *r)
{
	return r->has_server ? ratio(r->server_cpu_us, (double)result_server_messages(r)) : NAN;
}

static double of_memory(const struct load_result *r)
{
	return r->has_server ? (double)r->server_bytes_most : NAN;
}

static const struct figure run_figures[] = {
    {"p50", UNIT_US, of_p50, 0, "half of the acknowledgements came within that time"},
    {"p90", UNIT_US, of_p90, 0, "nine of ten"},
    {"p99", UNIT_US, of_p99, 0, "99 of 100"},
    {"p99.9", UNIT_US, of_p999, 0, "999 of 1000"},
    {"max", UNIT_US, of_max, 0, "the longest"},
    {"mean", UNIT_US, of_mean, 0, "the mean"},
    {"connect", UNIT_US, of_connect, 0, "99 of 100 connections were ready within that time"},
    {"rate", UNIT_NUMBER, of_rate, 0, "messages acknowledged a second (unconfirmed kinds: sent)"},
    {"sent", UNIT_NUMBER, of_sent, 0, "messages sent"},
    {"acknowledged", UNIT_NUMBER, of_acknowledged, 0, "messages acknowledged"},
    {"unacknowledged", UNIT_NUMBER, of_unacknowledged, 0, "messages still open at the end"},
    {"resent", UNIT_NUMBER, of_resent, 0, "sendings beyond the first"},
    {"reconnects", UNIT_NUMBER, of_reconnects, 0, "connections made again"},
    {"errors", UNIT_NUMBER, of_errors, 0, "errors of all kinds"},
    {"late", UNIT_US, of_late, 0, "how late the tool itself sent, 99 of 100"},
    {"cpu", UNIT_US, of_cpu, 0, "the server's processor time a message (with --pid)"},
    {"memory", UNIT_BYTES, of_memory, 0, "the server's resident memory, the most (with --pid)"},
    {0},
};

static const struct figure verdict_figures[] = {
    {"missing", UNIT_NUMBER, NULL, offsetof(struct verdict_line, missing), "acknowledged, and not there"},
    {"twice", UNIT_NUMBER, NULL, offsetof(struct verdict_line, twice), "sent once, and there more than once"},
    {"twice_resent", UNIT_NUMBER, NULL, offsetof(struct verdict_line, twice_resent),
     "sent again, and there more than once"},
    {"out_of_order", UNIT_NUMBER, NULL, offsetof(struct verdict_line, out_of_order),
     "behind a later one of its device"},
    {"dead", UNIT_NUMBER, NULL, offsetof(struct verdict_line, dead), "in the dead letters"},
    {"arrived", UNIT_NUMBER, NULL, offsetof(struct verdict_line, arrived), "there"},
    {"unknown", UNIT_NUMBER, NULL, offsetof(struct verdict_line, unknown), "there, and not in the ledger"},
    {0},
};

void condition_figures(FILE *out, bool of_verdict)
{
	for (const struct figure *f = of_verdict ? verdict_figures : run_figures; f->name; f++)
		fprintf(out, "  %-15s %s\n", f->name, f->help);
}

static size_t find_figure(const struct figure *figures, const char *name, size_t len)
{
	for (size_t i = 0; figures[i].name; i++)
		if (strlen(figures[i].name) == len && memcmp(figures[i].name, name, len) == 0)
			return i;
	return SIZE_MAX;
}

static double unit_factor(enum unit unit, const char *text)
{
	static const struct {
		enum unit unit;
		const char *text;
		double factor;
	} units[] = {{UNIT_US, "us", 1},        {UNIT_US, "ms", 1e3},         {UNIT_US, "s", 1e6},
	             {UNIT_US, "m", 60e6},      {UNIT_NUMBER, "", 1},         {UNIT_NUMBER, "k", 1e3},
	             {UNIT_NUMBER, "M", 1e6},   {UNIT_BYTES, "", 1},          {UNIT_BYTES, "B", 1},
	             {UNIT_BYTES, "KiB", 1024}, {UNIT_BYTES, "MiB", 1048576}, {UNIT_BYTES, "GiB", 1073741824}};
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (units[i].unit == unit && strcmp(units[i].text, text) == 0)
			return units[i].factor;
	return 0;
}

static enum gw_err refuse_figure(const char *text, size_t len, const struct figure *figures, struct why *why)
{
	char names[400] = "";
	for (const struct figure *f = figures; f->name; f++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", f == figures ? "" : ", ",
		         f->name);
	return why_set(why, GW_CONFIG, "condition \"%s\": \"%.*s\" is no figure; there are: %s", text, (int)len, text,
	               names);
}

enum gw_err condition_read(struct condition *c, const char *text, bool of_verdict, struct why *why)
{
	static const struct {
		const char *text;
		int compare;
	} operators[] = {{"<=", -1}, {">=", 1}, {"==", 0}, {"<", -2}, {">", 2}};
	const struct figure *figures = of_verdict ? verdict_figures : run_figures;
	size_t len = strcspn(text, "<>= "), i = 0;
	size_t figure = find_figure(figures, text, len);
	if (figure == SIZE_MAX)
		return refuse_figure(text, len, figures, why);
	const char *rest = text + len + strspn(text + len, " ");
	while (i < 5 && strncmp(rest, operators[i].text, strlen(operators[i].text)) != 0)
		i++;
	if (i == 5)
		return why_set(why, GW_CONFIG, "condition \"%s\": behind %.*s must come <, <=, ==, >= or >", text,
		               (int)len, text);
	rest += strlen(operators[i].text);
	char *end;
	double v = strtod(rest, &end), factor = unit_factor(figures[figure].unit, end + strspn(end, " "));
	if (end == rest || !isfinite(v) || factor == 0) {
		static const char *const allowed[] = {"a time with us, ms, s or m, as in 50ms",
		                                      "a number, perhaps with k or M",
		                                      "a size, perhaps with KiB, MiB or GiB"};
		return why_set(why, GW_CONFIG, "condition \"%s\": \"%s\" is not %s", text, rest,
		               allowed[figures[figure].unit]);
	}
	*c = (struct condition){.text = text, .figure = figure, .compare = operators[i].compare, .limit = v * factor};
	return GW_OK;
}

static bool holds(const struct condition *c, double v)
{
	switch (c->compare) {
	case -2: return v < c->limit;
	case -1: return v <= c->limit;
	case 1: return v >= c->limit;
	case 2: return v > c->limit;
	default: return !(v < c->limit) && !(v > c->limit) && isfinite(v);
	}
}

double condition_value(const char *figure, const struct load_result *r)
{
	size_t i = find_figure(run_figures, figure, strlen(figure));
	return i == SIZE_MAX ? NAN : run_figures[i].of(r);
}

bool condition_holds(const struct condition *c, const struct load_result *r, double *found)
{
	*found = run_figures[c->figure].of(r);
	return holds(c, *found);
}

bool condition_of_server(const struct condition *c)
{
	return run_figures[c->figure].of == of_cpu || run_figures[c->figure].of == of_memory;
}

const char *condition_text(const struct condition *c, double v, char out[32])
{
	switch (isfinite(v) ? run_figures[c->figure].unit : UNIT_NUMBER) {
	case UNIT_US: return report_time(out, v);
	case UNIT_BYTES: return report_bytes(out, v);
	case UNIT_NUMBER: break;
	}
	if (isfinite(v))
		snprintf(out, 32, "%.10g", v);
	else
		snprintf(out, 32, "not known");
	return out;
}

bool condition_holds_verdict(const struct condition *c, const struct verdict_line *l, double *found)
{
	uint64_t v;
	memcpy(&v, (const char *)l + verdict_figures[c->figure].verdict_at, sizeof(v));
	*found = (double)v;
	return holds(c, *found);
}
