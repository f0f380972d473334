/* The files that sinks write; see gateway_outputs.h. */
#include "gateway/gateway_outputs.h"

#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/pump/dead_letter_file.h"

#define OUTPUTS 2 /* of a sink: its file, its dead letters */

/* A file, under the name that all links to it lead to. */
struct output {
	char path[PATH_MAX];
	const char *setting;
};

/* Cuts the last part off; false: there is none. */
static bool go_up(char *path)
{
	char *slash = strrchr(path, '/');
	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

/* Links are followed in what is there; the rest stays as it is written. `above` is the part that is there: "" for /. */
static void resolve(const char *path, char out[PATH_MAX], char above[PATH_MAX])
{
	char whole[PATH_MAX], real[PATH_MAX];
	snprintf(whole, sizeof(whole), "%s%s", path[0] == '/' ? "" : "./", path);
	snprintf(above, PATH_MAX, "%s", whole);
	while (*above && !realpath(above, real))
		if (!go_up(above))
			break;
	size_t len = strlen(above);
	if (len == 0 || strcmp(real, "/") == 0)
		*real = '\0';
	snprintf(out, PATH_MAX, "%.2000s%.2000s", real, whole + len);
}

static size_t outputs_of(const struct gateway_plan *plan, const struct sink_plan *s, struct output out[OUTPUTS])
{
	char path[PATH_MAX] = "", above[PATH_MAX];
	size_t count = 0;
	if (s->sink->output)
		s->sink->output(s->settings, plan->settings->data, path, sizeof(path));
	if (*path && strcmp(path, "/dev/null") != 0) {
		resolve(path, out[count].path, above);
		out[count++].setting = "path";
	}
	if (s->common->dead_letters) {
		resolve(s->common->dead_letters, out[count].path, above);
		out[count++].setting = "dead_letters";
	}
	return count;
}

static enum gw_err compare(const struct sink_plan *s, const struct output *o, const struct sink_plan *other,
                           const struct output *theirs, struct why *why)
{
	if (strcmp(o->path, theirs->path) != 0)
		return GW_OK;
	return why_set(why, GW_CONFIG, "%s: %s is also %s of sink \"%s\"; give each a file of its own", o->setting,
	               o->path, theirs->setting, s == other ? s->name : other->name);
}

/* Below the journal's directory, or the file that invalid messages go to. */
static enum gw_err check_data(const struct gateway_plan *plan, const struct output *o, struct why *why)
{
	char dir[PATH_MAX], journal[PATH_MAX], above[PATH_MAX];
	snprintf(dir, sizeof(dir), "%s/journal", plan->settings->data);
	resolve(dir, journal, above);
	size_t len = strlen(journal);
	if (strncmp(o->path, journal, len) == 0 && o->path[len] == '/')
		return why_set(why, GW_CONFIG, "%s: %s is in the journal's directory; choose another", o->setting,
		               o->path);
	snprintf(dir, sizeof(dir), "%s/dead/" DEAD_LETTER_INTAKE ".ndjson", plan->settings->data);
	resolve(dir, journal, above);
	if (strcmp(o->path, journal) == 0)
		return why_set(why, GW_CONFIG, "%s: %s is the file of invalid messages; choose another", o->setting,
		               o->path);
	return GW_OK;
}

enum gw_err gateway_outputs_check(const struct gateway_plan *plan, const struct sink_plan *s, struct why *why)
{
	struct output ours[OUTPUTS], theirs[OUTPUTS];
	size_t count = outputs_of(plan, s, ours);
	enum gw_err err = count == OUTPUTS ? compare(s, &ours[1], s, &ours[0], why) : GW_OK;
	for (size_t k = 0; k < count && !err; k++)
		err = check_data(plan, &ours[k], why);
	for (size_t i = 0; i < plan->sink_count && &plan->sinks[i] != s && !err; i++) {
		size_t n = outputs_of(plan, &plan->sinks[i], theirs);
		for (size_t k = 0; k < count * n && !err; k++)
			err = compare(s, &ours[k / n], &plan->sinks[i], &theirs[k % n], why);
	}
	return err;
}

/* -- who may write -- */

static void warn_of(const char *what, const char *path)
{
	char real[PATH_MAX], above[PATH_MAX], user[128];
	resolve(path, real, above);
	const char *there = *above ? above : "/";
	if (strcmp(there, path) == 0 &&
	    go_up(above)) /* the file itself, or its directory for what comes after a rotation */
		there = access(path, W_OK) != 0 ? path : *above ? above : "/";
	if (access(there, W_OK) == 0)
		return;
	const struct passwd *p = getpwuid(getuid());
	snprintf(user, sizeof(user), "%.64s (uid %u)", p ? p->pw_name : "?", (unsigned)getuid());
	log_event(LOG_WARN, what, "is not writable for this user: change its owner or mode, or run as another user",
	          LOG_S("file.path", there), LOG_S("user.name", user), LOG_S("sluice.wanted", path));
}

void gateway_outputs_warn(const struct gateway_plan *plan)
{
	struct output outputs[OUTPUTS];
	char data[PATH_MAX];
	snprintf(data, sizeof(data), "%s/x", plan->settings->data); /* something in it */
	warn_of("data", data);
	for (size_t i = 0; i < plan->sink_count; i++) {
		size_t count = outputs_of(plan, &plan->sinks[i], outputs);
		for (size_t k = 0; k < count; k++)
			warn_of("sink", outputs[k].path);
	}
}
