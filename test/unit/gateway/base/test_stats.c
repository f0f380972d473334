/* The metrics page: well formed by Prometheus' text format, the right sums, and described in the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/stats.h"

static struct listener_stats threads[2];
static struct journal_stats journal;
static struct sink_stats sinks[2];

/* The page with numbers in it; free it. */
static char *page_make(void)
{
	static const struct listener_stats *const both[] = {&threads[0], &threads[1]};
	static const struct stats_listener listeners[] = {
	    {.name = "mqtt", .protocol = "mqtt", .threads = both, .thread_count = 2, .lane_bytes = 7, .lane_limit = 70},
	    {.name = "other", .protocol = "tcp", .threads = both, .thread_count = 1}};
	static const struct stats_sink named[] = {{.name = "k", .type = "kafka", .stats = &sinks[0]},
	                                          {.name = "f", .type = "file", .stats = &sinks[1]}};
	const struct stats_page page = {.listeners = listeners,
	                                .listener_count = 2,
	                                .sinks = named,
	                                .sink_count = 2,
	                                .journal = &journal,
	                                .build = "version=\"1\"",
	                                .start_us = 1500000};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	stats_write(&page, out);
	fclose(out);
	return text;
}

static bool has(const char *text, const char *line)
{
	size_t len = strlen(line);
	for (const char *at = text; (at = strstr(at, line)); at++)
		if ((at == text || at[-1] == '\n') && at[len] == '\n')
			return true;
	return false;
}

static void numbers_of_all_threads_are_added_up(void **unused)
{
	(void)unused;
	memset(threads, 0, sizeof(threads));
	stat_add(&threads[0].received, 5);
	stat_add(&threads[1].received, 7);
	stat_add(&threads[0].received, 1);
	stat_add(&threads[1].refused[REFUSED_FULL], 3);
	stat_add(&threads[0].not_json[JSON_FAULT_ENCODING], 2);
	stat_set(&threads[0].connections, 10);
	stat_sub(&threads[0].connections, 4);
	stat_set(&journal.last_sequence, 99);
	stat_add_shared(&journal.lost_sequences, 2);
	stat_add(&sinks[1].delivered, 11);
	char *text = page_make();
	assert_true(has(text, "sluice_messages_received_total{listener=\"mqtt\",protocol=\"mqtt\"} 13"));
	assert_true(has(text, "sluice_messages_received_total{listener=\"other\",protocol=\"tcp\"} 6"));
	assert_true(has(text, "sluice_messages_refused_total{listener=\"mqtt\",protocol=\"mqtt\",reason=\"full\"} 3"));
	assert_true(
	    has(text, "sluice_messages_not_json_total{listener=\"mqtt\",protocol=\"mqtt\",reason=\"encoding\"} 2"));
	assert_true(has(text, "sluice_connections{listener=\"mqtt\",protocol=\"mqtt\"} 6"));
	assert_true(has(text, "sluice_lane_bytes{listener=\"mqtt\",protocol=\"mqtt\"} 7"));
	assert_true(has(text, "sluice_lane_limit_bytes{listener=\"mqtt\",protocol=\"mqtt\"} 70"));
	assert_true(has(text, "sluice_journal_last_sequence 99"));
	assert_true(has(text, "sluice_journal_lost_records_total 2"));
	assert_true(has(text, "sluice_sink_records_total{sink=\"f\",type=\"file\"} 11"));
	assert_true(has(text, "sluice_sink_records_total{sink=\"k\",type=\"kafka\"} 0"));
	assert_true(has(text, "sluice_build_info{version=\"1\"} 1"));
	assert_true(has(text, "process_start_time_seconds 1.5"));
	free(text);
}

static void a_histogram_is_cumulative_and_its_bounds_are_inclusive(void **unused)
{
	(void)unused;
	memset(threads, 0, sizeof(threads));
	static const uint64_t us[] = {0, 1, 250, 251, 500, 501, 32768000, 32768001, 999999999};
	for (size_t i = 0; i < sizeof(us) / sizeof(us[0]); i++)
		stats_histogram_add(&threads[0].ack, us[i], 1);
	stats_histogram_add(&threads[1].ack, 400, 10);
	char *text = page_make();
#define ACK "sluice_ack_duration_seconds_"
#define MQTT "{listener=\"mqtt\",protocol=\"mqtt\""
	assert_true(has(text, ACK "bucket" MQTT ",le=\"0.00025\"} 3"));
	assert_true(has(text, ACK "bucket" MQTT ",le=\"0.0005\"} 15"));
	assert_true(has(text, ACK "bucket" MQTT ",le=\"0.001\"} 16"));
	assert_true(has(text, ACK "bucket" MQTT ",le=\"32.768\"} 17"));
	assert_true(has(text, ACK "bucket" MQTT ",le=\"+Inf\"} 19"));
	assert_true(has(text, ACK "count" MQTT "} 19"));
	assert_true(has(text, ACK "sum" MQTT "} 1065.541503"));
	free(text);
}

