/* The names of the sinks that a journal has cursors of, beside the cursors: DATA/journal/sinks, a name a line. A sink whose
 * cursor is missing and whose name is there is not new: it starts at the oldest record, whatever its `from`. The file is
 * replaced as a whole (sinks.new, renamed); a missing one means that no sink is known. One thread at a time: the main
 * thread, then the journal's. */
#ifndef SLUICE_GATEWAY_JOURNAL_CURSOR_NAMES_H
#define SLUICE_GATEWAY_JOURNAL_CURSOR_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/disk.h"
#include "gateway/journal/cursor.h"

struct cursor_names {
	char items[CURSORS_MAX][CURSOR_NAME_MAX + 1];
	size_t count;
};

/* cursor_names_read reads dir/sinks; what cannot be read is no name. */
void cursor_names_read(struct cursor_names *n, const struct disk *disk, const char *dir);
bool cursor_names_has(const struct cursor_names *n, const char *name);
/* cursor_names_add leaves it as it is when the name is there or there is no room. */
void cursor_names_add(struct cursor_names *n, const char *name);
/* cursor_names_write makes dir/sinks say these names, safe before it returns, if it does not say them already. 0 or a
 * negative errno. */
int cursor_names_write(const struct cursor_names *n, const struct disk *disk, const char *dir);

#endif
