/* UTF-8 outside of JSON: topics, identifiers, payloads that are plain text. RFC 3629; the sequences themselves are in
 * scan.h. */
#include "gateway/base/utf8.h"
#include "gateway/base/scan.h"

size_t utf8_check(const char *text, size_t len)
{
	if (len == 0)
		return 0;
	const uint8_t *start = (const uint8_t *)text, *end = start + len, *p = start;
	while ((p = scan_to(p, end, SCAN_HIGH)) < end) {
		size_t n;
		while (p < end && *p >= 0x80) { /* text in most scripts has many in a row */
			n = scan_utf8(p, end);
			if (n == 0)
				return (size_t)(p - start);
			p += n;
		}
	}
	return len;
}
