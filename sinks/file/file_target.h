/* What a file sink writes to: a regular file, or a stream (pipe, FIFO, socket, terminal, /dev/null).
 *
 * A regular file is appended to, synced, and cut back to its last sync when a sync or a write fails, so that what is
 * written again is not there twice. It may be moved, deleted, truncated in place or appended to by others while it is
 * open: file_target_look finds out. A stream can neither be synced nor cut: what write() took is delivered.
 *
 * No call waits for a reader: a FIFO that nobody reads is an error (ENXIO), a full pipe is -EAGAIN. A call to a regular
 * file waits as long as the file system takes. All of it on one thread. Calls return 0 or a negative errno. */
#ifndef SLUICE_SINKS_FILE_FILE_TARGET_H
#define SLUICE_SINKS_FILE_FILE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/base/error.h"
#include "gateway/pump/batch.h"

struct file_target {
	char *path; /* owned: as configured, below the data directory if it is relative */
	char *real; /* owned: where its links lead, once it was open; NULL: not known */
	int fd;     /* -1: closed */
	bool is_stream;
	bool is_shared;   /* a stream that could not be opened by its name: a duplicate of an inherited descriptor */
	bool is_blocking; /* and a write to it might wait */
	uint64_t size;    /* regular file: bytes that must be there */
	uint64_t synced;  /* of them, those of the last sync, or found when it was opened */
	bool is_foreign;  /* others appended since the last sync: nothing is cut off */
	int64_t opened_us;
	bool must_cut; /* what is behind `synced` of the file with this device and inode is not to be believed */
	dev_t device;
	ino_t inode;
};

/* Where in a batch writing has come to. */
struct file_position {
	size_t item, offset; /* offset: bytes of the item's line that are written */
};

enum file_look {
	FILE_HERE,
	FILE_MOVED,     /* its path names another file, or none: what was written is whole, elsewhere */
	FILE_GONE,      /* deleted: what was written is lost when it is closed */
	FILE_TRUNCATED, /* shorter than what was written; size is what is left */
};

/* file_target_init takes path; data: the directory for a relative one. GW_OK | GW_NOMEM. file_target_fini: safe on
 * zeros but for fd, which must be -1. */
enum gw_err file_target_init(struct file_target *t, const char *data, const char *path);
void file_target_fini(struct file_target *t);
/* file_target_open makes directory and file if they are missing, and ends or cuts off a last line that is not whole. */
int file_target_open(struct file_target *t);
void file_target_close(struct file_target *t);
/* file_target_look: an enum file_look, or a negative errno. Size follows what others appended or cut off. */
int file_target_look(struct file_target *t);
/* file_target_write writes the lines of a batch from `at` on, and moves `at` behind what is written, also when it
 * fails. 0 | -EAGAIN (a stream that is full now) | any other negative errno. */
int file_target_write(struct file_target *t, const struct batch *b, struct file_position *at);
/* file_target_sync makes a regular file's bytes safe; after a failure they must not be believed. */
int file_target_sync(struct file_target *t);
/* file_target_cut takes a regular file back to so many bytes. -EBUSY: others appended to it. */
int file_target_cut(struct file_target *t, uint64_t size);
/* file_target_give_up closes a regular file, and cuts it back to its last sync, now or when it is opened again. */
void file_target_give_up(struct file_target *t);
/* file_target_reason says what an errno means for such a target: "nobody reads this FIFO", or strerror's text. */
const char *file_target_reason(int err);
/* file_target_dir writes the directory of path: "." when it names none. */
void file_target_dir(const char *path, char *out, size_t size);

#endif
