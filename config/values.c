/* Typed values by the rows of the setting tables: see values.h. */
#include "config/values.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "config/describe.h"
#include "config/expand.h"
#include "config/nearest.h"
#include "config/setting.h"
#include "config/units.h"

static void *member(const struct setting *s, void *base)
{
	return (char *)base + s->offset;
}

/* ---- Out of text ---- */

static enum gw_err refuse(const char **problem, const char *why)
{
	*problem = why;
	return GW_INVALID;
}

static enum gw_err check_range(const struct setting *s, double value, const char **problem)
{
	if (setting_in_range(s, value))
		return GW_OK;
	bool zero = s->type == SETTING_DURATION && value == 0;
	return refuse(problem, zero ? "is too short" : value < s->min ? "is too small" : "is too large");
}

static enum gw_err parse_number(const struct setting *s, const char *text, void *to, const char **problem)
{
	int64_t integer = 0;
	uint64_t quantity = 0;
	double percent = 0;
	const char *why;
	enum gw_err err;

	if (s->type == SETTING_INT)
		why = units_parse_int(text, &integer);
	else if (s->type == SETTING_BYTES)
		why = units_parse_bytes(text, &quantity);
	else if (s->type == SETTING_DURATION)
		why = units_parse_duration(text, &quantity);
	else
		why = units_parse_percent(text, &percent);
	if (!why && percent > 100)
		why = "is too large";
	if (why)
		return refuse(problem, why);

	if (s->type == SETTING_PERCENT) {
		err = check_range(s, percent, problem);
		if (!err)
			*(double *)to = percent;
	} else if (s->type == SETTING_INT) {
		err = check_range(s, (double)integer, problem);
		if (!err)
			*(int64_t *)to = integer;
	} else {
		err = check_range(s, (double)quantity, problem);
		if (!err)
			*(uint64_t *)to = quantity;
	}
	return err;
}

static enum gw_err parse_bool(const char *text, bool *to, const char **problem)
{
	bool yes = !strcmp(text, "true");
	if (!yes && strcmp(text, "false"))
		return refuse(problem, "is neither true nor false");
	*to = yes;
	return GW_OK;
}

static enum gw_err parse_choice(const struct setting *s, const char *text, int *to, const char **problem)
{
	for (int i = 0; s->choices[i]; i++)
		if (!strcmp(s->choices[i], text)) {
			*to = i;
			return GW_OK;
		}
	return refuse(problem, "is not one of the choices");
}

static enum gw_err parse_text(const struct setting *s, const char *text, char **to, const char **problem)
{
	if (!*text && s->required)
		return refuse(problem, "is empty, and the setting is required");
	char *copy = NULL;
	if (*text || s->def) {
		copy = strdup(text);
		if (!copy)
			return GW_NOMEM;
	}
	expand_free(*to);
	*to = copy;
	return GW_OK;
}

static void list_free(struct string_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct string_list){0};
}

/* Makes room for `room` items; none is there yet. */
static enum gw_err list_alloc(struct string_list *list, size_t room)
{
	*list = (struct string_list){.items = calloc(room ? room : 1, sizeof(char *))};
	return list->items ? GW_OK : GW_NOMEM;
}

static enum gw_err list_add(struct string_list *list, const char *text, size_t len)
{
	char *item = strndup(text, len);
	if (!item)
		return GW_NOMEM;
	list->items[list->count++] = item;
	return GW_OK;
}

/* "a, b": how a table writes a list's default. */
static enum gw_err parse_list_default(const char *text, struct string_list *to)
{
	size_t commas = 0;
	for (const char *s = text; *s; s++)
		commas += *s == ',';
	struct string_list list;
	enum gw_err err = list_alloc(&list, commas + 1);
	while (!err && *text) {
		text += strspn(text, " ");
		size_t len = strcspn(text, ","), trimmed = len;
		while (trimmed && text[trimmed - 1] == ' ')
			trimmed--;
		if (trimmed)
			err = list_add(&list, text, trimmed);
		text += len + (text[len] == ',');
	}
	if (err)
		list_free(&list);
	else
		*to = list;
	return err;
}

