/* The body of a bulk request: see elasticsearch.h.
 *
 * Usually a batch goes to one index, which the URL names; when it has several, each line names its own. Which of the
 * two it is shows only while the body is written, so the batch before decides what is tried first. */
#include <stdio.h>
#include <string.h>

#include "gateway/journal/record.h"
#include "sinks/elasticsearch/elasticsearch.h"

/* How long the server may wait for shards and mappings before it answers for a record. Its own default is a minute, and it keeps
 * the whole request for one such record: that must end before our request_timeout, and not take the others' places for long. */
#define SERVER_WAIT_MS 10000u
static unsigned long long server_ms(const struct elasticsearch *es)
{
	uint64_t half = es->request_timeout / 2000;
	return half < SERVER_WAIT_MS ? half : SERVER_WAIT_MS;
}

/* Writes the pending items of first..stop, as many as the limit allows.
 *   named  each with its index; else the URL names it, and BODY_MIXED tells that they have several */
static enum body_built build(struct elasticsearch_flight *f, size_t stop, bool named, int64_t now_ms)
{
	struct elasticsearch *es = f->es;
	struct batch *b = f->batch;
	struct index_name *n = &es->name;
	char first[TEMPLATE_NAME_MAX + 1];
	size_t first_len = 0;
	bool mixed = false;
	f->records = 0;
	f->built_ms = n->main.has_field ? now_ms : 0;
	if (!bulk_reserve(&f->body, b->bytes + b->count * (BULK_LINE_MAX + (named ? TEMPLATE_NAME_MAX : 0))))
		return BODY_NO_MEMORY;
	for (f->end = f->first; f->end < stop; f->end++) {
		const struct batch_item *item = &b->items[f->end];
		struct record r;
		if (item->state != ITEM_PENDING)
			continue;
		record_read(&r, item->entry);
		if (f->records > 0 && f->body.len + r.json_len + BULK_LINE_MAX > f->limit)
			break;
		bool own = index_name_of(n, item->entry, f->built_ms);
		if (elasticsearch_target_withhold(f, f->end, n->name, n->len))
			continue;
		if (!own)
			stat_add(&es->host->stats->limited, 1);
		if (f->records == 0) {
			memcpy(first, n->name, n->len);
			first_len = n->len;
		} else if (!mixed && (n->len != first_len || memcmp(n->name, first, first_len) != 0)) {
			mixed = true;
			if (!named)
				return BODY_MIXED;
		}
		bulk_add(&f->body, named ? n->name : NULL, named ? n->len : 0, item->entry);
		f->records++;
	}
	if (named)
		snprintf(f->path, sizeof(f->path), "/_bulk?timeout=%llums&" BULK_FILTER, server_ms(es));
	else
		snprintf(f->path, sizeof(f->path), "/%.*s/_bulk?timeout=%llums&" BULK_FILTER, (int)first_len, first,
		         server_ms(es));
	es->named = mixed || n->main.has_field;
	return f->records > 0 ? BODY_BUILT : BODY_EMPTY;
}

enum body_built elasticsearch_body_build(struct elasticsearch_flight *f, size_t stop, int64_t now_ms)
{
	struct elasticsearch *es = f->es;
	enum body_built built = build(f, stop, es->named, now_ms);
	if (built == BODY_MIXED)
		built = build(f, stop, true, now_ms);
	if (built == BODY_BUILT && es->compression == COMPRESSION_GZIP && bulk_pack(&es->gzip, &f->body, &f->packed))
		built = BODY_NO_MEMORY;
	return built;
}
