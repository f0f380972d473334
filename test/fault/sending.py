"""Runs of sluice-load, several at a time, each with its own ledger, and their results."""

import json
import signal
import subprocess

from harness import ROOT

LOAD = ROOT / "build" / "sluice-load"


def target(gateway, listener, **options):
    """Such as mqtt://127.0.0.1:1883#qos=1,connections=20."""
    host, port = gateway.address(listener)
    own = ",".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
    return f"{gateway.config['listeners'][listener].get('protocol', listener)}://{host}:{port}" + (f"#{own}" if own else "")


class Sending:
    """One run of sluice-load: started here, ended by finish()."""

    def __init__(self, directory, name, targets, *options, nice=0):
        self.ledger, self._json, self.name = directory / f"{name}.ledger", directory / f"{name}.json", name
        command = ["nice", "-n", str(nice)] if nice else []
        self._process = subprocess.Popen(
            [*command, LOAD, *targets, "--ledger", self.ledger, "--json", self._json, "--run", name, "--quiet", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def running(self):
        return self._process.poll() is None

    def end(self):
        """Ends it early, in order."""
        if self.running():
            self._process.send_signal(signal.SIGINT)

    def finish(self, timeout=120):
        """Waits for the end; returns the results by protocol."""
        output, _ = self._process.communicate(timeout=timeout)
        if self._process.returncode:
            raise RuntimeError(f"sluice-load {self.name} ended with exit code {self._process.returncode}: {output[-2000:]}")
        results = json.loads(self._json.read_text())
        return {result["protocol"]: result for result in (results if isinstance(results, list) else [results])}

    def close(self):
        if self.running():
            self._process.kill()
            self._process.communicate()


def p99_ms(results, *protocols):
    """The longest p99 of these protocols (all), in milliseconds, measured from when a message should have been sent."""
    return max(r["latency"]["p99_us"] for name, r in results.items() if not protocols or name in protocols) / 1000


def errors(results, *but):
    """Errors of all kinds but those named."""
    kinds = {}
    for r in results.values():
        for kind, count in r["errors"].items():
            if count and kind not in but:
                kinds[kind] = kinds.get(kind, 0) + count
    return kinds


def verify_sources(ledger, *sources):
    """Runs sluice-load verify; returns (its verdict on each source, its report for people)."""
    verdict_path = ledger.with_suffix(".verdict")
    done = subprocess.run([LOAD, "verify", "--ledger", ledger, "--json", verdict_path, "--quiet", *sources], capture_output=True,
                          text=True, timeout=900)
    if done.returncode == 2:
        raise RuntimeError(f"verify: {done.stderr}")
    return json.loads(verdict_path.read_text()), done.stdout


def verify(ledger, *sources):
    """The verdict on the first source, all protocols together: {sent, acknowledged, missing ...}."""
    return verify_sources(ledger, *sources)[0][0]["total"]
