/* What a run found out, as JSON and back, and the sum of several; what it is is told in result.h. */
#include "load/result.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#define VERSION 1
#define FILE_MOST (512u << 20) /* bytes of a report that is read */

const char *const load_error_names[LOAD_ERRORS] = {"refused",  "reset", "timeout",  "auth",     "busy",
                                                   "rejected", "tls",   "protocol", "resources"};

/* -- members by name, so that writing and reading cannot disagree; LATER: a count that older reports do not have -- */

enum member_type { COUNT, LATER, SIGNED, REAL, FLAG, TEXT, OWNED, WORKERS };
struct member {
	const char *name;
	enum member_type type;
	size_t at, size;
};
#define MEMBER(kind, member)                                                                                           \
	{                                                                                                              \
#member, kind, offsetof(struct load_result, member), sizeof(((struct load_result *)0)->member)         \
	}

static const struct member members[] = {
    MEMBER(TEXT, run),
    MEMBER(OWNED, command),
    MEMBER(OWNED, target),
    MEMBER(TEXT, protocol),
    MEMBER(TEXT, tool),
    MEMBER(TEXT, host),
    MEMBER(SIGNED, started_us),
    MEMBER(COUNT, duration_us),
    MEMBER(COUNT, warmup_us),
    MEMBER(TEXT, end),
    MEMBER(COUNT, sent),
    MEMBER(COUNT, acknowledged),
    MEMBER(COUNT, unacknowledged),
    MEMBER(COUNT, resent),
    MEMBER(COUNT, unconfirmed),
    MEMBER(COUNT, bytes_out),
    MEMBER(COUNT, bytes_in),
    MEMBER(COUNT, connections),
    MEMBER(COUNT, connects),
    MEMBER(COUNT, reconnects),
    MEMBER(FLAG, has_server),
    MEMBER(REAL, server_cpu_us),
    MEMBER(LATER, server_messages),
    MEMBER(LATER, server_pid),
    MEMBER(COUNT, server_bytes_first),
    MEMBER(COUNT, server_bytes_most),
    MEMBER(WORKERS, workers),
    MEMBER(REAL, tool_cpu_us),
    MEMBER(REAL, tool_busiest),
    MEMBER(COUNT, late_us),
    MEMBER(TEXT, warning),
};
#define MEMBERS (sizeof(members) / sizeof(*members))

static const struct {
	const char *name;
	size_t at;
} histograms[] = {
    {"latency", offsetof(struct load_result, latency)},
    {"service", offsetof(struct load_result, service)},
    {"connect", offsetof(struct load_result, connect)},
};
#define HISTOGRAMS (sizeof(histograms) / sizeof(*histograms))

static struct hdr **histogram_of(const struct load_result *r, size_t i)
{
	return (struct hdr **)(void *)((char *)r + histograms[i].at);
}

struct load_result *result_new(void)
{
	struct load_result *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	bool good = (r->command = strdup("")) && (r->target = strdup(""));
	for (size_t i = 0; i < HISTOGRAMS; i++)
		good = (*histogram_of(r, i) = hdr_new()) && good;
	if (good)
		return r;
	result_free(r);
	return NULL;
}

void result_free(struct load_result *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < HISTOGRAMS; i++)
		hdr_free(*histogram_of(r, i));
	free(r->command);
	free(r->target);
	free(r->seconds);
	free(r);
}

uint64_t result_errors(const struct load_result *r)
{
	uint64_t total = 0;
	for (size_t i = 0; i < LOAD_ERRORS; i++)
		total += r->errors[i];
	return total;
}

uint64_t result_messages(const struct load_result *r)
{
	return r->acknowledged + r->unconfirmed;
}

uint64_t result_server_messages(const struct load_result *r)
{
	return r->server_messages ? r->server_messages : result_messages(r);
}

/* -- writing -- */

static void add_real(cJSON *to, const char *name, double v)
{
	if (isfinite(v))
		cJSON_AddNumberToObject(to, name, v);
	else
		cJSON_AddNullToObject(to, name);
}

static void add_member(cJSON *to, const struct load_result *r, const struct member *m)
{
	const void *at = (const char *)r + m->at;
	switch (m->type) {
	case COUNT:
	case LATER: cJSON_AddNumberToObject(to, m->name, (double)*(const uint64_t *)at); break;
	case SIGNED: cJSON_AddNumberToObject(to, m->name, (double)*(const int64_t *)at); break;
	case WORKERS: cJSON_AddNumberToObject(to, m->name, *(const unsigned *)at); break;
	case REAL: add_real(to, m->name, *(const double *)at); break;
	case FLAG: cJSON_AddBoolToObject(to, m->name, *(const bool *)at); break;
	case TEXT: cJSON_AddStringToObject(to, m->name, at); break;
	case OWNED: cJSON_AddStringToObject(to, m->name, *(char *const *)at); break;
	}
}

