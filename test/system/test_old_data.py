"""A data directory that an earlier version wrote still opens, delivers and drains: nothing of it is lost or altered.

test/fixtures/data-N.tar.gz is one for each format of what lies on disk; a change of a format adds the next. data-1 was made
by version 0.1 at 1d70d66, with its build as PROGRAM:

    cd test && ../build/venv/bin/python system/test_old_data.py PROGRAM fixtures/data-1.tar.gz

It holds what make() does, as a SIGKILL left it: the sink `archive` has everything; the sink `broker` was a Kafka: the first
three records were too long for it and are its dead letters, its cursor is behind them, and then it could not be reached, so the messages
after them lie in four segments; one invalid message is a dead letter of the intake, whose cursor is
not behind it yet; one MQTT client has an open QoS 2 identifier."""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from conftest import Sluice, merge, wait_until
from harness import send_lines
from services import Kafka
from test_mqtt import CONNACK_PRESENT, Raw, pubcomp, publish, pubrec, pubrel

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
CONFIG = {
    "listeners": {
        "tcp": {"protocol": "tcp", "device": ["/device"], "reply": "count", "lane": "1MiB", "max_payload": "100KiB"},
        "mqtt": {"protocol": "mqtt", "lane": "256KiB", "max_payload": "16KiB", "max_sessions": 100, "on_invalid": "dead_letter", "payload": "json"},
    },
    "journal": {"segment": "1MiB", "preallocate": 0, "block": "512KiB", "max_state": "32KiB"},
    "log": {"level": "info", "format": "json"},
}
GIVEN_UP, SEGMENTS, COUNT = 3, 4, 63


def payload(n):
    return {"device": f"d{n % 5}", "n": n, "text": "Größe \\ \"x\"", "pad": "x" * (50000 if n >= GIVEN_UP else 64000)}


def open_identifier(gw, **more):
    """A client that sends message COUNT and hears PUBREC; the exchange stays open."""
    client = Raw(gw, "meter", clean=False, **more)
    client.send(publish("devices/meter/t", json.dumps({"n": COUNT}), qos=2, mid=7, dup=bool(more)))
    return client.expect(pubrec(7))


def make(program, out):
    """Writes the fixture."""
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        kafka = Kafka(tmp / "kafka")
        topic = kafka.create_topic("old", max_message_bytes=60000)
        broker = {"type": "kafka", "brokers": [kafka.bootstrap], "topic": topic, "compression": "none"}
        archive = {"type": "file", "path": str(tmp / "archive.ndjson"), "sync_interval": "50ms"}
        gw = Sluice(tmp, merge(CONFIG, {"sinks": {"archive": archive, "broker": broker}}), program)
        try:
            gw.start(wait="live")
            send_lines(gw, [payload(n) for n in range(GIVEN_UP)])
            dead = gw.data / "dead" / "broker.ndjson"
            wait_until(lambda: dead.exists() and dead.read_bytes().count(b"\n") == GIVEN_UP, 60, "dead letters")
            wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, 60, "cursors")
            assert gw.stop() == 0
            kafka.stop()
            gw.start(wait="live")
            send_lines(gw, [payload(n) for n in range(GIVEN_UP, COUNT)])
            Raw(gw, "odd").send(publish("devices/odd/t", "{\"n\": no", qos=1, mid=1)).expect(b"\x40\x02\x00\x01")
            client = open_identifier(gw)
            gw.wait_records(COUNT + 1)
            wait_until((gw.data / "dead" / "intake.ndjson").exists, 10, "the intake's dead letter")
        finally:
            kafka.stop()
            if gw.running():
                gw.kill()
        client.close()
        with tarfile.open(out, "w:gz") as tar:
            tar.add(gw.data, "data")


@pytest.fixture(params=sorted(path.name for path in FIXTURES.glob("data-*.tar.gz")))
def old(request, sluice):
    """A gateway that does not run yet, on the old data; `broker` is a file now."""
    gw = sluice(merge(CONFIG, {"sinks": {"archive": {"type": "null"},
                                         "broker": {"type": "file", "path": "../broker.ndjson", "sync_interval": "50ms"}}}),
                defaults=False, start=False)
    gw.file = gw.dir / "broker.ndjson"
    with tarfile.open(FIXTURES / request.param) as tar:
        tar.extractall(gw.dir, filter="data")
    return gw


def check(records, first):
    """The records are messages first to COUNT, each once, in order and whole."""
    assert [r["payload"]["n"] for r in records] == list(range(first, COUNT + 1))
    assert [r["payload"] for r in records[:-1]] == [payload(n) for n in range(first, COUNT)]
    assert len({r["event"]["id"] for r in records}) == len(records)
    assert [r["device"]["id"] for r in records] == [f"d{n % 5}" for n in range(first, COUNT)] + ["meter"]


def test_the_journal_is_whole_to_the_commands(old):
    assert len(list((old.data / "journal").glob("*.segment"))) >= SEGMENTS
    verified = old.command("journal", "verify", "--data", old.data)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    listed = json.loads(old.command("deadletters", "list", "--json", "--config", old.config_path).stdout)
    assert {entry["sink"]: entry["letters"] for entry in listed} == {"broker": GIVEN_UP, "intake": 1}


def test_it_opens_delivers_and_knows_the_open_identifier(old):
    old.start()
    check(old.wait_records(COUNT + 1 - GIVEN_UP, timeout=60), GIVEN_UP)
    client = open_identifier(old, expect=CONNACK_PRESENT)  # the repetition is the same message
    client.send(pubrel(7)).expect(pubcomp(7)).close()
    send_lines(old, [{"device": "new", "n": COUNT + 1}])
    records = old.wait_records(COUNT + 2 - GIVEN_UP, timeout=60)
    assert [r["payload"]["n"] for r in records[-2:]] == [COUNT, COUNT + 1]
    assert old.stop() == 0


def test_it_drains_and_its_dead_letters_are_delivered(old):
    done = old.command("--config", old.config_path, "drain", timeout=60)
    assert done.returncode == 0 and "every sink has everything" in done.stdout, done.stdout + done.stderr
    check(old.records(), GIVEN_UP)
    intake = (old.data / "dead" / "intake.ndjson").read_text().splitlines()
    assert {json.loads(line)["device"]["id"] for line in intake} == {"odd"}
    done = old.command("deadletters", "replay", "--sink", "broker", "--config", old.config_path, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    records = old.records()
    check(records[-GIVEN_UP:] + records[:-GIVEN_UP], 0)


if __name__ == "__main__":
    make(*sys.argv[1:3])
