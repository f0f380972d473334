/* Ending a run early. */
#ifndef SLUICE_LOAD_STOP_H
#define SLUICE_LOAD_STOP_H

#include <stdbool.h>

/* stop_ask ends the running run early, with a report ("interrupted"). From a signal handler or any thread. A stop stays:
 * stop_count is how often it was asked for since the program started, stop_asked whether it was. */
void stop_ask(void);
unsigned stop_count(void);
static inline bool stop_asked(void)
{
	return stop_count() > 0;
}
/* stop_catch_signals: SIGINT and SIGTERM are stop_ask from now on. */
void stop_catch_signals(void);

#endif
