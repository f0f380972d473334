/* Results for people at a terminal, and the simple files. */
#include "load/report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *report_unknown(char out[32])
{
	out[0] = '-';
	out[1] = '\0';
	return out;
}

const char *report_count(char out[32], double v)
{
	char plain[32];
	if (!isfinite(v))
		return report_unknown(out);
	snprintf(plain, sizeof(plain), "%.0f", v);
	size_t len = strlen(plain), n = 0;
	for (size_t i = 0; i < len && n < 30; i++) {
		out[n++] = plain[i];
		if ((len - i - 1) % 3 == 0 && i + 1 < len && plain[i] != '-')
			out[n++] = ',';
	}
	out[n] = '\0';
	return out;
}

const char *report_time(char out[32], double us)
{
	if (!isfinite(us))
		return report_unknown(out);
	const char *unit = us < 1000 ? "us" : us < 1e6 ? "ms" : "s";
	double v = us < 1000 ? us : us < 1e6 ? us / 1e3 : us / 1e6;
	snprintf(out, 32, v < 10 && us >= 1000 ? "%.2f %s" : v < 100 && us >= 1000 ? "%.1f %s" : "%.0f %s", v, unit);
	return out;
}

const char *report_bytes(char out[32], double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t i = 0;
	for (; bytes >= 1024 && i < 4; i++)
		bytes /= 1024;
	snprintf(out, 32, i ? "%.1f %s" : "%.0f %s", bytes, units[i]);
	return out;
}

/* -- a line a second -- */

static void print_kinds(const struct load_result *r, FILE *out)
{
	for (size_t i = 0; i < LOAD_ERRORS; i++)
		if (r->errors[i])
			fprintf(out, "  %s %llu", load_error_names[i], (unsigned long long)r->errors[i]);
}

void report_second(void *context, const struct load_plan *plan, const struct load_result *so_far)
{
	(void)context;
	(void)plan;
	char a[32], b[32], c[32], d[32], e[32];
	if (so_far->second_count == 0)
		return;
	const struct load_second *s = &so_far->seconds[so_far->second_count - 1];
	fprintf(stderr, "%4llu s  %-5s sent %9s/s  acknowledged %9s/s",
	        (unsigned long long)((s->at_us + 500000) / 1000000), so_far->protocol, report_count(a, (double)s->sent),
	        report_count(b, (double)s->acknowledged));
	if (s->max_us)
		fprintf(stderr, "  p50 %8s  p99 %8s  max %8s", report_time(c, (double)s->p50_us),
		        report_time(d, (double)s->p99_us), report_time(e, (double)s->max_us));
	fprintf(stderr, "  connections %s", report_count(a, (double)s->connections));
	if (so_far->has_server && isfinite(s->server_cpu))
		fprintf(stderr, "  server %.0f %% CPU, %s", s->server_cpu * 100,
		        report_bytes(b, (double)s->server_bytes));
	if (s->at_us <= so_far->warmup_us)
		fputs("  (warm-up)", stderr);
	print_kinds(so_far, stderr);
	fputc('\n', stderr);
}

/* -- the table -- */

#define REACHED 0.95 /* of the intended messages; less is told */

static const double shown[] = {50, 75, 90, 95, 99, 99.9, 99.99, 100};
#define SHOWN (sizeof(shown) / sizeof(*shown))
#define BAR 40

/* Bars grow with the logarithm: 1 us to the maximum. */
static void print_latency(const char *what, const struct hdr *h, FILE *out)
{
	char a[32], b[32], c[32];
	if (hdr_count(h) == 0)
		return;
	double most = log((double)hdr_max(h) + 1);
	fprintf(out, "\n  %s: mean %s, deviation %s, least %s (bars: logarithmic)\n", what, report_time(a, hdr_mean(h)),
	        report_time(b, hdr_deviation(h)), report_time(c, (double)hdr_min(h)));
	for (size_t i = 0; i < SHOWN; i++) {
		double v = (double)hdr_percentile(h, shown[i]);
		int bar = most > 0 ? (int)(log(v + 1) / most * BAR + 0.5) : 0;
		char name[16];
		snprintf(name, sizeof(name), i + 1 < SHOWN ? "p%g" : "max", shown[i]);
		fprintf(out, "    %-6s %10s  %.*s\n", name, report_time(a, v), bar,
		        "########################################");
	}
}

static void print_errors(const struct load_result *r, FILE *out)
{
	if (result_errors(r) == 0)
		return;
	fputs("\n  errors\n", out);
	for (size_t i = 0; i < LOAD_ERRORS; i++)
		if (r->errors[i])
			fprintf(out, "    %-10s %10llu  first: %s\n", load_error_names[i],
			        (unsigned long long)r->errors[i], *r->first_error[i] ? r->first_error[i] : "-");
}

