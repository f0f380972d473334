/* Sending records again: what a file, a journal or a dead letter file holds goes to one sink, with the ids it has. `sluice
 * replay` and `sluice deadletters replay` stand on it.
 *
 * It is a gateway of its own for the time: one listener that reads instead of listening, a journal in memory, and the
 * sink as it is configured. Nothing of it outlives the process, so whoever ends it early does it again from the start;
 * the ids tell sinks what they have already. */
#ifndef SLUICE_GATEWAY_COMMANDS_RESEND_H
#define SLUICE_GATEWAY_COMMANDS_RESEND_H

#include "gateway/gateway.h"

struct resend;

struct resend_plan {
	const struct gateway_plan *gateway; /* for its sinks and its data directory */
	const char *sink;                   /* name of one of them */
	const char *dead_letters;           /* file for what it refuses; NULL: its usual one */
	uint64_t rate;                      /* records a second; 0: as fast as the sink takes them */
	uint64_t bytes;                     /* that feed will read; 0: not known */
	const char *command;                /* what lines of progress begin with */
	/* feed calls resend_put for each record; on a thread of its own. It returns early when that says false. */
	void (*feed)(void *context, struct resend *r);
	void *context;
};

struct resend_result {
	uint64_t taken;     /* records handed over */
	uint64_t delivered; /* of them, those that the sink has taken */
	uint64_t dead;      /* and those that it refused for good */
};

/* resend_put hands one record over: len bytes, the JSON that docs/record.md describes. It waits for room and for the rate.
 *   refusal  set when it is none
 * GW_OK | GW_INVALID (it is no record, or too large: refusal) | GW_AGAIN (asked to end). Feed's thread. */
enum gw_err resend_put(struct resend *r, const char *json, size_t len, struct refusal *refusal);

/* resend_read tells how many bytes feed has read, for the progress. Feed's thread. */
void resend_read(struct resend *r, uint64_t bytes);

/* resend_run feeds and delivers until the sink has everything; a line of progress each second. Main thread; SIGTERM,
 * SIGINT and SIGHUP must be blocked: one of them ends it early.
 * GW_OK | GW_AGAIN (ended early) | GW_CONFIG (no such sink; it cannot be opened) | GW_IO | GW_NOMEM | GW_FATAL, with why.
 * The result is filled in any case. */
enum gw_err resend_run(const struct resend_plan *plan, FILE *progress, struct resend_result *result, struct why *why);

#endif
