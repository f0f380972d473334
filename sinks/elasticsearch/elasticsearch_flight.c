/* The way of a batch to a search cluster.
 *
 * A batch becomes a flight: its body is written, the request started, and elasticsearch_flight_done called when it has
 * ended. Usually that is one request. It is several when a body is too long for the server: then the batch goes in
 * parts.
 *
 * What an answer means, for one record (bulk_judge) or for the whole request (refused):
 *	2xx, 409           done. 409: an earlier try arrived; the record's id is the document's, so there is one of it
 *	429, 5xx           again, after a back-off or what Retry-After says; after 429 fewer batches at a time
 *	index unusable     held apart, and the operator is told (elasticsearch_target.c); an index named by a field gives
 *	                   way to fallback_index
 *	other 4xx          dead, with the server's reason
 *	413                in halves, and further batches in parts that small; a single record: dead
 *	nothing sensible   again, at another node if there is one: ids make it harmless
 *
 * One 4xx is an accident of timing: two devices disagree about the type of a new field, both records are on their way,
 * and the mapping of one of them is made first. The other record is sent once more at once; mostly it fits then (or its
 * field is passed over, with ignore_malformed).
 *
 * The name of an index depends on the record alone, so a replay asks where the record already is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/journal/record.h"
#include "sinks/elasticsearch/elasticsearch.h"

#define ANSWER_MAX (1u << 20)   /* bytes of an answer, and ... */
#define ANSWER_PER_RECORD 2048u /* ... for each record: an error's reason may quote it */
/* Parts taken until a learned limit of bodies is doubled: perhaps it is another server by now. */
#define LIMIT_PARTS 1000u
/* A body that broke the connection that often may be too long for someone who does not say so. */
#define DOUBT_ATTEMPT 2u
/* Trouble is over when something worked and nothing failed for that long. */
#define WELL_AFTER_MS 1000

int64_t elasticsearch_clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* -- what the operator sees -- */

void elasticsearch_ail(struct elasticsearch *es, enum ailment ailment, const char *text)
{
	es->ailed_ms = elasticsearch_clock_ms();
	es->worked_since = false;
	if (es->ailment == ailment)
		return; /* told already; the text may differ in numbers */
	es->ailment = ailment;
	sink_report_health(es->host, text);
}

/* So long nobody may have looked: the longest rest of a batch, and its request. */
static int64_t patience_ms(const struct elasticsearch *es)
{
	return (int64_t)(es->host->settings->backoff_max + es->request_timeout) / 1000 + 2 * WELL_AFTER_MS;
}

/* Requests of one moment may differ (one node is overloaded, another is not): hence the delay. */
void elasticsearch_flight_recover(struct elasticsearch *es)
{
	if (es->ailment == WELL)
		return;
	int64_t now_ms = elasticsearch_clock_ms();
	if (target_health_expire(&es->targets, now_ms - patience_ms(es)))
		elasticsearch_target_report(es);
	if (es->slow && now_ms - es->ailed_ms > patience_ms(es))
		es->slow = NULL; /* given up */
	if (!es->worked_since || es->slow || now_ms - es->ailed_ms < WELL_AFTER_MS)
		return;
	if (es->targets.troubled == 0) {
		es->ailment = WELL;
		sink_report_health(es->host, NULL);
	} else if (es->ailment != TARGETS) {
		elasticsearch_target_report(es);
	}
}

/* -- the end of a flight -- */

static void flight_finish(struct elasticsearch_flight *f)
{
	struct batch *b = f->batch;
	if (f->step < STEP_STREAM)
		f->es->setup = SETUP_NEEDED; /* ended before its time */
	free(f->json);
	f->json = NULL;
	f->batch = NULL;
	batch_finish(b);
}

void elasticsearch_flight_retry(struct elasticsearch_flight *f, const char *text)
{
	batch_retry_all(f->batch, "%s", text);
	f->batch->hold_ms = 0; /* it is not one target's trouble alone */
	flight_finish(f);
}

