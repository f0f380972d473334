"""The servers that the campaign's sinks deliver to, real ones, each started once when a round needs it; and what an operator or an
outage does to them."""

import contextlib
import sys
import threading
import time

import requests
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from harness import wait_until  # test/system
from services import Kafka, Search

START_TIMEOUT = {"WAIT_SECONDS": "240"}  # servers start several times a round, while the load runs
SASL = 4  # the listener's distance from the base port: test/services/kafka.sh


class Broker(Kafka):
    """One broker that creates no topics by itself, with one more listener that clients reach only through a proxy which can misbehave
    (proxy.py): clients connect to the address that a broker advertises, so it advertises the proxy's."""

    ports = 7

    @property
    def env(self):
        others = [f"{name}://127.0.0.1:{self.port + n}" for n, name in ((0, "PLAINTEXT"), (2, "SSL"), (3, "SASL_SSL"), (SASL, "SASL_PLAINTEXT"))]
        kinds = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,PROXIED:PLAINTEXT"
        return {**START_TIMEOUT, "KAFKA_EXTRA": "\n".join([
            "auto.create.topics.enable=false",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found=true",
            f"listener.security.protocol.map={kinds}",
            f"listeners={','.join([*others, f'CONTROLLER://127.0.0.1:{self.port + 1}', f'PROXIED://127.0.0.1:{self.port + 5}'])}",
            f"advertised.listeners={','.join([*others, f'PROXIED://127.0.0.1:{self.proxied_port}'])}"])}

    @property
    def proxied_port(self):
        """The port that a proxy to proxy_target_port has to listen on."""
        return self.port + 6

    @property
    def proxy_target_port(self):
        return self.port + 5

    def _admin(self):
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def alter_topic(self, name, **config):
        """A value of None removes the topic's own value."""
        entries = [ConfigEntry(key.replace("_", "."), None if value is None else str(value),
                               incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET)
                   for key, value in config.items()]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        admin = self._admin()  # kept in a variable: its futures do not outlive it
        admin.incremental_alter_configs([resource])[resource].result(30)

    def delete_topic(self, name):
        admin = self._admin()
        admin.delete_topics([name])[name].result(30)
        wait_until(lambda: name not in self.topics(), 30, f"topic {name} is gone", every=0.2)

    @contextlib.contextmanager
    def writes_denied(self, topic):
        """Denies everybody to write to the topic; afterwards allows it again."""
        def rule(operation, permission):
            return AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", operation, permission)

        admin = self._admin()
        # when a topic has any rule, what no rule allows is denied
        rules = [rule(AclOperation.ALL, AclPermissionType.ALLOW), rule(AclOperation.WRITE, AclPermissionType.DENY)]
        for done in admin.create_acls(rules).values():
            done.result(30)
        try:
            yield
        finally:
            any_rule = AclBindingFilter(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, None, None, AclOperation.ANY,
                                        AclPermissionType.ANY)
            admin.delete_acls([any_rule])[any_rule].result(30)

    def end_offsets(self, topic):
        """The end offset of each partition."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "torture"})
        try:
            found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in found}
        finally:
            consumer.close()

    def copy(self, topic, path):
        """Appends all that is in the topic to a file, as a file sink would write it."""
        total = sum(self.end_offsets(topic).values())
        with open(path, "ab") as file:
            for message in self.consume(topic, total, timeout=60):
                file.write(message.value() + b"\n")

    @contextlib.contextmanager
    def changed_password(self):
        """Restarted, with another password for user sluice; afterwards restarted with the right one."""
        path = self.dir / "n1" / "server.properties"
        text = path.read_text()
        assert 'user_sluice="sluice-secret"' in text
        try:
            with self.down():
                path.write_text(text.replace('user_sluice="sluice-secret"', 'user_sluice="another"'))
            yield
        finally:
            with self.down():
                path.write_text(text)


class Cluster(Kafka):
    """Three brokers: a record must be in two of them."""

    ports = 25
    env = {"KAFKA_NODES": "3", "KAFKA_HEAP": "256m", **START_TIMEOUT}

    @property
    def bootstrap(self):
        return ",".join(f"127.0.0.1:{self.port + 10 * n}" for n in range(3))

    @contextlib.contextmanager
    def one_killed(self, node):
        """SIGKILL for broker 1, 2 or 3; afterwards it is started again on its data."""
        self._run("stop", node, KAFKA_SIGNAL="KILL")
        try:
            yield
        finally:
            self._run("restart", node)
            self.wait()


class Node(Search):
    """A node that can be given other settings, or, with first (the port of the cluster's first node), that joins a cluster."""

    def __init__(self, directory, port=None, first=None):
        self.first = first
        super().__init__(directory, port)

    @property
    def env(self):
        return {**Search.env, **START_TIMEOUT, **({"SEARCH_CLUSTER": str(self.first + 1)} if self.first else {})}

    @property
    def name(self):
        return f"sluice-{self.port + 1}"

    def request_ok(self, method, path, json=None):
        """The JSON of the answer; raises unless its status is a success."""
        answer = self.request(method, path, json=json)
        answer.raise_for_status()
        return answer.json()

    @contextlib.contextmanager
    def extra_settings(self, lines):
        """Restarted with further lines in its settings; afterwards restarted without them."""
        path = self.dir / "config" / "elasticsearch.yml"
        text = path.read_text()
        try:
            with self.down():
                path.write_text(text + lines)
            yield
        finally:
            with self.down():
                path.write_text(text)

    @contextlib.contextmanager
    def competing_writers(self, index, count, records):
        """`count` threads write to the server meanwhile, `records` records in each request."""
        body = f'{{"create":{{"_index":"{index}"}}}}\n{{"n":1}}\n' * records
        stopping = threading.Event()

        def write():
            while not stopping.is_set():
                with contextlib.suppress(requests.RequestException):
                    self.request("POST", "/_bulk", data=body, headers={"Content-Type": "application/x-ndjson"})
        threads = [threading.Thread(target=write, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
            self.request("DELETE", f"/{index}")


class Backends:
    """The backends of a campaign by name; .names: those of the round."""

    kinds = {"kafka": Broker, "elasticsearch": Node}

    def __init__(self, directory, names):
        self.dir, self.names, self.running = directory, list(names), {}

    def get(self, name):
        if name not in self.running:
            directory = self.dir / name
            directory.mkdir(parents=True)
            self.running[name] = start_backend(self.kinds[name], directory)
        return self.running[name]

    def stop(self):
        for backend in self.running.values():
            backend.stop()


def start_backend(kind, directory, **options):
    """Returns a backend that is started."""
    print(f"starting {directory.name} ...", file=sys.stderr, flush=True)
    return kind(directory, **options)


def wait_unchanged(value, for_s, most_s, what):
    """Waits until value() has not changed for a while, and returns it."""
    last, since = value(), time.monotonic()

    def same():
        nonlocal last, since
        now = value()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > for_s
    wait_until(same, most_s, what, every=0.1)
    return last
