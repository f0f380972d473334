/* The identity of a message inside a record: "load":{"run":"...","device":"...","seq":N}. */
#ifndef SLUICE_LOAD_MESSAGE_IDENTITY_H
#define SLUICE_LOAD_MESSAGE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_IDENTITY_MAX 256 /* bytes of a run or a device */

struct message_identity {
	char run[MESSAGE_IDENTITY_MAX], device[MESSAGE_IDENTITY_MAX]; /* terminated */
	size_t run_len, device_len;
	uint64_t seq;
};

/* message_identity_find looks for it in a JSON document that is taken to be valid (a record, a dead letter around one, an answer
 * of a search server); the keys may stand in any order, and white space between them. False: there is none. Any thread. */
bool message_identity_find(const char *text, size_t len, struct message_identity *out);

#endif
