/* The intake of one listener thread. The journal beside it is open and not started: the test settles positions itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gateway/base/log.h"
#include "gateway/journal/journal_parts.h"
#include "gateway/listener.h"
#include "gateway/protocol.h"

struct fixture {
	struct journal_settings journal_settings;
	struct journal_stats journal_stats;
	struct journal *journal;
	struct protocol protocol;
	struct listener_settings settings;
	struct listener listener;
	struct intake *in;
};

static void fixture_init(struct fixture *f, int ack)
{
	struct why why = {.text = ""};
	memset(f, 0, sizeof(*f));
	f->journal_settings = (struct journal_settings){
	    .type = JOURNAL_MEMORY, .max_bytes = 64 << 20, .segment = 1 << 20, .block = 64 << 10};
	assert_int_equal(journal_open(&f->journal, &f->journal_settings, NULL, "/", &f->journal_stats, &why), GW_OK);
	f->protocol = (struct protocol){.name = "tcp", .size = 8};
	f->settings = (struct listener_settings){
	    .ack = ack, .ack_timeout = 50000, .max_depth = 10, .max_payload = 4096, .lane = 65536, .threads = 1};
	f->listener = (struct listener){.name = "line", .protocol = &f->protocol, .settings = &f->settings};
	pthread_mutex_init(&f->listener.lock, NULL);
	f->in = aligned_alloc(64, (sizeof(*f->in) + 63) & ~(size_t)63);
	assert_int_equal(
	    intake_init(f->in, &f->listener, f->journal, &(struct intake_plan){.number = 5, .start = 0x1234}, &why),
	    GW_OK);
	intake_turn(f->in);
}

static void fixture_fini(struct fixture *f)
{
	intake_fini(f->in);
	free(f->in);
	free(f->listener.shared);
	pthread_mutex_destroy(&f->listener.lock);
	journal_close(f->journal);
}

static enum gw_err offer(struct fixture *f, const char *payload, uint64_t *position)
{
	struct refusal refusal;
	struct message m = {
	    .device = "d1", .device_len = 2, .payload = payload, .payload_len = strlen(payload), .qos = -1};
	return intake_put(f->in, &m, position, &refusal);
}

static uint64_t put(struct fixture *f)
{
	uint64_t position = 0;
	assert_int_equal(offer(f, "{\"a\":1}", &position), GW_OK);
	return position;
}

/* What the journal's thread does with all that was published. */
static void take_all(struct fixture *f)
{
	const uint8_t *run;
	size_t len;
	while ((len = lane_peek(&f->in->lane, &run)) > 0) {
		size_t at = 0;
		while (at < len && record_kind(run + at) != RECORD_PAD)
			at += record_size(run + at);
		lane_advance(&f->in->lane, at);
	}
	lane_release(&f->in->lane);
}

