/* `sluice replay FILE... | DIR --to SINK`: records that a file or a journal holds are sent to a sink again, for backfills and
 * for the journal of a node that is gone. Reads only. Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_CMD_REPLAY_H
#define SLUICE_GATEWAY_COMMANDS_CMD_REPLAY_H

#include "gateway/commands/command_line.h"
#include "gateway/gateway.h"

struct cmd_replay_options {
	const char *sink; /* NULL: with dry_run alone */
	/* `@timestamp` from and below; the beginning of an RFC 3339 time in UTC; NULL: any */
	const char *since, *until;
	uint64_t rate; /* records a second; 0: no limit */
	bool dry_run;  /* read and count, send nothing */
	size_t count;  /* of paths: files of NDJSON, `-`, data directories, journal directories */
	char *const *paths;
};

/* cmd_replay_options reads the command line; the first word is "replay". l->config and l->data are changed when it says so.
 * 0 | 2 (wrong, told on l->errors) | -1 (help was asked for, and told on l->out) */
int cmd_replay_options(struct cmd_replay_options *o, struct command_line *l);
/* cmd_replay sends them. Signals as in resend_run. Lines and places that are no records are told on errors, the first
 * hundred of them; counts go to out.
 * Returns the exit code: 0 all is there; 1 the sink refused some, something was no record or damaged, or it was ended
 * early; 2 something could not be opened, or there is no such sink. */
int cmd_replay(const struct gateway_plan *plan, const struct cmd_replay_options *o, FILE *out, FILE *errors);

#endif
