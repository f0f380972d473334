/* What checking a JSON document costs: every version of json_check that this machine can run, with cJSON (parse and
 * delete) and simdjson (DOM parser) beside them. Prints, per shape and contender (see bench_micro.h):
 *
 *	name   validator_us
 *	by     sluice (json_check as the gateway calls it) | sluice scalar, sluice avx2, ... (its versions) | cjson |
 *	       simdjson
 *	shape  telemetry (170 to 190 bytes) | flags (words and short numbers) | nested | numbers (arrays of them) |
 *	       text (escapes and UTF-8) | pretty (10 kB with indentation)
 *	bytes  of a document, in the mean
 *	value  us of CPU time for a document
 *	gb_s   the same as GB/s
 *
 * and what else is done to a document: name json_us, by find_first | find_last (look-ups by json_find) | newline
 * (json_has_newline) | utf8 (utf8_check), shape telemetry.
 *
 * Each shape has many different documents, visited in turn: one document again and again would be learnt by heart by
 * the branch predictor, which is not what a gateway meets. */
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/utf8.h"
#include "test/bench/bench_documents.h"
#include "test/bench/bench_micro.h"

size_t simdjson_padding(void);
int simdjson_parse(const char *text, size_t len);
const char *simdjson_kernel(void);

#define DEPTH 32
#define MOST 1024 /* documents of a shape */

struct shape {
	const char *name;
	size_t count; /* a power of two */
	char *text[MOST];
	size_t len[MOST];
	double mean;
};

/* -- documents -- */

/* A text that grows. */
struct draft {
	char text[32768];
	size_t len;
};

static __attribute__((format(printf, 2, 3))) void add(struct draft *d, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	d->len += (size_t)vsnprintf(d->text + d->len, sizeof(d->text) - d->len, format, args);
	va_end(args);
}

static double decimal(uint32_t below, double scale)
{
	return ((double)bench_random(2 * below) - below) / scale;
}

static void write_telemetry(struct draft *d, uint32_t number)
{
	add(d, "%s", documents[number % DOCUMENTS].text);
}

static void write_flags(struct draft *d, uint32_t number)
{
	static const char *const words[] = {"true", "false", "null"};
	static const char *const names[] = {"door", "alarm", "pump", "valve", "mains", "heater", "fan", "tamper"};
	add(d, "{\"id\":%u", number);
	for (unsigned i = 0; i < 8; i++)
		add(d, ",\"%s\":%s", names[i], words[bench_random(3)]);
	add(d, ",\"level\":%u,\"errors\":[", bench_random(101));
	for (unsigned i = bench_random(4); i > 0; i--)
		add(d, "%u%s", bench_random(1000), i > 1 ? "," : "");
	add(d, "]}");
}

static void write_nested(struct draft *d, uint32_t number)
{
	add(d, "{\"gateway\":{\"id\":\"gw-%u\",\"net\":{\"rssi\":-%u,\"up\":true}},\"sensors\":[", number,
	    bench_random(100));
	for (unsigned i = 1 + bench_random(6); i > 0; i--)
		add(d, "{\"n\":%u,\"v\":{\"t\":%.*f,\"h\":[%u,%u],\"s\":{}}}%s", bench_random(99), (int)bench_random(4),
		    decimal(5000, 100), bench_random(101), bench_random(101), i > 1 ? "," : "");
	add(d, "]}");
}

static void write_numbers(struct draft *d, uint32_t number)
{
	add(d, "{\"device\":\"vibration-%u\",\"rate\":25600,\"samples\":[", number);
	for (unsigned i = 64; i > 0; i--) {
		if (bench_random(8) == 0)
			add(d, "%.3e%s", decimal(100000, 1e9), i > 1 ? "," : "");
		else
			add(d, "%.*f%s", (int)bench_random(6), decimal(100000, 1000), i > 1 ? "," : "");
	}
	add(d, "]}");
}