static bool woken(struct fixture *f)
{
	struct pollfd p = {.fd = intake_fd(f->in), .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

static void answers_come_in_order_when_their_position_is_durable(void **unused)
{
	(void)unused;
	struct fixture f;
	struct answer a;
	uint64_t positions[5];
	fixture_init(&f, ACK_DURABLE);
	for (uint64_t i = 0; i < 5; i++) {
		positions[i] = put(&f);
		assert_int_equal(intake_await(f.in, positions[i], ANSWER_ACKNOWLEDGEMENT, &f, 100 + i), GW_OK);
		assert_int_equal(intake_position(f.in), positions[i]);
	}
	assert_int_equal(intake_waiting(f.in), 5);
	intake_flush(f.in);
	assert_false(intake_answer(f.in, &a));
	lane_settle_durable(&f.in->lane, positions[2] - 8); /* not wholly */
	assert_true(intake_answer(f.in, &a));
	assert_int_equal(a.what, 100);
	assert_true(intake_answer(f.in, &a));
	assert_int_equal(a.what, 101);
	assert_ptr_equal(a.who, &f);
	assert_false(a.late);
	assert_false(intake_answer(f.in, &a));
	assert_true(intake_settled(f.in, positions[1]));
	assert_false(intake_settled(f.in, positions[2]));
	lane_settle_durable(&f.in->lane, positions[4]);
	for (uint64_t i = 2; i < 5; i++) {
		assert_true(intake_answer(f.in, &a));
		assert_int_equal(a.what, 100 + i);
	}
	assert_false(intake_answer(f.in, &a));
	assert_int_equal(intake_waiting(f.in), 0);
	assert_int_equal(stat_get(&f.in->stats.acknowledged), 5);
	fixture_fini(&f);
}

static void only_acknowledgements_are_counted_and_measured(void **unused)
{
	(void)unused;
	struct fixture f;
	struct answer a;
	fixture_init(&f, ACK_DURABLE);
	static const enum answer_kind kinds[] = {ANSWER_REFUSAL, ANSWER_ACKNOWLEDGEMENT, ANSWER_RELEASE};
	uint64_t position = put(&f);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(intake_await(f.in, position, kinds[i], NULL, i), GW_OK);
	intake_flush(f.in);
	lane_settle_durable(&f.in->lane, position);
	for (size_t i = 0; i < 3; i++) {
		assert_true(intake_answer(f.in, &a));
		assert_int_equal(a.what, i);
		assert_int_equal(a.kind, kinds[i]);
	}
	assert_int_equal(stat_get(&f.in->stats.acknowledged), 1);
	uint64_t measured = 0;
	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
		measured += stat_get(&f.in->stats.ack.bucket[i]);
	assert_int_equal(measured, 1);
	fixture_fini(&f);
}

static void a_note_waits_for_the_disk_and_for_no_sink(void **unused)
{
	(void)unused;
	struct fixture f;
	struct answer a;
	fixture_init(&f, ACK_DELIVERED);
	uint64_t position = put(&f);
	assert_int_equal(intake_await(f.in, position, ANSWER_ACKNOWLEDGEMENT, NULL, 1), GW_OK);
	assert_int_equal(intake_await_note(f.in, position, &f, 2), GW_OK);
	assert_int_equal(intake_waiting(f.in), 2);
	intake_flush(f.in);
	assert_false(intake_answer(f.in, &a));
	lane_settle_durable(&f.in->lane, position);
	assert_int_equal(intake_sleep(f.in, -1), 0);
	assert_true(intake_answer(f.in, &a));
	assert_int_equal(a.what, 2);
	assert_ptr_equal(a.who, &f);
	assert_false(a.late);
	assert_false(intake_answer(f.in, &a));
	assert_int_equal(stat_get(&f.in->stats.acknowledged), 0);
	lane_settle_delivered(&f.in->lane, position);
	assert_true(intake_answer(f.in, &a));
	assert_int_equal(a.what, 1);
	fixture_fini(&f);
	fixture_init(&f, ACK_ACCEPTED);
	position = put(&f);
	assert_int_equal(intake_await_note(f.in, position, NULL, 3), GW_OK);
	assert_false(intake_answer(f.in, &a));
	intake_flush(f.in);
	assert_true(intake_answer(f.in, &a));
	fixture_fini(&f);
}

static void each_level_waits_for_its_own_position(void **unused)
{
	(void)unused;
	for (int ack = ACK_ACCEPTED; ack <= ACK_DELIVERED; ack++) {
		struct fixture f;
		struct answer a;
		fixture_init(&f, ack);
		uint64_t position = put(&f);
		assert_int_equal(intake_await(f.in, position, ANSWER_ACKNOWLEDGEMENT, NULL, 0), GW_OK);
		assert_false(intake_answer(f.in, &a)); /* not even published */
		intake_flush(f.in);
		if (ack > ACK_ACCEPTED)
			assert_false(intake_answer(f.in, &a));
		lane_settle_durable(&f.in->lane, ack >= ACK_DURABLE ? position : 0);
		if (ack > ACK_DURABLE)
			assert_false(intake_answer(f.in, &a));
		lane_settle_delivered(&f.in->lane, ack >= ACK_DELIVERED ? position : 0);
		assert_true(intake_answer(f.in, &a));
		fixture_fini(&f);
	}
}

static void the_queue_of_answers_grows_and_wraps(void **unused)
{
	(void)unused;
	struct fixture f;
	struct answer a;
	uint64_t in = 0, out = 0;
	unsigned random = 1;
	fixture_init(&f, ACK_DURABLE);
	while (out < 20000) {
		for (unsigned n = (unsigned)rand_r(&random) % 200; n > 0; n--, in++)
			assert_int_equal(intake_await(f.in, in / 3, ANSWER_ACKNOWLEDGEMENT, NULL, in),
			                 GW_OK); /* several may have one position */
		lane_settle_durable(&f.in->lane, out / 3 + (uint64_t)(rand_r(&random) % 60));
		f.in->settled = 0;
		while (intake_answer(f.in, &a)) {
			assert_int_equal(a.what, out);
			out++;
		}
		assert_int_equal(intake_waiting(f.in), in - out);
	}
	fixture_fini(&f);
}

static void late_answers_are_given_only_to_those_who_ask(void **unused)
{
	(void)unused;
	struct fixture f;
	struct answer a;
	fixture_init(&f, ACK_DELIVERED);
	uint64_t first = put(&f), second;
	intake_await(f.in, first, ANSWER_ACKNOWLEDGEMENT, NULL, 1);
	intake_flush(f.in);
	f.in->now_us += 60000; /* ack_timeout is 50 ms */
	assert_false(intake_answer(f.in, &a));
	intake_late(f.in, true);
	second = put(&f);
	intake_await(f.in, second, ANSWER_ACKNOWLEDGEMENT, NULL, 2);
	lane_settle_durable(&f.in->lane, first);
	assert_true(intake_answer(f.in, &a));
	assert_true(a.late && a.durable);
	assert_int_equal(a.what, 1);
	assert_false(intake_answer(f.in, &a)); /* the second has time left */
	f.in->now_us += 60000;
	assert_true(intake_answer(f.in, &a));
	assert_true(a.late && !a.durable);
	assert_int_equal(stat_get(&f.in->stats.late), 2);
	assert_int_equal(stat_get(&f.in->stats.acknowledged), 0);
	fixture_fini(&f);
}

static void it_does_not_sleep_over_what_is_due(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f, ACK_DURABLE);
	assert_int_equal(intake_sleep(f.in, -1), 1000);
	assert_int_equal(intake_sleep(f.in, 5000), 1000);
	assert_int_equal(intake_sleep(f.in, 7), 7);
	assert_int_equal(intake_sleep(f.in, 0), 0);
	uint64_t position = put(&f);
	intake_await(f.in, position, ANSWER_ACKNOWLEDGEMENT, NULL, 0);
	assert_int_equal(intake_sleep(f.in, -1), 1000); /* publishes, too */
	assert_true(lane_has(&f.in->lane));
	lane_settle_durable(&f.in->lane, position);
	assert_int_equal(intake_sleep(f.in, -1), 0);
	lane_wake(&f.in->lane, position);
	assert_true(woken(&f));
	intake_turn(f.in);
	assert_false(woken(&f));
	fixture_fini(&f);
}

static void it_does_not_sleep_over_what_is_watched(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f, ACK_DURABLE);
	uint64_t position = put(&f);
	intake_watch(f.in, position);
	assert_int_equal(intake_sleep(f.in, -1), 1000);
	lane_settle_durable(&f.in->lane, position); /* nobody was told: it does not sleep yet */
	assert_int_equal(intake_sleep(f.in, -1), 0);
	intake_turn(f.in);
	assert_int_equal(intake_sleep(f.in, -1), 1000);
	fixture_fini(&f);
}

