"""MQTT against the real program: paho-mqtt and mosquitto_pub as devices know it, raw sockets for what no client sends."""

import json
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pytest

from harness import merge, wait_until

# ---- packets by hand -------------------------------------------------------------------------------------------------


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


def packet(first, body=b""):
    size, length = len(body), b""
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([first]) + length + body


def connect(client_id="dev", clean=True, keep_alive=60, level=4, name="MQTT", flags=0, rest=b""):
    flags |= 2 if clean else 0
    return packet(0x10, text(name) + bytes([level, flags]) + struct.pack(">H", keep_alive) + text(client_id) + rest)


def publish(topic, payload, qos=0, mid=1, dup=False, retain=False):
    payload = payload.encode() if isinstance(payload, str) else payload
    first = 0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    return packet(first, text(topic) + (struct.pack(">H", mid) if qos else b"") + payload)


def puback(mid):
    return struct.pack(">BBH", 0x40, 2, mid)


def pubrec(mid):
    return struct.pack(">BBH", 0x50, 2, mid)


def pubrel(mid):
    return struct.pack(">BBH", 0x62, 2, mid)


def pubcomp(mid):
    return struct.pack(">BBH", 0x70, 2, mid)


CONNACK = b"\x20\x02\x00\x00"
CONNACK_PRESENT = b"\x20\x02\x01\x00"
PINGREQ, PINGRESP, DISCONNECT = b"\xc0\x00", b"\xd0\x00", b"\xe0\x00"


class Raw:
    """A socket that speaks MQTT by hand."""

    def __init__(self, gw, *args, listener="mqtt", expect=CONNACK, **kwargs):
        self.sock = socket.create_connection(gw.address(listener), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if expect is not None:
            self.send(connect(*args, **kwargs))
            self.expect(expect)

    def send(self, *packets):
        self.sock.sendall(b"".join(packets))
        return self

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, f"closed after {data!r}"
            data += more
        return data

    def expect(self, *packets):
        wanted = b"".join(packets)
        got = self.read(len(wanted))
        assert got == wanted
        return self

    def expect_closed(self, data=b""):
        """The server closes, after data and nothing else. A reset counts: it may have unread bytes of ours."""
        got = b""
        try:
            while more := self.sock.recv(65536):
                got += more
        except ConnectionResetError:
            pass
        assert got == data
        self.sock.close()

    def expect_silence(self, seconds=0.2):
        self.sock.settimeout(seconds)
        with pytest.raises(TimeoutError):
            self.sock.recv(1)
        self.sock.settimeout(10)

    def close(self):
        self.sock.close()


def numbers_after_kill(gw):
    """The payloads {"number": n} in the file. Half a line, left by a kill and ended by the next start, is not a record."""
    numbers = []
    for line in gw.file.read_bytes().splitlines() if gw.file.exists() else []:
        try:
            numbers.append(json.loads(line)["payload"]["number"])
        except ValueError:
            pass
    return numbers


def mqtt(**settings):
    return {"listeners": {"mqtt": settings}}


def device(client_id="", clean=True, protocol=paho.MQTTv311):
    return paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=protocol)


@pytest.fixture
def one(sluice):
    """A gateway whose settings no test changes."""
    return sluice()


# ---- real clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [paho.MQTTv31, paho.MQTTv311])
def test_paho_publishes_at_every_qos(one, protocol):
    client = device("paho-1", protocol=protocol)
    client.connect(*one.address("mqtt"))
    client.loop_start()
    for qos in (0, 1, 2):
        info = client.publish("devices/s-1/env", f'{{"qos":{qos}}}', qos=qos, retain=qos == 1)
        info.wait_for_publish(10)
        assert info.is_published()
    client.disconnect()
    client.loop_stop()
    records = one.wait_records(3)
    assert [r["payload"]["qos"] for r in records] == [0, 1, 2]
    for record in records:
        assert record["device"]["id"] == "s-1"
        assert record["network"]["protocol"] == "mqtt"
        assert record["sluice"]["listener"] == "mqtt"
        assert record["sluice"]["channel"] == "devices/s-1/env"
        assert record["sluice"]["qos"] == record["payload"]["qos"]
        assert record["sluice"].get("retain", False) == (record["payload"]["qos"] == 1)


def test_paho_pipelines_thousands_in_order(one):
    client = device("paho-many")
    client.max_inflight_messages_set(200)
    client.max_queued_messages_set(0)
    client.connect(*one.address("mqtt"))
    client.loop_start()
    infos = [client.publish("t", str(i), qos=1 + i % 2) for i in range(2000)]
    for info in infos:
        info.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    records = one.wait_records(2000)
    assert [r["payload"]["number"] for r in records] == list(range(2000))
    metrics = one.metrics()
    assert metrics.sum("sluice_messages_accepted_total", listener="mqtt") == 2000