static void write_text(struct draft *d, uint32_t number)
{
	static const char *const parts[] = {"Temp\\u00e9rature",
	                                    "K\xc3\xbchlung l\xc3\xa4uft",
	                                    "\xe6\xb8\xa9\xe5\xba\xa6\xe8\xad\xa6\xe5\x91\x8a",
	                                    "path C:\\\\logs\\\\new",
	                                    "said \\\"stop\\\"",
	                                    "\xd0\xb4\xd0\xb0\xd1\x82\xd1\x87\xd0\xb8\xd0\xba",
	                                    "line\\nbreak",
	                                    "21,4 \xc2\xb0"
	                                    "C",
	                                    "ok \xf0\x9f\x8c\xa1",
	                                    "plain words between them"};
	add(d, "{\"device\":\"hall-%u\"", number);
	for (unsigned i = 0; i < 6; i++) {
		add(d, ",\"text%u\":\"", i);
		for (unsigned n = 1 + bench_random(3); n > 0; n--)
			add(d, "%s%s", parts[bench_random(10)], n > 1 ? ", " : "");
		add(d, "\"");
	}
	add(d, "}");
}

static void write_pretty(struct draft *d, uint32_t number)
{
	add(d, "{\n  \"batch\": %u,\n  \"readings\": [\n", number);
	for (unsigned i = 40; i > 0; i--)
		add(d,
		    "    {\n      \"device\": \"sensor-%u\",\n      \"ts\": \"2026-11-22T08:%02u:%02u.%06uZ\",\n"
		    "      \"temperature\": %.*f,\n      \"ok\": %s,\n      \"location\": {\n        \"lat\": %.4f,\n"
		    "        \"lon\": %.4f\n      }\n    }%s\n",
		    bench_random(100000), bench_random(60), bench_random(60), bench_random(1000000),
		    (int)bench_random(4), decimal(4000, 100), bench_random(2) ? "true" : "false",
		    decimal(900000, 10000), decimal(1800000, 10000), i > 1 ? "," : "");
	add(d, "  ]\n}\n");
}

_Noreturn static void fail_memory(const char *shape)
{
	fprintf(stderr, "bench_validator: %s: out of memory\n", shape);
	exit(1);
}

static void shape_init(struct shape *s, void (*document_of)(struct draft *d, uint32_t number))
{
	static struct draft d;
	size_t total = 0;
	for (size_t i = 0; i < s->count; i++) {
		d.len = 0;
		document_of(&d, (uint32_t)i);
		s->text[i] = calloc(1, d.len + simdjson_padding());
		if (!s->text[i] || d.len >= sizeof(d.text))
			fail_memory(s->name);
		memcpy(s->text[i], d.text, d.len);
		s->len[i] = d.len;
		total += d.len;
	}
	s->mean = (double)total / (double)s->count;
}

/* -- contenders -- */

static volatile size_t sink; /* keeps the compiler from dropping what is measured */

static void must(bool valid, const char *who)
{
	if (!valid) {
		fprintf(stderr, "bench_validator: %s says that a valid document is none\n", who);
		exit(1);
	}
}

static void by_sluice(void *self, size_t n)
{
	const struct shape *s = self;
	for (size_t i = 0; i < n; i++) {
		size_t at = i & (s->count - 1);
		must(json_check(s->text[at], s->len[at], DEPTH).type != JSON_INVALID, "sluice");
	}
}

struct version {
	struct json_version json;
	const struct shape *shape;
	char name[32];
};

static void by_version(void *self, size_t n)
{
	const struct version *v = self;
	const struct shape *s = v->shape;
	for (size_t i = 0; i < n; i++) {
		size_t at = i & (s->count - 1);
		must(v->json.check(s->text[at], s->len[at], DEPTH).type != JSON_INVALID, v->name);
	}
}

static void by_cjson(void *self, size_t n)
{
	const struct shape *s = self;
	for (size_t i = 0; i < n; i++) {
		size_t at = i & (s->count - 1);
		cJSON *tree = cJSON_ParseWithLength(s->text[at], s->len[at]);
		must(tree != NULL, "cjson");
		cJSON_Delete(tree);
	}
}

static void by_simdjson(void *self, size_t n)
{
	const struct shape *s = self;
	for (size_t i = 0; i < n; i++) {
		size_t at = i & (s->count - 1);
		must(simdjson_parse(s->text[at], s->len[at]), "simdjson");
	}
}

