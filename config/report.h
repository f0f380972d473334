/* The errors of one configuration file: gathered while it is read, printed in the order of the file at the end. */
#ifndef SLUICE_CONFIG_REPORT_H
#define SLUICE_CONFIG_REPORT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "gateway/base/error.h"

struct report_error {
	int line, column;  /* 1-based; 0: the file as a whole */
	size_t start, end; /* of its text in report.text */
};

struct report {
	FILE *out;  /* a memory stream that holds every text; write only between begin and end */
	char *text; /* what the stream has gathered, valid when it is closed */
	size_t size;
	const char *path;            /* borrowed: the file's name */
	struct report_error *errors; /* owned */
	size_t count, capacity;
	size_t left_out; /* errors beyond the limit of report.c: counted only */
	off_t start;     /* of the error between begin and end, and its place */
	int line, column;
	bool nomem;    /* memory ran out somewhere while reading */
	char key[512]; /* path of the key being read, "listeners.mqtt.max_packet" */
	size_t key_len;
};

/* GW_OK | GW_NOMEM. */
enum gw_err report_init(struct report *r, const char *path);

/* report_enter appends a key to the path and returns what report_leave needs to take it off again. Unprintable
 * characters are shown as '?', long keys are cut. report_item does the same for the n-th (from 1) item of a list:
 * "nodes[2]". */
size_t report_enter(struct report *r, const char *key);
size_t report_item(struct report *r, size_t n);
void report_leave(struct report *r, size_t mark);

/* report_begin starts an error at a place (line 0: the file as a whole) and returns the stream for its text, without
 * newline. */
FILE *report_begin(struct report *r, int line, int column);
void report_end(struct report *r);
void report_error(struct report *r, int line, int column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* report_fini prints everything, frees it, and returns GW_OK (no errors), GW_CONFIG (there were some) or GW_NOMEM. */
enum gw_err report_fini(struct report *r, FILE *errors);

/* report_quote prints text in double quotes on one line: control characters and what is not UTF-8 are escaped, long
 * text is cut. */
void report_quote(FILE *out, const char *text);

#endif
