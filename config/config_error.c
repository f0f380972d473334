/* Errors that modules find after a configuration was read, at the place of their key. */
#include <stdio.h>
#include <string.h>

#include "config/config_parts.h"

/* The key itself, or the nearest mapping around it that the file has. */
static const struct config_place *find_place(const struct config *config, const char *key)
{
	const struct config_private *p = (const struct config_private *)config;
	const struct config_place *best = NULL;
	size_t best_len = 0;
	for (size_t i = 0; i < p->place_count; i++) {
		size_t len = strlen(p->places[i].key);
		if (len <= best_len || strncmp(key, p->places[i].key, len) ||
		    (key[len] && key[len] != '.' && key[len] != '['))
			continue;
		best = &p->places[i];
		best_len = len;
	}
	return best;
}

void config_error(const struct config *config, const char *key, const char *text, FILE *errors)
{
	const struct config_place *place = find_place(config, key);
	if (place && place->bad)
		return;
	fputs(config->path, errors);
	if (place)
		fprintf(errors, ":%d:%d", place->line, place->column);
	fprintf(errors, ": %s: %s\n", key, text);
}

/* Bytes of the key that a text begins with. */
static size_t key_len(const char *text)
{
	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-.");
}

/* Where the key is that is made of prefix and the first word of text; NULL: the file has no such key. */
static const struct config_place *place_of(const struct config *config, const char *prefix, const char *text)
{
	char key[512];
	snprintf(key, sizeof(key), "%s.%.*s", prefix, (int)key_len(text), text);
	const struct config_place *place = find_place(config, key);
	return place && !strcmp(place->key, key) ? place : NULL;
}

void config_entry_error(const struct config *config, const struct config_section *section,
                        const struct config_entry *entry, const char *text, FILE *errors)
{
	char name[256];
	snprintf(name, sizeof(name), "%s.%s", section->name, entry->name);
	const struct config_place *place = place_of(config, name, text);
	if (place && place->bad)
		return;
	fprintf(errors, "%s:%d:%d: %s: %s\n", config->path, place ? place->line : entry->line,
	        place ? place->column : entry->column, name, text);
}

void config_whole_error(const struct config *config, const char *text, FILE *errors)
{
	char key[512];
	size_t len = key_len(text);
	snprintf(key, sizeof(key), "%.*s", (int)len, text);
	const struct config_place *place = NULL;
	if (!strncmp(text + len, ": ", 2))
		place = place_of(config, key, text + len + 2);
	if (!place)
		place = find_place(config, key);
	if (place && place->bad)
		return;
	fputs(config->path, errors);
	if (place)
		fprintf(errors, ":%d:%d", place->line, place->column);
	fprintf(errors, ": %s\n", text);
}
