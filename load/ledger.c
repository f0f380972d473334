/* The ledger; what it is and how it looks on disk is told in ledger.h. */
#include "load/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "load/text.h"

/* -- ranges -- */

static bool ranges_room(struct ledger_ranges *r)
{
	if (r->count < r->room)
		return true;
	size_t room = r->room ? 2 * r->room : 4;
	struct ledger_range *more = realloc(r->items, room * sizeof(*more));
	if (!more)
		return false;
	r->items = more;
	r->room = room;
	return true;
}

/* The first range that ends at or above number. */
static size_t ranges_find(const struct ledger_ranges *r, uint64_t number)
{
	size_t low = 0, high = r->count;
	if (r->count && r->items[r->count - 1].last < number)
		return r->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (r->items[middle].last < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void ranges_join(struct ledger_ranges *r, size_t i)
{
	if (i + 1 >= r->count || r->items[i].last + 1 != r->items[i + 1].first)
		return;
	r->items[i].last = r->items[i + 1].last;
	memmove(&r->items[i + 1], &r->items[i + 2], (r->count - i - 2) * sizeof(*r->items));
	r->count--;
}

enum gw_err ledger_ranges_add(struct ledger_ranges *r, uint64_t number)
{
	size_t i = ranges_find(r, number);
	if (i < r->count && r->items[i].first <= number)
		return GW_OK;
	if (i > 0 && r->items[i - 1].last + 1 == number) {
		r->items[i - 1].last = number;
		ranges_join(r, i - 1);
		return GW_OK;
	}
	if (i < r->count && r->items[i].first == number + 1) {
		r->items[i].first = number;
		return GW_OK;
	}
	if (!ranges_room(r))
		return GW_NOMEM;
	memmove(&r->items[i + 1], &r->items[i], (r->count - i) * sizeof(*r->items));
	r->items[i] = (struct ledger_range){number, number};
	r->count++;
	return GW_OK;
}

bool ledger_ranges_has(const struct ledger_ranges *r, uint64_t number)
{
	size_t i = ranges_find(r, number);
	return i < r->count && r->items[i].first <= number;
}

uint64_t ledger_ranges_total(const struct ledger_ranges *r)
{
	uint64_t total = 0;
	for (size_t i = 0; i < r->count; i++)
		total += r->items[i].last - r->items[i].first + 1;
	return total;
}

void ledger_ranges_free(struct ledger_ranges *r)
{
	free(r->items);
	*r = (struct ledger_ranges){0};
}

/* -- devices -- */

struct ledger *ledger_new(const char *run, const char *target)
{
	struct ledger *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	snprintf(l->run, sizeof(l->run), "%s", run);
	l->started_us = t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
	l->target = strdup(target);
	siphash_key_random(&l->key);
	if (l->target)
		return l;
	ledger_free(l);
	return NULL;
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->device_count; i++) {
		free(l->devices[i].name);
		ledger_ranges_free(&l->devices[i].acked);
		ledger_ranges_free(&l->devices[i].resent);
	}
	free(l->devices);
	free(l->table);
	free(l->target);
	free(l);
}

static size_t *table_slot(const struct ledger *l, const char *name, size_t len)
{
	size_t mask = l->table_room - 1, at = (size_t)siphash(&l->key, name, len) & mask;
	while (l->table[at] != 0) {
		const char *other = l->devices[l->table[at] - 1].name;
		if (strlen(other) == len && memcmp(other, name, len) == 0) /* name may have zeros in it */
			break;
		at = (at + 1) & mask;
	}
	return &l->table[at];
}

static bool table_grow(struct ledger *l)
{
	size_t room = l->table_room ? 2 * l->table_room : 64;
	size_t *old = l->table, *more = calloc(room, sizeof(*more));
	if (!more)
		return false;
	l->table = more;
	l->table_room = room;
	assert(l->devices || l->device_count == 0);
	for (size_t i = 0; i < l->device_count; i++)
		*table_slot(l, l->devices[i].name, strlen(l->devices[i].name)) = i + 1;
	free(old);
	return true;
}

static bool devices_room(struct ledger *l)
{
	if (2 * (l->device_count + 1) > l->table_room && !table_grow(l))
		return false;
	if (l->devices && l->device_count < l->device_room)
		return true;
	size_t room = l->device_room ? 2 * l->device_room : 32;
	struct ledger_device *more = realloc(l->devices, room * sizeof(*more));
	if (!more)
		return false;
	l->devices = more;
	l->device_room = room;
	return true;
}

struct ledger_device *ledger_find(const struct ledger *l, const char *name, size_t len)
{
	size_t *slot = l->table_room ? table_slot(l, name, len) : NULL;
	return slot && *slot ? &l->devices[*slot - 1] : NULL;
}

struct ledger_device *ledger_device(struct ledger *l, const char *name, const char *protocol, int qos)
{
	struct ledger_device *d = ledger_find(l, name, strlen(name));
	if (d)
		return d;
	if (!devices_room(l))
		return NULL;
	d = &l->devices[l->device_count];
	*d = (struct ledger_device){.name = strdup(name), .qos = qos};
	if (!d->name)
		return NULL;
	snprintf(d->protocol, sizeof(d->protocol), "%s", protocol);
	*table_slot(l, name, strlen(name)) = ++l->device_count;
	return d;
}

/* -- on disk -- */

static void write_ranges(FILE *out, const char *key, const struct ledger_ranges *r)
{
	fprintf(out, ",\"%s\":[", key);
	for (size_t i = 0; i < r->count; i++)
		fprintf(out, "%s[%llu,%llu]", i ? "," : "", (unsigned long long)r->items[i].first,
		        (unsigned long long)r->items[i].last);
	fputc(']', out);
}

static void write_all(const struct ledger *l, FILE *out)
{
	time_t seconds = l->started_us / 1000000;
	struct tm utc;
	char when[32];
	gmtime_r(&seconds, &utc);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
	fprintf(out, "{\"sluice_load_ledger\":1,\"run\":");
	text_json(out, l->run);
	fprintf(out, ",\"started\":\"%s\",\"started_us\":%lld,\"target\":", when, (long long)l->started_us);
	text_json(out, l->target);
	fprintf(out, ",\"complete\":%s}\n", l->complete ? "true" : "false");
	for (size_t i = 0; i < l->device_count; i++) {
		const struct ledger_device *d = &l->devices[i];
		fputs("{\"device\":", out);
		text_json(out, d->name);
		fprintf(out, ",\"protocol\":\"%s\",\"qos\":%d,\"sent\":%llu", d->protocol, d->qos,
		        (unsigned long long)d->sent);
		write_ranges(out, "acked", &d->acked);
		write_ranges(out, "resent", &d->resent);
		fputs("}\n", out);
	}
}

enum gw_err ledger_write(const struct ledger *l, const char *path, struct why *why)
{
	char *beside;
	if (asprintf(&beside, "%s.new", path) < 0)
		return why_set(why, GW_NOMEM, "ledger: out of memory");
	FILE *out = fopen(beside, "w");
	enum gw_err err = GW_OK;
	if (!out) {
		err = why_set(why, GW_IO, "ledger: %s: %s", beside, strerror(errno));
	} else {
		write_all(l, out);
		bool good = fflush(out) == 0 && fsync(fileno(out)) == 0 && !ferror(out);
		good = fclose(out) == 0 && good;
		if (!good || rename(beside, path) != 0)
			err = why_set(why, GW_IO, "ledger: %s: %s", path, strerror(errno));
	}
	free(beside);
	return err;
}

static bool take_count(const cJSON *item, uint64_t *out)
{
	if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > 9e15)
		return false;
	*out = (uint64_t)item->valuedouble;
	return true;
}

