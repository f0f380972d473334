/* What a sink refuses for good goes to the dead-letter file. While that does not take it, the records stay in the journal,
 * and the pump says why: the sink is not to blame. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/pump/pump_parts.h"

void pump_mark_unburied(struct pump *p, struct batch *b, bool unburied)
{
	if (unburied != b->unburied)
		p->unburied += unburied ? 1 : (size_t)-1;
	b->unburied = unburied;
}

static void report_full(struct pump *p)
{
	char text[512];
	uint64_t left_out;
	stat_add(&p->stats.limited, 1);
	snprintf(text, sizeof(text),
	         "dead-letter file %.300s reached max_dead_letters: what the sink refuses for good, and all behind it, "
	         "stays in the journal; move the file away or raise the limit",
	         p->dead.path);
	pump_report_own(p, text);
	if (log_allow(&p->full_log, clock_mono_us() / 1000, &left_out))
		log_event(LOG_ERROR, "sink",
		          "its dead-letter file reached max_dead_letters: records refused for good, and all behind "
		          "them, stay in the journal",
		          LOG_S("sink.name", p->plan.name), LOG_S("file.path", p->dead.path),
		          LOG_N("sluice.left_out", left_out));
}

static void report_unwritable(struct pump *p, enum gw_err err)
{
	char text[512];
	snprintf(
	    text, sizeof(text),
	    "dead-letter file %.300s cannot be %s: %s; what the sink refuses for good, and all behind it, stays in "
	    "the journal",
	    p->dead.path, err == GW_NOMEM ? "written" : p->dead.failed,
	    strerror(err == GW_NOMEM ? ENOMEM : p->dead.error));
	pump_report_own(p, text);
}

/* The first reason stands for all of them. */
static void log_buried(struct pump *p, const struct batch *b, size_t buried)
{
	uint64_t left_out;
	size_t i = 0;
	if (!log_allow(&p->dead_log, clock_mono_us() / 1000, &left_out))
		return;
	while (b->items[i].state != ITEM_DEAD)
		i++;
	log_event(LOG_WARN, "sink", "refused records for good; they are in the dead letter file",
	          LOG_S("sink.name", p->plan.name), LOG_N("sluice.dead", buried), LOG_S("file.path", p->dead.path),
	          LOG_S("error.message", b->items[i].reason), LOG_N("sluice.left_out", left_out));
}

/* What the file does not take is to be tried again: the sink will refuse it again. */
static void keep_dead(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].state == ITEM_DEAD)
			b->items[i].state = ITEM_RETRY;
}

void pump_bury(struct pump *p, struct batch *b)
{
	size_t buried = 0;
	enum gw_err err = GW_OK;
	for (size_t i = 0; i < b->count; i++) {
		struct batch_item *item = &b->items[i];
		if (item->state != ITEM_DEAD)
			continue;
		if (!err)
			err = dead_letter_file_add(&p->dead, item->sequence, item->reason ? item->reason : "refused",
			                           item->entry);
		if (err == GW_FULL)
			item->state = ITEM_RETRY; /* the sink will say it again */
		else
			buried++;
	}
	if (err == GW_FULL)
		report_full(p);
	if (buried > 0 && (!err || err == GW_FULL) && dead_letter_file_sync(&p->dead))
		err = GW_IO;
	pump_mark_unburied(p, b, err != GW_OK);
	if (buried > 0 && err && err != GW_FULL) {
		report_unwritable(p, err);
		keep_dead(b);
	} else if (buried > 0) {
		stat_add(&p->stats.dead, buried);
		log_buried(p, b, buried);
	}
}
