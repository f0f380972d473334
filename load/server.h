/* What the server under load uses, from /proc: processor time of all its threads and resident memory. */
#ifndef SLUICE_LOAD_SERVER_H
#define SLUICE_LOAD_SERVER_H

#include <stdint.h>

#include "gateway/base/error.h"

struct server_use {
	double cpu_us;  /* user and system, since its start; with those of its children that ended */
	uint64_t bytes; /* resident */
};

/* server_read reads /proc/PID/stat (proc(5)). GW_OK | GW_IO (no such process) with why. Any thread. */
enum gw_err server_read(int pid, struct server_use *out, struct why *why);

#endif
