/* The dead letter file; see dead_letter_file.h. */
#include "gateway/pump/dead_letter_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/utf8.h"
#include "gateway/journal/record.h"

enum gw_err dead_letter_file_init(struct dead_letter_file *d, const struct disk *disk, const char *path,
                                  const char *sink, uint64_t max_bytes)
{
	d->disk = disk;
	d->sink = sink;
	d->fd = -1;
	d->spoilt = d->full = d->is_dirty = false;
	d->error = 0;
	d->failed = "";
	d->max_bytes = max_bytes;
	d->path = strdup(path);
	return d->path ? GW_OK : GW_NOMEM;
}

void dead_letter_file_fini(struct dead_letter_file *d)
{
	if (d->path && d->fd >= 0)
		d->disk->close(d->disk, d->fd);
	free(d->path);
	d->path = NULL;
	d->fd = -1;
}

/* A crash or a full disk may have left half a line: it is ended, so that it spoils no other. After a failure the end
 * that can be read may be another one than that on the disk: it is ended in any case. */
static int end_last_line(const struct dead_letter_file *d, int fd)
{
	char last = '\n';
	int64_t size = d->disk->size(d->disk, fd);
	if (size <= 0)
		return (int)size;
	int64_t n = d->disk->read(d->disk, fd, &last, 1, (uint64_t)size - 1);
	if (n < 0)
		return (int)n;
	return last == '\n' && !d->spoilt ? 0 : d->disk->write(d->disk, fd, "\n", 1, 0);
}

static int open_file(struct dead_letter_file *d)
{
	char dir[4096];
	snprintf(dir, sizeof(dir), "%s", d->path);
	char *slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		int err = disk_make_path(d->disk, dir);
		if (err)
			return err;
	}
	int fd = d->disk->open(d->disk, d->path, DISK_APPEND | DISK_WRITE | DISK_CREATE);
	if (fd < 0)
		return fd;
	int err = d->disk->sync_dir(d->disk, slash && slash != dir ? dir : ".");
	if (!err)
		err = end_last_line(d, fd);
	int64_t size = err ? err : d->disk->size(d->disk, fd);
	if (size < 0)
		err = (int)size;
	if (err) {
		d->disk->close(d->disk, fd);
		return err;
	}
	d->fd = fd;
	d->size = (uint64_t)size;
	d->spoilt = false;
	return 0;
}

static void close_spoilt(struct dead_letter_file *d)
{
	d->disk->close(d->disk, d->fd);
	d->fd = -1;
	d->spoilt = true;
}

/* Others may have cut it off, or purged it in place. */
static int follow_size(struct dead_letter_file *d)
{
	int64_t size = d->disk->size(d->disk, d->fd);
	if (size < 0)
		return (int)size;
	d->size = (uint64_t)size;
	return 0;
}

/* 0: what was written is where it is looked for. A file that is shorter than it must be was truncated. */
static int look_after_sync(const struct dead_letter_file *d)
{
	int place = d->disk->place(d->disk, d->fd, d->path);
	if (place != DISK_HERE)
		return place < 0 ? place : -ENOENT;
	int64_t size = d->disk->size(d->disk, d->fd);
	return size < 0 ? (int)size : (uint64_t)size < d->size ? -ENOENT : 0;
}

/* result: a negative errno */
static enum gw_err io_error(struct dead_letter_file *d, int result, const char *what)
{
	d->error = -result;
	d->failed = what;
	return GW_IO;
}

enum gw_err dead_letter_file_add(struct dead_letter_file *d, uint64_t sequence, const char *reason,
                                 const uint8_t *entry)
{
	struct record r;
	char now[CLOCK_FORMAT_LEN];
	if (d->full && d->fd >= 0) {
		d->disk->close(d->disk, d->fd);
		d->fd = -1;
	}
	d->full = false;
	int err = d->fd < 0 ? open_file(d) : d->is_dirty ? 0 : follow_size(d);
	if (err)
		return io_error(d, err, "opened");
	record_read(&r, entry);
	size_t reason_len = utf8_check(reason, strlen(reason));
	char *line = malloc(512 + strlen(d->sink) + 6 * reason_len + r.json_len);
	if (!line)
		return GW_NOMEM;
	clock_format(now, clock_wall_us());
	int n = sprintf(line, "{\"@timestamp\":\"%.*s\",\"sink\":\"%s\",\"sequence\":%llu,\"reason\":\"",
	                CLOCK_FORMAT_LEN, now, d->sink, (unsigned long long)sequence);
	size_t len = (size_t)n;
	len += json_escape(line + len, reason, reason_len);
	len += (size_t)sprintf(line + len, "\",\"record\":");
	memcpy(line + len, record_json(entry), r.json_len);
	len += r.json_len;
	memcpy(line + len, "}\n", 2);
	d->full = d->max_bytes > 0 && d->size + len + 2 > d->max_bytes;
	err = d->full ? 0 : d->disk->write(d->disk, d->fd, line, len + 2, 0);
	free(line);
	if (d->full)
		return GW_FULL;
	d->size += len + 2;
	d->is_dirty = true;
	if (!err)
		return GW_OK;
	close_spoilt(d); /* part of the line may be there: opened anew, it is ended first */
	return io_error(d, err, "written");
}

enum gw_err dead_letter_file_sync(struct dead_letter_file *d)
{
	/* Somebody may have deleted the file under us, moved it away or truncated it: then what was written is where nobody
	 * looks, or nowhere. */
	int err = d->fd < 0 ? 0 : d->disk->sync(d->disk, d->fd);
	if (!err && d->fd >= 0 && d->is_dirty)
		err = look_after_sync(d);
	d->is_dirty = false;
	if (!err)
		return GW_OK;
	/* What was written may be gone without a word: it is written again, through a new descriptor. */
	close_spoilt(d);
	return io_error(d, err, "synced");
}
