/* Any bytes: every version of json_check gives what the scalar one gives, place, reason and all.
 *
 * The input lies at the very end of readable memory. It is checked by itself and moved along: the vectorised versions
 * work in blocks of 64 bytes, and most of what can go wrong in them goes wrong where two blocks meet. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "test/unit/guard.h"

static struct json_version versions[JSON_VERSIONS_MAX];
static size_t count;

static void differ(const char *text, size_t len, unsigned depth, const struct json_version *v,
                   const struct json_result *want, const struct json_result *got)
{
	fprintf(
	    stderr,
	    "%s: type %d offset %zu (%s) %zu..%zu newline %d; scalar: type %d offset %zu (%s) %zu..%zu newline %d\n",
	    v->name, got->type, got->offset, got->reason ? got->reason : "-", got->start, got->end, got->newline,
	    want->type, want->offset, want->reason ? want->reason : "-", want->start, want->end, want->newline);
	fprintf(stderr, "depth %u: %.*s\n", depth, (int)len, text);
	abort();
}

static void compare(const char *text, size_t len, unsigned depth)
{
	const char *at = guard_copy(text, len);
	struct json_result want = versions[0].check(at, len, depth);
	for (size_t i = 1; i < count; i++) {
		struct json_result got = versions[i].check(at, len, depth);
		if (got.type != want.type || got.offset != want.offset || got.reason != want.reason ||
		    got.start != want.start || got.end != want.end || got.newline != want.newline)
			differ(text, len, depth, &versions[i], &want, &got);
	}
}

/* The input behind `before` bytes of the kind that `head` begins, and in front of `tail`. */
static void compare_moved(const uint8_t *data, size_t size, const char *head, char filler, size_t before,
                          const char *tail)
{
	size_t head_len = strlen(head), tail_len = strlen(tail), len = head_len + before + size + tail_len;
	char *text = malloc(len);
	memcpy(text, head, head_len);
	memset(text + head_len, filler, before);
	memcpy(text + head_len + before, data, size);
	memcpy(text + head_len + before + size, tail, tail_len);
	compare(text, len, 24);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned depths[] = {24, 3, 1024};
	if (size == 0 || size > 65536)
		return 0;
	if (count == 0)
		count = json_versions(versions);
	size_t before = data[size - 1] & 63;
	compare((const char *)data, size, depths[data[size / 2] % 3]);
	compare_moved(data, size, "[", ' ', before, "]");
	compare_moved(data, size, "[\"", 'a', before, "]");
	compare_moved(data, size, "{\"k\":[1,2", '0', before, "]}");
	return 0;
}
