/* Command lines by tables, which also make the help: a row per option says its name, where its value goes, and what it is
 * for. Every command composes its line from one or more sets of rows. */
#ifndef SLUICE_LOAD_OPTIONS_H
#define SLUICE_LOAD_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "load/plan.h"

enum load_option_type {
	OPTION_HEADING,  /* no option: a line in the help */
	OPTION_FLAG,     /* bool, set to true */
	OPTION_COUNT,    /* uint64_t; 1000, 10k, 1.5M */
	OPTION_UNSIGNED, /* unsigned */
	OPTION_INT,      /* int */
	OPTION_NUMBER,   /* double */
	OPTION_TIME,     /* uint64_t of microseconds; 500us, 10s, 2m */
	OPTION_TEXT,     /* const char *, borrowed from argv */
	OPTION_READ,     /* by the row's own function */
};

struct load_option {
	const char *name; /* "connections" */
	char letter;      /* 'c'; 0: none */
	enum load_option_type type;
	size_t offset;     /* of the member in the set's struct */
	const char *value; /* as it stands in the help: "N" */
	const char *help;
	enum gw_err (*read)(void *into, const char *text, struct why *why); /* OPTION_READ; into: the set's struct */
};

struct load_options {
	const struct load_option *rows; /* ends with a row without name and help */
	void *into;
};

/* options_read reads --name VALUE, --name=VALUE and -l VALUE; what is none goes to take, in order; behind "--"
 * everything does. GW_OK | GW_CONFIG with why, which names the option nearest to an unknown one. */
enum gw_err options_read(const struct load_options *sets, size_t count, int argc, char **argv,
                         enum gw_err (*take)(void *context, const char *text, struct why *why), void *context,
                         struct why *why);
void options_help(FILE *out, const struct load_options *sets, size_t count);

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
void line_help(FILE *out, const struct load_options *own);
void line_free(struct load_line *line);

#endif