void elasticsearch_flight_fini(struct elasticsearch_flight *f)
{
	bulk_fini(&f->body);
	bulk_fini(&f->packed);
	free(f->json);
	free(f->url);
	*f = (struct elasticsearch_flight){0};
}

/* -- requests -- */

static enum gw_err bulk_send(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	bool gzip = es->compression == COMPRESSION_GZIP;
	const struct bulk_body *body = gzip ? &f->packed : &f->body;
	snprintf(f->url, es->url_room, "%s%s", f->node->url, f->path);
	f->sent_ms = elasticsearch_clock_ms();
	struct http_pool_call call = {
	    .method = "POST",
	    .url = f->url,
	    .kind = gzip ? HTTP_BULK_GZIP : HTTP_BULK,
	    .body = body->data,
	    .len = body->len,
	    .answer_max = ANSWER_MAX + f->records * ANSWER_PER_RECORD,
	};
	return http_pool_start(&es->pool, f->http, &call);
}

/* What comes before the records: about the index template, or about records in doubt. */
static enum gw_err question_send(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	if (f->step == STEP_STREAM)
		snprintf(f->url, es->url_room, "%s/%s/_settings/index.creation_date", f->node->url, es->data_stream);
	else if (f->step == STEP_FIND)
		snprintf(f->url, es->url_room, "%s/_mget?filter_path=docs._id,docs.found", f->node->url);
	else if (f->step == STEP_SERVER)
		snprintf(f->url, es->url_room, "%s/", f->node->url);
	else
		snprintf(f->url, es->url_room, "%s/_index_template/%s", f->node->url, es->template_name);
	struct http_pool_call call = {
	    .method = f->step == STEP_INSTALL ? "PUT"
	              : f->step == STEP_FIND  ? "POST"
	                                      : "GET",
	    .url = f->url,
	    .kind = f->json ? HTTP_JSON : HTTP_NONE,
	    .body = f->json,
	    .len = f->json ? strlen(f->json) : 0,
	    .answer_max = ANSWER_MAX + f->batch->count * ANSWER_PER_RECORD,
	};
	return http_pool_start(&es->pool, f->http, &call);
}

/* Sends what the step asks for to the next node. The flight may be over afterwards. */
static void step_send(struct elasticsearch_flight *f)
{
	f->node = nodes_take(&f->es->nodes, elasticsearch_clock_ms());
	if (f->step == STEP_BULK ? bulk_send(f) : question_send(f))
		elasticsearch_flight_retry(f, "out of memory");
}

/* Sends the next part of the batch, of what lies before stop; at the end of the batch the flight is over. */
static void part_send(struct elasticsearch_flight *f, size_t stop)
{
	f->tries = 0;
	switch (elasticsearch_body_build(f, stop, elasticsearch_clock_ms())) {
	case BODY_BUILT: step_send(f); break;
	case BODY_EMPTY: flight_finish(f); break;
	default: elasticsearch_flight_retry(f, "out of memory"); break;
	}
}

/* The first request about the batch itself. */
static void batch_send(struct elasticsearch_flight *f)
{
	f->tries = 0;
	if (f->batch->resumes)
		elasticsearch_doubt_begin(f->es);
	f->step = elasticsearch_doubt_applies(f->es, f->batch) ? STEP_STREAM : STEP_BULK;
	if (f->step == STEP_BULK)
		part_send(f, f->batch->count);
	else
		step_send(f);
}

void elasticsearch_flight_start(struct elasticsearch_flight *f, struct batch *b, enum flight_step step)
{
	f->batch = b;
	f->step = step;
	f->first = 0;
	f->limit = f->es->body_limit;
	f->again = false;
	f->tries = 0;
	if (step == STEP_BULK) {
		batch_send(f);
	} else {
		f->es->setup = SETUP_RUNNING;
		step_send(f);
	}
}

/* -- too long -- */

/* The part was too long: it goes again in smaller ones. False: it is a single record. */
static bool part_halve(struct elasticsearch_flight *f)
{
	if (f->records < 2)
		return false;
	f->limit = f->body.len / 2;
	f->again = false;
	part_send(f, f->batch->count);
	return true;
}

