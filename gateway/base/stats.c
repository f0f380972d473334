/* The tables that describe every number, and the metrics page and its reference made from them. */
#include "gateway/base/stats.h"

#include <dirent.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"

const char *const stats_refusal_names[REFUSED_REASONS] = {
    [REFUSED_PAYLOAD] = "invalid_payload",   [REFUSED_NO_DEVICE] = "no_device",
    [REFUSED_DEVICE] = "invalid_device",     [REFUSED_CHANNEL] = "invalid_channel",
    [REFUSED_TOO_LARGE] = "too_large",       [REFUSED_FULL] = "full",
    [REFUSED_PROTOCOL] = "protocol_error",   [REFUSED_CONNECTIONS] = "connection_limit",
    [REFUSED_TIMEOUT] = "timeout",           [REFUSED_MEMORY] = "memory_limit",
    [REFUSED_UNSUPPORTED] = "unsupported",   [REFUSED_DEAD] = "dead_letters_full",
    [REFUSED_SUBSCRIPTION] = "subscription", [REFUSED_TAKEN_OVER] = "taken_over",
};

const char *const stats_fault_names[JSON_FAULTS] = {
    [JSON_FAULT_SYNTAX] = "syntax",
    [JSON_FAULT_ENCODING] = "encoding",
    [JSON_FAULT_NOT_A_NUMBER] = "not_a_number",
    [JSON_FAULT_TRUNCATED] = "truncated",
    [JSON_FAULT_TRAILING] = "trailing_bytes",
    [JSON_FAULT_DEPTH] = "too_deep",
};

enum kind { COUNTER, GAUGE, HISTOGRAM };
static const char *const kind_names[] = {"counter", "gauge", "histogram"};

struct metric {
	const char *name;
	enum kind kind;
	size_t offset;
	const char *help;
};

#define LISTENER(member) offsetof(struct listener_stats, member)
static const struct metric listener_metrics[] = {
    {"sluice_messages_received_total", COUNTER, LISTENER(received), "Messages that arrived whole."},
    {"sluice_messages_accepted_total", COUNTER, LISTENER(accepted), "Messages that became records."},
    {"sluice_messages_clock_off_total", COUNTER, LISTENER(clock_off),
     "Accepted messages whose device told a time that is not believed (time_past, time_future)."},
    {"sluice_messages_duplicate_total", COUNTER, LISTENER(duplicates),
     "Retransmissions that were recognised and not taken again."},
    {"sluice_exchanges_forgotten_total", COUNTER, LISTENER(forgotten),
     "CoAP requests, MQTT sessions, and HTTP idempotency keys forgotten before their time "
     "for "
     "want of room; a later "
     "retransmission is a second message."},
    {"sluice_messages_dropped_total", COUNTER, LISTENER(dropped),
     "Messages of an unacknowledged kind (MQTT QoS 0, CoAP NON) that found no room."},
    {"sluice_messages_dead_total", COUNTER, LISTENER(dead),
     "Invalid messages that were taken as dead letters (on_invalid: dead_letter)."},
    {"sluice_message_bytes_total", COUNTER, LISTENER(received_bytes), "Payload bytes of received messages."},
    {"sluice_acknowledgements_total", COUNTER, LISTENER(acknowledged),
     "Answers given to devices once their messages were safe; one may cover several lines. Refusals and repetitions "
     "are not "
     "counted, and QoS 2 counts once."},
    {"sluice_acknowledgements_late_total", COUNTER, LISTENER(late), "Answers given because ack_timeout ran out."},
    {"sluice_connections", GAUGE, LISTENER(connections), "Open connections."},
    {"sluice_connections_opened_total", COUNTER, LISTENER(connections_opened), "Connections that were opened."},
    {"sluice_accept_pauses_total", COUNTER, LISTENER(accept_pauses),
     "Times that accepting connections paused for a second, for want of file descriptors or memory."},
    {"sluice_backpressure_total", COUNTER, LISTENER(backpressured),
     "Times a sender was held back: no room, too many unacknowledged, or it does not read."},
    {"sluice_network_receive_bytes_total", COUNTER, LISTENER(network_in), "Bytes read from sockets."},
    {"sluice_network_transmit_bytes_total", COUNTER, LISTENER(network_out), "Bytes written to sockets."},
    {"sluice_ack_duration_seconds", HISTOGRAM, LISTENER(ack),
     "Time from a message's arrival to its acknowledgement; refusals are not measured."},
};

