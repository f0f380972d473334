/* Which device a topic speaks of: a list of topic templates, compiled once, matched without allocation. The first that
 * matches wins.
 *
 *	devices/{device}/#      literal levels; {device} is one level that is not empty; # or ... at the end is any
 *	                        rest, none included
 *	+/{device}/state        + is any one level
 *	{client_id}             alone: any topic, the device is the client identifier
 *
 * As in MQTT section 4.7.2 a wildcard in the first level does not match a topic that begins with '$'. */
#ifndef SLUICE_PROTOCOLS_MQTT_MQTT_TOPICS_H
#define SLUICE_PROTOCOLS_MQTT_MQTT_TOPICS_H

#include <stddef.h>

#include "gateway/base/error.h"
#include "gateway/base/settings.h"
#include "protocols/mqtt/mqtt_codec.h"

struct mqtt_template;

struct mqtt_topics {
	struct mqtt_template *items; /* owned */
	size_t count;
};

/* mqtt_topics_init compiles a list; the texts are borrowed and must outlive t.
 * GW_OK | GW_CONFIG (why: which template, what is wrong with it) | GW_NOMEM; t is empty then. */
enum gw_err mqtt_topics_init(struct mqtt_topics *t, const struct string_list *templates, struct why *why);
void mqtt_topics_fini(struct mqtt_topics *t); /* also for an empty or zeroed t */

/* mqtt_topics_device finds the device: a part of topic, or client_id. An empty string (len 0): no template matches. */
struct mqtt_string mqtt_topics_device(const struct mqtt_topics *t, struct mqtt_string topic,
                                      struct mqtt_string client_id);

#endif
