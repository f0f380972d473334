/* Datagrams as anybody may send them, through the whole CoAP server but for the socket. The input is a sequence of
 * datagrams, each behind two bytes: u8  what to do before it: bit 0 settle what waits; bit 1 600 ms pass, bit 2 3 s, bit
 *3 61 s; bit 4 the intake is full; bit 5 the next message is refused; bit 6 from another port; bit 7 the datagram was
 * cut by the buffer u8  its length and the last one is what is left. Checked: every answer is well-formed and at most
 * three times as long as what it answers, one datagram has at most one answer, and an acknowledgement only goes to a
 * confirmable message. */
#include <stdint.h>
#include <stdlib.h>

#include "protocols/coap/coap_server.h"
#include "test/unit/fake_intake.c"

#define CHECK(condition) ((condition) ? (void)0 : abort())

static struct udp_out outbox, *out = &outbox; /* 120 KiB: not made anew each time */
static struct coap_server s;
static struct intake *in;

/* The clock must be the fuzzer's, or nothing can be played again. */
static void set_clock(int64_t ms)
{
	in->skew_ms = ms - fake_clock_ms();
	in->now_ms = ms;
}

static void start(void)
{
	struct coap_server_settings settings = {
	    .exchanges = 16,
	    .exchange_lifetime_ms = 60000,
	    .separate_after_ms = 500,
	    .block_exponent = 2,
	    .blocks = {.max_body = 256, .memory = 4096, .per_peer = 2, .timeout_ms = 60000},
	};
	in = fake_intake_new();
	in->manual = true;
	in->settings.max_payload = 256;
	out->count = out->sent = 0;
	CHECK(coap_server_init(&s, &settings, in, out) == GW_OK);
}

static void check_answers(size_t request_len)
{
	for (size_t i = 0; i < out->count; i++) {
		struct coap_message m;
		CHECK(out->item[i].len <= 3 * request_len);
		CHECK(coap_message_header(&m, out->item[i].bytes, out->item[i].len) == COAP_PARSED);
		CHECK(m.type != COAP_RST || m.code == COAP_EMPTY);
		CHECK(coap_message_options(&m) == COAP_PARSED);
	}
	out->count = 0;
}

static void before(uint8_t what, int64_t *now)
{
	struct answer a;
	*now += (what & 2 ? 600 : 0) + (what & 4 ? 3000 : 0) + (what & 8 ? 61000 : 1);
	set_clock(*now);
	if (what & 1)
		fake_settle_all(in);
	while (udp_out_room(out) > 0 && intake_answer(in, &a))
		coap_server_answer(&s, &a);
	coap_server_tick(&s);
	in->full = what & 16;
	in->refuse = what & 32 ? GW_INVALID : GW_OK;
	check_answers(SIZE_MAX / 4); /* their requests are long gone */
}

static void offer(const uint8_t *data, size_t len, uint8_t what)
{
	uint8_t *bytes = malloc(len ? len : 1); /* so that a read beyond its end is seen */
	CHECK(bytes);
	if (len > 0)
		memcpy(bytes, data, len);
	struct sockaddr_in6 from = {.sin6_family = AF_INET6};
	struct udp_datagram d = {.from = (struct sockaddr *)&from, .bytes = bytes, .len = len, .cut = what & 128};
	d.route.port = what & 64 ? 5684 : 5683;
	coap_server_take(&s, &d, 1);
	CHECK(out->count <= 1);
	if (out->count == 1) {
		CHECK(len >= 4);
		unsigned type = out->item[0].bytes[0] >> 4 & 3, asked = bytes[0] >> 4 & 3;
		CHECK((type != COAP_ACK && type != COAP_RST) || asked == COAP_CON);
		CHECK(asked == COAP_CON || asked == COAP_NON);
	}
	check_answers(len);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t now = 1000000;
	start();
	set_clock(now);
	while (size >= 2) {
		uint8_t what = data[0];
		size_t len = data[1] < size - 2 ? data[1] : size - 2;
		before(what, &now);
		offer(data + 2, len, what);
		data += 2 + len;
		size -= 2 + len;
	}
	before(1 | 8, &now);
	coap_server_fini(&s);
	fake_intake_free(in);
	return 0;
}
