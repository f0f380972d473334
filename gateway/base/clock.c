/* Clocks, and points in time as text. */
#include "gateway/base/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
	return read_clock(CLOCK_REALTIME);
}

static void two_digits(char *out, unsigned n)
{
	out[0] = (char)('0' + n / 10);
	out[1] = (char)('0' + n % 10);
}

void clock_format_micros(char *out, unsigned us)
{
	for (int i = 5; i >= 0; i--, us /= 10)
		out[i] = (char)('0' + us % 10);
}

/* Days to a civil date in the proleptic Gregorian calendar, by counting eras of 400 years that begin in March, so that
 * the leap day is the last of its year. */
static void date_write(char *out, int64_t days)
{
	days += 719468; /* from 0000-03-01 */
	int64_t era = days / 146097;
	unsigned day = (unsigned)(days - era * 146097);
	unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	unsigned of_year = day - (365 * year + year / 4 - year / 100);
	unsigned month = (5 * of_year + 2) / 153;
	two_digits(out + 8, of_year - (153 * month + 2) / 5 + 1);
	month = month < 10 ? month + 3 : month - 9;
	year += (unsigned)era * 400 + (month <= 2);
	two_digits(out, year / 100);
	two_digits(out + 2, year % 100);
	out[4] = out[7] = '-';
	two_digits(out + 5, month);
}

void clock_format(char out[CLOCK_FORMAT_LEN], int64_t us)
{
	int64_t seconds = us / 1000000, rest = us % 1000000;
	if (rest < 0) {
		rest += 1000000;
		seconds--;
	}
	int64_t days = seconds / 86400, of_day = seconds % 86400;
	if (of_day < 0) {
		of_day += 86400;
		days--;
	}
	date_write(out, days);
	out[10] = 'T';
	two_digits(out + 11, (unsigned)(of_day / 3600));
	out[13] = ':';
	two_digits(out + 14, (unsigned)(of_day / 60 % 60));
	out[16] = ':';
	two_digits(out + 17, (unsigned)(of_day % 60));
	out[19] = '.';
	clock_format_micros(out + 20, (unsigned)rest);
	out[26] = 'Z';
}
