/* Structured logs; see log.h. A line is built whole on the stack and written with one call. */
#include "gateway/base/log.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/utf8.h"

#define LINE 16384
#define VALUE_MAX 768

static enum log_level lowest = LOG_INFO;
static enum log_format shape = LOG_AUTO;
static int out = STDERR_FILENO;
static bool out_is_socket;
static _Atomic uint64_t lost; /* relaxed: a number for people */
static atomic_bool torn;      /* relaxed: the last line has no end */
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_init(enum log_level level, enum log_format format)
{
	lowest = level;
	shape = format == LOG_AUTO ? (isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON) : format;
}

bool log_enabled(enum log_level level)
{
	return level >= lowest;
}

/* Others may have the same pipe or socket as their stderr: its flags are theirs, too. A pipe is opened once more, for us alone. */
void log_unblock(void)
{
	struct stat st;
	if (fstat(STDERR_FILENO, &st) != 0)
		return;
	out_is_socket = S_ISSOCK(st.st_mode);
	if (!S_ISFIFO(st.st_mode))
		return;
	int again = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (again >= 0)
		out = again;
}

uint64_t log_lost(void)
{
	return atomic_load_explicit(&lost, memory_order_relaxed);
}

struct line {
	char text[LINE];
	size_t len;
};

static void put(struct line *l, const char *text, size_t len)
{
	if (len > LINE - 2 - l->len)
		len = LINE - 2 - l->len;
	memcpy(l->text + l->len, text, len);
	l->len += len;
}

static void put_string(struct line *l, const char *text)
{
	put(l, text, strlen(text));
}

/* A value as the inside of a JSON string, which is harmless on a terminal, too: controls are escaped, bytes that are
 * not UTF-8 become '?'. */
static void put_value(struct line *l, const char *text)
{
	char clean[VALUE_MAX], escaped[6 * VALUE_MAX];
	size_t len = strlen(text) < VALUE_MAX ? strlen(text) : VALUE_MAX;
	memcpy(clean, text, len);
	for (size_t bad = utf8_check(clean, len); bad < len; bad += utf8_check(clean + bad, len - bad))
		clean[bad] = '?';
	for (size_t i = 0; i < len; i++)
		if (clean[i] == 0x7f)
			clean[i] = '?';
	put(l, escaped, json_escape(escaped, clean, len));
}

static void put_field_json(struct line *l, const struct log_field *f)
{
	char number[32];
	put_string(l, ",\"");
	put_string(l, f->key);
	put_string(l, "\":");
	if (f->type == LOG_STRING) {
		put_string(l, "\"");
		put_value(l, f->string);
		put_string(l, "\"");
		return;
	}
	snprintf(number, sizeof(number), "%lld", (long long)f->number);
	put_string(l, number);
}

static void put_field_text(struct line *l, const struct log_field *f)
{
	char number[32];
	const char *key = strrchr(f->key, '.');
	put_string(l, "  ");
	put_string(l, key ? key + 1 : f->key);
	put_string(l, "=");
	if (f->type == LOG_STRING) {
		put_value(l, f->string);
		return;
	}
	snprintf(number, sizeof(number), "%lld", (long long)f->number);
	put_string(l, number);
}

/* Whole or not at all, but for a line over PIPE_BUF of which a pipe took a part. */
static void write_line(const struct line *l)
{
	ssize_t n =
	    out_is_socket ? send(out, l->text, l->len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(out, l->text, l->len);
	if (n == (ssize_t)l->len)
		return;
	atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
	if (n > 0)
		atomic_store_explicit(&torn, true, memory_order_relaxed);
}

void log_write(enum log_level level, const char *area, const char *message, const struct log_field *fields)
{
	if (!log_enabled(level))
		return;
	struct line l = {.len = 0};
	char now[CLOCK_FORMAT_LEN];
	bool json = shape != LOG_TEXT;
	clock_format(now, clock_wall_us());
	if (atomic_load_explicit(&torn, memory_order_relaxed) &&
	    atomic_exchange_explicit(&torn, false, memory_order_relaxed))
		put_string(&l, "\n");
	if (json) {
		put_string(&l, "{\"@timestamp\":\"");
		put(&l, now, CLOCK_FORMAT_LEN);
		put_string(&l, "\",\"log.level\":\"");
		put_string(&l, level_names[level]);
		put_string(&l, "\",\"log.logger\":\"");
		put_string(&l, area);
		put_string(&l, "\",\"message\":\"");
	} else {
		put(&l, now + 11, 12);
		put_string(&l, level == LOG_ERROR  ? " ERROR "
		               : level == LOG_WARN ? " WARN  "
		               : level == LOG_INFO ? " info  "
		                                   : " debug ");
		put_string(&l, area);
		put_string(&l, ": ");
	}
	put_value(&l, message);
	if (json)
		put_string(&l, "\"");
	for (const struct log_field *f = fields; f && f->key && l.len < LINE - 6 * VALUE_MAX - 128; f++)
		if (f->type == LOG_NUMBER || f->string)
			json ? put_field_json(&l, f) : put_field_text(&l, f);
	if (json)
		put_string(&l, "}");
	l.text[l.len++] = '\n';
	write_line(&l);
}

bool log_allow(struct log_limit *limit, int64_t now_ms, uint64_t *suppressed)
{
	*suppressed = 0;
	if (now_ms - limit->since_ms >= 10000 || limit->since_ms == 0) {
		limit->since_ms = now_ms;
		limit->used = 0;
	}
	if (limit->used >= 10) {
		limit->left_out++;
		return false;
	}
	limit->used++;
	*suppressed = limit->left_out;
	limit->left_out = 0;
	return true;
}
