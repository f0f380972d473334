/* The known word that is nearest to a misspelt one: "did you mean ...?". */
#ifndef SLUICE_CONFIG_NEAREST_H
#define SLUICE_CONFIG_NEAREST_H

#include <stddef.h>

struct nearest_word {
	const char *wanted; /* set by the caller */
	const char *best;   /* NULL: nothing is close */
	size_t distance;
};

/* nearest_offer keeps `known` (borrowed) as the best if it is close to the wanted word at all, and closer than the best
 * so far. By Damerau-Levenshtein distance (optimal string alignment); case, and - or _, make no difference. */
void nearest_offer(struct nearest_word *w, const char *known);

#endif
