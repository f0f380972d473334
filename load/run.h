/* Carrying out plans: threads, seconds, the end. One run at a time in a process. */
#ifndef SLUICE_LOAD_RUN_H
#define SLUICE_LOAD_RUN_H

#include <stddef.h>

#include "gateway/base/error.h"
#include "load/ledger.h"
#include "load/plan.h"
#include "load/result.h"

/* run_plan carries out one checked plan and returns when it is over. The calling thread waits, calls the plan's hook
 * and writes the ledger; the plan's workers send.
 *   out     set on GW_OK: owned by the caller; everything that went wrong with the server is in it, not in the code
 *   ledger  what was sent and acknowledged is put down in it; NULL: nothing is kept. plan->ledger_path, if set, is
 *           rewritten every few seconds and at the end
 * GW_OK | GW_CONFIG (not enough descriptors or ports, no such host, a file that cannot be read; nothing was sent) |
 * GW_NOMEM | GW_IO, with why. */
enum gw_err run_plan(const struct load_plan *plan, struct load_result **out, struct ledger *ledger, struct why *why);
/* run_plans carries out several at the same time, one result each; they share run identifier and ledger, and the
 * ledger_path of the first counts. */
enum gw_err run_plans(const struct load_plan *plans, size_t count, struct load_result **out, struct ledger *ledger,
                      struct why *why);
/* run_make_id makes up an identifier: 8 characters, time and chance. */
void run_make_id(char run[32]);

#endif
