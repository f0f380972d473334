/* Files and streams as a file sink writes them; see file_target.h. */
#include "sinks/file/file_target.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk.h"

#define VECTORS 512

enum gw_err file_target_init(struct file_target *t, const char *data, const char *path)
{
	bool is_relative = path[0] != '/';
	*t = (struct file_target){.fd = -1};
	if (asprintf(&t->path, "%s%s%s", is_relative ? data : "", is_relative ? "/" : "", path) < 0) {
		t->path = NULL;
		return GW_NOMEM;
	}
	return GW_OK;
}

void file_target_fini(struct file_target *t)
{
	file_target_close(t);
	free(t->path);
	free(t->real);
	t->path = t->real = NULL;
}

void file_target_close(struct file_target *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

const char *file_target_reason(int err)
{
	switch (err) {
	case -ENXIO: return "nobody reads this FIFO or socket";
	case -EPIPE: return "its reader is gone";
	case -EAGAIN: return "it is full and its reader does not read";
	case -EISDIR: return "it is a directory; `path` must name a file";
	case -ENOTBLK: return "it is a block device";
	default: return strerror(-err);
	}
}

/* -- opening -- */

void file_target_dir(const char *path, char *out, size_t size)
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

static int put_newline(int fd, uint64_t *size)
{
	if (write(fd, "\n", 1) != 1)
		return errno ? -errno : -EIO;
	(*size)++;
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
	if (memcmp(begin, head, torn) != 0)
		return put_newline(fd, size);
	*size = (uint64_t)end;
	return ftruncate(fd, end) < 0 ? -errno : 0;
}

/* After a failed sync what can be read may not be what is on the disk: it is cut off. A file that may only grow (chattr +a)
 * keeps it, and the next line is told apart from it. */
static int cut_what_failed(struct file_target *t, int fd)
{
	struct stat st;
	if (!t->must_cut)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	bool is_same = st.st_dev == t->device && st.st_ino == t->inode;
	if (is_same && (uint64_t)st.st_size > t->synced && ftruncate(fd, (off_t)t->synced) < 0) {
		uint64_t size = 0;
		int err = errno == EPERM ? put_newline(fd, &size) : -errno;
		if (err)
			return err;
	}
	t->must_cut = false;
	return 0;
}

static int open_regular(struct file_target *t, int fd)
{
	char dir[PATH_MAX];
	int err = cut_what_failed(t, fd);
	if (!err)
		err = end_last_line(fd, &t->size);
	char *real = err ? NULL : realpath(t->path, NULL);
	free(t->real);
	t->real = real;
	file_target_dir(real ? real : t->path, dir, sizeof(dir));
	return err ? err : disk_real.sync_dir(&disk_real, dir);
}

/* The descriptor that /dev/stdout and its kind name; -1: another path. A socket cannot be opened by such a name, nor a pipe
 * of another user. */
static int inherited_fd(const char *path)
{
	static const char *const names[] = {"/dev/fd/", "/proc/self/fd/"};
	if (strcmp(path, "/dev/stdout") == 0)
		return STDOUT_FILENO;
	if (strcmp(path, "/dev/stderr") == 0)
		return STDERR_FILENO;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(path, names[i], strlen(names[i])) == 0)
			return atoi(path + strlen(names[i]));
	return -1;
}

