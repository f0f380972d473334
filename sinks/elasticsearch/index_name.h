/* The index that a record goes to: from a template of its time and fields (sinks/template.h), so that a replay meets it
 * again there. One thread. */
#ifndef SLUICE_SINKS_ELASTICSEARCH_INDEX_NAME_H
#define SLUICE_SINKS_ELASTICSEARCH_INDEX_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "sinks/targets.h"
#include "sinks/template.h"

#define INDEX_AWAY_FIRST_MS 60000  /* an index that could not be used is left alone that long, then twice that ... */
#define INDEX_AWAY_MOST_MS 3600000 /* ... up to this */

/* What Elasticsearch and OpenSearch allow, and stricter: only what needs no escape in a URL. */
extern const struct template_rules index_name_rules;

struct index_name {
	struct template main, other; /* other: for records whose own index cannot be used; without fields */
	struct targets targets; /* names made of fields; own: when it could not be used (private to index_name.c) */
	int64_t span_us;        /* without fields: two records of one span have the same index */
	int64_t from_us, to_us; /* the span of name */
	char name[TEMPLATE_NAME_MAX + 1];
	size_t len;
};

/* index_name_init compiles both templates.
 *   text, other   as configured; other is not looked at when text has no fields
 *   max_targets   most names that fields may make; unused for a day they do not count any more
 * GW_OK | GW_CONFIG | GW_NOMEM, with why; after an error there is nothing to free. */
enum gw_err index_name_init(struct index_name *n, const char *text, const char *other, size_t max_targets,
                            struct why *why);
void index_name_fini(struct index_name *n); /* also after zeroing alone */

/* index_name_of makes the name for an entry; it stands in n->name, n->len bytes, until the next call.
 *   now_ms  monotonic
 * Returns false when it is the other index because a limit struck or its own cannot be used. */
bool index_name_of(struct index_name *n, const uint8_t *entry, int64_t now_ms);

/* index_name_away: the entry could not be written to the index that index_name_of gave at sent_ms. If that was its own,
 * its records go to the other one for a while. False: it was the other one already, or there is none (no fields). */
bool index_name_away(struct index_name *n, const uint8_t *entry, int64_t sent_ms, int64_t now_ms);

#endif
