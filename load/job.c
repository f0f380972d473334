/* Preparing a plan to be carried out; see job.h. */
#include "load/job.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/base/base64.h"
#include "gateway/base/json.h"
#include "load/secure.h"

#define FILE_MAX (16u << 20)

/* -- texts -- */

static enum gw_err open_text(struct payload **out, const struct load_job *j, const char *text, const char *what,
                             struct why *why)
{
	struct payload_plan plan = {.text = text, .len = strlen(text), .run = j->run, .seed = j->plan->seed};
	enum gw_err err = payload_open(out, &plan, why);
	return err ? why_add(why, err, "%s", what) : GW_OK;
}

static enum gw_err read_file(const char *path, char **text, size_t *len, struct why *why)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return why_set(why, GW_CONFIG, "--file %s: cannot be read", path);
	*text = malloc(FILE_MAX);
	*len = *text ? fread(*text, 1, FILE_MAX, f) : 0;
	bool whole = *text && feof(f) && !ferror(f);
	fclose(f);
	if (!whole)
		return why_set(why, GW_CONFIG, "--file %s: cannot be read, or is over 16 MiB", path);
	while (*len > 0 && ((*text)[*len - 1] == '\n' || (*text)[*len - 1] == '\r'))
		--*len;
	return GW_OK;
}

static enum gw_err open_payload(struct load_job *j, struct why *why)
{
	const struct load_plan *p = j->plan;
	char *text = NULL;
	struct payload_plan plan = {.text = p->payload ? p->payload : PAYLOAD_TELEMETRY,
	                            .size = p->size,
	                            .identity = !p->raw,
	                            .one_line = j->protocol == &load_tcp || p->batch > 1,
	                            .run = j->run,
	                            .seed = p->seed};
	plan.len = strlen(plan.text);
	if (p->file) {
		enum gw_err err = read_file(p->file, &text, &plan.len, why);
		if (err) {
			free(text);
			return err;
		}
		plan.text = text;
	}
	enum gw_err err = payload_open(&j->payload, &plan, why);
	free(text);
	return err;
}

static enum gw_err open_name(struct load_job *j, unsigned number, struct why *why)
{
	char text[200] = "", *end = text + sizeof(text), *at = text;
	for (const char *from = j->plan->name ? j->plan->name : "{protocol}-{n}"; *from && end - at > 24;)
		if (!strncmp(from, "{protocol}", 10)) {
			at += snprintf(at, (size_t)(end - at), number ? "%s%u" : "%s", j->protocol->name, number + 1);
			from += 10;
		} else {
			*at++ = *from++;
		}
	*at = 0;
	enum gw_err err = open_text(&j->name, j, text, "--name", why);
	if (!err)
		j->name_max = payload_max(j->name, 0);
	return err;
}

/* Everything of the head between path and length. */
static enum gw_err make_head(struct load_job *j, struct why *why)
{
	const struct load_plan *p = j->plan;
	char credentials[200] = "", encoded[280] = "";
	bool templates = (p->user && strchr(p->user, '{')) || (p->password && strchr(p->password, '{'));
	const char *type = p->batch > 1 ? "application/x-ndjson" : j->json ? "application/json" : "text/plain";
	if (p->user && !templates) {
		int n = snprintf(credentials, sizeof(credentials), "%s:%s", p->user, p->password ? p->password : "");
		if (n >= (int)sizeof(credentials))
			return why_set(why, GW_CONFIG, "--user and --password: longer than %zu bytes",
			               sizeof(credentials));
		encoded[base64_encode(encoded, credentials, (size_t)n)] = 0;
	}
	bool six = strchr(p->host, ':');
	int n = snprintf(j->head, sizeof(j->head), " HTTP/1.1\r\nHost: %s%s%s:%s\r\nContent-Type: %s\r\n%s%s%s",
	                 six ? "[" : "", p->host, six ? "]" : "", p->port, type,
	                 encoded[0] ? "Authorization: Basic " : "", encoded, encoded[0] ? "\r\n" : "");
	if (n >= (int)sizeof(j->head))
		return why_set(why, GW_CONFIG, "--user and --password: too long");
	j->head_len = (size_t)n;
	if (!templates) {
		payload_close(j->user);
		j->user = NULL;
		return GW_OK;
	}
	size_t most = payload_max(j->user, j->name_max) + 1 + (j->password ? payload_max(j->password, j->name_max) : 0);
	if (most > JOB_CREDENTIALS_MAX)
		return why_set(why, GW_CONFIG, "--user and --password: too long");
	j->room += most * 4 / 3 + 4; /* as base64 */
	return GW_OK;
}

