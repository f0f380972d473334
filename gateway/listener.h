/* A listener thread as the core sees it: the inside of struct intake (intake.h), made and run by main. */
#ifndef SLUICE_GATEWAY_LISTENER_H
#define SLUICE_GATEWAY_LISTENER_H

#include <pthread.h>

#include "gateway/base/heartbeat.h"
#include "gateway/base/log.h"
#include "gateway/base/socket.h"
#include "gateway/intake.h"
#include "gateway/journal/journal.h"
#include "gateway/journal/lane.h"
#include "gateway/normalise.h"

#define LISTENER_THREADS_MAX 256 /* of all listeners together */

struct protocol;

/* What the threads of one listener share. */
struct listener {
	const char *name; /* borrowed from the configuration */
	const struct protocol *protocol;
	const struct listener_settings *settings;
	const char *data;          /* borrowed: the data directory */
	pthread_mutex_t lock;      /* guards shared */
	void *shared;              /* owned; intake_shared */
	char address[SOCKET_TEXT]; /* as bound; written by main */
	uint16_t port;             /* main thread only; intake_port */
	bool yields; /* what it brings is promised to nobody, what others bring is: it is full before they are */
};

struct waiting_answer {
	uint64_t position;
	void *who;
	uint64_t what;
	int64_t since_us;
	uint8_t kind; /* enum answer_kind */
};

/* Answers in the order of their positions. */
struct answer_queue {
	struct waiting_answer *ring; /* owned; a power of two long */
	size_t first, count, room;
};

struct intake {
	struct lane lane;
	struct listener_stats stats;
	/* constant after intake_init */
	struct listener *listener;
	struct journal *journal;
	unsigned thread;
	void *state; /* owned: the protocol's, protocol->size bytes */
	pthread_t id;
	bool running;
	bool keeps_state;   /* constant: journal_keeps_state */
	_Atomic bool ended; /* its thread has; the thread writes, main reads */
	_Atomic int phase;  /* enum intake_phase; main writes, the thread reads */
	struct heartbeat heartbeat;
	/* the thread's own */
	struct normaliser normaliser;
	struct normalise_plan plan;
	int64_t now_us, wall_us; /* of this turn */
	int64_t answered_us;     /* clock of the answers given in this turn */
	const uint8_t *last;     /* the newest entry: in the lane, and nobody else writes there; NULL: none yet */
	bool late;
	uint64_t dead_bytes; /* of the dead letters of the intake: what their file had when it was looked at ... */
	int64_t dead_us;     /* ... which was then (0: never), and what this thread added since */
	bool dead_full;      /* told */
	uint64_t watched;    /* position asked for by intake_watch; 0: none */
	size_t starved;      /* room that a message of this turn did not find; 0: all found it */
	uint64_t settled;    /* as last read */
	struct answer_queue answers, notes; /* notes: for what only has to be on disk (intake_await_note) */
	struct log_limit refused_log[REFUSED_REASONS], not_json_log; /* of intake_report.c */
};

struct intake_plan {
	unsigned thread;       /* of the listener, from 0 */
	unsigned number;       /* of the lane, process-wide; it goes into record ids */
	uint32_t start;        /* of the process, random; likewise */
	uint64_t delivered_to; /* as in journal_add_lane */
};

/* intake_report_not_json logs that the message just put was meant to be JSON and is not; its reason is in in->plan. */
void intake_report_not_json(struct intake *in, const struct message *m);

/* intake_init prepares one thread of a listener. GW_OK | GW_CONFIG | GW_NOMEM | GW_IO, with why. Main thread. */
enum gw_err intake_init(struct intake *in, struct listener *l, struct journal *j, const struct intake_plan *plan,
                        struct why *why);
void intake_fini(struct intake *in);
/* intake_set_phase tells the thread to drain or end, and wakes it. Main thread. */
void intake_set_phase(struct intake *in, enum intake_phase phase);

#endif
