/* CoAP over UDP (RFC 7252): devices POST or PUT to /t/{device}/{channel...}. docs/coap.md says what is served and
 * answered.
 *
 * The parts: udp.c reads and writes datagrams, many per system call; coap_message.c takes them apart; coap_server.c
 * decides what they mean and what is answered, with coap_exchange.c as its memory of requests and coap_block.c as that
 * of bodies that come in blocks. Here is the loop that drives them, and the settings.
 *
 * libcoap's own server loop is not used: it answers before a message is safe, or by a separate response for every one;
 * it runs a handler again for each retransmission; it has no limit on what blocks may hold; it reads one datagram per
 * system call. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/protocol.h"
#include "protocols/coap/coap_server.h"

#define READS_PER_TURN 4 /* batches, before what came in is published and answered */
#define DROPS_EVERY_MS 1000

struct coap {
	/* settings */
	struct address listen;
	uint64_t max_datagram, receive_buffer;
	int64_t exchanges;
	uint64_t exchange_lifetime, separate_after; /* us */
	uint64_t max_body, blocks_memory;
	int block_size;
	int64_t blocks_per_peer;
	uint64_t block_timeout; /* us */
	/* the listener's thread */
	struct intake *in;
	struct udp *udp; /* owned */
	struct coap_server server;
	int64_t drops_at_ms;
	struct log_limit drops_log;
};

static const char *const block_sizes[] = {"16", "32", "64", "128", "256", "512", "1024", NULL};

static const struct setting coap_settings[] = {
    SETTING(struct coap, listen, SETTING_ADDRESS, "127.0.0.1:5683", 0, 0,
            "Address and UDP port to listen on; `[::]` is every address, IPv4 too."),
    SETTING(struct coap, max_datagram, SETTING_BYTES, "8KiB", 1152, 65536,
            "Longest datagram that is taken; longer ones are answered 4.13. Larger bodies come in blocks."),
    SETTING(struct coap, receive_buffer, SETTING_BYTES, "4MiB", 4096, 1 << 30,
            "Bytes of datagrams the kernel holds for us while we are busy; limited by net.core.rmem_max."),
    SETTING(struct coap, exchanges, SETTING_INT, "65536", 16, 16777216,
            "Requests remembered, about 150 bytes each, so that a retransmission is not a second message. When all of "
            "them wait for their "
            "answer, new requests get 5.03."),
    SETTING(struct coap, exchange_lifetime, SETTING_DURATION, "60s", 1e6, 247e6,
            "How long an answered request is remembered, unless `exchanges` newer ones came. RFC 7252 has 247 s as the "
            "longest useful."),
    SETTING(struct coap, separate_after, SETTING_DURATION, "500ms", 1e3, 2e6,
            "A confirmable request that is not answered by then gets an empty acknowledgement, and its response "
            "separately."),
    SETTING(struct coap, max_body, SETTING_BYTES, "1MiB", 1024, 1 << 24,
            "Longest body that may come in blocks (Block1); max_payload limits it, too."),
    SETTING_CHOICES(struct coap, block_size, "1024", block_sizes,
                    "Largest block, in bytes, that devices are asked to use."),
    SETTING(struct coap, blocks_per_peer, SETTING_INT, "4", 1, 1024,
            "Bodies that one endpoint may send in blocks at the same time."),
    SETTING(struct coap, blocks_memory, SETTING_BYTES, "16MiB", 65536, 1 << 30,
            "Bytes of all bodies that are under way in blocks; must be twice the longest body at least."),
    SETTING(struct coap, block_timeout, SETTING_DURATION, "60s", 1e6, 3.6e9,
            "A body whose next block has not come by then is given up."),
    SETTINGS_END,
};

static uint64_t longest_body(const struct coap *c, const struct listener_settings *common)
{
	return c->max_body < common->max_payload ? c->max_body : common->max_payload;
}

static enum gw_err coap_check(const void *self, const struct listener_settings *common, struct why *why)
{
	const struct coap *c = self;
	if (c->blocks_memory < 2 * longest_body(c, common))
		return why_set(
		    why, GW_CONFIG,
		    "blocks_memory: must be at least twice max_body or max_payload, the smaller of the two: one "
		    "body with room to grow");
	return GW_OK;
}

static struct coap_server_settings server_settings(const struct coap *c)
{
	return (struct coap_server_settings){
	    .exchanges = (uint32_t)c->exchanges,
	    .exchange_lifetime_ms = (int64_t)(c->exchange_lifetime / 1000),
	    .separate_after_ms = (int64_t)(c->separate_after / 1000),
	    .block_exponent = (uint8_t)c->block_size,
	    .blocks =
	        {
	            .max_body = longest_body(c, intake_settings(c->in)),
	            .memory = c->blocks_memory,
	            .per_peer = (size_t)c->blocks_per_peer,
	            .timeout_ms = (int64_t)(c->block_timeout / 1000),
	        },
	};
}

