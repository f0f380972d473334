/* Gathering errors: one memory stream holds all texts, a list of ranges says where each begins, so that they can be
 * sorted by place. */
#include "config/report.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SHOWN 64    /* bytes of one key that a path shows */
#define ERRORS_MAX 1000 /* more are only counted */
#define VALUE_SHOWN 80  /* bytes of a value that an error shows */

enum gw_err report_init(struct report *r, const char *path)
{
	*r = (struct report){.path = path};
	r->out = open_memstream(&r->text, &r->size);
	return r->out ? GW_OK : GW_NOMEM;
}

static void append_byte(struct report *r, char byte)
{
	if (r->key_len + 1 < sizeof(r->key))
		r->key[r->key_len++] = byte;
}

size_t report_enter(struct report *r, const char *key)
{
	size_t mark = r->key_len;
	if (mark)
		append_byte(r, '.');
	for (size_t i = 0; key[i] && i < KEY_SHOWN; i++)
		append_byte(r, key[i] > ' ' && key[i] < 0x7f ? key[i] : '?');
	r->key[r->key_len] = '\0';
	return mark;
}

size_t report_item(struct report *r, size_t n)
{
	size_t mark = r->key_len;
	char text[32];
	snprintf(text, sizeof(text), "[%zu]", n);
	for (size_t i = 0; text[i]; i++)
		append_byte(r, text[i]);
	r->key[r->key_len] = '\0';
	return mark;
}

void report_leave(struct report *r, size_t mark)
{
	assert(mark <= r->key_len);
	r->key_len = mark;
	r->key[mark] = '\0';
}

/* A place for one more error, NULL when there are too many or memory is out. */
static struct report_error *add_error(struct report *r)
{
	if (r->count == ERRORS_MAX)
		return NULL;
	if (r->count == r->capacity) {
		size_t capacity = r->capacity ? 2 * r->capacity : 16;
		struct report_error *errors = realloc(r->errors, capacity * sizeof(*errors));
		if (!errors) {
			r->nomem = true;
			return NULL;
		}
		r->errors = errors;
		r->capacity = capacity;
	}
	return &r->errors[r->count++];
}

FILE *report_begin(struct report *r, int line, int column)
{
	r->start = ftello(r->out);
	r->line = line;
	r->column = column;
	fputs(r->path, r->out);
	if (line > 0)
		fprintf(r->out, ":%d:%d", line, column);
	fputs(": ", r->out);
	if (r->key_len)
		fprintf(r->out, "%s: ", r->key);
	return r->out;
}

void report_end(struct report *r)
{
	off_t end = ftello(r->out);
	struct report_error *e = r->start < 0 || end < r->start || ferror(r->out) ? NULL : add_error(r);
	if (e) {
		*e = (struct report_error){r->line, r->column, (size_t)r->start, (size_t)end};
		return;
	}
	r->left_out++;
	if (ferror(r->out) || fseeko(r->out, r->start, SEEK_SET))
		r->nomem = true;
}

void report_error(struct report *r, int line, int column, const char *format, ...)
{
	FILE *out = report_begin(r, line, column);
	va_list args;
	va_start(args, format);
	vfprintf(out, format, args);
	va_end(args);
	report_end(r);
}

static int compare_places(const void *a, const void *b)
{
	const struct report_error *x = a, *y = b;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

enum gw_err report_fini(struct report *r, FILE *errors)
{
	if (fclose(r->out))
		r->nomem = true;
	if (r->count)
		qsort(r->errors, r->count, sizeof(*r->errors), compare_places);
	for (size_t i = 0; r->text && i < r->count; i++) {
		const struct report_error *e = &r->errors[i];
		fprintf(errors, "%.*s\n", (int)(e->end - e->start), r->text + e->start);
	}
	if (r->left_out)
		fprintf(errors, "%s: and %zu more errors\n", r->path, r->left_out);
	enum gw_err err = r->nomem ? GW_NOMEM : r->count ? GW_CONFIG : GW_OK;
	free(r->text);
	free(r->errors);
	return err;
}

/* Bytes of the printable UTF-8 character at s (RFC 3629, section 4), 0 when there is none: control characters and
 * broken text. */
static size_t printable(const unsigned char *s)
{
	if (s[0] < 0x80)
		return s[0] >= ' ' && s[0] != 0x7f;
	size_t len = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
	             : s[0] >= 0xe0 && s[0] <= 0xef ? 3
	             : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
	                                            : 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	bool control = s[0] == 0xc2 && s[1] < 0xa0;
	bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
	bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
	return len && (control || overlong || outside) ? 0 : len;
}

void report_quote(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text, *end = s + VALUE_SHOWN;
	fputc('"', out);
	while (*s && s < end) {
		size_t len = printable(s);
		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (len)
			fwrite(s, 1, len, out);
		else if (*s == '\n')
			fputs("\\n", out);
		else if (*s == '\t')
			fputs("\\t", out);
		else
			fprintf(out, "\\x%02x", *s);
		s += len ? len : 1;
	}
	fputs(*s ? "...\"" : "\"", out);
}
