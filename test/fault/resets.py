"""Connections that are reset in the middle: a client sends the first n bytes of a conversation and closes with SO_LINGER 0, so
that the peer gets an RST, for every n from 1 to the end. A patient client waits for the answer to each complete message before it
goes on; a hasty one sends all n bytes at once. The messages acknowledged to each are compared afterwards with those in the file."""

import collections
import contextlib
import json
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

TEXT = "reset me if you can"
CLIENTS = 8  # at one time

# data: bytes; answer: what a patient client waits for; number: of the message that is complete with the last
# of these bytes (None: none is).
Piece = collections.namedtuple("Piece", "data answer number")


def payload(device, number):
    return {"device": device, "n": number, "text": TEXT}


def body(device, number):
    return json.dumps(payload(device, number)).encode()


def tcp_lines(device):
    return [Piece(body(device, n) + b"\n", b"ok %d\n" % n, n) for n in (1, 2)]


def _mqtt(first, rest):
    assert len(rest) < 128
    return bytes([first, len(rest)]) + rest


def _text(value):
    return struct.pack(">H", len(value)) + value


def mqtt_packets(device):
    topic, ids = _text(f"devices/{device}/telemetry".encode()), {n: struct.pack(">H", n) for n in (1, 2)}
    short = {n: json.dumps({"n": n}).encode() for n in (1, 2)}
    return [
        Piece(_mqtt(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c" + _text(device.encode())), b"\x20\x02\x00\x00", None),
        Piece(_mqtt(0x32, topic + ids[1] + short[1]), b"\x40\x02" + ids[1], 1),
        Piece(_mqtt(0x34, topic + ids[2] + short[2]), b"\x50\x02" + ids[2], 2),
        Piece(_mqtt(0x62, ids[2]), b"\x70\x02" + ids[2], None),
        Piece(b"\xc0\x00", b"\xd0\x00", None),
    ]


def http_requests(device):
    head = f"POST /v1/telemetry/{device} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n".encode()
    text = body(device, 1)
    return [Piece(head + b"Content-Length: %d\r\n\r\n" % len(text) + text, b"HTTP/1.1 204 ", 1)]


def http_chunks(device):
    head = f"POST /v1/telemetry/{device} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n".encode()
    text = body(device, 1)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (text[:7], text[7:30], text[30:]))
    return [Piece(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", b"HTTP/1.1 204 ", 1)]


CONVERSATIONS = {"tcp": ("tcp", tcp_lines), "mqtt": ("mqtt", mqtt_packets), "http": ("http", http_requests), "chunked": ("http", http_chunks)}


class Outcome:
    """Of a client that was cut after `cut` bytes: the messages that it sent completely, and those that were acknowledged to it."""

    def __init__(self, device, cut):
        self.device, self.cut, self.complete, self.acknowledged = device, cut, set(), set()


def _expect(sock, wanted):
    received = b""
    while len(received) < len(wanted) or (wanted.startswith(b"HTTP") and b"\r\n\r\n" not in received):
        more = sock.recv(4096)
        if not more:
            break
        received += more
    assert received.startswith(wanted), f"{wanted!r} was expected, {received!r} came"


def _converse(address, pieces, outcome, patient, pause_s):
    with socket.create_connection(address, timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not patient:
            sock.sendall(b"".join(piece.data for piece in pieces)[:outcome.cut])
        left = outcome.cut
        for piece in pieces:
            part = piece.data[:left]
            left -= len(part)
            if patient:
                sock.sendall(part)
            if len(part) < len(piece.data):
                break
            outcome.complete |= {piece.number} - {None}
            if patient:
                _expect(sock, piece.answer)
                outcome.acknowledged |= {piece.number} - {None}
            if left == 0:
                break
        time.sleep(pause_s)  # 0: the reset comes with the bytes; else perhaps after they were read
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets(gateway, rng, every=1):
    """Runs every conversation, cut at every `every`-th byte and at its end, patient and hasty; returns {device: Outcome}."""
    outcomes, attempts = {}, []
    for name, (listener, pieces_of) in CONVERSATIONS.items():
        for patient in (True, False):
            length = sum(len(p.data) for p in pieces_of(f"reset-{name}-{patient:d}-0000"))
            for cut in sorted({*range(1 + rng.randrange(every), length + 1, every), length}):
                outcome = Outcome(f"reset-{name}-{patient:d}-{cut:04}", cut)
                outcomes[outcome.device] = outcome
                attempts.append((gateway.address(listener), pieces_of(outcome.device), outcome, patient, rng.choice([0, 0, 0.002])))
    rng.shuffle(attempts)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(_converse, *attempt) for attempt in attempts]:
            done.result()
    return outcomes


def compare(outcomes, records):
    """(A list of sentences about what is wrong, the number of messages that are there)."""
    found, wrong = collections.Counter(), []
    for record in records:
        device = record["device"]["id"]
        outcome = outcomes.get(device)
        if not outcome:
            if device.startswith("reset"):
                wrong.append(f"a record of {device!r}, which no client is")
            continue
        got = record["payload"]
        number = got.get("n") if isinstance(got, dict) else None
        found[device, number] += 1
        if number not in outcome.complete:
            wrong.append(f"{device} was cut before its message {number} was complete, and it is there: {got!r}")
        elif got not in ({"n": number}, payload(device, number)):
            wrong.append(f"{device}: its message {number} is not what was sent: {got!r}")
    wrong += [f"{device}: message {number} is there {times} times" for (device, number), times in found.items() if times > 1]
    wrong += [f"{o.device}: message {n} was acknowledged and is missing" for o in outcomes.values() for n in o.acknowledged if not found[o.device, n]]
    return wrong, len(found)
