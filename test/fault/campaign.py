"""A round of the campaign: a fresh gateway, sluice-load sending numbered messages on all four protocols, a fault at a random
moment, and what sluice-load verify says of every sink afterwards. Everything random comes from the round's seed."""

import contextlib
import json
import random
import subprocess
import sys
import time

from harness import DEFAULTS, ROOT, Sluice, merge, wait_until  # test/system
from proxy import Proxy
from services import Kafka, Search

LOAD = ROOT / "build" / "sluice-load"

# Small segments and lanes, so that a few megabytes of traffic take the journal through many segments.
SMALL = {
    "journal": {"segment": "1MiB", "block": "256KiB", "tail_memory": "256KiB"},
    "listeners": {
        "mqtt": {"lane": "256KiB", "max_payload": "16KiB"},
        "coap": {"lane": "256KiB", "max_payload": "16KiB"},
        "tcp": {"lane": "256KiB", "max_payload": "16KiB", "reply": "count", "device": ["/device"]},
        "http": {"lane": "256KiB", "max_payload": "16KiB"},
    },
}


class Lost(Exception):
    """The promise is broken, or the round could not be finished."""


class Places:
    """Where records are delivered to: files always, real servers when a round asks for them; each is started once."""

    def __init__(self, directory, names):
        self.dir, self.names, self.running = directory, list(names), {}

    def get(self, name):
        if name not in self.running:
            print(f"starting {name} ...", file=sys.stderr, flush=True)
            directory = self.dir / name
            directory.mkdir(parents=True)
            self.running[name] = {"kafka": Kafka, "elasticsearch": Search}[name](directory)
        return self.running[name]

    def stop(self):
        for place in self.running.values():
            place.stop()


class World:
    """One round: .gateway, .chance, and what a strike needs."""

    def __init__(self, directory, places, seed, name, duration_s, proxied=False):
        self.dir, self.places, self.chance, self.name = directory, places, random.Random(seed), name
        self.duration_s, self.recovery_s, self.strikes = duration_s, 0.0, []
        self.ledger = directory / "ledger"
        self.sources, self.proxied, self.proxy = {}, proxied, None
        directory.mkdir(parents=True)
        self.gateway = Sluice(directory, merge(merge(DEFAULTS, SMALL), {"sinks": self._sinks()}))
        self.sources["file"] = str(self.gateway.file)
        self.load = None

    def _sinks(self):
        sinks = {}
        for name in self.places.names:
            place = self.places.get(name)
            if name == "kafka":
                place.create_topic(self.name)
                sinks[name] = {"brokers": place.bootstrap, "topic": self.name}
                self.sources[name] = f"kafka://{place.bootstrap}/{self.name}"
            else:
                if self.proxied:
                    self.proxy = Proxy("127.0.0.1", place.port)
                sinks[name] = {"nodes": self.proxy.url if self.proxy else place.url, "index": self.name, "backoff_max": "1s",
                               "request_timeout": "5s"}
                self.sources[name] = f"{place.url}/{self.name}"
        return sinks

    # -- the load

    def _targets(self):
        own = {"mqtt": f"qos={self.chance.choice([1, 2])}", "coap": "window=4", "tcp": "window=200",
               "http": f"batch={self.chance.choice([1, 10])}"}
        for listener, options in own.items():
            host, port = self.gateway.address(listener)
            yield f"{listener}://{host}:{port}#{options}"

    def begin(self):
        """Starts the gateway and the load, and returns at a random moment in the middle of it."""
        self.gateway.start()
        self.load = subprocess.Popen(
            [LOAD, *self._targets(), "-c", str(self.chance.randrange(1, 5)), "-r", str(self.chance.choice([200, 500, 1000])),
             "-t", f"{self.duration_s}s", "--ledger", self.ledger, "--json", self.dir / "load.json", "--quiet"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_until(lambda: self.gateway.metrics().sum("sluice_messages_accepted_total") > 0, 20, "messages are accepted")
        time.sleep(self.chance.uniform(0, 0.6 * self.duration_s))

    def struck(self, what):
        """with world.struck("kill -9"): ...; the time inside counts as an outage until everything serves again."""
        self.strikes.append(what)
        return self._outage()

    @contextlib.contextmanager
    def _outage(self):
        began = time.monotonic()
        yield
        self.recovery_s = max(self.recovery_s, time.monotonic() - began)

    def away(self, name, title, most_s=60):
        """A place is stopped in order, killed, or frozen for a while; the outage counts from its return until it has nearly
        everything again."""
        place = self.places.get(name)
        how = self.chance.choice(["stopped", "killed", "frozen"])
        gone = {"stopped": place.down, "killed": lambda: place.down(crash=True), "frozen": place.paused}[how]
        with gone():
            time.sleep(self.chance.uniform(1, most_s))
        with self.struck(f"{title} {how}"):
            wait_until(lambda: self.gateway.metrics().sum("sluice_sink_lag_records", type=name) < 1000, 120,
                       f"{title} catches up")

    def settle(self):
        """Waits for the end of the load, and until every sink has everything; stops the gateway."""
        output, _ = self.load.communicate(timeout=self.duration_s + 120)
        if self.load.returncode:
            raise Lost(f"sluice-load ended with exit code {self.load.returncode}: {output[-2000:]}")
        wait_until(lambda: self.gateway.metrics().sum("sluice_sink_lag_records") == 0, 120, "the sinks have everything")
        if self.gateway.metrics().sum("sluice_sink_dead_records_total"):
            raise Lost("there are dead letters")
        wrong = self.gateway.finish()
        if wrong:
            raise Lost(wrong)

    # -- the verdict

    def judge(self):
        """The verdicts by the name of the sink, as verify --json tells them."""
        told = self.dir / "verdict.json"
        done = subprocess.run([LOAD, "verify", "--ledger", self.ledger, "--json", told, "--quiet", *self.sources.values()],
                              capture_output=True, text=True, timeout=300)
        if done.returncode == 2:
            raise Lost(f"verify: {done.stderr}")
        self.report = done.stdout
        return dict(zip(self.sources, json.loads(told.read_text()), strict=True))

    def close(self):
        if self.load and self.load.poll() is None:
            self.load.kill()
            self.load.communicate()
        if self.gateway.running():
            self.gateway.finish()
        if self.proxy:
            self.proxy.close()
        with contextlib.suppress(Exception):
            if "elasticsearch" in self.places.names:
                self.places.get("elasticsearch").request("DELETE", f"/{self.name}")
