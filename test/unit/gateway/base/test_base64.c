#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/base64.h"
#include "gateway/base/json.h"
#include "test/unit/guard.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* RFC 4648 section 10. */
static void vectors_of_rfc_4648_come_out(void **unused)
{
	(void)unused;
	static const char *const cases[][2] = {{"", ""},
	                                       {"f", "Zg=="},
	                                       {"fo", "Zm8="},
	                                       {"foo", "Zm9v"},
	                                       {"foob", "Zm9vYg=="},
	                                       {"fooba", "Zm9vYmE="},
	                                       {"foobar", "Zm9vYmFy"},
	                                       {"\xfb\xff\xfe", "+//+"}};
	char out[16];
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t len = strlen(cases[i][0]);
		size_t n = base64_encode(out, guard_copy(cases[i][0], len), len);
		assert_int_equal(n, 4 * ((len + 2) / 3));
		assert_int_equal(n, strlen(cases[i][1]));
		assert_memory_equal(out, cases[i][1], n);
	}
}

/* An empty payload may come without an address. */
static void nothing_at_no_address_is_harmless(void **unused)
{
	(void)unused;
	char out[1];
	assert_int_equal(base64_encode(out, NULL, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vectors_of_rfc_4648_come_out),
	    cmocka_unit_test(nothing_at_no_address_is_harmless),
	};
	return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
