"""What all system tests share: the real program (harness.py), and the real servers it delivers to (services.py).

    def test_it(sluice, kafka):
        gw = sluice({"sinks": {"kafka": {"brokers": kafka.bootstrap}}})
        ... send with a real client to gw.port("mqtt"), gw.url("/v1/telemetry/d1") ...
        gw.wait_records(3)
        assert gw.stop() == 0

`sluice` is a factory: its configuration (DEFAULTS in harness.py, free ports, a fresh data directory) is merged with
what the test gives; None removes a key. Everything it started is stopped after the test, which then fails when the
program had died, or did not stop with exit code 0, or a sanitizer had something to say. When a test fails, the end of
the log is shown. SLUICE_BIN names another program than build/sluice; SLUICE_SLOWNESS stretches the deadlines (1).

`kafka`, `search` (Elasticsearch), `search_secure`, `opensearch` and `mosquitto` start on first use, once per session.
"""

import os

import pytest

pytest.register_assert_rewrite("harness", "services", "filling")

from filling import Relay  # noqa: E402
from harness import DEFAULTS, Sluice, free_ports, merge, wait_until  # noqa: E402, F401 (tests import them from here)
from services import Kafka, Mosquitto, OpenSearch, Search, SecureSearch  # noqa: E402

_gateways = pytest.StashKey[list]()


@pytest.fixture
def sluice(request, tmp_path):
    """A factory: sluice({...}) makes and starts one; sluice({...}, start=False) only makes it.

    defaults=False takes the configuration as it is, without DEFAULTS; wait, timeout: see Sluice.start;
    env: additional environment variables; program: another one than build/sluice."""
    made = request.node.stash.setdefault(_gateways, [])

    def make(config=None, *, defaults=True, start=True, wait="ready", timeout=20, env=None, program=None):
        directory = tmp_path / f"sluice{len(made) or ''}"
        directory.mkdir()
        gateway = Sluice(directory, merge(DEFAULTS if defaults else {}, config or {}), program, env)
        made.append(gateway)
        return gateway.start(wait, timeout) if start else gateway

    yield make
    wrong = [w for w in [gateway.finish() for gateway in made] if w]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def http_target(request):
    """(host, port) of an HTTP listener: the one that SLUICE_HTTP_URL names, if any, else of a fresh gateway."""
    url = os.environ.get("SLUICE_HTTP_URL")
    if url:
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        return host.strip("[]"), int(port)
    return request.getfixturevalue("sluice")().address("http")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for gateway in item.stash.get(_gateways, []):
            report.sections.append((f"log of sluice in {gateway.dir} (its end)", gateway.log()[-6000:]))
    return report


@pytest.fixture
def free_port():
    """A function: free_port() is a port that is free on 127.0.0.1."""
    return free_ports


@pytest.fixture
def relay(free_port, kafka):
    """A way to Kafka that is there from relay.start() on (filling.py)."""
    relay = Relay(free_port(), kafka.port)
    yield relay
    relay.stop()


def _session_fixture(kind, name):
    @pytest.fixture(scope="session", name=name)
    def service(tmp_path_factory):
        running = kind(tmp_path_factory.mktemp(name))
        yield running
        running.stop()

    return service


kafka = _session_fixture(Kafka, "kafka")
search = _session_fixture(Search, "search")
search_secure = _session_fixture(SecureSearch, "search_secure")
opensearch = _session_fixture(OpenSearch, "opensearch")
mosquitto = _session_fixture(Mosquitto, "mosquitto")
