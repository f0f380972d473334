"""Item 6: the network. The gateway runs in a network namespace of its own at the other end of a pair of interfaces, and the way
between is cut by nftables: packets vanish (drop), are answered by resets and unreachables (reject), or are lost one in so many
(a random drop in both directions: loss, repetition, delay). Devices connect again and send again what was not acknowledged. Half-open
connections that the cut leaves behind must go, and descriptors with them."""

import os
import shutil
import subprocess
import time

from campaign import Lost
from harness import free_ports, wait_until
from sending import Sending, target

NUMBER, TITLE = 6, "partitions and loss"
NEEDS = ()
FULL, BOUNDED = 6, 0
LISTENERS = ("mqtt", "coap", "tcp", "http")
RULES = {"drop": "ip protocol { tcp, udp } drop", "reject": "meta l4proto tcp reject with tcp reset",
         "loss": "ip protocol { tcp, udp } numgen random mod 100 < 20 drop"}


class Space:
    """A namespace with an address of its own: .run(command) inside it, .address."""

    def __init__(self, number):
        self.name = f"sluice-{os.getpid()}-{number}"
        self.outside, self.inside = f"sl{os.getpid() % 10000}o", f"sl{os.getpid() % 10000}i"
        self.near, self.address = "10.213.57.1", "10.213.57.2"
        for tool in ("ip", "nft"):
            if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                raise Lost(f"{tool} is not there: deploy/install-deps.sh torture")
        if os.geteuid():
            raise Lost("network namespaces need root")
        self.open()

    def open(self):
        self.ip("netns", "add", self.name)
        self.ip("link", "add", self.outside, "type", "veth", "peer", "name", self.inside, "netns", self.name)
        self.ip("addr", "add", f"{self.near}/30", "dev", self.outside)
        self.ip("link", "set", self.outside, "up")
        self.ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", self.inside)
        self.ip("-n", self.name, "link", "set", self.inside, "up")
        self.ip("-n", self.name, "link", "set", "lo", "up")

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})

    def filter(self, rule):
        """Sets the rule for what comes in and goes out; none: everything passes."""
        script = "table inet cut\ndelete table inet cut\n"
        if rule:
            script += f"table inet cut {{\nchain i {{ type filter hook input priority 0; {rule}; }}\n"
            script += f"chain o {{ type filter hook output priority 0; {rule if 'reject' not in rule else 'accept'}; }}\n}}\n"
        subprocess.run(["ip", "netns", "exec", self.name, "nft", "-f", "-"], input=script, text=True, check=True,
                       env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})

    def close(self):
        subprocess.run(["ip", "link", "del", self.outside], check=False)
        subprocess.run(["ip", "netns", "del", self.name], check=False)


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


def cut(trial):
    space = Space(trial.chance.randrange(10000))
    try:
        wrapper = trial.dir / "inside"
        wrapper.write_text(f'#!/bin/sh\nPATH=$PATH:/usr/sbin\nexec ip netns exec {space.name} "{trial.program}" "$@"\n')
        wrapper.chmod(0o755)
        listeners = {name: {"listen": f"{space.address}:{free_ports()}", "anonymous": True} for name in LISTENERS}
        gateway = trial.start({"listeners": {**listeners, "http": {**listeners["http"], "idle_timeout": "5s"}},
                               "admin": {"listen": f"{space.address}:{free_ports()}"}}, program=wrapper)
        before = descriptors(gateway)
        load = Sending(trial.dir, "cut", [target(gateway, name, connections=5) for name in LISTENERS], "-r", "400", "-t", "14s")
        wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 0, 20, "messages are accepted")
        most = 0
        for kind in trial.chance.sample(sorted(RULES), len(RULES)):
            time.sleep(trial.chance.uniform(0.5, 1.5))
            space.filter(RULES[kind])
            trial.note(kind)
            time.sleep(trial.chance.uniform(0.5, 2.5))
            space.filter(None)
            began = time.monotonic()
            taken = gateway.metrics().sum("sluice_messages_accepted_total")
            wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > taken or not load.running(), 60,
                       "messages come again")
            trial.recovered(time.monotonic() - began)
            most = max(most, descriptors(gateway))
        load.finish(timeout=180)
        wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
        trial.note(f"descriptors {before} before, {most} at most")
        trial.must(most < before + 200, f"{most} descriptors: connections that are gone are not closed")
        wrong = gateway.finish()
        trial.must(not wrong, wrong)
    finally:
        if trial.gateway and trial.gateway.running():
            trial.gateway.finish()
        space.close()
    return ["cut"]


def play(trial):
    trial.part(cut)
