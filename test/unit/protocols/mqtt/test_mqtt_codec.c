/* mqtt_codec.c: every packet an ingest server meets, whole, cut at every byte, and malformed in each way the
 * specification names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/mqtt/mqtt_codec.h"
#include "test/unit/guard.h"

#define MAX_PACKET ((size_t)256 << 10)
#define BYTES(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

static struct mqtt_fault fault;

static enum gw_err frame(const uint8_t *bytes, size_t len, struct mqtt_frame *f)
{
	return mqtt_frame_read((const uint8_t *)guard_copy(bytes, len), len, MAX_PACKET, false, f, &fault);
}

static enum gw_err connect_read(const uint8_t *bytes, size_t len, struct mqtt_connect *c)
{
	struct mqtt_frame f;
	assert_int_equal(frame(bytes, len, &f), GW_OK);
	assert_int_equal(f.type, MQTT_CONNECT);
	return mqtt_connect_read(&f, c, &fault);
}

static enum gw_err publish_read(const uint8_t *bytes, size_t len, struct mqtt_publish *p)
{
	struct mqtt_frame f;
	assert_int_equal(frame(bytes, len, &f), GW_OK);
	return mqtt_publish_read(&f, p, &fault);
}

static void assert_string(struct mqtt_string s, const char *expected)
{
	assert_int_equal(s.len, strlen(expected));
	assert_memory_equal(s.text, expected, s.len);
}

/* -- fixed header -- */

static void frame_is_taken_at_its_announced_length(void **state)
{
	(void)state;
	struct mqtt_frame f;
	assert_int_equal(frame(BYTES(0x32, 3, 1, 2, 3, 0xc0), &f), GW_OK);
	assert_int_equal(f.type, MQTT_PUBLISH);
	assert_int_equal(f.flags, 2);
	assert_int_equal(f.len, 3);
	assert_int_equal(f.size, 5);
	assert_int_equal(f.body[0], 1);
}

static void remaining_length_uses_up_to_four_bytes(void **state)
{
	(void)state;
	static uint8_t big[5 + 2097152];
	struct mqtt_frame f;
	static const struct {
		uint8_t head[5];
		size_t head_len, remaining;
	} cases[] = {
	    {{0x30, 0x7f}, 2, 127},
	    {{0x30, 0x80, 0x01}, 3, 128},
	    {{0x30, 0xff, 0x7f}, 3, 16383},
	    {{0x30, 0x80, 0x80, 0x01}, 4, 16384},
	    {{0x30, 0xff, 0xff, 0x7f}, 4, 2097151},
	    {{0x30, 0x80, 0x80, 0x80, 0x01}, 5, 2097152},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memcpy(big, cases[i].head, cases[i].head_len);
		size_t size = cases[i].head_len + cases[i].remaining;
		assert_int_equal(mqtt_frame_read(big, size, size, false, &f, &fault), GW_OK);
		assert_int_equal(f.len, cases[i].remaining);
		assert_int_equal(mqtt_frame_read(big, size - 1, size, false, &f, &fault), GW_AGAIN);
		assert_int_equal(mqtt_frame_read(big, size, size - 1, false, &f, &fault), GW_TOOBIG);
	}
}

static void fifth_length_byte_is_malformed_before_it_arrives(void **state)
{
	(void)state;
	struct mqtt_frame f;
	assert_int_equal(frame(BYTES(0x30, 0x80, 0x80, 0x80), &f), GW_AGAIN);
	assert_int_equal(frame(BYTES(0x30, 0x80, 0x80, 0x80, 0x80), &f), GW_INVALID);
	assert_int_equal(fault.reason, MQTT_MALFORMED);
	assert_int_equal(frame(BYTES(0x30, 0xff, 0xff, 0xff, 0xff, 0x01), &f), GW_INVALID);
}

static void too_long_packet_is_refused_when_its_length_is_known(void **state)
{
	(void)state;
	struct mqtt_frame f;
	assert_int_equal(frame(BYTES(0x30, 0xff, 0xff, 0xff), &f), GW_AGAIN);
	assert_int_equal(frame(BYTES(0x30, 0xff, 0xff, 0xff, 0x7f), &f), GW_TOOBIG);
	assert_int_equal(fault.reason, MQTT_PACKET_TOO_LARGE);
}

