"""Item 11: two replicas behind a balancer (HAProxy for TCP; CoAP's datagrams go to each by itself, as a balancer by source address
would send them). One is killed with -9 and started again; the other loses its sink, is scaled in with everything that gathered,
and its journal is drained by `sluice drain`. Nothing acknowledged is missing in what both have delivered."""

import os
import shutil
import socket
import subprocess
import time

import yaml

from campaign import SMALL, Lost
from harness import DEFAULTS, Sluice, free_ports, merge, wait_until
from sending import Sending, target

NUMBER, TITLE = 11, "two replicas behind a balancer"
NEEDS = ()
FULL, BOUNDED = 5, 0
BALANCED = ("mqtt", "tcp", "http")


def replica(trial, name, change):
    directory = trial.dir / name
    directory.mkdir()
    return Sluice(directory, merge(merge(DEFAULTS, SMALL), change), trial.program)


class Balancer:
    """HAProxy in front of the replicas; .address(listener) as a gateway has it, .config for target()."""

    def __init__(self, directory, replicas):
        program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        if not program:
            raise Lost("haproxy is not there: deploy/install-deps.sh torture")
        self.config = {"listeners": {name: {"listen": f"127.0.0.1:{free_ports()}"} for name in BALANCED}}
        text = ["defaults", " mode tcp", " timeout connect 2s", " timeout client 60s", " timeout server 60s", " option redispatch"]
        for name in BALANCED:
            text += [f"listen {name}", f" bind {self.config['listeners'][name]['listen']}", " balance roundrobin"]
            text += [f" server r{i} {r.config['listeners'][name]['listen']} check inter 200ms fall 1 rise 1 on-marked-down shutdown-sessions"
                     for i, r in enumerate(replicas)]
        path = directory / "haproxy.cfg"
        path.write_text("\n".join(text) + "\n")
        self.log = open(directory / "haproxy.log", "wb")
        self._process = subprocess.Popen([program, "-db", "-f", path], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for name in BALANCED:
            wait_until(lambda name=name: self._listens(name), 20, f"HAProxy listens for {name}")

    def _listens(self, listener):
        try:
            socket.create_connection(self.address(listener), timeout=2).close()
        except OSError:
            return False
        return True

    def address(self, listener):
        host, _, port = self.config["listeners"][listener]["listen"].rpartition(":")
        return host, int(port)

    def close(self):
        self._process.terminate()
        self._process.wait(timeout=20)
        self.log.close()


def scaled_in(trial):
    away = {"sinks": {"file": None, "store": {"type": "elasticsearch", "nodes": [f"http://127.0.0.1:{free_ports()}"]}}}
    stays, goes = replica(trial, "stays", {}), replica(trial, "goes", away)
    balancer = None
    try:
        for one in (stays, goes):
            one.start()
        balancer = Balancer(trial.dir, (stays, goes))
        load = Sending(trial.dir, "replicas", [*(target(balancer, name, connections=6) for name in BALANCED),
                                               target(stays, "coap", connections=5)], "-r", "400", "-t", "10s")
        for one in (stays, goes):
            wait_until(lambda one=one: one.metrics().sum("sluice_messages_accepted_total") > 100, 20, "both get messages")
        time.sleep(trial.chance.uniform(0, 2))
        began = time.monotonic()
        stays.kill()
        time.sleep(trial.chance.uniform(0, 1))
        stays.start()
        trial.recovered(time.monotonic() - began)
        time.sleep(trial.chance.uniform(0, 2))
        trial.must(goes.stop() == 0, "the replica that is scaled in does not stop well")
        load.finish(timeout=180)
        left = drain(trial, goes)
        wait_until(lambda: stays.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
        wrong = stays.finish()
        trial.must(not wrong, wrong)
        trial.note(f"{left} records drained of the replica that was scaled in")
        trial.must(left > 100, "nothing was left to drain")
        join(trial, stays.file, trial.dir / "drained.ndjson")
        trial.gateway = stays
    finally:
        for one in (stays, goes):
            if one.running():
                one.finish()
        if balancer:
            balancer.close()
    return ["replicas"]


def drain(trial, gateway):
    """Its journal, into a file; how many records there were."""
    config = merge(gateway.config, {"sinks": {"store": None, "drained": {"type": "file", "path": str(trial.dir / "drained.ndjson")}}})
    path = trial.dir / "drain.yaml"
    path.write_text(yaml.safe_dump(config))
    gateway.command("cursor", "drop", "store", "--config", path)
    done = gateway.command("drain", "--config", path, timeout=120)
    if done.returncode:
        raise Lost(f"drain: {done.stdout}{done.stderr}")
    with open(trial.dir / "drained.ndjson") as file:
        return sum(1 for _ in file)


def join(trial, first, second):
    with open(first, "ab") as file:
        file.write(second.read_bytes())


def play(trial):
    trial.part(scaled_in)