def test_paho_pings_and_stays_connected(sluice):
    gw = sluice(mqtt())
    client = device("pinger")
    client.connect(*gw.address("mqtt"), keepalive=1)
    client.loop_start()
    time.sleep(3.5)  # more than twice the 1.5 keep-alives after which silence would end it
    assert client.is_connected()
    client.disconnect()
    client.loop_stop()


def test_paho_subscription_is_refused_with_a_code(one):
    client = device("subscriber")
    codes = []
    client.on_subscribe = lambda c, u, mid, reasons, p: codes.extend(reasons)
    client.connect(*one.address("mqtt"))
    client.loop_start()
    client.subscribe([("a/#", 1), ("b", 0)])
    wait_until(lambda: len(codes) == 2)
    assert all(code.is_failure for code in codes)
    client.disconnect()
    client.loop_stop()


def test_paho_mqtt_5_is_told_unsupported(one):
    client = device("five", clean=None, protocol=paho.MQTTv5)
    codes = []
    client.on_connect = lambda c, u, flags, reason, p: codes.append(reason)
    client.connect(*one.address("mqtt"))
    end = time.monotonic() + 10
    while not codes and time.monotonic() < end:
        client.loop(0.1)
    assert codes and codes[0].value == 0x84


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto_pub is not installed")
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311"])
def test_mosquitto_pub_publishes(one, version):
    host, port = one.address("mqtt")
    for qos in "012":
        subprocess.run(["mosquitto_pub", "-h", host, "-p", str(port), "-V", version, "-q", qos, "-i", "mp", "-u", "user",
                        "-P", "secret-word", "-t", "devices/m-1/x", "-m", f'{{"n":{qos}}}', "--will-topic", "gone",
                        "--will-payload", "bye"], check=True, timeout=20)
    records = one.wait_records(3)
    assert sorted(r["payload"]["n"] for r in records) == [0, 1, 2]
    assert {r["device"]["id"] for r in records} == {"m-1"}
    assert "secret-word" not in one.log()


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto_pub is not installed")
def test_mosquitto_pub_without_identifier_gets_one(one):
    host, port = one.address("mqtt")
    subprocess.run(["mosquitto_pub", "-h", host, "-p", str(port), "-q", "1", "-t", "x", "-m", "on"], check=True, timeout=20)
    record = one.wait_records(1)[0]
    assert record["device"]["id"].startswith("auto-")
    assert record["payload"] == {"text": "on"}


def test_paho_devices_return_after_a_restart(sluice):
    gw = sluice()
    client = device("returning", clean=False)
    published = set()
    client.on_publish = lambda c, u, mid, reason, p: published.add(mid)
    client.reconnect_delay_set(1, 1)
    client.connect(*gw.address("mqtt"))
    client.loop_start()
    client.publish("t", "1", qos=1).wait_for_publish(10)
    gw.kill()
    mids = {client.publish("t", str(n), qos=1).mid for n in range(2, 12)}  # kept by the client while there is no connection
    gw.start()
    wait_until(lambda: mids <= published, 20, "the acknowledgements")
    client.disconnect()
    client.loop_stop()
    wait_until(lambda: set(numbers_after_kill(gw)) == set(range(1, 12)), what="all eleven in the file")


# ---- CONNECT ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent, answer", [
    (connect("", clean=True), CONNACK),
    (connect("", clean=False), b"\x20\x02\x00\x02"),
    (connect("", name="MQIsdp", level=3), b"\x20\x02\x00\x02"),
    (connect("x" * 128), CONNACK),
    (connect("x" * 129), b"\x20\x02\x00\x02"),
    (connect("a\x07b"), b"\x20\x02\x00\x02"),
    (connect(level=3), b"\x20\x02\x00\x01"),
    (connect(level=0x84), CONNACK),                                # a bridge of Mosquitto
    (connect(level=0x83, name="MQIsdp"), CONNACK),
    (b"\x12" + connect(level=3, name="MQIsdp")[1:], CONNACK),      # 3.1: unused header bits
    (b"\x18" + connect(level=3, name="MQIsdp")[1:], CONNACK),
    (connect(level=0x83), b"\x20\x02\x00\x01"),
    (connect(level=0x85), b"\x20\x02\x00\x01"),
    (connect(level=5, rest=b""), b"\x20\x03\x00\x84\x00"),
])
def test_connect_gets_its_return_code(one, sent, answer):
    raw = Raw(one, expect=None).send(sent)
    raw.expect(answer)
    if answer == CONNACK:
        raw.send(PINGREQ).expect(PINGRESP).close()
    else:
        raw.expect_closed()


