#include "protocols/net/udp.h"

#include <assert.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct control {
	_Alignas(
	    struct cmsghdr) char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct udp {
	int fd;
	int family;
	bool wildcard;       /* ask for, and set, the local address of each datagram */
	uint32_t drops_seen; /* the kernel's counter wraps at 32 bits */
	size_t max_datagram;
	uint8_t *buffers; /* owned; UDP_BATCH times max_datagram */
	struct mmsghdr in[UDP_BATCH], out[UDP_BATCH];
	struct iovec in_bytes[UDP_BATCH], out_bytes[UDP_BATCH];
	struct sockaddr_in6 from[UDP_BATCH], to[UDP_BATCH];
	struct control in_control[UDP_BATCH], out_control[UDP_BATCH];
	struct udp_datagram datagram[UDP_BATCH];
	struct udp_out outbox;
};

/* -- opening -- */

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Which of these fail says nothing about whether we can serve, but for the local address on a wildcard. */
static enum gw_err set_options(struct udp *u, uint64_t receive_buffer, struct why *why)
{
	int size = receive_buffer > INT32_MAX / 2 ? INT32_MAX / 2 : (int)receive_buffer;
	if (set(u->fd, SOL_SOCKET, SO_RCVBUFFORCE, size) != 0)
		set(u->fd, SOL_SOCKET, SO_RCVBUF, size);
	set(u->fd, IPPROTO_IP, IP_MULTICAST_ALL, 0); /* not what other programs of this machine joined */
	/* Answers are far below any path MTU: don't fragment (RFC 7252 section 4.6), which also spares the kernel a
	 * number for each of them. */
	set(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
	if (u->family == AF_INET6) {
		set(u->fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
		set(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, u->wildcard ? 0 : 1);
	}
	if (!u->wildcard)
		return GW_OK;
	int failed =
	    set(u->fd, IPPROTO_IP, IP_PKTINFO, 1); /* beside the other for IPv4 on a dual-stack socket: local_read */
	if (u->family == AF_INET6)
		failed = set(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	return failed ? why_set(why, GW_IO, "cannot learn local addresses: %s", strerror(errno)) : GW_OK;
}

static enum gw_err open_socket(struct udp *u, const struct address *listen, uint64_t receive_buffer,
                               char bound[SOCKET_TEXT], struct why *why)
{
	struct socket_name name = {.len = 0};
	enum gw_err err = socket_resolve(listen, SOCK_DGRAM, &name, why);
	if (err)
		return err;
	u->family = name.address.ss_family;
	u->wildcard = socket_is_wildcard((struct sockaddr *)&name.address);
	/* Without SO_REUSEADDR: with it, a second process could take the port away from us. */
	u->fd = socket(u->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	if (u->fd < 0)
		return why_set(why, GW_IO, "socket: %s", strerror(errno));
	if ((err = set_options(u, receive_buffer, why)))
		return err;
	return socket_bind(u->fd, listen, &name, bound, why);
}

static void headers_init(struct udp *u)
{
	for (size_t i = 0; i < UDP_BATCH; i++) {
		u->in_bytes[i] = (struct iovec){u->buffers + i * u->max_datagram, u->max_datagram};
		u->in[i].msg_hdr =
		    (struct msghdr){.msg_name = &u->from[i], .msg_iov = &u->in_bytes[i], .msg_iovlen = 1};
		u->out[i].msg_hdr =
		    (struct msghdr){.msg_name = &u->to[i], .msg_iov = &u->out_bytes[i], .msg_iovlen = 1};
	}
}

enum gw_err udp_open(struct udp **out, const struct address *listen, size_t max_datagram, uint64_t receive_buffer,
                     char bound[SOCKET_TEXT], struct why *why)
{
	struct udp *u = calloc(1, sizeof(*u));
	if (!u)
		return why_set(why, GW_NOMEM, "out of memory");
	u->fd = -1;
	u->max_datagram = max_datagram;
	u->buffers = malloc(UDP_BATCH * max_datagram);
	enum gw_err err = GW_NOMEM;
	if (!u->buffers) {
		why_set(why, err, "out of memory");
		goto failed;
	}
	headers_init(u);
	if ((err = open_socket(u, listen, receive_buffer, bound, why))) {
		why_add(why, err, "listen");
		goto failed;
	}
	*out = u;
	return GW_OK;
failed:
	udp_free(u);
	return err;
}

void udp_free(struct udp *u)
{
	if (!u)
		return;
	if (u->fd >= 0)
		close(u->fd);
	free(u->buffers);
	free(u);
}

int udp_fd(const struct udp *u)
{
	return u->fd;
}

struct udp_out *udp_outbox(struct udp *u)
{
	return &u->outbox;
}

/* -- reading -- */

static void map_v4(struct in6_addr *out, const struct in_addr *v4)
{
	memset(out, 0, sizeof(*out));
	out->s6_addr[10] = out->s6_addr[11] = 0xff;
	memcpy(out->s6_addr + 12, v4, 4);
}

static struct in_addr unmap_v4(const struct in6_addr *v6)
{
	struct in_addr v4;
	memcpy(&v4, v6->s6_addr + 12, 4);
	return v4;
}

/* The address that was asked. A subnet's broadcast address looks like a host's, but then the one to answer from is another. */
static struct in_addr asked(const struct in_pktinfo *info)
{
	bool many = info->ipi_spec_dst.s_addr != 0 && info->ipi_spec_dst.s_addr != info->ipi_addr.s_addr;
	return many ? (struct in_addr){.s_addr = INADDR_BROADCAST} : info->ipi_addr;
}

static void local_read(struct msghdr *h, struct in6_addr *local)
{
	memset(local, 0, sizeof(*local));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			struct in_addr v4 = asked(&info);
			map_v4(local, &v4);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			*local = info.ipi6_addr;
		}
	}
}

/* A bound address is one host's own, so only a wildcard socket can meet these. */
static bool meant_for_many(const struct in6_addr *local)
{
	if (!IN6_IS_ADDR_V4MAPPED(local))
		return IN6_IS_ADDR_MULTICAST(local);
	uint32_t v4 = ntohl(unmap_v4(local).s_addr);
	return IN_MULTICAST(v4) || v4 == INADDR_BROADCAST;
}

static void route_read(const struct udp *u, struct msghdr *h, struct udp_route *r)
{
	if (u->family == AF_INET) {
		const struct sockaddr_in *in = h->msg_name;
		map_v4(&r->peer, &in->sin_addr);
		r->port = ntohs(in->sin_port);
		r->scope = 0;
	} else {
		const struct sockaddr_in6 *in6 = h->msg_name;
		r->peer = in6->sin6_addr;
		r->port = ntohs(in6->sin6_port);
		r->scope = in6->sin6_scope_id;
	}
	if (u->wildcard)
		local_read(h, &r->local);
	else
		r->local = in6addr_any;
}

size_t udp_read(struct udp *u, void (*take)(void *self, const struct udp_datagram *d, size_t count), void *self,
                uint64_t *bytes)
{
	for (size_t i = 0; i < UDP_BATCH; i++) { /* the kernel overwrites these */
		struct msghdr *h = &u->in[i].msg_hdr;
		h->msg_namelen = sizeof(u->from[i]);
		h->msg_control = u->wildcard ? u->in_control[i].bytes : NULL;
		h->msg_controllen = u->wildcard ? sizeof(u->in_control[i]) : 0;
	}
	int got = recvmmsg(u->fd, u->in, UDP_BATCH, MSG_DONTWAIT, NULL);
	size_t count = 0;
	for (int i = 0; i < got; i++) {
		struct msghdr *h = &u->in[i].msg_hdr;
		struct udp_datagram *d = &u->datagram[count];
		d->from = h->msg_name;
		d->bytes = u->in_bytes[i].iov_base;
		d->len = u->in[i].msg_len;
		d->cut = h->msg_flags & MSG_TRUNC;
		*bytes += d->len;
		route_read(u, h, &d->route);
		if (d->route.port != 0 && !meant_for_many(&d->route.local)) /* nobody could be answered at port 0 */
			count++;
	}
	if (count > 0)
		take(self, u->datagram, count);
	return got > 0 ? (size_t)got : 0; /* EAGAIN, or an error that a later datagram does not have */
}

uint64_t udp_dropped(struct udp *u)
{
	/* Asked once in a while, this costs nothing per datagram, and it also tells of drops when nothing comes any
	 * more; SO_RXQ_OVFL does neither. */
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t len = sizeof(info);
	if (getsockopt(u->fd, SOL_SOCKET, SO_MEMINFO, info, &len) != 0 || len <= SK_MEMINFO_DROPS * sizeof(info[0]))
		return 0;
	uint32_t more = info[SK_MEMINFO_DROPS] - u->drops_seen;
	u->drops_seen = info[SK_MEMINFO_DROPS];
	return more;
}

/* -- writing -- */

uint8_t *udp_out_next(struct udp_out *o)
{
	assert(o->count < UDP_OUT);
	return o->item[o->count].bytes;
}

void udp_out_add(struct udp_out *o, const struct udp_route *route, size_t len)
{
	assert(o->count < UDP_OUT && len <= UDP_ANSWER_MAX);
	o->item[o->count].route = *route;
	o->item[o->count].len = len;
	o->count++;
}

static void local_write(struct udp *u, struct msghdr *h, struct control *control, const struct udp_route *r)
{
	h->msg_control = NULL;
	h->msg_controllen = 0;
	if (!u->wildcard || IN6_IS_ADDR_UNSPECIFIED(&r->local))
		return;
	h->msg_control = control->bytes;
	struct cmsghdr *c = (struct cmsghdr *)(void *)control->bytes;
	if (u->family == AF_INET) {
		struct in_pktinfo info = {.ipi_spec_dst = unmap_v4(&r->local)};
		*c = (struct cmsghdr){
		    .cmsg_len = CMSG_LEN(sizeof(info)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		h->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in6_pktinfo info = {.ipi6_addr = r->local};
		*c = (struct cmsghdr){
		    .cmsg_len = CMSG_LEN(sizeof(info)), .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO};
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		h->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

static void header_write(struct udp *u, size_t i, size_t item)
{
	const struct udp_route *r = &u->outbox.item[item].route;
	struct msghdr *h = &u->out[i].msg_hdr;
	u->out_bytes[i] = (struct iovec){u->outbox.item[item].bytes, u->outbox.item[item].len};
	if (u->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&u->to[i];
		*in = (struct sockaddr_in){
		    .sin_family = AF_INET, .sin_port = htons(r->port), .sin_addr = unmap_v4(&r->peer)};
		h->msg_namelen = sizeof(*in);
	} else {
		u->to[i] = (struct sockaddr_in6){.sin6_family = AF_INET6,
		                                 .sin6_port = htons(r->port),
		                                 .sin6_addr = r->peer,
		                                 .sin6_scope_id = r->scope};
		h->msg_namelen = sizeof(u->to[i]);
	}
	local_write(u, h, &u->out_control[i], r);
}

bool udp_write(struct udp *u, uint64_t *bytes)
{
	struct udp_out *o = &u->outbox;
	while (o->sent < o->count) {
		size_t n = o->count - o->sent < UDP_BATCH ? o->count - o->sent : UDP_BATCH;
		for (size_t i = 0; i < n; i++)
			header_write(u, i, o->sent + i);
		int sent = sendmmsg(u->fd, u->out, (unsigned)n, MSG_DONTWAIT);
		if (sent < 0 && errno == EAGAIN)
			return false;
		if (sent < 0 && errno == EINTR)
			continue;
		for (int i = 0; i < sent; i++)
			*bytes += u->out[i].msg_len;
		o->sent += sent > 0 ? (size_t)sent : 1; /* the first of them cannot be sent */
	}
	o->sent = o->count = 0;
	return true;
}
