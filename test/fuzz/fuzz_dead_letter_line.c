/* Any line as a dead letter. What is taken for one has its reason and its record inside the line, and the record is JSON. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/json.h"
#include "gateway/pump/dead_letter_line.h"
#include "test/fuzz/must.h"

static void must_be_inside(const char *text, size_t len, const uint8_t *data, size_t size)
{
	const char *from = (const char *)data;
	MUST(text >= from && text + len <= from + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dead_letter_line_reader *reader;
	struct dead_letter_line l;
	if (!reader)
		MUST((reader = dead_letter_line_reader_open()) != NULL);
	if (!dead_letter_line_read(reader, (const char *)data, size, &l))
		return 0;
	must_be_inside(l.reason, l.reason_len, data, size);
	must_be_inside(l.record, l.record_len, data, size);
	MUST(l.reason[-1] == '"' && l.reason[l.reason_len] == '"');
	MUST(json_check(l.record, l.record_len, 2000).type == JSON_OBJECT);
	return 0;
}
