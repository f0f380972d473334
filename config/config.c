/* The configuration file by its setting tables.
 *
 * text -> tree.c (YAML nodes with places) -> here (which key belongs to which table) -> values.c (one typed value)
 *
 * Nothing stops at an error: a bad value keeps its default and reading goes on, so that one run tells everything.
 * Whether there was an error is known to the report; the functions here return only what must stop the reading,
 * GW_NOMEM. */
#include "config/config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_parts.h"
#include "config/describe.h"
#include "config/nearest.h"
#include "config/report.h"
#include "config/setting.h"
#include "config/tree.h"
#include "config/values.h"

#define FILE_MAX (1 << 20)
#define ENTRY_NAME_MAX 63

struct config_reader {
	const struct config_schema *schema;
	struct report *report;
	struct config_private *private;
	const char *path;
	bool unfit; /* something that must be given is not known */
};

/* A table and the struct that it fills. */
struct config_target {
	const struct setting *settings; /* may be NULL */
	void *base;
};

/* What one mapping may hold. */
struct config_scope {
	struct config_target targets[2];
	const char *selector;               /* a key that was read already; NULL for none */
	const struct config_schema *schema; /* whose sections are allowed here, too; NULL but at the top */
	bool lenient;                       /* the kind is unknown: say nothing about unknown keys */
};

static enum gw_err add_place(struct config_reader *rd, int line, int column)
{
	struct config_private *p = rd->private;
	if (p->place_count == p->place_capacity) {
		size_t capacity = p->place_capacity ? 2 * p->place_capacity : 64;
		struct config_place *places = realloc(p->places, capacity * sizeof(*places));
		if (!places)
			return GW_NOMEM;
		p->places = places;
		p->place_capacity = capacity;
	}
	char *key = strdup(rd->report->key);
	if (!key)
		return GW_NOMEM;
	p->places[p->place_count++] = (struct config_place){.key = key, .line = line, .column = column};
	return GW_OK;
}

static enum gw_err read_mapping(struct config_reader *rd, struct tree_node *map, int line, int column,
                                const struct config_scope *scope);

/* A group that is not there at all is read, too: it may have required settings. A group with a `type` can be given by
 * that alone: `journal: spill`. */
static enum gw_err read_group(struct config_reader *rd, const struct setting *s, struct tree_node *n, int line,
                              int column, void *base)
{
	struct config_scope scope = {.targets = {{s->group, (char *)base + s->offset}}};
	bool nothing = !n || n->null;
	if (n && n->type == TREE_BAD)
		return GW_OK;
	const struct setting *type = setting_find(s->group, "type");
	if (!nothing && n->type == TREE_SCALAR && type) {
		enum gw_err err = values_read(type, n, rd->path, rd->report, scope.targets[0].base);
		return err == GW_NOMEM ? err : read_mapping(rd, NULL, line, column, &scope);
	}
	if (!nothing && n->type != TREE_MAPPING) {
		FILE *out = report_begin(rd->report, n->line, n->column);
		fprintf(out, "is %s; allowed: ", tree_type_name(n->type));
		describe_allowed(out, s);
		report_end(rd->report);
		return GW_OK;
	}
	return read_mapping(rd, nothing ? NULL : n, line, column, &scope);
}

static void print_known_keys(FILE *out, const struct config_scope *scope)
{
	const char *before = "; known here: ";
	if (scope->selector) {
		fprintf(out, "%s%s", before, scope->selector);
		before = ", ";
	}
	for (size_t t = 0; t < 2; t++)
		for (const struct setting *s = scope->targets[t].settings; s && s->type != SETTING_END; s++) {
			fprintf(out, "%s%s", before, setting_key(s));
			before = ", ";
		}
	for (size_t i = 0; scope->schema && i < scope->schema->section_count; i++) {
		fprintf(out, "%s%s", before, scope->schema->sections[i].name);
		before = ", ";
	}
}

static void report_unknown(struct config_reader *rd, const struct tree_node *n, const struct config_scope *scope)
{
	struct nearest_word nearest = {.wanted = n->key};
	for (size_t t = 0; t < 2; t++)
		for (const struct setting *s = scope->targets[t].settings; s && s->type != SETTING_END; s++)
			nearest_offer(&nearest, setting_key(s));
	for (size_t i = 0; scope->schema && i < scope->schema->section_count; i++)
		nearest_offer(&nearest, scope->schema->sections[i].name);
	if (scope->selector)
		nearest_offer(&nearest, scope->selector);

	FILE *out = report_begin(rd->report, n->key_line, n->key_column);
	fputs("unknown key", out);
	if (nearest.best)
		fprintf(out, "; did you mean %s?", nearest.best);
	else
		print_known_keys(out, scope);
	report_end(rd->report);
}

