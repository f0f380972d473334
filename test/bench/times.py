"""How long things take: acknowledgements in the disk's own times, storms, starts, recovery; and idle connections."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

import speed
from figure import Figure, target
from harness import wait_until
from machine import cpu_seconds, resident_bytes
from workshop import LISTENERS, Failed

IDLE = 10_000
PING_SECONDS = 30  # a client pings so often: half of a keep-alive of 60 s
BACKLOG = 10 << 30
GROW_SECONDS = 240
GIB = 1 << 30


# -- to acknowledge ----------------------------------------------------------------------------------------------------


def _reference(shop, s, cost, env=None):
    """What the disk takes to write and sync this run's mean block as often as this run did, on the same file system,
    right after it."""
    return shop.disk(s.dir, cost.block_bytes, cost.commit_every_us, 1.0, env=env)


def _acknowledge(shop, p50, p99, rate, env=None):
    """Open loop at half of the saturation rate; latency counts from the time a message should have been sent."""
    latency = Figure(p50.name.replace("_x", "_us"), "the same in microseconds", "us", digits=0)
    worst = Figure(p99.name.replace("_x", "_us"), "the same in microseconds", "us", digits=0)
    reference = Figure(p50.name.replace("_p50_x", "_reference_us"), "the reference time: write and fdatasync of the "
                       "run's mean block at the run's cadence, median", "us", digits=0)
    with shop.sluice("tcp", env=env) as s:
        for run in range(-1, shop.runs):
            cost = shop.cost(s, "tcp", "-c", 8, "-w", 100_000, "-r", int(rate), "-t", "2s")
            if run < 0:
                continue
            disk = _reference(shop, s, cost, env)
            load = cost.load
            latency.add(load.us("p50_us"))
            worst.add(load.us("p99_us"), sender_late_us=load.raw["late_us"])
            reference.add(disk["p50_us"], p99_us=disk["p99_us"], max_us=disk["max_us"], block_bytes=cost.block_bytes,
                          every_us=cost.commit_every_us)
            p50.add(load.us("p50_us") / disk["p50_us"], rate=load.rate)
            p99.add(load.us("p99_us") / disk["p50_us"], rate=load.rate)
            shop.say(p50.name, run, f"p50 {load.us('p50_us')} us, p99 {load.us('p99_us')} us at {load.rate:,.0f}/s; "
                     f"disk {disk['p50_us']:.0f} us (p99 {disk['p99_us']:.0f}) for {cost.block_bytes / 1024:.0f} KiB "
                     f"every {cost.commit_every_us:.0f} us; sender late {load.raw['late_us']} us")
    return [p50, p99, latency, worst, reference]


def acknowledge(shop):
    return _acknowledge(shop, target("ack_p50_x"), target("ack_p99_x"), speed.saturation(shop) / 2)


def slow_disk(shop):
    """10 ms added to every fdatasync, as a volume over a network may have: processor time and acknowledgements."""
    added = ", 10 ms added to every fdatasync"
    env = shop.slow_sync()
    cost, rate = speed.measure(shop, Figure("slow_tcp_us", f"TCP lines, 8 connections, saturated{added}", "us/message"),
                               "tcp", *speed.TCP, env=env)
    figures = []
    for name in ("ack_p50_x", "ack_p99_x"):
        figure = target(name)
        figures.append(Figure(f"slow_{name}", figure.what + added, figure.unit, figure.limit))
    return [*_acknowledge(shop, *figures, rate.value / 2, env), cost, rate]


def single(shop):
    """200 messages a second, one at a time: each meets an idle gateway."""
    figure = target("single_x")
    answer = Figure("single_us", "the same in microseconds, p50", "us", digits=0)
    disk_us = Figure("single_reference_us", "its reference time: 4 KiB, as often", "us", digits=0)
    with shop.sluice("tcp") as s:
        for run in range(-1, shop.runs):
            cost = shop.cost(s, "tcp", "-c", 1, "-w", 1, "-r", 200, "-t", "2s", devices=None)
            if run < 0:
                continue
            disk = _reference(shop, s, cost)
            us = cost.load.us("p50_us", "service")
            figure.add(us / disk["p50_us"])
            answer.add(us, p99_us=cost.load.us("p99_us", "service"))
            disk_us.add(disk["p50_us"], p99_us=disk["p99_us"])
            shop.say(figure.name, run, f"{us} us beside {disk['p50_us']:.0f} us")
    return [figure, answer, disk_us]


# -- many connections --------------------------------------------------------------------------------------------------


def reconnect(shop):
    """The same 10,000 clients connect, all leave at once, and come back at once."""
    figure = target("reconnect_s")
    with shop.sluice("mqtt") as s:
        def storm():
            load = shop.load(shop.url(s, "mqtt"), "--storm", IDLE, "--run", "storm")
            if load.raw["connects"] != IDLE or load.errors:
                raise Failed(f"{load.raw['connects']} of {IDLE} are in: {load.raw['first_errors']}")
            return load
        storm()
        for run in range(shop.runs):
            before = cpu_seconds(s.pid)
            load = storm()
            figure.add(load.seconds, cpu_us_each=(cpu_seconds(s.pid) - before) / IDLE * 1e6)
            shop.say(figure.name, run, f"{load.seconds:.2f} s")
    return [figure]


def idle(shop):
    """Connections that were opened (MQTT: up to CONNACK) and do nothing but MQTT's keep-alives."""
    memory, cpu = target("idle_kb"), target("idle_cpu")
    for run in range(shop.runs):
        with shop.sluice("mqtt") as s:
            before = resident_bytes(s.pid)
            with _idle_clients(shop, s):
                memory.add((resident_bytes(s.pid) - before) / IDLE / 1000)
        shop.say(memory.name, run, f"{memory.values[-1]:.2f} kB")
    # The clients come one by one within the time in which each of them says that it is alive, so that these come evenly.
    with shop.sluice("mqtt") as s, _idle_clients(shop, s, "--connect-rate", IDLE // PING_SECONDS):
        for run in range(shop.runs):
            used, begun = cpu_seconds(s.pid), time.monotonic()
            time.sleep(max(PING_SECONDS / shop.runs, 3))
            cpu.add((cpu_seconds(s.pid) - used) / (time.monotonic() - begun) * 100)
            shop.say(cpu.name, run, f"{cpu.values[-1]:.2f} % of a core")
    return [memory, cpu]


@contextlib.contextmanager
def _idle_clients(shop, s, *options):
    command = [shop.programs / "sluice-load", shop.url(s, "mqtt"), "-c", IDLE, "--idle", "-t", "200s", "--keep-alive",
               f"{2 * PING_SECONDS}s", "--workers", 1, "--quiet", *options]
    clients = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: s.metrics().sum("sluice_connections", listener="mqtt") >= IDLE, PING_SECONDS + 30,
                   f"{IDLE} connections are there", every=0.1)
        time.sleep(0.5)
        yield
    finally:
        clients.send_signal(signal.SIGINT)
        clients.wait()


