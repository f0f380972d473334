/* A disk in memory for a target that makes one anew thousands of times a second: files are slots of an array, nothing is
 * allocated, kept twice or locked, and emptying it costs nothing. It loses nothing, fails never, and is as strict as
 * test/unit/sim_disk.c about what the code under test hands to it: descriptors, directories that are there, aligned
 * direct I/O.
 *
 * Without the fuzzer's coverage: which way the disk took says nothing of the code under test, and is most of the
 * branches. One thread. */
#ifndef SLUICE_TEST_FUZZ_FLAT_DISK_H
#define SLUICE_TEST_FUZZ_FLAT_DISK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "gateway/base/disk.h"
#include "test/fuzz/must.h"

#define FLAT_FILES 160u
#define FLAT_FILE (128u << 10) /* bytes that a file may have */
#define FLAT_FDS 32
#define FLAT_FD 1000 /* the first: none that the system gives out */
#define FLAT_NAME 64
#define FLAT_SECTOR 512u

#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

struct flat_file {
	char name[FLAT_NAME];        /* below the root; there: its first byte is not 0 */
	size_t name_len, len, dirty; /* bytes from dirty on are 0 */
	bool is_dir;
	uint8_t bytes[FLAT_FILE];
};

struct flat {
	struct disk disk;
	const char *root;
	struct flat_file *files; /* FLAT_FILES of them, of which `count` were used */
	size_t count;
	struct {
		struct flat_file *file; /* NULL: not open */
		bool append, direct;
	} fds[FLAT_FDS];
};

static inline bool flat_same(const char *a, const char *b, size_t len)
{
	size_t i = 0;
	while (i < len && a[i] == b[i])
		i++;
	return i == len;
}

/* The part of a path below the root; NULL: it is the root, or above it. */
static inline const char *flat_below(const struct flat *f, const char *path)
{
	size_t at = 0;
	while (f->root[at] && path[at] == f->root[at])
		at++;
	if (f->root[at] || !path[at])
		return NULL;
	MUST(path[at] == '/');
	return path + at + 1;
}

static inline struct flat_file *flat_find(const struct flat *f, const char *name, size_t len)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->files[i].name_len == len && flat_same(f->files[i].name, name, len))
			return &f->files[i];
	return NULL;
}

static inline void flat_name(struct flat_file *file, const char *name, size_t len)
{
	MUST(len > 0 && len < FLAT_NAME);
	for (size_t i = 0; i <= len; i++)
		file->name[i] = name[i];
	file->name_len = len;
}

static inline size_t flat_length(const char *name, size_t *dir)
{
	size_t len = 0;
	for (*dir = 0; name[len]; len++)
		if (name[len] == '/')
			*dir = len;
	return len;
}

static inline bool flat_has_dir(const struct flat *f, const char *name, size_t dir)
{
	const struct flat_file *above = dir ? flat_find(f, name, dir) : NULL;
	return dir == 0 || (above && above->is_dir);
}

static inline struct flat_file *flat_make(struct flat *f, const char *name, size_t len, bool is_dir)
{
	size_t i = 0;
	while (i < f->count && f->files[i].name_len > 0)
		i++;
	MUST(i < FLAT_FILES);
	if (i == f->count)
		f->count++;
	struct flat_file *file = &f->files[i];
	memset(file->bytes, 0, file->dirty);
	file->len = file->dirty = 0;
	file->is_dir = is_dir;
	flat_name(file, name, len);
	return file;
}

static inline struct flat_file *flat_of(const struct disk *d, int fd)
{
	struct flat *f = d->context;
	MUST(fd >= FLAT_FD && fd < FLAT_FD + FLAT_FDS && f->fds[fd - FLAT_FD].file);
	return f->fds[fd - FLAT_FD].file;
}

static inline bool flat_misses(const struct disk *d, int fd, const void *data, size_t len, uint64_t at)
{
	const struct flat *f = d->context;
	return f->fds[fd - FLAT_FD].direct && (len | at | (uintptr_t)data) % FLAT_SECTOR;
}

static inline int flat_open(const struct disk *d, const char *path, unsigned flags)
{
	struct flat *f = d->context;
	const char *name = flat_below(f, path);
	if (!name)
		return -EISDIR;
	size_t dir, len = flat_length(name, &dir);
	struct flat_file *file = flat_find(f, name, len);
	if (file && file->is_dir)
		return -EISDIR;
	if (!file && (!(flags & DISK_CREATE) || !flat_has_dir(f, name, dir)))
		return -ENOENT;
	if (!file)
		file = flat_make(f, name, len, false);
	for (int i = 0; i < FLAT_FDS; i++)
		if (!f->fds[i].file) {
			f->fds[i].file = file;
			f->fds[i].append = flags & DISK_APPEND;
			f->fds[i].direct = flags & DISK_DIRECT;
			return FLAT_FD + i;
		}
	return -EMFILE;
}

static inline int flat_close(const struct disk *d, int fd)
{
	struct flat *f = d->context;
	flat_of(d, fd);
	f->fds[fd - FLAT_FD].file = NULL;
	return 0;
}

