/* `sluice journal dump`: records as NDJSON. */
#include <inttypes.h>
#include <string.h>

#include "gateway/commands/cmd_journal.h"
#include "gateway/journal/record.h"
#include "gateway/journal/state_store.h"

struct dump {
	const struct inspection *inspection;
	const struct cmd_journal_options *options;
	FILE *out, *errors;
	struct cmd_journal_progress progress;
	uint64_t seen, written, states, dead; /* seen: entries between --from and --to */
	int code;
};

static void write_state(FILE *out, const uint8_t *entry)
{
	static const char *const ops[] = {
	    [STATE_SET] = "set", [STATE_DELETE] = "delete", [STATE_DELETE_GROUP] = "delete_group"};
	const uint8_t *changes;
	struct state_change c;
	size_t len = record_state_of(entry, &changes), size;
	const char *between = "";
	fputs(",\"state\":[", out);
	for (; len > 0 && (size = record_state_read(&c, changes, len)) > 0; changes += size, len -= size) {
		bool is_known = c.op >= STATE_SET && c.op <= STATE_DELETE_GROUP;
		fprintf(out, "%s{\"op\":\"%s\",\"scope\":", between, is_known ? ops[c.op] : "unknown");
		cmd_journal_print_string(out, c.scope.bytes, c.scope.len);
		fputs(",\"group\":", out);
		cmd_journal_print_string(out, c.group.bytes, c.group.len);
		fputs(",\"member_hex\":\"", out);
		for (size_t i = 0; i < c.member.len; i++)
			fprintf(out, "%02x", ((const uint8_t *)c.member.bytes)[i]);
		fprintf(out, "\",\"value_bytes\":%zu,\"expires_us\":%" PRId64 "}", c.value.len, c.expires_us);
		between = ",";
	}
	fputc(']', out);
}

/* The listener's name stands in the record itself (docs/record.md). */
static void write_listener(FILE *out, const char *json, size_t len)
{
	static const char key[] = "\"sluice\":{\"v\":1,\"listener\":";
	const char *at = memmem(json, len, key, sizeof(key) - 1);
	if (!at)
		return;
	at += sizeof(key) - 1;
	const char *end = at + 1;
	while (end < json + len && (*end != '"' || end[-1] == '\\'))
		end++;
	if (*at == '"' && end < json + len)
		fprintf(out, ",\"listener\":%.*s", (int)(end + 1 - at), at);
}

static void write_meta(struct dump *d, const struct inspection_segment *s, uint64_t offset, uint64_t sequence,
                       const uint8_t *entry, const struct record *r)
{
	static const char *const kinds[] = {
	    [RECORD_TELEMETRY] = "telemetry", [RECORD_STATE] = "state", [RECORD_DEAD] = "dead"};
	char time[32];
	cmd_journal_format_time((uint64_t)r->received_us, time);
	fprintf(d->out, "{\"sequence\":%" PRIu64 ",\"segment\":%u,\"offset\":%" PRIu64 ",", sequence, s->number,
	        offset);
	if (r->kind >= RECORD_TELEMETRY && r->kind <= RECORD_DEAD)
		fprintf(d->out, "\"kind\":\"%s\"", kinds[r->kind]);
	else
		fprintf(d->out, "\"kind\":%u", r->kind);
	if (r->kind != RECORD_STATE) {
		write_listener(d->out, record_json(entry), r->json_len);
		fprintf(d->out, ",\"received\":\"%s\"", time);
	}
	if (r->kind == RECORD_STATE || (r->flags & RECORD_HAS_STATE))
		write_state(d->out, entry);
	if (r->kind == RECORD_TELEMETRY || r->kind == RECORD_DEAD)
		fprintf(d->out, ",\"record\":%.*s", (int)r->json_len, record_json(entry));
	fputs("}\n", d->out);
}

static bool dump_block(void *context, const struct inspection_segment *s, uint64_t offset, const struct block_header *h,
                       const uint8_t *bytes)
{
	struct dump *d = context;
	const uint8_t *entry = bytes + BLOCK_HEADER;
	for (uint64_t i = 0; i < h->count && !h->checkpoint; i++, entry += record_size(entry)) {
		uint64_t sequence = h->first + i;
		struct record r;
		if (sequence < d->options->from)
			continue;
		if (sequence > d->options->to || d->written >= d->options->limit)
			return false;
		d->seen++;
		record_read(&r, entry);
		if (r.kind == RECORD_STATE)
			d->states++;
		else if (r.kind != RECORD_TELEMETRY)
			d->dead++;
		if (d->options->meta)
			write_meta(d, s, offset + (uint64_t)(entry - bytes), sequence, entry, &r);
		else if (r.kind == RECORD_TELEMETRY)
			fwrite(record_json(entry), 1, r.json_len, d->out), fputc('\n', d->out);
		else
			continue;
		d->written++;
	}
	return !ferror(d->out) && d->written < d->options->limit;
}

static void tell_damage(void *context, const struct inspection_damage *damage)
{
	struct dump *d = context;
	char text[512];
	inspection_describe(damage, text, sizeof(text));
	fprintf(d->errors, "dump: %s\n", text);
	int code = damage->kind == INSPECTION_UNREAD ? CMD_JOURNAL_UNREAD : CMD_JOURNAL_DAMAGED;
	d->code = code > d->code ? code : d->code;
}

static void show_progress(void *context, uint64_t bytes)
{
	struct dump *d = context;
	cmd_journal_progress(&d->progress, bytes, d->inspection->bytes);
}

int cmd_journal_dump(struct inspection *l, const struct cmd_journal_options *o, FILE *out, FILE *errors)
{
	static const struct inspection_visitor visitor = {
	    .block = dump_block, .damage = tell_damage, .progress = show_progress};
	struct dump d = {.inspection = l,
	                 .options = o,
	                 .out = out,
	                 .errors = errors,
	                 .progress = {.out = errors, .command = "dump"}};
	inspection_walk(l, o->from, &visitor, &d);
	if (!o->meta && d.states + d.dead > 0)
		fprintf(errors,
		        "dump: not shown: %" PRIu64 " changes of state and %" PRIu64
		        " dead letters of the intake (--meta shows them)\n",
		        d.states, d.dead);
	if (l->recycled > 0)
		fprintf(errors,
		        "dump: %u segments were used again by a gateway meanwhile: every sink has what was in them\n",
		        l->recycled);
	bool is_range = o->from > 0 || o->to != UINT64_MAX;
	if (is_range && d.seen == 0 && d.code == CMD_JOURNAL_WHOLE) {
		inspection_find_last(l);
		fprintf(errors,
		        "dump: nothing is between --from and --to; the journal has sequences %" PRIu64 " to %" PRIu64
		        "\n",
		        l->segment_count > 0 ? l->segments[0].first : 0, l->last);
		return CMD_JOURNAL_UNREAD;
	}
	return d.code;
}
