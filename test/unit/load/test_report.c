/* Reports: numbers as people read them, the table, and the files; how the page looks is seen in a browser
 * (test/system/test_load_report.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load/report.h"
#include "load/server.h"

static void numbers_are_written_for_people(void **state)
{
	(void)state;
	char out[32];
	assert_string_equal(report_count(out, 0), "0");
	assert_string_equal(report_count(out, 999), "999");
	assert_string_equal(report_count(out, 1234567), "1,234,567");
	assert_string_equal(report_count(out, NAN), "-");
	assert_string_equal(report_time(out, 7), "7 us");
	assert_string_equal(report_time(out, 1234), "1.23 ms");
	assert_string_equal(report_time(out, 56789), "56.8 ms");
	assert_string_equal(report_time(out, 3600e6), "3600 s");
	assert_string_equal(report_bytes(out, 512), "512 B");
	assert_string_equal(report_bytes(out, 12.5 * 1048576), "12.5 MiB");
}

static struct load_result *example(void)
{
	struct load_result *r = result_new();
	free(r->target);
	r->target = strdup("tcp://127.0.0.1:5170");
	snprintf(r->protocol, sizeof(r->protocol), "tcp");
	snprintf(r->end, sizeof(r->end), "count");
	snprintf(r->first_error[LOAD_RESET], 200, "</script><b>reset & \"more\"");
	snprintf(r->warning, sizeof(r->warning), "the load tester was the limit: ...");
	r->duration_us = 5000000;
	r->warmup_us = 1000000;
	r->sent = 50000;
	r->acknowledged = 49990;
	r->errors[LOAD_RESET] = 10;
	r->has_server = true;
	r->server_cpu_us = 25000;
	for (uint64_t i = 0; i < 49990; i++)
		hdr_record(r->latency, 100 + i % 1000, 1);
	r->second_count = 6;
	r->seconds = calloc(6, sizeof(*r->seconds));
	for (uint64_t i = 0; i < 6; i++)
		r->seconds[i] = (struct load_second){.at_us = (i + 1) * 1000000,
		                                     .sent = 10000,
		                                     .acknowledged = 9998,
		                                     .p50_us = 500,
		                                     .p99_us = 1090,
		                                     .max_us = 1099,
		                                     .server_cpu = i ? 0.005 : NAN,
		                                     .server_bytes = 10 << 20};
	return r;
}

static char *text_of(void (*write)(FILE *out, const struct load_result *r), const struct load_result *r)
{
	char *text = NULL, *copy;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	write(out, r);
	fclose(out);
	copy = strdup(text); /* the compiler takes what open_memstream keeps for a pointer into this frame */
	free(text);
	return copy;
}

static void write_table(FILE *out, const struct load_result *r)
{
	report_table(r, out);
}

static void write_csv(FILE *out, const struct load_result *r)
{
	report_csv(&r, 1, out);
}

static void write_html(FILE *out, const struct load_result *r)
{
	report_html(&r, 1, out);
}

static void write_hdr(FILE *out, const struct load_result *r)
{
	struct why why;
	assert_int_equal(report_hdr(&r, 1, out, &why), GW_OK);
}

static void expect(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("not in it: %s\n%s", part, text);
}

static void table_tells_what_matters(void **state)
{
	(void)state;
	struct load_result *r = example();
	char *text = text_of(write_table, r);
	expect(text, "49,990, 9,998 a second");
	expect(text, "0.50 us of CPU a message");
	expect(text, "p99       1.09 ms  ####");
	expect(text, "reset              10  first: </script>");
	expect(text, "WARNING: the load tester was the limit");
	free(text);
	r->server_messages = 99980; /* of another target, too */
	text = text_of(write_table, r);
	expect(text, "0.25 us of CPU a message of all targets (99,980), 0 % of a core");
	free(text);
	r->server_messages = 25000; /* of one of several runs */
	text = text_of(write_table, r);
	expect(text, "1.00 us of CPU a message of all runs that loaded it (25,000)");
	free(text);
	result_free(r);
	r = result_new(); /* nothing at all happened */
	text = text_of(write_table, r);
	expect(text, "sent             0");
	assert_null(strstr(text, "p99"));
	free(text);
	result_free(r);
}

static void files_hold_every_second_and_every_latency(void **state)
{
	(void)state;
	struct load_result *r = example();
	char *text = text_of(write_csv, r);
	expect(text, "tcp://127.0.0.1:5170,1.000,1,10000,9998,0,500,1090,1099,0,0,,\n");
	expect(text, "tcp://127.0.0.1:5170,6.000,0,10000,9998,0,500,1090,1099,0,0,0.005,10485760\n");
	free(text);
	text = text_of(write_hdr, r);
	expect(text, "#[Histogram log format version 1.3]\n");
	const char *encoded = strrchr(text, ',') + 1;
	struct hdr *h = hdr_decode(encoded, strcspn(encoded, "\n"));
	assert_non_null(h);
	assert_int_equal(hdr_count(h), 49990);
	hdr_free(h);
	free(text);
	result_free(r);
}

static void page_holds_its_data_and_no_text_ends_its_script(void **state)
{
	(void)state;
	struct load_result *r = example();
	char *text = text_of(write_html, r);
	expect(text, "const results =\n[{");
	expect(text, "\"percentiles\":[[");
	expect(text, "\\u003c/script>\\u003cb>reset");
	const char *end = strstr(text, "</script>");
	assert_null(strstr(end + 1, "</script>"));
	assert_null(strstr(text, "http://www.w3.org/TR"));
	free(text);
	result_free(r);
}

static void use_of_a_process_is_read(void **state)
{
	(void)state;
	struct server_use a, b;
	struct why why = {{0}};
	assert_int_equal(server_read(getpid(), &a, &why), GW_OK);
	assert_true(a.bytes > 100000);
	do { /* a clock tick of work */
		for (volatile int i = 0; i < 1000000; i++)
			;
		assert_int_equal(server_read(getpid(), &b, &why), GW_OK);
	} while (b.cpu_us <= a.cpu_us);
	assert_int_equal(server_read(0x7fffffff, &a, &why), GW_IO);
	expect(why.text, "no such process");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers_are_written_for_people),
	    cmocka_unit_test(table_tells_what_matters),
	    cmocka_unit_test(files_hold_every_second_and_every_latency),
	    cmocka_unit_test(page_holds_its_data_and_no_text_ends_its_script),
	    cmocka_unit_test(use_of_a_process_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