static enum gw_err coap_open(void *self, struct intake *in, struct why *why)
{
	struct coap *c = self;
	c->in = in;
	char bound[SOCKET_TEXT];
	enum gw_err err = udp_open(&c->udp, &c->listen, c->max_datagram, c->receive_buffer, bound, why);
	if (err != GW_OK)
		return err;
	struct coap_server_settings settings = server_settings(c);
	err = coap_server_init(&c->server, &settings, in, udp_outbox(c->udp));
	if (err != GW_OK)
		return why_set(why, err, "out of memory for %lld exchanges", (long long)c->exchanges);
	intake_listening(in, bound);
	return GW_OK;
}

static void coap_close(void *self)
{
	struct coap *c = self;
	coap_server_fini(&c->server);
	udp_free(c->udp);
	c->udp = NULL;
}

static void take(void *self, const struct udp_datagram *d, size_t count)
{
	coap_server_take(self, d, count);
}

/* Sends what waits; false: the kernel takes no more now. */
static bool write_out(struct coap *c)
{
	uint64_t bytes = 0;
	bool all = udp_write(c->udp, &bytes);
	stat_add(&intake_stats(c->in)->network_out, bytes);
	return all;
}

/* Whether n more answers find room. */
static bool room_for(struct coap *c, size_t n)
{
	return udp_out_room(udp_outbox(c->udp)) >= n || write_out(c);
}

/* Reads what there is, up to a limit, so that nobody waits for his answer for ever; true: there may be more. */
static bool read_in(struct coap *c)
{
	uint64_t bytes = 0;
	size_t got = UDP_BATCH;
	for (int i = 0; i < READS_PER_TURN && got == UDP_BATCH; i++)
		got = room_for(c, UDP_BATCH) ? udp_read(c->udp, take, &c->server, &bytes) : 0;
	stat_add(&intake_stats(c->in)->network_in, bytes);
	return got == UDP_BATCH;
}

static void answer(struct coap *c)
{
	struct answer a;
	while (room_for(c, 1) && intake_answer(c->in, &a))
		coap_server_answer(&c->server, &a);
}

static void count_drops(struct coap *c, int64_t now)
{
	if (now - c->drops_at_ms < DROPS_EVERY_MS)
		return;
	c->drops_at_ms = now;
	uint64_t dropped = udp_dropped(c->udp), left_out;
	if (dropped == 0)
		return;
	stat_add(&intake_stats(c->in)->dropped, dropped);
	if (log_allow(&c->drops_log, now, &left_out))
		log_event(
		    LOG_WARN, "listener",
		    "the kernel dropped datagrams; raise receive_buffer and net.core.rmem_max, or spread the load",
		    LOG_S("sluice.listener", intake_name(c->in)), LOG_N("sluice.dropped", dropped));
}

static void wait_for_more(struct coap *c, bool reading, bool written, int timeout_ms)
{
	struct pollfd fds[] = {
	    {.fd = udp_fd(c->udp), .events = (short)((reading && written ? POLLIN : 0) | (written ? 0 : POLLOUT))},
	    {.fd = intake_fd(c->in), .events = POLLIN},
	};
	poll(fds, 2, intake_sleep(c->in, timeout_ms));
}

static void coap_run(void *self)
{
	struct coap *c = self;
	for (;;) {
		int64_t now = intake_turn(c->in);
		enum intake_phase phase = intake_phase(c->in);
		if (phase == INTAKE_END)
			return;
		bool more = phase == INTAKE_RUN && read_in(c);
		intake_flush(c->in);
		answer(c);
		int timeout_ms = coap_server_tick(&c->server);
		bool written = write_out(c);
		count_drops(c, now);
		if (phase == INTAKE_DRAIN && written && intake_waiting(c->in) == 0)
			return;
		if (!more)
			wait_for_more(c, phase == INTAKE_RUN, written, timeout_ms);
	}
}

/* Debian's package has the client under three names; this one needs no TLS library. */
static void coap_hint(const void *self, const char *address, char *out, size_t size)
{
	(void)self;
	const char *host = "", *rest = address;
	if (strncmp(address, "0.0.0.0:", 8) == 0) {
		host = "127.0.0.1";
		rest = address + 7;
	} else if (strncmp(address, "[::]:", 5) == 0) {
		host = "[::1]";
		rest = address + 4;
	}
	snprintf(out, size,
	         "coap-client-notls -m post -t json -e '{\"temperature\":21.4}' coap://%s%s/t/sensor-2/telemetry", host,
	         rest);
}

const struct protocol coap_protocol = {
    .name = "coap",
    .help = "CoAP over UDP: POST or PUT to /t/{device}/{channel...}",
    .size = sizeof(struct coap),
    .settings = coap_settings,
    .max_threads = 1,
    .datagrams = true,
    .check = coap_check,
    .open = coap_open,
    .run = coap_run,
    .close = coap_close,
    .hint = coap_hint,
};
