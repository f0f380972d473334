/* The inside of a configuration that was read, shared by config.c and config_error.c alone. */
#ifndef SLUICE_CONFIG_CONFIG_PARTS_H
#define SLUICE_CONFIG_CONFIG_PARTS_H

#include "config/config.h"

/* Where a key stands in the file, for errors found after reading. */
struct config_place {
	char *key; /* owned: "listeners.mqtt.max_packet" */
	int line, column;
	bool bad; /* an error was reported inside it */
};

struct config_private {
	struct config config;        /* first: what callers see */
	struct config_place *places; /* owned, in file order */
	size_t place_count, place_capacity;
};

#endif
