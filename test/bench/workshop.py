"""What every measurement needs: a directory, the program under a configuration, senders that are run and believed."""

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

from machine import ROOT, cpu_seconds, load_average

sys.path.insert(0, str(ROOT / "test" / "system"))
from harness import Sluice, free_ports, wait_until  # noqa: E402

FILE_SINK = {"file": {"rotate_bytes": "256MiB", "keep": 1}}
SENDER_SECONDS = 120  # no run takes longer; one that does is an error


class Failed(Exception):
    """A measurement that could not be made; the others go on."""


class Workshop:
    def __init__(self, runs):
        self.runs = runs
        self.programs = Path(os.environ.get("BUILD", ROOT / "build")).resolve()
        self.sluice_program = self.programs / "sluice"
        self.dir = Path(tempfile.mkdtemp(prefix="bench-", dir=self.programs))
        self.loads = [load_average()]
        self._count = 0

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def say(self, name, run, text):
        self.loads.append(load_average())
        line = f"{name:<20} run {run + 1} of {self.runs}: {text} (load {self.loads[-1]:.1f})"
        print(line, file=sys.stderr, flush=True)

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

    @contextlib.contextmanager
    def sluice(self, listeners, sinks=None, **more):
        """A running gateway with a fresh data directory; env= its environment, wait= as for Sluice.start."""
        directory = self.directory("sluice")
        config = {"listeners": listeners, "sinks": sinks or FILE_SINK, "log": {"format": "json"}}
        s = Sluice(directory, config, program=self.sluice_program, env=more.get("env"))
        try:
            s.start(wait=more.get("wait", "ready"))
            yield s
        finally:
            wrong = s.finish()
            shutil.rmtree(directory, ignore_errors=True)
            if wrong and sys.exc_info()[0] is None:
                raise Failed(wrong)

    @contextlib.contextmanager
    def server(self, *command, port):
        """Some other server, until the block ends; yields its pid once the port takes connections."""
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            def listening():
                if process.poll() is not None:
                    raise Failed(f"{command[0]} ended with exit code {process.returncode}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    return True
            wait_until(listening, 10, f"{command[0]} listens")
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def run(self, name, *args):
        """Runs a program of test/bench to its end; its standard output."""
        done = subprocess.run([self.program(name), *map(str, args)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=SENDER_SECONDS)
        if done.returncode:
            raise Failed(f"{name} {' '.join(map(str, args))}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def send(self, name, *args):
        """Runs a sender; what it reports: messages, lost, seconds, rate, payload."""
        return json.loads(self.run(name, *args).splitlines()[-1])

    def cost(self, s, name, *args, timeout=SENDER_SECONDS):
        """Sends to the gateway and waits until its sinks have everything; (microseconds of CPU per message, report)."""
        before = self.counts(s)
        cpu = cpu_seconds(s.pid)
        report = self.send(name, *args)
        wanted = before["delivered"] + report["messages"] * before["sinks"]
        wait_until(lambda: self.counts(s)["delivered"] >= wanted, timeout, "the sinks have everything", every=0.05)
        cpu = cpu_seconds(s.pid) - cpu
        after = self.counts(s)
        if report["lost"] > report["messages"] / 100:
            raise Failed(f"{report['lost']} of {report['messages']} messages were lost")
        taken = after["accepted"] - before["accepted"]
        if taken < report["messages"] or (report["lost"] == 0 and taken > report["messages"]):
            raise Failed(f"{report['messages']} messages were acknowledged and {taken:.0f} taken")
        report["commits"] = after["commits"] - before["commits"]
        report["commit_us"] = (after["commit_seconds"] - before["commit_seconds"]) / max(report["commits"], 1) * 1e6
        report["whole_seconds"] = time.monotonic() - before["at"]
        return cpu / taken * 1e6, report

    @staticmethod
    def counts(s):
        m = s.metrics()
        return {"at": time.monotonic(),
                "accepted": m.sum("sluice_messages_accepted_total"),
                "delivered": m.sum("sluice_sink_records_total"),
                "sinks": len(s.config["sinks"]),
                "commits": m.sum("sluice_journal_commits_total"),
                "commit_seconds": m.sum("sluice_journal_commit_duration_seconds_sum")}

    @staticmethod
    def free_port():
        return free_ports()
