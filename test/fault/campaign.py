"""A standard round of the campaign: a fresh gateway, sluice-load sending numbered messages on all four protocols, a fault injected at
a random moment, and sluice-load verify on every sink afterwards. Everything random comes from the round's seed."""

import contextlib
import json
import random
import subprocess
import time

from harness import DEFAULTS, Sluice, merge, wait_until  # test/system
from proxy import Proxy
from sending import LOAD, verify_sources

# Small segments and lanes, so that a few megabytes of traffic fill many segments of the journal.
SMALL = {
    "journal": {"segment": "1MiB", "block": "256KiB", "tail_memory": "256KiB"},
    "listeners": {
        "mqtt": {"lane": "256KiB", "max_payload": "16KiB"},
        "coap": {"lane": "256KiB", "max_payload": "16KiB"},
        "tcp": {"lane": "256KiB", "max_payload": "16KiB", "reply": "count", "device": ["/device"]},
        "http": {"lane": "256KiB", "max_payload": "16KiB"},
    },
}

# How much resident memory may have grown when the backlog of an outage is delivered: twice the largest growth measured in
# rounds of items 4 and 5 (2.1 to 15.3 MiB; 4.6 after a minute without Kafka).
MEMORY_GROWTH_MAX = 32 << 20


class RoundFailed(Exception):
    """An acknowledged message is missing, or the round could not be finished."""


