/* One line of a dead letter file, as dead_letter_file.h describes it; or, of DATA/dead/intake.ndjson, a record that says itself what was
 * wrong (docs/record.md). Pure. */
#ifndef SLUICE_GATEWAY_PUMP_DEAD_LETTER_LINE_H
#define SLUICE_GATEWAY_PUMP_DEAD_LETTER_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All texts point into the line. */
struct letter {
	const char *reason; /* inside its quotes, as it stands there: with JSON escapes */
	size_t reason_len;
	const char *record; /* its JSON */
	size_t record_len;
	int64_t time_us; /* when it was refused; of one of the intake when it came. Microseconds since 1970 */
};

struct letter_reader;
/* letter_reader_open compiles what is looked for; NULL: out of memory. */
struct letter_reader *letter_reader_open(void);
void letter_reader_close(struct letter_reader *r);
/* letter_read takes a line apart. False: it is no dead letter (half of one, that a crash or a full disk has left). */
bool letter_read(const struct letter_reader *r, const char *line, size_t len, struct letter *out);

#endif
