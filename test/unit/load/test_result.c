/* Results: written and read again, several together, and files that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load/result.h"

static struct load_result *example(uint64_t factor)
{
	struct load_result *r = result_new();
	free(r->target);
	r->target = strdup("mqtt://127.0.0.1:1883");
	snprintf(r->run, sizeof(r->run), "run-1");
	snprintf(r->protocol, sizeof(r->protocol), "mqtt");
	snprintf(r->host, sizeof(r->host), "host-%d", (int)factor);
	snprintf(r->first_error[LOAD_RESET], sizeof(r->first_error[0]), "read: \"reset\"\n");
	r->started_us = 1760000000000001;
	r->duration_us = 3000000 * factor;
	r->sent = 1000 * factor;
	r->acknowledged = 990 * factor;
	r->errors[LOAD_RESET] = 3 * factor;
	r->has_server = true;
	r->server_pid = 77;
	r->server_cpu_us = 1234.5;
	r->workers = 2;
	r->tool_busiest = 0.25 * (double)factor;
	for (uint64_t i = 1; i <= 990; i++)
		hdr_record(r->latency, i * factor, 1);
	r->second_count = 3;
	r->seconds = calloc(3, sizeof(*r->seconds));
	for (uint64_t i = 0; i < 3; i++)
		r->seconds[i] = (struct load_second){.at_us = (i + 1) * 1000000,
		                                     .sent = 300 * factor,
		                                     .acknowledged = 290 * factor,
		                                     .p99_us = 100 * factor,
		                                     .connections = 5,
		                                     .server_cpu = i ? 0.5 : NAN};
	return r;
}

static char path[64];

static void write_text(const char *text)
{
	snprintf(path, sizeof(path), "/tmp/sluice-result-XXXXXX");
	FILE *f = fdopen(mkstemp(path), "w");
	fputs(text, f);
	fclose(f);
}

static void it_is_read_as_it_was_written(void **state)
{
	(void)state;
	struct load_result *r = example(1), *back = NULL;
	struct why why = {{0}};
	write_text("");
	FILE *f = fopen(path, "w");
	assert_int_equal(result_write(r, f, &why), GW_OK);
	fclose(f);
	if (result_read(&back, path, &why))
		fail_msg("%s", why.text);
	assert_string_equal(back->target, r->target);
	assert_string_equal(back->run, r->run);
	assert_int_equal(back->started_us, r->started_us);
	assert_int_equal(back->sent, 1000);
	assert_int_equal(back->acknowledged, 990);
	assert_int_equal(back->errors[LOAD_RESET], 3);
	assert_string_equal(back->first_error[LOAD_RESET], r->first_error[LOAD_RESET]);
	assert_true(back->has_server && back->server_cpu_us == 1234.5);
	assert_int_equal(back->workers, 2);
	assert_int_equal(hdr_count(back->latency), 990);
	assert_int_equal(hdr_percentile(back->latency, 99), hdr_percentile(r->latency, 99));
	assert_int_equal(back->second_count, 3);
	assert_int_equal(back->seconds[2].at_us, 3000000);
	assert_true(isnan(back->seconds[0].server_cpu) && back->seconds[1].server_cpu == 0.5);
	result_free(r);
	result_free(back);
	unlink(path);
}

static void runs_of_several_machines_add_up(void **state)
{
	(void)state;
	struct load_result *a = example(1), *b = example(2);
	struct why why = {{0}};
	b->started_us = a->started_us + 2100000; /* two seconds later */
	assert_int_equal(result_merge((struct load_result *[]){a, b}, 2, &why), GW_OK);
	assert_int_equal(a->sent, 3000);
	assert_int_equal(a->errors[LOAD_RESET], 9);
	assert_int_equal(hdr_count(a->latency), 1980);
	assert_int_equal(a->second_count, 5);
	assert_int_equal(a->seconds[1].sent, 300);
	assert_int_equal(a->seconds[2].sent, 900);
	assert_int_equal(a->seconds[2].p99_us, 200);
	assert_int_equal(a->seconds[4].sent, 600);
	assert_int_equal(a->seconds[4].at_us, 5000000);
	assert_string_equal(a->host, "several");
	assert_string_equal(a->protocol, "mqtt");
	result_free(a);
	result_free(b);
}

