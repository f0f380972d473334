/* The ledger: which messages were sent, how often, and which were acknowledged, so that `sluice-load verify` can say
 * what became of them.
 *
 * A message is known by (run, device, sequence number); every payload carries the three:
 *	{"load":{"run":"RUN","device":"DEVICE","seq":N},...}
 * verify finds "load" in the payload of a record, wherever it was read back. Sequence numbers of a device are 0, 1, 2 ...
 * in the order of first sending. A device belongs to one connection at a time; its messages are sent first in order.
 *
 * In memory: ranges per device, since nearly everything is consecutive. On disk (--ledger FILE): NDJSON, rewritten as a
 * whole (FILE.new, then renamed) every few seconds and at the end, so that a killed tool leaves its last state:
 *	{"sluice_load_ledger":1,"run":"RUN","started":"...","target":"mqtt://...","complete":true}
 *	{"device":"DEVICE","protocol":"mqtt","qos":1,"sent":N,"acked":[[0,999],[1001,1005]],"resent":[[17,17]]}
 * sent: numbers 0 to N-1 were sent at least once; acked: ranges with both ends in them; resent: sent more than once, so
 * that a second copy is no surprise. qos -1: the protocol has none; unconfirmed messages are never in acked. */
#ifndef SLUICE_LOAD_LEDGER_H
#define SLUICE_LOAD_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "gateway/base/siphash.h"

struct ledger_range {
	uint64_t first, last; /* both in it */
};
struct ledger_ranges {
	struct ledger_range *items; /* owned; ascending, not touching */
	size_t count, room;
};
struct ledger_device {
	char *name; /* owned */
	char protocol[16];
	int qos;
	uint64_t sent;
	struct ledger_ranges acked, resent;
};
struct ledger {
	char run[32];
	char *target; /* owned */
	int64_t started_us;
	bool complete;                 /* the run ended by itself or by ^C, not by a kill of the tool */
	struct ledger_device *devices; /* owned */
	size_t device_count, device_room;
	size_t *table; /* owned; index + 1 by keyed hash of the name, open addressing; 0: empty */
	size_t table_room;
	struct siphash_key key;
};

/* ledger_ranges_add takes a number in; constant time for the next number and near the end. GW_OK | GW_NOMEM. */
enum gw_err ledger_ranges_add(struct ledger_ranges *r, uint64_t number);
bool ledger_ranges_has(const struct ledger_ranges *r, uint64_t number);
uint64_t ledger_ranges_total(const struct ledger_ranges *r);
void ledger_ranges_free(struct ledger_ranges *r);

struct ledger *ledger_new(const char *run, const char *target); /* NULL: out of memory */
void ledger_free(struct ledger *l);                             /* l may be NULL */
/* ledger_device adds a device, or finds it; NULL: out of memory. The pointer moves with the next one added: keep the
 * index (device - ledger->devices). Found by a keyed hash, so that a million devices are no trouble. */
struct ledger_device *ledger_device(struct ledger *l, const char *name, const char *protocol, int qos);
/* ledger_find finds a device by the len bytes of its name; NULL: it is not there. */
struct ledger_device *ledger_find(const struct ledger *l, const char *name, size_t len);
/* ledger_write writes path.new, syncs it and renames it to path. ledger_read reads one; ledger_merge adds another's
 * devices (another machine, another protocol). GW_OK | GW_IO | GW_INVALID | GW_NOMEM, with why. */
enum gw_err ledger_write(const struct ledger *l, const char *path, struct why *why);
enum gw_err ledger_read(struct ledger **out, const char *path, struct why *why);
enum gw_err ledger_merge(struct ledger *into, const struct ledger *from, struct why *why);
/* ledger_shared names a device that is in both, or NULL: of two machines that gave a device the same name nobody can say whose
 * messages arrived. */
const char *ledger_shared(const struct ledger *a, const struct ledger *b);

#endif
