/* What a protocol is to the core. A protocol is one file that defines one struct protocol; adding one is that file and
 * a line in protocol_list (protocols/list.c).
 *
 * The core makes size bytes of state per listener thread: the members named by `settings` filled from the
 * configuration, all others zero. With `threads: N` there are N states with the same settings, each opened and run on
 * its own thread with its own intake; they share the port by SO_REUSEPORT. */
#ifndef SLUICE_GATEWAY_PROTOCOL_H
#define SLUICE_GATEWAY_PROTOCOL_H

#include "gateway/base/error.h"
#include "gateway/base/settings.h"
#include "gateway/listener_settings.h"

struct intake;

struct protocol {
	const char *name; /* "tcp": selector in the configuration, network.protocol in the record, metric label */
	const char *help; /* one line */
	size_t size;      /* bytes of state */
	const struct setting *settings;
	unsigned max_threads; /* 1: only one thread may listen */
	bool datagrams;       /* `listen` is a UDP address, not a TCP one */
	/* check looks at settings that a table cannot judge (templates, pointers, sizes against each other). May be
	 * NULL. Main thread; must not keep anything: open does its own parsing. GW_OK | GW_CONFIG with why ("device:
	 * /a/ is not ..."). */
	enum gw_err (*check)(const void *self, const struct listener_settings *common, struct why *why);
	/* state_bytes is what is to be remembered across a crash when the settings are made use of (state_store.h): it must
	 * fit into journal.max_state. setting: the name of the one that says how much. NULL: nothing. Any thread. */
	uint64_t (*state_bytes)(const void *self, const char *listener, const char **setting);
	/* open binds sockets and takes memory; from then on `in` is the thread's intake. Main thread. After an error
	 * close is called, too. GW_OK | GW_CONFIG | GW_IO (address in use: name address and setting) | GW_NOMEM. */
	enum gw_err (*open)(void *self, struct intake *in, struct why *why);
	/* run serves until intake_phase says otherwise. Its own thread. */
	void (*run)(void *self);
	/* close gives everything back; safe after a half-done open. Main thread, after run returned. */
	void (*close)(void *self);
	/* hint writes the command that sends a first message, one line without newline, to out (printed by `sluice run
	 * --hints`); address as reported by intake_listening. May be NULL. */
	void (*hint)(const void *self, const char *address, char *out, size_t size);
};

extern const struct protocol *const protocol_list[]; /* ends with NULL */

#endif
