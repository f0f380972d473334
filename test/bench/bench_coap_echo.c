/* The floor of a CoAP server: recvmmsg, a few bytes changed, sendmmsg, and nothing else.
 *
 *	bench_coap_echo PORT
 *
 * Answers every datagram on 127.0.0.1:PORT as if it were a confirmable POST that was accepted: ACK 2.04, with message ID
 * and token (RFC 7252 section 5.2.1). Nothing is parsed beyond the token's length, kept or written. One thread, until it
 * is killed. Load it with
 *
 *	sluice-load coap://127.0.0.1:PORT -c 1000 --pid PID */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define ACK 0x60     /* version 1, type ACK; the token's length is or'ed in */
#define CHANGED 0x44 /* 2.04 */

static uint8_t buffer[BATCH][2048];
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_bytes[BATCH], out_bytes[BATCH];
static struct sockaddr_in from[BATCH];

static int turn(int fd)
{
	for (int i = 0; i < BATCH; i++) {
		in_bytes[i] = (struct iovec){buffer[i], sizeof(buffer[i])};
		in[i].msg_hdr = (struct msghdr){
		    .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &in_bytes[i], .msg_iovlen = 1};
	}
	int got = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL);
	for (int i = 0; i < got; i++) {
		uint8_t token_len = buffer[i][0] & 15;
		buffer[i][0] = ACK | token_len;
		buffer[i][1] = CHANGED;
		out_bytes[i] = (struct iovec){buffer[i], 4u + token_len};
		out[i].msg_hdr = (struct msghdr){
		    .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &out_bytes[i], .msg_iovlen = 1};
	}
	if (got > 0)
		sendmmsg(fd, out, (unsigned)got, 0); /* what is lost is sent again by the client */
	return got;
}

int main(int argc, char **argv)
{
	int port = argc == 2 ? atoi(argv[1]) : 0, size = 4 << 20;
	if (port < 1 || port > 65535) {
		fputs("usage: bench_coap_echo PORT\n", stderr);
		return 2;
	}
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		fprintf(stderr, "bench_coap_echo: port %d: %s\n", port, strerror(errno));
		return 1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	puts("ready");
	fflush(stdout);
	while (turn(fd) >= 0 || errno == EINTR)
		;
	perror("bench_coap_echo");
	return 1;
}
