/* The shape of a load: when the n-th message of the run is to be sent. Everything is a function of n, so that no
 * schedule is kept, any worker can ask for any message, and latency can be measured from the intended time: a server
 * that stalls does not slow down its own measurement ("coordinated omission", Gil Tene).
 *
 *	closed   no times: a message follows when the window lets it
 *	rate     a fixed rate
 *	ramp     from one rate to another over a time, then on at the last
 *	step     FROM, BY more every EVERY
 *	burst    SIZE messages at once every EVERY
 *	fleet    each device every EVERY, at a phase of its own, off by up to JITTER of it */
#ifndef SLUICE_LOAD_SHAPE_H
#define SLUICE_LOAD_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/error.h"

enum load_shape_kind { SHAPE_CLOSED, SHAPE_RATE, SHAPE_RAMP, SHAPE_STEP, SHAPE_BURST, SHAPE_FLEET };

struct load_shape {
	enum load_shape_kind kind;
	double from, to; /* messages a second, all connections together; rate: from; step: to is the step */
	double every_s;  /* ramp: how long it takes; step, burst, fleet: the period */
	uint64_t size;   /* burst: messages at once; fleet: devices */
	double jitter;   /* fleet: 0 to 1 */
	uint64_t seed;
};

/* shape_rate, ... read what stands behind --rate, --ramp FROM:TO:TIME, --step FROM:BY:EVERY, --burst SIZE:EVERY.
 * GW_OK | GW_CONFIG with why. */
enum gw_err shape_read_rate(struct load_shape *s, const char *text, struct why *why);
enum gw_err shape_read_ramp(struct load_shape *s, const char *text, struct why *why);
enum gw_err shape_read_step(struct load_shape *s, const char *text, struct why *why);
enum gw_err shape_read_burst(struct load_shape *s, const char *text, struct why *why);

/* shape_time_us: when message n (0, 1, 2 ...) of all is to go, in us from the start; not for closed and fleet.
 * shape_fleet_us: when the j-th message of one of `connections` connections is to go, which carries `devices` devices in
 * turn. shape_total: how many are wanted by a time; 0 for closed. */
uint64_t shape_time_us(const struct load_shape *s, uint64_t n);
uint64_t shape_fleet_us(const struct load_shape *s, uint64_t connection, uint64_t connections, uint64_t devices,
                        uint64_t j);
double shape_total(const struct load_shape *s, uint64_t at_us);

#endif
