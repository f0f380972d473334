/* Misspelt words: see nearest.h. */
#include "config/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define WORD_MAX 64 /* longer words have no neighbours */

static char fold(char c)
{
	return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours, each 1. Both at most WORD_MAX
 * long. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *before = rows[0], *previous = rows[1], *current = rows[2];

	for (size_t j = 0; j <= b_len; j++)
		previous[j] = before[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		current[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			bool same = fold(a[i - 1]) == fold(b[j - 1]);
			size_t d = smaller(previous[j] + 1, current[j - 1] + 1);
			d = smaller(d, previous[j - 1] + !same);
			if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
				d = smaller(d, before[j - 2] + 1);
			current[j] = d;
		}
		size_t *oldest = before;
		before = previous;
		previous = current;
		current = oldest;
	}
	return previous[b_len];
}

void nearest_offer(struct nearest_word *w, const char *known)
{
	size_t wanted_len = strlen(w->wanted), known_len = strlen(known);
	if (!wanted_len || wanted_len > WORD_MAX || known_len > WORD_MAX)
		return;
	size_t longer = wanted_len > known_len ? wanted_len : known_len;
	size_t limit = longer < 3 ? 0 : longer < 5 ? 1 : longer < 9 ? 2 : 3;
	size_t d = distance(w->wanted, wanted_len, known, known_len);
	if (d <= limit && (!w->best || d < w->distance)) {
		w->best = known;
		w->distance = d;
	}
}
