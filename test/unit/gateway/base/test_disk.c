/* The operating system's files behind the table, and the making of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/disk.h"
#include "test/unit/sim_disk.c"
#include "test/unit/temporary.h"

static const char *in_root(const char *name)
{
	static char path[4][256];
	static unsigned turn;
	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", root, name);
	return path[turn];
}

static void what_is_written_is_read_back_and_short_at_the_end(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	char data[10000], back[20000];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	assert_int_equal(d->open(d, in_root("none"), DISK_WRITE), -ENOENT);
	int fd = d->open(d, in_root("a"), DISK_WRITE | DISK_CREATE);
	assert_true(fd >= 0);
	assert_int_equal(d->size(d, fd), 0);
	assert_int_equal(d->write(d, fd, data, sizeof(data), 100), 0);
	assert_int_equal(d->size(d, fd), 10100);
	assert_int_equal(d->read(d, fd, back, sizeof(back), 100), 10000);
	assert_memory_equal(back, data, sizeof(data));
	assert_int_equal(d->read(d, fd, back, 10, 20000), 0);
	assert_int_equal(d->sync(d, fd), 0);
	assert_int_equal(d->close(d, fd), 0);
	fd = d->open(d, in_root("a"), DISK_READ);
	assert_int_equal(d->write(d, fd, data, 1, 0), -EBADF);
	d->close(d, fd);
	struct stat st;
	assert_int_equal(stat(in_root("a"), &st), 0);
	assert_int_equal(st.st_mode & 0137, 0); /* nothing for others */
}

/* -- system calls that are interrupted, or not there -- */

static bool interrupted, cannot_allocate;
static unsigned calls;

ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t at);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t at, off_t len);
int __wrap_fallocate(int fd, int mode, off_t at, off_t len);

static bool is_interrupted(void)
{
	if (!interrupted || calls++ % 2 != 0)
		return false;
	errno = EINTR;
	return true;
}

/* One call is interrupted, the next writes a part. */
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t at)
{
	return is_interrupted() ? -1 : __real_pwrite(fd, data, interrupted ? (len + 2) / 3 : len, at);
}

int __wrap_fdatasync(int fd)
{
	return is_interrupted() ? -1 : __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t len)
{
	if (cannot_allocate) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return is_interrupted() ? -1 : __real_fallocate(fd, mode, at, len);
}

static void calls_that_are_interrupted_or_write_less_go_on(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	char data[10000], back[sizeof(data)];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 11);
	int fd = d->open(d, in_root("interrupted"), DISK_WRITE | DISK_CREATE);
	interrupted = true;
	for (unsigned first = 0; first < 2; first++) { /* each call is the one that is interrupted */
		calls = first;
		assert_int_equal(d->allocate(d, fd, 20000), 0);
		assert_int_equal(d->write(d, fd, data, sizeof(data), 100), 0);
		assert_int_equal(d->sync(d, fd), 0);
		assert_true(calls > 10);
	}
	interrupted = false;
	assert_int_equal(d->size(d, fd), 20000);
	assert_int_equal(d->read(d, fd, back, sizeof(back), 100), sizeof(back));
	assert_memory_equal(back, data, sizeof(data));
	d->close(d, fd);
}

/* The space is promised to messages, so it must be there. */
static void where_nothing_can_be_allocated_zeros_are_written(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	const uint64_t len = (2 << 20) + 4096;
	uint8_t back[4096];
	struct stat st;
	int fd = d->open(d, in_root("zeros"), DISK_WRITE | DISK_CREATE);
	cannot_allocate = true;
	assert_int_equal(d->allocate(d, fd, len), 0);
	cannot_allocate = false;
	assert_int_equal(d->size(d, fd), len);
	assert_int_equal(d->read(d, fd, back, sizeof(back), len - sizeof(back)), sizeof(back));
	for (size_t i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i], 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= len);
	d->close(d, fd);
}

static void appending_ignores_the_offset(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	char back[16] = "";
	int fd = d->open(d, in_root("log"), DISK_APPEND | DISK_WRITE | DISK_CREATE);
	assert_int_equal(d->write(d, fd, "abc", 3, 0), 0);
	assert_int_equal(d->write(d, fd, "def", 3, 0), 0);
	assert_int_equal(d->read(d, fd, back, sizeof(back), 0), 6);
	assert_memory_equal(back, "abcdef", 6);
	d->close(d, fd);
}

