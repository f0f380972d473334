/* A worker: one thread, one epoll, every n-th connection of a job. In each turn it takes what came, notes which messages
 * have become due, and lets the connections that may send fill the socket. Nothing of it is locked: run_plan reads and
 * takes its counts while it is parked between two turns. */
#ifndef SLUICE_LOAD_WORKER_H
#define SLUICE_LOAD_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "load/connection.h"
#include "load/hdr.h"
#include "load/job.h"
#include "load/result.h"

struct datagrams;

/* What happened since run_plan last took it. */
struct worker_counts {
	uint64_t sent, acknowledged, resent, unconfirmed, bytes_out, bytes_in, connects, reconnects,
	    errors[LOAD_ERRORS];
};

struct worker {
	struct load_job *job;
	unsigned number;
	pthread_t thread;
	int epoll_fd, wake_fd;
	struct connection *connections; /* owned; local i is number + i * worker_count of all */
	uint32_t count;

	uint64_t now_us;
	enum job_phase phase;
	uint8_t *scratch; /* owned; what is about to be written */
	size_t scratch_size;
	uint8_t *in; /* owned; what was just read, behind what was left over before */
	size_t in_size;
	char time[64]; /* now, in text; with slack, payload.h */
	size_t time_len;
	uint64_t time_ms, wall_offset_us;
	struct connection *ready_first, *ready_last; /* those that may have something to send */
	struct connection **heap;                    /* owned; by wake_us; fleets and slow senders */
	uint32_t heap_count;
	uint64_t next_unit;              /* of all units of this worker: the next to become due */
	uint32_t next_start, next_sweep; /* connections: next to be opened, next to be looked after */
	uint64_t sweep_us, began_us;
	uint32_t opening, open, tried, done; /* connections in that state */
	struct datagrams *datagrams;         /* owned; NULL: streams */

	/* taken by run_plan while parked */
	struct worker_counts counts;
	char first_error[LOAD_ERRORS][200];
	struct hdr *latency, *service, *connect, *late; /* owned */

	pthread_mutex_t lock; /* of the three below */
	pthread_cond_t changed;
	bool asked, parked, ended;
	_Atomic bool ask;                 /* relaxed: look at asked */
	_Atomic bool all_tried, all_done; /* release; run_plan's acquire */
	_Atomic uint32_t tried_well;      /* connections that were ready at least once; relaxed */
};

/* worker_open prepares, worker_start starts the thread; worker_close after it ended (or never started).
 * GW_OK | GW_NOMEM | GW_IO, with why. */
enum gw_err worker_open(struct worker *w, struct load_job *job, unsigned number, struct why *why);
enum gw_err worker_start(struct worker *w, struct why *why);
void worker_wake(struct worker *w);
/* worker_park returns when the worker stands still between two turns (or has ended); worker_resume lets it go on. */
void worker_park(struct worker *w);
void worker_resume(struct worker *w);
void worker_join(struct worker *w);
void worker_close(struct worker *w);

/* For connections. */
uint64_t worker_clock(void); /* monotonic, us */
/* worker_time writes a moment of that clock as RFC 3339 with milliseconds; returns its length (24). */
size_t worker_time(const struct worker *w, uint64_t at_us, char out[64]);
void worker_tell(struct worker *w);
void worker_wake_at(struct worker *w, struct connection *c, uint64_t when_us);
/* worker_error counts one, and keeps the words of the first of its kind. */
void worker_error(struct worker *w, enum load_error kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
