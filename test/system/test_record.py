"""Records as every protocol makes them, held against docs/record.schema.json and docs/record.md."""

import asyncio
import copy
import datetime
import json
import re
import socket
import time

import jsonschema
import pytest
from conftest import wait_until
from harness import ROOT

SCHEMA = json.loads((ROOT / "docs" / "record.schema.json").read_text())
PAGE = (ROOT / "docs" / "record.md").read_text()


def closed(schema):
    """The schema without room for fields that it does not describe: what this version writes must all be described."""
    out = copy.deepcopy(schema)

    def close(node):
        for child in node.get("properties", {}).values():
            close(child)
        if "properties" in node:
            node["additionalProperties"] = False
    close(out)
    return out


VALIDATOR = jsonschema.Draft202012Validator(closed(SCHEMA), format_checker=jsonschema.FormatChecker())

#: what a device sends -> the payload of its record, where nobody declares what it is
FORMS = [
    (b'{"temperature":21.40}', {"temperature": 21.4}),
    (b"{}", {}),
    (b'{"nested":{"deep":[1,{"er":null}]}}', {"nested": {"deep": [1, {"er": None}]}}),
    (b"21.5", {"number": 21.5}),
    (b"-0", {"number": 0}),
    (b"true", {"boolean": True}),
    (b"false", {"boolean": False}),
    (b"null", {"null": None}),
    (b'"on"', {"text": "on"}),
    (b'"\\u00e9\\n"', {"text": "é\n"}),
    (b"[1,2,3]", {"array": [1, 2, 3]}),
    (b"on", {"text": "on"}),
    ('grün "quoted" \\ \t'.encode(), {"text": 'grün "quoted" \\ \t'}),
    (b"01", {"text": "01"}),
    (b"NaN", {"text": "NaN"}),
    (b'{"cut":', {"text": '{"cut":'}),
    (b"\xff\x00\x01", {"base64": "/wAB"}),
    (b'"\xed\xa0\x80"', {"base64": "Iu2ggCI="}),
]


def http(gateway, payload, path="/v1/telemetry/d1", headers=None):
    import httpx

    answer = httpx.post(gateway.url(path), content=payload, headers=headers or {}, trust_env=False, timeout=20)
    assert answer.status_code == 204, answer.text


def mqtt(gateway, payloads, topic="devices/d1/env", qos=1, retain=False, client="client-1"):
    import paho.mqtt.client as paho

    session = paho.Client(paho.CallbackAPIVersion.VERSION2, client)
    session.connect(*gateway.address("mqtt"))
    session.loop_start()
    for message in [session.publish(topic, payload, qos, retain) for payload in payloads]:
        message.wait_for_publish(20)
    session.disconnect()
    session.loop_stop()


def coap(gateway, payloads, path="/t/d1/env", content_format=None):
    import aiocoap

    async def run():
        context = await aiocoap.Context.create_client_context()
        try:
            for payload in payloads:
                request = aiocoap.Message(code=aiocoap.POST, payload=payload,
                                          uri=f"coap://127.0.0.1:{gateway.port('coap')}{path}")
                if content_format is not None:
                    request.opt.content_format = content_format
                answer = await asyncio.wait_for(context.request(request).response, 20)
                assert answer.code.dotted == "2.04", answer
        finally:
            await context.shutdown()
    asyncio.run(run())


def tcp(gateway, *lines):
    with socket.create_connection(gateway.address("tcp"), timeout=20) as s:
        s.sendall(b"".join(line + b"\n" for line in lines))
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass


def valid(records):
    for record in records:
        error = jsonschema.exceptions.best_match(VALIDATOR.iter_errors(record))
        assert error is None, f"{error.json_path}: {error.message}: {json.dumps(record)}"
    identifiers = [record["event"]["id"] for record in records]
    assert len(set(identifiers)) == len(identifiers)
    return records


# ---- the documents ---------------------------------------------------------------------------------------------------


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_examples_of_the_page_are_records():
    examples = re.findall(r"```json\n(.*?)\n```", PAGE, re.S)
    assert len(examples) >= 3
    valid([json.loads(example) for example in examples])


def test_the_page_names_every_field_of_the_schema():
    def fields(node, path):
        for name, child in node.get("properties", {}).items():
            below = [*path, name]
            yield from fields(child, below) if "properties" in child and name != "error" else [".".join(below)]
    missing = [field for field in fields(SCHEMA, []) if f"`{field}`" not in PAGE]
    assert not missing


