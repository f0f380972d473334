/* CoAP messages over UDP as bytes (RFC 7252 section 3): a request is parsed where it lies, an answer is encoded.
 *
 * The options are taken apart by libcoap's coap_opt_parse, in place. Its coap_pdu_parse is not used: it copies every
 * datagram into a PDU of its own (malloc), and it fails as a whole, and logs, where an option has a length that it may
 * not have, while RFC 7252 section 5.4.3 wants such an option treated as an unknown one. test_coap_message.c holds both
 * against each other.
 *
 * Pure functions; any thread. Everything in a parsed message points into the datagram. */
#ifndef SLUICE_PROTOCOLS_COAP_COAP_MESSAGE_H
#define SLUICE_PROTOCOLS_COAP_COAP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum coap_type { COAP_CON = 0, COAP_NON = 1, COAP_ACK = 2, COAP_RST = 3 };

/* Codes as they stand in the header: 3 bits of class, 5 of detail. */
enum coap_code {
	COAP_EMPTY = 0x00,
	COAP_GET = 0x01,
	COAP_POST = 0x02,
	COAP_PUT = 0x03,
	COAP_CHANGED = 0x44,            /* 2.04 */
	COAP_CONTENT = 0x45,            /* 2.05 */
	COAP_CONTINUE = 0x5f,           /* 2.31, RFC 7959 */
	COAP_BAD_REQUEST = 0x80,        /* 4.00 */
	COAP_BAD_OPTION = 0x82,         /* 4.02 */
	COAP_NOT_FOUND = 0x84,          /* 4.04 */
	COAP_METHOD_NOT_ALLOWED = 0x85, /* 4.05 */
	COAP_NOT_ACCEPTABLE = 0x86,     /* 4.06 */
	COAP_INCOMPLETE = 0x88,         /* 4.08, RFC 7959 */
	COAP_TOO_LARGE = 0x8d,          /* 4.13 */
	COAP_UNSUPPORTED_FORMAT = 0x8f, /* 4.15 */
	COAP_UNAVAILABLE = 0xa3,        /* 5.03 */
	COAP_GATEWAY_TIMEOUT = 0xa4,    /* 5.04 */
	COAP_NO_PROXY = 0xa5,           /* 5.05 */
};

enum { COAP_FORMAT_TEXT = 0, COAP_FORMAT_LINKS = 40, COAP_FORMAT_BINARY = 42, COAP_FORMAT_JSON = 50 };

#define COAP_SEGMENTS_MAX 32 /* of a path; deeper ones are refused */
#define COAP_TOKEN_MAX 8
#define COAP_TAG_MAX 32 /* bytes of Request-Tag that are looked at */

struct coap_segment {
	const char *text;
	size_t len;
};

/* The value of a Block option, RFC 7959 section 2.2. */
struct coap_block_option {
	uint32_t number;
	bool more;
	uint8_t exponent; /* SZX: a block has 16 << exponent bytes, 0..6 */
};

struct coap_message {
	uint8_t type, code;
	uint16_t id;
	uint8_t token_len;
	const uint8_t *token;
	const uint8_t *rest; /* options and payload */
	size_t rest_len;
	/* from here on: set by coap_message_options */
	struct coap_segment path[COAP_SEGMENTS_MAX];
	size_t path_count;
	int32_t format, accept; /* Content-Format, Accept; -1: not given */
	bool has_block1, has_size1;
	struct coap_block_option block1;
	uint32_t size1;
	uint8_t no_response;       /* RFC 7967: bit 1, 3, 4 set: no interest in classes 2, 4, 5 */
	uint8_t tag[COAP_TAG_MAX]; /* RFC 9175: the Request-Tags, each with its length in front */
	uint8_t tag_len;
	const uint8_t *payload;
	size_t payload_len;
	uint8_t refusal;          /* a code: the options demand this answer; COAP_EMPTY: they do not */
	const char *refusal_text; /* static */
};

enum coap_parsed {
	COAP_PARSED,
	COAP_FOREIGN,   /* shorter than a header, or not version 1: silently ignored, RFC 7252 section 3 */
	COAP_MALFORMED, /* message format error: a CON is rejected with RST, anything else ignored; type and id are set
	                 */
};

/* coap_message_header reads the header and the token. */
enum coap_parsed coap_message_header(struct coap_message *m, const uint8_t *bytes, size_t len);
/* coap_message_options reads the rest of a request. COAP_PARSED (look at refusal) | COAP_MALFORMED. */
enum coap_parsed coap_message_options(struct coap_message *m);

/* An answer without its message layer. */
struct coap_answer {
	uint8_t code;
	bool has_block1, has_size1, has_max_age, has_format, has_offset;
	struct coap_block_option block1;
	uint32_t size1, max_age; /* bytes; seconds */
	uint16_t format;         /* Content-Format of text; without it, text is a diagnostic payload */
	uint32_t offset;         /* with has_offset: the diagnostic payload ends in " at byte N" */
	const char *text;        /* static; NULL: no payload */
};

/* The message layer of an answer, RFC 7252 section 4. */
struct coap_layer {
	enum coap_type type;
	uint16_t id;
	const uint8_t *token; /* borrowed for the call */
	size_t token_len;     /* at most COAP_TOKEN_MAX */
};

#define COAP_ANSWER_MAX 192 /* bytes of the longest answer */

/* coap_answer_encode writes an answer and returns its length, at most COAP_ANSWER_MAX.
 *   most  a diagnostic payload that would make it longer is left out (what is asked from a forged address must not grow
 * much on its way to whoever has that address); header and options always fit a few bytes */
size_t coap_answer_encode(uint8_t out[COAP_ANSWER_MAX], const struct coap_layer *l, const struct coap_answer *a,
                          size_t most);
/* coap_empty_encode writes an empty message (an acknowledgement without answer, or RST): 4 bytes. */
size_t coap_empty_encode(uint8_t out[COAP_ANSWER_MAX], enum coap_type type, uint16_t id);

#endif
