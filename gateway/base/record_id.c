/* Identifiers of records; the layout is in record_id.h.
 *
 * 128 bits are written as 26 digits of 5 bits, the most significant first; the first digit holds 3 bits. The 48 bits of
 * time are digits 0 to 9, and the last 80 bits digits 10 to 25 (ULID specification, section "Binary layout"). */
#include "gateway/base/record_id.h"

#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void write_time(struct record_id_source *id)
{
	for (int i = 0; i < 10; i++)
		id->text[i] = digits[(id->ms >> (5 * (9 - i))) & 31];
}

void record_id_init(struct record_id_source *id, uint32_t start, uint8_t lane)
{
	memset(id, 0, sizeof(*id));
	id->start = start;
	id->lane = lane;
	id->shown = UINT64_MAX;
	/* start and lane are the upper 40 of the 80 bits behind the time: exactly digits 10 to 17. */
	uint64_t upper = (uint64_t)start << 8 | lane;
	for (int i = 0; i < 8; i++)
		id->text[10 + i] = digits[(upper >> (5 * (7 - i))) & 31];
	write_time(id);
}

void record_id_next(struct record_id_source *id, uint64_t now_ms, char out[26])
{
	uint64_t counter = id->counter & ((UINT64_C(1) << 40) - 1);
	bool round = counter == 0 && id->counter > 0;
	if (now_ms > id->ms || round) {
		/* The counter has come round: in a millisecond that lasts, since the clock was put back, it must not meet
		 * itself again. */
		id->ms = (now_ms > id->ms ? now_ms : id->ms + 1) & ((UINT64_C(1) << 48) - 1);
		write_time(id);
	}
	id->counter++;
	unsigned last = counter & 31;
	if (id->shown != counter >> 5) {
		id->shown = counter >>= 5;
		for (int i = 6; i >= 0; i--, counter >>= 5)
			id->text[18 + i] = digits[counter & 31];
	}
	memcpy(out, id->text, 25); /* text was not written just now: the copy need not wait for single bytes */
	out[25] = digits[last];
}

uint32_t record_id_random(void)
{
	uint32_t bits;
	if (getrandom(&bits, sizeof(bits), 0) == (ssize_t)sizeof(bits))
		return bits;
	struct timespec t; /* a kernel without getrandom: the nanoseconds of the start */
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint32_t)t.tv_nsec ^ (uint32_t)t.tv_sec << 20;
}
