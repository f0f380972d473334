#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocols/net/udp.h"

static struct udp *u;
static char bound[SOCKET_TEXT];
static struct why why;
static uint64_t receive_buffer;

/* What udp_read handed out. */
static size_t taken;
static struct udp_datagram last;
static uint8_t last_bytes[4096];

static void take(void *self, const struct udp_datagram *d, size_t count)
{
	(void)self;
	taken += count;
	last = d[count - 1];
	memcpy(last_bytes, last.bytes, last.len);
}

static int setup(void **unused)
{
	(void)unused;
	u = NULL;
	taken = 0;
	receive_buffer = 1 << 20;
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	udp_free(u);
	return 0;
}

static uint16_t listen_on(const char *host)
{
	struct address a = {.port = "0"};
	strcpy(a.host, host);
	assert_int_equal(udp_open(&u, &a, 2048, receive_buffer, bound, &why), GW_OK);
	return (uint16_t)atoi(strrchr(bound, ':') + 1);
}

static int client_to(const char *host, uint16_t port)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	assert_int_equal(inet_pton(AF_INET, host, &to.sin_addr), 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0); /* from now on it hears nobody else */
	return fd;
}

static void read_one(void)
{
	uint64_t bytes = 0;
	struct pollfd p = {.fd = udp_fd(u), .events = POLLIN};
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(udp_read(u, take, NULL, &bytes) > 0);
	assert_true(bytes > 0);
}

static void answer(const char *text)
{
	uint64_t bytes = 0;
	memcpy(udp_out_next(udp_outbox(u)), text, strlen(text));
	udp_out_add(udp_outbox(u), &last.route, strlen(text));
	assert_true(udp_write(u, &bytes));
	assert_int_equal(bytes, strlen(text));
	assert_int_equal(udp_outbox(u)->count, 0);
}

static void assert_hears(int fd, const char *text)
{
	char got[100];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(fd, got, sizeof(got), 0), strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void ask_and_answer(const char *host, const char *asked)
{
	uint16_t port = listen_on(host);
	int fd = client_to(asked, port);
	assert_int_equal(send(fd, "ask", 3, 0), 3);
	read_one();
	assert_int_equal(taken, 1);
	assert_int_equal(last.len, 3);
	assert_memory_equal(last_bytes, "ask", 3);
	assert_true(IN6_IS_ADDR_V4MAPPED(&last.route.peer));
	assert_int_equal(last.route.peer.s6_addr[12], 127);
	answer("answer");
	assert_hears(fd, "answer");
	close(fd);
}

static void one_address_answers(void **unused)
{
	(void)unused;
	ask_and_answer("127.0.0.1", "127.0.0.1");
	assert_memory_equal(bound, "127.0.0.1:", 10);
	assert_true(IN6_IS_ADDR_UNSPECIFIED(&last.route.local));
}

/* 127.0.0.5 is an address of ours as well; left to itself the kernel would answer from 127.0.0.1. */
static void a_wildcard_answers_from_the_address_that_was_asked(void **unused)
{
	(void)unused;
	ask_and_answer("0.0.0.0", "127.0.0.5");
}

static void so_does_a_dual_stack_wildcard(void **unused)
{
	(void)unused;
	int probe = socket(AF_INET6, SOCK_DGRAM, 0);
	if (probe < 0)
		skip(); /* a machine without IPv6 */
	close(probe);
	ask_and_answer("::", "127.0.0.5");
	assert_memory_equal(bound, "[::]:", 5);
}

/* One datagram to each of them, and one to a host at last: it is the only one that is seen. */
static void many_are_asked(const char *host)
{
	static const char *const many[] = {"127.255.255.255", "255.255.255.255", "224.0.0.1"};
	uint16_t port = listen_on(host);
	int on = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof(loopback)), 0);
	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
		assert_int_equal(inet_pton(AF_INET, many[i], &to.sin_addr), 1);
		(void)!sendto(fd, "many", 4, 0, (struct sockaddr *)&to, sizeof(to)); /* no route to some: fine */
	}
	to.sin_addr = loopback;
	assert_int_equal(sendto(fd, "one", 3, 0, (struct sockaddr *)&to, sizeof(to)), 3);
	while (taken == 0)
		read_one();
	assert_int_equal(taken, 1);
	assert_memory_equal(last_bytes, "one", 3);
	close(fd);
}

static void what_is_meant_for_many_is_not_looked_at(void **unused)
{
	(void)unused;
	many_are_asked("0.0.0.0");
}

static void nor_on_a_dual_stack_wildcard(void **unused)
{
	(void)unused;
	int probe = socket(AF_INET6, SOCK_DGRAM, 0);
	if (probe < 0)
		skip(); /* a machine without IPv6 */
	close(probe);
	many_are_asked("::");
}

