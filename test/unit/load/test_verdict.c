/* The verdict: what is missing, doubled, out of order, foreign, dead - and reading files back in the order of age. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load/readback.h"
#include "load/verdict.h"

static struct ledger *example(void)
{
	struct ledger *l = ledger_new("r", "tcp://x");
	struct ledger_device *a = ledger_device(l, "a", "tcp", -1);
	a->sent = 10;
	for (uint64_t n = 0; n < 9; n++) /* 9 is not acknowledged */
		ledger_ranges_add(&a->acked, n);
	ledger_ranges_add(&a->resent, 4);
	struct ledger_device *b = ledger_device(l, "b", "mqtt", 1);
	b->sent = 3;
	for (uint64_t n = 0; n < 3; n++)
		ledger_ranges_add(&b->acked, n);
	l->complete = true;
	return l;
}

static void arrive(struct verdict *v, const char *run, const char *device, unsigned seq)
{
	char text[200];
	snprintf(text, sizeof(text), "{\"payload\":{\"load\":{\"run\":\"%s\",\"device\":\"%s\",\"seq\":%u}}}", run,
	         device, seq);
	verdict_arrived(v, text, strlen(text));
}

static void all_there_is_well(void **state)
{
	(void)state;
	struct ledger *l = example();
	struct verdict v;
	assert_int_equal(verdict_open(&v, l, true, true), GW_OK);
	for (unsigned n = 0; n < 9; n++)
		arrive(&v, "r", "a", n);
	for (unsigned n = 0; n < 3; n++)
		arrive(&v, "r", "b", n);
	verdict_close(&v);
	assert_int_equal(v.line_count, 2);
	assert_int_equal(v.total.sent, 13);
	assert_int_equal(v.total.acknowledged, 12);
	assert_int_equal(v.total.arrived, 12);
	assert_int_equal(v.total.missing + v.total.twice + v.total.twice_resent + v.total.out_of_order, 0);
	assert_int_equal(v.foreign, 0);
	verdict_free(&v);
	ledger_free(l);
}

static void each_kind_of_fault_is_counted_apart(void **state)
{
	(void)state;
	struct ledger *l = example();
	struct verdict v;
	verdict_open(&v, l, true, true);
	static const unsigned arrived[] = {0, 1, 1, 1, 4, 4, 3, 5, 9, 2}; /* of a: 6, 7, 8 are not there */
	for (size_t i = 0; i < sizeof(arrived) / sizeof(*arrived); i++)
		arrive(&v, "r", "a", arrived[i]);
	arrive(&v, "other", "a", 6);
	arrive(&v, "r\\u0000other", "a", 6);
	arrive(&v, "r", "nobody", 6);
	arrive(&v, "r", "a", 10);
	verdict_arrived(&v, "{\"payload\":{}}", 14);
	verdict_dead(&v, "{\"record\":{\"load\":{\"run\":\"r\",\"device\":\"a\",\"seq\":7}}}", 51);
	verdict_close(&v);
	const struct verdict_line *a = &v.lines[0], *b = &v.lines[1];
	assert_int_equal(a->missing, 2);
	assert_int_equal(a->dead, 1);
	assert_int_equal(a->twice, 1); /* number 1 */
	assert_int_equal(a->twice_resent, 1);
	assert_int_equal(a->out_of_order, 2); /* 3 and 2; 4 was sent again */
	assert_int_equal(a->arrived, 7);
	assert_int_equal(a->unknown, 1);
	assert_int_equal(b->missing, 3);
	assert_int_equal(v.foreign, 4);
	assert_int_equal(v.missing.count, 5);
	assert_string_equal(v.missing.items[0].device, "a");
	assert_int_equal(v.missing.items[0].seq, 6);
	assert_int_equal(v.twice.items[0].seq, 1);
	verdict_free(&v);
	ledger_free(l);
}

static char lines[1000];

static void note_line(void *context, const char *text, size_t len)
{
	(void)context;
	snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%.*s;", (int)len, text);
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
}

static void rotated_files_are_read_before_the_newest_one(void **state)
{
	(void)state;
	char dir[] = "/tmp/sluice-readback-XXXXXX", path[200], command[200];
	struct why why = {{0}};
	assert_non_null(mkdtemp(dir));
	put(dir, "t.ndjson", "5\n6");
	put(dir, "t.ndjson.20261126T120000", "1\n2\n");
	put(dir, "t.ndjson.20261126T120000-000001", "3\n");
	put(dir, "t.ndjson.20261126T120001", "4\n");
	put(dir, "t.ndjson.old", "x\n");
	put(dir, "other.ndjson", "o\n");
	snprintf(path, sizeof(path), "%s/t.ndjson", dir);
	lines[0] = '\0';
	assert_int_equal(readback_file.read(path, note_line, NULL, &why), GW_OK);
	assert_string_equal(lines, "1;2;3;4;5;");
	lines[0] = '\0';
	assert_int_equal(readback_file.read(dir, note_line, NULL, &why), GW_OK);
	assert_string_equal(lines, "o;1;2;3;4;5;");
	assert_int_equal(readback_file.read("/nonexistent/t.ndjson", note_line, NULL, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "/nonexistent/t.ndjson"));
	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_there_is_well),
	    cmocka_unit_test(each_kind_of_fault_is_counted_apart),
	    cmocka_unit_test(rotated_files_are_read_before_the_newest_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
