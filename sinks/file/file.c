/* The file sink writes records to a file, one JSON object a line (NDJSON), and rotates it by size and time.
 *
 * It stands behind the journal, so it need not sync every batch: it syncs when sync_bytes were written or sync_interval
 * has passed, and only then the cursor moves (`deferred` in gateway/pump/sink.h), so it never passes what could still be lost.
 * After a crash the records since the last sync are written again, so a line may be there twice, with the same
 * event.id; an unfinished last line is cut off before anything is appended. At each sync it also looks whether the file is still
 * where it was.
 *
 * Rotation renames FILE to FILE.YYYYMMDDTHHMMSS (UTC, with -N when taken) and starts a new one; `keep` limits how many
 * are kept. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk.h"
#include "gateway/base/log.h"
#include "gateway/pump/sink.h"

#define VECTORS 512
#define STAMP_SUFFIX 16u /* bytes of ".YYYYMMDDTHHMMSS" */

struct file_sink {
	/* settings */
	char *path;
	uint64_t sync_bytes, sync_interval, rotate_bytes, rotate_interval;
	int64_t keep;
	/* the rest is the pump thread's */
	struct sink_host *host;
	char *full_path; /* owned: path, under the data directory when it is relative */
	int fd;
	uint64_t size, unsynced;
	int64_t opened_us, first_unsynced_us;
	bool urgent;
	char stamp[32];   /* of the last rotation, and */
	unsigned stamped; /* how many before it had the same */
	bool spoilt;      /* a sync failed: what stands at the end of the file is not known */
};

static const struct setting file_settings[] = {
    SETTING(struct file_sink, path, SETTING_STRING, "telemetry.ndjson", 0, 0,
            "The file; a relative path is taken from the data directory."),
    SETTING(struct file_sink, sync_bytes, SETTING_BYTES, "64MiB", 1, 1e12, "Sync after that many bytes,"),
    SETTING(struct file_sink, sync_interval, SETTING_DURATION, "1s", 0, 6e7,
            "or after that time, whichever comes first; only then the cursor moves."),
    SETTING(struct file_sink, rotate_bytes, SETTING_BYTES, "0", 0, 1e15,
            "Begin a new file when this one has that many bytes; 0: never."),
    SETTING(struct file_sink, rotate_interval, SETTING_DURATION, "0", 0, 3.2e13,
            "Begin a new file when this one is that old; 0: never."),
    SETTING(struct file_sink, keep, SETTING_INT, "0", 0, 100000,
            "How many rotated files are kept, the newest; 0: all."),
    SETTINGS_END,
};

/* -- the file -- */

static void dir_of(const char *path, char *out, size_t size)
{
	snprintf(out, size, "%s", path);
	char *slash = strrchr(out, '/');
	if (!slash)
		snprintf(out, size, ".");
	else if (slash != out)
		*slash = '\0';
}

/* Where the last whole line of a file of `size` bytes ends; 0: there is none. Negative errno. */
static int64_t last_line_end(int fd, int64_t size)
{
	char part[65536];
	while (size > 0) {
		int64_t len = size < (int64_t)sizeof(part) ? size : (int64_t)sizeof(part);
		if (pread(fd, part, (size_t)len, size - len) != len)
			return -EIO;
		const char *newline = memrchr(part, '\n', (size_t)len);
		if (newline)
			return size - len + (newline - part) + 1;
		size -= len;
	}
	return 0;
}

/* An earlier crash may have left half a line. It was never synced, so the cursor is before it and the whole record
 * comes again: it is cut off. What does not look like the beginning of a record is not ours to cut: it is ended with a
 * newline. */
static int end_last_line(int fd, uint64_t *size)
{
	static const char head[] = "{\"@timestamp\":";
	struct stat st;
	char begin[sizeof(head) - 1] = {0};
	if (fstat(fd, &st) < 0)
		return -errno;
	int64_t end = last_line_end(fd, st.st_size);
	if (end < 0)
		return (int)end;
	*size = (uint64_t)st.st_size;
	size_t torn = (size_t)(st.st_size - end) < sizeof(begin) ? (size_t)(st.st_size - end) : sizeof(begin);
	if (torn == 0)
		return 0;
	if (pread(fd, begin, torn, end) != (ssize_t)torn)
		return -EIO;
	if (memcmp(begin, head, torn) == 0) {
		*size = (uint64_t)end;
		return ftruncate(fd, end) < 0 ? -errno : 0;
	}
	(*size)++;
	return write(fd, "\n", 1) == 1 ? 0 : -EIO;
}

