/* Entries (gateway/journal/record.h) for tests of what reads them: sinks and templates. */
#ifndef SLUICE_TEST_UNIT_ENTRY_FIXTURE_H
#define SLUICE_TEST_UNIT_ENTRY_FIXTURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/journal/record.h"

/* entry_make makes a record of the shape that normalise writes; free it. device and payload are JSON: "\"d1\"" without
 * its quotes, "{...}". The id ends with the number. */
static inline uint8_t *entry_make(int64_t time_us, const char *device, const char *payload, unsigned number)
{
	char time[CLOCK_FORMAT_LEN];
	size_t room = strlen(device) + strlen(payload) + 512;
	uint8_t *entry = aligned_alloc(8, (RECORD_HEADER + room + 7) & ~(size_t)7);
	if (!entry)
		abort();
	char *json = (char *)entry + RECORD_HEADER;
	clock_format(time, time_us);
	int id_at = snprintf(json, room, "{\"@timestamp\":\"%.*s\",\"event\":{\"id\":\"", CLOCK_FORMAT_LEN, time);
	int device_at =
	    id_at + snprintf(json + id_at, room - (size_t)id_at, "01KC%022u\"},\"device\":{\"id\":\"", number);
	int len = device_at + snprintf(json + device_at, room - (size_t)device_at,
	                               "%s\"},\"network\":{\"protocol\":\"tcp\"},\"sluice\":{\"v\":1,\"listener\":"
	                               "\"line\",\"channel\":\"a/b\"},\"payload\":%s}",
	                               device, payload);
	struct record r = {
	    .kind = RECORD_TELEMETRY,
	    .flags = strchr(device, '\\') ? RECORD_DEVICE_ESCAPED : 0,
	    .id_at = (uint16_t)id_at,
	    .device_at = (uint16_t)device_at,
	    .device_len = (uint16_t)strlen(device),
	    .time_us = time_us,
	    .received_us = time_us + 1500000,
	    .json_len = (uint32_t)len,
	};
	record_write(&r, entry);
	return entry;
}

#endif