static bool take_ranges(const cJSON *array, struct ledger_ranges *r, uint64_t sent)
{
	const cJSON *pair;
	if (!cJSON_IsArray(array))
		return false;
	cJSON_ArrayForEach(pair, array)
	{
		struct ledger_range range;
		if (!cJSON_IsArray(pair) || !take_count(cJSON_GetArrayItem(pair, 0), &range.first) ||
		    !take_count(cJSON_GetArrayItem(pair, 1), &range.last) || range.first > range.last ||
		    range.last >= sent || (r->count && range.first <= r->items[r->count - 1].last) || !ranges_room(r))
			return false;
		r->items[r->count++] = range;
		if (r->count > 1)
			ranges_join(r, r->count - 2);
	}
	return true;
}

/* As load/protocols.c has them; write_all relies on it. */
static bool is_protocol(const cJSON *name)
{
	return cJSON_IsString(name) && *name->valuestring &&
	       name->valuestring[strspn(name->valuestring, "abcdefghijklmnopqrstuvwxyz0123456789")] == '\0' &&
	       strlen(name->valuestring) < sizeof(((struct ledger_device *)0)->protocol);
}

static bool take_device(struct ledger *l, const cJSON *line)
{
	const cJSON *name = cJSON_GetObjectItemCaseSensitive(line, "device");
	const cJSON *protocol = cJSON_GetObjectItemCaseSensitive(line, "protocol");
	const cJSON *qos = cJSON_GetObjectItemCaseSensitive(line, "qos");
	if (!cJSON_IsString(name) || !is_protocol(protocol) || !cJSON_IsNumber(qos) ||
	    ledger_find(l, name->valuestring, strlen(name->valuestring)))
		return false;
	struct ledger_device *d = ledger_device(l, name->valuestring, protocol->valuestring, qos->valueint);
	return d && take_count(cJSON_GetObjectItemCaseSensitive(line, "sent"), &d->sent) &&
	       take_ranges(cJSON_GetObjectItemCaseSensitive(line, "acked"), &d->acked, d->sent) &&
	       take_ranges(cJSON_GetObjectItemCaseSensitive(line, "resent"), &d->resent, d->sent);
}

