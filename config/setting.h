/* One row of a setting table (gateway/base/settings.h): its key, and the range that its numbers may have. */
#ifndef SLUICE_CONFIG_SETTING_H
#define SLUICE_CONFIG_SETTING_H

#include "gateway/base/settings.h"

/* The key of a setting in the file: its name behind the last dot, so that SETTING(struct tcp, stream.listen, ...) is
 * `listen`. */
const char *setting_key(const struct setting *s);

/* The setting of a table with that key, NULL when there is none (table may be NULL). */
const struct setting *setting_find(const struct setting *table, const char *key);

/* A row's range is min to max, both included. No range: both are 0. No upper end: max is 0 and min above it.
 * setting_in_range says whether a number lies in the range; without one, every number does. */
bool setting_has_min(const struct setting *s);
bool setting_has_max(const struct setting *s);
bool setting_in_range(const struct setting *s, double value);

#endif
