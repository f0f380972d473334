/* The report as one page that needs nothing else: the page (report_page.html, as lines in report_page.inc) draws what
 * stands in it as JSON. */
#include <stdlib.h>
#include <string.h>

#include "load/report.h"

static const char *const page[] = {
#include "load/report_page.inc"
};

/* The share of messages at or below each recorded value. Thousands of points say no more than hundreds: one per step of
 * the axis, which goes by nines. */
static void write_percentiles(const struct hdr *h, FILE *out)
{
	size_t at = 0;
	uint64_t value, count, seen = 0, total = hdr_count(h);
	double next = 0;
	const char *before = "";
	fputs("\"percentiles\":[", out);
	while (hdr_next(h, &at, &value, &count)) {
		seen += count;
		double share = (double)seen / (double)total;
		if (share < next && seen < total)
			continue;
		fprintf(out, "%s[%.6f,%llu]", before, share, (unsigned long long)value);
		before = ",";
		next = share + (1 - share) * 0.02;
	}
	fputs("]", out);
}

/* `<` would end the script inside a text, e.g. in an error message of a server. */
static void write_safely(const char *text, size_t len, FILE *out)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == '<')
			fputs("\\u003c", out);
		else
			fputc(text[i], out);
}

static void write_data(const struct load_result *r, FILE *out)
{
	char *text = NULL;
	size_t len = 0;
	struct why why;
	FILE *memory = open_memstream(&text, &len);
	if (memory && result_write(r, memory, &why) == GW_OK && fclose(memory) == 0 && len > 2) {
		len = (size_t)(strrchr(text, '}') - text); /* to go on inside the object */
		write_safely(text, len, out);
		fputc(',', out);
	} else {
		fputc('{', out);
	}
	free(text);
	write_percentiles(r->latency, out);
	fputs("}", out);
}

void report_html(const struct load_result *const *results, size_t count, FILE *out)
{
	for (size_t i = 0; i < sizeof(page) / sizeof(*page); i++) {
		if (strcmp(page[i], "/*DATA*/\n") != 0) {
			fputs(page[i], out);
			continue;
		}
		fputs("[", out);
		for (size_t k = 0; k < count; k++) {
			fputs(k ? ",\n" : "", out);
			write_data(results[k], out);
		}
		fputs("]\n", out);
	}
}
