/* Listening sockets; see socket.h. */
#include "gateway/base/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#define FD_RESERVE 64 /* descriptors that connections leave to others */
#define PORTS_RESERVED 1024

/* -- texts -- */

static void configured_text(const struct address *at, char text[SOCKET_TEXT])
{
	snprintf(text, SOCKET_TEXT, strchr(at->host, ':') ? "[%s]:%s" : "%s:%s", at->host, at->port);
}

void socket_text(const struct sockaddr *a, socklen_t len, char text[SOCKET_TEXT])
{
	char host[SOCKET_TEXT - 16] = "?", port[8] = "?";
	getnameinfo(a, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(text, SOCKET_TEXT, a->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static const char *hint(int error, const struct address *at)
{
	if (error == EADDRINUSE)
		return "; another program or listener has it: stop that, or choose another port";
	if (error == EADDRNOTAVAIL)
		return "; this machine does not have that address: list what it has with `ip address`, or listen on "
		       "0.0.0.0 or [::]";
	if (error == EACCES && atoi(at->port) < PORTS_RESERVED)
		return "; a port below 1024 needs the capability CAP_NET_BIND_SERVICE: grant it, or choose a port "
		       "from 1024 on";
	if (error == EACCES)
		return "; a security policy of this machine forbids it (SELinux, AppArmor, seccomp, cgroup)";
	if (error == EAFNOSUPPORT)
		return "; this machine has no IPv6: listen on 0.0.0.0 or an IPv4 address";
	return "";
}

static enum gw_err fail(const struct address *at, int error, struct why *why)
{
	char text[SOCKET_TEXT];
	configured_text(at, text);
	return why_set(why, GW_IO, "%s: %s%s", text, strerror(error), hint(error, at));
}

/* -- opening -- */

static void set(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

static uint16_t get_port(const struct socket_name *name)
{
	const struct sockaddr_storage *a = &name->address;
	return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)a)->sin6_port
	                                      : ((const struct sockaddr_in *)(const void *)a)->sin_port);
}

static void set_port(struct socket_name *name, uint16_t port)
{
	if (name->address.ss_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)&name->address)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)(void *)&name->address)->sin_port = htons(port);
}

static enum gw_err resolve(const struct address *at, int type, int flags, struct socket_name *name, struct why *why)
{
	struct addrinfo want = {.ai_family = AF_UNSPEC,
	                        .ai_socktype = type,
	                        .ai_flags = AI_PASSIVE | AI_NUMERICSERV | flags},
	                *found = NULL;
	int failed = getaddrinfo(at->host, at->port, &want, &found);
	if (failed)
		return why_set(why, GW_CONFIG, "%s cannot be resolved: %s", at->host, gai_strerror(failed));
	*name = (struct socket_name){.len = found->ai_addrlen};
	memcpy(&name->address, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return GW_OK;
}

enum gw_err socket_resolve(const struct address *at, int type, struct socket_name *name, struct why *why)
{
	return resolve(at, type, 0, name, why);
}

enum gw_err socket_bind(int fd, const struct address *at, const struct socket_name *name, char text[SOCKET_TEXT],
                        struct why *why)
{
	struct socket_name bound = {.len = sizeof(bound.address)};
	if (bind(fd, (const struct sockaddr *)(const void *)&name->address, name->len) != 0 ||
	    getsockname(fd, (struct sockaddr *)(void *)&bound.address, &bound.len) != 0)
		return fail(at, errno, why);
	socket_text((const struct sockaddr *)(const void *)&bound.address, bound.len, text);
	return GW_OK;
}

/* With SO_REUSEPORT from the start, another gateway of this user that has the port would share it, and the kernel would
 * deal half of the devices to each without a word. So thread 0 binds and listens without the option, which fails if
 * anybody listens there, and sets it when the port is its own; sockets that follow with the option join it then. */
static enum gw_err open_listening(const struct address *at, int backlog, const struct socket_share *share,
                                  const struct socket_name *name, int fd, char text[SOCKET_TEXT], struct why *why)
{
	bool joins = share && share->thread > 0;
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1); /* a vanished peer is found */
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* no small answer waits for another */
	if (name->address.ss_family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (joins)
		set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	enum gw_err err = socket_bind(fd, at, name, text, why);
	if (err)
		return err;
	if (listen(fd, backlog) != 0)
		return fail(at, errno, why);
	if (share && share->threads > 1 && !joins)
		set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	return GW_OK;
}

enum gw_err socket_listen(const struct address *at, int backlog, const struct socket_share *share, int *fd,
                          char text[SOCKET_TEXT], struct why *why)
{
	struct socket_name name = {.len = 0};
	enum gw_err err = resolve(at, SOCK_STREAM, 0, &name, why);
	if (err)
		return err;
	if (share && share->thread > 0 && get_port(&name) == 0)
		set_port(&name, *share->port);
	int made = socket(name.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (made < 0)
		return fail(at, errno, why);
	err = open_listening(at, backlog, share, &name, made, text, why);
	if (err) {
		close(made);
		return err;
	}
	if (share && share->thread == 0)
		*share->port = (uint16_t)atoi(strrchr(text, ':') + 1);
	*fd = made;
	return GW_OK;
}

/* -- addresses -- */

bool socket_is_wildcard(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static bool is_localhost(const char *host)
{
	return strcasecmp(host, "localhost") == 0;
}

/* A numeric address, or localhost as this machine has it: neither asks a name server. */
static bool known(const struct address *at, struct socket_name *name)
{
	return resolve(at, SOCK_STREAM, is_localhost(at->host) ? 0 : AI_NUMERICHOST, name, NULL) == GW_OK;
}

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET);
}

bool socket_is_loopback(const struct address *at)
{
	struct socket_name name = {.len = 0};
	if (is_localhost(at->host))
		return true;
	return known(at, &name) && is_loopback((const struct sockaddr *)(const void *)&name.address);
}

/* IPv4 as IPv4-mapped IPv6, so that both compare. */
static struct in6_addr as_six(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET6)
		return ((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	struct in6_addr six = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
	memcpy(six.s6_addr + 12, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	return six;
}

/* [::] takes every address; 0.0.0.0 those of its family. */
static bool covers(const struct sockaddr *a, const struct sockaddr *b)
{
	return socket_is_wildcard(a) && (a->sa_family == AF_INET6 || b->sa_family == AF_INET);
}

bool socket_clash(const struct address *a, const struct address *b)
{
	struct socket_name one = {.len = 0}, other = {.len = 0};
	if (atoi(a->port) != atoi(b->port) || atoi(a->port) == 0)
		return false;
	if (!known(a, &one) || !known(b, &other))
		return strcasecmp(a->host, b->host) == 0;
	const struct sockaddr *x = (const struct sockaddr *)(const void *)&one.address,
	                      *y = (const struct sockaddr *)(const void *)&other.address;
	struct in6_addr six = as_six(x), other_six = as_six(y);
	return covers(x, y) || covers(y, x) || IN6_ARE_ADDR_EQUAL(&six, &other_six);
}

int socket_limit(void)
{
	struct rlimit most;
	if (getrlimit(RLIMIT_NOFILE, &most) != 0 || most.rlim_cur > INT_MAX)
		return INT_MAX;
	int limit = (int)most.rlim_cur;
	return limit - (limit / 4 < FD_RESERVE ? limit / 4 : FD_RESERVE);
}
