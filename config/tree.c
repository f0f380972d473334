/* YAML by libyaml's events. Its own document API is not used: it resolves aliases (a small file can unfold to
 * gigabytes), has no limit on nesting and takes duplicate keys. */
#include "config/tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct builder {
	struct report *report;
	const char *text; /* the whole file, for hints */
	size_t len;
	struct tree_node *root;    /* owned until handed out */
	struct tree_node *current; /* the open mapping or list, NULL outside */
	unsigned depth;
	unsigned documents;
	char *key; /* owned: the key that waits for its value */
	int key_line, key_column;
};

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void tree_free(struct tree_node *n)
{
	if (!n)
		return;
	struct tree_node *child = n->first;
	while (child) {
		struct tree_node *next = child->next;
		tree_free(child); /* at most TREE_DEPTH_MAX deep */
		child = next;
	}
	wipe(n->key);
	wipe(n->text);
	free(n);
}

static int mark_line(const yaml_mark_t *mark)
{
	return (int)mark->line + 1;
}

static int mark_column(const yaml_mark_t *mark)
{
	return (int)mark->column + 1;
}

/* A scalar in the place of a key. */
static enum gw_err take_key(struct builder *b, const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	if (strlen(text) != e->data.scalar.length) {
		report_error(b->report, mark_line(&e->start_mark), mark_column(&e->start_mark),
		             "a key holds a NUL character");
		return GW_CONFIG;
	}
	b->key = strdup(text);
	b->key_line = mark_line(&e->start_mark);
	b->key_column = mark_column(&e->start_mark);
	return b->key ? GW_OK : GW_NOMEM;
}

/* Hangs a new node under the open container; *out is borrowed. */
static enum gw_err add_node(struct builder *b, enum tree_type type, const yaml_mark_t *mark, struct tree_node **out)
{
	struct tree_node *n = calloc(1, sizeof(*n));
	if (!n)
		return GW_NOMEM;
	*n = (struct tree_node){
	    .type = type, .line = mark_line(mark), .column = mark_column(mark), .parent = b->current};
	n->key = b->key;
	n->key_line = b->key_line;
	n->key_column = b->key_column;
	b->key = NULL;
	if (!b->current)
		b->root = n;
	else if (b->current->last)
		b->current->last->next = n;
	else
		b->current->first = n;
	if (b->current)
		b->current->last = n;
	*out = n;
	return GW_OK;
}

static bool says_nothing(const char *text)
{
	return !*text || !strcmp(text, "~") || !strcmp(text, "null") || !strcmp(text, "Null") || !strcmp(text, "NULL");
}

static enum gw_err take_scalar(struct builder *b, const yaml_event_t *e)
{
	struct tree_node *n;
	enum gw_err err = add_node(b, TREE_SCALAR, &e->start_mark, &n);
	if (err)
		return err;
	const char *text = (const char *)e->data.scalar.value;
	n->text = strdup(text);
	if (!n->text)
		return GW_NOMEM;
	n->null = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && says_nothing(text);
	if (strlen(text) != e->data.scalar.length) {
		report_error(b->report, n->line, n->column, "a value holds a NUL character");
		n->type = TREE_BAD;
	}
	return GW_OK;
}

static enum gw_err open_container(struct builder *b, enum tree_type type, const yaml_mark_t *mark)
{
	if (++b->depth > TREE_DEPTH_MAX) {
		report_error(b->report, mark_line(mark), mark_column(mark), "nested deeper than %d levels",
		             TREE_DEPTH_MAX);
		return GW_CONFIG;
	}
	struct tree_node *n;
	enum gw_err err = add_node(b, type, mark, &n);
	if (!err)
		b->current = n;
	return err;
}

/* Refuses what makes a file say more than it shows. Read on: the value itself is there. */
static void refuse_anchor_and_tag(struct builder *b, const yaml_event_t *e, const yaml_char_t *anchor,
                                  const yaml_char_t *tag)
{
	int line = mark_line(&e->start_mark), column = mark_column(&e->start_mark);
	if (anchor)
		report_error(b->report, line, column,
		             "anchors (&name) are not supported; write the value out where it is needed");
	if (tag)
		report_error(b->report, line, column, "tags (!name) are not supported; leave the tag out");
}

static enum gw_err take_value(struct builder *b, const yaml_event_t *e)
{
	bool wants_key = b->current && b->current->type == TREE_MAPPING && !b->key;
	struct tree_node *n;

