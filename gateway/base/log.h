/* Structured logs to stderr: text on a terminal, else one JSON object a line with ECS keys (@timestamp, log.level,
 * message, and what the event adds). An event is counted where it happens and logged once, where it is decided upon.
 * Any thread; lines are written whole. */
#ifndef SLUICE_GATEWAY_BASE_LOG_H
#define SLUICE_GATEWAY_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON };

void log_init(enum log_level level, enum log_format format);
/* log_unblock: from now on a line that stderr, where that is a pipe or a socket, does not take at once is lost, and counted in
 * log_lost: whoever reads the log may stand still, and the gateway must not for that. A line that cannot be written for another
 * reason counts as well. Before there are threads; log_lost in any. */
void log_unblock(void);
uint64_t log_lost(void);
bool log_enabled(enum log_level level);

/* A field of a log line: an ECS key ("sink.name") and a value. Values from outside are escaped and cut at 768 bytes. */
struct log_field {
	const char *key;
	enum { LOG_STRING, LOG_NUMBER } type;
	const char *string; /* LOG_STRING; NULL: the field is left out */
	int64_t number;     /* LOG_NUMBER */
};
#define LOG_S(k, v) ((struct log_field){.key = (k), .type = LOG_STRING, .string = (v)})
#define LOG_N(k, v) ((struct log_field){.key = (k), .type = LOG_NUMBER, .number = (int64_t)(v)})

/* log_event writes one line: area ("journal", "listener", "sink", ...), a constant message that says what happened, and
 * at least one field (log_say: none). log_event(LOG_WARN, "sink", "cannot be reached, will try again",
 * LOG_S("sink.name", name), LOG_S("error.message", text)); */
#define log_event(level, area, message, ...)                                                                           \
	log_write((level), (area), (message), (const struct log_field[]){__VA_ARGS__, {.key = NULL}})
#define log_say(level, area, message) log_write((level), (area), (message), NULL)
void log_write(enum log_level level, const char *area, const char *message, const struct log_field *fields);

/* A limiter for events that hostile or broken peers can cause at will: log_allow is true at most 10 times in 10 s per
 * limiter, and then tells in *suppressed how many were left out since. Zero-initialised; one thread. */
struct log_limit {
	int64_t since_ms;
	unsigned used;
	uint64_t left_out;
};
bool log_allow(struct log_limit *limit, int64_t now_ms, uint64_t *suppressed);

#endif
