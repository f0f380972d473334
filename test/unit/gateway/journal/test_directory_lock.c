/* The lock of a journal's directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/journal/directory_lock.h"
#include "test/unit/temporary.h"

static char dir[128], file[160], text[800];
static struct directory_lock l, other;

static void take(void)
{
	struct why why = {.text = ""};
	snprintf(dir, sizeof(dir), "%s/journal", root);
	snprintf(file, sizeof(file), "%s/lock", dir);
	assert_int_equal(mkdir(dir, 0750), 0);
	assert_int_equal(directory_lock_take(&l, dir, &why), GW_OK);
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_OURS);
}

static void read_file(char out[64])
{
	FILE *f = fopen(file, "r");
	assert_non_null(f);
	assert_non_null(fgets(out, 64, f));
	fclose(f);
}

static void write_file(const char *content)
{
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	fputs(content, f);
	fclose(f);
}

static void holds_its_token(void)
{
	char line[64];
	read_file(line);
	assert_memory_equal(line, l.token, DIRECTORY_LOCK_TOKEN);
}

static void a_second_one_is_refused_with_the_file_and_without_it(void **unused)
{
	(void)unused;
	struct why why = {.text = ""};
	take();
	holds_its_token();
	assert_int_equal(directory_lock_take(&other, dir, &why), GW_IO);
	assert_non_null(strstr(why.text, "in use by another process"));
	assert_int_equal(unlink(file), 0);
	assert_int_equal(directory_lock_take(&other, dir, &why), GW_IO);
	assert_int_equal(access(file, F_OK), -1); /* nothing was made by the refused one */
	directory_lock_release(&l);
	assert_int_equal(directory_lock_take(&l, dir, &why), GW_OK);
	directory_lock_release(&l);
	directory_lock_release(&l); /* harmless */
}

static void a_file_that_was_deleted_or_emptied_is_made_again(void **unused)
{
	(void)unused;
	take();
	assert_int_equal(unlink(file), 0);
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_OURS);
	holds_its_token();
	write_file("");
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_OURS);
	holds_its_token();
	assert_int_equal(unlink(file), 0);
	write_file(""); /* another inode */
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_OURS);
	holds_its_token();
	directory_lock_release(&l);
}

static void another_token_is_noticed(void **unused)
{
	(void)unused;
	take();
	write_file("0123456789abcdef0123456789abcdef\n");
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_TAKEN);
	assert_non_null(strstr(text, dir));
	directory_lock_release(&l);
}

static void a_directory_that_moved_is_named_and_accepted_when_it_is_back(void **unused)
{
	(void)unused;
	char away[128];
	take();
	snprintf(away, sizeof(away), "%s/away", root);
	assert_int_equal(rename(dir, away), 0);
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_MOVED);
	assert_non_null(strstr(text, away));
	assert_int_equal(mkdir(dir, 0750), 0);
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_MOVED);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(rename(away, dir), 0);
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_OURS);
	directory_lock_release(&l);
}

static void a_deleted_directory_is_noticed_also_when_another_is_at_its_place(void **unused)
{
	(void)unused;
	take();
	assert_int_equal(unlink(file), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_GONE);
	assert_int_equal(mkdir(dir, 0750), 0);
	assert_int_equal(directory_lock_check(&l, text, sizeof(text)), DIRECTORY_GONE);
	directory_lock_release(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_second_one_is_refused_with_the_file_and_without_it),
	    TEST(a_file_that_was_deleted_or_emptied_is_made_again),
	    TEST(another_token_is_noticed),
	    TEST(a_directory_that_moved_is_named_and_accepted_when_it_is_back),
	    TEST(a_deleted_directory_is_noticed_also_when_another_is_at_its_place),
	};
	log_init(getenv("SLUICE_TEST_LOG") ? LOG_DEBUG : LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
