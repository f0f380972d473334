/* mqtt_clients.c: one owner and one that waits, whatever comes; sessions bounded by number and age; and a storm over
 * four threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocols/mqtt/mqtt_clients.h"
#include "test/unit/fake_intake.c"
#include "test/unit/threads.h"

#define THREADS 4
#define EXPIRY_MS 60000

struct fixture {
	struct mqtt_clients r;
	struct intake *in[THREADS];
	_Atomic unsigned woken[THREADS];
};

static void count_wake(void *n)
{
	atomic_fetch_add((_Atomic unsigned *)n, 1);
}

static void open_registry(struct fixture *f, size_t max_sessions)
{
	memset(f, 0, sizeof *f);
	for (unsigned t = 0; t < THREADS; t++) {
		assert_int_equal(mqtt_clients_open(&f->r, THREADS, max_sessions, EXPIRY_MS), GW_OK);
		f->in[t] = fake_intake_new();
		f->in[t]->manual = true;
		f->in[t]->now_ms = 1000;
	}
	for (unsigned t = 0; t < THREADS; t++)
		mqtt_clients_listen(&f->r, t, count_wake, &f->woken[t]);
}

static void close_registry(struct fixture *f)
{
	for (unsigned t = 0; t < THREADS; t++) {
		mqtt_clients_close(&f->r);
		fake_intake_free(f->in[t]);
	}
}

static struct mqtt_string name(const char *text)
{
	return (struct mqtt_string){text, strlen(text)};
}

static struct mqtt_ids *some_ids(void)
{
	struct mqtt_ids *ids = NULL;
	assert_int_equal(mqtt_ids_add(&ids, 7), GW_OK);
	return ids;
}

static void assert_request(struct fixture *f, unsigned thread, struct mqtt_member *m, unsigned expected)
{
	unsigned requests = 0;
	assert_ptr_equal(mqtt_clients_request(&f->r, thread, &requests), m);
	assert_int_equal(m != NULL ? requests : 0, expected);
}

static size_t clients_known(const struct mqtt_clients *r)
{
	size_t n = 0;
	for (unsigned i = 0; i < MQTT_CLIENT_SHARDS; i++)
		n += r->shards[i].count;
	return n;
}

static void first_claim_owns_and_leaves_nothing_behind(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0};
	open_registry(&f, 100);
	assert_int_equal(mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000), GW_OK);
	assert_int_equal(mqtt_clients_claim(&f.r, &b, 0, name("de"), 1000), GW_OK);
	assert_memory_equal(mqtt_clients_id(&a).text, "dev", 3);
	assert_null(mqtt_clients_session(&f.r, &a));
	assert_int_equal(clients_known(&f.r), 2);
	mqtt_clients_leave(&f.r, &a, NULL, 0, 1000);
	mqtt_clients_leave(&f.r, &b, NULL, 0, 1000);
	mqtt_clients_leave(&f.r, &b, NULL, 0, 1000);
	assert_int_equal(clients_known(&f.r), 0);
	close_registry(&f);
}

static void second_claim_waits_until_the_first_has_left(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0};
	open_registry(&f, 100);
	assert_int_equal(mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000), GW_OK);
	assert_int_equal(mqtt_clients_claim(&f.r, &b, 1, name("dev"), 1000), GW_AGAIN);
	assert_int_equal(f.woken[0], 1);
	assert_int_equal(f.woken[1], 0);
	assert_request(&f, 0, &a, MQTT_REQUEST_CLOSE);
	assert_request(&f, 0, NULL, 0);
	assert_request(&f, 1, NULL, 0);
	mqtt_clients_leave(&f.r, &a, NULL, 0, 1000);
	assert_int_equal(f.woken[1], 1);
	assert_request(&f, 1, &b, MQTT_REQUEST_GRANTED);
	assert_memory_equal(mqtt_clients_id(&b).text, "dev", 3);
	mqtt_clients_leave(&f.r, &b, NULL, 0, 1000);
	close_registry(&f);
}

static void third_claim_takes_the_place_of_the_one_that_waits(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0}, c = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	mqtt_clients_claim(&f.r, &b, 1, name("dev"), 1000);
	assert_int_equal(mqtt_clients_claim(&f.r, &c, 2, name("dev"), 1000), GW_AGAIN);
	assert_request(&f, 1, &b, MQTT_REQUEST_CLOSE);
	mqtt_clients_leave(&f.r, &a, NULL, 0, 1000);
	mqtt_clients_leave(&f.r, &b, NULL, 0,
	                   1000);       /* after the one it waited for, and the client is another's by now */
	assert_request(&f, 0, NULL, 0); /* what was asked of a has gone with it */
	assert_request(&f, 2, &c, MQTT_REQUEST_GRANTED);
	mqtt_clients_leave(&f.r, &c, NULL, 0, 1000);
	assert_int_equal(clients_known(&f.r), 0);
	close_registry(&f);
}

