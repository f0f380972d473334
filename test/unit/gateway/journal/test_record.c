/* Entries: what is written is read, and a damaged one is never taken for a good one with offsets outside itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "gateway/journal/record.h"
#include "test/unit/guard.h"

static size_t entry_make(uint8_t *entry, size_t json_len, uint16_t id_at, uint16_t device_at, uint16_t device_len)
{
	struct record r = {.kind = RECORD_TELEMETRY,
	                   .flags = RECORD_TIME_DEVICE,
	                   .id_at = id_at,
	                   .time_us = INT64_C(-1234567890123),
	                   .json_len = (uint32_t)json_len,
	                   .device_at = device_at,
	                   .device_len = device_len,
	                   .received_us = INT64_C(0x0102030405060708)};
	memset(entry + RECORD_HEADER, 'j', json_len + 7);
	record_write(&r, entry);
	return r.size;
}

static void what_is_written_is_read(void **unused)
{
	(void)unused;
	_Alignas(8) uint8_t entry[256];
	for (size_t len = 26; len < 40; len++) {
		size_t size = entry_make(entry, len, 0, 20, 6);
		struct record r;
		assert_int_equal(size % 8, 0);
		assert_in_range(size, RECORD_HEADER + len, RECORD_HEADER + len + 7);
		record_read(&r, entry);
		assert_int_equal(r.size, size);
		assert_int_equal(record_size(entry), size);
		assert_int_equal(record_kind(entry), RECORD_TELEMETRY);
		assert_int_equal(r.flags, RECORD_TIME_DEVICE);
		assert_int_equal(r.id_at, 0);
		assert_int_equal(r.device_at, 20);
		assert_int_equal(r.device_len, 6);
		assert_int_equal(r.json_len, len);
		assert_true(r.time_us == INT64_C(-1234567890123));
		assert_true(r.received_us == INT64_C(0x0102030405060708));
		for (size_t i = RECORD_HEADER + len; i < size; i++)
			assert_int_equal(entry[i], 0);
		assert_true(record_check(entry, size));
	}
}

/* The layout is on disks: these bytes may not change. */
static void the_bytes_are_those_of_the_format(void **unused)
{
	(void)unused;
	_Alignas(8) uint8_t entry[128];
	static const uint8_t expected[RECORD_HEADER] = {
	    64, 0, 0, 0, 1, 2, 3, 0, 0x35, 0xfb, 0x04, 0x8e, 0xe0, 0xfe, 0xff, 0xff,
	    29, 0, 0, 0, 4, 0, 5, 0, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01};
	entry_make(entry, 29, 3, 4, 5);
	assert_memory_equal(entry, expected, RECORD_HEADER);
}

static void an_entry_never_reaches_over_its_room(void **unused)
{
	(void)unused;
	_Alignas(8) uint8_t entry[256];
	size_t size = entry_make(entry, 60, 10, 40, 20);
	for (size_t room = 0; room < size; room++)
		assert_false(record_check((uint8_t *)guard_copy(entry, room), room));
	assert_true(record_check((uint8_t *)guard_copy(entry, size), size));
	assert_true(record_check(entry, size + 100));
	entry_make(entry, 60, 60 - RECORD_ID_LEN, 40, 20);
	assert_true(record_check(entry, size));
	entry_make(entry, 60, 60 - RECORD_ID_LEN + 1, 40, 20); /* the id reaches over the end */
	assert_false(record_check(entry, size));
	entry_make(entry, 60, 0, 40, 21); /* the device */
	assert_false(record_check(entry, size));
	entry_make(entry, 60, UINT16_MAX, 0, 0);
	assert_false(record_check(entry, size));
	entry_make(entry, 60, 0, UINT16_MAX, UINT16_MAX);
	assert_false(record_check(entry, size));
}

static void no_change_of_a_header_leads_outside(void **unused)
{
	(void)unused;
	_Alignas(8) uint8_t entry[256];
	size_t size = entry_make(entry, 60, 10, 40, 20);
	for (size_t at = 0; at < RECORD_HEADER; at++)
		for (unsigned v = 0; v < 256; v++) {
			entry_make(entry, 60, 10, 40, 20);
			entry[at] = (uint8_t)v;
			uint8_t *p = (uint8_t *)guard_copy(entry, size);
			struct record r;
			if (!record_check(p, size))
				continue;
			record_read(&r, p);
			assert_true(r.size <= size && r.size % 8 == 0 && r.kind != RECORD_PAD);
			assert_true(RECORD_HEADER + r.json_len <= r.size);
			if (r.kind != RECORD_STATE) {
				assert_true((size_t)r.id_at + RECORD_ID_LEN <= r.json_len);
				assert_true((size_t)r.device_at + r.device_len <= r.json_len);
			}
		}
	memset(entry, 0, sizeof(entry)); /* what preallocated space looks like */
	assert_false(record_check(entry, sizeof(entry)));
	memset(entry, 0xff, sizeof(entry));
	assert_false(record_check(entry, sizeof(entry)));
}

static void state_needs_neither_id_nor_device(void **unused)
{
	(void)unused;
	_Alignas(8) uint8_t entry[64];
	struct record r = {.kind = RECORD_STATE, .json_len = 0};
	record_write(&r, entry);
	assert_true(record_check(entry, r.size));
	r.kind = RECORD_TELEMETRY;
	record_write(&r, entry);
	assert_false(record_check(entry, r.size));
}

static void a_device_is_copied_without_its_escapes(void **unused)
{
	(void)unused;
	_Alignas(8) uint8_t entry[4096];
	char out[DEVICE_MAX];
	static const char plain[] = "{\"id\":\"0123456789012345678901234\",\"d\":\"sensor\"}";
	memcpy(entry + RECORD_HEADER, plain, sizeof(plain) - 1);
	struct record r = {
	    .kind = RECORD_TELEMETRY, .json_len = sizeof(plain) - 1, .id_at = 7, .device_at = 39, .device_len = 6};
	record_write(&r, entry);
	assert_int_equal(record_device(out, entry), 6);
	assert_memory_equal(out, "sensor", 6);
	/* the longest that normalise lets pass, every byte an escape of six */
	for (int i = 0; i < DEVICE_MAX; i++)
		memcpy(entry + RECORD_HEADER + 6 * i, "\\u0041", 6);
	r = (struct record){.kind = RECORD_TELEMETRY,
	                    .flags = RECORD_DEVICE_ESCAPED,
	                    .json_len = 6 * DEVICE_MAX,
	                    .device_len = 6 * DEVICE_MAX};
	record_write(&r, entry);
	assert_int_equal(record_device(out, entry), DEVICE_MAX);
	for (int i = 0; i < DEVICE_MAX; i++)
		assert_int_equal(out[i], 'A');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_written_is_read),
	    cmocka_unit_test(the_bytes_are_those_of_the_format),
	    cmocka_unit_test(an_entry_never_reaches_over_its_room),
	    cmocka_unit_test(no_change_of_a_header_leads_outside),
	    cmocka_unit_test(state_needs_neither_id_nor_device),
	    cmocka_unit_test(a_device_is_copied_without_its_escapes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
