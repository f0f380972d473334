/* A pump brings the journal's records to one sink, on its own thread. It reads from its cursor, forms batches (records,
 * bytes, age), keeps several in flight, moves the cursor over the finished prefix, backs off with jitter when the sink
 * fails, and passes a record that the sink refuses for good only after its dead letter is synced. A sink that is down
 * holds nobody else back. */
#ifndef SLUICE_GATEWAY_PUMP_PUMP_H
#define SLUICE_GATEWAY_PUMP_PUMP_H

#include "gateway/base/error.h"
#include "gateway/base/heartbeat.h"
#include "gateway/base/stats.h"
#include "gateway/journal/journal.h"
#include "gateway/pump/dead_letter_file.h"
#include "gateway/pump/sink.h"

struct pump;

/* What pump_open needs to know; all of it lives until pump_close. */
struct pump_plan {
	const char *name;
	const struct sink *sink;
	const void *settings; /* the sink's own, sink->size bytes: copied */
	const struct sink_settings *common;
	const char *data;  /* directory */
	bool dead_letters; /* takes RECORD_DEAD and nothing else, instead of RECORD_TELEMETRY */
};

/* pump_open opens the sink and its cursor. GW_OK | GW_CONFIG | GW_IO | GW_NOMEM, with why. Main thread. */
enum gw_err pump_open(struct pump **out, const struct pump_plan *plan, struct journal *j, const struct disk *disk,
                      struct why *why);
enum gw_err pump_start(struct pump *p, struct why *why);
/* pump_stop lets the pump go on until it has everything the journal has, at most until deadline_us (monotonic), and then
 * ends its thread. It returns at once; pump_join waits, and not longer when the sink is in a call to its target that
 * does not return (a file system that hangs): pump_is_blocked then, and the pump must not be closed. True from
 * pump_join: it has everything. Main thread. */
void pump_stop(struct pump *p, int64_t deadline_us);
bool pump_join(struct pump *p);
bool pump_is_blocked(const struct pump *p);
void pump_close(struct pump *p);

/* Any thread. */
const char *pump_name(const struct pump *p);
const struct sink *pump_sink(const struct pump *p);
const struct sink_stats *pump_stats(const struct pump *p);
struct heartbeat *pump_heartbeat(struct pump *p);
struct cursor *pump_cursor(struct pump *p);
/* pump_state copies what sink_report_health said last, or that a call to its target does not return; "" when nothing is
 * wrong. */
void pump_state(struct pump *p, char *out, size_t size);
void pump_describe(const struct pump *p, char *out, size_t size);

#endif
