/* Any bytes as the answer of a search server that is read back, and as records that are looked through for what was sent.
 * Whatever they are, no message arrives that was never sent. */
#include <stdlib.h>

#include "load/read_search.c"
#include "load/verdict.h"
#include "test/fuzz/must.h"

#define SENT 20u
static struct ledger *sent(void)
{
	struct ledger *l = ledger_new("R", "http://127.0.0.1");
	for (int i = 0; l && i < 2; i++) {
		struct ledger_device *d = ledger_device(l, i ? "b" : "a", "http", -1);
		MUST(d);
		d->sent = SENT;
		for (uint64_t n = 0; n < SENT; n++)
			MUST(ledger_ranges_add(&d->acked, n) == GW_OK);
	}
	MUST(l);
	return l;
}

static void take_one(void *context, const char *text, size_t len)
{
	/* exactly what is there, so that a byte too far is noticed */
	char *own = malloc(len ? len : 1);
	MUST(own);
	memcpy(own, text, len);
	verdict_arrived(context, own, len);
	verdict_dead(context, own, len);
	free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ledger *ledger;
	struct search_answer a = {0};
	struct verdict v;
	char id[64];
	if (!ledger)
		ledger = sent();
	MUST(verdict_open(&v, ledger, false, true) == GW_OK);
	gather("", 1, 0, &a);
	for (size_t at = 0; at < size; at += 1000) /* as the network brings it */
		gather((const char *)data + at, 1, size - at < 1000 ? size - at : 1000, &a);
	size_t count = take_documents(&a, take_one, &v);
	MUST(v.records == count);
	struct search whose = {.answer = a};
	struct why why = {{0}};
	if (whole(&whose, &why) != GW_OK)
		MUST(why.text[0]);
	if (scroll_id(&a, id, sizeof(id)))
		MUST(strlen(id) < sizeof(id));
	verdict_close(&v);
	MUST(v.total.arrived <= 2 * SENT && v.total.arrived + v.total.missing + v.total.dead == 2 * SENT);
	verdict_free(&v);
	free(a.text);
	return 0;
}
