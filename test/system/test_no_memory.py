"""Allocations that fail, one of so many by chance, anywhere in the program and its libraries (test/fault/no_memory.c), while all
protocols send: connections may break and answers may be no, but the program stays, what it acknowledged is there, and when there is
memory again everything is served as before."""

import gzip
import json
import random
import socket
import struct
import threading
import time

import pytest

from harness import ROOT, wait_until
from numbered import CoapDevice, MqttDevice, fleet

LIBRARY = ROOT / "build" / "test" / "fault" / "no_memory.so"


class Memory:
    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(16))

    def env(self):
        return {"LD_PRELOAD": str(LIBRARY), "NO_MEMORY": str(self.path)}

    def one_fails_of(self, count):
        with open(self.path, "r+b") as file:  # in place: it is mapped
            file.write(struct.pack("<Q", count))

    def failed(self):
        return struct.unpack("<Q", self.path.read_bytes()[8:])[0]


class Strange(threading.Thread):
    """What the numbered devices do not do: sessions that stay, keys, packed and chunked bodies, blocks, messages in pieces, take-overs,
    letters for the dead. Nothing of it has to succeed."""

    def __init__(self, gateway, seed):
        super().__init__(daemon=True)
        self.gateway, self.chance, self.over, self.count = gateway, random.Random(seed), threading.Event(), 0

    def run(self):
        while not self.over.is_set():
            try:
                self.chance.choice((self.mqtt, self.http, self.coap, self.tcp, self.admin))()
            except OSError:
                pass
            self.count += 1

    def finish(self):
        self.over.set()
        self.join(20)
        assert not self.is_alive()

    def talk(self, where, *parts):
        with socket.create_connection(where, timeout=0.3) as s:
            for part in parts:
                s.sendall(part)
                time.sleep(0.001)
            while s.recv(65536):
                pass

    def mqtt(self):
        name = MqttDevice.text(f"strange-{self.chance.randrange(20)}")
        connect = MqttDevice.packet(0x10, MqttDevice.text("MQTT") + b"\x04" + self.chance.choice((b"\0", b"\2")) + b"\x00\x3c" + name)
        publish = MqttDevice.packet(0x34, MqttDevice.text("devices/strange/a") + struct.pack(">H", self.chance.randrange(1, 300)) +
                                    b"[" + b"1," * self.chance.choice((1, 20000)) + b"1]")
        release = MqttDevice.packet(0x62, struct.pack(">H", self.chance.randrange(1, 300)))
        subscribe = MqttDevice.packet(0x82, b"\0\1" + MqttDevice.text("#") + b"\0")
        cut = self.chance.randrange(len(publish))
        self.talk(self.gateway.address("mqtt"), connect, publish[:cut], publish[cut:], release, subscribe, b"\xc0\0", b"\xe0\0")

    def http(self):
        body = b"".join(json.dumps({"device": "strange", "n": n}).encode() + b"\n" for n in range(self.chance.choice((1, 2000))))
        fields = self.chance.choice((b"Content-Type: application/x-ndjson\r\n", b"Content-Type: application/json\r\n", b""))
        if self.chance.random() < 0.5:
            fields += b"Idempotency-Key: key-%d\r\n" % self.chance.randrange(1000)
        if self.chance.random() < 0.5:
            body, fields = gzip.compress(body), fields + b"Content-Encoding: gzip\r\n"
        if self.chance.random() < 0.5:
            body, fields = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), fields + b"Transfer-Encoding: chunked\r\n"
        else:
            fields += b"Content-Length: %d\r\n" % len(body)
        self.talk(self.gateway.address("http"), b"POST /v1/telemetry HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + fields + b"\r\n", body)

    def coap(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for block in range(self.chance.randrange(5)):
                options = CoapDevice.option(11, b"t") + CoapDevice.option(0, b"strange") + b"\xd1\x03" + bytes([block << 4 | 8 | 2])
                s.sendto(struct.pack(">BBHI", 0x44, 2, self.chance.randrange(65536), 1) + options + b"\xff" + b"x" * 64,
                         self.gateway.address("coap"))

    def tcp(self):
        self.talk(self.gateway.address("tcp"), b'{"device":"stra', b'nge"}\n{"device":"strange"\n', b'"' + b"x" * 9000 + b'"\n', b"x" * 100000)

    def admin(self):
        self.gateway.admin_get(self.chance.choice(("/metrics", "/readyz?verbose", "/livez", "/x")), timeout=0.3)


@pytest.mark.parametrize("of", [2, 5, 20, 100])
def test_allocations_that_fail_cost_connections_and_nothing_else(sluice, tmp_path, of):
    memory = Memory(tmp_path / "memory")
    gw = sluice({"listeners": {"tcp": {"reply": "count", "device": "/device", "on_invalid": "dead_letter"}, "http": {"threads": 2},
                               "mqtt": {"threads": 2}},
                 "sinks": {"file": {"rotate_bytes": "1MiB", "keep": 1000}}}, env=memory.env())
    devices, strangers = fleet(gw, 300), [Strange(gw, seed) for seed in range(8)]
    for thread in devices + strangers:
        thread.start()
    memory.one_fails_of(of)
    wait_until(lambda: not gw.running() or memory.failed() >= 100, 30, "a hundred allocations failed")
    memory.one_fails_of(0)
    assert gw.running(), f"it ended with exit code {gw.proc.returncode}"
    for stranger in strangers:
        stranger.finish()
    for device in devices:
        device.finish()
        assert not device.errors
    wanted = {(d.device, n) for d in devices for n in d.acked}
    gw.wait_records(lambda records: wanted <= {(r["device"]["id"], r["payload"].get("n")) for r in records}, timeout=30)


@pytest.mark.parametrize("of", [3, 20, 100])
def test_a_search_sink_goes_on_when_there_is_memory_again(sluice, tmp_path, search, of):
    memory, index = Memory(tmp_path / "memory"), f"no-memory-{of}"
    gw = sluice({"listeners": {"tcp": {"reply": "count", "device": "/device"}},
                 "sinks": {"elasticsearch": {"nodes": search.url, "index": index, "backoff_min": "10ms", "backoff_max": "100ms",
                                             "batch_records": 50}}}, env=memory.env())
    devices = fleet(gw, 300)
    for thread in devices:
        thread.start()
    gw.wait_metric("sluice_sink_records_total", 1, sink="elasticsearch", timeout=30)
    memory.one_fails_of(of)
    wait_until(lambda: not gw.running() or memory.failed() >= 300, 30, "three hundred allocations failed")
    memory.one_fails_of(0)
    assert gw.running(), f"it ended with exit code {gw.proc.returncode}"
    for device in devices:
        device.finish()
        assert not device.errors
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, 60, "the sinks have all")
    documents = search.documents(index)
    assert {(d.device, n) for d in devices for n in d.acked} <= {(d["_source"]["device"]["id"], d["_source"]["payload"]["n"]) for d in documents}
    assert len({d["_id"] for d in documents}) == len(documents)
    assert gw.metrics().sum("sluice_sink_dead_records_total") == 0
