/* What a sink says about a batch's items; batch_finish, which acts on it, is the pump's (pump_settle.c). */
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
