"""sluice-load against the real gateway and the real Mosquitto: that it sends what it says, counts what happens, and survives
what it causes."""

import http.server
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from conftest import wait_until

LOAD = Path(os.environ.get("SLUICE_BIN", Path(__file__).parents[2] / "build/sluice")).with_name("sluice-load")
CONFIG = {"listeners": {"tcp": {"reply": "count", "device": ["/device"]}}}
PROTOCOLS = {
    "mqtt0": ("mqtt", "", ["--qos", "0"]),
    "mqtt1": ("mqtt", "", ["--qos", "1"]),
    "mqtt2": ("mqtt", "", ["--qos", "2"]),
    "tcp": ("tcp", "", []),
    "http": ("http", "", []),
    "http batches": ("http", "", ["--batch", "30"]),
    "coap": ("coap", "", []),
    "coap non": ("coap", "", ["--qos", "0", "--window", "4"]),
}


def url(gateway, listener, path=""):
    host, port = gateway.address(listener)
    return f"{listener}://{host}:{port}{path}"


class Load:
    """A run of sluice-load with its result."""

    def __init__(self, directory, *args):
        self.json = directory / f"result{time.monotonic_ns()}.json"
        self.process = subprocess.Popen([LOAD, *map(str, args), "--json", self.json, "--quiet"], stderr=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def wait(self, timeout=60):
        try:
            self.output, self.errors = self.process.communicate(timeout=timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
        return self

    @property
    def result(self):
        assert self.json.exists(), self.errors
        return json.loads(self.json.read_text())


@pytest.fixture
def load(tmp_path):
    made = []

    def start(*args):
        made.append(Load(tmp_path, *args))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def identities(records):
    return [(r["payload"]["load"]["device"], r["payload"]["load"]["seq"]) for r in records]


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_every_message_arrives_once_and_in_order(sluice, load, kind):
    gw = sluice(CONFIG)
    listener, path, options = PROTOCOLS[kind]
    run = load(url(gw, listener, path), "-c", 3, "-d", 7, "-n", 500, "--run", "r1", *options).wait()
    assert run.process.returncode == 0, run.errors
    r = run.result
    records = gw.wait_records(500)
    assert r["sent"] == 500 and r["unacknowledged"] == 0 and sum(r["errors"].values()) == 0
    if kind == "mqtt0":
        assert (r["acknowledged"], r["unconfirmed"]) == (0, 500)
    else:
        assert r["acknowledged"] == 500 and r["latency"]["count"] == 500
    assert len(records) == 500
    seen = {}
    for record in records:
        payload = record["payload"]
        assert payload["load"]["run"] == "r1"
        assert payload["device"] == payload["load"]["device"] == record["device"]["id"]
        assert payload["load"]["seq"] == seen.setdefault(payload["device"], 0)
        seen[payload["device"]] += 1
    assert len(seen) == 7


def test_four_protocols_at_once_share_a_run(sluice, load, tmp_path):
    gw = sluice(CONFIG)
    ledger = tmp_path / "ledger"
    run = load(url(gw, "mqtt") + "#qos=2,window=5", url(gw, "coap"), url(gw, "tcp"), url(gw, "http"), "-n", 200,
               "--ledger", ledger).wait()
    assert run.process.returncode == 0, run.errors
    records = gw.wait_records(800)
    assert len({r["payload"]["load"]["run"] for r in records}) == 1
    assert Counter(r["network"]["protocol"] for r in records) == {"mqtt": 200, "coap": 200, "tcp": 200, "http": 200}
    head, *devices = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert head["complete"] is True
    assert {d["protocol"]: (d["sent"], d["acked"]) for d in devices} == {
        p: (200, [[0, 199]]) for p in ("mqtt", "coap", "tcp", "http")}
    assert subprocess.run([LOAD, "verify", "--ledger", ledger, gw.file], capture_output=True).returncode == 0


def test_after_kill_9_it_goes_on_and_nothing_acknowledged_is_missing(sluice, load, tmp_path):
    gw = sluice(CONFIG)
    ledger = tmp_path / "ledger"
    options = ["-c", 2, "-r", 2000, "-t", "6s", "--ledger", ledger]
    run = load(url(gw, "mqtt"), url(gw, "mqtt") + "#qos=2", url(gw, "coap"), url(gw, "tcp"), url(gw, "http") + "#batch=10",
               *options)
    gw.wait_records(4000)
    gw.kill()
    gw.restart()
    run.wait()
    assert run.process.returncode == 0, run.errors
    told = json.loads(run.json.read_text())
    told = told if isinstance(told, list) else [told]
    by_kind = Counter()
    for r in told:
        assert r["unacknowledged"] == 0, r
        assert r["acknowledged"] == r["sent"], r
        by_kind.update(r["errors"])
    # it went on: CoAP's retransmissions may rest for long, the others do not
    assert sum(r["sent"] for r in told) > 12000
    assert sum(r["resent"] for r in told) > 0
    assert by_kind["reset"] + by_kind["refused"] >= len(told) - 1
    # a sink may be given a record again after the kill: the same record, with the same id, so the number of records tells nothing
    sent = sum(r["sent"] for r in told)
    records = gw.wait_records(lambda found: len(set(identities(found))) >= sent, timeout=30)
    seen = set(identities(records))
    messages = identities({r["event"]["id"]: r for r in records}.values())
    for line in ledger.read_text().splitlines()[1:]:
        d = json.loads(line)
        for first, last in d["acked"]:
            missing = [n for n in range(first, last + 1) if (d["device"], n) not in seen]
            assert not missing, (d["device"], missing)
        resent = {n for first, last in d["resent"] for n in range(first, last + 1)}
        twice = [i for i, n in Counter(messages).items() if n > 1 and i[0] == d["device"]]
        assert {n for _, n in twice} <= resent


def test_an_open_loop_measures_a_stall_that_a_closed_one_hides(sluice, load):
    gw = sluice(CONFIG)
    run = load(url(gw, "mqtt"), "-c", 2, "-r", 1000, "-t", "3s")
    gw.wait_records(500)
    gw.signal(signal.SIGSTOP)
    time.sleep(1)  # the stall itself
    gw.signal(signal.SIGCONT)
    r = run.wait().result
    assert r["sent"] == pytest.approx(3000, abs=30)
    # what should have been sent during the second waited for half of it in the mean: a third of all messages
    assert r["latency"]["max_us"] > 900_000
    assert r["latency"]["p90_us"] > 500_000
    assert r["service"]["p90_us"] < r["latency"]["p90_us"]


def test_interrupted_it_reports_what_was_done(sluice, load):
    gw = sluice(CONFIG)
    run = load(url(gw, "tcp"), "-t", "60s", "-r", 500)
    gw.wait_records(200)
    run.process.send_signal(signal.SIGINT)
    r = run.wait(15).result
    assert r["end"] == "interrupted" and r["sent"] >= 200 and r["unacknowledged"] == 0


@pytest.mark.parametrize("scheme", ["mqtt", "tcp", "http"])
def test_nobody_listens(load, free_port, scheme):
    port = free_port()
    run = load(f"{scheme}://127.0.0.1:{port}", "-t", "60s").wait(15)
    assert run.process.returncode == 1 and run.result["errors"]["refused"] == 1
    assert run.result["first_errors"]["refused"] == f"connect to 127.0.0.1 port {port}: Connection refused"


def test_wrong_credentials_and_busy_are_told_apart(load):
    answers = iter([503, 401, 204, 400, 204])

    class Server(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            seen.append((self.headers["Authorization"], json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(next(answers))
            self.send_header("Content-Length", "0")
            self.send_header("Retry-After", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            r = load(f"http://127.0.0.1:{server.server_address[1]}/x", "-n", 4, "--user", "u-{device}",
                     "--password", "p-{connection}").wait().result
        finally:
            server.shutdown()
            thread.join()
    assert (r["errors"]["busy"], r["errors"]["auth"], r["errors"]["rejected"]) == (1, 1, 1)
    assert (r["acknowledged"], r["sent"], r["resent"]) == (2, 4, 1)
    assert [p["load"]["seq"] for _, p in seen] == [0, 0, 1, 2, 3]
    assert seen[0][0] == "Basic dS1odHRwLTAwMDAwMDpwLTA="  # u-http-000000:p-0


def test_a_storm_tells_how_long_until_all_are_in(sluice, load):
    gw = sluice(CONFIG)
    r = load(url(gw, "mqtt"), "--storm", 500).wait().result
    assert r["end"] == "connected" and r["connects"] == r["connections"] == 500 and r["sent"] == 0
    assert r["connect"]["count"] == 500


def test_connections_that_only_stay(sluice, load):
    gw = sluice(CONFIG)
    run = load(url(gw, "mqtt"), "-c", 20, "--idle", "--keep-alive", "1s", "-t", "4s")
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="mqtt") == 20, 10)
    r = run.wait().result
    assert r["sent"] == 0 and r["connects"] == 20 and r["reconnects"] == 0 and sum(r["errors"].values()) == 0


def test_reconnecting_slow_and_fleet_senders(sluice, load):
    gw = sluice(CONFIG)
    again = load(url(gw, "mqtt"), "-c", 2, "--reconnect-every", "500ms", "-r", 200, "-t", "3s")
    slow = load(url(gw, "tcp"), "-c", 3, "-n", 6, "--slow", "20:10ms", "--name", "slow-{n}")
    fleet = load(url(gw, "http"), "-c", 20, "--every", "500ms", "--jitter", "30%", "-t", "3s", "--name", "fleet-{n}")
    assert again.wait().result["reconnects"] >= 4 and again.result["acknowledged"] == again.result["sent"]
    assert slow.wait().result["acknowledged"] == 6
    r = fleet.wait().result
    assert 100 <= r["sent"] <= 125 and r["acknowledged"] == r["sent"]


def test_sizes_and_own_templates(sluice, load):
    gw = sluice(CONFIG)
    load(url(gw, "mqtt"), "-n", 50, "--size", "300-400", "--payload", '{"v":{walk:1.0:2.0},"s":"{random:a|b}"}').wait()
    for r in gw.wait_records(50):
        text = json.dumps(r["payload"], separators=(",", ":"))
        assert 300 <= len(text) <= 402 and 1 <= r["payload"]["v"] <= 2 and r["payload"]["s"] in "ab"


def test_tls_with_and_without_trust(load, tmp_path):
    """A TLS server that counts lines; its certificate is trusted by --ca only."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                    "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key",
                    "-out", tmp_path / "cert"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    listener = socket.create_server(("127.0.0.1", 0))
    lines = []

    def serve():
        while True:
            try:
                raw, _ = listener.accept()
                with context.wrap_socket(raw, server_side=True) as c, c.makefile("rb") as file:
                    for n, line in enumerate(file, 1):
                        lines.append(json.loads(line))
                        c.sendall(b"ok %d\n" % n)
            except ssl.SSLError:
                continue
            except OSError:
                if listener.fileno() < 0:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    target = f"tls://127.0.0.1:{listener.getsockname()[1]}"
    try:
        good = load(target, "-n", 2000, "--ca", tmp_path / "cert").wait()
        bad = load(target, "-n", 1).wait()
        none = load(target, "-n", 1, "--cert", tmp_path / "{connection}.pem", "--key", tmp_path / "{connection}.key").wait()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    assert good.result["acknowledged"] == 2000 and len(lines) == 2000 and good.result["bytes_out"] > 2000 * 170
    assert bad.process.returncode == 1
    assert bad.result["errors"]["tls"] == 1 and "certificate" in bad.result["first_errors"]["tls"]
    assert f"{tmp_path}/0.pem: " in none.result["first_errors"]["tls"]


def test_a_port_without_tls_is_told_as_such(sluice, load):
    gw = sluice(CONFIG)
    for scheme, listener in {"tls": "tcp", "mqtts": "mqtt", "https": "http"}.items():
        host, port = gw.address(listener)
        run = load(f"{scheme}://{host}:{port}", "-n", 1).wait(30)
        assert run.process.returncode == 1 and "does this port speak TLS?" in run.result["first_errors"]["tls"], run.result


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_real_mosquitto_takes_it(mosquitto, load, qos):
    run = load(f"mqtt://127.0.0.1:{mosquitto.port}", "-c", 4, "-n", 2000, "--qos", qos, "--window", 20).wait()
    r = run.result
    assert run.process.returncode == 0 and sum(r["errors"].values()) == 0
    assert r["acknowledged"] + r["unconfirmed"] == 2000 and r["unacknowledged"] == 0


def test_a_wrong_line_says_what_to_do(tmp_path):
    for args, words in {
        ("mqtt://h", "--qso", "1"): "did you mean --qos",
        ("mqtt://h",): "--duration, --count",
        ("ftp://h", "-n", "1"): "no such scheme",
        ("tcp://h/x", "-n", "1"): "no path",
        ("tcp://h", "-n", "1", "--qos", "1"): "--qos",
        ("tcp://127.0.0.1", "-n", "1", "--payload", "hello"): "--raw",
        ("mqtt://h", "-c", "x", "-n", "1"): "no whole number",
        ("mqtt://127.0.0.1", "-c", "100000000", "-n", "1"): "descriptors",
        ("tcp://127.0.0.1", "-n", "1", "--jitter", "5%"): "--every",
        ("tcp://127.0.0.1", "-n", "1", "--pid", "999999999"): "no such process",
        ("tcp://127.0.0.1", "-n", "1", "--html", "/nonexistent/x"): "cannot be written",
        ("find", "tcp://127.0.0.1", "-r", "5k"): "is what is looked for",
        ("find", "tcp://127.0.0.1", "-n", "5"): "--duration",
        ("find", "tcp://127.0.0.1", "--html", "x"): "unknown option --html",
    }.items():
        done = subprocess.run([LOAD, *args], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and words in done.stderr, (args, done.stderr)


def test_help_and_self_test():
    text = subprocess.run([LOAD, "run", "--help"], capture_output=True, text=True, check=True).stdout
    assert "--coap" not in text and "--rate" in text and "sluice-load mqtt://127.0.0.1" in text
    lines = subprocess.run([LOAD, "self-test", "--duration", "200ms"], capture_output=True, text=True, check=True,
                           timeout=60).stdout.splitlines()
    assert len(lines) == 8
    for line in lines[1:]:
        rate, cpu, errors = map(float, re.split(r"\s{2,}", line)[1:])
        assert rate > 1000 and cpu > 0 and errors == 0, line
