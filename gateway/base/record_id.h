/* Identifiers of records: 26 characters of Crockford's base 32 in the ULID layout, 128 bits:
 *	48 bits  milliseconds since 1970, never going back within one lane
 *	32 bits  random, drawn at every start of the process
 *	 8 bits  number of the lane
 *	40 bits  counter of the lane
 * Two records can only share an identifier if two starts drew the same 32 bits and met in the same millisecond, lane
 * and count. When the counter comes round (after 2^40 records: two months at 200,000 a second) the time goes on by a
 * millisecond, whatever the clock does. One thread. */
#ifndef SLUICE_GATEWAY_BASE_RECORD_ID_H
#define SLUICE_GATEWAY_BASE_RECORD_ID_H

#include <stdint.h>

struct record_id_source {
	uint64_t ms;    /* the newest millisecond given out */
	uint32_t start; /* of the process */
	uint8_t lane;
	uint64_t counter;
	uint64_t shown; /* counter / 32 as it stands in text */
	char text[26];  /* of the last identifier, all but its last digit: only what changed is written anew */
};

void record_id_init(struct record_id_source *id, uint32_t start, uint8_t lane);
/* record_id_next writes the next identifier to out (26 characters, not terminated). */
void record_id_next(struct record_id_source *id, uint64_t now_ms, char out[26]);
/* record_id_random draws the 32 bits of a start from the kernel. */
uint32_t record_id_random(void);

#endif
