/* `sluice journal info`: what is in a journal, as tables or as JSON. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/commands/cmd_journal.h"
#include "gateway/journal/record.h"
#include "gateway/journal/segment_files.h"
#include "gateway/journal/state_store.h"

/* What was found in one segment. */
struct part {
	const struct inspection_segment *segment;
	uint64_t first, last; /* sequences; last 0: none */
	uint64_t records, blocks, bytes, checkpoint;
	uint64_t oldest_us, newest_us; /* commits */
};

struct info {
	struct inspection *inspection;
	FILE *out, *errors;
	struct cmd_journal_progress progress;
	struct part *parts; /* owned; those entered, look->segment_count at most */
	size_t count;
	struct part whole;
	uint64_t behind[CURSORS_MAX]; /* bytes of blocks that hold something a cursor has not passed */
	uint64_t damaged, lost, unread;
	struct state_store state;
};

static void enter(void *context, const struct inspection_segment *s)
{
	struct info *i = context;
	i->parts[i->count++] = (struct part){.segment = s};
}

static void add_times(struct part *p, uint64_t time_us)
{
	if (p->oldest_us == 0 || time_us < p->oldest_us)
		p->oldest_us = time_us;
	if (time_us > p->newest_us)
		p->newest_us = time_us;
}

static void add_block(struct part *p, const struct block_header *h)
{
	p->blocks++;
	p->bytes += segment_block_size(h->body);
	if (h->checkpoint) {
		p->checkpoint += segment_block_size(h->body);
		return;
	}
	p->records += h->count;
	if (p->last == 0)
		p->first = h->first;
	p->last = h->first + h->count - 1;
	add_times(p, h->time_us);
}

/* Whether the sink has all of these. */
static bool has(const struct inspection_cursor *c, uint64_t first, uint64_t last)
{
	if (last <= c->sequence)
		return true;
	for (size_t k = 0; k < c->ahead_count; k++)
		if (c->ahead[k].from <= first && last <= c->ahead[k].to)
			return true;
	return false;
}

static bool add(void *context, const struct inspection_segment *s, uint64_t offset, const struct block_header *h,
                const uint8_t *bytes)
{
	struct info *i = context;
	(void)s;
	/* Where a segment begins with a record nobody kept state (docs/journal-format.md, State). */
	if (offset == SEGMENT_HEADER && !h->checkpoint)
		state_store_clear(&i->state);
	state_store_apply_entries(&i->state, bytes + BLOCK_HEADER, h->count, h->checkpoint);
	add_block(&i->parts[i->count - 1], h);
	add_block(&i->whole, h);
	for (size_t c = 0; c < i->inspection->cursor_count && !h->checkpoint; c++)
		if (!has(&i->inspection->cursors[c], h->first, h->first + h->count - 1))
			i->behind[c] += segment_block_size(h->body);
	return true;
}

static void add_damage(void *context, const struct inspection_damage *d)
{
	struct info *i = context;
	i->lost += d->lost.end - d->lost.first;
	if (d->kind == INSPECTION_UNREAD)
		i->unread++;
	else
		i->damaged++;
}

static void show_progress(void *context, uint64_t bytes)
{
	struct info *i = context;
	cmd_journal_progress(&i->progress, bytes, i->inspection->bytes);
}

/* -- scopes of state -- */

struct scope {
	struct state_text name;
	size_t items;
};

/* Items of each scope; there are as many as listeners. Returns how many scopes, at most `most`. */
static size_t scopes_of(struct state_store *t, struct scope *scopes, size_t most)
{
	struct state_change c;
	size_t count = 0, k;
	for (bool more = state_store_first(t, &c); more; more = state_store_next(t, &c)) {
		for (k = 0; k < count; k++)
			if (scopes[k].name.len == c.scope.len &&
			    memcmp(scopes[k].name.bytes, c.scope.bytes, c.scope.len) == 0)
				break;
		if (k == most)
			continue;
		if (k == count)
			scopes[count++] = (struct scope){.name = c.scope};
		scopes[k].items++;
	}
	return count;
}

