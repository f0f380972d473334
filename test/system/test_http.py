"""The HTTP listener as its users meet it: httpx, curl, and plain sockets where those are too polite."""

import gzip
import json
import os
import re
import socket
import subprocess
import threading
import time
import zlib

import httpx
import pytest

from harness import ROOT, SLOWNESS, wait_until

HTTP_ONLY = {"listeners": {"mqtt": None, "coap": None, "tcp": None}}


@pytest.fixture
def gateway(sluice):
    def make(http=None, **more):
        return sluice({**HTTP_ONLY, "listeners": {**HTTP_ONLY["listeners"], "http": http or {}}, **more})

    return make


def client(gw, **more):
    return httpx.Client(base_url=gw.url(), trust_env=False, timeout=10 * SLOWNESS, **more)


def curl(gw, path, *args, data=None):
    """(status, headers in lower case, body) by the real curl."""
    done = subprocess.run(["curl", "-sS", "-i", "--noproxy", "*", "--max-time", str(10 * SLOWNESS), *args, gw.url(path)], input=data,
                          capture_output=True, timeout=20 * SLOWNESS)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    while b" 100 " in head.split(b"\r\n")[0]:
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}, body


def problem(response, status, slug):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["type"] == f"urn:sluice:problem:{slug}"
    assert told["status"] == status
    assert told["title"] and told["detail"]
    return told


def payloads(gw, count):
    return [r["payload"] for r in gw.wait_records(count)]


# ---- one message -----------------------------------------------------------------------------------------------------


def test_message_becomes_a_record(gateway):
    gw = gateway({"include": ["source", "content_type"]})
    with client(gw) as c:
        answer = c.post("/v1/telemetry/sensor%201/env/air", content='{"t":21.40,"n":9007199254740993}',
                        headers={"Content-Type": "application/json", "Idempotency-Key": "k-1"})
    assert answer.status_code == 204 and answer.content == b""
    record, = gw.wait_records(1)
    assert record["device"]["id"] == "sensor 1"
    assert record["network"]["protocol"] == "http"
    assert record["sluice"]["channel"] == "env/air"
    assert record["sluice"]["idempotency_key"] == "k-1"
    assert record["sluice"]["content_type"] == "application/json"
    assert record["source"]["ip"] == "127.0.0.1"
    assert record["payload"] == {"t": 21.4, "n": 9007199254740993}
    assert '"t":21.40,"n":9007199254740993' in gw.file.read_text()


@pytest.mark.parametrize("content_type, body, payload", [
    ("application/json", b"[1,2]", {"array": [1, 2]}),
    ("application/json", b"21.5", {"number": 21.5}),
    ("application/vnd.x+json; charset=utf-8", b'"on"', {"text": "on"}),
    ("text/plain", b"21.5", {"text": "21.5"}),
    ("application/octet-stream", b"21.5", {"number": 21.5}),
    ("text/json", b'{"t":1}', {"t": 1}),
    ("text/x-json; charset=UTF-8", b'{"t":1}', {"t": 1}),
    ("application/senml+json", b'[{"bn":"x","v":1}]', {"array": [{"bn": "x", "v": 1}]}),
    ("application/x-www-form-urlencoded", b'{"t":1}', {"t": 1}),
    ("application/x-www-form-urlencoded", b"t=1", {"text": "t=1"}),
    (None, b"\xff\x00", {"base64": "/wA="}),
    (None, b'{"t":1}', {"t": 1}),
])
def test_content_type_says_what_the_payload_is(gateway, content_type, body, payload):
    gw = gateway()
    with client(gw) as c:
        headers = {"Content-Type": content_type} if content_type else {}
        assert c.put("/v1/telemetry/d", content=body, headers=headers).status_code == 204
    assert payloads(gw, 1) == [payload]


PACK = (b'[{"bn":"urn:dev:ow:10e2073a01080063:","bu":"A","n":"voltage","u":"V","v":120.1},'
        b'{"n":"current","t":-5,"v":1.2},{"n":"current","v":1.7}]')


