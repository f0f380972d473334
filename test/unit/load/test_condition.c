/* Conditions: what can be said, what holds, and what is refused with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "load/condition.h"

static bool run_holds(const char *text, const struct load_result *r)
{
	struct condition c;
	struct why why = {{0}};
	double found;
	if (condition_read(&c, text, false, &why))
		fail_msg("%s", why.text);
	return condition_holds(&c, r, &found);
}

static void conditions_hold_as_they_read(void **state)
{
	(void)state;
	struct load_result *r = result_new();
	for (uint64_t i = 1; i <= 1000; i++)
		hdr_record(r->latency, i * 100, 1); /* p99 is 99 ms */
	r->acknowledged = 10000;
	r->duration_us = 2000000;
	r->errors[LOAD_BUSY] = 2;
	assert_true(run_holds("p99>50ms", r));
	assert_true(run_holds("p99 > 0.05 s", r));
	assert_false(run_holds("p99>100ms", r));
	assert_true(run_holds("p50<=50100us", r));
	assert_true(run_holds("max>=100000us", r));
	assert_true(run_holds("rate==5k", r));
	assert_false(run_holds("rate<5000", r));
	assert_true(run_holds("errors>0", r));
	assert_false(run_holds("cpu>0us", r)); /* not known */
	r->has_server = true;
	r->server_cpu_us = 7500;
	r->server_bytes_most = 3 << 20;
	assert_true(run_holds("cpu<0.76us", r));
	assert_true(run_holds("memory>2MiB", r));
	hdr_reset(r->latency);
	assert_false(run_holds("p99>=0us", r)); /* nothing was acknowledged: not known */
	result_free(r);
}

static void verdicts_have_figures_of_their_own(void **state)
{
	(void)state;
	struct condition c;
	struct why why = {{0}};
	struct verdict_line l = {.missing = 1, .twice = 0};
	double found;
	assert_int_equal(condition_read(&c, "missing>0", true, &why), GW_OK);
	assert_true(condition_holds_verdict(&c, &l, &found));
	assert_true(found == 1);
	assert_int_equal(condition_read(&c, "twice>0", true, &why), GW_OK);
	assert_false(condition_holds_verdict(&c, &l, &found));
	assert_int_equal(condition_read(&c, "p99>1s", true, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "there are: missing"));
}

static void nonsense_is_refused_and_told(void **state)
{
	(void)state;
	static const char *const bad[][2] = {
	    {"", "is no figure; there are: p50"},
	    {"p98>1s", "\"p98\" is no figure"},
	    {"p99", "must come <"},
	    {"p99=1s", "must come <"},
	    {"p99>", "is not a time"},
	    {"p99>50", "is not a time"},
	    {"p99>50MiB", "is not a time"},
	    {"rate<10ms", "is not a number"},
	    {"memory>1s", "is not a size"},
	    {"p99>nan ms", "is not a time"},
	    {"errors>1 000", "is not a number"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct condition c;
		struct why why = {{0}};
		assert_int_equal(condition_read(&c, bad[i][0], false, &why), GW_CONFIG);
		if (!strstr(why.text, bad[i][1]))
			fail_msg("%s: %s", bad[i][0], why.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(conditions_hold_as_they_read),
	    cmocka_unit_test(verdicts_have_figures_of_their_own),
	    cmocka_unit_test(nonsense_is_refused_and_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