static void the_age_of_the_oldest_record_is_that_of_the_slowest_sink(void **unused)
{
	(void)unused;
	stat_set(&sinks[0].lag_since_us, (uint64_t)clock_wall_us() - 5000000);
	stat_set(&sinks[1].lag_since_us, 0);
	char *text = page_make();
	const char *at = strstr(text, "\nsluice_journal_oldest_record_age_seconds ");
	assert_non_null(at);
	double age = strtod(strchr(at, ' '), NULL);
	assert_true(age >= 5 && age < 60);
	assert_true(has(text, "sluice_sink_lag_seconds{sink=\"f\",type=\"file\"} 0.000"));
	stat_set(&sinks[0].lag_since_us, UINT64_MAX / 2); /* the clock was set back */
	free(text);
	text = page_make();
	assert_true(has(text, "sluice_journal_oldest_record_age_seconds 0.000"));
	stat_set(&sinks[0].lag_since_us, 0);
	free(text);
}

/* Every sample stands under the HELP and TYPE of its name, which come once; names and values are well formed. */
static void the_page_is_well_formed(void **unused)
{
	(void)unused;
	char *text = page_make(), name[100] = "", kind[20] = "", seen[200][100];
	size_t count = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (strncmp(line, "# HELP ", 7) == 0) {
			assert_int_equal(sscanf(line, "# HELP %99s %*s", name), 1);
			for (size_t i = 0; i < count; i++)
				assert_string_not_equal(seen[i], name);
			assert_true(count < 200);
			strcpy(seen[count++], name);
			continue;
		}
		if (line[0] == '#') {
			char typed[100];
			assert_int_equal(sscanf(line, "# TYPE %99s %19s", typed, kind), 2);
			assert_string_equal(typed, name);
			size_t len = strlen(name);
			bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
			assert_int_equal(total, strcmp(kind, "counter") == 0);
			continue;
		}
		size_t len = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
		assert_memory_equal(line, name, strlen(name));
		if (strcmp(kind, "histogram") != 0)
			assert_int_equal(len, strlen(name));
		const char *space = strrchr(line, ' ');
		assert_non_null(space);
		char *end;
		strtod(space + 1, &end);
		assert_true(end > space + 1 && *end == '\0');
	}
	assert_true(count > 40);
	free(text);
}

static void the_reference_names_every_metric(void **unused)
{
	(void)unused;
	char *reference = NULL, *text = page_make();
	size_t len = 0;
	FILE *out = open_memstream(&reference, &len);
	stats_reference(out);
	fclose(out);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char name[100], quoted[110];
		if (sscanf(line, "# HELP %99s", name) != 1)
			continue;
		snprintf(quoted, sizeof(quoted), "`%s`", name);
		if (!strstr(reference, quoted))
			fail_msg("%s is not in the reference", name);
	}
	free(reference);
	free(text);
}

static void every_reason_has_a_name_of_its_own(void **unused)
{
	(void)unused;
	for (int i = 0; i < REFUSED_REASONS; i++) {
		assert_non_null(stats_refusal_names[i]);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(stats_refusal_names[i], stats_refusal_names[k]);
	}
}

static void what_a_pump_has_not_seen_yet_counts_as_lag(void **unused)
{
	(void)unused;
	static struct sink_stats stats;
	const struct stats_sink named = {.name = "k", .type = "kafka", .stats = &stats, .committed = 15};
	static struct journal_stats none;
	const struct stats_page page = {.sinks = &named, .sink_count = 1, .journal = &none, .build = ""};
	stat_set(&stats.lag_records, 2);
	stat_set(&stats.lag_seen, 10);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	stats_write(&page, out);
	fclose(out);
	assert_non_null(strstr(text, "sluice_sink_lag_records{sink=\"k\",type=\"kafka\"} 7\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_a_pump_has_not_seen_yet_counts_as_lag),
	    cmocka_unit_test(numbers_of_all_threads_are_added_up),
	    cmocka_unit_test(a_histogram_is_cumulative_and_its_bounds_are_inclusive),
	    cmocka_unit_test(the_age_of_the_oldest_record_is_that_of_the_slowest_sink),
	    cmocka_unit_test(the_page_is_well_formed),
	    cmocka_unit_test(the_reference_names_every_metric),
	    cmocka_unit_test(every_reason_has_a_name_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