@pytest.mark.parametrize("sent", [
    b"\x20", b"\x30", b"\xc0\x00", b"\x12" + connect()[1:], b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00",
    b"\x10\xff\xff\xff\x7f",
    b"\x10\xff\xff\xff\xff",
    b"\x10\x00",
    connect(name="MQTX"),
    connect(flags=1),                                              # reserved flag
    connect(flags=0x08),                                           # will QoS without a will
    connect(flags=0x20),                                           # will retain without a will
    connect(flags=0x1c, rest=text("w") + text("m")),               # will QoS 3
    connect(flags=0x40, rest=text("p")),                           # password without a user name
    connect(flags=0x80),                                           # user name announced, not there
    connect(flags=4, rest=text("w/#") + text("m")),                # wildcard in the will topic
    connect(rest=b"x"),
    connect(b"\xed\xa0\x80"), connect(b"a\x00b"), connect(b"\xc0\xaf"), connect(b"\xff"),
])
def test_malformed_connect_is_closed_without_an_answer(one, sent):
    Raw(one, expect=None).send(sent).expect_closed()
    Raw(one).send(PINGREQ).expect(PINGRESP).close()


def test_second_connect_is_closed(one):
    Raw(one).send(connect()).expect_closed()


def test_connect_dripped_or_absent_runs_into_the_timeout(sluice):
    gw = sluice(mqtt(connect_timeout="1s"))
    silent, dripping = Raw(gw, expect=None), Raw(gw, expect=None)
    start = time.monotonic()
    for byte in connect()[:6]:
        dripping.send(bytes([byte]))
        time.sleep(0.05)
    silent.expect_closed()
    dripping.expect_closed()
    assert time.monotonic() - start < 5
    assert gw.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason="timeout") == 2


def test_silence_beyond_the_keep_alive_is_closed(sluice):
    gw = sluice(mqtt(idle_timeout="2s", keep_alive_max="1s"))
    start = time.monotonic()
    for raw in (Raw(gw, "a", keep_alive=1), Raw(gw, "b", keep_alive=0), Raw(gw, "c", keep_alive=65535)):
        raw.expect_closed()
    assert 1.5 <= time.monotonic() - start < 8


# ---- PUBLISH ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [
    publish("t", "x", qos=3),
    b"\x38" + publish("t", "x")[1:],                               # DUP with QoS 0
    publish("t", "x", qos=1, mid=0), publish("t", "x", qos=2, mid=0),
    publish("", "x"), publish("a/+/b", "x"), publish("#", "x"), publish(b"a\x00b", "x"),
    publish(b"\xed\xbf\xbf", "x"), publish(b"\xc1\x81", "x"), publish(b"\xf5\x80\x80\x80", "x"),
    packet(0x30, b"\x00\x09t"), packet(0x30), packet(0x32, b"\x00\x01t\x00"),
    b"\x30\xff\xff\xff\xff\x01",
    b"\x30\x80\x80\x80\x80",
    b"\x82\xff\xff\xff\x7f",                                       # 256 MiB, and no PUBLISH
    b"\x00\x00", b"\xf0\x00", b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00", b"\xb0\x02\x00\x01", b"\xd0\x00",
    b"\xc1\x00", b"\xe1\x00", b"\xc0\x01\x00", b"\x60\x02\x00\x01", b"\x62\x02\x00\x00", b"\x62\x03\x00\x01\x00",
    packet(0x82, b"\x00\x01"), packet(0x82, b"\x00\x01" + text("t") + b"\x03"), packet(0x80, b"\x00\x01" + text("t") + b"\x00"),
    packet(0x82, b"\x00\x01" + text("a#") + b"\x00"), packet(0xA2, b"\x00\x01"),
])
def test_malformed_packet_is_closed_and_others_live_on(one, sent):
    other = Raw(one, "other")
    Raw(one, "bad").send(publish("t", "1", qos=1, mid=9)).expect(puback(9)).send(sent).expect_closed()
    other.send(PINGREQ).expect(PINGRESP)
    assert len(one.wait_records(1)) == 1


