/* Which journal a file belongs to: a random number that the journal gets once. It is in the file `identity` of its directory (32
 * hexadecimal digits, a line), in each segment's header and in each cursor. Files of versions before it have zeros, and are
 * accepted. So files of another host that somebody copied in are noticed. Main thread. */
#ifndef SLUICE_GATEWAY_JOURNAL_IDENTITY_H
#define SLUICE_GATEWAY_JOURNAL_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/disk.h"

#define IDENTITY_SIZE 16u

/* identity_is_none: it is zeros, as in files of older versions. identity_is_foreign: both are known and differ. */
bool identity_is_none(const uint8_t id[IDENTITY_SIZE]);
bool identity_is_foreign(const uint8_t own[IDENTITY_SIZE], const uint8_t other[IDENTITY_SIZE]);
/* identity_read reads dir's file; zeros when there is none or it is not whole. 0 or a negative errno. */
int identity_read(const struct disk *d, const char *dir, uint8_t out[IDENTITY_SIZE]);
/* identity_write stores it, synced with its directory. 0 or a negative errno. */
int identity_write(const struct disk *d, const char *dir, const uint8_t id[IDENTITY_SIZE]);
void identity_make(uint8_t out[IDENTITY_SIZE]); /* a random one */

#endif
