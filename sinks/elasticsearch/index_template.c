/* The index template: see index_template.h.
 *
 * Its aim is that a mixed fleet fits one mapping. A number is a double and a text a keyword, whichever device comes
 * first; what does not fit its field is left out of the index (ignore_malformed), not out of the document; fields
 * beyond the limit are not mapped. Without objects in the mapping of the payload (subobjects) a field may have a number
 * from one device and an object from another, and names may have dots where they like. */
#include "sinks/elasticsearch/index_template.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Made of config/elasticsearch-template.json, which is the place to change it:
 *	sed 's/["\\]/\\&/g; s|.*|"&\\n"|' config/elasticsearch-template.json >sinks/elasticsearch/index_template.inc
 * test_index_template.c holds the two together. */
const char index_template_text[] =
#include "sinks/elasticsearch/index_template.inc"
    ;

static cJSON *parse(const char *text, size_t len)
{
	const char *end;
	return cJSON_ParseWithLengthOpts(text, len + 1, &end, 1);
}

bool index_template_server_read(struct search_server *s, const char *text, size_t len)
{
	*s = (struct search_server){0};
	cJSON *tree = parse(text, len);
	const cJSON *version = cJSON_GetObjectItemCaseSensitive(tree, "version");
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(version, "number");
	const cJSON *distribution = cJSON_GetObjectItemCaseSensitive(version, "distribution");
	bool good = cJSON_IsString(number) && sscanf(number->valuestring, "%d.%d", &s->major, &s->minor) == 2;
	if (good)
		snprintf(s->version, sizeof(s->version), "%s", number->valuestring);
	s->opensearch = cJSON_IsString(distribution) && !strcmp(distribution->valuestring, "opensearch");
	cJSON_Delete(tree);
	return good;
}

/* Settings that a server refuses if it does not know them. OpenSearch, up to 3 at least, has none of these. */
static const struct {
	const char *path[6]; /* ends with NULL */
	const char *name;
	int major, minor; /* the first Elasticsearch that has it */
} added[] = {
    {{"template", "settings", "index", "mapping", "total_fields"}, "ignore_dynamic_beyond_limit", 8, 14},
    {{"template", "mappings", "properties", "payload"}, "subobjects", 8, 3},
};

static void unknown_drop(cJSON *tree, const struct search_server *s)
{
	for (size_t i = 0; i < sizeof(added) / sizeof(*added); i++) {
		cJSON *at = tree;
		if (!s->opensearch &&
		    (s->major > added[i].major || (s->major == added[i].major && s->minor >= added[i].minor)))
			continue;
		for (const char *const *key = added[i].path; *key; key++)
			at = cJSON_GetObjectItemCaseSensitive(at, *key);
		cJSON_DeleteItemFromObjectCaseSensitive(at, added[i].name);
	}
}

char *index_template_make(const struct search_server *s, const char *const *names, size_t count, bool data_stream)
{
	cJSON *tree = parse(index_template_text, sizeof(index_template_text) - 1);
	cJSON *patterns = cJSON_CreateStringArray(names, (int)count);
	char *out = NULL;
	if (!tree || !patterns)
		goto done;
	if (!cJSON_ReplaceItemInObjectCaseSensitive(tree, "index_patterns", patterns))
		goto done;
	patterns = NULL; /* the tree's now */
	if (data_stream && !cJSON_AddObjectToObject(tree, "data_stream"))
		goto done;
	unknown_drop(tree, s);
	out = cJSON_PrintUnformatted(tree);
done:
	cJSON_Delete(patterns);
	cJSON_Delete(tree);
	return out;
}

void index_template_pattern(char *out, size_t size, const char *index)
{
	snprintf(out, size, "%.*s%s", (int)strcspn(index, "{"), index, strchr(index, '{') ? "*" : "");
}

/* {"index_templates":[{"name":"N","index_template":{"version":1,...}}]} */
int index_template_version(const char *text, size_t len)
{
	cJSON *tree = parse(text, len);
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(tree, "index_templates");
	const cJSON *first = cJSON_IsArray(list) ? list->child : NULL;
	const cJSON *found = cJSON_GetObjectItemCaseSensitive(first, "index_template");
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(found, "version");
	bool fits = cJSON_IsNumber(number) && number->valuedouble >= 0 && number->valuedouble < 1e9;
	int version = !cJSON_IsObject(found) ? -1 : fits ? (int)number->valuedouble : 0;
	cJSON_Delete(tree);
	return version;
}
