/* `sluice deadletters purge` and `replay`: the lines that stay are written to a new file, which replaces the old one when all
 * is done. A crash before that leaves the old file as it was. */
#include "gateway/commands/deadletters_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "gateway/base/disk.h"
#include "gateway/base/lines.h"

/* -- a file that is replaced -- */

/* Lines that stay; it takes the place of the old file at the end. */
struct remains {
	struct deadletters_job *job;
	const struct deadletters_file *place;
	char path[4200]; /* of the new file */
	FILE *file;      /* owned */
	uint64_t kept, gone;
	bool ended;
};

static bool remains_open(struct remains *r)
{
	snprintf(r->path, sizeof(r->path), "%s.new", r->place->path);
	r->file = fopen(r->path, "we");
	if (!r->file)
		fprintf(r->job->errors, "deadletters: %s: %s\n", r->path, strerror(errno));
	return r->file != NULL;
}

static void keep_line(struct remains *r, const char *line, size_t len)
{
	r->kept++;
	fwrite(line, 1, len, r->file);
	fputc('\n', r->file);
}

static void sync_dir_of(const char *path)
{
	char dir[4096];
	snprintf(dir, sizeof(dir), "%s", path);
	char *slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
	disk_real.sync_dir(&disk_real, slash && *dir ? dir : slash ? "/" : ".");
}

/* The new file is safe before the old one goes. */
static bool remains_replace(struct remains *r)
{
	bool well = !ferror(r->file) && fflush(r->file) == 0 && fsync(fileno(r->file)) == 0;
	well &= fclose(r->file) == 0;
	r->file = NULL;
	if (well && r->kept > 0)
		well = rename(r->path, r->place->path) == 0;
	else if (well)
		well = unlink(r->place->path) == 0 && unlink(r->path) == 0;
	if (!well) {
		fprintf(r->job->errors, "deadletters: %s: %s; the old file stays as it was\n", r->path,
		        strerror(errno));
		unlink(r->path);
		return false;
	}
	sync_dir_of(r->place->path);
	return true;
}

static void remains_drop(struct remains *r)
{
	if (r->file)
		fclose(r->file);
	unlink(r->path);
	r->file = NULL;
}

/* -- the lock, and the one file -- */

