/* Templates of record fields and time: see template.h. A compiled template is a list of parts that are written one
 * after the other. */
#include "sinks/template.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/journal/record.h"

enum template_part_kind { PART_LITERAL, PART_TIME, PART_DEVICE, PART_FIELD };

struct template_part {
	enum template_part_kind kind;
	char *text; /* owned; LITERAL: the text; FIELD, DEVICE: what stands in for a missing one, NULL: nothing does */
	size_t len; /* of text; TIME: of the digits */
	size_t at;  /* TIME: where they stand in what clock_format makes */
	struct json_pointer pointer; /* FIELD */
};

/* "2026-11-22T08:37:00.123456Z" */
static const struct {
	const char *name;
	size_t at;
} times[] = {{"yyyy", 0}, {"MM", 5}, {"dd", 8}, {"HH", 11}, {"mm", 14}, {"ss", 17}};

/* A record's top-level keys: a path that starts otherwise is misspelt, and would send every record to the fallback. */
static const char *const roots[] = {"@timestamp", "event", "device", "network", "sluice", "source", "payload"};
#define ROOTS "event, device, network, sluice, source, payload"

static struct template_part *part_add(struct template *t, enum template_part_kind kind)
{
	struct template_part *parts = realloc(t->parts, (t->count + 1) * sizeof(*parts));
	if (!parts)
		return NULL;
	t->parts = parts;
	parts[t->count] = (struct template_part){.kind = kind};
	return &parts[t->count++];
}

/* -- compiling -- */

static enum gw_err literal_add(struct template *t, const char *text, size_t len, struct why *why)
{
	for (size_t i = 0; i < len; i++)
		if (!t->rules->literal((unsigned char)text[i]))
			return why_set(why, GW_CONFIG, "'%c' is not allowed in the name of a %s", text[i],
			               t->rules->what);
	struct template_part *part = part_add(t, PART_LITERAL);
	if (!part || !(part->text = strndup(text, len)))
		return why_set(why, GW_NOMEM, "out of memory");
	part->len = len;
	return GW_OK;
}

/* Index of the time that text begins with; -1: none. */
static int time_at(const char *text, size_t len)
{
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++)
		if (len >= strlen(times[i].name) && !memcmp(text, times[i].name, strlen(times[i].name)))
			return (int)i;
	return -1;
}

/* Nothing but times and what separates them? */
static bool is_time(const char *text, size_t len)
{
	bool any = false;
	while (len > 0) {
		int i = time_at(text, len);
		size_t step = i >= 0 ? strlen(times[i].name) : 1;
		if (i < 0 && !strchr(".-_", *text))
			return false;
		any = any || i >= 0;
		text += step;
		len -= step;
	}
	return any;
}

static enum gw_err time_add(struct template *t, const char *text, size_t len, struct why *why)
{
	t->has_time = true;
	while (len > 0) {
		int i = time_at(text, len);
		size_t step = i >= 0 ? strlen(times[i].name) : 1;
		if (i < 0) {
			enum gw_err err = literal_add(t, text, 1, why);
			if (err)
				return err;
		} else {
			struct template_part *part = part_add(t, PART_TIME);
			if (!part)
				return why_set(why, GW_NOMEM, "out of memory");
			part->at = times[i].at;
			part->len = step;
		}
		text += step;
		len -= step;
	}
	return GW_OK;
}

/* "payload.site" as the JSON pointer "/payload/site" (malloc'ed); what starts with '/' is one already. NULL: memory is
 * out. */
static char *pointer_text(const char *path)
{
	if (*path == '/')
		return strdup(path);
	char *out = malloc(2 * strlen(path) + 2), *p = out;
	if (!out)
		return NULL;
	*p++ = '/';
	for (; *path; path++) {
		if (*path == '~' || *path == '/') {
			*p++ = '~';
			*p++ = *path == '~' ? '0' : '1';
		} else {
			*p++ = *path == '.' ? '/' : *path;
		}
	}
	*p = '\0';
	return out;
}

static bool root_known(const struct json_pointer *p)
{
	for (size_t i = 0; i < sizeof(roots) / sizeof(*roots); i++)
		if (p->count > 0 && p->lengths[0] == strlen(roots[i]) && !memcmp(p->text, roots[i], p->lengths[0]))
			return true;
	return false;
}

static enum gw_err field_point(struct template_part *part, const char *path, struct why *why)
{
	char *text = pointer_text(path);
	if (!text)
		return why_set(why, GW_NOMEM, "out of memory");
	bool good = json_pointer_init(&part->pointer, text) && root_known(&part->pointer);
	if (good && !strcmp(text, "/device/id")) {
		json_pointer_fini(&part->pointer);
		part->kind = PART_DEVICE;
	}
	free(text);
	if (!good)
		return why_set(
		    why, GW_CONFIG,
		    "{%s} is neither a time like {yyyy.MM.dd} nor a field of a record (they begin with " ROOTS ")",
		    path);
	return GW_OK;
}

static enum gw_err field_add(struct template *t, const char *text, size_t len, struct why *why)
{
	struct template_part *part = part_add(t, PART_FIELD);
	char *path = strndup(text, len);
	if (!part || !path) {
		free(path);
		return why_set(why, GW_NOMEM, "out of memory");
	}
	t->has_field = true;
	enum gw_err err = GW_OK;
	char *other = strchr(path, '|');
	if (other) {
		*other++ = '\0';
		for (const char *c = other; *c && !err; c++)
			if (!t->rules->literal((unsigned char)*c))
				err = why_set(why, GW_CONFIG, "'%c' is not allowed in the name of a %s", *c,
				              t->rules->what);
		if (!err && !(part->text = strdup(other)))
			err = why_set(why, GW_NOMEM, "out of memory");
		part->len = strlen(other);
	}
	if (!err)
		err = field_point(part, path, why);
	free(path);
	return err;
}

