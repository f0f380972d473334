/* Settings in words: see describe.h. */
#include "config/describe.h"

#include "config/setting.h"
#include "config/units.h"

const char *describe_type(enum setting_type type)
{
	switch (type) {
	case SETTING_END: break;
	case SETTING_BOOL: return "boolean";
	case SETTING_INT: return "integer";
	case SETTING_BYTES: return "size";
	case SETTING_DURATION: return "duration";
	case SETTING_PERCENT: return "percentage";
	case SETTING_STRING: return "text";
	case SETTING_SECRET: return "secret";
	case SETTING_ADDRESS: return "address";
	case SETTING_CHOICE: return "choice";
	case SETTING_LIST: return "list";
	case SETTING_MAP: return "map";
	case SETTING_GROUP: return "group";
	}
	return "?";
}

static uint64_t limit(double value)
{
	return value <= 0 ? 0 : value >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)value;
}

static void print_number(FILE *out, const struct setting *s, double value, const char *quote)
{
	fputs(quote, out);
	if (s->type == SETTING_BYTES)
		units_print_bytes(out, limit(value));
	else if (s->type == SETTING_DURATION)
		units_print_duration(out, limit(value));
	else if (s->type == SETTING_PERCENT)
		fprintf(out, "%g%%", value);
	else
		fprintf(out, "%.0f", value);
	fputs(quote, out);
}

static void print_choices(FILE *out, const char *const *choices, const char *quote)
{
	for (size_t i = 0; choices[i]; i++) {
		const char *before = i == 0 ? "" : choices[i + 1] ? ", " : " or ";
		fprintf(out, "%s%s%s%s", before, quote, choices[i], quote);
	}
}

bool describe_range(FILE *out, const struct setting *s, const char *quote)
{
	static const char *const booleans[] = {"true", "false", NULL};
	static const struct setting any_percent = {.type = SETTING_PERCENT, .min = 0, .max = 100};

	switch (s->type) {
	case SETTING_BOOL: print_choices(out, booleans, quote); return true;
	case SETTING_CHOICE: print_choices(out, s->choices, quote); return true;
	case SETTING_PERCENT:
		if (!setting_has_min(s) || !setting_has_max(s))
			s = &any_percent;
		break;
	case SETTING_INT:
	case SETTING_BYTES:
	case SETTING_DURATION: break;
	default: return false;
	}
	if (!setting_has_min(s))
		return false;
	if (!setting_has_max(s)) {
		fputs("at least ", out);
		print_number(out, s, s->min, quote);
		return true;
	}
	print_number(out, s, s->min, quote);
	fputs(" to ", out);
	print_number(out, s, s->max, quote);
	return true;
}

/* ", like 64KiB": the first example that the range allows. */
static void print_example(FILE *out, const struct setting *s)
{
	static const char *const sizes[] = {"64KiB", "1MiB", "512B", "1GiB", "100GiB", NULL};
	static const char *const durations[] = {"5s", "20ms", "1h", "500us", "7d", NULL};

	for (const char *const *e = s->type == SETTING_BYTES ? sizes : durations; *e; e++) {
		uint64_t value = 0;
		if (s->type == SETTING_BYTES)
			units_parse_bytes(*e, &value);
		else
			units_parse_duration(*e, &value);
		if (setting_in_range(s, (double)value)) {
			fprintf(out, ", like %s", *e);
			return;
		}
	}
}

static void print_group_keys(FILE *out, const struct setting *table)
{
	for (const struct setting *s = table; s->type != SETTING_END; s++)
		fprintf(out, "%s%s", s == table ? "" : ", ", setting_key(s));
}

void describe_allowed(FILE *out, const struct setting *s)
{
	bool range = describe_range(out, s, "");
	switch (s->type) {
	case SETTING_INT: fputs(range ? "" : "a whole number", out); break;
	case SETTING_BYTES:
	case SETTING_DURATION:
		fputs(range ? "" : s->type == SETTING_BYTES ? "a size" : "a duration", out);
		print_example(out, s);
		break;
	case SETTING_STRING: fputs("text", out); break;
	case SETTING_SECRET: fputs("text, or {file: PATH}", out); break;
	case SETTING_ADDRESS: fputs("HOST:PORT, like 127.0.0.1:1883, [::]:1883 or localhost:80", out); break;
	case SETTING_LIST: fputs("one text, or a list of texts like [a, b]", out); break;
	case SETTING_MAP: fputs("a mapping of names to texts", out); break;
	case SETTING_GROUP:
		fputs("a mapping with the keys ", out);
		print_group_keys(out, s->group);
		break;
	default: break;
	}
	if (s->def && *s->def && s->type != SETTING_SECRET)
		fprintf(out, " (default %s)", s->def);
}