#define SCOPES 64

/* -- as tables -- */

static void write_cursors(const struct info *i)
{
	const struct inspection *l = i->inspection;
	fprintf(i->out, "\n%-24s %20s %16s %16s\n", "sink", "at", "records behind", "bytes behind");
	for (size_t k = 0; k < l->cursor_count; k++) {
		const struct inspection_cursor *c = &l->cursors[k];
		if (c->damaged || c->unread)
			fprintf(i->out, "%-24s %20s\n", c->name, c->damaged ? "damaged" : "cannot be read");
		else
			fprintf(i->out, "%-24s %20" PRIu64 " %16" PRIu64 " %16" PRIu64 "%s\n", c->name, c->sequence,
			        inspection_behind(l, c), i->behind[k],
			        c->sequence > l->last ? "  further than the last record" : "");
	}
}

static void write_segments(const struct info *i)
{
	char from[32], to[32];
	fprintf(i->out, "\n%-8s %-20s %12s %12s %10s %7s %12s  %-24s %s\n", "segment", "generation", "first", "last",
	        "records", "blocks", "bytes", "oldest", "newest");
	for (size_t k = 0; k < i->count; k++) {
		const struct part *p = &i->parts[k];
		cmd_journal_format_time(p->oldest_us, from);
		cmd_journal_format_time(p->newest_us, to);
		fprintf(i->out,
		        "%08u %-20" PRIu64 " %12" PRIu64 " %12" PRIu64 " %10" PRIu64 " %7" PRIu64 " %12" PRIu64
		        "  %-24s %s%s\n",
		        p->segment->number, p->segment->generation, p->last ? p->first : p->segment->first, p->last,
		        p->records, p->blocks, p->bytes, from, to, p->segment->spoilt ? " (header damaged)" : "");
	}
}

static void write_tables(struct info *i)
{
	struct inspection *l = i->inspection;
	struct scope scopes[SCOPES];
	char from[32], to[32];
	size_t count = scopes_of(&i->state, scopes, SCOPES);
	cmd_journal_format_time(i->whole.oldest_us, from);
	cmd_journal_format_time(i->whole.newest_us, to);
	fprintf(i->out, "journal   %s\n", l->dir);
	fprintf(i->out,
	        "records   %" PRIu64 " (sequences %" PRIu64 " to %" PRIu64 "), %" PRIu64 " bytes in %" PRIu64
	        " blocks\n",
	        i->whole.records, i->whole.first, i->whole.last, i->whole.bytes, i->whole.blocks);
	fprintf(i->out, "segments  %zu of %" PRIu64 " bytes in all, %u spare\n", l->segment_count, l->bytes, l->spares);
	fprintf(i->out, "times     %s to %s\n", from, to);
	fprintf(i->out, "state     %zu items", i->state.count);
	for (size_t k = 0; k < count; k++)
		fprintf(i->out, "%s%.*s %zu", k ? ", " : ": ", (int)scopes[k].name.len,
		        (const char *)scopes[k].name.bytes, scopes[k].items);
	if (i->damaged + i->unread == 0)
		fputs("\ndamage    none\n", i->out);
	else
		fprintf(i->out,
		        "\ndamage    %" PRIu64 " places, %" PRIu64 " that cannot be read, %" PRIu64
		        " records lost (sluice journal verify tells where)\n",
		        i->damaged, i->unread, i->lost);
	write_cursors(i);
	write_segments(i);
	if (l->recycled > 0)
		fprintf(i->out, "\n%u segments were used again by a gateway meanwhile\n", l->recycled);
}

/* -- as JSON -- */

static void json_times(FILE *out, const struct part *p)
{
	char time[32];
	cmd_journal_format_time(p->oldest_us, time);
	fprintf(out, p->oldest_us ? ",\"oldest\":\"%s\"" : ",\"oldest\":null", time);
	cmd_journal_format_time(p->newest_us, time);
	fprintf(out, p->newest_us ? ",\"newest\":\"%s\"" : ",\"newest\":null", time);
}

