/* What a worker is to its connections and to the run; see worker.h. */
#include "load/worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* -- time -- */

uint64_t worker_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

size_t worker_time(const struct worker *w, uint64_t at_us, char out[64])
{
	uint64_t ms = (at_us + w->wall_offset_us) / 1000;
	time_t s = (time_t)(ms / 1000);
	struct tm tm;
	gmtime_r(&s, &tm);
	size_t len = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	return len + (size_t)snprintf(out + len, 32 - len, ".%03uZ", (unsigned)(ms % 1000));
}

/* -- errors -- */

void worker_error(struct worker *w, enum load_error kind, const char *format, ...)
{
	if (!w->first_error[kind][0]) {
		va_list args;
		va_start(args, format);
		vsnprintf(w->first_error[kind], sizeof(w->first_error[kind]), format, args);
		va_end(args);
	}
	w->counts.errors[kind]++;
}

/* -- waking, and standing still -- */

void worker_tell(struct worker *w)
{
	uint64_t one = 1;
	(void)!write(w->job->done_fd, &one, sizeof(one));
}

void worker_wake(struct worker *w)
{
	uint64_t one = 1;
	(void)!write(w->wake_fd, &one, sizeof(one));
}

void worker_park(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->asked = true;
	atomic_store_explicit(&w->ask, true, memory_order_relaxed);
	worker_wake(w);
	while (!w->parked && !w->ended)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void worker_resume(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->asked = false;
	atomic_store_explicit(&w->ask, false, memory_order_relaxed);
	pthread_cond_broadcast(&w->changed);
	while (w->parked && !w->ended)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void worker_stand_still(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->asked) {
		w->parked = true;
		pthread_cond_broadcast(&w->changed);
		pthread_cond_wait(&w->changed, &w->lock);
	}
	w->parked = false;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

void worker_end(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->ended = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}
