"""Resident memory: of the whole before its first message, and of connections that do nothing."""

import contextlib
import resource
import socket

import pytest
from conftest import wait_until
from numbered import MqttDevice, TcpDevice

IDLE = 4000


@pytest.fixture
def many_files():
    """Enough file descriptors on both sides of the connections; the gateway inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * IDLE + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"at most {hard} open files are allowed here, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_sanitized(gateway):
    with open(f"/proc/{gateway.pid}/maps") as maps:
        return "libasan" in (text := maps.read()) or "libtsan" in text


def test_before_its_first_message_it_needs_at_most_20_mib(sluice):
    gw = sluice()
    if is_sanitized(gw):
        pytest.skip("a sanitizer's own memory counts here")
    assert gw.memory() <= 20 << 20, f"{gw.memory() / (1 << 20):.1f} MiB"


def mqtt_connect(s, name):
    s.sendall(MqttDevice.packet(0x10, MqttDevice.text("MQTT") + b"\x04\x02\0\0" + MqttDevice.text(name)))
    assert s.recv(4) == b"\x20\x02\0\0"


def tcp_greet(s, name):
    s.sendall(b'{"device":"%s","n":1}\n' % name.encode())
    assert s.recv(100) == b"ok 1\n"


@pytest.mark.parametrize(("protocol", "greet"), [("mqtt", mqtt_connect), ("tcp", tcp_greet)])
def test_an_idle_connection_costs_at_most_2_kib(sluice, many_files, protocol, greet):
    """Each has connected, said what it is, and a TCP one has sent a line: what a fleet at rest is like. Lane and
    tail are small, so that what messages leave there is not taken for the connections'."""
    small = {"lane": "64KiB", "max_payload": "8KiB"}
    gw = sluice({"listeners": {"mqtt": small, "tcp": {"reply": "count", **small}}, "journal": {"tail_memory": 0}})
    if is_sanitized(gw):
        pytest.skip("a sanitizer's own memory counts here")
    with contextlib.ExitStack() as stack:
        def connect(count, name):
            for n in range(count):
                s = stack.enter_context(socket.create_connection(gw.address(protocol), timeout=20))
                greet(s, f"{name}-{n}")
        connect(200, "warm-up")
        wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0)
        before = gw.memory()
        connect(IDLE, "idle-device-0123456789")
        wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0)
        each = (gw.memory() - before) / IDLE
        print(f"{protocol}: {each:.0f} bytes")
        assert gw.metrics().sum("sluice_connections", listener=protocol) == IDLE + 200
        assert each <= 2048, f"{each:.0f} bytes per connection"
    wait_until(lambda: gw.metrics().sum("sluice_connections") == 0, what="all are gone")


def test_memory_does_not_grow_with_traffic(sluice):
    """After a first million bytes or so, more of the same needs nothing more."""
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}, "journal": {"tail_memory": "1MiB"}})
    devices = [TcpDevice(gw, rate=20000), MqttDevice(gw, rate=20000)]
    for device in devices:
        device.start()
    wait_until(lambda: all(len(d.acked) > 5000 for d in devices), 30, "messages are acknowledged")
    before = gw.memory()
    wait_until(lambda: all(len(d.acked) > 25000 for d in devices), 60, "more messages are acknowledged")
    growth = gw.memory() - before
    for device in devices:
        device.finish()
    assert growth < 4 << 20, f"{growth / (1 << 20):.1f} MiB more for 40,000 messages"
