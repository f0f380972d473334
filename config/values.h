/* One setting: its value out of a node of the file, its default, what it may be in words. Groups are mappings and
 * belong to config.c. */
#ifndef SLUICE_CONFIG_VALUES_H
#define SLUICE_CONFIG_VALUES_H

#include <stdbool.h>
#include <stdio.h>

#include "config/report.h"
#include "config/tree.h"
#include "gateway/base/error.h"
#include "gateway/base/settings.h"

/* The key of a setting in the file: its name behind the last dot, so that SETTING(struct tcp, stream.listen, ...) is
 * `listen`. */
const char *setting_key(const struct setting *s);

/* The setting of a table with that key, NULL when there is none (table may be NULL). */
const struct setting *setting_find(const struct setting *table, const char *key);

/* values_read takes one setting (no group) from a node and reports what is wrong with it.
 *   base         the settings struct; a value that was there before is freed
 *   config_path  the file's name, for {file: PATH}
 * GW_OK | GW_CONFIG (reported; the member keeps its value) | GW_NOMEM. */
enum gw_err values_read(const struct setting *s, const struct tree_node *n, const char *config_path, struct report *r,
                        void *base);

/* values_default fills a zeroed struct with all defaults of a table, groups included. A default that is not valid is a
 * fault of the program: it is named on stderr, and the program aborts. GW_OK | GW_NOMEM. values_free wipes and frees
 * what a struct owns; safe when half filled. */
enum gw_err values_default(const struct setting *table, void *base);
void values_free(const struct setting *table, void *base);

/* setting_in_range holds a number against a row's min and max: both 0 is no range, max 0 above a min is no upper end.
 * describe_type: "size", "duration" ... for documents. describe_range prints a range or the choices and returns
 * whether there is any (quote goes around each value: "" or "`"). describe_allowed says in words all that a file may
 * say. */
const char *describe_type(enum setting_type type);
bool setting_in_range(const struct setting *s, double value);
bool describe_range(FILE *out, const struct setting *s, const char *quote);
void describe_allowed(FILE *out, const struct setting *s);

/* nearest_word keeps the known word that is closest to a misspelt one, by Damerau-Levenshtein distance (optimal
 * alignment, case and - or _ free), if it is close at all. */
struct nearest_word {
	const char *wanted; /* set by the caller */
	const char *best;   /* NULL: nothing is close */
	size_t distance;
};
void nearest_offer(struct nearest_word *w, const char *known);

#endif