#define JOURNAL(member) offsetof(struct journal_stats, member)
static const struct metric journal_metrics[] = {
    {"sluice_journal_records_total", COUNTER, JOURNAL(records), "Records made durable since the start."},
    {"sluice_journal_record_bytes_total", COUNTER, JOURNAL(bytes), "Their bytes."},
    {"sluice_journal_written_bytes_total", COUNTER, JOURNAL(written_bytes),
     "Bytes written to disk for them, headers and padding included."},
    {"sluice_journal_commits_total", COUNTER, JOURNAL(commits), "Group commits."},
    {"sluice_journal_delayed_commits_total", COUNTER, JOURNAL(delayed),
     "Commits that journal.commit_delay put off so that they take more records."},
    {"sluice_journal_delayed_commits_in_vain_total", COUNTER, JOURNAL(delayed_in_vain),
     "Of these, the ones that would have had nearly the same records at once; the next ones are not put off."},
    {"sluice_journal_commit_duration_seconds", HISTOGRAM, JOURNAL(commit), "Time to gather, write and sync one block."},
    {"sluice_journal_failures_total", COUNTER, JOURNAL(failures),
     "Writes or syncs that failed; nothing in them was acknowledged."},
    {"sluice_journal_segments", GAUGE, JOURNAL(segments), "Segments that hold records."},
    {"sluice_journal_spare_segments", GAUGE, JOURNAL(spare_segments), "Segments ready for use."},
    {"sluice_journal_bytes", GAUGE, JOURNAL(used_bytes), "Bytes of segments that hold records."},
    {"sluice_journal_limit_bytes", GAUGE, JOURNAL(capacity_bytes), "Bytes that all segments may have."},
    {"sluice_journal_full", GAUGE, JOURNAL(full), "1 while nothing is taken in because the journal is full."},
    {"sluice_journal_full_total", COUNTER, JOURNAL(times_full), "Times it became full."},
    {"sluice_journal_full_since_seconds", GAUGE, JOURNAL(full_since),
     "Since when it is full, seconds since the epoch; 0: it is not."},
    {"sluice_journal_fill_percent", GAUGE, JOURNAL(fill_percent),
     "Of the room that records may have, the part that is taken by what some sink still needs."},
    {"sluice_journal_nearly_full", GAUGE, JOURNAL(nearly_full),
     "1 from journal.high_water on until journal.low_water; sluice_sink_holds_journal says who holds it."},
    {"sluice_journal_nearly_full_total", COUNTER, JOURNAL(times_nearly_full), "Times it became nearly full."},
    {"sluice_journal_nearly_full_since_seconds", GAUGE, JOURNAL(nearly_full_since),
     "Since when it is nearly full, seconds since the epoch; 0: it is not."},
    {"sluice_journal_dropped_records_total", COUNTER, JOURNAL(dropped),
     "Records given up because it was full, before every sink had them (when_full: drop_oldest)."},
    {"sluice_journal_faulty", GAUGE, JOURNAL(faulty), "1 while the disk fails."},
    {"sluice_journal_spilled", GAUGE, JOURNAL(spilled),
     "journal.type spill: 1 while records go to disk because a sink does not keep up."},
    {"sluice_journal_spills_total", COUNTER, JOURNAL(spills),
     "journal.type spill: times records in memory went to disk."},
    {"sluice_journal_over_budget", GAUGE, JOURNAL(over_budget),
     "1 while more was written in a day than journal.write_budget allows."},
    {"sluice_journal_last_sequence", GAUGE, JOURNAL(last_sequence), "Sequence number of the newest durable record."},
    {"sluice_journal_recovered_records", GAUGE, JOURNAL(recovered),
     "Records found in the newest segment at the start."},
    {"sluice_journal_cut_bytes", GAUGE, JOURNAL(cut_bytes), "Bytes given up behind a torn block at the start."},
    {"sluice_journal_damaged_ranges_total", COUNTER, JOURNAL(damaged_blocks),
     "Damaged ranges that were found and passed over."},
    {"sluice_journal_lost_records_total", COUNTER, JOURNAL(lost_sequences), "Records inside damaged ranges."},
    {"sluice_journal_foreign_records_total", COUNTER, JOURNAL(foreign),
     "Records in segments of another journal that were set aside at the start; the log has the range."},
    {"sluice_journal_superseded_records_total", COUNTER, JOURNAL(superseded),
     "Records that no cursor had passed, in segments that later ones supersede, at the start; the log has the range."},
    {"sluice_journal_deleted_records_total", COUNTER, JOURNAL(deleted),
     "Records lost with segments that somebody deleted while the gateway ran; the log has the range."},
    {"sluice_journal_rescued_records_total", COUNTER, JOURNAL(rescued),
     "Records written again from memory and the open segment since somebody had deleted their file."},
    {"sluice_journal_state_items", GAUGE, JOURNAL(state_items),
     "MQTT sessions, QoS 2 identifiers and idempotency keys that are remembered across a crash."},
    {"sluice_journal_state_bytes", GAUGE, JOURNAL(state_bytes), "Their bytes; journal.max_state is the limit."},
    {"sluice_journal_state_forgotten_total", COUNTER, JOURNAL(state_forgotten),
     "Those forgotten before their time for want of room (journal.max_state): after a crash a repetition is a second "
     "message."},
    {"sluice_journal_checkpoints_total", COUNTER, JOURNAL(checkpoints), "Segments begun with a checkpoint of them."},
    {"sluice_journal_deliveries_coalesced_total", COUNTER, JOURNAL(delivered_coalesced),
     "Commits whose `delivered` acknowledgement waits for a later commit, because sinks are far behind."},
};