static void reserved_type_0_is_refused_at_its_first_byte(void **state)
{
	(void)state;
	struct mqtt_frame f;
	for (unsigned flags = 0; flags < 16; flags++)
		assert_int_equal(frame(BYTES((uint8_t)flags), &f), GW_INVALID);
}

static void stranger_is_refused_at_its_first_byte(void **state)
{
	(void)state;
	struct mqtt_frame f;
	for (unsigned b = 0; b < 256; b++) {
		uint8_t byte = (uint8_t)b;
		enum gw_err err = mqtt_frame_read(&byte, 1, MAX_PACKET, true, &f, &fault);
		assert_int_equal(err, b >> 4 == MQTT_CONNECT ? GW_AGAIN : GW_INVALID);
	}
	assert_int_equal(mqtt_frame_read((const uint8_t *)"GET / HTTP/1.1", 14, MAX_PACKET, true, &f, &fault),
	                 GW_INVALID);
}

/* -- CONNECT -- */

static const uint8_t connect_full[] = {
    0x10, 42, 0,   4,   'M', 'Q', 'T', 'T', 4,   0xee, 0,   60,       /* will QoS 1, retain, user, password, clean */
    0,    3,  'd', 'e', 'v',                                          /* client identifier */
    0,    6,  'w', '/', 't', 'o', 'p', 'c', 0,   3,    'b', 0,   'e', /* will */
    0,    4,  'u', 's', 'e', 'r', 0,   6,   's', 0,    'c', 'r', 'e', 0xff,
};

static void full_connect_is_read(void **state)
{
	(void)state;
	struct mqtt_connect c;
	assert_int_equal(connect_read(connect_full, sizeof connect_full, &c), GW_OK);
	assert_int_equal(c.version, MQTT_3_1_1);
	assert_true(c.clean_session && c.has_will && c.will_retain && c.has_username && c.has_password);
	assert_int_equal(c.will_qos, 1);
	assert_int_equal(c.keep_alive, 60);
	assert_string(c.client_id, "dev");
	assert_string(c.will_topic, "w/topc");
	assert_int_equal(c.will_message_len, 3);
	assert_string(c.username, "user");
	assert_int_equal(c.password_len, 6); /* binary: NUL and 0xff are allowed */
}

/* Shortens the remaining length and the bytes alike: every prefix of the body is a fault, and none reads behind its
 * end. */
static void connect_cut_anywhere_is_malformed(void **state)
{
	(void)state;
	struct mqtt_connect c;
	struct mqtt_frame f;
	uint8_t bytes[sizeof connect_full];
	for (size_t len = 2; len < sizeof connect_full; len++) {
		memcpy(bytes, connect_full, len);
		assert_int_equal(frame(bytes, len, &f), GW_AGAIN);
		bytes[1] = (uint8_t)(len - 2);
		assert_int_equal(connect_read(bytes, len, &c), GW_INVALID);
	}
}

static void mqisdp_of_version_3_1_is_read(void **state)
{
	(void)state;
	struct mqtt_connect c;
	assert_int_equal(connect_read(BYTES(0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 10, 0, 1, 'a'), &c),
	                 GW_OK);
	assert_int_equal(c.version, MQTT_3_1);
	assert_string(c.client_id, "a");
}

/* 3.1: the remaining length takes precedence over the user name and password flags. */
static void version_3_1_may_leave_out_announced_credentials(void **state)
{
	(void)state;
	struct mqtt_connect c;
	assert_int_equal(
	    connect_read(BYTES(0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 0xc2, 0, 10, 0, 1, 'a'), &c), GW_OK);
	assert_false(c.has_username || c.has_password);
	assert_int_equal(
	    connect_read(BYTES(0x10, 18, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 0xc2, 0, 10, 0, 1, 'a', 0, 1, 'u'), &c),
	    GW_OK);
	assert_true(c.has_username);
	assert_false(c.has_password);
}

