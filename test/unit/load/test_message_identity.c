/* The identity of a message, wherever in a record it stands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "load/message_identity.h"
#include "test/unit/guard.h"

static bool find(const char *text, struct message_identity *out)
{
	return message_identity_find(text, strlen(text), out);
}

static void it_is_found_in_any_order_and_layout(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "{\"@timestamp\":\"T\",\"payload\":{\"load\":{\"run\":\"r1\",\"device\":\"d-7\",\"seq\":42},\"t\":1}}",
	    "{\"load\":{\"seq\":42,\"device\":\"d-7\",\"run\":\"r1\"}}",
	    "{ \"load\" : { \"device\" : \"d-7\" ,\n \"seq\" : 42 , \"run\" : \"r1\" } }",
	    "{\"payload\":{\"load\":12,\"a\":{\"load\":{\"run\":\"r1\",\"device\":\"d-7\",\"seq\":42}}}}",
	    "{\"x\":\"\\\"load\\\":{\\\"run\\\":1\",\"load\":{\"run\":\"r1\",\"device\":\"d\\u002d7\",\"seq\":42}}",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct message_identity id;
		assert_true(find(texts[i], &id));
		assert_string_equal(id.run, "r1");
		assert_string_equal(id.device, "d-7");
		assert_int_equal(id.device_len, 3);
		assert_int_equal(id.seq, 42);
	}
}

static void what_is_none_is_not_taken_for_one(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "",
	    "{\"load\":{}}",
	    "{\"load\":{\"run\":\"r\",\"device\":\"d\"}}",
	    "{\"load\":{\"run\":\"r\",\"device\":\"d\",\"seq\":\"1\"}}",
	    "{\"load\":{\"run\":\"r\",\"device\":\"d\",\"seq\":1,\"more\":2}}",
	    "{\"load\":[\"run\"]}",
	    "{\"text\":\"\\\"load\\\":{\\\"run\\\":\\\"r\\\",\\\"device\\\":\\\"d\\\",\\\"seq\\\":1}\"}",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct message_identity id;
		if (find(texts[i], &id))
			fail_msg("%s", texts[i]);
	}
}

static void nothing_behind_the_end_is_read(void **state)
{
	(void)state;
	static const char text[] = "{\"load\":{\"run\":\"r\\\"1\",\"device\":\"d\",\"seq\":1234567}}";
	for (size_t len = 0; len < sizeof(text); len++) {
		struct message_identity id;
		char *copy = guard_copy(text, len);
		bool found = message_identity_find(copy, len, &id);
		assert_int_equal(found, len >= strlen(text) - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_is_found_in_any_order_and_layout),
	    cmocka_unit_test(what_is_none_is_not_taken_for_one),
	    cmocka_unit_test(nothing_behind_the_end_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
