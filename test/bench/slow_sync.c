/* Makes a disk's syncs slower, as a volume at the other end of a network is: LD_PRELOAD=slow_sync.so, and SLOW_SYNC_US
 * says how much is added to every fdatasync and fsync (0: nothing). For benchmarks only. */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec added;

__attribute__((constructor)) static void start(void)
{
	const char *text = getenv("SLOW_SYNC_US");
	long us = text ? strtol(text, NULL, 10) : 0;
	added = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
}

/* errno is the call's own, whatever the wait does to it. */
static int slowly(long number, int fd)
{
	int result = (int)syscall(number, fd), error = errno;
	struct timespec rest = added;
	while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
		;
	errno = error;
	return result;
}

int fdatasync(int fd)
{
	return slowly(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return slowly(SYS_fsync, fd);
}
