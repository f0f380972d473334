/* `sluice cursor`: where sinks are in the journal on disk, whatever its type in the configuration, and giving up what a sink
 * has not received. */
#include "gateway/commands/cmd_cursor.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/disk_explain.h"
#include "gateway/commands/owner.h"
#include "gateway/journal/cursor_names.h"
#include "gateway/journal/directory_lock.h"
#include "gateway/journal/inspection.h"

static enum gw_err look(struct inspection *l, const struct gateway_plan *plan, struct why *why)
{
	enum gw_err err = inspection_open(l, &disk_real, plan->settings->data, why);
	if (!err)
		inspection_find_last(l);
	return err;
}

enum gw_err cmd_cursor_list(const struct gateway_plan *plan, FILE *out, struct why *why)
{
	struct inspection l;
	enum gw_err err = look(&l, plan, why);
	if (err)
		return err;
	for (size_t i = 0; i < l.cursor_count; i++) {
		const struct inspection_cursor *c = &l.cursors[i];
		if (c->damaged || c->unread)
			fprintf(out, "%-24s cannot be read\n", c->name);
		else
			fprintf(out, "%-24s at %llu, %llu records behind\n", c->name, (unsigned long long)c->sequence,
			        (unsigned long long)inspection_behind(&l, c));
	}
	if (l.cursor_count == 0)
		fprintf(out, "%s: no sink has a cursor yet\n", l.dir);
	inspection_close(&l);
	return GW_OK;
}

/* -- drop -- */

static bool is_configured(const struct gateway_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->sink_count; i++)
		if (strcmp(plan->sinks[i].name, name) == 0)
			return true;
	return false;
}

/* The file stays, or the sink would begin as a new one: with the oldest record. */
static enum gw_err pass_all(const struct inspection *l, const char *name, struct why *why)
{
	struct cursor c;
	bool existed;
	char text[768];
	enum gw_err err =
	    cursor_open(&c, &(struct cursor_file){l->disk, l->cursor_dir, name, l->identity}, l->last, &existed, why);
	if (err)
		return err;
	if (cursor_get(&c) < l->last)
		cursor_move(&c, l->last);
	cursor_set_ahead(&c, NULL, 0);
	if (cursor_save(&c))
		err = why_set(why, GW_IO, "%s", cursor_explain(&c, text, sizeof(text)));
	cursor_close(&c);
	return err;
}

static enum gw_err forget(const struct inspection *l, const char *name, struct why *why)
{
	struct cursor_names known, rest = {.count = 0};
	char path[4400], text[768];
	snprintf(path, sizeof(path), "%s/%s.cursor", l->cursor_dir, name);
	cursor_names_read(&known, l->disk, l->dir);
	for (size_t i = 0; i < known.count; i++)
		if (strcmp(known.items[i], name) != 0)
			cursor_names_add(&rest, known.items[i]);
	int err = l->disk->remove(l->disk, path);
	if (!err)
		err = l->disk->sync_dir(l->disk, l->cursor_dir);
	if (!err)
		err = cursor_names_write(&rest, l->disk, l->dir);
	return err ? why_set(why, GW_IO, "%s", disk_explain(err, path, text, sizeof(text))) : GW_OK;
}

static const struct inspection_cursor *find(const struct inspection *l, const char *name)
{
	for (size_t i = 0; i < l->cursor_count; i++)
		if (strcmp(l->cursors[i].name, name) == 0)
			return &l->cursors[i];
	return NULL;
}

static enum gw_err drop(const struct gateway_plan *plan, const struct inspection *l, const char *name, bool yes,
                        FILE *out, struct why *why)
{
	const struct inspection_cursor *c = find(l, name);
	if (!c)
		return why_set(why, GW_INVALID, "there is no sink \"%s\" in %s", name, l->cursor_dir);
	bool stays = is_configured(plan, name);
	char count[64] = "an unknown number of";
	if (!c->damaged && !c->unread)
		snprintf(count, sizeof(count), "%llu", (unsigned long long)inspection_behind(l, c));
	if (!yes) {
		fprintf(out, "%s would give up %s records and %s; --yes does it\n", name, count,
		        stays ? "go on with the next one that comes" : "be forgotten");
		return GW_AGAIN;
	}
	enum gw_err err = stays ? pass_all(l, name, why) : forget(l, name, why);
	if (!err)
		fprintf(out, "%s: dropped: gave up %s records and %s\n", name, count,
		        stays ? "goes on with the next one that comes" : "is forgotten");
	return err;
}

enum gw_err cmd_cursor_drop(const struct gateway_plan *plan, const char *name, bool yes, FILE *out, struct why *why)
{
	struct inspection l;
	struct directory_lock lock;
	enum gw_err err = inspection_open(&l, &disk_real, plan->settings->data, why); /* is there a journal at all? */
	if (err)
		return err;
	if (yes && (err = owner_check(plan->settings->data, why))) {
		inspection_close(&l);
		return err;
	}
	if (!(err = directory_lock_take(&lock, l.dir, why))) {
		inspection_close(&l);
		if (!(err = look(&l, plan, why))) /* as of now, with nobody else at it */
			err = drop(plan, &l, name, yes, out, why);
		directory_lock_release(&lock);
	}
	inspection_close(&l);
	return err;
}
