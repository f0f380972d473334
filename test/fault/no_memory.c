/* Injects failed allocations: LD_PRELOAD=no_memory.so, and NO_MEMORY names a file with two numbers of 8 bytes, little-endian. `every`:
 * one of that many allocations of the process and its libraries fails at random (0: none), read at each allocation. `failed`: how many
 * failed, written by this library. A realloc that makes a block smaller never fails. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *(*next_malloc)(size_t size);
static void *(*next_calloc)(size_t count, size_t size);
static void *(*next_realloc)(void *old, size_t size);
static void *(*next_aligned_alloc)(size_t align, size_t size);

struct control {
	_Atomic uint64_t every, failed;
};

static struct control *control;
static _Atomic uint64_t calls;

static void find_symbol(void *at, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	memcpy(at, &found, sizeof(found));
}

/* The program's allocator, whichever it is; also before any constructor has run. */
static void find_allocator(void)
{
	if (next_malloc)
		return;
	find_symbol(&next_aligned_alloc, "aligned_alloc");
	find_symbol(&next_realloc, "realloc");
	find_symbol(&next_calloc, "calloc");
	find_symbol(&next_malloc, "malloc");
}

__attribute__((constructor)) static void start(void)
{
	find_allocator();
	const char *path = getenv("NO_MEMORY");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	control = page == MAP_FAILED ? NULL : page;
	if (fd >= 0)
		close(fd);
}

/* splitmix64: so that it is not always the same one of a sequence of allocations that fails. */
static uint64_t mixed(uint64_t n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
	n = (n ^ n >> 27) * 0x94d049bb133111eb;
	return n ^ n >> 31;
}

static bool injected(void)
{
	find_allocator();
	uint64_t every = control ? atomic_load_explicit(&control->every, memory_order_relaxed) : 0;
	if (every == 0 || mixed(atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed)) % every != 0)
		return false;
	atomic_fetch_add_explicit(&control->failed, 1, memory_order_relaxed);
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return injected() ? NULL : next_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return injected() ? NULL : next_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	bool grows = size > 0 && (!old || size > malloc_usable_size(old));
	find_allocator();
	return grows && injected() ? NULL : next_realloc(old, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	return injected() ? NULL : next_aligned_alloc(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	void *at = injected() ? NULL : next_aligned_alloc(align, size);
	if (!at)
		return ENOMEM;
	*out = at;
	return 0;
}
