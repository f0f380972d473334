/* A YAML text as a tree of nodes with places: what the setting tables are applied to. Scalars are text; what they mean
 * is decided by the table, so YAML's guesses (no as false, 012 as ten) have no say. */
#ifndef SLUICE_CONFIG_TREE_H
#define SLUICE_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/report.h"
#include "gateway/base/error.h"

#define TREE_DEPTH_MAX 16

enum tree_type {
	TREE_SCALAR,
	TREE_SEQUENCE,
	TREE_MAPPING,
	TREE_BAD, /* something that was reported already: read it as nothing */
};

struct tree_node {
	enum tree_type type;
	int line, column; /* 1-based, where the value stands */
	char *key;        /* owned; in a mapping: its key, else NULL */
	int key_line, key_column;
	char *text;    /* owned; of a scalar, terminated, without NUL inside */
	bool null;     /* a scalar that says nothing: empty, ~ or null, without quotes */
	bool repeated; /* its key was given before in the same mapping (after tree_find_repeated) */
	struct tree_node *parent, *first, *last, *next; /* children are owned by their parent */
};

/* tree_read parses one document; *root is NULL when it is empty, and owned by the caller (tree_free) in any case.
 * Errors go to the report: text that is no YAML ends the reading, what we do not support (anchors, tags) is reported
 * and read on. GW_OK | GW_CONFIG (nothing usable was read; *root is NULL) | GW_NOMEM (*root is NULL). */
enum gw_err tree_read(const char *text, size_t len, struct report *r, struct tree_node **root);

/* tree_free also wipes all text: it may hold secrets. */
void tree_free(struct tree_node *n);

/* tree_find_repeated marks and reports keys that a mapping has more than once. */
void tree_find_repeated(struct tree_node *mapping, struct report *r);

/* The value of a key, NULL when it is not there. */
const struct tree_node *tree_find(const struct tree_node *mapping, const char *key);

/* "a list", "a mapping", "a single value": for errors. */
const char *tree_type_name(enum tree_type type);

#endif
