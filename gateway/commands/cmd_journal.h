/* `sluice journal info | dump | verify | repair`: looking into a journal, offline or while a gateway runs, and mending it.
 * cmd_journal.c reads the command line; each command is a function in a file of its own. Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_CMD_JOURNAL_H
#define SLUICE_GATEWAY_COMMANDS_CMD_JOURNAL_H

#include <stdio.h>

#include "gateway/journal/inspection.h"

enum { INSPECT_WHOLE = 0, INSPECT_DAMAGED = 1, INSPECT_UNREAD = 2 }; /* exit codes; 2 also: wrong command line */

struct inspect_options {
	const char *data; /* data directory */
	bool json, meta;
	uint64_t from, to; /* sequences, both included */
	uint64_t limit;    /* records */
};

/* inspect_command is `sluice journal`; words[0] is "journal". Returns the exit code. */
int inspect_command(int count, char **words);

/* The commands: what they find goes to out, what goes wrong and progress to errors. The look is open. Return the exit
 * code. */
int look_info(struct look *l, const struct inspect_options *o, FILE *out, FILE *errors);      /* cmd_journal_info.c */
int look_dump(struct look *l, const struct inspect_options *o, FILE *out, FILE *errors);      /* cmd_journal_dump.c */
int look_verify(struct look *l, const struct inspect_options *o, FILE *out, FILE *errors);    /* cmd_journal_verify.c */
int repair_command(struct look *l, const struct inspect_options *o, FILE *out, FILE *errors); /* cmd_journal_repair.c */

/* Progress of a walk, once a second from the first second on. */
struct inspect_progress {
	FILE *out;
	const char *command;
	int64_t next_us;
};
void inspect_progress(struct inspect_progress *p, uint64_t bytes, uint64_t total);
/* inspect_bytes writes "12 of 340 MB read"; total 0: it is not known. */
void inspect_bytes(FILE *out, uint64_t bytes, uint64_t total);
/* inspect_time writes microseconds since 1970 as RFC 3339 with milliseconds, "-" for 0; inspect_string a JSON string. */
void inspect_time(uint64_t us, char out[32]);
void inspect_string(FILE *out, const void *text, size_t len);

#endif
