/* Who may write in a journal's directory: one process at a time, and it notices when that is no longer so.
 *
 * Two locks (flock) are taken: of the directory itself, which cannot be removed without the journal, and of the file
 * `lock` in it, which other versions look at and which also works where a directory cannot be locked (NFS). A random token
 * is written into the file. Whoever reads another token there later knows that somebody took the journal although it was
 * locked: on a file system whose locks do not reach all hosts or containers that use it.
 *
 * Always the operating system's files. One thread. */
#ifndef SLUICE_GATEWAY_JOURNAL_DIRECTORY_LOCK_H
#define SLUICE_GATEWAY_JOURNAL_DIRECTORY_LOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/error.h"

#define DIRECTORY_LOCK_TOKEN 32u /* hexadecimal digits */

struct directory_lock {
	char *dir; /* owned; NULL: not taken */
	int dir_fd, fd;
	char token[DIRECTORY_LOCK_TOKEN + 1]; /* "": it could not be written, and is not looked at */
};

enum directory_state {
	DIRECTORY_OURS,
	DIRECTORY_MOVED, /* it has another path now */
	DIRECTORY_GONE,  /* deleted; what is at its path, if anything, is another one */
	DIRECTORY_TAKEN, /* another process has written its token */
};

/* directory_lock_take locks dir for this process. GW_OK | GW_IO (another process has it, or the disk) | GW_NOMEM, with why;
 * then nothing is held. */
enum gw_err directory_lock_take(struct directory_lock *l, const char *dir, struct why *why);
/* directory_lock_check looks whether dir is still this one and still ours. A lock file that was deleted or emptied is made
 * again. What cannot be looked at (no descriptor, no permission) counts as unchanged.
 *   text  set to what is wrong, "" with DIRECTORY_OURS; size bytes at most */
enum directory_state directory_lock_check(struct directory_lock *l, char *text, size_t size);
void directory_lock_release(struct directory_lock *l); /* safe on zeros */

#endif
