/* One line of a dead letter file, as dead_letter_file.h describes it; or, of DATA/dead/intake.ndjson, a record that says itself what was
 * wrong (docs/record.md). Pure. */
#ifndef SLUICE_GATEWAY_PUMP_DEAD_LETTER_LINE_H
#define SLUICE_GATEWAY_PUMP_DEAD_LETTER_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All texts point into the line. */
struct dead_letter_line {
	const char *reason; /* inside its quotes, as it stands there: with JSON escapes */
	size_t reason_len;
	const char *record; /* its JSON */
	size_t record_len;
	int64_t time_us; /* when it was refused; of one of the intake when it came. Microseconds since 1970 */
};

struct dead_letter_line_reader;
/* dead_letter_line_reader_open compiles what is looked for; NULL: out of memory. */
struct dead_letter_line_reader *dead_letter_line_reader_open(void);
void dead_letter_line_reader_close(struct dead_letter_line_reader *r);
/* dead_letter_line_read takes a line apart. False: it is no dead letter (half of one, that a crash or a full disk has left). */
bool dead_letter_line_read(const struct dead_letter_line_reader *r, const char *line, size_t len,
                           struct dead_letter_line *out);

#endif
