/* Records in doubt, across a rollover of a data stream.
 *
 * `create` with the record's own id meets a document that is there already only in the index it writes to. A stream that
 * cut itself between the first try and the repetition would take the record twice. So, where a batch may have been there
 * before - the first ones after a start, and every one that is tried again - its ids are looked up first in those backing
 * indices that were written to since its oldest record was received; what is found is done.
 *
 * After a start, what was with the server and not covered by the stored cursor is at the front: first records that
 * were finished, then at most `in_flight` batches of which any may have arrived. When so many records in a row were not
 * found, nothing behind them can have been sent. Where new records went ahead of older ones (replay_order) there is more
 * than one such front: the pump marks what is of the earlier life, and where a front begins (batch.h).
 *
 * Looking up is _mget, by index and id, since a search would not see what was not refreshed. It needs the rights
 * view_index_metadata and read; without them records are sent as they are, and a warning says so. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/journal/record.h"
#include "sinks/elasticsearch/elasticsearch.h"

#define CLOCKS_MS (10 * 60000) /* that far the server's clock and ours may be apart */
#define INDICES_MAX 16

bool elasticsearch_doubt_applies(const struct elasticsearch *es, const struct batch *b)
{
	return es->data_stream && !es->doubt_denied && ((es->doubt_records > 0 && b->earlier) || b->attempt > 0);
}

void elasticsearch_doubt_begin(struct elasticsearch *es)
{
	const struct sink_settings *s = es->host->settings;
	es->doubt_records = (s->in_flight > 0 ? s->in_flight : 1) * (s->batch_records > 0 ? s->batch_records : 1);
}

struct backing {
	const char *name;
	double created_ms;
};

static int by_creation(const void *a, const void *b)
{
	const struct backing *x = a, *y = b;
	return (x->created_ms > y->created_ms) - (x->created_ms < y->created_ms);
}

static int64_t oldest_ms(const struct batch *b)
{
	int64_t oldest = INT64_MAX;
	for (size_t i = 0; i < b->count; i++) {
		struct record r;
		record_read(&r, b->items[i].entry);
		if (b->items[i].state == ITEM_PENDING && r.received_us / 1000 < oldest)
			oldest = r.received_us / 1000;
	}
	return oldest;
}

static bool creation_of(const cJSON *index, double *out)
{
	const cJSON *settings = cJSON_GetObjectItemCaseSensitive(index, "settings");
	const cJSON *inner = cJSON_GetObjectItemCaseSensitive(settings, "index");
	const cJSON *date = cJSON_GetObjectItemCaseSensitive(inner, "creation_date");
	if (!cJSON_IsString(date))
		return false;
	*out = strtod(date->valuestring, NULL);
	return true;
}

/* Those of all, the oldest first, that were written to since `since_ms` and are no longer; the last is written to now. */
static size_t written_since(struct backing *all, size_t count, int64_t since_ms, struct backing out[INDICES_MAX])
{
	size_t n = 0;
	qsort(all, count, sizeof(*all), by_creation);
	for (size_t i = count; i-- > 1 && n < INDICES_MAX;)
		if (all[i].created_ms >= (double)(since_ms - CLOCKS_MS))
			out[n++] = all[i - 1];
	return n;
}

static char *find_body(const struct batch *b, const struct backing *indices, size_t count)
{
	size_t room = 32;
	for (size_t i = 0; i < count; i++)
		room += b->count * (strlen(indices[i].name) + RECORD_ID_LEN + 40);
	char *body = malloc(room), *at = body;
	if (!body)
		return NULL;
	at += sprintf(at, "{\"docs\":[");
	for (size_t i = 0; i < b->count; i++)
		for (size_t k = 0; k < count && b->items[i].state == ITEM_PENDING; k++)
			at += sprintf(at, "%s{\"_index\":\"%s\",\"_id\":\"%.*s\",\"_source\":false}",
			              at[-1] == '[' ? "" : ",", indices[k].name, RECORD_ID_LEN,
			              record_id(b->items[i].entry));
	sprintf(at, "]}");
	return body;
}

enum doubt_next elasticsearch_doubt_stream_read(const char *answer, const struct batch *b, char **body)
{
	struct backing *all = NULL, since[INDICES_MAX];
	enum doubt_next next = DOUBT_NO_ANSWER;
	cJSON *root = cJSON_Parse(answer);
	size_t count = 0, found;
	if (cJSON_IsObject(root) && (all = calloc((size_t)cJSON_GetArraySize(root) + 1, sizeof(*all)))) {
		const cJSON *index;
		cJSON_ArrayForEach(index, root)
		{
			all[count].name = index->string;
			count += creation_of(index, &all[count].created_ms);
		}
		found = written_since(all, count, oldest_ms(b), since);
		next = found == 0 ? DOUBT_NONE : (*body = find_body(b, since, found)) ? DOUBT_FIND : DOUBT_NO_ANSWER;
	}
	free(all);
	cJSON_Delete(root);
	return next;
}

bool elasticsearch_doubt_found_read(const char *answer, struct batch *b, size_t *found)
{
	cJSON *root = cJSON_Parse(answer);
	const cJSON *docs = cJSON_GetObjectItemCaseSensitive(root, "docs"), *doc;
	bool good = cJSON_IsArray(docs);
	size_t i = 0;
	*found = 0;
	/* The documents come in the order in which they were asked for: the items', each some times. */
	cJSON_ArrayForEach(doc, docs)
	{
		const cJSON *id = cJSON_GetObjectItemCaseSensitive(doc, "_id");
		if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(doc, "found")) || !cJSON_IsString(id))
			continue;
		if (i < b->count && b->items[i].state == ITEM_DONE &&
		    strncmp(record_id(b->items[i].entry), id->valuestring, RECORD_ID_LEN) == 0)
			continue; /* in two indices */
		while (i < b->count && (b->items[i].state != ITEM_PENDING ||
		                        strncmp(record_id(b->items[i].entry), id->valuestring, RECORD_ID_LEN) != 0))
			i++;
		if (i == b->count)
			break;
		batch_done(b, i);
		(*found)++;
	}
	cJSON_Delete(root);
	return good;
}

void elasticsearch_doubt_over(struct elasticsearch *es, const struct batch *b, size_t found)
{
	if (found > 0) {
		elasticsearch_doubt_begin(es);
		log_event(LOG_INFO, "sink", "records were there already, in an index that the data stream has left",
		          LOG_S("sink.name", es->host->name), LOG_N("sluice.records", found));
	} else if (b->earlier) {
		es->doubt_records -= (int64_t)b->count;
	}
}