static void displaced_one_may_outlive_its_client(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0}, c = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	mqtt_clients_claim(&f.r, &b, 1, name("dev"), 1000);
	mqtt_clients_claim(&f.r, &c, 2, name("dev"), 1000);
	mqtt_clients_leave(&f.r, &c, NULL, 0, 1000);
	mqtt_clients_leave(&f.r, &a, NULL, 0, 1000);
	assert_int_equal(clients_known(&f.r), 0);
	mqtt_clients_leave(&f.r, &b, NULL, 0, 1000);
	close_registry(&f);
}

static void one_that_owns_already_but_does_not_know_is_asked_both(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0}, c = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	mqtt_clients_claim(&f.r, &b, 1, name("dev"), 1000);
	mqtt_clients_leave(&f.r, &a, some_ids(), 0, 1000);
	mqtt_clients_claim(&f.r, &c, 2, name("dev"), 1000);
	assert_request(&f, 1, &b, MQTT_REQUEST_GRANTED | MQTT_REQUEST_CLOSE);
	mqtt_clients_leave(&f.r, &b, NULL, 0, 1000); /* never asked for its session, and so leaves it to the next */
	assert_request(&f, 2, &c, MQTT_REQUEST_GRANTED);
	struct mqtt_ids *ids = mqtt_clients_session(&f.r, &c);
	assert_true(mqtt_ids_has(ids, 7));
	mqtt_ids_free(ids);
	mqtt_clients_leave(&f.r, &c, NULL, 0, 1000);
	close_registry(&f);
}

static void session_comes_back_once(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	mqtt_clients_leave(&f.r, &a, some_ids(), 0, 1000);
	assert_int_equal(clients_known(&f.r), 1);
	assert_int_equal(mqtt_clients_claim(&f.r, &a, 3, name("dev"), 1000 + EXPIRY_MS - 1), GW_OK);
	struct mqtt_ids *ids = mqtt_clients_session(&f.r, &a);
	assert_true(mqtt_ids_has(ids, 7));
	mqtt_ids_free(ids);
	assert_null(mqtt_clients_session(&f.r, &a));
	mqtt_clients_leave(&f.r, &a, NULL, 0, 1000);
	close_registry(&f);
}

static void session_expires(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	mqtt_clients_leave(&f.r, &a, some_ids(), 0, 1000);
	assert_int_equal(mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000 + EXPIRY_MS), GW_OK); /* not swept yet */
	assert_null(mqtt_clients_session(&f.r, &a));
	mqtt_clients_leave(&f.r, &a, some_ids(), 0, 1000);
	f.in[2]->now_ms = 1000 + EXPIRY_MS;
	mqtt_clients_turn(&f.r, 2, f.in[2]); /* any thread sweeps */
	assert_int_equal(clients_known(&f.r), 0);
	close_registry(&f);
}

static void oldest_sessions_make_room(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member m = {0};
	char id[32];
	size_t given_up = 0;
	open_registry(&f, 64); /* four in each of sixteen shards */
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof id, "dev-%d", i);
		assert_int_equal(mqtt_clients_claim(&f.r, &m, 0, name(id), 1000), GW_OK);
		given_up += mqtt_clients_leave(&f.r, &m, some_ids(), 0, 1000 + i);
	}
	assert_true(clients_known(&f.r) <= 64);
	assert_int_equal(clients_known(&f.r) + given_up, 1000);
	assert_int_equal(mqtt_clients_claim(&f.r, &m, 0, name("dev-999"), 2000), GW_OK); /* the newest is among them */
	mqtt_clients_leave(&f.r, &m, mqtt_clients_session(&f.r, &m), 0, 2000);
	assert_int_equal(clients_known(&f.r) + given_up, 1000);
	close_registry(&f);
}