static void row(FILE *out, const char *name, const char *value)
{
	fprintf(out, "  %-16s %s\n", name, value);
}

static void print_server(const struct load_result *r, FILE *out)
{
	char a[32], b[32], c[32], each[64], text[300];
	uint64_t messages = result_server_messages(r);
	if (!r->has_server)
		return;
	if (messages == result_messages(r))
		snprintf(each, sizeof(each), "message");
	else
		snprintf(each, sizeof(each), "message of all %s (%s)",
		         messages > result_messages(r) ? "targets" : "runs that loaded it",
		         report_count(c, (double)messages));
	snprintf(text, sizeof(text), "%.2f us of CPU a %s, %.0f %% of a core; memory %s at first, %s at most",
	         messages > 0 ? r->server_cpu_us / (double)messages : NAN, each,
	         r->duration_us ? r->server_cpu_us / (double)r->duration_us * 100 : NAN,
	         report_bytes(a, (double)r->server_bytes_first), report_bytes(b, (double)r->server_bytes_most));
	row(out, "server", text);
}

/* Messages that the shape wanted sent after the warm-up; 0: closed loop. */
static double intended(const struct load_result *r)
{
	double sum = 0;
	for (size_t i = 0; i < r->second_count; i++)
		if (r->seconds[i].at_us > r->warmup_us)
			sum += r->seconds[i].intended;
	return sum;
}

static void print_sent(const struct load_result *r, FILE *out)
{
	char a[32], b[32], text[300];
	double seconds = (double)r->duration_us / 1e6, wanted = intended(r);
	int n = snprintf(text, sizeof(text), "%s, %s a second", report_count(a, (double)r->sent),
	                 report_count(b, seconds > 0 ? (double)r->sent / seconds : NAN));
	if ((double)r->sent < REACHED * wanted)
		snprintf(text + n, sizeof(text) - (size_t)n, "; %s were meant to be", report_count(a, wanted));
	row(out, "sent", text);
}

static void print_acknowledged(const struct load_result *r, FILE *out)
{
	char a[32], b[32], c[32], d[32], text[300];
	double seconds = (double)r->duration_us / 1e6, messages = (double)result_messages(r);
	if (r->unconfirmed)
		snprintf(text, sizeof(text), "nothing: this kind of message is not confirmed");
	else
		snprintf(text, sizeof(text), "%s, %s a second; still open %s; sent again %s",
		         report_count(a, (double)r->acknowledged),
		         report_count(b, seconds > 0 ? messages / seconds : NAN),
		         report_count(c, (double)r->unacknowledged), report_count(d, (double)r->resent));
	row(out, "acknowledged", text);
}

static void print_network(const struct load_result *r, FILE *out)
{
	char a[32], b[32], c[32], text[300];
	snprintf(text, sizeof(text), "%s at most; %s made, %s of them again", report_count(a, (double)r->connections),
	         report_count(b, (double)r->connects), report_count(c, (double)r->reconnects));
	row(out, "connections", text);
	snprintf(text, sizeof(text), "%s out, %s in", report_bytes(a, (double)r->bytes_out),
	         report_bytes(b, (double)r->bytes_in));
	row(out, "network", text);
}

static void print_tool(const struct load_result *r, FILE *out)
{
	char text[300];
	double messages = (double)result_messages(r);
	int n = snprintf(text, sizeof(text), "%u threads, the busiest %.0f %% of a core", r->workers,
	                 r->tool_busiest * 100);
	if (messages > 0)
		snprintf(text + n, sizeof(text) - (size_t)n, "; %.2f us of CPU a message", r->tool_cpu_us / messages);
	row(out, "load tester", text);
}

void report_table(const struct load_result *r, FILE *out)
{
	fprintf(out, "\n%s  run %s, ended by %s after %.1f s", r->target, r->run, r->end, (double)r->duration_us / 1e6);
	if (r->warmup_us)
		fprintf(out, " (and %.1f s of warm-up)", (double)r->warmup_us / 1e6);
	fputc('\n', out);
	print_sent(r, out);
	print_acknowledged(r, out);
	print_network(r, out);
	print_server(r, out);
	print_tool(r, out);
	print_latency("from intended send to acknowledgement", r->latency, out);
	if (hdr_count(r->service) && r->late_us > 1000)
		print_latency("from real send to acknowledgement", r->service, out);
	if (hdr_max(r->connect) > 0)
		print_latency("to connect", r->connect, out);
	print_errors(r, out);
	if (*r->warning)
		fprintf(out, "\n  WARNING: %s\n", r->warning);
}