static bool is_section(const struct config_schema *schema, const char *key)
{
	for (size_t i = 0; schema && i < schema->section_count; i++)
		if (!strcmp(schema->sections[i].name, key))
			return true;
	return false;
}

static enum gw_err read_key(struct config_reader *rd, struct tree_node *n, const struct config_scope *scope)
{
	const struct setting *s = NULL;
	void *base = NULL;

	if ((scope->selector && !strcmp(n->key, scope->selector)) || is_section(scope->schema, n->key))
		return GW_OK;
	for (size_t t = 0; t < 2 && !s; t++) {
		s = setting_find(scope->targets[t].settings, n->key);
		base = scope->targets[t].base;
	}
	size_t mark = report_enter(rd->report, n->key), place = rd->private->place_count, errors = rd->report->count;
	enum gw_err err = GW_OK;
	if (s) {
		err = add_place(rd, n->key_line, n->key_column);
		if (!err && s->type == SETTING_GROUP) {
			err = read_group(rd, s, n, n->key_line, n->key_column, base);
		} else if (!err) {
			if (s->type == SETTING_MAP && n->type == TREE_MAPPING)
				tree_find_repeated(n, rd->report);
			err = values_read(s, n, rd->path, rd->report, base);
		}
		bool bad = rd->report->count > errors;
		if (place < rd->private->place_count)
			rd->private->places[place].bad = bad;
		rd->unfit |= bad && s->required;
	} else if (!scope->lenient) {
		report_unknown(rd, n, scope);
	}
	report_leave(rd->report, mark);
	return err == GW_NOMEM ? err : GW_OK;
}

/* What a mapping does not say: required settings are missing, groups are read as empty. */
static enum gw_err read_absent(struct config_reader *rd, const struct tree_node *map, int line, int column,
                               const struct config_target *target)
{
	for (const struct setting *s = target->settings; s && s->type != SETTING_END; s++) {
		if (tree_find(map, setting_key(s)))
			continue;
		enum gw_err err = GW_OK;
		size_t mark = report_enter(rd->report, setting_key(s));
		if (s->type == SETTING_GROUP) {
			err = read_group(rd, s, NULL, line, column, target->base);
		} else if (s->required) {
			FILE *out = report_begin(rd->report, line, column);
			fputs("must be given; allowed: ", out);
			describe_allowed(out, s);
			fprintf(out, " (%s)", s->help ? s->help : "");
			report_end(rd->report);
			rd->unfit = true;
		}
		report_leave(rd->report, mark);
		if (err)
			return err;
	}
	return GW_OK;
}

/* map NULL: nothing is said; line and column are those of the key that stands for it. */
static enum gw_err read_mapping(struct config_reader *rd, struct tree_node *map, int line, int column,
                                const struct config_scope *scope)
{
	enum gw_err err = GW_OK;
	if (map) {
		tree_find_repeated(map, rd->report);
		for (struct tree_node *n = map->first; n && !err; n = n->next)
			if (!n->repeated)
				err = read_key(rd, n, scope);
	}
	for (size_t t = 0; t < 2 && !err; t++)
		err = read_absent(rd, map, line, column, &scope->targets[t]);
	return err;
}

static const struct config_kind *find_kind(const struct config_section *section, const char *name)
{
	for (size_t i = 0; i < section->kind_count; i++)
		if (!strcmp(section->kinds[i].name, name))
			return &section->kinds[i];
	return NULL;
}

static void print_kinds(FILE *out, const struct config_section *section, const char *wanted)
{
	struct nearest_word nearest = {.wanted = wanted};
	for (size_t i = 0; i < section->kind_count; i++) {
		const char *before = i == 0 ? "" : i + 1 < section->kind_count ? ", " : " or ";
		fprintf(out, "%s%s", before, section->kinds[i].name);
		nearest_offer(&nearest, section->kinds[i].name);
	}
	if (nearest.best)
		fprintf(out, "; did you mean %s?", nearest.best);
}

/* The kind that an entry's selector names, else the one of the entry's own name. *kind is NULL after a reported error.
 */
static enum gw_err read_kind(struct config_reader *rd, const struct config_section *section, struct tree_node *n,
                             const struct config_kind **kind)
{
	const struct tree_node *selector = n->type == TREE_MAPPING ? tree_find(n, section->selector) : NULL;
	if (!selector) {
		*kind = find_kind(section, n->key);
		if (*kind)
			return GW_OK;
		FILE *out = report_begin(rd->report, n->key_line, n->key_column);
		fprintf(out, "has no %s; add `%s:` with one of ", section->selector, section->selector);
		print_kinds(out, section, n->key);
		report_end(rd->report);
		return GW_OK;
	}

	*kind = NULL;
	struct setting row = {.name = section->selector, .type = SETTING_STRING, .required = true};
	char *name = NULL;
	size_t mark = report_enter(rd->report, section->selector);
	/* A kind may be called "null": there the word is its name, while it means "no value" everywhere else. */
	struct tree_node word = *selector;
	word.null = word.null && !find_kind(section, word.text);
	enum gw_err err = values_read(&row, &word, rd->path, rd->report, &name);
	if (!err) {
		*kind = find_kind(section, name);
		if (!*kind) {
			FILE *out = report_begin(rd->report, selector->line, selector->column);
			report_quote(out, name);
			fputs(" is unknown; allowed: ", out);
			print_kinds(out, section, name);
			report_end(rd->report);
		}
	}
	report_leave(rd->report, mark);
	free(name);
	return err == GW_NOMEM ? err : GW_OK;
}

