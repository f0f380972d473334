/* The _bulk interface: see bulk.h.
 *
 * An answer in which all is well is only counted through, not parsed: that costs microseconds for a batch, while a tree
 * of it would cost as much as all the rest of the sink. The count is what protects from a cut answer, or one from
 * something that is no search server. */
#include "sinks/elasticsearch/bulk.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "gateway/journal/record.h"

/* -- the body -- */

bool bulk_reserve(struct bulk_body *b, size_t room)
{
	b->len = 0;
	if (room <= b->capacity)
		return true;
	free(b->data); /* nothing in it is needed: no copy */
	b->data = malloc(room);
	b->capacity = b->data ? room : 0;
	return b->data != NULL;
}

static char *put(char *at, const char *text, size_t len)
{
	memcpy(at, text, len);
	return at + len;
}
#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

void bulk_add(struct bulk_body *b, const char *index, size_t index_len, const uint8_t *entry)
{
	struct record r;
	record_read(&r, entry);
	assert(b->capacity - b->len >= r.json_len + index_len + BULK_LINE_MAX);
	char *at = b->data + b->len;
	if (index) {
		at = PUT(at, "{\"create\":{\"_index\":\"");
		at = put(at, index, index_len);
		at = PUT(at, "\",\"_id\":\"");
	} else {
		at = PUT(at, "{\"create\":{\"_id\":\"");
	}
	at = put(at, record_id(entry), RECORD_ID_LEN);
	at = PUT(at, "\"}}\n");
	at = put(at, record_json(entry), r.json_len);
	*at++ = '\n';
	b->len = (size_t)(at - b->data);
}

void bulk_fini(struct bulk_body *b)
{
	free(b->data);
	*b = (struct bulk_body){0};
}

/* -- gzip -- */

#define GZIP_LEVEL 1
#define GZIP_WINDOW (15 + 16) /* 15 bits of window; 16: with gzip's header and trailer */

enum gw_err bulk_pack(struct bulk_gzip *z, const struct bulk_body *b, struct bulk_body *out)
{
	z_stream *s = z->stream;
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s || deflateInit2(s, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
			free(s);
			return GW_NOMEM;
		}
		z->stream = s;
	} else {
		deflateReset(s);
	}
	if (b->len > UINT32_MAX / 2 || !bulk_reserve(out, deflateBound(s, b->len)))
		return GW_NOMEM;
	s->next_in = (Bytef *)b->data;
	s->avail_in = (uInt)b->len;
	s->next_out = (Bytef *)out->data;
	s->avail_out = out->capacity > UINT32_MAX ? UINT32_MAX : (uInt)out->capacity;
	int result = deflate(s, Z_FINISH);
	assert(result == Z_STREAM_END); /* deflateBound is a bound */
	(void)result;
	out->len = s->total_out;
	return GW_OK;
}

void bulk_gzip_fini(struct bulk_gzip *z)
{
	if (z->stream)
		deflateEnd(z->stream);
	free(z->stream);
	z->stream = NULL;
}

/* -- the answer: all is well -- */

#define NO_ERRORS "\"errors\":false"
#define CREATED "\"status\":201"

/* True only for an answer that says so, to exactly count records. What looks otherwise is left to the parser. */
static bool all_created(const char *text, size_t len, size_t count)
{
	size_t head = len < 64 ? len : 64; /* at the front, at most behind "took" */
	if (len < 2 || text[0] != '{' || memcmp(text + len - 2, "]}", 2) != 0 ||
	    !memmem(text, head, NO_ERRORS, sizeof(NO_ERRORS) - 1))
		return false;
	const char *at = text, *end = text + len;
	size_t created = 0;
	while ((at = memmem(at, (size_t)(end - at), CREATED, sizeof(CREATED) - 1))) {
		at += sizeof(CREATED) - 1;
		if (*at >= '0' && *at <= '9')
			return false;
		created++;
	}
	return created == count;
}

/* -- the answer: item by item -- */

static const char *string_of(const cJSON *object, const char *key)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
	return cJSON_IsString(value) ? value->valuestring : NULL;
}

/* {"create":{"status":400,"error":{"type":"T","reason":"R"}}}; false: it is not. */
static bool item_read(const cJSON *node, struct bulk_item *item)
{
	const cJSON *result = cJSON_IsObject(node) ? node->child : NULL; /* its one key is the operation */
	if (!result || !cJSON_IsObject(result) || result->next)
		return false;
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(result, "status");
	if (!cJSON_IsNumber(status) || !(status->valuedouble >= 100 && status->valuedouble <= 599))
		return false;
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(result, "error");
	item->status = (int)status->valuedouble;
	item->type = cJSON_IsObject(error) ? string_of(error, "type") : NULL;
	item->reason = cJSON_IsObject(error)   ? string_of(error, "reason")
	               : cJSON_IsString(error) ? error->valuestring
	                                       : NULL;
	return true;
}

