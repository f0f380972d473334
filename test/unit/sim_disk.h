/* A disk in memory that can lose power. It stands behind the table of gateway/base/disk.h, so that what the journal, cursors
 * and dead letters do to files can be cut off at any call and looked at as it would be found afterwards.
 *
 * What a program sees (the page cache) and what would survive are kept apart. A write waits until its file is synced; a
 * name that was made, renamed or removed waits until its directory is synced. sim_crash makes the disk as a power cut
 * may leave it: each waiting write is there, missing or torn at 512 bytes, in any order; each waiting name is changed
 * or not. A file of which a directory above is missing is gone.
 *
 * Faults: the n-th call fails with a chosen errno (a failing write leaves any part of itself behind; after a failing
 * sync the waiting writes count as clean, though some of them are lost: a second sync does not bring them back).
 * Mutants switch off what a program must do, so that a test can show that it would notice.
 *
 * Included textually by tests: #include "test/unit/sim_disk.c". Any thread; everything is under one lock. */
#ifndef SLUICE_TEST_UNIT_SIM_DISK_H
#define SLUICE_TEST_UNIT_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/disk.h"

enum sim_mutant {
	SIM_HONEST,
	SIM_NO_SYNC,     /* fdatasync says yes and does nothing */
	SIM_NO_SYNC_DIR, /* fsync of a directory says yes and does nothing */
	SIM_CURSOR_AHEAD, /* a cursor's file says one more than was written to it: what a sink that counts before it has would say */
	SIM_LATE_SYNC, /* fdatasync says yes at once, what it should have done happens with the next sync */
};

struct sim;

/* sim_new makes an empty disk on which the directory root (absolute) is there already. capacity: bytes that files may
 * have; 0: no limit. */
struct sim *sim_new(const char *root, uint64_t capacity);
void sim_free(struct sim *s);
/* sim_disk is the table to hand to the code under test. */
const struct disk *sim_disk(struct sim *s);
void sim_mutate(struct sim *s, enum sim_mutant mutant);
void sim_limit(struct sim *s, uint64_t capacity);
/* sim_refuse_direct makes opening with DISK_DIRECT fail as on a file system that cannot. */
void sim_refuse_direct(struct sim *s);
/* sim_fail makes call number `at` (counted from now, 1 is the next) and the `times` - 1 after it fail with err. */
void sim_fail(struct sim *s, uint64_t at, uint64_t times, int err);
uint64_t sim_calls(struct sim *s); /* since sim_new */
/* sim_watch has hook called before every call, with its number, on the calling thread and without the lock. NULL: none.
 */
void sim_watch(struct sim *s, void (*hook)(void *context, uint64_t call), void *context);

/* sim_crash makes the disk that is found when the power is cut now; free it. The same seed gives the same disk. s is
 * unchanged. */
struct sim *sim_crash(struct sim *s, uint64_t seed);
/* sim_copy makes the disk as the program sees it, everything synced: an orderly end. */
struct sim *sim_copy(struct sim *s);

/* sim_bytes shows the content of a file (NULL: there is none); to be changed by tests that damage it. */
uint8_t *sim_bytes(struct sim *s, const char *path, size_t *len);
void sim_truncate(struct sim *s, const char *path, size_t len);
/* sim_names calls each for every file below the root, in the order of their making; path is valid for the call. */
void sim_names(struct sim *s, void (*each)(void *context, const char *path), void *context);
unsigned sim_open_files(struct sim *s);

/* A small random generator for tests: the same seed, the same numbers. */
static inline uint64_t sim_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

#endif
