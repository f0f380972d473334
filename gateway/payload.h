/* The payload table: which formats a payload may have, what each is called (media types in HTTP, Content-Format numbers in
 * CoAP, the setting `payload` in MQTT and TCP), and how it becomes JSON text. All protocols read this one table, so a
 * format that one of them takes, all take.
 *
 * A new format is a member of enum payload_kind, a row in payload.c and, where its bytes are not JSON, a decoder in a file
 * of its own. Pure; any thread. */
#ifndef SLUICE_GATEWAY_PAYLOAD_H
#define SLUICE_GATEWAY_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/json.h"
#include "gateway/base/settings.h"
#include "gateway/base/stats.h"

/* The rows of the table. Those before PAYLOAD_LINES are the choices of the setting `payload`, in this order. */
enum payload_kind {
	PAYLOAD_AUTO,   /* undeclared: JSON if valid, else text if UTF-8, else base64 */
	PAYLOAD_JSON,   /* declared JSON: invalid is refused (see on_invalid) */
	PAYLOAD_TEXT,   /* UTF-8 text; not UTF-8: base64 */
	PAYLOAD_BINARY, /* base64 */
	PAYLOAD_SENML,  /* a SenML pack in JSON (RFC 8428): an array of objects, one message */
	PAYLOAD_LINES, /* newline-delimited JSON: each line is a message of PAYLOAD_JSON; only where a body has several */
	PAYLOAD_KINDS,
	PAYLOAD_UNKNOWN = PAYLOAD_KINDS /* declared, and not in the table */
};

/* A payload as JSON text. */
struct payload_text {
	struct json_result json; /* of text. JSON_INVALID: it could not be decoded; offset counts in the payload then */
	const char *text;        /* what start and end of json count in; points into the payload */
	const char
	    *look; /* where JSON pointers (device, channel, time) are followed; NULL: in the value itself. Of a SenML
	                            pack it is the first record, whose base fields hold for the whole pack */
	size_t look_len;
};

/* A decoder turns len bytes into JSON text of at most max_depth nested arrays and objects. False: they are not of its
 * format; json says why. look is NULL before. */
typedef bool payload_decode(const char *bytes, size_t len, unsigned max_depth, struct payload_text *out);

struct payload_row {
	const char *name; /* as the setting `payload` says it */
	const char
	    *types[8]; /* media types in lower case, ends with NULL; "text/" stands for all that begin so, "+json" for
	                             all that end so, where no other row has the very type */
	int32_t formats[4];     /* CoAP Content-Formats, ends with -1 */
	payload_decode *decode; /* NULL: kept as it is, as text or base64 */
};
extern const struct payload_row payload_rows[PAYLOAD_KINDS];
extern const char *const payload_names[]; /* of the rows before PAYLOAD_LINES, ends with NULL */

/* payload_of_type finds the row of a media type; parameters are ignored, upper and lower case are the same. Empty:
 * PAYLOAD_AUTO. */
enum payload_kind payload_of_type(const char *type, size_t len);
/* payload_of_format finds the row of a CoAP Content-Format; -1 (none given): PAYLOAD_AUTO. */
enum payload_kind payload_of_format(int32_t format);
/* payload_format_type names the media type of a Content-Format, those known that no row has included; NULL: unknown. */
const char *payload_format_type(int32_t format);
/* payload_accepts tells whether a list of media types (the setting accept_types) has this one. */
bool payload_accepts(const struct string_list *accepted, const char *type, size_t len);
/* payload_list_types writes the media types of the table for an answer, "application/json, ..."; payload_list_formats the
 * Content-Formats, "0, 42, 50". Cut at size; terminated; returns the length. */
size_t payload_list_types(char *out, size_t size);
size_t payload_list_formats(char *out, size_t size, const char *separator);

/* payload_decode_json checks JSON and leaves it where it is. A byte order mark before it and NULs behind it are left out
 * (RFC 8259 section 8.1 allows to ignore the first; the others are what C programs send with sizeof). */
payload_decode payload_decode_json;
/* payload_decode_senml: an array of objects (RFC 8428 section 4). */
payload_decode payload_decode_senml;

/* payload_trim finds what is left of bytes without a mark in front, and without NULs and white space behind. False: nothing but
 * white space would be left out. */
bool payload_trim(const char *bytes, size_t len, size_t *start, size_t *end);

/* payload_looks_json tells whether text that is no valid JSON was meant to be: it begins as an object, an array or a quoted
 * string does, or is the end of one. A log line ("[INFO] ...") does not. */
bool payload_looks_json(const char *text, size_t len);
/* payload_fault_of sorts what a decoder found wrong with such a payload. */
enum json_fault payload_fault_of(const char *bytes, size_t len, const struct payload_text *found);

#endif
