#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/json.h"
#include "gateway/base/utf8.h"
#include "test/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Text with its length, as some of it holds NUL bytes. */
struct text {
	const char *bytes;
	size_t len;
};
#define TEXT(literal)                                                                                                  \
	{                                                                                                              \
		literal, sizeof(literal) - 1                                                                           \
	}

static void utf8_is_judged_by_its_first_bad_sequence(void **unused)
{
	(void)unused;
	static const struct {
		struct text text;
		size_t good;
	} cases[] = {
	    {TEXT(""), 0},
	    {TEXT("plain\0\x01\x7f"), 8},
	    {TEXT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), 9},
	    {TEXT("\xef\xbf\xbf\xed\x9f\xbf"), 6},
	    {TEXT("ab\x80"), 2},
	    {TEXT("\xc3"), 0},
	    {TEXT("ok\xc3\xa9\xe2\x82"), 4},
	    {TEXT("\xc0\xaf"), 0},
	    {TEXT("\xe0\x80\xaf"), 0},
	    {TEXT("x\xed\xa0\x80"), 1},
	    {TEXT("\xf4\x90\x80\x80"), 0},
	    {TEXT("0123456789abcdef0123456789abcdef\xff"), 32},
	    {TEXT("0123456789abcdef\xc3\xa9"
	          "0123456789abcdef\xf0\x9f\x98"),
	     34},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(utf8_check(guard_copy(cases[i].text.bytes, cases[i].text.len), cases[i].text.len),
		                 cases[i].good);
}

/* An empty payload may come without an address. */
static void nothing_at_no_address_is_harmless(void **unused)
{
	(void)unused;
	assert_int_equal(utf8_check(NULL, 0), 0);
}

static void characters_that_are_not_seen_are_found(void **unused)
{
	(void)unused;
	static const struct text seen[] = {
	    TEXT(""),
	    TEXT("sensor 1"),
	    TEXT("\xc2\xa0\xc3\xa9"),              /* U+00A0, U+00E9 */
	    TEXT("\xd8\x9b\xd8\x9d"),              /* beside U+061C */
	    TEXT("\xe2\x80\x8d\xe2\x80\x90"),      /* beside U+200E and U+200F */
	    TEXT("\xe2\x80\xa9\xe2\x80\xaf"),      /* beside U+202A to U+202E */
	    TEXT("\xe2\x81\xa5\xe2\x81\xaa"),      /* beside U+2066 to U+2069 */
	    TEXT("\xe3\x80\xae\xf0\x9f\x80\xae")}; /* the same tails behind other leads */
	static const struct text unseen[] = {TEXT("\0"),
	                                     TEXT("a\x1f"),
	                                     TEXT("\x7f"),
	                                     TEXT("a\xc2\x80"),
	                                     TEXT("\xc2\x9f"),
	                                     TEXT("x\xd8\x9c"),
	                                     TEXT("\xe2\x80\x8e"),
	                                     TEXT("\xe2\x80\x8f"),
	                                     TEXT("\xe2\x80\xaa"),
	                                     TEXT("\xe2\x80\xae"
	                                          "abc"),
	                                     TEXT("\xe2\x81\xa6"),
	                                     TEXT("\xe2\x81\xa9")};
	for (size_t i = 0; i < COUNT(seen); i++)
		if (utf8_has_control(guard_copy(seen[i].bytes, seen[i].len), seen[i].len))
			fail_msg("seen %zu", i);
	for (size_t i = 0; i < COUNT(unseen); i++)
		if (!utf8_has_control(guard_copy(unseen[i].bytes, unseen[i].len), unseen[i].len))
			fail_msg("unseen %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(utf8_is_judged_by_its_first_bad_sequence),
	    cmocka_unit_test(characters_that_are_not_seen_are_found),
	    cmocka_unit_test(nothing_at_no_address_is_harmless),
	};
	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
