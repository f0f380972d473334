/* Lines of the log about single senders: who was refused, and whose payload is not the JSON that it was meant to be. Metrics
 * count them without limit, but have no label for a device; these lines name it. */
#include <arpa/inet.h>
#include <string.h>

#include "gateway/listener.h"

#define DEVICE_SHOWN 256u /* bytes; log.h shows no more */

/* Bytes from outside as a text; what has a NUL in it ends there. */
static const char *device_text(char out[DEVICE_SHOWN + 1], const char *device, size_t len)
{
	if (!device)
		return NULL;
	if (len > DEVICE_SHOWN)
		len = DEVICE_SHOWN;
	memcpy(out, device, len);
	out[len] = 0;
	return out;
}

/* *port is 0 where the address is unknown. */
static const char *peer_text(char out[INET6_ADDRSTRLEN], const struct sockaddr *peer, unsigned *port)
{
	*port = 0;
	if (peer && peer->sa_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)peer;
		*port = ntohs(a->sin_port);
		return inet_ntop(AF_INET, &a->sin_addr, out, INET6_ADDRSTRLEN);
	}
	if (!peer || peer->sa_family != AF_INET6)
		return NULL;
	const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)peer;
	*port = ntohs(a->sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr))
		return inet_ntop(AF_INET, a->sin6_addr.s6_addr + 12, out, INET6_ADDRSTRLEN);
	return inet_ntop(AF_INET6, &a->sin6_addr, out, INET6_ADDRSTRLEN);
}

static void report(struct intake *in, const char *message, const char *reason, const struct refused_sender *who,
                   uint64_t left_out)
{
	char device[DEVICE_SHOWN + 1], ip[INET6_ADDRSTRLEN];
	unsigned port;
	const char *address = peer_text(ip, who->peer, &port);
	log_event(LOG_WARN, "listener", message, LOG_S("sluice.listener", in->listener->name),
	          LOG_S("sluice.reason", reason), LOG_S("error.message", who->detail),
	          LOG_S("device.id", device_text(device, who->device, who->device_len)), LOG_S("source.ip", address),
	          LOG_N("source.port", port), LOG_N("sluice.log.suppressed", left_out));
}

void intake_report(struct intake *in, enum refusal_reason reason, const struct refused_sender *who)
{
	uint64_t left_out;
	if (log_allow(&in->refused_log[reason], in->now_us / 1000, &left_out))
		report(in, "refused", stats_refusal_names[reason], who, left_out);
}

void intake_report_not_json(struct intake *in, const struct message *m)
{
	uint64_t left_out;
	if (!log_allow(&in->not_json_log, in->now_us / 1000, &left_out))
		return;
	const struct refused_sender who = {.peer = m->peer,
	                                   .device = in->plan.device,
	                                   .device_len = in->plan.device_len,
	                                   .detail = in->plan.found.json.reason};
	report(in, "a payload was meant to be JSON and is not: it is kept as text or base64",
	       stats_fault_names[in->plan.fault], &who, left_out);
}