static void too_long(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	uint64_t left_out;
	char reason[128];
	stat_add(&es->host->stats->limited, 1);
	if (f->records < 2) {
		snprintf(reason, sizeof(reason),
		         "HTTP 413: a body of %zu bytes is longer than the server takes (http.max_content_length)",
		         f->body.len);
		for (size_t i = f->first; i < f->end; i++)
			if (f->batch->items[i].state == ITEM_PENDING)
				batch_dead(f->batch, i, "%s", reason);
		f->first = f->end;
		part_send(f, f->batch->count);
		return;
	}
	if (f->body.len / 2 < es->body_limit)
		es->body_limit = f->body.len / 2;
	es->limit_parts = 0;
	if (log_allow(&es->limit_log, elasticsearch_clock_ms(), &left_out))
		log_event(LOG_INFO, "sink",
		          "the server takes no body that long (HTTP 413): sending smaller ones; a smaller batch_bytes "
		          "would spare the attempt",
		          LOG_S("sink.name", es->host->name), LOG_N("http.request.body.bytes", f->body.len),
		          LOG_N("sluice.left_out", left_out));
	part_halve(f);
}

/* A part was taken: limits that were lowered in doubt are raised again. */
static void limits_raise(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	if (es->body_limit != SIZE_MAX && ++es->limit_parts >= LIMIT_PARTS) {
		es->limit_parts = 0;
		es->body_limit = es->body_limit > SIZE_MAX / 2 ? SIZE_MAX : es->body_limit * 2;
	}
	f->limit = f->limit > es->body_limit / 4 ? es->body_limit : f->limit * 4;
}

/* -- no answer -- */

static void no_answer(struct elasticsearch_flight *f, enum http_result result)
{
	static const struct {
		enum ailment ailment;
		const char *text;
	} results[] = {
	    [HTTP_UNREACHABLE] = {UNREACHABLE, "cannot be reached"},
	    [HTTP_UNTRUSTED] = {UNTRUSTED, "has no TLS connection for us (see ca_file, cert_file, verify)"},
	    [HTTP_SILENT] = {SILENT, "did not answer within request_timeout"},
	    [HTTP_BROKEN] = {BROKEN, "broke off the request"},
	    [HTTP_TOO_LONG] = {BROKEN, "gave an answer that is too long"},
	};
	struct elasticsearch *es = f->es;
	char text[512];
	uint64_t left_out;
	int64_t now_ms = elasticsearch_clock_ms();
	nodes_failed(f->node, now_ms);
	snprintf(text, sizeof(text), "%s %s: %s; trying again", f->node->url, results[result].text, f->http->error);
	if ((result == HTTP_TOO_LONG || (result == HTTP_BROKEN && f->batch->attempt >= DOUBT_ATTEMPT)) &&
	    f->step == STEP_BULK && part_halve(f))
		return;
	if (++f->tries < es->nodes.count && nodes_other(&es->nodes, f->node, now_ms)) {
		if (log_allow(&es->node_log, now_ms, &left_out))
			log_event(LOG_WARN, "sink", "a node failed, another takes its place",
			          LOG_S("sink.name", es->host->name), LOG_S("error.message", text),
			          LOG_N("sluice.left_out", left_out));
		step_send(f);
		return;
	}
	elasticsearch_ail(es, results[result].ailment, text);
	elasticsearch_flight_retry(f, text);
}

/* -- the whole request refused -- */

/* Every record alone is refused in the same way: it is not about them. Those that were to be dead letters are kept, too. */
static void suspect_target(struct elasticsearch_flight *f, const struct bulk_fault *fault)
{
	char text[512];
	snprintf(text, sizeof(text), "%s refuses every request, whatever is in it: HTTP 400: %s: %.300s; trying again",
	         f->node->url, fault->type, fault->reason);
	for (size_t i = 0; i < f->end; i++)
		if (f->batch->items[i].state == ITEM_DEAD)
			batch_retry(f->batch, i, "%s", text);
	elasticsearch_ail(f->es, REFUSED, text);
	elasticsearch_flight_retry(f, text);
}