#define SINK(member) offsetof(struct sink_stats, member)
static const struct metric sink_metrics[] = {
    {"sluice_sink_records_total", COUNTER, SINK(delivered), "Records the sink has for good."},
    {"sluice_sink_record_bytes_total", COUNTER, SINK(delivered_bytes), "Their bytes."},
    {"sluice_sink_retried_records_total", COUNTER, SINK(retried), "Records that must be offered again."},
    {"sluice_sink_dead_records_total", COUNTER, SINK(dead), "Records that went to the dead letter file."},
    {"sluice_sink_batches_total", COUNTER, SINK(batches), "Batches handed to the sink."},
    {"sluice_sink_errors_total", COUNTER, SINK(errors), "Batches that were not taken wholly."},
    {"sluice_sink_dropped_records_total", COUNTER, SINK(dropped),
     "Records that a full journal gave up before the sink had them (when_full: drop_oldest), counted when the sink "
     "comes "
     "to them."},
    {"sluice_sink_holds_journal", GAUGE, SINK(pins_journal),
     "1 while the journal is nearly full and no other sink is further behind."},
    {"sluice_sink_limited_total", COUNTER, SINK(limited), "Times a limit of the sink struck."},
    {"sluice_sink_in_flight_records", GAUGE, SINK(in_flight), "Records with the sink and not settled."},
    {"sluice_sink_lag_records", GAUGE, SINK(lag_records), "Records in the journal that the sink does not have yet."},
    {"sluice_sink_replay_left_records", GAUGE, SINK(replay_left),
     "Records being replayed (replay_order, replay_rate) that the sink does not have yet; 0: no replay is on."},
    {"sluice_sink_replayed_records_total", COUNTER, SINK(replayed), "Replayed records the sink has for good."},
    {"sluice_sink_cursor", GAUGE, SINK(cursor), "Sequence number up to which the sink has everything."},
    {"sluice_sink_up", GAUGE, SINK(up), "1 while nothing is known to be wrong with the sink."},
    {"sluice_sink_batch_duration_seconds", HISTOGRAM, SINK(batch),
     "Time from handing over a batch to its last record being settled."},
};
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Metrics that are not members of a struct. */
static const char lag_help[] = "Age of the oldest record that the sink does not have yet.";
static const char oldest_help[] = "Age of the oldest record that some sink does not have yet.";
static const char lane_help[] = "Bytes in the lanes that are not in the journal yet.";
static const char lane_limit_help[] = "Size of the lanes.";

