/* The answer to a bulk request, record by record: see elasticsearch_flight.c for what each verdict means. */
#include <stdio.h>
#include <string.h>

#include "sinks/elasticsearch/elasticsearch.h"

/* A batch that was refused for now for so long is news. */
#define SLOW_AFTER_MS 10000

/* Overload passes by itself, mostly; when it does not, the operator should know. */
void elasticsearch_answer_not_now(struct elasticsearch_flight *f, const char *text)
{
	char state[512];
	int64_t since_ms = elasticsearch_clock_ms() - f->batch->submitted_us / 1000;
	if (since_ms < SLOW_AFTER_MS)
		return;
	snprintf(state, sizeof(state), "records are refused for now since %d s: %.400s", (int)(since_ms / 1000), text);
	f->es->slow = f->batch;
	elasticsearch_ail(f->es, OVERLOADED, state);
}

/* "mapper [payload.x] cannot be changed from type [keyword] to [double]": see the top. */
static bool is_race(const struct bulk_item *item)
{
	return item->status == 400 && item->type && !strcmp(item->type, "illegal_argument_exception") && item->reason &&
	       strstr(item->reason, "cannot be changed from type");
}

static void index_fails(struct elasticsearch_flight *f, size_t i, const struct bulk_item *item,
                        enum bulk_verdict verdict)
{
	struct elasticsearch *es = f->es;
	const uint8_t *entry = f->batch->items[i].entry;
	char text[512];
	uint64_t left_out;
	int64_t now_ms = elasticsearch_clock_ms();
	index_name_of(&es->name, entry, f->built_ms);
	snprintf(text, sizeof(text), "index %s: HTTP %d: %s: %.300s", es->name.name, item->status,
	         item->type ? item->type : "", item->reason ? item->reason : "");
	batch_retry(f->batch, i, "%s", text);
	if (verdict != BULK_NO_INDEX || !index_name_away(&es->name, entry, f->built_ms, now_ms))
		elasticsearch_target_fail(f, i, text);
	else if (log_allow(&es->away_log, now_ms, &left_out))
		log_event(LOG_WARN, "sink", "an index cannot be used: its records go to fallback_index",
		          LOG_S("sink.name", es->host->name), LOG_S("error.message", text),
		          LOG_N("sluice.left_out", left_out));
}

static void item_not_now(struct elasticsearch_flight *f, size_t i, const struct bulk_item *item)
{
	char text[512];
	snprintf(text, sizeof(text), "HTTP %d: %s: %.300s", item->status, item->type ? item->type : "",
	         item->reason ? item->reason : "");
	f->batch->overloaded |= item->status == 429;
	batch_retry(f->batch, i, "%s", text);
	elasticsearch_answer_not_now(f, text);
}

static void item_done(struct elasticsearch_flight *f, size_t i)
{
	const struct targets_health *t = &f->es->targets;
	batch_done(f->batch, i);
	f->taken++;
	if (t->count > 0)
		elasticsearch_target_take(f, i);
}

static void item_settle(void *context, size_t n, const struct bulk_item *item)
{
	struct elasticsearch_flight *f = context;
	struct batch *b = f->batch;
	(void)n; /* the n-th pending one: those before are settled, or passed over for a second look */
	while (b->items[f->at].state != ITEM_PENDING)
		f->at++;
	size_t i = f->at++;
	enum bulk_verdict verdict = bulk_judge(item);
	switch (verdict) {
	case BULK_DONE: item_done(f, i); break;
	case BULK_RETRY: item_not_now(f, i, item); break;
	case BULK_AWAY:
	case BULK_TARGET:
	case BULK_BLOCKED:
	case BULK_NO_INDEX: index_fails(f, i, item, verdict); break;
	case BULK_DEAD:
		if (!f->again && is_race(item)) {
			f->conflicts++;
			break;
		}
		batch_dead(b, i, "%s: %s", item->type ? item->type : "refused",
		           item->reason ? item->reason : "no reason given");
		f->refused++;
		break;
	}
}

/* Which indices took something is looked at only where that is in question. */
static void all_done(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	bool look = es->targets.troubled > 0 || es->targets.suspected > 0;
	struct target_health *any = look ? target_health_find(&es->targets, "", 0) : NULL;
	if (any)
		target_health_take(&es->targets, any, elasticsearch_clock_ms());
	for (size_t i = f->first; i < f->end; i++)
		if (f->batch->items[i].state == ITEM_PENDING) {
			batch_done(f->batch, i);
			if (look)
				elasticsearch_target_take(f, i);
		}
	f->taken = f->records;
}

void elasticsearch_answer_read(struct elasticsearch_flight *f)
{
	struct elasticsearch *es = f->es;
	struct batch *b = f->batch;
	bool all;
	char text[512];
	f->at = f->first;
	f->conflicts = f->taken = f->refused = 0;
	if (!f->http->answer || bulk_read(f->http->answer, f->http->answer_len, f->records, item_settle, f, &all)) {
		snprintf(text, sizeof(text),
		         "%s gives an answer that is not one to a bulk request: is it a node of Elasticsearch or "
		         "OpenSearch? Trying again",
		         f->node->url);
		elasticsearch_ail(es, NO_BULK, text);
		elasticsearch_flight_retry(f, text);
		return;
	}
	es->works = true;
	nodes_worked(f->node);
	if (all)
		all_done(f);
	if (f->refused > 0)
		elasticsearch_target_judge(f);
	es->worked_since |= f->taken > 0 || f->refused > 0;
	if (es->slow == b && all)
		es->slow = NULL;
	elasticsearch_flight_part_settled(f);
}
