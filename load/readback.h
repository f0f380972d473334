/* A kind of place from which arrived messages are read back. A new one is one file and one line in readback_list
 * (verify.c). */
#ifndef SLUICE_LOAD_READBACK_H
#define SLUICE_LOAD_READBACK_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/error.h"

/* Called for each record; text is borrowed for the call. */
typedef void readback_take(void *context, const char *text, size_t len);

struct readback {
	const char *form; /* as it stands in the help: "kafka://HOST:PORT[,HOST:PORT]/TOPIC" */
	bool ordered;     /* what is read comes in the order of its arrival, per device */
	bool (*mine)(const char *source);
	/* read calls take for everything that is there now. GW_OK | GW_CONFIG (no such place, a malformed source) | GW_IO |
	 * GW_NOMEM, with why. */
	enum gw_err (*read)(const char *source, readback_take *take, void *context, struct why *why);
};

extern const struct readback readback_file, readback_kafka, readback_search;

#endif
