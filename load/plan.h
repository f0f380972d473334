/* What one run is told: a target, how much, in which shape, with which payload. The command line makes one per TARGET
 * (line.h), `find` changes the rate in it, run_plan (run.h) carries it out. Texts are borrowed (from argv or from the
 * caller) and must outlive the run; a plan may be copied freely. plan_init fills in the defaults. */
#ifndef SLUICE_LOAD_PLAN_H
#define SLUICE_LOAD_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "load/shape.h"

struct load_protocol;
struct load_plan;
struct load_result;

#define LOAD_BIND_MAX 64

/* load_hook is called once a second on the thread of run_plan, for each run of it; so_far->seconds ends with the second
 * that has just passed, and counts and histograms are those up to now (after warm-up). */
typedef void load_hook(void *context, const struct load_plan *plan, const struct load_result *so_far);

struct load_plan {
	/* the target: SCHEME://HOST[:PORT][/PATH] */
	char target[256]; /* without user information and without the part after # */
	char host[128], port[8], path[256];
	const struct load_protocol *protocol;
	bool tls;
	bool insecure;                 /* do not check the server's certificate */
	const char *ca, *cert, *key;   /* files; cert and key may hold {device} and {connection} */
	const char *user, *password;   /* templates ({device}, {connection}, {run}); NULL: none */
	const char *client_id, *topic; /* templates; NULL: the protocol's default */
	char bind[LOAD_BIND_MAX][46];  /* addresses to send from, taken in turn */
	unsigned bind_count;

	/* who sends */
	char run[32];         /* empty: made up by run_plan */
	uint64_t connections; /* CoAP: endpoints */
	uint64_t devices;     /* 0: one per connection; each belongs to one connection */
	uint64_t window;      /* messages under way per connection; 0: the protocol's default */
	uint64_t batch;       /* HTTP: messages in one request */
	int qos;              /* MQTT 0, 1, 2; CoAP 0: NON, 1: CON; -1: the protocol's default */
	bool no_reply;        /* TCP: the server says nothing */
	unsigned workers;     /* threads; 0: one per core, no more than connections */
	const char *name;     /* template of the devices' names: {n}, {protocol}; NULL: "{protocol}-{n}" */

	/* how much and when */
	uint64_t count;       /* messages; 0: no limit */
	uint64_t duration_us; /* after warm-up; 0: no limit */
	uint64_t warmup_us;
	uint64_t grace_us; /* how long open acknowledgements are waited for at the end */
	struct load_shape shape;
	bool storm; /* all connections are opened at once; the run ends when all are in, unless told otherwise */
	bool idle;  /* connections only stay */
	uint64_t reconnect_us;  /* each connection is closed and opened again so often; 0: never */
	uint64_t keep_alive_us; /* MQTT keep-alive; 0: none */
	uint64_t timeout_us;    /* to connect, and for an acknowledgement */
	/* the run ends when nobody could be reached, or all is sent, and nothing was answered, for so long */
	uint64_t give_up_us;
	uint64_t connect_rate;  /* new connections a second; 0: as fast as they go */
	uint64_t dribble_bytes; /* slow senders: so many bytes ... */
	uint64_t dribble_us;    /* ... so often, per connection; 0: off */
	uint64_t seed;          /* of everything random */

	/* payload */
	const char *payload; /* template, or NULL: telemetry of about 180 bytes */
	const char *file;    /* payload, as a template, from a file; NULL: none */
	const char *size;    /* "190", "100-2000", "64,256,1024"; NULL: as it comes */
	bool raw;            /* payload as it is, without identity: verify cannot know it */

	/* the server and what is written while the run goes on */
	int pid;                 /* of the server, for its CPU and memory; 0: none */
	const char *ledger_path; /* rewritten every few seconds; NULL: not written */
	const char *command;     /* as given, for the report; may be NULL */
	load_hook *on_second;    /* may be NULL */
	void *hook_context;
};

/* Where the results go; what is NULL is not written. */
#define LOAD_CONDITIONS_MAX 16
struct load_outputs {
	const char *json, *html, *csv, *hdr;
	const char *fail_if[LOAD_CONDITIONS_MAX];
	unsigned fail_if_count;
	bool quiet, progress; /* progress: also when stderr is no terminal */
};

void plan_init(struct load_plan *p);
/* plan_target reads SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH]; schemes: mqtt mqtts coap tcp tls http https.
 * plan_check says what cannot be, or does not make sense, and sets what is left to the protocol (window, qos). Both:
 * GW_OK | GW_CONFIG with why. */
enum gw_err plan_target(struct load_plan *p, const char *url, struct why *why);
enum gw_err plan_check(struct load_plan *p, struct why *why);

#endif
