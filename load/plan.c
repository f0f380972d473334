/* Plans: defaults, targets, and what cannot be; see plan.h. */
#include "load/plan.h"

#include <stdio.h>
#include <string.h>

#include "load/protocol.h"

void plan_init(struct load_plan *p)
{
	*p = (struct load_plan){.connections = 1,
	                        .batch = 1,
	                        .qos = -1,
	                        .grace_us = 10000000,
	                        .timeout_us = 30000000,
	                        .give_up_us = 60000000,
	                        .keep_alive_us = 60000000,
	                        .seed = 1};
}

static enum gw_err find_scheme(struct load_plan *p, const char *url, size_t len, struct why *why)
{
	for (const struct load_protocol *const *each = load_protocols; *each; each++) {
		const struct load_protocol *l = *each;
		p->protocol = l;
		if (strlen(l->scheme) == len && !strncmp(l->scheme, url, len))
			return GW_OK;
		p->tls = l->tls_scheme && strlen(l->tls_scheme) == len && !strncmp(l->tls_scheme, url, len);
		if (p->tls)
			return GW_OK;
	}
	return why_set(why, GW_CONFIG,
	               "%s: no such scheme; there are mqtt:// mqtts:// coap:// tcp:// tls:// http:// https://", url);
}

static bool copy(char *out, size_t room, const char *from, size_t len)
{
	if (len >= room)
		return false;
	memcpy(out, from, len);
	out[len] = 0;
	return true;
}

enum gw_err plan_target(struct load_plan *p, const char *url, struct why *why)
{
	const char *at = strstr(url, "://"), *host, *path, *port;
	if (!at || at == url)
		return why_set(why, GW_CONFIG, "%s is no target: SCHEME://HOST[:PORT][/PATH], as mqtt://127.0.0.1:1883",
		               url);
	p->tls = false;
	enum gw_err err = find_scheme(p, url, (size_t)(at - url), why);
	if (err)
		return err;
	host = at + 3;
	path = host + strcspn(host, "/");
	if (memchr(host, '@', (size_t)(path - host)))
		return why_set(why, GW_CONFIG, "%s: user and password go into --user and --password", url);
	port = NULL;
	const char *host_end = path;
	if (*host == '[') {
		host_end = memchr(host, ']', (size_t)(path - host));
		if (!host_end || (host_end[1] != ':' && host_end + 1 != path))
			return why_set(why, GW_CONFIG, "%s: no ] after the address", url);
		port = host_end[1] == ':' ? host_end + 2 : NULL;
		host++;
	} else {
		const char *colon = memchr(host, ':', (size_t)(path - host));
		if (colon) {
			host_end = colon;
			port = colon + 1;
		}
	}
	const char *standard = p->tls ? p->protocol->tls_port : p->protocol->port;
	bool fits =
	    copy(p->host, sizeof(p->host), host, (size_t)(host_end - host)) &&
	    copy(p->port, sizeof(p->port), port ? port : standard, port ? (size_t)(path - port) : strlen(standard)) &&
	    copy(p->path, sizeof(p->path), path, strcmp(path, "/") == 0 ? 0 : strlen(path)) &&
	    copy(p->target, sizeof(p->target), url, strlen(url));
	if (!fits || !p->host[0] || !p->port[0] || strspn(p->port, "0123456789") != strlen(p->port))
		return why_set(why, GW_CONFIG, "%s: host or port missing or too long, or the port is no number", url);
	if (p->path[0] && !p->protocol->path)
		return why_set(why, GW_CONFIG, "%s: %s has no path%s", url, p->protocol->scheme,
		               p->protocol == &load_mqtt ? "; the topic is set by --topic" : "");
	return GW_OK;
}

/* -- what cannot be: rules in tables, of which the first that is broken is reported -- */

struct rule {
	bool broken;
	const char *what;
};

static const char *first_broken(const struct rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rules[i].broken)
			return rules[i].what;
	return NULL;
}
#define FIRST_BROKEN(rules) first_broken(rules, sizeof(rules) / sizeof(*(rules)))