static void a_full_lane_holds_back_and_wakes_when_there_is_room(void **unused)
{
	(void)unused;
	struct fixture f;
	uint64_t position, kept = 0;
	fixture_init(&f, ACK_DURABLE);
	enum gw_err err;
	while ((err = offer(&f, "{\"a\":1}", &position)) == GW_OK)
		kept = position;
	assert_int_equal(err, GW_FULL);
	assert_int_equal(intake_position(f.in), kept);
	assert_int_equal(stat_get(&f.in->stats.received),
	                 stat_get(&f.in->stats.accepted)); /* a refusal for now is not counted */
	assert_int_equal(intake_sleep(f.in, -1), 1000);
	take_all(&f);
	assert_int_equal(intake_sleep(f.in, -1), 0); /* there is room: do not sleep */
	intake_turn(f.in);
	assert_int_equal(intake_sleep(f.in, -1), 1000); /* nobody starves any more */
	assert_int_equal(offer(&f, "{\"a\":1}", &position), GW_OK);
	assert_true(position > kept);
	fixture_fini(&f);
}

static void a_full_journal_takes_nothing_until_it_has_room(void **unused)
{
	(void)unused;
	struct fixture f;
	uint64_t position;
	fixture_init(&f, ACK_DURABLE);
	atomic_store(&f.journal->full, true);
	assert_true(intake_full(f.in));
	assert_int_equal(intake_retry_after(f.in), 10);
	assert_int_equal(offer(&f, "{}", &position), GW_FULL);
	assert_int_equal(intake_position(f.in), 0);
	assert_int_equal(intake_sleep(f.in, -1), 1000);
	atomic_store(&f.journal->full, false);
	assert_int_equal(intake_sleep(f.in, -1), 0);
	intake_turn(f.in);
	assert_int_equal(intake_retry_after(f.in), 1);
	assert_int_equal(offer(&f, "{}", &position), GW_OK);
	fixture_fini(&f);
}