def test_packets_may_come_in_any_pieces(one):
    rng = random.Random(7)
    stream = b"".join(publish(f"devices/d{i}/t", f'{{"i":{i}}}', qos=i % 3, mid=i + 1) for i in range(60))
    raw = Raw(one)
    at = 0
    while at < len(stream):
        size = rng.choice([1, 1, 2, 3, 7, 40])
        raw.send(stream[at:at + size])
        at += size
    raw.expect(*[puback(i + 1) if i % 3 == 1 else pubrec(i + 1) for i in range(60) if i % 3])
    records = one.wait_records(60)
    assert [r["payload"]["i"] for r in records] == list(range(60))
    assert [r["device"]["id"] for r in records] == [f"d{i}" for i in range(60)]


def test_largest_packet_is_taken(sluice):
    gw = sluice(mqtt(max_packet="100KiB"))
    raw = Raw(gw)
    size = 100 * 1024 - 4 - 2 - 1 - 2
    raw.send(publish("t", b"x" * size, qos=1, mid=3)).expect(puback(3))
    raw.send(publish("t", b"x" * (size + 1), qos=1, mid=4)).expect(puback(4)).send(PINGREQ).expect(PINGRESP)  # refused, not kept
    assert gw.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason="too_large") == 1
    assert gw.wait_records(1)[0]["payload"]["text"] == "x" * size


def test_payloads_of_any_kind_are_wrapped(one):
    raw = Raw(one)
    sent = [b"21.5", b"true", b'"x"', b"[1]", b"on", b"\xff\x00", b"", b'{"a":9007199254740993}']
    for n, payload in enumerate(sent):
        raw.send(publish("t", payload, qos=1, mid=n + 1)).expect(puback(n + 1))
    got = [r["payload"] for r in one.wait_records(len(sent))]
    assert got[0] == {"number": 21.5} and got[1] == {"boolean": True} and got[3] == {"array": [1]}
    assert got[4] == {"text": "on"} and got[5] == {"base64": "/wA="} and got[7] == {"a": 9007199254740993}


def test_topics_that_look_dangerous_are_only_text(one):
    topics = ["$SYS/broker/x", "../../etc/passwd", "a\nb\x1b[31m", "devices/../x", '{"a":1}', "a b", "t\xe4/\U0001f40c", "/", "//"]
    raw = Raw(one, "ha-ha")
    for n, topic in enumerate(topics):
        raw.send(publish(topic, "1", qos=1, mid=n + 1)).expect(puback(n + 1))
    records = one.wait_records(len(topics))
    assert [r["sluice"]["channel"] for r in records] == topics
    assert [r["device"]["id"] for r in records] == ["ha-ha"] * 3 + [".."] + ["ha-ha"] * 5


def test_device_comes_from_the_first_template_that_matches(sluice):
    gw = sluice(mqtt(device=["site/+/{device}/...", "{device}/state"], on_refused="close"))
    raw = Raw(gw)
    raw.send(publish("site/7/pump/on", "1", qos=1, mid=1), publish("valve/state", "1", qos=1, mid=2)).expect(puback(1), puback(2))
    raw.send(publish("else", "1", qos=0), publish("else", "1", qos=1, mid=3)).expect_closed()
    assert [r["device"]["id"] for r in gw.wait_records(2)] == ["pump", "valve"]
    assert gw.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason="no_device") == 2


@pytest.mark.parametrize("template", ["devices/#", "{device}/{device}", "a/#/{device}", "x{device}", ""])
def test_bad_template_is_found_by_check(sluice, template):
    gw = sluice(mqtt(device=[template]), start=False)
    done = gw.command("--check", gw.config_path)
    assert done.returncode == 2
    assert "device" in done.stdout + done.stderr


# ---- acknowledgements ------------------------------------------------------------------------------------------------


def test_acknowledgements_come_in_the_order_of_the_packets(one):
    rng = random.Random(3)
    raw = Raw(one)
    sent, expected = [], []
    for mid in range(1, 301):
        qos = rng.choice([0, 1, 2])
        sent.append(publish("t", str(mid), qos=qos, mid=mid))
        expected += [[], [puback(mid)], [pubrec(mid)]][qos]
        if qos == 2:
            sent.append(pubrel(mid))
            expected.append(pubcomp(mid))
    raw.send(*sent).expect(*expected)


def test_qos_2_repetition_is_one_message(one):
    raw = Raw(one, "two", clean=False)
    raw.send(publish("t", "first", qos=2, mid=5), publish("t", "first", qos=2, mid=5, dup=True)).expect(pubrec(5), pubrec(5))
    raw.send(publish("t", "first", qos=2, mid=5)).expect(pubrec(5))
    raw.send(pubrel(5), pubrel(5)).expect(pubcomp(5), pubcomp(5))
    raw.send(publish("t", "second", qos=2, mid=5)).expect(pubrec(5))
    assert [r["payload"]["text"] for r in one.wait_records(2)] == ["first", "second"]
    assert one.metrics().sum("sluice_messages_duplicate_total", listener="mqtt") == 2


