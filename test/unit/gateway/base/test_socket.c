/* Listening sockets: sharing a port, what fails and how it is told, which addresses clash. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/base/socket.h"

static struct address address(const char *host, const char *port)
{
	struct address a;
	snprintf(a.host, sizeof(a.host), "%s", host);
	snprintf(a.port, sizeof(a.port), "%s", port);
	return a;
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int count_accepted(int fd)
{
	int n = 0, got;
	while ((got = accept(fd, NULL, NULL)) >= 0) {
		close(got);
		n++;
	}
	assert_int_equal(errno, EAGAIN);
	return n;
}

static void threads_of_a_listener_share_what_comes(void **state)
{
	(void)state;
	struct address at = address("127.0.0.1", "0");
	struct why why = {{0}};
	uint16_t port = 0;
	int fds[3], clients[90];
	char text[SOCKET_TEXT], first[SOCKET_TEXT];
	for (unsigned i = 0; i < 3; i++) {
		struct socket_share share = {i, 3, &port};
		assert_int_equal(socket_listen(&at, 100, &share, &fds[i], i == 0 ? first : text, &why), GW_OK);
		assert_true(i == 0 || strcmp(first, text) == 0);
	}
	assert_int_equal(port, atoi(strrchr(first, ':') + 1));
	for (int i = 0; i < 90; i++)
		clients[i] = connect_to(port);
	int sum = 0;
	for (int i = 0; i < 3; i++) {
		int n = count_accepted(fds[i]);
		assert_true(n > 0); /* the kernel's hash: 90 of 90 elsewhere would be a chance of 10^-15 */
		sum += n;
		close(fds[i]);
	}
	assert_int_equal(sum, 90);
	for (int i = 0; i < 90; i++)
		close(clients[i]);
}

/* Two gateways of one user, both with several threads: SO_REUSEPORT from the start would let the second in. */
static void port_of_another_is_refused_however_many_threads_share_it(void **state)
{
	(void)state;
	struct address at = address("127.0.0.1", "0");
	struct why why = {{0}};
	uint16_t port = 0, other_port = 0;
	int one, two, three;
	char text[SOCKET_TEXT];
	struct socket_share share = {0, 2, &port}, other = {0, 2, &other_port};
	assert_int_equal(socket_listen(&at, 10, &share, &one, text, &why), GW_OK);
	snprintf(at.port, sizeof(at.port), "%u", (unsigned)port);
	assert_int_equal(socket_listen(&at, 10, &other, &three, text, &why), GW_IO);
	share.thread = 1;
	assert_int_equal(socket_listen(&at, 10, &share, &two, text, &why), GW_OK);
	assert_int_equal(socket_listen(&at, 10, &other, &three, text, &why), GW_IO);
	assert_non_null(strstr(why.text, text));
	assert_non_null(strstr(why.text, "another program or listener has it"));
	assert_int_equal(socket_listen(&at, 10, NULL, &three, text, &why), GW_IO);
	close(one);
	close(two);
	assert_int_equal(socket_listen(&at, 10, &other, &three, text, &why), GW_OK);
	close(three);
}

static void what_fails_says_what_to_do(void **state)
{
	(void)state;
	struct why why = {{0}};
	int fd;
	char text[SOCKET_TEXT];
	struct address nowhere = address("192.0.2.1", "0"), unknown = address("no.such.host.invalid", "1883");
	assert_int_equal(socket_listen(&nowhere, 10, NULL, &fd, text, &why), GW_IO);
	assert_non_null(strstr(why.text, "192.0.2.1:0: "));
	assert_non_null(strstr(why.text, "does not have that address"));
	assert_int_equal(socket_listen(&unknown, 10, NULL, &fd, text, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "no.such.host.invalid cannot be resolved"));
	struct address low = address("127.0.0.1", "80");
	if (geteuid() != 0 && socket_listen(&low, 10, NULL, &fd, text, &why) == GW_IO && strstr(why.text, "denied"))
		assert_non_null(strstr(why.text, "CAP_NET_BIND_SERVICE"));
}

