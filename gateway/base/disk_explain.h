/* Why the disk refused a call, for the person who has to do something about it: what failed, at which path, for which
 * user, and what to do. No advice here loses data when it is followed. */
#ifndef SLUICE_GATEWAY_BASE_DISK_EXPLAIN_H
#define SLUICE_GATEWAY_BASE_DISK_EXPLAIN_H

#include <stddef.h>

/* disk_explain writes a sentence for err, an errno (negative or positive; 0 is taken for EIO), that path got. It looks at
 * path to say to whom it belongs. Returns out; at most size bytes, always terminated. errno is kept. Any thread. */
const char *disk_explain(int err, const char *path, char *out, size_t size);

#endif
