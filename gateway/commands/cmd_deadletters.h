/* `sluice deadletters list | show | replay | purge`: what sinks refused for good, and why; sent again when the reason is
 * mended. Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_CMD_DEADLETTERS_H
#define SLUICE_GATEWAY_COMMANDS_CMD_DEADLETTERS_H

#include "gateway/commands/command_line.h"
#include "gateway/gateway.h"

enum deadletters_command { DEADLETTERS_LIST, DEADLETTERS_SHOW, DEADLETTERS_REPLAY, DEADLETTERS_PURGE };

struct cmd_deadletters_options {
	enum deadletters_command command;
	const char *sink;   /* name; NULL: all (list, show), or the only one that has any (replay, purge) */
	const char *reason; /* only letters whose reason has this in it; NULL: any */
	int64_t older_us;   /* only letters older than this; 0: any */
	uint64_t limit;     /* show: at most so many; 0: all */
	uint64_t rate;      /* replay: records a second; 0: no limit */
	bool json, yes;     /* list; purge */
};

/* cmd_deadletters_options reads the command line; the first word is "deadletters". As cmd_replay_options. */
int cmd_deadletters_options(struct cmd_deadletters_options *o, struct command_line *l);
/* cmd_deadletters does it. Letters are read from the files that the plan's sinks have, and from whatever else is in
 * DATA/dead. replay and purge take the lock of the data directory. A file is replaced only when all is done: a crash in
 * between leaves it as it was.
 * Returns the exit code: 0 done; 1 the sink refused some again, or it was ended early; 2 it could not be done (a gateway
 * runs, no such sink, a file cannot be read), told on errors. */
int cmd_deadletters(const struct gateway_plan *plan, const struct cmd_deadletters_options *o, FILE *out, FILE *errors);

#endif
