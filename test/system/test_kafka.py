"""The Kafka sink against a real broker: what arrives, where, and what happens when the broker says no, or nothing."""

import json
import os
import random
import string
import subprocess
import time

import pytest
from conftest import wait_until
from harness import ROOT, SLOWNESS, send_lines, tcp_config
from services import SERVICES, StrictKafka

pytestmark = pytest.mark.timeout(240)


class PlainKafka(StrictKafka):
    """For tests of absent topics; these tests kill it, so no others use it."""

    def tool(self, name, *args, **kwargs):
        return subprocess.run([str(SERVICES / "kafka.sh"), "tool", f"org.apache.kafka.tools.{name}", "--bootstrap-server",
                               self.bootstrap, *args], text=True, capture_output=True, timeout=120, **kwargs)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = PlainKafka(tmp_path_factory.mktemp("kafka-plain"))
    yield running
    running.stop()


@pytest.fixture
def topic(broker, request):
    """The name of a fresh topic with 3 partitions."""
    return broker.create_topic(request.node.name.replace("[", "-").replace("]", "").replace("_", "-")[:200])


@pytest.fixture
def gateway(sluice, broker):
    """A factory: a gateway with a TCP listener whose answers come when a line is safe, and a Kafka sink."""
    def make(topic, listener=None, bootstrap=None, file=False, **settings):
        kafka = {"type": "kafka", "brokers": bootstrap or broker.bootstrap, "topic": topic, "backoff_min": "50ms",
                 "backoff_max": "500ms", **settings}
        return sluice(tcp_config({"kafka": kafka}, listener, file), defaults=False)
    return make


def numbered(count, start=0, devices=10):
    return [{"device": f"d-{n % devices}", "n": n} for n in range(start, start + count)]


def value(message):
    return json.loads(message.value())


def numbers(messages):
    return sorted({value(m)["payload"]["n"] for m in messages})


def covers(count):
    return lambda messages: len(set(numbers(messages))) >= count


def sink_line(gw):
    return gw.admin_get("/readyz?verbose")[1]


# ---- what arrives ----------------------------------------------------------------------------------------------------


def test_record_arrives_with_key_id_and_timestamp(gateway, broker, topic):
    gw = gateway(topic, file=True)
    send_lines(gw, numbered(100))
    messages = broker.consume(topic, 100)
    assert len(messages) == 100
    filed = {r["event"]["id"]: r for r in gw.wait_records(100)}
    for message in messages:
        record = value(message)
        assert message.key().decode() == record["device"]["id"] == record["payload"]["device"]
        assert message.headers() == [("sluice-id", record["event"]["id"].encode())]
        assert record == filed[record["event"]["id"]]
        kind, ms = message.timestamp()
        assert kind == 1  # the producer's
        assert abs(ms / 1000 - time.time()) < 120
        assert record["@timestamp"][20:23] == f"{ms % 1000:03d}"
    assert gw.metrics().sum("sluice_sink_up", sink="kafka") == 1


def test_records_of_a_device_stay_in_order(gateway, broker, topic):
    gw = gateway(topic, batch_records=100)
    send_lines(gw, numbered(5000))
    seen = {}
    for message in broker.consume(topic, 5000):
        n = value(message)["payload"]["n"]
        last = seen.setdefault((message.partition(), message.key()), -1)
        assert n > last
        seen[(message.partition(), message.key())] = n
    assert len(seen) == 10  # each device in one partition


def test_event_time_is_the_timestamp(gateway, broker, topic):
    gw = gateway(topic, listener={"time": {"pointer": "/ts", "format": "unix_ms"}})
    event = int(time.time() * 1000) - 3_600_000
    send_lines(gw, [{"device": "d", "ts": event}])
    assert broker.consume(topic, 1)[0].timestamp() == (1, event)


def test_time_of_receipt_is_the_timestamp_on_request(gateway, broker, topic):
    gw = gateway(topic, listener={"time": {"pointer": "/ts", "format": "unix_ms"}}, timestamp="received")
    send_lines(gw, [{"device": "d", "ts": int(time.time() * 1000) - 3_600_000}])
    assert abs(broker.consume(topic, 1)[0].timestamp()[1] / 1000 - time.time()) < 120


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compression(gateway, broker, topic, compression):
    gw = gateway(topic, compression=compression)
    send_lines(gw, numbered(500))
    assert numbers(broker.consume(topic, 500)) == list(range(500))


def test_cloudevents_headers(gateway, broker, topic):
    gw = gateway(topic, headers="cloudevents", cloudevents_source="/plant/7")
    send_lines(gw, [{"device": "d-1"}])
    message = broker.consume(topic, 1)[0]
    record = value(message)
    assert {k: v.decode() for k, v in message.headers()} == {
        "ce_specversion": "1.0", "ce_id": record["event"]["id"], "ce_source": "/plant/7", "ce_type": "sluice.telemetry",
        "ce_subject": "d-1", "ce_time": record["@timestamp"], "content-type": "application/json"}


