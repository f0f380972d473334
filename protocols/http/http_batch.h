/* Splitting a batch into its messages: newline-delimited JSON, or a JSON array. Pure, in place: every item points into
 * the body. Any thread.
 *
 * Lines end at LF or CRLF; blank ones are passed over but counted, so that `line` is what an editor shows. A line is
 * not looked into here. An array must be valid as a whole (it is one document); its items are then found by counting
 * brackets, and `line` is the item's place, from 1. */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_BATCH_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/json.h"

struct http_batch {
	const char *text; /* borrowed */
	size_t at, end;   /* what is left of it */
	size_t line;      /* of the last item */
	bool array;
};

struct http_item {
	const char *text;
	size_t len;
	size_t offset; /* of text in the body */
	size_t line;
};

void http_batch_lines(struct http_batch *b, const char *text, size_t len);
/* http_batch_array takes a document that json_check found to be a valid array: checked is its result. */
void http_batch_array(struct http_batch *b, const char *text, const struct json_result *checked);

/* http_batch_next gives the next item; false: there is none. */
bool http_batch_next(struct http_batch *b, struct http_item *item);
/* http_batch_count counts the items that are left, but not further than most + 1. */
size_t http_batch_count(const struct http_batch *b, size_t most);

#endif
