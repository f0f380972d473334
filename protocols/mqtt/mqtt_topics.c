/* Topic templates; see mqtt_topics.h. A template is an array of levels; matching walks topic and levels once, side by
 * side. */
#include "protocols/mqtt/mqtt_topics.h"

#include <stdlib.h>
#include <string.h>

#define TEMPLATE_LEVELS_MAX 32

enum level_kind { LEVEL_LITERAL, LEVEL_ANY, LEVEL_DEVICE, LEVEL_REST };

struct template_level {
	enum level_kind kind;
	const char *text; /* LEVEL_LITERAL: borrowed from the setting */
	size_t len;
};

struct mqtt_template {
	struct template_level *levels; /* owned; NULL: {client_id} */
	size_t count;
};

static size_t level_length(const char *text, const char *end)
{
	const char *slash = memchr(text, '/', (size_t)(end - text));
	return (size_t)((slash ? slash : end) - text);
}

static bool level_is(const struct template_level *level, const char *word)
{
	return level->len == strlen(word) && memcmp(level->text, word, level->len) == 0;
}

/* Sets the kind of a level by its text; returns what is wrong with it, or NULL. */
static const char *level_parse(struct template_level *level, bool last)
{
	if (level_is(level, "{device}")) {
		level->kind = LEVEL_DEVICE;
	} else if (level_is(level, "+")) {
		level->kind = LEVEL_ANY;
	} else if (level_is(level, "#") || level_is(level, "...")) {
		level->kind = LEVEL_REST;
		return last ? NULL : "# and ... can only be the last level";
	} else {
		level->kind = LEVEL_LITERAL;
		if (strcspn(level->text, "+#{}") < level->len)
			return "+, #, {device} fill a whole level, and {client_id} stands alone";
	}
	return NULL;
}

static const char *template_parse(const char *text, struct template_level *levels, size_t *count)
{
	const char *end = text + strlen(text);
	size_t devices = 0;
	*count = 0;
	for (const char *p = text;; p++) {
		if (*count == TEMPLATE_LEVELS_MAX)
			return "it has more than 32 levels";
		struct template_level *level = &levels[(*count)++];
		*level = (struct template_level){.text = p, .len = level_length(p, end)};
		p += level->len;
		const char *fault = level_parse(level, p == end);
		if (fault)
			return fault;
		devices += level->kind == LEVEL_DEVICE;
		if (p == end)
			break;
	}
	return devices == 1 ? NULL : "it must have {device} as exactly one of its levels, or be {client_id}";
}

static enum gw_err template_init(struct mqtt_template *t, const char *text, struct why *why)
{
	if (strcmp(text, "{client_id}") == 0)
		return GW_OK;
	struct template_level levels[TEMPLATE_LEVELS_MAX];
	const char *fault = template_parse(text, levels, &t->count);
	if (fault)
		return why_set(why, GW_CONFIG, "device: \"%s\": %s; write it like devices/{device}/#", text, fault);
	t->levels = malloc(t->count * sizeof(*t->levels));
	if (!t->levels)
		return why_set(why, GW_NOMEM, "device: out of memory");
	memcpy(t->levels, levels, t->count * sizeof(*t->levels));
	return GW_OK;
}

enum gw_err mqtt_topics_init(struct mqtt_topics *t, const struct string_list *templates, struct why *why)
{
	*t = (struct mqtt_topics){0};
	if (templates->count == 0)
		return why_set(why, GW_CONFIG, "device: the list is empty; {client_id} takes the client identifier");
	t->items = calloc(templates->count, sizeof(*t->items));
	if (!t->items)
		return why_set(why, GW_NOMEM, "device: out of memory");
	for (; t->count < templates->count; t->count++) {
		enum gw_err err = template_init(&t->items[t->count], templates->items[t->count], why);
		if (err != GW_OK) {
			mqtt_topics_fini(t);
			return err;
		}
	}
	return GW_OK;
}

void mqtt_topics_fini(struct mqtt_topics *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->items[i].levels);
	free(t->items);
	*t = (struct mqtt_topics){0};
}

static bool level_match(const struct template_level *level, const char *text, size_t len)
{
	switch (level->kind) {
	case LEVEL_LITERAL: return level->len == len && memcmp(level->text, text, len) == 0;
	case LEVEL_DEVICE: return len > 0;
	default: return true;
	}
}

static bool template_match(const struct mqtt_template *t, struct mqtt_string topic, struct mqtt_string *device)
{
	const char *p = topic.text, *end = p + topic.len;
	if (*p == '$' && t->levels[0].kind != LEVEL_LITERAL)
		return false;
	for (size_t i = 0; i < t->count; i++) {
		const struct template_level *level = &t->levels[i];
		if (level->kind == LEVEL_REST)
			return true;
		if (p > end) /* the topic has no such level */
			return false;
		size_t len = level_length(p, end);
		if (!level_match(level, p, len))
			return false;
		if (level->kind == LEVEL_DEVICE)
			*device = (struct mqtt_string){p, len};
		p += len + 1; /* one behind end: there is no further level, not even an empty one */
	}
	return p > end;
}

struct mqtt_string mqtt_topics_device(const struct mqtt_topics *t, struct mqtt_string topic,
                                      struct mqtt_string client_id)
{
	struct mqtt_string device = {"", 0};
	for (size_t i = 0; topic.len > 0 && i < t->count; i++) {
		if (!t->items[i].levels)
			return client_id;
		if (template_match(&t->items[i], topic, &device))
			return device;
	}
	return (struct mqtt_string){"", 0};
}