static void allocated_space_reads_as_zeros(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	char back[4096];
	struct stat st;
	int fd = d->open(d, in_root("pre"), DISK_WRITE | DISK_CREATE);
	assert_int_equal(d->allocate(d, fd, 3 << 20), 0);
	assert_int_equal(d->size(d, fd), 3 << 20);
	assert_int_equal(stat(in_root("pre"), &st), 0);
	assert_true(st.st_blocks * 512 >= 3 << 20); /* really there, not a hole */
	assert_int_equal(d->read(d, fd, back, sizeof(back), 1 << 20), 4096);
	for (size_t i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i], 0);
	d->close(d, fd);
}

static void count_names(void *context, const char *name)
{
	unsigned *found = context;
	*found += strcmp(name, "one") == 0 ? 1 : strcmp(name, "two") == 0 ? 10 : 100;
}

static void names_are_listed_renamed_and_removed(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	unsigned found = 0;
	assert_int_equal(d->make_dir(d, in_root("dir")), 0);
	assert_int_equal(d->make_dir(d, in_root("dir")), 1);
	assert_int_equal(d->make_dir(d, in_root("no/dir")), -ENOENT);
	d->close(d, d->open(d, in_root("dir/one"), DISK_WRITE | DISK_CREATE));
	d->close(d, d->open(d, in_root("dir/x"), DISK_WRITE | DISK_CREATE));
	assert_int_equal(d->rename(d, in_root("dir/x"), in_root("dir/two")), 0);
	assert_int_equal(d->sync_dir(d, in_root("dir")), 0);
	assert_int_equal(d->list(d, in_root("dir"), count_names, &found), 0);
	assert_int_equal(found, 11);
	assert_int_equal(d->remove(d, in_root("dir/one")), 0);
	assert_int_equal(d->remove(d, in_root("dir/one")), -ENOENT);
	found = 0;
	assert_int_equal(d->list(d, in_root("dir"), count_names, &found), 0);
	assert_int_equal(found, 10);
	assert_int_equal(d->list(d, in_root("none"), count_names, &found), -ENOENT);
	assert_int_equal(d->sync_dir(d, in_root("none")), -ENOENT);
}

static void an_open_file_is_here_moved_or_gone(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	const char *names[] = {"away", ".nfs0000000000000001"}; /* the second is what NFS makes of a deleted one */
	for (int i = 0; i < 2; i++) {
		char path[512];
		snprintf(path, sizeof(path), "%s", in_root("place"));
		int fd = d->open(d, path, DISK_WRITE | DISK_CREATE);
		assert_int_equal(d->place(d, fd, path), DISK_HERE);
		assert_int_equal(d->rename(d, path, in_root(names[i])), 0);
		assert_int_equal(d->place(d, fd, path), i == 0 ? DISK_MOVED : DISK_GONE);
		int other = d->open(d, path, DISK_WRITE | DISK_CREATE); /* as large as the one that went */
		assert_int_equal(d->place(d, fd, path), i == 0 ? DISK_MOVED : DISK_GONE);
		assert_int_equal(d->place(d, other, path), DISK_HERE);
		assert_int_equal(d->place(d, other, in_root("place/below")), DISK_MOVED);
		assert_int_equal(d->remove(d, path), 0);
		assert_int_equal(d->place(d, other, path), DISK_GONE);
		d->close(d, other);
		d->close(d, fd);
	}
	assert_int_equal(d->place(d, -1, in_root("place")), -EBADF);
}

static int64_t us(int64_t s, int64_t ns)
{
	return s * 1000000 + ns / 1000;
}

static int64_t wall_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return us(t.tv_sec, t.tv_nsec);
}