@pytest.mark.parametrize("threads", [1, 4])
def test_qos_2_repetition_is_recognised_after_reconnecting(sluice, threads):
    gw = sluice(mqtt(threads=threads))
    for n in range(40):
        raw = Raw(gw, "dev", clean=False, expect=CONNACK if n == 0 else CONNACK_PRESENT)
        if n > 0:  # what the last connection did not hear of
            raw.send(publish("t", str(n - 1), qos=2, mid=n, dup=True), pubrel(n)).expect(pubrec(n), pubcomp(n))
        raw.send(publish("t", str(n), qos=2, mid=n + 1))
        if n % 2:
            raw.expect(pubrec(n + 1))
            raw.close()
        else:
            # Not heard, but arrived: the session must know it, wherever the next connection lands.
            gw.wait_metric("sluice_messages_received_total", n + 1, listener="mqtt")
    records = gw.wait_records(40)
    assert [r["payload"]["number"] for r in records] == list(range(40))


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", ["disk", "spill"])
def test_session_is_present_from_the_second_connection_on(sluice, threads, kind):
    gw = sluice({"listeners": {"mqtt": {"threads": threads}}, "journal": {"type": kind}})
    for n in range(10):
        raw = Raw(gw, "dev", clean=False, expect=CONNACK_PRESENT if n else CONNACK)
        raw.send(DISCONNECT).expect_closed() if n % 2 else raw.close()
    Raw(gw, "dev", clean=True).send(DISCONNECT).expect_closed()
    Raw(gw, "dev", clean=False, expect=CONNACK).close()


def test_sessions_are_bounded_and_those_with_open_identifiers_go_last(sluice):
    gw = sluice(mqtt(max_sessions=160))
    for n in range(16):
        Raw(gw, f"open-{n}", clean=False).send(publish("t", "1", qos=2, mid=1)).expect(pubrec(1)).close()
    for n in range(400):
        Raw(gw, f"bare-{n}", clean=False).close()
    gw.wait_metric("sluice_exchanges_forgotten_total", 200, listener="mqtt")
    for n in range(16):
        Raw(gw, f"open-{n}", clean=False, expect=CONNACK_PRESENT).close()


def test_clean_session_forgets_qos_2(one):
    Raw(one, "dev", clean=False).send(publish("t", "1", qos=2, mid=5)).expect(pubrec(5)).close()
    Raw(one, "dev", clean=True).send(publish("t", "1", qos=2, mid=5, dup=True)).expect(pubrec(5)).close()
    assert len(one.wait_records(2)) == 2
    Raw(one, "dev", clean=False).close()


def test_a_client_may_have_thousands_of_identifiers_open(sluice):
    gw = sluice()
    raw, count = Raw(gw, clean=False), 20000
    reader = threading.Thread(target=lambda: raw.expect(*[pubrec(mid) for mid in range(1, count + 1)]))
    reader.start()
    raw.send(*[publish("t", "1", qos=2, mid=mid) for mid in range(1, count + 1)])
    reader.join(30)
    raw.send(pubrel(1025)).expect(pubcomp(1025))
    assert len(gw.wait_records(count)) == count


def test_what_came_before_a_fault_is_acknowledged(sluice):
    gw = sluice()
    good = [publish("devices/d/t", f'{{"n":{mid}}}', qos=1, mid=mid) for mid in range(1, 20)]
    Raw(gw).send(*good, publish("a/#", "1", qos=1, mid=99)).expect_closed(b"".join(puback(mid) for mid in range(1, 20)))
    assert len(gw.wait_records(19)) == 19


def test_open_qos_2_identifiers_are_bounded(sluice):
    gw = sluice(mqtt(receive_maximum=100))
    raw = Raw(gw)
    for mid in range(1, 101):
        raw.send(publish("t", "x", qos=2, mid=mid)).expect(pubrec(mid))
    raw.send(publish("t", "x", qos=2, mid=101)).expect_closed()
    assert len(gw.wait_records(100)) == 100


