/* A hash table of 16-bit numbers with linear probing, at most half full; 0 marks a free slot. Clients count their
 * identifiers up, so the number itself is the hash: neighbours do not collide. A client that aims its identifiers at
 * one slot slows its own walk, by no more than receive_maximum steps. */
#include "protocols/mqtt/mqtt_ids.h"

#include <assert.h>
#include <stdlib.h>

#define IDS_SLOTS_MIN 16

struct mqtt_ids {
	uint32_t count, mask; /* mask + 1 slots, a power of two */
	uint16_t slots[];
};

static struct mqtt_ids *ids_new(uint32_t slots)
{
	struct mqtt_ids *ids = calloc(1, sizeof(*ids) + slots * sizeof(ids->slots[0]));
	if (ids)
		ids->mask = slots - 1;
	return ids;
}

/* The slot that holds id, or the free one where it would go. */
static uint32_t ids_slot(const struct mqtt_ids *ids, uint16_t id)
{
	uint32_t i = id & ids->mask;
	while (ids->slots[i] != 0 && ids->slots[i] != id)
		i = (i + 1) & ids->mask;
	return i;
}

bool mqtt_ids_has(const struct mqtt_ids *ids, uint16_t id)
{
	return ids && ids->slots[ids_slot(ids, id)] == id;
}

size_t mqtt_ids_count(const struct mqtt_ids *ids)
{
	return ids ? ids->count : 0;
}

static enum gw_err ids_grow(struct mqtt_ids **ids)
{
	struct mqtt_ids *old = *ids, *wider = ids_new(old ? (old->mask + 1) * 2 : IDS_SLOTS_MIN);
	if (!wider)
		return GW_NOMEM;
	for (uint32_t i = 0; old && i <= old->mask; i++) {
		if (old->slots[i] != 0)
			wider->slots[ids_slot(wider, old->slots[i])] = old->slots[i];
	}
	wider->count = old ? old->count : 0;
	free(old);
	*ids = wider;
	return GW_OK;
}

enum gw_err mqtt_ids_add(struct mqtt_ids **ids, uint16_t id)
{
	assert(id != 0 && !mqtt_ids_has(*ids, id));
	if (!*ids || ((*ids)->count + 1) * 2 > (*ids)->mask + 1) {
		enum gw_err err = ids_grow(ids);
		if (err != GW_OK)
			return err;
	}
	(*ids)->slots[ids_slot(*ids, id)] = id;
	(*ids)->count++;
	return GW_OK;
}

bool mqtt_ids_remove(struct mqtt_ids *ids, uint16_t id)
{
	if (!mqtt_ids_has(ids, id))
		return false;
	uint32_t hole = ids_slot(ids, id), i = hole;
	ids->slots[hole] = 0;
	ids->count--;
	/* No walk may end at the hole that went past it before: move back whatever stands behind it and is not at or
	 * after its own slot. */
	for (i = (i + 1) & ids->mask; ids->slots[i] != 0; i = (i + 1) & ids->mask) {
		uint32_t home = ids->slots[i] & ids->mask;
		if (((i - home) & ids->mask) < ((i - hole) & ids->mask))
			continue;
		ids->slots[hole] = ids->slots[i];
		ids->slots[i] = 0;
		hole = i;
	}
	return true;
}

void mqtt_ids_free(struct mqtt_ids *ids)
{
	free(ids);
}
