/* What an HTTP listener remembers of requests with an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07), so
 * that the same key within the window is one request: a bounded table shared by the listener's threads, hashed with a
 * random key, the oldest going first. What settled requests are answered with is in the journal as well (gateway/journal/state_store.h:
 * group the key, no member), and comes back after a restart.
 *
 * The value in the journal, little-endian:
 *	 0  u8   1: version
 *	 1  u8   flags: 1 a batch
 *	 2  u16  zero
 *	 4  u32  accepted
 *	 8  u32  rejected
 *	12  u32  zero
 *	16  u64  digest of the request
 *	24  26 characters: id of the record (a single message), else zeros
 *	50  the list of rejections of a batch, JSON
 * Any thread. */
#ifndef SLUICE_PROTOCOLS_HTTP_HTTP_KEYS_H
#define SLUICE_PROTOCOLS_HTTP_HTTP_KEYS_H

#include <pthread.h>
#include <sys/queue.h>

#include "gateway/intake.h"
#include "protocols/http/http_head.h"

#define HTTP_KEY_VALUE 50u    /* bytes of a value without its list */
#define HTTP_KEY_REPORT 4096u /* bytes of the list of rejections of a batch with a key */
#define HTTP_KEY_ID_AT 24u

/* What a request came to. */
struct http_outcome {
	uint64_t digest;
	bool batch;
	uint32_t accepted, rejected; /* of a batch */
	char id[RECORD_ID_LEN];      /* of a single message */
	const char *report;          /* of a batch: members of its answer, terminated; NULL: nothing was rejected */
};

struct http_key;
TAILQ_HEAD(http_key_list, http_key);

/* Lies in intake_shared, zeroed at first. */
struct http_keys {
	pthread_mutex_t lock;
	unsigned users; /* main thread */
	struct siphash_key hash_key;
	struct http_key **buckets;  /* owned; a power of two of them */
	struct http_key_list items; /* the oldest first */
	size_t bucket_count, count, max;
};

/* Main thread, once per thread of the listener; GW_OK | GW_NOMEM. The last close frees everything. */
enum gw_err http_keys_open(struct http_keys *t, size_t max);
void http_keys_close(struct http_keys *t);
/* http_keys_restore takes what the journal recalls. */
void http_keys_restore(struct http_keys *t, const struct state_change *c, int64_t now_us);

enum http_key_state {
	KEY_NEW,   /* it is yours: http_keys_finish or http_keys_drop */
	KEY_BUSY,  /* another request has it, and is not settled yet */
	KEY_OTHER, /* used for a request that was not the same */
	KEY_KNOWN, /* *outcome is what that came to; its report is the caller's to free */
	KEY_NOMEM,
};
struct http_key_claim {
	struct http_text key;
	uint64_t digest;            /* of the request */
	int64_t now_us, expires_us; /* until when it is remembered */
};
/* http_keys_claim asks for a key on behalf of a request.
 *   dropped  set to how many keys had to go */
enum http_key_state http_keys_claim(struct http_keys *t, const struct http_key_claim *claim,
                                    struct http_outcome *outcome, size_t *dropped);
/* http_keys_finish: the request was taken, and is settled when position of in is. The report is copied. */
void http_keys_finish(struct http_keys *t, struct http_text key, const struct http_outcome *outcome,
                      const struct intake *in, uint64_t position);
/* http_keys_drop: nothing was taken, the key is free again. */
void http_keys_drop(struct http_keys *t, struct http_text key);

/* http_keys_value writes the value for the journal to out, HTTP_KEY_VALUE + HTTP_KEY_REPORT bytes, and returns its
 * length. */
size_t http_keys_value(const struct http_outcome *outcome, uint8_t *out);

#endif
