/* JSON as bytes: strict checking in one pass and look-ups that point into the text, without a tree, an allocation or a
 * number ever being printed again. RFC 8259; UTF-8 by RFC 3629; pointers by RFC 6901.
 * All functions are pure and may be called on any thread. */
#ifndef SLUICE_GATEWAY_BASE_JSON_H
#define SLUICE_GATEWAY_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_type {
	JSON_INVALID = 0,
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL
};

struct json_result {
	enum json_type type; /* of the document; JSON_INVALID: see reason and offset */
	size_t offset;       /* byte at which the document stopped being valid */
	const char *reason;  /* static text, e.g. "control character in string"; NULL when valid */
	size_t start, end;   /* the value without the white space around it */
	bool newline;        /* the value contains CR or LF (valid only outside strings) */
};

/* json_check validates one document strictly: exactly one value, surrounded by at most white space, no byte order mark,
 * valid UTF-8, no lone surrogate escapes, numbers by the grammar, at most max_depth nested arrays and objects (deeper
 * is invalid, reason "nested too deeply"). An embedded newline is allowed white space here (callers that need one line:
 * see json_copy_line).
 *   text  len bytes, not necessarily terminated; any len, 0 is invalid ("empty")
 * There are versions for several kinds of vector instructions; which one this machine runs is chosen before main. All
 * give the same result. */
struct json_result json_check(const char *text, size_t len, unsigned max_depth);

/* One version of json_check, for tests and benchmarks. json_versions writes those that this machine can run, the best
 * last, and returns their number; the first is the scalar one. */
#define JSON_VERSIONS_MAX 4
struct json_version {
	const char *name; /* static: scalar, sse4.2, avx2, avx512, neon */
	struct json_result (*check)(const char *text, size_t len, unsigned max_depth);
};
size_t json_versions(struct json_version out[JSON_VERSIONS_MAX]);

/* json_has_newline tells whether a valid document contains CR or LF (only possible outside strings). */
bool json_has_newline(const char *text, size_t len);

/* json_copy_line copies a valid document to out, with each CR or LF turned into a space, so that it fits one line;
 * returns len. */
size_t json_copy_line(char *out, const char *text, size_t len);

/* A JSON pointer (RFC 6901), compiled once. "/a/b/0", "" is the whole document. */
struct json_pointer {
	char *text;      /* owned: the unescaped reference tokens, one after the other, each terminated */
	size_t count;    /* tokens */
	size_t *lengths; /* owned: length of each token */
};
/* Returns false when text is no pointer (not empty and not starting with '/', or '~' not followed by 0 or 1) or memory
 * is out. */
bool json_pointer_init(struct json_pointer *p, const char *text);
void json_pointer_fini(struct json_pointer *p);

struct json_value {
	enum json_type type; /* JSON_INVALID: not found */
	const char *text;    /* points into the document; a string includes its quotes */
	size_t len;
};
/* json_find follows a pointer through a document that json_check found valid. First of duplicate keys wins; keys are
 * compared after unescaping. Not found: type JSON_INVALID. */
struct json_value json_find(const char *text, size_t len, const struct json_pointer *p);

/* json_unescape decodes the inside of a valid JSON string (text and len without the quotes) as UTF-8 into out; returns
 * the bytes written, at most len. \u0000 gives a NUL byte. */
size_t json_unescape(char *out, const char *text, size_t len);

/* json_escape writes len bytes of valid UTF-8 as the inside of a JSON string: quote, backslash and controls escaped,
 * nothing else. Writes at most 6 * len bytes; returns the bytes written. json_escaped_size tells beforehand. */
size_t json_escape(char *out, const char *text, size_t len);
size_t json_escaped_size(const char *text, size_t len);

/* json_time reads an event time out of a value: a string in RFC 3339 (any offset, fraction of any length) or a number
 * (integer or with fraction) of seconds, milliseconds or microseconds since the epoch, also as a string of digits. On
 * success sets *us to microseconds since 1970-01-01T00:00:00Z and returns true. Values outside years 0001..9999 are
 * refused. */
enum json_time_format { JSON_TIME_RFC3339, JSON_TIME_UNIX, JSON_TIME_UNIX_MS, JSON_TIME_UNIX_US };
bool json_time(const struct json_value *v, enum json_time_format format, int64_t *us);

#endif
