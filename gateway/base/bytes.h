/* Whole numbers as bytes, least significant first: how everything on disk is written. Pure functions; any thread. */
#ifndef SLUICE_GATEWAY_BASE_BYTES_H
#define SLUICE_GATEWAY_BASE_BYTES_H

#include <stdint.h>

/* bytes_put writes the lowest `bytes` bytes of v, at most 8. */
static inline void bytes_put(uint8_t *at, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

/* bytes_get reads a number of `bytes` bytes, at most 8. */
static inline uint64_t bytes_get(const uint8_t *at, int bytes)
{
	uint64_t v = 0;
	for (int i = bytes - 1; i >= 0; i--)
		v = v << 8 | at[i];
	return v;
}

#endif
