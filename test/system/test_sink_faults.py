"""Sinks whose target is at fault: what is theirs alone waits, the rest goes on, nothing becomes a dead letter that could be delivered,
and the state says what is wrong."""

import http.server
import json
import threading
import time

import pytest
from conftest import wait_until
from harness import send_lines
from test_elasticsearch import dead_letters, gateway, metric, numbered, prefix, settled, state, wait_state  # noqa: F401

pytestmark = pytest.mark.timeout(240)


# ---- payloads of several makers in one index -------------------------------------------------------------------------

SHAPES = [{"t": 21}, {"t": {"c": 21}}, {"t": 22}, {"t": {"c": {"d": 1}}}, {"t": [1, "a", {"x": 1}]}, {"o": {"a": 1}}, {"o": 5},
          {"o": "text"}, {"o": [{"a": 1}, 3]}, {"a.b": 1}, {"a": {"b": 2}}, {"a": 3}, {"a.b.c": 1}, {".x": 1}, {"x.": 1},
          {"x..y": 1}, {".": 1}, {"q": {"": 1}}, {"q": {" ": {"b": 1}}}, {"e": {}}, {"e": 1}]


def nested(levels):
    payload = 1
    for _ in range(levels):
        payload = {"a": payload}
    return payload


def test_an_object_and_a_number_under_one_name_fit_the_template(gateway, search, prefix):  # noqa: F811
    gw = gateway(search, install_template=True, template=prefix)
    payloads = [{"device": f"d{n}", **shape} for n, shape in enumerate(SHAPES)]
    for payload in payloads:  # one by one: the first form of a field must not decide
        send_lines(gw, [payload])
    settled(gw, len(payloads))
    assert dead_letters(gw) == []
    assert search.count(prefix + "*") == len(payloads)
    found = search.request("POST", f"/{prefix}*/_search", json={"query": {"range": {"payload.t.c": {"gte": 21}}}}).json()
    assert found["hits"]["total"]["value"] == 1


@pytest.mark.parametrize("engine", ["search", "opensearch"])
def test_the_template_takes_the_depth_that_listeners_take(request, gateway, prefix, engine):  # noqa: F811
    server = request.getfixturevalue(engine)
    gw = gateway(server, install_template=True, template=prefix)
    send_lines(gw, [{"device": "d", "deep": nested(n)} for n in (1, 25, 60)])
    settled(gw, 3)
    assert dead_letters(gw) == []
    assert server.count(prefix + "*") == 3


# ---- one index in trouble, and the others ----------------------------------------------------------------------------


def make_red(server, index):
    """An index that no node may hold."""
    settings = {"settings": {"index.routing.allocation.require._name": "nosuch"}}
    assert server.request("PUT", f"/{index}?wait_for_active_shards=0&timeout=1s", json=settings).ok


def make_green(server, index):
    settings = {"index.routing.allocation.require._name": None}
    assert server.request("PUT", f"/{index}/_settings", json=settings).ok


def by_site(count, bad=5):
    return [{"device": f"d{n % 7}", "n": n, "s": "red" if n % bad == 0 else "good"} for n in range(count)]


@pytest.mark.parametrize("engine", ["search", "opensearch"])
def test_a_red_index_stops_its_own_records_alone(request, gateway, prefix, engine):  # noqa: F811
    server = request.getfixturevalue(engine)
    make_red(server, prefix + "-red")
    gw = gateway(server, index=prefix + "-{payload.s}", batch_records=20, batch_age="1ms", request_timeout="4s")
    try:
        send_lines(gw, by_site(100))
        wait_state(gw, "unavailable_shards_exception", 60)
        assert f"index {prefix}-red" in state(gw)
        assert server.wait_count(prefix + "-good", 80, 60) == 80
        for n in range(20):  # while it lasts, one batch each: none of them waits for the server's time-out
            send_lines(gw, [{"device": "d", "n": 1000 + n, "s": "red"}, {"device": "d", "n": 1000 + n, "s": "good"}])
        assert server.wait_count(prefix + "-good", 100, 8) == 100
        assert metric(gw, "up") == 0
    finally:
        make_green(server, prefix + "-red")
    assert server.wait_count(prefix + "-red", 40, 60) == 40
    wait_until(lambda: state(gw) == "" and metric(gw, "up") == 1, 20, "no trouble any more")
    assert dead_letters(gw) == []


