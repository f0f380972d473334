/* What of a configuration tables cannot judge: whether its parts go together, and what works but should be known. */
#include "gateway/gateway.h"

#include <string.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/base/socket.h"
#include "gateway/gateway_outputs.h"
#include "gateway/journal/inspection.h"
#include "gateway/pump/dead_letter_file.h"

static const struct sink_plan *find_sink(const struct gateway_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->sink_count; i++)
		if (strcmp(plan->sinks[i].name, name) == 0)
			return &plan->sinks[i];
	return NULL;
}

/* The address a listener's own table names `listen`; NULL: it has none. */
static const struct address *listen_address(const struct listener_plan *l)
{
	for (const struct setting *s = l->protocol->settings; s->type != SETTING_END; s++) {
		const char *dot = strrchr(s->name, '.');
		if (s->type == SETTING_ADDRESS && strcmp(dot ? dot + 1 : s->name, "listen") == 0)
			return (const struct address *)(const void *)((const char *)l->settings + s->offset);
	}
	return NULL;
}

static bool beyond_this_machine(const struct listener_plan *l)
{
	const struct address *a = listen_address(l);
	return a && !socket_is_loopback(a);
}

bool gateway_waits_for(const struct listener_settings *c, const char *sink)
{
	bool named = c->delivered_to.count == 0;
	for (size_t i = 0; i < c->delivered_to.count; i++)
		named |= strcmp(c->delivered_to.items[i], sink) == 0;
	return named;
}

/* What is delivered ahead of the cursor is not told to anybody who waits for the sink. */
static bool waits_for_replay(const struct gateway_plan *plan, const struct listener_settings *c)
{
	bool waits = false;
	for (size_t i = 0; i < plan->sink_count; i++)
		waits |= gateway_waits_for(c, plan->sinks[i].name) &&
		         plan->sinks[i].common->replay_order == REPLAY_LIVE_FIRST;
	return waits;
}

enum gw_err gateway_check_listener(const struct gateway_plan *plan, const struct listener_plan *l, struct why *why)
{
	const struct listener_settings *c = l->common;
	struct json_pointer pointer = {0};
	if (c->ack == ACK_DURABLE && plan->settings->journal.type == JOURNAL_MEMORY)
		return why_set(why, GW_CONFIG,
		               "ack: \"durable\" is impossible with journal.type memory; use ack: delivered (or "
		               "accepted), or journal.type disk");
	if (c->when_full == WHEN_FULL_DROP_OLDEST && c->ack != ACK_ACCEPTED)
		return why_set(why, GW_CONFIG,
		               "when_full: \"drop_oldest\" would drop what devices were promised; allowed with ack: "
		               "accepted alone, else: refuse");
	if (c->threads > (int64_t)l->protocol->max_threads)
		return why_set(why, GW_CONFIG, "threads: %lld; %s listens with at most %u", (long long)c->threads,
		               l->protocol->name, l->protocol->max_threads);
	if (c->delivered_to.count > 0 && c->ack != ACK_DELIVERED)
		return why_set(why, GW_CONFIG, "delivered_to: only has a meaning with ack: delivered");
	for (size_t i = 0; i < c->delivered_to.count; i++)
		if (!find_sink(plan, c->delivered_to.items[i]))
			return why_set(why, GW_CONFIG, "delivered_to: there is no sink named \"%s\"",
			               c->delivered_to.items[i]);
	if (c->ack == ACK_DELIVERED && waits_for_replay(plan, c))
		return why_set(
		    why, GW_CONFIG,
		    "ack: \"delivered\" waits for a sink with replay_order live_first: after an outage its devices "
		    "would wait until all that gathered is there; use replay_order: oldest_first, or name other "
		    "sinks in delivered_to");
	for (size_t i = 0; i < c->include.count; i++)
		if (strcmp(c->include.items[i], "source") != 0 && strcmp(c->include.items[i], "content_type") != 0)
			return why_set(why, GW_CONFIG, "include: \"%s\"; allowed: source, content_type",
			               c->include.items[i]);
	if (c->time.pointer && !json_pointer_init(&pointer, c->time.pointer))
		return why_set(why, GW_CONFIG,
		               "time.pointer: \"%s\" is no JSON pointer; it looks like /ts or /meta/time (RFC 6901)",
		               c->time.pointer);
	json_pointer_fini(&pointer);
	if (c->max_payload > c->lane / 8)
		return why_set(why, GW_CONFIG, "max_payload: %llu bytes; at most an eighth of lane, which is %llu",
		               (unsigned long long)c->max_payload, (unsigned long long)c->lane);
	if (beyond_this_machine(l) && !c->anonymous)
		return why_set(why, GW_CONFIG,
		               "listen: %s can be reached from beyond this machine, and devices are not asked who they "
		               "are: say `anonymous: true` if "
		               "that is meant, or listen on 127.0.0.1",
		               listen_address(l)->host);
	return l->protocol->check ? l->protocol->check(l->settings, c, why) : GW_OK;
}

