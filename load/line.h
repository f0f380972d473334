/* The command line of a run: TARGETs, and the options that make plans of them. */
#ifndef SLUICE_LOAD_LINE_H
#define SLUICE_LOAD_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "load/options.h"
#include "load/plan.h"

/* The options of a run. base: what holds where the line says nothing; NULL: as plan_init. own: a command's outputs and
 * what else it has, in place of the outputs of a run; NULL: those. Owned texts inside plans point into argv. help: --help was
 * among them, nothing else was read. */
#define LOAD_TARGETS_MAX 32
struct load_line {
	struct load_plan *plans; /* owned; at least one, all checked, unless help */
	size_t plan_count;
	struct load_outputs outputs;
	char command[1024]; /* the whole line, without passwords */
	bool help;
	char *own[LOAD_TARGETS_MAX]; /* owned: what stood behind # of each target */
};
enum gw_err line_read(struct load_line *line, int argc, char **argv, const struct load_plan *base,
                      const struct load_options *own, struct why *why);
/* line_help: hidden: options that the command does not take, ends with NULL; NULL: none. */
void line_help(FILE *out, const struct load_options *own, const char *const *hidden);
void line_free(struct load_line *line);

#endif
