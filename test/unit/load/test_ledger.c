/* The ledger: ranges, a million devices, there and back on disk, and what is no ledger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load/ledger.h"

static void ranges_hold_what_was_added_and_nothing_else(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 50; seed++) {
		struct ledger_ranges r = {0};
		bool there[300] = {false};
		size_t total = 0;
		srand(seed);
		for (int i = 0; i < 400; i++) {
			unsigned n = i < 200 && seed % 2 ? (unsigned)i : (unsigned)rand() % 300;
			total += !there[n];
			there[n] = true;
			assert_int_equal(ledger_ranges_add(&r, n), GW_OK);
		}
		assert_int_equal(ledger_ranges_total(&r), total);
		for (unsigned n = 0; n < 300; n++)
			assert_int_equal(ledger_ranges_has(&r, n), there[n]);
		for (size_t i = 1; i < r.count; i++)
			assert_true(r.items[i].first > r.items[i - 1].last + 1);
		ledger_ranges_free(&r);
	}
}

static void consecutive_numbers_are_one_range(void **state)
{
	(void)state;
	struct ledger_ranges r = {0};
	for (uint64_t n = 0; n < 100000; n++)
		ledger_ranges_add(&r, n);
	assert_int_equal(r.count, 1);
	ledger_ranges_free(&r);
}

static struct ledger *example(void)
{
	struct ledger *l = ledger_new("r\"1", "tcp://127.0.0.1:5170");
	for (unsigned i = 0; i < 1000; i++) {
		char name[32];
		snprintf(name, sizeof(name), i % 10 ? "device-%u" : "ger\xc3\xa4t \"%u\"", i);
		struct ledger_device *d = ledger_device(l, name, "mqtt", 1);
		d->sent = 100 + i;
		for (unsigned n = 0; n < 100; n += 1 + (i + n) % 3)
			ledger_ranges_add(&d->acked, n);
		ledger_ranges_add(&d->resent, i % 100);
	}
	l->complete = true;
	return l;
}

static void same_ranges(const struct ledger_ranges *a, const struct ledger_ranges *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		assert_int_equal(a->items[i].first, b->items[i].first);
		assert_int_equal(a->items[i].last, b->items[i].last);
	}
}

static void it_is_read_as_it_was_written(void **state)
{
	(void)state;
	char path[] = "/tmp/sluice-ledger-XXXXXX";
	close(mkstemp(path));
	struct why why = {{0}};
	struct ledger *l = example(), *back = NULL;
	assert_int_equal(ledger_write(l, path, &why), GW_OK);
	if (ledger_read(&back, path, &why))
		fail_msg("%s", why.text);
	assert_string_equal(back->run, l->run);
	assert_string_equal(back->target, l->target);
	assert_int_equal(back->started_us, l->started_us);
	assert_true(back->complete);
	assert_int_equal(back->device_count, 1000);
	for (size_t i = 0; i < 1000; i++) {
		const struct ledger_device *a = &l->devices[i], *b = ledger_find(back, a->name, strlen(a->name));
		assert_non_null(b);
		assert_int_equal(a->sent, b->sent);
		assert_int_equal(b->qos, 1);
		assert_string_equal(b->protocol, "mqtt");
		same_ranges(&a->acked, &b->acked);
		same_ranges(&a->resent, &b->resent);
	}
	assert_null(ledger_find(back, "device-", 7));
	assert_null(ledger_find(back, "nobody", 6));
	ledger_free(back);
	ledger_free(l);
	unlink(path);
}

/* A record that is looked through may name its device "a\\u0000...". Each name here meets "a" in one of 64 places, so that some do. */
static void a_name_with_a_zero_in_it_is_not_what_stands_before_the_zero(void **state)
{
	(void)state;
	struct ledger *l = ledger_new("R", "x");
	assert_non_null(ledger_device(l, "a", "mqtt", 1));
	for (uint32_t n = 0; n < 2000; n++) {
		char name[7] = "a";
		memcpy(name + 2, &n, sizeof(n));
		assert_null(ledger_find(l, name, sizeof(name)));
	}
	assert_non_null(ledger_find(l, "a", 1));
	ledger_free(l);
}

static void ledgers_of_one_run_are_laid_together(void **state)
{
	(void)state;
	struct why why = {{0}};
	struct ledger *a = example(), *b = ledger_new(a->run, "mqtt://other"), *c = ledger_new("other", "x");
	struct ledger_device *d = ledger_device(b, "device-1", "mqtt", 1);
	d->sent = 500;
	ledger_ranges_add(&d->acked, 499);
	ledger_device(b, "new", "coap", -1)->sent = 3;
	assert_int_equal(ledger_merge(a, b, &why), GW_OK);
	assert_int_equal(a->device_count, 1001);
	assert_int_equal(ledger_find(a, "device-1", 8)->sent, 500);
	assert_true(ledger_ranges_has(&ledger_find(a, "device-1", 8)->acked, 499));
	assert_false(a->complete);
	assert_int_equal(ledger_merge(a, c, &why), GW_INVALID);
	assert_non_null(strstr(why.text, "other"));
	ledger_free(a);
	ledger_free(b);
	ledger_free(c);
}

