/* Names of indices: see index_name.h. */
#include "sinks/elasticsearch/index_name.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/journal/record.h"

/* -- what is legal: lower case; none of \ / * ? " < > | , # : and space; not - _ + in front; 255 bytes -- */

static bool is_literal(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

/* Capitals are escaped, too, since two devices may differ in them alone; '.' is, so that it separates fields without
 * doubt. */
static bool is_plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_legal(const char *name, size_t len)
{
	return len > 0 && name[0] != '-' && name[0] != '_' && name[0] != '.'; /* '.': reserved to the server's own */
}

const struct template_rules index_name_rules = {
    .what = "search index",
    .max_len = TEMPLATE_NAME_MAX,
    .literal = is_literal,
    .plain = is_plain,
    .mark = '_',
    .legal = is_legal,
};

/* -- times -- */

static size_t name_at(const struct template *t, int64_t time_us, char out[TEMPLATE_NAME_MAX + 1])
{
	_Alignas(8) uint8_t entry[RECORD_HEADER + 8] = {0};
	struct record r = {.kind = RECORD_TELEMETRY, .json_len = 2, .time_us = time_us};
	memcpy(entry + RECORD_HEADER, "{}", 2);
	record_write(&r, entry);
	return template_render(t, entry, out);
}

/* For how long a name stays the same: a day, unless the template has hours, minutes or seconds. */
static int64_t span_of(const struct template *t)
{
	static const int64_t spans_us[] = {1000000, 60 * 1000000LL, 3600 * 1000000LL};
	char first[TEMPLATE_NAME_MAX + 1], later[TEMPLATE_NAME_MAX + 1];
	size_t len = name_at(t, 0, first);
	for (size_t i = 0; i < sizeof(spans_us) / sizeof(*spans_us); i++)
		if (name_at(t, spans_us[i], later) != len || memcmp(first, later, len) != 0)
			return spans_us[i];
	return 24 * 3600 * 1000000LL;
}

/* -- set up -- */

enum gw_err index_name_init(struct index_name *n, const char *text, const char *other, size_t max_targets,
                            struct why *why)
{
	*n = (struct index_name){0};
	enum gw_err err = template_init(&n->main, text ? text : "", &index_name_rules, why);
	if (err)
		return why_add(why, err, "index");
	if (!n->main.has_field) {
		n->span_us = span_of(&n->main);
		return GW_OK;
	}
	n->targets = (struct targets){.max = max_targets};
	err = template_init(&n->other, other ? other : "", &index_name_rules, why);
	if (!err && n->other.has_field)
		err = why_set(why, GW_CONFIG, "template \"%s\": no fields are possible here, only times", other);
	if (err) {
		index_name_fini(n);
		return why_add(why, err, "fallback_index");
	}
	return GW_OK;
}

static void target_release(void *context, struct target *t)
{
	(void)context;
	free(t->own);
}

void index_name_fini(struct index_name *n)
{
	n->targets.release = target_release;
	targets_fini(&n->targets);
	template_fini(&n->main);
	template_fini(&n->other);
	*n = (struct index_name){0};
}

/* -- names made of fields -- */

struct away {
	int64_t since_ms, rest_ms, until_ms;
};

static struct target *target_of(struct index_name *n, const uint8_t *entry, int64_t now_ms)
{
	n->len = template_render(&n->main, entry, n->name);
	n->targets.release = target_release;
	return n->len > 0 ? targets_take(&n->targets, n->name, n->len, now_ms, now_ms - TARGET_IDLE_MS) : NULL;
}

bool index_name_away(struct index_name *n, const uint8_t *entry, int64_t sent_ms, int64_t now_ms)
{
	struct target *t = n->main.has_field ? target_of(n, entry, now_ms) : NULL;
	if (!t)
		return false;
	struct away *away = t->own ? t->own : (t->own = calloc(1, sizeof(*away)));
	if (!away || (away->since_ms <= sent_ms && sent_ms < away->until_ms))
		return false;
	if (away->until_ms > now_ms)
		return true; /* another record of the same moment said so */
	away->rest_ms = away->rest_ms ? away->rest_ms * 2 : INDEX_AWAY_FIRST_MS;
	if (away->rest_ms > INDEX_AWAY_MOST_MS)
		away->rest_ms = INDEX_AWAY_MOST_MS;
	away->since_ms = now_ms;
	away->until_ms = now_ms + away->rest_ms;
	return true;
}

bool index_name_of(struct index_name *n, const uint8_t *entry, int64_t now_ms)
{
	struct record r;
	record_read(&r, entry);
	if (!n->main.has_field) {
		if (r.time_us >= n->from_us && r.time_us < n->to_us)
			return true;
		int64_t past = r.time_us % n->span_us;
		n->from_us = r.time_us - (past < 0 ? past + n->span_us : past);
		n->to_us = n->from_us + n->span_us;
		n->len = template_render(&n->main, entry, n->name);
		return true;
	}
	const struct target *t = target_of(n, entry, now_ms);
	const struct away *away = t ? t->own : NULL;
	if (t && (!away || away->until_ms <= now_ms))
		return true;
	n->len = template_render(&n->other, entry, n->name);
	return false;
}
