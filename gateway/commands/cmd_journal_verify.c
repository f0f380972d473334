/* `sluice journal verify`: every byte is read, every damaged place told. */
#include <inttypes.h>
#include <string.h>

#include "gateway/commands/cmd_journal.h"

struct verify {
	struct inspection *inspection;
	const struct cmd_journal_options *options;
	FILE *out;
	struct cmd_journal_progress progress;
	uint64_t records, blocks, lost, damaged, unread;
};

static bool count_block(void *context, const struct inspection_segment *s, uint64_t offset,
                        const struct block_header *h, const uint8_t *bytes)
{
	struct verify *v = context;
	(void)s, (void)offset, (void)bytes;
	v->blocks++;
	v->records += h->checkpoint ? 0 : h->count;
	return true;
}

static void tell_damage(void *context, const struct inspection_damage *d)
{
	static const char *const kinds[] = {
	    [INSPECTION_HEADER] = "header", [INSPECTION_SHORT] = "short",   [INSPECTION_RANGE] = "range",
	    [INSPECTION_GAP] = "gap",       [INSPECTION_CURSOR] = "cursor", [INSPECTION_UNREAD] = "unread"};
	struct verify *v = context;
	char text[512];
	inspection_describe(d, text, sizeof(text));
	if (!v->options->json) {
		fprintf(v->out, "%s\n", text);
	} else {
		fprintf(v->out, "%s{\"kind\":\"%s\",", v->damaged + v->unread ? "," : "", kinds[d->kind]);
		if (d->cursor) {
			fputs("\"cursor\":", v->out);
			cmd_journal_print_string(v->out, d->cursor, strlen(d->cursor));
		} else {
			fprintf(v->out, "\"segment\":%u,\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64, d->segment,
			        d->offset, d->bytes);
		}
		if (d->lost.end > d->lost.first)
			fprintf(v->out, ",\"first_lost\":%" PRIu64 ",\"records_lost\":%" PRIu64, d->lost.first,
			        d->lost.end - d->lost.first);
		fputs("}", v->out);
	}
	v->lost += d->lost.end - d->lost.first;
	if (d->kind == INSPECTION_UNREAD)
		v->unread++;
	else
		v->damaged++;
}

static void show_progress(void *context, uint64_t bytes)
{
	struct verify *v = context;
	cmd_journal_progress(&v->progress, bytes, v->inspection->bytes);
}

static uint64_t known(const struct inspection *l)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < l->lost_count; i++)
		sum += l->lost[i].end - l->lost[i].first;
	return sum;
}

int cmd_journal_verify(struct inspection *l, const struct cmd_journal_options *o, FILE *out, FILE *errors)
{
	static const struct inspection_visitor visitor = {
	    .block = count_block, .damage = tell_damage, .progress = show_progress};
	struct verify v = {.inspection = l, .options = o, .out = out, .progress = {.out = errors, .command = "verify"}};
	if (o->json)
		fputs("{\"damage\":[", out);
	inspection_walk(l, 0, &visitor, &v);
	const char *verdict = v.unread ? "unread" : v.damaged + l->foreign > 0 ? "damaged" : "whole";
	if (o->json) {
		fprintf(out,
		        "],\"verdict\":\"%s\",\"records\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"bytes\":%" PRIu64
		        ",\"records_lost\":%" PRIu64 ",\"records_known_lost\":%" PRIu64 ",\"foreign_segments\":%u}\n",
		        verdict, v.records, v.blocks, l->bytes, v.lost, known(l), l->foreign);
	} else {
		fprintf(out, "%s: %s: %" PRIu64 " records in %" PRIu64 " blocks are good", l->dir, verdict, v.records,
		        v.blocks);
		if (v.damaged + v.unread > 0)
			fprintf(out,
			        "; %" PRIu64 " damaged places, %" PRIu64 " that cannot be read, %" PRIu64
			        " records lost",
			        v.damaged, v.unread, v.lost);
		if (l->lost_count > 0)
			fprintf(out, "; %" PRIu64 " records are known to be lost since a repair", known(l));
		if (l->foreign > 0)
			fprintf(out, "; %u segments belong to another journal: the next start sets them aside",
			        l->foreign);
		if (l->recycled > 0)
			fprintf(out, "; %u segments were used again by a gateway meanwhile", l->recycled);
		fputs("\n", out);
		if (v.damaged > 0)
			fputs("mend it, with the gateway stopped: sluice journal repair --data DIR\n", errors);
	}
	return v.unread ? CMD_JOURNAL_UNREAD : v.damaged + l->foreign > 0 ? CMD_JOURNAL_DAMAGED : CMD_JOURNAL_WHOLE;
}
