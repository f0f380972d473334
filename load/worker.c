/* The turns of a worker; see worker.h. */
#include "load/worker.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "load/datagram.h"

#define EVENTS 256
#define OPENING_MOST 500u    /* connections that are being opened at the same time; a listener's queue has an end */
#define SWEEP_US 10000u      /* a tenth of all connections is looked after so often */
#define REST_LEAST_NS 200000 /* with a shape: messages less than this apart go together; a wake-up costs 10 us */
#define SCRATCH (256u << 10)

/* -- time -- */

uint64_t worker_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t wall_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
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

static void look_at_clock(struct worker *w)
{
	w->now_us = worker_clock();
	if ((w->now_us + w->wall_offset_us) / 1000 != w->time_ms) {
		w->time_ms = (w->now_us + w->wall_offset_us) / 1000;
		w->time_len = worker_time(w, w->now_us, w->time);
	}
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

/* -- the heap of connections that have a time of their own -- */

static void heap_place(struct worker *w, struct connection *c, uint32_t at)
{
	w->heap[at - 1] = c;
	c->heap_at = at;
}

static void heap_up(struct worker *w, struct connection *c, uint32_t at)
{
	for (; at > 1 && w->heap[at / 2 - 1]->wake_us > c->wake_us; at /= 2)
		heap_place(w, w->heap[at / 2 - 1], at);
	heap_place(w, c, at);
}

static void heap_down(struct worker *w, struct connection *c, uint32_t at)
{
	for (uint32_t child; (child = at * 2) <= w->heap_count; at = child) {
		if (child < w->heap_count && w->heap[child]->wake_us < w->heap[child - 1]->wake_us)
			child++;
		if (w->heap[child - 1]->wake_us >= c->wake_us)
			break;
		heap_place(w, w->heap[child - 1], at);
	}
	heap_place(w, c, at);
}

void worker_wake_at(struct worker *w, struct connection *c, uint64_t when_us)
{
	bool later = when_us > c->wake_us;
	c->wake_us = when_us;
	if (!c->heap_at) {
		heap_up(w, c, ++w->heap_count);
		return;
	}
	if (later)
		heap_down(w, c, c->heap_at);
	else
		heap_up(w, c, c->heap_at);
}

/* -- what the shape wants -- */

static uint64_t unit_us(const struct worker *w, uint64_t k)
{
	const struct load_job *j = w->job;
	uint64_t connection = w->number + k % w->count * j->worker_count;
	return shape_time_us(&j->plan->shape, (k / w->count * j->connections + connection) * j->batch);
}

static uint64_t fleet_us(const struct connection *c)
{
	const struct load_job *j = c->worker->job;
	return shape_fleet_us(&j->plan->shape, c->number, j->connections, c->devices, c->due / j->batch);
}

static void become_due(struct worker *w)
{
	const struct load_job *j = w->job;
	uint64_t start = atomic_load_explicit(&j->start_us, memory_order_relaxed), at, most = 100000;
	if (j->plan->shape.kind == SHAPE_CLOSED || w->phase != JOB_SEND || j->plan->idle)
		return;
	if (j->plan->shape.kind == SHAPE_FLEET)
		return;
	while (most-- > 0 && (at = unit_us(w, w->next_unit)) <= w->now_us - start) {
		struct connection *c = &w->connections[w->next_unit++ % w->count];
		c->due += j->batch;
		hdr_record(w->late, w->now_us - start - at, j->batch);
		connection_queue(c);
	}
}

static void wake_due(struct worker *w)
{
	const struct load_job *j = w->job;
	uint64_t start = atomic_load_explicit(&j->start_us, memory_order_relaxed);
	while (w->heap_count > 0 && w->heap[0]->wake_us <= w->now_us) {
		struct connection *c = w->heap[0];
		if (j->plan->shape.kind == SHAPE_FLEET) {
			hdr_record(w->late, w->now_us - c->wake_us, j->batch);
			c->due += j->batch;
			c->wake_us = start + fleet_us(c);
		} else {
			c->wake_us = w->now_us + 1000000; /* sending sets it anew */
		}
		heap_down(w, c, 1);
		connection_queue(c);
	}
}

static void start_fleet(struct worker *w)
{
	uint64_t start = atomic_load_explicit(&w->job->start_us, memory_order_relaxed);
	for (uint32_t i = 0; i < w->count; i++)
		worker_wake_at(w, &w->connections[i], start + fleet_us(&w->connections[i]));
}

/* -- a turn -- */

static void change_phase(struct worker *w, enum job_phase phase)
{
	w->phase = phase;
	if (phase == JOB_SEND && w->job->plan->shape.kind == SHAPE_FLEET && !w->job->plan->idle)
		start_fleet(w);
	for (uint32_t i = 0; i < w->count; i++) {
		struct connection *c = &w->connections[i];
		if (phase == JOB_STOP)
			connection_close(c);
		else if (phase == JOB_DRAIN && c->state == CONNECTION_NEW)
			connection_finished(c);
		else if (c->state == CONNECTION_READY)
			connection_queue(c);
	}
	if (phase == JOB_STOP)
		datagram_flush(w);
}

static void open_more(struct worker *w)
{
	const struct load_plan *p = w->job->plan;
	uint64_t allowed = UINT64_MAX;
	if (w->next_start == w->count || w->phase >= JOB_DRAIN)
		return;
	if (p->connect_rate)
		allowed = (w->now_us - w->began_us) * p->connect_rate / w->job->worker_count / 1000000 + 1;
	while (w->next_start < w->count && w->next_start < allowed && (p->storm || w->opening < OPENING_MOST))
		connection_open(&w->connections[w->next_start++]);
}

static void sweep(struct worker *w)
{
	if (w->now_us - w->sweep_us < SWEEP_US)
		return;
	w->sweep_us = w->now_us;
	for (uint32_t n = w->count / 10 + 1; n > 0; n--) {
		connection_look(&w->connections[w->next_sweep]);
		w->next_sweep = w->next_sweep + 1 < w->count ? w->next_sweep + 1 : 0;
	}
}

static void send_ready(struct worker *w)
{
	struct connection *c = w->ready_first, *last = w->ready_last;
	while (c) {
		struct connection *next = c->next_ready;
		bool was_last = c == last;
		w->ready_first = next;
		if (!next)
			w->ready_last = NULL;
		c->queued = false;
		if (c->fd >= 0)
			connection_send(c);
		if (was_last)
			break; /* those that were put in line meanwhile wait for the next turn */
		c = w->ready_first;
	}
	datagram_flush(w);
}

static void tell_changes(struct worker *w)
{
	bool tell = false;
	if (w->tried == w->count && !atomic_load_explicit(&w->all_tried, memory_order_relaxed)) {
		atomic_store_explicit(&w->all_tried, true, memory_order_release);
		tell = true;
	}
	if (w->done == w->count && !atomic_load_explicit(&w->all_done, memory_order_relaxed)) {
		atomic_store_explicit(&w->all_done, true, memory_order_release);
		tell = true;
	}
	if (tell)
		worker_tell(w);
}

void worker_tell(struct worker *w)
{
	uint64_t one = 1;
	(void)!write(w->job->done_fd, &one, sizeof(one));
}

/* How long there is nothing to do. */
static struct timespec rest_of(const struct worker *w)
{
	uint64_t start = atomic_load_explicit(&w->job->start_us, memory_order_relaxed), now = worker_clock();
	uint64_t until = w->sweep_us + SWEEP_US;
	enum load_shape_kind shape = w->job->plan->shape.kind;
	if (w->ready_first)
		return (struct timespec){0};
	if (shape != SHAPE_CLOSED && shape != SHAPE_FLEET && w->phase == JOB_SEND && !w->job->plan->idle) {
		uint64_t next = unit_us(w, w->next_unit);
		if (next < UINT64_MAX - start && start + next < until)
			until = start + next;
	}
	if (w->heap_count > 0 && w->heap[0]->wake_us < until)
		until = w->heap[0]->wake_us;
	uint64_t ns = until > now ? (until - now) * 1000 : 0;
	if (ns < REST_LEAST_NS)
		ns = REST_LEAST_NS;
	return (struct timespec){.tv_nsec = (long)ns};
}

static void take_events(struct worker *w)
{
	struct epoll_event events[EVENTS];
	struct timespec rest = rest_of(w);
	int n = epoll_pwait2(w->epoll_fd, events, EVENTS, &rest, NULL);
	look_at_clock(w);
	for (int i = 0; i < n; i++) {
		if (!events[i].data.ptr) {
			uint64_t drop;
			(void)!read(w->wake_fd, &drop, sizeof(drop));
		} else if (events[i].data.ptr == w) {
			datagram_receive(w, -1, NULL);
		} else if (w->datagrams) {
			struct connection *c = events[i].data.ptr;
			datagram_receive(w, c->fd, c);
		} else {
			connection_event(events[i].data.ptr, events[i].events);
		}
	}
}

/* -- standing still -- */

static void stand_still(struct worker *w)
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

/* -- the thread -- */

static void *work(void *context)
{
	struct worker *w = context;
	prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* the default would make every rest 50 us longer */
	look_at_clock(w);
	w->began_us = w->now_us;
	while (w->phase != JOB_STOP) {
		/* pairs with run_plan's release: start_us is there before the phase is */
		enum job_phase phase = (enum job_phase)atomic_load_explicit(&w->job->phase, memory_order_acquire);
		uint64_t end = atomic_load_explicit(&w->job->end_us, memory_order_relaxed);
		if (phase == JOB_SEND && end && w->now_us >= end)
			phase = JOB_DRAIN;
		if (phase != w->phase)
			change_phase(w, phase);
		open_more(w);
		sweep(w);
		wake_due(w);
		become_due(w);
		send_ready(w);
		tell_changes(w);
		if (atomic_load_explicit(&w->ask, memory_order_relaxed))
			stand_still(w);
		if (w->phase != JOB_STOP)
			take_events(w);
	}
	pthread_mutex_lock(&w->lock);
	w->ended = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* -- opening and closing -- */

static void prepare_connections(struct worker *w)
{
	const struct load_job *j = w->job;
	const struct load_plan *p = j->plan;
	uint64_t units = (p->count + j->batch - 1) / j->batch;
	for (uint32_t i = 0; i < w->count; i++) {
		struct connection *c = &w->connections[i];
		*c = (struct connection){.worker = w, .fd = -1, .number = w->number + (uint64_t)i * j->worker_count};
		c->devices = (uint32_t)job_devices_of(j, c->number);
		c->chance = (uint32_t)(p->seed * 2654435761u + c->number * 40503u + 1);
		c->next_id = (uint16_t)(c->chance >> 8);
		c->limit = UINT64_MAX;
		if (p->count) {
			c->limit = (units / j->connections + (c->number < units % j->connections)) * j->batch;
			if (c->number == (units - 1) % j->connections)
				c->limit -= units * j->batch - p->count;
		}
		if (p->idle)
			c->due = 0;
		else
			c->due = p->shape.kind == SHAPE_CLOSED ? UINT64_MAX : 0;
	}
}

enum gw_err worker_open(struct worker *w, struct load_job *job, unsigned number, struct why *why)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
	*w = (struct worker){.job = job, .number = number, .epoll_fd = -1, .wake_fd = -1};
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->count = (uint32_t)(job->connections / job->worker_count + (number < job->connections % job->worker_count));
	w->scratch_size = SCRATCH > job->room * 2 ? SCRATCH : job->room * 2;
	w->in_size = SCRATCH;
	w->wall_offset_us = wall_clock() - worker_clock();
	w->connections = calloc(w->count, sizeof(*w->connections));
	w->heap = calloc(w->count, sizeof(*w->heap));
	w->scratch = malloc(w->scratch_size);
	w->in = malloc(w->in_size);
	w->latency = hdr_new();
	w->service = hdr_new();
	w->connect = hdr_new();
	w->late = hdr_new();
	if (!w->connections || !w->heap || !w->scratch || !w->in || !w->latency || !w->service || !w->connect ||
	    !w->late)
		return why_set(why, GW_NOMEM, "out of memory");
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->epoll_fd < 0 || w->wake_fd < 0 || epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &e) != 0)
		return why_set(why, GW_IO, "epoll: %s", strerror(errno));
	prepare_connections(w);
	return job->protocol->datagram ? datagram_open(w, why) : GW_OK;
}

enum gw_err worker_start(struct worker *w, struct why *why)
{
	int e = pthread_create(&w->thread, NULL, work, w);
	return e ? why_set(why, GW_IO, "thread: %s", strerror(e)) : GW_OK;
}

void worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}

void worker_close(struct worker *w)
{
	for (uint32_t i = 0; w->connections && i < w->count; i++)
		connection_free(&w->connections[i]);
	datagram_close(w);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	free(w->connections);
	free(w->heap);
	free(w->scratch);
	free(w->in);
	hdr_free(w->latency);
	hdr_free(w->service);
	hdr_free(w->connect);
	hdr_free(w->late);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
}
