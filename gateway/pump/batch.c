/* Batches: made and freed, and what a sink says about their items; batch_finish, which acts on it, is the pump's
 * (pump_settle.c). */
#include "gateway/pump/batch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_MAX                                                                                                     \
	1024u /* bytes of a reason, terminator included: a far end must not fill our memory with its complaints */

/* Memory being out costs the reason, never the word itself. */
static void reason_set(struct batch_item *item, const char *format, va_list args)
{
	char text[REASON_MAX];
	free(item->reason);
	item->reason = NULL;
	int len = vsnprintf(text, sizeof text, format, args);
	if (len < 0)
		return;
	item->reason = strdup(text);
}

void batch_retry(struct batch *b, size_t i, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	reason_set(&b->items[i], format, args);
	va_end(args);
	b->items[i].state = ITEM_RETRY;
}

void batch_dead(struct batch *b, size_t i, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	reason_set(&b->items[i], format, args);
	va_end(args);
	b->items[i].state = ITEM_DEAD;
}

void batch_done_all(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].state == ITEM_PENDING)
			batch_done(b, i);
}

void batch_retry_all(struct batch *b, const char *format, ...)
{
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].state != ITEM_PENDING)
			continue;
		va_list args;
		va_start(args, format);
		reason_set(&b->items[i], format, args);
		va_end(args);
		b->items[i].state = ITEM_RETRY;
	}
}

static void free_all(struct batch *b)
{
	struct batch_blocks *blocks = b->blocks;
	if (blocks)
		free(blocks->items);
	free(blocks);
	free(b->items);
	free(b);
}

struct batch *batch_new(size_t records)
{
	struct batch *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	struct batch_blocks *blocks = calloc(1, sizeof(*blocks));
	b->blocks = blocks;
	b->items = calloc(records, sizeof(*b->items));
	if (blocks)
		blocks->items = calloc(records, sizeof(struct block *));
	if (b->items && blocks && blocks->items)
		return b;
	free_all(b);
	return NULL;
}

void batch_item_clear(struct batch_item *item)
{
	free(item->reason);
	item->reason = NULL;
}

void batch_release_blocks(struct batch *b)
{
	struct batch_blocks *blocks = b->blocks;
	for (size_t i = 0; i < blocks->count; i++)
		block_unref(blocks->items[i]);
	blocks->count = 0;
}

void batch_clear(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		batch_item_clear(&b->items[i]);
		free(b->items[i].copy);
		b->items[i].copy = NULL;
	}
	batch_release_blocks(b);
	b->count = 0;
}

void batch_free(struct batch *b)
{
	batch_clear(b);
	free_all(b);
}
