/* What can be configured, for people: text for a terminal and a page of Markdown, both made from the setting tables. */
#include <string.h>

#include "config/config.h"
#include "config/describe.h"
#include "config/setting.h"

#define HELP_COLUMNS 100

/* ---- For a terminal ---- */

/* Prints words, indented, in lines of at most HELP_COLUMNS. */
static void print_wrapped(FILE *out, int indent, const char *text)
{
	int column = 0;
	while (*(text += strspn(text, " "))) {
		int len = (int)strcspn(text, " ");
		if (column && column + 1 + len > HELP_COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		column += column ? fprintf(out, " %.*s", len, text) : fprintf(out, "%*s%.*s", indent, "", len, text);
		text += len;
	}
	if (column)
		fputc('\n', out);
}

static void help_default(FILE *out, const struct setting *s)
{
	if (s->required)
		fputs("required", out);
	else if (s->def && *s->def)
		fprintf(out, "default %s", s->def);
	else
		fputs(s->def ? "default \"\"" : "no default", out);
}

/*   name: size; 16B to 256MiB; default 64KiB
 *       What it does. */
static void help_table(FILE *out, const struct setting *table, int indent)
{
	for (const struct setting *s = table; s && s->type != SETTING_END; s++) {
		fprintf(out, "%*s%s:", indent, "", setting_key(s));
		if (s->type != SETTING_GROUP) {
			fprintf(out, " %s; ", describe_type(s->type));
			if (describe_range(out, s, ""))
				fputs("; ", out);
			help_default(out, s);
		}
		fputc('\n', out);
		if (s->help)
			print_wrapped(out, indent + 4, s->help);
		if (s->type == SETTING_GROUP)
			help_table(out, s->group, indent + 2);
	}
}

static void help_section(FILE *out, const struct config_section *section)
{
	fprintf(out, "\n%s:\n", section->name);
	print_wrapped(out, 4, section->help ? section->help : "");
	fprintf(out, "  NAME:\n");
	fprintf(out, "    %s: ", section->selector);
	for (size_t i = 0; i < section->kind_count; i++)
		fprintf(out, "%s%s", i ? " | " : "", section->kinds[i].name);
	fprintf(out, "\n        May be left out when NAME is one of these.\n");
	help_table(out, section->common, 4);
	for (size_t i = 0; i < section->kind_count; i++) {
		const struct config_kind *kind = &section->kinds[i];
		fprintf(out, "\n    with %s: %s\n", section->selector, kind->name);
		print_wrapped(out, 8, kind->help ? kind->help : "");
		help_table(out, kind->settings, 4);
	}
}

void config_help(const struct config_schema *schema, FILE *out)
{
	print_wrapped(
	    out, 0,
	    "Settings of the configuration file. It is YAML; keys that are left out have their defaults. "
	    "Sizes take B, kB, KiB, MB, MiB, GB, GiB, TB or TiB; durations us, ms, s, m, h or d. ${NAME} and "
	    "${NAME:-default} in a value take an environment variable, $$ is a dollar sign. A secret is text or "
	    "{file: PATH}, relative to the configuration file.");
	fputc('\n', out);
	help_table(out, schema->settings, 0);
	for (size_t i = 0; i < schema->section_count; i++)
		help_section(out, &schema->sections[i]);
}

/* ---- Markdown ---- */

static const char introduction[] =
    "# Configuration\n"
    "\n"
    "<!-- Made from the program's own setting tables; do not edit. -->\n"
    "\n"
    "The configuration is one YAML file. Every setting has a default unless it is marked **required**; a key that is\n"
    "left out keeps it. Unknown keys are errors, and all errors of a file are told at once, each with its line, its\n"
    "column, what was seen and what is allowed. `sluice --check FILE` reads a file and says whether it is good,\n"
    "`sluice --help-config` prints this reference in a terminal.\n"
    "\n"
    "The file is at most 1 MiB, UTF-8, one document, nested at most 16 deep. Anchors, aliases and tags are refused.\n"
    "\n"
    "## Types and units\n"
    "\n"
    "| Type | What to write |\n"
    "| --- | --- |\n"
    "| boolean | `true` or `false` |\n"
    "| integer | a decimal number: `1000` |\n"
    "| size | bytes, or a number with a unit: `65536`, `64KiB`, `1.5GiB`, `10MB`; units `B`, `kB`, `KiB`, `MB`, `MiB`, "
    "`GB`, `GiB`, `TB`, `TiB` |\n"
    "| duration | a number with a unit: `500us`, `20ms`, `5s`, `2m`, `1h`, `7d`, or `0` |\n"
    "| percentage | `5%`, or `5` |\n"
    "| text | any text; quote it when it holds `: `, ` #` or begins with a special character of YAML. `\"\"` is empty "
    "text |\n"
    "| secret | text, or `{file: PATH}`: the first line of that file; a relative path starts at the configuration "
    "file's directory. Secrets are never printed |\n"
    "| address | `HOST:PORT`: `127.0.0.1:1883`, `[::1]:1883`, `localhost:80`; `[::]:1883` is every address of the "
    "machine |\n"
    "| choice | one of the words listed |\n"
    "| list | one text, or several: `[a, b]`, or one per line, each after `- ` |\n"
    "| map | a mapping of names to texts: `{name: value}`, or one `name: value` per line |\n"
    "\n"
    "## Environment variables\n"
    "\n"
    "In any value, `${NAME}` stands for the environment variable `NAME`, and `${NAME:-default}` for it or, when it is\n"
    "unset or empty, for the default. A variable that is unset and has no default is an error. `$$` is a dollar sign; "
    "a\n"
    "dollar sign before anything but `{` and `$` is itself. What a variable holds is one value, whatever characters "
    "are\n"
    "in it: it cannot add settings. Keys take no variables, and no variable has any effect unless the file names it.\n"
    "Inside `[ ]` and `{ }` such a value must be quoted: `[\"${FIRST}\", \"${SECOND}\"]`.\n"
    "\n"
    "```yaml\n"
    "password: ${BROKER_PASSWORD}\n"
    "listen: ${LISTEN:-127.0.0.1:1883}\n"
    "api_key: {file: secrets/api-key}\n"
    "```\n"
    "\n";

static const char table_head[] =
    "| Setting | Type | Default | Allowed | What it does |\n| --- | --- | --- | --- | --- |\n";

/* Text in a table's cell: the bar would end it, < would begin a tag (not in `code`), a newline would end the row. */
static void print_cell(FILE *out, const char *text)
{
	bool code = false;
	for (; *text; text++) {
		code ^= *text == '`';
		if (*text == '|')
			fputs("\\|", out);
		else if (*text == '<' && !code)
			fputs("&lt;", out);
		else
			fputc(*text == '\n' ? ' ' : *text, out);
	}
}

static void print_name(FILE *out, const struct setting *s, const char *anchor, const char *prefix)
{
	const char *key = setting_key(s);
	fprintf(out, "| <a id=\"%s-%s%s\"></a>`%s%s` | %s | ", anchor, prefix, key, prefix, key,
	        describe_type(s->type));
}

static void print_default(FILE *out, const struct setting *s)
{
	if (s->required) {
		fputs("**required**", out);
	} else if (s->def && s->type != SETTING_SECRET) {
		fputc('`', out);
		print_cell(out, *s->def ? s->def : "\"\"");
		fputc('`', out);
	} else if (s->type != SETTING_GROUP) {
		fputs("none", out);
	}
}

static void print_row(FILE *out, const struct setting *s, const char *anchor, const char *prefix)
{
	print_name(out, s, anchor, prefix);
	print_default(out, s);
	fputs(" | ", out);
	if (!describe_range(out, s, "`") && s->type != SETTING_GROUP)
		fputs("any", out);
	fputs(" | ", out);
	print_cell(out, s->help ? s->help : "");
	fputs(" |\n", out);
}

/* Groups are told in the same table, as `group.key`. */
static void print_rows(FILE *out, const struct setting *table, const char *anchor, const char *prefix)
{
	for (const struct setting *s = table; s && s->type != SETTING_END; s++) {
		print_row(out, s, anchor, prefix);
		if (s->type != SETTING_GROUP)
			continue;
		char inner[256];
		snprintf(inner, sizeof(inner), "%s%s.", prefix, setting_key(s));
		print_rows(out, s->group, anchor, inner);
	}
}

static void print_table(FILE *out, const struct setting *table, const char *anchor)
{
	if (!table || table->type == SETTING_END) {
		fputs("No settings of its own.\n\n", out);
		return;
	}
	fputs(table_head, out);
	print_rows(out, table, anchor, "");
	fputc('\n', out);
}

/* Whether a table has settings outside groups. */
static bool has_single(const struct setting *table)
{
	while (table && table->type == SETTING_GROUP)
		table++;
	return table && table->type != SETTING_END;
}

static void print_contents(FILE *out, const struct config_schema *schema)
{
	fputs(
	    "## Contents\n\n- [Types and units](#types-and-units)\n- [Environment variables](#environment-variables)\n",
	    out);
	if (has_single(schema->settings))
		fputs("- [The whole gateway](#gateway)\n", out);
	for (const struct setting *s = schema->settings; s && s->type != SETTING_END; s++)
		if (s->type == SETTING_GROUP)
			fprintf(out, "- [`%s`](#%s)\n", setting_key(s), setting_key(s));
	for (size_t i = 0; i < schema->section_count; i++) {
		const struct config_section *section = &schema->sections[i];
		fprintf(out, "- [`%s`](#%s)", section->name, section->name);
		for (size_t j = 0; j < section->kind_count; j++)
			fprintf(out, "%s[%s](#%s-%s)", j ? ", " : ": ", section->kinds[j].name, section->name,
			        section->kinds[j].name);
		fputc('\n', out);
	}
	fputc('\n', out);
}

/* Single settings at the top come in one table, each group gets a chapter. */
static void print_top(FILE *out, const struct setting *table)
{
	if (has_single(table)) {
		fprintf(out, "## <a id=\"gateway\"></a>The whole gateway\n\n%s", table_head);
		for (const struct setting *s = table; s->type != SETTING_END; s++)
			if (s->type != SETTING_GROUP)
				print_row(out, s, "gateway", "");
		fputc('\n', out);
	}
	for (const struct setting *s = table; s && s->type != SETTING_END; s++) {
		if (s->type != SETTING_GROUP)
			continue;
		fprintf(out, "## <a id=\"%s\"></a>%s\n\n%s\n\n", setting_key(s), setting_key(s),
		        s->help ? s->help : "");
		print_table(out, s->group, setting_key(s));
	}
}

static void print_section(FILE *out, const struct config_section *section)
{
	fprintf(out, "## <a id=\"%s\"></a>%s\n\n%s\n\n", section->name, section->name,
	        section->help ? section->help : "");
	fprintf(out,
	        "Each entry has a name of its own, of `a-z`, `0-9`, `_` and `-`. Its key `%s` says of which kind it "
	        "is; it may be\n"
	        "left out when the name is that of a kind. An entry with nothing in it has all defaults.\n\n",
	        section->selector);
	fputs("```yaml\n", out);
	fprintf(out, "%s:\n", section->name);
	if (section->kind_count) {
		const char *kind = section->kinds[0].name;
		fprintf(out, "  %s:\n  another-%s:\n    %s: %s\n", kind, kind, section->selector, kind);
	}
	fputs("```\n\n", out);
	if (section->common && section->common->type != SETTING_END) {
		fprintf(out, "### <a id=\"%s-all\"></a>%s: every kind\n\n", section->name, section->name);
		char anchor[128];
		snprintf(anchor, sizeof(anchor), "%s-all", section->name);
		print_table(out, section->common, anchor);
	}
	for (size_t i = 0; i < section->kind_count; i++) {
		const struct config_kind *kind = &section->kinds[i];
		char anchor[128];
		snprintf(anchor, sizeof(anchor), "%s-%s", section->name, kind->name);
		fprintf(out, "### <a id=\"%s\"></a>%s: %s\n\n%s\n\n", anchor, section->name, kind->name,
		        kind->help ? kind->help : "");
		print_table(out, kind->settings, anchor);
	}
}

void config_reference(const struct config_schema *schema, FILE *out)
{
	fputs(introduction, out);
	print_contents(out, schema);
	print_top(out, schema->settings);
	for (size_t i = 0; i < schema->section_count; i++)
		print_section(out, &schema->sections[i]);
}
