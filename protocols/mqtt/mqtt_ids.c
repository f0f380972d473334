/* A hash table of 16-bit numbers with linear probing, at most half full; 0 marks a free slot. Clients count their
 * identifiers up, so the number itself is the hash: neighbours do not collide. A client that aims its identifiers at
 * one slot slows its own walk, by no more than IDS_SLOTS_MAX / 2 steps: a set that would need more slots becomes a bitmap
 * of 8 KiB, one bit for each number that there is, and never grows again. */
#include "protocols/mqtt/mqtt_ids.h"

#include <assert.h>
#include <stdlib.h>

#define IDS_SLOTS_MIN 16u
#define IDS_SLOTS_MAX 2048u
#define IDS_ALL 65536u /* numbers; as mask + 1 it says that the set is a bitmap */
#define BITS 16u       /* of a slot, where the set is a bitmap */

struct mqtt_ids {
	uint32_t count, mask; /* mask + 1 slots, a power of two; or IDS_ALL - 1 */
	uint16_t slots[];     /* numbers; or IDS_ALL bits */
};

static struct mqtt_ids *ids_new(uint32_t slots)
{
	struct mqtt_ids *ids =
	    calloc(1, sizeof(*ids) + (slots < IDS_ALL ? slots : slots / BITS) * sizeof(ids->slots[0]));
	if (ids)
		ids->mask = slots - 1;
	return ids;
}

struct mqtt_ids *mqtt_ids_new(void)
{
	return ids_new(IDS_SLOTS_MIN);
}

static bool is_bitmap(const struct mqtt_ids *ids)
{
	return ids->mask == IDS_ALL - 1;
}

static uint16_t bit_of(uint16_t id)
{
	return (uint16_t)(1u << id % BITS);
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
	if (!ids)
		return false;
	return is_bitmap(ids) ? (ids->slots[id / BITS] & bit_of(id)) != 0 : ids->slots[ids_slot(ids, id)] == id;
}

size_t mqtt_ids_count(const struct mqtt_ids *ids)
{
	return ids ? ids->count : 0;
}

static void ids_put(struct mqtt_ids *ids, uint16_t id)
{
	if (is_bitmap(ids))
		ids->slots[id / BITS] |= bit_of(id);
	else
		ids->slots[ids_slot(ids, id)] = id;
	ids->count++;
}

static uint32_t wider_than(const struct mqtt_ids *ids)
{
	if (!ids)
		return IDS_SLOTS_MIN;
	return ids->mask + 1 < IDS_SLOTS_MAX ? (ids->mask + 1) * 2 : IDS_ALL;
}

static enum gw_err ids_grow(struct mqtt_ids **ids)
{
	struct mqtt_ids *old = *ids, *wider = ids_new(wider_than(old));
	if (!wider)
		return GW_NOMEM;
	for (uint32_t i = 0; old && i <= old->mask; i++) {
		if (old->slots[i] != 0)
			ids_put(wider, old->slots[i]);
	}
	free(old);
	*ids = wider;
	return GW_OK;
}

enum gw_err mqtt_ids_add(struct mqtt_ids **ids, uint16_t id)
{
	assert(id != 0 && !mqtt_ids_has(*ids, id));
	if (!*ids || (!is_bitmap(*ids) && ((*ids)->count + 1) * 2 > (*ids)->mask + 1)) {
		enum gw_err err = ids_grow(ids);
		if (err != GW_OK)
			return err;
	}
	ids_put(*ids, id);
	return GW_OK;
}

bool mqtt_ids_remove(struct mqtt_ids *ids, uint16_t id)
{
	if (!mqtt_ids_has(ids, id))
		return false;
	ids->count--;
	if (is_bitmap(ids)) {
		ids->slots[id / BITS] &= (uint16_t)~bit_of(id);
		return true;
	}
	uint32_t hole = ids_slot(ids, id), i = hole;
	ids->slots[hole] = 0;
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