static void json_part(FILE *out, const struct part *p)
{
	fprintf(out,
	        "\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"records\":%" PRIu64 ",\"blocks\":%" PRIu64
	        ",\"bytes\":%" PRIu64,
	        p->first, p->last, p->records, p->blocks, p->bytes);
	json_times(out, p);
}

static void write_json(struct info *i)
{
	struct inspection *l = i->inspection;
	struct scope scopes[SCOPES];
	size_t count = scopes_of(&i->state, scopes, SCOPES);
	FILE *out = i->out;
	fputs("{\"journal\":", out);
	cmd_journal_print_string(out, l->dir, strlen(l->dir));
	fputc(',', out);
	json_part(out, &i->whole);
	fprintf(out, ",\"spares\":%u,\"recycled\":%u,\"segments\":[", l->spares, l->recycled);
	for (size_t k = 0; k < i->count; k++) {
		const struct part *p = &i->parts[k];
		/* A generation needs more than the 53 bits that every reader of JSON has. */
		fprintf(out,
		        "%s{\"number\":%u,\"generation\":\"%" PRIu64 "\",\"version\":%u,\"size\":%" PRIu64
		        ",\"checkpoint_bytes\":%" PRIu64 ",\"header_damaged\":%s,",
		        k ? "," : "", p->segment->number, p->segment->generation, p->segment->version, p->segment->size,
		        p->checkpoint, p->segment->spoilt ? "true" : "false");
		json_part(out, p);
		fputc('}', out);
	}
	fprintf(out, "],\"state\":{\"items\":%zu,\"scopes\":{", i->state.count);
	for (size_t k = 0; k < count; k++) {
		fputs(k ? "," : "", out);
		cmd_journal_print_string(out, scopes[k].name.bytes, scopes[k].name.len);
		fprintf(out, ":%zu", scopes[k].items);
	}
	fputs("}},\"cursors\":{", out);
	for (size_t k = 0; k < l->cursor_count; k++) {
		const struct inspection_cursor *c = &l->cursors[k];
		fputs(k ? "," : "", out);
		cmd_journal_print_string(out, c->name, strlen(c->name));
		if (c->damaged || c->unread)
			fprintf(out, ":{\"state\":\"%s\"}", c->damaged ? "damaged" : "unread");
		else
			fprintf(out,
			        ":{\"state\":\"good\",\"at\":%" PRIu64 ",\"records_behind\":%" PRIu64
			        ",\"bytes_behind\":%" PRIu64 "}",
			        c->sequence, inspection_behind(l, c), i->behind[k]);
	}
	fprintf(out, "},\"damage\":{\"places\":%" PRIu64 ",\"unread\":%" PRIu64 ",\"records_lost\":%" PRIu64 "}}\n",
	        i->damaged, i->unread, i->lost);
}

int cmd_journal_info(struct inspection *l, const struct cmd_journal_options *o, FILE *out, FILE *errors)
{
	static const struct inspection_visitor visitor = {
	    .segment = enter, .block = add, .damage = add_damage, .progress = show_progress};
	struct info i = {.inspection = l, .out = out, .errors = errors, .progress = {.out = errors, .command = "info"}};
	if (!(i.parts = calloc(l->segment_count + 1, sizeof(*i.parts)))) {
		fputs("sluice journal info: out of memory\n", errors);
		return CMD_JOURNAL_UNREAD;
	}
	state_store_init(&i.state, SIZE_MAX);
	inspection_walk(l, 0, &visitor, &i);
	state_store_expire(&i.state, clock_wall_us());
	if (o->json)
		write_json(&i);
	else
		write_tables(&i);
	state_store_fini(&i.state);
	free(i.parts);
	return i.unread ? CMD_JOURNAL_UNREAD : i.damaged ? CMD_JOURNAL_DAMAGED : CMD_JOURNAL_WHOLE;
}
