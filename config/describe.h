/* What a setting may be, in words: for errors, for the terminal and for the reference page. */
#ifndef SLUICE_CONFIG_DESCRIBE_H
#define SLUICE_CONFIG_DESCRIBE_H

#include <stdbool.h>
#include <stdio.h>

#include "gateway/base/settings.h"

/* "size", "duration" ... */
const char *describe_type(enum setting_type type);

/* describe_range prints a setting's range, or its choices; false: it has neither, and nothing was printed.
 *   quote  goes around each value: "" or "`" */
bool describe_range(FILE *out, const struct setting *s, const char *quote);

/* describe_allowed prints all that a file may say, and the default. */
void describe_allowed(FILE *out, const struct setting *s);

#endif
