/* Event times out of a JSON value. Exact in integers: a double holds today's microseconds only just, and 0.1 not at
 * all. What is finer than a microsecond is cut off. */
#include "gateway/base/json.h"

#include <string.h>

/* 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z */
#define TIME_MIN_US INT64_C(-62135596800000000)
#define TIME_MAX_US INT64_C(253402300799999999)

#define US_PER_SECOND 1000000
#define SECONDS_PER_DAY 86400

/* Longest string with escapes in it that is looked at; no writer of times escapes anything. */
#define TIME_ESCAPED_MAX 128

struct span {
	const char *p, *end;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool span_starts(const struct span *s, char c)
{
	return s->p < s->end && *s->p == c;
}

static bool take_char(struct span *s, char c)
{
	bool found = span_starts(s, c);
	s->p += found;
	return found;
}

static bool take_number(struct span *s, int digits, int *value)
{
	if (s->end - s->p < digits)
		return false;
	*value = 0;
	for (; digits > 0; digits--, s->p++) {
		if (!is_digit(*s->p))
			return false;
		*value = *value * 10 + (*s->p - '0');
	}
	return true;
}

/* Steps over digits; returns how many. */
static size_t take_digits(struct span *s)
{
	const char *from = s->p;
	while (s->p < s->end && is_digit(*s->p))
		s->p++;
	return (size_t)(s->p - from);
}

static int month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return days[month - 1] + (month == 2 && leap);
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar, year 0..9999. Years begin in March here, so that a leap day
 * is the last of its year; 719468 days lie between 0000-03-01 and 1970-01-01. */
static int64_t days_from_date(int year, int month, int day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t before = (month + 9) % 12; /* whole months since March */
	int64_t leaps = y < 0 ? -1 : y / 4 - y / 100 + y / 400;
	return y * 365 + leaps + (before * 153 + 2) / 5 + day - 1 - 719468;
}

static bool take_date(struct span *s, int64_t *days)
{
	int year, month, day;
	if (!take_number(s, 4, &year) || !take_char(s, '-') || !take_number(s, 2, &month) || !take_char(s, '-') ||
	    !take_number(s, 2, &day))
		return false;
	if (month < 1 || month > 12 || day < 1 || day > month_days(year, month))
		return false;
	*days = days_from_date(year, month, day);
	return true;
}

/* The first six digits of a fraction of any length. */
static bool take_fraction(struct span *s, int64_t *us)
{
	*us = 0;
	if (!take_char(s, '.'))
		return true;
	const char *digits = s->p;
	size_t count = take_digits(s);
	for (size_t i = 0; i < 6; i++)
		*us = *us * 10 + (i < count ? digits[i] - '0' : 0);
	return count > 0;
}

static bool take_clock(struct span *s, int *seconds, bool *leap, int64_t *us)
{
	int hour, minute, second;
	if (!take_number(s, 2, &hour) || !take_char(s, ':') || !take_number(s, 2, &minute) || !take_char(s, ':') ||
	    !take_number(s, 2, &second) || !take_fraction(s, us))
		return false;
	*seconds = (hour * 60 + minute) * 60 + second;
	*leap = second == 60;
	return hour < 24 && minute < 60 && second <= 60;
}

static bool take_offset(struct span *s, int *seconds)
{
	*seconds = 0;
	if (take_char(s, 'Z') || take_char(s, 'z'))
		return true;
	bool west = span_starts(s, '-');
	int hour, minute;
	if (!take_char(s, west ? '-' : '+') || !take_number(s, 2, &hour) || !take_char(s, ':') ||
	    !take_number(s, 2, &minute))
		return false;
	*seconds = (hour * 60 + minute) * 60 * (west ? -1 : 1);
	return hour < 24 && minute < 60;
}

/* RFC 3339 section 5.6, with 't', 'z' and the blank of its notes. A leap second is the last of a day in UTC
 * (section 5.7) and is taken as the first moment of the next, as the epoch has no number for it. */
static bool time_rfc3339(struct span s, int64_t *us)
{
	int64_t days, fraction;
	int clock, offset;
	bool leap;
	if (!take_date(&s, &days) || !(take_char(&s, 'T') || take_char(&s, 't') || take_char(&s, ' ')))
		return false;
	if (!take_clock(&s, &clock, &leap, &fraction) || !take_offset(&s, &offset) || s.p != s.end)
		return false;
	int64_t seconds = days * SECONDS_PER_DAY + clock - offset;
	if (leap && seconds % SECONDS_PER_DAY != 0)
		return false;
	*us = seconds * US_PER_SECOND + (leap ? 0 : fraction);
	return true;
}

/* A decimal number as text: the digits of `whole`, the point, the digits of `fraction`, times 10^exponent. */
struct decimal {
	bool negative;
	struct span whole, fraction;
	int exponent;
};

#define EXPONENT_MAX 100000000 /* further than the digits of any payload reach; ten times as much still fits an int */

static bool take_exponent(struct span *s, int *exponent)
{
	*exponent = 0;
	if (!take_char(s, 'e') && !take_char(s, 'E'))
		return true;
	bool negative = span_starts(s, '-');
	if (!take_char(s, '-'))
		take_char(s, '+');
	const char *from = s->p;
	if (take_digits(s) == 0)
		return false;
	for (; from < s->p && *exponent < EXPONENT_MAX; from++)
		*exponent = *exponent * 10 + (*from - '0');
	if (negative)
		*exponent = -*exponent;
	return true;
}

static bool take_decimal(struct span *s, struct decimal *d)
{
	d->negative = take_char(s, '-');
	d->whole.p = s->p;
	bool digits = take_digits(s) > 0;
	d->whole.end = s->p;
	if (take_char(s, '.')) {
		d->fraction.p = s->p;
		digits = take_digits(s) > 0 && digits;
		d->fraction.end = s->p;
	} else {
		d->fraction = (struct span){s->p, s->p};
	}
	return digits && take_exponent(s, &d->exponent) && s->p == s->end;
}

/* Appends the digits of s, at most `count` of them, to *value; false when it leaves what a time can be. */
static bool digits_append(struct span s, int64_t count, int64_t *value)
{
	for (; s.p < s.end && count > 0; s.p++, count--) {
		if (*value > TIME_MAX_US / 10)
			return false;
		*value = *value * 10 + (*s.p - '0');
	}
	return true;
}

/* d times 10^shift, as an integer: takes as many digits as stand before the shifted point, and zeros where they run
 * out. */
static bool decimal_scale(const struct decimal *d, int shift, int64_t *value)
{
	int64_t whole = d->whole.end - d->whole.p;
	int64_t fraction = d->fraction.end - d->fraction.p;
	int64_t wanted = whole + d->exponent + shift;
	*value = 0;
	if (!digits_append(d->whole, wanted, value) || !digits_append(d->fraction, wanted - whole, value))
		return false;
	for (int64_t zeros = wanted - whole - fraction; zeros > 0 && *value != 0; zeros--) {
		if (*value > TIME_MAX_US / 10)
			return false;
		*value *= 10;
	}
	if (d->negative)
		*value = -*value;
	return true;
}

static bool time_number(struct span s, int shift, int64_t *us)
{
	struct decimal d;
	return take_decimal(&s, &d) && decimal_scale(&d, shift, us);
}

bool json_time(const struct json_value *v, enum json_time_format format, int64_t *us)
{
	char decoded[TIME_ESCAPED_MAX];
	bool string = v->type == JSON_STRING;
	if (v->len == 0 || (string && v->len < 2))
		return false;
	struct span s = {v->text, v->text + v->len};
	if (string) {
		s = (struct span){s.p + 1, s.end - 1};
		if (memchr(s.p, '\\', (size_t)(s.end - s.p))) {
			if ((size_t)(s.end - s.p) > sizeof(decoded))
				return false;
			s = (struct span){decoded, decoded + json_unescape(decoded, s.p, (size_t)(s.end - s.p))};
		}
	} else if (v->type != JSON_NUMBER) {
		return false;
	}
	int64_t found;
	bool ok = false;
	switch (format) {
	case JSON_TIME_RFC3339: ok = string && time_rfc3339(s, &found); break;
	case JSON_TIME_UNIX: ok = time_number(s, 6, &found); break;
	case JSON_TIME_UNIX_MS: ok = time_number(s, 3, &found); break;
	case JSON_TIME_UNIX_US: ok = time_number(s, 0, &found); break;
	}
	if (!ok || found < TIME_MIN_US || found > TIME_MAX_US)
		return false;
	*us = found;
	return true;
}
