/* The turns of a worker; see worker_loop.h. */
#include "load/worker_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "load/connection.h"
#include "load/datagram.h"

#define EVENTS 256
#define OPENING_MOST 500u    /* connections that are being opened at the same time; a listener's queue has an end */
#define SWEEP_US 10000u      /* a tenth of all connections is looked after so often */
#define REST_LEAST_NS 200000 /* with a shape: messages less than this apart go together; a wake-up costs 10 us */
#define SCRATCH (256u << 10)

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
	for (struct timer *t; (t = timers_first(&w->timers)) && t->at_us <= w->now_us;) {
		struct connection *c = connection_of_timer(t);
		uint64_t next = w->now_us + 1000000; /* a slow sender: sending sets it again */
		if (j->plan->shape.kind == SHAPE_FLEET) {
			hdr_record(w->late, w->now_us - t->at_us, j->batch);
			c->due += j->batch;
			next = start + fleet_us(c);
		}
		timers_set(&w->timers, t, next);
		connection_queue(c);
	}
}

static void start_fleet(struct worker *w)
{
	uint64_t start = atomic_load_explicit(&w->job->start_us, memory_order_relaxed);
	for (uint32_t i = 0; i < w->count; i++)
		timers_set(&w->timers, &w->connections[i].timer, start + fleet_us(&w->connections[i]));
}

/* -- a turn -- */

static void look_at_clock(struct worker *w)
{
	w->now_us = worker_clock();
	if ((w->now_us + w->wall_offset_us) / 1000 != w->time_ms) {
		w->time_ms = (w->now_us + w->wall_offset_us) / 1000;
		w->time_len = worker_time(w, w->now_us, w->time);
	}
}

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
	const struct timer *timer = timers_first(&w->timers);
	if (timer && timer->at_us < until)
		until = timer->at_us;
	uint64_t ns = until > now ? (until - now) * 1000 : 0;
	if (ns < REST_LEAST_NS)
		ns = REST_LEAST_NS;
	return (struct timespec){.tv_nsec = (long)ns};
}

static struct connection *find_endpoint(struct worker *w, uint64_t number)
{
	uint64_t local = number / w->job->worker_count;
	return number % w->job->worker_count == w->number && local < w->count ? &w->connections[local] : NULL;
}

/* own: the endpoint that they are for; NULL: all share one socket. */
static void take_datagrams(struct worker *w, struct connection *own)
{
	unsigned count = datagram_receive(w, own ? own->fd : -1);
	for (unsigned i = 0; i < count; i++) {
		struct datagram d = datagram_get(w, i);
		struct connection *to = own ? own : find_endpoint(w, d.number);
		if (to)
			connection_take_datagram(to, d.bytes, d.len);
	}
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
		} else if (w->datagrams) {
			take_datagrams(w, events[i].data.ptr == w ? NULL : events[i].data.ptr);
		} else {
			connection_event(events[i].data.ptr, events[i].events);
		}
	}
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
			worker_stand_still(w);
		if (w->phase != JOB_STOP)
			take_events(w);
	}
	worker_end(w);
	return NULL;
}

/* -- opening and closing -- */

static uint64_t wall_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

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
	w->scratch = malloc(w->scratch_size);
	w->in = malloc(w->in_size);
	w->latency = hdr_new();
	w->service = hdr_new();
	w->connect = hdr_new();
	w->late = hdr_new();
	if (!timers_open(&w->timers, w->count) || !w->connections || !w->scratch || !w->in || !w->latency ||
	    !w->service || !w->connect || !w->late)
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

uint64_t worker_unacknowledged(const struct worker *w)
{
	uint64_t open = 0;
	for (uint32_t i = 0; i < w->count; i++) {
		struct connection *c = &w->connections[i];
		for (uint64_t m = c->base; m < c->next && c->slots; m++)
			open += connection_slot(c, m)->state < SLOT_COUNTED;
	}
	return open;
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
	timers_close(&w->timers);
	free(w->scratch);
	free(w->in);
	hdr_free(w->latency);
	hdr_free(w->service);
	hdr_free(w->connect);
	hdr_free(w->late);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
}