def test_refused_message_closes_or_is_acknowledged(sluice):
    gw = sluice({"listeners": {"mqtt": {"payload": "json", "on_refused": "close"}, "kind": {"protocol": "mqtt", "payload": "json"}}})
    raw = Raw(gw)
    raw.send(publish("t", "{", qos=0), publish("t", "{}", qos=1, mid=1), publish("t", "{", qos=1, mid=2))
    raw.expect_closed(puback(1))
    raw = Raw(gw, listener="kind")
    raw.send(publish("t", "{", qos=1, mid=1), publish("t", "{", qos=2, mid=2), pubrel(2), publish("t", "{}", qos=1, mid=3))
    raw.expect(puback(1), pubrec(2), pubcomp(2), puback(3))
    assert len(gw.wait_records(2)) == 2
    metrics = gw.metrics()
    assert metrics.sum("sluice_messages_refused_total", listener="mqtt", reason="invalid_payload") == 2
    assert metrics.sum("sluice_messages_refused_total", listener="kind", reason="invalid_payload") == 2


@pytest.mark.parametrize("size", [262124, 262144, 262145, 400000, 5000000])
def test_a_message_over_the_limit_does_not_block_its_device(one, size):
    raw = Raw(one, "large")
    before = one.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason="too_large")
    body = b'"' + b"x" * (size - 2) + b'"'
    raw.send(publish("devices/large/t", body, qos=1, mid=7), publish("devices/large/t", "{}", qos=1, mid=8)).expect(puback(7), puback(8))
    refused = one.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason="too_large") - before
    assert refused == (size > 262144)
    assert len(one.wait_records(2 - refused)) == 2 - refused
    assert not refused or "acknowledged all the same" in one.log()


def test_an_acknowledged_refusal_is_a_dead_letter_where_there_are_some(sluice):
    gw = sluice(mqtt(payload="json", on_invalid="dead_letter", device=["devices/{device}/#"]))
    raw = Raw(gw, "odd")
    raw.send(publish("devices/d/t", "", qos=1, mid=1), publish("devices/d/t", "{", qos=2, mid=2), publish("else", "{}", qos=1, mid=3),
             publish("devices/d/" + "t" * 2000, "{}", qos=1, mid=4), publish("devices/d/t", '{"n":5}', qos=1, mid=5))
    raw.expect(puback(1), pubrec(2), puback(3), puback(4), puback(5))
    assert [r["payload"] for r in gw.wait_records(1)] == [{"n": 5}]
    dead = gw.data / "dead" / "intake.ndjson"
    wait_until(lambda: dead.exists() and len(dead.read_bytes().splitlines()) == 4, what="four dead letters")
    letters = [json.loads(line) for line in dead.read_bytes().splitlines()]
    assert [r["device"]["id"] for r in letters] == ["d", "d", "odd", "odd"]
    assert all(r["sluice"]["error"]["reason"] for r in letters)


def test_an_empty_message_under_payload_json_does_not_block_its_device(sluice):
    gw = sluice(mqtt(payload="json"))
    Raw(gw).send(publish("t", "", qos=1, mid=1), publish("t", "{}", qos=1, mid=2)).expect(puback(1), puback(2))
    assert len(gw.wait_records(1)) == 1
    assert gw.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason="invalid_payload") == 1


def test_who_was_refused_or_taken_over_is_logged_and_counted(sluice):
    gw = sluice(mqtt())
    first = Raw(gw, "same-name")
    first.send(packet(0x82, b"\x00\x07" + text("a/#") + b"\x01")).expect(b"\x90\x03\x00\x07\x80")
    Raw(gw, "same-name").send(PINGREQ).expect(PINGRESP).close()
    first.expect_closed()
    for reason, words in (("subscription", "subscription refused"), ("taken_over", "another connection has the same client identifier")):
        assert gw.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason=reason) == 1
        line = next(e for e in gw.log_events() if words in (e["message"], e.get("error.message")))
        assert line["sluice.mqtt.client_id"] == "same-name"
        assert line["source.ip"] == "127.0.0.1" and line["sluice.listener"] == "mqtt"


def test_subscribe_is_answered_per_filter(sluice):
    gw = sluice({"listeners": {"kind": {"protocol": "mqtt", "subscribe": "grant_silently"}}})
    two = packet(0x82, b"\x00\x07" + text("a/#") + b"\x01" + text("+/b") + b"\x02")
    Raw(gw).send(two).expect(b"\x90\x04\x00\x07\x80\x80").send(packet(0xA2, b"\x00\x08" + text("a"))).expect(b"\xb0\x02\x00\x08")
    Raw(gw, listener="kind").send(two).expect(b"\x90\x04\x00\x07\x01\x02")
    Raw(gw, name="MQIsdp", level=3).send(two).expect(b"\x90\x04\x00\x07\x01\x02")


