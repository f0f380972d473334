#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/error.h"

static void story_grows_outward(void **state)
{
	(void)state;
	struct why why = {0};
	assert_int_equal(why_set(&why, GW_IO, "short read of %d bytes", 7), GW_IO);
	assert_int_equal(why_add(&why, GW_CONFIG, "segment %d", 3), GW_CONFIG);
	why_add(&why, GW_IO, "journal");
	assert_string_equal(why.text, "journal: segment 3: short read of 7 bytes");
}

static void setting_again_starts_a_new_story(void **state)
{
	(void)state;
	struct why why;
	why_set(&why, GW_IO, "one");
	why_set(&why, GW_IO, "two");
	assert_string_equal(why.text, "two");
}

static void prefix_of_nothing_stands_alone(void **state)
{
	(void)state;
	struct why why = {0};
	why_add(&why, GW_IO, "journal");
	assert_string_equal(why.text, "journal");
}

static void nobody_who_asks_is_no_fault(void **state)
{
	(void)state;
	assert_int_equal(why_set(NULL, GW_FULL, "%s", "x"), GW_FULL);
	assert_int_equal(why_add(NULL, GW_NOMEM, "%s", "x"), GW_NOMEM);
}

static void long_story_is_cut_and_terminated(void **state)
{
	(void)state;
	struct why why;
	char filler[2 * sizeof why.text];
	memset(filler, 'x', sizeof filler - 1);
	filler[sizeof filler - 1] = '\0';

	why_set(&why, GW_IO, "%s", filler);
	assert_int_equal(strlen(why.text), sizeof why.text - 1);
	why_add(&why, GW_IO, "prefix");
	assert_int_equal(strlen(why.text), sizeof why.text - 1);
	assert_memory_equal(why.text, "prefix: xxx", 11);
	why_add(&why, GW_IO, "%s", filler);
	assert_int_equal(strlen(why.text), sizeof why.text - 1);
	assert_null(strchr(why.text, ':'));
}

static void cut_is_exact_at_every_length(void **state)
{
	(void)state;
	for (int len = (int)sizeof(struct why) - 12; len < (int)sizeof(struct why) + 4; len++) {
		struct why why;
		why_set(&why, GW_IO, "%s", "inner");
		why_add(&why, GW_IO, "%*s", len, "p");
		size_t whole = (size_t)len + strlen(": inner");
		size_t most = sizeof why.text - 1;
		assert_int_equal(strlen(why.text), whole < most ? whole : most);
	}
}

static void argument_may_be_the_story_itself(void **state)
{
	(void)state;
	struct why why;
	why_set(&why, GW_IO, "a");
	why_add(&why, GW_IO, "[%s]", why.text);
	assert_string_equal(why.text, "[a]: a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(story_grows_outward),
	    cmocka_unit_test(setting_again_starts_a_new_story),
	    cmocka_unit_test(prefix_of_nothing_stands_alone),
	    cmocka_unit_test(nobody_who_asks_is_no_fault),
	    cmocka_unit_test(long_story_is_cut_and_terminated),
	    cmocka_unit_test(cut_is_exact_at_every_length),
	    cmocka_unit_test(argument_may_be_the_story_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