static void who_promises_nothing_yields_when_it_is_nearly_full(void **unused)
{
	(void)unused;
	for (int yields = 0; yields < 2; yields++) {
		struct fixture f;
		uint64_t position;
		fixture_init(&f, ACK_ACCEPTED);
		f.listener.yields = yields;
		atomic_store(&f.journal->nearly_full, true);
		assert_int_equal(intake_full(f.in), yields);
		assert_int_equal(offer(&f, "{}", &position), yields ? GW_FULL : GW_OK);
		assert_int_equal(intake_retry_after(f.in), yields ? 10 : 1);
		assert_int_equal(intake_sleep(f.in, 700), 700);
		atomic_store(&f.journal->nearly_full, false);
		assert_int_equal(intake_sleep(f.in, 700), yields ? 0 : 700);
		assert_int_equal(offer(&f, "{}", &position), GW_OK);
		fixture_fini(&f);
	}
}

static void the_lane_knows_what_may_be_dropped(void **unused)
{
	(void)unused;
	struct fixture f;
	struct why why = {.text = ""};
	fixture_init(&f, ACK_ACCEPTED);
	assert_false(f.in->lane.may_drop);
	intake_fini(f.in);
	f.settings.when_full = WHEN_FULL_DROP_OLDEST;
	assert_int_equal(
	    intake_init(f.in, &f.listener, f.journal, &(struct intake_plan){.number = 5, .start = 0x1234}, &why),
	    GW_OK);
	assert_true(f.in->lane.may_drop);
	fixture_fini(&f);
}

static void what_is_refused_is_counted_by_its_reason(void **unused)
{
	(void)unused;
	struct fixture f;
	uint64_t position = 77;
	struct refusal refusal;
	fixture_init(&f, ACK_DURABLE);
	struct message m = {
	    .payload = "{", .payload_len = 1, .kind = PAYLOAD_JSON, .device = "d", .device_len = 1, .qos = -1};
	assert_int_equal(intake_put(f.in, &m, &position, &refusal), GW_INVALID);
	assert_int_equal(refusal.reason, REFUSED_PAYLOAD);
	m.payload = "1";
	m.device = NULL;
	assert_int_equal(intake_put(f.in, &m, &position, &refusal), GW_INVALID);
	assert_int_equal(refusal.reason, REFUSED_NO_DEVICE);
	static char large[5000];
	m.payload = large;
	m.payload_len = sizeof(large);
	assert_int_equal(intake_put(f.in, &m, &position, &refusal), GW_TOOBIG);
	assert_int_equal(refusal.reason, REFUSED_TOO_LARGE);
	intake_refuse(f.in, REFUSED_CONNECTIONS);
	assert_int_equal(position, 77);
	assert_int_equal(intake_position(f.in), 0);
	assert_int_equal(stat_get(&f.in->stats.received), 3);
	assert_int_equal(stat_get(&f.in->stats.received_bytes), 5002);
	assert_int_equal(stat_get(&f.in->stats.refused[REFUSED_PAYLOAD]), 1);
	assert_int_equal(stat_get(&f.in->stats.refused[REFUSED_NO_DEVICE]), 1);
	assert_int_equal(stat_get(&f.in->stats.refused[REFUSED_TOO_LARGE]), 1);
	assert_int_equal(stat_get(&f.in->stats.refused[REFUSED_CONNECTIONS]), 1);
	fixture_fini(&f);
}

static void what_was_meant_to_be_json_is_counted_by_its_fault(void **unused)
{
	(void)unused;
	struct fixture f;
	uint64_t position;
	struct refusal refusal;
	fixture_init(&f, ACK_DURABLE);
	struct message m = {.device = "d", .device_len = 1, .qos = -1};
	static const char *const payloads[] = {"{\"t\":nan}", "{\"t\":1,}", "{\"t\":nan}", "hello"};
	for (int i = 0; i < 4; i++) {
		m.payload = payloads[i];
		m.payload_len = strlen(payloads[i]);
		assert_int_equal(intake_put(f.in, &m, &position, &refusal), GW_OK);
	}
	assert_int_equal(stat_get(&f.in->stats.accepted), 4);
	assert_int_equal(stat_get(&f.in->stats.not_json[JSON_FAULT_NOT_A_NUMBER]), 2);
	assert_int_equal(stat_get(&f.in->stats.not_json[JSON_FAULT_SYNTAX]), 1);
	fixture_fini(&f);
}

