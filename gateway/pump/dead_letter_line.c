/* Reading dead letters; see dead_letter_line.h. */
#include "gateway/pump/dead_letter_line.h"

#include <stdlib.h>

#include "gateway/base/json.h"

#define DEPTH 1010 /* a record may nest 1,000 deep, and stands two deep in its letter */

enum { AT_TIME, AT_REASON, AT_RECORD, AT_ERROR, AT_VERSION, POINTERS };
static const char *const pointers[POINTERS] = {"/@timestamp", "/reason", "/record", "/sluice/error/reason",
                                               "/sluice/v"};

struct dead_letter_line_reader {
	struct json_pointer at[POINTERS]; /* owned */
};

struct dead_letter_line_reader *dead_letter_line_reader_open(void)
{
	struct dead_letter_line_reader *r = calloc(1, sizeof(*r));
	for (int i = 0; r && i < POINTERS; i++)
		if (!json_pointer_init(&r->at[i], pointers[i])) {
			dead_letter_line_reader_close(r);
			return NULL;
		}
	return r;
}

void dead_letter_line_reader_close(struct dead_letter_line_reader *r)
{
	for (int i = 0; r && i < POINTERS; i++)
		json_pointer_fini(&r->at[i]);
	free(r);
}

bool dead_letter_line_read(const struct dead_letter_line_reader *r, const char *line, size_t len,
                           struct dead_letter_line *out)
{
	struct json_value v[POINTERS];
	struct json_result check = json_check(line, len, DEPTH);
	if (check.type != JSON_OBJECT)
		return false;
	for (int i = 0; i < POINTERS; i++)
		v[i] = json_find(line, len, &r->at[i]);
	*out = (struct dead_letter_line){0};
	if (v[AT_TIME].type != JSON_STRING || !json_time(&v[AT_TIME], JSON_TIME_RFC3339, &out->time_us))
		return false;
	struct json_value reason = v[AT_REASON], record = v[AT_RECORD];
	if (record.type == JSON_INVALID && v[AT_VERSION].type != JSON_INVALID) {
		reason = v[AT_ERROR];
		record = (struct json_value){JSON_OBJECT, line + check.start, check.end - check.start};
	}
	if (reason.type != JSON_STRING || record.type != JSON_OBJECT)
		return false;
	out->reason = reason.text + 1;
	out->reason_len = reason.len - 2;
	out->record = record.text;
	out->record_len = record.len;
	return true;
}