/* A device that only has a session can be told that it has none; one with open identifiers would be stored twice. */
static void sessions_without_identifiers_make_room_first(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member m = {0};
	char id[32];
	open_registry(&f, 1600);
	for (int i = 0; i < 200; i++) {
		snprintf(id, sizeof id, "open-%d", i);
		assert_int_equal(mqtt_clients_claim(&f.r, &m, 0, name(id), 1000), GW_OK);
		assert_int_equal(mqtt_clients_leave(&f.r, &m, some_ids(), 0, 1000), 0);
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(id, sizeof id, "bare-%d", i);
		assert_int_equal(mqtt_clients_claim(&f.r, &m, 0, name(id), 2000), GW_OK);
		(void)mqtt_clients_leave(&f.r, &m, mqtt_ids_new(), 0, 2000);
	}
	assert_int_equal(clients_known(&f.r), 1600);
	for (int i = 0; i < 200; i++) {
		snprintf(id, sizeof id, "open-%d", i);
		assert_int_equal(mqtt_clients_claim(&f.r, &m, 0, name(id), 3000), GW_OK);
		struct mqtt_ids *ids = mqtt_clients_session(&f.r, &m);
		assert_true(mqtt_ids_has(ids, 7));
		mqtt_clients_leave(&f.r, &m, ids, 0, 3000);
	}
	close_registry(&f);
}

/* A message of the old connection is not settled: another thread must not acknowledge its repetition. */
static void other_thread_waits_for_what_is_not_settled(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	mqtt_clients_leave(&f.r, &a, some_ids(), 500, 1000);
	assert_int_equal(mqtt_clients_claim(&f.r, &b, 1, name("dev"), 1000), GW_AGAIN);
	fake_settle(f.in[0], 499);
	mqtt_clients_turn(&f.r, 0, f.in[0]);
	assert_request(&f, 1, NULL, 0);
	fake_settle(f.in[0], 500);
	mqtt_clients_turn(&f.r, 0, f.in[0]);
	assert_request(&f, 1, &b, MQTT_REQUEST_GRANTED);
	struct mqtt_ids *ids = mqtt_clients_session(&f.r, &b);
	assert_true(mqtt_ids_has(ids, 7));
	mqtt_clients_leave(&f.r, &b, ids, 0, 1000);
	close_registry(&f);
}

/* Nothing but the order of its messages is at stake: kept where there is room. */
static void messages_of_one_client_stay_in_order_over_two_lanes(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0}, c = {0};
	open_registry(&f, 16); /* one a shard */
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	assert_int_equal(mqtt_clients_leave(&f.r, &a, NULL, 500, 1000), 0);
	assert_int_equal(mqtt_clients_claim(&f.r, &b, 1, name("dev"), 1000), GW_AGAIN);
	mqtt_clients_turn(&f.r, 0, f.in[0]);
	assert_int_equal(f.in[0]->watched, 500); /* its thread does not sleep over it */
	fake_settle(f.in[0], 500);
	mqtt_clients_turn(&f.r, 0, f.in[0]);
	assert_request(&f, 1, &b, MQTT_REQUEST_GRANTED);
	assert_int_equal(mqtt_clients_leave(&f.r, &b, some_ids(), 0, 1000), 0); /* a session: now the shard is full */
	mqtt_clients_claim(&f.r, &c, 0, name("dev"), 1000);
	struct mqtt_ids *ids = mqtt_clients_session(&f.r, &c);
	f.r.max_sessions = 0;
	assert_int_equal(mqtt_clients_leave(&f.r, &c, NULL, 600, 1000), 0); /* no room: nothing is given up for it */
	assert_int_equal(clients_known(&f.r), 0);
	mqtt_ids_free(ids);
	close_registry(&f);
}

