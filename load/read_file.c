/* Reading back NDJSON: a file together with what a file sink has rotated away from it (FILE.20261126T120000, older ones
 * first), every such file of a directory, or standard input. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "load/readback.h"

struct file_names {
	char **items; /* owned, and what they point to */
	size_t count;
};

static bool names_add(struct file_names *n, const char *dir, const char *name)
{
	char **more = realloc(n->items, (n->count + 1) * sizeof(*more));
	if (!more)
		return false;
	n->items = more;
	if (asprintf(&n->items[n->count], "%s/%s", dir, name) < 0)
		return false;
	n->count++;
	return true;
}

static void names_free(struct file_names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->items[i]);
	free(n->items);
}

static bool is_stamp(const char *suffix)
{
	return suffix[0] == '.' && strspn(suffix + 1, "0123456789T-") == strlen(suffix + 1) && strchr(suffix, 'T');
}

/* Rotated files (NAME.STAMP, NAME.STAMP-000001) sort before the one they come from, and by their time. */
static int by_age(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	size_t n = 0;
	while (x[n] && x[n] == y[n])
		n++;
	if (!x[n])
		return y[n] == '.' ? 1 : -1;
	if (!y[n])
		return x[n] == '.' ? -1 : 1;
	return (unsigned char)x[n] < (unsigned char)y[n] ? -1 : 1;
}

/* Files in dir that are base or rotated from it; base NULL: every NDJSON file. */
static enum gw_err list_files(struct file_names *n, const char *dir, const char *base, struct why *why)
{
	DIR *d = opendir(dir);
	if (!d)
		return why_set(why, GW_CONFIG, "%s: %s", dir, strerror(errno));
	enum gw_err err = GW_OK;
	for (struct dirent *e; !err && (e = readdir(d));) {
		const char *rest = base && strncmp(e->d_name, base, strlen(base)) == 0 ? e->d_name + strlen(base)
		                   : base                                              ? NULL
		                                                                       : strstr(e->d_name, ".ndjson");
		if (rest && !base)
			rest += strlen(".ndjson");
		if (rest && (!*rest || is_stamp(rest)) && !names_add(n, dir, e->d_name))
			err = why_set(why, GW_NOMEM, "%s: out of memory", dir);
	}
	closedir(d);
	if (n->count > 0)
		qsort(n->items, n->count, sizeof(*n->items), by_age);
	return err;
}

/* A last line without its end was never written whole: it is not a record. */
static enum gw_err read_lines(FILE *in, const char *name, readback_take *take, void *context, struct why *why)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len;
	while ((len = getline(&line, &room, in)) > 0)
		if (line[len - 1] == '\n')
			take(context, line, (size_t)len - 1);
	free(line);
	return ferror(in) ? why_set(why, GW_IO, "%s: cannot be read: %s", name, strerror(errno)) : GW_OK;
}

static enum gw_err read_file(const char *path, readback_take *take, void *context, struct why *why)
{
	FILE *in = fopen(path, "r");
	if (!in)
		return why_set(why, GW_CONFIG, "%s: %s", path, strerror(errno));
	enum gw_err err = read_lines(in, path, take, context, why);
	fclose(in);
	return err;
}

static enum gw_err read_source(const char *source, readback_take *take, void *context, struct why *why)
{
	struct stat st;
	struct file_names names = {0};
	char dir[PATH_MAX];
	if (strcmp(source, "-") == 0)
		return read_lines(stdin, "standard input", take, context, why);
	if (stat(source, &st) != 0)
		return why_set(why, GW_CONFIG, "%s: %s", source, strerror(errno));
	const char *slash = strrchr(source, '/');
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - source) : 1, slash ? source : ".");
	enum gw_err err = S_ISDIR(st.st_mode) ? list_files(&names, source, NULL, why)
	                                      : list_files(&names, *dir ? dir : "/", slash ? slash + 1 : source, why);
	if (!err && names.count == 0)
		err = why_set(why, GW_CONFIG, "%s: no .ndjson file in it", source);
	for (size_t i = 0; i < names.count && !err; i++)
		err = read_file(names.items[i], take, context, why);
	names_free(&names);
	return err;
}

static bool mine(const char *source)
{
	return !strstr(source, "://");
}

const struct readback readback_file = {
    .form = "FILE | DIRECTORY | -", .ordered = true, .mine = mine, .read = read_source};
