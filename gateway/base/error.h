/* Results of functions that can fail, and the text that tells a person why.
 *
 * There is one code per reaction of the caller, never one per place of failure. At start and in recovery the story
 * is told by a struct why, which grows outward as it is passed up: "journal: segment 3: header: short read". */
#ifndef SLUICE_GATEWAY_BASE_ERROR_H
#define SLUICE_GATEWAY_BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

enum gw_err {
	GW_OK = 0,
	GW_AGAIN,   /* not now: offer it again later; nothing was taken */
	GW_FULL,    /* no room (lane or journal): hold the device back, offer it again later */
	GW_TOOBIG,  /* will never fit a configured limit: refuse it */
	GW_INVALID, /* malformed input: refuse it */
	GW_NOSPACE, /* the disk or a configured size is exhausted */
	GW_IO,      /* the disk or the network failed */
	GW_NOMEM,   /* out of memory */
	GW_CONFIG,  /* the configuration cannot work: say so and do not start */
	GW_FATAL,   /* cannot go on */
};

struct why {
	char text[1024]; /* always terminated; cut at the end when longer */
};

/* why_set starts the story; why_add puts "prefix: " before what is already there. Both accept w == NULL.
 * Both return err, so that a failure is one line: return why_set(w, GW_IO, "open %s: %s", path, strerror(errno)); */
enum gw_err why_set(struct why *w, enum gw_err err, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum gw_err why_add(struct why *w, enum gw_err err, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
