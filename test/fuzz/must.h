/* What a fuzz target holds to: it ends the run, and says where, when it does not hold. */
#ifndef SLUICE_TEST_FUZZ_MUST_H
#define SLUICE_TEST_FUZZ_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#endif
