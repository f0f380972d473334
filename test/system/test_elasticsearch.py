"""The Elasticsearch sink against real servers: what arrives, where, once, and what happens when they say no, or nothing.

What a real server cannot be made to do (cut an answer, redirect, answer garbage) is done by Faulty, a small server that
spoils a few answers and then behaves."""

import contextlib
import datetime
import gzip
import http.server
import json
import socket
import threading
import time

import pytest
import requests
from conftest import wait_until
from harness import SLOWNESS, send_lines, tcp_config
from services import Search

pytestmark = pytest.mark.timeout(240)


class CrampedSearch(Search):
    """A node that is soon overloaded, and takes no long bodies."""

    env = {"SEARCH_ENGINE": "elasticsearch",
           "SEARCH_EXTRA": "thread_pool.write.size: 1\nthread_pool.write.queue_size: 1\nhttp.max_content_length: 64kb"}


@pytest.fixture(scope="module")
def cramped(tmp_path_factory):
    running = CrampedSearch(tmp_path_factory.mktemp("search-cramped"))
    yield running
    running.stop()


@pytest.fixture
def prefix(request):
    """What the names of a test's own indices begin with."""
    return "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:150].strip("-")


@pytest.fixture
def gateway(sluice, prefix):
    """A factory: a gateway with a TCP listener whose answers come when a line is safe, and an Elasticsearch sink `es`."""
    def make(server=None, listener=None, file=False, start=True, **settings):
        es = {"type": "elasticsearch", "index": prefix + "-{yyyy.MM.dd}", "backoff_min": "50ms", "backoff_max": "500ms"}
        if server:
            es["nodes"] = server.url
        es.update(settings)
        sinks = {"es": {k: v for k, v in es.items() if v is not None}}
        return sluice(tcp_config(sinks, listener, file), defaults=False, start=start)
    return make


def numbered(count, start=0, **more):
    return [{"device": f"d-{n % 10}", "n": n, **more} for n in range(start, start + count)]


def numbers(documents):
    return sorted(d["_source"]["payload"]["n"] for d in documents)


def settled(gw, count, timeout=60):
    """Waits until that many records were delivered or are dead letters."""
    def there():
        m = gw.metrics()
        return m.sum("sluice_sink_records_total", sink="es") + m.sum("sluice_sink_dead_records_total", sink="es") >= count
    wait_until(there, timeout, f"{count} records settled", every=0.05)


def dead_letters(gw):
    path = gw.data / "dead" / "es.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def metric(gw, name):
    return gw.metrics().sum(f"sluice_sink_{name}", sink="es")


def state(gw):
    """What the sink says is wrong, from the log: the last thing it said."""
    events = [e for e in gw.log_events() if e.get("sink.name") == "es" and
              e["message"] in ("is in trouble; records wait in the journal", "works again")]
    return events[-1].get("error.message", "") if events else ""


def wait_state(gw, text, timeout=20):
    wait_until(lambda: text in state(gw), timeout, f"state {text!r}, now {state(gw)!r}")
    assert metric(gw, "up") == 0


def wait_well(gw, timeout=20):
    wait_until(lambda: metric(gw, "up") == 1 and state(gw) == "", timeout, f"no trouble any more, now {state(gw)!r}")


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y.%m.%d")


# ---- what arrives, and where -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["search", "opensearch"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_records_arrive_with_their_id_and_their_bytes(request, gateway, prefix, engine, compression):
    server = request.getfixturevalue(engine)
    before = today()
    gw = gateway(server, file=True, compression=compression)
    payloads = numbered(50, deep={"a": 2.50, "b": 9007199254740993}, text="grün \"ja\"\\")
    send_lines(gw, payloads)
    settled(gw, 50)
    documents = server.documents(prefix + "*")
    assert {d["_index"] for d in documents} <= {f"{prefix}-{before}", f"{prefix}-{today()}"}
    assert all(d["_id"] == d["_source"]["event"]["id"] for d in documents)
    by_id = {r["event"]["id"]: r for r in gw.wait_records(50)}
    assert {d["_id"]: d["_source"] for d in documents} == by_id
    assert metric(gw, "dead_records_total") == 0