static enum gw_err open_texts(struct load_job *j, unsigned number, struct why *why)
{
	const struct load_plan *p = j->plan;
	char client[64];
	enum gw_err err;
	snprintf(client, sizeof(client), "load-%s-%u-{connection}", j->run, number);
	const struct {
		struct payload **to;
		const char *text, *what;
	} texts[] = {
	    {&j->topic, p->topic ? p->topic : "devices/{device}/telemetry", "--topic"},
	    {&j->path, p->path[0] ? p->path : j->protocol->path, "path"},
	    {&j->user, p->user, "--user"},
	    {&j->password, p->password, "--password"},
	    {&j->client, p->client_id ? p->client_id : client, "--client-id"},
	    {&j->cert, p->cert && strchr(p->cert, '{') ? p->cert : NULL, "--cert"},
	    {&j->key, p->key && strchr(p->key, '{') ? p->key : NULL, "--key"},
	};
	if ((err = open_payload(j, why)) || (err = open_name(j, number, why)))
		return err;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].text && (err = open_text(texts[i].to, j, texts[i].text, texts[i].what, why)))
			return err;
	j->json = payload_is_json(j->payload);
	j->payload_max = payload_max(j->payload, j->name_max);
	j->room = j->protocol->room + j->batch * (j->payload_max + 2) + payload_max(j->topic, j->name_max);
	if (j->path)
		j->room += 2 * payload_max(j->path, j->name_max);
	if (j->protocol->datagram && (j->payload_max > 60000 || payload_max(j->path, j->name_max) > 1000))
		return why_set(why, GW_CONFIG, "a message of up to %zu bytes does not fit a datagram", j->payload_max);
	return j->protocol == &load_http ? make_head(j, why) : GW_OK;
}

/* -- addresses -- */

static enum gw_err resolve(struct load_job *j, struct why *why)
{
	const struct load_plan *p = j->plan;
	struct addrinfo hints = {.ai_socktype = j->protocol->datagram ? SOCK_DGRAM : SOCK_STREAM}, *found;
	int e = getaddrinfo(p->host, p->port, &hints, &found);
	if (e)
		return why_set(why, GW_CONFIG, "%s: %s", p->target, gai_strerror(e));
	memcpy(&j->to, found->ai_addr, found->ai_addrlen);
	j->to_len = found->ai_addrlen;
	freeaddrinfo(found);
	for (unsigned i = 0; i < p->bind_count; i++) {
		struct sockaddr_in *four = (struct sockaddr_in *)(void *)&j->bind[i];
		struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)&j->bind[i];
		j->bind[i].ss_family = j->to.ss_family;
		void *at = j->to.ss_family == AF_INET ? (void *)&four->sin_addr : (void *)&six->sin6_addr;
		if (inet_pton(j->to.ss_family, p->bind[i], at) != 1)
			return why_set(why, GW_CONFIG, "--bind: %s is no IPv%d address", p->bind[i],
			               j->to.ss_family == AF_INET ? 4 : 6);
	}
	const struct sockaddr_in *to = (const struct sockaddr_in *)(const void *)&j->to;
	j->one_socket = j->protocol->datagram && p->bind_count == 0 && to->sin_family == AF_INET &&
	                ntohl(to->sin_addr.s_addr) >> 24 == 127 && j->connections < 1u << 23;
	return GW_OK;
}

/* -- devices -- */

static enum gw_err enter_devices(struct load_job *j, struct why *why)
{
	char name[400];
	struct ledger *l = j->ledger;
	if (!l)
		return GW_OK;
	j->ledger_base = l->device_count;
	for (uint64_t n = 0; n < j->devices; n++) {
		struct payload_facts f = {.n = n, .connection = n % j->connections};
		name[payload_put(j->name, &f, (uint8_t *)name)] = 0;
		const struct ledger_device *d = ledger_device(l, name, j->protocol->name, j->plan->qos);
		if (!d)
			return why_set(why, GW_NOMEM, "out of memory for %llu devices", (unsigned long long)j->devices);
		if ((size_t)(d - l->devices) != j->ledger_base + n)
			return why_set(why, GW_CONFIG,
			               "two devices would be called %s: --name needs {n}, and {protocol} when "
			               "there are several targets",
			               name);
	}
	return GW_OK;
}

enum gw_err job_open(struct load_job *j, const struct load_plan *plan, const char *run, unsigned number,
                     struct ledger *ledger, struct why *why)
{
	enum gw_err err;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	*j = (struct load_job){.plan = plan,
	                       .protocol = plan->protocol,
	                       .run = run,
	                       .ledger = plan->raw ? NULL : ledger,
	                       .connections = plan->connections,
	                       .devices = plan->devices ? plan->devices : plan->connections,
	                       .batch = plan->protocol->batches ? plan->batch : 1,
	                       .done_fd = -1};
	j->window = plan->protocol->batches ? j->batch : plan->window;
	j->confirms = plan->protocol->confirms(plan);
	j->worker_count = plan->workers ? plan->workers : cores > 0 ? (unsigned)cores : 1;
	if (j->worker_count > j->connections)
		j->worker_count = (unsigned)j->connections;
	if ((j->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		return why_set(why, GW_IO, "eventfd failed");
	if ((err = resolve(j, why)) || (err = open_texts(j, number, why)) || (err = enter_devices(j, why)))
		return err;
	return plan->tls ? secure_init(&j->tls, plan, why) : GW_OK;
}

void job_close(struct load_job *j)
{
	struct payload *texts[] = {j->payload,  j->name,   j->topic, j->path, j->user,
	                           j->password, j->client, j->cert,  j->key};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		payload_close(texts[i]);
	SSL_CTX_free(j->tls);
	if (j->done_fd >= 0)
		close(j->done_fd);
}
