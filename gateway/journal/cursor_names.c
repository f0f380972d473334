/* The list of sinks that a journal knows; see cursor_names.h. */
#include "gateway/journal/cursor_names.h"

#include <stdio.h>
#include <string.h>

#define BYTES_MAX (CURSORS_MAX * (CURSOR_NAME_MAX + 1))

bool cursor_names_has(const struct cursor_names *n, const char *name)
{
	for (size_t i = 0; i < n->count; i++)
		if (strcmp(n->items[i], name) == 0)
			return true;
	return false;
}

void cursor_names_add(struct cursor_names *n, const char *name)
{
	if (n->count < CURSORS_MAX && strlen(name) <= CURSOR_NAME_MAX && !cursor_names_has(n, name))
		snprintf(n->items[n->count++], sizeof(n->items[0]), "%s", name);
}

void cursor_names_read(struct cursor_names *n, const struct disk *disk, const char *dir)
{
	char path[4096], text[BYTES_MAX + 1];
	n->count = 0;
	snprintf(path, sizeof(path), "%s/sinks", dir);
	int fd = disk->open(disk, path, DISK_READ);
	if (fd < 0)
		return;
	int64_t len = disk->read(disk, fd, text, BYTES_MAX, 0);
	disk->close(disk, fd);
	text[len > 0 ? len : 0] = '\0';
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n")) && rest;) /* a last line without an end is none */
		if (*line)
			cursor_names_add(n, line);
}

static bool is_same(const struct cursor_names *a, const struct cursor_names *b)
{
	bool same = a->count == b->count;
	for (size_t i = 0; same && i < a->count; i++)
		same = cursor_names_has(b, a->items[i]);
	return same;
}

static int write_file(const struct cursor_names *n, const struct disk *disk, const char *path)
{
	char text[BYTES_MAX + 1];
	size_t len = 0;
	for (size_t i = 0; i < n->count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", n->items[i]);
	disk->remove(disk, path); /* of a try that failed */
	int fd = disk->open(disk, path, DISK_WRITE | DISK_CREATE);
	if (fd < 0)
		return fd;
	int err = disk->write(disk, fd, text, len, 0);
	if (!err)
		err = disk->sync(disk, fd);
	int closed = disk->close(disk, fd);
	return err ? err : closed;
}

int cursor_names_write(const struct cursor_names *n, const struct disk *disk, const char *dir)
{
	struct cursor_names there;
	char path[4096], fresh[4096 + 4];
	cursor_names_read(&there, disk, dir);
	if (is_same(n, &there))
		return 0;
	snprintf(path, sizeof(path), "%s/sinks", dir);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	int err = write_file(n, disk, fresh);
	if (!err)
		err = disk->rename(disk, fresh, path);
	return err ? err : disk->sync_dir(disk, dir);
}
