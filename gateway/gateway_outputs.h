/* The files that the sinks of a configuration write: whether two write one, and whether this user may write them. Main
 * thread. */
#ifndef SLUICE_GATEWAY_GATEWAY_OUTPUTS_H
#define SLUICE_GATEWAY_GATEWAY_OUTPUTS_H

#include "gateway/gateway.h"

/* gateway_outputs_check refuses a sink whose file, or whose file of dead letters, is that of another sink before it in the plan,
 * or lies in the journal's directory. Links are followed. GW_OK | GW_CONFIG with why, which begins with the setting. */
enum gw_err gateway_outputs_check(const struct gateway_plan *plan, const struct sink_plan *s, struct why *why);
/* gateway_outputs_warn logs each directory that the user of this process may not write in. */
void gateway_outputs_warn(const struct gateway_plan *plan);

#endif
