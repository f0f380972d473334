/* Addresses: see address.h. IPv6 in brackets, RFC 3986 section 3.2.2; zones, RFC 4007 section 11. */
#include "config/address.h"

#include <arpa/inet.h>
#include <string.h>

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

static const char *check_port(const char *port)
{
	size_t len = strlen(port), value = 0;
	if (!len)
		return "has no port";
	if (len != strspn(port, "0123456789") || (len > 1 && port[0] == '0'))
		return "has a port that is not a number";
	for (size_t i = 0; i < len && value <= 65535; i++)
		value = value * 10 + (size_t)(port[i] - '0');
	return value > 65535 ? "has a port above 65535" : NULL;
}

static const char *check_ipv6(const char *host)
{
	char bare[INET6_ADDRSTRLEN];
	struct in6_addr unused;
	const char *zone = strchr(host, '%');
	size_t len = zone ? (size_t)(zone - host) : strlen(host);

	if (len >= sizeof(bare))
		return "has something else than an IPv6 address in its brackets";
	memcpy(bare, host, len);
	bare[len] = '\0';
	if (inet_pton(AF_INET6, bare, &unused) != 1)
		return "has something else than an IPv6 address in its brackets";
	if (zone && (!zone[1] || strlen(zone + 1) != strspn(zone + 1, NAME_CHARS ".")))
		return "has a malformed zone after the %";
	return NULL;
}

/* An IPv4 address or a name of non-empty labels. Names may hold underscores: container networks use them. */
static const char *check_name(const char *host)
{
	struct in_addr unused;
	if (!*host)
		return "has no host ([::] is every address, 127.0.0.1 this machine only)";
	if (!strcmp(host, "*"))
		return "has no host (every address is [::])";
	if (strlen(host) == strspn(host, "0123456789."))
		return inet_pton(AF_INET, host, &unused) == 1 ? NULL : "has a malformed IPv4 address";
	for (const char *label = host; *label;) {
		size_t len = strspn(label, NAME_CHARS);
		if (!len || len > 63 || (label[len] && label[len] != '.'))
			return "has a malformed host name";
		label += len + (label[len] == '.');
	}
	return NULL;
}

static const char *fill(struct address *out, const char *host, size_t host_len, const char *port)
{
	const char *problem = check_port(port);
	if (!problem && host_len >= sizeof(out->host))
		problem = "has a host name that is too long";
	if (problem)
		return problem;
	*out = (struct address){0};
	memcpy(out->host, host, host_len);
	memcpy(out->port, port, strlen(port));
	return NULL;
}

const char *address_parse(const char *text, struct address *out)
{
	struct address address;
	const char *problem, *colon;

	if (text[0] == '[') {
		const char *close = strchr(text, ']');
		if (!close)
			return "has a [ without ]";
		if (close[1] != ':')
			return "has no port";
		problem = fill(&address, text + 1, (size_t)(close - text - 1), close + 2);
		problem = problem ? problem : check_ipv6(address.host);
	} else {
		if (strstr(text, "://"))
			return "is a URL, not an address";
		colon = strchr(text, ':');
		if (!colon)
			return "has no port";
		if (strchr(colon + 1, ':'))
			return "is no address (an IPv6 address needs brackets)";
		problem = fill(&address, text, (size_t)(colon - text), colon + 1);
		problem = problem ? problem : check_name(address.host);
	}
	if (!problem)
		*out = address;
	return problem;
}
