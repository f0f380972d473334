/* What run.c, run_limits.c and run_count.c know of one another: one plan under way. Calling thread of run_plans only. */
#ifndef SLUICE_LOAD_RUN_PARTS_H
#define SLUICE_LOAD_RUN_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "load/job.h"
#include "load/plan.h"
#include "load/result.h"
#include "load/worker.h"

#define SECOND_US UINT64_C(1000000)

struct load_run {
	const struct load_plan *plan;
	struct load_job job;
	struct worker *workers; /* owned; job.worker_count of them, `started` of them have a thread */
	unsigned opened, started;
	struct load_result *result; /* owned until it is given away */
	struct hdr *second, *late;  /* owned */
	uint64_t began_us, start_us, ended_us, drain_us;
	uint64_t counted_us;  /* when the last second was closed */
	double *cpu_before;   /* owned; of each worker when the figures began */
	double server_before; /* CPU of the server at the last second */
	double intended;      /* by the shape, at the last second */
	bool warm, over;
};

/* run_check_limits finds out whether descriptors and ports are enough for all runs together; the soft limit of descriptors
 * is raised. GW_OK | GW_CONFIG with why. */
enum gw_err run_check_limits(const struct load_run *runs, size_t count, struct why *why);

/* run_begin_counting starts the clock of the shape and of what counts. */
void run_begin_counting(struct load_run *r, uint64_t now_us);
/* run_count_second closes a second: takes the workers' counts, while each is parked, and tells the plan's hook. last: the
 * workers have ended. */
void run_count_second(struct load_run *r, uint64_t now_us, bool last);
/* run_count_tool adds up what the tool itself used, before its workers end. */
void run_count_tool(struct load_run *r);
/* run_complete finishes the result, when the workers have ended. */
void run_complete(struct load_run *r);
/* run_share_servers: of several targets of one server the processor time cannot be told apart. The run that went on
 * longest tells it, whole, for the messages of all; all are complete. */
void run_share_servers(const struct load_plan *plans, struct load_result *const *results, size_t count);

#endif