/* 400 for a whole request is about one of its records, if the server is known to take others. False: it may not be. */
static bool poison_find(struct elasticsearch_flight *f, const struct bulk_fault *fault)
{
	bool enough = false;
	if (!f->es->works || !fault->type[0] || f->step != STEP_BULK || bulk_names_target(fault->type, fault->reason))
		return false;
	if (part_halve(f))
		return true;
	for (size_t i = f->first; i < f->end; i++)
		if (f->batch->items[i].state == ITEM_PENDING) {
			batch_dead(f->batch, i, "HTTP 400: %s: %s", fault->type, fault->reason);
			enough |= elasticsearch_target_suspect(f, i);
		}
	if (enough) {
		suspect_target(f, fault);
		return true;
	}
	f->first = f->end;
	part_send(f, f->batch->count);
	return true;
}

/* What ails the cluster by an answer to a whole request, and what the operator can do about it. */
static enum ailment ailment_of(const struct elasticsearch_flight *f, const struct bulk_fault *fault,
                               const char **advice)
{
	int status = f->http->status;
	*advice = "";
	switch (status) {
	case 401: *advice = " (see username, password, api_key)"; return NO_LOGIN;
	case 403:
		if (!strcmp(fault->type, "cluster_block_exception"))
			return BLOCKED;
		*advice = f->step == STEP_BULK
		              ? " (the user or key needs the rights create_doc and auto_configure, or more)"
		              : " (install_template needs the rights monitor and manage_index_templates)";
		return NO_LOGIN;
	case 404:
	case 405: *advice = " (is it a node of Elasticsearch or OpenSearch, and its path complete?)"; return NO_BULK;
	default: break;
	}
	if (status / 100 == 3) {
		*advice = " (redirects are not followed: set nodes to the address itself)";
		return REDIRECTED;
	}
	return status >= 500 ? FAILING : REFUSED;
}

static void refused(struct elasticsearch_flight *f)
{
	const struct http_pool_request *http = f->http;
	struct bulk_fault fault;
	char text[1024];
	const char *advice;
	bulk_fault_read(&fault, http->answer ? http->answer : "", http->answer_len);
	if (http->status == 413 && f->step == STEP_BULK) {
		too_long(f);
		return;
	}
	if (http->status == 400 && poison_find(f, &fault))
		return;
	enum ailment ailment = ailment_of(f, &fault, &advice);
	if (ailment == FAILING)
		nodes_failed(f->node, elasticsearch_clock_ms());
	snprintf(text, sizeof(text), "%s answers HTTP %d%s%s%s%s%s%s%s; trying again", f->node->url, http->status,
	         http->location ? " to " : "", http->location ? http->location : "", advice, fault.type[0] ? ": " : "",
	         fault.type, fault.reason[0] ? ": " : "", fault.reason);
	if (http->status != 429)
		elasticsearch_ail(f->es, ailment, text);
	else
		elasticsearch_answer_not_now(f, text);
	f->batch->retry_after_ms = http->retry_after_ms;
	f->batch->overloaded = http->status == 429;
	elasticsearch_flight_retry(f, text);
}

/* -- a part of the batch is answered -- */

void elasticsearch_flight_part_settled(struct elasticsearch_flight *f)
{
	struct batch *b = f->batch;
	if (f->conflicts > 0) {
		f->again = true;
		part_send(f, f->end);
		return;
	}
	f->again = false;
	f->first = f->end;
	limits_raise(f);
	part_send(f, b->count);
}

/* -- the index template, before the first record -- */

static void setup_done(struct elasticsearch_flight *f, const char *what)
{
	struct elasticsearch *es = f->es;
	log_event(LOG_INFO, "sink", what, LOG_S("sink.name", es->host->name),
	          LOG_S("elasticsearch.template", es->template_name),
	          LOG_S("elasticsearch.version", es->server.version));
	es->setup = SETUP_NONE;
	free(f->json);
	f->json = NULL;
	batch_send(f);
}