# -- starts ------------------------------------------------------------------------------------------------------------


def until_ready(s, begun, limit=60):
    """Seconds from begun to 200 from /readyz, asked every 2 ms."""
    host, _, port = s.config["admin"]["listen"].rpartition(":")
    while time.monotonic() - begun < limit:
        try:
            with socket.create_connection((host, int(port)), 1) as c:
                c.sendall(b"GET /readyz HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\r\n")
                if c.recv(64).startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - begun
        except OSError:
            pass
        if s.proc.poll() is not None:
            raise Failed(f"sluice ended with exit code {s.proc.returncode}: {s.log()[-500:]}")
        time.sleep(0.002)
    raise Failed(f"sluice was not ready within {limit} s")


def start(shop):
    first = target("start_ms")
    again = Figure("start_again_ms", "start to ready, on the data of the last run", "ms", digits=0)
    memory = Figure("start_mb", "resident memory when ready, all four listeners, no traffic yet", "MB", 21, 1)
    for run in range(shop.runs):
        with shop.sluice(LISTENERS, start=False) as s:
            begun = time.monotonic()
            s.start(wait=None)
            first.add(until_ready(s, begun) * 1e3)
            memory.add(resident_bytes(s.pid) / 1e6)
            s.stop()
            begun = time.monotonic()
            s.start(wait=None)
            again.add(until_ready(s, begun) * 1e3)
        shop.say(first.name, run, f"{first.values[-1]:.0f} ms, then {again.values[-1]:.0f} ms, "
                 f"{memory.values[-1]:.1f} MB")
    return [first, again, memory]