def test_the_forms_of_the_page_are_what_comes_out(sluice):
    """The table under "Payload", row by row."""
    gw = sluice()
    rows = re.findall(r"^\| `([^`]*)`(?: \(.*?\))? \| `({[^`]*})` \|$", PAGE, re.M)
    assert len(rows) == 7
    for sent, _ in rows:
        http(gw, sent.encode(), headers={"Content-Type": ""})
    records = gw.wait_records(len(rows))
    assert [r["payload"] for r in records] == [json.loads(wanted) for _, wanted in rows]
    text = gw.file.read_text()
    assert all(f'"payload":{wanted}' in text for _, wanted in rows)


# ---- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["mqtt", "coap", "tcp", "http"])
def test_every_form_of_payload_over_every_protocol(sluice, protocol):
    gw = sluice({"listeners": {"tcp": {"device": "peer"}}})
    forms = [(sent, wanted) for sent, wanted in FORMS if protocol != "tcp" or b"\n" not in sent]
    sent = [payload for payload, _ in forms]
    if protocol == "mqtt":
        mqtt(gw, sent)
    elif protocol == "coap":
        coap(gw, sent)
    elif protocol == "tcp":
        tcp(gw, *sent)
    else:
        for payload in sent:
            http(gw, payload, "/v1/telemetry/d1/env", {"Content-Type": ""})
    records = valid(gw.wait_records(len(sent)))
    for (payload, wanted), record in zip(forms, records, strict=True):
        assert record["payload"] == wanted, payload
        assert record["network"]["protocol"] == record["sluice"]["listener"] == protocol
        assert record["device"]["id"] == ("127.0.0.1" if protocol == "tcp" else "d1")
    channel = {"mqtt": "devices/d1/env", "coap": "env", "http": "env", "tcp": None}[protocol]
    assert {record["sluice"].get("channel") for record in records} == {channel}


NEARLY = [(b'{"temperature":nan,"humidity":54.2}', "not_a_number"), (b'{"unit":"\xb0C","v":21.4}', "encoding"),
          (b'{"t":1,}', "syntax"), (b'{"t":1}{"t":2}', "trailing_bytes"), (b'{"t":', "truncated")]


@pytest.mark.parametrize("protocol", ["mqtt", "coap", "tcp", "http"])
def test_json_that_is_nearly_json_is_read_or_counted_flagged_and_logged(sluice, protocol):
    gw = sluice({"listeners": {"tcp": {"device": "peer"}}})
    sent = [b'{"t":21.4}\0', b'\xef\xbb\xbf{"t":1}', *[payload for payload, _ in NEARLY]]
    if protocol == "mqtt":
        mqtt(gw, sent)
    elif protocol == "coap":
        coap(gw, sent)
    elif protocol == "tcp":
        tcp(gw, *sent)
    else:
        for payload in sent:
            http(gw, payload, "/v1/telemetry/d1/env", {"Content-Type": ""})
    records = valid(gw.wait_records(len(sent)))
    assert [r["payload"] for r in records[:2]] == [{"t": 21.4}, {"t": 1}]
    assert [r["sluice"].get("not_json") for r in records] == [None, None, *[reason for _, reason in NEARLY]]
    for _, reason in NEARLY:
        assert gw.metrics().sum("sluice_messages_not_json_total", listener=protocol, reason=reason) == 1
    lines = [e for e in gw.log_events() if "meant to be JSON" in e["message"]]
    assert [e["sluice.reason"] for e in lines] == [reason for _, reason in NEARLY]
    assert {e["device.id"] for e in lines} == {"127.0.0.1" if protocol == "tcp" else "d1"}


def test_numbers_and_spelling_are_taken_over_byte_for_byte(sluice):
    gw = sluice()
    payload = (b'{"i":9007199254740993,"u":18446744073709551615,"f":21.40,"e":1E400,"z":-0.0,'
               b'"t":"\\u0041\\/","a" : [ 1 , 2 ]}')
    http(gw, b" \r\n\t" + payload + b"\n ", headers={"Content-Type": "application/json"})
    gw.wait_records(1)
    assert b'"payload":' + payload + b"}\n" in gw.file.read_bytes()


