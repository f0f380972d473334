/* Moving aside what a journal must not use and nobody may throw away: damaged, or of another journal. Main thread. */
#ifndef SLUICE_GATEWAY_JOURNAL_QUARANTINE_H
#define SLUICE_GATEWAY_JOURNAL_QUARANTINE_H

#include <stddef.h>

#include "gateway/base/disk.h"

/* quarantine_move moves the file `name` in dir to `quarantine` in the journal's directory, under a name that is free there, and
 * syncs both directories. to: set to its new path, at most size bytes. 0 or a negative errno. */
int quarantine_move(const struct disk *d, const char *journal, const char *dir, const char *name, char *to,
                    size_t size);

#endif
