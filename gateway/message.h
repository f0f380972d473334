/* A message as a protocol understood it, before it becomes a record. Everything in it is borrowed for the call that
 * takes it; all bytes come from outside and are checked in normalise. */
#ifndef SLUICE_GATEWAY_MESSAGE_H
#define SLUICE_GATEWAY_MESSAGE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/json.h"
#include "gateway/base/stats.h"
#include "gateway/journal/record.h"
#include "gateway/payload.h"

struct message {
	const char *device; /* NULL: device_pointer must find it */
	size_t device_len;
	bool
	    device_named; /* it is the device whatever the payload says: no record of another is kept (envelope: keep) */
	const char *channel; /* NULL: none */
	size_t channel_len;
	const void *payload;
	size_t payload_len;
	enum payload_kind kind; /* as declared by the sender; a listener's `payload` setting wins over AUTO */
	const struct json_pointer *device_pointer; /* looked up in a JSON payload first; none found: device */
	size_t device_pointers;                    /* how many there are, tried in order */
	bool
	    device_is_address; /* device is no more than where the sender sits: nothing that was meant to name its device
	                           itself is booked on that (normalise.c) */
	const struct json_pointer *channel_pointer; /* likewise: channel */
	int qos;                                    /* MQTT QoS 0..2; -1: the protocol has none */
	bool retain;                                /* MQTT retain flag, recorded when set */
	const char *content_type;                   /* recorded on request (include: content_type) */
	size_t content_type_len;
	const char *idempotency_key; /* recorded when given */
	size_t idempotency_key_len;
	const struct sockaddr *peer; /* recorded on request (include: source); NULL: unknown */
	/* The device is told that the message was taken, whatever is wrong with it: where the listener keeps dead letters
	 * (on_invalid) one without a usable device or channel becomes one, of the device named here. NULL: it is refused. */
	const char *sender;
	size_t sender_len;
	const struct state_change *state; /* kept with it, in the same journal entry (state_store.h); NULL: nothing */
};

struct refusal {
	enum refusal_reason reason;
	size_t offset;    /* byte of the payload, for REFUSED_PAYLOAD */
	const char *text; /* static, for the answer to the device: "control character in string" */
};

#endif
