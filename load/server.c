/* Processor time and memory of a process, read from /proc/PID/stat. */
#include "load/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum gw_err server_read(int pid, struct server_use *out, struct why *why)
{
	char path[64], text[2048];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (!f)
		return why_set(why, GW_IO, "--pid %d: %s", pid, errno == ENOENT ? "no such process" : strerror(errno));
	size_t len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	/* The name stands in parentheses and may hold any character; fields are counted behind its end: state is the 3rd. */
	const char *rest = strrchr(text, ')');
	unsigned long long user, system;
	long pages;
	if (!rest ||
	    sscanf(rest + 1,
	           " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &user,
	           &system, &pages) != 3)
		return why_set(why, GW_IO, "--pid %d: %s cannot be understood", pid, path);
	out->cpu_us = (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
	out->bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return GW_OK;
}
