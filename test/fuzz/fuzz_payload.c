/* Any bytes as a payload of each format of the table: what a decoder takes is a valid JSON text inside the bytes, and so is what
 * pointers look into; what it does not take has a reason, a place and a fault. The first byte chooses how deep it may be. The
 * input arrives in a heap block of its exact size, so that the address sanitizer sees a read beyond it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/payload.h"
#include "test/fuzz/must.h"

static void decode(enum payload_kind kind, const char *bytes, size_t len, unsigned depth)
{
	struct payload_text found = {.look = NULL};
	if (!payload_rows[kind].decode(bytes, len, depth, &found)) {
		MUST(found.json.type == JSON_INVALID && found.json.reason && found.json.offset <= len);
		MUST(payload_fault_of(bytes, len, &found) < JSON_FAULTS);
		return;
	}
	MUST(found.text >= bytes && found.text + found.json.end <= bytes + len);
	const char *value = found.text + found.json.start;
	size_t value_len = found.json.end - found.json.start;
	MUST(json_check(value, value_len, depth).type == found.json.type);
	MUST(kind == PAYLOAD_SENML ? found.json.type == JSON_ARRAY && found.look : !found.look);
	if (found.look) {
		MUST(found.look > value && found.look + found.look_len < value + value_len);
		MUST(json_check(found.look, found.look_len, depth).type == JSON_OBJECT);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	char *bytes = malloc(size);
	if (!bytes)
		return 0;
	size_t len = size - 1;
	memcpy(bytes, data + 1, len);
	for (int kind = 0; kind < PAYLOAD_KINDS; kind++)
		if (payload_rows[kind].decode)
			decode((enum payload_kind)kind, bytes, len, data[0] % 24u);
	size_t start, end;
	bool trimmed = payload_trim(bytes, len, &start, &end);
	MUST(start <= end && end <= len && (trimmed || start == 0));
	(void)payload_looks_json(bytes, len);
	MUST(payload_of_type(bytes, len) <= PAYLOAD_UNKNOWN);
	free(bytes);
	return 0;
}
