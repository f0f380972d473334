/* Numbers with units. All arithmetic is whole and checked: 0.1kB is exactly 100 bytes, and nothing wraps. */
#include "config/units.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Ascending, decimal before binary of about the same size: printing takes the last that divides with the smallest
 * quotient. */
static const struct unit size_units[] = {
    {"B", 1},
    {"kB", 1000},
    {"KiB", UINT64_C(1) << 10},
    {"MB", 1000000},
    {"MiB", UINT64_C(1) << 20},
    {"GB", 1000000000},
    {"GiB", UINT64_C(1) << 30},
    {"TB", 1000000000000},
    {"TiB", UINT64_C(1) << 40},
    {NULL, 0},
};

static const struct unit time_units[] = {
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"m", UINT64_C(60) * 1000000},
    {"h", UINT64_C(3600) * 1000000},
    {"d", UINT64_C(86400) * 1000000},
    {NULL, 0},
};

/* A decimal number: whole + fraction / scale. */
struct units_decimal {
	uint64_t whole, fraction, scale;
	bool overflow; /* more digits than fit */
	bool point;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads DIGITS[.DIGITS]; returns what follows, NULL when there is no such number. */
static const char *parse_decimal(const char *s, struct units_decimal *d)
{
	*d = (struct units_decimal){.scale = 1};
	if (!is_digit(*s) || (s[0] == '0' && is_digit(s[1])))
		return NULL;
	for (; is_digit(*s); s++)
		d->overflow |= __builtin_mul_overflow(d->whole, (uint64_t)10, &d->whole) ||
		               __builtin_add_overflow(d->whole, (uint64_t)(*s - '0'), &d->whole);
	if (*s != '.')
		return s;
	d->point = true;
	const char *end = ++s;
	if (!is_digit(*s))
		return NULL;
	while (is_digit(*end))
		end++;
	const char *last = end;
	while (last > s && last[-1] == '0')
		last--;
	for (; s < last; s++)
		d->overflow |= __builtin_mul_overflow(d->fraction, (uint64_t)10, &d->fraction) ||
		               __builtin_add_overflow(d->fraction, (uint64_t)(*s - '0'), &d->fraction) ||
		               __builtin_mul_overflow(d->scale, (uint64_t)10, &d->scale);
	return end;
}

const char *units_parse_int(const char *text, int64_t *out)
{
	bool negative = *text == '-';
	struct units_decimal d;
	const char *end = parse_decimal(text + negative, &d);
	if (!end || *end || d.point)
		return "is not a whole number";
	if (d.overflow || d.whole > (uint64_t)INT64_MAX)
		return negative ? "is too small" : "is too large";
	*out = negative ? -(int64_t)d.whole : (int64_t)d.whole;
	return NULL;
}

static const struct unit *find_unit(const struct unit *units, const char *name)
{
	while (units->name && strcmp(units->name, name))
		units++;
	return units->name ? units : NULL;
}

/* d times a unit, exactly; NULL or why not. */
static const char *scale_decimal(const struct units_decimal *d, const struct unit *unit, const char *not_whole,
                                 uint64_t *out)
{
	uint64_t whole, fraction;
	if (d->overflow)
		return d->point ? not_whole : "is too large";
	if (__builtin_mul_overflow(d->whole, unit->factor, &whole))
		return "is too large";
	if (__builtin_mul_overflow(d->fraction, unit->factor, &fraction) || fraction % d->scale)
		return not_whole;
	if (__builtin_add_overflow(whole, fraction / d->scale, &whole))
		return "is too large";
	*out = whole;
	return NULL;
}

const char *units_parse_bytes(const char *text, uint64_t *out)
{
	struct units_decimal d;
	const char *end = parse_decimal(text, &d);
	const struct unit *unit = !end ? NULL : *end ? find_unit(size_units, end) : &size_units[0];
	if (!unit)
		return "is not a size";
	return scale_decimal(&d, unit, "is not a whole number of bytes", out);
}

const char *units_parse_duration(const char *text, uint64_t *out_us)
{
	struct units_decimal d;
	const char *end = parse_decimal(text, &d);
	if (!end)
		return "is not a duration";
	if (!*end) {
		if (strcmp(text, "0"))
			return "has no unit (us, ms, s, m, h or d)";
		*out_us = 0;
		return NULL;
	}
	const struct unit *unit = find_unit(time_units, end);
	if (!unit)
		return "is not a duration (units are us, ms, s, m, h and d)";
	return scale_decimal(&d, unit, "is not a whole number of microseconds", out_us);
}

const char *units_parse_percent(const char *text, double *out)
{
	struct units_decimal d;
	const char *end = parse_decimal(text, &d);
	if (!end || (*end && strcmp(end, "%")))
		return "is not a percentage";
	if (d.overflow)
		return d.point ? "has too many digits" : "is too large";
	*out = (double)d.whole + (double)d.fraction / (double)d.scale;
	return NULL;
}

static void print_quantity(FILE *out, const struct unit *units, uint64_t value)
{
	const struct unit *best = units;
	for (const struct unit *u = units; u->name; u++)
		if (value % u->factor == 0 && value / u->factor <= value / best->factor)
			best = u;
	fprintf(out, "%llu%s", (unsigned long long)(value / best->factor), best->name);
}

void units_print_bytes(FILE *out, uint64_t bytes)
{
	if (bytes)
		print_quantity(out, size_units, bytes);
	else
		fputs("0", out);
}

void units_print_duration(FILE *out, uint64_t us)
{
	if (us)
		print_quantity(out, time_units, us);
	else
		fputs("0", out);
}
