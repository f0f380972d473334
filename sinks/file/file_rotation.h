/* Rotation renames FILE to FILE.YYYYMMDDTHHMMSS (UTC, with -N when taken), beside it; `keep` limits how many are kept. */
#ifndef SLUICE_SINKS_FILE_FILE_ROTATION_H
#define SLUICE_SINKS_FILE_FILE_ROTATION_H

#include <stdint.h>

struct file_rotation {
	char stamp[32];   /* of the last rotation, and */
	unsigned stamped; /* how many before it had the same */
};

/* file_rotation_rotate gives the file at path its new name and removes the oldest of those that have one, until `keep`
 * are left (0: all are kept). Zero-initialised before the first call. 0 or a negative errno: nothing was renamed. */
int file_rotation_rotate(struct file_rotation *r, const char *path, int64_t keep);

#endif
