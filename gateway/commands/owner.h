/* Commands that write do so as the user to whom the data belong: what root writes there a gateway of another user cannot read
 * after its next start. Main thread. */
#ifndef SLUICE_GATEWAY_COMMANDS_OWNER_H
#define SLUICE_GATEWAY_COMMANDS_OWNER_H

#include "gateway/base/error.h"

/* owner_allow_other is --as-other-user: owner_check refuses nobody from now on. */
void owner_allow_other(void);
/* owner_check compares this user with the owner of a data directory, or of `journal` in it. With --as-other-user root becomes that
 * user and group for the rest of the process, so that owners stay; another user goes on as it is. A directory that is not
 * there is no error. GW_OK | GW_CONFIG (another user's, not allowed) | GW_IO (cannot become that user), with why. */
enum gw_err owner_check(const char *data, struct why *why);

#endif
