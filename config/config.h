/* The configuration file: YAML, read by the modules' setting tables.
 *
 * config_read never stops at the first error: everything wrong with a file is reported at once, one line each:
 *
 *	s.yaml:12:7: listeners.mqtt.max_packet: "64KB " is not a size; allowed: 16B to 256MiB, like 64KiB (default 256KiB)
 *	s.yaml:14:3: listeners.mqtt.keepalive_max: unknown key; did you mean keep_alive_max?
 *
 * ${NAME} and ${NAME:-default} in scalar values take environment variables; $$ is a dollar sign; unset without default
 * is an error. */
#ifndef SLUICE_CONFIG_CONFIG_H
#define SLUICE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "gateway/base/settings.h"

/* One kind of module that may appear in a section, e.g. a protocol or a sink kind. */
struct config_kind {
	const char *name;               /* "mqtt" */
	size_t size;                    /* bytes of the module's settings struct */
	const struct setting *settings; /* its own table */
	const char *help;               /* one line about it */
};

/* A section with named entries, e.g. `listeners:` or `sinks:`. An entry's kind is its key `selector` ("protocol" or
 * "type"); when that is not given, the entry's own name if it is the name of a kind. Each entry has the settings of its
 * kind, and the common ones. */
struct config_section {
	const char *name;     /* "listeners" */
	const char *selector; /* "protocol" */
	const struct config_kind *kinds;
	size_t kind_count;
	const struct setting *common; /* settings that every entry has; NULL for none */
	size_t common_size;
	const char *help;
};

struct config_entry {
	char *name; /* [a-z0-9][a-z0-9_-]{0,62}; unique in its section */
	const struct config_kind *kind;
	void *settings;   /* kind->size bytes, malloc'ed and filled */
	void *common;     /* common_size bytes, malloc'ed and filled */
	int line, column; /* where the entry stands, from 1 */
	bool unfit; /* config_read_all: its kind, or a setting that must be given, is not known: kind may be NULL */
};

/* What a whole file may hold: top-level settings (scalars and groups) and sections. */
struct config_schema {
	const struct setting *settings; /* top-level table; groups are mappings, e.g. journal: admin: log: */
	size_t size;
	const struct config_section *sections;
	size_t section_count;
};

struct config_entries {
	struct config_entry *items;
	size_t count;
};

struct config {
	char *path;
	void *settings;                  /* schema->size bytes */
	struct config_entries *sections; /* one per schema section, in file order */
	bool unfit;                      /* config_read_all: some entry is, or a whole section cannot be read */
};

/* config_read reads a file (or, with text != NULL, that text, under the name path).
 *   errors  every error is printed there, one line each
 * GW_OK: *out is filled and owned by the caller (config_free); GW_CONFIG: errors were printed, *out untouched;
 * GW_NOMEM. Limits: file at most 1 MiB, nesting 16, no anchors or aliases (refused with a clear error), no duplicate
 * keys, one document. Main thread. */
enum gw_err config_read(const struct config_schema *schema, const char *path, const char *text, FILE *errors,
                        struct config **out);
/* config_read_all is the same, except that with GW_CONFIG *out is filled as well if the file could be parsed (else it is NULL): a setting
 * with an error has its default, so that what modules check themselves can be reported together with the rest. */
enum gw_err config_read_all(const struct config_schema *schema, const char *path, const char *text, FILE *errors,
                            struct config **out);
void config_free(const struct config_schema *schema, struct config *config);

/* config_error, config_entry_error and config_whole_error report a semantic error found after reading (a module's own check) in the same
 * shape.
 *   key    its path, "listeners.mqtt.ack" or "journal.size"; the error's place is where the key is, or the nearest
 *          mapping around it that the file has
 *   entry  the error's place is that of the setting that text begins with, "backoff_max: ...", or where the entry begins
 *   text   without secrets; of config_whole_error it begins with the key: "listeners.web: listen: ..."
 * An error of a setting that was reported while it was read is left out: its value is not that of the file. */
void config_error(const struct config *config, const char *key, const char *text, FILE *errors);
void config_entry_error(const struct config *config, const struct config_section *section,
                        const struct config_entry *entry, const char *text, FILE *errors);
void config_whole_error(const struct config *config, const char *text, FILE *errors);

/* All settings of all modules:
 *   config_help       text for a terminal (reference.c)
 *   config_reference  Markdown: docs/configuration.md (reference.c)
 *   config_example    a configuration file with every setting, commented out, at its default, with its help above it:
 *                     config/sluice.yaml (example.c) */
void config_help(const struct config_schema *schema, FILE *out);
void config_reference(const struct config_schema *schema, FILE *out);
void config_example(const struct config_schema *schema, FILE *out);

#endif
