"""What every measurement needs: a directory, the program under a configuration, loads that are run and believed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import ROOT, cpu_seconds, load_average, peak_bytes

sys.path.insert(0, str(ROOT / "test" / "system"))
from harness import Sluice, free_ports, wait_until  # noqa: E402

NULL_SINK = {"null": {"type": "null"}}
FILE_SINK = {"file": {"rotate_bytes": "256MiB", "keep": 1}}
LISTENERS = {
    "mqtt": {"protocol": "mqtt"},
    "coap": {"protocol": "coap"},
    "tcp": {"protocol": "tcp", "device": ["/device"], "reply": "count"},
    "http": {"protocol": "http"},
}
DEVICES = 1024  # one device again and again would be learnt by heart by the processor
SENDER_SECONDS = 120  # no load takes longer; one that does is an error
SETTLE_SECONDS = 120  # nor do the sinks


class Failed(Exception):
    """A measurement that could not be made; the others go on."""


class Load:
    """What sluice-load reported (.raw, load/result.h)."""

    def __init__(self, raw):
        self.raw = raw
        self.sent, self.acknowledged = raw["sent"], raw["acknowledged"]
        self.confirmed = self.acknowledged + raw["unconfirmed"]
        self.seconds = raw["duration_us"] / 1e6
        self.rate = self.confirmed / self.seconds if self.seconds else 0
        self.warning = raw["warning"]

    def us(self, what="p99_us", of="latency"):
        return self.raw[of][what]

    @property
    def busy(self):
        """Answers that there is no room just now (HTTP 503, CoAP 5.03); such messages are sent again."""
        return self.raw["errors"]["busy"]

    @property
    def errors(self):
        """What else went wrong."""
        return sum(self.raw["errors"].values()) - self.busy


class Cost:
    """One load on one gateway: processor time and what came of it."""

    def __init__(self, before, after, cpu, load, rss):
        def gone(name):
            return after[name] - before[name]
        self.load = load
        self.taken = gone("accepted")
        self.us = cpu / self.taken * 1e6
        self.seconds = gone("at")
        self.commits = max(gone("commits"), 1)
        self.commit_us = gone("commit_seconds") / self.commits * 1e6
        self.block_bytes = gone("written") / self.commits
        self.written_mib_s = gone("written") / (1 << 20) / load.seconds if load.seconds else 0
        self.commit_every_us = load.seconds / self.commits * 1e6
        self.rss = rss
        self.through = self.taken / self.seconds  # until the sinks had everything

    def told(self):
        words = [f"{self.us:.2f} us", f"{self.load.rate:,.0f}/s",
                 f"{self.taken / self.commits:.0f} a commit of {self.commit_us:.0f} us"]
        return ", ".join(words + [f"{n} {what}" for n, what in ((self.load.errors, "errors"), (self.load.busy, "busy"))
                                  if n])


class Workshop:
    def __init__(self, runs):
        self.runs = runs
        self.programs = Path(os.environ.get("BUILD", ROOT / "build")).resolve()
        self.sluice_program = self.programs / "sluice"
        self.dir = Path(tempfile.mkdtemp(prefix="bench-", dir=self.programs))
        self.loads = [load_average()]
        self.shared = {}  # what one measurement leaves for others: saturation, disk
        self._count = 0
        self._real = None

    def close(self):
        self._stop_real()
        shutil.rmtree(self.dir, ignore_errors=True)

    def say(self, name, run, text):
        """A line of progress; run counts from 0, None where there is only one."""
        self.loads.append(load_average())
        which = "" if run is None else f" {run + 1}/{self.runs}"
        print(f"{name + which:<24} {text} (load {self.loads[-1]:.1f})", file=sys.stderr, flush=True)

    def directory(self, name):
        self._count += 1
        path = self.dir / f"{name}-{self._count}"
        path.mkdir()
        return path

    def program(self, name):
        path = self.programs / "test" / "bench" / name
        if not path.exists():
            raise Failed(f"{path} is not there")
        return str(path)

    # -- servers

    @contextlib.contextmanager
    def sluice(self, listeners, sinks=None, config=None, env=None, start=True):
        """A running gateway (start=False: one that can be started) with a fresh data directory. listeners: settings by
        name, or a name of LISTENERS; sinks: null unless told; config: other sections; env: its environment."""
        directory = self.directory("sluice")
        if isinstance(listeners, str):
            listeners = {listeners: dict(LISTENERS[listeners])}
        whole = {"listeners": {name: dict(one) for name, one in listeners.items()},
                 "sinks": {name: dict(one) for name, one in (sinks or NULL_SINK).items()},
                 "log": {"format": "json"}, **(config or {})}
        s = Sluice(directory, whole, program=self.sluice_program, env=env)
        try:
            if start:
                s.start()
            yield s
        finally:
            wrong = s.finish()
            shutil.rmtree(directory, ignore_errors=True)
            if wrong and sys.exc_info()[0] is None:
                raise Failed(wrong)

    @contextlib.contextmanager
    def server(self, *command, port=None, **options):
        """Some other server, until the block ends; yields its pid once the TCP port takes connections (without a
        port: once it has written a line)."""
        options.setdefault("stdout", subprocess.DEVNULL if port else subprocess.PIPE)
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, **options)
        try:
            def listening():
                if process.poll() is not None:
                    raise Failed(f"{command[0]} ended with exit code {process.returncode}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    return True
            if port:
                wait_until(listening, 20, f"{command[0]} listens")
            elif not process.stdout.readline():
                raise Failed(f"{command[0]} does not start")
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()

    def real(self, kind):
        """A real server of that class (services.py), kept for whoever asks next. One at a time: two Java servers would
        share what two cores have."""
        if not isinstance(self._real, kind):
            self._stop_real()
            self.say(kind.__name__.lower(), None, "starts")
            self._real = kind(self.directory(kind.__name__.lower()))
        return self._real

    def _stop_real(self):
        if self._real:
            self._real.stop()
        self._real = None

    def slow_sync(self, added_us=10_000):
        """Environment in which every fdatasync takes so much longer."""
        return {"LD_PRELOAD": self.program("slow_sync.so"), "SLOW_SYNC_US": str(added_us)}

    @staticmethod
    def free_port():
        return free_ports()

    # -- programs that end

    def run(self, name, *args, env=None):
        """Runs a program of test/bench to its end; its standard output."""
        return self._run(self.program(name), *args, env=env)

    def _run(self, *command, env=None, good=(0,)):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=SENDER_SECONDS, env=dict(os.environ, **(env or {})))
        if done.returncode not in good:
            raise Failed(f"{' '.join(map(str, command))}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def rows(self, program, /, *args, **labels):
        """The figures that a small benchmark prints (bench_micro.h), of those that have these labels. It runs once,
        however often it is asked."""
        key = (program, *args)
        if key not in self.shared:
            self.shared[key] = [json.loads(line) for line in self.run(program, *args).splitlines()]
        found = [row for row in self.shared[key] if all(row.get(label) == value for label, value in labels.items())]
        if not found:
            raise Failed(f"{program} has no figure with {labels}")
        return found

    def load(self, url, *options):
        """Runs sluice-load with one thread, so that the other core is the server's; its report."""
        report = self.dir / "load.json"
        report.unlink(missing_ok=True)
        self._run(self.programs / "sluice-load", url, "--workers", 1, "--quiet", "--json", report, *options,
                  good=(0, 1))
        load = Load(json.loads(report.read_text()))
        if not load.sent and not load.raw["connects"]:
            raise Failed(f"{url}: nothing was sent: {load.raw['first_errors']}")
        if load.errors > load.sent / 100 + 1:
            raise Failed(f"{url}: {load.errors} errors in {load.sent} messages: {load.raw['first_errors']}")
        return load

    def disk(self, directory, size, every_us=0, seconds=1.0, synced=True, env=None):
        """What the disk takes to write blocks of that size so often and to sync each (bench_disk)."""
        args = [directory, int(min(max(size, 1), 1 << 20)), f"{every_us:.1f}", seconds]
        return json.loads(self.run("bench_disk", *args, *([] if synced else ["unsynced"]), env=env))

    def disk_rate(self):
        """MiB/s that O_DIRECT writes of 1 MiB get, measured once."""
        if "disk" not in self.shared:
            self.shared["disk"] = self.disk(self.dir, 1 << 20, seconds=1, synced=False)["mib_s"]
        return self.shared["disk"]

    # -- the gateway under load

    @staticmethod
    def url(s, listener):
        host, port = s.address(listener)
        return f"{s.config['listeners'][listener].get('protocol', listener)}://{host}:{port}"

    def cost(self, s, listener, *options, devices=DEVICES, lossy=False):
        """Loads the gateway and waits until its sinks have everything that it took. devices: None for one per
        connection; lossy: what nobody acknowledged may be lost on the way (CoAP NON)."""
        before = self.counts(s)
        cpu = cpu_seconds(s.pid)
        load = self.load(self.url(s, listener), *(["-d", devices] if devices else []), *options)

        def settled():
            now = self.counts(s)
            taken = now["accepted"] - before["accepted"]
            there = taken >= (load.acknowledged if lossy else load.confirmed) and now["lanes"] == 0
            return now if there and now["delivered"] >= before["delivered"] + taken * now["sinks"] else None
        after = wait_until(settled, SETTLE_SECONDS, "the sinks have everything that was acknowledged", every=0.05)
        cpu = cpu_seconds(s.pid) - cpu
        if after["accepted"] == before["accepted"]:
            raise Failed("nothing was taken")
        return Cost(before, after, cpu, load, peak_bytes(s.pid))

    @staticmethod
    def counts(s):
        m = s.metrics()
        return {"at": time.monotonic(),
                "accepted": m.sum("sluice_messages_accepted_total"),
                "delivered": m.sum("sluice_sink_records_total"),
                "lanes": m.sum("sluice_lane_bytes"),
                "sinks": len(s.config["sinks"]),
                "commits": m.sum("sluice_journal_commits_total"),
                "written": m.sum("sluice_journal_written_bytes_total"),
                "commit_seconds": m.sum("sluice_journal_commit_duration_seconds_sum")}
