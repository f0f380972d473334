/* The admin server: metrics and probes for operators, on an address of its own.
 *
 *	GET /metrics   Prometheus text format (docs/metrics.md)
 *	GET /livez     200 as long as every thread's heartbeat beats; never fails because of sinks or the disk
 *	GET /readyz    200 when the gateway takes messages in; 503 while starting, draining, journal full or disk
 * faulty; a sink that is down is no reason both with ?verbose: each check in a line, "[+]" passed, "[-]" failed, "[!]"
 * to be known Other methods 405, other paths 404. */
#ifndef SLUICE_GATEWAY_ADMIN_H
#define SLUICE_GATEWAY_ADMIN_H

#include <stdbool.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "gateway/base/settings.h"

struct admin_settings {
	struct address listen;
	bool enabled;
};
extern const struct setting admin_settings[];

/* What the server shows; the functions are called on its thread. */
struct admin_source {
	void *context;
	void (*metrics)(void *context, FILE *out);
	/* live and ready print their checks to out and tell whether all passed. */
	bool (*live)(void *context, FILE *out);
	bool (*ready)(void *context, FILE *out);
};

struct admin;
/* admin_open binds and serves on a thread of its own. GW_OK | GW_IO (why names address and setting) | GW_CONFIG |
 * GW_NOMEM. Main thread.
 *   address  SOCKET_TEXT bytes, set to what was bound */
enum gw_err admin_open(struct admin **out, const struct admin_settings *settings, const struct admin_source *source,
                       char *address, struct why *why);
void admin_close(struct admin *a); /* a may be NULL */

/* admin_ask asks a running gateway's /livez or /readyz at address and prints the answer's text to out. True: 200. */
bool admin_ask(const struct address *address, const char *path, FILE *out);

#endif
