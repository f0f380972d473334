/* CRC-32C (Castagnoli; RFC 3720 appendix B.4), by the processor's instruction where it has one (x86 SSE4.2, ARMv8 CRC),
 * else by table. crc32c(0, "123456789", 9) == 0xE3069283. Continues: crc32c(crc32c(0, a, n), b, m) is the sum of a
 * followed by b. Any thread. The choice is made once, before main. */
#ifndef SLUICE_GATEWAY_BASE_CRC32C_H
#define SLUICE_GATEWAY_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* crc32c_join is the sum of a followed by b, from the sums of both and the length of b in bytes. */
uint32_t crc32c_join(uint32_t a, uint32_t b, size_t b_len);

/* The table version, for comparing in tests and benchmarks. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
