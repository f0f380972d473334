"""After an outage: what is new goes first or last, what gathered comes at its rate, and nothing is lost though it is killed."""

import json
import re
import uuid

import pytest
from conftest import wait_until
from journal_reader import Journal
from services import StrictKafka
from test_verify import Verdict, finish, settled, start, target

RATE = 500


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    running = StrictKafka(tmp_path_factory.mktemp("kafka-strict"))
    yield running
    running.stop()


@pytest.fixture
def topic():
    return f"replay-{uuid.uuid4().hex[:8]}"


def gateway(sluice, kafka, topic, order, **more):
    return sluice({"listeners": {"tcp": {"reply": "count", "device": ["/device"]}},
                   "sinks": {"file": None, "kafka": {
                       "brokers": kafka.bootstrap, "topic": topic, "batch_records": 200, "backoff_max": "300ms",
                       "replay_order": order, "replay_rate": RATE, "replay_after": "100ms"}}} | more)


def metric(gw, name):
    return gw.metrics().sum(f"sluice_sink_{name}", sink="kafka")


def what_is_missing(gw):
    now = gw.metrics()
    left, lag = (now.sum(f"sluice_sink_{name}", sink="kafka") for name in ("replay_left_records", "lag_records"))
    return 0 < left == lag


def send(gw, ledger, count, name):
    finish(start(target(gw, "tcp"), "--count", count, "--ledger", ledger, "--name", name))


def outage(gw, kafka, topic, ledger, count):
    """There is no such topic while count messages are accepted. Returns when the replay has begun."""
    send(gw, ledger, count, "old-{n}")
    wait_until(lambda: metric(gw, "up") == 0, 30, "the outage is noticed")
    wait_until(lambda: metric(gw, "lag_records") == count, 10, "all are in the journal")
    kafka.create_topic(topic, 1)
    gw.wait_log("replays what gathered", 30)


def devices(messages):
    return [json.loads(m.value())["device"]["id"].partition("-")[0] for m in messages]


def complete(gw, kafka, topic, *ledgers):
    verdicts = [Verdict(ledger, f"kafka://{kafka.bootstrap}/{topic}") for ledger in ledgers]
    assert [v.code for v in verdicts] == [0] * len(ledgers), [v.output + v.errors for v in verdicts]
    return verdicts


def test_live_first_over_kill_9(sluice, kafka, topic, tmp_path):
    old, new, later = (tmp_path / name for name in ("old", "new", "later"))
    gw = gateway(sluice, kafka, topic, "live_first")
    outage(gw, kafka, topic, old, 6000)
    send(gw, new, 300, "new-{n}")
    seen = devices(kafka.consume(topic, lambda messages: devices(messages).count("new") == 300, timeout=30))
    assert seen.count("old") < 5000, "the new did not wait for what gathered"
    assert metric(gw, "replay_left_records") > 0
    wait_until(lambda: what_is_missing(gw), 10, "what went ahead is not told as missing")
    begun = metric(gw, "replayed_records_total")
    wait_until(lambda: metric(gw, "replayed_records_total") > begun + RATE, 10, "a second's worth")
    gw.kill()
    gw.start()
    send(gw, later, 100, "later-{n}")
    settled(gw)
    assert metric(gw, "replay_left_records") == 0
    assert gw.stop() == 0
    verdicts = complete(gw, kafka, topic, old, new, later)
    twice = [v.total["twice"] for v in verdicts]
    assert twice[1:] == [0, 0] and twice[0] <= RATE, f"what went ahead is remembered: {twice}"


def test_oldest_first_at_a_rate_keeps_the_order(sluice, kafka, topic, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    gw = gateway(sluice, kafka, topic, "oldest_first")
    outage(gw, kafka, topic, old, 1500)
    send(gw, new, 3000, "new-{n}")
    wait_until(lambda: metric(gw, "replay_left_records") + metric(gw, "replayed_records_total") > 0, 30, "it is replayed")
    seen = devices(kafka.consume(topic, 4500, timeout=60))
    assert seen == ["old"] * 1500 + ["new"] * 3000
    assert metric(gw, "replayed_records_total") <= 1500
    settled(gw)
    assert gw.stop() == 0
    complete(gw, kafka, topic, old, new)


def test_drain_knows_both_places(sluice, kafka, topic, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    gw = gateway(sluice, kafka, topic, "live_first", stop={"drain": "100ms"})
    outage(gw, kafka, topic, old, 3000)
    send(gw, new, 200, "new-{n}")
    wait_until(lambda: metric(gw, "replay_left_records") > 0 and metric(gw, "records_total") > 200, 10, "both go on")
    gw.stop()
    journal = Journal.open(gw.data)
    at, ahead = journal.cursors()["kafka"], journal.ahead()["kafka"]
    assert ahead and at < ahead[0][0] and sum(last - first + 1 for first, last in ahead) >= 200, (at, ahead)
    left = 3200 - at - sum(last - first + 1 for first, last in ahead)
    listed = gw.command("cursor", "list", "--config", gw.config_path)
    assert f"at {at}, {left} records behind" in listed.stdout, listed.stdout
    drained = gw.command("drain", "--config", gw.config_path, timeout=60)
    assert drained.returncode == 0, drained.stderr
    told = [int(n) for n in re.findall(r"drain: (\d+) records", drained.stdout)]
    assert len(told) > 1 and max(told) <= left, (left, drained.stdout)
    verdicts = complete(gw, kafka, topic, old, new)
    assert sum(v.total["twice"] for v in verdicts) <= RATE


def test_a_listener_that_waits_for_delivery_and_live_first_are_refused(sluice):
    gw = sluice({"listeners": {"http": {"ack": "delivered"}}, "sinks": {"file": {"replay_order": "live_first"}}}, start=False)
    told = gw.command("--check", gw.config_path)
    assert told.returncode != 0 and "replay_order live_first" in told.stdout + told.stderr, told
