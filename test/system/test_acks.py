"""What an acknowledgement means: the levels of `ack`, and that none leaves before the disk has what it promises."""

import asyncio
import os
import re
import socket
import time

import pytest
from conftest import wait_until
from harness import ROOT
from numbered import HttpDevice, MqttDevice, TcpDevice
from test_mqtt import Raw, puback, publish, pubrec

CLOSED = "127.0.0.1:9"


def post(gateway, payload=b'{"n":1}', listener="http"):
    import httpx

    return httpx.post(gateway.url("/v1/telemetry/d1", listener), content=payload, trust_env=False, timeout=30,
                      headers={"Content-Type": "application/json"})


def coap_post(gateway):
    import aiocoap

    async def run():
        context = await aiocoap.Context.create_client_context()
        try:
            request = aiocoap.Message(code=aiocoap.POST, payload=b'{"n":1}', content_format=50,
                                      uri=f"coap://127.0.0.1:{gateway.port('coap')}/t/d1")
            return (await asyncio.wait_for(context.request(request).response, 20)).code.dotted
        finally:
            await context.shutdown()
    return asyncio.run(run())


def down(**listener):
    """Listeners with these settings, and a Kafka that is not there."""
    return {"listeners": {name: dict(listener) for name in ("mqtt", "coap", "tcp", "http")},
            "sinks": {"kafka": {"brokers": CLOSED}}, "stop": {"drain": "300ms"}}


def test_durable_is_on_disk_when_the_answer_comes(sluice):
    gw = sluice({"sinks": {"file": None, "kafka": {"brokers": CLOSED}}})
    answer = post(gw)
    assert answer.status_code == 204 and answer.content == b""
    gw.kill()
    gw.config["sinks"]["file"] = {"type": "file", "path": str(gw.data / "out"), "sync_interval": "10ms"}
    gw.config["stop"] = {"drain": "100ms"}
    gw.restart()
    wait_until(lambda: len(gw.records(gw.data / "out")) == 1, what="the record is there after a crash")


def test_accepted_says_202(sluice):
    gw = sluice({"listeners": {"http": {"ack": "accepted"}}})
    assert post(gw).status_code == 202
    gw.wait_records(1)


def test_delivered_is_in_the_named_sink_when_the_answer_comes(sluice):
    """The file sink syncs once a minute unless somebody waits for it: nobody waits a minute."""
    config = down(ack="delivered", delivered_to=["file"])
    config["listeners"]["tcp"]["reply"] = "count"
    config["sinks"]["file"] = {"sync_interval": "1m"}
    gw = sluice(config)
    for count in range(1, 6):
        began = time.monotonic()
        assert post(gw).status_code == 204
        assert len(gw.records()) == count, "it is in the file now, not soon"
        assert time.monotonic() - began < 5
    assert coap_post(gw) == "2.04"
    assert len(gw.records()) == 6
    with socket.create_connection(gw.address("tcp"), timeout=20) as s:
        s.sendall(b"1\n2\n3\n")
        assert s.recv(100).endswith(b"ok 3\n")
        assert len(gw.records()) == 9


def test_delivered_to_all_sinks_waits_for_the_one_that_is_down(sluice):
    config = down(ack="delivered", ack_timeout="700ms")
    config["listeners"]["tcp"]["reply"] = "count"
    gw = sluice(config)
    answer = post(gw)
    assert answer.status_code == 202, "safe, but not delivered yet"
    told = answer.json()["id"] if answer.content else answer.headers["X-Sluice-Id"]
    assert gw.wait_records(1)[0]["event"]["id"] == told
    assert coap_post(gw) == "5.04"
    assert gw.metrics().sum("sluice_acknowledgements_late_total") == 2
    with socket.create_connection(gw.address("tcp"), timeout=1.5) as s:
        s.sendall(b"1\n")
        with pytest.raises(TimeoutError):
            s.recv(10)
    with socket.create_connection(gw.address("mqtt"), timeout=1.5) as s:
        s.sendall(MqttDevice.packet(0x10, MqttDevice.text("MQTT") + b"\x04\x02\0\x3c" + MqttDevice.text("d1")))
        assert s.recv(4) == b"\x20\x02\0\0"
        s.sendall(MqttDevice.packet(0x32, MqttDevice.text("t") + b"\0\x01{}"))
        with pytest.raises(TimeoutError):
            s.recv(10)
    gw.wait_records(4)


def test_delivered_under_load_never_runs_ahead_of_the_sink(sluice):
    waits = {"ack": "delivered", "delivered_to": "file"}
    gw = sluice({"listeners": {"mqtt": waits, "http": waits, "tcp": {"reply": "count", **waits}},
                 "sinks": {"file": {"sync_interval": "1m"}, "null": {}}})
    devices = [TcpDevice(gw), MqttDevice(gw), HttpDevice(gw)]
    for device in devices:
        device.start()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        acked = {(d.device, n) for d in devices for n in list(d.acked)}
        have = {(r["device"]["id"], r["payload"]["n"]) for r in gw.records()}
        assert acked <= have, sorted(acked - have)[:5]
    for device in devices:
        device.finish()
        assert len(device.acked) > 20 and not device.errors, (device.device, len(device.acked), device.errors)