/* A setting that one text can fill: all but maps and groups. GW_OK | GW_INVALID (*problem set) | GW_NOMEM. */
static enum gw_err parse_scalar(const struct setting *s, const char *text, void *to, const char **problem)
{
	switch (s->type) {
	case SETTING_BOOL: return parse_bool(text, to, problem);
	case SETTING_INT:
	case SETTING_BYTES:
	case SETTING_DURATION:
	case SETTING_PERCENT: return parse_number(s, text, to, problem);
	case SETTING_STRING:
	case SETTING_SECRET: return parse_text(s, text, to, problem);
	case SETTING_ADDRESS: *problem = address_parse(text, to); return *problem ? GW_INVALID : GW_OK;
	case SETTING_CHOICE: return parse_choice(s, text, to, problem);
	default: abort(); /* callers have dealt with lists, maps and groups */
	}
}

/* ---- Out of nodes ---- */

static enum gw_err report_value(const struct setting *s, const struct tree_node *n, const char *text,
                                const char *problem, struct report *r)
{
	FILE *out = report_begin(r, n->line, n->column);
	if (text && s->type != SETTING_SECRET) {
		report_quote(out, text);
		if (strcmp(text, n->text)) {
			fputs(" (from ", out);
			report_quote(out, n->text);
			fputc(')', out);
		}
		fputc(' ', out);
	}
	fprintf(out, "%s; allowed: ", problem);
	describe_allowed(out, s);
	struct nearest_word nearest = {.wanted = text};
	for (size_t i = 0; text && s->type == SETTING_CHOICE && s->choices[i]; i++)
		nearest_offer(&nearest, s->choices[i]);
	if (nearest.best)
		fprintf(out, "; did you mean %s?", nearest.best);
	report_end(r);
	return GW_CONFIG;
}

static enum gw_err report_node_type(const struct setting *s, const struct tree_node *n, struct report *r)
{
	char problem[80];
	if (n->null)
		snprintf(problem, sizeof(problem), "has no value (leave the key out for the default)");
	else
		snprintf(problem, sizeof(problem), "is %s", tree_type_name(n->type));
	return report_value(s, n, NULL, problem, r);
}

static enum gw_err read_scalar(const struct setting *s, const struct tree_node *n, struct report *r, void *to)
{
	char *text;
	const char *problem = NULL;
	enum gw_err err = expand_scalar(n, s->type == SETTING_SECRET ? EXPAND_SECRET : EXPAND_SHOWN, r, &text);
	if (err)
		return err;
	err = parse_scalar(s, text, to, &problem);
	if (err == GW_INVALID)
		err = report_value(s, n, text, problem, r);
	expand_free(text);
	return err;
}

static enum gw_err read_secret_file(const struct setting *s, const struct tree_node *n, const char *config_path,
                                    struct report *r, char **to)
{
	const struct tree_node *file = n->first;
	char *text;
	enum gw_err err;

	if (!file || file->next || strcmp(file->key, "file"))
		return report_value(s, n, NULL, "is a mapping, but not {file: PATH}", r);
	size_t mark = report_enter(r, "file");
	if (file->type == TREE_BAD)
		err = GW_CONFIG;
	else if (file->type != TREE_SCALAR || file->null)
		err = report_value(s, file, NULL, "is not a path", r);
	else
		err = expand_secret_file(file, config_path, r, &text);
	report_leave(r, mark);
	if (err)
		return err;
	expand_free(*to);
	*to = text;
	return GW_OK;
}

static enum gw_err read_item(const struct setting *s, const struct tree_node *n, struct report *r, char **out)
{
	if (n->type == TREE_BAD)
		return GW_CONFIG;
	if (n->type != TREE_SCALAR || n->null)
		return report_node_type(s, n, r);
	return expand_scalar(n, s->type == SETTING_MAP ? EXPAND_HIDDEN : EXPAND_SHOWN, r, out);
}

/* Every item is looked at, also after a bad one. */
static enum gw_err read_items(const struct setting *s, const struct tree_node *n, struct report *r,
                              struct string_list *list)
{
	enum gw_err result = GW_OK;
	size_t number = 0;

	for (const struct tree_node *item = n->first; item; item = item->next) {
		size_t mark = report_item(r, ++number);
		char *text = NULL;
		enum gw_err err = read_item(s, item, r, &text);
		if (!err && text && !*text) {
			err = report_value(s, item, text, "is empty", r);
			expand_free(text);
		}
		report_leave(r, mark);
		if (err == GW_NOMEM)
			return err;
		if (err)
			result = err;
		else
			list->items[list->count++] = text;
	}
	return result;
}

static enum gw_err read_list(const struct setting *s, const struct tree_node *n, struct report *r,
                             struct string_list *to)
{
	struct string_list list;
	size_t room = 1;
	char *text;