static const char *conflict_of_senders(const struct load_plan *p)
{
	const struct load_protocol *l = p->protocol;
	const struct rule rules[] = {
	    {p->connections < 1 || p->connections > 4000000000, "--connections: at least 1"},
	    {p->devices && p->devices < p->connections,
	     "--devices: a device belongs to one connection, so there must be as many as connections at least"},
	    {p->devices > 100000000, "--devices: 100 million at most"},
	    {p->qos > l->most && l->most < 0, "--qos: this protocol has none"},
	    {p->qos > l->most, "--qos: higher than the protocol has"},
	    {p->batch != 1 && !l->batches, "--batch: only HTTP has batches"},
	    {p->batch < 1 || p->batch > 100000, "--batch: 1 to 100000"},
	    {p->window > l->most_window && l->batches,
	     "--window: HTTP has one request under way; more connections, or --batch"},
	    {p->window > l->most_window, "--window: too large"},
	    {p->no_reply && l != &load_tcp, "--no-reply: only for TCP"},
	};
	return FIRST_BROKEN(rules);
}

static const char *conflict_of_shape(const struct load_plan *p)
{
	bool fleet = p->shape.kind == SHAPE_FLEET;
	const struct rule rules[] = {
	    {p->duration_us == 0 && p->count == 0 && !p->storm, "how long? --duration, --count, or --storm"},
	    {p->shape.jitter > 0 && !fleet, "--jitter: of --every, which is missing"},
	    {p->dribble_us && (fleet || p->protocol->datagram), "--slow: neither for CoAP nor with --every"},
	};
	return FIRST_BROKEN(rules);
}

static const char *conflict_of_access(const struct load_plan *p)
{
	const struct load_protocol *l = p->protocol;
	const struct rule rules[] = {
	    {p->tls && l->datagram, "TLS: not for datagrams"},
	    {!p->cert != !p->key, "--cert and --key: both or none"},
	    {(p->cert || p->ca || p->insecure) && !p->tls,
	     "--ca, --cert, --key and --insecure need a target with TLS: mqtts:// tls:// https://"},
	    {p->password && !p->user, "--password: needs --user"},
	    {p->user && (l == &load_tcp || l == &load_coap), "--user: only MQTT and HTTP have users"},
	};
	return FIRST_BROKEN(rules);
}

static const char *conflict_of_messages(const struct load_plan *p)
{
	const char *name = p->name ? p->name : "{n}";
	const struct rule rules[] = {
	    {p->payload && p->file, "--payload and --file: one of them"},
	    {!strstr(name, "{n}") && (p->devices ? p->devices : p->connections) > 1,
	     "--name: needs {n}, so that devices differ"},
	    {strpbrk(name, "\"\\/+#\n\r\t") || strlen(name) > 120,
	     "--name: at most 120 characters, none of \" \\ / + #"},
	    {p->ledger_path && p->raw, "--ledger: with --raw messages do not carry who sent them"},
	    {p->keep_alive_us > 65535000000 || p->timeout_us == 0,
	     "--keep-alive: 65535 s at most; --timeout: more than 0"},
	    {p->workers > 1024, "--workers: 1024 at most"},
	};
	return FIRST_BROKEN(rules);
}

static const char *conflict(const struct load_plan *p)
{
	static const char *(*const each[])(const struct load_plan *p) = {conflict_of_senders, conflict_of_shape,
	                                                                 conflict_of_access, conflict_of_messages};
	const char *wrong = NULL;
	for (size_t i = 0; i < sizeof(each) / sizeof(*each) && !wrong; i++)
		wrong = each[i](p);
	return wrong;
}

enum gw_err plan_check(struct load_plan *p, struct why *why)
{
	const char *wrong = conflict(p);
	if (wrong)
		return why_set(why, GW_CONFIG, "%s: %s", p->target, wrong);
	if (p->qos < 0)
		p->qos = p->protocol->qos;
	if (p->window == 0)
		p->window = p->protocol->window;
	if (p->shape.kind == SHAPE_FLEET)
		p->shape.size = p->devices ? p->devices : p->connections;
	p->shape.seed = p->seed;
	if (p->protocol->batches && p->batch > 1 && !p->path[0])
		snprintf(p->path, sizeof(p->path), "/v1/telemetry");
	return GW_OK;
}