enum gw_err gateway_check_sink(const struct gateway_plan *plan, const struct sink_plan *s, struct why *why)
{
	if (strcmp(s->name, DEAD_LETTER_INTAKE) == 0)
		return why_set(why, GW_CONFIG,
		               "the name \"%s\" is taken by the file of invalid messages; choose another",
		               DEAD_LETTER_INTAKE);
	if (s->common->backoff_max < s->common->backoff_min)
		return why_set(why, GW_CONFIG, "backoff_max: is less than backoff_min");
	enum gw_err err = s->sink->check ? s->sink->check(s->settings, s->common, why) : GW_OK;
	return err ? err : gateway_outputs_check(plan, s, why);
}

/* A block never spans segments, and the largest record needs a block of its own: both must fit twice, or else the space
 * that is promised to the lanes (journal_segments.c) would not hold them. */
static enum gw_err check_segment(const struct gateway_plan *plan, struct why *why)
{
	const struct journal_settings *j = &plan->settings->journal;
	if (j->type == JOURNAL_MEMORY)
		return GW_OK;
	if (j->segment % DISK_ALIGN)
		return why_set(why, GW_CONFIG, "journal.segment: must be a multiple of 4KiB");
	if (j->block > j->segment / 2)
		return why_set(why, GW_CONFIG,
		               "journal.block: %llu bytes; at most half of journal.segment, which is %llu",
		               (unsigned long long)j->block, (unsigned long long)j->segment);
	for (size_t i = 0; i < plan->listener_count; i++) {
		uint64_t lane = plan->listeners[i].common->lane, most = lane / 4 < RECORD_MAX ? lane / 4 : RECORD_MAX;
		if (most > j->segment / 2)
			return why_set(why, GW_CONFIG,
			               "listeners.%s: lane: %llu bytes allows records of %llu; at most half of "
			               "journal.segment, which is %llu: raise journal.segment or lower lane",
			               plan->listeners[i].name, (unsigned long long)lane, (unsigned long long)most,
			               (unsigned long long)j->segment);
	}
	return GW_OK;
}

/* UDP and TCP may have the same port; of one kind the second would fail at start. */
static enum gw_err check_addresses(const struct gateway_plan *plan, struct why *why)
{
	static const char hint[] = "both cannot listen there: give one of them another port";
	const struct admin_settings *admin = &plan->settings->admin;
	for (size_t i = 0; i < plan->listener_count; i++) {
		const struct listener_plan *l = &plan->listeners[i], *other = plan->listeners;
		const struct address *a = listen_address(l);
		for (; a && other < l; other++) {
			const struct address *b = listen_address(other);
			if (b && l->protocol->datagrams == other->protocol->datagrams && socket_clash(a, b))
				return why_set(
				    why, GW_CONFIG,
				    "listeners.%s: listen: %s port %s, and listeners.%s: listen: %s port %s: %s",
				    l->name, a->host, a->port, other->name, b->host, b->port, hint);
		}
		if (a && admin->enabled && !l->protocol->datagrams && socket_clash(a, &admin->listen))
			return why_set(why, GW_CONFIG,
			               "listeners.%s: listen: %s port %s, and admin.listen: %s port %s: %s", l->name,
			               a->host, a->port, admin->listen.host, admin->listen.port, hint);
	}
	return GW_OK;
}

/* More would be forgotten as soon as it is used, and devices told that they have no session. Each listener by itself: that all
 * have as much as they may at the same time is not to be expected, and what happens then is counted. */
