/* Rows of setting tables: see setting.h. */
#include "config/setting.h"

#include <string.h>

const char *setting_key(const struct setting *s)
{
	const char *dot = strrchr(s->name, '.');
	return dot ? dot + 1 : s->name;
}

const struct setting *setting_find(const struct setting *table, const char *key)
{
	for (const struct setting *s = table; s && s->type != SETTING_END; s++)
		if (!strcmp(setting_key(s), key))
			return s;
	return NULL;
}

bool setting_has_min(const struct setting *s)
{
	return s->min != 0 || s->max != 0;
}

/* A range that ends at 0 begins below it. */
bool setting_has_max(const struct setting *s)
{
	return s->max > 0 || s->min < 0;
}

bool setting_in_range(const struct setting *s, double value)
{
	return !setting_has_min(s) || (value >= s->min && (!setting_has_max(s) || value <= s->max));
}