def alias_without_write_index(server, prefix):  # noqa: F811
    for name in "12":
        assert server.request("PUT", f"/{prefix}-{name}").ok
    actions = [{"add": {"index": f"{prefix}-{name}", "alias": prefix}} for name in "12"]
    assert server.request("POST", "/_aliases", json={"actions": actions}).ok
    return "no write index is defined for alias", lambda: server.request("POST", "/_aliases", json={"actions": [
        {"add": {"index": prefix + "-1", "alias": prefix, "is_write_index": True}}]})


def missing_pipeline(server, prefix):  # noqa: F811
    assert server.request("PUT", f"/{prefix}", json={"settings": {"index.default_pipeline": "nope"}}).ok
    return "pipeline with id [nope] does not exist", lambda: server.request(
        "PUT", f"/{prefix}/_settings", json={"index.default_pipeline": "_none"})


def wanted_routing(server, prefix):  # noqa: F811
    assert server.request("PUT", f"/{prefix}", json={"mappings": {"_routing": {"required": True}}}).ok

    return "routing is required", lambda: server.request("DELETE", f"/{prefix}")  # the next record makes it again


def unusable_template(server, prefix):  # noqa: F811
    template = {"index_patterns": [prefix + "*"], "priority": 900, "template": {"settings": {"index.sort.field": "nope"}}}
    assert server.request("PUT", f"/_index_template/{prefix}", json=template).ok
    return "unknown index sort field", lambda: server.request("DELETE", f"/_index_template/{prefix}")


def strict_mapping(server, prefix):  # noqa: F811
    """Nothing in its words names the index: only that it takes none of several devices and shapes does."""
    assert server.request("PUT", f"/{prefix}", json={"mappings": {"dynamic": "strict"}}).ok
    return "refuses every record", lambda: server.request("PUT", f"/{prefix}/_mapping", json={"dynamic": True})


@pytest.mark.parametrize("engine", ["search", "opensearch"])
@pytest.mark.parametrize("fault", [alias_without_write_index, missing_pipeline, wanted_routing, unusable_template,
                                   strict_mapping])
def test_a_target_that_is_not_ready_makes_no_dead_letters(request, gateway, prefix, engine, fault):  # noqa: F811
    server = request.getfixturevalue(engine)
    says, cure = fault(server, prefix)
    gw = gateway(server, index=prefix)
    send_lines(gw, [{"device": f"d{n}", "n": n, f"k{n % 3}": n} for n in range(10)])
    wait_state(gw, says)
    assert dead_letters(gw) == []
    assert cure().ok
    settled(gw, 10)
    wait_until(lambda: state(gw) == "" and metric(gw, "up") == 1, 20, "no trouble any more")
    assert dead_letters(gw) == []
    assert server.count(prefix + "*") == 10


def test_what_one_index_refuses_of_many_is_still_a_dead_letter(gateway, search, prefix):  # noqa: F811
    """Several devices and shapes are refused, but the index takes others."""
    mapping = {"mappings": {"properties": {"payload": {"properties": {"v": {"type": "long"}}}}}}
    assert search.request("PUT", f"/{prefix}", json=mapping).ok
    gw = gateway(search, index=prefix, batch_records=1)
    bad = [{"device": f"d{n}", "v": "bad", f"k{n}": n} for n in range(6)]
    send_lines(gw, bad)
    send_lines(gw, [{"device": "good", "v": n} for n in range(5)])
    settled(gw, 11)
    assert len(dead_letters(gw)) == 6
    assert search.count(prefix) == 5
    wait_until(lambda: state(gw) == "" and metric(gw, "up") == 1, 20, "no trouble any more")


def test_a_given_time_ends_the_wait_for_a_target(gateway, search, prefix):  # noqa: F811
    missing_pipeline(search, prefix)
    gw = gateway(search, index=prefix, give_up_after="1s")
    send_lines(gw, [{"device": f"d{n}", "n": n} for n in range(5)])
    settled(gw, 5)
    assert len(dead_letters(gw)) == 5


# ---- a server that says `not now` without end ------------------------------------------------------------------------


