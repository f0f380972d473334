/* Rotation of files; see file_rotation.h. */
#include "sinks/file/file_rotation.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sinks/file/file_target.h"

#define STAMP_SUFFIX 16u /* bytes of ".YYYYMMDDTHHMMSS" */

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
static size_t rotated_names(const char *file, char ***out)
{
	char dir[PATH_MAX];
	char **names = NULL;
	size_t count = 0;
	file_target_dir(file, dir, sizeof(dir));
	const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
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

static void remove_old(const char *file, int64_t keep)
{
	char dir[PATH_MAX], path[PATH_MAX * 2];
	char **names;
	size_t count = rotated_names(file, &names);
	file_target_dir(file, dir, sizeof(dir));
	for (size_t i = 0; i < count; i++) {
		if (i + (size_t)keep < count) {
			snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
			unlink(path);
		}
		free(names[i]);
	}
	free(names);
}

/* Where an earlier process stopped. */
static void find_stamp(struct file_rotation *r, const char *file)
{
	char **names;
	size_t count = rotated_names(file, &names);
	if (count > 0) {
		const char *stamp = strrchr(names[count - 1], '.') + 1;
		snprintf(r->stamp, sizeof(r->stamp), "%.15s", stamp);
		r->stamped = stamp[15] == '-' ? (unsigned)strtoul(stamp + 16, NULL, 10) : 0;
	}
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

int file_rotation_rotate(struct file_rotation *r, const char *path, int64_t keep)
{
	char stamp[sizeof(r->stamp)] = "", to[PATH_MAX];
	time_t now = time(NULL);
	struct tm tm;
	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
	/* Names must sort by age, or `keep` would remove the wrong ones: within a second, and while a clock that was put
	 * back has not come to where it was, they are counted on. */
	if (!*r->stamp)
		find_stamp(r, path);
	if (strcmp(stamp, r->stamp) > 0) {
		memcpy(r->stamp, stamp, sizeof(stamp));
		r->stamped = 0;
		snprintf(to, sizeof(to), "%s.%s", path, r->stamp);
	} else {
		snprintf(to, sizeof(to), "%s.%s-%06u", path, r->stamp, ++r->stamped);
	}
	while (access(to, F_OK) == 0)
		snprintf(to, sizeof(to), "%s.%s-%06u", path, r->stamp, ++r->stamped);
	if (rename(path, to) < 0)
		return -errno;
	if (keep > 0)
		remove_old(path, keep);
	return 0;
}
