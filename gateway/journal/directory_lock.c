/* Locking of a journal's directory; see directory_lock.h. */
#include "gateway/journal/directory_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk_explain.h"
#include "gateway/base/log.h"

static void make_token(char out[DIRECTORY_LOCK_TOKEN + 1])
{
	uint64_t bits[2] = {0};
	if (getrandom(bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
		bits[0] = (uint64_t)clock_wall_us(), bits[1] = (uint64_t)getpid();
	snprintf(out, DIRECTORY_LOCK_TOKEN + 1, "%016llx%016llx", (unsigned long long)bits[0],
	         (unsigned long long)bits[1]);
}

/* In place, so that a full disk does not matter where the file was there before. */
static bool write_token(const struct directory_lock *l)
{
	char line[DIRECTORY_LOCK_TOKEN + 2];
	snprintf(line, sizeof(line), "%s\n", l->token);
	return pwrite(l->fd, line, DIRECTORY_LOCK_TOKEN + 1, 0) == DIRECTORY_LOCK_TOKEN + 1 &&
	       ftruncate(l->fd, DIRECTORY_LOCK_TOKEN + 1) == 0;
}

static void lock_path(const struct directory_lock *l, char *out, size_t size)
{
	snprintf(out, size, "%s/lock", l->dir);
}

/* False: another has it. A file system that cannot lock such a file is no reason not to start: the other lock counts. */
static bool take_lock(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EAGAIN);
}

static enum gw_err refuse(const struct directory_lock *l, struct why *why)
{
	return why_set(why, GW_IO,
	               "journal: %s is in use by another process: two gateways cannot share one data directory",
	               l->dir);
}

static enum gw_err take(struct directory_lock *l, struct why *why)
{
	char path[PATH_MAX], text[768];
	l->dir_fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dir_fd < 0)
		return why_set(why, GW_IO, "journal: %s", disk_explain(errno, l->dir, text, sizeof(text)));
	if (!take_lock(l->dir_fd))
		return refuse(l, why);
	lock_path(l, path, sizeof(path));
	l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (l->fd < 0)
		return why_set(why, GW_IO, "journal: %s", disk_explain(errno, path, text, sizeof(text)));
	if (flock(l->fd, LOCK_EX | LOCK_NB) != 0)
		return refuse(l, why);
	make_token(l->token);
	if (!write_token(l)) {
		log_event(LOG_WARN, "journal",
		          "the lock file cannot be written; a second process is noticed by its lock alone",
		          LOG_S("error.message", disk_explain(errno, path, text, sizeof(text))));
		*l->token = '\0';
	}
	return GW_OK;
}

enum gw_err directory_lock_take(struct directory_lock *l, const char *dir, struct why *why)
{
	*l = (struct directory_lock){.dir = strdup(dir), .dir_fd = -1, .fd = -1};
	enum gw_err err = l->dir ? take(l, why) : why_set(why, GW_NOMEM, "journal: out of memory");
	if (err)
		directory_lock_release(l);
	return err;
}

void directory_lock_release(struct directory_lock *l)
{
	if (!l->dir)
		return;
	if (l->fd >= 0)
		close(l->fd);
	if (l->dir_fd >= 0)
		close(l->dir_fd);
	free(l->dir);
	*l = (struct directory_lock){.dir_fd = -1, .fd = -1};
}

/* -- is it still ours -- */

/* Where the kernel says that an open file is now; "" when it does not. */
static void place_of(int fd, char *out, size_t size)
{
	char link[32];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, out, size - 1);
	out[len > 0 ? len : 0] = '\0';
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);
	return len >= n && strcmp(text + len - n, end) == 0;
}

static enum directory_state check_directory(const struct directory_lock *l, char *text, size_t size)
{
	struct stat ours, there;
	char now[PATH_MAX];
	if (fstat(l->dir_fd, &ours) < 0)
		return DIRECTORY_OURS;
	bool found = stat(l->dir, &there) == 0;
	if (found ? there.st_dev == ours.st_dev && there.st_ino == ours.st_ino : errno != ENOENT && errno != ENOTDIR)
		return DIRECTORY_OURS;
	place_of(l->dir_fd, now, sizeof(now));
	const char *other = found ? "; another directory is at its place" : "";
	if (ours.st_nlink == 0 || ends_with(now, " (deleted)")) {
		snprintf(text, size, "%s was deleted%s", l->dir, other);
		return DIRECTORY_GONE;
	}
	snprintf(
	    text, size,
	    "%s was moved, it is %s now%s: move it back, and service goes on without a restart. Nothing is lost, and "
	    "nothing is acknowledged until then",
	    l->dir, *now ? now : "elsewhere", other);
	return DIRECTORY_MOVED;
}

/* Takes the file that is at the path now, made again if somebody deleted it. False: another process has it locked. */
static bool take_again(struct directory_lock *l, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
		return true; /* tried again the next time */
	if (!take_lock(fd)) {
		close(fd);
		return false;
	}
	close(l->fd);
	l->fd = fd;
	if (!write_token(l))
		*l->token = '\0';
	log_event(LOG_WARN, "journal", "its lock file was deleted; it is made again", LOG_S("file.path", path));
	return true;
}

/* What the file at the path says: ours, nothing (then it is taken again), or what another process has written. */
static bool is_ours(struct directory_lock *l)
{
	char path[PATH_MAX], token[DIRECTORY_LOCK_TOKEN + 1] = "";
	struct stat held, there;
	lock_path(l, path, sizeof(path));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno != ENOENT || take_again(l, path);
	ssize_t n = pread(fd, token, DIRECTORY_LOCK_TOKEN, 0);
	bool same = fstat(l->fd, &held) == 0 && fstat(fd, &there) == 0 && held.st_dev == there.st_dev &&
	            held.st_ino == there.st_ino;
	close(fd);
	if (n < 0 || (same && !*l->token))
		return true;
	if (n > 0)
		return memcmp(token, l->token, DIRECTORY_LOCK_TOKEN) == 0;
	if (!same)
		return take_again(l, path);
	log_event(LOG_WARN, "journal", "its lock file was emptied; it is written again", LOG_S("file.path", path));
	write_token(l);
	return true;
}

enum directory_state directory_lock_check(struct directory_lock *l, char *text, size_t size)
{
	*text = '\0';
	enum directory_state state = check_directory(l, text, size);
	if (state != DIRECTORY_OURS || is_ours(l))
		return state;
	snprintf(text, size,
	         "another process has taken %s (its token is in the lock file): nothing is acknowledged or written any "
	         "more. "
	         "Stop one of the two; this one needs a restart",
	         l->dir);
	return DIRECTORY_TAKEN;
}
