/* What an old libmicrohttpd leaves of a head, played by a parser that does as it does: hidden bytes break the
 * seams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/http/http_seams.h"

/* Lines end at LF, with or without CR; values at a NUL; what ended is overwritten with NUL. */
static bool hidden_nothing(const char *text, size_t len)
{
	static char raw[1024];
	struct http_seams s;
	size_t at = 0;
	memset(raw, 'Z', sizeof(raw));
	memcpy(raw, text, len);
	for (int n = 0;; n++) {
		char *line = raw + at, *lf = memchr(line, '\n', len - at);
		assert_non_null(lf);
		at = (size_t)(lf + 1 - raw);
		*lf = 0;
		if (lf > line && lf[-1] == '\r')
			*--lf = 0;
		if (lf == line)
			break;
		if (n == 0) {
			char *target = strchr(line, ' '), *version = strrchr(line, ' ');
			if (!version) /* cut by a NUL: the library knows the line's length */
				version = memrchr(line, ' ', (size_t)(lf - line));
			*target++ = 0;
			*version++ = 0;
			char *query = strchr(target, '?');
			if (query)
				*query++ = 0;
			http_seams_line(&s, line, target, query && *query ? query : NULL, version);
			continue;
		}
		char *value = strchr(line, ':');
		assert_non_null(value);
		*value++ = 0;
		while (*value == ' ' || *value == '\t')
			value++;
		http_seams_field(&s, line, strlen(line), value, strlen(value));
	}
	return http_seams_good(&s, at);
}
#define HIDDEN_NOTHING(literal) hidden_nothing((literal), sizeof(literal) - 1)

static void plain_heads_have_no_gaps(void **state)
{
	(void)state;
	assert_true(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\r\n\r\n"));
	assert_true(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost:h\r\nX-A: \t  b  \r\nX-B:\r\nX-C: c\r\n\r\n1"));
	assert_true(HIDDEN_NOTHING("POST /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"));
	assert_true(HIDDEN_NOTHING("POST /a? HTTP/1.1\r\nHost: h\r\n\r\n"));
}

static void bare_line_feeds_show(void **state)
{
	(void)state;
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\nHost: h\r\n\r\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\nX-A: a\r\n\r\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\r\nX-A: a\n\r\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\r\n\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\n\n"));
}

static void nuls_show(void **state)
{
	(void)state;
	assert_false(HIDDEN_NOTHING("POST /a\0b HTTP/1.1\r\nHost: h\r\n\r\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\0x\r\nX-A: a\r\n\r\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\0\r\nX-A: a\r\n\r\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\r\nX-A: a\0b\r\n\r\n"));
	assert_false(HIDDEN_NOTHING("POST /a HTTP/1.1\r\nHost: h\r\nX-A: a\0\r\n\r\n"));
}

static void fields_that_were_moved_show(void **state)
{
	(void)state;
	static char raw[] = "POST\0/a\0HTTP/1.1\0\0X-A\0 one\0\0", elsewhere[] = "X-Atwo";
	struct http_seams s;
	http_seams_line(&s, raw, raw + 5, NULL, raw + 8);
	http_seams_field(&s, elsewhere, 6, raw + 23, 3);
	assert_false(http_seams_good(&s, sizeof(raw) - 1));
}

static void only_known_versions_are_looked_into(void **state)
{
	(void)state;
	assert_true(http_seams_apply("0.9.75"));
	assert_false(http_seams_apply("0.9.77"));
	assert_false(http_seams_apply("1.0.1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_heads_have_no_gaps),
	    cmocka_unit_test(bare_line_feeds_show),
	    cmocka_unit_test(nuls_show),
	    cmocka_unit_test(fields_that_were_moved_show),
	    cmocka_unit_test(only_known_versions_are_looked_into),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
