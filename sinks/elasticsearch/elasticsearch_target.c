/* Indices in trouble.
 *
 * A record that its index does not take for now is held (batch.h): it waits for that index, and those of other indices go on. While
 * an index is away, new records for it are not even sent: the server would keep each such request, and all in it, for its time-out.
 * Held ones are, one batch at a time, and the first that is taken ends it.
 *
 * What the server refuses for good is a dead letter, unless the index refuses whatever comes: see target_health.h. */
#include <stdio.h>
#include <string.h>

#include "sinks/elasticsearch/elasticsearch.h"

static void hold(struct elasticsearch_flight *f, size_t i, const struct target_health *h)
{
	batch_retry(f->batch, i, "%s", h->reason);
	if (f->batch->hold_ms < h->hold_ms)
		f->batch->hold_ms = h->hold_ms;
}

static void wait_longer(const struct elasticsearch *es, struct target_health *h, int64_t now_ms)
{
	const struct sink_settings *s = es->host->settings;
	target_health_wait(h, s->backoff_min / 1000, s->backoff_max / 1000, now_ms);
}

/* NULL: nothing is remembered of it, and get is false or there is no room. */
static struct target_health *health_of(const struct elasticsearch_flight *f, size_t i, bool get)
{
	struct elasticsearch *es = f->es;
	index_name_of(&es->name, f->batch->items[i].entry, f->built_ms);
	return get ? target_health_get(&es->targets, es->name.name, es->name.len, elasticsearch_clock_ms())
	           : target_health_find(&es->targets, es->name.name, es->name.len);
}

bool elasticsearch_target_withhold(struct elasticsearch_flight *f, size_t i, const char *name, size_t len)
{
	struct elasticsearch *es = f->es;
	if (es->targets.troubled == 0 || f->batch->held)
		return false;
	const struct target_health *h = target_health_find(&es->targets, name, len);
	if (!h || h->trouble != TARGET_AWAY)
		return false;
	hold(f, i, h);
	return true;
}

void elasticsearch_target_report(struct elasticsearch *es)
{
	const struct targets_health *t = &es->targets;
	const struct target_health *first = NULL;
	char text[512], more[96] = "";
	for (size_t i = 0; i < t->count && !first; i++)
		if (t->items[i].trouble != TARGET_FINE)
			first = &t->items[i];
	if (!first)
		return;
	if (t->troubled > 1)
		snprintf(more, sizeof(more), "; and %zu more indices. Only their records wait", t->troubled - 1);
	snprintf(text, sizeof(text), "%s%s; trying again", first->reason, more);
	es->ailment = WELL; /* another index is news */
	elasticsearch_ail(es, TARGETS, text);
}

static void fail(struct elasticsearch_flight *f, size_t i, struct target_health *h, enum target_trouble trouble,
                 const char *text)
{
	struct elasticsearch *es = f->es;
	int64_t now_ms = elasticsearch_clock_ms();
	bool news = target_health_fail(&es->targets, h, trouble, text, now_ms);
	wait_longer(es, h, now_ms);
	hold(f, i, h);
	if (news)
		elasticsearch_target_report(es);
}

void elasticsearch_target_fail(struct elasticsearch_flight *f, size_t i, const char *text)
{
	struct target_health *h = health_of(f, i, true);
	if (h) {
		fail(f, i, h, TARGET_AWAY, text);
	} else { /* too many: everything waits */
		batch_retry(f->batch, i, "%s", text);
		elasticsearch_target_report(f->es);
	}
}

void elasticsearch_target_take(struct elasticsearch_flight *f, size_t i)
{
	struct elasticsearch *es = f->es;
	struct target_health *h = health_of(f, i, false);
	if (h && target_health_take(&es->targets, h, elasticsearch_clock_ms()))
		elasticsearch_target_report(es);
}

/* -- refused for good -- */

static bool is_enough(struct elasticsearch_flight *f, size_t i, struct target_health *h)
{
	struct record r;
	const uint8_t *entry = f->batch->items[i].entry;
	record_read(&r, entry);
	return target_health_refuse(&f->es->targets, h, target_health_device(record_json(entry), r.json_len),
	                            target_health_shape(record_json(entry), r.json_len), elasticsearch_clock_ms());
}

/* It took something since this request was made, or since the records of this batch were held. */
static bool is_proven(const struct elasticsearch_flight *f, const struct target_health *h)
{
	return h->taken_ms > 0 && (h->taken_ms >= f->sent_ms || (f->batch->held && h->taken_ms >= h->refused_ms));
}

void elasticsearch_target_judge(struct elasticsearch_flight *f)
{
	struct batch *b = f->batch;
	struct target_health *h;
	char text[768];
	for (size_t i = f->first; i < f->end; i++)
		if (b->items[i].state == ITEM_DEAD && (h = health_of(f, i, true)) && !is_proven(f, h) &&
		    is_enough(f, i, h)) {
			snprintf(text, sizeof(text), "index %s refuses every record, of whatever device: %.300s",
			         h->name, b->items[i].reason ? b->items[i].reason : "no reason given");
			fail(f, i, h, TARGET_REFUSES, text);
		}
	for (size_t i = f->first; i < f->end && f->es->targets.troubled > 0; i++)
		if (b->items[i].state == ITEM_DEAD && (h = health_of(f, i, false)) && h->trouble == TARGET_REFUSES)
			hold(f, i, h);
}

bool elasticsearch_target_suspect(struct elasticsearch_flight *f, size_t i)
{
	struct target_health *h = target_health_get(&f->es->targets, "", 0, elasticsearch_clock_ms());
	return h && !is_proven(f, h) && is_enough(f, i, h);
}