def test_senml_pack_is_one_record_of_its_base_name(gateway):
    gw = gateway({"device": "/bn"})
    with client(gw) as c:
        assert c.post("/v1/telemetry", content=PACK, headers={"Content-Type": "application/senml+json"}).status_code == 204
        problem(c.post("/v1/telemetry", content=b'[{"v":1}]', headers={"Content-Type": "application/senml+json"}), 400,
                "no-device")
    record, = gw.wait_records(1)
    assert record["device"]["id"] == "urn:dev:ow:10e2073a01080063:"
    assert record["payload"] == {"array": json.loads(PACK)}


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/json"}])
def test_an_array_on_the_collection_is_a_batch_whatever_is_declared(gateway, headers):
    gw = gateway()
    with client(gw) as c:
        answer = c.post("/v1/telemetry", content=b'[{"a":1},{"a":2}]', headers={"X-Sluice-Device": "f13", **headers})
    assert answer.status_code == 200 and answer.json()["accepted"] == 2
    assert payloads(gw, 2) == [{"a": 1}, {"a": 2}]


def test_other_types_are_refused_unless_they_are_listed(gateway):
    gw = gateway({"accept_types": ["application/cbor"]})
    with client(gw) as c:
        answer = c.post("/v1/telemetry/d", content=b"\x81\xa1t\x01", headers={"Content-Type": "application/msgpack"})
        problem(answer, 415, "bad-type")
        assert "application/json" in answer.headers["Accept"]
        assert c.post("/v1/telemetry/d", content=b"\xa1\x61t\x18\xff",
                      headers={"Content-Type": "application/cbor"}).status_code == 204
    assert payloads(gw, 1) == [{"base64": "oWF0GP8="}]
    assert gw.metrics().sum("sluice_messages_refused_total", listener="http", reason="unsupported") == 1
    line, = [e for e in gw.log_events() if e["message"] == "refused"]
    assert (line["device.id"], line["source.ip"], line["sluice.reason"]) == ("d", "127.0.0.1", "unsupported")


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json", "X-Sluice-Device": "f14"}, {}])
def test_json_lines_of_another_type_hear_of_theirs(gateway, headers):
    gw = gateway()
    with client(gw) as c:
        answer = c.post("/v1/telemetry", content=b'{"a":1}\n{"a":2}\n', headers=headers)
    assert answer.status_code == 400 and "application/x-ndjson" in answer.json()["detail"]


def test_refusals_are_logged_with_their_device_and_not_without_end(gateway):
    gw = gateway()
    with client(gw) as c:
        for n in range(25):
            c.post(f"/v1/telemetry/bad-{n}", content=b"{", headers={"Content-Type": "application/json"})
        c.get("/nowhere")
    lines = [e for e in gw.log_events() if e["message"] == "refused"]
    assert [e["device.id"] for e in lines if e["sluice.reason"] == "invalid_payload"] == [f"bad-{n}" for n in range(10)]
    assert len([e for e in lines if e["sluice.reason"] == "unsupported"]) == 1  # one reason does not hide another
    assert gw.metrics().sum("sluice_messages_refused_total", listener="http", reason="invalid_payload") == 25


def test_curl_sends_without_any_option(gateway):
    gw = gateway()
    assert curl(gw, "/v1/telemetry/d/c", "-d", '{"t":1}')[0] == 204
    assert curl(gw, "/v1/telemetry/d/c", "-T", "-", data=b"x" * 70000)[0] == 204
    assert curl(gw, "/v1/telemetry/d/c", "--http1.0", "-d", "old")[0] == 204
    assert [p.get("t") or p["text"] for p in payloads(gw, 3)] == [1, "x" * 70000, "old"]


def test_connection_is_kept_and_order_too(gateway):
    gw = gateway()
    with client(gw) as c:
        for n in range(200):
            assert c.post("/v1/telemetry/d", json={"n": n}).status_code == 204
    assert [p["n"] for p in payloads(gw, 200)] == list(range(200))
    assert gw.metrics().sum("sluice_connections_opened_total", listener="http") in (0.0, 1.0)


def test_chunked_body_is_taken(gateway):
    gw = gateway()
    with client(gw) as c:
        parts = [b'{"a":"', b"x" * 5000, b'","b":', b"1}"]
        assert c.post("/v1/telemetry/d", content=iter(parts), headers={"Content-Type": "application/json"}).status_code == 204
    assert payloads(gw, 1) == [{"a": "x" * 5000, "b": 1}]


