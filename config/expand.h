/* Values from outside the file: ${NAME} and ${NAME:-default} in scalars, and secrets in files. Works on single values
 * after YAML was parsed, so that nothing in the environment can add keys or change structure; what was put in is not
 * looked at again. */
#ifndef SLUICE_CONFIG_EXPAND_H
#define SLUICE_CONFIG_EXPAND_H

#include "config/report.h"
#include "config/tree.h"
#include "gateway/base/error.h"

#define EXPAND_VALUE_MAX (1 << 20)   /* bytes of one value with its variables put in */
#define EXPAND_SECRET_MAX (64 << 10) /* bytes of a secret's file that are looked at */

enum expand_mode {
	EXPAND_SHOWN,  /* errors show the text */
	EXPAND_HIDDEN, /* they do not: it may be a secret */
	EXPAND_SECRET, /* it is one: a variable that is set but empty is an error, too */
};

/* expand_scalar returns a scalar's text with its variables put in: $$ is a dollar sign, and a dollar sign before
 * anything but { or $ stays.
 *   *out  owned by the caller (expand_free)
 * GW_OK | GW_CONFIG (reported) | GW_NOMEM. */
enum gw_err expand_scalar(const struct tree_node *n, enum expand_mode mode, struct report *r, char **out);

/* expand_secret_file reads the first line of the file that a scalar names, relative to the directory of config_path. An
 * empty line is an error. GW_OK | GW_CONFIG (reported) | GW_NOMEM. */
enum gw_err expand_secret_file(const struct tree_node *n, const char *config_path, struct report *r, char **out);

/* expand_free wipes before it frees. */
void expand_free(char *text);

#endif