void stats_histogram_add(struct histogram *h, uint64_t us, uint64_t n)
{
	unsigned i = 0;
	while (i < HISTOGRAM_BUCKETS && us > (uint64_t)HISTOGRAM_FIRST_US << i)
		i++;
	stat_add(&h->bucket[i], n);
	stat_add(&h->sum_us, us * n);
}

/* -- the page -- */

static void head(FILE *out, const char *name, const char *kind, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static uint64_t sum(const void *const *structs, size_t count, size_t offset)
{
	uint64_t total = 0;
	for (size_t i = 0; i < count; i++)
		total += stat_get((const stat_t *)(const void *)((const char *)structs[i] + offset));
	return total;
}

static void write_histogram(FILE *out, const char *name, const char *labels, const void *const *structs, size_t count,
                            size_t offset)
{
	uint64_t total = 0;
	const char *comma = *labels ? "," : "";
	for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		total += sum(structs, count, offset + offsetof(struct histogram, bucket) + i * sizeof(stat_t));
		if (i < HISTOGRAM_BUCKETS)
			fprintf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma,
			        (double)((uint64_t)HISTOGRAM_FIRST_US << i) / 1e6, (unsigned long long)total);
	}
	fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)total);
	const char *open = *labels ? "{" : "", *shut = *labels ? "}" : "";
	fprintf(out, "%s_sum%s%s%s %.6f\n", name, open, labels, shut,
	        (double)sum(structs, count, offset + offsetof(struct histogram, sum_us)) / 1e6);
	fprintf(out, "%s_count%s%s%s %llu\n", name, open, labels, shut, (unsigned long long)total);
}

static void write_one(FILE *out, const struct metric *m, const char *labels, const void *const *structs, size_t count)
{
	if (m->kind == HISTOGRAM)
		write_histogram(out, m->name, labels, structs, count, m->offset);
	else
		fprintf(out, "%s%s%s%s %llu\n", m->name, *labels ? "{" : "", labels, *labels ? "}" : "",
		        (unsigned long long)sum(structs, count, m->offset));
}

/* Counters by reason: one member after the other, labelled with a word each. */
struct reason_metric {
	const char *name;
	const char *const *reasons;
	size_t count, offset;
	const char *help;
};
static const struct reason_metric reason_metrics[] = {
    {"sluice_messages_refused_total", stats_refusal_names, REFUSED_REASONS, LISTENER(refused),
     "Messages and connections that were refused, by reason."},
    {"sluice_messages_not_json_total", stats_fault_names, JSON_FAULTS, LISTENER(not_json),
     "Accepted payloads that begin like JSON, or were declared JSON, and could not be read: they are in the record as "
     "text "
     "or base64, with `sluice.not_json`."},
};

static void listener_labels(const struct stats_listener *l, char *out, size_t size)
{
	snprintf(out, size, "listener=\"%s\",protocol=\"%s\"", l->name, l->protocol);
}

static void write_reasons(const struct stats_page *page, const struct reason_metric *metric, FILE *out)
{
	char labels[256];
	head(out, metric->name, "counter", metric->help);
	for (size_t i = 0; i < page->listener_count; i++)
		for (size_t r = 0; r < metric->count; r++) {
			const struct stats_listener *l = &page->listeners[i];
			listener_labels(l, labels, sizeof(labels));
			fprintf(out, "%s{%s,reason=\"%s\"} %llu\n", metric->name, labels, metric->reasons[r],
			        (unsigned long long)sum((const void *const *)l->threads, l->thread_count,
			                                metric->offset + r * sizeof(stat_t)));
		}
}

