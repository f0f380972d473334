/* The file sink on what is no file: FIFOs, pipes, sockets, /dev/null. */
#include "test/unit/sinks/file/file_fixture.h"

/* Reads so many lines from a pipe and counts them; each must be a record's. */
static void lines_from(int fd, unsigned *times, uint64_t count)
{
	char line[1024], expected[1024];
	FILE *in = fdopen(dup(fd), "r");
	assert_non_null(in);
	while (count-- > 0) {
		assert_non_null(fgets(line, sizeof(line), in));
		const char *at = strstr(line, "\"n\":");
		assert_non_null(at);
		unsigned long long number = strtoull(at + 4, NULL, 10);
		size_t len = line_make(expected, number);
		assert_int_equal(memcmp(line, expected, len), 0);
		times[number]++;
	}
	fclose(in);
}

static void fifo_make(struct fixture *f)
{
	signal(SIGPIPE, SIG_IGN);
	file_write("fifo", "");
	assert_int_equal(unlink(path_of("fifo")), 0);
	assert_int_equal(mkfifo(path_of("fifo"), 0640), 0);
	fixture_init(f);
	set_path(f, "sub/fifo");
}

static void a_fifo_gets_each_record_once(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[2001] = {0};
	char text[600];
	fifo_make(&f);
	fixture_open(&f);
	WAIT((pump_state(f.pump, text, sizeof(text)), strstr(text, "nobody reads")));
	put(&f, 1);
	usleep(20000);
	assert_int_equal(cursor_now(&f), 0);
	int fd = open(path_of("fifo"), O_RDONLY);
	assert_true(fd >= 0);
	put(&f, 1999);
	lines_from(fd, times, 2000);
	WAIT(cursor_now(&f) == 2000);
	pump_state(f.pump, text, sizeof(text));
	assert_string_equal(text, "");
	assert_true(stop(&f));
	for (int i = 1; i <= 2000; i++)
		assert_int_equal(times[i], 1);
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 2000);
	close(fd);
	fixture_fini(&f);
}

static void a_full_fifo_does_not_hold_up_the_stop(void **unused)
{
	(void)unused;
	struct fixture f;
	char text[600];
	fifo_make(&f);
	int fd = open(path_of("fifo"), O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	fixture_open(&f);
	put(&f, 2000); /* more than the 64 KiB that it holds */
	WAIT((pump_state(f.pump, text, sizeof(text)), strstr(text, "does not read")));
	assert_true(cursor_now(&f) < 2000);
	int64_t before = clock_mono_us();
	assert_int_equal(journal_stop(f.journal, before + 1000000), GW_OK);
	pump_stop(f.pump, before + 1000000);
	assert_false(pump_join(f.pump));
	assert_false(pump_is_blocked(f.pump));
	assert_true(clock_mono_us() - before < 8000000);
	close(fd);
	fixture_fini(&f);
}

static void what_a_reader_took_is_not_sent_to_the_next_one(void **unused)
{
	(void)unused;
	struct fixture f;
	unsigned times[21] = {0};
	fifo_make(&f);
	int fd = open(path_of("fifo"), O_RDONLY | O_NONBLOCK);
	fixture_open(&f);
	put(&f, 10);
	WAIT(cursor_now(&f) == 10);
	fcntl(fd, F_SETFL, 0);
	lines_from(fd, times, 10);
	close(fd);
	put(&f, 10);
	usleep(20000);
	fd = open(path_of("fifo"), O_RDONLY);
	lines_from(fd, times, 10);
	WAIT(cursor_now(&f) == 20);
	assert_true(stop(&f));
	for (int i = 1; i <= 20; i++)
		assert_int_equal(times[i], 1);
	close(fd);
	fixture_fini(&f);
}

static void dev_null_takes_everything(void **unused)
{
	(void)unused;
	struct fixture f;
	char text[600];
	fixture_init(&f);
	set_path(&f, "/dev/null");
	fixture_open(&f);
	put(&f, 500);
	WAIT(cursor_now(&f) == 500);
	pump_state(f.pump, text, sizeof(text));
	assert_string_equal(text, "");
	assert_true(stop(&f));
	assert_int_equal(stat_get(&pump_stats(f.pump)->delivered), 500);
	fixture_fini(&f);
}

/* The way of a container: standard output is a pipe, or a socket, which cannot be opened by its name. */
static void inherited_gets_each_record_once(int ends[2])
{
	struct fixture f;
	unsigned times[2001] = {0};
	char path[64];
	signal(SIGPIPE, SIG_IGN);
	fixture_init(&f);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
	set_path(&f, path);
	fixture_open(&f);
	put(&f, 2000);
	lines_from(ends[0], times, 2000);
	WAIT(cursor_now(&f) == 2000);
	assert_true(stop(&f));
	for (int i = 1; i <= 2000; i++)
		assert_int_equal(times[i], 1);
	assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0); /* others write to it, too */
	close(ends[0]);
	close(ends[1]);
	fixture_fini(&f);
}

static void an_inherited_pipe_gets_each_record_once(void **unused)
{
	(void)unused;
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	inherited_gets_each_record_once(ends);
}

static void an_inherited_socket_gets_each_record_once(void **unused)
{
	(void)unused;
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	inherited_gets_each_record_once(ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_fifo_gets_each_record_once),
	    TEST(a_full_fifo_does_not_hold_up_the_stop),
	    TEST(what_a_reader_took_is_not_sent_to_the_next_one),
	    TEST(dev_null_takes_everything),
	    TEST(an_inherited_pipe_gets_each_record_once),
	    TEST(an_inherited_socket_gets_each_record_once),
	};
	log_init(LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
