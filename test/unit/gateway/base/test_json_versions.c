/* Every version of json_check gives what the scalar one gives: over documents that are made by a grammar, mutated ones,
 * every length up to 200 at every place in a block, with an unreadable page behind. (test_json.c says what is right.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/json.h"
#include "test/unit/guard.h"

static struct json_version versions[JSON_VERSIONS_MAX];
static size_t count;

/* Numbers from a fixed start: every run tests the same. */
static uint32_t random_below(uint32_t below)
{
	static uint64_t state = 7;
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33) % below;
}

/* Returns the type that all agree upon. */
static enum json_type check_all(const char *text, size_t len, unsigned depth)
{
	const char *at = guard_copy(text, len);
	struct json_result want = versions[0].check(at, len, depth);
	for (size_t i = 1; i < count; i++) {
		struct json_result got = versions[i].check(at, len, depth);
		if (got.type != want.type || got.offset != want.offset || got.reason != want.reason ||
		    got.start != want.start || got.end != want.end || got.newline != want.newline)
			fail_msg(
			    "%s says type %d, offset %zu, %s, %zu..%zu and not type %d, offset %zu, %s, %zu..%zu: %.*s",
			    versions[i].name, got.type, got.offset, got.reason, got.start, got.end, want.type,
			    want.offset, want.reason, want.start, want.end, (int)len, text);
	}
	return want.type;
}

/* -- a grammar that writes documents -- */

struct draft {
	char text[4096];
	size_t len, most;
};

static void add(struct draft *d, const char *text)
{
	size_t n = strlen(text);
	assert_true(d->len + n < sizeof(d->text));
	memcpy(d->text + d->len, text, n);
	d->len += n;
}

static void add_space(struct draft *d)
{
	static const char *const spaces[] = {"", "", "", "", "", " ", "\n", "\t", "\r\n  ", "          "};
	add(d, spaces[random_below(10)]);
}

static void add_string(struct draft *d)
{
	static const char *const parts[] = {"a",
	                                    "key",
	                                    "",
	                                    "0123456789",
	                                    "\\\"",
	                                    "\\\\",
	                                    "\\u00e9",
	                                    "\\/",
	                                    "\\ud83d\\ude00",
	                                    "\xc3\xa9",
	                                    "\xe6\xb8\xa9",
	                                    "\xf0\x9f\x8c\xa1",
	                                    "{}[],:",
	                                    "true",
	                                    "\\n\\t\\r\\b\\f",
	                                    "\x7f",
	                                    "\xed\x9f\xbf",
	                                    "\xf4\x8f\xbf\xbf",
	                                    "\xe0\xa0\x80",
	                                    "thirty-two bytes of plain text.."};
	add(d, "\"");
	for (uint32_t n = random_below(5); n > 0; n--)
		add(d, parts[random_below(sizeof(parts) / sizeof(parts[0]))]);
	add(d, "\"");
}

static void add_scalar(struct draft *d)
{
	static const char *const scalars[] = {
	    "0",         "-0",    "1",   "21.5", "-3.25", "1e5",  "1E-05",
	    "-1.5e+300", "0.000", "0e0", "true", "false", "null", "12345678901234567890",
	    "-0.5E2"};
	if (random_below(3) == 0)
		add_string(d);
	else
		add(d, scalars[random_below(sizeof(scalars) / sizeof(scalars[0]))]);
}

static void add_value(struct draft *d, unsigned levels)
{
	uint32_t kind = random_below(5);
	add_space(d);
	if (kind > 1 || levels == 0 || d->len > d->most) {
		add_scalar(d);
	} else {
		add(d, kind ? "{" : "[");
		for (uint32_t n = random_below(6); n > 0; n--) {
			if (kind) {
				add_space(d);
				add_string(d);
				add_space(d);
				add(d, ":");
			}
			add_value(d, levels - 1);
			if (n > 1)
				add(d, ",");
		}
		add_space(d);
		add(d, kind ? "}" : "]");
	}
	add_space(d);
}

static void write_document(struct draft *d)
{
	d->len = 0;
	d->most = 50 + random_below(600);
	add_space(d);
	add(d, "{\"first\":");
	add_value(d, 6);
	add(d, ",\"second\":");
	add_value(d, 6);
	add(d, "}");
	add_space(d);
}

/* -- tests -- */

static void documents_of_every_kind_are_passed_by_all(void **unused)
{
	(void)unused;
	static struct draft d;
	for (int i = 0; i < 20000; i++) {
		write_document(&d);
		assert_int_equal(check_all(d.text, d.len, 32), JSON_OBJECT);
	}
}

