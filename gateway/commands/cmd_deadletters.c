/* Dead letters for people; see cmd_deadletters.h. Each file is read from front to back, line by line (dead_letter_line.h). */
#include "gateway/commands/cmd_deadletters.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk.h"
#include "gateway/base/json.h"
#include "gateway/base/lines.h"
#include "gateway/base/utf8.h"
#include "gateway/commands/cmd_journal.h"
#include "gateway/commands/resend.h"
#include "gateway/pump/dead_letter_line.h"

#define FILES_MAX 128
#define REASONS_MAX 8
#define REASON_LEN 160
#define INTAKE "intake"

struct place {
	char name[80]; /* of the sink */
	char path[4096];
};

struct job {
	const struct gateway_plan *plan;
	const struct cmd_deadletters_options *options;
	FILE *out, *errors;
	struct place places[FILES_MAX];
	size_t count;
	struct dead_letter_line_reader *reader; /* owned */
	struct resend *resend;                  /* while a replay reads; NULL: nothing is sent */
	struct cmd_journal_progress progress;
	bool failed;
};

/* -- where they are -- */

static void add_place(struct job *j, const char *name, size_t len, const char *path)
{
	for (size_t i = 0; i < j->count; i++)
		if (strcmp(j->places[i].path, path) == 0)
			return;
	struct stat st;
	if (j->count == FILES_MAX || stat(path, &st) != 0 || st.st_size == 0)
		return;
	struct place *p = &j->places[j->count++];
	snprintf(p->name, sizeof(p->name), "%.*s", (int)len, name);
	snprintf(p->path, sizeof(p->path), "%s", path);
}

static void look_at_file(void *context, const char *name)
{
	struct job *j = context;
	char path[4096];
	size_t len = strlen(name);
	if (len <= 7 || strcmp(name + len - 7, ".ndjson") != 0)
		return;
	snprintf(path, sizeof(path), "%s/dead/%s", j->plan->settings->data, name);
	add_place(j, name, len - 7, path);
}

static void find_places(struct job *j)
{
	char path[4096];
	for (size_t i = 0; i < j->plan->sink_count; i++) {
		const struct sink_plan *s = &j->plan->sinks[i];
		if (s->common->dead_letters)
			snprintf(path, sizeof(path), "%s", s->common->dead_letters);
		else
			snprintf(path, sizeof(path), "%s/dead/%s.ndjson", j->plan->settings->data, s->name);
		add_place(j, s->name, strlen(s->name), path);
	}
	snprintf(path, sizeof(path), "%s/dead", j->plan->settings->data);
	disk_real.list(&disk_real, path, look_at_file,
	               j); /* of sinks that are no longer configured, and the intake's */
}

static bool is_asked_for(const struct job *j, const struct place *p)
{
	return !j->options->sink || strcmp(j->options->sink, p->name) == 0;
}

/* -- reading -- */

static bool matches(const struct job *j, const struct dead_letter_line *l)
{
	const struct cmd_deadletters_options *o = j->options;
	if (o->reason && !memmem(l->reason, l->reason_len, o->reason, strlen(o->reason)))
		return false;
	return o->older_us == 0 || l->time_us < clock_wall_us() - o->older_us;
}

static void show_read(struct job *j, uint64_t bytes, uint64_t total)
{
	if (j->resend)
		resend_read(j->resend, bytes);
	else
		cmd_journal_progress(&j->progress, bytes, total);
}

/* Calls each for every line; letter NULL: it is none. False from it ends. False: the file could not be read. */
static bool each_line(struct job *j, const struct place *p,
                      bool (*each)(void *context, const char *line, size_t len, const struct dead_letter_line *letter),
                      void *context)
{
	struct lines l;
	struct why why = {0};
	const char *text;
	size_t len;
	uint64_t total = lines_size(p->path);
	if (lines_open(&l, p->path, &why)) {
		fprintf(j->errors, "deadletters: %s\n", why.text);
		return false;
	}
	while (lines_next(&l, &text, &len)) {
		struct dead_letter_line letter;
		show_read(j, l.bytes, total);
		if (!text)
			fprintf(j->errors, "deadletters: %s: line %llu: is too long to be a dead letter\n", p->path,
			        (unsigned long long)l.number);
		else if (len > 0 && !each(context, text, len,
		                          dead_letter_line_read(j->reader, text, len, &letter) ? &letter : NULL))
			break;
	}
	if (l.failed)
		fprintf(j->errors, "deadletters: %s: behind line %llu: %s\n", p->path, (unsigned long long)l.number,
		        l.why.text);
	bool well = !l.failed;
	lines_close(&l);
	return well;
}