def test_expect_is_continued_before_the_body_comes(gateway):
    gw = gateway()
    with socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS) as s:
        s.sendall(b"POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"42")
        assert s.recv(1000).startswith(b"HTTP/1.1 204 ")


def test_expect_is_not_continued_when_the_answer_is_no(gateway):
    gw = gateway()
    for path, fields, status in ((b"/v1/telemetry/d", b"Content-Length: 99999999\r\n", b"413"),
                                 (b"/nothing", b"Content-Length: 5\r\n", b"404"),
                                 (b"/v1/telemetry/d", b"Content-Length: 5\r\nContent-Encoding: br\r\n", b"415")):
        with socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS) as s:
            s.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + fields + b"\r\n")
            got = s.makefile("rb").read()
            assert got.startswith(b"HTTP/1.1 " + status)
            assert b"100 Continue" not in got


def test_64_bit_integers_and_deep_or_strange_json_are_exact_or_refused(gateway):
    gw = gateway({"max_payload": "1MiB", "lane": "16MiB"})
    exact = '{"i":18446744073709551615,"f":1e400,"d":1,"d":2,"z":-0.0,"long":' + "9" * 100000 + "}"
    with client(gw) as c:
        def post(text):
            began = time.monotonic()
            answer = c.post("/v1/telemetry/d", content=text, headers={"Content-Type": "application/json"})
            assert time.monotonic() - began < 1 * SLOWNESS
            return answer
        assert post(exact).status_code == 204
        problem(post("[" * 100000 + "]" * 100000), 400, "invalid-payload")
        problem(post(r'{"s":"\ud800"}'), 400, "invalid-payload")
        problem(post(b'{"s":"\xff"}'), 400, "invalid-payload")
        assert post(json.dumps({f"k{n}": n for n in range(50000)})).status_code == 204
        assert post("{" + ",".join(['"k":1'] * 50000) + "}").status_code == 204
    wait_until(lambda: gw.file.exists() and gw.file.read_text().count("\n") == 3, what="three records")
    assert exact in gw.file.read_text()


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_lines_are_a_batch(gateway):
    gw = gateway({"time": {"pointer": "/ts"}})
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = f'{{"device":"a","channel":"c","ts":"{now}","v":1}}\n\n{{"v":2}}\r\n{{"device":"b",}}\nnull\n{{"device":7}}'
    with client(gw) as c:
        answer = c.post("/v1/telemetry", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    told = answer.json()
    assert told["accepted"] == 2 and told["rejected_count"] == 3
    assert [(r["line"], r["reason"]) for r in told["rejected"]] == [(3, "no_device"), (4, "invalid_payload"), (5, "no_device")]
    assert body[told["rejected"][1]["offset"]] == "}"
    assert body[told["rejected"][0]["offset"]:].startswith('{"v":2}')
    a, seven = gw.wait_records(2)
    assert a["device"]["id"] == "a" and a["sluice"]["channel"] == "c" and a["@timestamp"].startswith(now[:-1])
    assert seven["device"]["id"] == "7"


def test_names_in_headers_are_percent_encoded_as_in_the_path(gateway):
    gw = gateway()
    with client(gw) as c:
        headers = {"X-Sluice-Device": "S%C3%A4ule%201", "X-Sluice-Channel": "a%2Fb%25"}
        assert c.post("/v1/telemetry", content="hello", headers=headers).status_code == 204
        assert c.post("/v1/telemetry", content="hello", headers={"X-Sluice-Device": "a/../b"}).status_code == 204
        for bad in ("50%", "%zz", "%00", "%C2%85"):
            problem(c.post("/v1/telemetry", content="hello", headers={"X-Sluice-Device": bad}), 400, "invalid-device")
        bad = {"X-Sluice-Device": "d", "X-Sluice-Channel": "50%"}
        problem(c.post("/v1/telemetry", content="hello", headers=bad), 400, "invalid-channel")
    first, second = gw.wait_records(2)
    assert first["device"]["id"] == "S\u00e4ule 1" and first["sluice"]["channel"] == "a/b%"
    assert second["device"]["id"] == "a/../b"
    assert gw.metrics().sum("sluice_messages_refused_total", reason="invalid_device") == 4


def test_header_names_the_device_where_a_line_does_not(gateway):
    gw = gateway({"device": "/meta/id", "channel": None})
    with client(gw) as c:
        answer = c.post("/v1/telemetry", content='{"meta":{"id":"a"}}\n{"v":1}\n5\n',
                        headers={"Content-Type": "application/x-ndjson", "X-Sluice-Device": "hub", "X-Sluice-Channel": "env"})
        assert answer.json() == {"accepted": 3, "rejected_count": 0, "rejected": []}
        assert c.post("/v1/telemetry", content="hello", headers={"Content-Type": "text/plain", "X-Sluice-Device": "solo"}).status_code == 204
        problem(c.post("/v1/telemetry", content="hello", headers={"Content-Type": "text/plain"}), 400, "no-device")
    records = gw.wait_records(4)
    assert [r["device"]["id"] for r in records] == ["a", "hub", "hub", "solo"]
    assert {r["sluice"].get("channel") for r in records[:3]} == {"env"}


def test_array_is_a_batch_and_an_object_is_one_message(gateway):
    gw = gateway()
    with client(gw) as c:
        assert c.post("/v1/telemetry", json=[{"device": "a", "v": [1, {"x": "],"}]}, {"device": "b"}]).json()["accepted"] == 2
        assert c.post("/v1/telemetry", json={"device": "c"}).status_code == 204
        text = '[{"device":"d"},{"device":"e"]'
        told = problem(c.post("/v1/telemetry", content=text, headers={"Content-Type": "application/json"}), 400, "invalid-payload")
        assert told["offset"] == len(text) - 1
    assert [r["device"]["id"] for r in gw.wait_records(3)] == ["a", "b", "c"]


def test_large_packed_batch_is_taken_in_order(gateway):
    gw = gateway()
    body = "".join(json.dumps({"device": f"d{n % 7}", "n": n}) + "\n" for n in range(10000))
    with client(gw) as c:
        answer = c.post("/v1/telemetry", content=gzip.compress(body.encode()),
                        headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"})
        assert answer.json()["accepted"] == 10000
        answer = c.post("/v1/telemetry", content=body + '{"device":"x"}\n', headers={"Content-Type": "application/x-ndjson"})
        problem(answer, 413, "too-many-lines")
    assert [p["n"] for p in payloads(gw, 10000)] == list(range(10000))


def test_batch_of_refused_lines_is_400_and_lists_a_hundred(gateway):
    gw = gateway()
    with client(gw) as c:
        answer = c.post("/v1/telemetry/d", content="{\n" * 500, headers={"Content-Type": "application/x-ndjson"})
    told = problem(answer, 400, "nothing-taken")
    assert told["rejected_count"] == 500 and len(told["rejected"]) == 100


def test_record_of_another_gateway_is_kept(gateway):
    gw = gateway({"envelope": "keep"})
    record = {"@timestamp": "2026-01-02T03:04:05.000006Z", "event": {"id": "01KC0000000000000000000000"}, "device": {"id": "far"},
              "network": {"protocol": "mqtt"}, "sluice": {"v": 1, "listener": "m"}, "payload": {"t": 1}}
    with client(gw) as c:
        answer = c.post("/v1/telemetry", content=json.dumps(record) + "\n", headers={"Content-Type": "application/x-ndjson"})
        assert answer.json()["accepted"] == 1
        answer = c.post("/v1/telemetry/near", json=record)
        assert answer.status_code == 204
        record["event"]["id"] = "01KC0000000000000000000001"
        assert c.post("/v1/telemetry/far", json=record).status_code == 204
    first, second, third = gw.wait_records(3)
    assert third == record
    record["event"]["id"] = "01KC0000000000000000000000"
    assert first == record
    # of another device than the path names: wrapped as any payload
    assert second["device"]["id"] == "near" and second["payload"] == record


# ---- compression -----------------------------------------------------------------------------------------------------


def test_gzip_and_deflate_are_unpacked(gateway):
    gw = gateway()
    with client(gw) as c:
        for coding, pack in (("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)):
            headers = {"Content-Type": "application/json", "Content-Encoding": coding}
            assert c.post("/v1/telemetry/d", content=pack(b'{"t":1}'), headers=headers).status_code == 204
            if coding != "identity":
                problem(c.post("/v1/telemetry/d", content=pack(b'{"t":1}')[:-3], headers=headers), 400, "bad-packing")
                problem(c.post("/v1/telemetry/d", content=b'{"t":1}', headers=headers), 400, "bad-packing")
        for coding in ("br", "gzip, gzip", "zstd"):
            answer = c.post("/v1/telemetry/d", content=b"x", headers={"Content-Encoding": coding})
            problem(answer, 415, "bad-coding")
            assert "gzip" in answer.headers["accept-encoding"]
    assert payloads(gw, 4) == [{"t": 1}] * 4


def test_bare_deflate_and_padding_are_taken(gateway):
    """Clients that take "deflate" for the bare stream, and those that send a buffer padded with zeros."""
    gw = gateway()
    bare = zlib.compressobj(wbits=-15)
    bare = bare.compress(b'{"t":1}') + bare.flush()
    with client(gw) as c:
        for coding, body in (("deflate", bare), ("gzip", gzip.compress(b'{"t":1}') + bytes(500))):
            headers = {"Content-Type": "application/json", "Content-Encoding": coding}
            assert c.post("/v1/telemetry/d", content=body, headers=headers).status_code == 204
    assert payloads(gw, 2) == [{"t": 1}] * 2


def test_bomb_is_refused_and_takes_no_memory(gateway):
    gw = gateway({"max_unpacked": "1MiB"})
    zeros = b"0" * (64 << 20)
    bombs = [("gzip", gzip.compress(zeros)), ("deflate", zlib.compress(zeros)), ("gzip", gzip.compress(gzip.compress(zeros)))]
    with client(gw) as c:
        c.post("/v1/telemetry/d", content=b"1")
        before = gw.memory()
        for _ in range(5):
            for coding, bomb in bombs[:2]:
                answer = c.post("/v1/telemetry", content=bomb, headers={"Content-Encoding": coding, "Content-Type": "application/x-ndjson"})
                problem(answer, 413, "unpacked-too-large")
            answer = c.post("/v1/telemetry/d", content=bombs[2][1], headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
            assert answer.status_code in (400, 413)
        # each would be 64 MiB; sanitizers keep freed memory for a while
        with open(f"/proc/{gw.pid}/maps") as maps:
            most = (48 if "san.so" in maps.read() else 4) << 20
        assert gw.memory() - before < most
        assert c.post("/v1/telemetry/d", content=b"1").status_code == 204


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_errors_are_problems(gateway):
    gw = gateway()
    typed = {"Content-Type": "application/json"}
    with client(gw) as c:
        told = problem(c.post("/v1/telemetry/d", content='{"a":01}', headers=typed), 400, "invalid-payload")
        assert told["offset"] == 6
        problem(c.get("/"), 404, "not-found")
        problem(c.post("/v2/telemetry/d", content="x"), 404, "not-found")
        for method in ("GET", "DELETE", "PATCH", "OPTIONS"):
            answer = c.request(method, "/v1/telemetry/d")
            problem(answer, 405, "bad-method")
            assert answer.headers["allow"] == "POST, PUT"
        assert c.head("/v1/telemetry/d").status_code == 405
        problem(c.post("/v1/telemetry/d", content=b""), 400, "empty")
        problem(c.post("/v1/telemetry", content=b"\n", headers={"Content-Type": "application/x-ndjson"}), 400, "empty")
        problem(c.post("/v1/telemetry/d", content="x", headers={"Idempotency-Key": "k" * 129}), 400, "bad-idempotency-key")
        problem(c.post("/v1/telemetry/d%C2%85e", content="x"), 400, "invalid-device")
        problem(c.post("/v1/telemetry/d%E2%80%AEe", content="x"), 400, "invalid-device")
        problem(c.post("/v1/telemetry/d//e", content="x"), 400, "bad-target")
        problem(c.post("/v1/telemetry/" + "d" * 257, content="x"), 400, "bad-target")
        problem(c.post("/v1/telemetry//c", content="x"), 400, "bad-target")
        problem(c.post("/v1/telemetry/d%00", content="x"), 400, "bad-target")
        problem(c.post("/v1/telemetry/d%ff", content="x"), 400, "invalid-device")
        problem(c.post("/v1/telemetry/d/%ff", content="x"), 400, "invalid-channel")
        problem(c.post("/v1/telemetry/d", content="x", headers={"Expect": "the unexpected"}), 417, "bad-expect")
        problem(c.post("/v1/telemetry/d", content="1" * 300000, headers=typed), 413, "body-too-large")
    status, _, body = curl(gw, "/v1/telemetry/d", "-X", "POST")
    assert status == 411 and json.loads(body)["type"].endswith(":no-length")
    assert gw.records() == []
    assert gw.metrics().sum("sluice_messages_refused_total", listener="http") >= 15


def test_connection_survives_errors_that_are_no_danger(gateway):
    gw = gateway()
    with client(gw) as c:
        for _ in range(3):
            assert c.post("/v1/telemetry/d", content="{", headers={"Content-Type": "application/json"}).status_code == 400
            assert c.post("/nothing", content="x" * 5000).status_code == 404
            assert c.post("/v1/telemetry/d", content=iter([b"x" * 5000] * 5), headers={"Content-Encoding": "br"}).status_code == 415
            assert c.post("/v1/telemetry/d", content="x").status_code == 204
    with socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1")
        got = b""
        while b" 204 " not in got:
            data = s.recv(1000)
            assert data, got
            got += data
        assert got.startswith(b"HTTP/1.1 404 ")


def test_body_over_the_limit_is_refused_before_it_is_read_and_the_answer_arrives(gateway):
    gw = gateway({"max_body": "64KiB"})
    typed = {"Content-Type": "application/x-ndjson"}
    for _ in range(5):
        with client(gw) as c:
            problem(c.post("/v1/telemetry", content=b"1\n" * 500000, headers=typed), 413, "body-too-large")
        with client(gw) as c:
            problem(c.post("/v1/telemetry", content=iter([b"1\n" * 5000] * 100), headers=typed), 413, "body-too-large")
    assert gw.records() == []


def test_head_over_the_limit_is_431_and_one_below_is_taken(gateway):
    gw = gateway()
    with client(gw) as c:
        assert c.post("/v1/telemetry/d", content="x", headers={"X-A": "a" * 7000}).status_code == 204
        assert c.post("/v1/telemetry/d", content="x", headers={f"X-{n}": "a" * 60 for n in range(60)}).status_code == 204
    with client(gw) as c:
        assert c.post("/v1/telemetry/d", content="x", headers={"X-A": "a" * 40000}).status_code == 431
    with client(gw) as c:
        assert c.post("/v1/telemetry/" + "d" * 40000, content="x").status_code in (414, 431)


def test_lines_of_the_log_cannot_be_forged(gateway):
    gw = gateway(log={"level": "debug", "format": "json"})
    with socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS) as s:
        s.sendall(b'POST /v1/telemetry/"\n{"message":"forged"}\r\n HTTP/1.1\r\nHost: "\r\n\r\n')
        s.settimeout(5 * SLOWNESS)
        try:
            while s.recv(1000):
                pass
        except ConnectionError:
            pass
    for line in gw.log().splitlines():
        assert json.loads(line)["message"] != "forged"


# ---- slow and many ---------------------------------------------------------------------------------------------------


def test_slow_heads_and_bodies_are_closed_while_others_are_served(gateway):
    gw = gateway({"idle_timeout": "1s", "request_timeout": "2s"})
    address = gw.address("http")
    starts = [b"POST /v1/tele", b"POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n1",
              b"POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1", b""]
    slow = []
    for n in range(200):
        s = socket.create_connection(address, timeout=15 * SLOWNESS)
        s.sendall(starts[n % len(starts)])
        slow.append(s)
    with client(gw) as c:
        for n in range(50):
            assert c.post("/v1/telemetry/d", json={"n": n}).status_code == 204
    answers = []
    for s in slow:
        got = b""
        try:
            while data := s.recv(1000):
                got += data
        except ConnectionError:
            pass
        answers.append(got)
        s.close()
    assert all(a.startswith(b"HTTP/1.1 408 ") for a in answers)
    assert gw.metrics().sum("sluice_messages_refused_total", listener="http", reason="timeout") == 200


def test_long_bodies_that_stop_half_way_leave_room_for_messages(gateway):
    gw = gateway({"max_buffered": "2MiB", "max_body": "1MiB", "max_payload": "64KiB"})
    slow = []
    for _ in range(8):
        s = socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS)
        s.sendall(b"POST /v1/telemetry HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n" + b"1\n" * 300_000)
        slow.append(s)
    gw.wait_metric("sluice_messages_refused_total", 1, listener="http", reason="memory_limit")
    with client(gw) as c:
        for n in range(50):
            assert c.post("/v1/telemetry/d", json={"n": n}).status_code == 204
    for s in slow:
        s.close()
    assert payloads(gw, 50) == [{"n": n} for n in range(50)]


def test_body_that_drips_is_closed_in_the_end(gateway):
    gw = gateway({"idle_timeout": "10s", "request_timeout": "1s"})
    with socket.create_connection(gw.address("http"), timeout=0.1) as s:
        s.sendall(b"POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        end, got = time.monotonic() + 10 * SLOWNESS, b""
        while not got:
            assert time.monotonic() < end
            try:
                s.send(b"1")
                got = s.recv(1000)
            except TimeoutError:
                pass
        assert got.startswith(b"HTTP/1.1 408 ")


def test_connections_beyond_the_limit_are_told(gateway):
    gw = gateway({"max_connections": 5})
    address = gw.address("http")
    held = [socket.create_connection(address, timeout=5 * SLOWNESS) for _ in range(5)]
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="http") == 5, what="five connections")
    with client(gw) as c:
        answer = c.post("/v1/telemetry/d", content="x")
        problem(answer, 503, "connection-limit")
        assert int(answer.headers["retry-after"]) >= 1
    held.pop().close()
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="http") == 4, what="one left")
    with client(gw) as c:
        assert c.post("/v1/telemetry/d", content="x").status_code == 204
    for s in held:
        s.close()


