/* Dead letters: records that a sink refuses for good, kept in a file with the reason, one JSON object a line:
 *	{"@timestamp":"T","sink":"S","sequence":N,"reason":"R","record":{...}}
 * They are synced before the cursor passes the record. Pump thread. */
#ifndef SLUICE_GATEWAY_PUMP_DEAD_LETTER_FILE_H
#define SLUICE_GATEWAY_PUMP_DEAD_LETTER_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/disk.h"
#include "gateway/base/error.h"

/* The name of the pump and the file of invalid messages that a listener took as dead letters (on_invalid: dead_letter); no sink
 * may have it. */
#define DEAD_LETTER_INTAKE "intake"

struct dead_letter_file {
	const struct disk *disk;
	char *path; /* owned */
	const char *sink;
	uint64_t max_bytes, size; /* 0: no limit; of the file as long as it is open */
	int fd;                   /* -1: not open yet; it is made with the first dead letter */
	bool is_dirty;            /* something was written since the last sync */
	bool full;                /* looked at anew with the next letter: somebody may have made room */
	bool spoilt;              /* a write or sync failed: what stands at the end is not known */
	int error;                /* errno of the last GW_IO */
	const char *failed;       /* what could not be done then: "opened", "written", "synced"; a constant */
};

/* max_bytes: so large may the file get; 0: as large as the disk allows. */
enum gw_err dead_letter_file_init(struct dead_letter_file *d, const struct disk *disk, const char *path,
                                  const char *sink, uint64_t max_bytes);
void dead_letter_file_fini(struct dead_letter_file *d);
/* dead_letter_file_add writes one line; it is safe after dead_letter_file_sync. GW_OK | GW_FULL (nothing of it is
 * written) | GW_IO | GW_NOMEM (try again later). */
enum gw_err dead_letter_file_add(struct dead_letter_file *d, uint64_t sequence, const char *reason,
                                 const uint8_t *entry);
enum gw_err dead_letter_file_sync(struct dead_letter_file *d);

#endif