/* -- list -- */

struct listing {
	const struct job *job;
	uint64_t letters, halves, bytes;
	int64_t oldest_us, newest_us;
	struct {
		char text[REASON_LEN + 1];
		size_t len;
		uint64_t count;
	} reasons[REASONS_MAX];
	size_t reason_count;
	uint64_t other; /* letters with further reasons */
};

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* What reasons have in common: the beginning, with # for every word that has a digit in it, since sinks name the place, the
 * value and the id. Its length. */
static size_t reason_head(const struct dead_letter_line *l, char out[REASON_LEN + 1])
{
	size_t n = 0, word = 0;
	bool digit = false;
	for (size_t i = 0; i < l->reason_len && n < REASON_LEN; i++) {
		char c = l->reason[i];
		if (!is_word(c)) {
			word = n + 1;
			digit = false;
		}
		digit |= c >= '0' && c <= '9';
		if (digit) {
			n = word;
			c = '#';
		}
		out[n++] = c;
	}
	n = utf8_check(out, n); /* no half of a character */
	size_t slashes = 0;     /* nor of an escape */
	while (slashes < n && out[n - 1 - slashes] == '\\')
		slashes++;
	n -= slashes % 2;
	out[n] = '\0';
	return n;
}

static bool add_to_listing(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	struct listing *s = context;
	(void)line;
	s->bytes += len + 1;
	if (!letter) {
		s->halves++;
		return true;
	}
	if (!matches(s->job, letter))
		return true;
	if (s->letters++ == 0 || letter->time_us < s->oldest_us)
		s->oldest_us = letter->time_us;
	if (letter->time_us > s->newest_us)
		s->newest_us = letter->time_us;
	char text[REASON_LEN + 1];
	size_t head = reason_head(letter, text), i = 0;
	while (i < s->reason_count && (s->reasons[i].len != head || memcmp(s->reasons[i].text, text, head) != 0))
		i++;
	if (i == REASONS_MAX) {
		s->other++;
		return true;
	}
	if (i == s->reason_count) {
		s->reason_count++;
		memcpy(s->reasons[i].text, text, head + 1);
		s->reasons[i].len = head;
	}
	s->reasons[i].count++;
	return true;
}

static void show_listing(const struct job *j, const struct place *p, const struct listing *s, bool first)
{
	char oldest[CLOCK_FORMAT_LEN], newest[CLOCK_FORMAT_LEN];
	clock_format(oldest, s->oldest_us);
	clock_format(newest, s->newest_us);
	if (j->options->json) {
		fprintf(j->out, "%s{\"sink\":\"%s\",\"letters\":%llu,\"damaged_lines\":%llu,\"bytes\":%llu",
		        first ? "" : ",", p->name, (unsigned long long)s->letters, (unsigned long long)s->halves,
		        (unsigned long long)s->bytes);
		if (s->letters)
			fprintf(j->out, ",\"oldest\":\"%.*s\",\"newest\":\"%.*s\"", CLOCK_FORMAT_LEN, oldest,
			        CLOCK_FORMAT_LEN, newest);
		fputs(",\"reasons\":[", j->out);
		for (size_t i = 0; i < s->reason_count; i++)
			fprintf(j->out, "%s{\"reason\":\"%.*s\",\"letters\":%llu}", i ? "," : "",
			        (int)s->reasons[i].len, s->reasons[i].text, (unsigned long long)s->reasons[i].count);
		fprintf(j->out, "],\"other_reasons\":%llu}", (unsigned long long)s->other);
		return;
	}
	fprintf(j->out, "%s: %llu dead letters", p->name, (unsigned long long)s->letters);
	if (s->letters)
		fprintf(j->out, ", %.19sZ to %.19sZ", oldest, newest);
	fprintf(j->out, " (%s)\n", p->path);
	for (size_t i = 0; i < s->reason_count; i++)
		fprintf(j->out, "  %10llu  %.*s\n", (unsigned long long)s->reasons[i].count, (int)s->reasons[i].len,
		        s->reasons[i].text);
	if (s->other)
		fprintf(j->out, "  %10llu  with other reasons\n", (unsigned long long)s->other);
	if (s->halves)
		fprintf(j->out, "  %10llu  lines are no dead letters: halves that a crash or a full disk left\n",
		        (unsigned long long)s->halves);
}

