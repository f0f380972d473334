/* For tests that start threads. A failed assertion leaves its test by longjmp, and the threads would go on with what lay
 * on its stack, in the next test's place: hundreds of reports that hide the first. So the first failure says where it is
 * and ends the program. The temporary directory of that test stays. Include behind cmocka.h. */
#ifndef SLUICE_TEST_UNIT_THREADS_H
#define SLUICE_TEST_UNIT_THREADS_H

#include <stdlib.h>

__attribute__((constructor)) static void end_at_the_first_failure(void)
{
	setenv("CMOCKA_TEST_ABORT", "1", 0); /* read by cmocka at each failure */
}

#endif
