/* Clocks, and points in time as text. Any thread. */
#ifndef SLUICE_GATEWAY_BASE_CLOCK_H
#define SLUICE_GATEWAY_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds: monotonic, from an unspecified start; wall clock, since 1970-01-01T00:00:00Z. */
int64_t clock_mono_us(void);
int64_t clock_wall_us(void);

/* clock_format writes microseconds since the epoch as "2026-11-22T08:37:00.123456Z" (RFC 3339): 27 characters, not
 * terminated; years 0001 to 9999. clock_format_micros writes the six digits of the fraction alone, us < 1000000. */
#define CLOCK_FORMAT_LEN 27
void clock_format(char out[CLOCK_FORMAT_LEN], int64_t us);
void clock_format_micros(char *out, unsigned us);

#endif
