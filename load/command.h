/* A command of sluice-load: one file, and one line in the list of main.c. */
#ifndef SLUICE_LOAD_COMMAND_H
#define SLUICE_LOAD_COMMAND_H

/* Exit codes of all commands. */
enum {
	LOAD_EXIT_OK = 0,
	LOAD_EXIT_FAILED =
	    1, /* a condition (--fail-if) holds, something acknowledged is missing, nothing could be sent */
	LOAD_EXIT_USAGE = 2, /* the command line is wrong, or the machine cannot do what it asks for */
};

struct load_command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
	const char *help;                  /* one line */
};

extern const struct load_command load_command_run, load_command_verify, load_command_find, load_command_compare,
    load_command_merge, load_command_self_test;

#endif
