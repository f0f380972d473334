/* Datagrams of a worker; see datagram.h. */
#include "load/datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define ANSWER_MAX 1280

struct datagrams {
	int fd; /* the one socket; -1: one per endpoint */
	unsigned count;
	bool own; /* what was received last came on an endpoint's own socket */
	size_t room;
	uint8_t *bytes;         /* owned; BATCH * room */
	const int *from[BATCH]; /* borrowed: the descriptors of those that send */
	struct mmsghdr out[BATCH], in[BATCH];
	struct iovec out_at[BATCH], in_at[BATCH];
	struct sockaddr_storage peers[BATCH];
	uint8_t answers[BATCH][ANSWER_MAX];
	struct {
		_Alignas(struct cmsghdr) uint8_t at[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} out_control[BATCH], in_control[BATCH];
};

/* Endpoint n is 127.1.0.0 + n. */
#define FIRST_ADDRESS UINT32_C(0x7f010000)

static bool open_shared(struct worker *w)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int size = 8 << 20, on = 1;
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = w};
	w->datagrams->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->datagrams->fd < 0 || bind(w->datagrams->fd, (struct sockaddr *)&any, sizeof(any)) != 0 ||
	    setsockopt(w->datagrams->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) != 0)
		return false;
	setsockopt(w->datagrams->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(w->datagrams->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->datagrams->fd, &e) == 0;
}

enum gw_err datagram_open(struct worker *w, struct why *why)
{
	struct datagrams *u = calloc(1, sizeof(*u));
	if (!u)
		return why_set(why, GW_NOMEM, "out of memory");
	w->datagrams = u;
	u->fd = -1;
	u->room = w->job->room;
	if (!(u->bytes = malloc(BATCH * u->room)))
		return why_set(why, GW_NOMEM, "out of memory");
	if (w->job->one_socket && !open_shared(w))
		return why_set(why, GW_IO, "UDP socket: %s", strerror(errno));
	for (int i = 0; i < BATCH; i++) {
		u->out_at[i].iov_base = u->bytes + (size_t)i * u->room;
		u->in_at[i] = (struct iovec){u->answers[i], ANSWER_MAX};
		u->in[i].msg_hdr = (struct msghdr){.msg_iov = &u->in_at[i], .msg_iovlen = 1};
		u->out[i].msg_hdr = (struct msghdr){.msg_iov = &u->out_at[i], .msg_iovlen = 1};
		if (u->fd < 0)
			continue;
		u->out[i].msg_hdr.msg_name = &w->job->to;
		u->out[i].msg_hdr.msg_namelen = w->job->to_len;
		u->out[i].msg_hdr.msg_control = u->out_control[i].at;
		u->out[i].msg_hdr.msg_controllen = sizeof(u->out_control[i].at);
		struct cmsghdr *c = CMSG_FIRSTHDR(&u->out[i].msg_hdr);
		if (!c)
			continue;
		c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
	}
	return GW_OK;
}

void datagram_close(struct worker *w)
{
	if (!w->datagrams)
		return;
	if (w->datagrams->fd >= 0)
		close(w->datagrams->fd);
	free(w->datagrams->bytes);
	free(w->datagrams);
	w->datagrams = NULL;
}

bool datagram_open_endpoint(struct worker *w, uint64_t number, void *context, int *fd)
{
	const struct load_job *j = w->job;
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = context};
	if (w->datagrams->fd >= 0) {
		*fd = w->datagrams->fd;
		return true;
	}
	*fd = socket(j->to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return false;
	if (j->plan->bind_count > 0 &&
	    bind(*fd, (const struct sockaddr *)&j->bind[number % j->plan->bind_count], j->to_len) != 0)
		return false;
	return connect(*fd, (const struct sockaddr *)&j->to, j->to_len) == 0 &&
	       epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, *fd, &e) == 0;
}

uint8_t *datagram_room(struct worker *w, const int *fd)
{
	struct datagrams *u = w->datagrams;
	/* datagrams of a system call leave through one socket */
	if (u->count == BATCH || (u->count > 0 && *u->from[0] != *fd))
		datagram_flush(w);
	return u->bytes + u->count * u->room;
}

void datagram_put(struct worker *w, const int *fd, uint64_t number, size_t len)
{
	struct datagrams *u = w->datagrams;
	unsigned i = u->count++;
	u->out_at[i].iov_len = len;
	u->from[i] = fd;
	if (u->fd >= 0) {
		struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(FIRST_ADDRESS + (uint32_t)number)};
		struct cmsghdr *control = CMSG_FIRSTHDR(&u->out[i].msg_hdr);
		if (control)
			memcpy(CMSG_DATA(control), &info, sizeof(info));
	}
}

/* What cannot be sent now is dropped, as a network does, and comes again by the protocol's retransmission; a full socket
 * buffer on loopback means that the server's is full. */
void datagram_flush(struct worker *w)
{
	struct datagrams *u = w->datagrams;
	if (!u || u->count == 0)
		return;
	int fd = *u->from[0];
	for (unsigned sent = 0; sent < u->count && fd >= 0;) {
		int n = sendmmsg(fd, u->out + sent, u->count - sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ECONNREFUSED) {
			worker_error(w, LOAD_REFUSED, "write: %s", strerror(errno));
			n = 1;
		} else if (n < 0) {
			if (errno != EAGAIN && errno != ENOBUFS)
				worker_error(w, LOAD_RESOURCES, "write: %s", strerror(errno));
			break;
		}
		for (int i = 0; i < n; i++)
			w->counts.bytes_out += u->out_at[sent + (unsigned)i].iov_len;
		sent += (unsigned)n;
	}
	u->count = 0;
}

/* Whom an answer is for: its destination address tells. */
static uint64_t receiver(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			return ntohl(info.ipi_addr.s_addr) - FIRST_ADDRESS;
		}
	return UINT64_MAX;
}

unsigned datagram_receive(struct worker *w, int fd)
{
	struct datagrams *u = w->datagrams;
	u->own = fd >= 0;
	for (int i = 0; i < BATCH && !u->own; i++) {
		u->in[i].msg_hdr.msg_control = u->in_control[i].at;
		u->in[i].msg_hdr.msg_controllen = sizeof(u->in_control[i].at);
	}
	int got = recvmmsg(u->own ? fd : u->fd, u->in, BATCH, MSG_DONTWAIT, NULL);
	if (got < 0) {
		if (errno == ECONNREFUSED)
			worker_error(w, LOAD_REFUSED, "read: %s", strerror(errno));
		return 0;
	}
	if (got > 0)
		atomic_store_explicit(&w->job->last_answer_us, w->now_us, memory_order_relaxed);
	for (int i = 0; i < got; i++)
		w->counts.bytes_in += u->in[i].msg_len;
	return (unsigned)got;
}

struct datagram datagram_get(const struct worker *w, unsigned i)
{
	struct datagrams *u = w->datagrams;
	return (struct datagram){.bytes = u->answers[i],
	                         .len = u->in[i].msg_len,
	                         .number = u->own ? UINT64_MAX : receiver(&u->in[i].msg_hdr)};
}