def test_line_breaks_in_a_payload_do_not_break_the_line(sluice):
    gw = sluice()
    http(gw, b'{\r\n  "a": 1,\n  "b": [\n1]\r}', headers={"Content-Type": "application/json"})
    (record,) = valid(gw.wait_records(1))
    assert record["payload"] == {"a": 1, "b": [1]}
    assert gw.file.read_bytes().count(b"\n") == 1 and b"\r" not in gw.file.read_bytes()


def test_what_a_record_tells_besides(sluice):
    include = {"include": ["source", "content_type"]}
    gw = sluice({"listeners": {"mqtt": include, "coap": include, "http": include, "tcp": {
        "include": ["source"], "channel": "/c"}}})
    mqtt(gw, [b"{}"], "plain/topic", qos=0, client="by-client-id")
    gw.wait_records(1)
    mqtt(gw, [b"{}"], qos=2, retain=True)
    coap(gw, [b"{}"], content_format=50)
    http(gw, b"{}", headers={"Content-Type": "application/json", "Idempotency-Key": 'k"1'})
    tcp(gw, b'{"device":"d2","c":"indoor/air"}')
    records = valid(gw.wait_records(5))
    assert [r["device"]["id"] for r in records] == ["by-client-id", "d1", "d1", "d1", "d2"]
    assert [r["sluice"].get("qos") for r in records] == [0, 2, None, None, None]
    assert [r["sluice"].get("retain") for r in records] == [None, True, None, None, None]
    types = [r["sluice"].get("content_type") for r in records]
    assert types == [None, None, "application/json", "application/json", None]
    assert records[3]["sluice"]["idempotency_key"] == 'k"1'
    assert records[4]["sluice"]["channel"] == "indoor/air"
    assert all(r["source"]["ip"] == "127.0.0.1" and r["source"]["port"] > 0 for r in records)


def test_what_others_write_into_headers_and_names_cannot_spoil_a_record(sluice):
    """Quotes, backslashes, escapes and bytes that are no UTF-8, wherever a device can put them."""
    gw = sluice({"listeners": {"http": {"include": ["content_type"]}, "tcp": {"channel": "/c"}}})

    def raw(path, headers=b"", body=b"{}"):
        with socket.create_connection(gw.address("http"), timeout=20) as s:
            s.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers +
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
            return int(s.makefile("rb").readline().split()[1])
    assert raw(b"/v1/telemetry/%22%2C%22x%22%3A%22%5C/%22%5C%5C") == 204
    assert raw(b"/v1/telemetry/d1", b'Content-Type: text/plain; a="\\"b"\r\n') == 204
    assert raw(b"/v1/telemetry/d1", b"Content-Type: text/\xff\xfe\r\n") in (204, 400, 415)
    assert raw(b"/v1/telemetry/d1", b"Idempotency-Key: \xff\r\n") in (204, 400)
    for bad in (b"%ff", b"%00", b"d%0a", b"d%7f", b"d" * 257, b"%c3%a9" * 129):
        assert raw(b"/v1/telemetry/" + bad) in (400, 414), bad
    assert raw(b"/v1/telemetry/" + b"%c3%a9" * 128) == 204
    tcp(gw, rb'{"device":"\u0022\\\u00e9\ud83d\ude00","c":"\"\u2028\n"}', rb'{"device":"a\u0000b"}',
        rb'{"device":"\ud800"}', rb'{"device":""}', rb'{"device":7}',
        b'{"device":"last","c":"' + b"\\u0041" * 1025 + b'"}', b'{"device":"last"}')
    records = valid(gw.wait_records(lambda records: records and records[-1]["device"]["id"] == "last"))
    devices = [r["device"]["id"] for r in records]
    assert devices[0] == '","x":"\\' and records[0]["sluice"]["channel"] == '"\\\\'
    assert "é" * 128 in devices and '"\\é😀' in devices and "7" in devices
    assert all(b"\xff" not in line for line in gw.file.read_bytes().splitlines())


