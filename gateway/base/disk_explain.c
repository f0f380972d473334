/* Why the disk refused a call; see disk_explain.h. */
#include "gateway/base/disk_explain.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The sentence of each errno; %s of the path and the user stand in front of it. */
static const struct {
	int err;
	const char *advice;
} advices[] = {
    {ENOENT, "it was deleted or moved, or a directory above it was. If it was moved, move it back"},
    {ENOTDIR, "a directory above it was replaced by a file. If it was moved, move it back"},
    {EROFS, "its file system is mounted read-only, often after an error: see the kernel's log, then mount it for "
            "writing again"},
    {EIO, "the disk failed: see the kernel's log, check the device and its cables, and try again. Leave the file where "
          "it is: it may be whole"},
    {EMFILE, "this process has no file descriptor left: raise its limit (LimitNOFILE of the service, ulimit -n)"},
    {ENFILE, "the system has no file descriptor left: raise fs.file-max, or stop what holds so many"},
    {ENOSPC, "its file system is full: free space there, but delete nothing in this directory"},
    {EDQUOT, "the disk quota of this user is used up: raise it, or free space outside this directory"},
    {ESTALE, "the file server no longer knows it: check that the export is there, and mount it again"},
    {EBUSY, "another process uses it: stop that one"},
    {ENOMEM, "out of memory: it is tried again"},
};

/* The path, or what there is of it above. */
static const char *nearest(const char *path, char *above, size_t size, struct stat *st)
{
	snprintf(above, size, "%s", path);
	while (stat(above, st) < 0) {
		char *slash = strrchr(above, '/');
		if (!slash || slash == above)
			return NULL;
		*slash = '\0';
	}
	return above;
}

static void explain_permission(const char *reason, const char *path, char *out, size_t size)
{
	char above[PATH_MAX];
	struct stat st;
	const char *what = nearest(path, above, sizeof(above), &st);
	if (!what)
		snprintf(out, size, "%s: %s for uid %u: make it and the directories above it accessible to that user",
		         path, reason, (unsigned)geteuid());
	else
		snprintf(out, size,
		         "%s: %s for uid %u: %s belongs to uid %u, gid %u, mode %04o. It is whole, leave it there: "
		         "chown -R %u:%u",
		         path, reason, (unsigned)geteuid(), strcmp(what, path) == 0 ? "it" : what, (unsigned)st.st_uid,
		         (unsigned)st.st_gid, (unsigned)st.st_mode & 07777u, (unsigned)geteuid(), (unsigned)getegid());
}

const char *disk_explain(int err, const char *path, char *out, size_t size)
{
	int saved = errno, number = err ? abs(err) : EIO;
	const char *advice = NULL;
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		if (advices[i].err == number)
			advice = advices[i].advice;
	if (number == EACCES || number == EPERM)
		explain_permission(strerror(number), path, out, size);
	else if (advice)
		snprintf(out, size, "%s: %s (uid %u): %s", path, strerror(number), (unsigned)geteuid(), advice);
	else
		snprintf(out, size, "%s: %s (uid %u)", path, strerror(number), (unsigned)geteuid());
	errno = saved;
	return out;
}
