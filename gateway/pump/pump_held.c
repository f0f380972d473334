/* Records that wait for a target of their own.
 *
 * A sink with several targets (indices, topics) may have one that takes nothing for hours, while the others do. If its records kept
 * their places with the sink, or made the pump back off, the records of all others would wait with them. So the sink says hold_ms
 * with such a batch: what is left of it rests, and goes again when its time is over, one held batch at a time. Everything else goes
 * on; the cursor stays before what rests, and after a restart what is behind it is sent again (the sink knows it by its id).
 *
 * Resting records have copies: as parts of their blocks they would keep every neighbour in memory as well. They join a batch that
 * rests already, if it has room. HELD_MAX bounds them all; beyond that the sink waits as a whole, as for a server that is down. */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/pump/pump_parts.h"

#define HELD_MAX (32u << 20) /* bytes */

static struct batch_copy *copy_of(const struct batch *b, const struct batch_item *item)
{
	size_t size = record_size(item->entry);
	struct batch_copy *copy = malloc(sizeof(*copy) + size);
	if (!copy)
		return NULL;
	copy->since_us = b->submitted_us;
	memcpy(copy->entry, item->entry, size);
	return copy;
}

static size_t bytes_to_copy(const struct batch *b)
{
	size_t bytes = 0;
	for (size_t i = 0; i < b->count; i++)
		bytes += b->items[i].copy ? 0 : record_size(b->items[i].entry);
	return bytes;
}

/* False: out of memory; some have copies. */
static bool keep_apart(struct pump *p, struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct batch_item *item = &b->items[i];
		if (item->copy)
			continue;
		if (!(item->copy = copy_of(b, item)))
			return false;
		item->entry = item->copy->entry;
		p->held_bytes += record_size(item->entry);
	}
	return true;
}

void pump_held_forget(struct pump *p, struct batch_item *item)
{
	if (item->copy)
		p->held_bytes -= record_size(item->entry);
	free(item->copy);
	item->copy = NULL;
}

/* The last batch before b that rests and has room for it; NULL: none. It must be before b: the cursor waits there. */
static struct batch *companion_of(const struct pump *p, const struct batch *b)
{
	const struct sink_settings *s = p->plan.common;
	struct batch *found = NULL;
	for (struct batch *c = b->track->first; c != b; c = c->next)
		if (c->resting && c->count + b->count <= (size_t)s->batch_records &&
		    c->bytes + b->bytes <= s->batch_bytes)
			found = c;
	return found;
}

static void join(struct batch *c, struct batch *b)
{
	memcpy(c->items + c->count, b->items, b->count * sizeof(*b->items));
	c->count += b->count;
	c->bytes += b->bytes;
	c->entry_bytes += b->entry_bytes;
	b->count = b->bytes = b->entry_bytes = 0;
	b->finished = true;
}

bool pump_held_add(struct pump *p, struct batch *b)
{
	if (p->held_bytes + bytes_to_copy(b) > HELD_MAX)
		return false;
	if (!b->held)
		b->oldest_us = b->blocks->count > 0 ? b->blocks->items[0]->time_us : 0;
	b->held = true;
	p->held_over = false;
	if (!keep_apart(p, b))
		return false;
	batch_release_blocks(b);
	struct batch *companion = companion_of(p, b);
	if (companion) {
		join(companion, b);
		pump_settle_finished(p, b->track);
		return true;
	}
	b->resting = true;
	b->due_us = clock_mono_us() + (int64_t)b->hold_ms * 1000;
	p->resting++;
	return true;
}

static struct batch *first_due(const struct pump *p)
{
	struct batch *found = NULL;
	for (int i = 0; i < 2 && p->resting > 0; i++)
		for (struct batch *b = i == 0 ? p->live.first : p->backlog.first; b; b = b->next)
			if (b->resting && (!found || b->due_us < found->due_us))
				found = b;
	return found;
}

/* One tries the target, the others wait for what becomes of it. */
static bool may_go(const struct pump *p)
{
	return !p->probe || p->held_over;
}

struct batch *pump_held_next(struct pump *p, int64_t now_us)
{
	struct batch *b = p->resting > 0 && may_go(p) ? first_due(p) : NULL;
	if (!b || b->due_us > now_us)
		return NULL;
	b->resting = false;
	p->resting--;
	p->probe = b;
	return b;
}

void pump_held_put_back(struct pump *p, struct batch *b)
{
	b->resting = true;
	p->resting++;
	p->probe = NULL;
}

int64_t pump_held_wait_us(const struct pump *p, int64_t now_us)
{
	const struct batch *b = p->resting > 0 && may_go(p) ? first_due(p) : NULL;
	return !b ? -1 : b->due_us > now_us ? b->due_us - now_us : 0;
}

void pump_held_over(struct pump *p)
{
	p->held_over = true;
	for (int i = 0; i < 2 && p->resting > 0; i++)
		for (struct batch *b = i == 0 ? p->live.first : p->backlog.first; b; b = b->next)
			b->due_us = 0;
}
