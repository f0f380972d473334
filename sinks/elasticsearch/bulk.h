/* A request to _bulk and what comes back (Elasticsearch 7 and later, OpenSearch). Pure: no network, no clock.
 *
 * The body has two lines per record:
 *	{"create":{"_index":"NAME","_id":"ID"}}     without _index when the URL's path names it for all of them
 *	{...the record, byte for byte...}
 * `create` with the record's own id makes a repeated record a 409 and not a second document. */
#ifndef SLUICE_SINKS_ELASTICSEARCH_BULK_H
#define SLUICE_SINKS_ELASTICSEARCH_BULK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

/* -- the body -- */

struct bulk_body {
	char *data;           /* owned; kept for the next body */
	size_t len, capacity; /* capacity: what was reserved */
};

#define BULK_LINE_MAX 96u /* bytes that a record costs besides its JSON and the name of its index */

/* bulk_reserve empties the body and makes room; false: out of memory (the body is empty). */
bool bulk_reserve(struct bulk_body *b, size_t room);
/* bulk_add appends a record (gateway/journal/record.h); the room is there.
 *   index  its index; NULL: the URL names it */
void bulk_add(struct bulk_body *b, const char *index, size_t index_len, const uint8_t *entry);
void bulk_fini(struct bulk_body *b);

/* A gzip writer (RFC 1952) that is used again and again; level 1, since the cluster's network is rarely slow. */
struct bulk_gzip {
	void *stream; /* owned: zlib's; NULL before the first use */
};
/* bulk_pack writes the body, compressed, to out (emptied before). GW_OK | GW_NOMEM. */
enum gw_err bulk_pack(struct bulk_gzip *z, const struct bulk_body *b, struct bulk_body *out);
void bulk_gzip_fini(struct bulk_gzip *z);

/* -- the answer -- */

/* What is asked for: enough to judge each record, in the order of the request, and no more (27 bytes per record). */
#define BULK_FILTER "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"

struct bulk_item {
	int status;         /* an HTTP status */
	const char *type;   /* of its error, "document_parsing_exception"; NULL: none */
	const char *reason; /* of its error; NULL: none */
};
typedef void bulk_item_fn(void *context, size_t i, const struct bulk_item *item);

/* bulk_read reads the body of a 200.
 *   text   len bytes, terminated (text[len] == '\0')
 *   count  records of the request
 *   each   called for each record, in order, only on GW_OK and unless all succeeded
 *   all    set on GW_OK: true: every record was created
 * GW_OK | GW_INVALID (not an answer to that request: garbage, cut, another number of items; nothing was called). */
enum gw_err bulk_read(const char *text, size_t len, size_t count, bulk_item_fn *each, void *context, bool *all);

enum bulk_verdict {
	BULK_DONE,     /* it is there */
	BULK_RETRY,    /* not now: too much load, or a shard is away */
	BULK_BLOCKED,  /* not now: the cluster does not take writes there until its operator acts */
	BULK_AWAY,     /* not now: a shard of that index is away, and the server has waited for it */
	BULK_TARGET,   /* not there: its words are about the index or a pipeline, and would be for any record */
	BULK_NO_INDEX, /* not there: the index cannot be made or written to; another one might do */
	BULK_DEAD,     /* never: it is about this record */
};
enum bulk_verdict bulk_judge(const struct bulk_item *item);
/* bulk_names_target: these words of a refusal are about the target and not about a record. Either may be NULL. */
bool bulk_names_target(const char *type, const char *reason);

/* What a whole request was refused with: {"error":{"type":"...","reason":"..."},"status":429}. */
struct bulk_fault {
	char type[96];    /* "" unless the answer has that form */
	char reason[320]; /* cut; without control characters */
};
void bulk_fault_read(struct bulk_fault *f, const char *text, size_t len);

#endif
