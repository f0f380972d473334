/* One setting: its value out of a node of the file, and its default. Groups are mappings and belong to config.c. */
#ifndef SLUICE_CONFIG_VALUES_H
#define SLUICE_CONFIG_VALUES_H

#include "config/report.h"
#include "config/tree.h"
#include "gateway/base/error.h"
#include "gateway/base/settings.h"

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

#endif