static struct ledger *take_head(const cJSON *line)
{
	const cJSON *version = cJSON_GetObjectItemCaseSensitive(line, "sluice_load_ledger");
	const cJSON *run = cJSON_GetObjectItemCaseSensitive(line, "run");
	const cJSON *target = cJSON_GetObjectItemCaseSensitive(line, "target");
	const cJSON *started = cJSON_GetObjectItemCaseSensitive(line, "started_us");
	if (!cJSON_IsNumber(version) || version->valueint != 1 || !cJSON_IsString(run) || !cJSON_IsString(target))
		return NULL;
	struct ledger *l = ledger_new(run->valuestring, target->valuestring);
	uint64_t us;
	if (l && take_count(started, &us))
		l->started_us = (int64_t)us;
	if (l)
		l->complete = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "complete"));
	return l;
}

enum gw_err ledger_read(struct ledger **out, const char *path, struct why *why)
{
	FILE *in = fopen(path, "r");
	if (!in)
		return why_set(why, GW_IO, "ledger: %s: %s", path, strerror(errno));
	char *line = NULL;
	size_t room = 0, number = 0;
	struct ledger *l = NULL;
	bool good = true;
	for (ssize_t len; good && (len = getline(&line, &room, in)) > 0;) {
		cJSON *json = cJSON_ParseWithLength(line, (size_t)len);
		number++;
		good = json && (l ? take_device(l, json) : (l = take_head(json)) != NULL);
		cJSON_Delete(json);
	}
	free(line);
	bool failed = ferror(in);
	fclose(in);
	if (good && l && !failed) {
		*out = l;
		return GW_OK;
	}
	ledger_free(l);
	if (failed)
		return why_set(why, GW_IO, "ledger: %s: cannot be read", path);
	return why_set(why, GW_INVALID, "ledger: %s: line %zu: not a ledger of sluice-load, version 1", path,
	               number ? number : 1);
}

/* Both lists are in order: laid together in one walk over the ranges, however many numbers they span. */
static bool add_ranges(struct ledger_ranges *into, const struct ledger_ranges *from)
{
	struct ledger_ranges sum = {0};
	size_t a = 0, b = 0;
	if (from->count == 0)
		return true;
	sum.room = into->count + from->count;
	if (!(sum.items = malloc(sum.room * sizeof(*sum.items))))
		return false;
	while (a < into->count || b < from->count) {
		bool mine = b == from->count || (a < into->count && into->items[a].first <= from->items[b].first);
		struct ledger_range next = mine ? into->items[a++] : from->items[b++];
		struct ledger_range *end = sum.count ? &sum.items[sum.count - 1] : NULL;
		if (!end || next.first > end->last + 1) /* take_count keeps numbers far from where + 1 ends */
			sum.items[sum.count++] = next;
		else if (next.last > end->last)
			end->last = next.last;
	}
	ledger_ranges_free(into);
	*into = sum;
	return true;
}

enum gw_err ledger_merge(struct ledger *into, const struct ledger *from, struct why *why)
{
	if (strcmp(into->run, from->run) != 0)
		return why_set(why, GW_INVALID, "ledger: run %s cannot be merged with run %s", from->run, into->run);
	into->complete = into->complete && from->complete;
	for (size_t i = 0; i < from->device_count; i++) {
		const struct ledger_device *d = &from->devices[i];
		struct ledger_device *mine = ledger_device(into, d->name, d->protocol, d->qos);
		if (!mine)
			return why_set(why, GW_NOMEM, "ledger: out of memory");
		mine->sent = d->sent > mine->sent ? d->sent : mine->sent;
		if (!add_ranges(&mine->acked, &d->acked) || !add_ranges(&mine->resent, &d->resent))
			return why_set(why, GW_NOMEM, "ledger: out of memory");
	}
	return GW_OK;
}

const char *ledger_shared(const struct ledger *a, const struct ledger *b)
{
	for (size_t i = 0; i < b->device_count; i++)
		if (ledger_find(a, b->devices[i].name, strlen(b->devices[i].name)))
			return b->devices[i].name;
	return NULL;
}
