/* What the files of the Elasticsearch sink share: elasticsearch.c (settings, the sink's calls), elasticsearch_flight.c
 * (the way of a batch), elasticsearch_answer.c (what an answer says), elasticsearch_target.c (indices in trouble), elasticsearch_body.c (the body of a request) and
 * elasticsearch_doubt.c (what may be there already). */
#ifndef SLUICE_SINKS_ELASTICSEARCH_ELASTICSEARCH_H
#define SLUICE_SINKS_ELASTICSEARCH_ELASTICSEARCH_H

#include "gateway/base/log.h"
#include "gateway/pump/sink.h"
#include "sinks/elasticsearch/bulk.h"
#include "sinks/elasticsearch/http_pool.h"
#include "sinks/elasticsearch/index_name.h"
#include "sinks/elasticsearch/index_template.h"
#include "sinks/elasticsearch/nodes.h"
#include "sinks/elasticsearch/target_health.h"

/* What a flight waits for. The first three happen once, before the first record, with install_template. */
enum flight_step {
	STEP_SERVER,
	STEP_LOOK,
	STEP_INSTALL,
	STEP_STREAM, /* the indices of a data stream, for a batch in doubt ... */
	STEP_FIND,   /* ... and which of its records are in them */
	STEP_BULK
};

#define BULK_PATH_MAX (TEMPLATE_NAME_MAX + 128u)

struct elasticsearch;

/* A batch with us. */
struct elasticsearch_flight {
	struct elasticsearch *es;
	struct http_pool_request *http; /* the pool's; one for each flight */
	struct batch *batch;            /* NULL: free */
	enum flight_step step;
	size_t first, end; /* the request has the pending items of this range */
	size_t records;    /* of the request */
	size_t limit;      /* bytes of a body, for this batch */
	int64_t sent_ms;   /* when the request was made */
	int64_t built_ms;  /* when the names of its indices were made; with fields only */
	bool again;        /* second look at records whose fields were mapped otherwise at the same moment */
	struct bulk_body body, packed; /* owned */
	char path[BULK_PATH_MAX];      /* of the bulk request, without the node */
	char *url;                     /* owned, es->url_room */
	char *json;                    /* owned: the index template on its way */
	struct search_node *node;
	unsigned tries; /* nodes that failed for this request */
	/* while an answer is read: the item it has come to; records for a second look; taken; refused for good */
	size_t at, conflicts, taken, refused;
};

/* Why nothing goes on, or not all of it; a change is news. */
enum ailment {
	WELL,
	UNREACHABLE,
	UNTRUSTED,
	SILENT,
	BROKEN,
	REFUSED,
	NO_LOGIN,
	NO_BULK,
	REDIRECTED,
	FAILING,
	BLOCKED,
	OVERLOADED, /* it takes some records not now, again and again */
	TARGETS     /* indices: struct targets_health */
};
enum setup { SETUP_NONE, SETUP_NEEDED, SETUP_RUNNING };
enum { COMPRESSION_NONE, COMPRESSION_GZIP };

struct elasticsearch {
	/* settings */
	struct string_list node_urls;
	char *index, *fallback_index;
	int64_t max_targets;
	char *data_stream;
	char *username, *password, *api_key;
	char *ca_file, *cert_file, *key_file;
	bool verify;
	int compression;
	uint64_t connect_timeout, request_timeout; /* us */
	bool install_template;
	char *template_name;
	/* the rest: set by open, then the pump thread's */
	struct sink_host *host;
	struct http_pool pool;
	struct nodes nodes;
	struct index_name name;
	struct bulk_gzip gzip;
	struct elasticsearch_flight *flights; /* owned; as many as batches may be in flight */
	size_t flight_count, url_room;
	size_t body_limit;     /* learned from 413; SIZE_MAX: none known */
	unsigned limit_parts;  /* taken since it was learned */
	bool named;            /* the batch before had several indices: begin with names in each line */
	int64_t doubt_records; /* after a start: so many more records, none of them found, and nothing is in doubt */
	bool doubt_denied;     /* looking up is forbidden */
	bool works;            /* it has answered a bulk request properly */
	enum setup setup;
	struct search_server server;
	enum ailment ailment;
	struct targets_health targets;
	const struct batch *slow; /* the one that was refused for now too long; NULL: none. Only to be compared */
	int64_t ailed_ms;         /* when something failed last */
	bool worked_since;
	struct log_limit limit_log, node_log, away_log;
};