static cJSON *parse(const char *text, size_t len)
{
	const char *end;
	return cJSON_ParseWithLengthOpts(text, len + 1, &end, 1); /* with its terminator: nothing may follow */
}

enum gw_err bulk_read(const char *text, size_t len, size_t count, bulk_item_fn *each, void *context, bool *all)
{
	struct bulk_item item;
	size_t n = 0, created = 0;
	if (all_created(text, len, count)) {
		*all = true;
		return GW_OK;
	}
	cJSON *tree = parse(text, len);
	const cJSON *items = cJSON_GetObjectItemCaseSensitive(tree, "items"), *node;
	bool good = cJSON_IsArray(items);
	for (node = good ? items->child : NULL; node && good; node = node->next) {
		good = item_read(node, &item) && ++n <= count;
		created += good && item.status / 100 == 2;
	}
	good = good && n == count;
	if (good && created < count) {
		n = 0;
		for (node = items->child; node; node = node->next) {
			item_read(node, &item);
			each(context, n++, &item);
		}
	}
	if (good)
		*all = created == count;
	cJSON_Delete(tree);
	return good ? GW_OK : GW_INVALID;
}

/* -- verdicts -- */

/* Errors that say nothing about the record: the same one would be taken elsewhere, or later. Most come as 400, 403 or
 * 404. */
static const struct {
	const char *type;
	enum bulk_verdict verdict;
} about_index[] = {
    {"cluster_block_exception", BULK_BLOCKED}, /* read-only, or the disk's flood stage */
    {"security_exception", BULK_NO_INDEX},     /* the user may not write there */
    {"unavailable_shards_exception", BULK_AWAY},
    {"index_closed_exception", BULK_NO_INDEX},
    {"index_not_found_exception", BULK_NO_INDEX}, /* and it is not made by itself (action.auto_create_index) */
    {"invalid_index_name_exception", BULK_NO_INDEX},
    {"validation_exception", BULK_NO_INDEX},           /* the cluster has as many shards as it may */
    {"resource_already_exists_exception", BULK_RETRY}, /* two requests made the index at once */
};

/* illegal_argument_exception is about anything: its words tell. They are the same in Elasticsearch 8.19 and OpenSearch 2.19. */
static const struct {
	const char *type, *first, *then; /* the type, or NULL: any; what the reason has, in that order, or NULL */
} about_target[] = {
    {"routing_missing_exception", NULL, NULL}, /* the mapping wants a routing, and records have none */
    {"invalid_index_template_exception", NULL, NULL}, {NULL, "no write index is defined for", NULL},
    {NULL, "pipeline with id [", "does not exist"},   {NULL, "composable template [", "is invalid"},
    {NULL, "invalid composite mappings for", NULL},   {NULL, "template after composition", NULL},
    {NULL, "unknown index sort field", NULL},       /* of the template by which the index would be made ... */
    {NULL, "self-conflicts with index name", NULL}, /* ... whose alias is the index itself */
};

bool bulk_names_target(const char *type, const char *reason)
{
	for (size_t i = 0; i < sizeof(about_target) / sizeof(*about_target); i++) {
		const char *first = about_target[i].first, *then = about_target[i].then, *at = reason;
		if (about_target[i].type && (!type || strcmp(type, about_target[i].type) != 0))
			continue;
		if (first)
			at = at ? strstr(at, first) : NULL;
		if (then)
			at = at ? strstr(at, then) : NULL;
		if (at || !first)
			return true;
	}
	return false;
}

enum bulk_verdict bulk_judge(const struct bulk_item *item)
{
	if (item->status / 100 == 2)
		return BULK_DONE;
	if (item->status == 409) /* a document with that id is there: an earlier try of ours */
		return !item->type || !strcmp(item->type, "version_conflict_engine_exception") ? BULK_DONE : BULK_RETRY;
	for (size_t i = 0; item->type && i < sizeof(about_index) / sizeof(*about_index); i++)
		if (!strcmp(item->type, about_index[i].type))
			return about_index[i].verdict;
	if (item->status / 100 != 4 || item->status == 429)
		return BULK_RETRY;
	return bulk_names_target(item->type, item->reason) ? BULK_TARGET : BULK_DEAD;
}

/* -- faults -- */

static void fault_copy(char *out, size_t size, const char *text)
{
	snprintf(out, size, "%s", text ? text : "");
	for (; *out; out++)
		if ((unsigned char)*out < 0x20 || *out == 0x7f)
			*out = ' ';
}

void bulk_fault_read(struct bulk_fault *f, const char *text, size_t len)
{
	*f = (struct bulk_fault){0};
	cJSON *tree = len > 0 ? parse(text, len) : NULL;
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(tree, "error");
	if (cJSON_IsObject(error)) {
		fault_copy(f->type, sizeof(f->type), string_of(error, "type"));
		fault_copy(f->reason, sizeof(f->reason), string_of(error, "reason"));
	} else if (cJSON_IsString(error)) {
		fault_copy(f->reason, sizeof(f->reason), error->valuestring);
	}
	cJSON_Delete(tree);
}
