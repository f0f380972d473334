/* What the senders of the benchmarks share: the documents they send, clocks, sockets, and the line they end with. */
#ifndef SLUICE_BENCH_CLIENT_H
#define SLUICE_BENCH_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* 1024 documents of 170 to 190 bytes (183 in the mean) from as many devices, with different digits and lengths: one
 * document sent again and again would be learnt by heart by the branch predictor of the server. */
#define DOCUMENTS 1024u

struct document {
	char text[192];
	size_t len;
	char device[16]; /* the same as /device in it */
};

static struct document documents[DOCUMENTS];

/* Numbers from a fixed start, so that every run sends the same. */
static inline uint32_t bench_random(uint32_t below)
{
	static uint64_t state = 1;
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33) % below;
}

static inline void document_write(struct document *d, uint32_t number)
{
	static const char *const states[] = {"ok", "low battery", "calibrating", "fault"};
	snprintf(d->device, sizeof(d->device), "sensor-%04u", number);
	d->len = (size_t)snprintf(
	    d->text, sizeof(d->text),
	    "{\"device\":\"%s\",\"ts\":\"2026-11-22T08:%02u:%02u.%06uZ\",\"temperature\":%.*f,\"humidity\":%.1f,"
	    "\"battery\":%.2f,\"seq\":%u,\"status\":\"%s\",\"location\":{\"lat\":%.*f,\"lon\":%.4f}}",
	    d->device, bench_random(60), bench_random(60), bench_random(1000000), (int)bench_random(4),
	    bench_random(8000) / 100.0 - 20, bench_random(1000) / 10.0, bench_random(420) / 100.0,
	    bench_random(10000000), states[bench_random(4)], (int)bench_random(6) + 1,
	    bench_random(1800000) / 10000.0 - 90, bench_random(3600000) / 10000.0 - 180);
}

static inline void documents_init(void)
{
	for (uint32_t i = 0; i < DOCUMENTS; i++)
		do
			document_write(&documents[i], i);
		while (documents[i].len < 170 || documents[i].len > 190);
}

static inline double documents_mean(void)
{
	size_t total = 0;
	for (uint32_t i = 0; i < DOCUMENTS; i++)
		total += documents[i].len;
	return (double)total / DOCUMENTS;
}

static inline double seconds_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

_Noreturn static inline void bench_fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

static inline struct sockaddr_in bench_address(const char *host, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1 || a.sin_port == 0) {
		fprintf(stderr, "%s: not an IPv4 address and a port: %s %s\n", program_invocation_short_name, host,
		        port);
		exit(2);
	}
	return a;
}

static inline int bench_connect(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		bench_fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static inline void bench_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* The last line of every sender: one JSON object. messages: those that were acknowledged. */
static inline void bench_report(uint64_t messages, uint64_t lost, double seconds)
{
	printf("{\"messages\":%llu,\"lost\":%llu,\"seconds\":%.6f,\"rate\":%.0f,\"payload\":%.1f}\n",
	       (unsigned long long)messages, (unsigned long long)lost, seconds, (double)messages / seconds,
	       documents_mean());
}

#endif