def test_address_with_too_many_connections_is_told(gateway):
    gw = gateway({"max_per_address": 2})
    with client(gw) as a, client(gw) as b, client(gw) as c:
        assert a.post("/v1/telemetry/d", content="x").status_code == 204
        assert b.post("/v1/telemetry/d", content="x").status_code == 204
        answer = c.post("/v1/telemetry/d", content="x")
        problem(answer, 429, "too-many-connections")
        assert int(answer.headers["retry-after"]) >= 1


def test_peer_that_never_reads_is_closed(gateway):
    gw = gateway({"request_timeout": "1s"})
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(1)
        s.connect(gw.address("http"))
        try:
            for _ in range(100000):
                s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 100)
            pytest.fail("it reads on though nobody reads its answers")
        except (TimeoutError, ConnectionError):
            pass
        wait_until(lambda: gw.metrics().sum("sluice_connections", listener="http") == 0, what="it is closed")
    assert gw.memory() < 100 << 20


def test_running_out_of_descriptors_leaves_some_to_the_journal(sluice, tmp_path):
    program = os.environ.get("SLUICE_BIN") or ROOT / "build" / "sluice"
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 100\nexec "{program}" "$@"\n')
    limited.chmod(0o755)
    gw = sluice(HTTP_ONLY, program=limited)
    first = socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS)
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="http") == 1, what="the first connection")
    others = [socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS) for _ in range(150)]
    assert others[-1].recv(100).startswith(b"HTTP/1.1 503 ")
    for n in range(10):
        first.sendall(b"POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1")
        assert first.recv(1000).startswith(b"HTTP/1.1 204 ")
    for s in others:
        s.close()
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="http") == 1, what="the others are gone")
    with client(gw) as c:
        assert c.post("/v1/telemetry/d", content="2").status_code == 204
    gw.wait_records(11)
    first.close()


