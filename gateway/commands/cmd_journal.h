/* `sluice journal info | dump | verify | repair`: looking into a journal, offline or while a gateway runs, and mending it.
 * cmd_journal.c reads the command line; each command is a function in a file of its own. Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_CMD_JOURNAL_H
#define SLUICE_GATEWAY_COMMANDS_CMD_JOURNAL_H

#include <stdio.h>

#include "gateway/journal/inspection.h"

enum {
	CMD_JOURNAL_WHOLE = 0,
	CMD_JOURNAL_DAMAGED = 1,
	CMD_JOURNAL_UNREAD = 2
}; /* exit codes; 2 also: wrong command line */

struct cmd_journal_options {
	const char *data; /* data directory */
	bool json, meta;
	uint64_t from, to; /* sequences, both included */
	uint64_t limit;    /* records */
};

/* cmd_journal is `sluice journal`; words[0] is "journal". Returns the exit code. */
int cmd_journal(int count, char **words);

/* The commands: what they find goes to out, what goes wrong and progress to errors. The look is open. Return the exit
 * code. */
int cmd_journal_info(struct inspection *l, const struct cmd_journal_options *o, FILE *out,
                     FILE *errors); /* cmd_journal_info.c */
int cmd_journal_dump(struct inspection *l, const struct cmd_journal_options *o, FILE *out,
                     FILE *errors); /* cmd_journal_dump.c */
int cmd_journal_verify(struct inspection *l, const struct cmd_journal_options *o, FILE *out,
                       FILE *errors); /* cmd_journal_verify.c */
int cmd_journal_repair(struct inspection *l, const struct cmd_journal_options *o, FILE *out,
                       FILE *errors); /* cmd_journal_repair.c */

/* Progress of a walk, once a second from the first second on. */
struct cmd_journal_progress {
	FILE *out;
	const char *command;
	int64_t next_us;
};
void cmd_journal_progress(struct cmd_journal_progress *p, uint64_t bytes, uint64_t total);
/* cmd_journal_print_bytes writes "12 of 340 MB read"; total 0: it is not known. */
void cmd_journal_print_bytes(FILE *out, uint64_t bytes, uint64_t total);
/* cmd_journal_format_time writes microseconds since 1970 as RFC 3339 with milliseconds, "-" for 0; cmd_journal_print_string a JSON string. */
void cmd_journal_format_time(uint64_t us, char out[32]);
void cmd_journal_print_string(FILE *out, const void *text, size_t len);

#endif