static void unknown_protocol_level_is_told_not_judged(void **state)
{
	(void)state;
	struct mqtt_connect c;
	assert_int_equal(connect_read(BYTES(0x10, 7, 0, 4, 'M', 'Q', 'T', 'T', 5), &c), GW_OK);
	assert_int_equal(c.version, MQTT_5);
	static const uint8_t levels[] = {0, 1, 2, 3, 6, 0x83, 0x85, 255};
	for (size_t i = 0; i < sizeof levels; i++) {
		assert_int_equal(connect_read(BYTES(0x10, 7, 0, 4, 'M', 'Q', 'T', 'T', levels[i]), &c), GW_OK);
		assert_int_equal(c.version, MQTT_UNKNOWN);
	}
	assert_int_equal(connect_read(BYTES(0x10, 9, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 4), &c), GW_OK);
	assert_int_equal(c.version, MQTT_UNKNOWN);
}

static void level_of_a_bridge_is_the_version_without_the_bit(void **state)
{
	(void)state;
	struct mqtt_connect c;
	assert_int_equal(connect_read(BYTES(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 0x84, 2, 0, 10, 0, 1, 'a'), &c), GW_OK);
	assert_int_equal(c.version, MQTT_3_1_1);
	assert_int_equal(
	    connect_read(BYTES(0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 0x83, 2, 0, 10, 0, 1, 'a'), &c), GW_OK);
	assert_int_equal(c.version, MQTT_3_1);
	assert_string(c.client_id, "a");
}

static void flags_of_connect_are_reserved_in_3_1_1_and_unused_in_3_1(void **state)
{
	(void)state;
	struct mqtt_connect c;
	for (unsigned flags = 0; flags < 16; flags++) {
		uint8_t first = (uint8_t)(0x10 | flags);
		assert_int_equal(
		    connect_read(BYTES(first, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 10, 0, 1, 'a'), &c),
		    GW_OK);
		assert_int_equal(c.version, MQTT_3_1);
		assert_int_equal(connect_read(BYTES(first, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 10, 0, 1, 'a'), &c),
		                 flags == 0 ? GW_OK : GW_INVALID);
	}
}

static void other_protocol_names_are_refused(void **state)
{
	(void)state;
	struct mqtt_connect c;
	assert_int_equal(connect_read(BYTES(0x10, 7, 0, 4, 'M', 'Q', 'T', 'X', 4), &c), GW_INVALID);
	assert_int_equal(connect_read(BYTES(0x10, 7, 0, 4, 'm', 'q', 't', 't', 4), &c), GW_INVALID);
	assert_int_equal(connect_read(BYTES(0x10, 3, 0, 0, 4), &c), GW_INVALID);
	assert_int_equal(connect_read(BYTES(0x10, 0), &c), GW_INVALID);
}

/* Flags, then a client identifier "a" and enough behind it for whatever the flags announce. */
static enum gw_err with_flags(uint8_t flags)
{
	struct mqtt_connect c;
	uint8_t b[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 0, 0, 1, 'a'};
	size_t n = 15;
	for (int fields = (flags & 4 ? 2 : 0) + (flags & 0x80 ? 1 : 0) + (flags & 0x40 ? 1 : 0); fields > 0; fields--) {
		b[n++] = 0;
		b[n++] = 1;
		b[n++] = 'x';
	}
	b[1] = (uint8_t)(n - 2);
	return connect_read(b, n, &c);
}

static void connect_flags_follow_the_table_for_every_value(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags < 256; flags++) {
		unsigned will_qos = flags >> 3 & 3;
		bool will = flags & 4, good = !(flags & 1) && (will ? will_qos < 3 : (flags & 0x38) == 0);
		if ((flags & 0x40) && !(flags & 0x80))
			good = false;
		assert_int_equal(with_flags((uint8_t)flags), good ? GW_OK : GW_INVALID);
	}
}

static void bytes_behind_connect_are_malformed(void **state)
{
	(void)state;
	struct mqtt_connect c;
	assert_int_equal(connect_read(BYTES(0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'a', 0), &c),
	                 GW_INVALID);
}

