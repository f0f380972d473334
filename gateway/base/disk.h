/* The disk, as a table of calls: everything that journal, cursors and dead letters do to files goes through one, so
 * that tests can make the n-th call fail, tear a write, forget what was not synced, or record what happened. disk_real
 * is the operating system's.
 *
 * All calls return 0 or more on success and a negative errno on failure. Short writes and EINTR are dealt with inside
 * (a write is whole or an error). Any thread; a table that keeps state locks it itself. */
#ifndef SLUICE_GATEWAY_BASE_DISK_H
#define SLUICE_GATEWAY_BASE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Alignment of memory, offset and length for files opened with DISK_DIRECT. */
#define DISK_ALIGN 4096u

enum disk_flags {
	DISK_READ = 0,   /* read only */
	DISK_WRITE = 1,  /* read and write */
	DISK_CREATE = 2, /* make it if missing, mode 0640 */
	DISK_DIRECT = 4, /* past the page cache (O_DIRECT); refused with -EINVAL where the file system cannot */
	DISK_APPEND = 8, /* every write goes to the end */
};

/* Where a file is that somebody may have moved or deleted while it is open. */
enum disk_place {
	DISK_HERE,  /* at its path, or nobody may look there */
	DISK_MOVED, /* somewhere else, whole: its path names another file, or none */
	DISK_GONE,  /* nowhere: what it has is freed when it is closed */
};

struct disk {
	int (*open)(const struct disk *d, const char *path, unsigned flags); /* file descriptor */
	int (*close)(const struct disk *d, int fd);
	int64_t (*read)(const struct disk *d, int fd, void *data, size_t len,
	                uint64_t at); /* bytes read, short at the end of the file */
	int (*write)(const struct disk *d, int fd, const void *data, size_t len,
	             uint64_t at);                 /* all of it, or an error; at is ignored with DISK_APPEND */
	int (*sync)(const struct disk *d, int fd); /* data and what is needed to find it (fdatasync) */
	int (*sync_dir)(const struct disk *d, const char *path); /* names in a directory (fsync of it) */
	int (*allocate)(const struct disk *d, int fd,
	                uint64_t len); /* blocks for bytes 0..len are there; the file is that long */
	int64_t (*size)(const struct disk *d, int fd);
	int (*place)(const struct disk *d, int fd,
	             const char *path); /* enum disk_place of an open file; path NULL: only whether it is GONE */
	int (*remove)(const struct disk *d, const char *path);
	int (*rename)(const struct disk *d, const char *from, const char *to);
	int (*make_dir)(const struct disk *d, const char *path); /* 1: it was there already */
	/* list calls each(context, name) for every name in a directory but . and .. */
	int (*list)(const struct disk *d, const char *path, void (*each)(void *context, const char *name),
	            void *context);
	int (*space)(const struct disk *d, const char *path, uint64_t *free_bytes, uint64_t *total_bytes);
	void *context; /* the table's own */
};

extern const struct disk disk_real;

/* disk_kind names the kind of file system below path when it is one that cannot keep the promise or keeps it slowly:
 * "tmpfs", "overlayfs", "nfs", ...; NULL: nothing to say. *volatile_ tells that its content goes with the machine or
 * container. */
const char *disk_kind(const char *path, bool *volatile_);

/* disk_make_path makes a directory and those above it, each safe in the one above. 0 or a negative errno. */
int disk_make_path(const struct disk *d, const char *path);

#endif
