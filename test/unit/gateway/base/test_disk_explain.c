/* The sentences of disk_explain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/disk_explain.h"
#include "test/unit/temporary.h"

static const int known[] = {ENOENT, EACCES, EROFS, EIO, EMFILE, ENFILE, ENOSPC, EDQUOT, ESTALE};
enum { KNOWN = sizeof(known) / sizeof(known[0]) };

static void each_errno_has_its_own_sentence_with_path_and_uid(void **unused)
{
	(void)unused;
	char text[KNOWN][512], path[300], uid[32];
	snprintf(path, sizeof(path), "%s/segment", root);
	snprintf(uid, sizeof(uid), "uid %u", (unsigned)geteuid());
	for (int i = 0; i < KNOWN; i++) {
		disk_explain(-known[i], path, text[i], sizeof(text[i]));
		assert_non_null(strstr(text[i], path));
		assert_non_null(strstr(text[i], uid));
		assert_non_null(strstr(text[i], strerror(known[i])));
		assert_true(strlen(text[i]) > strlen(path) + strlen(strerror(known[i])) + 40); /* what to do */
		for (int k = 0; k < i; k++)
			assert_string_not_equal(strstr(text[k], path) + strlen(path),
			                        strstr(text[i], path) + strlen(path));
	}
}

static void no_sentence_tells_to_delete_or_move_what_may_be_whole(void **unused)
{
	(void)unused;
	char text[512];
	for (int err = 1; err < 140; err++) {
		disk_explain(err, root, text, sizeof(text));
		assert_null(strstr(text, "move it away"));
		assert_null(strstr(text, "delete it"));
	}
}

static void a_refused_permission_names_the_owner_and_the_mode(void **unused)
{
	(void)unused;
	char path[300], text[1024], owner[128];
	snprintf(path, sizeof(path), "%s/owned", root);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0640), 0);
	close(fd);
	disk_explain(-EACCES, path, text, sizeof(text));
	snprintf(owner, sizeof(owner), "it belongs to uid %u, gid %u, mode 0640", (unsigned)geteuid(),
	         (unsigned)getegid());
	assert_non_null(strstr(text, owner));
	assert_non_null(strstr(text, "chown"));
	snprintf(path, sizeof(path), "%s/missing/below", root); /* then of what there is above it */
	disk_explain(-EACCES, path, text, sizeof(text));
	snprintf(owner, sizeof(owner), "%s belongs to", root);
	assert_non_null(strstr(text, owner));
}

static void errno_stays_and_a_short_buffer_is_terminated(void **unused)
{
	(void)unused;
	char text[16];
	errno = ENOTTY;
	assert_ptr_equal(disk_explain(0, root, text, sizeof(text)), text);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(strlen(text), sizeof(text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_errno_has_its_own_sentence_with_path_and_uid),
	    TEST(no_sentence_tells_to_delete_or_move_what_may_be_whole),
	    TEST(a_refused_permission_names_the_owner_and_the_mode),
	    TEST(errno_stays_and_a_short_buffer_is_terminated),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