	switch (e->type) {
	case YAML_SCALAR_EVENT:
		refuse_anchor_and_tag(b, e, e->data.scalar.anchor, e->data.scalar.tag);
		return wants_key ? take_key(b, e) : take_scalar(b, e);
	case YAML_SEQUENCE_START_EVENT:
		refuse_anchor_and_tag(b, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		refuse_anchor_and_tag(b, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
		break;
	default:
		report_error(b->report, mark_line(&e->start_mark), mark_column(&e->start_mark),
		             "aliases (*name) are not supported; write the value out here");
		return wants_key ? GW_CONFIG : add_node(b, TREE_BAD, &e->start_mark, &n);
	}
	if (wants_key) {
		report_error(
		    b->report, mark_line(&e->start_mark), mark_column(&e->start_mark),
		    "a key must be plain text, not a list or a mapping (quote a value that begins with [ or {)");
		return GW_CONFIG;
	}
	return open_container(b, e->type == YAML_SEQUENCE_START_EVENT ? TREE_SEQUENCE : TREE_MAPPING, &e->start_mark);
}

static enum gw_err take_event(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
	case YAML_ALIAS_EVENT: return take_value(b, e);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		assert(b->current); /* libyaml ends only what it began */
		b->current = b->current->parent;
		b->depth--;
		return GW_OK;
	case YAML_DOCUMENT_START_EVENT:
		if (b->documents++ == 0)
			return GW_OK;
		report_error(b->report, mark_line(&e->start_mark), mark_column(&e->start_mark),
		             "a second document begins here (---); the file must be one document");
		return GW_CONFIG;
	default: return GW_OK;
	}
}

/* What commonly lies behind libyaml's words, found in the line that it complains of. */
static const char *syntax_hint(const struct builder *b, const yaml_mark_t *mark)
{
	const char *end = b->text + b->len, *line = b->text;
	for (size_t i = 0; i < mark->line && line < end; i++) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		line = newline ? newline + 1 : end;
	}
	const char *newline = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
	size_t len = (size_t)((newline ? newline : end) - line);
	if (len && memmem(line, len, "${", 2))
		return " (a value with ${...} must be quoted inside [ ] and { })";
	size_t indent = 0;
	while (indent < len && (line[indent] == ' ' || line[indent] == '\t'))
		indent++;
	return indent && memchr(line, '\t', indent) ? " (indent with spaces, not with tabs)" : "";
}

static enum gw_err report_syntax(struct builder *b, const yaml_parser_t *p)
{
	const char *problem = p->problem ? p->problem : "cannot be parsed";

	if (p->error == YAML_MEMORY_ERROR)
		return GW_NOMEM;
	if (p->error == YAML_READER_ERROR) {
		int line = 1;
		for (size_t i = 0; i < p->problem_offset && i < b->len; i++)
			line += b->text[i] == '\n';
		report_error(b->report, line, 1, "not UTF-8 text: %s (byte %zu of the file)", problem,
		             p->problem_offset);
		return GW_CONFIG;
	}
	const yaml_mark_t *at = &p->problem_mark;
	FILE *out = report_begin(b->report, mark_line(at), mark_column(at));
	fprintf(out, "not valid YAML: %s", problem);
	if (p->context && p->context_mark.line != at->line)
		fprintf(out, ", %s that began on line %d", p->context, mark_line(&p->context_mark));
	else if (p->context)
		fprintf(out, " %s", p->context);
	fputs(syntax_hint(b, at), out);
	report_end(b->report);
	return GW_CONFIG;
}

enum gw_err tree_read(const char *text, size_t len, struct report *r, struct tree_node **root)
{
	struct builder b = {.report = r, .text = text, .len = len};
	enum gw_err err = GW_OK;
	bool ended = false;
	yaml_parser_t parser;

	*root = NULL;
	if (!yaml_parser_initialize(&parser))
		return GW_NOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while (!err && !ended) {
		yaml_event_t event;
		if (!yaml_parser_parse(&parser, &event)) {
			err = report_syntax(&b, &parser);
			break;
		}
		ended = event.type == YAML_STREAM_END_EVENT || event.type == YAML_NO_EVENT;
		err = take_event(&b, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	wipe(b.key);
	if (err)
		tree_free(b.root);
	else
		*root = b.root;
	return err;
}

static int compare_keys(const void *a, const void *b)
{
	const struct tree_node *x = *(const struct tree_node *const *)a, *y = *(const struct tree_node *const *)b;
	int order = strcmp(x->key, y->key);
	if (order)
		return order;
	if (x->key_line != y->key_line)
		return x->key_line < y->key_line ? -1 : 1;
	return x->key_column < y->key_column ? -1 : x->key_column > y->key_column;
}

/* By sorting, since a file may be written to have very many. */
void tree_find_repeated(struct tree_node *mapping, struct report *r)
{
	size_t count = 0, i = 0;
	for (const struct tree_node *n = mapping->first; n; n = n->next)
		count++;
	if (count < 2)
		return;
	struct tree_node **sorted = malloc(count * sizeof(struct tree_node *));
	if (!sorted) {
		r->nomem = true;
		return;
	}
	for (struct tree_node *n = mapping->first; n; n = n->next)
		sorted[i++] = n;
	qsort(sorted, count, sizeof(struct tree_node *), compare_keys);
	const struct tree_node *first = sorted[0];
	for (i = 1; i < count; i++) {
		if (strcmp(sorted[i]->key, first->key)) {
			first = sorted[i];
			continue;
		}
		sorted[i]->repeated = true;
		size_t mark = report_enter(r, sorted[i]->key);
		report_error(r, sorted[i]->key_line, sorted[i]->key_column, "given twice, first on line %d",
		             first->key_line);
		report_leave(r, mark);
	}
	free(sorted);
}

const struct tree_node *tree_find(const struct tree_node *mapping, const char *key)
{
	for (const struct tree_node *n = mapping ? mapping->first : NULL; n; n = n->next)
		if (!strcmp(n->key, key))
			return n;
	return NULL;
}

const char *tree_type_name(enum tree_type type)
{
	return type == TREE_SEQUENCE ? "a list" : type == TREE_MAPPING ? "a mapping" : "a single value";
}
