/* What one run of the load tester found out: the one thing that the engine fills in, and that the reports, conditions
 * (--fail-if), find, compare and merge read. Times are microseconds; the run's clock is monotonic and starts at 0 with
 * the first second, wall clock appears once, in started_us. One owner: result_new to result_free. */
#ifndef SLUICE_LOAD_RESULT_H
#define SLUICE_LOAD_RESULT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "load/hdr.h"

/* Why a message or a connection did not get what it wanted; one word per kind, as they stand in reports and JSON. */
enum load_error {
	LOAD_REFUSED,   /* "refused": nobody listens (ECONNREFUSED) */
	LOAD_RESET,     /* "reset": the connection was reset or closed under us */
	LOAD_TIMEOUT,   /* "timeout": no acknowledgement or no connection in time */
	LOAD_AUTH,      /* "auth": MQTT CONNACK 4/5/0x86/0x87, HTTP 401/403, CoAP 4.01/4.03 */
	LOAD_BUSY,      /* "busy": HTTP 429/503, CoAP 5.03, CONNACK 3: full now */
	LOAD_REJECTED,  /* "rejected": this message will never be taken (4xx, error line, PUBACK >= 0x80) */
	LOAD_TLS,       /* "tls": handshake or record layer failed */
	LOAD_PROTOCOL,  /* "protocol": an answer that the protocol does not allow */
	LOAD_RESOURCES, /* "resources": out of descriptors, ports or memory on our side */
	LOAD_ERRORS
};
extern const char *const load_error_names[LOAD_ERRORS];

/* One second of the run, all protocols and workers together. */
struct load_second {
	uint64_t at_us; /* its end, from the start of the run */
	uint64_t sent, acknowledged, errors;
	uint64_t p50_us, p99_us, max_us; /* of what was acknowledged in it; 0: nothing was */
	uint64_t connections;            /* open at its end */
	double intended;                 /* messages the shape wanted sent in it; 0: closed loop */
	double server_cpu;               /* processors used (1.0 = one core); NAN without --pid */
	uint64_t server_bytes;           /* resident; 0 without --pid */
};

struct load_result {
	char run[32];           /* identifier of the run, as in every message */
	char *command, *target; /* owned: as given; "mqtt://127.0.0.1:1883" */
	char protocol[16], tool[32], host[64];
	int64_t started_us;   /* wall clock */
	uint64_t duration_us; /* without warm-up: what the figures are about */
	uint64_t warmup_us;
	char end[64]; /* why it ended: "count", "time", "interrupted", ... */
	/* messages, after warm-up; sent counts each once */
	uint64_t sent, acknowledged, unacknowledged; /* unacknowledged: still open at the end */
	uint64_t resent;                             /* sendings beyond the first */
	uint64_t unconfirmed;                        /* QoS 0, NON, tcp without replies: nothing will be acknowledged */
	uint64_t bytes_out, bytes_in;                /* on the sockets, TLS included where there is any */
	uint64_t connections, connects, reconnects;  /* most at one time; made; of those, again */
	uint64_t errors[LOAD_ERRORS];
	char first_error[LOAD_ERRORS][200]; /* the first of each kind, in words */
	struct hdr *latency;         /* owned: intended send to acknowledgement, us (closed loop: from the send) */
	struct hdr *service;         /* owned: real send to acknowledgement */
	struct hdr *connect;         /* owned: connect() until ready to send */
	struct load_second *seconds; /* owned; warm-up included, with at_us <= warmup_us */
	size_t second_count;
	/* the server, from /proc of --pid */
	bool has_server;          /* of several targets with the same --pid only the longest run has it */
	double server_cpu_us;     /* all its threads, after warm-up */
	uint64_t server_messages; /* what it was used for: of all targets with this --pid; 0: of this one alone */
	uint64_t server_pid;      /* 0: none, or of several servers */
	uint64_t server_bytes_first, server_bytes_most;
	/* the tool itself */
	unsigned workers;
	double tool_cpu_us;  /* after warm-up */
	double tool_busiest; /* share of one core that the busiest worker used, 0..1 */
	uint64_t late_us;    /* p99 of how late messages were sent behind the shape */
	char warning[400];   /* "the load tester was the limit: ..."; empty: it was not */
};

/* result_new makes an empty one; NULL: out of memory. */
struct load_result *result_new(void);
void result_free(struct load_result *r);             /* r may be NULL */
uint64_t result_errors(const struct load_result *r); /* of all kinds */
/* Acknowledged, or sent where nothing is acknowledged: what CPU per message is counted by; of the server's, all messages
 * that it was used for. */
uint64_t result_messages(const struct load_result *r);
uint64_t result_server_messages(const struct load_result *r);
/* result_write writes it as JSON, histograms included; result_read reads such a file. GW_OK | GW_IO |
 * GW_INVALID (no such report, or of a newer version) | GW_NOMEM, with why. */
enum gw_err result_write(const struct load_result *r, FILE *out, struct why *why);
enum gw_err result_read(struct load_result **out, const char *path, struct why *why);
/* result_merge adds runs that went on at the same time on several machines or in several processes to the first, the
 * earliest: counts add up, histograms too, seconds are laid over one another by wall clock. What servers used adds up, each
 * counted once however many looked at it, and by the messages of the runs that loaded it: those that looked at it (--pid),
 * and those that name the same target. At most LOAD_MERGE_MAX; changes all of them. */
#define LOAD_MERGE_MAX 16
enum gw_err result_merge(struct load_result *const *results, size_t count, struct why *why);

#endif
