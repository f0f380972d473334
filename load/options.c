/* Command lines by tables; see options.h. */
#include "load/options.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/units.h"

/* -- values -- */

static enum gw_err read_count(uint64_t *out, const char *text, struct why *why)
{
	char *end;
	double v = strtod(text, &end), times = *end == 'k' ? 1e3 : *end == 'M' ? 1e6 : *end == 'G' ? 1e9 : 1;
	end += times > 1;
	if (end == text || *end || !isfinite(v) || v < 0 || v * times > 1e15 || v * times != floor(v * times))
		return why_set(why, GW_CONFIG, "%s is no whole number (as 250, 10k, 1.5M)", text);
	*out = (uint64_t)(v * times);
	return GW_OK;
}

static enum gw_err read_value(const struct load_option *o, void *into, const char *text, struct why *why)
{
	char *at = (char *)into + o->offset, *end;
	uint64_t count = 0;
	const char *wrong;
	enum gw_err err;
	switch (o->type) {
	case OPTION_HEADING: break;
	case OPTION_FLAG: *(bool *)at = true; break;
	case OPTION_COUNT: return read_count((uint64_t *)(void *)at, text, why);
	case OPTION_UNSIGNED:
	case OPTION_INT:
		if ((err = read_count(&count, text, why)))
			return err;
		if (count > (uint64_t)INT32_MAX)
			return why_set(why, GW_CONFIG, "%s is too large", text);
		*(int *)(void *)at = (int)count;
		break;
	case OPTION_NUMBER: {
		double v = strtod(text, &end);
		if (end == text || *end || !isfinite(v))
			return why_set(why, GW_CONFIG, "%s is no number", text);
		*(double *)(void *)at = v;
		break;
	}
	case OPTION_TIME:
		if ((wrong = units_parse_duration(text, &count)))
			return why_set(why, GW_CONFIG, "%s %s (as 500us, 20ms, 10s, 2m)", text, wrong);
		*(uint64_t *)(void *)at = count;
		break;
	case OPTION_TEXT: *(const char **)(void *)at = text; break;
	case OPTION_READ: return o->read(into, text, why);
	}
	return GW_OK;
}

/* -- finding -- */

static bool is_end(const struct load_option *o)
{
	return !o->name && !o->help;
}

/* Edits from one word to another, at most 8 looked at; Levenshtein, one row. */
static unsigned distance(const char *a, size_t a_len, const char *b)
{
	unsigned row[64];
	size_t b_len = strlen(b);
	if (b_len >= 64 || a_len >= 64)
		return 99;
	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned above = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned best = above + (a[i - 1] != b[j - 1]);
			above = row[j];
			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b_len];
}

static enum gw_err unknown(const struct load_options *sets, size_t count, const char *name, size_t len, struct why *why)
{
	const char *nearest = NULL;
	unsigned least = 4;
	for (size_t i = 0; i < count; i++)
		for (const struct load_option *o = sets[i].rows; !is_end(o); o++)
			if (o->name) {
				unsigned d = distance(name, len, o->name);
				if (d < least) {
					least = d;
					nearest = o->name;
				}
			}
	return why_set(why, GW_CONFIG, "unknown option --%.*s%s%s%s", (int)len, name,
	               nearest ? ": did you mean --" : "", nearest ? nearest : "",
	               nearest ? "?" : " (--help lists them)");
}

static const struct load_option *find(const struct load_options *sets, size_t count, const char *name, size_t len,
                                      char letter, void **into)
{
	for (size_t i = 0; i < count; i++)
		for (const struct load_option *o = sets[i].rows; !is_end(o); o++)
			if (o->name && (letter ? o->letter == letter
			                       : strlen(o->name) == len && memcmp(o->name, name, len) == 0)) {
				*into = sets[i].into;
				return o;
			}
	return NULL;
}

/* Reads the option that argv[*i] begins; *i is moved on when its value is the next word. */
static enum gw_err read_option(const struct load_options *sets, size_t count, int argc, char **argv, int *i,
                               struct why *why)
{
	const char *word = argv[*i], *value = NULL;
	bool is_long = word[1] == '-';
	const char *name = word + 1 + is_long;
	size_t len = is_long ? strcspn(name, "=") : 1;
	if (name[len])
		value = name + len + is_long;
	void *into = NULL;
	const struct load_option *o = find(sets, count, name, len, is_long ? 0 : *name, &into);
	if (!o)
		return is_long ? unknown(sets, count, name, len, why)
		               : why_set(why, GW_CONFIG, "unknown option -%c (--help lists them)", *name);
	if (o->type == OPTION_FLAG && value)
		return why_set(why, GW_CONFIG, "--%s takes no value", o->name);
	if (o->type != OPTION_FLAG && !value && !(value = ++*i < argc ? argv[*i] : NULL))
		return why_set(why, GW_CONFIG, "--%s needs a value: %s", o->name, o->value);
	enum gw_err err = read_value(o, into, value, why);
	return err ? why_add(why, err, "--%s", o->name) : GW_OK;
}

enum gw_err options_read(const struct load_options *sets, size_t count, int argc, char **argv,
                         const struct load_operands *operands, struct why *why)
{
	bool only_operands = false;
	enum gw_err err = GW_OK;
	for (int i = 1; i < argc && !err; i++) {
		const char *word = argv[i];
		if (only_operands || word[0] != '-' || word[1] == 0)
			err = operands->take(operands->context, word, why);
		else if (!strcmp(word, "--"))
			only_operands = true;
		else
			err = read_option(sets, count, argc, argv, &i, why);
	}
	return err;
}

/* -- help -- */

/* Text in lines of at most 118 characters, from the column at which the first one stands already. */
static void print_wrapped(FILE *out, const char *text, int column)
{
	int at = column;
	while (*text) {
		int len = (int)strcspn(text, " ");
		if (at > column && at + 1 + len > 118) {
			fprintf(out, "\n%*s", column, "");
			at = column;
		}
		fprintf(out, "%s%.*s", at > column ? " " : "", len, text);
		at += len + (at > column);
		text += len + (text[len] == ' ');
	}
	fputc('\n', out);
}

static bool is_hidden(const struct load_options *set, const struct load_option *o)
{
	for (const char *const *name = o->name ? set->hidden : NULL; name && *name; name++)
		if (!strcmp(*name, o->name))
			return true;
	return false;
}

void options_help(FILE *out, const struct load_options *sets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (const struct load_option *o = sets[i].rows; !is_end(o); o++) {
			if (is_hidden(&sets[i], o))
				continue;
			if (o->type == OPTION_HEADING) {
				fprintf(out, "\n%s\n", o->help);
				continue;
			}
			char left[64], letter[8] = "    ";
			if (o->letter)
				snprintf(letter, sizeof(letter), "-%c, ", o->letter);
			snprintf(left, sizeof(left), "  %s--%s%s%s", letter, o->name, o->value ? " " : "",
			         o->value ? o->value : "");
			fprintf(out, "%-34s", left);
			if (strlen(left) > 33)
				fprintf(out, "\n%34s", "");
			print_wrapped(out, o->help, 34);
		}
}
