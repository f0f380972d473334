/* The operating system's files behind the table of disk.h. */
#include "gateway/base/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int real_open(const struct disk *d, const char *path, unsigned flags)
{
	(void)d;
	int mode = O_CLOEXEC | (flags & (DISK_WRITE | DISK_APPEND) ? O_RDWR : O_RDONLY);
	if (flags & DISK_CREATE)
		mode |= O_CREAT;
	if (flags & DISK_DIRECT)
		mode |= O_DIRECT;
	if (flags & DISK_APPEND)
		mode |= O_APPEND;
	int fd = open(path, mode, 0640);
	return fd < 0 ? -errno : fd;
}

static int real_close(const struct disk *d, int fd)
{
	(void)d;
	return close(fd) < 0 ? -errno : 0;
}

static int64_t real_read(const struct disk *d, int fd, void *data, size_t len, uint64_t at)
{
	(void)d;
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (int64_t)done;
}

static int real_write(const struct disk *d, int fd, const void *data, size_t len, uint64_t at)
{
	(void)d;
	size_t done = 0;
	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)data + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int real_sync(const struct disk *d, int fd)
{
	(void)d;
	/* Never again on EIO: the kernel may have marked the pages clean, and a second call would lie. */
	while (fdatasync(fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int real_sync_dir(const struct disk *d, const char *path)
{
	(void)d;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err =
	    fsync(fd) < 0 && errno != EINVAL ? -errno : 0; /* EINVAL: a file system that has nothing to sync there */
	close(fd);
	return err;
}

/* Where the file system cannot allocate, zeros are written: the space is promised to messages that are not there yet.
 */
static int write_zeros(int fd, uint64_t len)
{
	size_t step = 1u << 20;
	void *zeros = NULL;
	if (posix_memalign(&zeros, DISK_ALIGN, step))
		return -ENOMEM;
	memset(zeros, 0, step);
	int err = 0;
	for (uint64_t at = 0; at < len && !err; at += step)
		err = real_write(NULL, fd, zeros, len - at < step ? (size_t)(len - at) : step, at);
	free(zeros);
	return err;
}

static int real_allocate(const struct disk *d, int fd, uint64_t len)
{
	(void)d;
	while (fallocate(fd, 0, 0, (off_t)len) < 0) {
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			return write_zeros(fd, len);
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static int64_t real_size(const struct disk *d, int fd)
{
	(void)d;
	struct stat st;
	return fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_size;
}

/* Over NFS an open file that is deleted gets another name, `.nfs` and digits, and keeps it until it is closed (RFC 7530,
 * section 1.8.3.1 leaves it to clients; Linux calls it a silly rename). */
static bool has_nfs_name(int fd)
{
	char link[32], name[4096];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, name, sizeof(name) - 1);
	if (len <= 0)
		return false;
	name[len] = 0;
	const char *slash = strrchr(name, '/');
	return slash && strncmp(slash + 1, ".nfs", 4) == 0;
}

/* Not stat: who reads a file's times makes Linux (from 6.13 on) give its next write a time of its own, which is a change of the
 * inode. With one look per write that took 50 us more for each write and sync of 4 KiB. */
static int look(int fd, const char *path, struct statx *out)
{
	return statx(fd, path, *path ? 0 : AT_EMPTY_PATH, STATX_INO | STATX_NLINK, out) < 0 ? -errno : 0;
}

static int real_place(const struct disk *d, int fd, const char *path)
{
	(void)d;
	struct statx ours, there;
	int err = look(fd, "", &ours);
	if (err)
		return err;
	if (ours.stx_nlink == 0)
		return DISK_GONE;
	if (!path)
		return DISK_HERE;
	err = look(AT_FDCWD, path, &there);
	if (!err ? there.stx_dev_major == ours.stx_dev_major && there.stx_dev_minor == ours.stx_dev_minor &&
	               there.stx_ino == ours.stx_ino
	         : err != -ENOENT && err != -ENOTDIR)
		return DISK_HERE; /* also where nobody may look */
	return has_nfs_name(fd) ? DISK_GONE : DISK_MOVED;
}

static int real_remove(const struct disk *d, const char *path)
{
	(void)d;
	return unlink(path) < 0 ? -errno : 0;
}

static int real_rename(const struct disk *d, const char *from, const char *to)
{
	(void)d;
	return rename(from, to) < 0 ? -errno : 0;
}

static int real_make_dir(const struct disk *d, const char *path)
{
	(void)d;
	if (mkdir(path, 0750) == 0)
		return 0;
	return errno == EEXIST ? 1 : -errno;
}

static int real_list(const struct disk *d, const char *path, void (*each)(void *context, const char *name),
                     void *context)
{
	(void)d;
	DIR *dir = opendir(path);
	if (!dir)
		return -errno;
	struct dirent *entry;
	for (;;) {
		errno = 0;
		if (!(entry = readdir(dir)))
			break;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			each(context, entry->d_name);
	}
	int err = -errno;
	closedir(dir);
	return err;
}

static int real_space(const struct disk *d, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	(void)d;
	struct statvfs v;
	if (statvfs(path, &v) < 0)
		return -errno;
	*free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	*total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	return 0;
}

const struct disk disk_real = {
    .open = real_open,
    .close = real_close,
    .read = real_read,
    .write = real_write,
    .sync = real_sync,
    .sync_dir = real_sync_dir,
    .allocate = real_allocate,
    .size = real_size,
    .place = real_place,
    .remove = real_remove,
    .rename = real_rename,
    .make_dir = real_make_dir,
    .list = real_list,
    .space = real_space,
};

static const struct {
	long magic;
	const char *name;
	bool is_volatile;
} kinds[] = {
    {0x01021994, "tmpfs", true}, {0x858458f6, "ramfs", true},       {0x794c7630, "overlayfs", true},
    {0x6969, "nfs", false},      {(long)0xff534d42, "cifs", false}, {(long)0xfe534d42, "smb2", false},
    {0x01021997, "9p", false},   {0x65735546, "fuse", false},       {0x00c36400, "ceph", false},
};

const char *disk_kind(const char *path, bool *volatile_)
{
	struct statfs s;
	*volatile_ = false;
	if (statfs(path, &s) < 0)
		return NULL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if ((unsigned long)s.f_type == (unsigned long)kinds[i].magic) {
			*volatile_ = kinds[i].is_volatile;
			return kinds[i].name;
		}
	return NULL;
}

/* A new directory is not there until the one above it is synced. Cuts the last part off path, for the call. */
static int sync_above(const struct disk *d, char *path)
{
	char *slash = strrchr(path, '/');
	if (!slash)
		return d->sync_dir(d, ".");
	if (slash == path)
		return d->sync_dir(d, "/");
	*slash = '\0';
	int err = d->sync_dir(d, path);
	*slash = '/';
	return err;
}

int disk_make_path(const struct disk *d, const char *path)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	if (len == 0 || len >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		int made = d->make_dir(d, part);
		if (made < 0)
			return made;
		/* Also where it was there: an earlier try may have made it and failed here. Directories of others may
		 * be closed to us. */
		int err = sync_above(d, part);
		if (err && (made == 0 || (err != -EACCES && err != -EPERM && err != -EROFS)))
			return err;
	}
	return 0;
}
