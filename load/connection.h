/* One connection of a load (CoAP: one endpoint): its life from connect to close, again and again, and the messages that
 * are under way on it. Worker's thread only. */
#ifndef SLUICE_LOAD_CONNECTION_H
#define SLUICE_LOAD_CONNECTION_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "load/result.h"
#include "load/timers.h"

struct worker;

enum connection_state {
	CONNECTION_NEW,   /* not opened yet */
	CONNECTION_REST,  /* broken or refused; opened again at retry_us */
	CONNECTION_OPENS, /* connect() is under way */
	CONNECTION_TLS,
	CONNECTION_HELLO, /* hello was sent */
	CONNECTION_READY,
	CONNECTION_OVER, /* closed for good */
};

enum slot_state {
	SLOT_SENT,
	SLOT_HALF,    /* CoAP: an empty acknowledgement came, the answer will follow */
	SLOT_COUNTED, /* MQTT: PUBREC came, so it is acknowledged; PUBREL went, PUBCOMP is awaited */
	SLOT_DONE,
};

/* A message under way. */
struct slot {
	uint64_t first_us; /* when it was first sent */
	uint32_t again_us; /* when it was last sent, from first_us */
	uint16_t id;       /* CoAP: message id of the last sending */
	uint8_t state;     /* enum slot_state */
	uint8_t tries;     /* sendings beyond the first, 255 at most */
};

struct connection {
	struct worker *worker;
	uint64_t number; /* among all of the job */
	uint32_t devices;
	int fd; /* -1: none */
	SSL *ssl;
	uint8_t state; /* enum connection_state */
	bool queued, blocked, was_ready, tried, done, finishing, finished, leaving, pinged, watching_out;
	uint64_t base, next; /* oldest message that is open; next to be sent for the first time */
	uint64_t resend;     /* below next: what is to be sent again */
	uint64_t due, limit; /* messages that may be sent by the shape; messages there are */
	struct slot *slots;  /* owned; slot_mask + 1; NULL until the first message */
	uint32_t slot_mask;
	uint8_t *out, *in; /* owned; what the socket did not take; what is not complete */
	size_t out_len, out_at, out_room, in_len, in_room;
	uint64_t since_us, retry_us, hold_us, backoff_us, read_us, sent_us; /* hold: send nothing before */
	struct timer timer;                                                 /* one of the worker's */
	uint64_t drip_us;                                                   /* slow senders: when the next bytes go */
	uint64_t name_of;                                                   /* device whose name is in name */
	char *name;                                                         /* owned */
	size_t name_len;
	/* the protocol's own */
	uint64_t counted; /* TCP: number of the message that is line 1 of this connection */
	uint32_t chance;  /* CoAP: state of its randomness */
	uint16_t next_id; /* CoAP */
	struct connection *next_ready;
};

/* connection_open starts to connect; connection_close closes for good, with a goodbye. */
void connection_open(struct connection *c);
void connection_close(struct connection *c);
void connection_event(struct connection *c, uint32_t events);
void connection_take_datagram(struct connection *c, const uint8_t *in, size_t len);
void connection_look(struct connection *c); /* every 100 ms or so: time-outs, retries, keep-alive */
/* connection_queue: it may have something to send; connection_send lets it. */
void connection_queue(struct connection *c);
void connection_send(struct connection *c);
void connection_check_done(struct connection *c);
void connection_free(struct connection *c);

/* For protocols. */
struct payload;
struct payload_facts;
void connection_ready(struct connection *c);
/* connection_lost closes it and will open it again after a pause; what is open is sent again then. Counts an error. */
void connection_lost(struct connection *c, enum load_error kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same without an error: an orderly end. */
void connection_again(struct connection *c);
/* connection_answer puts bytes in line to be written. */
void connection_answer(struct connection *c, const uint8_t *bytes, size_t len);
/* Messages from `from` to before `to` were acknowledged (confirmed for good), rejected for good (an error of that kind
 * each), or given up without an answer. Numbers that are not open are passed over. */
void connection_acked(struct connection *c, uint64_t from, uint64_t to);
void connection_counted(struct connection *c, uint64_t number); /* acknowledged, but the exchange goes on */
void connection_rejected(struct connection *c, uint64_t from, uint64_t to, enum load_error kind, const char *words);
void connection_unheard(struct connection *c, uint64_t number);
void connection_resent(struct connection *c, uint64_t number); /* CoAP: sent again by the protocol itself */
void connection_finished(struct connection *c);
/* Everything from base on is sent again, not before a time. */
void connection_repeat(struct connection *c, uint64_t hold_us);
/* The facts of a message; again: with the time of its first sending. time: room for text that f->time may point to. */
void connection_facts(struct connection *c, uint64_t number, bool again, struct payload_facts *f, char time[64]);
/* Writes a text of the job (topic, client identifier ...) for a message, or for the connection's first device. */
size_t connection_text(struct connection *c, const struct payload *text, uint64_t number, uint8_t *out);
static inline struct slot *connection_slot(struct connection *c, uint64_t number)
{
	return &c->slots[number & c->slot_mask];
}
static inline struct connection *connection_of_timer(struct timer *t)
{
	return (struct connection *)(void *)((char *)t - offsetof(struct connection, timer));
}

#endif