def test_no_headers(gateway, broker, topic):
    gw = gateway(topic, headers="none")
    send_lines(gw, [{"device": "d-1"}])
    assert broker.consume(topic, 1)[0].headers() is None


def test_placement_is_that_of_javas_producer(gateway, broker, topic):
    """The same keys through Kafka's own console producer land in the same partitions."""
    java = broker.create_topic(topic + "-java")
    keys = [f"sensor-{n}" for n in range(60)] + ["a", "ü", "温度", "with space", "10.0.0.1", "x" * 200]
    done = broker.tool("ConsoleProducer", "--topic", java, "--reader-property", "parse.key=true", "--reader-property",
                       "key.separator=|", input="".join(f"{k}|v\n" for k in keys))
    assert done.returncode == 0, done.stderr
    send_lines(gateway(topic), [{"device": k} for k in keys])
    theirs = {m.key().decode(): m.partition() for m in broker.consume(java, len(keys))}
    ours = {m.key().decode(): m.partition() for m in broker.consume(topic, len(keys))}
    assert ours == theirs
    assert set(ours.values()) == {0, 1, 2}


# ---- topics from templates -------------------------------------------------------------------------------------------


def test_topic_from_fields_is_escaped(gateway, broker, topic):
    for name in ("a_2fb", "A", "x_5f_2e", "none"):
        broker.create_topic(f"{topic}.{name}")
    gw = gateway(topic + ".{payload.site|none}", fallback_topic=topic)
    send_lines(gw, [{"device": "d", "site": "a/b"}, {"device": "d", "site": "A"}, {"device": "d", "site": "x_."}, {"device": "d"}])
    for name, site in (("a_2fb", "a/b"), ("A", "A"), ("x_5f_2e", "x_."), ("none", None)):
        assert value(broker.consume(f"{topic}.{name}", 1)[0])["payload"].get("site") == site


def test_topic_from_time(gateway, broker, topic):
    gw = gateway(topic + ".{yyyy.MM}", listener={"time": {"pointer": "/ts"}, "time_past": "8000d"})
    broker.create_topic(topic + ".2024.02")
    send_lines(gw, [{"device": "d", "ts": "2024-02-29T23:59:59Z"}])
    assert len(broker.consume(topic + ".2024.02", 1)) == 1


def test_topics_beyond_max_targets_go_to_the_fallback(gateway, broker, topic):
    for n in range(6):
        broker.create_topic(f"{topic}.d-{n}", partitions=1)
    gw = gateway(topic + ".{device.id}", fallback_topic=topic, max_targets=4)
    send_lines(gw, numbered(60, devices=6))
    assert len(broker.consume(topic, 20)) == 20
    own = sum(len(broker.consume(f"{topic}.d-{n}", 10)) for n in range(4))
    assert own == 40
    assert gw.metrics().sum("sluice_sink_limited_total", sink="kafka") >= 20


def test_topic_of_a_template_that_is_missing_goes_to_the_fallback(gateway, broker, topic):
    broker.create_topic(topic + ".d-0")
    gw = gateway(topic + ".{device.id}", fallback_topic=topic)
    send_lines(gw, numbered(20, devices=2))
    assert numbers(broker.consume(topic + ".d-0", 10)) == list(range(0, 20, 2))
    assert numbers(broker.consume(topic, 10)) == list(range(1, 20, 2))
    gw.wait_log("its records go to the fallback topic")


# ---- when the broker says no -----------------------------------------------------------------------------------------


def dead_letters(gw):
    path = gw.data / "dead" / "kafka.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_record_too_large_is_a_dead_letter_and_the_others_go_on(gateway, broker, request):
    topic = broker.create_topic("too-large", max_message_bytes=5000)
    noise = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=20000))
    gw = gateway(topic)
    payloads = numbered(1000)
    payloads[500]["noise"] = noise
    send_lines(gw, payloads)
    rest = [n for n in range(1000) if n != 500]
    assert numbers(broker.consume(topic, covers(999))) == rest
    wait_until(lambda: len(dead_letters(gw)) == 1, what="a dead letter")
    letter = dead_letters(gw)[0]
    assert letter["record"]["payload"]["n"] == 500
    assert "MSG_SIZE_TOO_LARGE" in letter["reason"]
    send_lines(gw, numbered(500, 1000))
    assert numbers(broker.consume(topic, covers(1499)))[-1] == 1499
    assert gw.metrics().sum("sluice_sink_dead_records_total", sink="kafka") == 1


