/* Lines of the TCP protocol: however the bytes are cut into reads, the same messages come out, and they are what
 * splitting the whole text gives. The first two bytes choose the cuts and where the lane is full for a while; the rest
 * is what the device sends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocols/tcp/tcp.c"
#include "test/unit/fake_intake.c"

#define LONGEST 24

/* The one connection, and the functions of stream.h for it. */
static struct tcp_conn own;
static bool held, closing;
static size_t waiting;
static uint64_t last_line; /* awaited */

void *stream_own(struct stream_conn *c)
{
	(void)c;
	return &own;
}

const struct sockaddr *stream_peer(struct stream_conn *c)
{
	static const struct sockaddr_in peer = {.sin_family = AF_INET};
	(void)c;
	return (const struct sockaddr *)&peer;
}

void stream_write(struct stream_conn *c, const void *bytes, size_t len)
{
	(void)c;
	(void)bytes;
	(void)len;
}

bool stream_unwrite(struct stream_conn *c, size_t len)
{
	(void)c;
	(void)len;
	return true;
}

bool stream_await(struct stream_conn *c, uint64_t position, enum answer_kind kind, uint64_t what)
{
	(void)c;
	(void)position;
	(void)kind;
	if (what >> REASON_BITS <= last_line) /* every answer is for a later line */
		abort();
	last_line = what >> REASON_BITS;
	waiting++;
	return true;
}

bool stream_crowded(const struct stream_conn *c)
{
	(void)c;
	return false;
}

size_t stream_waiting(const struct stream_conn *c)
{
	(void)c;
	return waiting;
}

void stream_hold(struct stream_conn *c)
{
	(void)c;
	held = true;
}

bool stream_blocked(const struct stream_conn *c)
{
	(void)c;
	return held || closing;
}

void stream_deadline(struct stream_conn *c, uint32_t ms)
{
	(void)c;
	(void)ms;
}

void stream_close(struct stream_conn *c, bool settle)
{
	(void)c;
	(void)settle;
	closing = true;
}

enum gw_err stream_open(struct stream **out, const struct stream_settings *settings,
                        const struct stream_protocol *protocol, void *self, struct intake *in, struct why *why)
{
	(void)out;
	(void)settings;
	(void)protocol;
	(void)self;
	(void)in;
	(void)why;
	return GW_IO;
}

void stream_run(struct stream *s)
{
	(void)s;
}

void stream_free(struct stream *s)
{
	(void)s;
}

/* What the text must give: the messages in order, and the number of lines. */
static uint64_t expect_lines(const struct tcp *t, const struct intake *in, const uint8_t *text, size_t len)
{
	size_t messages = 0;
	uint64_t lines = 0;
	while (len > 0) {
		const uint8_t *newline = memchr(text, '\n', len);
		size_t line = newline ? (size_t)(newline - text) : len, size = line;
		const uint8_t *nul = nul_ends(t, text, text + len) ? memchr(text, 0, line) : NULL;
		if (nul) {
			newline = nul;
			size = line = (size_t)(nul - text);
		}
		if (size > 0 && text[size - 1] == '\r')
			size--;
		if (size <= NULS_MAX && is_all_nul(text, size))
			size = 0;
		if (size > 0 && size <= LONGEST) {
			if (messages >= in->message_count || in->messages[messages].payload_len != size ||
			    memcmp(in->messages[messages].payload, text, size) != 0)
				abort();
			messages++;
		}
		lines += size > 0;
		text += newline ? line + 1 : line;
		len -= newline ? line + 1 : line;
	}
	if (messages != in->message_count)
		abort();
	return lines;
}

static size_t offer(struct tcp *t, struct intake *in, const uint8_t *text, size_t len, bool end)
{
	size_t used = 0;
	do {
		if (held)
			in->full = held = false;
		size_t n =
		    end ? tcp_finished(t, NULL, text + used, len - used) : tcp_data(t, NULL, text + used, len - used);
		if (n > len - used)
			abort();
		used += n;
	} while (held);
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	unsigned cut = data[0], full = data[1];
	data += 2;
	size -= 2;
	struct intake *in = fake_intake_new();
	struct tcp t = {.in = in, .reply = REPLY_COUNT, .peer = true, .longest = LONGEST};
	own = (struct tcp_conn){0};
	held = closing = false;
	waiting = last_line = 0;
	size_t have = 0, taken = 0;
	for (unsigned i = 0; have < size; i++) {
		size_t step = 1 + (cut * (i + 1) * 7u) % 13u;
		have = size - have < step ? size : have + step;
		in->full = full > 0 && i % (1 + full) == 0;
		/* exactly what is there, so that a byte too far is noticed */
		uint8_t *piece = malloc(have - taken + (have == taken));
		memcpy(piece, data + taken, have - taken);
		size_t rest = have - taken;
		taken += offer(&t, in, piece, rest, false);
		free(piece);
		if (have - taken > LONGEST + 1)
			abort();
	}
	taken += offer(&t, in, data + taken, size - taken, true);
	if (taken != size || own.line != expect_lines(&t, in, data, size))
		abort();
	tcp_ended(&t, NULL);
	fake_intake_free(in);
	return 0;
}
