/* `sluice cursor`: where sinks are in the journal, and giving up what a sink has not got. Works on a data directory
 * that no gateway has open. */
#include "gateway/commands/cmd_cursor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/journal/journal.h"

struct listing {
	const char *dir;
	uint64_t gone, last; /* sequences: what the journal has lies between */
	const char *wanted;  /* NULL: print all */
	bool found;
	FILE *out;
};

static void add_named(void *context, const char *name)
{
	struct listing *l = context;
	size_t len = strlen(name);
	char path[4096];
	uint64_t sequence;
	struct cursor_stretch ahead[CURSOR_AHEAD_MAX];
	size_t count;
	if (len <= 7 || strcmp(name + len - 7, ".cursor") != 0)
		return;
	snprintf(path, sizeof(path), "%s/%s", l->dir, name);
	if (l->wanted) {
		l->found |= strlen(l->wanted) == len - 7 && memcmp(l->wanted, name, len - 7) == 0;
		return;
	}
	if (cursor_peek_ahead(&disk_real, path, &sequence, ahead, &count))
		fprintf(l->out, "%-24.*s cannot be read\n", (int)(len - 7), name);
	else
		fprintf(
		    l->out, "%-24.*s at %llu, %llu records behind\n", (int)(len - 7), name,
		    (unsigned long long)sequence,
		    (unsigned long long)cursor_lacking(sequence > l->gone ? sequence : l->gone, l->last, ahead, count));
}

enum gw_err cmd_cursor(const struct gateway_plan *plan, const char *drop, FILE *out, struct why *why)
{
	struct journal_stats *stats = NULL;
	struct journal *j = NULL;
	char dir[4000], path[4096];
	snprintf(dir, sizeof(dir), "%s/journal", plan->settings->data);
	if (posix_memalign((void **)&stats, 64, sizeof(*stats)))
		return why_set(why, GW_NOMEM, "out of memory");
	memset(stats, 0, sizeof(*stats));
	/* Opening the journal takes its lock and finds its last record. */
	enum gw_err err = journal_open(&j, &plan->settings->journal, &disk_real, dir, stats, why);
	if (err) {
		free(stats);
		return err;
	}
	struct listing l = {.gone = journal_first(j) - 1, .last = journal_last(j), .wanted = drop, .out = out};
	snprintf(path, sizeof(path), "%s/cursors", dir);
	l.dir = path;
	disk_real.list(&disk_real, path, add_named, &l);
	if (drop && !l.found)
		err = why_set(why, GW_INVALID, "there is no sink \"%s\" in %s", drop, path);
	if (drop && l.found) {
		char file[4400];
		snprintf(file, sizeof(file), "%s/%s.cursor", path, drop);
		int failed = disk_real.remove(&disk_real, file);
		if (!failed)
			failed = disk_real.sync_dir(&disk_real, path);
		if (failed)
			err = why_set(why, GW_IO, "%s: %s", file, strerror(-failed));
		else
			fprintf(out, "%s: dropped\n", drop);
	}
	journal_close(j);
	free(stats);
	return err;
}