def test_index_is_of_the_records_own_day(gateway, search, prefix):
    gw = gateway(search, listener={"time": {"pointer": "/ts"}, "time_past": "36500d", "time_future": "36500d"})
    times = ["2026-03-01T23:59:59.999999Z", "2026-03-02T00:00:00Z", "2026-03-02T01:30:00+02:00", "2024-02-29T12:00:00Z"]
    send_lines(gw, [{"device": "d", "n": n, "ts": t} for n, t in enumerate(times)])
    settled(gw, 4)
    where = {d["_source"]["payload"]["n"]: d["_index"].removeprefix(prefix + "-") for d in search.documents(prefix + "*")}
    assert where == {0: "2026.03.01", 1: "2026.03.02", 2: "2026.03.01", 3: "2024.02.29"}


def test_index_of_a_field_is_escaped_and_limited(gateway, search, prefix):
    gw = gateway(search, index=prefix + "-{payload.site}", fallback_index=prefix + "-rest-{yyyy}", max_targets=3)
    sites = ["north", "South*", "../_all", "fourth", None, {"a": 1}, "x" * 300, "north"]
    send_lines(gw, [{"device": "d", "n": n, "site": site} for n, site in enumerate(sites)])
    settled(gw, len(sites))
    where = {d["_source"]["payload"]["n"]: d["_index"].removeprefix(prefix + "-") for d in search.documents(prefix + "*")}
    rest = "rest-" + today()[:4]
    # 5 goes to the fallback index by its missing name, and is refused there: an object where 6 and others have a text
    assert {n: w for n, w in where.items() if n != 5} == {
        0: "north", 1: "_53outh_2a", 2: "_2e_2e_2f_5fall", 3: rest, 4: rest, 6: rest, 7: "north"}
    assert metric(gw, "limited_total") >= 4


@pytest.mark.parametrize("engine", ["search", "opensearch"])
def test_data_stream(request, gateway, prefix, engine):
    server = request.getfixturevalue(engine)
    stream = prefix + "-default"
    gw = gateway(server, data_stream=stream, install_template=True, template=prefix)
    send_lines(gw, numbered(20))
    settled(gw, 20)
    assert numbers(server.documents(stream)) == list(range(20))
    assert {d["_index"] for d in server.documents(stream)} == {f".ds-{stream}-{today()}-000001" if engine == "search" else
                                                               f".ds-{stream}-000001"}
    mapping = server.request("GET", f"/{stream}/_mapping").json()
    assert next(iter(mapping.values()))["mappings"]["properties"]["@timestamp"]["type"] == "date_nanos"


class Swallowing:
    """A proxy in front of a node that passes everything on; while `deaf` is set, nobody hears the answers to _bulk."""

    def __init__(self, target):
        proxy = self
        self.deaf, self.swallowed = threading.Event(), threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {"Content-Type": self.headers["Content-Type"]} if self.headers["Content-Type"] else {}
                answer = requests.request(self.command, target + self.path, data=body, headers=headers, timeout=60)
                if proxy.deaf.is_set() and "_bulk" in self.path:
                    assert answer.status_code == 200 and '"errors":true' not in answer.text
                    proxy.swallowed.set()
                    time.sleep(60)
                    return
                self.send_response(answer.status_code)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do_PUT = pass_on

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def test_a_rollover_between_bulk_and_restart_doubles_nothing(search, gateway, prefix):
    stream = prefix + "-default"
    proxy = Swallowing(search.url)
    try:
        gw = gateway(search, data_stream=stream, install_template=True, template=prefix, nodes=[proxy.url])
        send_lines(gw, numbered(10))
        settled(gw, 10)
        proxy.deaf.set()
        send_lines(gw, numbered(40, start=10))
        assert proxy.swallowed.wait(30)
        gw.kill()
        assert search.request("POST", f"/{stream}/_rollover").json()["rolled_over"]
        proxy.deaf.clear()
        gw.start()
        send_lines(gw, numbered(5, start=50))
        wait_until(lambda: set(range(55)) <= set(numbers(search.documents(stream))), 30, "all documents")
        assert numbers(search.documents(stream)) == list(range(55))
        assert len({d["_index"] for d in search.documents(stream)}) == 2
    finally:
        proxy.close()