/* Puts text into each place of CONNECT that is a string. */
static enum gw_err connect_with_text(int place, const char *text, size_t len)
{
	struct mqtt_connect c;
	uint8_t b[128] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x86, 0, 0};
	size_t n = 12;
	for (int i = 0; i < 4; i++) { /* client identifier, will topic, will message, user name */
		const char *s = i == place ? text : "x";
		size_t l = i == place ? len : 1;
		b[n++] = 0;
		b[n++] = (uint8_t)l;
		memcpy(b + n, s, l);
		n += l;
	}
	b[1] = (uint8_t)(n - 2);
	return connect_read(b, n, &c);
}

static void strings_must_be_utf8_without_nul(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t len;
		bool good;
	} cases[] = {
	    {"t\xc3\xa4", 3, true}, {"\xef\xbb\xbfx", 4, true}, {"\xf0\x9f\x90\x8c", 4, true},
	    {"a\0b", 3, false},     {"\0", 1, false},           {"\xed\xa0\x80", 3, false},
	    {"\xc0\x80", 2, false}, {"\xe0\x80\xaf", 3, false}, {"\xf4\x90\x80\x80", 4, false},
	    {"\xff", 1, false},     {"x\xc3", 2, false},        {"\x80", 1, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		enum gw_err expected = cases[i].good ? GW_OK : GW_INVALID;
		assert_int_equal(connect_with_text(0, cases[i].text, cases[i].len), expected);
		assert_int_equal(connect_with_text(1, cases[i].text, cases[i].len), expected);
		assert_int_equal(connect_with_text(2, cases[i].text, cases[i].len),
		                 GW_OK); /* a will message is bytes */
		assert_int_equal(connect_with_text(3, cases[i].text, cases[i].len), expected);
		assert_int_equal(mqtt_topic_check(cases[i].text, cases[i].len), cases[i].good);
	}
}

/* -- PUBLISH -- */

static void publish_is_read_at_each_qos(void **state)
{
	(void)state;
	struct mqtt_publish p;
	assert_int_equal(publish_read(BYTES(0x31, 6, 0, 2, 'a', 'b', 'h', 'i'), &p), GW_OK);
	assert_true(p.retain && !p.dup);
	assert_int_equal(p.qos, 0);
	assert_int_equal(p.id, 0);
	assert_string(p.topic, "ab");
	assert_int_equal(p.payload_len, 2);
	assert_memory_equal(p.payload, "hi", 2);
	assert_int_equal(publish_read(BYTES(0x3a, 5, 0, 1, 'a', 0x12, 0x34), &p), GW_OK);
	assert_true(p.dup && !p.retain);
	assert_int_equal(p.qos, 1);
	assert_int_equal(p.id, 0x1234);
	assert_int_equal(p.payload_len, 0);
	assert_int_equal(publish_read(BYTES(0x34, 6, 0, 1, 'a', 0xff, 0xff, 7), &p), GW_OK);
	assert_int_equal(p.qos, 2);
	assert_int_equal(p.id, 0xffff);
}

static void publish_flags_follow_the_specification(void **state)
{
	(void)state;
	struct mqtt_publish p;
	for (unsigned flags = 0; flags < 16; flags++) {
		unsigned qos = flags >> 1 & 3;
		bool good = qos != 3 && !(qos == 0 && (flags & 8));
		assert_int_equal(publish_read(BYTES((uint8_t)(0x30 | flags), 5, 0, 1, 'a', 0, 1), &p),
		                 good ? GW_OK : GW_INVALID);
	}
}

static void publish_cut_anywhere_is_malformed(void **state)
{
	(void)state;
	struct mqtt_publish p;
	static const uint8_t whole[] = {0x32, 8, 0, 4, 't', '/', 'a', 'b', 0, 1};
	uint8_t bytes[sizeof whole];
	for (size_t len = 2; len < sizeof whole; len++) {
		memcpy(bytes, whole, len);
		bytes[1] = (uint8_t)(len - 2);
		assert_int_equal(publish_read(bytes, len, &p), GW_INVALID);
	}
	assert_int_equal(publish_read(whole, sizeof whole, &p), GW_OK);
}