class Refuser:
    """A server that answers every bulk request alike until .well is set. kind: how."""

    def __init__(self, kind):
        self.well = False

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(handler):  # noqa: N805
                count = handler.rfile.read(int(handler.headers["Content-Length"])).count(b"\n") // 2
                status, body = (200, self.items(201, count)) if self.well else self.refusal(kind, count)
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def items(status, count, **error):
        item = {"create": {"status": status, **({"error": error} if error else {})}}
        return json.dumps({"errors": bool(error), "items": [item] * count}).encode()

    def refusal(self, kind, count):
        error = {"type": "es_rejected_execution_exception", "reason": "rejected execution"}
        if kind == "429":
            return 429, json.dumps({"error": error, "status": 429}).encode()
        if kind == "400":
            error = {"type": "illegal_argument_exception", "reason": "no such thing here"}
            return 400, json.dumps({"error": error, "status": 400}).encode()
        if kind == "unavailable":
            error = {"type": "unavailable_shards_exception", "reason": "primary shard is not active"}
        return 200, self.items(503 if kind != "items 429" else 429, count, **error)


@pytest.mark.parametrize("kind", ["429", "items 429", "items 503", "unavailable"])
def test_a_refusal_without_end_is_a_state_that_goes_with_it(gateway, prefix, kind):  # noqa: F811
    server = Refuser(kind)
    gw = gateway(nodes=[server.url], index=prefix, backoff_max="2s")
    send_lines(gw, numbered(20))
    wait_state(gw, "unavailable_shards" if kind == "unavailable" else "rejected execution", 40)
    since = len(gw.log_events())
    time.sleep(4)  # two tries more: it does not flap
    assert [e for e in gw.log_events()[since:] if e["message"] == "works again"] == []
    assert "[!]" in gw.admin_get("/readyz?verbose")[1]
    server.well = True
    settled(gw, 20)
    wait_until(lambda: state(gw) == "" and metric(gw, "up") == 1, 20, "no trouble any more")
    assert dead_letters(gw) == []


def test_a_server_that_refuses_each_record_alone_for_one_reason_makes_no_dead_letters(gateway, prefix):  # noqa: F811
    server = Refuser("400")
    server.well = True
    gw = gateway(nodes=[server.url], index=prefix)
    send_lines(gw, numbered(1))
    settled(gw, 1)
    server.well = False
    send_lines(gw, [{"device": f"d{n}", f"k{n % 3}": n} for n in range(20)])
    wait_state(gw, "no such thing here")
    server.well = True
    settled(gw, 21)
    assert dead_letters(gw) == []


# ---- dead letters ----------------------------------------------------------------------------------------------------


def test_a_dead_letter_file_that_cannot_be_written_is_a_state_with_its_name(gateway, search, prefix):  # noqa: F811
    mapping = {"mappings": {"properties": {"payload": {"properties": {"v": {"type": "long"}}}}}}
    assert search.request("PUT", f"/{prefix}", json=mapping).ok
    gw = gateway(search, index=prefix, start=False)
    gw.data.mkdir(exist_ok=True)
    (gw.data / "dead").write_text("x")
    gw.start()
    send_lines(gw, [{"device": "d", "v": "bad"}, {"device": "d", "v": 1}])
    wait_state(gw, "dead-letter file")
    assert str(gw.data / "dead" / "es.ndjson") in state(gw)
    assert "directory" in state(gw)  # the errno: Not a directory
    (gw.data / "dead").unlink()
    settled(gw, 2)
    wait_until(lambda: state(gw) == "" and metric(gw, "up") == 1, 20, "no trouble any more")
    assert len(dead_letters(gw)) == 1


def test_dead_letters_do_not_flood_the_log(gateway, search, prefix):  # noqa: F811
    mapping = {"mappings": {"properties": {"payload": {"properties": {"v": {"type": "long"}}}}}}
    assert search.request("PUT", f"/{prefix}", json=mapping).ok
    gw = gateway(search, index=prefix, batch_records=2)
    send_lines(gw, [{"device": "d", "v": "bad"} for _ in range(200)])
    settled(gw, 200)
    lines = [e for e in gw.log_events() if e["message"] == "refused records for good; they are in the dead letter file"]
    assert len(dead_letters(gw)) == 200
    assert 1 <= len(lines) <= 40
