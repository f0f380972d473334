/* UTF-8 (RFC 3629) outside of JSON: topics, identifiers, payloads that are plain text. Any thread. */
#ifndef SLUICE_GATEWAY_BASE_UTF8_H
#define SLUICE_GATEWAY_BASE_UTF8_H

#include <stddef.h>

/* utf8_check returns len when all bytes are valid UTF-8 (RFC 3629: no surrogates, no overlong forms), else the offset
 * of the first byte of the first bad sequence. */
size_t utf8_check(const char *text, size_t len);

#endif