def test_the_devices_own_time_counts_where_it_is_plausible(sluice):
    listeners = {f"by-{form.replace('_', '-')}": {"protocol": "tcp", "device": "peer",
                                                  "time": {"pointer": "/m/ts", "format": form}}
                 for form in ("rfc3339", "unix", "unix_ms", "unix_us")}
    gw = sluice({"listeners": listeners})
    now = int(time.time()) - 100
    text = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    sent = {"by-rfc3339": f'"{text}.25Z"', "by-unix": f"{now}.25", "by-unix-ms": f"{now}250",
            "by-unix-us": f"{now}250000"}
    not_believed = [str(now - 8 * 86400), '"2001-01-01T00:00:00Z"', "1e300", '"soon"', "null", "99999999999999999999"]
    for listener, value in sent.items():
        with socket.create_connection(gw.address(listener)) as s:
            for ts in (value, *not_believed):
                s.sendall(b'{"m":{"ts":%s}}\n' % ts.encode())
    records = valid(gw.wait_records(7 * len(sent)))
    believed = [r for r in records if "created" in r["event"]]
    assert {r["sluice"]["listener"] for r in believed} == set(sent) and len(believed) == len(sent)
    for record in believed:
        assert record["@timestamp"] == f"{text}.250000Z"
        assert record["event"]["created"] > record["@timestamp"]
    assert gw.metrics().sum("sluice_messages_clock_off_total") == 6 * len(sent)
    for record in records:
        if record not in believed:
            assert record["sluice"]["clock"] in ("behind", "ahead", "unreadable")
            age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(record["@timestamp"])
            assert abs(age.total_seconds()) < 60, "the time of receipt"


def test_records_of_another_gateway_are_kept(sluice, tmp_path):
    edge = sluice()
    http(edge, b'{"temperature":21.40}', "/v1/telemetry/edge-device/env", {"Content-Type": "application/json"})
    http(edge, b"text", "/v1/telemetry/edge-device", {"Content-Type": "text/plain"})
    edge.wait_records(2)
    lines = edge.file.read_bytes()
    centre = sluice({"listeners": {"http": {"envelope": "keep"}, "wraps": {"protocol": "http"}}})
    import httpx

    for listener in ("http", "wraps"):
        answer = httpx.post(centre.url("/v1/telemetry", listener), content=lines, trust_env=False,
                            headers={"Content-Type": "application/x-ndjson", "X-Sluice-Device": "edge-1"})
        assert answer.status_code == 200 and answer.json()["accepted"] == 2, answer.text
    records = valid(centre.wait_records(4))
    assert centre.file.read_bytes().startswith(lines), "byte for byte, identifier and time included"
    assert [r["payload"] for r in records[2:]] == records[:2], "wrapped where nothing is said"
    assert {r["device"]["id"] for r in records[2:]} == {"edge-1"}


@pytest.mark.parametrize("spoil", [
    lambda r: r["sluice"].update(v=2),
    lambda r: r["sluice"].update(v="1"),
    lambda r: r["event"].update(id="short"),
    lambda r: r["event"].update(id="0" * 25 + '"'),
    lambda r: r.update(event="x"),
    lambda r: r.update({"@timestamp": "yesterday"}),
    lambda r: r["device"].update(id=""),
    lambda r: r["device"].update(id="\x01"),
    lambda r: r["device"].update(id="d" * 257),
    lambda r: r.update(payload=[1]),
    lambda r: r.pop("payload"),
])
def test_what_only_looks_like_a_record_is_a_payload(sluice, spoil):
    gw = sluice({"listeners": {"http": {"envelope": "keep"}}})
    record = {"@timestamp": "2026-11-22T08:37:00.123456Z", "event": {"id": "01KANKB4KV9F3M0C0200000000"},
              "device": {"id": "d9"}, "network": {"protocol": "mqtt"}, "sluice": {"v": 1, "listener": "l"},
              "payload": {}}
    spoil(record)
    http(gw, json.dumps(record).encode(), headers={"Content-Type": "application/json"})
    (kept,) = valid(gw.wait_records(1))
    assert kept["payload"] == record and kept["device"]["id"] == "d1"


def test_dead_letters_of_the_intake_are_records_too(sluice):
    gw = sluice({"listeners": {"http": {"on_invalid": "dead_letter"}}})
    http(gw, b"{]", headers={"Content-Type": "application/json"})
    http(gw, b"\xff", headers={"Content-Type": "application/json"})
    dead = gw.data / "dead" / "intake.ndjson"
    wait_until(lambda: dead.exists() and dead.read_bytes().count(b"\n") == 2, what="dead letters")
    letters = valid([json.loads(line) for line in dead.read_text().splitlines()])
    assert [letter["payload"] for letter in letters] == [{"text": "{]"}, {"base64": "/w=="}]
    assert [letter["sluice"]["error"]["offset"] for letter in letters] == [1, 0]