static void packet_identifier_0_is_refused(void **state)
{
	(void)state;
	struct mqtt_publish p;
	struct mqtt_frame f;
	uint16_t id;
	assert_int_equal(publish_read(BYTES(0x32, 5, 0, 1, 'a', 0, 0), &p), GW_INVALID);
	assert_int_equal(publish_read(BYTES(0x34, 5, 0, 1, 'a', 0, 0), &p), GW_INVALID);
	assert_int_equal(frame(BYTES(0x62, 2, 0, 0), &f), GW_OK);
	assert_int_equal(mqtt_id_read(&f, &id, &fault), GW_INVALID);
}

static void topic_names_have_no_wildcards_wherever_they_stand(void **state)
{
	(void)state;
	char topic[40];
	for (size_t len = 1; len <= sizeof topic; len++) {
		for (size_t at = 0; at < len; at++) {
			static const char bad[] = {'+', '#', '\0', '\x80'};
			memset(topic, 'a', len);
			assert_true(mqtt_topic_check(guard_copy(topic, len), len));
			for (size_t b = 0; b < sizeof bad; b++) {
				topic[at] = bad[b];
				assert_false(mqtt_topic_check(guard_copy(topic, len), len));
			}
		}
	}
	assert_false(mqtt_topic_check("", 0));
	assert_true(mqtt_topic_check("/", 1));
	assert_true(mqtt_topic_check("$SYS/a b/../\xc3\xa4", 14));
}

/* -- the others -- */

static enum gw_err plain(uint8_t first, size_t body, enum mqtt_version version)
{
	struct mqtt_frame f;
	uint8_t bytes[8] = {first, (uint8_t)body, 0, 1};
	assert_int_equal(frame(bytes, 2 + body, &f), GW_OK);
	return mqtt_plain_check(&f, version, &fault);
}

static void reserved_flags_must_be_as_in_the_table(void **state)
{
	(void)state;
	for (unsigned type = MQTT_CONNECT; type <= MQTT_DISCONNECT; type++) {
		unsigned required = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ? 2 : 0;
		for (unsigned flags = 0; type != MQTT_PUBLISH && flags < 16; flags++)
			assert_int_equal(plain((uint8_t)(type << 4 | flags), 0, MQTT_3_1_1),
			                 flags == required ? GW_OK : GW_INVALID);
	}
}

static void version_3_1_may_set_dup_where_it_asks_for_qos_1(void **state)
{
	(void)state;
	assert_int_equal(plain(0x62 | 8, 2, MQTT_3_1), GW_OK);
	assert_int_equal(plain(0x82 | 8, 2, MQTT_3_1), GW_OK);
	assert_int_equal(plain(0x60, 2, MQTT_3_1), GW_INVALID);
	assert_int_equal(plain(0xcf, 0, MQTT_3_1), GW_OK);
}

static void pingreq_and_disconnect_have_no_body(void **state)
{
	(void)state;
	assert_int_equal(plain(0xc0, 1, MQTT_3_1_1), GW_INVALID);
	assert_int_equal(plain(0xe0, 1, MQTT_3_1_1), GW_INVALID);
}

static void acknowledgements_are_an_identifier_and_nothing_else(void **state)
{
	(void)state;
	struct mqtt_frame f;
	uint16_t id;
	assert_int_equal(frame(BYTES(0x62, 2, 0x12, 0x34), &f), GW_OK);
	assert_int_equal(mqtt_id_read(&f, &id, &fault), GW_OK);
	assert_int_equal(id, 0x1234);
	assert_int_equal(frame(BYTES(0x62, 1, 1), &f), GW_OK);
	assert_int_equal(mqtt_id_read(&f, &id, &fault), GW_INVALID);
	assert_int_equal(frame(BYTES(0x62, 3, 0, 1, 0), &f), GW_OK);
	assert_int_equal(mqtt_id_read(&f, &id, &fault), GW_INVALID);
}

static enum gw_err filters(const uint8_t *bytes, size_t len, struct mqtt_filters *s)
{
	struct mqtt_frame f;
	assert_int_equal(frame(bytes, len, &f), GW_OK);
	return mqtt_filters_read(&f, s, &fault);
}

