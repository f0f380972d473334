/* The verdict on one place where messages were to arrive: what the ledger says was sent and acknowledged, beside what is
 * there. Memory is two bits a message sent, three with dead letters. One thread. */
#ifndef SLUICE_LOAD_VERDICT_H
#define SLUICE_LOAD_VERDICT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/base/error.h"
#include "load/ledger.h"
#include "load/message_identity.h"

#define VERDICT_PROTOCOLS 16
#define VERDICT_EXAMPLES 10 /* of what is missing or doubled, told by name */

struct verdict_line {
	char protocol[16];
	int qos;
	uint64_t devices, sent, acknowledged, resent;
	uint64_t arrived;      /* different messages that are there */
	uint64_t missing;      /* acknowledged, not there and not dead */
	uint64_t dead;         /* acknowledged, not there, but in the dead letters */
	uint64_t twice;        /* sent once, there more than once */
	uint64_t twice_resent; /* sent again after a lost acknowledgement, there more than once */
	uint64_t out_of_order; /* sent once, first met behind a later one of its device */
	uint64_t unknown;      /* there, and never sent: numbers beyond the ledger's */
};

struct verdict_example {
	char device[MESSAGE_IDENTITY_MAX];
	uint64_t seq;
};
struct verdict_examples {
	struct verdict_example items[VERDICT_EXAMPLES];
	size_t count;
};

struct verdict_device {
	uint8_t *seen, *again, *dead; /* owned; a bit per number; dead NULL: none are read */
	uint64_t next;                /* above the highest number met */
	uint64_t out_of_order, unknown;
};

struct verdict {
	const struct ledger *ledger;    /* borrowed */
	struct verdict_device *devices; /* owned; as in the ledger */
	bool ordered;                   /* what is read comes in the order of its arrival */
	uint64_t records;               /* looked at */
	uint64_t foreign;               /* of other runs, of unknown devices, or without identity */
	/* after verdict_close */
	struct verdict_line lines[VERDICT_PROTOCOLS], total;
	size_t line_count;
	struct verdict_examples missing, twice;
};

/* verdict_open prepares. ordered: whether the place keeps the order of arrival; dead: verdict_dead will be called.
 * GW_OK | GW_NOMEM: all memory is taken here, so that nothing that was read can go uncounted. */
enum gw_err verdict_open(struct verdict *v, const struct ledger *ledger, bool ordered, bool dead);
/* verdict_arrived counts one record, verdict_dead one dead letter; text is the JSON around the identity. */
void verdict_arrived(struct verdict *v, const char *text, size_t len);
void verdict_dead(struct verdict *v, const char *text, size_t len);
/* verdict_close adds up. Afterwards lines, total and examples are there. */
void verdict_close(struct verdict *v);
void verdict_free(struct verdict *v);

/* verdict_print writes a table for people, verdict_json an object, verdict_json_none one that says why there is no verdict;
 * name is what was read, or was to be. */
void verdict_print(const struct verdict *v, const char *name, FILE *out);
void verdict_json(const struct verdict *v, const char *name, FILE *out);
void verdict_json_none(const char *name, const char *error, FILE *out);

#endif
