/* The inside of `sluice deadletters`, shared by its files alone: cmd_deadletters.c (the command line),
 * deadletters_files.c (where dead letters are, and reading them), deadletters_list.c (list, show) and deadletters_retry.c
 * (purge, replay). Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_DEADLETTERS_PARTS_H
#define SLUICE_GATEWAY_COMMANDS_DEADLETTERS_PARTS_H

#include "gateway/commands/cmd_deadletters.h"
#include "gateway/commands/cmd_journal.h"
#include "gateway/commands/resend.h"
#include "gateway/pump/dead_letter_line.h"

#define DEADLETTERS_FILES_MAX 128

struct deadletters_file {
	char name[80]; /* of the sink */
	char path[4096];
};

struct deadletters_job {
	const struct gateway_plan *plan;
	const struct cmd_deadletters_options *options;
	FILE *out, *errors;
	struct deadletters_file files[DEADLETTERS_FILES_MAX];
	size_t count;
	struct dead_letter_line_reader *reader; /* owned */
	struct resend *resend;                  /* while a replay reads; NULL: nothing is sent */
	struct cmd_journal_progress progress;
	bool failed;   /* a file could not be read */
	bool rewrites; /* the file is replaced by what was read: nothing may be left out */
};

/* Is called for each line; letter NULL: it is none. False ends the reading. */
typedef bool deadletters_line_fn(void *context, const char *line, size_t len, const struct dead_letter_line *letter);

/* deadletters_find fills j->files: what the plan's sinks have, and what else lies in DATA/dead. Empty files are left out. */
void deadletters_find(struct deadletters_job *j);
/* deadletters_is_known: whether a sink of that name is configured or has a file; else that is told on j->errors. */
bool deadletters_is_known(const struct deadletters_job *j, const char *sink);
/* deadletters_is_asked_for: whether --sink names this file's sink, or none is named. */
bool deadletters_is_asked_for(const struct deadletters_job *j, const struct deadletters_file *f);
/* deadletters_match: whether a letter is one of those that --reason and --older-than ask for. */
bool deadletters_match(const struct deadletters_job *j, const struct dead_letter_line *l);
/* deadletters_each_line calls each for every line. False: the file could not be read, told on j->errors. */
bool deadletters_each_line(struct deadletters_job *j, const struct deadletters_file *f, deadletters_line_fn *each,
                           void *context);

/* The commands. Each returns the exit code of the program, as cmd_deadletters does. */
int deadletters_list(struct deadletters_job *j);
int deadletters_show(struct deadletters_job *j);
/* deadletters_retry_or_purge is purge or replay, under the lock of the data directory. */
int deadletters_retry_or_purge(struct deadletters_job *j);

#endif