static void add_errors(cJSON *to, const struct load_result *r)
{
	cJSON *errors = cJSON_AddObjectToObject(to, "errors"), *first = cJSON_AddObjectToObject(to, "first_errors");
	for (size_t i = 0; i < LOAD_ERRORS; i++) {
		cJSON_AddNumberToObject(errors, load_error_names[i], (double)r->errors[i]);
		if (*r->first_error[i])
			cJSON_AddStringToObject(first, load_error_names[i], r->first_error[i]);
	}
}

static bool add_histogram(cJSON *to, const char *name, const struct hdr *h)
{
	static const double percentiles[] = {50, 90, 99, 99.9, 99.99};
	static const char *const names[] = {"p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us"};
	char *text = hdr_encode(h);
	if (!text)
		return false;
	cJSON *out = cJSON_AddObjectToObject(to, name);
	cJSON_AddNumberToObject(out, "count", (double)hdr_count(h));
	cJSON_AddNumberToObject(out, "min_us", (double)hdr_min(h));
	cJSON_AddNumberToObject(out, "mean_us", round(hdr_mean(h) * 10) / 10);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		cJSON_AddNumberToObject(out, names[i], (double)hdr_percentile(h, percentiles[i]));
	cJSON_AddNumberToObject(out, "max_us", (double)hdr_max(h));
	cJSON_AddStringToObject(out, "hdr", text);
	free(text);
	return true;
}

static void add_seconds(cJSON *to, const struct load_result *r)
{
	cJSON *list = cJSON_AddArrayToObject(to, "seconds");
	for (size_t i = 0; i < r->second_count; i++) {
		const struct load_second *s = &r->seconds[i];
		cJSON *out = cJSON_CreateObject();
		cJSON_AddItemToArray(list, out);
		cJSON_AddNumberToObject(out, "at_us", (double)s->at_us);
		cJSON_AddNumberToObject(out, "sent", (double)s->sent);
		cJSON_AddNumberToObject(out, "acknowledged", (double)s->acknowledged);
		cJSON_AddNumberToObject(out, "errors", (double)s->errors);
		cJSON_AddNumberToObject(out, "p50_us", (double)s->p50_us);
		cJSON_AddNumberToObject(out, "p99_us", (double)s->p99_us);
		cJSON_AddNumberToObject(out, "max_us", (double)s->max_us);
		cJSON_AddNumberToObject(out, "connections", (double)s->connections);
		cJSON_AddNumberToObject(out, "intended", s->intended);
		add_real(out, "server_cpu", s->server_cpu);
		cJSON_AddNumberToObject(out, "server_bytes", (double)s->server_bytes);
	}
}

enum gw_err result_write(const struct load_result *r, FILE *out, struct why *why)
{
	cJSON *json = cJSON_CreateObject();
	bool good = json;
	cJSON_AddNumberToObject(json, "sluice_load_result", VERSION);
	for (size_t i = 0; i < MEMBERS; i++)
		add_member(json, r, &members[i]);
	add_errors(json, r);
	for (size_t i = 0; i < HISTOGRAMS; i++)
		good = add_histogram(json, histograms[i].name, *histogram_of(r, i)) && good;
	add_seconds(json, r);
	char *text = good ? cJSON_Print(json) : NULL;
	cJSON_Delete(json);
	if (!text)
		return why_set(why, GW_NOMEM, "report: out of memory");
	errno = 0;
	bool written = fprintf(out, "%s\n", text) > 0 && fflush(out) == 0;
	free(text);
	return written ? GW_OK : why_set(why, GW_IO, "report: %s", strerror(errno));
}

/* -- reading -- */

static bool take_number(const cJSON *item, double *out)
{
	if (cJSON_IsNull(item))
		*out = NAN;
	else if (cJSON_IsNumber(item))
		*out = item->valuedouble;
	return cJSON_IsNull(item) || cJSON_IsNumber(item);
}