static bool is_entry_name(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
	return len && !name[len] && len <= ENTRY_NAME_MAX && name[0] != '_' && name[0] != '-';
}

static enum gw_err alloc_settings(const struct setting *table, size_t size, void **out)
{
	*out = calloc(1, size ? size : 1);
	return *out ? values_default(table, *out) : GW_NOMEM;
}

/* An entry whose kind is unknown is read by the common table alone and not kept. */
static enum gw_err read_entry_settings(struct config_reader *rd, const struct config_section *section,
                                       struct tree_node *n, struct config_entry *entry)
{
	static const struct setting nothing[] = {SETTINGS_END};
	bool mapping = n->type == TREE_MAPPING;
	enum gw_err err = alloc_settings(entry->kind ? entry->kind->settings : nothing,
	                                 entry->kind ? entry->kind->size : 0, &entry->settings);
	if (!err)
		err = alloc_settings(section->common, section->common_size, &entry->common);
	if (!err) {
		struct config_scope scope = {
		    .targets = {{entry->kind ? entry->kind->settings : nothing, entry->settings},
		                {section->common, entry->common}},
		    .selector = section->selector,
		    .lenient = !entry->kind,
		};
		err = read_mapping(rd, mapping ? n : NULL, n->key_line, n->key_column, &scope);
	}
	return err;
}

static void free_entry(const struct config_section *section, struct config_entry *entry)
{
	if (entry->kind)
		values_free(entry->kind->settings, entry->settings);
	values_free(section->common, entry->common);
	free(entry->settings);
	free(entry->common);
	free(entry->name);
}

static enum gw_err read_entry(struct config_reader *rd, const struct config_section *section, struct tree_node *n,
                              struct config_entries *entries)
{
	struct config_entry *entry = &entries->items[entries->count++];
	entry->line = n->key_line;
	entry->column = n->key_column;
	entry->name = strdup(n->key);
	entry->unfit = true;
	enum gw_err err = entry->name ? add_place(rd, n->key_line, n->key_column) : GW_NOMEM;
	if (err || n->type == TREE_BAD)
		return err;
	if (!is_entry_name(n->key))
		report_error(rd->report, n->key_line, n->key_column,
		             "not a name; allowed: 1 to %d of a-z, 0-9, _ and -, beginning with a letter or digit",
		             ENTRY_NAME_MAX);
	if (n->type != TREE_MAPPING && !n->null) {
		report_error(rd->report, n->line, n->column,
		             "is %s; allowed: a mapping of settings, or nothing for all defaults",
		             tree_type_name(n->type));
		return GW_OK;
	}
	err = read_kind(rd, section, n, &entry->kind);
	rd->unfit = false;
	if (!err)
		err = read_entry_settings(rd, section, n, entry);
	entry->unfit = rd->unfit || !entry->kind;
	return err;
}

static enum gw_err read_section(struct config_reader *rd, const struct config_section *section, struct tree_node *n,
                                struct config_entries *entries)
{
	size_t count = 0;
	rd->private->config.unfit |= n->type != TREE_MAPPING && !n->null;
	if (n->null || n->type == TREE_BAD)
		return GW_OK;
	if (n->type != TREE_MAPPING) {
		report_error(rd->report, n->line, n->column, "is %s; allowed: a mapping with a name for each of the %s",
		             tree_type_name(n->type), section->name);
		return GW_OK;
	}
	tree_find_repeated(n, rd->report);
	for (const struct tree_node *entry = n->first; entry; entry = entry->next)
		count++;
	entries->items = calloc(count ? count : 1, sizeof(*entries->items));
	if (!entries->items)
		return GW_NOMEM;
	enum gw_err err = GW_OK;
	for (struct tree_node *entry = n->first; entry && !err; entry = entry->next) {
		if (entry->repeated)
			continue;
		size_t mark = report_enter(rd->report, entry->key);
		err = read_entry(rd, section, entry, entries);
		report_leave(rd->report, mark);
		rd->private->config.unfit |= entries->items[entries->count - 1].unfit;
	}
	return err;
}