static void same_thread_need_not_wait_for_what_is_not_settled(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0}, c = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("dev"), 1000);
	mqtt_clients_leave(&f.r, &a, some_ids(), 500, 1000);
	assert_int_equal(mqtt_clients_claim(&f.r, &b, 1, name("dev"), 1000), GW_AGAIN);
	assert_int_equal(mqtt_clients_claim(&f.r, &c, 0, name("dev"), 1000), GW_OK); /* and b gives way */
	assert_request(&f, 1, &b, MQTT_REQUEST_CLOSE);
	mqtt_clients_leave(&f.r, &b, NULL, 0, 1000);
	mqtt_clients_turn(&f.r, 0, f.in[0]);
	mqtt_ids_free(mqtt_clients_session(&f.r, &c));
	mqtt_clients_leave(&f.r, &c, NULL, 0, 1000);
	assert_int_equal(clients_known(&f.r), 0);
	close_registry(&f);
}

static void settled_clients_are_kept_for_their_session(void **state)
{
	(void)state;
	struct fixture f;
	struct mqtt_member a = {0}, b = {0}, c = {0};
	open_registry(&f, 100);
	mqtt_clients_claim(&f.r, &a, 0, name("a"), 1000);
	mqtt_clients_claim(&f.r, &b, 0, name("b"), 1000);
	mqtt_clients_leave(&f.r, &a, some_ids(), 900, 1000);
	mqtt_clients_leave(&f.r, &b, some_ids(), 500, 1000); /* behind a, though its position is before */
	mqtt_clients_claim(&f.r, &c, 1, name("b"), 1000);
	mqtt_clients_leave(&f.r, &c, NULL, 0, 1000); /* gave up waiting */
	fake_settle(f.in[0], 900);
	mqtt_clients_turn(&f.r, 0, f.in[0]);
	assert_int_equal(clients_known(&f.r), 2);
	assert_int_equal(mqtt_clients_claim(&f.r, &c, 1, name("b"), 1000), GW_OK);
	struct mqtt_ids *ids = mqtt_clients_session(&f.r, &c);
	assert_true(mqtt_ids_has(ids, 7));
	mqtt_clients_leave(&f.r, &c, ids, 0, 1000);
	close_registry(&f);
}

static void many_clients_are_found_again(void **state)
{
	(void)state;
	struct fixture f;
	enum { MANY = 5000 };
	struct mqtt_member *m = calloc(MANY, sizeof *m);
	char id[32];
	open_registry(&f, 100);
	for (int i = 0; i < MANY; i++) {
		snprintf(id, sizeof id, "%d", i);
		assert_int_equal(mqtt_clients_claim(&f.r, &m[i], 0, name(id), 1000), GW_OK);
	}
	assert_int_equal(clients_known(&f.r), MANY);
	for (int i = 0; i < MANY; i++) {
		snprintf(id, sizeof id, "%d", i);
		assert_memory_equal(mqtt_clients_id(&m[i]).text, id, strlen(id));
		mqtt_clients_leave(&f.r, &m[i], NULL, 0, 1000);
	}
	assert_int_equal(clients_known(&f.r), 0);
	free(m);
	close_registry(&f);
}

/* -- a storm: each thread opens connections for three identifiers as fast as it can, and does what it is asked -- */

struct storm {
	struct fixture *f;
	unsigned thread;
	_Atomic int *owners;        /* per identifier: never over 1 */
	struct storm_conn **owning; /* per identifier: written by its owner only */
	size_t granted;
};

struct storm_conn {
	struct mqtt_member member; /* first */
	int id;
	bool owner;
};

static void storm_own(struct storm *s, struct storm_conn *c)
{
	c->owner = true;
	s->granted++;
	assert_int_equal(atomic_fetch_add(&s->owners[c->id], 1), 0);
	s->owning[c->id] = c;
	mqtt_ids_free(mqtt_clients_session(&s->f->r, &c->member));
}

static void storm_end(struct storm *s, struct storm_conn *c, unsigned seed)
{
	if (c->owner) {
		s->owning[c->id] = NULL;
		atomic_fetch_sub(&s->owners[c->id], 1);
	}
	mqtt_clients_leave(&s->f->r, &c->member, seed & 1 ? some_ids() : NULL,
	                   seed & 2 ? 1 + s->f->in[s->thread]->position : 0, 1000);
	memset(c, 0xa5, sizeof *c); /* it is gone: who still looks at it is caught */
	free(c);
}