static bool take_count(const cJSON *from, const char *name, uint64_t *out)
{
	double v = 0;
	if (!take_number(cJSON_GetObjectItemCaseSensitive(from, name), &v) || !(v >= 0 && v <= 1e19))
		return false;
	*out = (uint64_t)v;
	return true;
}

static bool take_text(const cJSON *item, void *at, const struct member *m)
{
	if (!cJSON_IsString(item))
		return false;
	if (m->type == TEXT) {
		snprintf(at, m->size, "%s", item->valuestring);
		return true;
	}
	char **owned = at;
	free(*owned);
	return (*owned = strdup(item->valuestring)) != NULL;
}

static bool take_member(const cJSON *from, struct load_result *r, const struct member *m)
{
	void *at = (char *)r + m->at;
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, m->name);
	double v = 0;
	uint64_t count = 0;
	switch (m->type) {
	case LATER:
		if (!item)
			return true;
		/* fallthrough */
	case COUNT: return take_count(from, m->name, at);
	case WORKERS:
		return take_count(from, m->name, &count) && count <= 4096 && (*(unsigned *)at = (unsigned)count, true);
	case SIGNED: return take_number(item, &v) && fabs(v) < 9e18 && (*(int64_t *)at = (int64_t)v, true);
	case REAL: return take_number(item, at);
	case FLAG: *(bool *)at = cJSON_IsTrue(item); return cJSON_IsBool(item);
	case TEXT:
	case OWNED: return take_text(item, at, m);
	}
	return false;
}

static bool take_errors(const cJSON *from, struct load_result *r)
{
	const cJSON *errors = cJSON_GetObjectItemCaseSensitive(from, "errors");
	const cJSON *first = cJSON_GetObjectItemCaseSensitive(from, "first_errors");
	for (size_t i = 0; i < LOAD_ERRORS; i++) {
		if (!take_count(errors, load_error_names[i], &r->errors[i]))
			return false;
		const cJSON *text = cJSON_GetObjectItemCaseSensitive(first, load_error_names[i]);
		if (cJSON_IsString(text))
			snprintf(r->first_error[i], sizeof(r->first_error[i]), "%s", text->valuestring);
	}
	return true;
}

static bool take_histogram(const cJSON *from, const char *name, struct hdr **out)
{
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(from, name), "hdr");
	struct hdr *h = cJSON_IsString(text) ? hdr_decode(text->valuestring, strlen(text->valuestring)) : NULL;
	if (!h)
		return false;
	hdr_free(*out);
	*out = h;
	return true;
}

static bool take_second(const cJSON *item, struct load_second *s)
{
	return take_count(item, "at_us", &s->at_us) && take_count(item, "sent", &s->sent) &&
	       take_count(item, "acknowledged", &s->acknowledged) && take_count(item, "errors", &s->errors) &&
	       take_count(item, "p50_us", &s->p50_us) && take_count(item, "p99_us", &s->p99_us) &&
	       take_count(item, "max_us", &s->max_us) && take_count(item, "connections", &s->connections) &&
	       take_number(cJSON_GetObjectItemCaseSensitive(item, "intended"), &s->intended) &&
	       take_number(cJSON_GetObjectItemCaseSensitive(item, "server_cpu"), &s->server_cpu) &&
	       take_count(item, "server_bytes", &s->server_bytes);
}

static bool take_seconds(const cJSON *from, struct load_result *r)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(from, "seconds"), *item;
	if (!cJSON_IsArray(list))
		return false;
	r->seconds = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*r->seconds));
	if (!r->seconds)
		return false;
	cJSON_ArrayForEach(item, list)
	{
		if (!take_second(item, &r->seconds[r->second_count++]))
			return false;
	}
	return true;
}

static bool take_all(const cJSON *json, struct load_result *r)
{
	for (size_t i = 0; i < MEMBERS; i++)
		if (!take_member(json, r, &members[i]))
			return false;
	for (size_t i = 0; i < HISTOGRAMS; i++)
		if (!take_histogram(json, histograms[i].name, histogram_of(r, i)))
			return false;
	return take_errors(json, r) && take_seconds(json, r);
}

static enum gw_err read_file(const char *path, char **out, size_t *len, struct why *why)
{
	FILE *in = fopen(path, "r");
	if (!in)
		return why_set(why, GW_IO, "report: %s: %s", path, strerror(errno));
	size_t room = 1 << 16, n = 0, got;
	char *text = malloc(room);
	while (text && n < FILE_MOST && (got = fread(text + n, 1, room - n, in)) > 0)
		if ((n += got) == room) {
			char *more = realloc(text, room *= 2);
			if (!more)
				free(text);
			text = more;
		}
	bool failed = ferror(in);
	fclose(in);
	if (!text)
		return why_set(why, GW_NOMEM, "report: %s: out of memory", path);
	if (failed) {
		free(text);
		return why_set(why, GW_IO, "report: %s: cannot be read", path);
	}
	*out = text;
	*len = n;
	return GW_OK;
}

