/* The Elasticsearch sink: records to indices or a data stream, by _bulk requests over libcurl. OpenSearch speaks the
 * same language.
 *
 * Here are its settings and calls; what becomes of a batch is told in elasticsearch_flight.c. Several batches are in
 * flight, each with a request of its own; all of them run on the pump's thread, inside poll. */
#include "sinks/elasticsearch/elasticsearch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const compressions[] = {"none", "gzip", NULL};

#define ST struct elasticsearch
static const struct setting elasticsearch_settings[] = {
    SETTING_AS(ST, "nodes", node_urls, SETTING_LIST, "http://127.0.0.1:9200", 0, 0,
               "URLs of the cluster's nodes (or of what stands in front of them), asked in turn; one that fails is "
               "left alone for a while."),
    SETTING(ST, index, SETTING_STRING, "telemetry-{yyyy.MM.dd}", 0, 0,
            "Index that records go to. May be a template: `{yyyy.MM.dd}` is the record's time in UTC, `{device.id}` or "
            "`{payload.site|none}` a field of the "
            "record, escaped to a legal name."),
    SETTING(ST, fallback_index, SETTING_STRING, "telemetry-other-{yyyy.MM.dd}", 0, 0,
            "Index of records whose own cannot be used, where `index` is made of fields: a field is missing, the name "
            "is too long, `max_targets` is reached, or "
            "the index is closed or forbidden. Only times are possible in it."),
    SETTING(ST, max_targets, SETTING_INT, "100", 1, 10000,
            "Distinct indices that fields of records may make; further ones go to `fallback_index`. An index unused "
            "for a day no longer counts."),
    SETTING(ST, data_stream, SETTING_STRING, NULL, 0, 0,
            "Name of a data stream to write to, such as `telemetry-sluice-default`, instead of `index`. An index "
            "template must make it one (see "
            "`install_template`)."),
    SETTING(ST, username, SETTING_STRING, NULL, 0, 0, "User name for basic authentication."),
    SETTING(ST, password, SETTING_SECRET, NULL, 0, 0, "Its password; `{file: PATH}` keeps it out of this file."),
    SETTING(ST, api_key, SETTING_SECRET, NULL, 0, 0,
            "API key, encoded as the server gave it, instead of user name and password."),
    SETTING(ST, ca_file, SETTING_STRING, NULL, 0, 0,
            "PEM file of the certificate authorities that vouch for https nodes, and only they; left out: those of the "
            "system."),
    SETTING(ST, cert_file, SETTING_STRING, NULL, 0, 0,
            "PEM file with this client's certificate, where the nodes ask for one."),
    SETTING(ST, key_file, SETTING_STRING, NULL, 0, 0, "PEM file with the key of `cert_file`."),
    SETTING(ST, verify, SETTING_BOOL, "true", 0, 0,
            "Whether the nodes' certificates and names are verified. Without it anyone in between can read and change "
            "everything."),
    SETTING_CHOICES(
        ST, compression, "none", compressions,
        "Compression of requests: gzip sends a fraction of the bytes and takes more CPU time, here and in the server."),
    SETTING(ST, connect_timeout, SETTING_DURATION, "5s", 1e4, 3e8, "Longest time to connect to a node."),
    SETTING(ST, request_timeout, SETTING_DURATION, "60s", 1e5, 3.6e9,
            "Longest time for a whole request; its records are sent again then."),
    SETTING(ST, install_template, SETTING_BOOL, "false", 0, 0,
            "Before the first record, install the index template that comes with Sluice, unless it is there. Needs the "
            "rights monitor and manage_index_templates."),
    SETTING_AS(ST, "template", template_name, SETTING_STRING, "sluice-telemetry", 0, 0,
               "Name of the index template that `install_template` installs."),
    SETTINGS_END,
};

/* -- checking -- */

static enum gw_err node_urls_check(const struct elasticsearch *es, struct why *why)
{
	if (es->node_urls.count == 0)
		return why_set(why, GW_CONFIG, "nodes: give at least one URL");
	for (size_t i = 0; i < es->node_urls.count; i++) {
		enum gw_err err = nodes_check_url(es->node_urls.items[i], why);
		if (err)
			return why_add(why, err, "nodes");
	}
	return GW_OK;
}