static void write_listeners(const struct stats_page *page, FILE *out)
{
	char labels[256];
	for (size_t m = 0; m < COUNT(listener_metrics); m++) {
		head(out, listener_metrics[m].name, kind_names[listener_metrics[m].kind], listener_metrics[m].help);
		for (size_t i = 0; i < page->listener_count; i++) {
			const struct stats_listener *l = &page->listeners[i];
			listener_labels(l, labels, sizeof(labels));
			write_one(out, &listener_metrics[m], labels, (const void *const *)l->threads, l->thread_count);
		}
	}
	for (size_t m = 0; m < COUNT(reason_metrics); m++)
		write_reasons(page, &reason_metrics[m], out);
	for (int limit = 0; limit < 2; limit++) {
		const char *name = limit ? "sluice_lane_limit_bytes" : "sluice_lane_bytes";
		head(out, name, "gauge", limit ? lane_limit_help : lane_help);
		for (size_t i = 0; i < page->listener_count; i++) {
			listener_labels(&page->listeners[i], labels, sizeof(labels));
			fprintf(out, "%s{%s} %llu\n", name, labels,
			        (unsigned long long)(limit ? page->listeners[i].lane_limit
			                                   : page->listeners[i].lane_bytes));
		}
	}
}

static double lag_seconds(const struct sink_stats *s)
{
	uint64_t since = stat_get(&s->lag_since_us), now = (uint64_t)clock_wall_us();
	return since && since < now ? (double)(now - since) / 1e6 : 0;
}

/* A pump sleeps up to batch_age over records that it has not seen: they lack, too. */
static uint64_t lag_records(const struct stats_sink *s)
{
	uint64_t seen = atomic_load_explicit((stat_t *)&s->stats->lag_seen, memory_order_acquire);
	uint64_t unseen = s->committed > seen ? s->committed - seen : 0;
	return stat_get(&s->stats->lag_records) + unseen;
}

static void write_sinks(const struct stats_page *page, FILE *out)
{
	char labels[256];
	double oldest = 0;
	for (size_t m = 0; m < COUNT(sink_metrics); m++) {
		head(out, sink_metrics[m].name, kind_names[sink_metrics[m].kind], sink_metrics[m].help);
		for (size_t i = 0; i < page->sink_count; i++) {
			const void *one = page->sinks[i].stats;
			snprintf(labels, sizeof(labels), "sink=\"%s\",type=\"%s\"", page->sinks[i].name,
			         page->sinks[i].type);
			if (sink_metrics[m].offset == SINK(lag_records))
				fprintf(out, "%s{%s} %llu\n", sink_metrics[m].name, labels,
				        (unsigned long long)lag_records(&page->sinks[i]));
			else
				write_one(out, &sink_metrics[m], labels, &one, 1);
		}
	}
	head(out, "sluice_sink_lag_seconds", "gauge", lag_help);
	for (size_t i = 0; i < page->sink_count; i++) {
		double lag = lag_seconds(page->sinks[i].stats);
		oldest = lag > oldest ? lag : oldest;
		fprintf(out, "sluice_sink_lag_seconds{sink=\"%s\",type=\"%s\"} %.3f\n", page->sinks[i].name,
		        page->sinks[i].type, lag);
	}
	head(out, "sluice_journal_oldest_record_age_seconds", "gauge", oldest_help);
	fprintf(out, "sluice_journal_oldest_record_age_seconds %.3f\n", oldest);
}

/* -- the process, by the names that Prometheus' client libraries use -- */

struct process_metric {
	const char *name, *kind, *help;
};
static const struct process_metric process_metrics[] = {
    {"process_cpu_seconds_total", "counter", "User and system processor time of all threads."},
    {"process_resident_memory_bytes", "gauge", "Resident memory."},
    {"process_virtual_memory_bytes", "gauge", "Virtual memory."},
    {"process_open_fds", "gauge", "Open file descriptors."},
    {"process_max_fds", "gauge", "Most file descriptors that may be open."},
    {"process_start_time_seconds", "gauge", "Start of the process, seconds since the epoch."},
    {"sluice_log_lines_lost_total", "counter",
     "Lines of the log that could not be written, such as when nobody reads them."},
};

static unsigned count_fds(void)
{
	unsigned count = 0;
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		return 0;
	for (struct dirent *e; (e = readdir(d));)
		count += e->d_name[0] != '.';
	closedir(d);
	return count - 1; /* the one that looked */
}

