"""Full is an answer, not a loss: a journal without room, a disk without room, and what devices hear meanwhile."""

import json
import os
import socket

import pytest
from conftest import merge, wait_until
from filling import SMALL_LANES, TINY, coap_post, fill, http_post, kafka_behind
from harness import ROOT
from numbered import CoapDevice, HttpBatchDevice, HttpDevice, MqttDevice, TcpDevice


def check_answers_while_full(gateway):
    answer = http_post(gateway)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1, answer.headers
    assert answer.headers["Content-Type"] == "application/problem+json" and answer.json()["status"] == 503
    batch = http_post(gateway, b'{"device":"d1"}\n' * 3, "/v1/telemetry", "application/x-ndjson")
    assert batch.status_code == 503 and int(batch.headers["Retry-After"]) >= 1
    code, max_age = coap_post(gateway)
    assert code == "5.03" and max_age >= 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # a NON message, which nobody sends again, is counted
        s.sendto(b"\x50\x02\0\x07\xb1t\x02d1\xff{}", gateway.address("coap"))
    gateway.wait_metric("sluice_messages_dropped_total", 1, listener="coap")


class Silence:
    """MQTT and TCP have no word for "later": connected devices hear nothing until their message is safe, and a client
    that connects hears that the server is unavailable."""

    connect = MqttDevice.packet(0x10, MqttDevice.text("MQTT") + b"\x04\x02\0\x3c" + MqttDevice.text("waiting"))
    publish = MqttDevice.packet(0x32, MqttDevice.text("devices/waiting/c") + b"\0\x07" + b'{"n":-2}')

    def __init__(self, gateway):
        self.gateway = gateway
        self.line = socket.create_connection(gateway.address("tcp"), timeout=20)
        self.client = socket.create_connection(gateway.address("mqtt"), timeout=20)
        self.client.sendall(self.connect)
        assert self.client.recv(4) == b"\x20\x02\0\0"

    def check_withheld(self):
        self.line.sendall(b'{"device":"waiting","n":-1}\n')
        self.client.sendall(self.publish)
        for s in (self.line, self.client):
            s.settimeout(0.5)
            with pytest.raises(TimeoutError):
                pytest.fail(f"acknowledged while full: {s.recv(10)}")
            s.settimeout(20)
        with socket.create_connection(self.gateway.address("mqtt"), timeout=20) as late:
            late.sendall(self.connect.replace(b"waiting", b"unlucky"))
            assert late.recv(4) == b"\x20\x02\0\x03"

    def check_answered(self):
        with self.line, self.client:
            assert self.line.recv(10) == b"ok 1\n"
            assert self.client.recv(4) == b"\x40\x02\0\x07"


def fleet_of(gateway):
    return [TcpDevice(gateway, rate=300), MqttDevice(gateway, rate=300), CoapDevice(gateway, rate=200),
            HttpDevice(gateway, rate=200), HttpBatchDevice(gateway, rate=300)]


def everything_arrived(gateway, devices, safe):
    for device in devices:
        device.finish(60)
        assert not device.errors, (device.device, device.errors[:3])
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the sinks have all")
    records = gateway.records()
    have = {(r["device"]["id"], r["payload"].get("n")) for r in records}
    assert all((d.device, n) in have for d in devices for n in d.acked)
    assert len([r for r in records if r["device"]["id"] == "filler"]) >= safe


def test_a_full_journal_answers_as_each_protocol_can_and_recovers(sluice, kafka, relay):
    topic = kafka.create_topic("full-journal")
    gw = sluice(merge(TINY, kafka_behind(relay, topic)))
    silence = Silence(gw)
    safe = fill(gw)
    assert safe > 500
    assert gw.status("/livez") == 200, "full is no reason to restart it"
    assert "[-] journal has room\n" in gw.admin_get("/readyz?verbose")[1] and "until a sink has caught up" in gw.log()
    metrics = gw.metrics()
    assert metrics.sum("sluice_journal_full") == 1 and metrics.sum("sluice_journal_full_total") >= 1
    check_answers_while_full(gw)
    silence.check_withheld()
    assert gw.metrics().sum("sluice_messages_refused_total", reason="full") >= 3
    size = sum(f.stat().st_size for f in (gw.data / "journal").glob("*.segment"))
    assert size <= 4 << 20

    devices = fleet_of(gw)
    for device in devices:
        device.start()
    relay.start()
    wait_until(lambda: gw.status("/readyz") == 200, 30, "it has room again")
    silence.check_answered()
    everything_arrived(gw, devices, safe)
    wanted = {(d.device, n) for d in devices for n in d.acked}

    def consumed(messages):
        values = [json.loads(m.value()) for m in messages]
        return wanted <= {(v["device"]["id"], v["payload"].get("n")) for v in values} and \
            sum(v["device"]["id"] == "filler" for v in values) >= safe
    kafka.consume(topic, consumed, 30)