/* elasticsearch_flight_start takes a batch on a free flight; it may be finished before this returns. */
void elasticsearch_flight_start(struct elasticsearch_flight *f, struct batch *b, enum flight_step step);
/* elasticsearch_flight_done is the pool's callback; its context is the struct elasticsearch. */
http_done_fn elasticsearch_flight_done;
/* elasticsearch_flight_recover tells the operator when trouble is over; to be called now and then. */
void elasticsearch_flight_recover(struct elasticsearch *es);
void elasticsearch_flight_fini(struct elasticsearch_flight *f);

/* elasticsearch_flight_retry: what is not settled of the batch comes again. The flight is over.
 * elasticsearch_flight_part_settled: every record of the request was judged; goes on with the rest. */
void elasticsearch_flight_retry(struct elasticsearch_flight *f, const char *text);
void elasticsearch_flight_part_settled(struct elasticsearch_flight *f);
/* elasticsearch_clock_ms is the monotonic time. elasticsearch_ail: what the operator should know; logged when the kind changes. */
int64_t elasticsearch_clock_ms(void);
void elasticsearch_ail(struct elasticsearch *es, enum ailment ailment, const char *text);

/* -- elasticsearch_answer.c -- */

/* elasticsearch_answer_read reads what the server says of each record of the request, and goes on with the batch.
 * elasticsearch_answer_not_now: the batch, or some of it, was refused for now; a state when that lasts. */
void elasticsearch_answer_read(struct elasticsearch_flight *f);
void elasticsearch_answer_not_now(struct elasticsearch_flight *f, const char *text);

/* -- elasticsearch_target.c: item i of a flight's batch, and the index that it goes to -- */

/* elasticsearch_target_withhold: a record whose index (len bytes of name) takes nothing now is not sent but held; false: it is to be sent. */
bool elasticsearch_target_withhold(struct elasticsearch_flight *f, size_t i, const char *name, size_t len);
/* elasticsearch_target_fail: the index is in trouble, by text: the record is held. elasticsearch_target_take: it took the record. */
void elasticsearch_target_fail(struct elasticsearch_flight *f, size_t i, const char *text);
void elasticsearch_target_take(struct elasticsearch_flight *f, size_t i);
/* elasticsearch_target_judge: an answer refused records for good. Those of an index that takes nothing at all are held instead. */
void elasticsearch_target_judge(struct elasticsearch_flight *f);
/* elasticsearch_target_suspect: the whole request was refused for item i alone. True: and so it was for everything else. */
bool elasticsearch_target_suspect(struct elasticsearch_flight *f, size_t i);
/* elasticsearch_target_report tells the operator which indices are in trouble, if any. */
void elasticsearch_target_report(struct elasticsearch *es);

/* -- elasticsearch_body.c -- */

enum body_built {
	BODY_BUILT,
	BODY_EMPTY,    /* nothing is pending */
	BODY_MIXED,    /* private: several indices, and the URL can name but one */
	BODY_NO_MEMORY /* no body, or no compressed one */
};
/* elasticsearch_body_build writes the pending items of f->first..stop, as many as f->limit allows, and compresses them
 * if that is configured; f->end, f->records and f->path say what the body has.
 *   now_ms  monotonic */
enum body_built elasticsearch_body_build(struct elasticsearch_flight *f, size_t stop, int64_t now_ms);

/* -- elasticsearch_doubt.c -- */

/* elasticsearch_doubt_begin: a start; the first records may be there already.
 * elasticsearch_doubt_applies: look this batch up. */
void elasticsearch_doubt_begin(struct elasticsearch *es);
bool elasticsearch_doubt_applies(const struct elasticsearch *es, const struct batch *b);
enum doubt_next {
	DOUBT_NONE,     /* the stream has not rolled over since: send it */
	DOUBT_FIND,     /* *body (malloc'ed) is to be sent to _mget */
	DOUBT_NO_ANSWER /* that was none, or there is no memory */
};
/* elasticsearch_doubt_stream_read reads the creation dates of the stream's indices.
 * elasticsearch_doubt_found_read reads _mget's answer and settles what was found; false: it is none. */
enum doubt_next elasticsearch_doubt_stream_read(const char *answer, const struct batch *b, char **body);
bool elasticsearch_doubt_found_read(const char *answer, struct batch *b, size_t *found);
/* elasticsearch_doubt_over: the batch was looked up. */
void elasticsearch_doubt_over(struct elasticsearch *es, const struct batch *b, size_t found);

#endif