# ---- mapping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["search", "opensearch"])
def test_a_mixed_fleet_fits_the_template(request, gateway, prefix, engine):
    server = request.getfixturevalue(engine)
    gw = gateway(server, install_template=True, template=prefix, listener={"device": ["/device", "peer"]})
    lines = ['{"device":"a","v":21.5}', '{"device":"b","v":"hot"}', '{"device":"c","v":true}', '{"device":"d","v":null}',
             '{"device":"e","v":[1,2]}', "21", "-4.5e3", '"on"', "true", "null", "[1,2,3]", "plain text",
             '{"device":"f","big":18446744073709551616}', '{"device":"g","long":"' + "x" * 40000 + '"}',
             '{"device":"h","when":"2026-01-01"}', '{"device":"i","when":"soon"}', '{"device":"j","deep":{"er":{"v":1}}}']
    send_lines(gw, lines)
    settled(gw, len(lines))
    assert metric(gw, "dead_records_total") == 0, dead_letters(gw)
    send_lines(gw, ['{"device":"k","v":{"object":1}}', '{"device":"l","deep":5}', '{"device":"m","v":22}'])
    settled(gw, len(lines) + 3)
    dead = dead_letters(gw)
    assert {d["record"]["device"]["id"] for d in dead} == (set() if engine == "search" else {"l"})
    assert server.count(prefix + "*") == len(lines) + 3 - len(dead)


def test_two_types_at_the_same_moment_are_no_dead_letters(gateway, search, prefix):
    """Batches in flight that disagree on fields which are new for both: the one that comes second is sent once more."""
    gw = gateway(search, install_template=True, template=prefix, batch_records=10, batch_age="1ms", in_flight=8)
    send_lines(gw, [json.dumps({"device": "d", f"f{n // 40}": 1 if n % 20 < 10 else "text", "n": n}) for n in range(4000)])
    settled(gw, 4000)
    assert dead_letters(gw) == []
    assert search.count(prefix + "*") == 4000


def test_fields_beyond_the_limit_are_no_dead_letters(gateway, search, prefix):
    gw = gateway(search, install_template=True, template=prefix)
    send_lines(gw, [{"device": "d", f"field{n}": n, **{f"more{n}-{i}": i for i in range(99)}} for n in range(20)])
    settled(gw, 20)
    assert dead_letters(gw) == []
    assert search.count(prefix + "*") == 20


def test_installed_template_is_not_touched(gateway, search, prefix):
    own = {"index_patterns": [prefix + "-*"], "priority": 300, "template": {"mappings": {"_meta": {"own": True}}}}
    assert search.request("PUT", f"/_index_template/{prefix}", json=own).ok
    gw = gateway(search, install_template=True, template=prefix)
    send_lines(gw, numbered(1))
    settled(gw, 1)
    found = search.request("GET", f"/_index_template/{prefix}").json()["index_templates"][0]["index_template"]
    assert found["template"]["mappings"] == {"_meta": {"own": True}}


def test_only_what_conflicts_is_a_dead_letter(gateway, search, prefix):
    gw = gateway(search)
    send_lines(gw, numbered(1, v=1))
    settled(gw, 1)
    send_lines(gw, [{"device": "d", "n": n, "v": "no number" if n % 100 == 50 else n} for n in range(1, 1001)])
    settled(gw, 1001)
    bad = [n for n in range(1, 1001) if n % 100 == 50]
    dead = dead_letters(gw)
    assert [d["record"]["payload"]["n"] for d in dead] == bad
    assert all("parsing_exception" in d["reason"] for d in dead)
    assert numbers(search.documents(prefix + "*")) == [n for n in range(1001) if n not in bad]
    assert metric(gw, "retried_records_total") == 0


# ---- the server says: not now, not so --------------------------------------------------------------------------------


