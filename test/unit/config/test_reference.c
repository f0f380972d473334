/* The help text and the reference page. */
#include "test/unit/config/config_fixture.h"

static char *made(void (*make)(const struct config_schema *, FILE *))
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	make(&schema, out);
	fclose(out);
	return text;
}

static void expect_part(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("not in it: %s\n%s", part, text);
}

static void help_tells_every_setting(void **state)
{
	(void)state;
	char *text = made(config_help);
	expect_part(text,
	            "\njournal:\n    The journal on disk.\n  type: choice; disk or memory; default disk\n      Kind.\n"
	            "  path: text; default data/journal\n      Directory.\n");
	expect_part(text, "\nlisteners:\n    What devices speak to.\n  NAME:\n    protocol: mqtt | tcp\n");
	expect_part(text, "\n    listen: address; default 127.0.0.1:1883\n");
	expect_part(text, "\n    max_packet: size; 16B to 256MiB; default 256KiB\n        Largest packet.\n");
	expect_part(text, "\n    ack: choice; accepted, durable or delivered; default durable\n");
	expect_part(text, "\n    device: text; required\n");
	expect_part(text,
	            "\n    tls:\n        Encryption.\n      cert: text; no default\n          Certificate file.\n");
	free(text);
}

static void help_fits_a_terminal(void **state)
{
	(void)state;
	char *text = made(config_help);
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		assert_true(len <= 100);
		assert_true(len == 0 || line[len - 1] != ' ');
		line += len + (line[len] == '\n');
	}
	free(text);
}

static void page_has_a_table_per_module(void **state)
{
	(void)state;
	char *text = made(config_reference);
	assert_memory_equal(text, "# Configuration\n", 16);
	expect_part(text, "\n## Types and units\n");
	expect_part(text, "\n## Environment variables\n");
	expect_part(text, "\n## <a id=\"journal\"></a>journal\n\nThe journal on disk.\n\n| Setting | Type | Default | "
	                  "Allowed | What it does |\n");
	expect_part(text, "\n### <a id=\"listeners-mqtt\"></a>listeners: mqtt\n\nMQTT 3.1.1\n\n");
	expect_part(text, "\n| <a id=\"listeners-mqtt-max_packet\"></a>`max_packet` | size | `256KiB` | `16B` to "
	                  "`256MiB` | Largest packet. |\n");
	expect_part(text,
	            "| <a id=\"listeners-mqtt-tls.cert\"></a>`tls.cert` | text | none | any | Certificate file. |\n");
	expect_part(text, "`device` | text | **required** | any |");
	expect_part(text, "| `durable` | `accepted`, `durable` or `delivered` |");
	free(text);
}

static void page_escapes_what_would_break_a_table(void **state)
{
	(void)state;
	char *text = made(config_reference);
	expect_part(text, "Longest keep-alive \\| cap &lt;s>.");
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n"), bars = 0;
		for (size_t i = 0; i < len; i++)
			bars += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
		if (line[0] == '|')
			assert_true(bars == 3 || bars == 6);
		line += len + (line[len] == '\n');
	}
	free(text);
}

static void links_have_their_anchors(void **state)
{
	(void)state;
	char *text = made(config_reference);
	for (const char *link = text; (link = strstr(link, "](#")); link++) {
		char anchor[200];
		int len = (int)strcspn(link + 3, ")");
		snprintf(anchor, sizeof(anchor), "id=\"%.*s\"", len, link + 3);
		bool heading =
		    !strncmp(link + 3, "types-and-units)", 16) || !strncmp(link + 3, "environment-variables)", 22);
		if (!heading)
			expect_part(text, anchor);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(help_tells_every_setting),    cmocka_unit_test(help_fits_a_terminal),
	    cmocka_unit_test(page_has_a_table_per_module), cmocka_unit_test(page_escapes_what_would_break_a_table),
	    cmocka_unit_test(links_have_their_anchors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