static void a_record_lies_in_the_lane_with_the_id_that_was_told(void **unused)
{
	(void)unused;
	struct fixture f;
	const uint8_t *run;
	fixture_init(&f, ACK_DURABLE);
	put(&f);
	intake_flush(f.in);
	size_t len = lane_peek(&f.in->lane, &run);
	assert_true(record_check(run, len));
	assert_int_equal(record_size(run), len);
	assert_memory_equal(record_id(run), intake_last_id(f.in), RECORD_ID_LEN);
	fixture_fini(&f);
}

static void phases_and_shared_memory_reach_the_thread(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f, ACK_DURABLE);
	assert_int_equal(intake_phase(f.in), INTAKE_RUN);
	assert_false(woken(&f));
	intake_set_phase(f.in, INTAKE_DRAIN);
	assert_true(woken(&f));
	assert_int_equal(intake_phase(f.in), INTAKE_DRAIN);
	char *shared = intake_shared(f.in, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(shared[i], 0);
	assert_ptr_equal(intake_shared(f.in, 100), shared);
	intake_listening(f.in, "127.0.0.1:5170");
	assert_string_equal(f.listener.address, "127.0.0.1:5170");
	assert_string_equal(intake_name(f.in), "line");
	fixture_fini(&f);
}

static void a_bad_pointer_is_told_with_the_listeners_name(void **unused)
{
	(void)unused;
	struct fixture f;
	struct why why = {.text = ""};
	fixture_init(&f, ACK_DURABLE);
	char pointer[] = "ts";
	struct listener_settings bad = f.settings;
	bad.time.pointer = pointer;
	struct listener listener = {.name = "odd", .protocol = &f.protocol, .settings = &bad};
	struct intake *in = aligned_alloc(64, (sizeof(*in) + 63) & ~(size_t)63);
	assert_int_equal(intake_init(in, &listener, f.journal, &(struct intake_plan){0}, &why), GW_CONFIG);
	assert_non_null(strstr(why.text, "listeners.odd: time.pointer"));
	intake_fini(in); /* after a half-done init */
	free(in);
	fixture_fini(&f);
}

static void write_dead_letters(const char *data, const char *text)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/dead", data);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/dead/intake.ndjson", data);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static enum gw_err offer_invalid(struct fixture *f, struct refusal *refusal)
{
	uint64_t position;
	struct message m = {
	    .device = "d1", .device_len = 2, .payload = "{]", .payload_len = 2, .kind = PAYLOAD_JSON, .qos = -1};
	return intake_put(f->in, &m, &position, refusal);
}

static void invalid_messages_are_kept_only_as_long_as_their_file_may_grow(void **unused)
{
	(void)unused;
	struct fixture f;
	struct refusal refusal;
	char data[] = "/tmp/sluice-intake-XXXXXX", command[100];
	assert_non_null(mkdtemp(data));
	fixture_init(&f, ACK_DURABLE);
	f.listener.data = data;
	f.settings.on_invalid = INVALID_DEAD_LETTER;
	f.settings.max_dead_letters = 400;
	for (unsigned i = 0; i < 3; i++) /* before the file has them: counted here */
		assert_int_equal(offer_invalid(&f, &refusal), i < 2 ? GW_OK : GW_INVALID);
	write_dead_letters(data, "as if purged\n");
	f.in->now_us += 1000000;
	assert_int_equal(offer_invalid(&f, &refusal), GW_OK);
	char many[701] = "";
	memset(many, 'x', 700);
	write_dead_letters(data, many);
	f.in->now_us += 1000000;
	assert_int_equal(offer_invalid(&f, &refusal), GW_INVALID);
	assert_int_equal(refusal.reason, REFUSED_DEAD);
	assert_int_equal(refusal.offset, 1);
	assert_non_null(refusal.text);
	assert_int_equal(stat_get(&f.in->stats.refused[REFUSED_DEAD]), 2);
	assert_int_equal(stat_get(&f.in->stats.dead), 3);
	put(&f); /* valid ones go on */
	fixture_fini(&f);
	snprintf(command, sizeof(command), "rm -r %s", data);
	assert_int_equal(system(command), 0);
}

