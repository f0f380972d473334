/* The admin server, on libmicrohttpd's own polling thread; see admin.h. */
#include "gateway/admin.h"

#include <curl/curl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/socket.h"

#define CONNECTIONS 64u
#define PER_ADDRESS 16u /* of them: a probe from elsewhere still finds room when somebody holds connections open */
#define IDLE_SECONDS 10u
#define BACKLOG 128

const struct setting admin_settings[] = {
    SETTING(struct admin_settings, listen, SETTING_ADDRESS, "127.0.0.1:9480", 0, 0,
            "Address of /metrics, /livez and /readyz."),
    SETTING(struct admin_settings, enabled, SETTING_BOOL, "true", 0, 0, "false: no admin server."),
    SETTINGS_END,
};

struct admin {
	struct MHD_Daemon *daemon;
	struct admin_source source;
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, char *text, size_t len)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	if (!r) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	if (status == 405)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	enum MHD_Result done = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result plain(struct MHD_Connection *c, unsigned status, const char *text)
{
	char *copy = strdup(text);
	return copy ? answer(c, status, "text/plain; charset=utf-8", copy, strlen(copy)) : MHD_NO;
}

/* "?verbose" without a value does not show among the arguments unless somebody iterates over them; MHD gives it a NULL
 * value, which MHD_lookup_connection_value cannot tell from "not there". */
static enum MHD_Result find_verbose(void *found, enum MHD_ValueKind kind, const char *key, const char *value)
{
	(void)kind, (void)value;
	if (strcmp(key, "verbose") == 0)
		*(bool *)found = true;
	return MHD_YES;
}

static enum MHD_Result probe(struct MHD_Connection *c, struct admin *a, bool (*check)(void *context, FILE *out))
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return MHD_NO;
	bool passed = check(a->source.context, out);
	bool verbose = false;
	MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, find_verbose, &verbose);
	fprintf(out, "%s\n", passed ? "passed" : "failed");
	if (fclose(out)) {
		free(text);
		return MHD_NO;
	}
	if (!verbose && passed) {
		free(text);
		return plain(c, 200, "ok\n");
	}
	return answer(c, passed ? 200 : 503, "text/plain; charset=utf-8", text, len);
}

static enum MHD_Result metrics(struct MHD_Connection *c, struct admin *a)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return MHD_NO;
	a->source.metrics(a->source.context, out);
	if (fclose(out)) {
		free(text);
		return MHD_NO;
	}
	return answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", text, len);
}

static enum MHD_Result handle(void *self, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **state)
{
	static int seen;
	struct admin *a = self;
	(void)version, (void)upload;
	if (!*state) {
		*state = &seen;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0; /* nothing here takes a body */
		return MHD_YES;
	}
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return plain(c, 405, "only GET and HEAD\n");
	if (strcmp(url, "/metrics") == 0)
		return metrics(c, a);
	if (strcmp(url, "/livez") == 0)
		return probe(c, a, a->source.live);
	if (strcmp(url, "/readyz") == 0)
		return probe(c, a, a->source.ready);
	return plain(c, 404, "here are /metrics, /livez and /readyz\n");
}

enum gw_err admin_open(struct admin **out, const struct admin_settings *settings, const struct admin_source *source,
                       char *address, struct why *why)
{
	struct admin *a = calloc(1, sizeof(*a));
	if (!a)
		return why_set(why, GW_NOMEM, "admin: out of memory");
	a->source = *source;
	int fd;
	enum gw_err err = socket_listen(&settings->listen, BACKLOG, NULL, &fd, address, why);
	if (err) {
		free(a);
		return why_add(why, err, "admin.listen");
	}
	a->daemon =
	    MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, handle, a, MHD_OPTION_LISTEN_SOCKET, fd,
	                     MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT, PER_ADDRESS,
	                     MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	                     (size_t)8192, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (!a->daemon) {
		close(fd);
		free(a);
		return why_set(why, GW_NOMEM, "admin: the server cannot be started");
	}
	*out = a;
	return GW_OK;
}

void admin_close(struct admin *a)
{
	if (!a)
		return;
	MHD_stop_daemon(a->daemon);
	free(a);
}

/* -- asking -- */

static size_t print_answer(char *text, size_t size, size_t count, void *out)
{
	return fwrite(text, size, count, out);
}

bool admin_ask(const struct address *address, const char *path, FILE *out)
{
	char url[600];
	long status = 0;
	bool any4 = strcmp(address->host, "0.0.0.0") == 0, any6 = strcmp(address->host, "::") == 0;
	const char *host = any4 ? "127.0.0.1" : any6 ? "::1" : address->host;
	bool six = strchr(host, ':') != NULL;
	snprintf(url, sizeof(url), "http://%s%s%s:%s%s", six ? "[" : "", host, six ? "]" : "", address->port, path);
	CURL *curl = curl_easy_init();
	if (!curl)
		return false;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 3000L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, print_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	CURLcode code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	else
		fprintf(out, "%s: %s\n", url, curl_easy_strerror(code));
	curl_easy_cleanup(curl);
	return status == 200;
}