/* Two runs of 990 and 1980 messages, each with 1234.5 us of its server if it has a pid, merged; what the servers used, and
 * by how many messages that is divided. */
struct looked {
	int pid;
	const char *target, *host;
};

static void expect_servers(struct looked first, struct looked second, double cpu_us, uint64_t messages,
                           double in_second)
{
	struct load_result *all[] = {example(1), example(2)};
	const struct looked looked[] = {first, second};
	struct why why = {{0}};
	for (size_t i = 0; i < 2; i++) {
		free(all[i]->target);
		all[i]->target = strdup(looked[i].target);
		snprintf(all[i]->host, sizeof(all[i]->host), "%s", looked[i].host);
		all[i]->server_pid = (uint64_t)looked[i].pid;
		all[i]->has_server = looked[i].pid != 0;
		all[i]->server_cpu_us = looked[i].pid ? 1234.5 : 0;
		for (size_t k = 0; k < 3 && !looked[i].pid; k++)
			all[i]->seconds[k].server_cpu = NAN;
	}
	assert_int_equal(result_merge(all, 2, &why), GW_OK);
	assert_true(all[0]->has_server);
	assert_true(fabs(all[0]->server_cpu_us - cpu_us) < 0.001);
	assert_int_equal(result_server_messages(all[0]), messages);
	assert_true(fabs(all[0]->seconds[1].server_cpu - in_second) < 0.001);
	result_free(all[0]);
	result_free(all[1]);
}

static void a_server_is_counted_once_and_by_the_messages_it_got(void **state)
{
	(void)state;
	static const char gw[] = "tcp://gw:5170", own[] = "tcp://127.0.0.1:5170", mqtt[] = "mqtt://127.0.0.1:1883";
	/* only one looked at it: the other's messages count if it named the same target */
	expect_servers((struct looked){7, gw, "a"}, (struct looked){0, gw, "b"}, 1234.5, 2970, 0.5);
	expect_servers((struct looked){0, gw, "a"}, (struct looked){7, gw, "b"}, 1234.5, 2970, 0.5);
	expect_servers((struct looked){7, gw, "a"}, (struct looked){0, "tcp://other:5170", "b"}, 1234.5, 990, 0.5);
	expect_servers((struct looked){7, own, "a"}, (struct looked){0, own, "b"}, 1234.5, 990, 0.5);
	/* both looked at the same one, or each at one of its own */
	expect_servers((struct looked){7, own, "a"}, (struct looked){7, mqtt, "a"}, 1234.5, 2970, 0.5);
	expect_servers((struct looked){7, own, "a"}, (struct looked){8, mqtt, "a"}, 2469, 2970, 1);
	expect_servers((struct looked){7, own, "a"}, (struct looked){7, own, "b"}, 2469, 2970, 1);
}

static void what_is_no_report_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *text, *said;
	} bad[] = {
	    {"", "not a report"},
	    {"{}", "not a report"},
	    {"{\"sluice_load_result\":2}", "version 2"},
	    {"{\"sluice_load_result\":1}", "damaged"},
	    {"{\"sluice_load_result\":\"1\"}", "not a report"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct load_result *r = NULL;
		struct why why = {{0}};
		write_text(bad[i].text);
		assert_int_equal(result_read(&r, path, &why), GW_INVALID);
		assert_null(r);
		if (!strstr(why.text, bad[i].said))
			fail_msg("%s", why.text);
		unlink(path);
	}
	struct load_result *r = NULL;
	struct why why = {{0}};
	assert_int_equal(result_read(&r, "/nonexistent", &why), GW_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_is_read_as_it_was_written),
	    cmocka_unit_test(runs_of_several_machines_add_up),
	    cmocka_unit_test(a_server_is_counted_once_and_by_the_messages_it_got),
	    cmocka_unit_test(what_is_no_report_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