/* -- files -- */

void report_csv(const struct load_result *const *results, size_t count, FILE *out)
{
	fputs("target,seconds,warmup,sent,acknowledged,errors,p50_us,p99_us,max_us,connections,intended,server_cpu,"
	      "server_bytes\n",
	      out);
	for (size_t k = 0; k < count; k++)
		for (size_t i = 0; i < results[k]->second_count; i++) {
			const struct load_second *s = &results[k]->seconds[i];
			fprintf(out, "%s,%.3f,%d,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%.0f,", results[k]->target,
			        (double)s->at_us / 1e6, s->at_us <= results[k]->warmup_us, (unsigned long long)s->sent,
			        (unsigned long long)s->acknowledged, (unsigned long long)s->errors,
			        (unsigned long long)s->p50_us, (unsigned long long)s->p99_us,
			        (unsigned long long)s->max_us, (unsigned long long)s->connections, s->intended);
			if (isfinite(s->server_cpu))
				fprintf(out, "%.3f,%llu", s->server_cpu, (unsigned long long)s->server_bytes);
			else
				fputc(',', out);
			fputc('\n', out);
		}
}

enum gw_err report_hdr(const struct load_result *const *results, size_t count, FILE *out, struct why *why)
{
	double start = count ? (double)results[0]->started_us / 1e6 : 0;
	fprintf(out, "#[Histogram log format version 1.3]\n#[StartTime: %.3f (seconds since epoch)]\n", start);
	fputs("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n", out);
	for (size_t i = 0; i < count; i++) {
		const struct load_result *r = results[i];
		char *text = hdr_encode(r->latency);
		if (!text)
			return why_set(why, GW_NOMEM, "out of memory");
		fprintf(out, "Tag=%s,%.3f,%.3f,%.3f,%s\n", r->protocol,
		        (double)r->started_us / 1e6 - start + (double)r->warmup_us / 1e6, (double)r->duration_us / 1e6,
		        (double)hdr_max(r->latency), text);
		free(text);
	}
	return GW_OK;
}

static enum gw_err write_json(const struct load_result *const *results, size_t count, FILE *out, struct why *why)
{
	enum gw_err err = GW_OK;
	if (count != 1)
		fputs("[\n", out);
	for (size_t i = 0; i < count && !err; i++) {
		if (i)
			fputs(",\n", out);
		err = result_write(results[i], out, why);
	}
	if (count != 1)
		fputs("]\n", out);
	return err;
}

FILE *report_people(const char *json)
{
	return json && strcmp(json, "-") == 0 ? stderr : stdout;
}

FILE *report_open(const char *path)
{
	return strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
}

bool report_close(FILE *out)
{
	bool good = fflush(out) == 0 && !ferror(out);
	return (out == stdout || fclose(out) == 0) && good;
}

enum gw_err report_try_file(const char *path, struct why *why)
{
	if (!path || strcmp(path, "-") == 0)
		return GW_OK;
	bool is_new = access(path, F_OK) != 0;
	FILE *file = fopen(path, "a");
	if (!file)
		return why_set(why, GW_IO, "%s: cannot be written: %s", path, strerror(errno));
	fclose(file);
	if (is_new)
		unlink(path);
	return GW_OK;
}

enum gw_err report_try(const struct load_outputs *o, struct why *why)
{
	const char *const paths[] = {o->json, o->html, o->csv, o->hdr};
	enum gw_err err = GW_OK;
	for (size_t i = 0; i < 4 && !err; i++)
		err = report_try_file(paths[i], why);
	return err;
}

enum gw_err report_files(const struct load_outputs *o, const struct load_result *const *results, size_t count,
                         struct why *why)
{
	const char *const paths[] = {o->json, o->html, o->csv, o->hdr};
	for (size_t i = 0; i < 4; i++) {
		if (!paths[i])
			continue;
		FILE *out = report_open(paths[i]);
		if (!out)
			return why_set(why, GW_IO, "%s: %s", paths[i], strerror(errno));
		enum gw_err err = GW_OK;
		if (i == 0)
			err = write_json(results, count, out, why);
		else if (i == 1)
			report_html(results, count, out);
		else if (i == 2)
			report_csv(results, count, out);
		else
			err = report_hdr(results, count, out, why);
		if (!report_close(out) && !err)
			err = why_set(why, GW_IO, "%s: %s", paths[i], strerror(errno));
		if (err)
			return err;
	}
	return GW_OK;
}