static enum gw_err check_state(const struct gateway_plan *plan, struct why *why)
{
	const struct journal_settings *j = &plan->settings->journal;
	for (size_t i = 0; j->type == JOURNAL_DISK && i < plan->listener_count; i++) {
		const struct listener_plan *l = &plan->listeners[i];
		const char *setting;
		uint64_t need = l->protocol->state_bytes ? l->protocol->state_bytes(l->settings, l->name, &setting) : 0;
		if (need > j->max_state)
			return why_set(
			    why, GW_CONFIG,
			    "listeners.%s: %s: needs %llu bytes of journal.max_state, which is %llu: lower it "
			    "or raise journal.max_state",
			    l->name, setting, (unsigned long long)need, (unsigned long long)j->max_state);
	}
	return GW_OK;
}

enum gw_err gateway_check_whole(const struct gateway_plan *plan, struct why *why)
{
	if (plan->listener_count == 0)
		return why_set(why, GW_CONFIG,
		               "listeners: none; nothing could be received. Add one, e.g. `listeners: {mqtt: {}}`");
	if (plan->sink_count == 0)
		return why_set(why, GW_CONFIG,
		               "sinks: none; records would go nowhere. Add one, e.g. `sinks: {file: {}}`");
	if (plan->sink_count > 60)
		return why_set(why, GW_CONFIG, "sinks: %zu; at most 60", plan->sink_count);
	const struct journal_settings *j = &plan->settings->journal;
	if (j->low_water > j->high_water)
		return why_set(why, GW_CONFIG, "journal.low_water: %g%%; at most journal.high_water, which is %g%%",
		               j->low_water, j->high_water);
	enum gw_err err = check_addresses(plan, why);
	if (!err)
		err = check_segment(plan, why);
	return err ? err : check_state(plan, why);
}

/* With `type: memory` nobody looks at the disk: what an earlier run left there would wait for ever, or be deleted with the
 * directory. */
static void warn_of_what_is_left(const struct gateway_plan *plan)
{
	struct inspection l;
	struct why why = {0};
	if (inspection_open(&l, &disk_real, plan->settings->data, &why))
		return;
	inspection_find_last(&l);
	uint64_t most = l.cursor_count > 0 ? 0 : l.last;
	const char *sink = "-";
	for (size_t i = 0; i < l.cursor_count; i++) {
		uint64_t behind = inspection_behind(&l, &l.cursors[i]);
		if (behind > most) {
			most = behind;
			sink = l.cursors[i].name;
		}
	}
	if (most > 0)
		log_event(
		    LOG_WARN, "journal",
		    "records of an earlier run wait on disk, and with journal.type memory nobody delivers them: stop, "
		    "run `sluice drain`, start again",
		    LOG_S("file.path", l.dir), LOG_S("sink.name", sink), LOG_N("sluice.sink.lag_records", most));
	inspection_close(&l);
}

void gateway_warn(const struct gateway_plan *plan)
{
	bool lost;
	char path[4096];
	snprintf(path, sizeof(path), "%s", plan->settings->data);
	while (access(path, F_OK) != 0 && strrchr(path, '/'))
		*strrchr(path, '/') = '\0'; /* the first directory above it that is there */
	const char *kind = disk_kind(access(path, F_OK) == 0 && *path ? path : ".", &lost);
	if (kind && plan->settings->journal.type != JOURNAL_MEMORY)
		log_event(LOG_WARN, "journal",
		          lost ? "the data directory is on a file system that goes with the machine or container: "
		                 "mount a volume"
		               : "the data directory is on a network or user-space file system: syncs may be slow or "
		                 "not what they promise",
		          LOG_S("file.path", plan->settings->data), LOG_S("sluice.file_system", kind));
	for (size_t i = 0; i < plan->listener_count; i++)
		if (beyond_this_machine(&plan->listeners[i]))
			log_event(LOG_WARN, "listener",
			          "ANONYMOUS: anybody who can reach this address can send messages",
			          LOG_S("sluice.listener", plan->listeners[i].name),
			          LOG_S("server.address", listen_address(&plan->listeners[i])->host));
	if (plan->settings->journal.type == JOURNAL_MEMORY)
		log_say(LOG_WARN, "journal",
		        "is kept in memory: records that no sink has yet are lost with the process");
	if (plan->settings->journal.type == JOURNAL_MEMORY)
		warn_of_what_is_left(plan);
	gateway_outputs_warn(plan);
}
