/* Whether this machine has the descriptors and ports that runs need. */
#include <stdio.h>
#include <sys/resource.h>

#include "load/run_parts.h"

#define DESCRIPTORS_OURS 64u

static enum gw_err check_descriptors(const struct load_run *runs, size_t count, struct why *why)
{
	struct rlimit limit;
	uint64_t needed = DESCRIPTORS_OURS;
	for (size_t i = 0; i < count; i++)
		needed += runs[i].job.one_socket ? runs[i].job.worker_count : runs[i].job.connections;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
		return GW_OK;
	limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max >= needed)
		return GW_OK;
	return why_set(why, GW_CONFIG,
	               "%llu file descriptors are needed, and at most %llu allowed: raise the hard limit (ulimit -Hn "
	               "%llu as root, LimitNOFILE= in systemd, or /etc/security/limits.conf)",
	               (unsigned long long)needed, (unsigned long long)limit.rlim_max, (unsigned long long)needed);
}

/* How many ports one address of this machine has for connections. */
static uint64_t port_count(void)
{
	unsigned low = 32768, high = 60999;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
	if (f) {
		if (fscanf(f, "%u %u", &low, &high) != 2)
			low = 1024, high = 65535;
		fclose(f);
	}
	return high >= low ? (uint64_t)high - low + 1 : 0;
}

static enum gw_err check_ports(const struct load_run *runs, size_t count, struct why *why)
{
	uint64_t ports = port_count();
	for (size_t i = 0; i < count; i++) {
		const struct load_job *j = &runs[i].job;
		uint64_t most = ports * (j->plan->bind_count ? j->plan->bind_count : 1);
		if (!j->one_socket && j->connections > most)
			return why_set(
			    why, GW_CONFIG,
			    "%llu connections to %s need as many ports, and there are %llu: widen the range "
			    "(sysctl net.ipv4.ip_local_port_range='1024 65535'), or send from more addresses "
			    "(--bind)",
			    (unsigned long long)j->connections, j->plan->target, (unsigned long long)most);
	}
	return GW_OK;
}

enum gw_err run_check_limits(const struct load_run *runs, size_t count, struct why *why)
{
	enum gw_err err = check_descriptors(runs, count, why);
	return err ? err : check_ports(runs, count, why);
}