static struct json_pointer device, lon;

static void find_first(void *self, size_t n)
{
	const struct shape *s = self;
	for (size_t i = 0; i < n; i++)
		sink += json_find(s->text[i % s->count], s->len[i % s->count], &device).len;
}

static void find_last(void *self, size_t n)
{
	const struct shape *s = self;
	for (size_t i = 0; i < n; i++)
		sink += json_find(s->text[i % s->count], s->len[i % s->count], &lon).len;
}

static void newline(void *self, size_t n)
{
	const struct shape *s = self;
	for (size_t i = 0; i < n; i++)
		sink += json_has_newline(s->text[i % s->count], s->len[i % s->count]);
}

static void utf8(void *self, size_t n)
{
	const struct shape *s = self;
	for (size_t i = 0; i < n; i++)
		sink += utf8_check(s->text[i % s->count], s->len[i % s->count]);
}

static void print(const char *name, const struct shape *s, struct contender *c)
{
	char labels[128], more[64];
	for (int run = 0; run < MICRO_RUNS; run++)
		c->values[run] *= 1e6;
	qsort(c->values, MICRO_RUNS, sizeof(c->values[0]), compare_doubles);
	snprintf(labels, sizeof(labels), "\"by\":\"%s\",\"shape\":\"%s\",\"bytes\":%.0f,", c->by, s->name, s->mean);
	snprintf(more, sizeof(more), "\"gb_s\":%.4g,", s->mean / c->values[MICRO_RUNS / 2] * 1e-3);
	figure_print(name, labels, c->values, MICRO_RUNS, "us", more);
}

static void measure(struct shape *s, double run_seconds)
{
	struct contender c[3 + JSON_VERSIONS_MAX] = {{.by = "sluice", .work = by_sluice, .self = s},
	                                             {.by = "simdjson", .work = by_simdjson, .self = s},
	                                             {.by = "cjson", .work = by_cjson, .self = s}};
	struct json_version versions[JSON_VERSIONS_MAX];
	struct version v[JSON_VERSIONS_MAX];
	size_t count = 3, more = json_versions(versions);
	for (size_t i = 0; i < more; i++) {
		v[i] = (struct version){.json = versions[i], .shape = s};
		snprintf(v[i].name, sizeof(v[i].name), "sluice %s", versions[i].name);
		c[count++] = (struct contender){.by = v[i].name, .work = by_version, .self = &v[i]};
	}
	contenders_measure(c, count, run_seconds);
	for (size_t i = 0; i < count; i++)
		print("validator_us", s, &c[i]);
}

static void measure_others(struct shape *s, double run_seconds)
{
	struct contender c[] = {{.by = "find_first", .work = find_first, .self = s},
	                        {.by = "find_last", .work = find_last, .self = s},
	                        {.by = "newline", .work = newline, .self = s},
	                        {.by = "utf8", .work = utf8, .self = s}};
	size_t count = sizeof(c) / sizeof(c[0]);
	contenders_measure(c, count, run_seconds);
	for (size_t i = 0; i < count; i++)
		print("json_us", s, &c[i]);
}

int main(void)
{
	static struct shape shapes[] = {
	    {.name = "telemetry", .count = 1024}, {.name = "flags", .count = 1024}, {.name = "nested", .count = 1024},
	    {.name = "numbers", .count = 256},    {.name = "text", .count = 1024},  {.name = "pretty", .count = 64},
	};
	static void (*const writers[])(struct draft * d, uint32_t number) = {
	    write_telemetry, write_flags, write_nested, write_numbers, write_text, write_pretty,
	};
	documents_init();
	if (!json_pointer_init(&device, "/device") || !json_pointer_init(&lon, "/location/lon"))
		return 1;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		shape_init(&shapes[i], writers[i]);
		measure(&shapes[i], 0.05);
	}
	measure_others(&shapes[0], 0.05);
	fprintf(stderr, "simdjson: %s\n", simdjson_kernel());
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		for (size_t n = 0; n < shapes[i].count; n++)
			free(shapes[i].text[n]);
	json_pointer_fini(&device);
	json_pointer_fini(&lon);
	return 0;
}
