/* CoAP: what a confirmable POST of a 187-byte document costs its server, in CPU time of all its threads.
 *
 *	bench_coap_echo                         a bare echo server: recvmmsg, four bytes changed, sendmmsg, and nothing
 * else: the floor bench_coap_echo HOST:PORT PID [S [W]]   the same load against a running sluice (PID), for S seconds
 * (5), with W endpoints (1000)
 *
 * The load comes from one thread and W endpoints, each with one request under way (NSTART = 1, RFC 7252 section 4.7).
 * They are addresses of 127.0.0.0/8 on one socket, so the load, too, moves many datagrams per system call. What is lost
 * is sent again after 300 ms of silence. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define ENDPOINTS_MAX 60000

static const char document[] =
    "{\"device\":\"sensor-0042\",\"ts\":\"2026-11-22T08:37:00.123Z\",\"temperature\":21.40,\"humidity\":48.2,"
    "\"pressure\":1013.25,"
    "\"battery\":3.71,\"rssi\":-67,\"seq\":123456,\"status\":\"ok\",\"fw\":\"1.4.2\",\"up\":8640}";
_Static_assert(sizeof(document) - 1 == 187, "the figure in docs/benchmarks.md is for this size");

static double now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int udp_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
	assert(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

/* -- the echo server -- */

struct echo {
	int fd;
	_Atomic bool stop;
	uint64_t datagrams, batches;
	double cpu;
};

static void *echo_run(void *arg)
{
	struct echo *e = arg;
	static uint8_t buffer[BATCH][2048];
	static struct mmsghdr in[BATCH], out[BATCH];
	static struct iovec in_bytes[BATCH], out_bytes[BATCH];
	static struct sockaddr_in from[BATCH];
	double start = now(CLOCK_THREAD_CPUTIME_ID);
	while (!e->stop) {
		for (int i = 0; i < BATCH; i++) {
			in_bytes[i] = (struct iovec){buffer[i], sizeof(buffer[i])};
			in[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
			                                .msg_namelen = sizeof(from[i]),
			                                .msg_iov = &in_bytes[i],
			                                .msg_iovlen = 1};
		}
		int got = recvmmsg(e->fd, in, BATCH, MSG_DONTWAIT, NULL);
		if (got <= 0) {
			poll(&(struct pollfd){.fd = e->fd, .events = POLLIN}, 1, 100);
			continue;
		}
		for (int i = 0; i < got; i++) {
			buffer[i][0] = (uint8_t)(0x60 | (buffer[i][0] & 15));
			buffer[i][1] = 0x44;
			out_bytes[i] = (struct iovec){buffer[i], 4u + (buffer[i][0] & 15)};
			out[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
			                                 .msg_namelen = sizeof(from[i]),
			                                 .msg_iov = &out_bytes[i],
			                                 .msg_iovlen = 1};
		}
		sendmmsg(e->fd, out, (unsigned)got, 0);
		e->datagrams += (uint64_t)got;
		e->batches++;
	}
	e->cpu = now(CLOCK_THREAD_CPUTIME_ID) - start;
	return NULL;
}

/* -- the load -- */

struct load {
	int fd;
	struct sockaddr_in to;
	unsigned endpoints;
	uint16_t *id; /* owned; of the request under way */
	uint64_t answered, refused, sent, repeated;
	uint8_t request[512];
	size_t request_len;
};

/* CON POST, token of two bytes, /t/sensor-0042/env, Content-Format 50. */
static void request_init(struct load *l)
{
	static const uint8_t head[] = "\x42\x02..nn\xb1t\x0bsensor-0042\x03"
	                              "env\x11\x32\xff";
	memcpy(l->request, head, sizeof(head) - 1);
	memcpy(l->request + sizeof(head) - 1, document, sizeof(document) - 1);
	l->request_len = sizeof(head) - 1 + sizeof(document) - 1;
}

static struct in_addr address_of(unsigned endpoint)
{
	return (struct in_addr){htonl(0x7f010000u + endpoint)};
}