enum gw_err result_read(struct load_result **out, const char *path, struct why *why)
{
	char *text = NULL;
	size_t len = 0;
	enum gw_err err = read_file(path, &text, &len, why);
	if (err)
		return err;
	cJSON *json = cJSON_ParseWithLength(text, len);
	free(text);
	struct load_result *r = result_new();
	const cJSON *version = cJSON_GetObjectItemCaseSensitive(json, "sluice_load_result");
	if (!r)
		err = why_set(why, GW_NOMEM, "report: %s: out of memory", path);
	else if (cJSON_IsArray(json))
		err = why_set(
		    why, GW_INVALID,
		    "report: %s: holds a list of %d reports (a run of several targets): give a file with one, as "
		    "of a run with one target",
		    path, cJSON_GetArraySize(json));
	else if (!cJSON_IsNumber(version))
		err = why_set(why, GW_INVALID, "report: %s: not a report of sluice-load (--json)", path);
	else if (version->valueint != VERSION)
		err = why_set(why, GW_INVALID, "report: %s: is of version %d; this program reads %d", path,
		              version->valueint, VERSION);
	else if (!take_all(json, r))
		err = why_set(why, GW_INVALID, "report: %s: is damaged: a value is missing or of another type", path);
	cJSON_Delete(json);
	if (err)
		result_free(r);
	else
		*out = r;
	return err;
}

/* -- several together -- */

static void lay_over(struct load_second *into, const struct load_second *from)
{
	into->sent += from->sent;
	into->errors += from->errors;
	into->connections += from->connections;
	into->intended += from->intended;
	/* Percentiles do not add up: the worse one stands for both. */
	into->p50_us = from->p50_us > into->p50_us ? from->p50_us : into->p50_us;
	into->p99_us = from->p99_us > into->p99_us ? from->p99_us : into->p99_us;
	into->max_us = from->max_us > into->max_us ? from->max_us : into->max_us;
	into->acknowledged += from->acknowledged;
	if (isfinite(from->server_cpu))
		into->server_cpu = isfinite(into->server_cpu) ? into->server_cpu + from->server_cpu : from->server_cpu;
	into->server_bytes += from->server_bytes;
}

static bool merge_seconds(struct load_result *into, const struct load_result *from)
{
	int64_t shift = (from->started_us - into->started_us + 500000) / 1000000;
	shift = shift < 0 ? 0 : shift; /* the earlier one is merged into */
	size_t count = from->second_count + (size_t)shift;
	count = count > into->second_count ? count : into->second_count;
	struct load_second *all = calloc(count + 1, sizeof(*all));
	if (!all)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (i < into->second_count)
			all[i] = into->seconds[i];
		else
			all[i].server_cpu = NAN;
		if (i >= (size_t)shift && i - (size_t)shift < from->second_count)
			lay_over(&all[i], &from->seconds[i - (size_t)shift]);
		if (all[i].at_us == 0)
			all[i].at_us = (i + 1) * UINT64_C(1000000);
	}
	free(into->seconds);
	into->seconds = all;
	into->second_count = count;
	return true;
}

static bool is_loopback(const char *target)
{
	const char *host = strstr(target, "://");
	host = host ? host + 3 : target;
	return !strncmp(host, "127.", 4) || !strncmp(host, "localhost", 9) || !strncmp(host, "[::1]", 5);
}

/* Whether two runs loaded the same server, as far as they tell. */
static bool same_server(const struct load_result *a, const struct load_result *b)
{
	bool same_host = strcmp(a->host, b->host) == 0;
	if (a->server_pid && b->server_pid)
		return same_host && a->server_pid == b->server_pid;
	return strcmp(a->target, b->target) == 0 && (same_host || !is_loopback(a->target));
}

static void forget_server(struct load_result *r)
{
	r->has_server = false;
	r->server_cpu_us = 0;
	r->server_messages = r->server_bytes_first = r->server_bytes_most = 0;
	for (size_t i = 0; i < r->second_count; i++) {
		r->seconds[i].server_cpu = NAN;
		r->seconds[i].server_bytes = 0;
	}
}

