"""Item 4: Kafka is unavailable for a while (stopped in order, killed, frozen), or available and unusable: its topic is deleted, records
are too large for it, the password changes, the proxy to it misbehaves, one of three brokers is killed. A round runs one of these
scenarios, in this order, alternately with replay_order oldest_first and live_first."""

import time

from backends import SASL, Cluster, start_backend, wait_unchanged
from scenarios import alternate_replay_order, outages, outlast_outage, proxy_scenario, scenario_of
from proxy import Proxy

NUMBER, TITLE = 4, "Kafka unavailable, refusing, misbehaving"
BOUNDED, SECONDS = 0, 20
NEEDS = ("kafka",)


def topic_deleted(round_):
    """Deleting a topic deletes the records in it. So writes are denied first, all records are copied, and then the topic is deleted while
    records for it keep coming; the operator creates it again some time later."""
    broker, copy = round_.backends.get("kafka"), round_.dir / "topic.ndjson"
    with broker.writes_denied(round_.name):
        round_.wait_reported(f"topic {round_.name} is forbidden")
        wait_unchanged(lambda: broker.end_offsets(round_.name), 1, 60, "the topic does not grow any more")
        broker.copy(round_.name, copy)
        broker.delete_topic(round_.name)
    round_.wait_reported(f"topic {round_.name} does not exist")
    time.sleep(round_.rng.uniform(0, 5))
    with round_.outage("writes denied, topic deleted"):
        broker.create_topic(round_.name)
        round_.wait_caught_up("kafka")
    round_.collect("kafka", lambda: broker.copy(round_.name, copy), copy)


def too_large(round_):
    """The broker lowers its size limit: the larger records become dead letters, the smaller ones are delivered."""
    broker = round_.backends.get("kafka")
    broker.alter_topic(round_.name, max_message_bytes=2500)
    round_.expected_dead_letters["kafka"] = "MSG_SIZE_TOO_LARGE"
    time.sleep(round_.rng.uniform(2, 6))
    with round_.outage("records too large for the broker"):
        broker.alter_topic(round_.name, max_message_bytes=None)
        round_.wait_caught_up("kafka")


def password_changed(round_):
    with round_.backends.get("kafka").changed_password():
        round_.wait_reported("the brokers refuse the login")
        time.sleep(round_.rng.uniform(0, 5))
    with round_.outage("password changed"):
        round_.wait_caught_up("kafka")


def one_of_three_killed(round_):
    node = round_.rng.randrange(1, 4)
    with round_.cluster.one_killed(node):
        with round_.outage(f"broker {node} of 3 killed"):
            round_.wait_caught_up("kafka")  # through the two that are left
        time.sleep(round_.rng.uniform(1, 5))


OUTAGES = outages("kafka")
PROXY_SCENARIOS = [proxy_scenario("kafka", 5, 15, mode) for mode in ("slow", "cut", "garbage")]
SCENARIOS = [*OUTAGES, topic_deleted, too_large, password_changed, *PROXY_SCENARIOS, one_of_three_killed]
FULL = len(SCENARIOS)


def prepare(round_):
    broker, scenario = round_.backends.get("kafka"), scenario_of(SCENARIOS, round_)
    alternate_replay_order(round_, len(SCENARIOS), "kafka")
    if scenario is OUTAGES[0]:
        outlast_outage(round_)
    elif scenario is too_large:
        round_.change_sink("kafka", compression="none")
        round_.load_options += ["--size", "200,200,200,3000"]
    elif scenario is password_changed:
        round_.change_sink("kafka", brokers=f"127.0.0.1:{broker.port + SASL}", security="sasl_plaintext", username="sluice",
                           password="sluice-secret")
    elif scenario in PROXY_SCENARIOS:
        round_.proxy = Proxy("127.0.0.1", broker.proxy_target_port, broker.proxied_port)
        round_.change_sink("kafka", brokers=f"127.0.0.1:{broker.proxied_port}")
    elif scenario is one_of_three_killed:
        round_.cluster = start_backend(Cluster, round_.dir / "cluster")
        round_.cleanup.callback(round_.cluster.stop)
        round_.cluster.create_topic(round_.name, replicas=3)
        round_.change_sink("kafka", brokers=round_.cluster.bootstrap.split(","))
        round_.sources["kafka"] = f"kafka://127.0.0.1:{round_.cluster.port}/{round_.name}"


def inject(round_):
    scenario_of(SCENARIOS, round_)(round_)