def test_timestamp_that_the_broker_refuses_is_a_dead_letter_and_the_others_go_on(gateway, broker):
    topic = broker.create_topic("future", message_timestamp_after_max_ms=60000)
    gw = gateway(topic, listener={"time": {"pointer": "/ts", "format": "unix"}})
    payloads = numbered(200)
    payloads[50]["ts"] = int(time.time()) + 3000
    send_lines(gw, payloads)
    assert numbers(broker.consume(topic, covers(199))) == [n for n in range(200) if n != 50]
    wait_until(lambda: len(dead_letters(gw)) == 1, what="a dead letter")
    assert "INVALID_TIMESTAMP" in dead_letters(gw)[0]["reason"]


def test_missing_topic_is_a_state_and_heals(gateway, broker, topic):
    missing = topic + "-late"
    gw = gateway(missing)
    send_lines(gw, numbered(50))
    wait_until(lambda: f"topic {missing} does not exist" in sink_line(gw), 20, "the state names the topic")
    assert gw.metrics().sum("sluice_sink_up", sink="kafka") == 0
    assert gw.status("/readyz") == 200  # there is room in the journal
    assert dead_letters(gw) == []
    broker.create_topic(missing)
    assert numbers(broker.consume(missing, 50)) == list(range(50))
    wait_until(lambda: gw.metrics().sum("sluice_sink_up", sink="kafka") == 1, 20, "the sink is up")
    assert f"topic {missing} does not exist" not in sink_line(gw)


# ---- when it says nothing --------------------------------------------------------------------------------------------


def test_broker_that_crashes_and_returns_gets_everything(gateway, broker, topic):
    gw = gateway(topic)
    send_lines(gw, numbered(1000))
    broker.consume(topic, 1000)
    with broker.down(crash=True):
        send_lines(gw, numbered(1000, 1000))
        wait_until(lambda: gw.metrics().sum("sluice_sink_up", sink="kafka") == 0, 30, "the sink is not up")
        assert "no broker can be reached" in sink_line(gw)
        assert gw.status("/readyz") == 200
    messages = broker.consume(topic, covers(2000), timeout=60)
    assert numbers(messages) == list(range(2000))
    wait_until(lambda: gw.metrics().sum("sluice_sink_up", sink="kafka") == 1, 30, "the sink is up")


def test_broker_that_crashes_under_load_gets_everything(gateway, broker, topic):
    gw = gateway(topic, batch_records=50)
    for n in range(10):
        send_lines(gw, numbered(500, n * 500))
        if n == 4:
            broker.crash()
    broker.restart()
    messages = broker.consume(topic, covers(5000), timeout=60)
    ids = {}
    for message in messages:
        ids.setdefault(value(message)["payload"]["n"], set()).add(dict(message.headers())["sluice-id"])
    assert sorted(ids) == list(range(5000))
    assert all(len(found) == 1 for found in ids.values())  # whatever came twice has the same id
    assert dead_letters(gw) == []


def test_broker_that_is_paused_gets_everything(gateway, broker, topic):
    gw = gateway(topic)
    send_lines(gw, numbered(100))
    broker.consume(topic, 100)
    with broker.paused():
        send_lines(gw, numbered(1000, 100))
        wait_until(lambda: gw.metrics().sum("sluice_sink_in_flight_records", sink="kafka") > 0, what="records in flight")
        wait_until(lambda: "nothing was acknowledged for 10 s" in sink_line(gw), 30, "the state tells")
    assert numbers(broker.consume(topic, covers(1100), timeout=40)) == list(range(1100))
    wait_until(lambda: gw.metrics().sum("sluice_sink_up", sink="kafka") == 1, 20, "the sink is up")


def test_gateway_that_stops_while_the_broker_is_away_keeps_the_records(gateway, broker, topic):
    gw = gateway(topic)
    send_lines(gw, numbered(10))
    broker.consume(topic, 10)
    with broker.down():
        send_lines(gw, numbered(100, 10))
        assert gw.stop(20) == 0
    gw.start()
    assert numbers(broker.consume(topic, covers(110), timeout=40)) == list(range(110))


def test_killed_gateway_repeats_with_the_same_id(gateway, broker, topic):
    gw = gateway(topic)
    send_lines(gw, numbered(2000))
    gw.kill()
    gw.start()
    ids = {}
    for message in broker.consume(topic, covers(2000), timeout=40):
        ids.setdefault(value(message)["payload"]["n"], set()).add(dict(message.headers())["sluice-id"])
    assert sorted(ids) == list(range(2000))
    assert all(len(found) == 1 for found in ids.values())


# ---- TLS and logins --------------------------------------------------------------------------------------------------


