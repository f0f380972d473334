/* The index template that Sluice brings along: how records are mapped (config/elasticsearch-template.json), made to fit
 * a server and the names in use. Pure. */
#ifndef SLUICE_SINKS_ELASTICSEARCH_INDEX_TEMPLATE_H
#define SLUICE_SINKS_ELASTICSEARCH_INDEX_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

extern const char index_template_text[]; /* the same as the file */

struct search_server {
	bool opensearch;
	int major, minor;
	char version[32];
};
/* index_template_server_read reads the answer to GET /; false: it is not one of a search server. */
bool index_template_server_read(struct search_server *s, const char *text, size_t len);

/* index_template_make makes the body of PUT _index_template/NAME.
 *   patterns     count of them: the names that it is for: "telemetry-*"
 *   data_stream  they are data streams
 * NULL: out of memory; else the caller's to free. */
char *index_template_make(const struct search_server *s, const char *const *patterns, size_t count, bool data_stream);

/* index_template_pattern writes the names that an index template (sinks/template.h) may make: its text before the first
 * '{' and a star. */
void index_template_pattern(char *out, size_t size, const char *index);

/* index_template_version reads the answer to GET _index_template/NAME: its version; 0 when it has none; -1: not such an
 * answer. */
int index_template_version(const char *text, size_t len);
#define INDEX_TEMPLATE_VERSION 2 /* of index_template_text */

#endif
