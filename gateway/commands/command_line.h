/* What is left of the command line for a command that reads options of its own. */
#ifndef SLUICE_GATEWAY_COMMANDS_COMMAND_LINE_H
#define SLUICE_GATEWAY_COMMANDS_COMMAND_LINE_H

#include <stdio.h>

struct command_line {
	int count;
	char **words;       /* the first is the command's name; getopt_long changes their order */
	const char *config; /* path; changed by --config */
	char *data;         /* NULL, or what --data says */
	FILE *out, *errors;
};

#endif
