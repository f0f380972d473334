/* Numbers as people write them: whole numbers, sizes, durations, percentages, and back. Strict: no leading zeros, no
 * signs but a minus, no white space, nothing behind. Parsers return NULL when all is well, else static text that
 * follows the value seen: "is not a size". */
#ifndef SLUICE_CONFIG_UNITS_H
#define SLUICE_CONFIG_UNITS_H

#include <stdint.h>
#include <stdio.h>

const char *units_parse_int(const char *text, int64_t *out);          /* 0, 17, -3 */
const char *units_parse_bytes(const char *text, uint64_t *out);       /* 65536, 64KiB, 1.5GiB, 10kB: whole bytes */
const char *units_parse_duration(const char *text, uint64_t *out_us); /* 500us, 20ms, 1.5s, 2m, 1h, 7d, 0 */
const char *units_parse_percent(const char *text, double *out);       /* 5, 5%, 0.5% */

/* Print the shortest exact form: 65536 is 64KiB, 1500 ms are 1500ms. */
void units_print_bytes(FILE *out, uint64_t bytes);
void units_print_duration(FILE *out, uint64_t us);

#endif
