/* Any bytes as a ledger. What is taken for one has ascending ranges below what was sent, and is the same again after it was
 * written and read. */
#include <stdlib.h>
#include <sys/mman.h>

#include "load/ledger.c"
#include "test/fuzz/must.h"

static void check_ranges(const struct ledger_ranges *r, uint64_t sent)
{
	for (size_t i = 0; i < r->count; i++) {
		MUST(r->items[i].first <= r->items[i].last && r->items[i].last < sent);
		MUST(i == 0 || r->items[i - 1].last + 1 < r->items[i].first);
	}
}

static void same_ranges(const struct ledger_ranges *a, const struct ledger_ranges *b)
{
	MUST(a->count == b->count);
	for (size_t i = 0; i < a->count; i++)
		MUST(a->items[i].first == b->items[i].first && a->items[i].last == b->items[i].last);
}

static void same(const struct ledger *a, const struct ledger *b)
{
	MUST(strcmp(a->run, b->run) == 0 && strcmp(a->target, b->target) == 0);
	MUST(a->complete == b->complete && a->started_us == b->started_us && a->device_count == b->device_count);
	for (size_t i = 0; i < a->device_count; i++) {
		const struct ledger_device *x = &a->devices[i], *y = &b->devices[i];
		MUST(strcmp(x->name, y->name) == 0 && strcmp(x->protocol, y->protocol) == 0);
		MUST(x->qos == y->qos && x->sent == y->sent);
		MUST(ledger_find(a, y->name, strlen(y->name)) == x);
		check_ranges(&x->acked, x->sent);
		check_ranges(&x->resent, x->sent);
		same_ranges(&x->acked, &y->acked);
		same_ranges(&x->resent, &y->resent);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ledger *first = NULL, *again = NULL;
	struct why why = {0};
	char path[32];
	int fd = memfd_create("ledger", MFD_CLOEXEC);
	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (ledger_read(&first, path, &why) == GW_OK) {
		FILE *out = fopen(path, "w");
		MUST(out);
		write_all(first, out);
		MUST(fclose(out) == 0);
		if (ledger_read(&again, path, &why))
			fprintf(stderr, "%s\n", why.text);
		MUST(again);
		same(first, again);
	} else {
		MUST(why.text[0]);
	}
	ledger_free(first);
	ledger_free(again);
	close(fd);
	return 0;
}
