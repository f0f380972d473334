/* Sending records again; see cmd_replay.h. Where they come from: lines of files (lines.h), entries of a journal (inspection.h). */
#include "gateway/commands/cmd_replay.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gateway/base/json.h"
#include "gateway/base/lines.h"
#include "gateway/commands/cmd_journal.h"
#include "gateway/commands/resend.h"
#include "gateway/journal/inspection.h"
#include "gateway/journal/record.h"

#define TOLD_MOST 100u

struct replay {
	const struct cmd_replay_options *options;
	struct resend *resend; /* NULL: dry run */
	FILE *errors;
	struct json_pointer time;             /* owned */
	const char *path;                     /* being read */
	struct cmd_journal_progress progress; /* of a dry run */
	uint64_t bytes, behind; /* of all there is to read, 0: not known; and of what was read before path */
	uint64_t seen, left_out, refused, damaged, other;
	bool failed; /* something could not be read */
	bool ended;
};

/* -- what is wrong -- */

static void tell(struct replay *r, const char *where, uint64_t number, const char *what)
{
	if (r->refused + r->damaged > TOLD_MOST)
		return;
	fprintf(r->errors, "replay: %s: %s%llu: %s\n", r->path, where, (unsigned long long)number, what);
	if (r->refused + r->damaged == TOLD_MOST)
		fputs("replay: more of that is counted, and not told\n", r->errors);
}

/* -- one record -- */

/* Whether its time is asked for: times of records are written alike, so texts compare as times do. */
static bool wanted(const struct replay *r, const char *json, size_t len)
{
	const struct cmd_replay_options *o = r->options;
	if (!o->since && !o->until)
		return true;
	if (json_check(json, len, 1000).type != JSON_OBJECT)
		return true; /* it will be told what it is */
	struct json_value v = json_find(json, len, &r->time);
	if (v.type != JSON_STRING)
		return true;
	size_t most = v.len - 2;
	if (o->since) {
		size_t n = strlen(o->since);
		int order = strncmp(v.text + 1, o->since, n < most ? n : most);
		if (order < 0)
			return false;
	}
	if (!o->until)
		return true;
	size_t n = strlen(o->until);
	return strncmp(v.text + 1, o->until, n < most ? n : most) < 0;
}

/* False: ended. */
static bool take(struct replay *r, const char *where, uint64_t number, const char *json, size_t len)
{
	struct refusal refusal = {.text = "it is no record of Sluice (docs/record.md)"};
	r->seen++;
	if (!wanted(r, json, len)) {
		r->left_out++;
		return true;
	}
	if (!r->resend)
		return true;
	switch (resend_put(r->resend, json, len, &refusal)) {
	case GW_OK: return true;
	case GW_AGAIN: r->ended = true; return false;
	default: break;
	}
	r->refused++;
	bool is_json = refusal.reason != REFUSED_NO_DEVICE && refusal.text;
	tell(r, where, number, is_json ? refusal.text : "it is no record of Sluice (docs/record.md)");
	return true;
}

/* -- sources -- */

/* So much of r->path is read. */
static void note_read(struct replay *r, uint64_t bytes)
{
	if (r->resend)
		resend_read(r->resend, r->behind + bytes);
	else
		cmd_journal_progress(&r->progress, r->behind + bytes, r->bytes);
}

static void read_lines(struct replay *r)
{
	struct lines l;
	struct why why = {0};
	const char *text;
	size_t len;
	if (lines_open(&l, r->path, &why)) {
		fprintf(r->errors, "replay: %s\n", why.text);
		r->failed = true;
		return;
	}
	while (lines_next(&l, &text, &len)) {
		note_read(r, l.bytes);
		if (!text) {
			r->seen++;
			r->refused++;
			tell(r, "line ", l.number, "is too long to be a record");
		} else if (len > 0 && !take(r, "line ", l.number, text, len)) {
			break;
		}
	}
	if (l.failed) {
		fprintf(r->errors, "replay: %s: behind line %llu: %s\n", r->path, (unsigned long long)l.number,
		        l.why.text);
		r->failed = true;
	}
	r->behind += l.bytes;
	lines_close(&l);
}

