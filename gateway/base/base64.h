/* Base64 (RFC 4648 section 4). Any thread. */
#ifndef SLUICE_GATEWAY_BASE_BASE64_H
#define SLUICE_GATEWAY_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* base64_encode (RFC 4648 section 4, padded); writes 4 * ((len + 2) / 3) bytes to out; returns that number. */
size_t base64_encode(char *out, const void *data, size_t len);

#endif
