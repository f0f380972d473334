/* Lines of a file; see lines.h. zlib reads what is not packed as it is. */
#include "gateway/base/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum gw_err lines_open(struct lines *l, const char *path, struct why *why)
{
	*l = (struct lines){0};
	errno = 0;
	l->file = strcmp(path, "-") == 0 ? gzdopen(dup(0), "rb") : gzopen(path, "rb");
	if (!l->file)
		return why_set(why, GW_CONFIG, "%s: %s", path, errno ? strerror(errno) : "out of memory");
	l->buffer = malloc(LINE_MOST);
	if (!l->buffer) {
		lines_close(l);
		return why_set(why, GW_NOMEM, "out of memory");
	}
	return GW_OK;
}

/* More bytes behind those that are there; false: there are none. */
static bool read_more(struct lines *l)
{
	if (l->at > 0) {
		memmove(l->buffer, l->buffer + l->at, l->end - l->at);
		l->end -= l->at;
		l->at = 0;
	}
	int n = gzread(l->file, l->buffer + l->end, (unsigned)(LINE_MOST - l->end));
	int code = Z_OK;
	const char *text =
	    n > 0 ? "" : gzerror(l->file, &code); /* of a packed file that is cut: Z_BUF_ERROR, not n < 0 */
	if (code != Z_OK && code != Z_STREAM_END) {
		l->failed = true;
		why_set(&l->why, GW_IO, "%s", code == Z_ERRNO ? strerror(errno) : text);
	}
	l->end += n > 0 ? (size_t)n : 0;
	z_off_t offset = gzoffset(l->file); /* of a pipe: none */
	l->bytes = (uint64_t)(offset >= 0 ? offset : gztell(l->file));
	return n > 0;
}

bool lines_next(struct lines *l, const char **text, size_t *len)
{
	size_t searched = 0;
	for (;;) {
		char *from = l->buffer + l->at;
		char *newline = memchr(from + searched, '\n', l->end - l->at - searched);
		searched = l->end - l->at;
		if (newline) {
			*len = (size_t)(newline - from);
			l->at += *len + 1;
			l->whole = true;
		} else if (searched == LINE_MOST) { /* its first part is dropped, the rest when it has come */
			l->skipping = true;
			l->at = l->end = 0;
			searched = 0;
			continue;
		} else if (read_more(l)) {
			continue;
		} else if ((searched == 0 && !l->skipping) || l->failed) {
			return false;
		} else {
			*len = searched;
			l->at = l->end;
			l->whole = false;
		}
		l->number++;
		*text = l->skipping ? NULL : from;
		l->skipping = false;
		if (*text && *len > 0 && (*text)[*len - 1] == '\r')
			--*len;
		return true;
	}
}

void lines_close(struct lines *l)
{
	if (l->file)
		gzclose(l->file);
	free(l->buffer);
	l->file = NULL;
	l->buffer = NULL;
}

uint64_t lines_size(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}
