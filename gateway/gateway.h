/* The gateway as a whole: listeners, journal, pumps and the admin server, put together from what the configuration
 * says, started and stopped in order. main.c reads the configuration and the signals; everything else is here. Main
 * thread. */
#ifndef SLUICE_GATEWAY_GATEWAY_H
#define SLUICE_GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stdio.h>

#include "gateway/admin.h"
#include "gateway/base/error.h"
#include "gateway/intake.h"
#include "gateway/journal/journal.h"
#include "gateway/protocol.h"
#include "gateway/pump/sink.h"

struct log_settings {
	int level, format;
};
struct stop_settings {
	uint64_t drain;   /* us, for the whole stop */
	bool until_empty; /* wait for the sinks as long as it takes */
};
struct gateway_settings {
	char *data;
	struct journal_settings journal;
	struct log_settings log;
	struct admin_settings admin;
	struct stop_settings stop;
};
extern const struct setting gateway_settings[];

/* A listener and a sink as configured; all borrowed, as long as the gateway lives. */
struct listener_plan {
	const char *name;
	const struct protocol *protocol;
	const void *settings;
	const struct listener_settings *common;
};
struct sink_plan {
	const char *name;
	const struct sink *sink;
	const void *settings;
	const struct sink_settings *common;
};
struct gateway_plan {
	const struct gateway_settings *settings;
	const struct listener_plan *listeners;
	size_t listener_count;
	const struct sink_plan *sinks;
	size_t sink_count;
	/* writes invalid messages that were taken as dead letters (on_invalid: dead_letter), with these settings */
	const struct sink *dead_sink;
	const void *dead_settings;
};

/* gateway_check_listener and _sink look at what tables cannot judge: one entry by itself and against the rest of the
 * plan. GW_OK | GW_CONFIG with why. */
enum gw_err gateway_check_listener(const struct gateway_plan *plan, const struct listener_plan *l, struct why *why);
enum gw_err gateway_check_sink(const struct gateway_plan *plan, const struct sink_plan *s, struct why *why);
enum gw_err gateway_check_whole(const struct gateway_plan *plan, struct why *why);
/* gateway_waits_for: whether `ack: delivered` of a listener with these settings waits for the sink. */
bool gateway_waits_for(const struct listener_settings *c, const char *sink);
/* gateway_warn logs what works but should be known: a data directory on tmpfs, anonymous listeners that are not on
 * loopback, library faults. */
void gateway_warn(const struct gateway_plan *plan);

struct gateway;
/* gateway_open recovers the journal, opens sinks and binds listeners. GW_OK | GW_CONFIG | GW_IO | GW_NOMEM | GW_FATAL,
 * with why. */
enum gw_err gateway_open(struct gateway **out, const struct gateway_plan *plan, struct why *why);
enum gw_err gateway_start(struct gateway *g, struct why *why);
/* gateway_stop: take nothing more in, answer what is safe, bring the rest to the sinks within the configured time.
 * GW_OK | GW_IO: something unacknowledged could not be made durable. What the sinks did not get stays in the journal.
 */
enum gw_err gateway_stop(struct gateway *g);
void gateway_close(struct gateway *g); /* g may be NULL */
/* gateway_is_blocked: after gateway_stop, a sink's thread is in a call that does not return. Nothing is freed then: end the
 * process with _exit. */
bool gateway_is_blocked(const struct gateway *g);
/* gateway_behind tells how many records of the journal the slowest sink has not got yet, and its name (out may be NULL).
 * Any thread. */
uint64_t gateway_behind(const struct gateway *g, char *out, size_t size);
/* gateway_asked_to_end waits so many milliseconds, or until SIGTERM, SIGINT or SIGHUP comes, which must be blocked: true. For
 * commands that end by themselves. Main thread. */
bool gateway_asked_to_end(unsigned wait_ms);
/* gateway_sent counts the records that all sinks together have taken, and refused for good, since the start. Any thread. */
void gateway_sent(const struct gateway *g, uint64_t *delivered, uint64_t *dead);

/* gateway_hints prints what it listens on and a command per protocol that sends a first message. */
void gateway_hints(const struct gateway *g, FILE *out);
/* versions_write prints the versions of Sluice and its libraries, one a line; versions_labels the same as labels of a
 * metric. */
void versions_write(FILE *out);
void versions_labels(char *out, size_t size);

#endif
