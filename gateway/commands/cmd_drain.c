/* Draining a journal: a gateway without listeners, until its slowest sink has everything. What cmd_drain.h promises. */
#include "gateway/commands/cmd_drain.h"

#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"

static void tell(const struct gateway *g, FILE *progress, uint64_t before, uint64_t left, double seconds)
{
	char slowest[64];
	gateway_behind(g, slowest, sizeof(slowest));
	fprintf(progress, "drain: %llu records left (%s), %.0f a second\n", (unsigned long long)left, slowest,
	        before > left ? (double)(before - left) / seconds : 0.0);
	fflush(progress);
}

/* True: everything is delivered. */
static bool deliver(const struct gateway *g, FILE *progress, uint64_t *left)
{
	int64_t told = clock_mono_us();
	uint64_t before = gateway_behind(g, NULL, 0);
	fprintf(progress, "drain: %llu records to deliver\n", (unsigned long long)before);
	while ((*left = gateway_behind(g, NULL, 0)) > 0) {
		int64_t now = clock_mono_us();
		if (now - told >= 1000000) {
			tell(g, progress, before, *left, (double)(now - told) / 1e6);
			before = *left;
			told = now;
		}
		if (gateway_asked_to_end(100))
			return false;
	}
	return true;
}

enum gw_err cmd_drain(const struct gateway_plan *plan, FILE *progress, uint64_t *left, struct why *why)
{
	struct gateway_settings settings = *plan->settings;
	struct gateway_plan own = *plan;
	struct gateway *g = NULL;
	char dir[4096];
	snprintf(dir, sizeof(dir), "%s/journal", settings.data);
	if (access(dir, F_OK) != 0)
		return why_set(why, GW_CONFIG, "%s: there is no journal", dir);
	if (settings.journal.type == JOURNAL_MEMORY)
		settings.journal.type =
		    JOURNAL_DISK;       /* what is on disk is to be delivered, whatever is kept there now */
	settings.admin.enabled = false; /* the gateway that took over may have its address */
	settings.stop.drain = 500000;   /* when it stops, all is delivered or somebody asked for the end */
	settings.stop.until_empty = false;
	own.settings = &settings;
	own.listener_count = 0;
	enum gw_err err = gateway_open(&g, &own, why);
	if (err)
		return err;
	if (!(err = gateway_start(g, why)))
		err = deliver(g, progress, left) ? GW_OK : GW_AGAIN;
	gateway_stop(g);
	*left = gateway_behind(g, NULL, 0);
	gateway_close(g);
	return err;
}
