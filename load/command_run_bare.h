/* Stands in for condition.h and report.h until they are there: JSON only. */
#ifndef SLUICE_LOAD_COMMAND_RUN_BARE_H
#define SLUICE_LOAD_COMMAND_RUN_BARE_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "load/options.h"
#include "load/result.h"

#define report_second NULL

struct condition {
	const char *text;
};

static inline enum gw_err condition_read(struct condition *c, const char *text, bool of_verdict, struct why *why)
{
	(void)of_verdict;
	c->text = text;
	return why_set(why, GW_CONFIG, "conditions are not in this build");
}

static inline bool condition_holds(const struct condition *c, const struct load_result *r, double *found)
{
	(void)c;
	(void)r;
	*found = 0;
	return false;
}

static inline void report_table(const struct load_result *r, FILE *out)
{
	fprintf(out, "%s: sent %llu, acknowledged %llu, ended by %s\n", r->target, (unsigned long long)r->sent,
	        (unsigned long long)r->acknowledged, r->end);
}

static inline enum gw_err report_files(const struct load_outputs *o, const struct load_result *const *results,
                                       size_t count, struct why *why)
{
	if (o->html || o->csv || o->hdr)
		return why_set(why, GW_CONFIG, "--html, --csv and --hdr are not in this build");
	if (!o->json)
		return GW_OK;
	FILE *f = strcmp(o->json, "-") ? fopen(o->json, "w") : stdout;
	if (!f)
		return why_set(why, GW_IO, "%s: %s", o->json, strerror(errno));
	enum gw_err err = GW_OK;
	if (count > 1)
		fputs("[", f);
	for (size_t i = 0; i < count && !err; i++) {
		if (i > 0)
			fputs(",", f);
		err = load_result_write(results[i], f, why);
	}
	if (count > 1)
		fputs("]\n", f);
	if (f != stdout && fclose(f) != 0 && !err)
		err = why_set(why, GW_IO, "%s: %s", o->json, strerror(errno));
	return err;
}

#endif
