/* A set of packet identifiers (1..65535): the QoS 2 messages of one client between PUBLISH and PUBREL. It exists only
 * while there is one and grows with what is in it, up to 8 KiB, so that a client that never uses QoS 2 costs a NULL pointer. Not
 * thread safe: one owner. */
#ifndef SLUICE_PROTOCOLS_MQTT_MQTT_IDS_H
#define SLUICE_PROTOCOLS_MQTT_MQTT_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

struct mqtt_ids; /* NULL is the empty set */

struct mqtt_ids *
mqtt_ids_new(void); /* an empty set that is not NULL: a session without identifiers; NULL: out of memory */

bool mqtt_ids_has(const struct mqtt_ids *ids, uint16_t id);
size_t mqtt_ids_count(const struct mqtt_ids *ids);

/* mqtt_ids_add adds id, which is not 0 and not in the set; *ids may move. GW_OK | GW_NOMEM (the set is as it was). */
enum gw_err mqtt_ids_add(struct mqtt_ids **ids, uint16_t id);

/* mqtt_ids_remove removes id; false: it was not in the set. The memory stays for the next one; mqtt_ids_free gives it
 * back. */
bool mqtt_ids_remove(struct mqtt_ids *ids, uint16_t id);
void mqtt_ids_free(struct mqtt_ids *ids); /* ids may be NULL */

#endif
