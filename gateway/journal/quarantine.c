/* Moving files aside; see quarantine.h. */
#include "gateway/journal/quarantine.h"

#include <stdio.h>

int quarantine_move(const struct disk *d, const char *journal, const char *dir, const char *name, char *to, size_t size)
{
	char from[4200], aside[4200];
	snprintf(aside, sizeof(aside), "%s/quarantine", journal);
	snprintf(from, sizeof(from), "%s/%s", dir, name);
	snprintf(to, size, "%s/%s", aside, name);
	int err = disk_make_path(d, aside), fd;
	for (unsigned n = 2; !err && (fd = d->open(d, to, DISK_READ)) >= 0; n++) { /* of an earlier time */
		d->close(d, fd);
		snprintf(to, size, "%s/%s.%u", aside, name, n);
	}
	if (!err && !(err = d->rename(d, from, to)) && !(err = d->sync_dir(d, aside)))
		err = d->sync_dir(d, dir);
	return err;
}
