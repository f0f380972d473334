/* Counts memory allocations and mutex locks of a program, by whom they are made: LD_PRELOAD=malloc_count.so, and
 * MALLOC_COUNT_FILE names the file that shows the counters while the program runs:
 *
 *	struct counters, eight bytes each, as this machine lays them out
 *
 * "own" are calls from the program's executable itself, "library" from everything else (the C library among them, so
 * strdup or asprintf of the program count there). Counting is by relaxed atomic additions: it slows the program down,
 * so time is measured without it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct counters {
	_Atomic uint64_t own_allocations, library_allocations, own_frees, library_frees, own_locks, library_locks;
};

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *at);

static struct counters nowhere, *counters = &nowhere;
static uintptr_t own_start, own_end;
static int (*real_lock)(pthread_mutex_t *mutex);

static bool is_own(const void *caller)
{
	return (uintptr_t)caller >= own_start && (uintptr_t)caller < own_end;
}

static void count_allocation(const void *caller)
{
	atomic_fetch_add_explicit(is_own(caller) ? &counters->own_allocations : &counters->library_allocations, 1,
	                          memory_order_relaxed);
}

/* The first object is the executable. */
static int look_at_object(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size;
	(void)context;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type == PT_LOAD && (p->p_flags & PF_X)) {
			own_start = info->dlpi_addr + p->p_vaddr;
			own_end = own_start + p->p_memsz;
		}
	}
	return 1;
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("MALLOC_COUNT_FILE");
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	dl_iterate_phdr(look_at_object, NULL);
	if (fd < 0 || ftruncate(fd, sizeof(struct counters)) != 0)
		return;
	void *at = mmap(NULL, sizeof(struct counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at != MAP_FAILED)
		counters = at;
	close(fd);
}

void *malloc(size_t size)
{
	count_allocation(__builtin_return_address(0));
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	count_allocation(__builtin_return_address(0));
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	count_allocation(__builtin_return_address(0));
	return __libc_realloc(old, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	count_allocation(__builtin_return_address(0));
	return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	count_allocation(__builtin_return_address(0));
	void *at = __libc_memalign(align, size);
	if (!at)
		return ENOMEM;
	*out = at;
	return 0;
}

void free(void *at)
{
	if (at)
		atomic_fetch_add_explicit(is_own(__builtin_return_address(0)) ? &counters->own_frees
		                                                              : &counters->library_frees,
		                          1, memory_order_relaxed);
	__libc_free(at);
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	if (!real_lock) {
		void *found = dlsym(RTLD_NEXT, "pthread_mutex_lock");
		memcpy(&real_lock, &found, sizeof(found));
	}
	atomic_fetch_add_explicit(is_own(__builtin_return_address(0)) ? &counters->own_locks : &counters->library_locks,
	                          1, memory_order_relaxed);
	return real_lock(mutex);
}
