/* The text that tells a person why: see error.h. Nothing is allocated, so it works when memory is out. */
#include "gateway/base/error.h"

#include <stdio.h>
#include <string.h>

enum gw_err why_set(struct why *w, enum gw_err err, const char *format, ...)
{
	if (!w)
		return err;

	va_list args;
	va_start(args, format);
	vsnprintf(w->text, sizeof w->text, format, args);
	va_end(args);
	return err;
}

enum gw_err why_add(struct why *w, enum gw_err err, const char *format, ...)
{
	if (!w)
		return err;

	/* Built aside: an argument may point into w->text. */
	struct why outer;
	va_list args;
	va_start(args, format);
	int len = vsnprintf(outer.text, sizeof outer.text, format, args);
	va_end(args);
	if (len < 0)
		return err;
	size_t used = (size_t)len < sizeof outer.text ? (size_t)len : sizeof outer.text - 1;
	const char *const parts[] = {w->text[0] ? ": " : "", w->text};
	for (size_t i = 0; i < 2; i++) {
		size_t room = sizeof outer.text - 1 - used, part = strlen(parts[i]);
		memcpy(outer.text + used, parts[i], part < room ? part : room);
		used += part < room ? part : room;
	}
	outer.text[used] = '\0';
	memcpy(w->text, outer.text, sizeof w->text);
	return err;
}
