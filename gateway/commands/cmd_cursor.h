/* `sluice cursor`: where the sinks are in the journal, and giving up what a sink has not received. Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_CMD_CURSOR_H
#define SLUICE_GATEWAY_COMMANDS_CMD_CURSOR_H

#include "gateway/gateway.h"

/* cmd_cursor_list prints where the sinks are; it reads alone, also beside a running gateway, and makes nothing.
 * GW_OK | GW_CONFIG (no journal there) | GW_IO | GW_NOMEM, with why. */
enum gw_err cmd_cursor_list(const struct gateway_plan *plan, FILE *out, struct why *why);
/* cmd_cursor_drop gives up what the sink `name` has not received: one that is configured goes on behind the last record, another
 * is forgotten. Without `yes` it only says how many records that is.
 * GW_OK | GW_AGAIN (said, not done) | GW_INVALID (no such sink) | GW_IO (also when a gateway has the journal open) | GW_NOMEM |
 * GW_CONFIG (no journal there), with why but for GW_AGAIN. */
enum gw_err cmd_cursor_drop(const struct gateway_plan *plan, const char *name, bool yes, FILE *out, struct why *why);

#endif
