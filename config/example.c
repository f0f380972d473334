/* A configuration file with every setting, commented out, at its default: config/sluice.yaml is made so. */
#include <string.h>

#include "config/config.h"
#include "config/setting.h"

#define COLUMNS 110

/* Words behind "# ", in lines of at most COLUMNS. */
static void print_comment(FILE *out, int indent, const char *text)
{
	int column = 0;
	while (*(text += strspn(text, " "))) {
		int len = (int)strcspn(text, " ");
		if (column && column + 1 + len > COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		if (!column)
			column = fprintf(out, "%*s## ", indent, "");
		else
			column += fprintf(out, " ");
		column += fprintf(out, "%.*s", len, text);
		text += len;
	}
	if (column)
		fputc('\n', out);
}

/* Items as defaults have them: separated by commas. Quoted, because device templates hold braces. */
static void print_list(FILE *out, const char *items)
{
	fputs(" [", out);
	while (*items) {
		int len = (int)strcspn(items, ",");
		fprintf(out, "\"%.*s\"", len, items);
		items += len;
		if (*items == ',') {
			fputs(", ", out);
			items++;
		}
	}
	fputs("]\n", out);
}

static void print_value(FILE *out, const struct setting *s)
{
	if (s->type == SETTING_LIST && !s->required) {
		print_list(out, s->def ? s->def : "");
		return;
	}
	if (s->type == SETTING_MAP) {
		fputs(" {}\n", out);
		return;
	}
	bool quote = s->def && (s->type == SETTING_ADDRESS || strpbrk(s->def, ":{}[]#,%&*!|>'\"") || !*s->def);
	if (!s->def)
		fputs(s->required ? " ...   # must be given\n" : " ...   # not set\n", out);
	else
		fprintf(out, quote ? " \"%s\"\n" : " %s\n", s->def);
}

static void print_table(FILE *out, const struct setting *rows, int indent)
{
	for (const struct setting *s = rows; s && s->type != SETTING_END; s++) {
		print_comment(out, indent, s->help ? s->help : "");
		fprintf(out, "%*s#%s:", indent, "", setting_key(s));
		if (s->type == SETTING_GROUP) {
			fputc('\n', out);
			print_table(out, s->group, indent + 2);
			continue;
		}
		print_value(out, s);
	}
}

void config_example(const struct config_schema *schema, FILE *out)
{
	fputs("## Every setting of Sluice, commented out, at its default. Lines with ## explain the next one; take the "
	      "# away from a line, and\n"
	      "## from the lines above it that it belongs to, to change it. `sluice --check FILE` tells what is wrong "
	      "with a file.\n"
	      "## ${NAME} and ${NAME:-default} take environment variables.\n\n",
	      out);
	print_table(out, schema->settings, 0);
	for (size_t i = 0; i < schema->section_count; i++) {
		const struct config_section *s = &schema->sections[i];
		fputc('\n', out);
		print_comment(out, 0, s->help ? s->help : "");
		fprintf(out, "%s:\n", s->name);
		for (size_t k = 0; k < s->kind_count; k++) {
			fputc('\n', out);
			print_comment(out, 2, s->kinds[k].help ? s->kinds[k].help : "");
			/* The first kind is there, with its defaults, so that the file can be used as it is. */
			fprintf(out, "  %s%s:\n    #%s: %s\n", k ? "#" : "", s->kinds[k].name, s->selector,
			        s->kinds[k].name);
			print_table(out, s->kinds[k].settings, 4);
			if (k > 0)
				continue;
			fputs("\n    ## The following can be set for every entry of this section.\n", out);
			print_table(out, s->common, 4);
		}
	}
}