static enum gw_err parts_add(struct template *t, const char *text, struct why *why)
{
	while (*text) {
		enum gw_err err;
		size_t len = strcspn(text, "{");
		if (len > 0) {
			err = literal_add(t, text, len, why);
			text += len;
		} else {
			const char *inside = text + 1;
			len = strcspn(inside, "{}");
			if (inside[len] != '}' || len == 0)
				return why_set(why, GW_CONFIG, "'{' without a field or time and its '}'");
			err = is_time(inside, len) ? time_add(t, inside, len, why) : field_add(t, inside, len, why);
			text = inside + len + 1;
		}
		if (err)
			return err;
	}
	return GW_OK;
}

enum gw_err template_init(struct template *t, const char *text, const struct template_rules *rules, struct why *why)
{
	assert(rules->max_len <= TEMPLATE_NAME_MAX && !rules->plain((unsigned char)rules->mark));
	*t = (struct template){.rules = rules};
	enum gw_err err = parts_add(t, text, why);
	size_t fixed = 0;
	for (size_t i = 0; i < t->count; i++)
		if (t->parts[i].kind == PART_LITERAL || t->parts[i].kind == PART_TIME)
			fixed += t->parts[i].len;
	if (!err && (t->count == 0 || fixed > rules->max_len))
		err = why_set(why, GW_CONFIG, "the name of a %s has 1 to %zu bytes", rules->what, rules->max_len);
	if (!err && !t->has_field) {
		/* Nothing of it comes from outside, so it can be judged now; any time does. */
		_Alignas(8) uint8_t entry[RECORD_HEADER + 8] = {0};
		struct record r = {.kind = RECORD_TELEMETRY, .json_len = 2};
		char name[TEMPLATE_NAME_MAX + 1];
		memcpy(entry + RECORD_HEADER, "{}", 2);
		record_write(&r, entry);
		if (template_render(t, entry, name) == 0)
			err = why_set(why, GW_CONFIG, "\"%s\" is not a legal name of a %s", text, rules->what);
	}
	if (err) {
		why_add(why, err, "template \"%s\"", text);
		template_fini(t);
	}
	return err;
}

void template_fini(struct template *t)
{
	for (size_t i = 0; i < t->count; i++) {
		free(t->parts[i].text);
		json_pointer_fini(&t->parts[i].pointer);
	}
	free(t->parts);
	*t = (struct template){0};
}

/* -- rendering -- */

struct name {
	char *out;
	size_t len, room;
	bool overflow;
};

static void name_copy(struct name *n, const char *text, size_t len)
{
	if (len > n->room - n->len) {
		n->overflow = true;
		return;
	}
	memcpy(n->out + n->len, text, len);
	n->len += len;
}

static void name_escape(struct name *n, const struct template_rules *rules, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	for (size_t i = 0; i < len && !n->overflow; i++) {
		unsigned char c = (unsigned char)text[i];
		char escape[3] = {rules->mark, hex[c >> 4], hex[c & 15]};
		if (rules->plain(c))
			name_copy(n, &text[i], 1);
		else
			name_copy(n, escape, sizeof(escape));
	}
}

/* The text of a field at out; 0: none that could go into a name. A JSON escape takes up to 6 bytes for one, hence the
 * sizes. */
#define FIELD_MAX (6 * TEMPLATE_NAME_MAX)
static size_t field_text(const struct template_part *part, const uint8_t *entry, const struct record *r,
                         char out[FIELD_MAX], bool *too_long)
{
	struct json_value v = json_find(record_json(entry), r->json_len, &part->pointer);
	if (v.type == JSON_INVALID || v.type == JSON_NULL || v.type == JSON_OBJECT || v.type == JSON_ARRAY)
		return 0;
	if (v.type == JSON_STRING) {
		v.text++;
		v.len -= 2;
	}
	if (v.len > FIELD_MAX) {
		*too_long = true;
		return 0;
	}
	if (v.type == JSON_STRING)
		return json_unescape(out, v.text, v.len);
	memcpy(out, v.text, v.len);
	return v.len;
}

/* Returns false when the record has no such field and nothing stands in for it. */
static bool field_write(const struct template *t, const struct template_part *part, const uint8_t *entry,
                        const struct record *r, struct name *n)
{
	char text[FIELD_MAX];
	static_assert(FIELD_MAX >= DEVICE_MAX, "a device identifier fits");
	bool too_long = false;
	size_t len =
	    part->kind == PART_DEVICE ? record_device(text, entry) : field_text(part, entry, r, text, &too_long);
	if (too_long)
		return false;
	if (len > 0)
		name_escape(n, t->rules, text, len);
	else if (part->text)
		name_copy(n, part->text, part->len);
	else
		return false;
	return true;
}

size_t template_render(const struct template *t, const uint8_t *entry, char out[TEMPLATE_NAME_MAX + 1])
{
	struct name n = {.out = out, .room = t->rules->max_len};
	struct record r;
	char time[CLOCK_FORMAT_LEN];
	record_read(&r, entry);
	if (t->has_time)
		clock_format(time, r.time_us);
	for (size_t i = 0; i < t->count; i++) {
		const struct template_part *part = &t->parts[i];
		if (part->kind == PART_LITERAL)
			name_copy(&n, part->text, part->len);
		else if (part->kind == PART_TIME)
			name_copy(&n, time + part->at, part->len);
		else if (!field_write(t, part, entry, &r, &n))
			return 0;
		if (n.overflow)
			return 0;
	}
	out[n.len] = '\0';
	return n.len > 0 && (!t->rules->legal || t->rules->legal(out, n.len)) ? n.len : 0;
}
