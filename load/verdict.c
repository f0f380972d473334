/* Adding up what arrived; what the words mean is told in verdict.h. */
#include "load/verdict.h"

#include <stdlib.h>
#include <string.h>

#include "load/text.h"

static bool bit_get(const uint8_t *bits, uint64_t n)
{
	return bits && bits[n / 8] >> (n % 8) & 1;
}

static void bit_set(uint8_t *bits, uint64_t n)
{
	bits[n / 8] |= (uint8_t)(1u << (n % 8));
}

enum gw_err verdict_open(struct verdict *v, const struct ledger *ledger, bool ordered, bool dead)
{
	memset(v, 0, sizeof(*v));
	v->ledger = ledger;
	v->ordered = ordered;
	v->devices = calloc(ledger->device_count + 1, sizeof(*v->devices));
	if (!v->devices)
		return GW_NOMEM;
	for (size_t i = 0; i < ledger->device_count; i++) {
		size_t bytes = (size_t)(ledger->devices[i].sent / 8) + 1;
		struct verdict_device *own = &v->devices[i];
		if (!(own->seen = calloc(bytes, 1)) || !(own->again = calloc(bytes, 1)) ||
		    (dead && !(own->dead = calloc(bytes, 1)))) {
			verdict_free(v);
			return GW_NOMEM;
		}
	}
	return GW_OK;
}

void verdict_free(struct verdict *v)
{
	for (size_t i = 0; v->devices && i < v->ledger->device_count; i++) {
		free(v->devices[i].seen);
		free(v->devices[i].again);
		free(v->devices[i].dead);
	}
	free(v->devices);
	v->devices = NULL;
}

/* The device of this run that a record names; NULL: it is none of ours. */
static const struct ledger_device *ours(struct verdict *v, const char *text, size_t len, struct message_identity *id)
{
	if (!message_identity_find(text, len, id) || id->run_len != strlen(v->ledger->run) ||
	    memcmp(id->run, v->ledger->run, id->run_len) != 0)
		return NULL;
	return ledger_find(v->ledger, id->device, id->device_len);
}

void verdict_arrived(struct verdict *v, const char *text, size_t len)
{
	struct message_identity id;
	const struct ledger_device *d = ours(v, text, len, &id);
	v->records++;
	if (!d) {
		v->foreign++;
		return;
	}
	struct verdict_device *own = &v->devices[d - v->ledger->devices];
	if (id.seq >= d->sent) {
		own->unknown++;
		return;
	}
	if (bit_get(own->seen, id.seq)) {
		bit_set(own->again, id.seq);
		return;
	}
	bit_set(own->seen, id.seq);
	if (id.seq + 1 > own->next)
		own->next = id.seq + 1;
	else if (!ledger_ranges_has(&d->resent, id.seq))
		own->out_of_order++;
}

void verdict_dead(struct verdict *v, const char *text, size_t len)
{
	struct message_identity id;
	const struct ledger_device *d = ours(v, text, len, &id);
	if (!d || id.seq >= d->sent)
		return;
	bit_set(v->devices[d - v->ledger->devices].dead, id.seq);
}

/* -- adding up -- */

static void note(struct verdict_examples *e, const struct ledger_device *d, uint64_t seq)
{
	if (e->count == VERDICT_EXAMPLES)
		return;
	snprintf(e->items[e->count].device, MESSAGE_IDENTITY_MAX, "%s", d->name);
	e->items[e->count++].seq = seq;
}

static void judge_acked(struct verdict *v, const struct ledger_device *d, const struct verdict_device *own,
                        struct verdict_line *line)
{
	for (size_t i = 0; i < d->acked.count; i++)
		for (uint64_t n = d->acked.items[i].first; n <= d->acked.items[i].last; n++) {
			line->acknowledged++;
			if (bit_get(own->seen, n))
				continue;
			if (bit_get(own->dead, n)) {
				line->dead++;
				continue;
			}
			line->missing++;
			note(&v->missing, d, n);
		}
}

static void judge_arrived(struct verdict *v, const struct ledger_device *d, const struct verdict_device *own,
                          struct verdict_line *line)
{
	for (uint64_t byte = 0; byte <= d->sent / 8; byte++) {
		line->arrived += (unsigned)__builtin_popcount(own->seen[byte]);
		for (unsigned bit = 0; own->again[byte] >> bit; bit++) {
			if (!(own->again[byte] >> bit & 1))
				continue;
			uint64_t n = byte * 8 + bit;
			if (ledger_ranges_has(&d->resent, n)) {
				line->twice_resent++;
				continue;
			}
			line->twice++;
			note(&v->twice, d, n);
		}
	}
}

static struct verdict_line *line_of(struct verdict *v, const struct ledger_device *d)
{
	for (size_t i = 0; i < v->line_count; i++)
		if (strcmp(v->lines[i].protocol, d->protocol) == 0 && v->lines[i].qos == d->qos)
			return &v->lines[i];
	if (v->line_count == VERDICT_PROTOCOLS)
		return &v->lines[VERDICT_PROTOCOLS - 1];
	struct verdict_line *line = &v->lines[v->line_count++];
	snprintf(line->protocol, sizeof(line->protocol), "%s", d->protocol);
	line->qos = d->qos;
	return line;
}