static void the_journal_sees_what_somebody_waits_for(void **unused)
{
	(void)unused;
	struct fixture f;
	for (int ack = ACK_ACCEPTED; ack <= ACK_DELIVERED; ack++) {
		fixture_init(&f, ack);
		uint64_t position = put(&f);
		intake_flush(f.in);
		assert_false(lane_is_awaited(&f.in->lane));
		intake_await(f.in, position, ANSWER_ACKNOWLEDGEMENT, NULL, 0);
		intake_flush(f.in); /* published already: nobody waited for it then */
		assert_int_equal(lane_is_awaited(&f.in->lane), ack != ACK_ACCEPTED);
		fixture_fini(&f);
	}
	fixture_init(&f, ACK_DURABLE);
	intake_watch(f.in, put(&f));
	intake_flush(f.in);
	assert_true(lane_is_awaited(&f.in->lane));
	fixture_fini(&f);
}

static void it_is_woken_by_its_own_answers_alone(void **unused)
{
	(void)unused;
	struct fixture f;
	fixture_init(&f, ACK_DURABLE);
	put(&f);
	intake_sleep(f.in, -1);
	lane_wake(&f.in->lane, intake_position(f.in));
	assert_false(woken(&f)); /* nobody waits */
	intake_turn(f.in);
	uint64_t position = put(&f);
	intake_await(f.in, position, ANSWER_ACKNOWLEDGEMENT, NULL, 0);
	intake_sleep(f.in, -1);
	lane_wake(&f.in->lane, position - 8);
	assert_false(woken(&f));
	lane_wake(&f.in->lane, position);
	assert_true(woken(&f));
	fixture_fini(&f);
}

static void who_finds_no_room_does_not_wait_for_a_delayed_commit(void **unused)
{
	(void)unused;
	struct fixture f;
	uint64_t position;
	fixture_init(&f, ACK_DURABLE);
	while (offer(&f, "{\"a\":1}", &position) == GW_OK)
		;
	assert_false(atomic_load(&f.in->lane.cramped));
	assert_int_equal(intake_sleep(f.in, -1), 1000);
	assert_true(lane_is_crowded(&f.in->lane));
	assert_true(atomic_load(&f.in->lane.cramped));
	take_all(&f);
	assert_false(atomic_load(&f.in->lane.cramped));
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(answers_come_in_order_when_their_position_is_durable),
	    cmocka_unit_test(each_level_waits_for_its_own_position),
	    cmocka_unit_test(the_queue_of_answers_grows_and_wraps),
	    cmocka_unit_test(only_acknowledgements_are_counted_and_measured),
	    cmocka_unit_test(a_note_waits_for_the_disk_and_for_no_sink),
	    cmocka_unit_test(late_answers_are_given_only_to_those_who_ask),
	    cmocka_unit_test(it_does_not_sleep_over_what_is_due),
	    cmocka_unit_test(it_does_not_sleep_over_what_is_watched),
	    cmocka_unit_test(the_journal_sees_what_somebody_waits_for),
	    cmocka_unit_test(it_is_woken_by_its_own_answers_alone),
	    cmocka_unit_test(who_finds_no_room_does_not_wait_for_a_delayed_commit),
	    cmocka_unit_test(a_full_lane_holds_back_and_wakes_when_there_is_room),
	    cmocka_unit_test(a_full_journal_takes_nothing_until_it_has_room),
	    cmocka_unit_test(who_promises_nothing_yields_when_it_is_nearly_full),
	    cmocka_unit_test(the_lane_knows_what_may_be_dropped),
	    cmocka_unit_test(what_is_refused_is_counted_by_its_reason),
	    cmocka_unit_test(what_was_meant_to_be_json_is_counted_by_its_fault),
	    cmocka_unit_test(a_record_lies_in_the_lane_with_the_id_that_was_told),
	    cmocka_unit_test(phases_and_shared_memory_reach_the_thread),
	    cmocka_unit_test(a_bad_pointer_is_told_with_the_listeners_name),
	    cmocka_unit_test(invalid_messages_are_kept_only_as_long_as_their_file_may_grow),
	};
	log_init(LOG_NONE, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
