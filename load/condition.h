/* Conditions on a result: "p99>50ms", "errors>0", "rate<10000", "missing>0". For --fail-if, and for what find looks for. */
#ifndef SLUICE_LOAD_CONDITION_H
#define SLUICE_LOAD_CONDITION_H

#include <stdbool.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "load/result.h"
#include "load/verdict.h"

struct condition {
	const char *text; /* as given; borrowed */
	size_t figure;
	int compare; /* -2 <  -1 <=  0 ==  1 >=  2 > */
	double limit;
};

/* condition_read parses FIGURE OPERATOR VALUE[UNIT]. of_verdict: figures of a verdict (missing ...) rather than of a run.
 * GW_OK | GW_CONFIG with why, which names the figures there are. */
enum gw_err condition_read(struct condition *c, const char *text, bool of_verdict, struct why *why);
/* condition_holds tells whether it is met; *found is the figure's value (NAN: not known, and then it does not hold). */
bool condition_holds(const struct condition *c, const struct load_result *r, double *found);
bool condition_holds_verdict(const struct condition *c, const struct verdict_line *l, double *found);
/* condition_of_server tells whether it is about the server, of which nothing is known without --pid. */
bool condition_of_server(const struct condition *c);
/* condition_text writes a figure's value as people read it, into out, which is returned. */
const char *condition_text(const struct condition *c, double v, char out[32]);
/* condition_value is a run's figure by name; NAN: not known, or no such figure. */
double condition_value(const char *figure, const struct load_result *r);
/* condition_figures lists the figures with their meaning, for the help. */
void condition_figures(FILE *out, bool of_verdict);

#endif
