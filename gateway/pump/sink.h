/* What a sink is to the core. A sink is one file that defines one struct sink; adding one is that file and a line in
 * sink_list (sinks/list.c). All of a sink runs on its pump's thread (open and close: main thread), so it needs no
 * locks.
 *
 * The pump reads the journal, forms batches within the limits (records, bytes, age), hands up to `in_flight` of them to
 * submit, and drives the sink by poll. The sink settles batches in any order, each item with batch_done, batch_retry or
 * batch_dead, then batch_finish. Order of records: batches are submitted in order; a retried item comes again in a
 * later submit. The pump backs off (with jitter) before a retry: while it does, nothing else is submitted, so a sink
 * that is down is asked once per back-off. */
#ifndef SLUICE_GATEWAY_PUMP_SINK_H
#define SLUICE_GATEWAY_PUMP_SINK_H

#include "gateway/base/error.h"
#include "gateway/base/settings.h"
#include "gateway/base/stats.h"
#include "gateway/pump/batch.h"

enum replay_order { REPLAY_OLDEST_FIRST, REPLAY_LIVE_FIRST };

/* Settings that every sink has, whatever its kind. */
struct sink_settings {
	int from;              /* 0 oldest, 1 now: where a new sink starts in the journal */
	int64_t batch_records; /* limits of one batch */
	uint64_t batch_bytes;
	uint64_t batch_age;                /* us: longest wait for a batch to fill */
	int64_t in_flight;                 /* batches with the sink at one time */
	uint64_t backoff_min, backoff_max; /* us */
	int replay_order;                  /* enum replay_order */
	int64_t replay_rate;               /* records a second; 0: no limit */
	uint64_t replay_after;             /* us: shorter trouble is no outage */
	uint64_t give_up_after;            /* us: retried longer than this: dead letter; 0: never */
	char *dead_letters;                /* path of the dead letter file; NULL: DATA/dead/NAME.ndjson */
	uint64_t max_dead_letters;         /* bytes of it; 0: no limit */
};
extern const struct setting sink_settings[];

/* What the core lends to a sink. */
struct sink_host {
	const char *name; /* the sink's name in the configuration */
	const char *data; /* directory for what must be kept, e.g. for relative paths */
	const struct sink_settings *settings;
	struct sink_stats *stats; /* the pump counts deliveries; a sink adds what it alone knows (limited) */
	int wake_fd; /* readable when the pump has something to do: a sink that waits by its own means waits on it, too */
	struct pump *pump;
};

/* sink_report_health says what the operator should know; logged when it changes, shown by /readyz?verbose and the
 * metric sluice_sink_up.
 *   text  what is wrong and what to do: "topic sluice.telemetry does not exist and may not be created: create it or
 *         ..."; NULL: nothing is wrong */
void sink_report_health(struct sink_host *host, const char *text);

/* For a sink with `deferred`: what it has finished is written but not yet safe. sink_synced: now everything it finished
 * is safe, and the cursor may pass it. sink_rewind: nothing since the last sink_synced is to be believed; all of it
 * will be submitted again, after a back-off. Pump thread; both may be called inside submit, poll and flush. */
void sink_synced(struct sink_host *host);
void sink_rewind(struct sink_host *host);
/* sink_is_rewinding: sink_rewind was called, and what is submitted until then will come again. */
bool sink_is_rewinding(const struct sink_host *host);

/* sink_outside says that a call follows that may take as long as a file system or another program likes, and that it has
 * returned. /livez does not take it for a thread that has stopped; /readyz says so when it takes long. Pump thread. */
void sink_outside(struct sink_host *host, bool outside);

struct sink {
	const char *name; /* "kafka" */
	const char *help;
	size_t size; /* bytes of state; settings members filled, the rest zero */
	const struct setting *settings;
	bool deferred; /* finished batches are safe only after sink_synced; their memory need not be kept until then */
	/* check, as in struct protocol: GW_OK | GW_CONFIG. Main thread. May be NULL. Must not connect. */
	enum gw_err (*check)(const void *self, const struct sink_settings *common, struct why *why);
	/* output writes the path of the file that this sink writes and no other may, relative ones below data; "" when there is none.
	 * Main thread. May be NULL. */
	void (*output)(const void *self, const char *data, char *out, size_t size);
	/* open makes handles; it must not wait for the far end (a sink that is down at start is no error). Main thread.
	 * GW_OK | GW_CONFIG | GW_IO | GW_NOMEM. */
	enum gw_err (*open)(void *self, struct sink_host *host, struct why *why);
	/* submit takes a batch: GW_OK: the sink has it and will batch_finish it (perhaps it already did); GW_AGAIN: not
	 * now, offer the same later (poll first). Nothing else. */
	enum gw_err (*submit)(void *self, struct batch *b);
	/* poll makes progress and may finish batches; waits at most timeout_ms for an event of the sink's own or for
	 * host->wake_fd (which it need not read). NULL: the sink never waits for anything (the pump waits on wake_fd
	 * alone). */
	void (*poll)(void *self, int timeout_ms);
	/* flush asks to settle (and sync) soon what is in flight (orderly stop, or a device waits for `delivered`);
	 * must not block. May be NULL. */
	void (*flush)(void *self);
	/* close gives everything back; batches not finished by then stay unsettled (they come again at the next start).
	 * Main thread, after the pump's thread has ended; safe after a half-done open. */
	void (*close)(void *self);
	/* describe writes where records go, for the start log: "127.0.0.1:9092 topic sluice.telemetry". Never secrets.
	 * May be NULL. */
	void (*describe)(const void *self, char *out, size_t size);
};

extern const struct sink *const sink_list[]; /* ends with NULL */

#endif