static void ipv6_is_answered(void **unused)
{
	(void)unused;
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		skip();
	to.sin6_port = htons(listen_on("::"));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, "ask", 3, 0), 3);
	read_one();
	assert_true(IN6_IS_ADDR_LOOPBACK(&last.route.peer));
	answer("answer");
	assert_hears(fd, "answer");
	close(fd);
}

static void many_datagrams_come_and_go_in_few_calls(void **unused)
{
	(void)unused;
	int fd = client_to("127.0.0.1", listen_on("127.0.0.1"));
	for (uint8_t i = 0; i < 200; i++)
		assert_int_equal(send(fd, &i, 1, 0), 1);
	uint64_t bytes = 0;
	size_t calls = 0;
	while (udp_read(u, take, NULL, &bytes) > 0)
		calls++;
	assert_int_equal(taken, 200);
	assert_int_equal(bytes, 200);
	assert_int_equal(calls, (200 + UDP_BATCH - 1) / UDP_BATCH);
	for (uint8_t i = 0; i < 200; i++) {
		*udp_out_next(udp_outbox(u)) = i;
		udp_out_add(udp_outbox(u), &last.route, 1);
	}
	assert_int_equal(udp_out_room(udp_outbox(u)), UDP_OUT - 200);
	assert_true(udp_write(u, &bytes));
	for (uint8_t i = 0; i < 200; i++) {
		uint8_t got;
		assert_int_equal(recv(fd, &got, 1, MSG_DONTWAIT), 1);
		assert_int_equal(got, i);
	}
	close(fd);
}

static void one_that_cannot_be_sent_does_not_hold_up_the_others(void **unused)
{
	(void)unused;
	int fd = client_to("127.0.0.1", listen_on("127.0.0.1"));
	assert_int_equal(send(fd, "ask", 3, 0), 3);
	read_one();
	struct udp_route nowhere = last.route;
	nowhere.peer.s6_addr[12] = 255; /* 255.0.0.1: not a unicast address */
	uint64_t bytes = 0;
	for (int i = 0; i < 3; i++) {
		memcpy(udp_out_next(udp_outbox(u)), "x", 1);
		udp_out_add(udp_outbox(u), i == 1 ? &last.route : &nowhere, 1);
	}
	assert_true(udp_write(u, &bytes));
	assert_int_equal(udp_outbox(u)->count, 0);
	assert_hears(fd, "x");
	close(fd);
}

static void a_datagram_that_is_too_long_is_marked(void **unused)
{
	(void)unused;
	static char longer[3000];
	int fd = client_to("127.0.0.1", listen_on("127.0.0.1"));
	assert_int_equal(send(fd, longer, sizeof(longer), 0), sizeof(longer));
	read_one();
	assert_true(last.cut);
	assert_int_equal(last.len, 2048);
	close(fd);
}

static void drops_of_the_kernel_are_counted(void **unused)
{
	(void)unused;
	static const char text[1000];
	receive_buffer = 65536;
	int fd = client_to("127.0.0.1", listen_on("127.0.0.1"));
	assert_int_equal(udp_dropped(u), 0);
	for (int i = 0; i < 2000; i++)
		assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
	uint64_t bytes = 0;
	while (udp_read(u, take, NULL, &bytes) > 0)
		;
	assert_int_equal(udp_dropped(u), 2000 - taken);
	assert_true(taken < 2000);
	assert_int_equal(udp_dropped(u), 0);
	close(fd);
}

static void an_address_in_use_is_told_with_its_setting(void **unused)
{
	(void)unused;
	listen_on("127.0.0.1");
	struct udp *second = NULL;
	struct address a = {.host = "127.0.0.1"};
	strcpy(a.port, strrchr(bound, ':') + 1);
	assert_int_equal(udp_open(&second, &a, 2048, 65536, bound, &why), GW_IO);
	assert_non_null(strstr(why.text, "listen: 127.0.0.1:"));
	assert_non_null(strstr(why.text, "in use"));
	assert_null(second);
	strcpy(a.host, "no such host");
	assert_int_equal(udp_open(&second, &a, 2048, 65536, bound, &why), GW_CONFIG);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(one_address_answers),
	    TEST(a_wildcard_answers_from_the_address_that_was_asked),
	    TEST(so_does_a_dual_stack_wildcard),
	    TEST(what_is_meant_for_many_is_not_looked_at),
	    TEST(nor_on_a_dual_stack_wildcard),
	    TEST(ipv6_is_answered),
	    TEST(many_datagrams_come_and_go_in_few_calls),
	    TEST(one_that_cannot_be_sent_does_not_hold_up_the_others),
	    TEST(a_datagram_that_is_too_long_is_marked),
	    TEST(drops_of_the_kernel_are_counted),
	    TEST(an_address_in_use_is_told_with_its_setting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