def test_nothing_acknowledged_is_lost_by_kill_9(sluice):
    gw = sluice()
    acked = set()
    for round_ in range(3):
        raws = [Raw(gw, f"dev-{n}") for n in range(4)]
        stop = threading.Event()

        def send(raw, base):
            mid = 0
            while not stop.is_set():
                mid += 1
                try:
                    raw.send(publish("t", str(base + mid), qos=1, mid=mid))
                    raw.expect(puback(mid))
                except (OSError, AssertionError):
                    return
                acked.add(base + mid)

        threads = [threading.Thread(target=send, args=(raw, round_ * 1000000 + n * 100000)) for n, raw in enumerate(raws)]
        for thread in threads:
            thread.start()
        before = len(acked)
        wait_until(lambda: len(acked) > before + 200, what="200 acknowledgements")
        gw.kill()
        stop.set()
        for thread in threads:
            thread.join()
        gw.start()
    wait_until(lambda: acked <= set(numbers_after_kill(gw)), what="all that was acknowledged in the file")


# ---- take-over -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_newer_connection_takes_over(sluice, threads):
    gw = sluice(mqtt(threads=threads))
    old = Raw(gw, "dev")
    for n in range(20):
        new = Raw(gw, "dev", expect=None)
        new.send(connect("dev"), publish("t", str(n), qos=1, mid=1))  # not waiting for CONNACK
        new.expect(CONNACK, puback(1))
        old.expect_closed()
        old = new
    old.send(PINGREQ).expect(PINGRESP)
    assert [r["payload"]["number"] for r in gw.wait_records(20)] == list(range(20))


def test_storm_of_take_overs_ends_with_one_session(sluice):
    gw = sluice(mqtt(threads=4))
    socks, lock = [], threading.Lock()

    def storm(seed):
        rng = random.Random(seed)
        for _ in range(250):
            sock = socket.create_connection(gw.address("mqtt"), timeout=10)
            sock.sendall(connect("dev", clean=rng.random() < 0.5) + publish("t", "1", qos=2, mid=rng.randrange(1, 9)))
            with lock:
                socks.append(sock)
            if rng.random() < 0.3:
                sock.close()

    threads = [threading.Thread(target=storm, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="mqtt") <= 1, 15, "one connection is left")
    for sock in socks:
        sock.close()
    Raw(gw, "dev").send(PINGREQ).expect(PINGRESP)


def plain_memory(gw):
    """Resident bytes; sanitizers have memory of their own, which no limit of ours bounds."""
    with open(f"/proc/{gw.pid}/maps") as maps:
        if "san.so" in maps.read():
            pytest.skip("a sanitizer is linked in")
    return gw.memory()


# ---- attacks ---------------------------------------------------------------------------------------------------------


def test_announced_lengths_cost_nothing(sluice):
    gw = sluice(mqtt(max_packet="256MiB"))
    before = plain_memory(gw)
    socks = []
    for n in range(1000):
        sock = socket.create_connection(gw.address("mqtt"), timeout=10)
        sock.sendall(b"\x10\xf0\xff\xff\x7f" + b"\x00\x04MQ" if n % 2 else connect(f"d{n}") + b"\x30\xf0\xff\xff\x7f\x00\x01t" + b"x" * 100)
        socks.append(sock)
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="mqtt") == 1000)
    assert plain_memory(gw) - before < 32 << 20
    for sock in socks:
        sock.close()


def test_idle_devices_cost_little(sluice):
    gw = sluice()
    Raw(gw, "first").close()
    count = 2000
    before = plain_memory(gw)
    raws = [Raw(gw, f"device-{n:06}") for n in range(count)]
    cost = (plain_memory(gw) - before) / count
    assert cost < 2048, f"{cost:.0f} bytes per idle connection"
    for raw in raws:
        raw.close()


def test_device_that_never_reads_is_not_read_either(sluice):
    gw = sluice(mqtt(max_output="8KiB"))
    raw = Raw(gw, expect=None)
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.send(connect())
    before = plain_memory(gw)
    raw.sock.settimeout(1)
    flood = PINGREQ * 50000
    with pytest.raises(TimeoutError):
        for _ in range(400):  # 40 MB, if it were read
            raw.sock.sendall(flood)
    assert plain_memory(gw) - before < 16 << 20
    Raw(gw, "other").send(PINGREQ).expect(PINGRESP)
    raw.close()


