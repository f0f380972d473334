"""The real servers that Sluice delivers to, each started and stopped by its script in test/services."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from harness import ROOT, SLOWNESS, free_ports, wait_until

SERVICES = ROOT / "test" / "services"


class Service:
    """A real server, driven through a script of test/services."""

    script = None
    ports = 1
    env = {}
    signal_variable = None

    def __init__(self, directory, port=None):
        self.dir = directory
        self.port = port or free_ports(self.ports)
        self._run("start", self.port)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def _run(self, command, *args, timeout=600, **env):
        done = subprocess.run([str(SERVICES / self.script), command, str(self.dir), *map(str, args)], text=True,
                              capture_output=True, timeout=timeout, env=dict(os.environ, **self.env, **env))
        if done.returncode:
            pytest.fail(f"{self.script} {command}: {done.stderr}", pytrace=False)
        return done.stdout

    def pid_file(self):
        return self.dir / "pid"

    @property
    def pid(self):
        return int(self.pid_file().read_text().split()[0])

    def wait(self):
        self._run("wait")

    def stop(self):
        self._run("stop")

    def crash(self):
        """SIGKILL."""
        self._run("stop", **{self.signal_variable: "KILL"})

    def restart(self):
        """Starts it again on its data, and waits until it serves."""
        self._run("restart")
        self.wait()

    @contextlib.contextmanager
    def down(self, crash=False):
        """with kafka.down(): it is not there; afterwards it is again."""
        if crash:
            self.crash()
        else:
            self.stop()
        try:
            yield
        finally:
            self.restart()

    @contextlib.contextmanager
    def paused(self):
        """with kafka.paused(): it takes connections and does not answer (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


class Kafka(Service):
    """Ports and passwords: test/services/kafka.sh."""

    script = "kafka.sh"
    ports = 5
    signal_variable = "KAFKA_SIGNAL"

    def pid_file(self):
        return self.dir / "n1" / "pid"

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def create_topic(self, name, partitions=3, replicas=1, **config):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin.create_topics([NewTopic(name, partitions, replicas, config=config)])[name].result(30)
        return name

    def topics(self):
        from confluent_kafka.admin import AdminClient

        return set(AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=10).topics)

    def consume(self, topic, wanted, timeout=20):
        """All messages of the topic from its beginning; waits for a number of them, or until wanted(messages)."""
        from confluent_kafka import Consumer, KafkaError, TopicPartition

        enough = wanted if callable(wanted) else lambda messages: len(messages) >= wanted
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False,
                             "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50})
        messages = []
        end = time.monotonic() + timeout * SLOWNESS
        try:
            def partitions():
                found = consumer.list_topics(topic, timeout=10).topics[topic]
                return None if found.error else found.partitions
            found = wait_until(partitions, timeout, f"topic {topic} exists", every=0.2)
            consumer.assign([TopicPartition(topic, p, 0) for p in found])
            while not enough(messages):
                assert time.monotonic() < end, f"topic {topic}: {len(messages)} messages, waited for " \
                    f"{'a condition' if callable(wanted) else wanted}"
                for message in consumer.consume(1000, timeout=0.2):
                    if message.error() is None:
                        messages.append(message)
                    elif message.error().code() != KafkaError._PARTITION_EOF:
                        pytest.fail(f"topic {topic}: {message.error()}")
        finally:
            consumer.close()
        return messages


class StrictKafka(Kafka):
    """A broker that creates no topics by itself."""

    env = {"KAFKA_EXTRA": "auto.create.topics.enable=false"}


class Search(Service):
    """An Elasticsearch node."""

    script = "search.sh"
    ports = 2
    env = {"SEARCH_ENGINE": "elasticsearch"}
    signal_variable = "SEARCH_SIGNAL"
    scheme = "http"
    user = password = ca = None

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def request(self, method, path, json=None, **kwargs):
        """Its answer to a request, a requests.Response; not raised for errors."""
        import requests

        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, json=json, timeout=30, verify=self.ca or True,
                                   auth=(self.user, self.password) if self.user else None, **kwargs)

    def count(self, index):
        """Documents in the indices of that name or pattern; 0 when there is none."""
        self.request("POST", f"/{index}/_refresh")
        answer = self.request("GET", f"/{index}/_count?ignore_unavailable=true")
        return answer.json()["count"] if answer.ok else 0

    def documents(self, index):
        """All hits of the indices of that name or pattern: dicts with _index, _id, _source."""
        self.request("POST", f"/{index}/_refresh")
        hits, after = [], None
        while True:
            body = {"size": 5000, "sort": [{"_doc": "asc"}], "query": {"match_all": {}}}
            path = f"/{index}/_search?ignore_unavailable=true&scroll=1m" if after is None else "/_search/scroll"
            answer = self.request("POST", path, json=body if after is None else {"scroll": "1m", "scroll_id": after})
            answer.raise_for_status()
            page = answer.json()["hits"]["hits"]
            after = answer.json()["_scroll_id"]
            hits += page
            if not page:
                self.request("DELETE", "/_search/scroll", json={"scroll_id": after})
                return hits

    def wait_count(self, index, wanted, timeout=20):
        wait_until(lambda: self.count(index) >= wanted, timeout, f"{wanted} documents in {index}", every=0.1)
        return self.count(index)


class SecureSearch(Search):
    """The same with HTTPS and passwords; .ca is the certificate to trust."""

    env = {"SEARCH_ENGINE": "elasticsearch", "SEARCH_SECURITY": "1"}
    scheme, user, password = "https", "sluice", "sluice-secret"

    @property
    def ca(self):
        return str(self.dir / "config" / "ca.pem")

    def api_key(self):
        """A fresh API key, as the header `Authorization: ApiKey ...` takes it."""
        answer = self.request("POST", "/_security/api_key", json={"name": f"test-{time.time_ns()}"})
        answer.raise_for_status()
        return answer.json()["encoded"]


class OpenSearch(Search):
    env = {"SEARCH_ENGINE": "opensearch"}


class Mosquitto(Service):
    script = "mosquitto.sh"
    signal_variable = "MOSQUITTO_SIGNAL"
