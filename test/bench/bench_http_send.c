/* HTTP sender: one request under way on each of several keep-alive connections, as fast as the server answers.
 *
 *	bench_http_send HOST PORT CONNECTIONS MESSAGES BATCH
 *
 * BATCH 1: POST /v1/telemetry/{device} with one JSON document, answered 204. More: POST /v1/telemetry with that many
 * NDJSON lines, answered 200 and {"accepted":BATCH,...}. Any other answer, and a connection that closes, end it with
 * exit code 1. One thread; at the end it prints one line of JSON. */
#include <stdbool.h>
#include <sys/epoll.h>

#include "test/bench/bench_client.h"

#define CONNECTIONS_MAX 4096
#define REQUESTS 128u /* different batches; of single messages there are as many as documents */

struct request {
	char *bytes; /* owned */
	size_t len;
};

struct connection {
	int fd;
	const struct request *request;
	size_t at; /* sent of it */
	char in[4096];
	size_t in_len;
	uint64_t turn;
};

static struct request *requests; /* owned; request_count of them */
static uint32_t request_count;
static unsigned batch;
static uint64_t to_send, answered; /* requests */

/* -- requests -- */

static void request_make(struct request *r, uint32_t number, const char *authority)
{
	char path[64], head[512], *body = malloc(batch * sizeof(documents[0].text));
	size_t len = 0;
	if (!body)
		bench_fail("malloc");
	for (unsigned i = 0; i < batch; i++) {
		const struct document *d = &documents[(number * batch + i) % DOCUMENTS];
		memcpy(body + len, d->text, d->len);
		len += d->len;
		if (batch > 1)
			body[len++] = '\n';
	}
	snprintf(path, sizeof(path), batch > 1 ? "/v1/telemetry" : "/v1/telemetry/%s",
	         documents[number % DOCUMENTS].device);
	int head_len = snprintf(head, sizeof(head),
	                        "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/%s\r\nContent-Length: "
	                        "%zu\r\n\r\n",
	                        path, authority, batch > 1 ? "x-ndjson" : "json", len);
	r->len = (size_t)head_len + len;
	r->bytes = malloc(r->len);
	if (!r->bytes)
		bench_fail("malloc");
	memcpy(r->bytes, head, (size_t)head_len);
	memcpy(r->bytes + head_len, body, len);
	free(body);
}

static void requests_init(const char *host, const char *port)
{
	char authority[128];
	snprintf(authority, sizeof(authority), "%s:%s", host, port);
	request_count = batch > 1 ? REQUESTS : DOCUMENTS;
	requests = calloc(request_count, sizeof(*requests));
	if (!requests)
		bench_fail("calloc");
	for (uint32_t i = 0; i < request_count; i++)
		request_make(&requests[i], i, authority);
}

/* -- a connection's turn -- */

static void watch(int epoll_fd, struct connection *c, int operation, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = c};
	if (epoll_ctl(epoll_fd, operation, c->fd, &e) != 0)
		bench_fail("epoll_ctl");
}

static void send_some(struct connection *c, int epoll_fd)
{
	bool waited = c->at > 0;
	ssize_t n = write(c->fd, c->request->bytes + c->at, c->request->len - c->at);
	if (n < 0 && errno != EAGAIN)
		bench_fail("write");
	c->at += n > 0 ? (size_t)n : 0;
	if (c->at < c->request->len)
		watch(epoll_fd, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
	else if (waited)
		watch(epoll_fd, c, EPOLL_CTL_MOD, EPOLLIN);
}

static void next_request(struct connection *c, int epoll_fd)
{
	c->request = NULL;
	if (to_send == 0)
		return;
	to_send--;
	c->request = &requests[c->turn++ % request_count];
	c->at = 0;
	send_some(c, epoll_fd);
}

_Noreturn static void unexpected(const struct connection *c)
{
	fprintf(stderr, "bench_http_send: answer: %.*s\n", (int)c->in_len, c->in);
	exit(1);
}

/* Whether the whole answer is there; what is not the answer that is due ends the program. */
static bool is_answered(struct connection *c)
{
	c->in[c->in_len] = 0;
	char *end = strstr(c->in, "\r\n\r\n");
	if (!end)
		return false;
	if (strncmp(c->in, batch > 1 ? "HTTP/1.1 200" : "HTTP/1.1 204", 12) != 0)
		unexpected(c);
	if (batch == 1) {
		if (end + 4 != c->in + c->in_len)
			unexpected(c);
		return true;
	}
	const char *length = strcasestr(c->in, "\r\nContent-Length:"), *accepted = strstr(end, "\"accepted\":");
	if (!length || length > end)
		unexpected(c);
	if ((size_t)(c->in + c->in_len - end) < 4 + strtoul(length + 17, NULL, 10))
		return false;
	if (!accepted || strtoul(accepted + 11, NULL, 10) != batch)
		unexpected(c);
	return true;
}

static void receive_some(struct connection *c, int epoll_fd)
{
	ssize_t n = read(c->fd, c->in + c->in_len, sizeof(c->in) - 1 - c->in_len);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n == 0)
		errno = ECONNRESET;
	if (n <= 0)
		bench_fail("read");
	c->in_len += (size_t)n;
	if (!c->request)
		unexpected(c);
	if (!is_answered(c))
		return;
	c->in_len = 0;
	answered++;
	next_request(c, epoll_fd);
}

int main(int argc, char **argv)
{
	int count = argc < 6 ? 0 : atoi(argv[3]);
	batch = argc < 6 ? 0 : (unsigned)atoi(argv[5]);
	if (count < 1 || count > CONNECTIONS_MAX || batch < 1 || batch > 100000) {
		fputs("usage: bench_http_send HOST PORT CONNECTIONS MESSAGES BATCH\n", stderr);
		return 2;
	}
	struct sockaddr_in to = bench_address(argv[1], argv[2]);
	uint64_t total = to_send = strtoull(argv[4], NULL, 10) / batch;
	struct connection *all = calloc((size_t)count, sizeof(*all));
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!all || epoll_fd < 0)
		bench_fail("start");
	documents_init();
	requests_init(argv[1], argv[2]);
	for (int i = 0; i < count; i++) {
		all[i].fd = bench_connect(&to);
		all[i].turn = (uint64_t)i * 97;
		bench_nonblocking(all[i].fd);
		watch(epoll_fd, &all[i], EPOLL_CTL_ADD, EPOLLIN);
	}
	double begin = seconds_now();
	for (int i = 0; i < count; i++)
		next_request(&all[i], epoll_fd);
	while (answered < total) {
		struct epoll_event events[256];
		int n = epoll_wait(epoll_fd, events, 256, 1000);
		if (n < 0 && errno != EINTR)
			bench_fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			if (events[i].events & EPOLLOUT)
				send_some(c, epoll_fd);
			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				receive_some(c, epoll_fd);
		}
	}
	bench_report(total * batch, 0, seconds_now() - begin);
	for (int i = 0; i < count; i++)
		close(all[i].fd);
	for (uint32_t i = 0; i < request_count; i++)
		free(requests[i].bytes);
	free(requests);
	free(all);
	close(epoll_fd);
	return 0;
}
