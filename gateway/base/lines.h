/* Reading a file line by line, packed with gzip or not. One thread. */
#ifndef SLUICE_GATEWAY_BASE_LINES_H
#define SLUICE_GATEWAY_BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "gateway/base/error.h"

#define LINE_MOST (4u << 20) /* bytes; a longer one is told as too long, and skipped */

struct lines {
	gzFile file; /* owned */
	char *buffer;
	size_t at, end;
	uint64_t number; /* of the line last returned, from 1 */
	uint64_t bytes;  /* of the file, packed as it is, that were read; of standard input unpacked */
	bool skipping;   /* inside a line that was too long */
	bool whole;      /* the line last returned ended with a newline */
	bool failed;     /* the file could not be read to its end; why says why */
	struct why why;
};

/* lines_open opens path ("-": standard input). GW_OK | GW_CONFIG (it cannot be opened, with why) | GW_NOMEM. */
enum gw_err lines_open(struct lines *l, const char *path, struct why *why);
/* lines_next returns the next line without its end, valid until the next call; *text NULL: it is longer than LINE_MOST.
 * False: the end, or failed. */
bool lines_next(struct lines *l, const char **text, size_t *len);
void lines_close(struct lines *l); /* safe on zeros */
/* lines_size: how many bytes lines_next will read of path; 0: not known (it is no file). */
uint64_t lines_size(const char *path);

#endif