def test_tls(gateway, broker, topic):
    gw = gateway(topic, bootstrap=f"127.0.0.1:{broker.port + 2}", security="ssl", ca_file=str(broker.dir / "tls" / "ca.pem"))
    send_lines(gw, numbered(10))
    assert len(broker.consume(topic, 10)) == 10


def test_tls_with_an_unknown_authority_is_told(gateway, broker, topic):
    gw = gateway(topic, bootstrap=f"127.0.0.1:{broker.port + 2}", security="ssl")
    send_lines(gw, numbered(10))
    wait_until(lambda: "TLS with the brokers fails" in sink_line(gw), 20, "the state tells")


def test_login_over_tls(gateway, broker, topic):
    secret = broker.dir / "password"
    secret.write_text("sluice-secret\n")
    gw = gateway(topic, bootstrap=f"127.0.0.1:{broker.port + 3}", security="sasl_ssl", username="sluice",
                 password={"file": str(secret)}, ca_file=str(broker.dir / "tls" / "ca.pem"))
    send_lines(gw, numbered(10))
    assert len(broker.consume(topic, 10)) == 10


def test_wrong_password_is_told(gateway, broker, topic):
    gw = gateway(topic, bootstrap=f"127.0.0.1:{broker.port + 4}", security="sasl_plaintext", username="sluice", password="wrong-guess")
    send_lines(gw, numbered(10))
    wait_until(lambda: "the brokers refuse the login" in sink_line(gw), 20, "the state tells")
    assert "wrong-guess" not in gw.log()


# ---- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, text", [
    ({"properties": {"acks": "1"}}, 'properties: acks: "1" is refused, only "all" is possible'),
    ({"properties": {"enable.idempotence": "false"}}, "enable.idempotence"),
    ({"properties": {"no.such.thing": "1"}}, 'properties: no.such.thing: "1": No such configuration property'),
    ({"properties": {"batch.size": "x"}}, 'properties: batch.size: "x"'),
    ({"properties": {"linger.ms": "1"}}, "use the setting linger"),
    ({"topic": "a b"}, "' ' is not allowed in the name of a Kafka topic"),
    ({"topic": "t.{devcie.id}"}, "{devcie.id} is neither a time"),
    ({"username": "u", "password": "p"}, "need security: sasl_ssl"),
    ({"ca_file": "/nonexistent", "security": "ssl"}, "ca_file: /nonexistent: No such file or directory"),
])
def test_check_tells_what_cannot_work(sluice, settings, text):
    gw = sluice({"listeners": {"tcp": {"device": ["peer"]}},
                 "sinks": {"kafka": {"type": "kafka", "brokers": "127.0.0.1:9092", **settings}}}, defaults=False, start=False)
    done = gw.command("--check", gw.config_path)
    assert done.returncode != 0
    assert text in done.stdout + done.stderr
    assert "sinks.kafka" in done.stdout + done.stderr


# ---- from inside -----------------------------------------------------------------------------------------------------


def test_unit_tests_that_need_a_broker(broker):
    """test/unit/sinks/kafka/test_kafka.c: fatal errors and full queues can only be made from inside."""
    program = ROOT / "build/test/unit/sinks/kafka/test_kafka"
    built = subprocess.run(["make", "-s", str(program.relative_to(ROOT))], cwd=ROOT, text=True, capture_output=True, timeout=600)
    assert built.returncode == 0, built.stderr
    broker.create_topic("sluice-unit")
    done = subprocess.run([str(program)], text=True, capture_output=True, timeout=120 * SLOWNESS, env=dict(
        os.environ, SLUICE_TEST_KAFKA=broker.bootstrap, SLUICE_TEST_KAFKA_MISSING="sluice-unit-missing"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SKIPPED" not in done.stdout


# ---- addresses that lead nowhere -------------------------------------------------------------------------------------


class MisnamedKafka(PlainKafka):
    """Its bootstrap address works; the one that it gives its clients does not."""

    env = {"KAFKA_EXTRA": "auto.create.topics.enable=true\nadvertised.listeners=PLAINTEXT://127.0.0.1:1"}


def test_an_advertised_address_that_cannot_be_reached_is_named(gateway, tmp_path_factory):
    misnamed = MisnamedKafka(tmp_path_factory.mktemp("kafka-misnamed"))
    try:
        gw = gateway("misnamed", bootstrap=misnamed.bootstrap)
        send_lines(gw, numbered(10))
        wait_until(lambda: "advertised.listeners" in sink_line(gw), 60, "the state says what is wrong")
        assert "127.0.0.1:1" in sink_line(gw) and "Connection refused" in sink_line(gw)
        assert gw.metrics().sum("sluice_sink_up", sink="kafka") == 0
    finally:
        misnamed.stop()