/* One to three bytes changed, taken out or put in. */
static void mutate(struct draft *d)
{
	static const char bytes[] =
	    "\"\"\\{}[],,:: \n\t0019-+.eEtrufalsn\x01\x1f\x7f\x80\xbf\xc3\xe0\xed\xf0\xf4\xff/u";
	for (uint32_t n = 1 + random_below(3); n > 0; n--) {
		size_t at = random_below((uint32_t)d->len);
		char byte = random_below(8) ? bytes[random_below(sizeof(bytes) - 1)] : (char)random_below(256);
		uint32_t kind = random_below(3);
		if (kind == 0)
			d->text[at] = byte;
		else if (kind == 1 && d->len > 2)
			memmove(d->text + at, d->text + at + 1, --d->len - at);
		else if (d->len + 1 < sizeof(d->text)) {
			memmove(d->text + at + 1, d->text + at, d->len++ - at);
			d->text[at] = byte;
		}
	}
}

static void mutated_documents_are_judged_alike(void **unused)
{
	(void)unused;
	static struct draft d, m;
	int valid = 0, rounds = 0;
	for (int i = 0; i < 5000; i++) {
		write_document(&d);
		for (int k = 0; k < 20; k++, rounds++) {
			m = d;
			mutate(&m);
			valid += check_all(m.text, m.len, 32) != JSON_INVALID;
		}
	}
	assert_in_range(valid, rounds / 50, rounds / 2); /* both kinds were met */
}

/* Every byte value at every place of a document, moved by up to 64 bytes: each rule where two blocks meet. */
static void any_byte_in_any_place_of_a_block_is_judged_alike(void **unused)
{
	(void)unused;
	static const char document[] =
	    "{\"a\":[-1.5e+3,true,{\"b\\\"\\u00e9\":\"\xe6\xb8\xa9\"},null,0,[]],\"c\" : false }";
	char text[64 + sizeof(document)];
	for (size_t move = 0; move < 64; move++) {
		size_t len = move + sizeof(document) - 1;
		memset(text, ' ', move);
		text[0] = '[';
		memcpy(text + move, document, sizeof(document));
		if (move > 0)
			text[len++] = ']';
		for (size_t at = move; at < len; at++) {
			char right = text[at];
			for (int b = 0; b < 256; b++) {
				text[at] = (char)b;
				check_all(text, len, 32);
			}
			text[at] = right;
		}
		assert_int_not_equal(check_all(text, len, 32), JSON_INVALID);
	}
}

/* Lengths 0 to 200 at every distance from the end of a line of the cache, whole and cut. */
static void every_length_at_every_alignment_is_judged_alike(void **unused)
{
	(void)unused;
	char text[512];
	for (size_t len = 0; len <= 200; len++) {
		memset(text, 'x', sizeof(text));
		if (len >= 2) {
			text[0] = '[';
			text[len - 1] = ']';
		}
		for (size_t i = 1; i + 1 < len; i++)
			text[i] = i % 3 ? '7' : ',';
		if (len > 4)
			text[len - 2] = '1';
		for (size_t after = 0; after < 64; after++) { /* what lies behind is no part of it */
			memset(text + len, ']', after);
			char *at = guard_copy(text, len + after);
			struct json_result want = versions[0].check(at, len, 32);
			for (size_t i = 1; i < count; i++) {
				struct json_result got = versions[i].check(at, len, 32);
				assert_int_equal(got.type, want.type);
				assert_int_equal(got.offset, want.offset);
				assert_int_equal(got.end, want.end);
			}
		}
		check_all(text, len, 32);
	}
}

static void nesting_is_limited_alike(void **unused)
{
	(void)unused;
	static const unsigned limits[] = {0, 1, 2, 32, 58, 59, 60, 61, 62, 63, 64, 65, 1000, 1024, 5000};
	char text[4096];
	for (size_t levels = 1; levels <= 70; levels++) {
		memset(text, '[', levels);
		memset(text + levels, ']', levels);
		for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
			enum json_type type = check_all(text, 2 * levels, limits[i]);
			assert_int_equal(type, levels <= limits[i] ? JSON_ARRAY : JSON_INVALID);
			check_all(text, 2 * levels - 1, limits[i]);
		}
	}
}

static int versions_init(void **unused)
{
	(void)unused;
	count = json_versions(versions);
	for (size_t i = 0; i < count; i++)
		print_message("version: %s\n", versions[i].name);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(documents_of_every_kind_are_passed_by_all),
	    cmocka_unit_test(mutated_documents_are_judged_alike),
	    cmocka_unit_test(any_byte_in_any_place_of_a_block_is_judged_alike),
	    cmocka_unit_test(every_length_at_every_alignment_is_judged_alike),
	    cmocka_unit_test(nesting_is_limited_alike),
	};
	return cmocka_run_group_tests(tests, versions_init, NULL);
}