static int list(struct job *j)
{
	bool first = true;
	if (j->options->json)
		fputc('[', j->out);
	for (size_t i = 0; i < j->count; i++) {
		struct listing s = {.job = j};
		if (!is_asked_for(j, &j->places[i]))
			continue;
		j->failed |= !each_line(j, &j->places[i], add_to_listing, &s);
		show_listing(j, &j->places[i], &s, first);
		first = false;
	}
	if (j->options->json)
		fputs("]\n", j->out);
	else if (first)
		fputs("no dead letters\n", j->out);
	return j->failed ? 2 : 0;
}

/* -- show -- */

struct showing {
	struct job *job;
	uint64_t shown;
};

static bool show_line(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	struct showing *s = context;
	if (!letter || !matches(s->job, letter))
		return true;
	if (s->job->options->limit && s->shown == s->job->options->limit)
		return false;
	s->shown++;
	fwrite(line, 1, len, s->job->out);
	fputc('\n', s->job->out);
	return !ferror(s->job->out);
}

static int show(struct job *j)
{
	struct showing s = {.job = j};
	for (size_t i = 0; i < j->count; i++)
		if (is_asked_for(j, &j->places[i]))
			j->failed |= !each_line(j, &j->places[i], show_line, &s);
	return j->failed ? 2 : 0;
}

/* -- a file made anew -- */