static bool any_https(const struct elasticsearch *es)
{
	for (size_t i = 0; i < es->node_urls.count; i++)
		if (!strncmp(es->node_urls.items[i], "https:", 6))
			return true;
	return false;
}

static enum gw_err login_check(const struct elasticsearch *es, struct why *why)
{
	if (es->api_key && (es->username || es->password))
		return why_set(why, GW_CONFIG, "api_key and username exclude each other");
	if (!es->username != !es->password)
		return why_set(why, GW_CONFIG, "username and password go together");
	if (es->api_key && strpbrk(es->api_key, "\r\n"))
		return why_set(why, GW_CONFIG, "api_key: has more than one line");
	if (!es->cert_file != !es->key_file)
		return why_set(why, GW_CONFIG, "cert_file and key_file go together");
	const struct {
		const char *name, *path;
	} files[] = {{"ca_file", es->ca_file}, {"cert_file", es->cert_file}, {"key_file", es->key_file}};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (files[i].path && !any_https(es))
			return why_set(why, GW_CONFIG, "%s needs an https URL in nodes", files[i].name);
		if (files[i].path && access(files[i].path, R_OK) != 0)
			return why_set(why, GW_CONFIG, "%s: %s: %s", files[i].name, files[i].path, strerror(errno));
	}
	return GW_OK;
}

/* The template of names in force. */
static const char *name_text(const struct elasticsearch *es)
{
	return es->data_stream ? es->data_stream : es->index;
}

static enum gw_err name_check(const struct elasticsearch *es, struct why *why)
{
	struct index_name n;
	enum gw_err err = index_name_init(&n, name_text(es), es->fallback_index, (size_t)es->max_targets, why);
	if (err)
		return es->data_stream ? why_add(why, err, "data_stream") : err;
	bool constant = template_constant(&n.main), has_field = n.main.has_field;
	index_name_fini(&n);
	if (es->data_stream && !constant)
		return why_set(why, GW_CONFIG,
		               "data_stream: \"%s\" cannot be a template: a data stream cuts itself into indices",
		               es->data_stream);
	if (!es->install_template)
		return GW_OK;
	if (name_text(es)[0] == '{' || (has_field && es->fallback_index[0] == '{'))
		return why_set(why, GW_CONFIG,
		               "install_template: the name must begin with constant text, or the template would be for "
		               "every index");
	const char *name = es->template_name;
	for (const char *c = name; name && *c; c++)
		if (!index_name_rules.literal((unsigned char)*c))
			name = NULL;
	if (!name || !index_name_rules.legal(name, strlen(name)) || strlen(name) > TEMPLATE_NAME_MAX)
		return why_set(why, GW_CONFIG, "template: a name of small letters, digits, '.', '-' and '_' is needed");
	return GW_OK;
}

static enum gw_err elasticsearch_check(const void *self, const struct sink_settings *common, struct why *why)
{
	const struct elasticsearch *es = self;
	(void)common;
	enum gw_err err = node_urls_check(es, why);
	if (!err)
		err = name_check(es, why);
	return err ? err : login_check(es, why);
}

/* -- open -- */

/* What works, and should not stay as it is. */
static void warn_exposed(const struct elasticsearch *es)
{
	for (size_t i = 0; i < es->node_urls.count; i++) {
		const char *url = es->node_urls.items[i];
		bool local = !strncmp(url, "http://127.", 11) || !strncmp(url, "http://localhost", 16) ||
		             !strncmp(url, "http://[::1]", 12);
		if ((es->password || es->api_key) && !strncmp(url, "http:", 5) && !local)
			log_event(LOG_WARN, "sink",
			          "the password or API key goes over the network in the clear: use https",
			          LOG_S("sink.name", es->host->name), LOG_S("url.full", url));
	}
	if (!es->verify && any_https(es))
		log_event(LOG_WARN, "sink",
		          "certificates are not verified: anyone in between can read and change everything",
		          LOG_S("sink.name", es->host->name));
}