/* Since Linux 6.13 a file's time is that of the last tick, unless somebody has read it since. */
static void asking_where_a_file_is_leaves_its_times_unread(void **unused)
{
	(void)unused;
	const struct disk *d = &disk_real;
	int unread = 0, fd = d->open(d, in_root("times"), DISK_WRITE | DISK_CREATE);
	for (int i = 0; i < 200; i++) {
		struct stat st;
		assert_int_equal(d->write(d, fd, "a", 1, 0), 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(d->write(d, fd, "b", 1, 0), 0); /* has a time of its own */
		int64_t after = wall_us();
		while (wall_us() <= after + 10)
			;
		assert_int_equal(d->place(d, fd, i % 2 ? in_root("times") : NULL), DISK_HERE);
		assert_int_equal(d->write(d, fd, "c", 1, 0), 0);
		assert_int_equal(fstat(fd, &st), 0);
		unread += us(st.st_mtim.tv_sec, st.st_mtim.tv_nsec) <= after;
	}
	assert_true(unread > 100); /* the others met a tick */
	d->close(d, fd);
}

static void free_space_is_told(void **unused)
{
	(void)unused;
	uint64_t free_bytes = 0, total = 0;
	assert_int_equal(disk_real.space(&disk_real, root, &free_bytes, &total), 0);
	assert_true(total > 0 && free_bytes <= total);
	assert_int_equal(disk_real.space(&disk_real, in_root("none"), &free_bytes, &total), -ENOENT);
}

static void file_systems_that_keep_no_promise_have_a_name(void **unused)
{
	(void)unused;
	bool is_volatile = false;
	const char *kind = disk_kind("/dev/shm", &is_volatile);
	if (kind) /* some containers have none */
		assert_string_equal(kind, "tmpfs");
	assert_int_equal(is_volatile, kind != NULL);
	assert_null(disk_kind("/no/such/place", &is_volatile));
	assert_false(is_volatile);
}

static void a_path_is_made_from_the_top(void **unused)
{
	(void)unused;
	struct stat st;
	assert_int_equal(disk_make_path(&disk_real, in_root("p/q/r")), 0);
	assert_int_equal(stat(in_root("p/q/r"), &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(disk_make_path(&disk_real, in_root("p/q/r/")), 0);
	assert_int_equal(disk_make_path(&disk_real, "/"), 0);
	assert_int_equal(disk_make_path(&disk_real, ""), -ENAMETOOLONG);
	assert_int_equal(disk_make_path(&disk_real, "/proc/no/such"), -ENOENT);
	char here[256];
	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir(root), 0);
	assert_int_equal(disk_make_path(&disk_real, "relative/path"), 0);
	assert_int_equal(stat("relative/path", &st), 0);
	assert_int_equal(chdir(here), 0);
}

/* Every directory of it is there after a power cut, whichever call failed before the one that worked. */
static void a_path_that_was_made_survives_a_power_cut(void **unused)
{
	(void)unused;
	for (uint64_t n = 0; n < 12; n++)
		for (uint64_t seed = 0; seed < 20; seed++) {
			struct sim *sim = sim_new("/data", 0);
			const struct disk *d = sim_disk(sim);
			if (n > 0)
				sim_fail(sim, n, 1, EIO);
			if (disk_make_path(d, "/data/a/b/c"))
				assert_int_equal(disk_make_path(d, "/data/a/b/c"), 0);
			struct sim *crashed = sim_crash(sim, seed);
			assert_true(sim_disk(crashed)->open(sim_disk(crashed), "/data/a/b/c/file",
			                                    DISK_WRITE | DISK_CREATE) >= 0);
			sim_free(crashed);
			sim_free(sim);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_is_written_is_read_back_and_short_at_the_end),
	    TEST(calls_that_are_interrupted_or_write_less_go_on),
	    TEST(where_nothing_can_be_allocated_zeros_are_written),
	    TEST(appending_ignores_the_offset),
	    TEST(allocated_space_reads_as_zeros),
	    TEST(names_are_listed_renamed_and_removed),
	    TEST(an_open_file_is_here_moved_or_gone),
	    TEST(asking_where_a_file_is_leaves_its_times_unread),
	    TEST(free_space_is_told),
	    TEST(file_systems_that_keep_no_promise_have_a_name),
	    TEST(a_path_is_made_from_the_top),
	    TEST(a_path_that_was_made_survives_a_power_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
