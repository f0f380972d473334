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