# -- a backlog ---------------------------------------------------------------------------------------------------------

CLOSED = {"out": {"type": "kafka", "brokers": "127.0.0.1:9", "topic": "none"}}  # nobody listens on port 9 (discard)


class Backlog:
    """A gateway whose sink is down, with a journal that grows."""

    def __init__(self, shop, s):
        self.shop, self.s = shop, s

    def bytes(self):
        return self.s.metrics().sum("sluice_journal_bytes")

    def grow(self, wanted):
        """Sends until the journal holds so many bytes."""
        end = time.monotonic() + GROW_SECONDS
        while (left := wanted - self.bytes()) > 0:
            if time.monotonic() > end:
                raise Failed(f"the journal did not grow to {wanted / GIB:.1f} GiB within {GROW_SECONDS} s")
            self.shop.load(self.shop.url(self.s, "tcp"), *speed.TCP, "-d", 1024, "-n", int(max(left / 420, 10_000)),
                           "-t", "20s")

    def recover(self):
        """Kills it, drops the journal from the page cache, and starts it again; seconds until ready."""
        self.s.kill()
        for path in self.s.data.rglob("*"):
            if path.is_file():
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begun = time.monotonic()
        self.s.start(wait=None)
        return until_ready(self.s, begun)

    def drain(self):
        """Lets a null sink have everything, behind the same cursor; (records, seconds)."""
        self.s.kill()
        self.s.config["sinks"] = {"out": {"type": "null"}}
        self.s.write_config()
        self.s.start()
        begun = time.monotonic()
        wait_until(lambda: self.s.metrics().sum("sluice_sink_lag_records") == 0, 120, "the backlog is drained", 0.02)
        return self.s.metrics().sum("sluice_sink_records_total"), time.monotonic() - begun


@contextlib.contextmanager
def backlog(shop, most):
    """A Backlog that may become that large; Failed where the disk has no room for it."""
    room = shutil.disk_usage(shop.dir).free
    if room < most + 4 * GIB:
        raise Failed(f"a backlog of {most / GIB:.0f} GiB needs {(most + 4 * GIB) / GIB:.0f} GiB of free disk; "
                     f"there are {room / GIB:.0f}")
    config = {"journal": {"max_bytes": f"{(most + 2 * GIB) >> 20}MiB", "max_share": "100%", "keep_free": "1%"},
              "stop": {"drain": "1s"}}
    with shop.sluice("tcp", CLOSED, config) as s:
        yield Backlog(shop, s)


def recovery(shop):
    figure = target("recovery_s")
    with backlog(shop, BACKLOG) as b:
        begun = time.monotonic()
        b.grow(BACKLOG)
        shop.say(figure.name, None, f"{b.bytes() / GIB:.1f} GiB after {time.monotonic() - begun:.0f} s")
        records = b.s.metrics().sum("sluice_sink_lag_records")
        for run in range(shop.runs):
            figure.add(b.recover(), bytes=b.bytes(), records=b.s.metrics().sum("sluice_sink_lag_records"))
            if figure.more["records"][-1] < records:
                raise Failed(f"{records:.0f} records before, {figure.more['records'][-1]:.0f} after the recovery")
            shop.say(figure.name, run, f"{figure.values[-1]:.2f} s")
    return [figure]