static void addresses_print_as_they_are_configured(void **state)
{
	(void)state;
	struct why why = {{0}};
	struct address six = address("::", "0");
	char text[SOCKET_TEXT];
	int fd;
	assert_int_equal(socket_listen(&six, 10, NULL, &fd, text, &why), GW_OK);
	assert_memory_equal(text, "[::]:", 5);
	int client = connect_to((uint16_t)atoi(text + 5)); /* IPv4, too */
	close(client);
	close(fd);
}

static void loopback_is_told_from_what_looks_like_it(void **state)
{
	(void)state;
	static const char *const inside[] = {"127.0.0.1", "127.9.9.9", "::1",
	                                     "localhost", "LOCALHOST", "::ffff:127.0.0.1"};
	static const char *const outside[] = {"0.0.0.0",         "::",     "10.0.0.1", "127.example.com",
	                                      "::ffff:10.0.0.1", "fe80::1"};
	for (size_t i = 0; i < sizeof(inside) / sizeof(*inside); i++) {
		struct address a = address(inside[i], "1");
		if (!socket_is_loopback(&a))
			fail_msg("%s", inside[i]);
	}
	for (size_t i = 0; i < sizeof(outside) / sizeof(*outside); i++) {
		struct address a = address(outside[i], "1");
		if (socket_is_loopback(&a))
			fail_msg("%s", outside[i]);
	}
}

static void addresses_clash_where_the_kernel_says_so(void **state)
{
	(void)state;
	static const struct {
		const char *host, *port, *other, *other_port;
		bool clash;
	} cases[] = {
	    {"127.0.0.1", "80", "127.0.0.1", "80", true},
	    {"127.0.0.1", "80", "127.0.0.1", "080", true},
	    {"127.0.0.1", "80", "127.0.0.1", "81", false},
	    {"127.0.0.1", "0", "127.0.0.1", "0", false},
	    {"127.0.0.1", "80", "127.0.0.2", "80", false},
	    {"0.0.0.0", "80", "127.0.0.2", "80", true},
	    {"127.0.0.2", "80", "0.0.0.0", "80", true},
	    {"::", "80", "127.0.0.2", "80", true},
	    {"0.0.0.0", "80", "::", "80", true},
	    {"0.0.0.0", "80", "::1", "80", false},
	    {"::1", "80", "0:0:0:0:0:0:0:1", "80", true},
	    {"::1", "80", "127.0.0.1", "80", false},
	    {"gateway.example", "80", "GATEWAY.example", "80", true},
	    {"gateway.example", "80", "10.0.0.1", "80", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct address a = address(cases[i].host, cases[i].port);
		struct address b = address(cases[i].other, cases[i].other_port);
		if (socket_clash(&a, &b) != cases[i].clash)
			fail_msg("%s:%s %s:%s", a.host, a.port, b.host, b.port);
	}
}

static void some_descriptors_are_left_to_others(void **state)
{
	(void)state;
	struct rlimit before, less;
	getrlimit(RLIMIT_NOFILE, &before);
	less = before;
	less.rlim_cur = 100;
	setrlimit(RLIMIT_NOFILE, &less);
	assert_int_equal(socket_limit(), 75);
	less.rlim_cur = 1000;
	if (before.rlim_max == RLIM_INFINITY || before.rlim_max >= 1000) {
		setrlimit(RLIMIT_NOFILE, &less);
		assert_int_equal(socket_limit(), 1000 - 64);
	}
	setrlimit(RLIMIT_NOFILE, &before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(threads_of_a_listener_share_what_comes),
	    cmocka_unit_test(port_of_another_is_refused_however_many_threads_share_it),
	    cmocka_unit_test(what_fails_says_what_to_do),
	    cmocka_unit_test(addresses_print_as_they_are_configured),
	    cmocka_unit_test(loopback_is_told_from_what_looks_like_it),
	    cmocka_unit_test(addresses_clash_where_the_kernel_says_so),
	    cmocka_unit_test(some_descriptors_are_left_to_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
