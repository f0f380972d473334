"""Item 11: two replicas behind balancers: HAProxy for TCP, and for CoAP's datagrams nftables in the network namespace of the
replicas, by a hash of the sender's address. One is killed with -9 and started again; the other loses its sink, is scaled in with
its backlog, and its journal is drained by `sluice drain`. No acknowledged message is missing in what both have delivered.

As balancers do, the one for datagrams notices some time later that a replica is gone; until then datagrams for it are lost or refused,
and sent again. A replica that is scaled in is removed from the balancer before it is stopped, or afterwards."""

import os
import shutil
import socket
import subprocess
import time

import yaml

from campaign import SMALL, RoundFailed
from harness import DEFAULTS, Sluice, free_ports, merge, wait_until
from network_namespace import NetworkNamespace
from sending import Sending, target

NUMBER, TITLE = 11, "two replicas behind a balancer"
NEEDS = ()
FULL, BOUNDED = 5, 0
BALANCED = ("mqtt", "tcp", "http")


def replica(round_, namespace, name, change):
    directory = round_.dir / name
    directory.mkdir()
    return Sluice(directory, merge(merge(merge(DEFAULTS, SMALL), namespace.listeners()), change), namespace.program(round_.program, directory / "inside"))


class DatagramBalancer:
    """nftables, without connection tracking, so that a change by .route_to() applies to every packet after it; .address("coap") and
    .config as those of a gateway."""

    def __init__(self, namespace, replicas):
        self.namespace, self.port, self.ports = namespace, free_ports(), [each.port("coap") for each in replicas]
        self.config = {"listeners": {"coap": {"listen": f"{namespace.address}:{self.port}"}}}
        self.route_to(*range(len(replicas)))

    def route_to(self, *which):
        """Sets which of the replicas get datagrams from now on."""
        buckets = ", ".join(f"{i} : {self.ports[number]}" for i, number in enumerate(which))
        back = ", ".join(map(str, self.ports))
        self.namespace.nft(f"""table ip balance
            delete table ip balance
            table ip balance {{
                chain in {{ type filter hook prerouting priority raw;
                    udp dport {self.port} notrack udp dport set jhash ip saddr . udp sport mod {len(which)} seed 0x5eed map {{ {buckets} }}; }}
                chain out {{ type filter hook output priority raw; udp sport {{ {back} }} notrack udp sport set {self.port}; }}
            }}""")

    def address(self, listener):
        host, _, port = self.config["listeners"][listener]["listen"].rpartition(":")
        return host, int(port)


class Balancer:
    """HAProxy in front of the replicas; .address(listener) as a gateway has it, .config for target()."""

    def __init__(self, directory, replicas):
        program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        if not program:
            raise RoundFailed("haproxy is not there: deploy/install-deps.sh torture")
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


def scaled_in(round_):
    unreachable = {"sinks": {"file": None, "store": {"type": "elasticsearch", "nodes": [f"http://127.0.0.1:{free_ports()}"]}}}
    namespace, balancer, staying, leaving = NetworkNamespace(round_.rng.randrange(10000)), None, None, None
    try:
        staying, leaving = replica(round_, namespace, "stays", {}), replica(round_, namespace, "goes", unreachable)
        for each in (staying, leaving):
            each.start()
        balancer, datagrams = Balancer(round_.dir, (staying, leaving)), DatagramBalancer(namespace, (staying, leaving))
        load = Sending(round_.dir, "replicas", [*(target(balancer, name, connections=6) for name in BALANCED),
                                                target(datagrams, "coap", connections=16)], "-r", "400", "-t", "10s")
        for each in (staying, leaving):
            for name in (*BALANCED, "coap"):
                wait_until(lambda each=each, name=name: each.metrics().sum("sluice_messages_accepted_total", listener=name) > 20, 20,
                           f"both get messages by {name}")
        time.sleep(round_.rng.uniform(0, 2))
        began = time.monotonic()
        staying.kill()
        time.sleep(round_.rng.uniform(0, 0.5))
        datagrams.route_to(1)
        time.sleep(round_.rng.uniform(0, 0.5))
        staying.start()
        datagrams.route_to(0, 1)
        round_.recovered(time.monotonic() - began)
        time.sleep(round_.rng.uniform(0, 2))
        first = round_.rng.choice([True, False])
        if first:
            datagrams.route_to(0)
        gone = {name: int(leaving.metrics().sum("sluice_messages_accepted_total", listener=name)) for name in (*BALANCED, "coap")}
        round_.check(leaving.stop() == 0, "the replica that is scaled in does not stop in order")
        datagrams.route_to(0)
        load.finish(timeout=180)
        left = drain(round_, leaving)
        wait_until(lambda: staying.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
        wrong = staying.finish()
        round_.check(not wrong, wrong)
        round_.note(f"{left} records drained of the replica that was scaled in, of {gone}; removed from the balancer {'before' if first else 'after'} it stopped")
        round_.check(left > 100, "nothing was left to drain")
        join(round_, staying.file, round_.dir / "drained.ndjson")
        round_.gateway = staying
    finally:
        for each in filter(None, (staying, leaving)):
            if each.running():
                each.finish()
        if balancer:
            balancer.close()
        namespace.close()
    return ["replicas"]


def drain(round_, gateway):
    """Drains its journal into a file; returns the number of records."""
    config = merge(gateway.config, {"sinks": {"store": None, "drained": {"type": "file", "path": str(round_.dir / "drained.ndjson")}}})
    path = round_.dir / "drain.yaml"
    path.write_text(yaml.safe_dump(config))
    gateway.command("cursor", "drop", "store", "--config", path)
    done = gateway.command("drain", "--config", path, timeout=120)
    if done.returncode:
        raise RoundFailed(f"drain: {done.stdout}{done.stderr}")
    with open(round_.dir / "drained.ndjson") as file:
        return sum(1 for _ in file)


def join(round_, first, second):
    with open(first, "ab") as file:
        file.write(second.read_bytes())


def run(round_):
    round_.run_part(scaled_in)
