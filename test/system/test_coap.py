"""CoAP: real clients (aiocoap, libcoap's coap-client) and raw datagrams against the real program."""

import asyncio
import json
import random
import shutil
import socket
import struct
import subprocess

import aiocoap
import pytest

from conftest import wait_until

CON, NON, ACK, RST = range(4)
POST, PUT = 2, 3
URI_PATH, CONTENT_FORMAT, MAX_AGE, ACCEPT, BLOCK1, SIZE1, NO_RESPONSE = 11, 12, 14, 17, 27, 60, 258
JSON = 50


# ---- raw datagrams ---------------------------------------------------------------------------------------------------


def _nibble(n):
    if n < 13:
        return n, b""
    return (13, bytes([n - 13])) if n < 269 else (14, struct.pack(">H", n - 269))


def uint(n):
    return n.to_bytes((n.bit_length() + 7) // 8, "big")


def message(kind, code, mid, token=b"", path="", options=(), payload=b""):
    """The bytes of a message; options are (number, bytes) or (number, int)."""
    segments = [(URI_PATH, s.encode()) for s in path.split("/")[1:]]
    out = bytes([0x40 | kind << 4 | len(token), code]) + struct.pack(">H", mid) + token
    last = 0
    for number, value in sorted([*segments, *options], key=lambda o: o[0]):
        value = uint(value) if isinstance(value, int) else value
        (delta, more), (length, longer) = _nibble(number - last), _nibble(len(value))
        out += bytes([delta << 4 | length]) + more + longer + value
        last = number
    return out + (b"\xff" + payload if payload else b"")


class Answer:
    def __init__(self, data):
        assert len(data) >= 4 and data[0] >> 6 == 1, data
        self.data, self.kind, self.code, self.mid = data, data[0] >> 4 & 3, data[1], struct.unpack(">H", data[2:4])[0]
        at = 4 + (data[0] & 15)
        self.token, self.options, number = data[4:at], {}, 0
        while at < len(data) and data[at] != 0xFF:
            delta, length = data[at] >> 4, data[at] & 15
            at += 1
            if delta == 13:
                delta, at = 13 + data[at], at + 1
            number += delta
            self.options[number] = int.from_bytes(data[at:at + length], "big")
            at += length
        self.payload = data[at + 1:]

    @property
    def name(self):
        return f"{self.code >> 5}.{self.code & 31:02}"


class Peer:
    """One endpoint."""

    def __init__(self, address, bind=None):
        self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        if bind:
            self.socket.bind(bind)
        self.socket.connect(address)  # it hears nobody else, so an answer from another address would be missed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.send(data)

    def receive(self, timeout=5):
        self.socket.settimeout(timeout)
        return Answer(self.socket.recv(65536))

    def ask(self, data):
        self.send(data)
        return self.receive()

    def silent(self):
        """True if nothing was sent to us before the answer to a ping that we send now."""
        answer = self.ask(message(CON, 0, 0xFFFE))
        return (answer.kind, answer.code, answer.mid) == (RST, 0, 0xFFFE)


@pytest.fixture
def coap(sluice):
    """A factory: a gateway that listens on CoAP only, with these settings of the listener."""
    def make(**settings):
        common = settings.pop("common", {})
        listener = {"protocol": "coap", **settings}
        return sluice({"listeners": {"mqtt": None, "tcp": None, "http": None, "coap": listener}, **common})
    return make


@pytest.fixture
def gateway(coap):
    return coap()


@pytest.fixture
def peer(gateway):
    with Peer(gateway.address("coap")) as p:
        yield p


# ---- real clients ----------------------------------------------------------------------------------------------------


def coap_client(*args):
    program = shutil.which("coap-client-notls") or shutil.which("coap-client")
    if not program:
        pytest.skip("coap-client is not installed (libcoap3-bin)")
    return subprocess.run([program, "-v", "6", "-B", "5", *args], capture_output=True, text=True, timeout=20)


def test_coap_client_posts_and_puts(gateway):
    url = f"coap://127.0.0.1:{gateway.port('coap')}"
    for method in "post", "put":
        result = coap_client("-m", method, "-t", "json", "-e", '{"temperature":21.40}', f"{url}/t/sensor-1/env/room%201")
        assert result.returncode == 0, result
        assert "2.04" in result.stdout + result.stderr, result
    records = gateway.wait_records(2)
    for record in records:
        assert record["device"]["id"] == "sensor-1"
        assert record["network"]["protocol"] == "coap"
        assert record["sluice"]["channel"] == "env/room 1"
        assert record["payload"] == {"temperature": 21.40}
        assert "qos" not in record["sluice"]
    assert '"temperature":21.40' in gateway.file.read_text()  # as it came


def test_coap_client_discovers(gateway):
    result = coap_client("-m", "get", f"coap://127.0.0.1:{gateway.port('coap')}/.well-known/core")
    assert '</t>;ct="0 42 50 110 11543"' in result.stdout


def test_coap_client_sends_blocks(gateway, tmp_path):
    body = json.dumps({"values": list(range(3000))})
    (tmp_path / "body").write_text(body)
    result = coap_client("-m", "put", "-t", "json", "-b", "64", "-f", str(tmp_path / "body"),
                         f"coap://127.0.0.1:{gateway.port('coap')}/t/big")
    assert "2.04" in result.stdout + result.stderr, result
    assert gateway.wait_records(1)[0]["payload"] == json.loads(body)
    assert len(gateway.records()) == 1


def aio(coroutine):
    async def run():
        context = await aiocoap.Context.create_client_context()
        try:
            return await asyncio.wait_for(coroutine(context), 60)
        finally:
            await context.shutdown()
    return asyncio.run(run())


def request(gateway, path, payload, code=aiocoap.POST, **options):
    return aiocoap.Message(code=code, uri=f"coap://127.0.0.1:{gateway.port('coap')}{path}", payload=payload, **options)


def test_aiocoap_gets_every_code(gateway):
    async def talk(context):
        async def ask(*args, **kwargs):
            return await context.request(request(gateway, *args, **kwargs)).response

        assert (await ask("/t/d", b'{"a":1}', content_format=JSON)).code == aiocoap.CHANGED
        assert (await ask("/t/d", b"21.4")).code == aiocoap.CHANGED
        assert (await ask("/t/d", "warm \u2600".encode(), content_format=0)).code == aiocoap.CHANGED
        assert (await ask("/t/d", b"\x00\xff", content_format=42)).code == aiocoap.CHANGED
        bad = await ask("/t/d", b'{"a":01}', content_format=JSON)
        assert bad.code == aiocoap.BAD_REQUEST
        assert bad.payload.endswith(b"at byte 6"), bad.payload
        assert (await ask("/nothing", b"1")).code == aiocoap.NOT_FOUND
        assert (await ask("/t/d", b"", code=aiocoap.GET)).code == aiocoap.METHOD_NOT_ALLOWED
        assert (await ask("/t/d", b"", code=aiocoap.DELETE)).code == aiocoap.METHOD_NOT_ALLOWED
        assert (await ask("/t/d", b"\xa0", content_format=60)).code == aiocoap.UNSUPPORTED_CONTENT_FORMAT
        assert (await ask("/t/d", b"1", if_match=[b"e"])).code == aiocoap.BAD_OPTION
        assert (await ask("/t/d", b"1", proxy_uri="coap://other/")).code == aiocoap.PROXYING_NOT_SUPPORTED
        core = await ask("/.well-known/core", b"", code=aiocoap.GET)
        assert core.code == aiocoap.CONTENT and core.opt.content_format == 40
        assert (await ask("/.well-known/core", b"", code=aiocoap.GET, accept=50)).code == aiocoap.NOT_ACCEPTABLE

    aio(talk)
    payloads = [r["payload"] for r in gateway.wait_records(4)]
    assert payloads == [{"a": 1}, {"number": 21.4}, {"text": "warm \u2600"}, {"base64": "AP8="}]
    metrics = gateway.metrics()
    assert metrics.sum("sluice_messages_accepted_total", protocol="coap") == 4
    assert metrics.sum("sluice_messages_refused_total", protocol="coap", reason="invalid_payload") == 1
    assert metrics.sum("sluice_messages_refused_total", protocol="coap", reason="unsupported") >= 7


def test_aiocoap_sends_bodies_in_blocks_at_the_same_time(gateway):
    bodies = [json.dumps({"n": n, "values": list(range(n, n + 5000))}).encode() for n in range(3)]

    async def talk(context):
        answers = await asyncio.gather(*[
            context.request(request(gateway, f"/t/big-{n}", body, code=aiocoap.PUT, content_format=JSON)).response
            for n, body in enumerate(bodies)])
        assert [a.code for a in answers] == [aiocoap.CHANGED] * 3

    aio(talk)
    records = gateway.wait_records(3)
    assert {r["device"]["id"]: r["payload"] for r in records} == {
        f"big-{n}": json.loads(body) for n, body in enumerate(bodies)}


def test_aiocoap_is_told_when_a_body_is_too_large(coap):
    gateway = coap(max_body="4KiB")

    async def talk(context):
        answer = await context.request(request(gateway, "/t/d", b"1" * 5000, code=aiocoap.PUT)).response
        assert answer.code == aiocoap.REQUEST_ENTITY_TOO_LARGE
        assert answer.opt.size1 == 4096

    aio(talk)
    assert gateway.records() == []


@pytest.fixture
def slow_gateway(coap, free_port):
    """Nothing that it takes is ever delivered, for nobody listens at the broker's address: it says so after 700 ms."""
    sinks = {"file": None, "kafka": {"type": "kafka", "brokers": f"127.0.0.1:{free_port()}"}}
    return coap(ack="delivered", separate_after="100ms", ack_timeout="700ms",
                common={"sinks": sinks, "stop": {"drain": "1s"}})


def test_aiocoap_understands_a_separate_response(slow_gateway):
    async def talk(context):
        answer = await context.request(request(slow_gateway, "/t/d", b"1")).response
        assert answer.code == aiocoap.GATEWAY_TIMEOUT
        assert answer.mtype == aiocoap.CON

    aio(talk)


# ---- the message layer -----------------------------------------------------------------------------------------------


def test_a_retransmission_is_one_record_with_one_answer(gateway, peer):
    data = message(CON, POST, 7, b"tok", "/t/d", [(CONTENT_FORMAT, JSON)], b'{"n":1}')
    for _ in range(5):
        peer.send(data)
    first = peer.receive()
    assert (first.kind, first.name, first.mid, first.token) == (ACK, "2.04", 7, b"tok")
    for _ in range(5):
        assert peer.ask(data).data == first.data
    wait_until(lambda: gateway.metrics().sum("sluice_messages_duplicate_total") == 9, what="9 duplicates")
    assert peer.ask(message(CON, POST, 8, b"tok", "/t/d", [(CONTENT_FORMAT, JSON)], b'{"n":2}')).mid in (7, 8)
    assert [r["payload"]["n"] for r in gateway.wait_records(2)] == [1, 2]


def test_a_device_that_starts_its_message_ids_anew_is_heard(gateway, peer):
    for reading in b"21.4", b"21.5":
        assert peer.ask(message(CON, POST, 1, b"", "/t/d", [], reading)).name == "2.04"
    assert [r["payload"]["number"] for r in gateway.wait_records(2)] == [21.4, 21.5]


def test_a_non_is_answered_by_a_non_and_taken_once(gateway, peer):
    data = message(NON, POST, 7, b"tok", "/t/d", [], b"1")
    first = peer.ask(data)
    assert (first.kind, first.name, first.token) == (NON, "2.04", b"tok")
    assert peer.ask(data).data == first.data
    assert peer.ask(message(NON, POST, 8, b"tok", "/t/d", [], b"1")).mid != first.mid
    assert len(gateway.wait_records(2)) == 2


def test_no_response_is_honoured(gateway, peer):
    peer.send(message(NON, POST, 1, b"a", "/t/d", [(NO_RESPONSE, 26)], b"1"))
    gateway.wait_records(1)
    assert peer.silent()
    answer = peer.ask(message(CON, POST, 2, b"a", "/t/d", [(NO_RESPONSE, 26)], b"2"))
    assert (answer.kind, answer.code, answer.mid, answer.token) == (ACK, 0, 2, b"")


def test_a_ping_is_answered(peer):
    assert peer.silent()


def test_a_separate_response_is_repeated_until_it_is_acknowledged(slow_gateway):
    with Peer(slow_gateway.address("coap")) as peer:
        data = message(CON, POST, 7, b"tok", "/t/d", [], b"1")
        empty = peer.ask(data)
        assert (empty.kind, empty.code, empty.mid) == (ACK, 0, 7)
        assert peer.ask(data).data == empty.data  # as if it had been lost
        response = peer.receive()
        assert (response.kind, response.name, response.token) == (CON, "5.04", b"tok")
        assert peer.ask(data).data == empty.data
        assert peer.receive(4).data == response.data
        peer.send(message(ACK, 0, response.mid))
        peer.socket.settimeout(6.5)
        with pytest.raises(TimeoutError):
            peer.socket.recv(100)  # the next one would come 4 to 6 seconds after the last
    assert slow_gateway.metrics().sum("sluice_messages_accepted_total") == 1


MALFORMED = [
    b"", b"\x40", b"\x40\x02\x00", b"\x00\x02\x00\x01", b"\x80\x02\x00\x01", b"\xff\xff\xff\xff",
    b"\x50\x00\x00\x01", b"\x60\x00\x00\x01", b"\x70\x00\x00\x01", b"\x60\x44\x00\x01", b"\x50\x44\x00\x01",
    b"\x59\x02\x00\x01123456789", b"\x50\x02\x00\x01\xff", b"\x50\x02\x00\x01\xbd", b"\x50\x02\x00\x01\xe0\xfe\xff",
    message(NON, POST, 1, b"", "/t/d", [(9, b"x")], b"1"),
]


def test_malformed_datagrams_are_passed_over(gateway, peer):
    for data in MALFORMED:
        peer.send(data)
    assert peer.silent()
    for data in b"\x49\x02\x00\x01123456789", b"\x40\x02\x00\x01\xff", b"\x40\x00\x00\x01x", b"\x40\x44\x00\x01", b"\x40\xe1\x00\x01":
        answer = peer.ask(data)
        assert (answer.kind, answer.code, answer.mid, len(answer.data)) == (RST, 0, 1, 4)
    assert peer.ask(message(CON, POST, 2, b"", "/t/d", [], b"1")).name == "2.04"
    assert len(gateway.wait_records(1)) == 1


def test_random_datagrams_do_no_harm_and_are_not_amplified(gateway, peer):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for n in range(2000):
        data = bytearray(message(rng.randrange(4), rng.randrange(8), n, bytes(rng.randrange(9)),
                                 rng.choice(["", "/t", "/t/d", "/t/d/a/b", "/.well-known/core"]),
                                 [(rng.choice([1, 3, 12, 17, 23, 27, 60, 258, 292]), rng.randbytes(rng.randrange(4)))],
                                 rng.randbytes(rng.randrange(20))))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        data = bytes(data[:rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data)
        peer.send(data)
        peer.send(message(CON, 0, 0xFFFE))
        while True:  # until the ping's answer, which comes after all that is answered at once
            answer = peer.receive()
            if answer.kind == RST and answer.mid == 0xFFFE:
                break
            assert len(answer.data) <= 3 * max(len(data), 40), (data, answer.data)
    assert gateway.running()


# ---- blocks ----------------------------------------------------------------------------------------------------------


def block(mid, number, more, payload, path="/t/d", szx=0, options=()):
    return message(CON, PUT, mid, b"b", path, [(BLOCK1, number << 4 | more << 3 | szx), *options], payload)


def test_blocks_follow_the_rules(gateway, peer):
    first = peer.ask(block(1, 0, 1, b"0123456789abcdef"))
    assert first.name == "2.31" and first.options[BLOCK1] == 8
    assert peer.ask(block(1, 0, 1, b"0123456789abcdef")).data == first.data
    assert peer.ask(block(2, 2, 1, b"0123456789abcdef")).name == "4.08"
    assert peer.ask(block(3, 1, 0, b"xyz")).name == "2.04"
    assert peer.ask(block(3, 1, 0, b"xyz")).name == "2.04"
    assert peer.ask(block(4, 1, 0, b"xyz")).name == "4.08"
    assert peer.ask(block(5, 0, 1, b"0123456789abcde")).name == "4.00"
    assert peer.ask(block(6, 0, 1, b"0123456789abcdef", szx=7)).name == "4.00"
    too_large = peer.ask(block(7, 0, 1, b"0123456789abcdef", options=[(SIZE1, 1 << 20)]))
    assert too_large.name == "4.13" and too_large.options[SIZE1] == 256 << 10
    assert [r["payload"]["text"] for r in gateway.wait_records(1)] == ["0123456789abcdefxyz"]


def test_a_body_of_max_payload_comes_in_blocks(coap):
    gateway = coap()
    body = b"x" * (256 << 10)
    with Peer(gateway.address("coap")) as peer:
        for number in range(256):
            part = body[number << 10:(number + 1) << 10]
            answer = peer.ask(block(number, number, number < 255, part, szx=6))
            assert answer.name == ("2.31" if number < 255 else "2.04")
    assert [len(r["payload"]["text"]) for r in gateway.wait_records(1)] == [256 << 10]


@pytest.mark.parametrize("content_format", [40, 60, 112, 1541, 11542])
def test_a_format_that_is_not_taken_is_answered_with_those_that_are(gateway, peer, content_format):
    answer = peer.ask(message(CON, POST, 1, b"t", "/t/f22", [(CONTENT_FORMAT, content_format)], b'{"t":1}'))
    assert answer.name == "4.15" and answer.payload == b"formats taken: 0, 42, 50, 110, 11543"
    line, = [e for e in gateway.log_events() if e["message"] == "refused"]
    assert (line["device.id"], line["source.ip"], line["sluice.reason"]) == ("f22", "127.0.0.1", "unsupported")


@pytest.mark.parametrize("content_format, payload, wanted", [
    (42, b'{"t":1}', {"t": 1}),
    (110, b'[{"bn":"x","v":1}]', {"array": [{"bn": "x", "v": 1}]}),
    (11543, b'{"t":1}', {"t": 1}),
])
def test_formats_of_the_table_are_taken(gateway, peer, content_format, payload, wanted):
    assert peer.ask(message(CON, POST, 1, b"t", "/t/d", [(CONTENT_FORMAT, content_format)], payload)).name == "2.04"
    assert gateway.wait_records(1)[0]["payload"] == wanted


def test_an_empty_payload_is_refused_as_in_http(gateway, peer):
    answer = peer.ask(message(CON, POST, 1, b"t", "/t/d"))
    assert (answer.name, answer.payload) == ("4.00", b"empty payload")


def test_accepted_types_are_taken_as_undeclared(coap):
    gateway = coap(accept_types=["application/cbor"])
    with Peer(gateway.address("coap")) as peer:
        assert peer.ask(message(CON, POST, 1, b"t", "/t/d", [(CONTENT_FORMAT, 60)], b"\xa1\x61t\x18\xff")).name == "2.04"
    assert gateway.wait_records(1)[0]["payload"] == {"base64": "oWF0GP8="}


def test_one_endpoint_has_few_transfers(coap):
    gateway = coap(blocks_per_peer=2)
    with Peer(gateway.address("coap")) as peer:
        names = [peer.ask(block(n, 0, 1, b"0123456789abcdef", f"/t/d{n}")) for n in range(3)]
        assert [a.name for a in names] == ["2.31", "2.31", "5.03"]
        assert names[2].options[MAX_AGE] > 0
        assert peer.ask(block(9, 1, 0, b"x", "/t/d0")).name == "2.04"


def test_twenty_thousand_unfinished_bodies_are_borne(coap):
    gateway = coap(blocks_memory="4MiB")
    before = gateway.memory()
    body = b"x" * 1024
    with Peer(gateway.address("coap")) as honest:
        assert honest.ask(block(1, 0, 1, b"0123456789abcdef")).name == "2.31"
        host, port = gateway.address("coap")
        for n in range(20000):
            if n % 200 == 0:
                flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                flood.bind((f"127.2.{n // 200}.1", 0))
            flood.sendto(block(n % 65536, 0, 1, body, f"/t/d{n}", 6), (host, port))
            if n % 200 == 199:
                assert honest.silent()  # it keeps up
                flood.close()
        assert gateway.memory() - before < 64 << 20
        assert honest.ask(block(2, 1, 0, b"x")).name == "2.04"
    assert gateway.metrics().sum("sluice_messages_refused_total", reason="memory_limit") > 0
    assert len(gateway.wait_records(1)) == 1


# ---- addresses, limits, the end --------------------------------------------------------------------------------------


def test_a_wildcard_answers_from_the_address_that_was_asked(coap, free_port):
    port = free_port()
    gateway = coap(listen=f"[::]:{port}", anonymous=True)
    hosts = ["127.0.0.1", "127.0.0.9"]
    if "00000000000000000000000000000001" in open("/proc/net/if_inet6").read():
        hosts.append("::1")
    for n, host in enumerate(hosts):
        with Peer((host, port)) as peer:
            assert peer.ask(message(CON, POST, n, b"", f"/t/d{n}", [], b"1")).name == "2.04"
    assert len(gateway.wait_records(len(hosts))) == len(hosts)


def test_long_datagrams_are_told_the_limit(coap):
    gateway = coap(max_datagram="2KiB", max_payload="1KiB")
    with Peer(gateway.address("coap")) as peer:
        for length in 1025, 1900, 3000, 60000:
            answer = peer.ask(message(CON, POST, length, b"t", "/t/d", [], b"1" * length))
            assert answer.name == "4.13" and answer.options[SIZE1] == 1024
        assert peer.ask(message(CON, POST, 1, b"t", "/t/d", [], b"1" * 1024)).name == "2.04"


def test_thousands_of_endpoints_leave_memory_bounded(coap):
    gateway = coap(exchanges=1024)
    host, port = gateway.address("coap")
    with Peer((host, port)) as ours:
        for n in range(100):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind((f"127.3.{n}.1", 0))
                for mid in range(100):
                    s.sendto(message(NON, POST, mid, b"", f"/t/d{n}", [(NO_RESPONSE, 26)], b"1"), (host, port))
            assert ours.ask(message(CON, POST, n, b"", "/t/ours", [], b"1")).name == "2.04"  # so the others are settled
    gateway.wait_metric("sluice_messages_accepted_total", 10000)
    assert gateway.metrics().sum("sluice_exchanges_forgotten_total") > 0
    assert gateway.memory() < 128 << 20


def test_twenty_thousand_endpoints_cost_little_and_one_that_is_known_is_still_recognised(coap):
    gateway = coap()
    host, port = gateway.address("coap")
    with Peer((host, port)) as ours:
        first = message(CON, POST, 1, b"", "/t/ours", [], b"1")
        assert ours.ask(first).name == "2.04"
        before = gateway.memory()
        for n in range(20000):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind((f"127.4.{n // 250}.{n % 250 + 1}", 0))
                s.sendto(message(NON, POST, n, b"", "/t/flood", [(NO_RESPONSE, 26)], b"1"), (host, port))
            if n % 500 == 499:
                assert ours.ask(message(CON, POST, n + 2, b"", "/t/ours", [], b"2")).name == "2.04"  # it keeps up
        gateway.wait_metric("sluice_messages_accepted_total", 20041)
        grown = gateway.memory() - before
        assert grown < 24 << 20, f"{grown / 20000:.0f} bytes an endpoint"
        assert ours.ask(first).name == "2.04"
    assert gateway.metrics().sum("sluice_messages_duplicate_total") == 1


def test_an_address_in_use_is_told(coap, sluice):
    gateway = coap()
    listen = f"127.0.0.1:{gateway.port('coap')}"
    second = sluice({"listeners": {"mqtt": None, "tcp": None, "http": None, "coap": {"listen": listen}}}, start=False)
    second.start(wait=None)
    assert second.wait_exit() != 0
    assert "in use" in second.log() and "listen" in second.log() and str(gateway.port("coap")) in second.log()


def test_sigterm_answers_what_was_taken(coap):
    gateway = coap()
    with Peer(gateway.address("coap")) as peer:
        for mid in range(200):
            peer.send(message(CON, POST, mid, b"", "/t/d", [], str(mid).encode()))
        assert gateway.stop() == 0
        answered = set()
        peer.socket.settimeout(0)
        try:
            while True:
                answered.add(Answer(peer.socket.recv(100)).mid)
        except BlockingIOError:
            pass
    recorded = {r["payload"]["number"] for r in gateway.records()}
    assert answered == recorded