def test_client_that_leaves_while_it_waits_does_no_harm(gateway):
    gw = gateway()
    for n in range(300):
        with socket.create_connection(gw.address("http"), timeout=5 * SLOWNESS) as s:
            s.sendall(b"POST /v1/telemetry/d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1")
            if n % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with client(gw) as c:
        assert c.post("/v1/telemetry/last", content="x").status_code == 204
    gw.wait_records(lambda records: any(r["device"]["id"] == "last" for r in records))
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="http") == 0, what="all connections gone")


def test_clients_that_half_close_get_their_answers(gateway):
    """RFC 9112 section 9.6: who shuts down its sending side still reads; many small clients do so after each request."""
    gw = gateway()
    answers = []

    def send(n):
        body = b'{"n":%d}' % n
        with socket.create_connection(gw.address("http"), timeout=10 * SLOWNESS) as s:
            s.sendall(b"POST /v1/telemetry/half HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            s.shutdown(socket.SHUT_WR)
            answers.append(s.recv(4096)[:12])

    for start in range(0, 160, 8):
        clients = [threading.Thread(target=send, args=(n,)) for n in range(start, start + 8)]
        for client_ in clients:
            client_.start()
        for client_ in clients:
            client_.join()
    assert answers == [b"HTTP/1.1 204"] * 160
    assert sorted(p["n"] for p in payloads(gw, 160)) == list(range(160))


@pytest.mark.parametrize("threads", [1, 3])
def test_many_clients_at_once_lose_nothing(gateway, threads):
    gw = gateway({"threads": threads})
    failed = []

    def send(sender):
        try:
            with client(gw) as c:
                for n in range(100):
                    if c.post(f"/v1/telemetry/s{sender}", json={"n": n}).status_code != 204:
                        failed.append((sender, n))
        except httpx.HTTPError as error:
            failed.append((sender, repr(error)))

    senders = [threading.Thread(target=send, args=(n,)) for n in range(16)]
    for t in senders:
        t.start()
    for t in senders:
        t.join()
    assert failed == []
    seen = {}
    for r in gw.wait_records(1600):
        seen.setdefault(r["device"]["id"], []).append(r["payload"]["n"])
    assert len(seen) == 16 and all(numbers == list(range(100)) for numbers in seen.values())


# ---- acknowledgement and stopping ------------------------------------------------------------------------------------


def test_accepted_is_answered_202_with_the_id_of_the_record(gateway):
    gw = gateway({"ack": "accepted"})
    with client(gw) as c:
        answer = c.post("/v1/telemetry/d", content="1")
        assert answer.status_code == 202
        batch = c.post("/v1/telemetry/d", content="2\n3\n", headers={"Content-Type": "application/x-ndjson"})
        assert batch.status_code == 202 and batch.json()["accepted"] == 2
    assert gw.wait_records(3)[0]["event"]["id"] == answer.json()["id"]


def test_delivered_is_answered_when_the_sink_has_it(gateway):
    gw = gateway({"ack": "delivered"})
    with client(gw) as c:
        for n in range(5):
            assert c.post("/v1/telemetry/d", content=str(n)).status_code == 204
            assert len(gw.records()) == n + 1


def test_stop_answers_every_request_that_was_taken(gateway):
    gw = gateway()
    answered, stop = [], threading.Event()

    def send(sender):
        with client(gw) as c:
            for n in range(100000):
                try:
                    if c.post(f"/v1/telemetry/s{sender}", json={"n": n}).status_code == 204:
                        answered.append((f"s{sender}", n))
                except httpx.HTTPError:
                    pass
                if stop.is_set():
                    return

    senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for t in senders:
        t.start()
    wait_until(lambda: len(answered) > 200, what="load")
    code = gw.stop()
    stop.set()
    for t in senders:
        t.join()
    assert code == 0
    have = {(r["device"]["id"], r["payload"]["n"]) for r in gw.records()}
    gw.restart()
    wait_until(lambda: set(answered) <= {(r["device"]["id"], r["payload"]["n"]) for r in gw.records()} | have, what="every answered message")


# ---- start -----------------------------------------------------------------------------------------------------------


def test_address_in_use_names_listener_address_and_setting(gateway, sluice):
    first = gateway()
    second = sluice({**HTTP_ONLY, "listeners": {**HTTP_ONLY["listeners"], "http": {"listen": first.config["listeners"]["http"]["listen"]}}},
                    start=False)
    second.expected_to_end = True
    done = second.command("--config", str(second.config_path))
    assert done.returncode != 0
    said = done.stderr if isinstance(done.stderr, str) else done.stderr.decode()
    assert "http" in said and "listen" in said and first.config["listeners"]["http"]["listen"] in said and "in use" in said


def test_bad_pointers_are_found_by_check(sluice):
    gw = sluice({**HTTP_ONLY, "listeners": {**HTTP_ONLY["listeners"], "http": {"device": "device", "channel": "/c"}}}, start=False)
    done = gw.command("--check", str(gw.config_path))
    said = done.stderr + done.stdout
    assert done.returncode != 0 and "RFC 6901" in said and "device" in said


def test_both_families_are_served_and_an_old_library_is_warned_of(sluice, free_port):
    gw = sluice({**HTTP_ONLY, "listeners": {**HTTP_ONLY["listeners"], "http": {"listen": f"[::]:{free_port()}", "anonymous": True,
                                                                              "include": ["source"]}}})
    port = gw.port("http")
    for host in ("127.0.0.1", "[::1]"):
        answer = httpx.post(f"http://{host}:{port}/v1/telemetry/d", content="1", trust_env=False, timeout=10 * SLOWNESS)
        assert answer.status_code == 204
    assert [r["source"]["ip"] for r in gw.wait_records(2)] == ["127.0.0.1", "::1"]
    old = re.search(r"^libmicrohttpd 0\.", gw.command("--version").stdout, re.M)
    warned = [e for e in gw.log_events() if "libmicrohttpd" in e.get("message", "") and e.get("log.level") == "warn"]
    assert len(warned) == (1 if old else 0)