static enum gw_err flights_open(struct elasticsearch *es, size_t count)
{
	es->url_room = BULK_PATH_MAX;
	for (size_t i = 0; i < es->nodes.count; i++)
		if (es->url_room < strlen(es->nodes.items[i].url) + BULK_PATH_MAX)
			es->url_room = strlen(es->nodes.items[i].url) + BULK_PATH_MAX;
	es->flights = calloc(count, sizeof(*es->flights));
	if (!es->flights)
		return GW_NOMEM;
	for (; es->flight_count < count; es->flight_count++) {
		struct elasticsearch_flight *f = &es->flights[es->flight_count];
		*f = (struct elasticsearch_flight){
		    .es = es, .http = &es->pool.requests[es->flight_count], .url = malloc(es->url_room)};
		if (!f->url)
			return GW_NOMEM;
		f->http->own = f;
	}
	return GW_OK;
}

static enum gw_err elasticsearch_open(void *self, struct sink_host *host, struct why *why)
{
	struct elasticsearch *es = self;
	size_t count = host->settings->in_flight > 0 ? (size_t)host->settings->in_flight : 1;
	const struct http_plan plan = {
	    .requests = count,
	    .ca_file = es->ca_file,
	    .cert_file = es->cert_file,
	    .key_file = es->key_file,
	    .verify = es->verify,
	    .username = es->username,
	    .password = es->password,
	    .api_key = es->api_key,
	    .connect_timeout_ms = es->connect_timeout / 1000,
	    .request_timeout_ms = es->request_timeout / 1000,
	};
	es->host = host;
	es->body_limit = SIZE_MAX;
	elasticsearch_doubt_begin(es);
	es->setup = es->install_template ? SETUP_NEEDED : SETUP_NONE;
	enum gw_err err = index_name_init(&es->name, name_text(es), es->fallback_index, (size_t)es->max_targets, why);
	if (err)
		return err;
	err = http_pool_open(&es->pool, &plan, elasticsearch_flight_done, es, why);
	if (err)
		return err;
	if (nodes_init(&es->nodes, &es->node_urls) || flights_open(es, count))
		return why_set(why, GW_NOMEM, "out of memory");
	warn_exposed(es);
	return GW_OK;
}

/* -- at work -- */

static enum gw_err elasticsearch_submit(void *self, struct batch *b)
{
	struct elasticsearch *es = self;
	if (es->setup == SETUP_RUNNING)
		return GW_AGAIN;
	for (size_t i = 0; i < es->flight_count; i++) {
		struct elasticsearch_flight *f = &es->flights[i];
		if (f->batch)
			continue;
		elasticsearch_flight_start(f, b, es->setup == SETUP_NEEDED ? STEP_SERVER : STEP_BULK);
		return GW_OK;
	}
	return GW_AGAIN;
}

static void elasticsearch_poll(void *self, int timeout_ms)
{
	struct elasticsearch *es = self;
	http_pool_poll(&es->pool, es->host->wake_fd, timeout_ms);
	elasticsearch_flight_recover(es);
}

static void elasticsearch_close(void *self)
{
	struct elasticsearch *es = self;
	http_pool_close(&es->pool);
	for (size_t i = 0; i < es->flight_count; i++)
		elasticsearch_flight_fini(&es->flights[i]);
	free(es->flights);
	es->flights = NULL;
	es->flight_count = 0;
	bulk_gzip_fini(&es->gzip);
	index_name_fini(&es->name);
	nodes_fini(&es->nodes);
}

static void elasticsearch_describe(const void *self, char *out, size_t size)
{
	const struct elasticsearch *es = self;
	const char *first = es->node_urls.count > 0 ? es->node_urls.items[0] : "";
	char more[32] = "";
	if (es->node_urls.count > 1)
		snprintf(more, sizeof(more), " and %zu more", es->node_urls.count - 1);
	snprintf(out, size, "%s%s %s %s", first, more, es->data_stream ? "data stream" : "index", name_text(es));
}

const struct sink elasticsearch_sink = {
    .name = "elasticsearch",
    .help = "Elasticsearch or OpenSearch: bulk requests, one document per record whatever happens",
    .size = sizeof(struct elasticsearch),
    .settings = elasticsearch_settings,
    .check = elasticsearch_check,
    .open = elasticsearch_open,
    .submit = elasticsearch_submit,
    .poll = elasticsearch_poll,
    .close = elasticsearch_close,
    .describe = elasticsearch_describe,
};
