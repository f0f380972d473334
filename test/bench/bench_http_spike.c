/* What HTTP costs with libmicrohttpd and nothing else: the baseline that protocols/http/http.c is measured against.
 *
 *	bench_http_spike PORT SECONDS [COMMIT_US]
 *
 * Serves on 127.0.0.1:PORT, answers every request 204, and at the end prints requests and CPU time per request, all
 * threads included. With COMMIT_US (0 too) every answer waits for a thread that pretends to commit that long: requests
 * are suspended and resumed in the loop's own thread, as the listener does it. Without it ("bare") the answer is queued
 * at once. Nothing is parsed, kept or written. Load it with
 *
 *	sluice-load http://127.0.0.1:PORT -c 64 -t 5s */
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct request {
	struct MHD_Connection *connection;
	struct request *next;
	bool committed;
	size_t len;
	char body[4096];
};

static struct MHD_Response *no_content;
static struct request *fresh, *committing; /* the loop's: arrived since the last commit began; waiting for it */
static _Atomic bool busy; /* the loop sets it and writes `work`; the committer clears it and writes `done` */
static int work, done;
static bool bare;
static useconds_t commit_us;
static unsigned long requests, commits;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_len, void **state)
{
	struct request *r = *state;
	(void)cls;
	(void)url;
	(void)method;
	(void)version;
	if (!r) {
		r = *state = malloc(sizeof(*r));
		if (!r)
			return MHD_NO;
		r->connection = connection;
		r->committed = false;
		r->len = 0;
		return MHD_YES;
	}
	if (*upload_len > 0) {
		if (*upload_len > sizeof(r->body) - r->len)
			return MHD_NO;
		memcpy(r->body + r->len, upload, *upload_len);
		r->len += *upload_len;
		*upload_len = 0;
		return MHD_YES;
	}
	if (!bare && !r->committed) {
		MHD_suspend_connection(connection);
		r->next = fresh;
		fresh = r;
		return MHD_YES;
	}
	requests++;
	return MHD_queue_response(connection, MHD_HTTP_NO_CONTENT, no_content);
}

static void completed(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode how)
{
	(void)cls;
	(void)connection;
	(void)how;
	free(*state);
	*state = NULL;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;
	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void drain_fd(int fd)
{
	uint64_t n;
	ssize_t got = read(fd, &n, sizeof(n));
	(void)got;
}

static void *commit(void *arg)
{
	for (;;) {
		drain_fd(work);
		if (commit_us > 0)
			usleep(commit_us);
		atomic_store(&busy, false);
		signal_fd(done);
	}
	return arg;
}

static void resume(void)
{
	while (committing) {
		struct request *r = committing;
		committing = r->next;
		r->committed = true;
		MHD_resume_connection(r->connection);
	}
}

static void turn(struct MHD_Daemon *daemon, int epoll_fd)
{
	MHD_UNSIGNED_LONG_LONG wanted;
	int ms = 100;
	if (MHD_get_timeout(daemon, &wanted) == MHD_YES && wanted < 100)
		ms = (int)wanted;
	struct pollfd fds[2] = {{.fd = epoll_fd, .events = POLLIN}, {.fd = done, .events = POLLIN}};
	poll(fds, 2, ms);
	if (fds[1].revents)
		drain_fd(done);
	if (committing && !atomic_load(&busy))
		resume();
	MHD_run(daemon);
	if (committing || !fresh)
		return;
	committing = fresh;
	fresh = NULL;
	commits++;
	atomic_store(&busy, true);
	signal_fd(work);
}

static void report(double seconds)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	double cpu =
	    (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
	printf("%s: %lu requests, %.0f/s, %lu commits, %.2f us CPU each (libmicrohttpd %s)\n",
	       bare ? "bare" : "suspended", requests, (double)requests / seconds, commits,
	       requests > 0 ? cpu / (double)requests * 1e6 : 0.0, MHD_get_version());
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: %s PORT SECONDS [COMMIT_US]\n", argv[0]);
		return 2;
	}
	double seconds = atof(argv[2]);
	bare = argc < 4;
	commit_us = bare ? 0 : (useconds_t)atoi(argv[3]);
	work = eventfd(0, EFD_CLOEXEC);
	done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	no_content = MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
	struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, (uint16_t)atoi(argv[1]),
	                                             NULL, NULL, handle, NULL, MHD_OPTION_NOTIFY_COMPLETED, completed,
	                                             NULL, MHD_OPTION_CONNECTION_LIMIT, 2000u, MHD_OPTION_END);
	pthread_t thread;
	if (work < 0 || done < 0 || !no_content || !daemon || pthread_create(&thread, NULL, commit, NULL) != 0) {
		fprintf(stderr, "cannot start on port %s\n", argv[1]);
		return 1;
	}
	int epoll_fd = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	for (double end = now() + seconds; now() < end;)
		turn(daemon, epoll_fd);
	report(seconds);
	fflush(stdout);
	_exit(0); /* connections may be suspended: the library must not be stopped then */
}
