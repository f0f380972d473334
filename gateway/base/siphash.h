/* SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a keyed hash for every table whose
 * keys peers choose, so that nobody can aim at one bucket. The key is drawn once per table and never leaves the
 * process. Pure functions; any thread. */
#ifndef SLUICE_GATEWAY_BASE_SIPHASH_H
#define SLUICE_GATEWAY_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k0, k1;
};

/* siphash_key_random draws a key from the kernel. */
void siphash_key_random(struct siphash_key *key);

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif
