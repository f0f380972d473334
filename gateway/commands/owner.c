/* Whose data a command writes; see owner.h. */
#include "gateway/commands/owner.h"

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool allowed;

void owner_allow_other(void)
{
	allowed = true;
}

static enum gw_err become(const struct stat *st, struct why *why)
{
	if (geteuid() != 0)
		return GW_OK;
	if (setgroups(1, &st->st_gid) == 0 && setegid(st->st_gid) == 0 && seteuid(st->st_uid) == 0)
		return GW_OK;
	return why_set(why, GW_IO, "cannot become uid %u, gid %u: %s", (unsigned)st->st_uid, (unsigned)st->st_gid,
	               strerror(errno));
}

enum gw_err owner_check(const char *data, struct why *why)
{
	char path[4096];
	struct stat st;
	snprintf(path, sizeof(path), "%s/journal", data);
	if ((stat(path, &st) < 0 && stat(data, &st) < 0) || st.st_uid == geteuid())
		return GW_OK;
	if (allowed)
		return become(&st, why);
	return why_set(
	    why, GW_CONFIG,
	    "%s belongs to uid %u, and this command runs as uid %u: what it writes the gateway could not read. "
	    "Run it as that user (setpriv, su), or add --as-other-user: root then writes as that user",
	    data, (unsigned)st.st_uid, (unsigned)geteuid());
}