/* The gateway appends to these files while it runs. -1: it does, or the directory cannot be locked. */
static int lock(struct deadletters_job *j)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/journal/lock", j->plan->settings->data);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return open("/dev/null", O_RDONLY | O_CLOEXEC); /* no gateway with a journal on disk was ever here */
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	fprintf(j->errors,
	        fd < 0
	            ? "deadletters: %s: %s\n"
	            : "deadletters: %s is locked: a gateway runs there and appends to these files (%s). Stop it first; "
	              "list and show work meanwhile\n",
	        fd < 0 ? path : j->plan->settings->data, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The file that is meant; NULL: told why not. */
static const struct deadletters_file *the_place(struct deadletters_job *j)
{
	const struct deadletters_file *found = NULL;
	for (size_t i = 0; i < j->count; i++) {
		if (!deadletters_is_asked_for(j, &j->files[i]))
			continue;
		if (found) {
			fputs(
			    "deadletters: several sinks have dead letters: say which with --sink (`list` shows them)\n",
			    j->errors);
			return NULL;
		}
		found = &j->files[i];
	}
	if (!found && j->options->sink)
		fprintf(j->errors, "deadletters: %s has none\n", j->options->sink);
	return found;
}

/* -- purge -- */

static bool purge_line(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	struct remains *r = context;
	bool all = !r->job->options->reason && r->job->options->older_us == 0;
	if (letter ? deadletters_match(r->job, letter) : all)
		r->gone++;
	else
		keep_line(r, line, len);
	return true;
}

static int purge(struct deadletters_job *j, const struct deadletters_file *p)
{
	struct remains r = {.job = j, .place = p};
	if (!remains_open(&r))
		return 2;
	bool read = deadletters_each_line(j, p, purge_line, &r);
	if (!j->options->yes || !read) {
		remains_drop(&r);
		if (!read)
			return 2;
		fprintf(j->out, "deadletters: %llu of %s would go, %llu would stay; --yes does it\n",
		        (unsigned long long)r.gone, p->name, (unsigned long long)r.kept);
		return 2;
	}
	if (!remains_replace(&r))
		return 2;
	fprintf(j->out, "deadletters: %llu of %s are gone, %llu stay\n", (unsigned long long)r.gone, p->name,
	        (unsigned long long)r.kept);
	return 0;
}

/* -- replay -- */

static bool replay_line(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	struct remains *r = context;
	struct refusal refusal;
	if (!letter || !deadletters_match(r->job, letter)) {
		keep_line(r, line, len);
		return true;
	}
	switch (resend_put(r->job->resend, letter->record, letter->record_len, &refusal)) {
	case GW_OK: r->gone++; return true;
	case GW_AGAIN: r->ended = true; return false;
	default: keep_line(r, line, len); return true;
	}
}

static void feed(void *context, struct resend *resend)
{
	struct remains *r = context;
	r->job->resend = resend;
	if (!deadletters_each_line(r->job, r->place, replay_line, r))
		r->job->failed = true;
}

static bool keep_again(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	(void)letter;
	keep_line(context, line, len);
	return true;
}

static int replay(struct deadletters_job *j, const struct deadletters_file *p)
{
	struct remains r = {.job = j, .place = p};
	struct deadletters_file again = {0};
	struct resend_result result;
	struct why why = {0};
	snprintf(again.path, sizeof(again.path), "%.4000s.again", p->path); /* what the sink refuses now */
	unlink(again.path);
	if (strcmp(p->name, "intake") == 0) {
		fputs("deadletters: those of the intake were no valid messages, so no sink can have them: `show` them, "
		      "fix "
		      "them, send them to a listener, then `purge`\n",
		      j->errors);
		return 2;
	}
	if (!remains_open(&r))
		return 2;
	const struct resend_plan plan = {.gateway = j->plan,
	                                 .sink = p->name,
	                                 .dead_letters = again.path,
	                                 .rate = j->options->rate,
	                                 .bytes = lines_size(p->path),
	                                 .command = "deadletters",
	                                 .feed = feed,
	                                 .context = &r};
	enum gw_err err = resend_run(&plan, j->out, &result, &why);
	j->resend = NULL;
	if (!err && !j->failed && access(again.path, F_OK) == 0)
		j->failed = !deadletters_each_line(j, &again, keep_again, &r);
	if (err || j->failed) {
		remains_drop(&r);
		unlink(again.path);
		if (err && err != GW_AGAIN)
			fprintf(j->errors, "deadletters: %s\n", why.text);
		fprintf(
		    j->out,
		    "deadletters: not finished: %llu went to %s; the file stays as it was, run it again: what is there "
		    "already has the same ids\n",
		    (unsigned long long)result.delivered, p->name);
		return err == GW_AGAIN ? 1 : 2;
	}
	if (!remains_replace(&r))
		return 2;
	unlink(again.path);
	fprintf(j->out, "deadletters: %llu went to %s, %llu it refused again, %llu stay in all\n",
	        (unsigned long long)result.delivered, p->name, (unsigned long long)result.dead,
	        (unsigned long long)r.kept);
	return result.dead ? 1 : 0;
}

int deadletters_retry_or_purge(struct deadletters_job *j)
{
	int fd = lock(j), code = 2;
	if (fd < 0)
		return code;
	const struct cmd_deadletters_options *o = j->options;
	const struct deadletters_file *p = the_place(j);
	j->rewrites = o->command != DEADLETTERS_PURGE || o->reason || o->older_us != 0;
	if (p)
		code = o->command == DEADLETTERS_PURGE ? purge(j, p) : replay(j, p);
	else if (j->count == 0 && !o->sink)
		code = (fputs("no dead letters\n", j->out), 0);
	close(fd);
	return code;
}
