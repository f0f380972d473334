"""The program under test, as the tests see it: configured, started, looked at, stopped, killed."""

import contextlib
import copy
import functools
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SLOWNESS = float(os.environ.get("SLUICE_SLOWNESS", "1"))

DEFAULTS = {
    "listeners": {
        "mqtt": {"protocol": "mqtt"},
        "coap": {"protocol": "coap"},
        "tcp": {"protocol": "tcp", "device": ["/device", "peer"]},
        "http": {"protocol": "http"},
    },
    "sinks": {"file": {"type": "file", "sync_interval": "50ms"}},
    "log": {"level": "info", "format": "json"},
}


def wait_until(condition, timeout=10, what="the condition", every=0.02):
    """Calls condition until it returns something true, and returns that; fails after timeout seconds."""
    end = time.monotonic() + timeout * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {timeout * SLOWNESS:g} s"
        time.sleep(every)


def tcp_config(sinks, listener=None, file=False):
    """A configuration, to be taken without DEFAULTS: a TCP listener that answers when a line is durable, these sinks, and a file sink if
    asked for."""
    return {
        "listeners": {"tcp": {"protocol": "tcp", "device": ["/device"], "reply": "count", **(listener or {})}},
        "sinks": {**sinks, **({"file": {"type": "file", "sync_interval": "50ms"}} if file else {})},
        "log": {"level": "info", "format": "json"},
    }


def send_lines(gateway, payloads):
    """Sends each payload as a line to the listener `tcp`, and waits until all are acknowledged."""
    payloads = [p if isinstance(p, str) else json.dumps(p) for p in payloads]
    with socket.create_connection(gateway.address("tcp"), timeout=30 * SLOWNESS) as s:
        s.sendall("".join(p + "\n" for p in payloads).encode())
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
    assert answer.splitlines()[-1] == f"ok {len(payloads)}".encode(), answer[-200:]


# ---- ports -----------------------------------------------------------------------------------------------------------

_given = set()


def free_ports(count=1):
    """The first of count neighbouring ports that are free for TCP and UDP on 127.0.0.1, and were not given before.

    Below the range from which the kernel picks ports for outgoing connections: those come and go at any moment."""
    for _ in range(1000):
        first = random.randrange(12000, 32000 - count)
        block = range(first, first + count)
        if not _given.intersection(block) and all(_is_free(port) for port in block):
            _given.update(block)
            return first
    raise RuntimeError("no free ports")


def _is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


# ---- the program -----------------------------------------------------------------------------------------------------


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for 127.0.0.1


@functools.cache
def _metric_names():
    return set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))


class Metrics(dict):
    """Samples of /metrics by their whole text, e.g. m['sluice_accepted_total{listener="mqtt"}']."""

    _sample = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)(?: \d+)?$')
    _label = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        super().__init__()
        self.text = text
        self._parsed = []
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            match = self._sample.match(line)
            assert match, f"not a metric sample: {line!r}"
            name, labels, value = match.group(1), match.group(2) or "", float(match.group(3))
            self[name + labels] = value
            self._parsed.append((name, dict(self._label.findall(labels)), value))

    def sum(self, name, **labels):
        """The sum of all samples of that name that have these labels; 0.0 when there is none. A name that does not exist is a mistake of
        the test, which would find 0.0 for ever."""
        assert re.sub("_(sum|count|bucket)$", "", name) in _metric_names() or name in _metric_names(), f"{name}: there is no such metric"
        return sum(v for n, have, v in self._parsed if n == name and labels.items() <= have.items())

    def has(self, name):
        return any(n == name for n, _, _ in self._parsed)


def merge(base, change):
    """base with change laid over it: mappings are merged, None removes a key, all else replaces."""
    out = copy.deepcopy(base)
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