static void filters_are_walked_in_order(void **state)
{
	(void)state;
	struct mqtt_filters s;
	struct mqtt_string filter;
	uint8_t qos;
	assert_int_equal(filters(BYTES(0x82, 12, 0, 9, 0, 3, 'a', '/', '#', 1, 0, 1, '+', 2), &s), GW_OK);
	assert_int_equal(s.id, 9);
	assert_int_equal(s.count, 2);
	assert_true(mqtt_filters_next(&s, &filter, &qos));
	assert_string(filter, "a/#");
	assert_int_equal(qos, 1);
	assert_true(mqtt_filters_next(&s, &filter, &qos));
	assert_string(filter, "+");
	assert_int_equal(qos, 2);
	assert_false(mqtt_filters_next(&s, &filter, &qos));
	assert_int_equal(filters(BYTES(0xa2, 8, 0, 9, 0, 1, 'a', 0, 1, 'b'), &s), GW_OK);
	assert_int_equal(s.count, 2);
}

static void malformed_subscriptions_are_refused(void **state)
{
	(void)state;
	struct mqtt_filters s;
	assert_int_equal(filters(BYTES(0x82, 2, 0, 1), &s), GW_INVALID); /* no filter */
	assert_int_equal(filters(BYTES(0x82, 1, 0), &s), GW_INVALID);
	assert_int_equal(filters(BYTES(0x82, 6, 0, 0, 0, 1, 'a', 0), &s), GW_INVALID);           /* identifier 0 */
	assert_int_equal(filters(BYTES(0x82, 5, 0, 1, 0, 1, 'a'), &s), GW_INVALID);              /* no QoS */
	assert_int_equal(filters(BYTES(0x82, 6, 0, 1, 0, 1, 'a', 3), &s), GW_INVALID);           /* QoS 3 */
	assert_int_equal(filters(BYTES(0x82, 6, 0, 1, 0, 1, 'a', 0x80), &s), GW_INVALID);        /* reserved bits */
	assert_int_equal(filters(BYTES(0x82, 5, 0, 1, 0, 0, 0), &s), GW_INVALID);                /* empty filter */
	assert_int_equal(filters(BYTES(0x82, 6, 0, 1, 0, 9, 'a', 0), &s), GW_INVALID);           /* cut */
	assert_int_equal(filters(BYTES(0x82, 6, 0, 1, 0, 1, 0, 0), &s), GW_INVALID);             /* U+0000 */
	assert_int_equal(filters(BYTES(0x82, 8, 0, 1, 0, 3, '#', '/', 'a', 0), &s), GW_INVALID); /* # not last */
	assert_int_equal(filters(BYTES(0x82, 7, 0, 1, 0, 2, 'a', '#', 0), &s), GW_INVALID);      /* # in a level */
	assert_int_equal(filters(BYTES(0x82, 7, 0, 1, 0, 2, 'a', '+', 0), &s), GW_INVALID);      /* + in a level */
	assert_int_equal(filters(BYTES(0x82, 9, 0, 1, 0, 4, '+', 'a', '/', 'b', 0), &s), GW_INVALID);
}

/* -- writing -- */

static void connack_carries_each_return_code(void **state)
{
	(void)state;
	static const struct {
		enum mqtt_reason reason;
		uint8_t code;
	} cases[] = {{MQTT_SUCCESS, 0},
	             {MQTT_UNSUPPORTED_VERSION, 1},
	             {MQTT_CLIENT_ID_NOT_VALID, 2},
	             {MQTT_SERVER_UNAVAILABLE, 3},
	             {MQTT_BAD_CREDENTIALS, 4},
	             {MQTT_NOT_AUTHORIZED, 5}};
	uint8_t out[MQTT_CONNACK_MAX];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(mqtt_connack_write(out, MQTT_3_1_1, false, cases[i].reason), 4);
		assert_memory_equal(out, ((uint8_t[]){0x20, 2, 0, cases[i].code}), 4);
	}
	assert_int_equal(mqtt_connack_write(out, MQTT_3_1_1, true, MQTT_SUCCESS), 4);
	assert_int_equal(out[2], 1);
	assert_int_equal(mqtt_connack_write(out, MQTT_3_1_1, true, MQTT_SERVER_UNAVAILABLE), 4);
	assert_int_equal(out[2], 0); /* [MQTT-3.2.2-4] */
	assert_int_equal(mqtt_connack_write(out, MQTT_3_1, true, MQTT_SUCCESS), 4);
	assert_int_equal(out[2], 0);
	assert_int_equal(mqtt_connack_write(out, MQTT_5, false, MQTT_UNSUPPORTED_VERSION), 5);
	assert_memory_equal(out, ((uint8_t[]){0x20, 3, 0, 0x84, 0}), 5);
}

