/* Any bytes as a search server's answer. The first byte says how many records the request had. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/elasticsearch/bulk.h"
#include "sinks/elasticsearch/index_template.h"
#include "test/fuzz/must.h"

static void each(void *context, size_t i, const struct bulk_item *item)
{
	size_t *seen = context;
	MUST(i == *seen);
	MUST(item->status >= 100 && item->status <= 599);
	MUST(!item->type || strlen(item->type) < SIZE_MAX);
	MUST(!item->reason || strlen(item->reason) < SIZE_MAX);
	bulk_judge(item);
	++*seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bulk_fault fault;
	struct search_server server;
	size_t seen = 0;
	bool all = false;
	if (size == 0)
		return 0;
	size_t count = data[0] & 15, len = size - 1;
	char *text = malloc(len + 1);
	if (!text)
		return 0;
	memcpy(text, data + 1, len);
	text[len] = '\0';
	if (bulk_read(text, len, count, each, &seen, &all) == GW_OK)
		MUST(seen == (all ? 0 : count));
	else
		MUST(seen == 0);
	bulk_fault_read(&fault, text, len);
	MUST(strlen(fault.type) < sizeof fault.type && strlen(fault.reason) < sizeof fault.reason);
	index_template_server_read(&server, text, len);
	MUST(index_template_version(text, len) >= -1);
	free(text);
	return 0;
}
