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

/* A sequence that begins with a byte over 0x7f: U+0080 to U+009F, U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to
 * U+2069. */
static bool is_unseen(const uint8_t *p, const uint8_t *end)
{
	if (end - p < 2)
		return false;
	if (p[0] == 0xc2)
		return p[1] < 0xa0;
	if (p[0] == 0xd8)
		return p[1] == 0x9c;
	if (p[0] != 0xe2 || end - p < 3)
		return false;
	if (p[1] == 0x80)
		return p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xaa && p[2] <= 0xae);
	return p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;
}

bool utf8_has_control(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + len;
	for (; p < end; p++)
		if (*p < 0x20 || *p == 0x7f || (*p >= 0xc2 && is_unseen(p, end)))
			return true;
	return false;
}
