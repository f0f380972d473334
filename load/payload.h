/* Texts with holes: payloads, topics, paths, client identifiers. A template is compiled once; putting it together is a few
 * copies. Everything in it is a function of the message's place (connection, number), so that a message which is sent
 * again is the same to the last byte, and nothing is kept per device.
 *
 *	{device} {seq} {run} {connection} {n}   n: the device's number, six digits at least
 *	{time}                                  RFC 3339 with milliseconds, of the sending
 *	{walk:MIN:MAX}                          a value that wanders, with as many decimals as MIN and MAX have
 *	{random:MIN:MAX} {random:a|b|c} {random:hex:N}
 *
 * Stretches without device, seq and time are made beforehand, VARIANTS of them, through which a device goes forth and
 * back; so a walk stays one. Any other { is itself, as JSON has them. */
#ifndef SLUICE_LOAD_PAYLOAD_H
#define SLUICE_LOAD_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

struct payload;

/* What fills the holes; texts are borrowed for the call. PAYLOAD_SLACK bytes behind device and time must be readable, and
 * as many behind what payload_put writes writable: everything is copied in whole pieces of that size, since most of a
 * message is a dozen short texts. */
#define PAYLOAD_SLACK 32u

struct payload_facts {
	const char *device, *run, *time;
	size_t device_len, run_len, time_len;
	uint64_t seq, connection, n;
};

struct payload_plan {
	const char *text; /* the template */
	size_t len;
	const char *size; /* sizes: "190", "100-2000", "64,256,1024"; NULL: as it comes */
	bool identity;    /* put "load" and "device" in; the text must be a JSON object */
	bool one_line;    /* line ends become spaces; refused if it is not JSON */
	const char *run;  /* constant: it is put in when compiled */
	uint64_t seed;
};

#define PAYLOAD_TELEMETRY                                                                                              \
	"{\"time\":\"{time}\",\"temperature\":{walk:-20.00:45.00},\"humidity\":{walk:20.0:95.0},"                      \
	"\"battery\":{walk:2.80:4.20},\"status\":\"{random:ok|ok|ok|fault}\"}"

/* payload_open compiles. GW_OK | GW_CONFIG (why says at which byte) | GW_NOMEM. */
enum gw_err payload_open(struct payload **out, const struct payload_plan *plan, struct why *why);
void payload_close(struct payload *p);                          /* p may be NULL */
size_t payload_max(const struct payload *p, size_t device_max); /* bytes that payload_put may write, slack included */
size_t payload_put(const struct payload *p, const struct payload_facts *f, uint8_t *out); /* returns their number */
bool payload_is_json(const struct payload *p);

/* payload_digits writes v in decimal; returns the number of digits (20 at most). */
size_t payload_digits(uint8_t *out, uint64_t v);

#endif