static inline int64_t flat_read(const struct disk *d, int fd, void *data, size_t len, uint64_t at)
{
	const struct flat_file *file = flat_of(d, fd);
	if (flat_misses(d, fd, data, len, at))
		return -EINVAL;
	size_t n = at >= file->len ? 0 : file->len - at < len ? file->len - (size_t)at : len;
	if (n > 0)
		memcpy(data, file->bytes + at, n);
	return (int64_t)n;
}

static inline int flat_write(const struct disk *d, int fd, const void *data, size_t len, uint64_t at)
{
	struct flat_file *file = flat_of(d, fd);
	if (((const struct flat *)d->context)->fds[fd - FLAT_FD].append)
		at = file->len;
	if (flat_misses(d, fd, data, len, at))
		return -EINVAL;
	if (at > FLAT_FILE || len > FLAT_FILE - at)
		return -ENOSPC;
	memcpy(file->bytes + at, data, len);
	if (at + len > file->len)
		file->len = (size_t)at + len;
	if (file->len > file->dirty)
		file->dirty = file->len;
	return 0;
}

static inline int flat_sync(const struct disk *d, int fd)
{
	flat_of(d, fd);
	return 0;
}

static inline int flat_sync_dir(const struct disk *d, const char *path)
{
	(void)d, (void)path;
	return 0;
}

static inline int flat_allocate(const struct disk *d, int fd, uint64_t len)
{
	struct flat_file *file = flat_of(d, fd);
	if (len > FLAT_FILE)
		return -ENOSPC;
	if (len > file->len)
		file->len = (size_t)len;
	return 0;
}

static inline int64_t flat_size(const struct disk *d, int fd)
{
	return (int64_t)flat_of(d, fd)->len;
}

static inline int flat_place(const struct disk *d, int fd, const char *path)
{
	(void)path;
	flat_of(d, fd);
	return DISK_HERE;
}

static inline int flat_remove(const struct disk *d, const char *path)
{
	struct flat *f = d->context;
	const char *name = flat_below(f, path);
	size_t dir, len = name ? flat_length(name, &dir) : 0;
	struct flat_file *file = name ? flat_find(f, name, len) : NULL;
	if (!file)
		return -ENOENT;
	for (int i = 0; i < FLAT_FDS; i++)
		MUST(f->fds[i].file != file); /* allowed, but nobody does, and the slot would be used again */
	file->name_len = 0;
	return 0;
}

static inline int flat_rename(const struct disk *d, const char *from, const char *to)
{
	struct flat *f = d->context;
	const char *name = flat_below(f, from), *target = flat_below(f, to);
	size_t dir, len = name ? flat_length(name, &dir) : 0;
	struct flat_file *file = name ? flat_find(f, name, len) : NULL;
	if (!file || !target)
		return -ENOENT;
	len = flat_length(target, &dir);
	if (!flat_has_dir(f, target, dir))
		return -ENOENT;
	if (flat_find(f, target, len) && flat_find(f, target, len) != file)
		flat_remove(d, to);
	flat_name(file, target, len);
	return 0;
}

static inline int flat_make_dir(const struct disk *d, const char *path)
{
	struct flat *f = d->context;
	const char *name = flat_below(f, path);
	if (!name)
		return 1;
	size_t dir, len = flat_length(name, &dir);
	const struct flat_file *file = flat_find(f, name, len);
	if (file)
		return 1;
	if (!flat_has_dir(f, name, dir))
		return -ENOENT;
	flat_make(f, name, len, true);
	return 0;
}

static inline int flat_list(const struct disk *d, const char *path, void (*each)(void *context, const char *name),
                            void *context)
{
	const struct flat *f = d->context;
	const char *name = flat_below(f, path);
	size_t unused, len = name ? flat_length(name, &unused) : 0;
	if (name && !flat_has_dir(f, name, len))
		return -ENOENT;
	for (size_t i = 0; i < f->count; i++) {
		const struct flat_file *file = &f->files[i];
		size_t dir;
		if (file->name_len == 0)
			continue;
		flat_length(file->name, &dir);
		if (dir == len && flat_same(file->name, name, dir))
			each(context, file->name + dir + (dir > 0));
	}
	return 0;
}

static inline int flat_space(const struct disk *d, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	(void)d, (void)path;
	*free_bytes = *total_bytes = UINT64_C(1) << 40;
	return 0;
}

/* flat_empty makes it empty, but for the directory `root`, which is there; f is zeroed before the first time. */
static inline void flat_empty(struct flat *f, const char *root, struct flat_file files[FLAT_FILES])
{
	for (size_t i = 0; i < f->count; i++)
		f->files[i].name_len = 0;
	*f = (struct flat){.root = root, .files = files};
	f->disk = (struct disk){.open = flat_open,
	                        .close = flat_close,
	                        .read = flat_read,
	                        .write = flat_write,
	                        .sync = flat_sync,
	                        .sync_dir = flat_sync_dir,
	                        .allocate = flat_allocate,
	                        .size = flat_size,
	                        .place = flat_place,
	                        .remove = flat_remove,
	                        .rename = flat_rename,
	                        .make_dir = flat_make_dir,
	                        .list = flat_list,
	                        .space = flat_space,
	                        .context = f};
}

static inline unsigned flat_open_files(const struct flat *f)
{
	unsigned count = 0;
	for (int i = 0; i < FLAT_FDS; i++)
		count += f->fds[i].file != NULL;
	return count;
}

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