/* Lines that stay; it takes the place of the old file at the end. */
struct remains {
	struct job *job;
	const struct place *place;
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
static int lock(struct job *j)
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
static const struct place *the_place(struct job *j)
{
	const struct place *found = NULL;
	for (size_t i = 0; i < j->count; i++) {
		if (!is_asked_for(j, &j->places[i]))
			continue;
		if (found) {
			fputs(
			    "deadletters: several sinks have dead letters: say which with --sink (`list` shows them)\n",
			    j->errors);
			return NULL;
		}
		found = &j->places[i];
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
	if (letter ? matches(r->job, letter) : all)
		r->gone++;
	else
		keep_line(r, line, len);
	return true;
}

static int purge(struct job *j, const struct place *p)
{
	struct remains r = {.job = j, .place = p};
	if (!remains_open(&r))
		return 2;
	bool read = each_line(j, p, purge_line, &r);
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
	if (!letter || !matches(r->job, letter)) {
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
	if (!each_line(r->job, r->place, replay_line, r))
		r->job->failed = true;
}

static bool keep_again(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	(void)letter;
	keep_line(context, line, len);
	return true;
}

static int replay(struct job *j, const struct place *p)
{
	struct remains r = {.job = j, .place = p};
	struct place again = {0};
	struct resend_result result;
	struct why why = {0};
	snprintf(again.path, sizeof(again.path), "%.4000s.again", p->path); /* what the sink refuses now */
	unlink(again.path);
	if (strcmp(p->name, INTAKE) == 0) {
		fputs("deadletters: those of the intake were no valid messages, so no sink can have them: `show` them, "
		      "mend "
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
		j->failed = !each_line(j, &again, keep_again, &r);
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

/* -- */

static int change(struct job *j)
{
	int fd = lock(j), code = 2;
	if (fd < 0)
		return code;
	const struct place *p = the_place(j);
	if (p)
		code = j->options->command == DEADLETTERS_PURGE ? purge(j, p) : replay(j, p);
	else if (j->count == 0 && !j->options->sink)
		code = (fputs("no dead letters\n", j->out), 0);
	close(fd);
	return code;
}

int cmd_deadletters(const struct gateway_plan *plan, const struct cmd_deadletters_options *o, FILE *out, FILE *errors)
{
	struct job *j = calloc(1, sizeof(*j));
	if (!j || !(j->reader = dead_letter_line_reader_open())) {
		free(j);
		return fputs("deadletters: out of memory\n", errors), 2;
	}
	j->plan = plan;
	j->options = o;
	j->out = out;
	j->errors = errors;
	j->progress = (struct cmd_journal_progress){.out = errors, .command = "deadletters"};
	find_places(j);
	int code = o->command == DEADLETTERS_LIST ? list(j) : o->command == DEADLETTERS_SHOW ? show(j) : change(j);
	dead_letter_line_reader_close(j->reader);
	free(j);
	return code;
}

/* -- the command line -- */

static const char help[] =
    "sluice deadletters list | show | replay | purge [--config FILE] [--data DIR] [--sink NAME] [--reason TEXT]\n"
    "                   [--older-than TIME]\n\n"
    "What sinks refused for good, and why.\n\n"
    "  list [--json]        how many there are, since when, and for which reasons\n"
    "  show [--limit N]     the letters, one a line: time, sink, sequence, reason, record\n"
    "  replay [--rate N]    send them to their sink again, when what was wrong is mended. What it takes leaves the "
    "file;\n"
    "                       what it refuses again stays, with its new reason\n"
    "  purge --yes          throw them away; without --yes it tells how many\n\n"
    "  --sink NAME          of this sink alone (`intake`: messages that were refused at the door and kept)\n"
    "  --reason TEXT        only those whose reason has TEXT in it\n"
    "  --older-than TIME    only those older than 90s, 15m, 12h, 7d\n\n"
    "list and show may run beside the gateway; replay and purge need it stopped.\n\n"
    "  sluice deadletters list\n"
    "  sluice deadletters show --sink elasticsearch --limit 1 | jq .reason\n"
    "  sluice deadletters replay --sink elasticsearch\n\n"
    "Exit codes: 0 done, 1 some were refused again, or it was ended early, 2 it could not be done.\n";

static const struct option long_options[] = {
    {"sink", required_argument, NULL, 's'},
    {"reason", required_argument, NULL, 'r'},
    {"limit", required_argument, NULL, 'l'},
    {"older-than", required_argument, NULL, 'o'},
    {"rate", required_argument, NULL, 'a'},
    {"json", no_argument, NULL, 'j'},
    {"yes", no_argument, NULL, 'y'},
    {"config", required_argument, NULL, 'c'},
    {"data", required_argument, NULL, 'd'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* A number from 1 and what stands behind it; 0: there is none. */
static uint64_t number(const char *text, char **end)
{
	errno = 0;
	uint64_t n = *text >= '0' && *text <= '9' ? strtoull(text, end, 10) : 0;
	return errno ? 0 : n;
}

static bool age(const char *text, int64_t *us)
{
	static const struct {
		const char *unit;
		int64_t us;
	} units[] = {{"s", 1000000}, {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}};
	char *end = NULL;
	uint64_t n = number(text, &end);
	for (size_t i = 0; n > 0 && n < 1000000 && i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0) {
			*us = (int64_t)n * units[i].us;
			return true;
		}
	return false;
}

static bool count_of(const char *option, uint64_t *out, FILE *errors)
{
	char *end = NULL;
	*out = number(optarg, &end);
	if (*out > 0 && *end == '\0')
		return true;
	fprintf(errors, "deadletters: --%s %s: a number from 1\n", option, optarg);
	return false;
}

int cmd_deadletters_options(struct cmd_deadletters_options *o, int count, char **words, const char **config,
                            char **data, FILE *out, FILE *errors)
{
	static const char *const names[] = {"list", "show", "replay", "purge"};
	optind = 0;
	for (int c; (c = getopt_long(count, words, "c:h", long_options, NULL)) != -1;)
		switch (c) {
		case 's': o->sink = optarg; break;
		case 'r': o->reason = optarg; break;
		case 'j': o->json = true; break;
		case 'y': o->yes = true; break;
		case 'c': *config = optarg; break;
		case 'd': *data = optarg; break;
		case 'h': return fputs(help, out), -1;
		case 'l':
			if (!count_of("limit", &o->limit, errors))
				return 2;
			break;
		case 'a':
			if (!count_of("rate", &o->rate, errors))
				return 2;
			break;
		case 'o':
			if (age(optarg, &o->older_us))
				break;
			return fprintf(errors, "deadletters: --older-than %s: a time such as 90s, 15m, 12h, 7d\n",
			               optarg),
			       2;
		default: return fputs("deadletters: `sluice deadletters --help` tells more\n", errors), 2;
		}
	for (size_t i = 0; count - optind == 1 && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(words[optind], names[i]) == 0) {
			o->command = (enum deadletters_command)i;
			return 0;
		}
	return fputs("deadletters: say `list`, `show`, `replay` or `purge`\n", errors), 2;
}
