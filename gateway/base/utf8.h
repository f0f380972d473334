/* UTF-8 (RFC 3629) outside of JSON: topics, identifiers, payloads that are plain text. Any thread. */
#ifndef SLUICE_GATEWAY_BASE_UTF8_H
#define SLUICE_GATEWAY_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* utf8_check returns len when all bytes are valid UTF-8 (RFC 3629: no surrogates, no overlong forms), else the offset
 * of the first byte of the first bad sequence. */
size_t utf8_check(const char *text, size_t len);

/* utf8_has_control: valid UTF-8 with a character that is not seen and changes how the rest is read: a control character
 * (Unicode's Cc: U+0000 to U+001F, U+007F to U+009F), or a mark that turns the direction of writing (Bidi_Control of
 * Unicode's PropList). With them one identifier looks like another. */
bool utf8_has_control(const char *text, size_t len);

#endif
