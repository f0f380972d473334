"""Item 9: slow and hostile clients, all at once: HTTP heads and bodies, MQTT CONNECTs and TCP lines that come byte by byte,
silent connections, more connections than there are descriptors, and all devices reconnecting at once.

Checked: well-behaved devices are served throughout, their p99 at most P99_TIMES what it was without the slow clients (or
P99_MS, where that is more: a busy machine's own jitter); every slow connection is closed by the time-out that the configuration
names for it, and by nothing else; they take at most CONNECTION_BYTES_MAX of memory each; without descriptors accepting pauses,
logs it and resumes by itself."""

import os
import stat
import time

from harness import wait_until
from sending import Sending, errors, p99_ms, target
from slow_clients import ClientKind, SlowClients

NUMBER, TITLE = 9, "slow, silent and too many clients"
NEEDS = ()
FULL, BOUNDED = 2, 1

P99_TIMES, P99_MS, BOUNDED_P99_MS = 2, 25, 250  # a few seconds on a busy machine say little
CONNECTION_BYTES_MAX = 16 << 10
CLOSE_DELAY_MAX_S = 4  # time-outs are checked once a second; connections wait to be accepted; the machine is busy
RECONNECT_MAX_S = 30   # within which all must be connected again
STOP_MAX_S = 10

# seconds: the time-outs of the configuration
FULL_TIMES = {"http_idle": 30, "http_request": 60, "mqtt_connect": 10, "mqtt_idle": 40, "tcp_idle": 30}
SHORT_TIMES = {"http_idle": 2, "http_request": 3, "mqtt_connect": 2, "mqtt_idle": 2, "tcp_idle": 2}


def configuration(times):
    return {"listeners": {
        "mqtt": {"connect_timeout": f"{times['mqtt_connect']}s", "idle_timeout": f"{times['mqtt_idle']}s"},
        "tcp": {"idle_timeout": f"{times['tcp_idle']}s"},
        "http": {"idle_timeout": f"{times['http_idle']}s", "request_timeout": f"{times['http_request']}s"},
    }}