def test_many_client_identifiers_leave_nothing_behind(sluice):
    # With `disk` each session is a note, and what the lane and the journal's tail keep of notes grows to its limit.
    gw = sluice(merge(mqtt(max_sessions=160), {"journal": {"type": "spill"}}))
    sizes = []
    for round_ in range(4):
        for n in range(500):
            Raw(gw, f"{round_}-{n}-" + "x" * 100, clean=False).close()
        wait_until(lambda: gw.metrics().sum("sluice_connections", listener="mqtt") == 0)
        sizes.append(plain_memory(gw))
    assert sizes[3] - sizes[1] < 1 << 20, sizes


def test_open_qos_2_identifiers_of_many_clients_cost_little(sluice):
    """100 clients hold all the identifiers they may hold open; each is remembered across a crash as well."""
    gw = sluice(mqtt(receive_maximum=1024) | {"journal": {"max_state": "2MiB"}})
    Raw(gw, "first").send(publish("t", "x", qos=2, mid=1)).expect(pubrec(1)).close()
    before, raws = plain_memory(gw), []
    for n in range(100):
        raws.append(Raw(gw, f"client-{n}", clean=False))
        raws[-1].send(*[publish("t", "x", qos=2, mid=mid) for mid in range(1, 1025)]).expect(*[pubrec(mid) for mid in range(1, 1025)])
    grown = plain_memory(gw) - before
    print(f"{grown / 102400:.0f} bytes an identifier")
    assert grown < 16 << 20, f"{grown / 102400:.0f} bytes an identifier"
    for raw in raws:
        raw.send(publish("t", "x", qos=2, mid=2000)).expect_closed()
    assert gw.metrics().sum("sluice_journal_state_bytes") <= 2 << 20


def test_200_000_topics_and_devices_leave_nothing_behind(sluice):
    """Buffers grow a little with a burst; 25 bytes a topic would be too much."""
    gw = sluice(mqtt(max_unacked=1024) | {"journal": {"tail_memory": "1MiB", "segment": "4MiB"}})
    raw, sizes, each = Raw(gw), [], 500
    for start in range(0, 200_000, each):
        mids = range(start % 60000 + 1, start % 60000 + 1 + each)
        raw.send(*[publish(f"devices/device-{start + mid}/topic-{start + mid}", "1", qos=1, mid=mid) for mid in mids])
        raw.expect(*[puback(mid) for mid in mids])
        if start % 20_000 == 20_000 - each:
            sizes.append(plain_memory(gw))
    assert sizes[-1] - sizes[1] < 4 << 20, sizes
    raw.close()


def test_devices_are_not_taken_for_silent_while_the_gateway_itself_stood_still(sluice):
    """Their pings of that time lie in the sockets; a keep-alive that ran out meanwhile is nobody's fault."""
    gw = sluice(mqtt(keep_alive_max="1s"))
    raws = [Raw(gw, f"dev-{n}", keep_alive=1) for n in range(50)]
    gw.signal(signal.SIGSTOP)
    start = time.monotonic()
    try:
        for raw in raws:
            raw.send(PINGREQ)
        wait_until(lambda: time.monotonic() - start > 4, what="more than the keep-alive and a half")
    finally:
        gw.signal(signal.SIGCONT)
    for raw in raws:
        raw.expect(PINGRESP).send(publish("t", "1", qos=1, mid=7)).expect(puback(7))
    assert gw.metrics().sum("sluice_connections", listener="mqtt") == 50
    assert gw.metrics().sum("sluice_messages_refused_total", listener="mqtt", reason="timeout") == 0


def test_random_bytes_never_hurt(one):
    rng = random.Random(11)
    for _ in range(300):
        sock = socket.create_connection(one.address("mqtt"), timeout=10)
        data = connect() + bytes(rng.choice(b"\x30\x32\x34\x62\x82\xc0\x00\x01\x02\x05") if rng.random() < 0.7 else rng.randrange(256)
                                 for _ in range(rng.randrange(200)))
        sock.sendall(data)
        sock.close()
    Raw(one, "other").send(PINGREQ).expect(PINGRESP)


def test_sigterm_answers_what_is_safe_and_ends(sluice):
    gw = sluice()
    raw = Raw(gw)
    raw.send(*[publish("t", str(n), qos=1, mid=n) for n in range(1, 500)])
    raw.expect(puback(1))
    assert gw.stop() == 0
    acked = 1
    try:
        while got := raw.sock.recv(4):
            acked += len(got) == 4
    except ConnectionResetError:
        pass
    numbers = {r["payload"]["number"] for r in gw.records()}
    assert set(range(1, acked + 1)) <= numbers
