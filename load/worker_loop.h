/* The event loop of a worker. In each turn it takes what came, notes which messages have become due, and lets the
 * connections that may send fill the socket. */
#ifndef SLUICE_LOAD_WORKER_LOOP_H
#define SLUICE_LOAD_WORKER_LOOP_H

#include "gateway/base/error.h"
#include "load/worker.h"

/* worker_open prepares, worker_start starts the thread, worker_join waits for its end; worker_close after it ended (or
 * never started). GW_OK | GW_NOMEM | GW_IO, with why. */
enum gw_err worker_open(struct worker *w, struct load_job *job, unsigned number, struct why *why);
enum gw_err worker_start(struct worker *w, struct why *why);
void worker_join(struct worker *w);
/* worker_unacknowledged counts the messages that are still open, after the thread ended. */
uint64_t worker_unacknowledged(const struct worker *w);
void worker_close(struct worker *w);

#endif
