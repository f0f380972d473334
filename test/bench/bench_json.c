/* What checking and looking into one telemetry document costs, with cJSON beside it, and how fast CRC-32C is. Prints a
 * table; each figure is the median of 5 runs of at least 0.2 s.
 *
 * "one document" repeats the same bytes, which the processor's branch predictor learns by heart; "mixed" goes through
 * 1024 documents with different names, digits and lengths, which is what a gateway meets. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/crc32c.h"
#include "gateway/json.h"

#define RUNS 5
#define RUN_SECONDS 0.2
#define MIXED 1024

static const char doc_180[] =
    "{\"device\":\"sensor-0042\",\"ts\":\"2026-11-22T08:37:00.123456Z\",\"temperature\":21.40,"
    "\"humidity\":55.2,\"battery\":3.71,\"seq\":12345678,\"status\":\"ok\","
    "\"location\":{\"lat\":48.1371,\"lon\":11.5754}}";
static const char doc_pretty[] = "{\n  \"device\": \"sensor-0042\",\n  \"ts\": \"2026-11-22T08:37:00.123456Z\",\n"
                                 "  \"temperature\": 21.40,\n  \"humidity\": 55.2,\n  \"battery\": 3.71,\n"
                                 "  \"seq\": 12345678,\n  \"status\": \"ok\",\n"
                                 "  \"location\": {\n    \"lat\": 48.1371,\n    \"lon\": 11.5754\n  }\n}";
_Static_assert(sizeof(doc_180) - 1 == 180, "the figure in docs/benchmarks.md is for this size");

static char mixed[MIXED][320];
static size_t mixed_len[MIXED];
static unsigned char block[64 * 1024];
static struct json_pointer device, lon;
static volatile size_t sink; /* keeps the compiler from dropping what is measured */

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void mixed_init(void)
{
	static const char *const states[] = {"ok", "low battery", "calibrating", "fault"};
	srand(1);
	for (int i = 0; i < MIXED; i++) {
		int n =
		    snprintf(mixed[i], sizeof(mixed[i]),
		             "{\"device\":\"sensor-%d\",\"ts\":\"2026-11-22T08:%02d:%02d.%06dZ\",\"temperature\":%.*f,"
		             "\"humidity\":%.1f,\"battery\":%.2f,\"seq\":%d,\"status\":\"%s\",\"location\":{\"lat\":%.*"
		             "f,\"lon\":%.4f}}",
		             rand() % 100000, rand() % 60, rand() % 60, rand() % 1000000, rand() % 4,
		             (rand() % 8000) / 100.0 - 20, (rand() % 1000) / 10.0, (rand() % 420) / 100.0,
		             rand() % 10000000, states[rand() % 4], rand() % 6, (rand() % 1800000) / 10000.0 - 90,
		             (rand() % 3600000) / 10000.0 - 180);
		mixed_len[i] = (size_t)n;
	}
}

static void check_one(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += json_check(doc_180, sizeof(doc_180) - 1, 32).end;
}

static void check_mixed(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += json_check(mixed[i % MIXED], mixed_len[i % MIXED], 32).end;
}

static void check_pretty(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += json_check(doc_pretty, sizeof(doc_pretty) - 1, 32).end;
}

static void newline_one(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += json_has_newline(doc_180, sizeof(doc_180) - 1);
}

static void find_device(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += json_find(mixed[i % MIXED], mixed_len[i % MIXED], &device).len;
}

static void find_lon(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += json_find(mixed[i % MIXED], mixed_len[i % MIXED], &lon).len;
}

static void utf8_one(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += utf8_check(doc_180, sizeof(doc_180) - 1);
}

static void cjson_parse(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		cJSON *tree = cJSON_ParseWithLength(doc_180, sizeof(doc_180) - 1);
		sink += tree != NULL;
		cJSON_Delete(tree);
	}
}

static void cjson_parse_mixed(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		cJSON *tree = cJSON_ParseWithLength(mixed[i % MIXED], mixed_len[i % MIXED]);
		sink += tree != NULL;
		cJSON_Delete(tree);
	}
}

static void crc_block(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += crc32c(0, block, sizeof(block));
}

static void crc_4k(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += crc32c(0, block, 4096);
}

static void crc_portable(size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink += crc32c_portable(0, block, sizeof(block));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Seconds per call. */
static double measure(void (*work)(size_t n))
{
	double each[RUNS];
	size_t n = 16;
	for (int run = 0; run < RUNS;) {
		double start = now();
		work(n);
		double took = now() - start;
		if (took < RUN_SECONDS)
			n = took < RUN_SECONDS / 16 ? n * 8 : n * 2;
		else
			each[run++] = took / (double)n;
	}
	qsort(each, RUNS, sizeof(each[0]), compare);
	return each[RUNS / 2];
}

struct row {
	const char *name;
	void (*work)(size_t n);
	size_t bytes; /* 0: of the mixed documents */
};

static const struct row rows[] = {
    {"json_check, one document", check_one, sizeof(doc_180) - 1},
    {"json_check, mixed documents", check_mixed, 0},
    {"json_check, with line breaks", check_pretty, sizeof(doc_pretty) - 1},
    {"json_has_newline", newline_one, sizeof(doc_180) - 1},
    {"json_find /device, mixed", find_device, 0},
    {"json_find /location/lon, mixed", find_lon, 0},
    {"utf8_check", utf8_one, sizeof(doc_180) - 1},
    {"cJSON parse and delete, one", cjson_parse, sizeof(doc_180) - 1},
    {"cJSON parse and delete, mixed", cjson_parse_mixed, 0},
    {"crc32c, 64 KiB", crc_block, sizeof(block)},
    {"crc32c, 4 KiB", crc_4k, 4096},
    {"crc32c_portable, 64 KiB", crc_portable, sizeof(block)},
};

int main(void)
{
	size_t total = 0;
	mixed_init();
	for (int i = 0; i < MIXED; i++)
		total += mixed_len[i];
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (unsigned char)(i * 2654435761u >> 11);
	if (!json_pointer_init(&device, "/device") || !json_pointer_init(&lon, "/location/lon"))
		return 1;
	printf("%-32s %8s %10s %8s\n", "", "bytes", "ns", "GB/s");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double size = rows[i].bytes ? (double)rows[i].bytes : (double)total / MIXED;
		double seconds = measure(rows[i].work);
		printf("%-32s %8.0f %10.1f %8.2f\n", rows[i].name, size, seconds * 1e9, size / seconds * 1e-9);
		fflush(stdout);
	}
	json_pointer_fini(&device);
	json_pointer_fini(&lon);
	return 0;
}