def test_a_full_journal_is_still_full_and_whole_after_a_crash(sluice, kafka, relay):
    topic = kafka.create_topic("full-journal-crash")
    gw = sluice(merge(TINY, kafka_behind(relay, topic)))
    safe = fill(gw)
    for _ in range(3):
        gw.kill()
        gw.start(wait="live")
        wait_until(lambda: gw.status("/readyz") == 503 and "[-] journal has room" in gw.admin_get("/readyz?verbose")[1],
                   what="it is full again")
        check_answers_while_full(gw)
    relay.start()
    wait_until(lambda: gw.status("/readyz") == 200, 30, "it has room again")
    kafka.consume(topic, safe, 30)
    assert http_post(gw).status_code == 204
    assert gw.metrics().sum("sluice_journal_damaged_ranges_total") == 0


# ---- a file system without room --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A program that runs the gateway with its data on a file system of its own, of 24 MiB, which ends with it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system of its own takes root")
    program = os.environ.get("SLUICE_BIN") or str(ROOT / "build" / "sluice")
    mount = tmp_path / "small"
    mount.mkdir()
    script = tmp_path / "sluice-on-small-disk"
    script.write_text(f"""#!/bin/sh
exec unshare --mount sh -c 'mount -t tmpfs -o size=24m none {mount} && exec "$0" "$@"' {program} "$@"
""")
    script.chmod(0o755)
    return script, mount


def inside(gateway, path):
    """A path as that process sees it."""
    return f"/proc/{gateway.pid}/root{path}"


def test_a_full_disk_stops_acknowledgements_and_nothing_else(sluice, small_disk, kafka, relay):
    topic = kafka.create_topic("full-disk")
    script, mount = small_disk
    gw = sluice(merge(merge(SMALL_LANES, kafka_behind(relay, topic)), {
        "data": str(mount),
        "journal": {"segment": "1MiB", "max_share": "100%", "keep_free": "0%", "block": "64KiB", "preallocate": 0},
        "sinks": {"file": {"backoff_max": "300ms"}}}), program=script)
    with open(inside(gw, mount) + "/filler", "wb") as filler:
        filler.write(b"\0" * (16 << 20))
    silence = Silence(gw)
    safe = fill(gw)
    text = gw.admin_get("/readyz?verbose")[1]
    assert "[-] journal has room: its file system has none for more" in text and gw.status("/livez") == 200
    assert "until its file system has room again" in gw.log() and "until a sink has caught up" not in gw.log()
    check_answers_while_full(gw)
    silence.check_withheld()

    devices = fleet_of(gw)
    for device in devices:
        device.start()
    relay.start()
    os.unlink(inside(gw, mount) + "/filler")
    wait_until(lambda: gw.status("/readyz") == 200, 30, "it has room again")
    silence.check_answered()
    for device in devices:
        device.finish(60)
        assert not device.errors, (device.device, device.errors[:3])
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, 60, "the sinks have all")
    with open(inside(gw, mount) + "/telemetry.ndjson", "rb") as file:
        lines = file.read().splitlines()
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # half a line, written when the disk had no more room, and written whole behind it
    have = {(r["device"]["id"], r["payload"].get("n")) for r in records}
    assert all((d.device, n) in have for d in devices for n in d.acked)
    assert sum(r["device"]["id"] == "filler" for r in records) >= safe
    metrics = gw.metrics()
    assert metrics.sum("sluice_journal_lost_records_total") == 0 and metrics.sum("sluice_sink_dead_records_total") == 0
