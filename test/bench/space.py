"""Memory, and how long a start takes."""

import socket
import time

from figure import Figure
from machine import resident_bytes
from workshop import Failed
from harness import wait_until

IDLE = 5000
LISTENERS = {
    "mqtt": {"protocol": "mqtt"},
    "coap": {"protocol": "coap"},
    "tcp": {"protocol": "tcp", "device": ["/device"], "reply": "count"},
    "http": {"protocol": "http"},
}


def start(shop):
    """From the creation of the process to 200 from /readyz, asked every 2 ms."""
    first = Figure("first start", "until ready, with an empty data directory", "ms", digits=0)
    again = Figure("next start", "until ready, on the data of the last run", "ms", digits=0)
    memory = Figure("resident at start", "resident memory when ready, all four listeners, no traffic yet", "MiB", 20, 1)
    for run in range(shop.runs):
        with shop.sluice(LISTENERS, wait=None) as s:
            first.add(_until_ready(s, time.monotonic()))
            memory.add(resident_bytes(s.pid) / (1 << 20))
            s.stop()
            begun = time.monotonic()
            s.start(wait=None)
            again.add(_until_ready(s, begun))
        shop.say("start", run, f"{first.values[-1]:.0f} ms, then {again.values[-1]:.0f} ms, "
                 f"{memory.values[-1]:.1f} MiB")
    return [memory, first, again]


def _until_ready(s, begun):
    host, _, port = s.config["admin"]["listen"].rpartition(":")
    while time.monotonic() - begun < 20:
        try:
            with socket.create_connection((host, int(port)), 1) as c:
                c.sendall(b"GET /readyz HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\r\n")
                if c.recv(64).startswith(b"HTTP/1.1 200"):
                    return (time.monotonic() - begun) * 1e3
        except OSError:
            pass
        if s.proc.poll() is not None:
            raise Failed(f"sluice ended with exit code {s.proc.returncode}: {s.log()[-500:]}")
        time.sleep(0.002)
    raise Failed("sluice was not ready within 20 s")


def idle(shop):
    """Connections that were opened (MQTT: up to CONNACK) and do nothing."""
    figures = []
    for name, hello in (("tcp", None), ("mqtt", _connect)):
        figure = Figure(f"idle {name}", f"resident memory per idle connection, {IDLE:,} of them", "KiB", 2, 2)
        for run in range(shop.runs):
            with shop.sluice({name: LISTENERS[name]}) as s:
                before = resident_bytes(s.pid)
                connections = []
                try:
                    for number in range(IDLE):
                        c = socket.create_connection(s.address(name), 10)
                        connections.append(c)
                        if hello:
                            hello(c, number)
                    wait_until(lambda: s.metrics().sum("sluice_connections", listener=name) >= IDLE, 20,
                               f"{IDLE} connections are there")
                    figure.add((resident_bytes(s.pid) - before) / IDLE / 1024)
                finally:
                    for c in connections:
                        c.close()
            shop.say(figure.name, run, f"{figure.values[-1]:.2f} KiB")
        figures.append(figure)
    return figures


def _connect(c, number):
    name = f"sensor-{number:05}".encode()
    variable = b"\x00\x04MQTT\x04\x02\x00\x3c" + bytes([0, len(name)]) + name
    c.sendall(b"\x10" + bytes([len(variable)]) + variable)
    answer = c.recv(4)
    if answer != b"\x20\x02\x00\x00":
        raise Failed(f"CONNACK: {answer.hex()}")