static int duplicate(struct file_target *t, int err)
{
	struct stat st;
	int old = inherited_fd(t->path);
	if (old < 0 || (err != ENXIO && err != EACCES))
		return -err;
	int fd = fcntl(old, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	t->is_shared = true;
	t->is_blocking = !S_ISSOCK(st.st_mode);
	return fd;
}

/* O_NONBLOCK means nothing to a regular file, and to a stream that neither open nor write waits for its reader. */
static int open_any(struct file_target *t)
{
	struct stat st;
	char dir[PATH_MAX];
	t->is_shared = t->is_blocking = false;
	int flags = O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	bool is_stream = stat(t->path, &st) == 0 && !S_ISREG(st.st_mode);
	if (!is_stream) {
		file_target_dir(t->path, dir, sizeof(dir));
		int err = disk_make_path(&disk_real, dir);
		if (err)
			return err;
	}
	int fd = open(t->path, flags | (is_stream ? O_WRONLY : O_RDWR | O_CREAT), 0640);
	return fd < 0 ? duplicate(t, errno) : fd;
}

int file_target_open(struct file_target *t)
{
	struct stat st;
	int err = 0, fd = open_any(t);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (S_ISBLK(st.st_mode))
		err = -ENOTBLK;
	t->is_stream = !S_ISREG(st.st_mode);
	if (!err && !t->is_stream)
		err = open_regular(t, fd);
	if (err) {
		close(fd);
		return err;
	}
	t->fd = fd;
	t->device = st.st_dev;
	t->inode = st.st_ino;
	t->synced = t->size;
	t->is_foreign = false;
	t->opened_us = clock_mono_us();
	return 0;
}

/* -- open -- */

int file_target_look(struct file_target *t)
{
	struct stat st;
	if (t->is_shared)
		return FILE_HERE;
	int place = disk_real.place(&disk_real, t->fd, t->path);
	if (place != DISK_HERE || t->is_stream)
		return place == DISK_MOVED ? FILE_MOVED : place == DISK_GONE ? FILE_GONE : place;
	if (fstat(t->fd, &st) < 0)
		return -errno;
	bool is_shorter = (uint64_t)st.st_size < t->size;
	t->is_foreign |= (uint64_t)st.st_size > t->size;
	t->size = (uint64_t)st.st_size;
	t->synced = t->synced < t->size ? t->synced : t->size;
	return is_shorter ? FILE_TRUNCATED : FILE_HERE;
}

static size_t line_length(const struct batch *b, size_t i)
{
	return record_json_len(b->items[i].entry) + (size_t)1;
}

/* The bytes behind `at`; returns how many vectors. */
static int gather(const struct batch *b, struct file_position at, struct iovec v[VECTORS])
{
	static const char newline[1] = "\n";
	int used = 0;
	for (; at.item < b->count && used + 2 <= VECTORS; at.item++, at.offset = 0) {
		const uint8_t *entry = b->items[at.item].entry;
		size_t len = record_json_len(entry);
		if (at.offset < len)
			v[used++] =
			    (struct iovec){(void *)(uintptr_t)(record_json(entry) + at.offset), len - at.offset};
		v[used++] = (struct iovec){(void *)(uintptr_t)newline, 1};
	}
	return used;
}

/* A descriptor that others have open, too, must not become non-blocking for them: where poll says that a pipe has room, PIPE_BUF bytes
 * of it are free (POSIX, write). */
static ssize_t write_shared(const struct file_target *t, struct iovec *v, int count)
{
	struct msghdr message = {.msg_iov = v, .msg_iovlen = (size_t)count};
	struct pollfd p = {.fd = t->fd, .events = POLLOUT};
	assert(count > 0);
	if (!t->is_blocking)
		return sendmsg(t->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (poll(&p, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(t->fd, v->iov_base, v->iov_len < PIPE_BUF ? v->iov_len : PIPE_BUF);
}

static void move_on(const struct batch *b, struct file_position *at, size_t written)
{
	for (; written > 0; at->item++, at->offset = 0) {
		size_t rest = line_length(b, at->item) - at->offset;
		if (written < rest) {
			at->offset += written;
			return;
		}
		written -= rest;
	}
}

int file_target_write(struct file_target *t, const struct batch *b, struct file_position *at)
{
	struct iovec v[VECTORS];
	while (at->item < b->count) {
		int count = gather(b, *at, v);
		ssize_t n = t->is_shared ? write_shared(t, v, count) : writev(t->fd, v, count);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		t->size += (uint64_t)n;
		move_on(b, at, (size_t)n);
	}
	return 0;
}

int file_target_sync(struct file_target *t)
{
	int err = disk_real.sync(&disk_real, t->fd);
	if (!err) {
		t->synced = t->size;
		t->is_foreign = false;
	}
	return err;
}

int file_target_cut(struct file_target *t, uint64_t size)
{
	struct stat st;
	if (fstat(t->fd, &st) < 0)
		return -errno;
	uint64_t there = (uint64_t)st.st_size;
	if (t->is_foreign || there > t->size) /* theirs is not ours to cut */
		return -EBUSY;
	if (there > size && ftruncate(t->fd, (off_t)size) < 0)
		return -errno;
	t->size = there < size ? there : size;
	return 0;
}

void file_target_give_up(struct file_target *t)
{
	if (t->fd < 0)
		return;
	if (!t->is_stream) {
		int err = file_target_cut(t, t->synced);
		t->must_cut = err && err != -EBUSY;
	}
	file_target_close(t);
}