static void template_send(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	char main[TEMPLATE_NAME_MAX + 2], other[TEMPLATE_NAME_MAX + 2];
	const char *const patterns[] = {main, other};
	index_template_pattern(main, sizeof(main), es->data_stream ? es->data_stream : es->index);
	index_template_pattern(other, sizeof(other), es->fallback_index ? es->fallback_index : "");
	f->json = index_template_make(&es->server, patterns, es->name.main.has_field ? 2 : 1, es->data_stream != NULL);
	f->step = STEP_INSTALL;
	if (f->json)
		step_send(f);
	else
		elasticsearch_flight_retry(f, "out of memory");
}

/* One without a version is someone's own under that name: it stays. */
static void setup_answered(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	const struct http_pool_request *http = f->http;
	const char *answer = http->answer ? http->answer : "";
	int version;
	f->tries = 0;
	if (f->step == STEP_LOOK && http->status == 404) {
		template_send(f);
	} else if (http->status != 200) {
		refused(f);
	} else if (f->step == STEP_SERVER && index_template_server_read(&es->server, answer, http->answer_len)) {
		f->step = STEP_LOOK;
		step_send(f);
	} else if (f->step == STEP_LOOK && (version = index_template_version(answer, http->answer_len)) >= 0) {
		if (version > 0 && version < INDEX_TEMPLATE_VERSION)
			template_send(f);
		else
			setup_done(f, "the index template is there already");
	} else if (f->step == STEP_INSTALL) {
		setup_done(f, "the index template is installed");
	} else {
		char text[512];
		snprintf(text, sizeof(text),
		         "%s does not answer like a node of Elasticsearch or OpenSearch; trying again", f->node->url);
		elasticsearch_ail(es, NO_BULK, text);
		elasticsearch_flight_retry(f, text);
	}
}

/* -- records in doubt: elasticsearch_doubt.c -- */

static void doubt_finish(struct elasticsearch_flight *f, size_t found)
{
	elasticsearch_doubt_over(f->es, f->batch, found);
	free(f->json);
	f->json = NULL;
	f->step = STEP_BULK;
	part_send(f, f->batch->count);
}

static void doubt_answered(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	const struct http_pool_request *http = f->http;
	const char *answer = http->answer ? http->answer : "";
	size_t found = 0;
	char text[512];
	f->tries = 0;
	if (http->status == 404 && f->step == STEP_STREAM) { /* there is no such stream yet */
		doubt_finish(f, 0);
		return;
	}
	if (http->status == 401 || http->status == 403) {
		log_event(
		    LOG_WARN, "sink",
		    "may not look up which records a data stream has: after a rollover some may be there twice. The "
		    "user or key needs the rights view_index_metadata and read",
		    LOG_S("sink.name", es->host->name), LOG_N("http.response.status_code", http->status));
		es->doubt_denied = true;
		doubt_finish(f, 0);
		return;
	}
	if (http->status != 200) {
		refused(f);
		return;
	}
	enum doubt_next next = DOUBT_NO_ANSWER;
	if (f->step == STEP_FIND)
		next = elasticsearch_doubt_found_read(answer, f->batch, &found) ? DOUBT_NONE : DOUBT_NO_ANSWER;
	else
		next = elasticsearch_doubt_stream_read(answer, f->batch, &f->json);
	if (next == DOUBT_FIND) {
		f->step = STEP_FIND;
		step_send(f);
	} else if (next == DOUBT_NONE) {
		doubt_finish(f, found);
	} else {
		snprintf(text, sizeof(text),
		         "%s gives an answer that is not one to a question for indices; trying again", f->node->url);
		elasticsearch_ail(es, NO_BULK, text);
		elasticsearch_flight_retry(f, text);
	}
}

/* -- from the pool -- */

void elasticsearch_flight_done(void *context, struct http_pool_request *http, enum http_result result)
{
	struct elasticsearch_flight *f = http->own;
	(void)context;
	if (result != HTTP_ANSWERED)
		no_answer(f, result);
	else if (f->step < STEP_STREAM)
		setup_answered(f);
	else if (f->step != STEP_BULK)
		doubt_answered(f);
	else if (http->status == 200)
		elasticsearch_answer_read(f);
	else
		refused(f);
}
