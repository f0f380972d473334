/* Two lines and a rest: a template, and two texts that devices sent. Whatever they are, a name is one that Kafka takes,
 * and different texts give different names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/utf8.h"
#include "sinks/kafka/kafka_message.h"
#include "sinks/template.h"
#include "test/fuzz/must.h"
#include "test/unit/entry_fixture.h"

#define TEXT_MAX 512u

static size_t render(const struct template *t, const char *text, size_t len, char name[TEMPLATE_NAME_MAX + 1])
{
	char payload[6 * TEXT_MAX + 16] = "{\"s\":\"";
	size_t at = strlen(payload);
	at += json_escape(payload + at, text, len);
	memcpy(payload + at, "\"}", 3);
	uint8_t *entry = entry_make(1795348800123456, "d", payload, 1);
	size_t made = template_render(t, entry, name);
	free(entry);
	MUST(made <= kafka_topic_rules.max_len);
	for (size_t i = 0; i < made; i++)
		MUST(kafka_topic_rules.literal((unsigned char)name[i]));
	MUST(made == 0 || (name[made] == '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0));
	return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char field[] = "t.{payload.s}";
	char *text = strndup((const char *)data, size);
	MUST(text);
	char *first = strchr(text, '\n'), *second = first ? strchr(first + 1, '\n') : NULL;
	struct template any, plain;
	char name[TEMPLATE_NAME_MAX + 1], other[TEMPLATE_NAME_MAX + 1];
	if (second && strlen(second + 1) <= TEXT_MAX && second - first <= (ptrdiff_t)TEXT_MAX) {
		*first++ = *second++ = '\0';
		size_t a = strlen(first), b = strlen(second);
		if (utf8_check(first, a) == a && utf8_check(second, b) == b) {
			if (template_init(&any, text, &kafka_topic_rules, NULL) == GW_OK) {
				render(&any, first, a, name);
				template_fini(&any);
			}
			MUST(template_init(&plain, field, &kafka_topic_rules, NULL) == GW_OK);
			if (render(&plain, first, a, name) && render(&plain, second, b, other))
				MUST(!strcmp(name, other) == !strcmp(first, second));
			template_fini(&plain);
		}
	}
	free(text);
	return 0;
}