static bool read_block(void *context, const struct inspection_segment *s, uint64_t offset, const struct block_header *h,
                       const uint8_t *bytes)
{
	struct replay *r = context;
	const uint8_t *entry = bytes + BLOCK_HEADER;
	(void)s;
	(void)offset;
	for (uint64_t i = 0; i < h->count && !h->checkpoint; i++, entry += record_size(entry)) {
		if (record_kind(entry) != RECORD_TELEMETRY)
			r->other += record_kind(entry) == RECORD_DEAD;
		else if (!take(r, "record ", h->first + i, record_json(entry), record_json_len(entry)))
			return false;
	}
	return true;
}

static void read_damage(void *context, const struct inspection_damage *d)
{
	struct replay *r = context;
	char text[512];
	inspection_describe(d, text, sizeof(text));
	r->damaged++;
	tell(r, "damage ", r->damaged, text);
}

static void read_progress(void *context, uint64_t bytes)
{
	note_read(context, bytes);
}

static void read_journal(struct replay *r)
{
	static const struct inspection_visitor visitor = {
	    .block = read_block, .damage = read_damage, .progress = read_progress};
	struct inspection l = {0};
	struct why why = {0};
	if (inspection_open(&l, &disk_real, r->path, &why)) {
		fprintf(r->errors, "replay: %s\n", why.text);
		r->failed = true;
	} else {
		inspection_walk(&l, 0, &visitor, r);
		r->behind += l.bytes;
	}
	inspection_close(&l);
}

