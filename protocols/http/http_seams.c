/* Seeing what an old libmicrohttpd hides; see http_seams.h. */
#include "protocols/http/http_seams.h"

#include <stdint.h>
#include <string.h>

#define BLANKS_MAX 64

bool http_seams_apply(const char *version)
{
	return strcmp(version, "0.9.75") == 0 || strcmp(version, "0.9.76") == 0;
}

/* Pointers are compared as numbers: whether they lie in one block is what is asked. */
static bool follows(const char *next, const char *end, size_t gap)
{
	return (uintptr_t)next == (uintptr_t)end + gap;
}

static bool is_line_end(const char *at)
{
	return at[0] == 0 && at[1] == 0;
}

void http_seams_line(struct http_seams *s, const char *method, const char *target, const char *query,
                     const char *version)
{
	const char *target_end = target + strlen(target);
	bool close = follows(target, method + strlen(method), 1);
	if (query)
		close = close && follows(query, target_end, 1);
	else /* 2: a question mark with nothing behind it */
		close = close && (follows(version, target_end, 1) || follows(version, target_end, 2));
	s->broken = !close;
	s->start = method;
	s->end = version + strlen(version);
}

void http_seams_field(struct http_seams *s, const char *name, size_t name_len, const char *value, size_t value_len)
{
	if (s->broken)
		return;
	uintptr_t gap = (uintptr_t)value - (uintptr_t)(name + name_len);
	s->broken = !follows(name, s->end, 2) || !is_line_end(s->end) || gap < 1 || gap > BLANKS_MAX;
	if (s->broken)
		return;
	for (const char *p = name + name_len + 1; p < value; p++)
		if (*p != ' ' && *p != '\t')
			s->broken = true;
	s->end = value + value_len;
}

bool http_seams_good(const struct http_seams *s, size_t head_len)
{
	return !s->broken && follows(s->end, s->start, head_len - 4) && is_line_end(s->end) && is_line_end(s->end + 2);
}