static int start_file(struct file_sink *f)
{
	char dir[PATH_MAX];
	dir_of(f->full_path, dir, sizeof(dir));
	int err = disk_make_path(&disk_real, dir);
	if (err)
		return err;
	int fd = open(f->full_path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	if (!(err = end_last_line(fd, &f->size)) && f->spoilt && f->size > 0) {
		/* What can be read may not be what is on the disk: the next line is told apart in any case. */
		f->size++;
		err = write(fd, "\n", 1) == 1 ? 0 : -EIO;
	}
	if (!err)
		err = disk_real.sync_dir(&disk_real, dir);
	if (err) {
		close(fd);
		return err;
	}
	f->fd = fd;
	f->spoilt = false;
	f->unsynced = 0;
	f->opened_us = clock_mono_us();
	return 0;
}

/* By age: the time, then the number, which may grow beyond its six digits. */
static int by_name(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	int order = strncmp(strrchr(x, '.'), strrchr(y, '.'), STAMP_SUFFIX);
	if (order == 0)
		order = (strlen(x) > strlen(y)) - (strlen(x) < strlen(y));
	return order != 0 ? order : strcmp(x, y);
}

/* ".YYYYMMDDTHHMMSS", perhaps with "-NNNNNN" or more digits: ours. Whatever else begins with the file's name is left
 * alone. */
static bool is_rotated(const char *suffix)
{
	static const char shape[] = ".00000000T000000-000000";
	size_t len = strlen(suffix), most = sizeof(shape) - 1 + 4;
	if (len != STAMP_SUFFIX && (len < sizeof(shape) - 1 || len > most))
		return false;
	for (size_t i = 0; i < len; i++) {
		char wanted = i < sizeof(shape) - 1 ? shape[i] : '0';
		if (wanted == '0' ? suffix[i] < '0' || suffix[i] > '9' : suffix[i] != wanted)
			return false;
	}
	return true;
}

/* Names of the rotated files, the oldest first; owned by the caller. Their number. */
static size_t rotated_names(const struct file_sink *f, char ***out)
{
	char dir[PATH_MAX];
	char **names = NULL;
	size_t count = 0;
	dir_of(f->full_path, dir, sizeof(dir));
	const char *base = strrchr(f->full_path, '/') ? strrchr(f->full_path, '/') + 1 : f->full_path;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (strncmp(e->d_name, base, strlen(base)) != 0 || !is_rotated(e->d_name + strlen(base)))
			continue;
		char **more = realloc(names, (count + 1) * sizeof(*names));
		if (!more)
			break;
		names = more;
		if ((names[count] = strdup(e->d_name)))
			count++;
	}
	if (d)
		closedir(d);
	if (count > 0)
		qsort(names, count, sizeof(*names), by_name);
	*out = names;
	return count;
}

static void remove_old(struct file_sink *f)
{
	char dir[PATH_MAX], path[PATH_MAX * 2];
	char **names;
	size_t count = rotated_names(f, &names);
	dir_of(f->full_path, dir, sizeof(dir));
	for (size_t i = 0; i < count; i++) {
		if (i + (size_t)f->keep < count) {
			snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
			unlink(path);
		}
		free(names[i]);
	}
	free(names);
}