void verdict_close(struct verdict *v)
{
	for (size_t i = 0; i < v->ledger->device_count; i++) {
		const struct ledger_device *d = &v->ledger->devices[i];
		struct verdict_device *own = &v->devices[i];
		struct verdict_line *line = line_of(v, d);
		line->devices++;
		line->sent += d->sent;
		line->resent += ledger_ranges_total(&d->resent);
		line->out_of_order += own->out_of_order;
		line->unknown += own->unknown;
		judge_acked(v, d, own, line);
		judge_arrived(v, d, own, line);
	}
	struct verdict_line *t = &v->total;
	snprintf(t->protocol, sizeof(t->protocol), "all");
	t->qos = -1;
	for (size_t i = 0; i < v->line_count; i++) {
		const struct verdict_line *l = &v->lines[i];
		t->devices += l->devices;
		t->sent += l->sent;
		t->acknowledged += l->acknowledged;
		t->resent += l->resent;
		t->arrived += l->arrived;
		t->missing += l->missing;
		t->dead += l->dead;
		t->twice += l->twice;
		t->twice_resent += l->twice_resent;
		t->out_of_order += l->out_of_order;
		t->unknown += l->unknown;
	}
}

/* -- telling -- */

static void print_line(const struct verdict *v, const struct verdict_line *l, FILE *out)
{
	char name[32], order[24] = "-";
	snprintf(name, sizeof(name), l->qos >= 0 ? "%s %d" : "%s", l->protocol, l->qos);
	if (v->ordered)
		snprintf(order, sizeof(order), "%llu", (unsigned long long)l->out_of_order);
	fprintf(out, "  %-8s %8llu %12llu %12llu %12llu %9llu %9llu %9llu %9llu %9s\n", name,
	        (unsigned long long)l->devices, (unsigned long long)l->sent, (unsigned long long)l->acknowledged,
	        (unsigned long long)l->arrived, (unsigned long long)l->missing, (unsigned long long)l->dead,
	        (unsigned long long)l->twice, (unsigned long long)l->twice_resent, order);
}

static void print_examples(const char *what, const struct verdict_examples *e, uint64_t total, FILE *out)
{
	if (e->count == 0)
		return;
	fprintf(out, "  %s:", what);
	for (size_t i = 0; i < e->count; i++)
		fprintf(out, "%s %s #%llu", i ? "," : "", e->items[i].device, (unsigned long long)e->items[i].seq);
	fputs(total > e->count ? ", ...\n" : "\n", out);
}

void verdict_print(const struct verdict *v, const char *name, FILE *out)
{
	fprintf(out, "%s: %llu records\n", name, (unsigned long long)v->records);
	fputs("                                                                          dead     twice     twice    "
	      "out of\n"
	      "  protocol  devices         sent acknowledged      arrived   MISSING   letters sent once    resent     "
	      "order\n",
	      out);
	for (size_t i = 0; i < v->line_count; i++)
		print_line(v, &v->lines[i], out);
	if (v->line_count > 1)
		print_line(v, &v->total, out);
	if (v->foreign)
		fprintf(out, "  %llu records are not of run %s: not counted\n", (unsigned long long)v->foreign,
		        v->ledger->run);
	if (v->total.unknown)
		fprintf(out, "  %llu records have numbers beyond the ledger's: it is older than they are\n",
		        (unsigned long long)v->total.unknown);
	print_examples("acknowledged and missing", &v->missing, v->total.missing, out);
	print_examples("sent once, there twice", &v->twice, v->total.twice, out);
	if (!v->ledger->complete)
		fputs("  the ledger is not complete: the sender was killed; what it sent at last is not in it\n", out);
}

static void json_line(const struct verdict *v, const struct verdict_line *l, FILE *out)
{
	fprintf(out,
	        "{\"protocol\":\"%s\",\"qos\":%d,\"devices\":%llu,\"sent\":%llu,\"acknowledged\":%llu,\"resent\":%llu,"
	        "\"arrived\":%llu,\"missing\":%llu,\"dead\":%llu,\"twice\":%llu,\"twice_resent\":%llu,\"unknown\":%llu,"
	        "\"out_of_order\":",
	        l->protocol, l->qos, (unsigned long long)l->devices, (unsigned long long)l->sent,
	        (unsigned long long)l->acknowledged, (unsigned long long)l->resent, (unsigned long long)l->arrived,
	        (unsigned long long)l->missing, (unsigned long long)l->dead, (unsigned long long)l->twice,
	        (unsigned long long)l->twice_resent, (unsigned long long)l->unknown);
	if (v->ordered)
		fprintf(out, "%llu}", (unsigned long long)l->out_of_order);
	else
		fputs("null}", out);
}

static void json_examples(const char *key, const struct verdict_examples *e, FILE *out)
{
	fprintf(out, ",\"%s\":[", key);
	for (size_t i = 0; i < e->count; i++) {
		fputs(i ? ",{\"device\":" : "{\"device\":", out);
		text_json(out, e->items[i].device);
		fprintf(out, ",\"seq\":%llu}", (unsigned long long)e->items[i].seq);
	}
	fputc(']', out);
}

void verdict_json(const struct verdict *v, const char *name, FILE *out)
{
	fputs("{\"source\":", out);
	text_json(out, name);
	fputs(",\"run\":", out);
	text_json(out, v->ledger->run);
	fprintf(out, ",\"records\":%llu,\"foreign\":%llu,\"complete\":%s,\"total\":", (unsigned long long)v->records,
	        (unsigned long long)v->foreign, v->ledger->complete ? "true" : "false");
	json_line(v, &v->total, out);
	fputs(",\"protocols\":[", out);
	for (size_t i = 0; i < v->line_count; i++) {
		fputs(i ? "," : "", out);
		json_line(v, &v->lines[i], out);
	}
	fputc(']', out);
	json_examples("missing", &v->missing, out);
	json_examples("twice", &v->twice, out);
	fputc('}', out);
}

void verdict_json_none(const char *name, const char *error, FILE *out)
{
	fputs("{\"source\":", out);
	text_json(out, name);
	fputs(",\"error\":", out);
	text_json(out, error);
	fputc('}', out);
}