/* Whether run i tells what its server used: of several that looked at the same one, that with the most. */
static bool tells(struct load_result *const *results, size_t count, size_t i)
{
	const struct load_result *r = results[i];
	for (size_t k = 0; k < count && r->has_server; k++) {
		const struct load_result *other = results[k];
		if (k != i && other->has_server && same_server(other, r) &&
		    (k < i ? other->server_cpu_us >= r->server_cpu_us : other->server_cpu_us > r->server_cpu_us))
			return false;
	}
	return r->has_server;
}

/* Whether some run looked at the server of run i. */
static bool is_looked_at(struct load_result *const *results, size_t count, size_t i)
{
	for (size_t k = 0; k < count; k++)
		if (results[k]->has_server && same_server(results[k], results[i]))
			return true;
	return false;
}

/* Each server is counted once, and by the messages of the runs that loaded it. Returns their sum; server_messages of a
 * single run may be that already, of several targets. */
static uint64_t count_servers(struct load_result *const *results, size_t count)
{
	bool telling[LOAD_MERGE_MAX];
	uint64_t messages = 0;
	for (size_t i = 0; i < count; i++) {
		telling[i] = tells(results, count, i);
		if (is_looked_at(results, count, i))
			messages += result_server_messages(results[i]);
	}
	for (size_t i = 0; i < count; i++)
		if (!telling[i])
			forget_server(results[i]);
	return messages;
}

static void add_counts(struct load_result *into, const struct load_result *from)
{
	uint64_t *sums[] = {&into->sent,       &into->acknowledged,       &into->unacknowledged,
	                    &into->resent,     &into->unconfirmed,        &into->bytes_out,
	                    &into->bytes_in,   &into->connections,        &into->connects,
	                    &into->reconnects, &into->server_bytes_first, &into->server_bytes_most};
	const uint64_t more[] = {from->sent,       from->acknowledged,       from->unacknowledged,
	                         from->resent,     from->unconfirmed,        from->bytes_out,
	                         from->bytes_in,   from->connections,        from->connects,
	                         from->reconnects, from->server_bytes_first, from->server_bytes_most};
	for (size_t i = 0; i < sizeof(sums) / sizeof(*sums); i++)
		*sums[i] += more[i];
	into->workers += from->workers;
	into->tool_cpu_us += from->tool_cpu_us;
	into->server_cpu_us += from->server_cpu_us;
}

static void merge_errors(struct load_result *into, const struct load_result *from)
{
	for (size_t i = 0; i < LOAD_ERRORS; i++) {
		into->errors[i] += from->errors[i];
		if (!*into->first_error[i])
			snprintf(into->first_error[i], sizeof(into->first_error[i]), "%s", from->first_error[i]);
	}
}

static void merge_names(struct load_result *into, const struct load_result *from)
{
	if (strcmp(into->protocol, from->protocol) != 0)
		snprintf(into->protocol, sizeof(into->protocol), "several");
	if (strcmp(into->host, from->host) != 0)
		snprintf(into->host, sizeof(into->host), "several");
	if (!*into->warning)
		snprintf(into->warning, sizeof(into->warning), "%s", from->warning);
}

static enum gw_err merge_one(struct load_result *into, const struct load_result *from, struct why *why)
{
	if (!merge_seconds(into, from))
		return why_set(why, GW_NOMEM, "merge: out of memory");
	add_counts(into, from);
	merge_errors(into, from);
	for (size_t i = 0; i < HISTOGRAMS; i++)
		hdr_add(*histogram_of(into, i), *histogram_of(from, i));
	into->duration_us = from->duration_us > into->duration_us ? from->duration_us : into->duration_us;
	into->warmup_us = from->warmup_us > into->warmup_us ? from->warmup_us : into->warmup_us;
	into->late_us = from->late_us > into->late_us ? from->late_us : into->late_us;
	into->tool_busiest = from->tool_busiest > into->tool_busiest ? from->tool_busiest : into->tool_busiest;
	into->has_server = into->has_server || from->has_server;
	merge_names(into, from);
	return GW_OK;
}

enum gw_err result_merge(struct load_result *const *results, size_t count, struct why *why)
{
	uint64_t messages = count_servers(results, count);
	for (size_t i = 1; i < count; i++)
		if (merge_one(results[0], results[i], why))
			return GW_NOMEM;
	results[0]->server_messages = messages;
	results[0]->server_pid = 0; /* there may be several */
	return GW_OK;
}
