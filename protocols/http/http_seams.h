/* Seeing what an old libmicrohttpd hides. Until 0.9.76 it ends lines at a bare LF, cuts values at a NUL, and glues
 * folded lines together, and hands on the result as if nothing had been there: a proxy in front that read the same
 * bytes in another way has then let a request through that we never saw (request smuggling). But its parser works in
 * place: it only writes NULs over the ends of what it found. So the fields it hands out still lie in the bytes that
 * came in, and a request without tricks leaves exactly these seams between them:
 *
 *	method \0 target [\0 query] \0 version \0\0   name \0 blanks value \0\0   name \0 blanks value \0\0   ...   \0\0
 *	                                        CRLF        :               CRLF                        CRLF     CRLF
 *
 * Anything else between two fields is something hidden: refused. Which versions work this way: http_seams_apply. Not
 * seen: line endings inside a chunked body; NULs in a query. Only pointers that follow one another are looked behind.
 * Pure; any thread. */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_SEAMS_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_SEAMS_H

#include <stdbool.h>
#include <stddef.h>

struct http_seams {
	const char *start;
	const char *end; /* where the last field ended: its line's seam begins there */
	bool broken;
};

/* http_seams_apply tells whether a version of the library ("0.9.75") parses in place as described. */
bool http_seams_apply(const char *version);

/* The request line; query is the library's first argument name, NULL without one. */
void http_seams_line(struct http_seams *s, const char *method, const char *target, const char *query,
                     const char *version);
/* The header fields, in their order. */
void http_seams_field(struct http_seams *s, const char *name, size_t name_len, const char *value, size_t value_len);
/* http_seams_good tells, after the last field and before the body is read, whether nothing was hidden. head_len is the
 * length of the whole head as the library counts it (MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE). */
bool http_seams_good(const struct http_seams *s, size_t head_len);

#endif