class StandardRound:
    """Load, inject, verify: .gateway, .rng, and what inject() needs."""

    def __init__(self, directory, backends, seed, name, number, duration_s, proxied=False):
        self.dir, self.backends, self.rng, self.name, self.number = directory, backends, random.Random(seed), name, number
        self.duration_s, self.inject_within_s, self.recovery_s, self.notes = duration_s, 0.6 * duration_s, 0.0, []
        self.load_options, self._collectors, self.expected_dead_letters = [], [], {}  # of sluice-load; -; reason by sink
        self.cleanup = contextlib.ExitStack()  # undone after the round
        self.ledger = directory / "ledger"
        self.sources, self.proxied, self.proxy = {}, proxied, None
        self.live_first = None  # the name of the sink that has replay_order live_first
        directory.mkdir(parents=True)
        self.gateway = Sluice(directory, merge(merge(DEFAULTS, SMALL), {"sinks": self._sinks()}))
        self.sources["file"] = str(self.gateway.file)
        self.load = None

    def _sinks(self):
        sinks = {}
        for name in self.backends.names:
            backend = self.backends.get(name)
            if name == "kafka":
                backend.create_topic(self.name)
                sinks[name] = {"brokers": backend.bootstrap, "topic": self.name}
                self.sources[name] = f"kafka://{backend.bootstrap}/{self.name}"
            else:
                if self.proxied:
                    self.proxy = Proxy("127.0.0.1", backend.port)
                sinks[name] = {"nodes": self.proxy.url if self.proxy else backend.url, "index": self.name, "backoff_max": "1s",
                               "request_timeout": "5s"}
                self.sources[name] = f"{backend.url}/{self.name}"
        return sinks

    # -- the load

    def _targets(self):
        own = {"mqtt": f"qos={self.rng.choice([1, 2])}", "coap": "window=4", "tcp": "window=200",
               "http": f"batch={self.rng.choice([1, 10])}"}
        for listener, options in own.items():
            host, port = self.gateway.address(listener)
            yield f"{listener}://{host}:{port}#{options}"

    def start(self):
        """Starts the gateway and the load, and returns at a random moment during the load."""
        self.gateway.start()
        self.load = subprocess.Popen(
            [LOAD, *self._targets(), "-c", str(self.rng.randrange(1, 5)), "-r", str(self.rng.choice([200, 500, 1000])),
             "-t", f"{self.duration_s}s", "--ledger", self.ledger, "--json", self.dir / "load.json", "--quiet", *self.load_options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_until(lambda: self.gateway.metrics().sum("sluice_messages_accepted_total") > 0, 20, "messages are accepted")
        time.sleep(self.rng.uniform(0, self.inject_within_s))
        self.before = (self.gateway.pid, self.gateway.memory())

    def outage(self, what):
        """with round_.outage("kill -9"): ...; the time inside is the time to recovery."""
        self.notes.append(what)
        return self._timed()

    @contextlib.contextmanager
    def _timed(self):
        began = time.monotonic()
        yield
        self.recovery_s = max(self.recovery_s, time.monotonic() - began)

    def make_unavailable(self, name, how, seconds):
        """A backend is stopped in order, killed or frozen for some seconds; the time to recovery is from its return until the sink has
        caught up."""
        backend = self.backends.get(name)
        unavailable = {"stopped": backend.down, "killed": lambda: backend.down(crash=True), "frozen": backend.paused}[how]
        with unavailable():
            time.sleep(seconds)
        with self.outage(f"{how} for {seconds:.0f} s"):
            self.wait_caught_up(name)

    def wait_caught_up(self, name):
        wait_until(lambda: self.metric(name, "lag_records") < 1000, 240, f"{name} catches up")

    def metric(self, name, of):
        """A metric of the sink of that name."""
        return self.gateway.metrics().sum(f"sluice_sink_{of}", sink=name)

    def change_sink(self, name, **settings):
        """Before the gateway is started."""
        self.gateway.config["sinks"][name].update(settings)
        self.gateway.write_config()

    def wait_reported(self, text, timeout=30):
        """Waits until /readyz?verbose reports the text."""
        wait_until(lambda: text in self.gateway.admin_get("/readyz?verbose")[1], timeout, f"/readyz reports {text!r}")

    def finish(self):
        """Waits for the end of the load, until every sink has everything, and until memory is given back; stops the gateway, and
        replays the expected dead letters."""
        output, _ = self.load.communicate(timeout=self.duration_s + 120)
        if self.load.returncode:
            raise RoundFailed(f"sluice-load ended with exit code {self.load.returncode}: {output[-2000:]}")
        wait_until(lambda: self.gateway.metrics().sum("sluice_sink_lag_records") == 0, 120, "the sinks have everything")
        self._memory_returns()
        dead = {name: self.metric(name, "dead_records_total") for name in self.gateway.config["sinks"]}
        if unexpected := {name: n for name, n in dead.items() if n and name not in self.expected_dead_letters}:
            raise RoundFailed(f"there are dead letters: {unexpected}")
        failure = self.gateway.finish()
        if failure:
            raise RoundFailed(failure)
        if self.live_first:
            replays = self.gateway.log().count("replays what gathered, behind what is new")
            self.notes.append(f"live first, {replays} replays")
        for name, reason in self.expected_dead_letters.items():
            self._replay_dead_letters(name, reason, dead[name])

    def _memory_returns(self):
        pid, before = self.before
        if pid != self.gateway.pid:
            return
        try:
            wait_until(lambda: self.gateway.memory() <= before + MEMORY_GROWTH_MAX, 15, "")
        except AssertionError:
            raise RoundFailed(f"memory is not given back: {before >> 10} KiB before, {self.gateway.memory() >> 10} KiB after") from None
        self.notes.append(f"memory {(self.gateway.memory() - before) / (1 << 20):+.1f} MiB")

    def _replay_dead_letters(self, name, reason, counted):
        """Every dead letter of the sink has this reason, and is accepted now that the cause is fixed."""
        path = self.gateway.data / "dead" / f"{name}.ndjson"
        dead_letters = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if not dead_letters or len(dead_letters) != counted:
            raise RoundFailed(f"{name}: {len(dead_letters)} dead letters, {counted:.0f} counted")
        if other := [dead_letter["reason"] for dead_letter in dead_letters if reason not in dead_letter["reason"]]:
            raise RoundFailed(f"{name}: {len(other)} dead letters for other reasons than {reason}: {other[0]}")
        done = self.gateway.command("deadletters", "replay", "--sink", name, "--config", self.gateway.config_path, timeout=120)
        if done.returncode:
            raise RoundFailed(f"{name}: replay of {len(dead_letters)} dead letters: {done.stdout}{done.stderr}")
        self.notes.append(f"{len(dead_letters)} dead letters replayed")

    # -- the verdict

    def collect(self, name, complete, path):
        """Reads what this sink delivered from a file, which complete() completes at the end."""
        self._collectors.append(complete)
        self.sources[name] = str(path)

    def verify(self):
        """The verdicts of sluice-load verify --json, by the name of the sink."""
        for complete in self._collectors:
            complete()
        verdicts, self.report = verify_sources(self.ledger, *self.sources.values())
        return dict(zip(self.sources, verdicts, strict=True))

    def close(self):
        if self.load and self.load.poll() is None:
            self.load.kill()
            self.load.communicate()
        if self.gateway.running():
            self.gateway.finish()
        if self.proxy:
            self.proxy.close()
        self.cleanup.close()
        with contextlib.suppress(Exception):
            if "elasticsearch" in self.backends.names:
                self.backends.get("elasticsearch").request("DELETE", f"/{self.name}")
