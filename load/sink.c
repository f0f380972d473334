/* A server that only counts; see sink.h. */
#include "load/sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS_MAX 1024
#define IN_SIZE (256u << 10)
#define OUT_SIZE (512u << 10) /* answers are no longer than what they answer, but for HTTP's */
#define DATAGRAMS 64

struct client {
	int fd;
	uint64_t lines;
	size_t len; /* of what is not complete in in */
	uint8_t in[IN_SIZE];
};

static uint8_t out[OUT_SIZE];

/* Each takes what is complete of a client's bytes, writes answers to out, and returns how much it took. */

static size_t take_tcp(struct client *c, size_t *answer)
{
	size_t at = 0;
	uint64_t before = c->lines;
	for (const uint8_t *end; (end = memchr(c->in + at, '\n', c->len - at)); at = (size_t)(end - c->in) + 1)
		c->lines++;
	if (c->lines > before)
		*answer = (size_t)sprintf((char *)out, "ok %llu\n", (unsigned long long)c->lines);
	return at;
}

static size_t take_mqtt(struct client *c, size_t *answer)
{
	size_t at = 0;
	while (c->len - at >= 2) {
		const uint8_t *p = c->in + at;
		size_t rest = 0, n = 1;
		for (unsigned shift = 0; n < 5 && n < c->len - at; shift += 7) {
			rest |= (size_t)(p[n] & 127) << shift;
			if (p[n++] < 128)
				break;
		}
		if (p[n - 1] >= 128 || rest > c->len - at - n)
			break;
		unsigned type = p[0] >> 4, qos = p[0] >> 1 & 3;
		size_t topic = type == 3 ? (size_t)p[n] << 8 | p[n + 1] : 0;
		if (type == 1) {
			memcpy(out + *answer, "\x20\2\0\0", 4);
			*answer += 4;
		} else if (type == 12) {
			memcpy(out + *answer, "\xd0", 2);
			*answer += 2;
		} else if ((type == 3 && qos > 0) || type == 6) {
			const uint8_t *id = type == 3 ? p + n + 2 + topic : p + n;
			out[(*answer)++] = type == 6 ? 0x70 : qos == 1 ? 0x40 : 0x50;
			out[(*answer)++] = 2;
			out[(*answer)++] = id[0];
			out[(*answer)++] = id[1];
		}
		at += n + rest;
	}
	return at;
}

static size_t take_http(struct client *c, size_t *answer)
{
	size_t at = 0;
	while (c->len > at) {
		char *head = (char *)c->in + at, *end = memmem(head, c->len - at, "\r\n\r\n", 4);
		char *length = end ? memmem(head, (size_t)(end - head), "Content-Length: ", 16) : NULL;
		if (!length)
			break;
		size_t body = strtoul(length + 16, NULL, 10), whole = (size_t)(end + 4 - head) + body;
		if (c->len - at < whole)
			break;
		bool batch = memmem(head, (size_t)(end - head), "ndjson", 6);
		*answer +=
		    (size_t)sprintf((char *)out + *answer, batch ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
		                                                 : "HTTP/1.1 204 No Content\r\n\r\n");
		at += whole;
	}
	return at;
}

static size_t (*const takers[])(struct client *,
                                size_t *) = {[SINK_MQTT] = take_mqtt, [SINK_TCP] = take_tcp, [SINK_HTTP] = take_http};

static bool serve_client(struct client *c, enum sink_kind kind)
{
	size_t answer = 0;
	ssize_t n = read(c->fd, c->in + c->len, IN_SIZE - c->len);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->len += (size_t)n;
	size_t used = takers[kind](c, &answer);
	memmove(c->in, c->in + used, c->len - used);
	c->len -= used;
	for (size_t at = 0; at < answer;) {
		ssize_t w = send(c->fd, out + at, answer - at, MSG_NOSIGNAL);
		if (w < 0)
			return false;
		at += (size_t)w;
	}
	return c->len < IN_SIZE;
}

static void serve_streams(int listener, enum sink_kind kind)
{
	int epoll = epoll_create1(0), on = 1;
	struct epoll_event events[64], e = {.events = EPOLLIN, .data.ptr = NULL};
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(epoll, events, 64, -1);
		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;
			if (c) {
				if (!serve_client(c, kind)) {
					close(c->fd);
					free(c);
				}
				continue;
			}
			int fd = accept(listener, NULL, NULL);
			if (fd < 0 || !(c = calloc(1, sizeof(*c))))
				continue;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			c->fd = fd;
			e.data.ptr = c;
			epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
		}
	}
}

/* 2.04 to each, with its token, from the address that was asked. */
static void serve_datagrams(int fd)
{
	static uint8_t in[DATAGRAMS][2048];
	static struct mmsghdr messages[DATAGRAMS];
	static struct iovec at[DATAGRAMS];
	static struct sockaddr_in from[DATAGRAMS];
	for (;;) {
		for (int i = 0; i < DATAGRAMS; i++) {
			at[i] = (struct iovec){in[i], sizeof(in[i])};
			messages[i].msg_hdr = (struct msghdr){
			    .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &at[i], .msg_iovlen = 1};
		}
		int n = recvmmsg(fd, messages, DATAGRAMS, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++) {
			in[i][0] = (uint8_t)((in[i][0] & 0xcf) | 0x20); /* ACK; of a NON, too: nobody minds here */
			in[i][1] = 0x44;
			at[i].iov_len = 4u + (in[i][0] & 15u);
		}
		for (int sent = 0, k; sent<n; sent += k> 0 ? k : 1)
			k = sendmmsg(fd, messages + sent, (unsigned)(n - sent), 0);
	}
}

enum gw_err sink_start(enum sink_kind kind, pid_t *pid, unsigned *port, struct why *why)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int size = 8 << 20, fd = socket(AF_INET, (kind == SINK_COAP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) != 0 || getsockname(fd, (struct sockaddr *)&a, &len) != 0 ||
	    (kind != SINK_COAP && listen(fd, 1024) != 0))
		return why_set(why, GW_IO, "self-test: socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	pid_t parent = getpid();
	*port = ntohs(a.sin_port);
	*pid = fork();
	if (*pid < 0)
		return why_set(why, GW_IO, "self-test: fork: %s", strerror(errno));
	if (*pid == 0) {
		signal(SIGINT, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent) {
			if (kind == SINK_COAP)
				serve_datagrams(fd);
			else
				serve_streams(fd, kind);
		}
		_exit(0);
	}
	close(fd);
	return GW_OK;
}

void sink_stop(pid_t pid)
{
	if (pid <= 0) /* 0 and -1 would mean others */
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
