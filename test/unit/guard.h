/* Puts input at the very end of readable memory: the byte after it lies in a page that cannot be read, so that a parser
 * which looks one byte too far dies on the spot, in every build. */
#ifndef SLUICE_TEST_UNIT_GUARD_H
#define SLUICE_TEST_UNIT_GUARD_H

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD_ROOM ((size_t)1 << 20)

/* guard_copy returns a copy of len <= GUARD_ROOM bytes, valid until the next call. One thread. */
static inline char *guard_copy(const void *data, size_t len)
{
	static char *end;
	if (!end) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		char *map = mmap(NULL, GUARD_ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert(map != MAP_FAILED);
		end = map + GUARD_ROOM;
		int failed = mprotect(end, page, PROT_NONE);
		assert(failed == 0);
		(void)failed;
	}
	assert(len <= GUARD_ROOM);
	if (len > 0)
		memcpy(end - len, data, len);
	return end - len;
}

#endif
