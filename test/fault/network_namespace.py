"""A network namespace for a round: to run a gateway in it, and to drop, reject or redirect packets to it."""

import os
import shutil
import subprocess

from campaign import RoundFailed
from harness import free_ports  # test/system

LISTENERS = ("mqtt", "coap", "tcp", "http")


class NetworkNamespace:
    """A network namespace at the other end of a veth pair: .address is its own, .program() runs a program inside it, .nft() sets
    nftables rules."""

    def __init__(self, number):
        self.name = f"sluice-{os.getpid()}-{number}"
        self.outside, self.inside = f"sl{os.getpid() % 10000}o", f"sl{os.getpid() % 10000}i"
        own = os.getpid() % (1 << 14)  # so that two campaigns do not share addresses
        self.outside_address, self.address = (f"10.213.{own >> 6}.{(own & 63) * 4 + last}" for last in (1, 2))
        for tool in ("ip", "nft"):
            if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                raise RoundFailed(f"{tool} is not there: deploy/install-deps.sh torture")
        if os.geteuid():
            raise RoundFailed("network namespaces need root")
        self.open()

    def open(self):
        self.ip("netns", "add", self.name)
        self.ip("link", "add", self.outside, "type", "veth", "peer", "name", self.inside, "netns", self.name)
        self.ip("addr", "add", f"{self.outside_address}/30", "dev", self.outside)
        self.ip("link", "set", self.outside, "up")
        self.ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", self.inside)
        self.ip("-n", self.name, "link", "set", self.inside, "up")
        self.ip("-n", self.name, "link", "set", "lo", "up")

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})

    def filter(self, rule):
        """Sets the rule for incoming and outgoing packets; None: everything passes."""
        script = "table inet cut\ndelete table inet cut\n"
        if rule:
            script += f"table inet cut {{\nchain i {{ type filter hook input priority 0; {rule}; }}\n"
            script += f"chain o {{ type filter hook output priority 0; {rule if 'reject' not in rule else 'accept'}; }}\n}}\n"
        self.nft(script)

    def nft(self, script):
        subprocess.run(["ip", "netns", "exec", self.name, "nft", "-f", "-"], input=script, text=True, check=True,
                       env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})

    def program(self, program, path):
        """Makes a script at path that runs the program inside."""
        path.write_text(f'#!/bin/sh\nPATH=$PATH:/usr/sbin\nexec ip netns exec {self.name} "{program}" "$@"\n')
        path.chmod(0o755)
        return path

    def listeners(self):
        """The settings of a gateway that listens inside."""
        return {"listeners": {name: {"listen": f"{self.address}:{free_ports()}", "anonymous": True} for name in LISTENERS},
                "admin": {"listen": f"{self.address}:{free_ports()}"}}

    def close(self):
        subprocess.run(["ip", "link", "del", self.outside], check=False)
        subprocess.run(["ip", "netns", "del", self.name], check=False)