static void small_answers_are_written_as_specified(void **state)
{
	(void)state;
	uint8_t out[MQTT_SUBACK_HEAD_MAX];
	assert_int_equal(mqtt_id_write(out, MQTT_PUBACK, 0x1234), 4);
	assert_memory_equal(out, ((uint8_t[]){0x40, 2, 0x12, 0x34}), 4);
	mqtt_id_write(out, MQTT_PUBREL, 1);
	assert_memory_equal(out, ((uint8_t[]){0x62, 2, 0, 1}), 4);
	mqtt_id_write(out, MQTT_UNSUBACK, 1);
	assert_int_equal(out[0], 0xb0);
	assert_int_equal(mqtt_pingresp_write(out), 2);
	assert_memory_equal(out, ((uint8_t[]){0xd0, 0}), 2);
	assert_int_equal(mqtt_suback_head_write(out, 7, 1), 4);
	assert_memory_equal(out, ((uint8_t[]){0x90, 3, 0, 7}), 4);
	assert_int_equal(mqtt_suback_head_write(out, 7, 126), 5);
	assert_memory_equal(out, ((uint8_t[]){0x90, 0x80, 1, 0, 7}), 5);
	assert_int_equal(mqtt_suback_head_write(out, 7, 65534), 6);
	assert_memory_equal(out, ((uint8_t[]){0x90, 0x80, 0x80, 4, 0, 7}), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frame_is_taken_at_its_announced_length),
	    cmocka_unit_test(remaining_length_uses_up_to_four_bytes),
	    cmocka_unit_test(fifth_length_byte_is_malformed_before_it_arrives),
	    cmocka_unit_test(too_long_packet_is_refused_when_its_length_is_known),
	    cmocka_unit_test(reserved_type_0_is_refused_at_its_first_byte),
	    cmocka_unit_test(stranger_is_refused_at_its_first_byte),
	    cmocka_unit_test(full_connect_is_read),
	    cmocka_unit_test(connect_cut_anywhere_is_malformed),
	    cmocka_unit_test(mqisdp_of_version_3_1_is_read),
	    cmocka_unit_test(version_3_1_may_leave_out_announced_credentials),
	    cmocka_unit_test(unknown_protocol_level_is_told_not_judged),
	    cmocka_unit_test(level_of_a_bridge_is_the_version_without_the_bit),
	    cmocka_unit_test(flags_of_connect_are_reserved_in_3_1_1_and_unused_in_3_1),
	    cmocka_unit_test(other_protocol_names_are_refused),
	    cmocka_unit_test(connect_flags_follow_the_table_for_every_value),
	    cmocka_unit_test(bytes_behind_connect_are_malformed),
	    cmocka_unit_test(strings_must_be_utf8_without_nul),
	    cmocka_unit_test(publish_is_read_at_each_qos),
	    cmocka_unit_test(publish_flags_follow_the_specification),
	    cmocka_unit_test(publish_cut_anywhere_is_malformed),
	    cmocka_unit_test(packet_identifier_0_is_refused),
	    cmocka_unit_test(topic_names_have_no_wildcards_wherever_they_stand),
	    cmocka_unit_test(reserved_flags_must_be_as_in_the_table),
	    cmocka_unit_test(version_3_1_may_set_dup_where_it_asks_for_qos_1),
	    cmocka_unit_test(pingreq_and_disconnect_have_no_body),
	    cmocka_unit_test(acknowledgements_are_an_identifier_and_nothing_else),
	    cmocka_unit_test(filters_are_walked_in_order),
	    cmocka_unit_test(malformed_subscriptions_are_refused),
	    cmocka_unit_test(connack_carries_each_return_code),
	    cmocka_unit_test(small_answers_are_written_as_specified),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
