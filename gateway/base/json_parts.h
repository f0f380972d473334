/* What the versions of json_check share. Inner; the contract is in json.h. */
#ifndef SLUICE_GATEWAY_BASE_JSON_PARTS_H
#define SLUICE_GATEWAY_BASE_JSON_PARTS_H

#include "gateway/base/json.h"

/* The version that defines the result, byte by byte; runs anywhere. */
struct json_result json_check_scalar(const char *text, size_t len, unsigned max_depth);

/* The vectorised versions (json_vector.h). Each is there only where the compiler knows the instructions, and may be
 * called only where the processor has them. */
struct json_result json_check_sse42(const char *text, size_t len, unsigned max_depth);
struct json_result json_check_avx2(const char *text, size_t len, unsigned max_depth);
struct json_result json_check_avx512(const char *text, size_t len, unsigned max_depth);
struct json_result json_check_neon(const char *text, size_t len, unsigned max_depth);

/* p: at a backslash in a string. Returns the end of the escape (both escapes of a surrogate pair), NULL: not valid. */
const uint8_t *json_escape_end(const uint8_t *p, const uint8_t *end);

/* json_type_of tells the type of a valid JSON value by its first byte. */
static inline enum json_type json_type_of(uint8_t first)
{
	switch (first) {
	case '{': return JSON_OBJECT;
	case '[': return JSON_ARRAY;
	case '"': return JSON_STRING;
	case 't': return JSON_TRUE;
	case 'f': return JSON_FALSE;
	case 'n': return JSON_NULL;
	default: return JSON_NUMBER;
	}
}

#endif
