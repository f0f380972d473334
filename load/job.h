/* A job is a plan being carried out: what its workers share. Made before they start, and constant while they run but for
 * the members that say otherwise. */
#ifndef SLUICE_LOAD_JOB_H
#define SLUICE_LOAD_JOB_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "load/ledger.h"
#include "load/payload.h"
#include "load/plan.h"
#include "load/protocol.h"

/* What the workers are to do; only ever goes forward. */
enum job_phase {
	JOB_CONNECT, /* open connections, send nothing yet */
	JOB_SEND,
	JOB_DRAIN, /* send nothing new, wait for what is open */
	JOB_STOP,
};

#define JOB_CREDENTIALS_MAX 1024 /* HTTP: user, colon and password of one device */

struct load_job {
	const struct load_plan *plan;
	const struct load_protocol *protocol;
	const char *run;
	struct payload *payload;                                        /* owned */
	struct payload *name, *topic, *path, *user, *password, *client; /* owned; NULL: none */
	char head[400]; /* HTTP: from behind the path to before Authorization */
	size_t head_len;
	bool json; /* what is sent is JSON */
	struct sockaddr_storage to;
	socklen_t to_len;
	struct sockaddr_storage bind[LOAD_BIND_MAX];
	SSL_CTX *tls;                                 /* owned; NULL: none */
	struct payload *cert, *key;                   /* owned; templates of files, when they differ by device */
	bool one_socket;                              /* CoAP: endpoints are addresses of 127/8 behind one socket */
	uint64_t connections, devices, batch, window; /* as in the plan, none of them 0 */
	size_t payload_max, name_max, room; /* room: bytes of one message, or of one batch, with all around it */
	bool confirms;
	unsigned worker_count;
	struct ledger *ledger; /* borrowed; NULL: none. Each device's entry belongs to its connection's worker */
	size_t ledger_base;    /* index of device 0 in it */
	int done_fd;           /* an eventfd, written when a worker has something to tell */

	_Atomic int phase;         /* enum job_phase; written by run_plan; release, pairs with the workers' acquire */
	_Atomic uint64_t start_us; /* monotonic; when the shape's clock started; set before JOB_SEND */
	/* when nothing new is sent any more, whatever else run_plan does; 0: open; as start_us */
	_Atomic uint64_t end_us;
	_Atomic uint64_t last_answer_us; /* relaxed: when anything came from the server */
};

/* job_open prepares everything: address, texts, TLS, devices in the ledger. number: which of several of the same protocol
 * (0: the only or first one), for the devices' names. GW_OK | GW_CONFIG | GW_NOMEM, with why; job_close after either. */
enum gw_err job_open(struct load_job *j, const struct load_plan *plan, const char *run, unsigned number,
                     struct ledger *ledger, struct why *why);
void job_close(struct load_job *j);

/* The device and the sequence number of message `number` of connection `connection`, and how many devices that has. */
static inline uint64_t job_devices_of(const struct load_job *j, uint64_t connection)
{
	return j->devices / j->connections + (connection < j->devices % j->connections);
}

#endif
