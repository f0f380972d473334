/* `sluice deadletters list` and `show`; they read alone and may run beside the gateway. */
#include "gateway/commands/deadletters_parts.h"

#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/utf8.h"

#define REASONS_MAX 8
#define REASON_LEN 160

/* -- list -- */

struct deadletters_list {
	const struct deadletters_job *job;
	uint64_t letters, halves, bytes;
	int64_t oldest_us, newest_us;
	struct {
		char text[REASON_LEN + 1];
		size_t len;
		uint64_t count;
	} reasons[REASONS_MAX];
	size_t reason_count;
	uint64_t other; /* letters with further reasons */
};

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* What reasons have in common: the beginning, with # for every word that has a digit in it, since sinks name the place, the
 * value and the id. Its length. */
static size_t reason_head(const struct dead_letter_line *l, char out[REASON_LEN + 1])
{
	size_t n = 0, word = 0;
	bool digit = false;
	for (size_t i = 0; i < l->reason_len && n < REASON_LEN; i++) {
		char c = l->reason[i];
		if (!is_word(c)) {
			word = n + 1;
			digit = false;
		}
		digit |= c >= '0' && c <= '9';
		if (digit) {
			n = word;
			c = '#';
		}
		out[n++] = c;
	}
	n = utf8_check(out, n); /* no half of a character */
	size_t slashes = 0;     /* nor of an escape */
	while (slashes < n && out[n - 1 - slashes] == '\\')
		slashes++;
	n -= slashes % 2;
	out[n] = '\0';
	return n;
}

static bool add_to_listing(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	struct deadletters_list *s = context;
	(void)line;
	s->bytes += len + 1;
	if (!letter) {
		s->halves++;
		return true;
	}
	if (!deadletters_match(s->job, letter))
		return true;
	if (s->letters++ == 0 || letter->time_us < s->oldest_us)
		s->oldest_us = letter->time_us;
	if (letter->time_us > s->newest_us)
		s->newest_us = letter->time_us;
	char text[REASON_LEN + 1];
	size_t head = reason_head(letter, text), i = 0;
	while (i < s->reason_count && (s->reasons[i].len != head || memcmp(s->reasons[i].text, text, head) != 0))
		i++;
	if (i == REASONS_MAX) {
		s->other++;
		return true;
	}
	if (i == s->reason_count) {
		s->reason_count++;
		memcpy(s->reasons[i].text, text, head + 1);
		s->reasons[i].len = head;
	}
	s->reasons[i].count++;
	return true;
}

static void show_listing(const struct deadletters_job *j, const struct deadletters_file *p,
                         const struct deadletters_list *s, bool first)
{
	char oldest[CLOCK_FORMAT_LEN], newest[CLOCK_FORMAT_LEN];
	clock_format(oldest, s->oldest_us);
	clock_format(newest, s->newest_us);
	if (j->options->json) {
		fprintf(j->out, "%s{\"sink\":\"%s\",\"letters\":%llu,\"damaged_lines\":%llu,\"bytes\":%llu",
		        first ? "" : ",", p->name, (unsigned long long)s->letters, (unsigned long long)s->halves,
		        (unsigned long long)s->bytes);
		if (s->letters)
			fprintf(j->out, ",\"oldest\":\"%.*s\",\"newest\":\"%.*s\"", CLOCK_FORMAT_LEN, oldest,
			        CLOCK_FORMAT_LEN, newest);
		fputs(",\"reasons\":[", j->out);
		for (size_t i = 0; i < s->reason_count; i++)
			fprintf(j->out, "%s{\"reason\":\"%.*s\",\"letters\":%llu}", i ? "," : "",
			        (int)s->reasons[i].len, s->reasons[i].text, (unsigned long long)s->reasons[i].count);
		fprintf(j->out, "],\"other_reasons\":%llu}", (unsigned long long)s->other);
		return;
	}
	fprintf(j->out, "%s: %llu dead letters", p->name, (unsigned long long)s->letters);
	if (s->letters)
		fprintf(j->out, ", %.19sZ to %.19sZ", oldest, newest);
	fprintf(j->out, " (%s)\n", p->path);
	for (size_t i = 0; i < s->reason_count; i++)
		fprintf(j->out, "  %10llu  %.*s\n", (unsigned long long)s->reasons[i].count, (int)s->reasons[i].len,
		        s->reasons[i].text);
	if (s->other)
		fprintf(j->out, "  %10llu  with other reasons\n", (unsigned long long)s->other);
	if (s->halves)
		fprintf(j->out, "  %10llu  lines are no dead letters: halves that a crash or a full disk left\n",
		        (unsigned long long)s->halves);
}

int deadletters_list(struct deadletters_job *j)
{
	bool first = true;
	if (j->options->json)
		fputc('[', j->out);
	for (size_t i = 0; i < j->count; i++) {
		struct deadletters_list s = {.job = j};
		if (!deadletters_is_asked_for(j, &j->files[i]))
			continue;
		j->failed |= !deadletters_each_line(j, &j->files[i], add_to_listing, &s);
		show_listing(j, &j->files[i], &s, first);
		first = false;
	}
	if (j->options->json)
		fputs("]\n", j->out);
	else if (first)
		fputs("no dead letters\n", j->out);
	return j->failed ? 2 : 0;
}

/* -- show -- */

struct showing {
	struct deadletters_job *job;
	uint64_t shown;
};

static bool show_line(void *context, const char *line, size_t len, const struct dead_letter_line *letter)
{
	struct showing *s = context;
	if (!letter || !deadletters_match(s->job, letter))
		return true;
	if (s->job->options->limit && s->shown == s->job->options->limit)
		return false;
	s->shown++;
	fwrite(line, 1, len, s->job->out);
	fputc('\n', s->job->out);
	return !ferror(s->job->out);
}

int deadletters_show(struct deadletters_job *j)
{
	struct showing s = {.job = j};
	for (size_t i = 0; i < j->count; i++)
		if (deadletters_is_asked_for(j, &j->files[i]))
			j->failed |= !deadletters_each_line(j, &j->files[i], show_line, &s);
	return j->failed ? 2 : 0;
}
