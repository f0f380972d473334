/* A worker: one thread, one epoll, every n-th connection of a job; its turns are in worker_loop.h. Nothing of it is
 * locked: run_plan reads and takes its counts while it is parked between two turns. */
#ifndef SLUICE_LOAD_WORKER_H
#define SLUICE_LOAD_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "load/hdr.h"
#include "load/job.h"
#include "load/result.h"
#include "load/timers.h"

struct connection;
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
	struct timers timers;                        /* of connections: fleets and slow senders */
	uint64_t next_unit;                          /* of all units of this worker: the next to become due */
	uint32_t next_start, next_sweep;             /* connections: next to be opened, next to be looked after */
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

uint64_t worker_clock(void); /* monotonic, us */
/* worker_time writes a moment of that clock as RFC 3339 with milliseconds; returns its length (24). */
size_t worker_time(const struct worker *w, uint64_t at_us, char out[64]);
/* worker_error counts one, and keeps the words of the first of its kind. */
void worker_error(struct worker *w, enum load_error kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* worker_tell wakes the calling thread of the run, worker_wake the worker. */
void worker_tell(struct worker *w);
void worker_wake(struct worker *w);
/* By the run's thread: worker_park returns when the worker stands still between two turns (or has ended);
 * worker_resume lets it go on. */
void worker_park(struct worker *w);
void worker_resume(struct worker *w);
/* By the worker's thread: worker_stand_still returns when nobody wants it parked any more; worker_end is its last. */
void worker_stand_still(struct worker *w);
void worker_end(struct worker *w);

#endif
