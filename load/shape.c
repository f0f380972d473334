/* Shapes as closed formulas; see shape.h. The rate is the derivative of how many messages are wanted by a time, so that a
 * ramp is a quadratic equation, and steps are solved one step after the other. */
#include "load/shape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/units.h"

#define US 1e6

/* -- reading -- */

/* The next part of "A:B:C"; false: there is none, or it does not fit. */
static bool next_part(const char **text, char part[32])
{
	size_t len = strcspn(*text, ":");
	if (len == 0 || len >= 32)
		return false;
	memcpy(part, *text, len);
	part[len] = 0;
	*text += len + ((*text)[len] == ':');
	return true;
}

static bool read_number(const char *text, double *out)
{
	char *end;
	double v = strtod(text, &end);
	if (end == text || !isfinite(v) || v < 0)
		return false;
	v *= *end == 'k' ? 1e3 : *end == 'M' ? 1e6 : 1;
	end += *end == 'k' || *end == 'M';
	*out = v;
	return *end == 0;
}

static bool read_parts(const char *text, double *a, double *b, double *seconds)
{
	char part[32];
	uint64_t us;
	if (!next_part(&text, part) || !read_number(part, a))
		return false;
	if (b && (!next_part(&text, part) || !read_number(part, b)))
		return false;
	if (!next_part(&text, part) || units_parse_duration(part, &us) || us == 0 || *text)
		return false;
	*seconds = (double)us / US;
	return true;
}

enum gw_err shape_read_rate(struct load_shape *s, const char *text, struct why *why)
{
	double rate;
	if (!read_number(text, &rate) || rate <= 0)
		return why_set(why, GW_CONFIG, "%s is no rate: messages a second, as 2500 or 50k", text);
	*s = (struct load_shape){.kind = SHAPE_RATE, .from = rate};
	return GW_OK;
}

enum gw_err shape_read_ramp(struct load_shape *s, const char *text, struct why *why)
{
	struct load_shape r = {.kind = SHAPE_RAMP};
	if (!read_parts(text, &r.from, &r.to, &r.every_s) || r.from + r.to <= 0)
		return why_set(why, GW_CONFIG, "%s is no ramp: FROM:TO:TIME, as 1k:50k:60s", text);
	*s = r;
	return GW_OK;
}

enum gw_err shape_read_step(struct load_shape *s, const char *text, struct why *why)
{
	struct load_shape r = {.kind = SHAPE_STEP};
	if (!read_parts(text, &r.from, &r.to, &r.every_s) || r.from + r.to <= 0)
		return why_set(why, GW_CONFIG, "%s are no steps: FROM:BY:EVERY, as 1k:1k:10s", text);
	*s = r;
	return GW_OK;
}

enum gw_err shape_read_burst(struct load_shape *s, const char *text, struct why *why)
{
	struct load_shape r = {.kind = SHAPE_BURST};
	double size;
	if (!read_parts(text, &size, NULL, &r.every_s) || size < 1 || size > 1e9)
		return why_set(why, GW_CONFIG, "%s are no bursts: SIZE:EVERY, as 10k:5s", text);
	r.size = (uint64_t)size;
	*s = r;
	return GW_OK;
}

/* -- when -- */

/* n = from t + (to - from) t^2 / 2 every, solved so that it stays exact when from and to are nearly the same. */
static double ramp_time(const struct load_shape *s, double n)
{
	double whole = (s->from + s->to) / 2 * s->every_s, slope = (s->to - s->from) / s->every_s;
	if (n >= whole)
		return s->to > 0 ? s->every_s + (n - whole) / s->to : HUGE_VAL;
	return 2 * n / (s->from + sqrt(fmax(0, s->from * s->from + 2 * slope * n)));
}

/* After k steps from * k + by * k (k - 1) / 2 seconds' worth of messages are out. */
static double step_time(const struct load_shape *s, double n)
{
	double m = n / s->every_s, a = s->to / 2, b = s->from - a;
	double k = floor(a > 0 ? (sqrt(b * b + 4 * a * m) - b) / (2 * a) : m / s->from);
	for (; k > 0 && k * s->from + s->to * k * (k - 1) / 2 > m; k--) /* rounding */
		;
	double rate = s->from + k * s->to;
	if (rate <= 0) /* --step 0:...: nothing in the first */
		return s->every_s + n / s->to;
	return (k + (m - (k * s->from + s->to * k * (k - 1) / 2)) / rate) * s->every_s;
}

uint64_t shape_time_us(const struct load_shape *s, uint64_t n)
{
	double t = 0;
	uint64_t whole;
	switch (s->kind) {
	case SHAPE_RATE: t = (double)n / s->from; break;
	case SHAPE_RAMP: t = n == 0 && s->from <= 0 ? 0 : ramp_time(s, (double)n); break;
	case SHAPE_STEP: t = step_time(s, (double)n); break;
	case SHAPE_BURST:
		whole = n / s->size;
		t = (double)whole * s->every_s;
		break;
	case SHAPE_CLOSED:
	case SHAPE_FLEET: break;
	}
	return t < 1e12 ? (uint64_t)(t * US) : UINT64_MAX;
}

/* SplitMix64 (Steele, Lea, Flood 2014): a number's worth of chance from a number. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static double chance(uint64_t seed, uint64_t a, uint64_t b)
{
	return (double)(mix(mix(seed ^ a) ^ b) >> 11) * 0x1p-53;
}

/* A connection with several devices sends every/devices apart; the jitter is a share of that, so that what a connection
 * sends stays in order. */
uint64_t shape_fleet_us(const struct load_shape *s, uint64_t connection, uint64_t connections, uint64_t devices,
                        uint64_t j)
{
	double apart = s->every_s / (double)(devices ? devices : 1);
	double phase = connections > 1 ? chance(s->seed, connection, UINT64_MAX) : 0;
	return (uint64_t)(((double)j + phase + s->jitter * chance(s->seed, connection, j)) * apart * US);
}

double shape_total(const struct load_shape *s, uint64_t at_us)
{
	double t = (double)at_us / US, k;
	switch (s->kind) {
	case SHAPE_RATE: return s->from * t;
	case SHAPE_RAMP:
		if (t > s->every_s)
			return (s->from + s->to) / 2 * s->every_s + (t - s->every_s) * s->to;
		return s->from * t + (s->to - s->from) * t * t / (2 * s->every_s);
	case SHAPE_STEP:
		k = floor(t / s->every_s);
		return (k * s->from + s->to * k * (k - 1) / 2) * s->every_s +
		       (t - k * s->every_s) * (s->from + k * s->to);
	case SHAPE_BURST: /* the one that is due at that very time is of the next period; 1e-9: rounding */
		return ceil(t / s->every_s - 1e-9) * (double)s->size;
	case SHAPE_FLEET: return fmax(0, t / s->every_s - s->jitter / 2) * (double)s->size; /* on the average */
	case SHAPE_CLOSED: break;
	}
	return 0;
}