static enum gw_err read_tree(struct config_reader *rd, struct tree_node *root)
{
	struct config *config = &rd->private->config;
	const struct config_schema *schema = rd->schema;
	struct config_scope scope = {.targets = {{schema->settings, config->settings}}, .schema = schema};

	if (root && root->null)
		root = NULL;
	if (root && root->type != TREE_MAPPING) {
		if (root->type != TREE_BAD)
			report_error(rd->report, root->line, root->column,
			             "the file is %s; it must be a mapping, like `listeners:`",
			             tree_type_name(root->type));
		return GW_OK;
	}
	enum gw_err err = read_mapping(rd, root, 1, 1, &scope);
	for (struct tree_node *n = root ? root->first : NULL; n && !err; n = n->next) {
		for (size_t i = 0; i < schema->section_count && !err; i++) {
			if (n->repeated || strcmp(n->key, schema->sections[i].name))
				continue;
			size_t mark = report_enter(rd->report, n->key);
			err = add_place(rd, n->key_line, n->key_column);
			if (!err)
				err = read_section(rd, &schema->sections[i], n, &config->sections[i]);
			report_leave(rd->report, mark);
		}
	}
	return err;
}

static enum gw_err alloc_config(const struct config_schema *schema, const char *path, struct config_private **out)
{
	struct config_private *p = calloc(1, sizeof(*p));
	*out = p;
	if (!p)
		return GW_NOMEM;
	p->config.path = strdup(path);
	p->config.sections = calloc(schema->section_count + 1, sizeof(*p->config.sections));
	if (!p->config.path || !p->config.sections)
		return GW_NOMEM;
	return alloc_settings(schema->settings, schema->size, &p->config.settings);
}

/* The whole file; *text is owned by the caller. GW_OK | GW_CONFIG (reported) | GW_NOMEM. */
static enum gw_err read_file(const char *path, struct report *r, char **text, size_t *len)
{
	FILE *file = fopen(path, "re");
	if (!file) {
		report_error(r, 0, 0, "cannot be opened: %s", strerror(errno));
		return GW_CONFIG;
	}
	enum gw_err err = GW_OK;
	*text = malloc(FILE_MAX + 1);
	if (*text) {
		*len = fread(*text, 1, FILE_MAX + 1, file);
		if (ferror(file)) {
			report_error(r, 0, 0, "cannot be read: %s", strerror(errno));
			err = GW_CONFIG;
		}
	} else {
		err = GW_NOMEM;
	}
	fclose(file);
	return err;
}

static enum gw_err read_text(struct config_reader *rd, const char *text, size_t len)
{
	struct tree_node *root;
	if (len > FILE_MAX) {
		report_error(rd->report, 0, 0, "the file is larger than 1MiB");
		return GW_CONFIG;
	}
	enum gw_err err = tree_read(text, len, rd->report, &root);
	if (!err)
		err = read_tree(rd, root);
	tree_free(root);
	return err;
}

enum gw_err config_read_all(const struct config_schema *schema, const char *path, const char *text, FILE *errors,
                            struct config **out)
{
	struct report report;
	struct config_reader rd = {.schema = schema, .report = &report, .path = path};
	char *contents = NULL;
	size_t len = text ? strlen(text) : 0;
	enum gw_err err = report_init(&report, path);

	*out = NULL;
	if (err)
		return err;
	err = alloc_config(schema, path, &rd.private);
	if (!err && !text)
		err = read_file(path, &report, &contents, &len);
	if (!err)
		err = read_text(&rd, text ? text : contents, len);
	if (contents)
		explicit_bzero(contents, len);
	free(contents);

	enum gw_err reported = report_fini(&report, errors);
	if (err || reported == GW_NOMEM)
		config_free(schema, rd.private ? &rd.private->config : NULL);
	else
		*out = &rd.private->config;
	return err == GW_NOMEM ? err : reported;
}

enum gw_err config_read(const struct config_schema *schema, const char *path, const char *text, FILE *errors,
                        struct config **out)
{
	struct config *config;
	enum gw_err err = config_read_all(schema, path, text, errors, &config);
	if (err)
		config_free(schema, config);
	else
		*out = config;
	return err;
}

void config_free(const struct config_schema *schema, struct config *config)
{
	if (!config)
		return;
	struct config_private *p = (struct config_private *)config;
	values_free(schema->settings, config->settings);
	free(config->settings);
	for (size_t i = 0; config->sections && i < schema->section_count; i++) {
		for (size_t j = 0; j < config->sections[i].count; j++)
			free_entry(&schema->sections[i], &config->sections[i].items[j]);
		free(config->sections[i].items);
	}
	for (size_t i = 0; i < p->place_count; i++)
		free(p->places[i].key);
	free(p->places);
	free(config->sections);
	free(config->path);
	free(p);
}