	if (n->type == TREE_MAPPING || (n->null && s->def && *s->def))
		return report_node_type(s, n, r);
	for (const struct tree_node *item = n->first; item; item = item->next)
		room++;
	enum gw_err err = list_alloc(&list, room);
	if (err)
		return err;
	if (n->type == TREE_SEQUENCE) {
		err = read_items(s, n, r, &list);
	} else if (!n->null) {
		err = expand_scalar(n, EXPAND_SHOWN, r, &text);
		if (!err && *text)
			list.items[list.count++] = text;
		else if (!err)
			expand_free(text);
	}
	if (err) {
		list_free(&list);
		return err;
	}
	list_free(to);
	*to = list;
	return GW_OK;
}

static void map_free(struct string_map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		free(map->keys[i]);
		expand_free(map->values[i]); /* properties passed on to a library may hold passwords */
	}
	free(map->keys);
	free(map->values);
	*map = (struct string_map){0};
}

static enum gw_err read_pairs(const struct setting *s, const struct tree_node *n, struct report *r,
                              struct string_map *map)
{
	enum gw_err result = GW_OK;

	for (const struct tree_node *item = n->first; item; item = item->next) {
		if (item->repeated)
			continue;
		size_t mark = report_enter(r, item->key);
		char *text = NULL, *key = strdup(item->key);
		enum gw_err err = key ? read_item(s, item, r, &text) : GW_NOMEM;
		report_leave(r, mark);
		if (err) {
			free(key);
			if (err == GW_NOMEM)
				return err;
			result = err;
			continue;
		}
		map->keys[map->count] = key;
		map->values[map->count++] = text;
	}
	return result;
}

static enum gw_err read_map(const struct setting *s, const struct tree_node *n, struct report *r, struct string_map *to)
{
	size_t room = 1;
	if (n->type != TREE_MAPPING && !n->null)
		return report_node_type(s, n, r);
	for (const struct tree_node *item = n->first; item; item = item->next)
		room++;
	struct string_map map = {.keys = calloc(room, sizeof(char *)), .values = calloc(room, sizeof(char *))};
	enum gw_err err = map.keys && map.values ? read_pairs(s, n, r, &map) : GW_NOMEM;
	if (err) {
		map_free(&map);
		return err;
	}
	map_free(to);
	*to = map;
	return GW_OK;
}

enum gw_err values_read(const struct setting *s, const struct tree_node *n, const char *config_path, struct report *r,
                        void *base)
{
	void *to = member(s, base);
	assert(s->type != SETTING_END && s->type != SETTING_GROUP);
	if (n->type == TREE_BAD)
		return GW_CONFIG;
	if (s->type == SETTING_LIST)
		return read_list(s, n, r, to);
	if (s->type == SETTING_MAP)
		return read_map(s, n, r, to);
	if (s->type == SETTING_SECRET && n->type == TREE_MAPPING)
		return read_secret_file(s, n, config_path, r, to);
	if (n->type != TREE_SCALAR || n->null)
		return report_node_type(s, n, r);
	return read_scalar(s, n, r, to);
}

/* ---- Defaults ---- */

static enum gw_err set_default(const struct setting *s, void *base)
{
	const char *problem = "has a default, which its type cannot have";
	enum gw_err err;

	if (s->type == SETTING_GROUP)
		return values_default(s->group, member(s, base));
	if (!s->def)
		return GW_OK;
	if (s->type == SETTING_LIST)
		err = parse_list_default(s->def, member(s, base));
	else if (s->type == SETTING_MAP)
		err = GW_INVALID;
	else
		err = parse_scalar(s, s->def, member(s, base), &problem);
	if (err == GW_INVALID) {
		fprintf(stderr, "setting table: default of %s: \"%s\" %s\n", s->name, s->def, problem);
		abort();
	}
	return err;
}

enum gw_err values_default(const struct setting *table, void *base)
{
	enum gw_err err = GW_OK;
	for (const struct setting *s = table; s && s->type != SETTING_END && !err; s++)
		err = set_default(s, base);
	return err;
}

void values_free(const struct setting *table, void *base)
{
	for (const struct setting *s = table; s && base && s->type != SETTING_END; s++) {
		if (s->type == SETTING_STRING || s->type == SETTING_SECRET)
			expand_free(*(char **)member(s, base));
		else if (s->type == SETTING_LIST)
			list_free(member(s, base));
		else if (s->type == SETTING_MAP)
			map_free(member(s, base));
		else if (s->type == SETTING_GROUP)
			values_free(s->group, member(s, base));
	}
}