/* Sends one request for each of n endpoints. */
static void load_send(struct load *l, const unsigned *endpoint, int n)
{
	static uint8_t buffer[BATCH][512];
	static struct mmsghdr out[BATCH];
	static struct iovec bytes[BATCH];
	static struct {
		_Alignas(struct cmsghdr) char at[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control[BATCH];
	for (int i = 0; i < n; i++) {
		unsigned e = endpoint[i];
		memcpy(buffer[i], l->request, l->request_len);
		buffer[i][2] = (uint8_t)(l->id[e] >> 8);
		buffer[i][3] = (uint8_t)l->id[e];
		buffer[i][4] = (uint8_t)(e >> 8);
		buffer[i][5] = (uint8_t)e;
		bytes[i] = (struct iovec){buffer[i], l->request_len};
		out[i].msg_hdr = (struct msghdr){.msg_name = &l->to,
		                                 .msg_namelen = sizeof(l->to),
		                                 .msg_iov = &bytes[i],
		                                 .msg_iovlen = 1,
		                                 .msg_control = control[i].at,
		                                 .msg_controllen = sizeof(control[i].at)};
		struct cmsghdr *c = CMSG_FIRSTHDR(&out[i].msg_hdr);
		c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		struct in_pktinfo info = {.ipi_spec_dst = address_of(e)};
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	}
	for (int sent = 0; sent < n;) {
		int done = sendmmsg(l->fd, out + sent, (unsigned)(n - sent), 0);
		assert(done > 0 || errno == EINTR);
		sent += done > 0 ? done : 0;
	}
	l->sent += (uint64_t)n;
}

static void load_send_all(struct load *l)
{
	unsigned batch[BATCH];
	int n = 0;
	for (unsigned e = 0; e < l->endpoints; e++) {
		batch[n++] = e;
		if (n == BATCH || e + 1 == l->endpoints) {
			load_send(l, batch, n);
			n = 0;
		}
	}
}

static void load_receive(struct load *l)
{
	static uint8_t buffer[BATCH][64];
	static struct mmsghdr in[BATCH];
	static struct iovec bytes[BATCH];
	for (int i = 0; i < BATCH; i++) {
		bytes[i] = (struct iovec){buffer[i], sizeof(buffer[i])};
		in[i].msg_hdr = (struct msghdr){.msg_iov = &bytes[i], .msg_iovlen = 1};
	}
	int got = recvmmsg(l->fd, in, BATCH, MSG_DONTWAIT, NULL), n = 0;
	unsigned next[BATCH];
	for (int i = 0; i < got; i++) {
		unsigned e = (unsigned)(buffer[i][4] << 8 | buffer[i][5]);
		uint16_t id = (uint16_t)(buffer[i][2] << 8 | buffer[i][3]);
		if (in[i].msg_len < 6 || e >= l->endpoints || id != l->id[e])
			continue;
		l->answered += buffer[i][1] == 0x44;
		l->refused += buffer[i][1] != 0x44;
		l->id[e]++;
		next[n++] = e;
	}
	if (n > 0)
		load_send(l, next, n);
	if (got > 0)
		return;
	if (poll(&(struct pollfd){.fd = l->fd, .events = POLLIN}, 1, 300) == 0) {
		l->repeated++;
		load_send_all(l);
	}
}

static void load_run(struct load *l, double seconds)
{
	double end = now(CLOCK_MONOTONIC) + seconds;
	while (now(CLOCK_MONOTONIC) < end)
		for (int i = 0; i < 64; i++)
			load_receive(l);
}

static void load_init(struct load *l, const struct sockaddr_in *to, unsigned endpoints)
{
	*l = (struct load){
	    .fd = udp_socket(), .to = *to, .endpoints = endpoints, .id = calloc(endpoints, sizeof(uint16_t))};
	assert(l->id);
	struct sockaddr_in any = {.sin_family = AF_INET};
	int failed = bind(l->fd, (struct sockaddr *)&any, sizeof(any));
	assert(!failed);
	request_init(l);
	load_send_all(l);
}

static void load_fini(struct load *l)
{
	close(l->fd);
	free(l->id);
}

/* -- the two measurements -- */

static void measure_echo(double seconds, unsigned endpoints)
{
	struct echo e = {.fd = udp_socket()};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int failed = bind(e.fd, (struct sockaddr *)&at, sizeof(at)) || getsockname(e.fd, (struct sockaddr *)&at, &len);
	assert(!failed);
	pthread_t thread;
	failed = pthread_create(&thread, NULL, echo_run, &e);
	assert(!failed);
	struct load l;
	load_init(&l, &at, endpoints);
	load_run(&l, seconds);
	e.stop = true;
	pthread_join(thread, NULL);
	printf("coap echo, bare: %.0f datagrams/s, %.2f us of CPU each, %.1f per batch, %u endpoints\n",
	       (double)e.datagrams / seconds, e.cpu / (double)e.datagrams * 1e6,
	       (double)e.datagrams / (double)e.batches, endpoints);
	load_fini(&l);
	close(e.fd);
}

static double cpu_of(const char *pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	FILE *f = fopen(path, "r");
	size_t len = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		fclose(f);
	text[len] = 0;
	const char *p = strrchr(text, ')');
	unsigned long user = 0, system = 0;
	if (!p || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
		fprintf(stderr, "no process %s\n", pid);
		exit(1);
	}
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void measure_server(const char *address, const char *pid, double seconds, unsigned endpoints)
{
	char host[64];
	const char *colon = strrchr(address, ':');
	struct sockaddr_in at = {.sin_family = AF_INET};
	assert(colon && (size_t)(colon - address) < sizeof(host));
	memcpy(host, address, (size_t)(colon - address));
	host[colon - address] = 0;
	at.sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, host, &at.sin_addr) != 1) {
		fprintf(stderr, "not an IPv4 address: %s\n", host);
		exit(1);
	}
	struct load l;
	load_init(&l, &at, endpoints);
	load_run(&l, 1); /* warm */
	uint64_t before = l.answered, refused = l.refused;
	double cpu = cpu_of(pid);
	load_run(&l, seconds);
	cpu = cpu_of(pid) - cpu;
	printf("coap CON: %.0f answered/s, %.2f us of CPU each, %llu refused, %llu pauses, %u endpoints\n",
	       (double)(l.answered - before) / seconds, cpu / (double)(l.answered - before) * 1e6,
	       (unsigned long long)(l.refused - refused), (unsigned long long)l.repeated, endpoints);
	load_fini(&l);
}

int main(int argc, char **argv)
{
	double seconds = argc > 3 ? atof(argv[3]) : 5;
	unsigned endpoints = argc > 4 ? (unsigned)atoi(argv[4]) : 1000;
	if (endpoints < 1 || endpoints > ENDPOINTS_MAX || seconds <= 0 || argc == 2) {
		fprintf(stderr, "usage: %s [HOST:PORT PID [SECONDS [ENDPOINTS]]]\n", argv[0]);
		return 2;
	}
	if (argc > 2)
		measure_server(argv[1], argv[2], seconds, endpoints);
	else
		measure_echo(2, endpoints);
	return 0;
}