static void storm_requests(struct storm *s, size_t *alive, unsigned seed)
{
	unsigned requests;
	struct mqtt_member *m;
	while ((m = mqtt_clients_request(&s->f->r, s->thread, &requests)) != NULL) {
		struct storm_conn *c = (struct storm_conn *)(void *)m;
		if (requests & MQTT_REQUEST_CLOSE) {
			storm_end(s, c, seed);
			(*alive)--;
		} else {
			storm_own(s, c);
		}
	}
}

static void *storm_run(void *arg)
{
	struct storm *s = arg;
	struct intake *in = s->f->in[s->thread];
	size_t alive = 0;
	unsigned seed = s->thread + 1;
	for (int i = 0; i < 5000; i++) {
		seed = seed * 1664525 + 1013904223;
		struct storm_conn *c = calloc(1, sizeof *c);
		char id[2] = {(char)('a' + (seed >> 20) % 3), 0};
		c->id = id[0] - 'a';
		enum gw_err err = mqtt_clients_claim(&s->f->r, &c->member, s->thread, name(id), 1000);
		assert_true(err == GW_OK || err == GW_AGAIN);
		alive++;
		if (err == GW_OK)
			storm_own(s, c);
		if (err == GW_OK && seed >> 30 == 0) { /* some end by themselves */
			storm_end(s, c, seed >> 8);
			alive--;
		}
		in->position += 10;
		in->settled = in->position - (seed >> 24) % 20;
		mqtt_clients_turn(&s->f->r, s->thread, in);
		storm_requests(s, &alive, seed >> 12);
	}
	in->settled = UINT64_MAX;
	return (void *)alive;
}

static void storm_of_take_overs_leaves_one_owner_at_most(void **state)
{
	(void)state;
	struct fixture f;
	_Atomic int owners[3] = {0, 0, 0};
	struct storm_conn *owning[3] = {NULL, NULL, NULL};
	struct storm storms[THREADS];
	pthread_t threads[THREADS];
	size_t alive[THREADS];
	open_registry(&f, 100);
	for (unsigned t = 0; t < THREADS; t++) {
		storms[t] = (struct storm){&f, t, owners, owning, 0};
		assert_int_equal(pthread_create(&threads[t], NULL, storm_run, &storms[t]), 0);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		void *left;
		pthread_join(threads[t], &left);
		alive[t] = (size_t)left;
	}
	/* The storm is over: what is asked is done until nothing is asked any more, and then each identifier has
	 * exactly one connection at most. */
	for (int round = 0; round < 100; round++) {
		for (unsigned t = 0; t < THREADS; t++) {
			mqtt_clients_turn(&f.r, t, f.in[t]);
			storm_requests(&storms[t], &alive[t], 0);
		}
	}
	size_t left = 0, granted = 0;
	for (unsigned t = 0; t < THREADS; t++) {
		left += alive[t];
		granted += storms[t].granted;
	}
	assert_int_equal(left, owners[0] + owners[1] + owners[2]);
	assert_true(granted > 100);
	for (int i = 0; i < 3; i++) {
		if (owning[i] != NULL)
			storm_end(&storms[owning[i]->member.thread], owning[i], 0);
	}
	for (unsigned t = 0; t < THREADS; t++)
		mqtt_clients_turn(&f.r, t, f.in[t]);
	assert_int_equal(clients_known(&f.r), 0);
	close_registry(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_claim_owns_and_leaves_nothing_behind),
	    cmocka_unit_test(second_claim_waits_until_the_first_has_left),
	    cmocka_unit_test(third_claim_takes_the_place_of_the_one_that_waits),
	    cmocka_unit_test(displaced_one_may_outlive_its_client),
	    cmocka_unit_test(one_that_owns_already_but_does_not_know_is_asked_both),
	    cmocka_unit_test(session_comes_back_once),
	    cmocka_unit_test(session_expires),
	    cmocka_unit_test(oldest_sessions_make_room),
	    cmocka_unit_test(sessions_without_identifiers_make_room_first),
	    cmocka_unit_test(other_thread_waits_for_what_is_not_settled),
	    cmocka_unit_test(messages_of_one_client_stay_in_order_over_two_lanes),
	    cmocka_unit_test(same_thread_need_not_wait_for_what_is_not_settled),
	    cmocka_unit_test(settled_clients_are_kept_for_their_session),
	    cmocka_unit_test(many_clients_are_found_again),
	    cmocka_unit_test(storm_of_take_overs_leaves_one_owner_at_most),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