def test_overload_is_retried_until_all_are_there(gateway, cramped, prefix):
    gw = gateway(cramped, batch_records=50, batch_age="1ms", in_flight=32, backoff_max="200ms")
    sent = 0
    while sent < 60000 and (sent == 0 or metric(gw, "retried_records_total") == 0):
        send_lines(gw, numbered(10000, start=sent))
        sent += 10000
        settled(gw, sent, 120)
    assert metric(gw, "retried_records_total") > 0, "the server was never overloaded: this tested nothing"
    assert dead_letters(gw) == []
    assert numbers(cramped.documents(prefix + "*")) == list(range(sent))


def listed(gw, **options):
    done = gw.command("deadletters", "list", "--json", "--config", gw.config_path, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return {entry["sink"]: entry for entry in json.loads(done.stdout)}


def test_dead_letters_of_a_conflict_are_brought_in_when_it_is_mended(gateway, search, prefix):
    gw = gateway(search)
    send_lines(gw, numbered(1, v=1))
    settled(gw, 1)
    send_lines(gw, [{"device": "d", "n": n, "v": "no number" if n % 10 == 5 else n} for n in range(1, 501)])
    settled(gw, 501)
    bad = [n for n in range(1, 501) if n % 10 == 5]
    told = listed(gw)["es"]  # beside the running gateway
    assert told["letters"] == len(bad) and told["oldest"] <= told["newest"]
    assert [r["letters"] for r in told["reasons"]] == [len(bad)] and "parsing_exception" in told["reasons"][0]["reason"]
    shown = gw.command("deadletters", "show", "--config", gw.config_path, "--sink", "es", "--limit", 3)
    assert [json.loads(line)["record"]["payload"]["n"] for line in shown.stdout.splitlines()] == bad[:3]
    refused = gw.command("deadletters", "replay", "--config", gw.config_path)
    assert refused.returncode == 2 and "a gateway runs" in refused.stderr and len(dead_letters(gw)) == len(bad)
    assert gw.stop() == 0

    again = gw.command("deadletters", "replay", "--config", gw.config_path, timeout=60)  # nothing is mended yet
    assert again.returncode == 1 and f"{len(bad)} it refused again" in again.stdout, again.stdout + again.stderr
    assert [d["record"]["payload"]["n"] for d in dead_letters(gw)] == bad

    # The mapping is mended: a new index that takes both, with the documents of the old one, under the old name.
    index = {d["_index"] for d in search.documents(prefix + "*")}.pop()
    search.request("PUT", f"/{prefix}-mended", json={"mappings": {"properties": {"payload": {"properties": {
        "v": {"type": "keyword"}}}}}}).raise_for_status()
    copies = "".join(json.dumps({"create": {"_id": d["_id"]}}) + "\n" + json.dumps(d["_source"]) + "\n"
                     for d in search.documents(index))
    search.request("POST", f"/{prefix}-mended/_bulk?refresh=true", data=copies,
                   headers={"Content-Type": "application/x-ndjson"}).raise_for_status()
    search.request("DELETE", f"/{index}").raise_for_status()
    search.request("POST", "/_aliases", json={"actions": [{"add": {"index": f"{prefix}-mended", "alias": index}}]}
                   ).raise_for_status()
    done = gw.command("deadletters", "replay", "--config", gw.config_path, "--sink", "es", timeout=60)
    assert done.returncode == 0 and f"{len(bad)} went to es, 0 it refused again, 0 stay" in done.stdout, done.stdout + done.stderr
    assert numbers(search.documents(f"{prefix}-mended")) == list(range(501))
    assert not (gw.data / "dead" / "es.ndjson").exists() and "es" not in listed(gw)
    nothing = gw.command("deadletters", "list", "--config", gw.config_path)
    assert nothing.stdout == "no dead letters\n"


def test_too_long_bodies_are_halved_and_a_too_long_record_is_dead(gateway, cramped, prefix):
    gw = gateway(cramped, listener={"max_line": "256KiB"}, batch_age="200ms")
    payloads = numbered(1000, pad="x" * 300)
    payloads[500]["pad"] = "y" * 70000
    send_lines(gw, payloads)
    settled(gw, 1000)
    assert [d["record"]["payload"]["n"] for d in dead_letters(gw)] == [500]
    assert "413" in dead_letters(gw)[0]["reason"]
    assert numbers(cramped.documents(prefix + "*")) == [n for n in range(1000) if n != 500]
    limited = metric(gw, "limited_total")
    assert limited >= 3
    send_lines(gw, numbered(1000, start=1000, pad="x" * 300))
    settled(gw, 2000)
    assert metric(gw, "limited_total") == limited, "what was learned is forgotten"


def test_index_blocked_for_writing_waits_for_the_operator(gateway, search, prefix):
    gw = gateway(search, index=prefix + "-fixed")
    send_lines(gw, numbered(10))
    settled(gw, 10)
    block = f"/{prefix}-fixed/_settings"
    assert search.request("PUT", block, json={"index.blocks.read_only_allow_delete": True}).ok
    send_lines(gw, numbered(10, start=10))
    wait_state(gw, "cluster_block_exception")
    assert gw.status("/readyz") == 200
    assert search.request("PUT", block, json={"index.blocks.read_only_allow_delete": None}).ok
    settled(gw, 20)
    assert numbers(search.documents(prefix + "*")) == list(range(20))
    assert dead_letters(gw) == []
    wait_well(gw)


def test_closed_index_of_a_field_gives_way_to_the_fallback(gateway, search, prefix):
    gw = gateway(search, index=prefix + "-{payload.site}", fallback_index=prefix + "-rest")
    send_lines(gw, [{"device": "d", "n": 0, "site": "a"}, {"device": "d", "n": 1, "site": "b"}])
    settled(gw, 2)
    assert search.request("POST", f"/{prefix}-a/_close").ok
    send_lines(gw, [{"device": "d", "n": 2, "site": "a"}, {"device": "d", "n": 3, "site": "b"}])
    settled(gw, 4)
    assert numbers(search.documents(prefix + "-rest")) == [2]
    assert numbers(search.documents(prefix + "-b")) == [1, 3]
    assert search.request("POST", f"/{prefix}-rest/_close").ok
    send_lines(gw, [{"device": "d", "n": 4, "site": "a"}])
    wait_state(gw, "index_closed_exception")
    assert search.request("POST", f"/{prefix}-rest/_open").ok
    settled(gw, 5)
    wait_well(gw)


# ---- the server is away ----------------------------------------------------------------------------------------------


def test_server_that_stands_still_gets_all_once_when_it_goes_on(gateway, search, prefix):
    gw = gateway(search, request_timeout="1s")
    send_lines(gw, numbered(100))
    settled(gw, 100)
    with search.paused():
        send_lines(gw, numbered(5000, start=100))
        wait_state(gw, "did not answer within request_timeout")
    settled(gw, 5100)
    assert numbers(search.documents(prefix + "*")) == list(range(5100))
    wait_well(gw)


def test_server_that_crashed_gets_all_once_when_it_is_back(gateway, search, prefix):
    gw = gateway(search, file=True)
    stop = threading.Event()
    sent = [0]

    def feed():
        while not stop.is_set():
            send_lines(gw, numbered(200, start=sent[0]))
            sent[0] += 200
            stop.wait(0.1)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        settled(gw, 2000)
        search.crash()
        wait_state(gw, "cannot be reached")
        search.restart()
        settled(gw, sent[0] + 1000)
    finally:
        stop.set()
        feeder.join()
    settled(gw, sent[0])
    documents = search.documents(prefix + "*")
    assert numbers(documents) == list(range(sent[0]))
    assert {d["_id"] for d in documents} == {r["event"]["id"] for r in gw.wait_records(sent[0])}
    wait_well(gw)


def test_gateway_that_crashed_repeats_and_nothing_is_there_twice(gateway, search, prefix):
    gw = gateway(search)
    for round in range(5):
        send_lines(gw, numbered(3000, start=3000 * round))
        gw.kill()
        gw.start()
    settled(gw, 1)
    search.wait_count(prefix + "*", 15000, timeout=60)
    wait_until(lambda: metric(gw, "lag_records") == 0, 30, "no lag")
    assert numbers(search.documents(prefix + "*")) == list(range(15000))


def test_another_node_takes_the_place_of_a_dead_one(gateway, search, prefix, free_port):
    gw = gateway(nodes=[f"http://127.0.0.1:{free_port()}", search.url], batch_records=100)
    send_lines(gw, numbered(2000))
    settled(gw, 2000)
    assert numbers(search.documents(prefix + "*")) == list(range(2000))
    assert metric(gw, "retried_records_total") == 0
    assert metric(gw, "up") == 1


# ---- who we are, and who they are ------------------------------------------------------------------------------------


def test_basic_authentication_over_verified_tls(gateway, search_secure, prefix):
    gw = gateway(search_secure, ca_file=search_secure.ca, username=search_secure.user, password=search_secure.password,
                 install_template=True, template=prefix)
    send_lines(gw, numbered(100))
    settled(gw, 100)
    assert numbers(search_secure.documents(prefix + "*")) == list(range(100))
    assert search_secure.password not in gw.log()


def test_api_key_from_a_file_with_no_more_rights_than_documented(gateway, search_secure, prefix, tmp_path):
    role = {"sluice": {"indices": [{"names": [prefix + "-*"], "privileges": ["create_doc", "auto_configure"]}]}}
    answer = search_secure.request("POST", "/_security/api_key", json={"name": prefix, "role_descriptors": role})
    (tmp_path / "key").write_text(answer.json()["encoded"] + "\n")
    gw = gateway(search_secure, ca_file=search_secure.ca, api_key={"file": str(tmp_path / "key")})
    send_lines(gw, numbered(100))
    settled(gw, 100)
    assert numbers(search_secure.documents(prefix + "*")) == list(range(100))


def test_wrong_password_is_a_state_and_nothing_is_lost(gateway, search_secure, prefix):
    gw = gateway(search_secure, ca_file=search_secure.ca, username=search_secure.user, password="wrong-secret")
    send_lines(gw, numbered(10))
    wait_state(gw, "HTTP 401")
    assert "username" in state(gw)
    assert "wrong-secret" not in gw.log()
    gw.config["sinks"]["es"]["password"] = search_secure.password
    gw.restart()
    settled(gw, 10)
    assert numbers(search_secure.documents(prefix + "*")) == list(range(10))


def test_right_without_write_is_a_state(gateway, search_secure, prefix):
    role = {"none": {"cluster": ["monitor"], "indices": [{"names": ["other-*"], "privileges": ["read"]}]}}
    answer = search_secure.request("POST", "/_security/api_key", json={"name": prefix, "role_descriptors": role})
    gw = gateway(search_secure, ca_file=search_secure.ca, api_key=answer.json()["encoded"])
    send_lines(gw, numbered(10))
    wait_state(gw, "security_exception")
    assert dead_letters(gw) == []


def test_certificate_of_a_stranger_is_refused_unless_told_otherwise(gateway, search_secure, prefix):
    gw = gateway(search_secure, username=search_secure.user, password=search_secure.password)
    send_lines(gw, numbered(10))
    wait_state(gw, "TLS")
    gw.config["sinks"]["es"]["verify"] = False
    gw.restart()
    settled(gw, 10)
    gw.wait_log("certificates are not verified")


# ---- answers that no proper server gives -----------------------------------------------------------------------------


class Faulty:
    """A bulk endpoint that spoils its first answers as told and then takes everything, keeping what it took by id."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.documents = {}
        self.requests = []
        self.lock = threading.Lock()
        faulty = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                faulty.answer(self, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, request, body):
        lines = body.split(b"\n")
        actions, sources = lines[0:-1:2], lines[1::2]
        ids = [json.loads(a)["create"]["_id"] for a in actions]
        with self.lock:
            self.requests.append((time.monotonic(), request.path, len(ids)))
            fault = self.faults.pop(0) if self.faults else None
            if fault is None or fault.takes:
                for i, source in zip(ids, sources):
                    self.documents.setdefault(i, []).append(json.loads(source))
        good = json.dumps({"errors": False, "items": [{"create": {"status": 201}}] * len(ids)},
                          separators=(",", ":")).encode()
        if fault:
            fault.spoil(request, good, len(ids))
        else:
            reply(request, 200, good)


class Fault:
    def __init__(self, spoil, takes=False):
        self.spoil, self.takes = spoil, takes


def reply(request, status, body, headers=()):
    request.send_response(status)
    for name, value in headers:
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    with contextlib.suppress(OSError):
        request.wfile.write(body)


def hang_up(request):
    request.close_connection = True
    with contextlib.suppress(OSError):
        request.connection.shutdown(socket.SHUT_RDWR)


def cut(request, good, count):
    request.send_response(200)
    request.send_header("Content-Length", str(len(good)))
    request.end_headers()
    request.wfile.write(good[: len(good) // 2])
    request.wfile.flush()
    hang_up(request)


def flood(request, good, count):
    request.send_response(200)
    request.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(100):
            request.wfile.write(b" " * (1 << 20))
    hang_up(request)


def items(*statuses):
    def spoil(request, good, count):
        types = {409: "version_conflict_engine_exception"}
        out = [{"create": {"status": s, **({"error": {"type": types.get(s, "t"), "reason": "r"}} if s > 299 else {})}}
               for s in statuses]
        reply(request, 200, json.dumps({"errors": True, "items": out}).encode())
    return spoil


FAULTS = {
    "garbage": Fault(lambda r, good, n: reply(r, 200, b"\x00\xff<html>hello")),
    "empty": Fault(lambda r, good, n: reply(r, 200, b"")),
    "no_content": Fault(lambda r, good, n: reply(r, 204, b"")),
    "other_count": Fault(lambda r, good, n: reply(r, 200, b'{"errors":false,"items":[{"create":{"status":201}}]}')),
    "cut": Fault(cut, takes=True),
    "hang_up": Fault(lambda r, good, n: hang_up(r), takes=True),
    "redirect": Fault(lambda r, good, n: reply(r, 301, b"", [("Location", "http://127.0.0.1:1/elsewhere")])),
    "not_found": Fault(lambda r, good, n: reply(r, 404, b"nothing here")),
    "bad_gateway": Fault(lambda r, good, n: reply(r, 502, b"<html>502</html>")),
    "teapot": Fault(lambda r, good, n: reply(r, 418, b"{}")),
    "bad_request": Fault(lambda r, good, n: reply(r, 400, b'{"error":{"type":"t","reason":"r"},"status":400}')),
    "flood": Fault(flood),
    "not_http": Fault(lambda r, good, n: (r.wfile.write(b"SSH-2.0-hello\r\n"), hang_up(r))),
}


@pytest.fixture
def faulty():
    made = []

    def make(*faults):
        made.append(Faulty(*faults))
        return made[-1]
    yield make
    for server in made:
        server.close()


@pytest.mark.parametrize("kind", FAULTS)
def test_spoilt_answer_costs_a_retry_and_nothing_else(gateway, faulty, kind):
    server = faulty(FAULTS[kind], FAULTS[kind])
    gw = gateway(server, batch_age="100ms", backoff_max="100ms")
    send_lines(gw, numbered(100))
    settled(gw, 100)
    assert sorted(d[0]["payload"]["n"] for d in server.documents.values()) == list(range(100))
    assert dead_letters(gw) == []
    assert metric(gw, "retried_records_total") >= 100 or kind == "flood"
    wait_well(gw)


def test_redirect_is_told_and_not_followed(gateway, faulty):
    other = faulty()
    server = faulty(*[Fault(lambda r, good, n: reply(r, 307, b"", [("Location", other.url + "/x/_bulk")]))] * 100)
    gw = gateway(server)
    send_lines(gw, numbered(1))
    wait_state(gw, "HTTP 307")
    assert other.url in state(gw)
    assert other.requests == []


def test_retry_after_is_kept_to(gateway, faulty):
    server = faulty(Fault(lambda r, good, n: reply(r, 429, b"{}", [("Retry-After", "2")])))
    gw = gateway(server, backoff_min="10ms", backoff_max="10s")
    send_lines(gw, numbered(1))
    settled(gw, 1)
    times = [t for t, _, _ in server.requests]
    assert times[1] - times[0] >= 1.9
    assert metric(gw, "up") == 1, "overload is no trouble to tell the operator of"


def test_only_items_that_failed_are_sent_again(gateway, faulty):
    server = faulty(Fault(items(201, 429, 201, 503, 409, 500, 200, 400)))
    gw = gateway(server, batch_age="200ms")
    send_lines(gw, numbered(8))
    settled(gw, 8)
    assert [count for _, _, count in server.requests] == [8, 3]
    assert [d["record"]["payload"]["n"] for d in dead_letters(gw)] == [7]
    assert metric(gw, "retried_records_total") == 3


def test_poison_that_spoils_a_whole_request_is_found(gateway, faulty):
    """400 for a whole request, by a server that takes others, is about a record: halves tell which."""
    class Poisoned(Faulty):
        def answer(self, request, body):
            if b'"poison"' in body:
                reply(request, 400, b'{"error":{"type":"parse_exception","reason":"poison"},"status":400}')
            else:
                super().answer(request, body)
    server = Poisoned()
    try:
        gw = gateway(server, batch_age="100ms")
        send_lines(gw, numbered(10))
        settled(gw, 10)
        send_lines(gw, [{"device": "d", "n": n, "v": "poison" if n == 321 else "good"} for n in range(10, 1010)])
        settled(gw, 1010)
        assert [d["record"]["payload"]["n"] for d in dead_letters(gw)] == [321]
        assert len(server.documents) == 1009
        assert len(server.requests) < 60
    finally:
        server.close()


def test_one_index_for_all_is_in_the_path(gateway, faulty, prefix):
    server = faulty()
    gw = gateway(server, index=prefix + "-one")
    send_lines(gw, numbered(10))
    settled(gw, 10)
    assert all(path.startswith(f"/{prefix}-one/_bulk?timeout=10000ms&filter_path=") for _, path, _ in server.requests)


def test_several_requests_are_in_flight_on_connections_that_stay(gateway, faulty):
    gate = threading.Semaphore(0)
    waiting = []

    def hold(request, good, count):
        waiting.append(request.client_address)
        gate.acquire(timeout=30 * SLOWNESS)
        reply(request, 200, good)
    server = faulty(*[Fault(hold, takes=True)] * 12)
    gw = gateway(server, batch_records=10, batch_age="1ms", in_flight=4)
    send_lines(gw, numbered(120))
    for done in range(12):
        wait_until(lambda: len(waiting) >= min(12, done + 4), 10, "the next request")
        gate.release()
    settled(gw, 120)
    assert len(set(waiting)) == 4
    assert metric(gw, "batches_total") == 12


# ---- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, complaint", [
    ({"nodes": "127.0.0.1:9200"}, "is not a URL"),
    ({"nodes": "http://elastic:hunter2@127.0.0.1:9200"}, "username"),
    ({"index": "Telemetry"}, "'T' is not allowed"),
    ({"index": "_x"}, "not a legal name"),
    ({"index": "t.{device.id}", "fallback_index": "t.{device.id}"}, "no fields"),
    ({"data_stream": "x-{yyyy}"}, "data_stream"),
    ({"username": "u"}, "go together"),
    ({"username": "u", "password": "p", "api_key": "k"}, "exclude each other"),
    ({"ca_file": "/nowhere/ca.pem", "nodes": "https://127.0.0.1:9200"}, "/nowhere/ca.pem"),
    ({"ca_file": "/etc/passwd"}, "https"),
    ({"index": "{yyyy}", "install_template": True}, "constant text"),
    ({"index": "t.{device.id}", "fallback_index": "{yyyy}", "install_template": True}, "constant text"),
    ({"compression": "zip"}, "none"),
])
def test_what_cannot_work_is_said_by_check(gateway, settings, complaint):
    gw = gateway(start=False, **settings)
    done = gw.command("--check", gw.config_path)
    assert done.returncode != 0
    assert complaint in done.stderr + done.stdout
    assert "hunter2" not in done.stderr + done.stdout