/* Where an earlier process stopped. */
static void find_stamp(struct file_sink *f)
{
	char **names;
	size_t count = rotated_names(f, &names);
	if (count > 0) {
		const char *stamp = strrchr(names[count - 1], '.') + 1;
		snprintf(f->stamp, sizeof(f->stamp), "%.15s", stamp);
		f->stamped = stamp[15] == '-' ? (unsigned)strtoul(stamp + 16, NULL, 10) : 0;
	}
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* Only after a sync: everything in the old file is settled. */
static void rotate(struct file_sink *f)
{
	char stamp[sizeof(f->stamp)] = "", to[PATH_MAX];
	time_t now = time(NULL);
	struct tm tm;
	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
	/* Names must sort by age, or `keep` would remove the wrong ones: within a second, and while a clock that was put
	 * back has not come to where it was, they are counted on. */
	if (!*f->stamp)
		find_stamp(f);
	if (strcmp(stamp, f->stamp) > 0) {
		memcpy(f->stamp, stamp, sizeof(stamp));
		f->stamped = 0;
		snprintf(to, sizeof(to), "%s.%s", f->full_path, f->stamp);
	} else {
		snprintf(to, sizeof(to), "%s.%s-%06u", f->full_path, f->stamp, ++f->stamped);
	}
	while (access(to, F_OK) == 0)
		snprintf(to, sizeof(to), "%s.%s-%06u", f->full_path, f->stamp, ++f->stamped);
	close(f->fd);
	f->fd = -1;
	if (rename(f->full_path, to) < 0)
		log_event(LOG_ERROR, "sink", "cannot rotate its file", LOG_S("sink.name", f->host->name),
		          LOG_S("file.path", to), LOG_S("error.message", strerror(errno)));
	if (f->keep > 0)
		remove_old(f);
}

static bool due_for_rotation(const struct file_sink *f)
{
	return f->fd >= 0 && f->size > 0 &&
	       ((f->rotate_bytes && f->size >= f->rotate_bytes) ||
	        (f->rotate_interval && clock_mono_us() - f->opened_us >= (int64_t)f->rotate_interval));
}

/* -- settling -- */

/* Nothing written since the last good sync is believed: all of it comes again, into a file opened anew. */
static void give_up(struct file_sink *f, const char *what, int err)
{
	char text[PATH_MAX + 200];
	snprintf(text, sizeof(text), "%s %s: %s", what, f->full_path, strerror(-err));
	sink_report_health(f->host, text);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->unsynced = 0;
	sink_rewind(f->host);
}

static void sync_file(struct file_sink *f)
{
	int place = DISK_HERE;
	int err = f->unsynced > 0 ? disk_real.sync(&disk_real, f->fd) : 0;
	f->urgent = false;
	if (err) {
		f->spoilt = true;
		give_up(f, "sync", err);
		return;
	}
	/* Somebody may have deleted the file under us, and then what was written since the last sync is nowhere. Or moved it away, as
	 * logrotate does: what was written is there. */
	if (f->unsynced > 0)
		place = disk_real.place(&disk_real, f->fd, f->full_path);
	if (place < 0 || place == DISK_GONE) {
		give_up(f, "look for", place < 0 ? place : -ENOENT);
		return;
	}
	f->unsynced = 0;
	sink_report_health(f->host, NULL);
	sink_synced(f->host);
	if (place == DISK_MOVED) {
		close(f->fd);
		f->fd = -1;
		log_event(LOG_INFO, "sink", "its file was moved: it begins a new one",
		          LOG_S("sink.name", f->host->name), LOG_S("file.path", f->full_path));
	} else if (due_for_rotation(f)) {
		rotate(f);
	}
}

static int write_all(int fd, struct iovec *v, int count)
{
	while (count > 0) {
		ssize_t n = writev(fd, v, count);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		while (count > 0 && (size_t)n >= v->iov_len) {
			n -= (ssize_t)v->iov_len;
			v++;
			count--;
		}
		if (count > 0) {
			v->iov_base = (char *)v->iov_base + n;
			v->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int write_batch(struct file_sink *f, const struct batch *b)
{
	static const char newline[1] = "\n";
	struct iovec v[VECTORS];
	int used = 0, err = 0;
	for (size_t i = 0; i < b->count && !err; i++) {
		struct record r;
		record_read(&r, b->items[i].entry);
		v[used++] = (struct iovec){.iov_base = (void *)(uintptr_t)record_json(b->items[i].entry),
		                           .iov_len = r.json_len};
		v[used++] = (struct iovec){.iov_base = (void *)(uintptr_t)newline, .iov_len = 1};
		f->unsynced += r.json_len + 1;
		f->size += r.json_len + 1;
		if (used == VECTORS || i + 1 == b->count) {
			err = write_all(f->fd, v, used);
			used = 0;
		}
	}
	return err;
}

/* -- the sink -- */

static enum gw_err file_open(void *self, struct sink_host *host, struct why *why)
{
	struct file_sink *f = self;
	f->fd = -1;
	f->host = host;
	bool relative = f->path[0] != '/';
	if (asprintf(&f->full_path, "%s%s%s", relative ? host->data : "", relative ? "/" : "", f->path) < 0) {
		f->full_path = NULL;
		return why_set(why, GW_NOMEM, "out of memory");
	}
	int err = start_file(f);
	return err ? why_set(why, GW_IO, "path: cannot write %s: %s", f->full_path, strerror(-err)) : GW_OK;
}

static enum gw_err file_submit(void *self, struct batch *b)
{
	struct file_sink *f = self;
	int err = f->fd < 0 ? start_file(f) : 0;
	if (f->unsynced == 0)
		f->first_unsynced_us = clock_mono_us();
	if (!err)
		err = write_batch(f, b);
	if (err) {
		batch_retry_all(b, "%s", strerror(-err));
		give_up(f, "write", err);
	} else {
		batch_done_all(b);
	}
	batch_finish(b);
	if (f->unsynced >= f->sync_bytes)
		sync_file(f);
	return GW_OK;
}

static void file_poll(void *self, int timeout_ms)
{
	struct file_sink *f = self;
	if (f->unsynced > 0) {
		int64_t rest = f->first_unsynced_us + (int64_t)f->sync_interval - clock_mono_us();
		if (rest <= 0 || f->urgent) {
			sync_file(f);
			timeout_ms = 0;
		} else if ((rest + 999) / 1000 < timeout_ms) {
			timeout_ms = (int)((rest + 999) / 1000);
		}
	} else {
		sink_synced(f->host); /* what was passed over without being written, too */
		if (due_for_rotation(f))
			rotate(f);
	}
	struct pollfd p = {.fd = f->host->wake_fd, .events = POLLIN};
	poll(&p, 1, timeout_ms);
}

static void file_flush(void *self)
{
	struct file_sink *f = self;
	f->urgent = f->unsynced > 0;
	if (!f->urgent)
		sink_synced(f->host);
}

static void file_close(void *self)
{
	struct file_sink *f = self;
	if (f->host && f->fd >= 0)
		close(f->fd);
	free(f->full_path);
	f->full_path = NULL;
}

static void file_describe(const void *self, char *out, size_t size)
{
	snprintf(out, size, "%s", ((const struct file_sink *)self)->full_path);
}

const struct sink file_sink = {
    .name = "file",
    .help = "Writes records to a file, one JSON object a line, and rotates it by size and time.",
    .size = sizeof(struct file_sink),
    .settings = file_settings,
    .deferred = true,
    .open = file_open,
    .submit = file_submit,
    .poll = file_poll,
    .flush = file_flush,
    .close = file_close,
    .describe = file_describe,
};
