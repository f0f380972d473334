/* A fresh directory for each test: `root` names it while a TEST runs, and it is removed with what is in it. Include behind cmocka.h. */
#ifndef SLUICE_TEST_UNIT_TEMPORARY_H
#define SLUICE_TEST_UNIT_TEMPORARY_H

#include <stdio.h>
#include <stdlib.h>

static char root[64];

static inline int make_root(void **unused)
{
	(void)unused;
	snprintf(root, sizeof(root), "/tmp/sluice-unit-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static inline int remove_root(void **unused)
{
	(void)unused;
	char command[128];
	snprintf(command, sizeof(command), "rm -r '%s'", root);
	return system(command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

#endif
