/* `sluice cursor`: where the sinks are in the journal, and giving up what a sink has not received. Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_CMD_CURSOR_H
#define SLUICE_GATEWAY_COMMANDS_CMD_CURSOR_H

#include "gateway/gateway.h"

/* cmd_cursor lists where the sinks are in the journal of a gateway that does not run, or (drop) forgets one of
 * them. GW_OK | GW_INVALID (no such sink) | GW_IO (also when a gateway has the journal open) | GW_NOMEM | GW_CONFIG,
 * with why. */
enum gw_err cmd_cursor(const struct gateway_plan *plan, const char *drop, FILE *out, struct why *why);

#endif
