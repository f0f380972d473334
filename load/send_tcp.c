/* Payloads as lines over TCP. A server that counts answers "ok N": the first N lines of this connection are safe, but for
 * those that it refused by "error N REASON" before. One that says nothing (--no-reply) is known to have read everything when it
 * closes the connection after we did. */
#include <string.h>

#include "load/connection.h"
#include "load/job.h"
#include "load/worker.h"

static size_t put(struct connection *c, uint64_t number, uint64_t count, bool again, uint8_t *out)
{
	const struct load_job *j = c->worker->job;
	struct payload_facts f;
	char time[64];
	(void)count;
	connection_facts(c, number, again, &f, time);
	size_t len = payload_put(j->payload, &f, out);
	out[len] = '\n';
	return len + 1;
}

static bool read_number(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
	uint64_t v = 0;
	const uint8_t *from = *at;
	while (*at < end && **at >= '0' && **at <= '9' && *at - from < 18)
		v = v * 10 + (*(*at)++ - '0');
	*out = v;
	return *at > from;
}

static void take_line(struct connection *c, const uint8_t *line, size_t len)
{
	const uint8_t *at = line, *end = line + len;
	uint64_t n;
	char words[120];
	if (len > 3 && !memcmp(at, "ok ", 3) && (at += 3, read_number(&at, end, &n)) && at == end &&
	    c->counted + n <= c->next) {
		connection_acked(c, 0, c->counted + n);
		return;
	}
	at = line;
	if (len > 6 && !memcmp(at, "error ", 6) && (at += 6, read_number(&at, end, &n)) && n > 0 &&
	    c->counted + n <= c->next) {
		snprintf(words, sizeof(words), "%.*s", (int)len, (const char *)line);
		connection_rejected(c, c->counted + n - 1, c->counted + n, LOAD_REJECTED, words);
		return;
	}
	connection_lost(c, LOAD_PROTOCOL, "an answer that is neither ok N nor error N REASON: %.*s",
	                (int)(len < 80 ? len : 80), (const char *)line);
}

/* "ok N" is cumulative, so of several in a row only the last is looked at. */
static size_t take(struct connection *c, const uint8_t *in, size_t len)
{
	size_t at = 0;
	int fd = c->fd;
	if (!c->worker->job->confirms)
		return len; /* --no-reply: whatever it says */
	for (const uint8_t *end; (end = memchr(in + at, '\n', len - at)); at = (size_t)(end - in) + 1) {
		size_t n = (size_t)(end - in) - at;
		n -= n > 0 && in[at + n - 1] == '\r';
		const uint8_t *behind = end + 1;
		if (n > 3 && in[at] == 'o' && behind < in + len && *behind == 'o' &&
		    memchr(behind, '\n', (size_t)(in + len - behind)))
			continue;
		take_line(c, in + at, n);
		if (c->fd != fd)
			return len;
	}
	return at;
}

static bool confirms(const struct load_plan *plan)
{
	return !plan->no_reply;
}

const struct load_protocol load_tcp = {
    .name = "tcp",
    .scheme = "tcp",
    .tls_scheme = "tls",
    .in_order = true,
    .port = "5170",
    .tls_port = "5171",
    .qos = -1,
    .most = -1,
    .window = 1000,
    .most_window = 1u << 20,
    .confirms = confirms,
    .room = 8,
    .put = put,
    .take = take,
    .finish_by_shutdown = true,
};
