/* Where dead letters are, and reading them from front to back, line by line (dead_letter_line.h). */
#include "gateway/commands/deadletters_parts.h"

#include <string.h>
#include <sys/stat.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk.h"
#include "gateway/base/lines.h"
#include "gateway/pump/dead_letter_file.h"

static void add_file(struct deadletters_job *j, const char *name, size_t len, const char *path)
{
	for (size_t i = 0; i < j->count; i++)
		if (strcmp(j->files[i].path, path) == 0)
			return;
	struct stat st;
	if (j->count == DEADLETTERS_FILES_MAX || stat(path, &st) != 0 || st.st_size == 0)
		return;
	struct deadletters_file *p = &j->files[j->count++];
	snprintf(p->name, sizeof(p->name), "%.*s", (int)len, name);
	snprintf(p->path, sizeof(p->path), "%s", path);
}

static void add_named(void *context, const char *name)
{
	struct deadletters_job *j = context;
	char path[4096];
	size_t len = strlen(name);
	if (len <= 7 || strcmp(name + len - 7, ".ndjson") != 0)
		return;
	snprintf(path, sizeof(path), "%s/dead/%s", j->plan->settings->data, name);
	add_file(j, name, len - 7, path);
}

void deadletters_find(struct deadletters_job *j)
{
	char path[4096];
	for (size_t i = 0; i < j->plan->sink_count; i++) {
		const struct sink_plan *s = &j->plan->sinks[i];
		if (s->common->dead_letters)
			snprintf(path, sizeof(path), "%s", s->common->dead_letters);
		else
			snprintf(path, sizeof(path), "%s/dead/%s.ndjson", j->plan->settings->data, s->name);
		add_file(j, s->name, strlen(s->name), path);
	}
	snprintf(path, sizeof(path), "%s/dead", j->plan->settings->data);
	/* of sinks that are no longer configured, and the intake's */
	disk_real.list(&disk_real, path, add_named, j);
}

bool deadletters_is_known(const struct deadletters_job *j, const char *sink)
{
	bool is_known = strcmp(sink, DEAD_LETTER_INTAKE) == 0;
	for (size_t i = 0; i < j->plan->sink_count; i++)
		is_known |= strcmp(j->plan->sinks[i].name, sink) == 0;
	for (size_t i = 0; i < j->count; i++) /* one that is no longer configured */
		is_known |= strcmp(j->files[i].name, sink) == 0;
	if (!is_known)
		fprintf(j->errors,
		        "deadletters: --sink %s: no sink has that name, and no dead letter file in %s/dead\n", sink,
		        j->plan->settings->data);
	return is_known;
}

bool deadletters_is_asked_for(const struct deadletters_job *j, const struct deadletters_file *p)
{
	return !j->options->sink || strcmp(j->options->sink, p->name) == 0;
}

/* -- reading -- */

bool deadletters_match(const struct deadletters_job *j, const struct dead_letter_line *l)
{
	const struct cmd_deadletters_options *o = j->options;
	if (o->reason && !memmem(l->reason, l->reason_len, o->reason, strlen(o->reason)))
		return false;
	return o->older_us == 0 || l->time_us < clock_wall_us() - o->older_us;
}

static void show_read(struct deadletters_job *j, uint64_t bytes, uint64_t total)
{
	if (j->resend)
		resend_read(j->resend, bytes);
	else
		cmd_journal_progress(&j->progress, bytes, total);
}

/* A line that is too long cannot be copied. True: the reading may go on without it. */
static bool pass_over_long_line(struct deadletters_job *j, const struct deadletters_file *f, const struct lines *l)
{
	fprintf(
	    j->errors,
	    j->rewrites
	        ? "deadletters: %s: line %llu is longer than %u MiB and would be lost: take it out of the file first\n"
	        : "deadletters: %s: line %llu is longer than %u MiB: it is no dead letter\n",
	    f->path, (unsigned long long)l->number, LINE_MOST >> 20);
	return !j->rewrites;
}

bool deadletters_each_line(struct deadletters_job *j, const struct deadletters_file *f, deadletters_line_fn *each,
                           void *context)
{
	struct lines l;
	struct why why = {0};
	const char *text;
	size_t len;
	bool whole = true;
	uint64_t total = lines_size(f->path);
	if (lines_open(&l, f->path, &why)) {
		fprintf(j->errors, "deadletters: %s\n", why.text);
		return false;
	}
	while (whole && lines_next(&l, &text, &len)) {
		struct dead_letter_line letter;
		show_read(j, l.bytes, total);
		if (!text)
			whole = pass_over_long_line(j, f, &l);
		else if (len > 0 && !each(context, text, len,
		                          dead_letter_line_read(j->reader, text, len, &letter) ? &letter : NULL))
			break;
	}
	if (l.failed)
		fprintf(j->errors, "deadletters: %s: behind line %llu: %s\n", f->path, (unsigned long long)l.number,
		        l.why.text);
	whole &= !l.failed;
	lines_close(&l);
	return whole;
}
