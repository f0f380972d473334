/* Ending a run early; see stop.h. */
#include "load/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static _Atomic unsigned stops; /* relaxed: a flag */

void stop_ask(void)
{
	atomic_fetch_add_explicit(&stops, 1, memory_order_relaxed);
}

unsigned stop_count(void)
{
	return atomic_load_explicit(&stops, memory_order_relaxed);
}

static void interrupted(int number)
{
	(void)number;
	stop_ask();
}

void stop_catch_signals(void)
{
	struct sigaction act = {.sa_handler = interrupted};
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
}
