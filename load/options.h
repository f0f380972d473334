/* Command lines by tables, which also make the help: a row per option says its name, where its value goes, and what it is
 * for. Every command composes its line from one or more sets of rows. */
#ifndef SLUICE_LOAD_OPTIONS_H
#define SLUICE_LOAD_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "gateway/base/error.h"

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
	const char *const *hidden; /* names that the help leaves out, ends with NULL; NULL: none */
};

/* What takes the words that are no option, in order. GW_OK | GW_CONFIG with why, which ends the reading. */
struct load_operands {
	enum gw_err (*take)(void *context, const char *text, struct why *why);
	void *context;
};

/* options_read reads --name VALUE, --name=VALUE and -l VALUE; what is none is an operand; behind "--" everything is.
 * GW_OK | GW_CONFIG with why, which names the option nearest to an unknown one. */
enum gw_err options_read(const struct load_options *sets, size_t count, int argc, char **argv,
                         const struct load_operands *operands, struct why *why);
void options_help(FILE *out, const struct load_options *sets, size_t count);

#endif
