/* Any text as a configuration file: it is read or refused with errors, each on one line that begins with the file's
 * name, and nothing else happens. What was read must be within its ranges. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static const char *const ack_choices[] = {"accepted", "durable", "delivered", NULL};

struct inner {
	char *key;
	uint64_t wait;
};
static const struct setting inner_table[] = {
    SETTING(struct inner, key, SETTING_SECRET, NULL, 0, 0, "a secret"),
    SETTING(struct inner, wait, SETTING_DURATION, "5s", 1, 1e9, "a duration"),
    SETTINGS_END,
};

struct module {
	struct address listen;
	uint64_t size;
	int64_t number;
	double share;
	bool flag;
	int ack;
	char *text;
	char *must;
	struct string_list list;
	struct string_map map;
	struct inner inner;
};
static const struct setting module_table[] = {
    SETTING(struct module, listen, SETTING_ADDRESS, "127.0.0.1:1", 0, 0, "an address"),
    SETTING(struct module, size, SETTING_BYTES, "64KiB", 16, 1 << 30, "a size"),
    SETTING(struct module, number, SETTING_INT, "1", -5, 1000, "a number"),
    SETTING(struct module, share, SETTING_PERCENT, "5%", 0, 0, "a share"),
    SETTING(struct module, flag, SETTING_BOOL, "true", 0, 0, "a flag"),
    SETTING_CHOICES(struct module, ack, "durable", ack_choices, "a choice"),
    SETTING(struct module, text, SETTING_STRING, "t", 0, 0, "a text"),
    SETTING_REQUIRED(struct module, must, SETTING_STRING, "a required text"),
    SETTING(struct module, list, SETTING_LIST, "a, b", 0, 0, "a list"),
    SETTING(struct module, map, SETTING_MAP, NULL, 0, 0, "a map"),
    SETTING_NESTED(struct module, inner, inner_table, "a group"),
    SETTINGS_END,
};

static const struct config_kind kinds[] = {{"mod", sizeof(struct module), module_table, "a module"}};
static const struct config_section sections[] = {
    {"parts", "kind", kinds, 1, inner_table, sizeof(struct inner), "parts"}};
static const struct config_schema schema = {inner_table, sizeof(struct inner), sections, 1};

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_config(const struct config *config)
{
	for (size_t i = 0; i < config->sections[0].count; i++) {
		const struct config_entry *entry = &config->sections[0].items[i];
		const struct module *m = entry->settings;
		const struct inner *common = entry->common;
		require(entry->kind == &kinds[0] && strlen(entry->name) > 0 && strlen(entry->name) < 64);
		require(m->must && *m->must && m->text);
		require(m->size >= 16 && m->size <= 1 << 30);
		require(m->number >= -5 && m->number <= 1000);
		require(m->share >= 0 && m->share <= 100);
		require(m->ack >= 0 && m->ack <= 2);
		require(m->listen.host[0] && m->listen.port[0]);
		require(common->wait >= 1 && common->wait <= 1000000000);
		for (size_t j = 0; j < m->list.count; j++)
			require(m->list.items[j] != NULL);
		for (size_t j = 0; j < m->map.count; j++)
			require(m->map.keys[j] && m->map.values[j]);
	}
}

static void check_errors(const char *errors, size_t len)
{
	require(len && errors[len - 1] == '\n');
	for (const char *line = errors; *line; line = strchr(line, '\n') + 1)
		require(!strncmp(line, "f.yaml:", 7));
	for (size_t i = 0; i < len; i++)
		require(errors[i] == '\n' || ((unsigned char)errors[i] >= ' ' && errors[i] != 0x7f));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *errors = NULL;
	size_t errors_len = 0;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';

	FILE *out = open_memstream(&errors, &errors_len);
	require(out != NULL);
	struct config *config = NULL;
	enum gw_err err = config_read(&schema, "f.yaml", text, out, &config);
	fclose(out);
	require(err == GW_OK || err == GW_CONFIG);
	if (err == GW_OK) {
		require(errors_len == 0);
		check_config(config);
		config_free(&schema, config);
	} else {
		check_errors(errors, errors_len);
	}
	free(errors);
	free(text);
	return 0;
}