static bool is_directory(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Bytes of a file or a journal; 0: not known, or it cannot be read. */
static uint64_t size_of(const char *path)
{
	struct inspection l = {0};
	struct why why = {0};
	uint64_t bytes = 0;
	if (!is_directory(path))
		return lines_size(path);
	if (inspection_open(&l, &disk_real, path, &why) == GW_OK)
		bytes = l.bytes;
	inspection_close(&l);
	return bytes;
}

/* Of all together; 0: of one it is not known. */
static uint64_t size_of_all(const struct cmd_replay_options *o)
{
	uint64_t all = 0;
	for (size_t i = 0; i < o->count; i++) {
		uint64_t bytes = size_of(o->paths[i]);
		if (bytes == 0)
			return 0;
		all += bytes;
	}
	return all;
}

static void feed(void *context, struct resend *resend)
{
	struct replay *r = context;
	r->resend = resend;
	for (size_t i = 0; i < r->options->count && !r->ended; i++) {
		r->path = r->options->paths[i];
		if (is_directory(r->path))
			read_journal(r);
		else
			read_lines(r);
	}
}

/* -- the command -- */

static const char help[] =
    "sluice replay FILE... | DIR --to SINK [--config FILE] [--rate N] [--since TIME] [--until TIME] [--dry-run]\n\n"
    "Sends records to a sink again, with the ids they have: what a file sink wrote (NDJSON, also packed with gzip; - "
    "is\n"
    "standard input), or what is in the journal of a data directory, which is only read and may be in use. A sink "
    "that\n"
    "recognises ids (Elasticsearch) has each once; Kafka and files get them once more.\n\n"
    "  --to SINK      name of a sink in the configuration\n"
    "  --rate N       at most N records a second\n"
    "  --since TIME   only records whose @timestamp is TIME or later\n"
    "  --until TIME   ... and before TIME. UTC as RFC 3339, or its beginning: 2026-11-26, 2026-11-26T10:30\n"
    "  --dry-run      read and count, send nothing\n"
    "  --data DIR     for the sink's own files, instead of the configuration's `data`\n\n"
    "  sluice replay /var/lib/sluice/out/*.ndjson.gz --to elasticsearch --rate 5000\n"
    "  sluice replay /mnt/dead-node/sluice --to kafka --since 2026-11-25\n\n"
    "Exit codes: 0 all is there, 1 the sink refused some, something was no record or damaged, or it was ended early,\n"
    "2 something could not be opened, or the command line is wrong.\n";

static const struct option long_options[] = {
    {"to", required_argument, NULL, 't'},
    {"rate", required_argument, NULL, 'r'},
    {"since", required_argument, NULL, 's'},
    {"until", required_argument, NULL, 'u'},
    {"dry-run", no_argument, NULL, 'n'},
    {"config", required_argument, NULL, 'c'},
    {"data", required_argument, NULL, 'd'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* The beginning of 2026-11-26T10:30:00.123456Z. */
static bool is_time(const char *text)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddddd";
	size_t len = strlen(text);
	if (len < 4 || len > sizeof(shape) - 1)
		return false;
	for (size_t i = 0; i < len; i++)
		if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return false;
	return true;
}

int cmd_replay_options(struct cmd_replay_options *o, struct command_line *l)
{
	char *end;
	optind = 0;
	for (int c; (c = getopt_long(l->count, l->words, "c:h", long_options, NULL)) != -1;)
		switch (c) {
		case 't': o->sink = optarg; break;
		case 's': o->since = optarg; break;
		case 'u': o->until = optarg; break;
		case 'n': o->dry_run = true; break;
		case 'c': l->config = optarg; break;
		case 'd': l->data = optarg; break;
		case 'h': return fputs(help, l->out), -1;
		case 'r':
			errno = 0;
			o->rate = strtoull(optarg, &end, 10);
			if (errno || *end || *optarg < '0' || *optarg > '9' || o->rate == 0)
				return fprintf(l->errors, "replay: --rate %s: records a second, from 1\n", optarg), 2;
			break;
		default: return fputs("replay: `sluice replay --help` tells more\n", l->errors), 2;
		}
	const char *odd = o->since && !is_time(o->since) ? o->since : o->until && !is_time(o->until) ? o->until : NULL;
	if (odd)
		return fprintf(l->errors, "replay: %s is no time; say it in UTC: 2026-11-26 or 2026-11-26T10:30:00\n",
		               odd),
		       2;
	o->count = (size_t)(l->count - optind);
	o->paths = l->words + optind;
	if (o->count == 0)
		return fputs("replay: say which files, or which data directory\n", l->errors), 2;
	if (!o->sink && !o->dry_run)
		return fputs("replay: say to which sink, with --to\n", l->errors), 2;
	return 0;
}

static void sum_up(const struct replay *r, const struct resend_result *result, FILE *out)
{
	fprintf(out, "replay: %llu records read", (unsigned long long)r->seen);
	if (r->left_out)
		fprintf(out, ", %llu of another time", (unsigned long long)r->left_out);
	if (r->other)
		fprintf(out, ", %llu dead letters of the intake left out", (unsigned long long)r->other);
	if (r->refused)
		fprintf(out, ", %llu no records", (unsigned long long)r->refused);
	if (r->damaged)
		fprintf(out, ", %llu damaged places", (unsigned long long)r->damaged);
	if (r->options->dry_run)
		fputs(", nothing sent (--dry-run)\n", out);
	else
		fprintf(out, ", %llu in %s, %llu refused by it\n", (unsigned long long)result->delivered,
		        r->options->sink, (unsigned long long)result->dead);
}

int cmd_replay(const struct gateway_plan *plan, const struct cmd_replay_options *o, FILE *out, FILE *errors)
{
	struct replay r = {
	    .options = o, .errors = errors, .progress = {.out = out, .command = "replay"}, .bytes = size_of_all(o)};
	struct resend_result result = {0};
	struct why why = {0};
	if (!json_pointer_init(&r.time, "/@timestamp"))
		return fputs("replay: out of memory\n", errors), 1;
	const struct resend_plan p = {.gateway = plan,
	                              .sink = o->sink,
	                              .rate = o->rate,
	                              .bytes = r.bytes,
	                              .command = "replay",
	                              .feed = feed,
	                              .context = &r};
	enum gw_err err = GW_OK;
	if (o->dry_run)
		feed(&r, NULL);
	else
		err = resend_run(&p, out, &result, &why);
	json_pointer_fini(&r.time);
	if (err && err != GW_AGAIN)
		fprintf(errors, "replay: %s\n", why.text);
	if (err == GW_CONFIG)
		return 2;
	sum_up(&r, &result, out);
	if (err == GW_AGAIN)
		fputs("replay: ended early; run it again: what is there already has the same ids\n", out);
	if (r.failed)
		return 2;
	return err || result.dead || r.refused || r.damaged ? 1 : 0;
}
