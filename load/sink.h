/* A server that only counts, of each protocol: what the load tester is measured against, so that it is known to be faster than
 * what it measures. It takes the least that the protocol allows: MQTT is cut into packets, lines are counted, HTTP requests
 * measured by their Content-Length; nothing is looked into or kept. */
#ifndef SLUICE_LOAD_SINK_H
#define SLUICE_LOAD_SINK_H

#include <sys/types.h>

#include "gateway/base/error.h"

enum sink_kind { SINK_MQTT, SINK_TCP, SINK_HTTP, SINK_COAP };

/* sink_start forks a process that listens on a free port of 127.0.0.1 (port) until sink_stop. GW_OK | GW_IO with why. */
enum gw_err sink_start(enum sink_kind kind, pid_t *pid, unsigned *port, struct why *why);
void sink_stop(pid_t pid);

#endif
