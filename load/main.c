/* sluice-load: loads a server of MQTT, CoAP, TCP lines or HTTP, and tells what it holds. This file is its table of commands;
 * one message's way: send_mqtt.c -> connection.c -> worker_loop.c -> run.c -> result.h -> report.c. */
#include <stdio.h>
#include <string.h>

#include "load/command.h"

static const struct load_command *const commands[] = {
    &load_command_run,
    &load_command_verify,
    &load_command_find,
    &load_command_compare,
    &load_command_merge,
    &load_command_self_test,
    NULL,
};

static void usage(FILE *out)
{
	fputs("sluice-load " SLUICE_VERSION ": loads an MQTT, CoAP, TCP or HTTP server, and tells what it holds\n\n"
	      "  sluice-load TARGET [TARGET...] [OPTION...]    as `sluice-load run`\n"
	      "  sluice-load COMMAND ...\n\n",
	      out);
	for (const struct load_command *const *c = commands; *c; c++)
		fprintf(out, "  %-10s %s\n", (*c)->name, (*c)->help);
	fputs("\n`sluice-load COMMAND --help` tells more.\n", out);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return LOAD_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return LOAD_EXIT_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("sluice-load " SLUICE_VERSION);
		return LOAD_EXIT_OK;
	}
	for (const struct load_command *const *c = commands; *c; c++)
		if (!strcmp(argv[1], (*c)->name))
			return (*c)->run(argc - 1, argv + 1);
	static char left_out[] = "run"; /* reports tell the command as it can be typed, not where the program lies */
	argv[0] = left_out;
	return load_command_run.run(argc, argv);
}