def kinds(gateway, slow, idle, times):
    """`slow` connections that drip, in quarters; `idle` ones that do not, in thirds. Each kind with the time-out that closes it."""
    mqtt, tcp, http = (gateway.address(name) for name in ("mqtt", "tcp", "http"))
    connect = b"\x10\xc8\x01\x00\x04MQTT\x04\x02\x00\x3c\x00\xbc" + b"slow" * 47       # 200 bytes and its header
    opening = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"                            # no keep-alive, no identifier
    head = b"POST /v1/telemetry/slow HTTP/1.1\r\nHost: h\r\nX-Slow: " + b"a" * 200
    body = b"POST /v1/telemetry/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"
    return {
        ClientKind("HTTP heads", http, slow // 4, drip=head): times["http_idle"],
        ClientKind("HTTP bodies", http, slow // 4, opening=body, drip=b"1"): times["http_request"],
        ClientKind("MQTT CONNECTs", mqtt, slow // 4, drip=connect): times["mqtt_connect"],
        ClientKind("TCP lines", tcp, slow // 4, drip=b"x"): times["tcp_idle"],
        ClientKind("silent HTTP", http, idle // 3): times["http_idle"],
        ClientKind("idle MQTT", mqtt, idle // 3, opening=opening): times["mqtt_idle"],
        ClientKind("silent TCP", tcp, idle // 3): times["tcp_idle"],
    }


def send(round_, gateway, name, seconds, warmup="1s"):
    """Load of well-behaved devices: a steady rate on all four protocols."""
    targets = [target(gateway, listener) for listener in ("mqtt", "coap", "tcp", "http")]
    return Sending(round_.dir, name, targets, "-c", "4", "-r", "100", "-t", f"{seconds}s", "--warmup", warmup)


def slow_and_silent(round_):
    """Thousands of slow and silent connections, while well-behaved devices send."""
    slow, idle, seconds, times = (600, 1200, 2, SHORT_TIMES) if round_.bounded else (5000, 10000, 20, FULL_TIMES)
    gateway = round_.start(configuration(times))
    alone = send(round_, gateway, "alone", seconds).finish()
    memory, expected = gateway.memory(), kinds(gateway, slow, idle, times)
    with SlowClients(list(expected)) as clients:
        wait_until(lambda: clients.failed or clients.connected() >= 0.98 * (slow + idle), 60, "the slow clients are connected")
        beside = send(round_, gateway, "beside", seconds).finish()
        per_connection = (gateway.memory() - memory) / clients.connected()
        clients.stop_replacing()
        wait_until(lambda: clients.failed or clients.connected() == 0, max(times.values()) + CLOSE_DELAY_MAX_S + 5, "the slow clients are closed")
    ratio = p99_ms(beside) / p99_ms(alone)
    round_.note(f"{slow} slow and {idle} silent beside: p99 {p99_ms(alone):.1f} -> {p99_ms(beside):.1f} ms ({ratio:.2f} times), "
                f"{per_connection / 1024:.1f} KiB each")
    for kind, seconds in expected.items():
        round_.note(f"  {kind} (time-out {seconds} s)")
        round_.check(len(kind.lifetimes) == kind.opened and not kind.refused, f"{kind}, {kind.refused} refused: not every one was closed")
        round_.check(seconds - 0.5 <= min(kind.lifetimes) and max(kind.lifetimes) <= seconds + CLOSE_DELAY_MAX_S, f"{kind}: the time-out is {seconds} s")
    round_.check(not errors(alone) and not errors(beside), f"errors: {errors(alone)} {errors(beside)}")
    round_.check(p99_ms(beside) <= max(P99_TIMES * p99_ms(alone), BOUNDED_P99_MS if round_.bounded else P99_MS), f"p99 is {ratio:.1f} times what it was")
    round_.check(per_connection <= CONNECTION_BYTES_MAX, f"{per_connection:.0f} bytes a connection")
    wait_until(lambda: gateway.metrics().sum("sluice_connections") == 0, 10, "no connection is left")
    return ["alone", "beside"]


def processor_s(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(round_):
    """256 descriptors and 600 connections: those accepted are served; the gateway does not spin; it logs the reason; it recovers."""
    limited = round_.dir / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 256\nexec "{round_.program}" "$@"\n')
    limited.chmod(limited.stat().st_mode | stat.S_IXUSR)
    gateway = round_.start({}, program=limited)
    first = send(round_, gateway, "first", 2)
    wait_until(lambda: gateway.metrics().sum("sluice_connections") >= 12, 10, "devices are connected")
    idle = [ClientKind(name, gateway.address(name), 200) for name in ("mqtt", "tcp", "http")]
    with SlowClients(idle, replaced=False):
        gateway.wait_log("cannot accept connections")
        spent, since = processor_s(gateway.pid), time.monotonic()
        first = first.finish()
        share = (processor_s(gateway.pid) - spent) / (time.monotonic() - since)
        lines = gateway.log().count("cannot accept connections")
        probe = gateway.status("/livez"), gateway.status("/readyz")
    second = send(round_, gateway, "second", 1, warmup="0").finish()
    recovery_s = max(r["latency"]["max_us"] for r in second.values()) / 1e6  # a message waits until its connection is accepted
    wait_until(lambda: gateway.metrics().sum("sluice_connections") == 0, 10, "no connection is left")
    round_.note(f"256 descriptors, 600 connections more: {share:.0%} of a core, {lines} lines in the log, back in {recovery_s:.1f} s")
    round_.check(not errors(first) and not errors(second), f"errors: {errors(first)} {errors(second)}")
    round_.check(share < 0.5, f"it used {share:.0%} of a core")
    round_.check(lines < 60, f"{lines} lines in the log")
    round_.check(probe == (200, 200), f"probes were answered {probe}: an orchestrator would have restarted it")
    round_.check(recovery_s <= 5, f"back in {recovery_s:.1f} s")
    round_.recovered(recovery_s)
    return ["first", "second"]


def storm(round_):
    """All devices reconnect at once."""
    count = 2000 if round_.bounded else 10000
    gateway = round_.start({})
    results = Sending(round_.dir, "storm", [target(gateway, "mqtt")], "--storm", str(count), "-n", str(count), "-t", "60s").finish()
    took = results["mqtt"]["connect"]["max_us"] / 1e6
    round_.note(f"{count} MQTT clients at once: all connected after {took:.1f} s")
    round_.check(results["mqtt"]["connects"] == count and not errors(results), f"{results['mqtt']['connects']} connected, {errors(results)}")
    round_.check(took <= RECONNECT_MAX_S, f"the last connected after {took:.1f} s")
    round_.recovered(took)
    return ["storm"]


def stop(round_):
    """An orderly stop with slow clients connected."""
    slow, idle = (600, 1200) if round_.bounded else (5000, 10000)
    gateway = round_.start({})
    with SlowClients(list(kinds(gateway, slow, idle, FULL_TIMES)), replaced=False) as clients:
        wait_until(lambda: clients.failed or clients.connected() >= 0.98 * (slow + idle), 60, "the slow clients are connected")
        connected = clients.connected()
        sending = send(round_, gateway, "stopped", 1, warmup="0")
        wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 50, 10, "devices send")
        began = time.monotonic()
        code = gateway.stop(20)
        took = time.monotonic() - began
        gateway.start()
        sending.finish()
    round_.note(f"stopped in order with {connected} connections in {took:.1f} s")
    round_.check(code == 0, f"it stopped with exit code {code}")
    round_.check(took <= STOP_MAX_S, f"it stopped after {took:.1f} s")
    return ["stopped"]


def run(round_):
    for part in (slow_and_silent, descriptors, storm, stop):
        round_.run_part(part)