def test_journal_in_memory_serves_accepted_and_delivered(sluice):
    gw = sluice({"journal": {"type": "memory"}, "listeners": {
        "mqtt": None, "coap": None, "tcp": {"ack": "delivered", "reply": "count"}, "http": {"ack": "accepted"}}})
    assert post(gw).status_code == 202
    with socket.create_connection(gw.address("tcp"), timeout=20) as s:
        s.sendall(b"1\n")
        assert s.recv(10) == b"ok 1\n"
    assert len(gw.wait_records(2)) == 2
    assert not (gw.data / "journal").exists()
    assert "kept in memory" in gw.log()


# ---- the order of system calls ---------------------------------------------------------------------------------------

CALL = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))$")


def calls(path):
    """(thread, what, name, arguments) in the order of strace -f; what is "begin", and "end" once it has returned."""
    began = {}
    for line in path.read_text(errors="replace").splitlines():
        match = CALL.match(line)
        if not match:
            continue
        thread, resumed, rest, name, arguments = match.groups()
        if resumed:
            yield thread, "end", resumed, began.pop(thread, "") + rest
            continue
        yield thread, "begin", name, arguments
        if arguments.endswith("<unfinished ...>"):
            began[thread] = arguments
        else:
            yield thread, "end", name, arguments


def answer(name, text):
    """The number that is acknowledged by what is sent: `ok N` of TCP, PUBACK (0x40) and PUBREC (0x50) of MQTT; None: nothing is."""
    found = re.search(r'"((?:[^"\\]|\\.)*)"', text)
    if not name.startswith(("write", "send")) or not found:
        return None
    sent = found.group(1).encode("latin-1").decode("unicode_escape").encode("latin-1")
    if line := re.match(rb"ok (\d+)\n", sent):
        return int(line.group(1))
    return int.from_bytes(sent[2:4], "big") if sent[:2] in (b"\x40\x02", b"\x50\x02") else None


def uncovered(path):
    """(answers seen, the first that left too early or None). A line is covered once a write to a segment that returned
    after it had arrived was followed by a whole fdatasync of that file. One line is under way at a time."""
    arrived = written = covered = answered = 0
    syncing, early = {}, None
    for thread, what, name, text in calls(path):
        segment = ".segment>" in text
        if what == "end" and (found := re.search(r'^.*{\\"probe\\":(\d+)}(?:\\n)?"', text)) and name.startswith(("read", "recv")):
            arrived = int(found.group(1))
        elif what == "end" and segment and name.startswith("pwrite"):
            written = arrived
        elif what == "begin" and segment and name in ("fdatasync", "fsync"):
            syncing[thread] = written
        elif what == "end" and segment and name in ("fdatasync", "fsync"):
            covered = max(covered, syncing.pop(thread))
        elif what == "begin" and (number := answer(name, text)):
            answered = number
            if answered > covered and not early:
                early = answered
    return answered, early


def send_lines(gw, count):
    with socket.create_connection(gw.address("tcp"), timeout=20) as s:
        for n in range(1, count + 1):
            s.sendall(b'{"probe":%d}\n' % n)
            assert s.recv(100) == b"ok %d\n" % n


def send_publishes(gw, count):
    """QoS 1 and 2 in turn; one is under way at a time."""
    with Raw(gw, "probe").sock as s:
        for n in range(1, count + 1):
            s.sendall(publish("devices/probe/t", '{"probe":%d}' % n, qos=2 - n % 2, mid=n))
            assert s.recv(100) == (puback(n) if n % 2 else pubrec(n))


@pytest.mark.parametrize("protocol, send", [("tcp", send_lines), ("mqtt", send_publishes)])
@pytest.mark.parametrize("level", ["durable", "accepted"])
def test_no_acknowledgement_leaves_before_the_sync_that_covers_it(sluice, tmp_path, level, protocol, send):
    """Seen from the kernel. `ack: accepted`, which promises nothing, shows that the eye is sharp enough."""
    trace, script = tmp_path / "trace", tmp_path / "traced"
    program = os.environ.get("SLUICE_BIN") or ROOT / "build" / "sluice"
    seen = "read,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,fdatasync,fsync"
    script.write_text(f'#!/bin/sh\nexec strace -D -f -y -s 100 -o {trace} -e trace={seen} {program} "$@"\n')
    script.chmod(0o755)
    own = {"reply": "count"} if protocol == "tcp" else {}
    gw = sluice({"listeners": {protocol: {"ack": level, **own}}}, program=script, timeout=60)
    lines = 60
    send(gw, lines)
    assert gw.stop(timeout=30) == 0
    wait_until(lambda: "exited with 0" in trace.read_text(errors="replace"), what="the trace is written")
    answered, early = uncovered(trace)
    assert answered == lines, "the trace shows all answers"
    assert (early is None) == (level == "durable"), f"the answer to {early} left before its message was synced"
