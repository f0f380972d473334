/* `sluice drain`: empties a journal that no gateway serves any more (a replica that is scaled in, a disk that was moved),
 * with the sinks of the configuration and without listeners. */
#ifndef SLUICE_GATEWAY_COMMANDS_CMD_DRAIN_H
#define SLUICE_GATEWAY_COMMANDS_CMD_DRAIN_H

#include "gateway/gateway.h"

/* cmd_drain delivers all that is in the journal of the plan's data directory; tells how far it is on progress, once a
 * second. Main thread; SIGTERM, SIGINT and SIGHUP must be blocked: one of them ends it early.
 *   left  set: records that the slowest sink has not got
 * GW_OK (left is 0) | GW_AGAIN (ended early; the rest stays in the journal) | GW_CONFIG (no journal there, another process
 * has it) | GW_IO | GW_NOMEM | GW_FATAL, with why. */
enum gw_err cmd_drain(const struct gateway_plan *plan, FILE *progress, uint64_t *left, struct why *why);

#endif
