/* The registry of client identifiers of one MQTT listener: which connection, on whichever thread, is the client of that
 * name. It makes sure that there is at most one [MQTT-3.1.4-2], that a new one begins only when the old one is gone,
 * and it keeps, for a bounded time, the sessions that clients with clean session 0 left behind: a session is its set of
 * open QoS 2 packet identifiers, which may be empty; that it exists is told to the client (session present).
 *
 * How a client is taken over: the new connection claims the identifier; if an old one has it, the old one's thread is
 * asked to close it and the new one waits. When the old one leaves, and what it had put into its thread's lane is
 * settled (so that a QoS 2 message sent again is never acknowledged before its first copy is safe), the new one's
 * thread is told that it now owns the identifier. A third connection that claims it meanwhile takes the place of the
 * one that waits, which is closed. However fast they come, there is one owner and one that waits.
 *
 * The table is divided into shards, each with its lock, and hashed with a random key. It is used when clients come and
 * go, never per message. Requests between threads lie in one mailbox per thread. Lock order: shard, then mailbox. */
#ifndef SLUICE_PROTOCOLS_MQTT_MQTT_CLIENTS_H
#define SLUICE_PROTOCOLS_MQTT_MQTT_CLIENTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "gateway/base/siphash.h"
#include "gateway/intake.h"
#include "protocols/mqtt/mqtt_codec.h"
#include "protocols/mqtt/mqtt_ids.h"

/* One identifier that is connected or has left state behind. */
struct mqtt_client;

/* A connection's part in the registry: a member of the connection's state, zeroed before the claim. */
struct mqtt_member {
	struct mqtt_client *client; /* under the shard's lock; constant while this member is the owner */
	struct mqtt_member *next;   /* mailbox: list of members with requests */
	uint16_t thread;            /* constant after the claim */
	uint8_t shard;              /* constant after the claim */
	uint8_t requests;           /* mailbox: enum mqtt_request */
	bool joined;                /* own thread: between claim and leave */
};

enum mqtt_request {
	MQTT_REQUEST_CLOSE = 1,   /* another connection took the identifier: end; wins over the other */
	MQTT_REQUEST_GRANTED = 2, /* the identifier is yours now: mqtt_clients_session, then CONNACK */
};

#define MQTT_CLIENT_SHARDS 16

struct mqtt_shard {
	pthread_mutex_t lock;
	struct mqtt_client **buckets; /* owned; a power of two of them, NULL until the first client */
	size_t bucket_count, count;
	/* Sessions without a connection, each kind in the order of its expiry: [false] without identifiers, which make room
	 * first, [true] with some. */
	struct {
		struct mqtt_client *oldest, *newest;
	} kept[2];
	size_t sessions; /* those, and those whose messages are not settled yet */
};

struct mqtt_mailbox {
	pthread_mutex_t lock;
	struct mqtt_member *first;
	_Atomic bool any;             /* relaxed hint that first is not NULL; the lock orders what it tells */
	void (*wake)(void *wake_arg); /* under the lock; NULL: the thread does not run */
	void *wake_arg;
	/* Below: the mailbox's own thread only. */
	struct intake *in; /* constant while it runs: where what is forgotten is noted */
	/* left with unsettled messages in this thread's lane, by position */
	struct mqtt_client *settling_first, *settling_last;
	int64_t sweep_ms; /* next look for expired sessions */
};

/* Lies in intake_shared. */
struct mqtt_clients {
	unsigned users; /* main thread: threads that opened it */
	unsigned threads;
	size_t max_sessions; /* of a shard */
	int64_t expiry_ms;
	struct siphash_key key;
	struct mqtt_mailbox *mailboxes; /* owned, one a thread */
	struct mqtt_shard shards[MQTT_CLIENT_SHARDS];
};

/* mqtt_clients_open prepares the zeroed registry at its first call; each further thread's call adds a user. Main
 * thread.
 *   max_sessions  sessions kept for clients that are away, shared out over the shards
 * GW_OK | GW_NOMEM.
 * mqtt_clients_close takes the user away and frees everything with the last one. */
enum gw_err mqtt_clients_open(struct mqtt_clients *r, unsigned threads, size_t max_sessions, int64_t expiry_ms);
void mqtt_clients_close(struct mqtt_clients *r);

/* mqtt_clients_listen sets how a thread is woken when there is a request for it (any thread will call it); NULL: it no
 * longer runs. */
void mqtt_clients_listen(struct mqtt_clients *r, unsigned thread, void (*wake)(void *), void *wake_arg);

/* mqtt_clients_intake sets the intake through which the thread has sessions forgotten for good (state_store.h); NULL: they are
 * in memory only. Main thread. */
void mqtt_clients_intake(struct mqtt_clients *r, unsigned thread, struct intake *in);

/* mqtt_clients_restore adds the session that a client had before the gateway was started, and an identifier that it left
 * open in it (0: none); it expires as if the client had left at now_ms. Main thread, before the threads. False: out of memory. */
bool mqtt_clients_restore(struct mqtt_clients *r, struct mqtt_string id, uint16_t packet, int64_t now_ms);

/* mqtt_clients_forget notes that a client has no session any more; position as intake_note (0 where in is NULL).
 * GW_OK | GW_FULL: not now. */
enum gw_err mqtt_clients_forget(struct intake *in, struct mqtt_string id, uint64_t *position);

/* mqtt_clients_claim asks for an identifier on behalf of m, a connection of this thread.
 * GW_OK: m owns it | GW_AGAIN: wait for MQTT_REQUEST_GRANTED or _CLOSE | GW_NOMEM: m has not joined. */
enum gw_err mqtt_clients_claim(struct mqtt_clients *r, struct mqtt_member *m, unsigned thread, struct mqtt_string id,
                               int64_t now_ms);

/* mqtt_clients_id is the identifier that m owns; valid until m leaves. */
struct mqtt_string mqtt_clients_id(const struct mqtt_member *m);

/* mqtt_clients_session hands over the session that the owner's predecessor left; NULL: there is none. The caller owns it. */
struct mqtt_ids *mqtt_clients_session(struct mqtt_clients *r, struct mqtt_member *m);

/* mqtt_clients_leave ends what claim began; m may be freed after it. Does nothing for a member that has not joined.
 *   ids        session to keep for the next connection of that name, taken over; NULL: it has none
 *   unsettled  position of the member's last message if it is not settled yet, else 0
 * Returns how many sessions were given up because the table is full. The member's thread. */
size_t mqtt_clients_leave(struct mqtt_clients *r, struct mqtt_member *m, struct mqtt_ids *ids, uint64_t unsettled,
                          int64_t now_ms);

/* mqtt_clients_turn passes on clients whose messages are settled now and drops expired sessions. Once per loop turn of
 * each thread; cheap. Returns sessions given up as above. */
size_t mqtt_clients_turn(struct mqtt_clients *r, unsigned thread, struct intake *in);

/* mqtt_clients_request takes the next request for a connection of this thread: its member and a set of enum
 * mqtt_request; NULL: none. */
struct mqtt_member *mqtt_clients_request(struct mqtt_clients *r, unsigned thread, unsigned *requests);

#endif