static void write_process(const struct stats_page *page, FILE *out)
{
	struct rusage u;
	struct rlimit limit = {0};
	unsigned long long virtual_pages = 0, resident_pages = 0;
	getrusage(RUSAGE_SELF, &u);
	getrlimit(RLIMIT_NOFILE, &limit);
	FILE *statm = fopen("/proc/self/statm", "re");
	if (statm) {
		if (fscanf(statm, "%llu %llu", &virtual_pages, &resident_pages) != 2)
			virtual_pages = resident_pages = 0;
		fclose(statm);
	}
	double page_size = (double)sysconf(_SC_PAGESIZE);
	const double values[] = {
	    (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
	        (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
	    (double)resident_pages * page_size,
	    (double)virtual_pages * page_size,
	    count_fds(),
	    (double)limit.rlim_cur,
	    (double)page->start_us / 1e6,
	    (double)log_lost(),
	};
	for (size_t i = 0; i < COUNT(process_metrics); i++) {
		head(out, process_metrics[i].name, process_metrics[i].kind, process_metrics[i].help);
		fprintf(out, "%s %.16g\n", process_metrics[i].name, values[i]);
	}
}

void stats_write(const struct stats_page *page, FILE *out)
{
	head(out, "sluice_build_info", "gauge", "Version of Sluice and of its libraries; always 1.");
	fprintf(out, "sluice_build_info{%s} 1\n", page->build);
	write_listeners(page, out);
	const void *journal = page->journal;
	for (size_t m = 0; m < COUNT(journal_metrics); m++) {
		head(out, journal_metrics[m].name, kind_names[journal_metrics[m].kind], journal_metrics[m].help);
		write_one(out, &journal_metrics[m], "", &journal, 1);
	}
	write_sinks(page, out);
	write_process(page, out);
}

/* -- the reference -- */

static void row(FILE *out, const char *name, const char *kind, const char *help)
{
	fprintf(out, "| `%s` | %s | %s |\n", name, kind, help);
}

static void section(FILE *out, const char *title, const char *labels)
{
	fprintf(out, "\n## %s\n\nLabels: %s.\n\n| metric | kind | what it tells |\n| --- | --- | --- |\n", title,
	        labels);
}

static void rows(FILE *out, const struct metric *table, size_t count)
{
	for (size_t i = 0; i < count; i++)
		row(out, table[i].name, kind_names[table[i].kind], table[i].help);
}

void stats_reference(FILE *out)
{
	fputs("# Metrics\n\n<!-- made by `sluice --help-metrics`; do not edit -->\n\n"
	      "`GET /metrics` on the admin address, in Prometheus' text format. Durations are seconds, sizes bytes, "
	      "counters end in `_total`. Labels are "
	      "names from the configuration, never devices, topics or addresses, so their number does not grow with "
	      "the fleet.\n",
	      out);
	section(out, "Listeners", "`listener`, `protocol`; threads of one listener are added up");
	rows(out, listener_metrics, COUNT(listener_metrics));
	for (size_t m = 0; m < COUNT(reason_metrics); m++)
		row(out, reason_metrics[m].name, "counter", reason_metrics[m].help);
	row(out, "sluice_lane_bytes", "gauge", lane_help);
	row(out, "sluice_lane_limit_bytes", "gauge", lane_limit_help);
	for (size_t m = 0; m < COUNT(reason_metrics); m++) {
		fprintf(out, "\n`%s` has the label `reason`:", reason_metrics[m].name);
		for (size_t r = 0; r < reason_metrics[m].count; r++)
			fprintf(out, "%s `%s`", r ? "," : "", reason_metrics[m].reasons[r]);
		fputs(".\n", out);
	}
	section(out, "Journal", "none");
	rows(out, journal_metrics, COUNT(journal_metrics));
	row(out, "sluice_journal_oldest_record_age_seconds", "gauge", oldest_help);
	section(out, "Sinks", "`sink`, `type`");
	rows(out, sink_metrics, COUNT(sink_metrics));
	row(out, "sluice_sink_lag_seconds", "gauge", lag_help);
	section(out, "Process", "none, but for `sluice_build_info`: `version` and the libraries' versions");
	row(out, "sluice_build_info", "gauge", "Version of Sluice and of its libraries; always 1.");
	for (size_t i = 0; i < COUNT(process_metrics); i++)
		row(out, process_metrics[i].name, process_metrics[i].kind, process_metrics[i].help);
}
