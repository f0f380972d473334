/* The settings that every listener has, whatever its protocol. */
#ifndef SLUICE_GATEWAY_LISTENER_SETTINGS_H
#define SLUICE_GATEWAY_LISTENER_SETTINGS_H

#include "gateway/base/settings.h"

enum ack_level {
	ACK_ACCEPTED,  /* when it is in the lane: lost with the process */
	ACK_DURABLE,   /* when it is on disk */
	ACK_DELIVERED, /* when the sinks named by delivered_to have it */
};
enum on_invalid { INVALID_REFUSE, INVALID_WRAP, INVALID_DEAD_LETTER };

struct time_settings {
	char *pointer; /* JSON pointer to the device's own time; NULL: time of receipt */
	int format;    /* enum json_time_format */
};

enum when_full { WHEN_FULL_REFUSE, WHEN_FULL_DROP_OLDEST };

struct listener_settings {
	int ack;                         /* enum ack_level */
	struct string_list delivered_to; /* names of sinks; empty: all */
	uint64_t ack_timeout;            /* us */
	int payload;                     /* enum payload_kind: what an undeclared payload is taken for */
	struct string_list accept_types; /* media types that are taken as undeclared, although no row has them */
	int on_invalid;                  /* enum on_invalid */
	uint64_t max_dead_letters; /* bytes of DATA/dead/intake.ndjson from which on INVALID_DEAD_LETTER refuses */
	int envelope; /* 0 wrap, 1 keep: a payload that already is a record of version 1 is taken as it is */
	struct time_settings time;
	uint64_t time_past, time_future; /* us: plausibility window of a device's time */
	int64_t max_depth;               /* nesting of JSON payloads */
	uint64_t max_payload;            /* bytes of one payload; every protocol enforces it at the door */
	struct string_list include;      /* "source", "content_type" */
	uint64_t lane;                   /* bytes of each thread's lane */
	int64_t threads;                 /* listener threads sharing the port */
	int when_full;                   /* enum when_full */
	bool anonymous;                  /* may listen beyond this machine although it asks nobody who they are */
};
extern const struct setting listener_settings[];
extern const char *const listener_settings_acks[]; /* by enum ack_level, ends with NULL */

#endif
