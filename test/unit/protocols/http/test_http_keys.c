/* Idempotency keys: one request per key and window, bounded, and back from the journal's bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/http/http_keys.h"
#include "test/unit/fake_intake.c"

#define KEY(text) ((struct http_text){(text), sizeof(text) - 1})
#define CLAIM(text, digest, now_us, expires_us) (&(struct http_key_claim){KEY(text), digest, now_us, expires_us})

static void a_key_is_busy_then_known_then_free_again(void **unused)
{
	(void)unused;
	struct http_keys t = {0};
	struct http_outcome o = {.digest = 7, .batch = true, .accepted = 2, .rejected = 1, .report = "\"a\":1"}, got;
	struct intake *in = fake_intake_new();
	size_t dropped;
	assert_int_equal(http_keys_open(&t, 10), GW_OK);
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 7, 100, 200), &got, &dropped), KEY_NEW);
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 7, 100, 200), &got, &dropped), KEY_BUSY);
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 8, 100, 200), &got, &dropped), KEY_OTHER);
	http_keys_finish(&t, KEY("k"), &o, in, 50);
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 7, 100, 200), &got, &dropped), KEY_BUSY);
	fake_settle(in, 50);
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 7, 199, 200), &got, &dropped), KEY_KNOWN);
	assert_true(got.batch && got.accepted == 2 && got.rejected == 1);
	assert_string_equal(got.report, "\"a\":1");
	free((char *)(uintptr_t)got.report);
	http_keys_drop(&t, KEY("k")); /* not of a request that was taken */
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 8, 199, 200), &got, &dropped), KEY_OTHER);
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 8, 200, 300), &got, &dropped), KEY_NEW);
	http_keys_drop(&t, KEY("k"));
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 9, 200, 300), &got, &dropped), KEY_NEW);
	http_keys_close(&t);
	fake_intake_free(in);
}

static void the_oldest_makes_room(void **unused)
{
	(void)unused;
	struct http_keys t = {0};
	struct http_outcome got;
	size_t dropped, sum = 0;
	assert_int_equal(http_keys_open(&t, 3), GW_OK);
	char name[] = "k0";
	for (int i = 0; i < 5; i++, name[1]++) {
		assert_int_equal(http_keys_claim(&t, CLAIM(name, 1, 0, 10), &got, &dropped), KEY_NEW);
		sum += dropped;
	}
	assert_int_equal(sum, 2);
	assert_int_equal(http_keys_claim(&t, CLAIM("k4", 1, 0, 10), &got, &dropped), KEY_BUSY);
	http_keys_close(&t);
}

static void what_the_journal_kept_is_known(void **unused)
{
	(void)unused;
	struct http_keys t = {0};
	uint8_t value[HTTP_KEY_VALUE + HTTP_KEY_REPORT];
	struct http_outcome o = {.digest = 7, .accepted = 70000, .report = "\"r\":[]"}, got;
	size_t dropped;
	memcpy(o.id, "01KC0000000000000000000042", RECORD_ID_LEN);
	struct state_change c = {
	    .op = STATE_SET, .group = {"k", 1}, .value = {value, http_keys_value(&o, value)}, .expires_us = 500};
	assert_int_equal(http_keys_open(&t, 3), GW_OK);
	http_keys_restore(&t, &c, 100);
	assert_int_equal(http_keys_claim(&t, CLAIM("k", 7, 100, 200), &got, &dropped), KEY_KNOWN);
	assert_int_equal(got.accepted, 70000);
	assert_memory_equal(got.id, o.id, RECORD_ID_LEN);
	assert_string_equal(got.report, "\"r\":[]");
	free((char *)(uintptr_t)got.report);
	c.value.len = HTTP_KEY_VALUE - 1; /* cut: not taken */
	c.group = (struct state_text){"other", 5};
	http_keys_restore(&t, &c, 100);
	assert_int_equal(http_keys_claim(&t, CLAIM("other", 7, 100, 200), &got, &dropped), KEY_NEW);
	http_keys_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_key_is_busy_then_known_then_free_again),
	    cmocka_unit_test(the_oldest_makes_room),
	    cmocka_unit_test(what_the_journal_kept_is_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