static void ranges_of(struct ledger_device *d, const struct ledger_range *ranges, size_t count)
{
	d->acked = (struct ledger_ranges){.items = malloc(count * sizeof(*ranges)), .count = count, .room = count};
	memcpy(d->acked.items, ranges, count * sizeof(*ranges));
}

/* A damaged ledger may claim any range: number by number this would take centuries. */
static void laying_together_takes_as_long_as_there_are_ranges(void **state)
{
	(void)state;
	const uint64_t far = UINT64_C(8999999999999999);
	const struct ledger_range a[] = {{2, 4}, {9, 9}, {100, far - 10}}, b[] = {{0, 0}, {5, 6}, {8, 10}, {50, far}};
	const struct ledger_range sum[] = {{0, 0}, {2, 6}, {8, 10}, {50, far}};
	struct why why = {{0}};
	for (int turned = 0; turned < 2; turned++) {
		struct ledger *x = ledger_new("r", "t"), *y = ledger_new("r", "t");
		ranges_of(ledger_device(x, "d", "tcp", -1), turned ? b : a, turned ? 4 : 3);
		ranges_of(ledger_device(y, "d", "tcp", -1), turned ? a : b, turned ? 3 : 4);
		assert_int_equal(ledger_merge(x, y, &why), GW_OK);
		const struct ledger_ranges *got = &ledger_find(x, "d", 1)->acked;
		assert_int_equal(got->count, 4);
		assert_memory_equal(got->items, sum, sizeof(sum));
		ledger_free(x);
		ledger_free(y);
	}
}

static void what_is_no_ledger_is_refused_with_its_line(void **state)
{
	(void)state;
	static const char head[] = "{\"sluice_load_ledger\":1,\"run\":\"r\",\"target\":\"t\",\"complete\":true}\n";
	static const struct {
		const char *text, *line;
	} bad[] = {
	    {"", "line 1"},
	    {"hello\n", "line 1"},
	    {"{\"sluice_load_ledger\":2,\"run\":\"r\",\"target\":\"t\"}\n", "line 1"},
	    {"HEAD{\"device\":1,\"protocol\":\"tcp\",\"qos\":-1,\"sent\":1,\"acked\":[],\"resent\":[]}\n", "line 2"},
	    {"HEAD{\"device\":\"d\",\"protocol\":\"tcp\",\"qos\":-1,\"sent\":-1,\"acked\":[],\"resent\":[]}\n",
	     "line 2"},
	    {"HEAD{\"device\":\"d\",\"protocol\":\"tcp\",\"qos\":-1,\"sent\":5,\"acked\":[[0,5]],\"resent\":[]}\n",
	     "line 2"},
	    {"HEAD{\"device\":\"d\",\"protocol\":\"tcp\",\"qos\":-1,\"sent\":9,\"acked\":[[3,2]],\"resent\":[]}\n",
	     "line 2"},
	    {"HEAD{\"device\":\"d\",\"protocol\":\"tcp\",\"qos\":-1,\"sent\":9,\"acked\":[[3,4],[4,5]],\"resent\":[]}"
	     "\n",
	     "line 2"},
	    {"HEAD{\"device\":\"d\",\"protocol\":\"tcp\",\"qos\":-1,\"sent\":9,\"acked\":[[3]],\"resent\":[]}\n",
	     "line 2"},
	    {"HEAD{\"device\":\"d\",\"protocol\":\"t\\\"\",\"qos\":-1,\"sent\":9,\"acked\":[],\"resent\":[]}\n",
	     "line 2"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char path[] = "/tmp/sluice-ledger-XXXXXX";
		FILE *f = fdopen(mkstemp(path), "w");
		const char *text = bad[i].text;
		if (strncmp(text, "HEAD", 4) == 0) {
			fputs(head, f);
			text += 4;
		}
		fputs(text, f);
		fclose(f);
		struct ledger *l = NULL;
		struct why why = {{0}};
		assert_int_equal(ledger_read(&l, path, &why), GW_INVALID);
		assert_null(l);
		assert_non_null(strstr(why.text, bad[i].line));
		unlink(path);
	}
	struct ledger *l = NULL;
	struct why why = {{0}};
	assert_int_equal(ledger_read(&l, "/nonexistent/ledger", &why), GW_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ranges_hold_what_was_added_and_nothing_else),
	    cmocka_unit_test(consecutive_numbers_are_one_range),
	    cmocka_unit_test(it_is_read_as_it_was_written),
	    cmocka_unit_test(a_name_with_a_zero_in_it_is_not_what_stands_before_the_zero),
	    cmocka_unit_test(ledgers_of_one_run_are_laid_together),
	    cmocka_unit_test(laying_together_takes_as_long_as_there_are_ranges),
	    cmocka_unit_test(what_is_no_ledger_is_refused_with_its_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
