/* CoAP sender: confirmable POSTs of one JSON document from many endpoints, each with a window of unanswered requests
 * (1, as NSTART of RFC 7252 section 4.7, unless told otherwise).
 *
 *	bench_coap_send HOST PORT ENDPOINTS WINDOW MESSAGES
 *
 * The endpoints are addresses of 127.0.0.0/8 behind one socket, so that the load, like the server, moves many datagrams
 * per system call. Nothing is sent again: what got no answer within two seconds of silence is counted as lost, and a
 * lost request is not an error here. An answer other than 2.04 ends it with exit code 1. One thread; at the end it
 * prints one line of JSON. */
#include <netinet/in.h>
#include <poll.h>

#include "test/bench/bench_client.h"

#define BATCH 64
#define ENDPOINTS_MAX 60000u
#define WINDOW_MAX 64u
#define SILENCE_MS 2000

/* A request's token is its endpoint's number and its place in the window; its message id counts per endpoint. */
struct load {
	int fd;
	struct sockaddr_in to;
	uint32_t endpoints, window;
	uint16_t *next_id; /* owned; one per endpoint */
	uint16_t *due;     /* owned; endpoints * window: the message id that is waited for in each place */
	uint64_t to_send, under_way, answered, lost;
};

struct wire {
	uint8_t bytes[256];
	size_t len;
};

static struct wire wires[DOCUMENTS];

/* CON POST, token of 4 bytes, Uri-Path t / {device} / env, Content-Format 50 (RFC 7252 section 3). */
static void wire_make(struct wire *w, const struct document *d)
{
	uint8_t *at = w->bytes;
	memcpy(at, "\x44\x02..tttt\xb1t\x0b", 11);
	memcpy(at + 11, d->device, 11);
	memcpy(at + 22,
	       "\x03"
	       "env\x11\x32\xff",
	       7);
	memcpy(at + 29, d->text, d->len);
	w->len = 29 + d->len;
}

static void udp_open(struct load *l)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int size = 8 << 20;
	l->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&any, sizeof(any)) != 0)
		bench_fail("socket");
	setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(l->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* Sends a next request in each of n places. */
static void send_next(struct load *l, const uint32_t *place, unsigned n)
{
	static struct wire out_wire[BATCH];
	static struct mmsghdr out[BATCH];
	static struct iovec bytes[BATCH];
	static struct {
		_Alignas(struct cmsghdr) char at[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control[BATCH];
	for (unsigned i = 0; i < n; i++) {
		uint32_t endpoint = place[i] / l->window, token = htonl(place[i]);
		uint16_t id = l->due[place[i]] = l->next_id[endpoint]++;
		out_wire[i] = wires[(endpoint + id) % DOCUMENTS];
		out_wire[i].bytes[2] = (uint8_t)(id >> 8);
		out_wire[i].bytes[3] = (uint8_t)id;
		memcpy(out_wire[i].bytes + 4, &token, 4);
		bytes[i] = (struct iovec){out_wire[i].bytes, out_wire[i].len};
		out[i].msg_hdr = (struct msghdr){.msg_name = &l->to,
		                                 .msg_namelen = sizeof(l->to),
		                                 .msg_iov = &bytes[i],
		                                 .msg_iovlen = 1,
		                                 .msg_control = control[i].at,
		                                 .msg_controllen = sizeof(control[i].at)};
		struct cmsghdr *c = CMSG_FIRSTHDR(&out[i].msg_hdr);
		struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(0x7f010000u + endpoint)};
		c->cmsg_len = CMSG_LEN(sizeof(info));
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	}
	for (unsigned sent = 0; sent < n;) {
		int done = sendmmsg(l->fd, out + sent, n - sent, 0);
		if (done < 0 && errno != EINTR)
			bench_fail("sendmmsg");
		sent += done > 0 ? (unsigned)done : 0;
	}
	l->to_send -= n;
	l->under_way += n;
}

static void send_first(struct load *l)
{
	uint32_t place[BATCH];
	unsigned n = 0;
	for (uint32_t p = 0; p < l->endpoints * l->window && l->to_send > 0; p++) {
		place[n++] = p;
		if (n == BATCH || n == l->to_send) {
			send_next(l, place, n);
			n = 0;
		}
	}
	if (n > 0)
		send_next(l, place, n);
}

/* The place whose request this datagram answers; UINT32_MAX: of none that is waited for. */
static uint32_t take_answer(struct load *l, const uint8_t *bytes, size_t len)
{
	uint32_t place;
	if (len < 8 || (bytes[0] & 0x3f) != 0x24) /* an ACK with 4 bytes of token */
		return UINT32_MAX;
	memcpy(&place, bytes + 4, 4);
	place = ntohl(place);
	if (place >= l->endpoints * l->window || l->due[place] != (uint16_t)(bytes[2] << 8 | bytes[3]))
		return UINT32_MAX;
	if (bytes[1] != 0x44) {
		fprintf(stderr, "bench_coap_send: answered %u.%02u\n", bytes[1] >> 5, bytes[1] & 31u);
		exit(1);
	}
	l->answered++;
	l->under_way--;
	return place;
}

static void receive_some(struct load *l)
{
	static uint8_t buffer[BATCH][64];
	static struct mmsghdr in[BATCH];
	static struct iovec bytes[BATCH];
	uint32_t place[BATCH];
	unsigned n = 0;
	for (int i = 0; i < BATCH; i++) {
		bytes[i] = (struct iovec){buffer[i], sizeof(buffer[i])};
		in[i].msg_hdr = (struct msghdr){.msg_iov = &bytes[i], .msg_iovlen = 1};
	}
	int got = recvmmsg(l->fd, in, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < got; i++) {
		uint32_t p = take_answer(l, buffer[i], in[i].msg_len);
		if (p != UINT32_MAX && n < l->to_send)
			place[n++] = p;
	}
	if (n > 0)
		send_next(l, place, n);
	if (got > 0 || poll(&(struct pollfd){.fd = l->fd, .events = POLLIN}, 1, SILENCE_MS) != 0)
		return;
	l->lost += l->under_way;
	l->under_way = 0;
	send_first(l);
}

int main(int argc, char **argv)
{
	struct load l = {.endpoints = argc < 6 ? 0 : (uint32_t)atoi(argv[3]),
	                 .window = argc < 6 ? 0 : (uint32_t)atoi(argv[4])};
	if (l.endpoints < 1 || l.endpoints > ENDPOINTS_MAX || l.window < 1 || l.window > WINDOW_MAX) {
		fputs("usage: bench_coap_send HOST PORT ENDPOINTS WINDOW MESSAGES\n", stderr);
		return 2;
	}
	l.to = bench_address(argv[1], argv[2]);
	l.to_send = strtoull(argv[5], NULL, 10);
	l.next_id = calloc(l.endpoints, sizeof(*l.next_id));
	l.due = calloc((size_t)l.endpoints * l.window, sizeof(*l.due));
	if (!l.next_id || !l.due)
		bench_fail("calloc");
	documents_init();
	for (uint32_t i = 0; i < DOCUMENTS; i++)
		wire_make(&wires[i], &documents[i]);
	udp_open(&l);
	double begin = seconds_now();
	send_first(&l);
	while (l.under_way > 0 || l.to_send > 0)
		receive_some(&l);
	bench_report(l.answered, l.lost, seconds_now() - begin);
	close(l.fd);
	free(l.next_id);
	free(l.due);
	return 0;
}
