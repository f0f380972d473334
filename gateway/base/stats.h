/* Numbers for people: counters, gauges and histograms, and how they are shown as Prometheus metrics.
 *
 * Each struct is written by one thread (stat_add needs no locked instruction then) and read by the admin thread,
 * relaxed: a number for people orders nothing. Where several threads write, stat_add_shared is used. Every member is
 * described by one row in the tables of stats.c; from them come /metrics and docs/metrics.md. */
#ifndef SLUICE_GATEWAY_BASE_STATS_H
#define SLUICE_GATEWAY_BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

typedef _Atomic uint64_t stat_t;

static inline void stat_add(stat_t *s, uint64_t n) /* one writing thread */
{
	atomic_store_explicit(s, atomic_load_explicit(s, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void stat_sub(stat_t *s, uint64_t n) /* one writing thread */
{
	atomic_store_explicit(s, atomic_load_explicit(s, memory_order_relaxed) - n, memory_order_relaxed);
}
static inline void stat_set(stat_t *s, uint64_t n)
{
	atomic_store_explicit(s, n, memory_order_relaxed);
}
static inline void stat_add_shared(stat_t *s, uint64_t n)
{
	atomic_fetch_add_explicit(s, n, memory_order_relaxed);
}
static inline uint64_t stat_get(const stat_t *s)
{
	return atomic_load_explicit((stat_t *)s, memory_order_relaxed);
}

/* A histogram of durations with fixed bounds, doubling from first_us: bucket i counts what took at most first_us << i.
 */
#define HISTOGRAM_BUCKETS 18 /* 250 us .. 32.8 s, then +Inf */
struct histogram {
	stat_t bucket[HISTOGRAM_BUCKETS + 1];
	stat_t sum_us;
};
#define HISTOGRAM_FIRST_US 250u
void stats_histogram_add(struct histogram *h, uint64_t us, uint64_t n); /* one writing thread */

/* Why a message was refused. One word per reaction; the words are the metric's label `reason` and become permanent. */
enum refusal_reason {
	REFUSED_PAYLOAD,      /* "invalid_payload": declared JSON that is not */
	REFUSED_NO_DEVICE,    /* "no_device": no device where the listener was told to look */
	REFUSED_DEVICE,       /* "invalid_device": empty, too long, not UTF-8, control characters */
	REFUSED_CHANNEL,      /* "invalid_channel" */
	REFUSED_TOO_LARGE,    /* "too_large": a payload, line, body or packet over its limit */
	REFUSED_FULL,         /* "full": lane or journal had no room */
	REFUSED_PROTOCOL,     /* "protocol_error": malformed bytes of the protocol itself */
	REFUSED_CONNECTIONS,  /* "connection_limit" */
	REFUSED_TIMEOUT,      /* "timeout": the peer was too slow or idle, or keep-alive ran out */
	REFUSED_MEMORY,       /* "memory_limit": a bounded table (blocks, exchanges, sessions) was full */
	REFUSED_UNSUPPORTED,  /* "unsupported": method, media type, option, coding or feature that is not served */
	REFUSED_DEAD,         /* "dead_letters_full": invalid, and max_dead_letters allows no more to be kept */
	REFUSED_SUBSCRIPTION, /* "subscription": MQTT SUBSCRIBE; nothing is ever published to a client */
	REFUSED_TAKEN_OVER,   /* "taken_over": another connection came with the same MQTT client identifier */
	REFUSED_REASONS
};
extern const char *const stats_refusal_names[REFUSED_REASONS];

/* Why a payload that was meant to be JSON is not, where it was taken all the same, as text or base64. The words are a
 * metric's label `reason`, and `sluice.not_json` in the record; permanent. */
enum json_fault {
	JSON_FAULT_SYNTAX,       /* "syntax": a comma too many, single quotes ... */
	JSON_FAULT_ENCODING,     /* "encoding": not UTF-8 (Latin-1) */
	JSON_FAULT_NOT_A_NUMBER, /* "not_a_number": nan, inf */
	JSON_FAULT_TRUNCATED,    /* "truncated": it ends too early */
	JSON_FAULT_TRAILING,     /* "trailing_bytes": something behind the document, such as another one */
	JSON_FAULT_DEPTH,        /* "too_deep": over max_depth */
	JSON_FAULTS
};
extern const char *const stats_fault_names[JSON_FAULTS];

/* One per listener thread; summed per listener when shown. Written by the listener's thread. */
struct listener_stats {
	_Alignas(64) stat_t received; /* messages that arrived whole */
	stat_t accepted;              /* messages put into the lane */
	stat_t clock_off;             /* of them, those whose device told a time that is not believed */
	stat_t received_bytes;        /* payload bytes of received messages */
	stat_t acknowledged;          /* answers "accepted" given to devices */
	stat_t late;                  /* answers given because ack_timeout ran out */
	stat_t duplicates;            /* retransmissions recognised and not taken again */
	stat_t forgotten;   /* requests whose memory was given up before its time, for want of room: a retransmission
	                       would be taken again */
	stat_t dropped;     /* unacknowledged kinds (QoS 0, NON) that found no room */
	stat_t dead;        /* invalid messages taken as dead letters */
	stat_t connections; /* gauge: open now */
	stat_t connections_opened;      /* total */
	stat_t accept_pauses;           /* times accepting waited for descriptors or memory */
	stat_t backpressured;           /* times a sender was held back */
	stat_t network_in, network_out; /* bytes on the sockets */
	stat_t refused[REFUSED_REASONS];
	stat_t not_json[JSON_FAULTS]; /* accepted as text or base64, although they were meant to be JSON */
	struct histogram ack;         /* from received to answered */
};

/* One for the process. Written by the journal thread. */
struct journal_stats {
	_Alignas(64) stat_t records, bytes;                  /* appended: records, bytes of their entries */
	stat_t written_bytes;                                /* bytes of blocks written, headers and padding included */
	stat_t commits;                                      /* blocks made durable */
	stat_t delayed, delayed_in_vain;                     /* commits that waited for more; that had gained nothing */
	struct histogram commit;                             /* write and sync of one block */
	stat_t failures;                                     /* writes or syncs that failed */
	stat_t segments, spare_segments;                     /* gauges */
	stat_t used_bytes, capacity_bytes;                   /* gauges */
	stat_t last_sequence;                                /* gauge */
	stat_t full, faulty;                                 /* gauges: 1 while so */
	stat_t spilled, over_budget;                         /* the same */
	stat_t spills;                                       /* times that records in memory had to go to disk */
	stat_t times_full;                                   /* times the journal became full */
	stat_t full_since;                                   /* gauge: wall clock, seconds; 0: it is not */
	stat_t nearly_full, nearly_full_since, fill_percent; /* gauges */
	stat_t times_nearly_full;
	stat_t dropped;              /* records given up that some sink did not have */
	stat_t recovered, cut_bytes; /* at start: records found, bytes of torn tail cut */
	stat_t damaged_blocks;       /* at start or when read: quarantined ranges; shared: pumps find them, too */
	stat_t lost_sequences;       /* sequences inside quarantined ranges; shared */
	stat_t foreign,
	    superseded; /* at start: records of another journal, and of segments that later ones supersede */
	stat_t deleted; /* records lost with files that somebody deleted under it */
	stat_t rescued; /* records written again since their file was deleted under it */
	stat_t state_items, state_bytes; /* gauges: what is remembered across a crash */
	stat_t state_forgotten, checkpoints;
	stat_t delivered_coalesced; /* the table of deliveries was full; an acknowledgement waited for a later block */
};

/* One per sink. Written by the sink's pump thread, but for what is marked. */
struct sink_stats {
	_Alignas(64) stat_t delivered, delivered_bytes;
	stat_t retried; /* records offered again */
	stat_t dead;    /* records that went to dead letters */
	stat_t batches;
	stat_t in_flight;       /* gauge: records handed to the sink and not settled */
	stat_t lag_records;     /* gauge: written by the pump as it turns */
	stat_t lag_seen;        /* the newest record that lag_records knows of; release, after it: stats.c acquires */
	stat_t cursor;          /* gauge: last sequence settled */
	stat_t lag_since_us;    /* gauge: wall clock of the oldest record not settled; 0: none */
	stat_t up;              /* gauge: 1 while the last attempt worked */
	stat_t errors;          /* failed attempts */
	stat_t replay_left;     /* gauge: records of an outage that it does not have yet */
	stat_t replayed;        /* records of an outage that it has */
	stat_t dropped;         /* records that the journal gave up before the sink had them */
	stat_t pins_journal;    /* gauge: 1 while the journal is nearly full and no other sink is further behind */
	stat_t limited;         /* times a limit of the sink struck (queue full, max_targets, 413) */
	struct histogram batch; /* from submit to settled */
};

/* What the metrics page shows; filled by the caller, borrowed for the call. */
struct stats_listener {
	const char *name, *protocol;
	const struct listener_stats *const *threads;
	size_t thread_count;
	uint64_t lane_bytes, lane_limit; /* over all threads */
};
struct stats_sink {
	const char *name, *type;
	const struct sink_stats *stats;
	uint64_t committed; /* newest record of the journal: the sink lacks what its pump has not seen, too */
};
struct stats_page {
	const struct stats_listener *listeners;
	size_t listener_count;
	const struct stats_sink *sinks;
	size_t sink_count;
	const struct journal_stats *journal;
	const char *build; /* labels of sluice_build_info, ready to print */
	uint64_t start_us; /* wall clock of the start */
};
/* stats_write prints the page in Prometheus' text format, version 0.0.4. Any thread. */
void stats_write(const struct stats_page *page, FILE *out);
/* stats_reference prints docs/metrics.md. */
void stats_reference(FILE *out);

#endif
