/* The nodes of a search cluster: whose turn it is, and who rests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sinks/elasticsearch/nodes.h"

static char *urls[] = {"http://a:1/", "http://b:2", "https://c:3/path//"};

static void three(struct nodes *n)
{
	struct string_list list = {.items = urls, .count = 3};
	assert_int_equal(nodes_init(n, &list), GW_OK);
}

static void takes(struct nodes *n, int64_t now_ms, const char *letters)
{
	for (; *letters; letters++)
		assert_int_equal(nodes_take(n, now_ms) - n->items, *letters - 'a');
}

static void nodes_take_turns(void **state)
{
	(void)state;
	struct nodes n;
	three(&n);
	takes(&n, 0, "abcabca");
	nodes_fini(&n);
}

static void slashes_at_the_end_are_dropped(void **state)
{
	(void)state;
	struct nodes n;
	three(&n);
	assert_string_equal(n.items[0].url, "http://a:1");
	assert_string_equal(n.items[2].url, "https://c:3/path");
	nodes_fini(&n);
}

static void failing_node_is_passed_over_until_it_has_rested(void **state)
{
	(void)state;
	struct nodes n;
	three(&n);
	nodes_failed(&n.items[1], 1000);
	takes(&n, 1000, "acac");
	assert_true(nodes_other(&n, &n.items[0], 1000));
	nodes_failed(&n.items[2], 1000);
	assert_false(nodes_other(&n, &n.items[0], 1000));
	takes(&n, 1000 + NODE_REST_FIRST_MS - 1, "aa");
	takes(&n, 1000 + NODE_REST_FIRST_MS, "bcab");
	nodes_fini(&n);
}

static void each_failure_doubles_the_rest_up_to_a_minute(void **state)
{
	(void)state;
	struct nodes n;
	int64_t now = 5000, rest = NODE_REST_FIRST_MS;
	three(&n);
	for (int i = 0; i < 50; i++) {
		nodes_failed(&n.items[0], now);
		assert_int_equal(n.items[0].rest_until_ms - now, rest);
		nodes_failed(&n.items[0], now + 1); /* requests in flight together fail together: once counts */
		assert_int_equal(n.items[0].rest_until_ms - now, rest);
		now = n.items[0].rest_until_ms;
		rest = rest * 2 < NODE_REST_MOST_MS ? rest * 2 : NODE_REST_MOST_MS;
	}
	nodes_worked(&n.items[0]);
	nodes_failed(&n.items[0], now);
	assert_int_equal(n.items[0].rest_until_ms - now, NODE_REST_FIRST_MS);
	nodes_fini(&n);
}

static void when_all_rest_the_first_to_be_fit_is_asked(void **state)
{
	(void)state;
	struct nodes n;
	three(&n);
	nodes_failed(&n.items[0], 300);
	nodes_failed(&n.items[1], 100);
	nodes_failed(&n.items[2], 200);
	takes(&n, 400, "bb");
	nodes_fini(&n);
}

static void refused(const char *url, const char *because)
{
	struct why why = {0};
	if (nodes_check_url(url, &why) != GW_CONFIG)
		fail_msg("%s is taken", url);
	if (!strstr(why.text, because))
		fail_msg("%s: \"%s\" does not say \"%s\"", url, why.text, because);
}

static void urls_are_checked(void **state)
{
	(void)state;
	static const char *const good[] = {"http://127.0.0.1:9200", "https://search.example", "https://[::1]:9200/",
	                                   "http://proxy/path/to"};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(nodes_check_url(good[i], NULL), GW_OK);
	refused("127.0.0.1:9200", "is not a URL");
	refused("", "is not a URL");
	refused("ftp://host", "is not a URL");
	refused("http://", "is not a URL");
	refused("http://host:99999", "is not a URL");
	refused("http://a b", "is not a URL");
	refused("http://host/?q=1", "query");
	refused("http://host/#f", "fragment");
}

static void secret_in_a_url_is_refused_and_not_repeated(void **state)
{
	(void)state;
	struct why why = {0};
	assert_int_equal(nodes_check_url("http://elastic:hunter2@host", &why), GW_CONFIG);
	assert_null(strstr(why.text, "hunter2"));
	assert_non_null(strstr(why.text, "username"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nodes_take_turns),
	    cmocka_unit_test(slashes_at_the_end_are_dropped),
	    cmocka_unit_test(failing_node_is_passed_over_until_it_has_rested),
	    cmocka_unit_test(each_failure_doubles_the_rest_up_to_a_minute),
	    cmocka_unit_test(when_all_rest_the_first_to_be_fit_is_asked),
	    cmocka_unit_test(urls_are_checked),
	    cmocka_unit_test(secret_in_a_url_is_refused_and_not_repeated),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