class Sluice:
    """One configured gateway: running, stopped or killed, always on the same data directory and ports."""

    def __init__(self, directory, config, program=None, env=None):
        self.dir = directory
        self.program = str(program or os.environ.get("SLUICE_BIN") or ROOT / "build" / "sluice")
        self.env = dict(os.environ, **(env or {}))
        self.log_path = directory / "log"
        self.config_path = directory / "sluice.yaml"
        self.proc = None
        self.expected_to_end = False
        self._read = (None, 0, [])
        self.configure(config)

    # -- configuration

    def configure(self, config):
        """Takes a whole configuration, fills in addresses, data directory and file path, and writes the file."""
        self.config = config
        config.setdefault("data", str(self.dir / "data"))
        self.data = Path(config["data"])
        for listener in config.get("listeners", {}).values():
            listener.setdefault("listen", f"127.0.0.1:{free_ports()}")
        config.setdefault("admin", {}).setdefault("listen", f"127.0.0.1:{free_ports()}")
        self.file = None
        for name, sink in config.get("sinks", {}).items():
            if sink.get("type", name) == "file":
                sink.setdefault("path", str(self.data / "telemetry.ndjson"))
                self.file = self.file or Path(sink["path"])
        self.write_config()

    def write_config(self):
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))

    def port(self, listener):
        return int(self.config["listeners"][listener]["listen"].rpartition(":")[2])

    def address(self, listener):
        """(host, port), as socket.create_connection takes it."""
        host, _, port = self.config["listeners"][listener]["listen"].rpartition(":")
        return host.strip("[]"), int(port)

    def url(self, path="", listener="http"):
        return f"http://{self.config['listeners'][listener]['listen']}{path}"

    def admin(self, path=""):
        return f"http://{self.config['admin']['listen']}{path}"

    # -- running

    def start(self, wait="ready", timeout=20):
        """wait: "ready" (/readyz says so), "live" (/livez answers) or None."""
        assert not self.running(), "it runs already"
        assert os.access(self.program, os.X_OK), f"{self.program} is not there: run make first"
        self.expected_to_end = False
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(
                [self.program, "--config", str(self.config_path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir, env=self.env)
        if wait:
            path = {"ready": "/readyz", "live": "/livez"}[wait]
            wait_until(lambda: self._answers(path), timeout, f"sluice is {wait}")
        return self

    def _answers(self, path):
        if self.proc.poll() is not None:
            self.expected_to_end = True  # told here, not once more after the test
            pytest.fail(f"sluice ended with exit code {self.proc.returncode} when it should start:\n"
                        f"{self.log()[-3000:]}")
        return self.status(path) == 200

    def status(self, path):
        """The HTTP status of a page of the admin port; None without an answer."""
        return self.admin_get(path)[0]

    def admin_get(self, path, timeout=5):
        """(status, text) of a page of the admin port; (None, why) without an answer."""
        try:
            with _direct.open(self.admin(path), timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)

    def command(self, *args, timeout=20, **kwargs):
        """Runs the program with other arguments, e.g. command("--check", path); a CompletedProcess with text."""
        kwargs.setdefault("env", self.env)
        return subprocess.run([self.program, *map(str, args)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=timeout * SLOWNESS, cwd=self.dir, **kwargs)

    def running(self):
        return self.proc is not None and self.proc.poll() is None

    @property
    def pid(self):
        return self.proc.pid

    def signal(self, number):
        self.proc.send_signal(number)

    def wait_exit(self, timeout=15):
        """Waits until the program ends, which the test expects; returns its exit code (-9: killed by signal 9)."""
        self.expected_to_end = True
        return self.proc.wait(timeout * SLOWNESS)

    def stop(self, timeout=15):
        """SIGTERM; returns the exit code."""
        if self.running():
            self.proc.terminate()
        return self.wait_exit(timeout)

    def kill(self):
        """SIGKILL: what a crash is like."""
        self.proc.kill()
        return self.wait_exit()

    def restart(self, wait="ready", timeout=20):
        """Stops it if it runs, and starts it on the same data with the configuration as it is now."""
        if self.running():
            code = self.stop()
            assert code == 0, f"sluice ended with exit code {code}"
        self.write_config()
        return self.start(wait, timeout)

    # -- looking

    def log(self):
        """All that it wrote since the test began, over restarts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_events(self):
        """The log lines that are JSON objects, parsed."""
        events = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
        return events

    def wait_log(self, text, timeout=10):
        wait_until(lambda: text in self.log(), timeout, f"{text!r} in the log")

    def metrics(self):
        status, text = self.admin_get("/metrics")
        assert status == 200, f"/metrics: {status} {text}"
        return Metrics(text)

    def wait_metric(self, name, at_least, timeout=10, **labels):
        """Waits until the sum of these samples is at_least, and returns it."""
        def enough():
            value = self.metrics().sum(name, **labels)
            return value if value >= at_least else None
        return wait_until(enough, timeout, f"{name} {labels or ''} >= {at_least}")

    def memory(self):
        """Resident bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def records(self, path=None):
        """The records in the file sink, in order: rotated files first. A last line without its end is not one yet."""
        path = Path(path or self.file)
        files = [f for f in path.parent.glob(path.stem + "*") if f != path and f.is_file()]
        out = []
        for file in sorted(files, key=lambda f: f.stat().st_mtime_ns):
            out += self._parse(file.read_bytes())[0]
        return out + self._tail(path)

    def _tail(self, path):
        # The current file only grows: what was parsed before is not parsed again.
        known, offset, records = self._read
        try:
            with open(path, "rb") as file:
                stat = os.fstat(file.fileno())
                this = (str(path), stat.st_ino)
                if this != known or stat.st_size < offset:
                    offset, records = 0, []
                file.seek(offset)
                more, used = self._parse(file.read())
        except FileNotFoundError:
            return []
        records = records + more
        self._read = (this, offset + used, records)
        return list(records)

    @staticmethod
    def _parse(data):
        end = data.rfind(b"\n") + 1
        return [json.loads(line) for line in data[:end].splitlines()], end

    def wait_records(self, wanted, timeout=10):
        """Waits for a number of records, or until wanted(records) is true; returns the records."""
        enough = wanted if callable(wanted) else lambda records: len(records) >= wanted
        end = time.monotonic() + timeout * SLOWNESS
        while True:
            records = self.records()
            if enough(records):
                return records
            if time.monotonic() >= end or not self.running():
                what = "a condition" if callable(wanted) else wanted
                state = "runs" if self.running() else f"ended with exit code {self.proc and self.proc.returncode}"
                pytest.fail(f"waited for {what}, {len(records)} records are in {self.file}; sluice {state}; the last: "
                            f"{json.dumps(records[-3:])}")
            time.sleep(0.02)

    # -- the end

    def finish(self):
        """Stops it; returns what is wrong with how it went, or None."""
        wrong = None
        if self.proc is not None and not self.expected_to_end:
            if not self.running():
                wrong = f"sluice died with exit code {self.proc.returncode}"
            else:
                try:
                    code = self.stop(20)
                    wrong = f"sluice stopped with exit code {code}" if code else None
                except subprocess.TimeoutExpired:
                    wrong = "sluice did not stop at SIGTERM"
        if self.running():
            self.signal(signal.SIGCONT)
            self.kill()
        complaint = r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error: |Assertion .* failed"
        found = re.search(complaint, self.log())
        if found:
            wrong = f"{found.group(0)}:\n{self.log()[found.start():found.start() + 6000]}"
        return wrong
