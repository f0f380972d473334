/* Log lines: whole, one per event, and harmless whatever a value holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/utf8.h"

static char captured[1 << 20];
static size_t captured_len;
static int capture_fd = -1, kept_fd = -1;

static void capture(void)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	capture_fd = dup(fileno(file));
	fclose(file);
	fcntl(capture_fd, F_SETFL, O_APPEND);
	kept_fd = dup(STDERR_FILENO);
	dup2(capture_fd, STDERR_FILENO);
}

static const char *release(void)
{
	dup2(kept_fd, STDERR_FILENO);
	close(kept_fd);
	ssize_t n = pread(capture_fd, captured, sizeof(captured) - 1, 0);
	captured_len = n > 0 ? (size_t)n : 0;
	captured[captured_len] = '\0';
	close(capture_fd);
	return captured;
}

/* Every line is a JSON object; returns how many. */
static unsigned json_lines(void)
{
	unsigned count = 0;
	for (const char *at = captured; *at; count++) {
		const char *end = strchr(at, '\n');
		assert_non_null(end);
		assert_int_equal(json_check(at, (size_t)(end - at), 10).type, JSON_OBJECT);
		at = end + 1;
	}
	return count;
}

static void a_json_line_has_the_keys_of_ecs(void **unused)
{
	(void)unused;
	log_init(LOG_INFO, LOG_JSON);
	capture();
	log_event(LOG_WARN, "sink", "cannot be reached", LOG_S("sink.name", "kafka"), LOG_N("sluice.attempt", -3),
	          LOG_S("left.out", NULL));
	log_say(LOG_ERROR, "journal", "is full");
	log_say(LOG_DEBUG, "journal", "is not shown");
	release();
	assert_int_equal(json_lines(), 2);
	assert_memory_equal(captured, "{\"@timestamp\":\"20", 17);
	assert_memory_equal(captured + 42,
	                    "\",\"log.level\":\"warn\",\"log.logger\":\"sink\",\"message\":\"cannot be "
	                    "reached\",\"sink.name\":\"kafka\","
	                    "\"sluice.attempt\":-3}\n",
	                    112);
	assert_null(strstr(captured, "left.out"));
	assert_true(log_enabled(LOG_INFO) && !log_enabled(LOG_DEBUG));
}

static void a_text_line_is_short(void **unused)
{
	(void)unused;
	log_init(LOG_INFO, LOG_TEXT);
	capture();
	log_event(LOG_INFO, "listener", "listening", LOG_S("server.address", "127.0.0.1:1"),
	          LOG_N("sluice.threads", 2));
	release();
	assert_string_equal(captured + 12, " info  listener: listening  address=127.0.0.1:1  threads=2\n");
}

static void hostile_values_stay_inside_their_line(void **unused)
{
	(void)unused;
	char longest[3000];
	memset(longest, '"', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const char *const values[] = {
	    "a\nERROR journal: forged", "\x1b[31mred\x7f", "\"},{\"x\":\"", "\xff\xc3", "\xe2\x82", longest, ""};
	for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
		log_init(LOG_INFO, (enum log_format)format);
		capture();
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
			log_event(LOG_WARN, "listener", "odd", LOG_S("a.device", values[i]),
			          LOG_S("b.topic", values[i]), LOG_N("c.end", i));
		release();
		unsigned count = 0;
		for (size_t i = 0; i < captured_len; i++) {
			assert_true(captured[i] == '\n' || (unsigned char)captured[i] >= 0x20);
			assert_int_not_equal(captured[i], 0x7f);
			count += captured[i] == '\n';
		}
		assert_int_equal(utf8_check(captured, captured_len), captured_len);
		assert_int_equal(count, sizeof(values) / sizeof(values[0]));
		if (format == LOG_JSON)
			assert_int_equal(json_lines(), count);
	}
}

static void a_line_of_many_fields_is_cut_and_still_whole(void **unused)
{
	(void)unused;
	char value[300];
	struct log_field fields[60];
	memset(value, 1, sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	for (size_t i = 0; i < 59; i++)
		fields[i] = LOG_S("some.key.of.usual.length", value);
	fields[59] = (struct log_field){.key = NULL};
	log_init(LOG_INFO, LOG_JSON);
	capture();
	log_write(LOG_WARN, "listener", value, fields);
	release();
	assert_int_equal(json_lines(), 1);
	assert_true(captured_len > 8000 && captured_len <= 16384);
}

static void *write_many(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_event(LOG_INFO, "test", "line", LOG_N("number", i), LOG_S("thread", arg));
	return NULL;
}

static void lines_of_several_threads_do_not_mix(void **unused)
{
	(void)unused;
	pthread_t threads[3];
	log_init(LOG_INFO, LOG_JSON);
	capture();
	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, write_many, "abc");
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	release();
	assert_int_equal(json_lines(), 1500);
}

/* A reader that stands still: line after line, until long after its buffer is full. */
static void nobody_reads(int fds[2])
{
	log_init(LOG_INFO, LOG_JSON);
	int kept = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	int flags = fcntl(STDERR_FILENO, F_GETFL);
	log_unblock();
	uint64_t before = log_lost();
	alarm(30);
	for (int i = 0; i < 10000; i++)
		log_event(LOG_INFO, "test", "line", LOG_N("number", i));
	alarm(0);
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL), flags);
	assert_true(log_lost() > before);
	captured_len = 0;
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	for (ssize_t n; (n = read(fds[0], captured + captured_len, sizeof(captured) - 1 - captured_len)) > 0;)
		captured_len += (size_t)n;
	captured[captured_len] = '\0';
	assert_int_equal(json_lines() + (log_lost() - before), 10000);
	dup2(kept, STDERR_FILENO);
	log_unblock();
	close(kept);
	close(fds[0]);
	close(fds[1]);
}

static void a_pipe_that_nobody_reads_loses_lines_and_stops_nobody(void **unused)
{
	(void)unused;
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	nobody_reads(fds);
}

static void nor_does_a_socket(void **unused)
{
	(void)unused;
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	nobody_reads(fds);
}

static void a_limit_lets_ten_through_in_ten_seconds(void **unused)
{
	(void)unused;
	struct log_limit limit = {0};
	uint64_t left_out = 99;
	unsigned allowed = 0;
	for (int64_t ms = 5000; ms < 5100; ms++)
		allowed += log_allow(&limit, ms, &left_out);
	assert_int_equal(allowed, 10);
	assert_false(log_allow(&limit, 14999, &left_out));
	assert_true(log_allow(&limit, 15000, &left_out));
	assert_int_equal(left_out, 91);
	assert_true(log_allow(&limit, 15001, &left_out));
	assert_int_equal(left_out, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_json_line_has_the_keys_of_ecs),
	    cmocka_unit_test(a_text_line_is_short),
	    cmocka_unit_test(hostile_values_stay_inside_their_line),
	    cmocka_unit_test(a_line_of_many_fields_is_cut_and_still_whole),
	    cmocka_unit_test(lines_of_several_threads_do_not_mix),
	    cmocka_unit_test(a_pipe_that_nobody_reads_loses_lines_and_stops_nobody),
	    cmocka_unit_test(nor_does_a_socket),
	    cmocka_unit_test(a_limit_lets_ten_through_in_ten_seconds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
