/* Results for people and for other programs: a line a second, a table, and files. Calling thread: that of run_plan. */
#ifndef SLUICE_LOAD_REPORT_H
#define SLUICE_LOAD_REPORT_H

#include <stddef.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "load/plan.h"
#include "load/result.h"

/* report_second is a load_hook: one line a second to stderr; context: none. */
void report_second(void *context, const struct load_plan *plan, const struct load_result *so_far);

/* report_table prints one result: what was sent and became of it, latencies with a small drawing of their distribution,
 * errors by kind with the words of the first, the server's use, the warning. */
void report_table(const struct load_result *r, FILE *out);

/* The files: --csv (a row a second), --hdr (an HdrHistogram log, version 1.3, a line a second group: one interval for the
 * whole run per result), --html (one self-contained page; several results are drawn over one another). */
void report_csv(const struct load_result *const *results, size_t count, FILE *out);
enum gw_err report_hdr(const struct load_result *const *results, size_t count, FILE *out, struct why *why);
void report_html(const struct load_result *const *results, size_t count, FILE *out);

/* Where tables for people go beside the JSON at that path (which may be NULL): stdout, or stderr if the JSON goes there ("-"). */
FILE *report_people(const char *json);
/* report_open opens a file for writing; "-" is stdout. NULL: errno says why. report_close writes the rest of it and closes
 * all but stdout; false: not everything could be written. */
FILE *report_open(const char *path);
bool report_close(FILE *out);
/* report_try finds out whether what outputs name can be written, before hours of work; what was there is left alone.
 * report_try_file: one of them. GW_OK | GW_IO with why, naming the file. */
enum gw_err report_try(const struct load_outputs *o, struct why *why);
enum gw_err report_try_file(const char *path, struct why *why);

/* report_files writes what outputs name; several results as a JSON list. GW_OK | GW_IO with why, naming the file. */
enum gw_err report_files(const struct load_outputs *o, const struct load_result *const *results, size_t count,
                         struct why *why);

/* Numbers as people read them, into out (32 bytes), which is returned: "1,234,567"; "1.23 ms"; "12.3 MiB". */
const char *report_unknown(char out[32]); /* "-" */
const char *report_count(char out[32], double v);
const char *report_time(char out[32], double us);
const char *report_bytes(char out[32], double bytes);

#endif
