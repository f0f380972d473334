/* Variables and secret files: see expand.h. */
#include "config/expand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct expansion {
	const struct tree_node *node;
	struct report *report;
	enum expand_mode mode;
	bool unset_if_empty; /* a variable without default was used: for a secret, empty is a mistake */
	char *text;          /* owned */
	size_t len, capacity;
};

void expand_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

/* Not realloc: it may leave a copy of a secret behind. */
static enum gw_err append(struct expansion *x, const char *text, size_t len)
{
	if (len > EXPAND_VALUE_MAX - x->len) {
		report_error(x->report, x->node->line, x->node->column,
		             "longer than 1MiB when its variables are put in");
		return GW_CONFIG;
	}
	if (x->len + len + 1 > x->capacity) {
		size_t capacity = 2 * (x->len + len + 1);
		char *grown = malloc(capacity);
		if (!grown)
			return GW_NOMEM;
		if (x->text)
			memcpy(grown, x->text, x->len + 1);
		expand_free(x->text);
		x->text = grown;
		x->capacity = capacity;
	}
	memcpy(x->text + x->len, text, len);
	x->len += len;
	x->text[x->len] = '\0';
	return GW_OK;
}

static enum gw_err refuse_form(struct expansion *x, const char *problem)
{
	FILE *out = report_begin(x->report, x->node->line, x->node->column);
	if (x->mode == EXPAND_SHOWN) {
		report_quote(out, x->node->text);
		fputs(" ", out);
	}
	fprintf(out,
	        "%s; allowed: ${NAME} and ${NAME:-default} with letters, digits and _ in NAME; $$ for a dollar sign",
	        problem);
	report_end(x->report);
	return GW_CONFIG;
}

static enum gw_err refuse_unset(struct expansion *x, const char *name)
{
	report_error(x->report, x->node->line, x->node->column,
	             "environment variable %.100s is not set; set it, or write ${%.100s:-default}", name, name);
	return GW_CONFIG;
}

/* Bytes of the variable name at s, as in POSIX 2017, base definitions 3.235. */
static size_t name_length(const char *s)
{
	size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
	return s[0] >= '0' && s[0] <= '9' ? 0 : len;
}

/* One ${...}; *at points behind the brace and is moved behind the closing one. */
static enum gw_err append_variable(struct expansion *x, const char **at)
{
	const char *name = *at, *close = strchr(name, '}');
	size_t len = name_length(name);

	if (!close)
		return refuse_form(x, "has a ${ without }");
	const char *fallback = len && !strncmp(name + len, ":-", 2) ? name + len + 2 : NULL;
	if (!len || (name[len] != '}' && !fallback))
		return refuse_form(x, "has a malformed ${...}");
	if (fallback && memmem(fallback, (size_t)(close - fallback), "${", 2))
		return refuse_form(x, "has a ${...} inside another");
	*at = close + 1;

	char *key = strndup(name, len);
	if (!key)
		return GW_NOMEM;
	const char *value = getenv(key);
	enum gw_err err;
	if (value && (*value || !fallback))
		err = append(x, value, strlen(value));
	else if (fallback)
		err = append(x, fallback, (size_t)(close - fallback));
	else
		err = refuse_unset(x, key);
	x->unset_if_empty |= !fallback;
	free(key);
	return err;
}

enum gw_err expand_scalar(const struct tree_node *n, enum expand_mode mode, struct report *r, char **out)
{
	struct expansion x = {.node = n, .report = r, .mode = mode};
	enum gw_err err = append(&x, "", 0);

	for (const char *s = n->text; *s && !err;) {
		size_t plain = strcspn(s, "$");
		if (plain) {
			err = append(&x, s, plain);
			s += plain;
		} else if (s[1] == '{') {
			s += 2;
			err = append_variable(&x, &s);
		} else {
			err = append(&x, "$", 1);
			s += s[1] == '$' ? 2 : 1;
		}
	}
	if (!err && mode == EXPAND_SECRET && x.unset_if_empty && !x.len) {
		report_error(r, n->line, n->column, "the environment variable is set but empty; a secret must not be");
		err = GW_CONFIG;
	}
	if (err)
		expand_free(x.text);
	else
		*out = x.text;
	return err;
}

/* dir(config_path)/path, or path when it is absolute. */
static char *resolve(const char *config_path, const char *path)
{
	const char *slash = strrchr(config_path, '/');
	if (path[0] == '/' || !slash)
		return strdup(path);
	char *full;
	return asprintf(&full, "%.*s/%s", (int)(slash - config_path), config_path, path) < 0 ? NULL : full;
}

/* Fills buffer and returns the bytes read, -1 with errno set. Only regular files: opening a FIFO or a device could wait
 * for ever. */
static ssize_t read_start(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	struct stat st;
	ssize_t got = -1;
	size_t len = 0;
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	else
		do {
			got = read(fd, buffer + len, size - len);
			len += got > 0 ? (size_t)got : 0;
		} while ((got > 0 && len < size) || (got < 0 && errno == EINTR));
	int saved = errno;
	close(fd);
	errno = saved;
	return got < 0 ? -1 : (ssize_t)len;
}

/* A path that came out of a variable is not shown: by mistake, it may be the secret itself. */
static enum gw_err refuse_file(const struct tree_node *n, struct report *r, const char *path, const char *problem)
{
	FILE *out = report_begin(r, n->line, n->column);
	fputs("secret file ", out);
	report_quote(out, strstr(n->text, "${") ? n->text : path);
	fprintf(out, " %s", problem);
	report_end(r);
	return GW_CONFIG;
}

static enum gw_err take_first_line(const struct tree_node *n, struct report *r, const char *path, char *text,
                                   size_t len, char **out)
{
	const char *newline = memchr(text, '\n', len);
	if (!newline && len == EXPAND_SECRET_MAX)
		return refuse_file(n, r, path, "has a first line of 64KiB or more");
	len = newline ? (size_t)(newline - text) : len;
	if (newline && len && text[len - 1] == '\r')
		len--;
	if (!len)
		return refuse_file(n, r, path, "has an empty first line");
	if (memchr(text, '\0', len))
		return refuse_file(n, r, path, "holds a NUL character; it must be text");
	*out = strndup(text, len);
	return *out ? GW_OK : GW_NOMEM;
}

enum gw_err expand_secret_file(const struct tree_node *n, const char *config_path, struct report *r, char **out)
{
	char *name = NULL, *path = NULL;
	char *buffer = NULL;
	enum gw_err err = expand_scalar(n, EXPAND_HIDDEN, r, &name);
	if (err)
		return err;
	if (!*name) {
		report_error(r, n->line, n->column,
		             "names no file; allowed: the path of a file whose first line is the secret");
		err = GW_CONFIG;
		goto free_name;
	}
	err = GW_NOMEM;
	path = resolve(config_path, name);
	buffer = malloc(EXPAND_SECRET_MAX);
	if (!path || !buffer)
		goto free_all;
	ssize_t len = read_start(path, buffer, EXPAND_SECRET_MAX);
	if (len < 0) {
		char problem[160];
		snprintf(problem, sizeof(problem), "cannot be read: %s",
		         errno == EINVAL ? "not a regular file" : strerror(errno));
		err = refuse_file(n, r, path, problem);
	} else {
		err = take_first_line(n, r, path, buffer, (size_t)len, out);
	}
	explicit_bzero(buffer, EXPAND_SECRET_MAX);
free_all:
	free(buffer);
	free(path);
free_name:
	expand_free(name);
	return err;
}
